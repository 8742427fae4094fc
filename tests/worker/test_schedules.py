"""Random schedules: workers are killed and stopped, for a moment and beyond their lease, backends end, jobs are cancelled, handlers fail,
spawn and die. In the end every job is in exactly one place, that is a terminal one, its result is that of the run which ended it, and
nothing that ran is left. REEVE_TEST_SEED= plays another schedule."""
import contextlib
import os
import pathlib
import random
import signal
import time

import psycopg2
import pytest

from conftest import wait_for
from patience import within

SECONDS = 10


def handlers(world):
    """Each leaves a line in DIR/ran before it succeeds, and gives the number of its run; their processes are known by MARK in the environment."""
    ran = f"echo $REEVE_JOB_ID >>{world.dir}/ran"
    world.sh("quick", f"{ran}; echo $REEVE_RUN_ID", max_runs=50, keys="MaxInterruptions=100\n")
    world.sh("slow", f"sleep 0.$((REEVE_RUN_ID % 5)); {ran}; echo $REEVE_RUN_ID", keys="MaxInterruptions=100\n")
    world.sh("flaky", f"[ $((REEVE_RUN_ID % 3)) = 0 ] || exit $((REEVE_RUN_ID % 2 * 74 + 1)); {ran}; echo $REEVE_RUN_ID", max_runs=3,
             keys="MaxInterruptions=100\nMaxAttempts=5\n")
    world.sh("dies", f"[ $((REEVE_RUN_ID % 2)) = 0 ] || kill -9 $$; (setsid sleep 30 &) ; {ran}; echo $REEVE_RUN_ID", keys="MaxInterruptions=100\n")
    world.sh("tree", f"""{ran}; [ $REEVE_PHASE = join ] || {{
        echo '{{"$reeve":{{"spawn":[{{"kind":"quick"}},{{"kind":"flaky"}},{{"kind":"twig"}}]}}}}'; exit; }}; echo $REEVE_RUN_ID""",
             max_runs=5, keys="MaxInterruptions=100\n")
    world.sh("twig", f"""{ran}; [ $REEVE_PHASE = join ] || {{ echo '{{"$reeve":{{"spawn":[{{"kind":"slow"}}]}}}}'; exit; }}; echo $REEVE_RUN_ID""",
             keys="MaxInterruptions=100\n")
    return ("quick", "slow", "flaky", "dies", "tree")


def ours(world):
    """Processes of handlers that are left, by pid with their command and output directory: it is below ours."""
    mark, found = f"REEVE_OUTPUT_DIR={world.dir}".encode(), {}
    for p in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            place = [v for v in (p / "environ").read_bytes().split(b"\0") if v.startswith(mark)]
            if place and (p / "stat").read_text().rsplit(")", 1)[1].split()[0] != "Z":
                found[int(p.name)] = ((p / "cmdline").read_bytes(), place[0])
        except OSError:
            continue
    return found


def below(pid):
    """All descendants of a process."""
    found = []
    for children in pathlib.Path(f"/proc/{pid}/task").glob("*/children"):
        try:
            for c in children.read_text().split():
                found += [int(c), *below(c)]
        except OSError:
            continue
    return found


def kill_launcher(world, launcher):
    """And what was in its cgroup, as systemd does it then."""
    os.kill(launcher.pid, signal.SIGSTOP)
    there = ours(world)
    places = {there[p][1] for p in below(launcher.pid) if p in there}
    launcher.kill()
    launcher.wait(within(10))
    for _ in range(20):
        left = [p for p, (_, place) in ours(world).items() if place in places]
        for p in left:
            with contextlib.suppress(ProcessLookupError):
                os.kill(p, signal.SIGKILL)
        if not left:
            break


class Freezer:
    """One worker at a time is stopped for longer than its lease. When it goes on, what its runs gave meanwhile is stale."""

    def __init__(self, db, rng):
        self.db, self.rng, self.worker = db, rng, None

    def freeze(self, worker):
        if self.worker:
            return
        os.kill(worker.pid, signal.SIGSTOP)
        self.worker = worker

    def choose(self, alive):
        """Whom something happens to; of the others one is left alone, to see that the lease is over."""
        others = [i for i, w in enumerate(alive) if w is not self.worker]
        return others[0] if self.worker else self.rng.choice(others)

    def thaw(self):
        """If its lease is over. Says whether nobody is frozen now."""
        if self.worker and self.db.value("select count(*) from reeve.instance where pid = %s and stopped_at is not null", self.worker.pid):
            os.kill(self.worker.pid, signal.SIGCONT)
            self.worker = None
        return not self.worker


def disturb(world, alive, rng, ids, freezer):
    """One thing that happens."""
    what = rng.choice(["kill", "stop", "backend", "cancel", "cancel", "cancel", "launcher", "release", "freeze", "freeze"])
    n = freezer.choose(alive)
    worker = alive[n]
    if what in ("kill", "release"):
        worker.kill9()
        if what == "release":
            world.release(worker.name)
        alive[n] = start(world, worker.name, wait=False)
    elif what == "stop":
        os.kill(worker.pid, signal.SIGSTOP)
        time.sleep(rng.choice([0.1, 0.5, 1.0]))
        os.kill(worker.pid, signal.SIGCONT)
    elif what == "freeze":
        freezer.freeze(worker)
    elif what == "backend":
        world.db.sql("select pg_terminate_backend(pid) from pg_stat_activity where usename = 'reeve_worker' and random() < 0.5")
    elif what == "cancel":
        for id in rng.sample(ids, 3):
            assert world.db.value("select reeve.cancel(%s)", id) in ("cancelled", "cancelling", "finished")
    else:
        launchers = [p for p in world.host.launchers if p.poll() is None]
        if launchers:
            kill_launcher(world, rng.choice(launchers))


def start(world, name, wait=True):
    w = world.start(name, wait=wait)
    w.name = name
    return w


@pytest.mark.parametrize("seed", [1])
def test_random_schedule(world, seed):
    seed = int(os.environ.get("REEVE_TEST_SEED", seed))
    rng = random.Random(seed)
    kinds = handlers(world)
    alive = [start(world, name) for name in ("default", "default:2", "default:3")]
    ids, end, freezer = [], time.monotonic() + SECONDS, Freezer(world.db, rng)
    while time.monotonic() < end or (len(ids) < 100 and time.monotonic() < end + within(SECONDS)):
        freezer.thaw()
        ids += [world.enqueue(rng.choice(kinds), unique_key=f"k{len(ids)}") for _ in range(rng.randrange(1, 12))]
        if len(ids) > 3:
            try:
                disturb(world, alive, rng, ids, freezer)
            except psycopg2.errors.DeadlockDetected as e:
                raise AssertionError(f"seed {seed}: {e}") from None
        time.sleep(rng.random() * 0.15)

    last = freezer.worker or alive[0]
    freezer.freeze(last)
    wait_for(freezer.thaw, 60, "its lease is over")
    wait_for(lambda: last.log_has("declared dead"), 60, "it learns so")
    everything = "select (select count(*) from reeve.job) - (select count(*) from reeve.done)"
    try:
        wait_for(lambda: world.db.value(everything) == 0, within(40), "every job has ended")
    except AssertionError as e:
        left = world.db.sql("select j.id, j.kind, reeve.job_state(j.id) from reeve.job j where not exists "
                            "(select from reeve.done d where d.job = j.id) limit 10")
        raise AssertionError(f"seed {seed}: {e}: {left}") from None
    world.check_invariant()
    ran = set((world.dir / "ran").read_text().split())
    succeeded = {str(r[0]) for r in world.db.sql("select job from reeve.done where state = 'succeeded'")}
    assert succeeded <= ran and len(succeeded) > 20, f"seed {seed}"
    stale = world.db.sql("select job, run_id, result from reeve.done where state = 'succeeded' and result::text <> run_id::text")
    assert stale == [], f"seed {seed}: results of other runs"
    for table in ("lease", "cancel_request", "progress", "waiting", "ready", "scheduled"):
        wait_for(lambda t=table: world.db.value(f"select count(*) from reeve.{t}") == 0, 5, f"seed {seed}: {table} is empty")
    assert world.db.value("select count(*) from reeve.key where scope = 'unique'") == 0
    for w in alive:
        w.stop()
    wait_for(lambda: not ours(world), 5, f"seed {seed}: no handler is left: {ours(world)}")
    for w in world.workers:
        assert "Sanitizer" not in w.text() and "runtime error" not in w.text(), w.text()[-4000:]
        assert "refuses the end" not in w.text() and "deadlock" not in w.text(), w.text()[-4000:]
