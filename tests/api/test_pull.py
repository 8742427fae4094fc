"""Programs elsewhere that take their jobs over HTTP: claim, complete, fail, extend, progress."""
import fcntl
import hashlib
import json
import os
import resource
import threading
import time

import pytest

from conftest import SANITIZED, wait_for
from patience import within

KEY = "0190a5b2-0000-4000-8000-0123456789ab"


@pytest.fixture
def pulled(database, start):
    database.add_kind("resize", queue="images", lease_usec=30_000_000, retry_usec=2_000_000, retry_max_usec=60_000_000)
    database.add_kind("crop", queue="images", priority=8, lease_usec=5_000_000, retry_usec=0, retry_max_usec=0)
    database.add_kind("echo")
    return start()


def claim(api, *kinds, queue="images", status=200, headers=None, tcp=False, **fields):
    r = api.post(f"/api/queues/{queue}/claim", {"kinds": kinds or ("resize",), **fields}, headers, tcp=tcp)
    assert r.status == status, r
    return r.json["runs"] if status == 200 else r.json


def say(api, run, word, expect=200, **fields):
    r = api.post(f"/api/runs/{run['run_id']}/{word}", {"run_key": run["run_key"], **fields})
    assert r.status == expect, r
    return r.json


@pytest.mark.direct("prism rounds numbers")
def test_from_claim_to_result(pulled):
    job = pulled.create("resize", payload={"width": 200}, tenant="acme", subject="7")
    (run,) = claim(pulled, worker="gpu-3")
    assert {k: run[k] for k in ("job_id", "kind", "queue", "priority", "tenant", "subject", "attempt", "max_attempts", "payload",
                                "lease_usec")} == {
        "job_id": job["id"], "kind": "resize", "queue": "images", "priority": 5, "tenant": "acme", "subject": "7", "attempt": 1,
        "max_attempts": 3, "payload": {"width": 200}, "lease_usec": 30_000_000}
    assert pulled.get(f"/api/jobs/{job['id']}").json["state"] == "running"
    assert claim(pulled) == []
    told = say(pulled, run, "progress", progress=40, status="half of it")
    assert told["job_id"] == job["id"] and told["cancel"] is False and told["lease_expires_at"].endswith("Z")
    wait_for(lambda: pulled.get(f"/api/jobs/{job['id']}").json.get("progress") == 40, what="progress")
    ended = say(pulled, run, "complete", result={"width": 200, "big": 12345678901234567890})
    assert ended["state"] == "succeeded" and ended["host"] == "gpu-3"
    assert b"12345678901234567890" in pulled.get(f"/api/jobs/{job['id']}").body
    assert "has ended" in say(pulled, run, "complete", 409, result=1)["detail"]
    assert say(pulled, run, "extend", 409)["type"] == "urn:reeve:problem:conflict"


def test_ten_thousand_queues_that_nobody_pulls_from_hold_nobody_up(pulled):
    for begin in range(0, 10_000, 2_000):
        jobs = [{"kind": "resize", "tenant": "a", "queue": f"q{i}"} for i in range(begin, begin + 2_000)]
        assert pulled.post("/api/jobs", jobs, timeout=60).status == 202
    for _ in range(3):
        job = pulled.create("resize", tenant="b")
        runs = []
        wait_for(lambda: runs.extend(claim(pulled, wait="5s")) or runs, 60, "the job of another tenant")
        assert [r["job_id"] for r in runs] == [job["id"]]


def test_failures_and_attempts(pulled):
    job = pulled.create("crop", max_attempts=2)
    (run,) = claim(pulled, "crop")
    assert say(pulled, run, "fail", code="BUSY", message="later", log="line 1\nline 2")["state"] == "scheduled"
    pulled.db.sql(
        "with s as (delete from reeve.scheduled returning *) insert into reeve.ready (job, lane, attempt) select job, lane, attempt from s")
    (run,) = claim(pulled, "crop", wait="5s")
    assert run["attempt"] == 2
    ended = say(pulled, run, "fail", code="BUSY", message="still")
    assert ended["state"] == "failed" and ended["error"] == {"code": "BUSY", "message": "still"} and ended["attempt"] == 2
    history = pulled.get(f"/api/jobs/{job['id']}/history").json["history"]
    assert any(h.get("log") == "line 1\nline 2" and h["event"] == "retry" for h in history), history

    pulled.create("crop")
    (run,) = claim(pulled, "crop", wait="5s")
    ended = say(pulled, run, "fail", code="BAD", message="it has no pixels", retry=False)
    assert (ended["state"], ended["attempt"]) == ("failed", 1)


def test_a_retry_is_not_before_the_time_named(pulled):
    job = pulled.create("resize")
    (run,) = claim(pulled)
    say(pulled, run, "fail", retry_after=3600)
    assert pulled.db.value("select run_at > now() + interval '59 minutes' from reeve.scheduled where job = %s", job["id"])


def test_waiting_for_a_job(pulled):
    got = []
    waiters = [threading.Thread(target=lambda: got.extend(claim(pulled, wait="30s"))) for _ in range(3)]
    for w in waiters:
        w.start()
    ids = {pulled.create("resize")["id"] for _ in range(3)}
    for w in waiters:
        w.join(within(25))
    assert {r["job_id"] for r in got} == ids and len({r["run_id"] for r in got}) == 3
    t = time.monotonic()
    assert claim(pulled, wait="300ms") == [] and time.monotonic() - t >= 0.3


def test_higher_priority_and_own_kinds_first(pulled):
    low, high, other = pulled.create("resize")["id"], pulled.create("crop")["id"], pulled.create("echo", queue="images")["id"]
    assert [r["job_id"] for r in claim(pulled, "resize", "crop", n=1)] == [high]
    runs = claim(pulled, "resize", "crop", n=10)
    assert [r["job_id"] for r in runs] == [low] and runs[0]["lease_usec"] == 5_000_000  # the shorter of both
    assert pulled.get(f"/api/jobs/{other}").json["state"] == "ready"


def test_each_job_once_among_many(pulled):
    ids = [pulled.create("resize")["id"] for _ in range(60)]
    got, lock = [], threading.Lock()

    def pull():
        while True:
            runs = claim(pulled, n=3, wait="1s")
            if not runs:
                return
            with lock:
                got.extend(r["job_id"] for r in runs)
            for r in runs:
                assert say(pulled, r, "complete")["state"] == "succeeded"
    threads = [threading.Thread(target=pull) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(within(60))
    assert sorted(got) == sorted(ids)
    assert pulled.db.value("select count(*) from reeve.done where state = 'succeeded'") == 60


def test_a_cancel_is_told_and_holds(pulled):
    job = pulled.create("resize")["id"]
    (run,) = claim(pulled)
    assert pulled.post(f"/api/jobs/{job}/cancel", {"reason": "not needed"}).status == 202
    told = say(pulled, run, "extend", lease="10s")
    assert told["cancel"] is True and told["reason"] == "not needed"
    assert say(pulled, run, "fail", code="STOPPED")["state"] == "cancelled"
    assert pulled.db.value("select count(*) from reeve.cancel_request") == 0


def test_a_client_that_has_gone_takes_nothing(pulled):
    connections = [pulled.connect() for _ in range(5)]
    for c in connections:
        c.request("POST", "/api/queues/images/claim", json.dumps({"kinds": ["resize"], "wait": "30s"}),
                  {"Content-Type": "application/json"})
    time.sleep(0.3)
    for c in connections:
        c.close()
    job = pulled.create("resize")["id"]
    (run,) = claim(pulled, wait="20s")
    assert run["job_id"] == job


def test_a_job_that_is_too_late_is_not_given(pulled):
    late = pulled.create("resize", deadline="2036-01-01T00:00:00Z")["id"]
    pulled.db.sql("update reeve.job set deadline = now() - interval '1 second' where id = %s", late)
    good = pulled.create("resize")["id"]
    assert [r["job_id"] for r in claim(pulled, n=5, wait="5s")] == [good]
    wait_for(lambda: pulled.get(f"/api/jobs/{late}").json["state"] == "failed", what="the late one has failed")
    assert pulled.get(f"/api/jobs/{late}").json["cause"] == "deadline"


def test_a_paused_queue_gives_nothing(pulled):
    pulled.db.sql("insert into reeve.queue (name, paused, changed_by) values ('images', true, 'test')")
    pulled.create("resize")
    assert claim(pulled, wait="600ms") == []
    pulled.db.sql("delete from reeve.queue")
    assert len(claim(pulled, wait="20s")) == 1


def test_large_payload_result_and_inputs(pulled):
    payload, result = {"text": "x" * 100_000}, ["y" * 200_000]
    job = pulled.create("resize", payload=payload)["id"]
    (run,) = claim(pulled)
    assert "payload" not in run and run["payload_file"] == "payload.json"
    assert pulled.get(f"/api/jobs/{job}/files/payload.json").json == payload
    assert say(pulled, run, "complete", result=result)["state"] == "succeeded"
    digest = pulled.db.value("select result_blob from reeve.done where job = %s", job)
    assert json.loads((pulled.blobs / "default" / digest[7:9] / digest[9:]).read_bytes()) == result
    run = {"run_id": 1, "run_key": KEY}
    r = pulled.post("/api/runs/1/complete", {"run_key": KEY, "result": "z" * 1_200_000})
    assert r.status == 413, r


def make_key(api, name, **fields):
    return {"Authorization": "Bearer " + api.post("/api/keys", {"name": name, **fields}).json["secret"]}


def test_tenants_and_roles(pulled):
    acme = make_key(pulled, "a", role="worker", tenant="acme")
    everybody = make_key(pulled, "b", role="worker", tenant="*")
    submit = make_key(pulled, "c", role="submit", tenant="acme")
    one = make_key(pulled, "d", role="worker", tenant="acme", subject="7")
    other = pulled.create("resize", tenant="other")["id"]
    assert claim(pulled, headers=acme, tcp=True) == []
    assert claim(pulled, headers=submit, tcp=True, status=403)["type"] == "urn:reeve:problem:forbidden"
    assert "one subject" in claim(pulled, headers=one, tcp=True, status=403)["detail"]
    (run,) = claim(pulled, headers=everybody, tcp=True)
    assert run["job_id"] == other
    for word in ("complete", "fail", "extend", "progress"):  # though it knows id and key
        r = pulled.post(f"/api/runs/{run['run_id']}/{word}", {"run_key": run["run_key"]}, acme, tcp=True)
        assert r.status == 409, (word, r)
    r = pulled.post(f"/api/runs/{run['run_id']}/complete", {"run_key": run["run_key"]}, everybody, tcp=True)
    assert r.status == 200 and r.json["host"] == "key:b"


def test_a_stranger_cannot_end_a_workers_run(pulled):
    """A run that a worker has is not pulled: no word of HTTP moves it, even with its key."""
    job = pulled.create("echo")["id"]
    pulled.db.sql("with r as (delete from reeve.ready where job = %s returning *) insert into reeve.lease (run_key, job, instance, lane,"
                  " attempt, interruptions, flags) select %s, job, 1, lane, attempt, interruptions, flags from r", job, KEY)
    run = {"run_id": pulled.db.value("select run_id from reeve.lease"), "run_key": KEY}
    for word in ("complete", "fail", "extend", "progress"):
        say(pulled, run, word, 409)
    assert pulled.get(f"/api/jobs/{job}").json["state"] == "running"


BAD_CLAIMS = [
    ({}, "kinds"), ({"kinds": []}, "kinds"), ({"kinds": "resize"}, "kinds"), ({"kinds": ["a b"]}, "kinds"), ({"kinds": [1]}, "kinds"),
    ({"kinds": ["x"] * 300}, "kinds"), ({"kinds": ["resize"], "n": 0}, "n:"), ({"kinds": ["resize"], "n": 101}, "n:"),
    ({"kinds": ["resize"], "lease": "0s"}, "lease"), ({"kinds": ["resize"], "lease": "2d"}, "lease"),
    ({"kinds": ["resize"], "lease": 60}, "lease"), ({"kinds": ["resize"], "wait": "2min"}, "wait"),
    ({"kinds": ["resize"], "worker": ""}, "worker"), ({"kinds": ["resize"], "worker": "x" * 200}, "worker"),
    ({"kinds": ["resize"], "slots": 1}, "slots")]


def test_bad_claims(pulled):
    for body, what in BAD_CLAIMS:
        r = pulled.post("/api/queues/images/claim", body)
        assert r.status == 400 and what in r.json["detail"], (body, r)


def test_kinds_that_are_not_pulled(pulled):
    assert "echo" in claim(pulled, "resize", "echo", status=422)["detail"]
    assert "nothing" in claim(pulled, "nothing", status=422)["detail"]
    assert pulled.post("/api/queues/images/claim", "{", {"Content-Type": "application/json"}).status == 400
    assert pulled.post("/api/queues/images/claim", "x", {"Content-Type": "text/plain"}).status == 415


BAD_WORDS = [
    ("complete", {"run_key": "x"}, "run_key"), ("complete", {"run_key": 1}, "run_key"), ("complete", {"run_key": KEY, "state": 1}, "state"),
    ("complete", {"run_key": KEY, "result": {"$reeve": {"spawn": []}}}, "$reeve"),
    ("fail", {"run_key": KEY, "code": ""}, "code"), ("fail", {"run_key": KEY, "code": "x" * 64}, "code"),
    ("fail", {"run_key": KEY, "message": "x" * 600}, "message"), ("fail", {"run_key": KEY, "log": "x" * 20_000}, "log"),
    ("fail", {"run_key": KEY, "retry": 1}, "retry"), ("fail", {"run_key": KEY, "retry_after": -1}, "retry_after"),
    ("extend", {"run_key": KEY, "lease": "1ms"}, "lease"), ("extend", {"run_key": KEY, "progress": 1}, "progress"),
    ("progress", {"run_key": KEY, "progress": 101}, "progress"), ("progress", {"run_key": KEY, "progress": 1.5}, "progress"),
    ("progress", {"run_key": KEY, "status": "x" * 201}, "status")]


def test_bad_words(pulled):
    for word, fields, what in BAD_WORDS:
        r = pulled.post(f"/api/runs/1/{word}", fields)
        assert r.status == 400 and what in r.json["detail"], (word, fields, r)


def hold(api, text, tenant="default"):
    """The directory in which a blob of this text would get its name, as somebody else holds it for a moment."""
    digest = hashlib.sha256(text.encode()).hexdigest()
    place = api.blobs / tenant / digest[:2]
    place.mkdir(parents=True, exist_ok=True)
    fd = os.open(place, os.O_RDONLY)
    fcntl.flock(fd, fcntl.LOCK_EX)
    return fd, place / digest[2:]


def test_a_large_result_whose_directory_is_held(pulled):
    """By the collector of files, say: nothing has ended, and the program tries again."""
    job = pulled.create("resize")["id"]
    (run,) = claim(pulled)
    result = "x" * 100_000
    fd, blob = hold(pulled, json.dumps(result))
    r = pulled.post(f"/api/runs/{run['run_id']}/complete", {"run_key": run["run_key"], "result": result})
    assert r.status == 503 and r.headers["Retry-After"] and "Try again" in r.json["detail"], r
    assert pulled.get(f"/api/jobs/{job}").json["state"] == "running" and not blob.exists()
    os.close(fd)
    assert say(pulled, run, "complete", result=result)["state"] == "succeeded"
    assert json.loads(blob.read_bytes()) == result


def test_a_large_payload_whose_directory_is_held(pulled):
    payload = "y" * 100_000
    fd, blob = hold(pulled, json.dumps(payload))
    r = pulled.post("/api/jobs", {"kind": "resize", "payload": payload})
    assert r.status == 503 and r.headers["Retry-After"], r
    assert pulled.db.value("select count(*) from reeve.job") == 0
    os.close(fd)
    assert pulled.create("resize", payload=payload) and json.loads(blob.read_bytes()) == payload


@pytest.mark.skipif(SANITIZED, reason="the sanitizer's own memory hides it")
def test_no_memory_for_a_body_is_not_the_bodys_fault(pulled):
    """503 and not 400, wherever JSON is read; and what was asked for is done once there is memory again."""
    pulled.create("resize")
    (run,) = claim(pulled)
    many = "[" + "0," * 250_000 + "0]"
    complete = f'{{"run_key":"{run["run_key"]}","result":{many}}}'
    one = f'{{"kind":"resize","payload":{many}}}'
    head = {"Content-Type": "application/json"}
    asked = [(f"/api/runs/{run['run_id']}/complete", complete), ("/api/jobs", one), ("/api/jobs", f"[{one}]")]
    pid = pulled.process.pid
    size = int(open(f"/proc/{pid}/statm", encoding="ascii").read().split()[0]) * os.sysconf("SC_PAGE_SIZE")
    resource.prlimit(pid, resource.RLIMIT_AS, (size + (6 << 20), resource.RLIM_INFINITY))
    for path, body in asked:
        r = pulled.post(path, body, head)
        assert r.status == 503 and r.headers["Retry-After"] and r.json["type"] == "urn:reeve:problem:unavailable", r
    resource.prlimit(pid, resource.RLIMIT_AS, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
    assert [pulled.post(path, body, head).status for path, body in asked] == [200, 202, 202]


def test_runs_that_are_not(pulled):
    for id in ("0", "-1", "x", "99999999999999999999"):
        assert pulled.post(f"/api/runs/{id}/extend", {"run_key": KEY}).status == 404
    say(pulled, {"run_id": 77, "run_key": KEY}, "extend", 409)


def test_the_program_stops_while_pullers_wait(pulled):
    got = []
    t = threading.Thread(target=lambda: got.append(claim(pulled, wait="60s")))
    t.start()
    time.sleep(0.3)
    pulled.stop()
    t.join(within(20))
    assert got == [[]]


def test_the_database_goes_while_pullers_wait(pulled):
    got = []
    t = threading.Thread(target=lambda: got.extend(claim(pulled, wait="60s")))
    t.start()
    time.sleep(0.3)
    pulled.db.sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'reeve-api'")
    # It may not have noticed yet; and what it then cannot say may have been done.
    job = wait_for(lambda: (r := pulled.post("/api/jobs", {"kind": "resize"}, {"Idempotency-Key": "k"})).status in (200, 202)
                   and r.json["id"], what="the database is back")
    t.join(within(40))
    assert [r["job_id"] for r in got] == [job]
