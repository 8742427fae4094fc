"""Real documents: what comes out is what pdftotext says, page by page."""
import pytest

from conftest import page_texts, wait_for


def overlaps(system, id):
    """The most runs of the job's children that were going on at one time."""
    rows = system.db.sql("select extract(epoch from d.claimed_at)::float8, extract(epoch from d.finished_at)::float8 "
                         "from reeve.job j join reeve.done d on d.job = j.id where j.parent = %s", id)
    edges = sorted([(a, 1) for a, _ in rows] + [(b, -1) for _, b in rows])
    most = now = 0
    for _, step in edges:
        now += step
        most = max(most, now)
    return most


@pytest.mark.parametrize("n, chunks, at_once", [(30, 1, 1), (100, 6, 3), (300, 22, 5), (500, 36, 5)])
def test_a_real_document(system, book, n, chunks, at_once):
    system.start()
    path = book(n)
    job = system.run(path, timeout=120)
    result = job["result"]
    files = system.files(job["id"])
    assert sorted(files) == [f"page-{i:04}.txt" for i in range(1, n + 1)]
    texts = page_texts(path, n)
    for i, text in enumerate(texts, 1):
        assert files[f"page-{i:04}.txt"] == text, i
    assert (result["pages"], result["pages_read"], result["missing"]) == (n, n, [])
    assert result["words"] == sum(len(t.split()) for t in texts) and result["bytes"] == sum(map(len, texts))
    assert (result["duplicates"], result["differing"]) == (chunks - 1, 0)
    told = result["chunks"]
    assert (told["total"], told["succeeded"], told["failed"], told["rounds"], told["at_once"]) == (chunks, chunks, 0, 1, at_once)
    assert result["lines"][0] == texts[0].decode().split("\n")[0].strip()
    # As many at a time as the table says, and no more.
    most = overlaps(system, job["id"])
    assert min(2, at_once) <= most <= at_once, most
    # The bar only goes up, and moves while the parent waits.
    bar = [p for _, p in job["seen"]]
    assert bar == sorted(bar)
    if n >= 300:
        assert len({p for s, p in job["seen"] if s == "waiting" and 15 <= p <= 75}) >= 3, job["seen"]


def check_whole(system, job, path, n):
    files, texts = system.files(job["id"]), page_texts(path, n)
    assert files == {f"page-{i:04}.txt": t for i, t in enumerate(texts, 1)}
    assert job["result"]["words"] == sum(len(t.split()) for t in texts) and job["result"]["pages"] == n


@pytest.mark.parametrize("when", ["chunks", "join"])
def test_a_worker_killed_in_the_middle(system, book, when):
    """kill -9 of the worker while chunks run, or while they are put together: no page is lost, none is there twice."""
    path = book(300)
    if when == "join": # by itself it is over before it can be seen
        system.install("pdf", before="[ $REEVE_PHASE != join ] || sleep 2")
    system.start()
    worker = system.world.workers[-1]
    id = system.upload(path)
    children = "select count(*) from reeve.job j join {} d on d.job = j.id where j.parent = %s"
    if when == "chunks":
        wait_for(lambda: system.db.value(children.format("reeve.done"), id) >= 4 and system.db.value(
            children.format("reeve.lease"), id) >= 2, 60, "some chunks, and some that run", step=0.005)
    else:
        wait_for(lambda: system.db.value("select count(*) from reeve.lease where job = %s and flags & 1 <> 0 and started", id), 60,
                 "the join runs", step=0.005)
    worker.kill9()
    system.world.start(name="default:2")
    job = wait_for(lambda: (j := system.job(id))["state"] in ("succeeded", "failed") and j, 90, "the end")
    assert job["state"] == "succeeded", job
    check_whole(system, job, path, 300)
    assert len(system.chunks(id)) == 22 and {s for s, *_ in system.chunks(id)} == {"succeeded"}
    interrupted = system.db.value("select count(*) from reeve.history h join reeve.job j on j.id = h.job "
                                  "where h.event = 'interrupt' and (j.id = %s or j.parent = %s)", id, id)
    assert interrupted >= 1
    system.world.check_invariant()


def test_two_workers_share_a_document(system, book):
    system.start()
    system.world.start(name="default:2")
    path = book(100)
    job = system.run(path)
    check_whole(system, job, path, 100)
    assert overlaps(system, job["id"]) <= 3
