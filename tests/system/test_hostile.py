"""A handler that means harm, run as a kind with nothing but the defaults: what it tries is refused, and its neighbour goes on.

What is not bounded: the size of files in /tmp and /var/tmp, which are the host's disk (reeve.kind(5)); /dev/shm counts as memory.
"""
import json

import pytest

HANDLER = '''#!/usr/bin/python3
import json, subprocess, sys
p = subprocess.run(["/bin/bash", "-c", json.load(sys.stdin)], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
json.dump([p.returncode, p.stdout.decode(errors="replace")[-4000:]], sys.stdout)
'''
VICTIM = '''#!/usr/bin/python3
import os, signal, sys
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
secret = "geheim-" + "im-speicher"
os.environ["VICTIM_SECRET"] = secret
open(os.environ["REEVE_OUTPUT_DIR"] + "/secret", "w").write(secret)
os.makedirs("/tmp/mine"); open("/tmp/mine/secret", "w").write(secret)
open("/dev/shm/secret", "w").write(secret)
signal.sigtimedwait([signal.SIGUSR1], float(sys.stdin.read()))
print(1)
'''
CONNECT = "python3 -c 'import socket; socket.socket(socket.AF_UNIX, socket.%s).connect(\"%s\")'"
C = "python3 -c 'import ctypes, os, sys; c = ctypes.CDLL(None, use_errno=True); sys.exit(%s < 0)'"
# Exit status 0 would be a success. $VICTIM: another run's handler; $WORKER: the worker that started us; $INIT: process 1.
ATTEMPTS = {
    "database": CONNECT % ("SOCK_STREAM", "/run/reeve-postgres/.s.PGSQL.5432"),
    "database-psql": "psql -h /run/reeve-postgres -U reeve_owner -c 'select 1' reeve",
    "api": CONNECT % ("SOCK_STREAM", "/run/reeve/api.sock"),
    "api-through-the-worker": CONNECT % ("SOCK_STREAM", "/proc/$WORKER/root/run/reeve/api.sock"),
    "bus": CONNECT % ("SOCK_STREAM", "/run/dbus/system_bus_socket"),
    "busctl": "busctl --system list",
    "systemd": CONNECT % ("SOCK_STREAM", "/run/systemd/private"),
    "run-socket": CONNECT % ("SOCK_SEQPACKET", "/run/reeve/run/victim.sock"),
    "neighbours-tmp": "cat /tmp/mine/secret || cat /proc/$VICTIM/root/tmp/mine/secret || cat /tmp/systemd-private*/tmp/mine/secret",
    "neighbours-input": "cat /proc/$VICTIM/root/tmp/reeve-run-*/input/payload.json",
    "neighbours-output": "cat /proc/$VICTIM/root/tmp/reeve-run-*/output/secret",
    "neighbours-shm": "cat /dev/shm/secret || cat /proc/$VICTIM/root/dev/shm/secret",
    "neighbours-stdin": "cat /proc/$VICTIM/fd/0",
    "neighbours-directory": "ls /proc/$VICTIM/cwd/",
    "neighbours-environment": "cat /proc/$VICTIM/environ",
    "neighbours-command-line": "cat /proc/$VICTIM/cmdline",
    "neighbours-memory": "head -c1 /proc/$VICTIM/mem; cat /proc/$VICTIM/maps",
    "neighbours-ptrace": C % "c.ptrace(16, $VICTIM, 0, 0)",
    # EFAULT (14) would be a wrong address, where reading is allowed.
    "neighbours-process-vm": C % ("(b := ctypes.create_string_buffer(8), v := (ctypes.c_size_t * 2)(ctypes.addressof(b), 8), "
                                  "r := c.syscall(310, $VICTIM, v, 1, v, 1, 0), 0 if ctypes.get_errno() == 14 else r)[3]"),
    "neighbours-descriptors": C % "c.syscall(438, os.pidfd_open($VICTIM), 0, 0)",
    "launcher-of-the-neighbour": "cat /proc/$LAUNCHER/environ || cat /proc/$LAUNCHER/fd/0",
    "worker-memory": "cat /proc/$WORKER/maps || head -c1 /proc/$WORKER/mem",
    "worker-environment": "cat /proc/$WORKER/environ",
    "worker-ptrace": C % "c.ptrace(16, $WORKER, 0, 0)",
    "worker-signal": "kill -0 $WORKER || kill -TERM $WORKER || kill -9 $WORKER",
    "init-signal": "kill -0 $INIT",
    "loopback": "python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 8998), 2)'",
    "external": "python3 -c 'import socket; socket.create_connection((\"192.0.2.1\", 80), 2)'",
    "abstract-socket": CONNECT % ("SOCK_STREAM", "\\0reeve-test"),
    "packet-socket": "python3 -c 'import socket; socket.socket(socket.AF_PACKET, socket.SOCK_RAW)'",
    "write-state": "touch /var/lib/reeve/x || touch /var/lib/reeve/blobs/x",
    "read-blobs": "ls /var/lib/reeve/blobs",
    "read-cluster": "ls /var/lib/reeve/postgres",
    "write-etc": "touch /etc/x",
    "write-usr": "touch /usr/lib/reeve/x",
    "write-run": "touch /run/x",
    "settings": "cat /etc/reeve/secret",
    "credentials": "cat /run/credentials/*/key",
    "passwords": "cat /etc/shadow",
    "root": "su -c true || setpriv --reuid=0 true",
    "tunables": "echo 0 >/proc/sys/kernel/randomize_va_space || echo 1 >/proc/sysrq-trigger || echo x >/sys/power/state",
    "oom-score": "echo -1000 >/proc/self/oom_score_adj",
    "hostname": "hostname other",
    "clock": "date -s 2000-01-01",
    "cgroup": "mkdir $(find /sys/fs/cgroup -maxdepth 1 -mindepth 1 -type d | head -1)/mine",
    "user-namespace": "unshare -Ur true",
    "pid-namespace": "unshare -p true",
    "mount": "mount -t tmpfs none /tmp",
    "keyring": C % "c.syscall(250, 0, -3, 1)",
    "bpf": C % "c.syscall(321, 0, 0, 0)",
    "module": C % "c.syscall(313, 0, 0, 0)",
    "kernel-log": "dmesg || cat /dev/kmsg",
}
LISTEN = '''import os, socket, time
for family, where in ((socket.AF_UNIX, "/run/reeve/api.sock"), (socket.AF_UNIX, "\\0reeve-test"), (socket.AF_INET, ("127.0.0.1", 8998))):
    s = socket.socket(family)
    try:
        s.bind(where)
        s.listen(64)
        globals()["s%s" % hash(where)] = s
    except OSError:
        pass
if os.path.exists("/run/reeve/api.sock"): os.chmod("/run/reeve/api.sock", 0o666)
time.sleep(1000)
'''


def enqueue(m, kind, payload):
    return m.psql(user=None, sql=f"select reeve.enqueue('{kind}', $x${json.dumps(payload)}$x$)")


def ended(m, id, timeout=30):
    def is_there():
        job = json.loads(m.psql(f"select reeve.job_status('{id}')", user=None))
        return job if job["state"] in ("succeeded", "failed", "cancelled") else None
    return m.wait_until(is_there, timeout)


@pytest.fixture(scope="module")
def host(machine, tmp_path_factory):
    where = tmp_path_factory.mktemp("files")
    for name, text, directory in (
            ("hostile", HANDLER, "/opt"), ("victim", VICTIM, "/opt"), ("listen", LISTEN, "/opt"), ("secret", "geheim", "/etc/reeve"),
            ("hostile.kind", "[Kind]\nMaxAttempts=1\nMaxInterruptions=1\nTimeoutSec=30s\n[Exec]\nStart=/opt/hostile\n", "/etc/reeve/kinds"),
            ("apart.kind", "[Kind]\nMaxAttempts=1\nMaxInterruptions=1\n[Exec]\nStart=/opt/hostile\n"
                           "[Service]\nDynamicUser=yes\nUser=run-%i\n", "/etc/reeve/kinds"),
            ("victim.kind", "[Kind]\nMaxAttempts=1\nMaxInterruptions=1\n[Exec]\nStart=/opt/victim\n[Service]\nSetCredential=key:geheim\n",
             "/etc/reeve/kinds"),
            ("default.conf", "[Pool]\nSlots=8\n", "/etc/reeve/pools")):
        (where / name).write_text(text)
        (where / name).chmod(0o755)
        machine.put(where / name, directory)
    machine.sh("chmod 755 /opt /etc/reeve /etc/reeve/kinds /etc/reeve/pools; systemctl daemon-reload; systemctl restart reeve-worker@default; "
               "systemd-run -q --unit=listen python3 /opt/listen")
    machine.wait_until(lambda: machine.psql("select count(*) from reeve.kind where name in ('hostile', 'victim', 'apart')") == "3")
    return machine


def victim(m, seconds):
    """A run beside: its job, its handler's pid. It lasts so long, or until SIGUSR1."""
    id = enqueue(m, "victim", seconds)
    find = f"grep -slz ^REEVE_JOB_ID={id}$ /proc/[0-9]*/environ | cut -d/ -f3 | head -1"
    pid = int(m.wait_until(lambda: m.sh(find + " || :")))
    m.wait_until(f"test -e /proc/{pid}/root/tmp/mine/secret")
    return id, pid


def victims_end(m, id, pid):
    """It is still there, and ends now."""
    m.exec("kill", "-USR1", str(pid))
    return ended(m, id)


@pytest.fixture(scope="module")
def results(host):
    """All attempts beside one victim, which must not notice anything."""
    id, pid = victim(host, 600)
    values = (f"VICTIM={pid} WORKER={host.main_pid('reeve-worker@default')} INIT=1 "
              f"LAUNCHER={host.out('ps', '-o', 'ppid=', '-p', str(pid))}; ")

    def filled(command):
        for word in values.rstrip("; ").split():
            name, value = word.split("=")
            command = command.replace("$" + name, value)
        return command

    jobs = {name: enqueue(host, "hostile", filled(command)) for name, command in ATTEMPTS.items()}
    jobs["control"] = enqueue(host, "hostile", "id -un; touch /tmp/x /var/tmp/x /dev/shm/x; cat /proc/self/environ >/dev/null && echo fine")
    found = {name: ended(host, job) for name, job in jobs.items()}
    assert host.main_pid("reeve-worker@default") == int(values.split("WORKER=")[1].split()[0]), "the worker was not disturbed"
    beside = json.loads(host.psql(f"select reeve.job_status('{id}')", user=None))
    assert (beside["state"], beside["interruptions"]) == ("running", 0) and host.sh(f"cat /proc/{pid}/comm") == "victim", "nor the neighbour"
    host.psql(f"select reeve.cancel('{id}')", user=None)
    return found


def test_the_attempts_themselves_are_real(host, results):
    """What is refused to a run, root outside can do: sockets and files are there. And a run can do what it needs."""
    assert results["control"]["result"] == [0, "reeve-run\nfine\n"]
    for kind in ("database", "api", "bus", "systemd", "loopback", "abstract-socket"):
        host.sh(ATTEMPTS[kind])
    host.sh("cat /etc/reeve/secret; ls /var/lib/reeve/blobs /run/reeve/run/victim.sock")


@pytest.mark.parametrize("what", ATTEMPTS)
def test_refused(results, what):
    job = results[what]
    assert job["state"] == "succeeded", job
    status, output = job["result"]
    assert status != 0, output
    assert "geheim" not in output
    assert "not found" not in output and "SyntaxError" not in output, "the attempt itself was not made"


def test_a_terminal_is_nobody_elses(host):
    """All runs see one /dev/pts and have one user. Who made a terminal has it, by its descriptor; nobody has it by its name."""
    own = ended(host, enqueue(host, "hostile", "python3 -c 'import pty; pty.spawn([\"tty\"])'"))
    assert own["result"][0] == 0 and "/dev/pts/" in own["result"][1], own
    make = "python3 -c 'import os, pty, time; m, s = pty.openpty(); os.write(m, b\"geheim\\n\"); time.sleep(25)'"
    id = enqueue(host, "hostile", make)
    try:
        host.wait_until("ls /run/reeve-view/root/dev/pts/[0-9]*")
        steal = ("for p in /dev/pts/[0-9]*; do chmod 666 $p; python3 -c 'import os, sys; os.open(sys.argv[1], os.O_RDWR | os.O_NOCTTY)' $p && exit 0; "
                 "echo refused: $p; done; exit 1")
        job = ended(host, enqueue(host, "hostile", steal))
        assert job["result"][0] == 1 and "refused: /dev/pts/" in job["result"][1], job
        assert "Read-only file system" in job["result"][1] and "Permission denied" in job["result"][1], job
    finally:
        host.psql(f"select reeve.cancel('{id}')", user=None)
        ended(host, id)


def test_a_fork_bomb_is_bounded_and_its_neighbour_goes_on(host):
    id, pid = victim(host, 600)
    bomb = ("python3 -c 'import os, time\nn = 0\ntry:\n while n < 1000:\n  if os.fork() == 0: os.closerange(0, 99); time.sleep(600)\n  n += 1\n"
            "except OSError: pass\nprint(n)'")
    job = ended(host, enqueue(host, "hostile", bomb))
    assert job["state"] == "succeeded" and 200 < int(job["result"][1]) < 256, job
    assert victims_end(host, id, pid)["interruptions"] == 0
    host.wait_until(lambda: host.out("systemctl", "list-units", "--plain", "--no-legend", "reeve-run-*@*.service") == "")


def test_shared_memory_counts_as_memory(host):
    """Tier: cgroup v1 here. Filling /dev/shm ends at MemoryMax= or at the size of the file system, not at the host's memory."""
    id, pid = victim(host, 600)
    job = ended(host, enqueue(host, "hostile", "head -c 1200M /dev/zero >/dev/shm/x"))
    assert job["state"] == "failed" and job["cause"] == "oom-kill" or job["result"][0] != 0, job
    assert victims_end(host, id, pid)["interruptions"] == 0


def test_kill_of_everything_reaches_nobody(host):
    id, pid = victim(host, 600)
    job = ended(host, enqueue(host, "hostile", "kill -9 -1 || { python3 -c 'import os; os.kill(-1, 9)'; echo survived; exit 1; }"))
    assert job["state"] == "succeeded" and job["result"][0] == 1 and job["result"][1].endswith("survived\n"), job
    beside = victims_end(host, id, pid)
    assert (beside["state"], beside["interruptions"]) == ("succeeded", 0)


def test_a_guessed_number_reaches_no_other_run(host):
    """All runs have one user, so the kernel would allow it: the launcher refuses. tests/exec/test_confine.py has every call."""
    id, pid = victim(host, 600)
    launcher = host.out("ps", "-o", "ppid=", "-p", str(pid)).strip()
    job = ended(host, enqueue(host, "hostile", f"kill -9 {pid} && echo reached; kill -9 -- -{pid} && echo reached; kill -9 {launcher} && echo reached; "
                              f"prlimit --pid {pid} --cpu=1:1 && echo reached; renice -n 19 -p {pid} && echo reached; "
                              "sleep 600 & kill -9 $! && wait $!; exit 1"))
    assert job["state"] == "succeeded" and "reached" not in job["result"][1], job
    assert job["result"][1].count("not permitted") == 5, job
    beside = victims_end(host, id, pid)
    assert (beside["state"], beside["interruptions"]) == ("succeeded", 0), beside


def test_a_run_with_a_user_of_its_own_reaches_nobody_by_number(host):
    """What a kind for code that is not trusted says: DynamicUser=yes and User=run-%i."""
    id, pid = victim(host, 600)
    job = ended(host, enqueue(host, "apart", f"kill -9 {pid}"))
    assert job["state"] == "succeeded" and "not permitted" in job["result"][1], job
    beside = victims_end(host, id, pid)
    assert (beside["state"], beside["interruptions"]) == ("succeeded", 0)
