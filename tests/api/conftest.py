"""The real reeve-api on a real PostgreSQL, with its sockets handed over as systemd does it."""
import contextlib
import http.client
import importlib.util
import json
import os
import pathlib
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time

import pytest
from patience import within

# The throw-away server of tests/pg, whose fixtures are in a conftest.py as well.
_spec = importlib.util.spec_from_file_location("pg_conftest", pathlib.Path(__file__).resolve().parents[1] / "pg/conftest.py")
pg = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(pg)
BUILD, wait_for = pg.BUILD, pg.wait_for
database, server, template = pg.database, pg.server, pg.template

# What each answer is held against.
_spec = importlib.util.spec_from_file_location("api_openapi", pathlib.Path(__file__).with_name("openapi.py"))
openapi = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(openapi)

API = BUILD / "src/api/reeve-api"
SANITIZED = "clang" in BUILD.name


class Reply:
    def __init__(self, status, headers, body):
        self.status, self.headers, self.body = status, headers, body

    @property
    def json(self):
        return json.loads(self.body)

    def __repr__(self):
        return f"{self.status} {self.body[:600]!r}"


class Connection(http.client.HTTPConnection):
    """To a path (unix socket) or to a TCP port. violations: where answers are noted that are not as described."""

    def __init__(self, address, timeout=30, violations=None):
        super().__init__("localhost", timeout=within(timeout))
        self.address = address
        self.violations = violations

    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX if isinstance(self.address, str) else socket.AF_INET)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.address)

    def call(self, method, path, body=None, headers=None):
        headers = dict(headers or {})
        if isinstance(body, (dict, list)):
            body = json.dumps(body)
            headers.setdefault("Content-Type", "application/json")
        if isinstance(body, str):
            body = body.encode()
        reply = openapi.through_prism(API, self.address, method, path, body, headers, self.timeout)
        if reply is None:
            self.request(method, path, body, headers)
            r = self.getresponse()
            reply = Reply(r.status, r.headers, r.read())
        else:
            reply = Reply(*reply)
        self.check(method, path, body, headers, reply)
        return reply

    def check(self, method, path, body, headers, reply):
        try:
            openapi.description(API).check(method, path, body, headers, reply)
        except openapi.Violation as e:
            if self.violations is None:
                raise
            self.violations.append(str(e))


class Notify:
    """systemd's end of NOTIFY_SOCKET: what the program said, with times."""

    def __init__(self, path):
        self.path = path
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(str(path))
        os.chmod(path, 0o777)
        self.said = []
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        while True:
            try:
                data = self.sock.recv(8192)
            except OSError:
                return
            self.said += [(time.monotonic(), line) for line in data.decode().split("\n") if line]

    def lines(self, prefix, since=0):
        return [line for t, line in self.said if line.startswith(prefix) and t >= since]

    @property
    def status(self):
        found = self.lines("STATUS=")
        return found[-1][7:] if found else ""


class Api:
    def __init__(self, db, keep=False, conf="", watchdog=None):
        """keep: this process holds the sockets, so that the program can be started again on them."""
        self.db = db
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="ra", dir="/tmp"))
        os.chmod(self.dir, 0o755)
        self.path = str(self.dir / "s")
        self.blobs = self.dir / "blobs"
        self.blobs.mkdir()
        self.log = self.dir / "log"
        self.notify = Notify(self.dir / "n")
        self.keep, self.watchdog = keep, watchdog
        (self.dir / "root/etc/reeve").mkdir(parents=True)
        self.configure(db.conninfo, conf)
        self.tcp_socket = socket.socket()
        self.tcp_socket.bind(("127.0.0.1", 0))
        self.tcp = self.tcp_socket.getsockname()
        self.process = None
        self.violations = []
        if keep:
            self.tcp_socket.listen(1024)
            self.unix_socket = socket.socket(socket.AF_UNIX)
            self.unix_socket.bind(self.path)
            self.unix_socket.listen(1024)
        else:
            self.tcp_socket.close()
        self.start()

    def configure(self, conninfo, conf=""):
        (self.dir / "root/etc/reeve/reeve.conf").write_text(f"[Database]\nDatabase={conninfo}\nPrepared=yes\n{conf}")

    def start(self, before=()):
        argv = [*before, str(API), f"--root={self.dir}/root", f"--blobs={self.blobs}"]
        env = {"NOTIFY_SOCKET": str(self.notify.path), "REEVE_LOG_LEVEL": "debug", "PATH": os.environ["PATH"]}
        env |= {k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}
        if self.watchdog:
            env["WATCHDOG_USEC"] = str(int(self.watchdog * 1e6))
        since = time.monotonic()
        with open(self.log, "ab") as log:
            if self.keep:
                fds = [self.tcp_socket.fileno(), self.unix_socket.fileno()]
                script = f'exec 3<&{fds[0]} 4<&{fds[1]}; export LISTEN_FDS=2 LISTEN_FDNAMES=http:local LISTEN_PID=$$; exec "$@"'
                self.process = subprocess.Popen(["bash", "-c", script, "bash", *argv], env=env, stdout=log, stderr=log, pass_fds=fds)
            else:
                argv = ["systemd-socket-activate", "-l", f"127.0.0.1:{self.tcp[1]}", "-l", self.path, "--fdname=http:local",
                        *(f"-E{k}={v}" for k, v in env.items()), *argv]
                self.process = subprocess.Popen(argv, env=env, stdout=log, stderr=log)
                wait_for(lambda: self.try_connect() or self.process.poll() is not None, what="the socket")
        wait_for(lambda: self.notify.lines("READY=1", since) or self.process.poll() is not None, what="READY=1")
        assert self.process.poll() is None, self.text()

    def try_connect(self):
        with contextlib.suppress(OSError), socket.socket(socket.AF_UNIX) as s:
            s.connect(self.path)
            return True
        return False

    def text(self):
        return self.log.read_text(errors="replace")

    def connect(self, tcp=False, timeout=30):
        return Connection(self.tcp if tcp else self.path, timeout, self.violations)

    def call(self, method, path, body=None, headers=None, tcp=False, timeout=30):
        c = self.connect(tcp, timeout)
        try:
            return c.call(method, path, body, headers)
        finally:
            c.close()

    def get(self, path, headers=None, **kw):
        return self.call("GET", path, None, headers, **kw)

    def post(self, path, body=None, headers=None, **kw):
        return self.call("POST", path, body, headers, **kw)

    def create(self, kind="echo", status=202, headers=None, **fields):
        r = self.post("/api/jobs", {"kind": kind, **fields}, headers)
        assert r.status == status, r
        return r.json

    def wait_up(self, timeout=20):
        wait_for(lambda: self.get("/health").status == 200, timeout, "health")

    def end_job(self, job_id, state="succeeded", result=None):
        """As a worker does it."""
        self.db.sql("with gone as (delete from reeve.ready where job = %s returning job) insert into reeve.done (job, state, cause,"
                    " result) select job, %s, 'exit', %s from gone", job_id, state, json.dumps(result))

    def stop(self, timeout=30):
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(within(timeout)) == 0, self.text()[-4000:]

    def kill9(self):
        self.process.kill()
        self.process.wait(within(10))

    def close(self):
        try:
            if self.process.poll() is None:
                self.process.terminate()
                self.process.terminate()
                try:
                    self.process.wait(within(20))
                except subprocess.TimeoutExpired:
                    self.process.kill()
                    self.process.wait(within(5))
                    raise AssertionError(f"reeve-api did not end: {self.text()[-4000:]}") from None
        finally:
            self.notify.sock.close()
            for s in ("tcp_socket", "unix_socket"):
                with contextlib.suppress(AttributeError, OSError):
                    getattr(self, s).close()
            text = self.text()
            shutil.rmtree(self.dir, ignore_errors=True)
        assert "Sanitizer" not in text and "runtime error" not in text, text[-5000:]
        assert not self.violations, "not as /openapi.json says: " + "\n".join(self.violations[:5])


def pytest_configure(config):
    config.addinivalue_line("markers", "direct(reason): cannot go through prism (test_openapi_tools.py)")


@pytest.fixture
def start(database):
    """Starts an API on the test's database: start(keep=..., conf=...)."""
    running = []

    def make(wait=True, **kw):
        a = Api(database, **kw)
        running.append(a)
        if wait:
            a.wait_up()
        return a
    yield make
    for a in running:
        a.close()


@pytest.fixture
def api(database, start):
    database.add_kind("echo")
    database.add_kind("pdf", queue="documents", priority=7)
    return start()
