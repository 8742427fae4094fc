"""Keys over TCP: roles, tenants, subjects, revocation, and who guesses."""
import hashlib
import itertools
import socket
import threading
import time

import pytest


def make(api, name, role="submit", **kw):
    r = api.post("/api/keys", {"name": name, "role": role, **({} if role in ("admin", "metrics") else {"tenant": "acme"}), **kw})
    assert r.status == 201, r
    return {"Authorization": "Bearer " + r.json["secret"]}, r.json["id"]


def test_roles(api):
    job = api.create(tenant="acme")["id"]
    allowed = {"admin": [200, 202, 200, 200, 200], "submit": [200, 202, 403, 403, 403], "read": [200, 403, 403, 403, 403],
               "metrics": [403, 403, 200, 403, 403], "worker": [200, 403, 403, 403, 403]}
    for role, want in allowed.items():
        h, _ = make(api, role, role)
        got = [api.get(f"/api/jobs/{job}", h, tcp=True), api.post("/api/jobs", {"kind": "echo"}, h, tcp=True),
               api.get("/metrics", h, tcp=True), api.get("/api/keys", h, tcp=True), api.get("/api/workers", h, tcp=True)]
        assert [r.status for r in got] == want, role
        said = {r.json["detail"].split("role ")[1] for r in got if r.status == 403}
        roles = ("admin or submit.", "admin or metrics.", "admin.", "admin or submit or read or worker.",
                 "admin or submit or read or worker, for all tenants.")
        assert said <= set(roles) and (role != "read" or len(said) == 4), said


def test_secret_is_shown_once_and_kept_as_a_hash(api):
    h, _ = make(api, "k")
    secret = h["Authorization"].split()[1]
    assert secret.encode() not in api.get("/api/keys").body
    assert secret not in str(api.db.sql("select * from reeve.api_key"))
    assert api.db.sql("select event, actor from reeve.history where object = 'key/k'") == [("create", "uid:0")]
    assert secret not in api.text()


def test_tenants_are_kept_apart(api):
    acme, _ = make(api, "acme")
    other, _ = make(api, "other", tenant="other")
    job = api.post("/api/jobs", {"kind": "echo", "payload": 1}, acme, tcp=True).json["id"]
    assert api.get(f"/api/jobs/{job}", acme, tcp=True).json["tenant"] == "acme"
    for method, path in [("GET", ""), ("GET", "?wait=1s"), ("GET", "/history"), ("GET", "/files"), ("GET", "/files/x"), ("DELETE", ""),
                         ("POST", "/cancel"), ("POST", "/retry")]:
        assert api.call(method, f"/api/jobs/{job}{path}", None, other, tcp=True).status == 404, (method, path)
    assert api.get("/api/jobs", other, tcp=True).json["jobs"] == []
    assert api.get("/api/jobs?tenant=acme", other, tcp=True).status == 403
    assert api.post("/api/jobs", {"kind": "echo", "tenant": "acme"}, other, tcp=True).status == 400
    assert api.get(f"/api/jobs/{job}").json["state"] == "ready"
    assert api.call("DELETE", f"/api/jobs/{job}", None, acme, tcp=True).status == 200
    assert api.get(f"/api/jobs/{job}").json["actor"] == "key:acme"


def test_subjects(api):
    seven, _ = make(api, "seven", subject="7")
    front, _ = make(api, "front", act_for_subjects=True)
    none, _ = make(api, "none")
    mine = api.post("/api/jobs", {"kind": "echo"}, seven, tcp=True).json["id"]
    assert api.get(f"/api/jobs/{mine}").json["subject"] == "7"
    assert api.post("/api/jobs", {"kind": "echo", "subject": "8"}, seven, tcp=True).status == 400
    theirs = api.post("/api/jobs", {"kind": "echo", "subject": "8"}, front, tcp=True).json["id"]
    assert api.get(f"/api/jobs/{theirs}", seven, tcp=True).status == 404
    assert [j["id"] for j in api.get("/api/jobs", seven, tcp=True).json["jobs"]] == [mine]
    assert api.post("/api/jobs", {"kind": "echo", "subject": "8"}, none, tcp=True).status == 400
    # A key of the tenant's that another subject has taken: said, and not shown.
    unique = {"kind": "echo", "unique_key": "u"}
    taken = api.post("/api/jobs", {**unique, "subject": "8"}, front, tcp=True).json["id"]
    r = api.post("/api/jobs", unique, seven, tcp=True)
    assert r.status == 409 and taken not in str(r)
    assert api.post("/api/jobs", unique, front, tcp=True).json["id"] == taken
    assert api.post("/api/jobs", {"kind": "echo", "unique_key": "v"}, seven, tcp=True).status == 202
    assert api.post("/api/jobs", {"kind": "echo", "unique_key": "v"}, seven, tcp=True).status == 200


def test_a_unique_key_shows_no_other_subjects_job(api):
    """Of several at once, in any order, and when one is done again."""
    seven, _ = make(api, "seven", subject="7")
    front, _ = make(api, "front", act_for_subjects=True)
    taken = [api.post("/api/jobs", {"kind": "echo", "subject": "8", "unique_key": f"u{i}"}, front, tcp=True).json["id"] for i in range(2)]
    mine = api.post("/api/jobs", {"kind": "echo", "unique_key": "mine"}, seven, tcp=True).json["id"]
    r = api.post("/api/jobs", [{"kind": "echo", "unique_key": k} for k in ("u0", "new", "mine", "u1", "mine")], seven, tcp=True)
    assert r.status == 202 and not any(t in str(r.body) for t in taken), r
    assert [(j["outcome"], j.get("id")) for j in r.json["jobs"]] == [
        ("conflict", None), ("created", r.json["jobs"][1]["id"]), ("exists", mine), ("conflict", None), ("exists", mine)]
    r = api.post("/api/jobs", [{"kind": "echo", "unique_key": k} for k in ("u0", "u1")], front, tcp=True)
    assert [j["id"] for j in r.json["jobs"]] == taken, "who may act for both sees both"
    api.call("DELETE", f"/api/jobs/{mine}", None, seven, tcp=True)
    taken = api.post("/api/jobs", {"kind": "echo", "subject": "8", "unique_key": "mine"}, front, tcp=True).json["id"]
    r = api.post(f"/api/jobs/{mine}/retry", None, seven, tcp=True)
    assert r.status == 409 and taken not in str(r.body), r
    assert api.post(f"/api/jobs/{mine}/retry", None, front, tcp=True).json["id"] == taken


def test_every_route_of_a_job_is_closed_to_others(api):
    """By the description, so that a route which comes later is in it."""
    kinds = {"echo": api.create(tenant="acme", subject="7")["id"], "pdf": api.create("pdf", tenant="acme", subject="7")["id"]}
    strangers = [make(api, f"{role}{i}", role, **kw)[0] for role in ("submit", "read", "worker")
                 for i, kw in enumerate(({"tenant": "other"}, {"subject": "8"}, {"tenant": "other", "act_for_subjects": True}))]
    paths = api.get("/openapi.json").json["paths"]
    n = 0
    for path, methods in paths.items():
        if "{id}" not in path:
            continue
        for method in methods.keys() & {"get", "post", "delete"}:
            for h, job in itertools.product(strangers, kinds.values()):
                r = api.call(method.upper(), path.replace("{id}", job).replace("{name}", "x"), None, h, tcp=True)
                assert r.status in (403, 404), (method, path, r)
                assert job not in r.headers.get("Location", "") and b'"state"' not in r.body
                n += 1
    assert n >= 13 * 2 * len(strangers)
    assert api.db.sql("select count(*) from reeve.ready") == [(2,)] and api.db.sql("select count(*) from reeve.job") == [(2,)]
    for h in strangers:
        for path in ("/api/jobs", "/api/jobs?kind=echo", "/api/jobs?queue=default&state=ready",
                     "/api/jobs?cursor=ffffffff-ffff-ffff-ffff-ffffffffffff", f"/api/jobs?cursor={max(kinds.values())[:-1]}f"):
            assert api.get(path, h, tcp=True).json["jobs"] == [], path


def revoke_elsewhere(api, name):
    """As another reeve-api does it, of which this one is not told."""
    api.db.sql("update reeve.api_key set revoked_at = now(), revoked_by = 'x' where name = %s", name)


@pytest.mark.parametrize("where", ["here", "elsewhere"])
def test_a_key_revoked_while_a_job_is_waited_for(api, where):
    h, key = make(api, "k")
    job = api.create(tenant="acme")["id"]
    got = []
    t = threading.Thread(target=lambda: got.append(api.get(f"/api/jobs/{job}?wait=60s", h, tcp=True, timeout=90)))
    t.start()
    time.sleep(0.5)
    if where == "here":
        assert api.call("DELETE", f"/api/keys/{key}").status == 204
    else:
        revoke_elsewhere(api, "k")
    t.join(60)
    assert got and got[0].status == 401, got


def test_a_key_revoked_while_a_puller_waits(api):
    api.db.sql("update reeve.kind set lease_usec = 30000000 where name = 'echo'")
    h, _ = make(api, "k", "worker")
    got = []
    t = threading.Thread(target=lambda: got.append(api.post(
        "/api/queues/default/claim", {"kinds": ["echo"], "wait": "60s"}, h, tcp=True, timeout=90)))
    t.start()
    time.sleep(0.5)
    revoke_elsewhere(api, "k")
    t.join(60)
    assert got and got[0].status == 401, got
    api.create(tenant="acme")
    assert api.db.sql("select count(*) from reeve.ready") == [(1,)]


@pytest.mark.parametrize("type", ["application/octet-stream", "application/json"])
def test_a_key_revoked_while_a_body_comes(api, type):
    """What comes to its end later is not taken."""
    h, key = make(api, "k")
    body = b'{"kind":"echo"}' + b" " * 985
    query = "" if "json" in type else "?kind=echo"
    with socket.create_connection(api.tcp, timeout=60) as s:
        s.sendall(f"POST /api/jobs{query} HTTP/1.1\r\nHost: a\r\nContent-Type: {type}\r\nContent-Length: 1000\r\n"
                  f"Authorization: {h['Authorization']}\r\n\r\n".encode() + body[:500])
        time.sleep(0.5)
        assert api.call("DELETE", f"/api/keys/{key}").status == 204
        time.sleep(0.5)
        s.sendall(body[500:])
        assert s.recv(4096).startswith(b"HTTP/1.1 401")
    assert api.db.sql("select count(*) from reeve.job") == [(0,)]


def test_revoked_and_expired(api):
    h, key = make(api, "k")
    assert api.get("/api/jobs", h, tcp=True).status == 200
    assert api.call("DELETE", f"/api/keys/{key}").status == 204
    r = api.get("/api/jobs", h, tcp=True)
    assert r.status == 401 and r.headers["WWW-Authenticate"] == "Bearer"
    assert api.call("DELETE", f"/api/keys/{key}").status == 404
    make(api, "k")  # the name is free again
    old, _ = make(api, "old", expires_at="2001-01-01T00:00:00Z")
    assert api.get("/api/jobs", old, tcp=True).status == 401


def test_guessing_is_bounded(api):
    good, _ = make(api, "good")
    assert api.get("/api/jobs", good, tcp=True).status == 200
    # Wrong keys whose hashes begin as the good one's: they must not drive it out of what is known.
    first = hashlib.sha256(good["Authorization"].split()[1].encode()).hexdigest()[:2]
    near = (k for k in map(str, itertools.count()) if hashlib.sha256(k.encode()).hexdigest()[:2] == first)
    codes = [api.get("/api/jobs", {"Authorization": f"Bearer {next(near)}"}, tcp=True).status for _ in range(15)]
    assert codes[:10] == [401] * 10 and codes[-1] == 429
    assert api.get("/api/jobs", good, tcp=True).status == 200, "a key that is known goes on"
    # Also when what is known of it is old, or was forgotten: who guesses behind the same proxy must not keep it out.
    _, other = make(api, "other")
    assert api.call("DELETE", f"/api/keys/{other}").status == 204
    assert api.get("/api/jobs", {"Authorization": "Bearer x"}, tcp=True).status == 429
    assert api.get("/api/jobs", good, tcp=True).status == 200
    # But not for ever: revoked, it is as any wrong one.
    api.db.sql("update reeve.api_key set revoked_at = now(), revoked_by = 'x' where name = 'good'")
    api.call("DELETE", f"/api/keys/{make(api, 'third')[1]}")
    assert api.get("/api/jobs", good, tcp=True).status == 401
    assert api.get("/api/jobs", good, tcp=True).status in (401, 429)


@pytest.mark.parametrize("body", [{"name": "a b", "role": "read", "tenant": "t"}, {"name": "a", "role": "king", "tenant": "t"},
                                  {"name": "a", "role": "read"}, {"name": "a", "role": "read", "tenant": "t", "x": 1},
                                  {"name": "a", "role": "admin", "tenant": "t"}, {"name": "a", "role": "read", "tenant": "t", "expires_at": "soon"},
                                  {"name": "a", "role": "submit", "tenant": "t", "subject": ""}])
def test_wrong_keys_are_refused(api, body):
    assert api.post("/api/keys", body).status == 400


def test_name_taken(api):
    make(api, "k")
    assert api.post("/api/keys", {"name": "k", "role": "admin"}).status == 409
