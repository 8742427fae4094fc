"""A handler's calls that name a process reach its own tree and nobody else, though all runs have one user."""
import errno
import json
import os
import pathlib
import resource
import shutil
import subprocess
import tempfile
import time

import pytest

from conftest import EXEC, Launcher, is_gone, wait_until

# Runs as root here: what is refused is refused by the filter alone, before the kernel looks at users.
CALLS = """
import ctypes, fcntl, json, os, resource, signal, socket, subprocess, sys, time
c = ctypes.CDLL(None, use_errno=True)
def call(*a):
    r = c.syscall(*[ctypes.c_long(x) if isinstance(x, int) else x for x in a])
    return ctypes.get_errno() if r < 0 else 0
def err(f, *a):
    try: f(*a)
    except OSError as e: return e.errno
    return 0
def calls(pid):
    s = socket.socketpair()[0]
    owner = (ctypes.c_int * 2)(1, pid)
    limit = (ctypes.c_ulong * 2)(1, 1)
    param = (ctypes.c_int * 1)(0)
    mask = (ctypes.c_ulong * 1)(1)
    info = (ctypes.c_int * 32)(0, 0, -1)
    attr = (ctypes.c_int * 12)(48)
    pidfd = os.pidfd_open(pid)
    return {
        "kill": err(os.kill, pid, 0), "kill-9": err(os.kill, pid, 9) if pid == VICTIM else 1, "group": err(os.killpg, pid, 0),
        "tkill": call(200, pid, 0), "tgkill": call(234, pid, pid, 0),
        "sigqueue": call(129, pid, 10, info) if pid == VICTIM else 1, "tgsigqueue": call(297, pid, pid, 10, info) if pid == VICTIM else 1,
        "pidfd": err(signal.pidfd_send_signal, pidfd, 0),
        "owner": err(fcntl.fcntl, s, fcntl.F_SETOWN, pid), "owner-group": err(fcntl.fcntl, s, fcntl.F_SETOWN, -pid),
        "owner-ex": err(fcntl.fcntl, s, 15, bytes(owner)), "owner-ioctl": err(fcntl.ioctl, s, 0x8901, bytes(param)),
        "prlimit": call(302, pid, 0, limit, 0), "affinity": call(203, pid, 8, mask), "scheduler": call(144, pid, 0, param),
        "priority": call(141, 0, pid, 5), "priority-group": call(141, 1, pid, 5), "priority-user": call(141, 2, 0, 5),
        "io-priority": call(251, 1, pid, 0x4000), "io-priority-user": call(251, 3, 0, 0x4000),
    }
"""


@pytest.fixture
def victim():
    """Somebody else's process, in a session and group of its own."""
    p = subprocess.Popen(["/bin/sleep", "600"], start_new_session=True)
    yield p.pid
    assert p.poll() is None, "it was ended"
    p.kill()
    p.wait()


def ask(py, script, victim=0, **options):
    end = py(CALLS.replace("VICTIM", str(victim)) + script, **options).run()
    assert (end["cause"], end["exit"], end["result"]) == ("exit", 0, "ok"), end
    return json.loads(end.result)


def test_another_run_is_not_reached(py, victim):
    found = ask(py, f"print(json.dumps(calls({victim})))", victim)
    assert found.pop("pidfd") == 38, "ENOSYS: programs use kill() then"
    assert set(found.values()) == {1}, {k: v for k, v in found.items() if v != 1}


def test_nor_by_children_and_threads_of_the_handler(py, victim):
    found = ask(py, f"""
import threading
seen = []
t = threading.Thread(target=lambda: seen.append(err(os.kill, {victim}, 9))); t.start(); t.join()
seen.append(subprocess.run(["/bin/kill", "-9", "{victim}"], stderr=subprocess.DEVNULL).returncode)
seen.append(subprocess.run(["setsid", "-w", "/bin/sh", "-c", "kill -9 {victim} || exit 7"], stderr=subprocess.DEVNULL).returncode)
print(seen)""")
    assert found == [1, 1, 7]


def test_launcher_and_worker_are_not_reached(py):
    assert ask(py, "print([err(os.kill, os.getppid(), 15), err(os.kill, int(open(f'/proc/{os.getppid()}/stat').read().split()[3]), 15),"
                   " err(os.kill, -1, 0), err(os.kill, 1, 0), err(os.kill, 4194303, 0)])") == [1, 1, 1, 1, 3]


def test_the_own_tree_is_reached(py):
    """A child, one in a session of its own, an orphan, groups, threads, oneself; what is gone is ESRCH."""
    found = ask(py, """
plain = subprocess.Popen(["/bin/sleep", "600"])
apart = subprocess.Popen(["/bin/sleep", "600"], start_new_session=True)
group = subprocess.Popen(["/bin/sh", "-c", "sleep 600 & exit 0"], start_new_session=True)   # its leader goes
orphan = int(subprocess.run(["/bin/sh", "-c", "setsid sleep 600 >/dev/null & echo $!"], stdout=subprocess.PIPE).stdout)
time.sleep(0.2); group.wait()
deep = subprocess.run(["/bin/sh", "-c", "setsid -w /bin/sh -c 'sleep 600 & kill $! && wait $!; echo $?'"], stdout=subprocess.PIPE).stdout
r = {"self": calls(os.getpid()), "plain": calls(plain.pid), "apart": calls(apart.pid), "orphan": calls(orphan)}
r = {k: {n: e for n, e in v.items() if e} for k, v in r.items()}
r["raise"] = err(os.kill, os.getpid(), 0), call(200, c.syscall(186), 0), call(234, os.getpid(), c.syscall(186), 0)
r["group"] = err(os.killpg, group.pid, 9)
r["kill"] = err(plain.terminate), plain.wait(), err(apart.kill), apart.wait(), err(os.kill, orphan, 9), err(os.kill, plain.pid, 0)
r["own group"] = err(os.kill, 0, 0), err(os.killpg, os.getpgid(0), 0)
r["deep"] = int(deep)
print(json.dumps(r))""")
    never = {"kill-9", "sigqueue", "tgsigqueue", "owner-ex", "owner-ioctl", "priority-user", "io-priority-user"}  # the same for all
    for who in ("self", "plain", "apart", "orphan"):
        no_group = {"group": 3, "priority-group": 3, "owner-group": 3} if who == "plain" else {}
        left = {k: v for k, v in found[who].items() if k not in never and k not in no_group}
        assert left == {"pidfd": 38}, (who, found[who])
    assert found["raise"] == [0, 0, 0] and found["group"] == 0
    assert found["kill"] == [0, -15, 0, -9, 0, 3] and found["own group"] == [0, 0] and found["deep"] == 143


def test_job_control_of_a_shell(launch):
    end = launch("/bin/bash", "-c", "set -m; sleep 600 & a=$!; sleep 600 & b=$!; kill %1 && kill -STOP %2 && kill -CONT %2 && kill %2; "
                 "wait $a; a=$?; wait $b; echo \"[$a, $?]\"").run()
    assert (end["exit"], end.result) == (0, b"[143, 143]\n"), end


def test_an_interrupted_question_is_none(py):
    """Signals that come while the launcher is asked. Without SA_RESTART it could be EINTR, as reeve-handler(7) says."""
    end = py(CALLS + """
signal.signal(signal.SIGALRM, lambda *a: None); signal.siginterrupt(signal.SIGALRM, False)
signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
child = subprocess.Popen(["/bin/sleep", "600"])
bad = [e for e in (err(os.kill, child.pid, 0) for _ in range(3000)) if e]
child.kill(); child.wait()
print(json.dumps(bad))""").run()
    assert end.result == b"[]\n"


@pytest.mark.parametrize("how", ["stop", "exit"])
def test_many_that_ask_at_the_end(py, how):
    script = """
for i in range(20):
    if os.fork() == 0:
        while True:
            err(os.kill, os.getpid(), 0); err(os.kill, os.getppid(), 0)
time.sleep(0.3)
""" + ("print(1)" if how == "exit" else "time.sleep(60)")
    launcher = py(CALLS + script)
    launcher.start()
    if how == "stop":
        time.sleep(0.5)
        launcher.stop()
    end = launcher.end()
    assert end["cause"] == ("exit" if how == "exit" else "cancelled")


def test_without_a_launcher_nobody_is_reached(py, victim, tmp_path):
    """Killed by -9: the calls fail until systemd has ended what is left in the unit."""
    launcher = py(CALLS + f"""
time.sleep(0.5)
open("{tmp_path}/found", "w").write(json.dumps([err(os.kill, {victim}, 9), err(os.kill, os.getpid(), 0)]))""")
    launcher.start()
    pid = launcher.wait_for("started")["pid"]
    launcher.process.kill()
    wait_until(lambda: is_gone(pid), timeout=10)
    assert json.loads((tmp_path / "found").read_text()) == [38, 38]
    shutil.rmtree(next(tmp_path.glob("reeve-run-*")))


def test_inside_another_listener(tmp_path, victim):
    """Under a container manager that asks for itself, the launcher cannot: handlers run as ever, and all at once is refused."""
    end = subprocess.run(["/usr/bin/python3", "-c", INSIDE, str(EXEC), str(tmp_path), str(victim), os.path.dirname(__file__)],
                         capture_output=True, text=True, timeout=60)
    assert end.returncode == 0, end.stderr
    assert json.loads(end.stdout) == [0, 1, 0]


# Puts a listener around itself that nothing ever asks, then runs a launcher.
INSIDE = """
import ctypes, json, os, struct, sys
c = ctypes.CDLL(None, use_errno=True)
program = struct.pack("HBBI", 6, 0, 0, 0x7fff0000)
buffer = ctypes.create_string_buffer(program)
fprog = struct.pack("HxxxxxxP", 1, ctypes.addressof(buffer))
assert c.prctl(38, 1, 0, 0, 0) == 0
assert c.syscall(317, 1, 8, fprog) >= 0, ctypes.get_errno()
sys.path[:0] = [sys.argv[4], os.path.dirname(sys.argv[4])]
os.environ["REEVE_BUILD"] = sys.argv[1].split("/src/exec/")[0]
import conftest
script = (f"import json, os, subprocess\\n"
          f"def err(*a):\\n try: os.kill(*a)\\n except OSError as e: return e.errno\\n return 0\\n"
          f"print(json.dumps([err({sys.argv[3]}, 0), err(-1, 0), err(os.getpid(), 0)]))")
launcher = conftest.Launcher(sys.argv[2], "/usr/bin/python3", "-c", script)
end = launcher.run()
assert end["exit"] == 0, end
print(end.result.decode())
"""


# Sends descriptors that nobody takes, until the kernel refuses.
IN_FLIGHT = """
import array, json, os, resource, socket, sys, time
hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
null, keep, n = os.open("/dev/null", os.O_RDONLY), [], 0
try:
    while True:
        pair = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
        pair[0].setblocking(False)
        keep.append(pair)
        try:
            while True:
                pair[0].sendmsg([b"x"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", [null] * 250))])
                n += 250
        except BlockingIOError:
            pass
except OSError as e:
    os.write(3, json.dumps({"progress": 50, "status": f"{n} {e.errno}"}).encode() + b"\\n")
time.sleep(600)
"""


@pytest.fixture
def as_nobody():
    """Root is never refused: descriptors on their way are counted for other users only."""
    place = pathlib.Path(tempfile.mkdtemp(prefix="reeve-flight-"))
    shutil.copy(EXEC, place / "reeve-exec")
    place.chmod(0o777)
    launchers = []

    def start(script):
        wrap = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups") if os.geteuid() == 0 else ()
        launchers.append(Launcher(place, "/usr/bin/python3", "-S", "-c", script, wrap=wrap, binary=place / "reeve-exec"))
        return launchers[-1]
    yield start
    for launcher in launchers:
        launcher.close()
    shutil.rmtree(place)


def test_descriptors_on_their_way_do_not_keep_others_from_ending(as_nobody):
    """The kernel counts them for the user: a handler could keep every other run from handing over its result and its files."""
    flood = as_nobody(IN_FLIGHT)
    flood.start()
    n, error = flood.wait_for("progress")["status"].split()
    assert int(n) > 100 and int(error) in (errno.ETOOMANYREFS, errno.EMFILE)
    end = as_nobody("import os; open(os.environ['REEVE_OUTPUT_DIR'] + '/file', 'w').write('x'); print(1)").run()
    assert (end["cause"], end.result, end.files) == ("exit", b"1\n", {"file": b"x"})


def test_a_handler_has_the_limit_of_descriptors_that_its_unit_was_given(py):
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    end = py("import json, resource; print(json.dumps(resource.getrlimit(resource.RLIMIT_NOFILE)))").run()
    found = json.loads(end.result)
    assert found[0] == min(soft, found[1]) and hard * 7 // 8 <= found[1] < hard
