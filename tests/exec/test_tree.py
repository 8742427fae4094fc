"""What must end, what must not, and what a slot may not keep."""
import json
import os
import signal
import socket
import subprocess
import time

import pytest

from conftest import EXEC, JOB, PYTHON, alive, is_gone, wait_until
from patience import within

SANITIZED = b"__asan_init" in EXEC.read_bytes()
GIGABYTE = 20_000_000 if SANITIZED else 1_000_000_000

# A child that does all it can to get away: double fork, setsid, no descriptors, no environment, another name.
ESCAPE = """
import os, signal, sys, time
def escape(marker):
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            os.chdir("/")
            os.closerange(0, 1024)
            for n in (1, 2, 15): signal.signal(n, signal.SIG_IGN)
            os.execve("/bin/sleep", [marker, "1000"], {})
        os._exit(0)
    os.wait()
"""


@pytest.fixture
def marker(request):
    name = f"reeve-escape-{os.getpid()}-{request.node.name}"
    yield name
    assert alive(name) == []


def test_escaped_child_is_gone_before_the_end(py, marker):
    launcher = py(ESCAPE + f"escape('{marker}')\ntime.sleep(0.2)\nprint('true')")
    launcher.start()
    launcher.wait_for("started")
    wait_until(lambda: alive(marker))
    end = launcher.end()
    assert alive(marker) == []
    assert (end["cause"], end["exit"], end["result"]) == ("exit", 0, "ok")


def test_neighbours_survive(py, launch, marker):
    neighbours = [py(ESCAPE + f"escape('{marker}-{i}')\ntime.sleep(60)") for i in range(3)]
    for n in neighbours:
        n.start()
    victim = py(ESCAPE + f"escape('{marker}-victim')\ntime.sleep(60)")
    victim.start()
    wait_until(lambda: len(alive(marker)) == 4)
    victim.stop()
    assert victim.end()["cause"] == "cancelled"
    assert alive(f"{marker}-victim") == [] and len(alive(marker)) == 3
    for n in neighbours:
        n.stop()
        assert n.end()["cause"] == "cancelled"


def test_fork_storm_ends(py, marker):
    script = f"""
import os
for i in range(60):
    if os.fork() == 0:
        os.setsid()
        os.execv("/bin/sh", ["{marker}", "-c", "while :; do (sleep 0.01 &) ; sleep 0.02; done"])
print("true")
"""
    end = py(script).run(timeout=30)
    assert end["exit"] == 0 and end.result == b"true\n"


@pytest.mark.parametrize("how", ["close", "term", "stop"])
def test_launcher_told_to_end(py, marker, how):
    launcher = py(ESCAPE + f"import signal; signal.signal(signal.SIGTERM, signal.SIG_IGN)\nescape('{marker}')\ntime.sleep(60)",
                  stop_usec=400000)
    launcher.start()
    wait_until(lambda: alive(marker))
    t = time.monotonic()
    if how == "close":
        launcher.sock.close()
    elif how == "term":
        os.kill(launcher.pid, signal.SIGTERM)
        assert launcher.end()["cause"] == "drained"
    else:
        launcher.stop("drained")
        assert launcher.end()["cause"] == "drained"
    assert launcher.gone() == 0
    assert 0.3 < time.monotonic() - t < within(1.4)
    assert alive(marker) == []


def test_worker_killed(tmp_path, marker):
    """A worker that dies by kill -9: the kernel closes its socket, and the tree ends within StopSec + 1 s."""
    worker = f"""
import sys, time
sys.path[:0] = [{os.path.dirname(__file__)!r}, {os.path.dirname(os.path.dirname(__file__))!r}]
from conftest import *
l = Launcher({str(tmp_path)!r}, PYTHON, "-S", "-c", {ESCAPE!r} + "escape('{marker}')\\ntime.sleep(60)", stop_usec=300000)
l.start(); l.wait_for("started"); print(l.pid, flush=True); time.sleep(60)
"""
    p = subprocess.Popen([PYTHON, "-c", worker], stdout=subprocess.PIPE, text=True)
    pid = int(p.stdout.readline())
    wait_until(lambda: alive(marker))
    p.kill()
    t = time.monotonic()
    p.wait()
    p.stdout.close()
    wait_until(lambda: not alive(marker) and is_gone(pid), timeout=1.3)
    assert time.monotonic() - t < within(1.3)
    assert list(tmp_path.glob("reeve-run-*")) == []


def test_worker_gone_before_the_launcher_began():
    """It had connected and was killed while systemd started the unit: nothing would ever end the launcher but itself."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.close()
    p = subprocess.Popen([EXEC, "--unit=test.service", "--", "/bin/true"], stdin=theirs)
    theirs.close()
    try:
        assert p.wait(within(5)) == 0
    finally:
        p.kill()


def test_worker_that_takes_nothing_more(py, marker):
    """The launcher learns it by sending, not by reading: the run ends all the same."""
    launcher = py(ESCAPE + f"escape('{marker}')\nfor i in range(10000): os.write(3, b'{{\"progress\":%d}}\\n' % (i % 100)); time.sleep(0.01)")
    launcher.start()
    launcher.wait_for("progress")
    launcher.sock.shutdown(socket.SHUT_RD)
    assert launcher.gone(5) == 0
    assert alive(marker) == []


def test_idle_slot_ends_with_its_connection(sh):
    launcher = sh(":", max_runs=0)
    launcher.run()
    launcher.ready()
    launcher.sock.close()
    assert launcher.gone(2) == 0


def test_max_runs(sh):
    launcher = sh(":", max_runs=3)
    for i in range(3):
        assert launcher.run()["exit"] == 0
        if i < 2:
            launcher.ready()
    assert launcher.receive() is None and launcher.gone() == 0


def test_reused_slot_keeps_nothing(py, marker):
    """The second run sees no file, process, descriptor or variable of the first."""
    script = ESCAPE + f"""
import json
i, o = os.environ["REEVE_INPUT_DIR"], os.environ["REEVE_OUTPUT_DIR"]
seen = [sorted(os.listdir(i)), os.listdir(o), os.environ.get("REEVE_SUBJECT"), sorted(os.listdir(os.path.dirname(i))),
        oct(os.stat(i).st_mode & 0o777), oct(os.stat(o).st_mode & 0o777)]
os.makedirs(o + "/a/b/c"); open(o + "/a/b/c/f", "w").close()
os.chmod(i, 0o755); open(i + "/secret", "w").close(); os.chmod(i, 0)
os.mkdir(o + "/locked"); open(o + "/locked/x", "w").close(); os.chmod(o + "/locked", 0); os.chmod(o, 0o500)
escape("{marker}")
os.mkdir(os.path.dirname(i) + "/beside"); open(os.path.dirname(i) + "/beside/x", "w").close()
os.unlink(os.environ["NOTIFY_SOCKET"]); os.mkdir(os.environ["NOTIFY_SOCKET"])
os.write(3, b'{{"progress":1')
sys.stderr.write("secret"); sys.stderr.flush()
print(json.dumps(seen))
"""
    launcher = py(script, max_runs=0)
    first = launcher.run(b'"first"', inputs=[("doc.pdf", b"%PDF")], subject="42")
    launcher.ready()
    fds, base = launcher.fds(), sorted(p.name for p in launcher.base().rglob("*"))
    assert base == ["input", "notify", "output"]
    assert alive(marker) == []
    second = launcher.run(b'"second"')
    launcher.ready()
    assert len(launcher.fds()) == len(fds)  # the notification socket is a new one
    assert json.loads(first.result)[0] == ["doc.pdf", "payload.json"]
    assert json.loads(second.result) == [["payload.json"], [], "", ["input", "notify", "output"], "0o555", "0o755"]
    assert second["log"] == "secret" and not [f for f in second.frames if f["type"] == "progress"]


def test_gigabyte_on_stdout(launch):
    launcher = launch("/bin/sh", "-c", f"head -c {GIGABYTE} /dev/zero")
    launcher.start()
    launcher.wait_for("started")
    peak = 0
    while True:
        peak = max(peak, launcher.memory())
        try:
            frame = launcher.receive(0.05)
        except TimeoutError:
            continue
        if frame["type"] == "end":
            break
    assert frame["result"] == "too-large" and frame["exit"] == 0
    assert SANITIZED or peak < 10 * 1024  # KiB


def test_gigabyte_on_stderr(launch, journal):
    launcher = launch("/bin/sh", "-c", f"yes | head -c {GIGABYTE} >&2; echo last >&2", **journal.options)
    launcher.start()
    launcher.wait_for("started")
    peak = 0
    while True:
        peak = max(peak, launcher.memory())
        try:
            frame = launcher.receive(0.05)
        except TimeoutError:
            continue
        if frame["type"] == "end":
            break
    assert frame["log"].endswith("y\ny\nlast\n") and frame["log_truncated"] and frame["exit"] == 0
    assert SANITIZED or peak < 10 * 1024  # KiB
    entries = journal.entries(lambda e: "left out" in e["MESSAGE"])
    assert 2000 <= len(entries) < 2100 + 500 * frame["wall_usec"] / 1e6
    left_out = int(entries[-1]["MESSAGE"].split()[0])
    assert left_out + len(entries) - 1 == GIGABYTE // 2 + 1 and entries[-1]["PRIORITY"] == "4"


def test_journal_fields(sh, journal):
    launcher = sh("echo plain >&2; echo '<3>it burns' >&2; head -c 20000 /dev/zero | tr '\\0' x >&2; printf '\\nlast' >&2",
                  max_runs=0, **journal.options)
    launcher.run()
    launcher.ready()
    entries = journal.entries(lambda e: e["MESSAGE"] == "last")
    assert [e["MESSAGE"] for e in entries] == ["plain", "it burns", "x" * 8192, "last"]
    assert [e["PRIORITY"] for e in entries] == ["6", "3", "6", "6"]
    for e in entries:
        assert (e["REEVE_JOB_ID"], e["REEVE_RUN_ID"], e["REEVE_KIND"], e["REEVE_QUEUE"], e["SYSLOG_IDENTIFIER"]) == \
            (JOB, "1", "test.kind", "default", "test.kind")


def test_slow_worker_gets_every_file(py):
    """More files than the socket holds: they wait, nothing is lost, and the worker's silence harms nobody."""
    launcher = py("import os\nos.chdir(os.environ['REEVE_OUTPUT_DIR'])\nfor i in range(900): open(str(i), 'w').write(str(i))", max_runs=0)
    launcher.start()
    time.sleep(1)
    end = launcher.end()
    assert end.files == {str(i): str(i).encode() for i in range(900)}
    launcher.ready()


def test_nonsense_from_the_worker_ends_the_slot(sh):
    launcher = sh("sleep 60", max_runs=0)
    launcher.start()
    launcher.wait_for("started")
    launcher.send({"type": "run"})
    assert launcher.gone(3) == 0
    assert "a frame that is none" in launcher.errors()


def test_not_a_connection():
    p = subprocess.run([EXEC, "--", "/bin/true"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert p.returncode == 1 and "started by systemd" in p.stderr
    p = subprocess.run([EXEC, "--mode=fast", "--", "/bin/true"], stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert p.returncode == 1 and "--mode=fast" in p.stderr


def test_quick_runs_in_a_reused_slot(launch):
    """A floor, far below what it does (tools/bench says what): the speed is the reason for MaxRuns=."""
    launcher = launch("/bin/true", max_runs=0)
    launcher.run()
    launcher.ready()
    t = time.monotonic()
    for _ in range(200):
        assert launcher.run()["exit"] == 0
        launcher.ready()
    assert 200 / (time.monotonic() - t) > 50


def test_private_tmp_is_emptied(sh, tmp_path):
    """What PrivateTmp= mounts is the slot's own: a reused slot finds it empty; a shared /var/tmp is left alone."""
    if os.getuid() != 0:
        pytest.skip("needs root for a mount namespace")
    private, shared = tmp_path / "systemd-private-1-x.service-y/tmp", tmp_path / "shared"
    private.mkdir(parents=True)
    shared.mkdir()
    # The checkout may itself be below /tmp: the program is copied to where the mounts do not hide it.
    mounts = (f'mount -t tmpfs tmpfs /mnt && cp "$1" /mnt/reeve-exec && shift && mount --bind {shared} /var/tmp && '
              f'mount --bind {private} /tmp && exec /mnt/reeve-exec "$@"')
    launcher = sh("ls /tmp /var/tmp; mkdir -p /tmp/a/b; : >/tmp/a/b/c; : >/tmp/.hidden; : >/var/tmp/kept",
                  max_runs=0, output="text", env={"TMPDIR": "/tmp"}, wrap=("unshare", "-m", "/bin/sh", "-c", mounts, "sh"))
    launcher.run()
    launcher.ready()
    assert [p.name[:10] for p in private.iterdir()] == ["reeve-run-"]
    assert [p.name for p in shared.iterdir()] == ["kept"]
    assert b"a\n" not in launcher.run().result
    launcher.ready()
