"""System 004's routes: POST /api/v1/process-pdf-async decides by a flag, /api/v1/jobs/{id} tells what became of it."""
import threading
import time
import uuid

import pytest

from async_system import FIELDS, FLAG, SIZE_RULE, Async, check_started, form, queue_db
from conftest import api_tests, text_page, wait_for, write_pdf
from patience import within


@pytest.fixture
def system(database):
    s = Async(database)
    try:
        yield s
    finally:
        s.close()


@pytest.fixture
def small(tmp_path):
    """Three pages of our own, for tests that look at something else."""
    return write_pdf(tmp_path / "small.pdf", [text_page(f"page {i}") for i in range(3)])


# ---- the flag decides


def test_the_percentage_is_that_of_the_subject(system, small):
    """10 %: subject 5 is in it and 50 is not; both get the same pages of the same handlers."""
    system.flag(percent=10000)
    system.up()
    id = check_started(system.post(small, user_id="5"))
    now = system.post(small, user_id="50")
    assert now.status == 200, now
    assert now.json["status"] == "completed" and now.json["queue"] == "inline" and now.json["user_id"] == "50"
    assert now.json["result"]["pages"] == 3 and "Deprecation" not in now.headers
    later = system.ended(id)
    assert later["status"] == "completed" and later["queue"] == "pdf" and later["user_id"] == "5"
    assert later["result"] == now.json["result"]
    assert system.files(id) == system.files(now.json["job_id"])
    # A hundred later the same: modulo, not a hash.
    assert system.post(small, user_id="109").status == 202 and system.post(small, user_id="110").status == 200


def test_a_large_document_and_a_test_account_are_always_in(system, small, tmp_path):
    system.flag(percent=0, rules=SIZE_RULE, allow=["tester"])
    system.up()
    large = write_pdf(tmp_path / "large.pdf", [text_page("large"), b"%" + b"x" * (10 << 20)])
    check_started(system.post(large, user_id="50"))
    check_started(system.post(small, user_id="tester"))
    assert system.post(small, user_id="50").status == 200
    # Nobody's, and one that is no number: not in any percentage.
    system.control.change("set-flag-percent", FLAG, 99000)
    wait_for(lambda: system.api.get(f"/api/flags/{FLAG}").json["percent"] == 99, what="99 %")
    assert system.post(small).status == 200 and system.post(small, user_id="x").status == 200


@pytest.mark.parametrize("there", [False, True])
def test_off_is_refused_or_done_inline(system, small, there):
    """A flag that is not there is one that is off."""
    if there:
        system.flag(enabled=False, percent=100000, allow=["5"])
    system.up()
    r = system.post(small, user_id="5")
    assert r.status == 503 and r.headers["Retry-After"] == "60" and FLAG in r.json["detail"], r
    assert system.db.value("select count(*) from reeve.job") == 0
    system.api.stop()
    system.api.configure(system.db.conninfo, "[Api]\nWhenFlagOff=inline\nSunsetSec=7d\n")
    system.api.start()
    system.api.wait_up()
    r = system.post(small, user_id="5")
    assert r.status == 200 and r.json["queue"] == "inline", r
    # At 100 % the synchronous way is at its end.
    assert ("Deprecation" in r.headers) == ("Sunset" in r.headers) == there
    if there:
        since = int(r.headers["Deprecation"].removeprefix("@"))
        assert abs(since - time.time()) < 300
        end = time.mktime(time.strptime(r.headers["Sunset"], "%a, %d %b %Y %H:%M:%S GMT")) - time.timezone
        assert end == since + 7 * 86400


def test_emergency_off_lets_what_runs_end(system, book):
    system.flag(percent=100000)
    system.up(inline=False)
    id = check_started(system.post(book(100)))
    system.control.change("set-flag-enabled", FLAG, False)
    wait_for(lambda: system.post(book(30)).status == 503, what="503")
    assert system.ended(id)["status"] == "completed"


def test_a_synchronous_answer_that_takes_too_long(system, small):
    """202 after SyncTimeoutSec=, and the job goes on. Without a worker of the pool inline, too."""
    system.flag(percent=0)
    system.up(inline=False, conf="[Api]\nSyncTimeoutSec=1s\n")
    t0 = time.monotonic()
    r = system.post(small, user_id="50")
    assert time.monotonic() - t0 >= 1
    id = check_started(r)
    assert system.v1(id)["status"] == "pending" and system.v1(id)["task_state"]["state"] == "PENDING"
    system.world.start(name="inline")
    assert system.ended(id)["status"] == "completed"


def test_who_waits_for_an_answer_is_never_left_without_one(system, small):
    """The service stops, the database goes: 202, with the job. A client that hangs up: it goes on, too."""
    system.flag(percent=0)
    system.up(inline=False, conf="[Api]\nSyncTimeoutSec=4s\n")
    count = "select count(*) from reeve.job where parent is null"

    def waiting(n):
        got = []
        t = threading.Thread(target=lambda: got.append(system.post(small, user_id="50")))
        t.start()
        wait_for(lambda: system.db.value(count) == n, what="the job")
        return t, got
    t, got = waiting(1)
    system.api.stop()
    t.join(within(20))
    ids = [check_started(got[0])]
    system.api.start()
    system.api.wait_up()
    body, head = form(("user_id", "50"), ("pdf_file", small, "a.pdf"))
    c = system.api.connect()
    c.request("POST", "/api/v1/process-pdf-async", body, head)
    wait_for(lambda: system.db.value(count) == 2, what="the second job")
    c.close()
    t, got = waiting(3)
    wait_for(lambda: system.db.value("select count(*) from pg_stat_activity where datname = current_database() and query ~ 'unnest.*reeve.done'"
                                     " and application_name = 'reeve-api'"), what="the API waits for the job's end", step=0.001)
    system.db.server.stop()
    try:
        t.join(within(20))
    finally:
        system.db.server.start()
    ids.append(check_started(got[0]))
    assert "database is away" in got[0].json["message"]
    system.api.wait_up()
    system.world.start(name="inline")
    wait_for(lambda: [system.v1(id)["status"] for id in ids] == ["completed"] * 2, 60, "both ended")
    ended = "select count(*) from reeve.done d join reeve.job j on j.id = d.job where j.parent is null"
    wait_for(lambda: system.db.value(ended) == 3, 60, "all ended")


def test_chunks_of_a_synchronous_job_are_in_its_queue(system, book):
    """Nothing but the pool inline runs: so a pause of others holds nobody up."""
    system.flag(percent=0)
    system.start()
    system.world.start(name="inline")
    system.world.workers[0].stop()
    r = system.post(book(100), user_id="50")
    assert r.status == 200 and r.json["result"]["pages_read"] == 100, r
    assert system.db.sql("select distinct queue from reeve.job") == [("inline",)]


def test_a_synchronous_failure_is_told(system):
    system.flag(percent=0)
    system.up()
    r = system.post(b"%PDF-1.7\nrubbish", user_id="50")
    assert r.status == 422 and r.headers["Content-Type"] == "application/problem+json", r
    assert (r.json["status"], r.json["job_status"], r.json["error_code"]) == (422, "failed", "DAMAGED")
    assert system.v1(r.json["job_id"])["error_code"] == "DAMAGED"


# ---- whose it is


def test_the_subject_is_the_keys_own_or_the_forms(system, small):
    system.flag(percent=10000)
    system.up(inline=False, conf="[Api]\nSyncTimeoutSec=1s\n")
    own, acts = system.key(subject="5"), system.key(act_for_subjects=True)
    id = check_started(system.post(small, key=own))
    assert system.v1(id, key=own)["user_id"] == "5"
    check_started(system.post(small, key=own, user_id="5"))
    r = system.post(small, key=own, user_id="6")
    assert r.status == 403 and "user_id" in r.json["detail"], r
    id = check_started(system.post(small, key=acts, user_id="9"))
    assert system.v1(id)["user_id"] == "9" and system.v1(id)["queue"] == "pdf"
    id = check_started(system.post(small, key=acts, user_id="50"))
    assert system.v1(id)["queue"] == "inline"
    # Another's job is not there; neither is one that is no document's.
    other = system.key(subject="6")
    system.v1(id, key=own, status=404)
    for suffix, method in (("", "GET"), ("/chunks", "GET"), ("/cancel", "POST")):
        system.v1(id, suffix, method, key=other, status=404)
        system.v1(uuid.uuid4(), suffix, method, status=404)
        system.v1("17", suffix, method, status=404)
    assert system.post(small, key="wrong").status == 401
    reader = system.key(role="read")
    assert system.post(small, key=reader).status == 403


def pending(system, key=None, **fields):
    """A job that waits for its document."""
    head = {"Authorization": f"Bearer {key}"} if key else {}
    r = system.api.post("/api/jobs", {"kind": "pdf", "delay": "1h"} | fields, head, tcp=bool(key))
    assert r.status == 202, r
    return r.json["id"]


def test_a_pending_job_takes_its_document(system, small):
    system.flag(percent=10000)
    system.up()
    for subject, status in (("5", 202), ("50", 200)):
        id = pending(system, subject=subject)
        assert system.v1(id)["status"] == "pending"
        r = system.post(small, job_id=id)
        assert r.status == status and r.json["job_id"] == id, r
        job = system.ended(id)
        assert (job["status"], job["user_id"], job["original_filename"]) == ("completed", subject, "doc.pdf")
        assert job["queue"] == ("pdf" if subject == "5" else "inline") and len(system.files(id)) == 3
        r = system.post(small, job_id=id)
        assert r.status == 409 and "completed" in r.json["detail"], r
    assert [h["event"] for h in system.api.get(f"/api/jobs/{id}/history").json["history"] if h["event"] == "document"] == ["document"]
    system.world.check_invariant()


def test_a_job_id_that_is_not_the_callers_pending_one(system, small):
    system.flag(percent=100000)
    system.up(inline=False)
    key = system.key(subject="5")
    mine = pending(system, key)
    for id in (uuid.uuid4(), pending(system, subject="6"), pending(system, tenant="other", subject="5")):
        assert system.post(small, key=key, job_id=str(id)).status == 404
    assert system.post(small, job_id=mine, user_id="6").status == 404
    system.db.add_kind("echo")
    assert system.post(small, job_id=system.api.create("echo", delay="1h")["id"]).status == 404
    cancelled = pending(system, key)
    system.v1(cancelled, "/cancel", "POST", key=key)
    r = system.post(small, key=key, job_id=cancelled)
    assert r.status == 409 and r.json["detail"] == "Job is in cancelled status, cannot process"
    r = system.post(small, key=key, job_id=mine, headers={"Idempotency-Key": "x"})
    assert r.status == 400 and "exclude" in r.json["detail"]
    # Nothing was changed by all that, and now it is taken, once.
    assert system.v1(mine)["status"] == "pending"
    check_started(system.post(small, key=key, job_id=mine))
    assert system.post(small, key=key, job_id=mine).status == 409
    assert system.ended(mine)["status"] == "completed"


def test_the_same_request_again_makes_no_second_job(system, small):
    """Idempotency-Key: also when the flag says something else by then."""
    system.flag(percent=100000)
    system.up()
    head = {"Idempotency-Key": "k1"}
    id = check_started(system.post(small, head, user_id="50"))
    system.ended(id)
    assert check_started(system.post(small, head, user_id="50"), "completed") == id
    system.control.change("set-flag-percent", FLAG, 0)
    wait_for(lambda: system.api.get(f"/api/flags/{FLAG}").json["percent"] == 0, what="0 %")
    r = wait_for(lambda: (a := system.post(small, head, user_id="50")).status == 200 and a, what="the new percentage")
    assert r.json["job_id"] == id and r.json["queue"] == "pdf"
    assert system.post(small, head, user_id="51").status == 422
    assert system.db.value("select count(*) from reeve.job where parent is null") == 1


# ---- bad input


@pytest.mark.parametrize("parts, status, text", [
    ([], 400, "pdf_file"),
    ([("job_id", "x"), ("pdf_file", b"%PDF-1", "a.pdf")], 400, "job_id"),
    ([("job_id", ""), ("pdf_file", b"%PDF-1", "a.pdf")], 400, "job_id"),
    ([("job_id", "y" * 200), ("pdf_file", b"%PDF-1", "a.pdf")], 400, "job_id"),
    ([("job_id", b"0199\0"), ("pdf_file", b"%PDF-1", "a.pdf")], 400, "job_id"),
    ([("job_id", str(uuid.UUID(int=1))), ("job_id", str(uuid.UUID(int=2)))], 400, "twice"),
    ([("user_id", ""), ("pdf_file", b"%PDF-1", "a.pdf")], 400, "user_id"),
    ([("user_id", "u" * 257), ("pdf_file", b"%PDF-1", "a.pdf")], 400, "user_id"),
    ([("user_id", "u" * 300), ("pdf_file", b"%PDF-1", "a.pdf")], 413, ""),
    ([("user_id", b"\xff"), ("pdf_file", b"%PDF-1", "a.pdf")], 400, "user_id"),
    ([("user_id", "5"), ("user_id", "6")], 400, "twice"),
    ([("job_id", "x", "file")], 400, "not known"),
    ([("file", b"%PDF-1", "a.pdf")], 400, "-F pdf_file=@"),
    ([("pdf_file", b"%PDF-1")], 400, "no file"),
    ([("pdf_file", b"", "")], 400, "no file"),
    ([("pdf_file", b"", "a.pdf")], 400, "empty"),
    ([("pdf_file", b"GIF89a", "a.pdf")], 415, "not a PDF"),
    ([("pdf_file", b"%PDF-1", "a.pdf"), ("pdf_file", b"%PDF-1", "b.pdf")], 400, "One document"),
    ([("gemini_model", "speed"), ("pdf_file", b"%PDF-1", "a.pdf")], 400, "not known"),
], ids=str)
def test_a_form_that_is_none(database, start_api, parts, status, text):
    body, head = form(*parts)
    r = start_api.call("POST", "/api/v1/process-pdf-async", body, head)
    assert r.status == status and r.headers["Content-Type"] == "application/problem+json", r
    assert text in r.json["detail"], r
    assert database.value("select count(*) from reeve.job") == 0
    assert not [p for p in start_api.blobs.rglob("*") if p.is_file() and "sha" in p.name]


@pytest.fixture
def start_api(database):
    queue_db.Control(database).create(FLAG, enabled=True, percent=100000)
    database.add_kind("pdf")
    a = api_tests.Api(database)
    try:
        a.wait_up()
        yield a
    finally:
        a.close()


def test_what_else_is_refused(start_api):
    body, head = form(("pdf_file", b"%PDF-1", "a.pdf"))
    path = "/api/v1/process-pdf-async"
    assert start_api.call("POST", path + "?queue=x", body, head).status == 400
    assert start_api.call("POST", path, body, {"Content-Type": "application/pdf"}).status == 415
    assert start_api.call("POST", path, body[:-20], head).status == 400
    assert start_api.call("GET", path).status == 405
    r = start_api.call("POST", path, b"", head | {"Content-Length": str(60 << 20)})
    assert r.status == 413, r


# ---- what is told of it


def test_the_whole_of_a_job(system, book):
    system.flag(percent=100000)
    system.up(inline=False)
    id = check_started(system.post(book(100), name="novel.pdf", user_id="7"))
    seen = []

    def look():
        job = system.v1(id)
        chunks = system.v1(id, "/chunks")
        seen.append((job, chunks))
        return job["status"] == "completed"
    wait_for(look, 60, "the end", step=0.01)
    for job, chunks in seen:
        assert FIELDS <= set(job), FIELDS - set(job)
        assert job["job_id"] == id and job["max_retries"] == 3 and job["original_filename"] == "novel.pdf"
        assert job["total_chunks"] in (0, 6) and 0 <= job["processed_chunks"] <= job["total_chunks"]
        assert job["task_state"]["state"] == {"pending": "PENDING", "completed": "SUCCESS"}.get(job["status"], "STARTED")
        assert set(chunks) == {"job_id", "total_chunks", "chunks", "summary"}
        assert set(chunks["summary"]) == {"pending", "processing", "success", "failed", "retry_scheduled"}
        assert sum(chunks["summary"].values()) == chunks["total_chunks"] == len(chunks["chunks"])
    order = [("pending", "processing", "completed").index(job["status"]) for job, _ in seen]
    assert order == sorted(order) and [j["progress_percent"] for j, _ in seen] == sorted(j["progress_percent"] for j, _ in seen)
    assert any(c["summary"]["processing"] and c["summary"]["pending"] for _, c in seen), "at most three of six at a time"
    job, chunks = seen[-1]
    assert (job["progress_percent"], job["processed_chunks"], job["failed_chunks"], job["is_cancelled"]) == (100, 6, [], False)
    assert [c["chunk_id"] for c in job["chunk_results"]] == list(range(6)) and job["chunk_results"][0]["pages_read"] == 20
    assert job["processing_time_seconds"] > 0 and job["completed_at"] > job["started_at"] >= job["created_at"]
    assert (job["gemini_api_calls"], job["actual_credits"], job["pricing_version"]) == (0, None, None)
    first, last = chunks["chunks"][0], chunks["chunks"][-1]
    assert (first["start_page"], first["end_page"], first["page_count"]) == (1, 20, 20) and last["end_page"] == 100
    assert {c["status"] for c in chunks["chunks"]} == {"success"} and {c["attempts"] for c in chunks["chunks"]} == {1}


def test_chunks_that_fail_and_are_tried_again(system, book):
    system.flag(percent=100000)
    # The second chunk fails for good, the third at its first attempt.
    system.install("pdf-chunk", before='p=$(cat "$REEVE_INPUT_DIR/payload.json"); case $p in *\'"chunk": 1,\'*) exit 65;; '
                   '*\'"chunk": 2,\'*) [ $REEVE_ATTEMPT -gt 1 ] || exit 75;; esac')
    system.up(inline=False)
    id = check_started(system.post(book(100)))
    wait_for(lambda: system.v1(id, "/chunks")["summary"]["retry_scheduled"], 60, "a retry", step=0.02)
    job = system.ended(id)
    assert job["status"] == "completed" and [c["chunk_id"] for c in job["failed_chunks"]] == [1], job
    chunks = system.v1(id, "/chunks")
    assert chunks["summary"] == {"pending": 0, "processing": 0, "success": 5, "failed": 1, "retry_scheduled": 0}
    assert chunks["chunks"][2]["attempts"] == 2
    assert chunks["chunks"][1]["last_error_code"] == job["failed_chunks"][0]["error_code"] == "EXIT_65", chunks["chunks"][1]


# ---- cancel


def test_cancel_of_what_runs_waits_for_its_end(system, small):
    """The answer says what the job is, not what it will be."""
    system.flag(percent=100000)
    system.install("pdf", before="sleep 30")
    system.up(inline=False)
    id = check_started(system.post(small))
    wait_for(lambda: system.v1(id)["task_state"]["info"]["state"] == "running", 20, "the split runs", step=0.02)
    r = system.v1(id, "/cancel", "POST")
    assert r == {"message": "Job cancelled successfully", "job_id": id, "status": "cancelled"}
    assert system.v1(id)["status"] == "cancelled"
    done = pending(system)
    assert system.v1(done, "/cancel", "POST", {})["status"] == "cancelled"


@pytest.mark.parametrize("status", ["completed", "failed"])
def test_a_job_that_has_ended_cannot_be_cancelled(system, small, status):
    system.flag(percent=100000)
    system.up(inline=False)
    id = check_started(system.post(small if status == "completed" else b"%PDF-"))
    assert system.ended(id)["status"] == status
    r = system.api.post(f"/api/v1/jobs/{id}/cancel")
    assert (r.status, r.json["detail"]) == (400, f"Cannot cancel job with status {status}")
    r = system.api.post(f"/api/v1/jobs/{id}/cancel", {"reason": "x"})
    assert r.status == 400 and "reason" in r.json["detail"]
