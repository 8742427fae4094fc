"""tools/quickstart --foreground as an ordinary user runs it, without systemd. "The host" is a network namespace of the test's own, so
that its port is free."""
import contextlib
import os
import pathlib
import pwd
import re
import shutil
import signal
import subprocess
import tempfile
import time

import pdf_file
import pytest
from conftest import TREE

pytestmark = pytest.mark.shipped("it builds the programs itself")

USER = pwd.getpwnam("nobody")
READY = "stays until you press Ctrl-C"
HOME, RUN = "jane doe", 'a "run"'
# What somebody may have in his environment. With PGHOSTADDR= another server would have been set up as Reeve's.
ODD = {"PGHOSTADDR": "127.0.0.1", "PGPORT": "5433", "PGUSER": "jane", "PGSERVICE": "x", "PGOPTIONS": "-c search_path=x", "NOTIFY_SOCKET": "/x",
       "SECRET": "hunter2", "BASH_FUNC_x%%": "() { :; }"}


@pytest.fixture(scope="module")
def place():
    """A checkout and a home that this user can reach: the tests' own may be closed to him. Names with spaces, as some have."""
    with tempfile.TemporaryDirectory(prefix="rf", dir="/tmp") as d:
        d = pathlib.Path(d)
        d.chmod(0o755)
        names = subprocess.run(["git", "-c", f"safe.directory={TREE}", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=TREE,
                               capture_output=True, check=True).stdout
        (d / "tree").mkdir()
        subprocess.run(["xargs", "-0", "cp", "--parents", "-t", d / "tree"], input=names, cwd=TREE, check=True)
        pdf_file.make(d / "leaflet.pdf", 30)
        pdf_file.make(d / "book.pdf", 300)
        subprocess.run(["chmod", "-R", "a+rX", d], check=True)
        for name in (HOME, RUN, "other"):
            (d / name).mkdir()
            os.chown(d / name, USER.pw_uid, USER.pw_gid)
        (d / RUN).chmod(0o700)
        yield d
        assert mine(d) == []


def mine(place):
    """Processes that have something to do with it."""
    found = []
    for p in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if p.stat().st_uid == USER.pw_uid and str(place) in (p / "cmdline").read_text():
                found.append((p.name, (p / "cmdline").read_text()))
        except OSError:
            pass
    return found


def environment(pid):
    try:
        return pathlib.Path(f"/proc/{pid}/environ").read_text(errors="replace")
    except OSError:
        return ""


class Quickstart:
    def __init__(self, place, *args, path="/usr/bin:/bin:/usr/sbin", output="output", **env):
        self.place = place
        self.output = place / output
        self.env = {"PATH": "/usr/bin:/bin:/usr/sbin", "HOME": str(place / HOME), "XDG_RUNTIME_DIR": str(place / RUN), "LC_ALL": "C.UTF-8"} | env
        script = 'ip link set lo up && PATH=$0 exec /usr/bin/setpriv --reuid="$1" --regid="$2" --clear-groups "${@:3}"'
        with open(self.output, "w") as out:
            self.p = subprocess.Popen(["unshare", "-n", "bash", "-c", script, path, str(USER.pw_uid), str(USER.pw_gid), "/usr/bin/python3",
                                       place / "tree/tools/quickstart", "--foreground", *map(str, args)], cwd="/", env=self.env | {"PATH": os.environ["PATH"]}, stdout=out,
                                      stderr=subprocess.STDOUT, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL))

    def said(self):
        return self.output.read_text()

    def wait(self, what, timeout=300):
        deadline = time.monotonic() + timeout
        while what not in self.said():
            assert self.p.poll() is None and time.monotonic() < deadline, self.said()
            time.sleep(0.03)

    def end(self, timeout=300):
        """Exit status; nothing is left."""
        try:
            code = self.p.wait(timeout)
        except subprocess.TimeoutExpired:
            self.p.kill()
            raise AssertionError(self.said()) from None
        assert self.gone(), (mine(self.place), self.said())
        assert not list((self.place / RUN).glob("*")), self.said()
        return code

    def gone(self, timeout=20):
        deadline = time.monotonic() + timeout
        while mine(self.place) and time.monotonic() < deadline:
            time.sleep(0.1)
        return not mine(self.place)

    def type(self, line):
        return subprocess.run(["nsenter", "-t", str(self.p.pid), "-n", "setpriv", f"--reuid={USER.pw_uid}", f"--regid={USER.pw_gid}", "--clear-groups",
                               "bash", "-c", line], cwd="/", env=self.env, capture_output=True, text=True)

    def kill9(self, program):
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:   # launchers come and go
            for p, line in mine(self.place):
                if line.split("\0")[0].endswith(program):
                    with contextlib.suppress(ProcessLookupError):
                        return os.kill(int(p), signal.SIGKILL)
        raise AssertionError(f"no {program}: {self.said()}")


def test_a_pdf_from_the_sources_to_its_text(place):
    q = Quickstart(place, "--once", place / "leaflet.pdf")
    assert q.end(900) == 0, q.said()
    said = q.said()
    assert "pages    30 of 30" in said and "each a process of its own" in said
    assert re.search(r"200: subject 50 is not: the answer has waited for the [1-9]\d* words of page \d", said)
    assert re.search(r"What this does not show: units\. .*sandbox.*cgroups.*watchdogs", said)
    for status in (202, 200, 503):
        assert re.search(rf"^ +{status}: ", said, re.M), said


def test_what_it_says_can_be_typed(place):
    q = Quickstart(place, place / "leaflet.pdf", **ODD)
    try:
        q.wait(READY)
        shown = "".join(line + environment(p) for p, line in mine(place) if int(p) != q.p.pid)
        assert "reeve-api" in shown and "hunter2" not in shown, "others read command lines, runs the environment"
        second = Quickstart(place, "--once", place / "leaflet.pdf", XDG_CACHE_HOME=str(place / "other"), output="second")
        assert second.p.wait(60) == 1 and "is running already" in second.said(), second.said()
        lines = re.findall(r"^  (?!#)(\S.*)$", q.said().split("type in another terminal:")[1].split("All this stays")[0], re.M)
        assert len(lines) > 6 and not any("systemctl" in line or "journalctl" in line for line in lines)
        for line in lines:
            r = q.type(line)
            assert r.returncode == 0 and r.stdout.strip(), (line, r.stdout, r.stderr)
    finally:
        q.p.send_signal(signal.SIGINT)
    assert q.end() == 130


def test_a_look_at_it_and_a_handler_of_ones_own(place):
    """doctor, selftest, kinds and migrate know that there are no units and no package, and a new .kind file counts."""
    q = Quickstart(place, place / "leaflet.pdf")
    try:
        q.wait(READY)
        inside, kinds = re.search(r"^  (.+/in\S*) reevectl status", q.said(), re.M)[1], re.search(r"its .kind file into (.+); the", q.said())[1]

        def typed(line, code=0):
            r = q.type(f"{inside} {line}")
            assert r.returncode == code, (line, r.stdout, r.stderr)
            return r.stdout + r.stderr
        said = typed("reevectl doctor")
        assert "there are no units, no sandbox" in said and "Nothing is wrong." in said and "systemctl" not in said
        said = typed("reevectl selftest")
        assert said.count("\nok ") + said.startswith("ok ") == 7 and "units" not in said and "FAILED" not in said
        assert "schema version" in typed("reevectl migrate status")
        typed("reevectl kinds check")
        (place / "mine").write_text("#!/bin/sh\ncat\n")
        (place / "mine").chmod(0o755)
        pathlib.Path(kinds, "mine.kind").write_text(f"[Exec]\nStart={place}/mine\n")
        said = q.type(f"{inside} reevectl submit mine 1")
        assert said.returncode == 0 or "wait some seconds" in said.stderr, said
        q.wait("the workers were started anew")
        deadline = time.monotonic() + 60
        while "mine" not in typed("reevectl kinds") and time.monotonic() < deadline:
            time.sleep(0.2)
        assert typed("reevectl submit --wait mine 17").startswith("17\n")
        (place / "mine").unlink()
        said = typed("reevectl doctor", code=2)
        assert "mine is missing" in said and "systemctl" not in said
        q.kill9("reeve-api")   # all ends then; what reevectl says until then names no unit
        said = q.type(f"{inside} reevectl status")
        assert said.returncode != 0 and "systemctl" not in said.stdout + said.stderr, said
    finally:
        q.p.send_signal(signal.SIGINT)
    assert q.end() in (1, 130)


@pytest.mark.parametrize("what, ok", [("reeve-worker", False), ("reeve-exec", True)])
def test_kill9_in_the_middle(place, what, ok):
    """A launcher's run is run again. Without systemd nobody starts a worker anew: that is said, and all ends."""
    q = Quickstart(place, "--once", place / "book.pdf")
    q.wait("chunks read")
    q.kill9(what)
    code = q.end()
    assert (code == 0 and "pages    300 of 300" in q.said()) if ok else (code == 1 and "reeve-worker-default has ended (-9)" in q.said()), q.said()


def test_kill9_of_quickstart_itself(place):
    q = Quickstart(place, place / "book.pdf")
    q.wait("chunks read")
    q.p.kill()
    q.p.wait()
    assert q.gone(), "what it had started ends with it"
    assert Quickstart(place, "--once", place / "leaflet.pdf").end() == 0


def test_what_is_refused(place):
    q = Quickstart(place, "--once", "--host", place / "leaflet.pdf")
    assert q.end() == 1 and "--host and --foreground exclude each other" in q.said()
    p = subprocess.run([place / "tree/tools/quickstart", "--foreground"], capture_output=True, text=True)
    assert p.returncode == 1 and "ordinary user" in p.stderr, "root"
    (place / "bin").mkdir()
    for name in ("sh", "bash", "python3", "ip", "setpriv", "curl", "meson", "ninja", "cc", "busctl", "psql", "pdftotext", "pdfseparate", "pkg-config", "ss"):
        (place / "bin" / name).symlink_to(shutil.which(name))
    q = Quickstart(place, "--once", place / "leaflet.pdf", path=str(place / "bin"))
    assert q.end() == 1 and "there is no systemd-socket-activate, no dbus-daemon" in q.said() and "apt-get install" in q.said()


@pytest.mark.parametrize("name", [f"reeve-foreground-{USER.pw_uid}", f"reeve-foreground-{USER.pw_uid}.cache"])
@pytest.mark.parametrize("sort", ["directory", "link"])
def test_what_another_user_has_put_into_tmp(place, name, sort):
    """Nothing in it is run, changed or removed. (No home, and nothing of his own in XDG_RUNTIME_DIR: after su it is another's.)"""
    trap = place / "trap"
    trap.mkdir()
    for d in ("build", "postgres"):
        (trap / d).mkdir()
    (trap / "build/build.ninja").write_text(f"rule x\n command = touch {trap}/run\nbuild all: x\n")
    (trap / "lock").write_text("kept")
    subprocess.run(["chmod", "-R", "a+rwX", trap], check=True)
    tmp = place / "tmp"
    tmp.mkdir()
    tmp.chmod(0o1777)
    if sort == "link":
        (tmp / name).symlink_to(trap)
        os.chown(tmp / name, 1, 1, follow_symlinks=False)
    else:
        trap = trap.rename(tmp / name)
        subprocess.run(["chown", "-R", "1:1", trap], check=True)
    before = sorted((str(p), p.stat().st_mtime) for p in trap.rglob("*"))
    cache = {} if name.endswith(".cache") else {"XDG_CACHE_HOME": str(place / "other")}
    q = Quickstart(place, "--once", place / "leaflet.pdf", HOME="/nonexistent", XDG_RUNTIME_DIR=str(place), TMPDIR=str(tmp), **cache)
    try:
        assert q.end() == 1 and f"{tmp / name} is there, and" in q.said(), q.said()
        assert sorted((str(p), p.stat().st_mtime) for p in trap.rglob("*")) == before and (trap / "lock").read_text() == "kept"
    finally:
        shutil.rmtree(trap)
        shutil.rmtree(tmp)
