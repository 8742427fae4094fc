"""What a worker does when something breaks: cancel, drain, kill -9, a database that is away or stands still, a stale instance."""
import os
import pathlib
import signal
import subprocess
import threading
import time

import pytest

from conftest import BUILD, wait_for
from patience import within

HOOKS = "REEVE_TEST_HOOKS 1" in (BUILD / "config.h").read_text()


def gone(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z"
    except OSError:
        return True


def sleeper(world, name="sleeper", **kw):
    """Runs until DIR/go exists; notes its pid."""
    world.sh(name, f"echo $$ >>{world.dir}/pids; while ! [ -e {world.dir}/go ]; do sleep 0.05; done; echo 1", **kw)


def pids(world):
    f = world.dir / "pids"
    return [int(p) for p in f.read_text().split()] if f.exists() else []


def running(world, n=1):
    wait_for(lambda: len(pids(world)) >= n, what=f"{n} handlers running")
    return pids(world)


def test_cancel_of_a_running_job_ends_it_and_its_neighbours_go_on(world):
    sleeper(world)
    world.start()
    ids = [world.enqueue("sleeper") for _ in range(4)]
    running(world, 4)
    assert world.db.value("select reeve.cancel(%s)", ids[1]) == "cancelling"
    job = world.wait(ids[1])
    assert job["state"] == "cancelled" and job["cause"] == "cancelled" and job["actor"] == "sql:postgres"
    (world.dir / "go").touch()
    for i in (0, 2, 3):
        assert world.wait(ids[i])["state"] == "succeeded"
    assert [(h["event"], h["from"], h["to"]) for h in world.history(ids[1])] == [("cancel", "running", None), ("cancel", "running", "cancelled")]


def test_cancel_ends_a_handler_that_ignores_term_and_what_it_forked(world):
    world.sh("stubborn", f"trap '' TERM; setsid sh -c 'trap \"\" TERM; echo $$ >>{world.dir}/pids; sleep 100' & echo $$ >>{world.dir}/pids;"
             "while :; do sleep 1; done")
    world.start()
    id = world.enqueue("stubborn")
    both = running(world, 2)
    t0 = time.monotonic()
    world.db.value("select reeve.cancel(%s)", id)
    assert world.wait(id)["state"] == "cancelled"
    assert time.monotonic() - t0 < within(0.5 + 1 + 2)  # StopSec + 1 s, and the heartbeat that brings the word
    wait_for(lambda: all(gone(p) for p in both), 2, "the whole tree is gone")


def test_drain_lets_runs_end(world):
    sleeper(world)
    w = world.start()
    id = world.enqueue("sleeper")
    running(world)
    w.process.send_signal(signal.SIGTERM)
    wait_for(lambda: w.notify.lines("STOPPING=1"))
    other = world.enqueue("sleeper")
    time.sleep(0.5)
    assert w.process.poll() is None and world.job(other)["state"] == "ready"
    (world.dir / "go").touch()
    assert w.process.wait(within(10)) == 0
    assert world.job(id)["state"] == "succeeded"
    assert world.db.value("select stop_cause from reeve.instance") == "stopped"


def test_drain_limit_gives_runs_back_uncounted(world):
    world.pool("default", slots=4, drain="300ms")
    sleeper(world)
    w = world.start()
    id = world.enqueue("sleeper")
    pid = running(world)[0]
    w.stop()
    job = world.job(id)
    assert job["state"] == "ready" and job["attempt"] == 0 and job["interruptions"] == 0
    assert gone(pid)
    assert [(h["event"], h["cause"]) for h in world.history(id)] == [("interrupt", "drained")]


def test_quick_jobs_claimed_ahead_are_given_back_at_a_drain(world):
    """Each runs once, none counts as interrupted, although many were claimed that had no slot yet."""
    world.sh("quick", f"echo $REEVE_JOB_ID >>{world.dir}/ran; echo 1", max_runs=1000)
    world.pool("default", slots=2)
    w = world.start()
    world.db.sql("select reeve.enqueue('quick') from generate_series(1, 600)")
    wait_for(lambda: world.db.value("select count(*) from reeve.lease") > 2, 30, "more claimed than there are slots")
    w.stop()
    assert world.db.value("select count(*) from reeve.lease") == 0
    assert world.db.value("select count(*) from reeve.ready") > 0
    world.start()
    wait_for(lambda: world.db.value("select count(*) from reeve.done where state = 'succeeded'") == 600, 60)
    ran = (world.dir / "ran").read_text().split()
    assert len(ran) == len(set(ran)) == 600
    assert world.db.value("select max(interruptions) from reeve.done") == 0
    world.check_invariant()


def test_a_worker_that_has_done_enough_ends_with_its_last_run(world):
    """Longer than its drain limit, for nobody told it to stop; what it claims no more is the next one's."""
    world.pool("default", slots=2, drain="100ms", more="RecycleJobs=3\n")
    sleeper(world)
    world.sh("quick", "echo 1")
    w = world.start()
    long = world.enqueue("sleeper")
    running(world)
    for _ in range(3):
        assert world.run("quick")["state"] == "succeeded"
    wait_for(lambda: w.notify.status.startswith("draining"), what="it drains")
    late = world.enqueue("quick")
    time.sleep(1.5)
    assert w.process.poll() is None and not w.notify.lines("STOPPING=1") and world.job(late)["state"] == "ready"
    (world.dir / "go").touch()
    assert w.process.wait(within(10)) == 0
    assert world.job(long)["state"] == "succeeded" and world.job(long)["interruptions"] == 0
    assert world.db.value("select stop_cause from reeve.instance") == "stopped"
    world.start()
    assert world.wait(late)["state"] == "succeeded"


def test_a_recycling_worker_can_be_stopped(world):
    world.pool("default", slots=2, drain="300ms", more="RecycleJobs=1\n")
    sleeper(world)
    world.sh("quick", "echo 1")
    w = world.start()
    long = world.enqueue("sleeper")
    running(world)
    world.run("quick")
    wait_for(lambda: w.notify.status.startswith("draining"), what="it drains")
    w.process.send_signal(signal.SIGTERM)
    wait_for(lambda: w.notify.lines("STOPPING=1"))
    assert w.process.wait(within(10)) == 0
    assert world.job(long)["state"] == "ready" and world.job(long)["attempt"] == 0


@pytest.mark.parametrize("enough", [1, 7])
def test_recycling_loses_and_doubles_nothing(world, enough):
    world.pool("default", slots=2, more=f"RecycleJobs={enough}\n")
    world.sh("quick", f"echo $REEVE_JOB_ID >>{world.dir}/ran; echo 1", max_runs=1000)
    w, n = world.start(), 0
    world.db.sql("select reeve.enqueue('quick') from generate_series(1, 40)")
    while True:
        wait_for(lambda: w.process.poll() is not None or world.db.value("select count(*) from reeve.done") == 40, 30, "its end, or all jobs'")
        if w.process.poll() is None:
            break
        assert w.process.returncode == 0
        n += 1
        w = world.start()
    ran = (world.dir / "ran").read_text().split()
    assert len(ran) == len(set(ran)) == 40 and n >= 2
    assert world.db.value("select max(interruptions) from reeve.done") == 0
    world.check_invariant()


def test_second_term_ends_the_drain(world):
    sleeper(world)
    w = world.start()
    id = world.enqueue("sleeper")
    running(world)
    w.process.send_signal(signal.SIGTERM)
    wait_for(lambda: w.notify.lines("STOPPING=1"))
    w.process.send_signal(signal.SIGTERM)
    assert w.process.wait(within(10)) == 0
    assert world.job(id)["state"] == "ready"


def test_kill9_successor_frees_the_runs_at_once(world):
    """Whatever its heartbeat would say later."""
    world.config(world.db.conninfo, "HeartbeatSec=10min\nLeaseSec=1h\n")
    sleeper(world)
    w = world.start()
    id = world.enqueue("sleeper")
    pid = running(world)[0]
    wait_for(lambda: world.db.value("select started from reeve.lease"), what="seen running")
    w.kill9()
    wait_for(lambda: gone(pid), 3, "its run has ended: the connection is closed")
    world.start()
    running(world, 2)
    (world.dir / "go").touch()
    job = world.wait(id)
    assert job["state"] == "succeeded" and job["interruptions"] == 1 and job["attempt"] == 1
    assert world.history(id)[0]["cause"] == "worker-died"
    world.check_invariant()


def test_kill9_release_frees_the_runs_with_the_cause(world):
    sleeper(world)
    w = world.start()
    id = world.enqueue("sleeper")
    running(world)
    wait_for(lambda: world.db.value("select started from reeve.lease"), what="seen running")
    w.kill9()
    r = world.release()
    assert r.returncode == 0, r.stderr
    assert world.job(id)["state"] == "ready"
    row = world.db.sql("select cause, error_message, actor from reeve.history where job = %s", id)[0]
    assert row == ("worker-died", "the worker ended: signal (killed KILL)", "default")


def test_an_instance_without_heartbeat_loses_its_runs_and_its_late_result_changes_nothing(world):
    sleeper(world)
    a = world.start("default")
    id = world.enqueue("sleeper")
    running(world)
    wait_for(lambda: world.db.value("select started from reeve.lease"), what="seen running")
    a.process.send_signal(signal.SIGSTOP)
    world.start("default:2")
    running(world, 2)  # LeaseSec=3s in these tests
    run = world.db.value("select run_id from reeve.lease")
    a.process.send_signal(signal.SIGCONT)
    wait_for(lambda: a.log_has("declared dead"), what="it learns that it is dead")
    assert world.db.value("select run_id from reeve.lease") == run
    (world.dir / "go").touch()
    job = world.wait(id)
    assert job["state"] == "succeeded" and job["run_id"] == run
    assert world.history(id)[0]["cause"] == "host-lost"
    wait_for(lambda: world.db.value("select count(*) from reeve.instance where stopped_at is null and name = 'default'") == 1,
             what="it registers again")
    world.check_invariant()


def test_poison_is_quarantined(world):
    sleeper(world, keys="MaxInterruptions=2\n")
    id = None
    for n in (1, 2):
        w = world.start()
        id = id or world.enqueue("sleeper")
        running(world, n)
        wait_for(lambda: world.db.value("select started from reeve.lease"), what="seen running")
        w.kill9()
        world.release()
    job = world.job(id)
    assert job["state"] == "failed" and job["error"]["code"] == "INTERRUPTED_TOO_OFTEN" and job["cause"] == "worker-died"


def test_a_launcher_that_dies_is_an_interruption(world):
    sleeper(world)
    world.start()
    id = world.enqueue("sleeper")
    running(world)
    world.host.launchers[0].kill()
    running(world, 2)
    (world.dir / "go").touch()
    job = world.wait(id)
    assert job["state"] == "succeeded" and job["interruptions"] == 1
    assert world.history(id)[0]["cause"] == "launcher-died"


def test_a_cancel_does_not_wait_for_the_heartbeat(world):
    world.config(world.db.conninfo, "HeartbeatSec=10s\nLeaseSec=60s\n")
    sleeper(world)
    world.start()
    id = world.enqueue("sleeper")
    running(world)
    t0 = time.monotonic()
    world.db.value("select reeve.cancel(%s)", id)
    assert world.wait(id)["state"] == "cancelled"
    assert time.monotonic() - t0 < within(1 + 0.5 + 1.5)  # StopSec=500ms, and what a loaded machine needs


def test_database_restarted_and_killed_under_load(world):
    world.sh("count", f"echo $REEVE_JOB_ID >>{world.dir}/ran; sleep 0.02; echo 1", max_runs=50)
    world.start()
    world.db.sql("select reeve.enqueue('count') from generate_series(1, 300)")
    wait_for(lambda: world.db.value("select count(*) from reeve.done") > 30)
    world.db.server.restart()
    time.sleep(0.3)
    world.db.server.kill9()
    wait_for(lambda: world.db.value("select count(*) from reeve.done") == 300, 60, "all done")
    assert world.db.value("select count(*) from reeve.done where state = 'succeeded'") == 300
    ran = (world.dir / "ran").read_text().split()
    assert len(set(ran)) == 300 and len(ran) <= 300 + 2 * 8, "run again only where the answer was lost"
    world.check_invariant()


def test_backends_killed_again_and_again(world):
    world.sh("count", "echo 1", max_runs=50)
    world.start()
    world.db.sql("select reeve.enqueue('count') from generate_series(1, 200)")
    for _ in range(8):
        world.db.sql("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'reeve_worker'")
        time.sleep(0.15)
    wait_for(lambda: world.db.value("select count(*) from reeve.done where state = 'succeeded'") == 200, 60)
    world.check_invariant()


def test_a_claim_that_was_committed_after_its_connection_was_lost(world):
    world.sh("echo", "cat")
    world.start()
    assert world.run("echo", 1)["result"] == 1
    world.db.sql("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'reeve_worker'")
    # As the lost connection's backend would have done it, late: a lease that the worker never heard of.
    id = world.db.value("""with j as (select id from reeve.enqueue_batch('[{"kind": "echo", "payload": 2, "run_at": "2100-01-01T00:00:00Z"}]')
        as e (n, id, outcome, state, detail)) select id from j""")
    world.db.sql("""with s as (delete from reeve.scheduled where job = %s returning *)
        insert into reeve.lease (job, instance, lane, attempt, interruptions, flags)
        select job, (select max(id) from reeve.instance), lane, attempt, interruptions, flags from s""", id)
    job = world.wait(id)
    assert job["state"] == "succeeded" and job["result"] == 2 and job["interruptions"] == 0
    assert world.history(id)[0]["cause"] == "claim-lost"


def test_a_schema_that_goes_and_comes_back(world):
    world.sh("echo", "cat")
    w = world.start()
    assert world.run("echo", 1)["result"] == 1
    world.db.sql("drop schema reeve, reeve_systems cascade")
    wait_for(lambda: "waiting for the schema" in w.notify.status, 10, "says what it waits for")
    world.db.migrate("up")
    wait_for(lambda: world.db.value("select count(*) from reeve.kind") == 1, 20, "publishes its kinds again")
    assert world.run("echo", 2)["result"] == 2
    assert w.process.poll() is None


def test_database_away_at_start_and_for_a_while(world):
    world.sh("echo", "cat")
    world.db.server.stop()
    w = world.start(wait=False, watchdog=4)
    wait_for(lambda: "degraded: no database" in w.notify.status, 5, "says so")
    time.sleep(5)
    fed = [t for t, _ in w.notify.lines("WATCHDOG=1")]
    assert fed and time.monotonic() - fed[-1] < within(2), "is fed: attempts end on schedule"
    world.db.server.start()
    wait_for(lambda: world.db.value("select count(*) from reeve.kind") == 1, what="it comes back by itself")
    assert world.run("echo", 7)["result"] == 7
    wait_for(lambda: "slots busy" in w.notify.status, what="says that all is well")


def server_answers(server):
    argv = [server.bin / "psql", "-X", "-h", server.dir, "-U", "postgres", "-c", "select count(*) from pg_stat_activity", "postgres"]
    try:
        return subprocess.run(server.as_user + [str(a) for a in argv], capture_output=True, cwd="/", timeout=2).returncode == 0
    except subprocess.TimeoutExpired:
        return False


def test_a_stopped_backend_is_degraded_and_not_restarted(world):
    world.sh("echo", "cat")
    w = world.start(watchdog=6)
    assert world.run("echo", 1)["result"] == 1
    pid = world.db.value("select pid from pg_stat_activity where application_name = 'reeve-worker@default' and query not like 'listen%%' limit 1")
    while True:
        t0 = time.monotonic()
        os.kill(pid, signal.SIGSTOP)
        if server_answers(world.db.server):
            break
        os.kill(pid, signal.SIGCONT)  # it held a lock of the whole server: nobody could be served. Once more.
        time.sleep(0.1)
    with world.db.server.stop_backend(pid):
        wait_for(lambda: w.notify.status.startswith("degraded"), 5, "degraded within 5 s")
        assert time.monotonic() - t0 < min(within(5), 12)
        id = world.enqueue("echo", 2)
        # Its statement overruns after 15 s: the connection is given up, another backend serves. systemd would have
        # killed it after 6 s without a sign.
        assert world.wait(id, timeout=25)["result"] == 2
    fed = [t for t, _ in w.notify.lines("WATCHDOG=1", t0)]
    gaps = [b - a for a, b in zip([t0] + fed, fed + [time.monotonic()])]
    assert max(gaps) < min(within(6), 12), gaps  # not the 15 s
    assert w.process.poll() is None


def test_claims_that_stand_still_starve_the_watchdog(world):
    if not HOOKS:
        pytest.skip("this build has no test hooks; the sanitized build of tools/check has")
    world.sh("echo", "cat")
    wedge = world.dir / "wedge"
    w = world.start(watchdog=30, env={"REEVE_TEST_WEDGE_FILE": str(wedge)})
    assert world.run("echo", 1)["result"] == 1
    wedge.touch()
    time.sleep(18)
    t0 = time.monotonic()
    time.sleep(2)
    assert w.notify.lines("WATCHDOG=1", t0) == [], "heartbeats go on, but claims do not"


def test_two_workers_share_and_nobody_runs_twice(world):
    world.sh("count", f"echo $REEVE_JOB_ID >>{world.dir}/ran; echo 1", max_runs=100)
    world.start("default")
    world.start("default:2")
    world.db.sql("select reeve.enqueue('count') from generate_series(1, 300)")
    wait_for(lambda: world.db.value("select count(*) from reeve.done") == 300, 60)
    ran = (world.dir / "ran").read_text().split()
    assert len(ran) == len(set(ran)) == 300
    assert world.db.value("select count(distinct instance) from (select jobs_done as instance from reeve.instance) x") >= 1
    world.check_invariant()


def test_a_hundred_cancels_among_runs(world):
    world.sh("short", "sleep 0.0$((REEVE_RUN_ID % 9)); echo 1", max_runs=20)
    world.start()
    ids = [r[0] for r in world.db.sql("select reeve.enqueue('short') from generate_series(1, 200)")]
    answers = {}

    def cancel():
        for i in ids[::2]:
            answers[i] = world.db.value("select reeve.cancel(%s)", i)

    t = threading.Thread(target=cancel)
    t.start()
    wait_for(lambda: world.db.value("select count(*) from reeve.done") == 200, 60)
    t.join()
    for i, answer in answers.items():
        state = world.job(i)["state"]
        assert state == "cancelled" or (answer in ("finished", "cancelling") and state == "succeeded"), (answer, state)
    assert all(world.job(i)["state"] == "succeeded" for i in ids[1::2])
    world.check_invariant()


def test_bad_configuration_is_refused_with_file_and_line(world):
    (world.root / "etc/reeve/pools/default.conf").write_text("[Pool]\nSlots=many\n")
    w = world.start(wait=False)
    assert w.process.wait(within(5)) == 1
    assert "default.conf:2: Slots=many" in w.text()


def test_a_broken_kind_is_left_out_and_the_others_run(world):
    world.sh("echo", "cat")
    (world.kinds / "broken.kind").write_text("[Kind]\nPriority=11\n[Exec]\nStart=/bin/true\n")
    w = world.start(wait=False)
    wait_for(lambda: w.log_has("broken.kind:2: Priority=11"))
    wait_for(lambda: world.db.value("select count(*) from reeve.kind") == 1)
    assert world.run("echo", 3)["result"] == 3


def test_a_claim_that_was_committed_long_after_its_worker_ended(world):
    world.sh("echo", "cat")
    world.start().stop()
    world.db.sql("update reeve.instance set stopped_at = now() - interval '5 minutes', reaped = true")
    id = world.enqueue("echo", 1)
    world.db.sql("with r as (delete from reeve.ready returning *) insert into reeve.lease (job, instance, lane, attempt, "
                 "interruptions, flags) select r.job, i.id, r.lane, 0, 0, 0 from r, reeve.instance i")
    world.start()
    assert world.wait(id)["result"] == 1
    world.check_invariant()


@pytest.fixture
def held(world):
    """Somebody's transaction, left open."""
    connection = world.db.connect("postgres")
    yield connection.cursor()
    connection.rollback()
    connection.close()


def test_a_cancel_in_a_transaction_that_is_left_open_holds_up_nobody_else(world, held):
    """It locks the run's row for as long as its caller likes: that run's end waits, and nothing else does."""
    sleeper(world)
    world.sh("quick", "echo 1")
    w = world.start()
    ids = [world.enqueue("sleeper") for _ in range(3)]
    running(world, 3)
    held.execute("select reeve.cancel(%s)", (ids[1],))
    (world.dir / "go").touch()  # the ends of all three go in one batch
    for id in (ids[0], ids[2]):
        assert world.wait(id)["state"] == "succeeded"
    until = time.monotonic() + 8  # longer than LeaseSec=, by far
    while time.monotonic() < until:
        assert world.run("quick", timeout=10)["state"] == "succeeded"
    assert world.job(ids[1])["state"] == "running"
    held.connection.commit()
    assert world.wait(ids[1])["state"] in ("succeeded", "cancelled")
    assert not w.log_has("declared dead") and not w.log_has("The database is away") and w.log_has("is instance 1 ")


def test_a_cancel_in_a_transaction_that_is_left_open_does_not_keep_a_successor_from_freeing_the_rest(world, held):
    sleeper(world)
    w = world.start()
    ids = [world.enqueue("sleeper") for _ in range(3)]
    running(world, 3)
    held.execute("select reeve.cancel(%s)", (ids[1],))
    w.kill9()
    (world.dir / "go").touch()
    world.start()
    for id in (ids[0], ids[2]):
        assert world.wait(id)["state"] == "succeeded"
    held.connection.commit()
    assert world.wait(ids[1])["state"] == "cancelled"


def test_however_many_runs_are_held_the_others_end(world, held):
    """Each try of a held one takes half a second; together they would have no end, and the oldest run is looked at last."""
    world.pool("default", slots=12)
    world.sh("oldest", f"while ! [ -e {world.dir}/end ]; do sleep 0.05; done; echo 1")
    sleeper(world)
    w = world.start()
    oldest = world.enqueue("oldest")
    world.wait(oldest, "running")
    ids = [world.enqueue("sleeper") for _ in range(10)]
    running(world, 10)
    for id in ids:
        held.execute("select reeve.cancel(%s)", (id,))
    (world.dir / "go").touch()
    time.sleep(4)  # each of them has been tried
    (world.dir / "end").touch()
    assert world.wait(oldest, timeout=20)["state"] == "succeeded"
    held.connection.commit()
    for id in ids:
        assert world.wait(id)["state"] in ("succeeded", "cancelled")
    assert not w.log_has("declared dead")


@pytest.mark.parametrize("how", ["no text", "directory", "loop", "too large"])
def test_settings_that_cannot_be_read_start_nothing(how, tmp_path):
    """With the defaults they would work on the embedded database, and keep jobs for as long as nobody said."""
    etc = tmp_path / "root/etc/reeve"
    etc.mkdir(parents=True)
    conf = etc / "reeve.conf"
    {"no text": lambda: conf.write_bytes(b"[Database]\nDatabase=host=/x\0\n"), "directory": conf.mkdir, "loop": lambda: conf.symlink_to(conf),
     "too large": lambda: conf.write_text("[Database]\n" + "#\n" * 1_000_000)}[how]()
    for program, *more in (("worker/reeve-worker", "default"), ("api/reeve-api",), ("manager/reeved",), ("maintenance/reeve-maintenance",)):
        p = subprocess.run([BUILD / "src" / program, f"--root={tmp_path}/root", *more], capture_output=True, text=True, timeout=within(30))
        assert p.returncode == 1 and "read reeve.conf: " in p.stderr, (program, p)
