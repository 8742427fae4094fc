"""--launcher=: the worker starts reeve-exec itself, over a socket pair, where no systemd does."""
import os
import pathlib
import signal

import pytest
from conftest import EXEC, wait_for
from patience import within

OPTIONS = (f"--launcher={EXEC}",)


@pytest.fixture
def alone(world):
    """Nobody listens on the sockets of the kinds."""
    def start(**kw):
        for s in world.host.sockets.values():
            s.close()
        for path in world.host.dir.glob("*.sock"):
            path.unlink()
        return world.start(options=OPTIONS, **kw)
    world.begin = start
    return world


def children(pid):
    return pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()


def test_jobs_run_and_slots_are_used_again(alone):
    alone.sh("echo", "cat")
    alone.sh("many", "echo $PPID", exec_keys="MaxRuns=100")
    w = alone.begin()
    job = alone.run("echo", {"a b": "it's \"quoted\""})
    assert job["state"] == "succeeded" and job["result"] == {"a b": "it's \"quoted\""} and job["unit"].startswith("reeve-run-echo@")
    launchers = {alone.run("many")["result"] for _ in range(5)}
    assert len(launchers) == 1, "MaxRuns= reached the launcher"
    assert "nothing isolates" in w.text()
    w.stop()


def test_words_limits_and_causes_are_the_kinds_own(alone):
    alone.kind("words", "/usr/bin/printf", '["%s","%s","%s"]', "a b", "100%", "$HOME")
    alone.sh("slow", "sleep 60", keys="MaxAttempts=1\nTimeoutSec=300ms\n")
    alone.sh("killed", "kill -SEGV $$", keys="MaxAttempts=1\n")
    w = alone.begin()
    assert alone.run("words")["result"] == ["a b", "100%", "$HOME"]
    assert alone.run("slow")["cause"] == "timeout" and alone.run("killed")["cause"] == "signal"
    wait_for(lambda: not children(w.pid), what="no launcher is left, and none is a zombie")


def test_a_tree_ends_with_its_job(alone):
    alone.sh("tree", f"(setsid sleep 987.5 </dev/null >/dev/null 2>&1 &) ; echo up >{alone.dir}/up; sleep 60")
    alone.begin()
    id = alone.enqueue("tree")
    wait_for((alone.dir / "up").exists)
    alone.db.sql("select reeve.cancel(%s)", id)
    assert alone.wait(id)["state"] == "cancelled"
    wait_for(lambda: os.system("pgrep -f 'sleep 987\\.5' >/dev/null") != 0, what="the process that left its session has ended")


@pytest.mark.parametrize("how", ["worker", "launcher"])
def test_kill9(alone, how):
    """Of the launcher: its run was interrupted, and is run again. Of the worker: its launchers end, a successor goes on."""
    alone.sh("wait", f"echo x >>{alone.dir}/begun; while [ ! -e {alone.dir}/go ]; do sleep 0.05; done; echo 1")
    w = alone.begin()
    id = alone.enqueue("wait")
    wait_for((alone.dir / "begun").exists)
    launcher = int(children(w.pid)[0])
    os.kill(w.pid if how == "worker" else launcher, signal.SIGKILL)
    if how == "worker":
        w.process.wait(within(10))
        wait_for(lambda: not pathlib.Path(f"/proc/{launcher}").exists(), what="the launcher ended")
        alone.release()
        alone.start(options=OPTIONS)
    wait_for(lambda: (alone.dir / "begun").read_text().count("x") == 2, what="it is run again")
    (alone.dir / "go").touch()
    job = alone.wait(id)
    assert job["state"] == "succeeded" and job["attempt"] == 1


def test_a_launcher_that_does_not_answer_is_killed(alone):
    alone.sh("wedge", f"echo $PPID >>{alone.dir}/launcher; kill -STOP $PPID; sleep 60", keys="MaxAttempts=1\nTimeoutSec=300ms\nMaxInterruptions=1\n")
    w = alone.begin()
    id = alone.enqueue("wedge")
    wait_for(lambda: (alone.dir / "launcher").exists() and (alone.dir / "launcher").read_text().endswith("\n"))
    first = (alone.dir / "launcher").read_text().split()[0]
    wait_for(lambda: first not in children(w.pid), 40, "the stopped launcher is gone")
    assert alone.wait(id, timeout=60)["state"] == "failed"


def test_a_launcher_that_is_not_there_is_told(alone):
    alone.sh("echo", "cat")
    for s in alone.host.sockets.values():
        s.close()
    alone.start(options=("--launcher=/nowhere/reeve-exec",))
    alone.enqueue("echo")
    wait_for(lambda: "/nowhere/reeve-exec cannot be started" in str(alone.db.sql("select * from reeve.instance")) or
             "/nowhere/reeve-exec cannot be started" in alone.workers[-1].text(), what="it is said")
    assert alone.db.value("select count(*) from reeve.done") == 0, "nothing is lost for it"
