"""reevectl against a service that speaks the API's wire format, byte by byte as a test says (service, ctl), and against
the real API on a real PostgreSQL (api). Needs $REEVE_BUILD."""
import importlib.util
import json
import os
import pathlib
import socket
import subprocess
import threading

import pytest
from patience import within

# The real reeve-api of tests/api, whose fixtures are in a conftest.py as well.
_spec = importlib.util.spec_from_file_location("api_conftest", pathlib.Path(__file__).resolve().parents[1] / "api/conftest.py")
api_tests = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(api_tests)
api, database, server, start, template = (getattr(api_tests, f) for f in ("api", "database", "server", "start", "template"))

BUILD = pathlib.Path(os.environ["REEVE_BUILD"]).resolve()
CTL = BUILD / "src/ctl/reevectl"
JOB = "019aa905-7c00-7000-8000-000000000001"
OTHER = "019aa905-7c00-7000-8000-000000000002"
REASONS = {200: "OK", 202: "Accepted", 400: "Bad Request", 401: "Unauthorized", 403: "Forbidden", 404: "Not Found",
           409: "Conflict", 413: "Content Too Large", 503: "Service Unavailable"}


def response(body, status=200, kind="application/json", chunked=False, extra=""):
    """The bytes of a response as the API sends it."""
    body = body if isinstance(body, bytes) else (body if isinstance(body, str) else json.dumps(body)).encode()
    head = f"HTTP/1.1 {status} {REASONS[status]}\r\nDate: Sun, 22 Nov 2026 00:00:00 GMT\r\nContent-Type: {kind}\r\n{extra}"
    if not chunked:
        return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body
    parts = [body[i:i + 7] for i in range(0, len(body), 7)]
    return f"{head}Transfer-Encoding: chunked\r\n\r\n".encode() + b"".join(
        b"%x\r\n%s\r\n" % (len(p), p) for p in parts) + b"0\r\n\r\n"


def problem(status, name, title, detail=None, **more):
    body = {"type": f"urn:reeve:problem:{name}", "title": title, "status": status}
    return response({**body, **({"detail": detail} if detail else {}), **more}, status, "application/problem+json")


class Request:
    def __init__(self, head, body):
        lines = head.decode().split("\r\n")
        self.method, self.target, self.version = lines[0].split(" ")
        self.fields = {k.lower(): v for k, v in (x.split(": ", 1) for x in lines[1:])}
        self.path = self.target.split("?")[0]
        self.body = body

    @property
    def json(self):
        return json.loads(self.body)


class Server:
    """answers: {"METHOD /path": bytes, or a function of the request, or a list of those, the last again and again}."""

    def __init__(self, listener):
        self.listener, self.answers, self.requests = listener, {}, []
        self.thread = threading.Thread(target=self.serve, daemon=True)
        self.thread.start()

    def serve(self):
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            threading.Thread(target=self.talk, args=(connection,), daemon=True).start()

    def talk(self, connection):
        with connection:
            connection.settimeout(within(20))
            data = b""
            while b"\r\n\r\n" not in data:
                more = connection.recv(65536)
                if not more:
                    return
                data += more
            head, body = data.split(b"\r\n\r\n", 1)
            early = self.answers.get("early")
            if early:
                connection.sendall(early)
                connection.shutdown(socket.SHUT_WR)
                while connection.recv(65536):
                    pass
                return
            length = int(Request(head, b"").fields.get("content-length", 0))
            while len(body) < length:
                body += connection.recv(65536)
            request = Request(head, body)
            self.requests.append(request)
            answer = self.answers.get(f"{request.method} {request.path}", problem(404, "not-found", "There is no such thing"))
            if isinstance(answer, list):
                answer = answer.pop(0) if len(answer) > 1 else answer[0]
            connection.sendall(answer(request) if callable(answer) else answer)

    def close(self):
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()
        self.thread.join(within(5))

    def last(self, start):
        return [r for r in self.requests if f"{r.method} {r.path}" == start][-1]


class Ctl:
    def __init__(self, path):
        self.path = path

    def __call__(self, *args, env=None, stdin="", status=None):
        environment = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC-2", **(env or {})}
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS"):
            if name in os.environ:
                environment[name] = os.environ[name]
        run = subprocess.run([CTL, f"--socket={self.path}", *args], capture_output=True, text=True, timeout=within(60), input=stdin,
                             env=environment)
        assert "Sanitizer" not in run.stderr
        if status is not None:
            assert run.returncode == status, (run.returncode, run.stdout, run.stderr)
        return run


@pytest.fixture
def service(tmp_path):
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(tmp_path / "api.sock"))
    listener.listen(16)
    s = Server(listener)
    yield s
    s.close()


@pytest.fixture
def ctl(tmp_path):
    return Ctl(tmp_path / "api.sock")


@pytest.fixture
def tcp(request):
    listener = socket.create_server(("127.0.0.1", 0))
    s = Server(listener)
    s.url = f"http://127.0.0.1:{listener.getsockname()[1]}"
    yield s
    s.close()
