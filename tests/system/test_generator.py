"""Generated units in a booted machine: what an instance per connection is given, and what it is refused. In place of the
launcher stands a program that runs shell commands: what is tested here is the unit around it."""
import json

import pytest

LAUNCHER = '''#!/usr/bin/python3
import json, os, socket, subprocess, sys
s = socket.socket(fileno=0)
s.send(json.dumps({"argv": sys.argv[1:], "pid": os.getpid()}).encode())
while command := s.recv(65536):
    p = subprocess.run(["/bin/bash", "-c", command.decode()], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
    s.send(json.dumps([p.returncode, p.stdout.decode(errors="replace")[-60000:].strip()]).encode())
'''
# Each argument is SOCKET or N:COMMAND (for the N-th socket). Prints what came back, one JSON value in a line.
CLIENT = '''#!/usr/bin/python3
import socket, sys
connections = []
for a in sys.argv[1:]:
    if a.startswith("/"):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        s.connect(a)
        connections.append(s)
    else:
        n, command = a.split(":", 1)
        s = connections[int(n)]
        s.send(command.encode())
    print(s.recv(65536).decode(), flush=True)
'''
# A worker that is told to stop, and asks its run for a sign of life two seconds later.
WORKER = '''#!/usr/bin/python3
import signal, socket, time
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
s.connect("/run/reeve/run/closed.sock")
print("run is there", len(s.recv(65536)) > 0, flush=True)
signal.sigwait({signal.SIGTERM})
time.sleep(2)
s.send(b"echo alive")
print("run said", s.recv(65536).decode(), flush=True)
'''
KINDS = {
    "closed": '[Kind]\nStopSec=2s\n[Exec]\nStart=/bin/echo "a b" 100% $HOME ${HOME} %n \'\' ";" \\x09\nJoin="/opt/j in%"\n[Service]\nSetCredential=key:secret\n',
    "open": "[Exec]\nStart=/bin/true\n[Service]\nPrivateNetwork=no\nTemporaryFileSystem=\nInaccessiblePaths=\nReadWritePaths=/srv\n",
    "a-b.c_d": "[Exec]\nStart=/bin/true\n",
    "view": "[Exec]\nStart=/bin/true\n[Service]\nMemoryMax=512M\n",   # as the host's files are shown to most kinds
}


def path(kind):
    return f"/run/reeve/run/{kind}.sock"


@pytest.fixture(scope="module")
def host(machine, tmp_path_factory):
    where = tmp_path_factory.mktemp("files")
    for name, text, directory in (("reeve-exec", LAUNCHER, "/usr/lib/reeve"), ("client", CLIENT, "/opt"), ("worker", WORKER, "/opt"),
                                  *((f"{n}.kind", t, "/etc/reeve/kinds") for n, t in KINDS.items())):
        (where / name).write_text(text)
        (where / name).chmod(0o755)
        machine.put(where / name, directory)
    machine.sh("chmod 755 /opt /etc/reeve /etc/reeve/kinds; systemctl daemon-reload; systemctl start reeve.target")
    for kind in KINDS:
        assert machine.is_active(f"reeve-run-{kind}.socket")
    return machine


def talk(host, *arguments, user="reeve-worker", **kwargs):
    p = host.exec("/opt/client", *arguments, user=user, **kwargs)
    return [json.loads(line) for line in p.stdout.splitlines()]


def inside(host, kind, command):
    """Exit status and output of a command in a run of that kind."""
    return talk(host, path(kind), "0:" + command)[1]


def instances(host, kind):
    return host.out("systemctl", "list-units", "--all", "--plain", "--no-legend", f"reeve-run-{kind}@*.service").splitlines()


def test_a_connection_starts_an_instance_and_its_end_ends_it(host):
    first, second, out = talk(host, path("closed"), path("closed"), "1:cat /proc/self/cgroup; id -un")
    units = [next(a for a in hello["argv"] if a.startswith("--unit="))[7:] for hello in (first, second)]
    assert units[0] != units[1] and all(u.startswith("reeve-run-closed@") for u in units)
    assert units[1] in out[1] and "reeve-run.slice" in out[1] and out[1].endswith("reeve-run")
    host.wait_until(lambda: not instances(host, "closed"))


def test_the_words_of_start_reach_the_launcher_as_they_stand(host):
    argv = talk(host, path("closed"))[0]["argv"]
    assert argv[argv.index("--") + 1:] == ["/bin/echo", "a b", "100%", "$HOME", "${HOME}", "%n", "", ";", "\t"]
    assert argv[1:argv.index("--")] == ["--stop-usec=2000000", "--timeout-usec=300000000", "--max-runs=1", "--mode=exec", "--join=/opt/j in%"]


def test_a_name_with_dots_and_dashes_works(host):
    assert any(a.startswith("--unit=reeve-run-a-b.c_d@") for a in talk(host, path("a-b.c_d"))[0]["argv"])


@pytest.mark.parametrize("user", ["reeve-run", "reeve-api", "nobody"])
def test_only_workers_can_connect(host, user):
    p = host.exec("/opt/client", path("closed"), user=user, check=False)
    assert p.returncode != 0 and "PermissionError" in p.stderr


CONNECT = "python3 -c 'import socket; s = socket.socket(socket.AF_UNIX); s.connect(\"%s\")'"
# What a run may not do by default, and (True) where the kind "open" proves that the attempt itself is a real one.
REFUSED = {
    "database": (CONNECT % "/run/reeve-postgres/.s.PGSQL.5432", True),
    "bus": (CONNECT % "/run/dbus/system_bus_socket", True),
    "systemd": (CONNECT % "/run/systemd/private", False),
    "run-socket": ("test -e /run/reeve", True),
    "network": ("python3 -c 'import socket; socket.create_connection((\"127.0.0.1\", 8999), 3)'", True),
    "settings": ("ls /etc/reeve", True),
    "write-srv": ("touch /srv/x", True),
    "write-etc": ("touch /etc/x", False),
    "write-var": ("touch /var/lib/x", False),
    "home": ("ls /root", False),
    "blobs": ("ls /var/lib/reeve/blobs", False),
    "mount": ("mount -t tmpfs none /mnt", False),
    "namespace": ("unshare -Ur true", False),
    "cgroup": ("mkdir $(find /sys/fs/cgroup -maxdepth 1 -mindepth 1 -type d | head -1)/mine", False),
    "module": ("python3 -c 'import ctypes, sys; sys.exit(ctypes.CDLL(None).syscall(313, 0, 0, 0) != 0)'", False),
    "kernel-log": ("dmesg", False),
    "raw-device": ("test -e /dev/kmsg || test -e /dev/loop0", False),
    "device-node": ("mknod /tmp/kmsg c 1 11 && cat /tmp/kmsg", False),
    "write-dev": ("touch /dev/x", False),
    "write-sys": ("f=$(find /sys/kernel /sys/devices -maxdepth 4 -name uevent | head -1); test -z \"$f\" || echo x >$f", False),
    "write-proc": ("echo 1 >/proc/sys/kernel/printk", False),
    "hostname": ("hostname other || python3 -c 'import socket; socket.sethostname(\"other\")'", False),
    "modules": ("ls /usr/lib/modules/*", False),
    "setuid": ("cp /bin/true /tmp/t && chmod u+s /tmp/t", False),
    "ptrace": ("python3 -c 'import ctypes, sys; sys.exit(ctypes.CDLL(None).ptrace(0, 0, 0, 0) != 0)'", False),
}


@pytest.fixture(scope="module")
def listener(host):
    host.sh("chmod 777 /srv; systemd-run -q --unit=listener python3 -m http.server --bind 127.0.0.1 8999")
    host.wait_until("curl -s -o /dev/null http://127.0.0.1:8999/")
    host.wait_until("test -S /run/reeve-postgres/.s.PGSQL.5432 && test -S /run/dbus/system_bus_socket")


@pytest.mark.parametrize("what", REFUSED)
def test_a_run_is_refused(host, listener, what):
    command, provable = REFUSED[what]
    for kind in ("closed", "view"):
        status, output = inside(host, kind, command)
        assert status != 0, output
    if provable:
        status, output = inside(host, "open", command)
        assert status == 0, output


def test_a_credential_is_there(host):
    assert inside(host, "closed", "cat $CREDENTIALS_DIRECTORY/key") == [0, "secret"]


@pytest.mark.parametrize("kind", ["closed", "view"])
def test_a_run_has_what_it_needs(host, kind):
    assert inside(host, kind, "touch /tmp/a /var/tmp/a /dev/shm/a && echo done") == [0, "done"]
    assert inside(host, kind, "python3 -c 'import multiprocessing as m; print(m.Pool(2).map(abs, [-1]))'") == [0, "[1]"]
    assert inside(host, kind, "cat /proc/cpuinfo /proc/meminfo /proc/self/cgroup >/dev/null && head -c8 /dev/urandom | wc -c") == [0, "8"]
    assert inside(host, kind, "ls -d $(find /sys/fs/cgroup -maxdepth 1 -mindepth 1 | head -1) >/dev/null; echo $?") == [0, "0"]
    devices = inside(host, kind, "ls /dev")[1].split()
    assert {"null", "zero", "full", "random", "urandom", "tty", "ptmx", "pts", "shm", "fd", "stdin", "stdout", "stderr", "log"} <= set(devices)
    assert devices == inside(host, "closed", "ls /dev")[1].split(), "as systemd makes it for a unit"
    assert inside(host, kind, "python3 -c 'import os; m, s = os.openpty(); os.write(m, b\"x\\n\"); print(os.ttyname(s), os.read(s, 9))'")[1] \
        .endswith(" b'x\\n'"), "a terminal of its own"
    inside(host, kind, f"logger -t from-a-run hello from {kind}")
    host.wait_until(lambda: f"hello from {kind}" in host.journal("-t", "from-a-run"))


def test_the_view_follows_the_hosts_mounts_and_not_the_other_way_round(host):
    before = host.sh("findmnt -rno TARGET | sort")
    host.sh("mkdir -p /srv/disk && mount -t tmpfs disk /srv/disk && echo text >/srv/disk/file && chmod 777 /srv/disk")
    try:
        assert inside(host, "view", "cat /srv/disk/file") == [0, "text"]
        status, output = inside(host, "view", "touch /srv/disk/x")
        assert status != 0 and "Read-only" in output
        host.sh("systemctl restart reeve-view.service")
        assert inside(host, "view", "cat /srv/disk/file") == [0, "text"]
    finally:
        host.sh("umount /srv/disk")
    assert inside(host, "view", "ls /srv/disk") == [0, ""]
    assert host.sh("findmnt -rno TARGET | sort") == before
    host.sh("systemctl stop reeve-view.service")
    assert host.sh("findmnt -rno TARGET | sort | grep reeve-view || :") == ""
    assert not host.is_active("reeve-run-view.socket"), "no run without the view"
    host.sh("systemctl start reeve.target")
    assert inside(host, "view", "echo ok") == [0, "ok"]


def test_kinds_do_without_a_masked_view(host):
    host.sh("systemctl stop reeve-view.service; systemctl mask reeve-view.service; systemctl daemon-reload; systemctl start reeve.target")
    try:
        host.wait_until(lambda: host.is_active("reeve-run-view.socket"))
        assert host.sh("findmnt -rno TARGET | grep reeve-view || :") == ""
        assert inside(host, "view", "echo ok") == [0, "ok"]
        assert inside(host, "view", "ls /etc/reeve")[0] != 0
    finally:
        host.sh("systemctl unmask reeve-view.service; systemctl daemon-reload; systemctl restart reeve-run-view.socket")
    assert inside(host, "view", "ls /etc/reeve")[0] != 0 and host.is_active("reeve-view.service")


def test_the_view_is_not_made_with_the_hosts_devices(host):
    p = host.exec("/usr/lib/reeve/reeve-view", "up", check=False)
    assert p.returncode == 1 and "host's devices" in p.stderr and "reeve-view.service" in p.stderr
    assert inside(host, "view", "echo ok") == [0, "ok"], "the view that was there is there"


def test_terminals_of_runs_are_not_the_hosts(host):
    host.sh("systemd-run -q --unit=terminal python3 -c 'import os, time; os.openpty(); time.sleep(60)'")
    try:
        host.wait_until("ls /dev/pts/[0-9]*")
        assert inside(host, "view", "ls /dev/pts") == [0, "ptmx"]
    finally:
        host.sh("systemctl stop terminal.service")


def test_nobody_destroys_the_host_through_the_view(host):
    host.sh("rm -rf --no-preserve-root /run/reeve-view/root/usr/lib/reeve /run/reeve-view/root/opt 2>/dev/null || :")
    assert host.sh("ls /usr/lib/reeve/reeve-worker /opt/client")
    assert host.sh("stat -c %a /run/reeve-view") == "700"


def test_a_run_goes_on_when_the_view_is_made_anew(host):
    host.sh("systemd-run -q --on-active=1 systemctl restart reeve-view.service")
    made = host.property("reeve-view.service", "ActiveEnterTimestampMonotonic")
    out = inside(host, "view", "sleep 3; cat /etc/hostname; ls /tmp; echo end")
    assert out == [0, f"{host.name}\nend"]
    assert host.property("reeve-view.service", "ActiveEnterTimestampMonotonic") != made


@pytest.mark.parametrize("kind", ["closed", "view"])
def test_runs_of_one_kind_do_not_see_each_other(host, kind):
    first, second, wrote, saw = talk(
        host, path(kind), path(kind), "0:touch /tmp/mine /var/tmp/mine /dev/shm/mine; mkfifo /tmp/q; echo ok",
        "1:ls /tmp /var/tmp /dev/shm; ls /proc | grep -E '^[0-9]+$' | wc -l")
    assert wrote == [0, "ok"]
    assert "mine" not in saw[1]
    assert int(saw[1].split()[-1]) <= 5, "only its own processes"
    # The same user, yet neither its environment nor its memory.
    first, second, seen = talk(host, path(kind), path(kind),
                               "1:for p in $(seq 1 9999); do [ -r /proc/$p/environ ] && cat /proc/$p/environ >/dev/null 2>&1 && echo $p; done; :")
    assert str(second["pid"]) in seen[1].split()
    assert str(first["pid"]) not in seen[1].split()


def test_nothing_is_left_of_a_tree_that_left_its_session(host):
    """Double fork, a session of its own, no descriptors, no environment."""
    marker = "12345.678"
    escape = f"(setsid env -i sleep {marker} </dev/null >/dev/null 2>&1 &) ; sleep 0.2; echo ok"
    hello, out = talk(host, path("closed"), "0:" + escape)
    assert out == [0, "ok"]
    host.wait_until(lambda: host.exec("pgrep", "-f", f"sleep {marker}", check=False).returncode == 1, timeout=6)
    host.wait_until(lambda: not instances(host, "closed"))


def test_no_run_leaves_a_failed_unit(host):
    p = host.exec("/opt/client", path("closed"), "0:kill -9 $PPID", user="reeve-worker", check=False)
    assert p.stdout.count("\n") == 2 and p.stdout.endswith("\n\n"), "the connection ended without an answer"
    host.wait_until(lambda: not instances(host, "closed"))
    assert host.sh("systemctl list-units --failed --plain --no-legend 'reeve-run*'") == ""


def test_a_changed_kind_counts_after_a_reload(host):
    host.sh("mkdir -p /etc/reeve/kinds/open.kind.d; printf '[Service]\\nPrivateNetwork=yes\\n' >/etc/reeve/kinds/open.kind.d/x.conf; systemctl daemon-reload")
    try:
        assert inside(host, "open", "ls /sys/class/net; cat /proc/net/dev | wc -l")[1].split()[-1] == "3"
    finally:
        host.sh("rm -r /etc/reeve/kinds/open.kind.d; systemctl daemon-reload")


def test_the_administrators_dropin_wins(host):
    where = "/etc/systemd/system/reeve-run-open@.service.d"
    host.sh(f"mkdir -p {where}; printf '[Service]\\nUMask=0027\\n' >{where}/x.conf; systemctl daemon-reload")
    try:
        assert inside(host, "open", "umask") == [0, "0027"]
    finally:
        host.sh(f"rm -r {where}; systemctl daemon-reload")


def test_a_broken_kind_stops_neither_reload_nor_the_others(host):
    host.sh("printf '[Kind]\\nPriority=99\\n' >/etc/reeve/kinds/bad.kind; systemctl daemon-reload")
    try:
        assert inside(host, "closed", "echo ok") == [0, "ok"]
        p = host.exec("/lib/systemd/system-generators/reeve-generator", "--check", check=False)
        assert p.returncode == 1 and "/etc/reeve/kinds/bad.kind:2: error: Priority=99" in p.stdout
    finally:
        host.sh("rm /etc/reeve/kinds/bad.kind; systemctl daemon-reload")


def test_systemd_accepts_the_installed_units(host):
    units = [f"/run/systemd/generator/reeve-run-{k}{end}" for k in KINDS for end in ("@.service", ".socket")]
    p = host.exec("systemd-analyze", "verify", "--man=no", *units)
    assert p.stderr == ""
    # What takes the view says less than it does: reeve-view(8) has what was measured.
    for kind, exposure in ("closed", 15), ("a-b.c_d", 25), ("view", 25):
        p = host.exec("systemd-analyze", "security", "--offline=true", f"--threshold={exposure}", f"/run/systemd/generator/reeve-run-{kind}@.service")
        assert p.returncode == 0


def test_sockets_are_after_nothing_that_is_after_sockets(host):
    """At boot systemd would leave out one of the units of such a circle, now this, now that."""
    found, new = set(), {"reeve-run-closed.socket"}
    while new:
        found |= new
        new = {u for unit in new for u in host.property(unit, "After").split()} - found
    assert "reeve-view.service" in found and "sysinit.target" in found
    assert "sockets.target" not in found and "basic.target" not in found


def test_stopping_the_target_takes_the_sockets_away(host):
    host.sh("systemctl stop reeve.target")
    # The target's own stop ends first; the sockets are ordered behind the workers that drain.
    host.wait_until('[ -z "$(ls /run/reeve/run)" ]')
    host.sh("systemctl start reeve.target")
    assert inside(host, "closed", "echo ok") == [0, "ok"]


def test_at_shutdown_a_run_outlives_the_worker_that_waits_for_it(host):
    host.sh("systemd-run -q --unit=waiting --slice=reeve-worker.slice -p User=reeve-worker /opt/worker")
    # A unit that is active may still be on its way to its program: a shutdown then finds nothing to outlive the worker.
    host.wait_until(lambda: "run is there True" in host.journal("-u", "waiting.service"))
    host.off()
    try:
        assert 'run said [0, "alive"]' in host.journal("-u", "waiting.service")
    finally:
        host.boot()
