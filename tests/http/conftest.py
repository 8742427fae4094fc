"""Starts tests/http/http-echo and speaks HTTP to it byte by byte."""
import json
import os
import pathlib
import signal
import socket
import subprocess
import time

import pytest
from patience import within

BUILD = pathlib.Path(os.environ.get("REEVE_BUILD", "build"))
ECHO = str(BUILD / "tests/http/http-echo")
SANITIZED = "clang" in BUILD.name


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)


class Client:
    """One connection. recv() reads one reply; closed() tells whether the server has closed."""

    def __init__(self, address, timeout=10):
        self.s = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
        self.s.settimeout(within(timeout))
        self.s.connect(address)
        self.rest = b""

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.s.close()

    def send(self, data):
        self.s.sendall(data.encode() if isinstance(data, str) else data)

    def _more(self):
        data = self.s.recv(65536)
        if not data:
            raise EOFError(f"closed after {self.rest!r}")
        self.rest += data

    def recv(self, head=False):
        while b"\r\n\r\n" not in self.rest:
            self._more()
        top, self.rest = self.rest.split(b"\r\n\r\n", 1)
        lines = top.decode("latin-1").split("\r\n")
        headers = {k.lower(): v.strip() for k, v in (line.split(":", 1) for line in lines[1:])}
        status = int(lines[0].split()[1])
        size = 0 if head or status in (204, 304) or status < 200 else int(headers.get("content-length", 0))
        while len(self.rest) < size:
            self._more()
        body, self.rest = self.rest[:size], self.rest[size:]
        return Reply(status, headers, body)

    def closed(self, seconds=5):
        """Whether the server closes (or resets) within that time. What still comes is thrown away."""
        end = time.monotonic() + seconds
        while True:
            self.s.settimeout(max(0.01, end - time.monotonic()))
            try:
                if not self.s.recv(65536):
                    return True
            except ConnectionResetError:
                return True
            except TimeoutError:
                return False

    def get(self, path, *fields):
        self.send(f"GET {path} HTTP/1.1\r\nHost: h\r\n" + "".join(f + "\r\n" for f in fields) + "\r\n")
        return self.recv()

    def post(self, path, body=b"", *fields):
        self.send(f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {len(body)}\r\n"
                  + "".join(f + "\r\n" for f in fields) + "\r\n")
        self.send(body)
        return self.recv()


class Server:
    def __init__(self, directory, *arguments, nofile=None, activate=True):
        self.log = open(directory / "log", "wb")
        self.log_path = directory / "log"
        self.unix = str(directory / "s")
        self.listening = socket.socket()
        self.listening.bind(("127.0.0.1", 0))
        self.tcp = self.listening.getsockname()
        self.arguments, self.nofile, self.process = arguments, nofile, None
        if activate:
            # Free the port for systemd-socket-activate, which binds it anew.
            self.listening.close()
            self._spawn(["systemd-socket-activate", "-l", f"127.0.0.1:{self.tcp[1]}", "-l", self.unix])
        else:
            self.listening.listen(4096)
            self.start()
        self._wait()

    def _spawn(self, before, **more):
        limit = ["prlimit", f"--nofile={self.nofile}:{self.nofile}"] if self.nofile else []
        self.process = subprocess.Popen(before + limit + [ECHO, *self.arguments], stdin=subprocess.DEVNULL,
                                        stdout=self.log, stderr=self.log, **more)

    def start(self):
        """Starts the program on the socket that this process keeps, as systemd does at a restart."""
        fd = self.listening.fileno()
        self._spawn(["bash", "-c", f'exec 3<&{fd}; export LISTEN_FDS=1 LISTEN_PID=$$; exec "$@"', "bash"], pass_fds=[fd])

    def _wait(self):
        end = time.monotonic() + 10
        while True:
            try:
                with Client(self.tcp) as c:
                    c.get("/now")
                return
            except (ConnectionRefusedError, EOFError):
                if time.monotonic() > end:
                    raise
                time.sleep(0.02)

    def client(self, timeout=10):
        return Client(self.tcp, timeout)

    def stats(self):
        with self.client() as c:
            return c.get("/stats").json

    def wait_stats(self, key, value, seconds=3):
        end = time.monotonic() + seconds
        while (now := self.stats()[key]) != value and time.monotonic() < end:
            time.sleep(0.02)
        assert now == value, f"{key}: {now}, not {value}"

    def cpu(self):
        fields = pathlib.Path(f"/proc/{self.process.pid}/stat").read_text().rsplit(")", 1)[1].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    def rss(self):
        """KiB of anonymous memory."""
        for line in pathlib.Path(f"/proc/{self.process.pid}/status").read_text().splitlines():
            if line.startswith("RssAnon:"):
                return int(line.split()[1])
        raise AssertionError("no RssAnon")

    def term(self):
        self.process.send_signal(signal.SIGTERM)

    def stop(self, seconds=20):
        """SIGTERM: the exit status."""
        if self.process.poll() is None:
            self.term()
        return self.process.wait(seconds)

    def close(self):
        if self.process.poll() is None:
            status = self.stop()
        else:
            status = self.process.returncode
        self.listening.close()
        self.log.close()
        text = self.log_path.read_text(errors="replace")
        assert "Sanitizer" not in text and "runtime error" not in text, text
        assert status == 0, f"exit {status}: {text}"


@pytest.fixture
def start(tmp_path):
    """start(*arguments, nofile=, activate=) -> Server, ended with the test; it must exit with 0."""
    servers = []

    def make(*arguments, **more):
        directory = tmp_path / str(len(servers))
        directory.mkdir()
        servers.append(Server(directory, *arguments, **more))
        return servers[-1]

    yield make
    for s in servers:
        s.close()


@pytest.fixture(scope="module")
def server(tmp_path_factory):
    s = Server(tmp_path_factory.mktemp("http"), "--grace=300ms")
    yield s
    s.close()
