"""A worker's double: speaks the launcher protocol with the real reeve-exec over a socket pair."""
import json
import os
import pathlib
import signal
import socket
import subprocess
import tempfile
import threading
import time

import pytest
from patience import within

BUILD = pathlib.Path(os.environ.get("REEVE_BUILD", pathlib.Path(__file__).parents[2] / "build"))
EXEC = BUILD / "src/exec/reeve-exec"
JOB = "0190a5b2-0000-7000-8000-0123456789ab"
PYTHON = "/usr/bin/python3"


def memfd(data, name="test"):
    fd = os.memfd_create(name, os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
    os.write(fd, data) if data else None
    os.lseek(fd, 0, os.SEEK_SET)
    return fd


class End(dict):
    """The end frame, with what came on the way to it."""


class Launcher:
    def __init__(self, tmp, *program, env=None, wrap=(), binary=EXEC, **options):
        self.sock, other = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        self.sock.settimeout(within(20))
        options.setdefault("stop_usec", 300000)
        args = [f"--{k.replace('_', '-')}={v}" for k, values in options.items()
                for v in (values if isinstance(values, tuple) else [values])]
        self.tmp = tmp
        self.stderr = tempfile.TemporaryFile("w+")
        environ = {**os.environ, "TMPDIR": str(tmp), "LC_ALL": "C", **(env or {})}
        self.process = subprocess.Popen([*wrap, binary, "--unit=test.service", *args, "--", *program],
                                        stdin=other, stderr=self.stderr, env=environ)
        other.close()
        self.frames = []
        self.next_id = 0
        hello = self.receive()
        assert hello["type"] == "hello" and hello["version"] == 1 and hello["unit"] == "test.service"
        self.pid = hello["pid"]

    def receive(self, timeout=20):
        self.sock.settimeout(within(timeout))
        data, fds, flags, _ = socket.recv_fds(self.sock, 1 << 17, 100)
        assert not flags & (socket.MSG_TRUNC | socket.MSG_CTRUNC)
        if not data:
            return None
        assert len(data) <= 65536
        frame = json.loads(data)
        frame["fds"] = fds
        self.frames.append(frame)
        return frame

    def send(self, frame, fds=()):
        socket.send_fds(self.sock, [json.dumps(frame).encode()], list(fds))

    def start(self, payload=b"{}", inputs=(), **fields):
        """Sends a run frame; inputs are (name, bytes) or (name, fd). Returns its run_id."""
        self.next_id += 1
        fds = [memfd(payload) if isinstance(payload, bytes) else payload]
        listed = []
        for name, data in inputs:
            fd = memfd(data) if isinstance(data, bytes) else data
            listed.append({"name": name, "size": os.fstat(fd).st_size})
            fds.append(fd)
        frame = {"type": "run", "run_id": self.next_id, "job_id": JOB, "kind": "test.kind", "queue": "default",
                 "attempt": 1, "tenant": "acme", "subject": None, "phase": "run", "timeout_usec": 0}
        first, rest = 63, listed[63:]
        self.send({**frame, **fields, "inputs": listed[:first], "more": bool(rest)}, fds[:first + 1])
        at = first
        while rest:
            self.send({"type": "inputs", "run_id": self.next_id, "inputs": rest[:64], "more": len(rest) > 64},
                      fds[at + 1:at + 65])
            at, rest = at + 64, rest[64:]
        for fd in fds:
            os.close(fd)
        return self.next_id

    def wait_for(self, kind, timeout=20):
        while True:
            frame = self.receive(timeout)
            assert frame is not None, f"closed while waiting for {kind}: {self.errors()}"
            if frame["type"] == kind:
                return frame

    def end(self, timeout=20):
        """Waits for the end of the run. .files: name to bytes; .result: bytes; .frames: what came before."""
        frames = []
        while True:
            frame = self.receive(timeout)
            assert frame is not None, f"closed before the end: {self.errors()}"
            if frame["type"] == "end":
                break
            frames.append(frame)
        end = End(frame)
        end.frames = frames
        end.files = {}
        for f in frames:
            if f["type"] == "file":
                with os.fdopen(f["fds"][0], "rb") as file:
                    end.files[f["name"]] = file.read()
                assert len(end.files[f["name"]]) == f["size"]
        end.result = None
        if frame["fds"]:
            with os.fdopen(frame["fds"][0], "rb") as file:
                end.result = file.read()
            assert len(end.result) == frame["result_size"]
        assert frame["run_id"] == self.next_id
        return end

    def run(self, *args, timeout=20, **kwargs):
        self.start(*args, **kwargs)
        return self.end(timeout)

    def stop(self, reason="cancelled", run_id=None):
        self.send({"type": "stop", "run_id": run_id or self.next_id, "reason": reason})

    def ready(self):
        assert self.wait_for("ready")

    def errors(self):
        self.stderr.seek(0)
        return self.stderr.read()

    def memory(self, field="Pss"):
        with open(f"/proc/{self.pid}/smaps_rollup") as f:
            return next(int(line.split()[1]) for line in f if line.startswith(field + ":"))

    def fds(self):
        return sorted(int(fd) for fd in os.listdir(f"/proc/{self.pid}/fd"))

    def base(self):
        """The slot's directory."""
        found = list(pathlib.Path(self.tmp).glob("reeve-run-*"))
        assert len(found) == 1
        return found[0]

    def gone(self, timeout=10):
        return self.process.wait(within(timeout))

    def close(self):
        self.sock.close()
        try:
            self.process.wait(within(10))
        except subprocess.TimeoutExpired:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            raise
        finally:
            self.stderr.close()


@pytest.fixture
def launch(tmp_path):
    launchers = []

    def make(*program, **kwargs):
        launchers.append(Launcher(tmp_path, *program, **kwargs))
        return launchers[-1]

    yield make
    for launcher in launchers:
        launcher.close()
        errors = launcher.stderr.closed or launcher.errors()
        assert "Sanitizer" not in str(errors)
    assert list(tmp_path.glob("reeve-run-*")) == []  # nothing is left behind


@pytest.fixture
def sh(launch):
    """A launcher whose handler is a shell script."""
    return lambda script, **kwargs: launch("/bin/sh", "-c", script, **kwargs)


@pytest.fixture
def py(launch):
    """A launcher whose handler is a Python script."""
    return lambda script, **kwargs: launch(PYTHON, "-S", "-c", script, **kwargs)


def alive(marker):
    """Living processes whose argv[0] starts with the marker."""
    found = []
    for p in pathlib.Path("/proc").glob("[0-9]*"):
        try:
            if (p / "cmdline").read_bytes().startswith(marker.encode()):
                found.append(int(p.name))
        except OSError:
            pass
    return found


def is_gone(pid):
    """Whether it has ended, reaped or not."""
    try:
        with open(f"/proc/{pid}/stat") as f:
            return f.read().rsplit(")", 1)[1].split()[0] in "ZX"
    except OSError:
        return True


class Journal:
    """What a launcher sends to the journal: the native protocol's socket, seen by it alone."""

    def __init__(self, path):
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 8 << 20)
        self.sock.bind(str(path / "socket"))
        self.sock.settimeout(within(5))
        script = f'mount -t tmpfs tmpfs /run && mkdir -p /run/systemd/journal && mount --bind {path} /run/systemd/journal && exec "$@"'
        self.options = {"env": {"JOURNAL_STREAM": "0:0"}, "wrap": ("unshare", "-m", "/bin/sh", "-c", script, "sh")}
        self.seen = []
        self.changed = threading.Condition()
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        while True:
            try:
                data = self.sock.recv(1 << 20)
            except TimeoutError:
                continue
            except OSError:
                return
            entry = {}
            while data:
                line, data = data.split(b"\n", 1)
                name, eq, value = line.partition(b"=")
                if not eq:
                    size = int.from_bytes(data[:8], "little")
                    value, data = data[8:8 + size], data[8 + size + 1:]
                entry[name.decode()] = value.decode(errors="replace")
            with self.changed:
                self.seen.append(entry)
                self.changed.notify()

    def entries(self, last):
        """All entries up to the one for which last() is true."""
        with self.changed:
            assert self.changed.wait_for(lambda: any(map(last, self.seen)), 10)
            return self.seen


@pytest.fixture
def journal(tmp_path):
    if os.getuid() != 0:
        pytest.skip("needs root for a mount namespace")
    (tmp_path / "journal").mkdir()
    journal = Journal(tmp_path / "journal")
    yield journal
    journal.sock.close()


def wait_until(condition, timeout=10):
    deadline = time.monotonic() + within(timeout)
    while time.monotonic() < deadline:
        value = condition()
        if value:
            return value
        time.sleep(0.01)
    raise AssertionError(f"not within {timeout} s")
