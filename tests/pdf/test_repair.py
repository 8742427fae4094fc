"""What mends documents whose chunks have failed or hang: chunks/retry and the three routes of administrators."""
import uuid

import pytest

from async_system import Async, check_started
from conftest import page_texts, wait_for

HANG = "sleep 300"


@pytest.fixture
def system(database):
    s = Async(database)
    try:
        s.flag(percent=100000)
        yield s
    finally:
        s.close()


def when(chunks, then, more=""):
    """What a shell does before a chunk of these numbers."""
    pattern = "|".join(f"*'\"chunk\": {n},'*" for n in chunks)
    return f'case $(cat "$REEVE_INPUT_DIR/payload.json") in {pattern}) {more}{then};; esac'


def whole(system, id, path, n):
    assert system.files(id) == {f"page-{i:04}.txt": t for i, t in enumerate(page_texts(path, n), 1)}


def start(system, path, **chunk):
    if chunk:
        system.install("pdf-chunk", **chunk)
    if not system.api:
        system.up(inline=False)
    return check_started(system.post(path))


def test_failed_chunks_of_a_job_that_has_ended(system, book, tmp_path):
    """The job that has ended stays as it is: a new one takes its good chunks over and reads the others again."""
    path, mark = book(100), tmp_path / "mended"
    id = start(system, path, before=when([1, 4], "exit 65", f"[ -e {mark} ] || "))
    job = system.ended(id)
    assert job["status"] == "completed" and [c["chunk_id"] for c in job["failed_chunks"]] == [1, 4], job
    mark.touch()
    r = system.api.post(f"/api/v1/jobs/{id}/chunks/retry")
    assert r.status == 202 and set(r.json) == {"message", "job_id", "retried_count", "chunk_ids"}, r
    assert (r.json["message"], r.json["retried_count"], r.json["chunk_ids"]) == ("Retrying 2 chunks", 2, [1, 4])
    new = r.json["job_id"]
    assert r.headers["Location"] == f"/api/v1/jobs/{new}" and new != id
    job = system.ended(new)
    assert job["status"] == "completed" and job["failed_chunks"] == [] and job["retry_of"] == id, job
    whole(system, new, path, 100)
    # Six of six, two of which were run; and nothing has happened to the first.
    assert job["total_chunks"] == 6 and job["result"]["chunks"]["rounds"] == 1
    assert system.db.value("select count(*) from reeve.job where retry_of is null and parent = %s", new) == 2
    old = system.v1(id)
    assert old["status"] == "completed" and [c["chunk_id"] for c in old["failed_chunks"]] == [1, 4]
    assert [h["event"] for h in system.api.get(f"/api/jobs/{id}/history").json["history"]].count("retry") == 1
    system.world.check_invariant()
    # Nothing is left to be done, unless one insists.
    r = system.api.post(f"/api/v1/jobs/{new}/chunks/retry", {})
    assert r.status == 200 and r.json == {"message": "No chunks eligible for retry", "job_id": new, "retried_count": 0}
    assert system.api.post(f"/api/v1/jobs/{new}/chunks/retry", {"chunk_ids": [0]}).json["retried_count"] == 0
    r = system.api.post(f"/api/v1/jobs/{new}/chunks/retry", {"chunk_ids": [5, 0], "force": True})
    assert r.status == 202 and r.json["chunk_ids"] == [0, 5], r
    assert system.ended(r.json["job_id"])["status"] == "completed"
    whole(system, r.json["job_id"], path, 100)


def test_failed_chunks_of_a_job_that_goes_on(system, book, tmp_path):
    """The same job reads it again, as often as a job may be tried; then only with force."""
    path, mark, go = book(100), tmp_path / "mended", tmp_path / "go"
    slow = when([0], "true", f"while [ ! -e {go} ]; do sleep 0.05; done; ")
    id = start(system, path, before=when([3], "exit 65", f"[ -e {mark} ] || ") + "; " + slow)
    for n in (2, 3):
        wait_for(lambda: system.v1(id, "/chunks")["summary"]["failed"], 60, "a failed chunk")
        r = system.api.post(f"/api/v1/jobs/{id}/chunks/retry", {"chunk_ids": [3, 3]})
        assert r.status == 200 and r.json["job_id"] == id and r.json["chunk_ids"] == [3], (n, r)
    wait_for(lambda: system.v1(id, "/chunks")["summary"]["failed"], 60, "a failed chunk")
    assert system.api.post(f"/api/v1/jobs/{id}/chunks/retry").json["retried_count"] == 0
    mark.touch()
    assert system.api.post(f"/api/v1/jobs/{id}/chunks/retry", {"force": True, "chunk_ids": [3]}).json["retried_count"] == 1
    wait_for(lambda: system.v1(id, "/chunks")["summary"]["success"] == 5, 60, "all but the slow one")
    assert system.v1(id)["status"] == "processing"
    go.touch()
    job = system.ended(id)
    assert job["status"] == "completed" and job["failed_chunks"] == [] and job["total_chunks"] == 6, job
    whole(system, id, path, 100)
    assert system.db.value("select count(*) from reeve.job where parent = %s", id) == 9
    system.world.check_invariant()


def test_a_worker_that_is_killed_while_chunks_are_read_again(system, book, tmp_path):
    path, mark = book(100), tmp_path / "mended"
    id = start(system, path, before=when([1, 4], "exit 65", f"[ -e {mark} ] || ") + "; sleep 0.5")
    assert len(system.ended(id)["failed_chunks"]) == 2
    mark.touch()
    new = system.api.post(f"/api/v1/jobs/{id}/chunks/retry").json["job_id"]
    wait_for(lambda: system.v1(new, "/chunks")["summary"]["processing"], 30, "a chunk that runs")
    system.world.workers[-1].kill9()
    system.world.start(name="default:2")
    assert system.ended(new)["failed_chunks"] == []
    whole(system, new, path, 100)
    system.world.check_invariant()


def test_what_cannot_be_retried(system, book):
    system.up(inline=False)
    failed = check_started(system.post(b"%PDF-"))
    assert system.ended(failed)["total_chunks"] == 0
    r = system.api.post(f"/api/v1/jobs/{failed}/chunks/retry")
    assert r.status == 409 and "no chunks" in r.json["detail"], r
    waits = system.api.post("/api/jobs", {"kind": "pdf", "delay": "1h"}).json["id"]
    assert system.api.post(f"/api/v1/jobs/{waits}/chunks/retry").status == 409
    assert system.api.post(f"/api/v1/jobs/{uuid.uuid4()}/chunks/retry").status == 404
    done = check_started(system.post(book(30)))
    system.ended(done)
    other = system.key(subject="6")
    system.v1(done, "/chunks/retry", "POST", key=other, status=404)
    for body, text in (({"chunk_ids": [1]}, "no chunk"), ({"chunk_ids": []}, "chunk_ids"), ({"chunk_ids": ["0"]}, "chunk_ids"),
                       ({"chunk_ids": [-1]}, "chunk_ids"), ({"chunk_ids": [72]}, "chunk_ids"), ({"chunk_ids": [0] * 73}, "chunk_ids"),
                       ({"chunk_ids": 0}, "chunk_ids"), ({"chunk_ids": [0.5]}, "chunk_ids"), ({"force": 1}, "force"),
                       ({"colour": 1}, "colour"), ([], "object")):
        r = system.api.post(f"/api/v1/jobs/{done}/chunks/retry", body)
        assert r.status == 400 and text in r.json["detail"], (body, r)
    assert system.api.post(f"/api/v1/jobs/{done}/chunks/retry", "{", {"Content-Type": "application/json"}).status == 400
    # Its files have expired.
    system.db.sql("update reeve.done set expired_at = clock_timestamp() where job = %s", done)
    assert system.api.post(f"/api/v1/jobs/{done}/chunks/retry", {"force": True}).status == 410
    assert system.db.value("select count(*) from reeve.job where parent is null") == 3


def test_force_finalize(system, book):
    """The chunks that hang are left out; no second round is begun for them."""
    path = book(100)
    id = start(system, path, before=when([1, 2, 3, 4], HANG))
    wait_for(lambda: (s := system.v1(id, "/chunks")["summary"])["processing"] == 3 and s["success"], 60, "chunks that hang")
    r = system.api.post(f"/api/v1/admin/jobs/{id}/force-finalize")
    assert r.status == 202 and r.json["job_id"] == id and r.json["status"] == "processing" and r.json["ended_chunks"] == 5, r
    job = system.ended(id)
    assert job["status"] == "completed" and [c["chunk_id"] for c in job["failed_chunks"]] == [1, 2, 3, 4, 5], job
    assert job["result"]["pages_read"] == 20 and len(system.files(id)) == 20
    assert {c["error_code"] for c in job["failed_chunks"]} == {"FINALIZE_TIMEOUT"}
    assert job["result"]["chunks"]["rounds"] == 1
    r = system.api.post(f"/api/v1/admin/jobs/{id}/force-finalize", {})
    assert r.status == 200 and r.json["message"] == "Job already finalized with status: completed", r
    waits = system.api.post("/api/jobs", {"kind": "pdf", "delay": "1h"}).json["id"]
    assert system.api.post(f"/api/v1/admin/jobs/{waits}/force-finalize").status == 409
    assert system.api.post(f"/api/v1/admin/jobs/{uuid.uuid4()}/force-finalize").status == 404
    system.world.check_invariant()


def age(system, table, column, jobs, interval):
    system.db.sql(f"update reeve.{table} set {column} = {column} - %s::interval where job = any (%s::uuid[])", interval, jobs)


def test_chunks_that_hang_are_read_again(system, book, tmp_path):
    """reconcile-stuck-chunks: a run of more than 720 s is ended, and the chunk has another."""
    path, mark = book(100), tmp_path / "mended"
    id = start(system, path, before=when([2], HANG, f"[ -e {mark} ] || "))
    wait_for(lambda: system.v1(id, "/chunks")["summary"]["success"] == 5, 60, "all but one")
    reconcile = "/api/v1/admin/reconcile-stuck-chunks"
    hangs = [c["task_id"] for c in system.v1(id, "/chunks")["chunks"] if c["status"] == "processing"]
    age(system, "lease", "claimed_at", hangs, "700 s")
    assert system.api.post(reconcile).json == {"message": "Reconciliation completed", "result": {"stuck": 0, "retried": 0}}
    mark.touch()
    age(system, "lease", "claimed_at", hangs, "30 s")
    assert system.api.post(reconcile, {}).json["result"] == {"stuck": 1, "retried": 1}
    job = system.ended(id)
    assert job["status"] == "completed" and job["failed_chunks"] == [], job
    whole(system, id, path, 100)
    assert system.db.sql("select state, reason from reeve.done where job = %s", hangs[0])[0][0] == "cancelled"
    system.world.check_invariant()


def test_a_chunk_that_hangs_every_time(system, book):
    """As often as a job may be tried; then it has failed, and the document is finished without it."""
    path = book(100)
    id = start(system, path, before=when([2], HANG))
    for n in range(3):
        wait_for(lambda: (c := system.v1(id, "/chunks"))["summary"]["success"] == 5 and c["summary"]["processing"] == 1 and c, 60, "all but one")
        hangs = [c["task_id"] for c in system.v1(id, "/chunks")["chunks"] if c["status"] == "processing"]
        age(system, "lease", "claimed_at", hangs, "721 s")
        assert system.api.post("/api/v1/admin/reconcile-stuck-chunks").json["result"] == {"stuck": 1, "retried": int(n < 2)}
    job = system.ended(id)
    assert job["status"] == "completed" and [(c["chunk_id"], c["error_code"]) for c in job["failed_chunks"]] == [(2, "WATCHDOG_FORCED_FAIL")]
    system.world.check_invariant()


def test_documents_that_hang(system, book):
    """terminate-stuck-jobs: those that have been processed for hours, not those that wait or have just begun."""
    system.install("pdf-chunk", before=HANG)
    system.up(inline=False)
    old, young = check_started(system.post(book(30))), check_started(system.post(book(30)))
    waits = system.api.post("/api/jobs", {"kind": "pdf", "delay": "9h"}).json["id"]
    for id in (old, young):
        wait_for(lambda: system.v1(id, "/chunks")["summary"]["processing"], 60, "a chunk that hangs")
    # Of the chunk, by which it is told how long the job has been processed.
    system.db.sql("update reeve.job set created_at = created_at - interval '150 min' where id = %s or parent = %s", old, old)
    terminate = "/api/v1/admin/terminate-stuck-jobs"
    assert system.api.post(terminate).json == {"message": "Termination completed: 0 jobs terminated", "result": {"count": 0, "job_ids": []}}
    assert system.api.post(terminate, {"max_age_hours": 3}).json["result"]["count"] == 0
    r = system.api.post(terminate, {"max_age_hours": 2})
    assert r.status == 200 and r.json["result"] == {"count": 1, "job_ids": [old]}, r
    job = system.v1(old)
    assert (job["status"], job["error_code"], job["task_state"]["state"]) == ("failed", "JOB_TIMEOUT", "FAILURE"), job
    wait_for(lambda: system.v1(old, "/chunks")["summary"]["failed"] == 1, 30, "its chunk ended")
    assert system.v1(old, "/chunks")["chunks"][0]["last_error_code"] == "JOB_TIMEOUT"
    assert (system.v1(young)["status"], system.v1(waits)["status"]) == ("processing", "pending")
    system.world.check_invariant()


def test_a_document_whose_split_hangs(system, book):
    """A run of the job itself is told to end."""
    system.install("pdf", before=HANG)
    system.up(inline=False)
    id = check_started(system.post(book(30)))
    wait_for(lambda: system.v1(id)["status"] == "processing", 30, "the split runs")
    age(system, "lease", "claimed_at", [id], "25 h")
    r = system.api.post("/api/v1/admin/terminate-stuck-jobs", {"max_age_hours": 24})
    assert r.json["result"]["job_ids"] == [id], r
    assert system.ended(id)["status"] == "cancelled"


def test_who_may_and_what_is_refused(system):
    system.up(inline=False)
    key = system.key()
    admin = "/api/v1/admin"
    for path in (f"/jobs/{uuid.uuid4()}/force-finalize", "/reconcile-stuck-chunks", "/terminate-stuck-jobs"):
        assert system.api.post(admin + path, {}, {"Authorization": f"Bearer {key}"}, tcp=True).status == 403
        assert system.api.post(admin + path, {"colour": 1}).status == 400
        assert system.api.post(admin + path, "[]", {"Content-Type": "application/json"}).status == 400
        assert system.api.post(admin + path, "x", {"Content-Type": "text/plain"}).status == 415
    for hours in (0, 25, -1, 1.5, "3", 1e30):
        r = system.api.post(admin + "/terminate-stuck-jobs", {"max_age_hours": hours})
        assert r.status == 400 and "max_age_hours" in r.json["detail"], (hours, r)
    assert system.api.post(admin + "/terminate-stuck-jobs", {"max_age_hours": None}).status == 200
