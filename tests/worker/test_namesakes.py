"""Two workers of one name: on one host, on hosts of one host name, on machines cloned from one image. The second waits, says why, and
interrupts nothing; but a successor takes over."""
import os
import pathlib
import signal
import time
import uuid

import pytest

from conftest import wait_for

LONG = 60  # on a slow machine
BOOT, MACHINE = "/proc/sys/kernel/random/boot_id", "/etc/machine-id"

needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="mounts over what tells machines apart")


def machine(world, clone=False):
    """A command that starts another as if on another machine of this host name, cloned from this one or not; also this one after a crash."""
    (world.dir / "boot").write_text(f"{uuid.uuid4()}\n")
    script = f"mount --bind {world.dir}/boot {BOOT}"
    if not clone and pathlib.Path(MACHINE).exists():
        (world.dir / "machine").write_text(f"{uuid.uuid4().hex}\n")
        script += f" && mount --bind {world.dir}/machine {MACHINE}"
    return ["unshare", "-m", "sh", "-c", f'{script} && exec "$@"', "sh"]


def sleeper(world):
    world.sh("sleeper", f"echo $$ >>{world.dir}/pids; while ! [ -e {world.dir}/go ]; do sleep 0.05; done; echo 1")


def begin(world):
    id = world.enqueue("sleeper")
    wait_for(lambda: world.db.value("select count(*) from reeve.lease where job = %s and started", id), LONG, "it is seen running")
    return id


def finish(world, id, interruptions):
    (world.dir / "go").touch()
    job = world.wait(id, timeout=LONG)
    assert (job["state"], job["interruptions"]) == ("succeeded", interruptions), (job, world.history(id))
    world.check_invariant()


def living(world, name="default"):
    return [r[0] for r in world.db.sql("select id from reeve.instance where stopped_at is null and name = %s", name)]


def waits(world, w, first, text):
    """w says what is wrong, and first serves on, for longer than a lease."""
    wait_for(lambda: w.log_has("Not serving: ") and w.log_has(text), LONG, f"it says so: {w.text()}")
    wait_for(lambda: w.notify.status.startswith("waiting: ") and text in w.notify.status, LONG, "STATUS=")
    mine = living(world)
    time.sleep(4)
    assert living(world) == mine and len(mine) == 1
    assert w.process.poll() is None and not w.log_has("is instance")
    assert w.text().count("Not serving: ") == 1
    assert not first.log_has("declared dead") and first.text().count("is instance") == 1


def serves(w):
    wait_for(lambda: w.log_has("is instance"), LONG, f"it serves: {w.text()}")


def test_a_second_one_on_this_host_waits_until_the_first_ends(world):
    sleeper(world)
    first = world.start()
    id = begin(world)
    second = world.start(wait=False)
    waits(world, second, first, f"runs on this host already, as process {first.pid}")
    finish(world, id, 0)
    first.stop()
    serves(second)
    assert world.run("sleeper", timeout=LONG)["state"] == "succeeded"
    assert not second.log_has("its predecessor had not")
    wait_for(lambda: second.notify.status.startswith("working"), LONG, "STATUS=")


def test_one_that_waits_for_another_ends_when_it_is_told_to(world):
    first = world.start()
    second = world.start(wait=False)
    wait_for(lambda: second.log_has("Not serving: "), LONG, "it waits")
    second.stop(LONG)
    world.release(result="success", code="exited", status="0")  # as its unit does
    assert len(living(world)) == 1 and not first.log_has("declared dead")


@needs_root
@pytest.mark.parametrize("clone", [False, True], ids=["another", "cloned"])
def test_a_host_of_this_host_name_waits_and_takes_over_when_this_one_is_lost(world, clone):
    sleeper(world)
    first = world.start()
    id = begin(world)
    there = machine(world, clone)
    second = world.start(wait=False, on=there)
    waits(world, second, first, "of another host called")
    assert world.release(on=there).returncode == 0 and len(living(world)) == 1  # what ends there is not what runs here
    first.kill9()
    serves(second)
    assert second.log_has("its predecessor had not said good-bye")
    finish(world, id, 1)


@needs_root
def test_this_host_after_a_crash_takes_over_before_the_lease_has_run_out(world):
    """Its processes are gone, but by what tells so only another boot shows: its heartbeats stand still."""
    world.config(world.db.conninfo, "HeartbeatSec=1s\nLeaseSec=1h\n")
    sleeper(world)
    first = world.start()
    id = begin(world)
    first.kill9()
    second = world.start(wait=False, on=machine(world, clone=True))
    serves(second)
    finish(world, id, 1)


def test_one_that_stands_still_loses_its_name_with_its_lease(world):
    sleeper(world)
    first = world.start()
    id = begin(world)
    first.process.send_signal(signal.SIGSTOP)
    second = world.start(wait=False)
    serves(second)  # LeaseSec=3s in these tests
    wait_for(lambda: world.db.value("select count(*) from reeve.lease where job = %s", id), LONG, "claimed anew")
    first.process.send_signal(signal.SIGCONT)
    wait_for(lambda: first.log_has("declared dead"), LONG, "it learns that it is dead")
    wait_for(lambda: first.log_has(f"runs on this host already, as process {second.pid}"), LONG, first.text())
    finish(world, id, 1)
    assert not second.log_has("declared dead")
    second.stop()
    wait_for(lambda: first.text().count("is instance") == 2, LONG, "and serves again")


@needs_root
def test_a_database_that_was_away_makes_nobody_a_predecessor(world):
    """All heartbeats are old then: who waits watches anew, also on a cloned machine."""
    world.config(world.db.conninfo, "HeartbeatSec=3s\nLeaseSec=10s\n")
    sleeper(world)
    first = world.start()
    id = begin(world)
    second = world.start(wait=False, on=machine(world, clone=True))
    wait_for(lambda: second.log_has("Not serving: "), LONG, "it waits")
    world.db.server.kill9(start=False)
    time.sleep(10.5)  # longer than a lease
    world.db.server.start()
    for w in first, second:
        wait_for(lambda w=w: w.text().count("Connected to the database") == 2, LONG, w.text())
    wait_for(lambda: second.text().count("Not serving: ") == 2, LONG, "the first one's heart has been seen to beat again")
    assert not first.log_has("declared dead") and not second.log_has("is instance")
    finish(world, id, 0)


@needs_root
def test_many_of_one_name_one_serves(world):
    """Started at once on hosts of one name: one of them serves, and each job runs once."""
    world.sh("count", f"echo $REEVE_JOB_ID >>{world.dir}/ran; echo 1", max_runs=100)
    hosts = [world.start(wait=False, on=machine(world)) for _ in range(2)] + [world.start(wait=False) for _ in range(2)]
    wait_for(lambda: living(world), LONG, "one serves")
    wait_for(lambda: sum(w.log_has("Not serving") for w in hosts) == 3, LONG, "three wait")
    world.db.sql("select reeve.enqueue('count') from generate_series(1, 50)")
    wait_for(lambda: world.db.value("select count(*) from reeve.done where state = 'succeeded'") == 50, LONG, "all are done")
    ran = (world.dir / "ran").read_text().split()
    assert len(ran) == len(set(ran)) == 50
    assert sum(w.log_has("is instance") for w in hosts) == 1
