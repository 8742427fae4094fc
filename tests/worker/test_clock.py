"""A clock is stepped by an hour, the database's or a worker's: nothing is lost, nothing runs twice, nobody is declared dead."""
import importlib.util
import pathlib
import shutil
import tempfile
import time

import pytest

from conftest import BUILD, World, pg, wait_for

_spec = importlib.util.spec_from_file_location("pg_clock", pathlib.Path(__file__).resolve().parents[1] / "pg/clock.py")
clock = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(clock)
HOUR = clock.HOUR
LONG = 60  # on a slow machine


@pytest.fixture(scope="module")
def stepped():
    s = clock.server(pg)
    yield s
    s.remove()


@pytest.fixture
def world(stepped):
    stepped.clock.step(0)
    database = stepped.create()
    database.migrate("up")
    directory = pathlib.Path(tempfile.mkdtemp(prefix="rwc", dir="/tmp"))
    w = World(database, directory)
    try:
        yield w
    finally:
        stepped.clock.step(0)
        try:
            w.close()
        finally:
            shutil.rmtree(directory, ignore_errors=True)
            database.close()
            stepped.drop(database.name)


def kinds(world):
    world.sh("count", f"echo $REEVE_JOB_ID >>{world.dir}/ran; echo 1", max_runs=100, keys="MaxInterruptions=1\n")
    world.sh("long", f"while ! [ -e {world.dir}/go ]; do sleep 0.05; done; echo 2", keys="MaxInterruptions=1\nMaxAttempts=1\n")
    world.sh("flaky", f"echo $REEVE_JOB_ID >>{world.dir}/flaky; [ $REEVE_ATTEMPT = 2 ]", keys="MaxInterruptions=1\n")
    world.pool("default", slots=3)


def count(world, n):
    world.db.sql("select reeve.enqueue('count') from generate_series(1, %s)", n)


def settled(world, n, long):
    """All n are done, once each; the long one is still in the run that it was in."""
    done = "select count(*) from reeve.done d join reeve.job j on j.id = d.job where j.kind = 'count' and d.state = 'succeeded'"
    wait_for(lambda: world.db.value(done) == n, LONG, f"{n} jobs")
    ran = (world.dir / "ran").read_text().split()
    assert len(ran) == len(set(ran)) == n
    assert world.db.sql("select run_id from reeve.lease where job = %s", long[0]) == [(long[1],)]
    beats = "select sum(beat)::int from reeve.instance where stopped_at is null"
    before = world.db.value(beats)
    wait_for(lambda: world.db.value(beats) >= before + 10, LONG, "heartbeats go on")
    assert world.db.value("select count(*) from reeve.instance where stopped_at is not null") == 0
    for w in world.workers:
        assert w.process.poll() is None and not w.log_has("declared dead")
        since = time.monotonic()
        wait_for(lambda w=w, since=since: w.notify.lines("WATCHDOG=1", since), LONG, "the watchdog is fed")


def begin(world):
    id = world.enqueue("long")
    wait_for(lambda: world.db.value("select count(*) from reeve.lease where job = %s", id) == 1, LONG, "it runs")
    return id, world.db.value("select run_id from reeve.lease where job = %s", id)


def finish(world, long):
    (world.dir / "go").touch()
    job = world.wait(long[0], timeout=LONG)
    assert (job["state"], job["run_id"], job["interruptions"]) == ("succeeded", long[1], 0), job
    world.check_invariant()


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_the_database_is_stepped(world, stepped, step):
    kinds(world)
    world.start("default", watchdog=2)
    world.start("default:2", watchdog=2)
    long = begin(world)
    count(world, 60)
    stepped.clock.step(step)
    count(world, 60)
    settled(world, 120, long)
    # An error after the step is tried again as soon as ever, and one that is due in a while in a while.
    assert world.run("flaky", timeout=LONG)["attempt"] == 2
    later = world.db.value("select reeve.enqueue('count', null, jsonb_build_object('run_at', now() + interval '2 seconds'))")
    assert world.wait(later, timeout=LONG)["state"] == "succeeded"
    stepped.clock.step(0)
    count(world, 60)
    settled(world, 181, long)
    finish(world, long)


def test_what_was_due_before_a_step_back_waits_for_its_time(world, stepped):
    kinds(world)
    world.start()
    stepped.clock.step(HOUR)
    id = world.db.value("select reeve.enqueue('count', null, jsonb_build_object('run_at', now() + interval '2 seconds'))")
    stepped.clock.step(0)
    time.sleep(3)
    assert world.job(id)["state"] == "scheduled"
    stepped.clock.step(HOUR)
    assert world.wait(id, timeout=LONG)["state"] == "succeeded"


def test_a_rate_outlives_a_step_back(world, stepped):
    """Nine of ten an hour are left before it, and after it."""
    world.sh("rated", "echo 1", keys="RateLimit=10/1h\nRateBurst=10\n")
    world.start()
    assert world.run("rated", timeout=LONG)["state"] == "succeeded"
    stepped.clock.step(-HOUR)
    for _ in range(9):
        assert world.run("rated", timeout=LONG)["state"] == "succeeded"
    over = world.enqueue("rated")
    assert world.job(over)["blocked_by"]["limit"] == "rate"
    world.check_invariant()


@pytest.mark.parametrize("step", [HOUR, -HOUR])
def test_a_worker_is_stepped(world, step):
    """It asks the database what is due by the database's clock."""
    kinds(world)
    own = clock.Clock(BUILD, world.dir / "clock")
    world.start("default", watchdog=2, env=own.env())
    long = begin(world)
    count(world, 60)
    own.step(step)
    count(world, 60)
    settled(world, 120, long)
    for _ in range(3):
        assert world.run("flaky", timeout=LONG)["attempt"] == 2
    finish(world, long)
