"""System 004's own test cases by name, as far as they are of its routes: by a user's key over TCP, with real documents."""
import pytest

from async_system import Async, check_started
from conftest import page_texts, wait_for


@pytest.fixture
def system(database):
    s = Async(database)
    try:
        s.flag(percent=100000)
        yield s
    finally:
        s.close()


def process(system, path, n, chunks):
    """The whole way of a user's document: taken, looked at, fetched. All numbers of processing chunks that were seen."""
    key = system.key(subject="5")
    id = check_started(system.post(path, key=key))
    seen = []

    def ended():
        seen.append(system.v1(id, "/chunks", key=key)["summary"]["processing"])
        return (j := system.v1(id, key=key))["status"] in ("completed", "failed", "cancelled") and j
    job = wait_for(ended, 120, "the end")
    assert (job["status"], job["progress_percent"], job["total_chunks"], job["processed_chunks"]) == ("completed", 100, chunks, chunks), job
    assert system.v1(id, "/chunks", key=key)["summary"]["success"] == chunks
    files = {}
    for i in range(1, n + 1):
        r = system.api.get(f"/api/jobs/{id}/files/page-{i:04}.txt", {"Authorization": f"Bearer {key}"}, tcp=True)
        assert r.status == 200, r
        files[i] = r.body
    assert list(files.values()) == page_texts(path, n)
    system.world.check_invariant()
    return seen


def test_small_document(system, book):
    """Below 30 pages: one chunk."""
    system.up(inline=False)
    process(system, book(20), 20, 1)


@pytest.mark.parametrize("n, chunks", [(50, 3), (100, 6)])
def test_medium_document(system, book, n, chunks):
    """50 to 100 pages: several chunks, three at a time at most."""
    system.up(inline=False)
    assert max(process(system, book(n), n, chunks)) <= 3


def test_large_document(system, book):
    """300 pages: chunks side by side, five at a time at most."""
    system.up(inline=False)
    assert 2 <= max(process(system, book(300), 300, 22)) <= 5


def test_cancel_in_the_middle(system, book):
    system.install("pdf-chunk", before="sleep 5")
    system.up(inline=False)
    key = system.key(subject="5")
    id = check_started(system.post(book(100), key=key))
    wait_for(lambda: system.v1(id, "/chunks")["summary"]["processing"], 60, "a chunk that runs", step=0.02)
    assert set(system.v1(id, "/cancel", "POST", key=key)) == {"message", "job_id", "status"}
    job = system.v1(id, key=key)
    cancelled_by = system.db.value("select 'key:' || name from reeve.api_key")
    assert (job["status"], job["is_cancelled"], job["cancelled_by"]) == ("cancelled", True, cancelled_by) and job["cancelled_at"]
    assert job["task_state"]["state"] == "REVOKED"
    r = system.api.post(f"/api/v1/jobs/{id}/cancel")
    assert r.status == 400 and r.json["detail"] == "Cannot cancel job with status cancelled", r
    wait_for(lambda: not system.db.value("select count(*) from reeve.lease"), 20, "the runs ended")
    chunks = system.v1(id, "/chunks")
    assert chunks["summary"]["failed"] == 6 and {c["last_error_code"] for c in chunks["chunks"]} == {"CANCELLED"}
    system.world.check_invariant()


def test_worker_crash(system, book):
    """kill -9 in the middle of 300 pages: another worker goes on; nothing is lost, and no chunk is there twice."""
    system.up(inline=False)
    key, path = system.key(subject="5"), book(300)
    id = check_started(system.post(path, key=key))
    wait_for(lambda: (s := system.v1(id, "/chunks", key=key)["summary"])["success"] >= 3 and s["processing"] >= 2, 60, "the middle", step=0.01)
    system.world.workers[-1].kill9()
    system.world.start(name="default:2")
    job = system.ended(id)
    assert job["status"] == "completed" and job["failed_chunks"] == [] and job["retry_count"] == 0, job
    chunks = system.v1(id, "/chunks", key=key)
    assert [c["chunk_id"] for c in chunks["chunks"]] == list(range(22)) and chunks["summary"]["success"] == 22
    assert system.files(id) == {f"page-{i:04}.txt": t for i, t in enumerate(page_texts(path, 300), 1)}
    system.world.check_invariant()


def test_rate_limit(system):
    """Ten an hour for each user, whatever became of them; others, and those on the unix socket, are not held up."""
    system.up(inline=False)
    one, two = system.key(subject="5"), system.key(subject="6")
    got = [system.post(b"%PDF-1.7", key=one) for _ in range(12)]
    assert [r.status for r in got] == [202] * 10 + [429] * 2, got
    r = got[-1]
    assert r.headers["Content-Type"] == "application/problem+json" and 0 < int(r.headers["Retry-After"]) <= 3600
    assert r.headers["RateLimit-Policy"] == '"route";q=10;w=3600' and r.headers["RateLimit"].startswith('"route";r=0;t=')
    assert system.post(b"%PDF-1.7", key=two).status == 202 and system.post(b"%PDF-1.7", user_id="5").status == 202
    assert system.v1(got[0].json["job_id"], key=one)["job_id"], "looking is not limited"
    assert system.db.value("select count(*) from reeve.job where parent is null") == 12
