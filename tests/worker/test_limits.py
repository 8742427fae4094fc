"""Limits over several real workers: never more runs at a time than a key may have, whoever dies."""
import contextlib
import os
import signal
import threading
import time

from conftest import wait_for
from patience import within


class Watch:
    """Counts the runs that hold each token, as often as it can."""

    def __init__(self, world):
        self.conn = world.db.connect("postgres", autocommit=True)
        self.worst, self.n, self.over = {}, 0, threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)
        self.thread.start()

    def look(self):
        with self.conn.cursor() as cur:
            while not self.over.is_set():
                cur.execute("select token, count(*) from reeve.lease where token is not null group by 1")
                for token, n in cur.fetchall():
                    self.worst[token] = max(n, self.worst.get(token, 0))
                self.n += 1
                time.sleep(0.01)

    def end(self):
        self.over.set()
        self.thread.join(within(20))
        assert self.n > 10
        return self.worst


@contextlib.contextmanager
def watched(world):
    w = Watch(world)
    try:
        yield w
    finally:
        w.end()


def all_ended(world, n, timeout=60):
    wait_for(lambda: world.db.value("select count(*) from reeve.done") == n, timeout, f"{n} jobs have ended")
    world.check_invariant()


def test_two_workers_and_a_limit_for_each_key(world):
    world.sh("one", "sleep 0.05", keys="Concurrency=2\nConcurrencyKey=/user")
    world.sh("free", "exit 0")
    world.start("default")
    world.start("default:2")
    with watched(world) as watch:
        for i in range(40):
            world.enqueue("one", {"user": "ab"[i % 2]})
        quick = world.enqueue("free")
        world.wait(quick)
        all_ended(world, 41)
    assert watch.worst == {"limit:one:/user=a": 2, "limit:one:/user=b": 2}
    assert world.db.value("select count(*) from reeve.done where state <> 'succeeded'") == 0


def test_a_worker_that_is_killed_gives_its_tokens_back(world):
    world.sh("one", f"while ! [ -e {world.dir}/go ]; do sleep 0.05; done; sleep 0.3", keys="Concurrency=1")
    first = world.start("default")
    jobs = [world.enqueue("one") for _ in range(4)]
    world.wait(jobs[0], "running")
    second = world.start("default:2")
    with watched(world) as watch:
        first.kill9()
        (world.dir / "go").touch()
        world.release("default")
        all_ended(world, 4)
    assert watch.worst == {"limit:one:=": 1}
    assert second.process.poll() is None
    assert {h["event"] for h in world.history(jobs[0])} >= {"interrupt"}


def test_a_worker_that_is_stopped_keeps_them_for_its_lease_only(world):
    """SIGSTOP: nobody says good-bye; its tokens come back with its runs, after its lease, and its late word changes nothing."""
    world.sh("one", "sleep 0.2", keys="Concurrency=1")
    first = world.start("default")
    jobs = [world.enqueue("one") for _ in range(3)]
    world.wait(jobs[0], "running")
    os.kill(first.pid, signal.SIGSTOP)
    try:
        world.start("default:2")
        with watched(world) as watch:
            all_ended(world, 3)
            os.kill(first.pid, signal.SIGCONT)
            more = world.run("one", timeout=40)
        assert more["state"] == "succeeded"
    finally:
        os.kill(first.pid, signal.SIGCONT)
    assert watch.worst == {"limit:one:=": 1}
    all_ended(world, 4)


def test_cancel_timeout_and_retry_give_them_back(world):
    world.sh("slow", "sleep 60", keys="Concurrency=1\nTimeoutSec=60s", timeout=60)
    world.sh("late", "sleep 60", keys="Concurrency=1\nTimeoutSec=300ms\nMaxAttempts=1", timeout=0.3)
    world.sh("flaky", "[ $REEVE_ATTEMPT -gt 1 ] || exit 75", keys="Concurrency=1")
    world.start()
    first, second = world.enqueue("slow"), world.enqueue("slow")
    world.wait(first, "running")
    assert world.job(second)["blocked_by"] == {"limit": "concurrency", "key": "slow", "most": 1, "running": 1}
    world.db.value("select reeve.cancel(%s)", first)
    world.wait(second, "running")
    world.db.value("select reeve.cancel(%s)", second)
    for id in [world.enqueue("late") for _ in range(3)]:
        assert world.wait(id)["cause"] == "timeout"
    for id in [world.enqueue("flaky") for _ in range(4)]:
        assert world.wait(id)["state"] == "succeeded"
    world.check_invariant()


def test_a_limit_that_is_raised_or_removed_in_the_file(world):
    """By a worker that starts with another file; jobs that are blocked already go on within seconds."""
    world.pool("default", slots=8)
    world.sh("one", "sleep 30", keys="Concurrency=1", timeout=60)
    w = world.start()
    jobs = [world.enqueue("one") for _ in range(6)]

    def running():
        return world.db.value("select count(*) from reeve.lease")
    wait_for(lambda: running() == 1, what="one runs")
    file = world.kinds / "one.kind"
    text = file.read_text()
    file.write_text(text.replace("Concurrency=1", "Concurrency=4"))
    world.pool("other", slots=1, queues="nothing")
    world.start("other")  # publishes what the file says now
    wait_for(lambda: running() == 4, what="four run")
    time.sleep(0.5)
    assert running() == 4
    file.write_text(text.replace("Concurrency=1", ""))
    world.start("other:2")
    wait_for(lambda: running() == 6, what="all run")
    for id in jobs:
        world.db.value("select reeve.cancel(%s)", id)
    all_ended(world, 6)
    w.stop()


def test_a_flood_of_a_full_key_holds_nobody_up(world):
    world.sh("one", "case $(cat) in *1*) sleep 600;; esac", keys="Concurrency=1\nConcurrencyKey=/user", timeout=900)
    world.start()
    first = world.enqueue("one", {"user": 1})
    world.wait(first, "running")
    world.db.sql("select reeve.enqueue('one', '{\"user\": 1}') from generate_series(1, 3000)")
    assert world.run("one", {"user": 2})["state"] == "succeeded"
    assert world.db.value("select count(*) from reeve.blocked") == 3000
    world.db.value("select reeve.cancel(%s)", first)
    wait_for(lambda: world.db.value("select count(*) from reeve.blocked") == 2999, what="the next one has its turn")
    wait_for(lambda: world.db.value("select count(*) from reeve.lease") == 1, what="the next one runs")
    world.db.sql("select reeve.cancel_job(id, 'test') from reeve.job")


def test_ten_thousand_queues_that_nobody_serves_hold_nobody_up(world):
    """Whoever may create jobs can make them, by one request. Each costs a look, and the worker goes on and can be stopped."""
    world.sh("echo", "exit 0")
    world.pool("default", slots=2, queues="default")
    w = world.start()
    world.db.sql("select count(*) from reeve.enqueue_batch((select jsonb_agg(jsonb_build_object('kind', 'echo', 'tenant', 'a', 'queue', "
                 "'q' || i)) from generate_series(1, 10000) i))")
    for _ in range(3):
        assert world.run("echo", tenant="b", timeout=60)["state"] == "succeeded"
    w.stop(60)


def test_a_rate_over_two_workers(world):
    """Runs begin at even distances, whoever claims, and each in its time; one of the workers is killed in the middle."""
    world.sh("slow", "exit 0", keys="RateLimit=4/s\nRetrySec=0")
    world.start("default")
    second = world.start("default:2")
    begin = time.monotonic()
    for _ in range(12):
        world.enqueue("slow")
    assert world.job(world.enqueue("slow"))["blocked_by"]["limit"] == "rate"
    wait_for(lambda: world.db.value("select count(*) from reeve.done") >= 4, 60, "some ran")
    second.kill9()
    world.release("default:2")
    all_ended(world, 13)
    assert time.monotonic() - begin >= 2.9
    starts = [r[0] for r in world.db.sql("select extract(epoch from claimed_at)::float from reeve.done order by 1")]
    for i, start in enumerate(starts):
        assert sum(1 for s in starts[i:] if s < start + 0.99) <= 4, starts
    assert world.db.value("select count(*) from reeve.bucket where wake_at is not null") == 0
