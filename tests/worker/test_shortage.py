"""What the host has not got at the moment costs no job an attempt, and no result: a full disk, no descriptors."""
import contextlib
import os
import pathlib
import resource
import subprocess
import time

import pytest

from conftest import EXEC, wait_for

LONG = 60  # on a slow machine
needs_root = pytest.mark.skipif(os.geteuid() != 0, reason="needs a small file system")
LARGE = "echo '\"'$(head -c 500000 /dev/zero | tr '\\0' 5)'\"'"
ONCE = "MaxAttempts=1\nMaxInterruptions=1\n"


@contextlib.contextmanager
def small(path, size="4m"):
    """A file system that a file fills: full() and room()."""
    subprocess.run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path], check=True)
    filler = pathlib.Path(path) / "filler"

    def full():
        with open(filler, "wb", buffering=0) as f, contextlib.suppress(OSError):
            while f.write(bytes(4096)) == 4096:
                pass
    try:
        yield full, lambda: filler.unlink(missing_ok=True)
    finally:
        subprocess.run(["umount", "-l", path], check=True)


def cpu(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def faults(world):
    return {f["kind"]: f["code"] for f in world.db.value("select faults from reeve.instance where stopped_at is null")}


def is_calm(pid):
    before = cpu(pid)
    time.sleep(1)
    assert cpu(pid) - before <= 0.15


def ran(world):
    """How often a handler ran, by job."""
    try:
        lines = (world.dir / "ran").read_text().split()
    except FileNotFoundError:
        return {}
    return {job: lines.count(job) for job in lines}


def end_all(world, ids):
    for id in ids:
        job = world.wait(id, timeout=LONG)
        assert (job["state"], job["attempt"], job["interruptions"]) == ("succeeded", 1, 0), job
    wait_for(lambda: faults(world) == {}, LONG, "nothing is wrong any more")
    wait_for(lambda: world.db.value("select count(*) from reeve.lease") == 0, LONG, "no lease is left")
    world.check_invariant()


@needs_root
def test_a_full_disk_keeps_results_waiting(world):
    """The work is done once; what it gave is kept as soon as there is room. Others go on meanwhile."""
    mark = f"echo $REEVE_JOB_ID >>{world.dir}/ran"
    world.sh("result", f"{mark}; {LARGE}", keys=ONCE)
    world.sh("files", f"{mark}; head -c 500000 /dev/zero >$REEVE_OUTPUT_DIR/a; echo x >$REEVE_OUTPUT_DIR/b; echo 1", keys=ONCE)
    world.sh("echo", "cat", keys=ONCE)
    world.pool("default", slots=5)
    with small(world.blobs) as (full, room):
        full()
        w = world.start()
        ids = [world.enqueue(k) for k in ("result", "files", "result", "files")]
        wait_for(lambda: faults(world) == {"result": "NO_SPACE", "files": "NO_SPACE"}, LONG, "both are told")
        wait_for(lambda: "cannot run 2 kinds" in w.notify.status, LONG, "the status line")
        assert "No space left on device" in w.text()
        assert [world.run("echo", i, timeout=LONG)["result"] for i in range(3)] == [0, 1, 2]
        wait_for(lambda: len(ran(world)) >= 2, LONG, "they have run")
        assert {world.job(id)["state"] for id in ids} <= {"running", "ready"}
        is_calm(w.pid)
        assert [p.name for p in world.blobs.rglob("*") if p.is_file()] == ["filler"]
        room()
        end_all(world, ids)
        assert set(ran(world).values()) == {1}, "nothing was done twice"
        assert len(str(world.db.value("select result_blob from reeve.done where job = %s", ids[0]))) > 64
        w.stop()


@needs_root
def test_a_cancel_and_a_drain_do_not_wait_for_room(world):
    world.sh("result", f"echo $REEVE_JOB_ID >>{world.dir}/ran; {LARGE}", keys=ONCE)
    world.pool("default", slots=2, drain="1s")
    with small(world.blobs) as (full, room):
        full()
        w = world.start()
        gone, kept = world.enqueue("result"), world.enqueue("result")
        wait_for(lambda: len(ran(world)) == 2, LONG, "both have run")
        wait_for(lambda: faults(world) == {"result": "NO_SPACE"}, LONG, "told")
        assert world.db.value("select reeve.cancel(%s)", gone) == "cancelling"
        assert world.wait(gone, timeout=LONG)["state"] == "cancelled"
        w.stop(LONG)
        job = world.job(kept)
        assert (job["state"], job["attempt"], job["interruptions"]) == ("ready", 0, 0), job
        room()
        world.start()
        assert world.wait(kept, timeout=LONG)["state"] == "succeeded"
        world.check_invariant()


@needs_root
def test_no_room_for_inputs_costs_no_attempt(world):
    tmp = world.dir / "tmp"
    tmp.mkdir()
    launcher = world.dir / "launcher"
    launcher.write_text(f"#!/bin/sh\nTMPDIR={tmp} exec {EXEC} \"$@\"\n")
    launcher.chmod(0o755)
    world.sh("inputs", "wc -c <$REEVE_INPUT_DIR/payload.json", keys=ONCE, launcher=str(launcher), max_runs=10)
    world.sh("echo", "cat", keys=ONCE)
    with small(tmp, "2m") as (full, room):
        w = world.start()
        end_all(world, [world.enqueue("inputs", "x" * 1000)])
        full()
        ids = [world.enqueue("inputs", "x" * 40000) for _ in range(6)]
        wait_for(lambda: faults(world) == {"inputs": "NO_SPACE"}, LONG, f"told: {w.text()[-2000:]}")
        (message,) = (f["message"] for f in world.db.value("select faults from reeve.instance where stopped_at is null"))
        assert "No space left on device" in message
        assert world.run("echo", 1, timeout=LONG)["result"] == 1
        is_calm(w.pid)
        room()
        end_all(world, ids)


@contextlib.contextmanager
def no_descriptors(pid):
    used = {int(f) for f in os.listdir(f"/proc/{pid}/fd")}
    least = next(i for i in range(100000) if i not in used)
    before = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, (least, before[1]))
    try:
        yield
    finally:
        resource.prlimit(pid, resource.RLIMIT_NOFILE, before)


def test_no_descriptors_cost_no_attempt(world):
    """None to start runs with, and none for what running ones send."""
    go = world.dir / "go"
    world.sh("echo", "cat", keys=ONCE)
    world.sh("files", f"echo $REEVE_JOB_ID >>{world.dir}/ran; while ! [ -e {go} ]; do sleep 0.05; done; echo 1 >$REEVE_OUTPUT_DIR/a; echo 2",
             keys=ONCE)
    world.pool("default", slots=4)
    w = world.start()
    running = [world.enqueue("files") for _ in range(2)]
    wait_for(lambda: len(ran(world)) == 2, LONG, "both run")
    with no_descriptors(w.pid):
        ids = [world.enqueue("echo", i) for i in range(10)]
        wait_for(lambda: faults(world).get("echo") == "NO_RESOURCES", LONG, f"told: {w.text()[-2000:]}")
        assert "Too many open files" in w.text() and "LimitNOFILE=" in w.text()
        go.touch()
        wait_for(lambda: faults(world).get("files") == "NO_RESOURCES", LONG, f"told: {w.text()[-2000:]}")
        is_calm(w.pid)
        assert w.process.poll() is None
    end_all(world, ids + running)
    w.stop()


def test_no_descriptors_for_the_database(world):
    """The connection is lost and cannot be made anew: the run goes on and its end is told later."""
    go = world.dir / "go"
    world.sh("slow", f"while ! [ -e {go} ]; do sleep 0.05; done; echo 1", keys=ONCE)
    w = world.start()
    id = world.enqueue("slow")
    wait_for(lambda: world.job(id)["state"] == "running", LONG, "it runs")
    world.db.server.stop()
    try:
        wait_for(lambda: "degraded: no database" in w.notify.status, LONG, "it has seen it")
        held = no_descriptors(w.pid)
        held.__enter__()
    finally:
        world.db.server.start()
    go.touch()
    time.sleep(1)
    is_calm(w.pid)
    assert "degraded: no database" in w.notify.status and w.process.poll() is None
    held.__exit__(None, None, None)
    job = world.wait(id, timeout=LONG)
    assert job["state"] == "succeeded" and job["result"] == 1
    world.check_invariant()
