"""tools/quickstart as a user runs it. "The host" is a network namespace of the test's own, so that its port is free."""
import fcntl
import os
import pathlib
import re
import shlex
import signal
import subprocess
import time

import pdf_file
import pytest
from conftest import TREE, machine_tool
from patience import within

pytestmark = pytest.mark.shipped("quickstart builds and installs the package itself")

TOOL = "tools/quickstart"
READY = "stays until you press Ctrl-C"


@pytest.fixture(scope="module")
def state(deb, tmp_path_factory):
    """Where the machines of these quickstarts are; the package is built."""
    return tmp_path_factory.mktemp("machines")


@pytest.fixture(scope="module")
def book(tmp_path_factory):
    return pdf_file.make(tmp_path_factory.mktemp("pdf") / 'a "book", 300; pages.pdf', 300)


@pytest.fixture(scope="module")
def leaflet(tmp_path_factory):
    return pdf_file.make(tmp_path_factory.mktemp("pdf") / "leaflet.pdf", 30)


class Quickstart:
    def __init__(self, state, *args, inside=("ip", "link", "set", "lo", "up")):
        self.env = {**os.environ, "REEVE_MACHINES": str(state)}
        self.state = state
        self.output = state / "output"
        script = f"{shlex.join(inside)} && exec {TOOL} \"$@\""
        with open(self.output, "w") as out:
            self.p = subprocess.Popen(["unshare", "-n", "sh", "-c", script, "sh", *map(str, args)], cwd=TREE, env=self.env, stdout=out,
                                      stderr=subprocess.STDOUT, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))

    def said(self):
        return self.output.read_text()

    def wait(self, what, timeout=180):
        """what: a text to be said, or a function."""
        deadline = time.monotonic() + timeout
        while not (what() if callable(what) else what in self.said()):
            assert self.p.poll() is None and time.monotonic() < deadline, self.said()
            time.sleep(0.03)

    def end(self, timeout=120):
        """Exit status; what is left is looked for."""
        try:
            return self.p.wait(timeout)
        except subprocess.TimeoutExpired:
            self.p.kill()
            raise AssertionError(self.said())
        finally:
            self.p.wait()
            assert left(self.state) == []

    def machine(self, *command):
        return subprocess.run([TREE / "tools/machine", "exec", "quickstart", *command], env=self.env, capture_output=True, text=True)

    def psql(self, sql):
        return self.machine("psql", "-XAth", "/run/reeve-postgres", "-U", "reeve_owner", "-c", sql, "reeve").stdout.strip()

    def type(self, line):
        line = line.replace("sudo ", "", 1)
        return subprocess.run(["nsenter", "-t", str(self.p.pid), "-n", "bash", "-c", line], cwd=TREE, env=self.env, capture_output=True, text=True)


def left(state):
    """What a machine could leave behind: its disk, mounts, cgroups, processes, the key."""
    found = [str(p) for p in (state / "m").glob("*")] + [str(p) for p in state.glob("layer/*.new")]
    found += [str(p) for p in (state / "quickstart").glob("*") if p.name not in ("lock", "debian-reference.en.pdf")]
    found += [line for line in pathlib.Path("/proc/mounts").read_text().splitlines() if str(state) in line]
    id = machine_tool.hashlib.sha256(str(state).encode()).hexdigest()[:5]
    found += subprocess.run(f"find /sys/fs/cgroup -maxdepth 5 -name 'reeve-{id}-*'; pgrep -af 'machine=[r]eeve-{id}-'", shell=True,
                            capture_output=True, text=True).stdout.splitlines()
    return found


CHUNKS_DONE = "select count(*) from reeve.done d join reeve.job j on j.id = d.job where j.kind = 'pdf-chunk'"


def first_progress(said):
    return float(re.search(r"the first progress ([\d.]+) s after", said).group(1))


def test_once_with_the_worker_killed_in_the_middle(state, book, record_property):
    q = Quickstart(state, "--once", book)
    q.wait("uploading")
    q.wait(lambda: (q.psql(CHUNKS_DONE) or "0") not in "012")
    was = q.machine("systemctl", "show", "-P", "MainPID", "reeve-worker@default").stdout
    q.machine("systemctl", "kill", "--kill-who=main", "-s", "KILL", "reeve-worker@default")
    assert int(q.psql(CHUNKS_DONE)) < 20, "too late: that was not the middle"
    assert was.strip() not in ("", "0")
    assert q.end() == 0, q.said()
    assert re.search(r"pages +300 of 300\n", q.said()), q.said()
    assert f"words    {sum(len(p.split()) for p in pdf_file.pages(book))}\n" in q.said()
    assert re.search(r"runs +22 chunks, at most \d+ at once", q.said())
    record_property("first_start_sec", first_progress(q.said()))


def check_rollout(said):
    """Each line of busctl that was used, and what the API answered after it."""
    part = said.partition("lets 10 % of the subjects")[2]
    lines = [line.strip() for line in part.splitlines()]
    flag = "org.reeve1.Manager CreateFlag 'sa{sv}' async-processing 4 enabled b true percent d 10 bucketing s modulo"
    assert [line for line in lines if "busctl call" in line and flag in line], said
    assert [line for line in lines if line.endswith("org.reeve1.Flag Enabled b false")], said
    assert re.findall(r"user_id=(\d+)", part) == ["5", "50", "5"], said
    assert [line[:4] for line in lines if re.match(r"\d{3}: ", line)] == ["202:", "200:", "503:"], said
    assert re.search(r"waited for the [1-9]\d* words of page \d+", part), said
    assert "async-processing\" is off" in part, said


def lines_of(said):
    """What it says one could type."""
    return [line.strip() for line in said.partition("To look further")[2].splitlines() if line.startswith("  ") and not line.startswith("  #")]


def test_what_it_says_to_type_works_and_ctrl_c_leaves_nothing(state, leaflet, record_property):
    q = Quickstart(state, leaflet)
    q.wait(READY)
    said = q.said()
    record_property("second_start_sec", first_progress(said))
    print(f"second start: {first_progress(said)} s to the first progress (10 asked)")
    typed = {}
    for line in lines_of(said):
        run = q.type(line)
        assert run.returncode == 0 and run.stdout.strip(), f"{line}\n{run.stdout}{run.stderr}"
        typed[line] = run.stdout
    check_rollout(said)
    for tool, word in {"flag history": "set-enabled", "reevectl status": "Nothing is wrong.", "reevectl show 0": "succeeded", "reevectl show --history": "enqueue",
                       "reevectl list": "pdf-chunk", "curl": "page 2 of 30", "systemctl status": "reeve-worker@default.service",
                       "systemctl list-units": "reeve-postgres.service", "busctl tree": "/org/reeve1", "busctl get-property": '"',
                       "ListWorkers": "default", "reeve-run-pdf": "reeve-run-pdf-chunk@", "-u reeve-api": "reeve-worker["}.items():
        assert [line for line, out in typed.items() if tool in line and word in out], f"{tool}: {word}\n{typed}"
    shell = re.search(r"A shell in it: (.*)", said).group(1)
    assert q.type(f"echo 'systemctl is-active reeve.target' | {shell}").stdout.strip().endswith("active")
    q.p.send_signal(signal.SIGINT)
    assert q.end() == 130
    assert "cleaned up" in q.said()


@pytest.mark.parametrize("stage", ["package", "machine", "boot", "upload"])
@pytest.mark.parametrize("how", [signal.SIGINT, signal.SIGTERM])
def test_ctrl_c_at_every_stage_leaves_nothing(state, book, stage, how):
    q = Quickstart(state, book)
    place = state / "m/quickstart"
    q.wait({"package": "package: ", "machine": lambda: place.exists(), "boot": lambda: (place / "leader").exists(), "upload": "uploading"}[stage])
    q.p.send_signal(how)
    assert q.end() == 128 + how, q.said()


def test_killed_it_takes_its_machine_along(state, leaflet):
    q = Quickstart(state, leaflet)
    q.wait("the machine is up")
    q.p.kill()
    q.p.wait()
    deadline = time.monotonic() + 20
    while (state / "m/quickstart").exists():
        assert time.monotonic() < deadline, left(state)
        time.sleep(0.1)
    q = Quickstart(state, "--once", leaflet)
    assert q.end() == 0, q.said()


def test_a_pdf_that_cannot_be_read_is_told(state, tmp_path):
    (tmp_path / "bad.pdf").write_bytes(b"%PDF-1.4\nnothing of a document\n%%EOF\n")
    q = Quickstart(state, "--once", tmp_path / "bad.pdf")
    assert q.end() == 1
    assert re.search(r"The job .* is failed: [A-Z_]+ .", q.said()), q.said()


TAKEN = ["python3", "-c", "import socket, sys, subprocess; s = socket.socket(); s.bind(('127.0.0.1', 8380)); s.listen(); "
         "sys.exit(subprocess.run(['tools/quickstart', *sys.argv[1:]]).returncode)"]
SMALL = 'd=$(mktemp -d) && mount -t tmpfs -o size=8M tmpfs "$d" && REEVE_MACHINES="$d" tools/quickstart "$@"'


# Not root, but the checkout may lie in a directory that only root may enter.
NOBODY = ["setpriv", "--reuid=nobody", "--clear-groups", "--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]


@pytest.mark.parametrize("command, says", [
    ([TOOL, "nothing.pdf"], "cannot read nothing.pdf: No such file"),
    ([TOOL, "tests"], "cannot read tests: Is a directory"),
    ([TOOL, "README.md"], "README.md is not a PDF"),
    ([TOOL, "--nothing"], "unrecognized arguments: --nothing"),
    ([TOOL, "a.pdf", "b.pdf"], "unrecognized arguments: b.pdf"),
    ([*NOBODY, TOOL], "run it as root: sudo tools/quickstart"),
    (["setpriv", "--bounding-set=-sys_admin", TOOL], "no machine can be booted here: .*all privileges"),
    (["unshare", "-n", *TAKEN], r"127.0.0.1:8380 is taken \(python3,pid=\d+"),
    (["unshare", "-m", "sh", "-c", SMALL, "sh"], "[0-9] MiB are free in .*: a machine needs 512"),
    (["unshare", "-pf", "--mount-proc", TOOL, "--host"], "--host needs a host that systemd runs; PID 1 is "),
    # Nothing is in the cache, and there is no network.
    (["unshare", "-n", TOOL], "cannot download Debian's package debian-reference-en .*: name a PDF of your own"),
])
def test_what_cannot_be_is_told_before_anything_is_made(deb, tmp_path, command, says):
    run = subprocess.run(command, cwd=TREE, env={**os.environ, "REEVE_MACHINES": str(tmp_path)}, capture_output=True, text=True, timeout=within(120))
    assert run.returncode == 1
    assert re.search("^quickstart: .*" + says, run.stderr, re.M | re.S), run.stderr
    assert "Traceback" not in run.stderr
    assert left(tmp_path) == []


def test_a_second_one_is_refused(deb, tmp_path):
    (tmp_path / "quickstart").mkdir()
    with open(tmp_path / "quickstart/lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        lock.write("4711\n")
        lock.flush()
        run = subprocess.run([TOOL], cwd=TREE, env={**os.environ, "REEVE_MACHINES": str(tmp_path)}, capture_output=True, text=True)
    assert run.returncode == 1 and "is running already, as process 4711" in run.stderr


def test_help():
    run = subprocess.run([*NOBODY, TOOL, "--help"], cwd=TREE, capture_output=True, text=True)
    assert run.returncode == 0 and "--once" in run.stdout and "--host" in run.stdout


def test_on_a_host(new_machine, leaflet):
    """Twice: over nothing, and over what is there. A machine is the host, its PID 1 is systemd."""
    m = new_machine("--no-reeve", "--bind", f"{TREE}:{TREE}")
    m.put(leaflet, "/srv")
    for _ in range(2):
        run = m.exec("sh", "-c", f"cd {TREE} && REEVE_MACHINES=/srv/m {TOOL} --host --once /srv/leaflet.pdf", timeout=300, check=False)
        assert run.returncode == 0, run.stdout + run.stderr
        assert re.search(r"pages +30 of 30\n", run.stdout) and "apt-get purge reeve" in run.stdout, run.stdout
        assert m.is_active("reeve.target") and m.out("systemctl", "is-enabled", "reeve.target") == "enabled"
        assert m.psql("select count(*) from reeve.api_key where revoked_at is null", user=None) == "0", "its key is revoked"
        assert m.sh("ls /srv/m/quickstart") == "lock"
    m.sh("DEBIAN_FRONTEND=noninteractive dpkg --purge scdoc; rm -f /var/cache/apt/archives/scdoc*")
    run = m.exec("sh", "-c", f"cd {TREE} && REEVE_MACHINES=/srv/m {TOOL} --host --once /srv/leaflet.pdf", timeout=120, check=False)
    assert run.returncode == 1 and "installing Debian's packages scdoc" in run.stdout
    assert "cannot install what is needed from Debian's packages. Is there a network" in run.stderr, run.stderr
