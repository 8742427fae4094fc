"""The routes of jobs, as a client sees them."""
import json
import threading
import time
import uuid

import pytest

from conftest import wait_for
from patience import within


def problem(r, status, name):
    assert r.status == status, r
    assert r.headers["Content-Type"] == "application/problem+json"
    assert r.json["type"] == "urn:reeve:problem:" + name, r
    return r.json.get("detail", "")


def test_create_and_get(api):
    r = api.post("/api/jobs", {"kind": "echo", "payload": {"a": [1, "ü"]}, "priority": 9, "subject": "42", "max_attempts": 7,
                               "timeout": "5min", "tenant": "acme", "queue": "fast"})
    assert r.status == 202 and r.headers["Location"] == "/api/jobs/" + r.json["id"] and r.json["state"] == "ready"
    assert uuid.UUID(r.json["id"]).version == 7
    j = api.get(r.headers["Location"])
    assert j.status == 200
    assert {k: j.json[k] for k in ("kind", "queue", "priority", "tenant", "subject", "state", "max_attempts")} == {
        "kind": "echo", "queue": "fast", "priority": 9, "tenant": "acme", "subject": "42", "state": "ready", "max_attempts": 7}
    assert j.json["created_at"].endswith("+00:00")
    row = api.db.sql("select payload, timeout_usec, created_by from reeve.job where id = %s", r.json["id"])[0]
    assert row == ({"a": [1, "ü"]}, 300_000_000, "uid:0")
    same = api.get(r.headers["Location"], {"If-None-Match": j.headers["ETag"]})
    assert same.status == 304 and same.body == b""
    api.end_job(r.json["id"], result={"x": 1})
    new = api.get(r.headers["Location"], {"If-None-Match": j.headers["ETag"]})
    assert new.status == 200 and new.json["state"] == "succeeded" and new.json["result"] == {"x": 1}


def test_scheduled(api):
    assert api.create(delay="1h")["state"] == "scheduled"
    assert api.create(delay=3600)["state"] == "scheduled"
    assert api.create(run_at="2999-01-01T00:00:00+01:00")["state"] == "scheduled"
    assert api.create(run_at="1999-01-01T00:00:00Z")["state"] == "ready"


@pytest.mark.parametrize("fields, words", [
    ({"kind": "nope"}, 'unknown kind "nope"'), ({}, "kind: it is missing"), ({"kind": 7}, "kind: expected a string"),
    ({"kind": "echo", "colour": 1}, "colour"), ({"kind": "echo", "priority": 11}, "priority: expected a whole number from 1 to 10"),
    ({"kind": "echo", "priority": 1.5}, "priority"), ({"kind": "echo", "priority": 10**30}, "priority"),
    ({"kind": "echo", "run_at": "tomorrow"}, "run_at: expected a time"),
    ({"kind": "echo", "run_at": "2026-02-30T00:00:00Z"}, "run_at: expected a time"),
    ({"kind": "echo", "run_at": "2999-01-01T00:00:00Z", "delay": 1}, "delay: excludes run_at"),
    ({"kind": "echo", "delay": -1}, "delay"), ({"kind": "echo", "timeout": 0}, "timeout"),
    ({"kind": "echo", "tenant": "a b"}, "tenant"), ({"kind": "echo", "unique_key": ""}, "unique_key"),
    ({"kind": "echo", "deadline": "2001-01-01T00:00:00Z"}, "deadline is in the past"), ({"kind": "echo", "max_attempts": 1001}, "max_attempts"),
])
def test_wrong_values_are_named(api, fields, words):
    assert words in problem(api.post("/api/jobs", fields), 400, "invalid")
    assert api.db.value("select count(*) from reeve.job") == 0


@pytest.mark.parametrize("body", [b"{", b'{"kind":"echo"} x', b'{"kind":"\\u0000"}', b'{"kind":"\xff"}', b"[" * 100, b'{"kind":"echo",}', b"NaN"])
def test_broken_json(api, body):
    detail = problem(api.post("/api/jobs", body, {"Content-Type": "application/json"}), 400, "bad-json")
    assert "Line 1" in detail


def test_twice_named_field(api):
    problem(api.post("/api/jobs", b'{"kind":"echo","kind":"pdf"}', {"Content-Type": "application/json"}), 400, "invalid")


def test_no_body_and_wrong_type(api):
    problem(api.post("/api/jobs"), 400, "invalid")
    c = api.connect()
    c.putrequest("POST", "/api/jobs")
    c.endheaders()
    assert c.getresponse().status == 411
    problem(api.post("/api/jobs", b"x", {"Content-Type": "text/plain"}), 415, "media-type")


def test_not_found(api):
    problem(api.get("/api/jobs/" + str(uuid.uuid4())), 404, "not-found")
    problem(api.get("/api/jobs/xyz"), 404, "not-found")
    assert "/openapi.json" in problem(api.get("/api/nothing"), 404, "not-found")
    problem(api.call("PUT", "/api/jobs"), 405, "method-not-allowed")


def test_unique_conflict_answers_the_job_that_is_there(api):
    first = api.create(unique_key="k")
    r = api.post("/api/jobs", {"kind": "echo", "unique_key": "k"})
    assert r.status == 200 and r.json["id"] == first["id"] and r.headers["Location"].endswith(first["id"])


def test_idempotency(api):
    h = {"Idempotency-Key": "abc"}
    first = api.create(headers=h, payload=1)
    again = api.post("/api/jobs", {"kind": "echo", "payload": 1}, h)
    assert again.status == 200 and again.json["id"] == first["id"]
    problem(api.post("/api/jobs", {"kind": "echo", "payload": 2}, h), 422, "idempotency-mismatch")
    assert api.create(headers=h, payload=2, tenant="other")["id"] != first["id"]
    problem(api.post("/api/jobs", {"kind": "echo"}, {"Idempotency-Key": "x" * 513}), 400, "bad-header")


def test_bulk(api):
    r = api.post("/api/jobs", [{"kind": "echo", "payload": i} for i in range(500)])
    assert r.status == 202 and len({j["id"] for j in r.json["jobs"]}) == 500
    assert api.db.value("select count(*) from reeve.ready") == 500
    lines = "\n".join(json.dumps({"kind": "pdf", "payload": i}) for i in range(3)) + "\n\n"
    r = api.post("/api/jobs", lines, {"Content-Type": "application/x-ndjson", "Idempotency-Key": "b"})
    assert r.status == 202 and [j["outcome"] for j in r.json["jobs"]] == ["created"] * 3
    again = api.post("/api/jobs", lines, {"Content-Type": "application/x-ndjson", "Idempotency-Key": "b"})
    assert again.status == 200 and [j["id"] for j in again.json["jobs"]] == [j["id"] for j in r.json["jobs"]]


def test_bulk_is_all_or_nothing(api):
    r = api.post("/api/jobs", [{"kind": "echo"}, {"kind": "nope"}, {"kind": "echo"}, {"kind": "nix"}])
    problem(r, 400, "invalid")
    assert [e["index"] for e in r.json["errors"]] == [1, 3]
    r = api.post("/api/jobs", [{"kind": "echo"}, {"kind": "echo", "x": 1}, 7])
    assert [e["index"] for e in r.json["errors"]] == [1, 2]
    problem(api.post("/api/jobs", []), 400, "invalid")
    problem(api.post("/api/jobs", '{"kind":"echo"}\n{', {"Content-Type": "application/x-ndjson"}), 400, "bad-json")
    assert api.db.value("select count(*) from reeve.job") == 0


@pytest.mark.direct("a slow proxy holds requests back")
def test_concurrent_creates_share_commits(api):
    def work(n):
        c = api.connect()
        for i in range(10):
            r = c.call("POST", "/api/jobs", {"kind": "echo" if (n + i) % 7 else "nope", "payload": [n, i]})
            if r.status != (202 if (n + i) % 7 else 400):
                wrong.append(r)
            if r.status == 202:
                made.append(r.json["id"])
        c.close()
    made, wrong = [], []
    # While the table is locked, everything that comes gathers.
    lock = api.db.connect("postgres")
    lock.cursor().execute("lock table reeve.ready in share mode")
    threads = [threading.Thread(target=work, args=(n,)) for n in range(24)]
    for t in threads:
        t.start()
    time.sleep(0.5)
    lock.rollback()
    for t in threads:
        t.join(within(30))
    assert not wrong
    assert len(set(made)) == len(made) == api.db.value("select count(*) from reeve.ready") > 150
    text = api.get("/metrics").body.decode()
    statements = int(text.split("\nreeve_enqueue_statements_total ")[1].split("\n")[0])
    assert statements < 200, "240 requests did not share statements"
    assert f"reeve_jobs_enqueued_total {len(made)}\n" in text


def test_one_callers_poison_does_not_fail_the_others(api):
    """A value that passes our checks and that the server refuses with an error, in one statement with others."""
    api.db.sql("alter table reeve.job add constraint no_poison check (tenant <> 'poison')")
    lock = api.db.connect("postgres")
    lock.cursor().execute("lock table reeve.ready in share mode")
    replies = {}

    def work(name, body):
        replies[name] = api.post("/api/jobs", body)
    threads = [threading.Thread(target=work, args=("first", {"kind": "echo"}))]
    threads[0].start()
    wait_for(lambda: api.db.value("select count(*) from pg_stat_activity where application_name = 'reeve-api' and wait_event_type = 'Lock'"))
    for i in range(5):
        threads.append(threading.Thread(target=work, args=(i, {"kind": "echo", "payload": i})))
    threads.append(threading.Thread(target=work, args=("poison", {"kind": "echo", "tenant": "poison"})))
    for t in threads[1:]:
        t.start()
    time.sleep(0.3)
    lock.rollback()
    for t in threads:
        t.join(within(30))
    assert replies.pop("poison").status == 400
    assert {r.status for r in replies.values()} == {202}, replies


def test_wait(api):
    job = api.create()["id"]
    t = time.monotonic()
    threading.Timer(0.5, api.end_job, (job,)).start()
    r = api.get(f"/api/jobs/{job}?wait=20s")
    assert r.json["state"] == "succeeded" and 0.4 < time.monotonic() - t < within(3)
    t = time.monotonic()
    assert api.get(f"/api/jobs/{job}?wait=20s").json["state"] == "succeeded" and time.monotonic() - t < within(1)
    other = api.create()["id"]
    t = time.monotonic()
    assert api.get(f"/api/jobs/{other}?wait=500ms").json["state"] == "ready" and 0.4 < time.monotonic() - t < within(3)
    problem(api.get(f"/api/jobs/{other}?wait=soon"), 400, "bad-query")


def test_many_waiters_share_one_statement(api):
    jobs = [j["id"] for j in api.post("/api/jobs", [{"kind": "echo"}] * 40).json["jobs"]]
    replies = []
    threads = [threading.Thread(target=lambda j=j: replies.append(api.get(f"/api/jobs/{j}?wait=20s").json["state"])) for j in jobs]
    for t in threads:
        t.start()
    # Backends report what they did a second late. One statement for each waiter would be hundreds by then.
    time.sleep(2.5)
    before = api.db.value("select sum(xact_commit) from pg_stat_database where datname = current_database()")
    time.sleep(2)
    after = api.db.value("select sum(xact_commit) from pg_stat_database where datname = current_database()")
    assert after - before < 120, "40 waiters for 2 s"
    for j in jobs:
        api.end_job(j)
    for t in threads:
        t.join(within(20))
    assert replies == ["succeeded"] * 40


def test_cancel_and_retry(api):
    job = api.create(payload={"n": 1}, tenant="acme", subject="7", priority=2, max_attempts=9)["id"]
    problem(api.post(f"/api/jobs/{job}/retry"), 409, "conflict")
    r = api.post(f"/api/jobs/{job}/cancel", {"reason": "not wanted"})
    assert r.status == 200 and r.json == {"id": job, "outcome": "cancelled"}
    problem(api.call("DELETE", f"/api/jobs/{job}"), 409, "conflict")
    j = api.get(f"/api/jobs/{job}").json
    assert (j["state"], j["actor"], j["reason"]) == ("cancelled", "uid:0", "not wanted")
    r = api.post(f"/api/jobs/{job}/retry", {"reason": "after all"})
    assert r.status == 202 and r.json["retry_of"] == job and r.json["id"] != job and r.headers["Location"].endswith(r.json["id"])
    assert [r.json[k] for k in ("tenant", "subject", "priority", "max_attempts", "state")] == ["acme", "7", 2, 9, "ready"]
    assert api.db.value("select payload from reeve.job where id = %s", r.json["id"]) == {"n": 1}
    h = api.get(f"/api/jobs/{job}/history").json["history"]
    assert [(e["event"], e.get("to"), e.get("reason"), e.get("attempt")) for e in h] == [
        ("enqueue", None, None, None), ("cancel", None, "not wanted", None), ("end", "cancelled", "not wanted", None),
        ("retry", None, "after all", None)], h
    assert [e for e in h if e["event"] == "retry"][0]["detail"] == {"job": r.json["id"]}
    problem(api.post(f"/api/jobs/{uuid.uuid4()}/cancel"), 404, "not-found")
    problem(api.post(f"/api/jobs/{uuid.uuid4()}/retry"), 404, "not-found")
    problem(api.post(f"/api/jobs/{job}/retry", {"why": 1}), 400, "invalid")
    assert api.call("DELETE", f"/api/jobs/{api.create()['id']}?reason=x").status == 200


def ids(reply):
    assert reply.status == 200, reply
    return [j["id"] for j in reply.json["jobs"]]


def test_list(api):
    made = [api.create("pdf" if i % 2 else "echo", tenant="a" if i % 3 else "b", subject=str(i % 4))["id"] for i in range(12)][::-1]
    assert ids(api.get("/api/jobs")) == made
    page = api.get("/api/jobs?limit=5")
    got = ids(page)
    while "next" in page.json:
        page = api.get(f"/api/jobs?limit=5&cursor={page.json['next']}")
        got += ids(page)
    assert got == made
    order = made[::-1]
    assert ids(api.get("/api/jobs?kind=pdf")) == [j for i, j in enumerate(order) if i % 2][::-1]
    assert ids(api.get("/api/jobs?queue=documents&tenant=b")) == [j for i, j in enumerate(order) if i % 2 and i % 3 == 0][::-1]
    assert ids(api.get("/api/jobs?tenant=a&subject=1")) == [j for i, j in enumerate(order) if i % 3 and i % 4 == 1][::-1]
    for j in order[:4]:
        api.end_job(j)
    late = api.create(delay="1h")["id"]
    assert ids(api.get("/api/jobs?state=succeeded")) == order[:4][::-1]
    assert ids(api.get("/api/jobs?state=ready")) == order[4:][::-1]
    assert ids(api.get("/api/jobs?state=scheduled")) == [late]
    assert ids(api.get("/api/jobs?state=running")) == []
    assert ids(api.get("/api/jobs?created_before=2020-01-01T00:00:00Z")) == []
    assert len(ids(api.get("/api/jobs?created_after=2020-01-01T00:00:00Z"))) == 13


@pytest.mark.parametrize("query", ["colour=red", "limit=0", "limit=1000", "state=odd", "cursor=x", "created_after=now", "tenant=a&tenant=b"])
def test_list_refuses_what_it_does_not_know(api, query):
    problem(api.get("/api/jobs?" + query), 400, "bad-query")


def test_details_and_children(api):
    parent = api.create(payload={"a": [1, None]})["id"]
    assert api.get(f"/api/jobs/{parent}").json.keys().isdisjoint({"payload", "child_states", "payload_file"})
    got = api.get(f"/api/jobs/{parent}?details=true").json
    assert got["payload"] == {"a": [1, None]} and "child_states" not in got
    assert api.get(f"/api/jobs/{parent}?details=false").json.keys().isdisjoint({"payload"})
    assert api.get(f"/api/jobs/{parent}?details=yes").status == 400
    assert api.get(f"/api/jobs/{api.create()['id']}?details=true&wait=1ms").json["payload"] is None
    children = [api.create()["id"] for _ in range(5)]
    api.db.sql("update reeve.job set parent = %s where id = any (%s::uuid[])", parent, children)
    for child in children[:3]:
        api.end_job(child)
    assert api.get(f"/api/jobs/{parent}?details=true&wait=1ms").json["child_states"] == {"succeeded": 3, "ready": 2}
    assert sorted(j["id"] for j in api.get(f"/api/jobs?parent={parent}").json["jobs"]) == sorted(children)
    assert sorted(j["id"] for j in api.get(f"/api/jobs?parent={parent}&state=ready").json["jobs"]) == sorted(children[3:])
    page = api.get(f"/api/jobs?parent={parent}&limit=3").json
    rest = api.get(f"/api/jobs?parent={parent}&limit=3&cursor={page['next']}").json
    assert sorted(j["id"] for j in page["jobs"] + rest["jobs"]) == sorted(children)
    assert api.get(f"/api/jobs?parent={children[0]}").json == {"jobs": []}
    assert api.get("/api/jobs?parent=x").status == 400
    large = api.create(payload="x" * 70000)["id"]
    got = api.get(f"/api/jobs/{large}?details=true").json
    assert got["payload_file"] == "payload.json" and "payload" not in got
    assert api.get(f"/api/jobs/{large}/files/payload.json").json == "x" * 70000


def test_a_kind_is_retired(api):
    db = api.db
    old = api.create("pdf")["id"]
    assert api.call("DELETE", "/api/kinds/nothing").status == 404
    r = api.call("DELETE", "/api/kinds/pdf")
    assert r.status == 409 and "1 jobs of kind pdf" in r.json["detail"]
    db.sql("insert into reeve.instance (host, name, boot_id, pid, version, schema_version, kinds, queues, slots)"
           " values ('far', 'w', 'b', 1, '0', 1, '{echo,pdf}', '{*}', 1)")
    r = api.call("DELETE", "/api/kinds/pdf")
    assert r.status == 409 and "far/w" in r.json["detail"]
    db.sql("update reeve.instance set stopped_at = now()")
    api.end_job(old)
    assert api.call("DELETE", "/api/kinds/pdf?reason=" + "x" * 501).status == 400
    assert api.call("DELETE", "/api/kinds/pdf?reason=no%20more%20paper").status == 204
    assert [k["name"] for k in api.get("/api/kinds").json["kinds"]] == ["echo"]
    assert db.sql("select event, actor, reason from reeve.history where object = 'kind/pdf'") == [("retire", "uid:0", "no more paper")]
    assert api.post("/api/jobs", {"kind": "pdf"}).status == 400
    assert api.get(f"/api/jobs/{old}").json["state"] == "succeeded"


@pytest.mark.parametrize("where", ["ready", "scheduled", "blocked", "waiting", "lease"])
def test_a_kind_with_a_job_anywhere_is_not_retired(api, where):
    job = api.create("pdf")["id"]
    columns = {"ready": "", "scheduled": ", run_at) select job, lane, now()", "blocked": ", token) select job, lane, 'x'",
               "waiting": ", pending, children) select job, lane, 1, 1", "lease": ", instance, attempt, interruptions, flags) select job, lane, 1, 0, 0, 0"}
    if where != "ready":
        api.db.sql(f"with r as (delete from reeve.ready where job = %s returning *) insert into reeve.{where} (job, lane{columns[where]} from r", job)
    assert api.call("DELETE", "/api/kinds/pdf").status == 409


def test_lists_of_the_fleet(api):
    api.create()
    api.create("pdf")
    queues = {q["name"]: q for q in api.get("/api/queues").json["queues"]}
    assert queues["default"]["ready"] == 1 and queues["documents"]["ready"] == 1 and not queues["default"]["paused"]
    assert [k["name"] for k in api.get("/api/kinds").json["kinds"]] == ["echo", "pdf"]
    assert api.get("/api/workers").json["workers"] == []
    stats = api.get("/api/stats").json
    assert stats["jobs"]["ready"] == 2 and stats["workers"]["living"] == 0


def test_large_payload_becomes_a_blob(api):
    payload = {"text": "x" * 200_000}
    job = api.create(payload=payload)["id"]
    inline, digest = api.db.sql("select payload, payload_blob from reeve.job where id = %s", job)[0]
    assert inline is None
    blob = api.blobs / "default" / digest[7:9] / digest[9:]
    assert json.loads(blob.read_bytes()) == payload
    assert api.db.value("select count(*) from reeve.blob_ref where job = %s and direction = 'payload' and digest = %s", job, digest) == 1


def test_body_limit(start, database):
    database.add_kind("echo")
    api = start(conf="[Limits]\nBodyMax=64K\nUploadMax=1M\n")
    problem(api.post("/api/jobs", {"kind": "echo", "payload": "x" * 70_000}), 413, "body-too-large")
    c = api.connect()
    c.putrequest("POST", "/api/jobs")
    c.putheader("Content-Type", "application/json")
    c.putheader("Transfer-Encoding", "chunked")
    c.endheaders()
    c.send(b"20000\r\n" + b" " * 0x20000 + b"\r\n0\r\n\r\n")
    assert c.getresponse().status == 413
