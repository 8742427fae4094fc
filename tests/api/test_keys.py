"""Keys over TCP: roles, tenants, subjects, revocation, and who guesses."""
import hashlib
import itertools

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
                 "admin or submit or read or worker, and no tenant.")
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


@pytest.mark.parametrize("body", [{"name": "a b", "role": "read", "tenant": "t"}, {"name": "a", "role": "king", "tenant": "t"},
                                  {"name": "a", "role": "read"}, {"name": "a", "role": "read", "tenant": "t", "x": 1},
                                  {"name": "a", "role": "admin", "tenant": "t"}, {"name": "a", "role": "read", "tenant": "t", "expires_at": "soon"}])
def test_wrong_keys_are_refused(api, body):
    assert api.post("/api/keys", body).status == 400


def test_name_taken(api):
    make(api, "k")
    assert api.post("/api/keys", {"name": "k", "role": "admin"}).status == 409
