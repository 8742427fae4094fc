"""What the host has not got at the moment is no run's fault: no room for inputs, no descriptors. It is told apart from an input that is
wrong, nothing is left behind, and the same launcher runs what comes when there is room again."""
import os
import resource
import socket
import subprocess
import time

import pytest

from conftest import EXEC


SMALL = ["unshare", "-m", "--propagation=slave", "sh", "-c", 'mount -t tmpfs -o size=1m tmpfs "$TMPDIR" && exec "$@"', "sh"]
KIB = 1024


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a small file system")
@pytest.mark.parametrize("persistent", [False, True])
def test_no_room_for_inputs(launch, persistent):
    if persistent:
        script = "while read -r line; do echo '{\"result\":1}'; done"
        launcher = launch("/bin/sh", "-c", script, wrap=SMALL, max_runs=0, mode="persistent")
    else:
        launcher = launch("/bin/sh", "-c", "cat $REEVE_INPUT_DIR/a | wc -c", wrap=SMALL, max_runs=0)
    for inputs in ([("a", bytes(700 * KIB)), ("b", bytes(700 * KIB))], [(f"f{i}", bytes(20 * KIB)) for i in range(100)]):
        end = launcher.run(inputs=inputs)
        assert (end["cause"], end["exit"]) == ("input-error", None)
        assert end["error"]["code"] == "NO_SPACE" and "No space left on device" in end["error"]["message"], end
        assert "No space left" in end["log"]
        launcher.ready()
        end = launcher.run(inputs=[("a", bytes(700 * KIB))])
        assert (end["cause"], end["exit"]) == ("exit", 0), end
        launcher.ready()
    assert b"reeve-run-" not in b"".join(e.encode() for e in os.listdir(f"/proc/{launcher.pid}/root{launcher.tmp}")[1:])


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a small file system")
def test_an_input_for_which_there_never_is_room_is_wrong(launch):
    launcher = launch("/bin/true", wrap=SMALL, max_runs=0)
    end = launcher.run(inputs=[("a", bytes(2 * KIB * KIB))])
    assert end["cause"] == "input-error" and "error" not in end and "File too large" in end["log"], end
    launcher.ready()
    assert launcher.run()["exit"] == 0


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a small file system")
def test_a_full_disk_at_the_start_ends_the_launcher(tmp_path):
    """Before it says hello: its worker holds the kind (tests/worker/test_no_handler.py)."""
    full = ["unshare", "-m", "--propagation=slave", "sh", "-c", 'mount -t tmpfs -o nr_inodes=1 tmpfs "$TMPDIR" && exec "$@"', "sh"]
    ours, its = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    r = subprocess.run([*full, EXEC, "--unit=u", "--", "/bin/true"], capture_output=True, text=True, timeout=60,
                       env=os.environ | {"TMPDIR": str(tmp_path), "LC_ALL": "C"}, stdin=its)
    ours.close()
    its.close()
    assert r.returncode != 0 and "Cannot make the slot's directories" in r.stderr and "No space left on device" in r.stderr, r
    assert list(tmp_path.iterdir()) == []


def test_no_descriptors(sh):
    launcher = sh("echo 1", max_runs=0)
    assert launcher.run().result == b"1\n"
    launcher.ready()
    before = resource.prlimit(launcher.pid, resource.RLIMIT_NOFILE)
    for more in range(1, 12):  # one by one, wherever that stops it
        resource.prlimit(launcher.pid, resource.RLIMIT_NOFILE, (max(launcher.fds()) + 1 + more, before[1]))
        end = launcher.run(inputs=[("a", b"x")])
        if end["cause"] == "exit":
            assert end.result == b"1\n"
        else:
            assert end["cause"] == "input-error" and end["error"]["code"] == "NO_RESOURCES", end
            assert "Too many open files" in end["error"]["message"]
        launcher.ready()
    assert end["cause"] == "exit", end
    resource.prlimit(launcher.pid, resource.RLIMIT_NOFILE, before)
    assert launcher.run(inputs=[("a", b"x")]).result == b"1\n"
    launcher.ready()
    ticks = open(f"/proc/{launcher.pid}/stat", encoding="ascii").read().rsplit(")", 1)[1].split()[11:13]
    time.sleep(0.5)
    assert open(f"/proc/{launcher.pid}/stat", encoding="ascii").read().rsplit(")", 1)[1].split()[11:13] == ticks
