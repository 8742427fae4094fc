"""Reeve from Python: hand over jobs, wait for them, and write handlers that stay (Mode=persistent).

One file, nothing but the standard library (Python 3.9 or later): copy it beside your program.

    import reeve
    client = reeve.Client()                                      # /run/reeve/api.sock; who you are is asked of the kernel
    client = reeve.Client("https://jobs.example.org", key="...") # by TCP, with a key (reevectl key create)
    job = client.submit("resize", {"width": 200}, files={"a.png": "/srv/a.png"}, idempotency_key="order-17", priority=8)
    job = client.wait(job["id"], timeout=60)                     # job["state"], job["result"], job["error"]
    open("small.png", "wb").write(client.file(job["id"], "small.png"))

    def resize(payload, run):                                    # a handler: see serve()
        run.progress(50, "half of it")
        raise reeve.Fail("bad-image", "it has no pixels")        # for good; reeve.Retry: try again later
    reeve.serve(resize)
"""
import contextlib
import http.client
import io
import json
import os
import socket
import sys
import time
import traceback
import urllib.parse
import uuid


class Error(Exception):
    """The API's answer is no: status, and problem as in RFC 9457 (type, title, detail)."""

    def __init__(self, status, problem):
        super().__init__(f"{status}: {problem.get('detail') or problem.get('title')}")
        self.status, self.problem = status, problem


class _UnixConnection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(self.timeout)
        self.sock.connect(self.path)


class Client:
    def __init__(self, address="/run/reeve/api.sock", key=None, patience=30):
        """patience: for how many seconds a call is tried again while the API is away, restarted or busy."""
        url = urllib.parse.urlsplit(address)
        known = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
        self.connection = known.get(url.scheme, _UnixConnection)
        self.host, self.path, self.patience = url.netloc or "localhost", address, patience
        self.headers = {"Authorization": "Bearer " + key} if key else {}

    def submit(self, kind, payload=None, *, files=None, idempotency_key=None, **fields):
        """Hands over a job; when this returns it is durable. files: {name: path or bytes}, the job's inputs. fields: queue,
        priority, tenant, delay, ... of reeve-http(7). The same idempotency_key leads to the same job for 24 hours; without
        one, each call makes a job, once, however often it had to be tried. Returns {"id": ..., "state": ...}."""
        job = json.dumps({"kind": kind, "payload": payload, **fields}, allow_nan=False).encode()
        mark = uuid.uuid4().hex
        headers = {"Idempotency-Key": idempotency_key or str(uuid.uuid4()),
                   "Content-Type": "multipart/form-data; boundary=" + mark if files else "application/json"}
        return json.loads(self.call("POST", "/api/jobs", lambda: _form(mark, job, files) if files else job, headers))

    def wait(self, job, timeout=None):
        """The job when it has ended. After so many seconds as it is then (0: at once): look at its "state"."""
        deadline = None if timeout is None else time.monotonic() + timeout
        while True:
            left = 60 if deadline is None else max(0, deadline - time.monotonic())
            found = json.loads(self.call("GET", f"/api/jobs/{job}?wait={int(min(left, 60) * 1000)}ms"))
            if found["state"] in ("succeeded", "failed", "cancelled") or deadline and time.monotonic() >= deadline:
                return found

    def cancel(self, job, reason=None):
        body = json.dumps({"reason": reason} if reason else {}).encode()
        return json.loads(self.call("POST", f"/api/jobs/{job}/cancel", lambda: body, {"Content-Type": "application/json"}))

    def file(self, job, name):
        return self.call("GET", f"/api/jobs/{job}/files/{urllib.parse.quote(name)}")

    def call(self, method, path, body=None, headers=()):   # body: a function that gives bytes or an iterator, anew each time
        deadline = time.monotonic() + self.patience
        while True:
            pause = 0.5
            c = self.connection(self.host, timeout=90)
            c.path = self.path
            try:
                with contextlib.suppress(BrokenPipeError, ConnectionResetError):   # it may say no before it has read everything
                    c.request(method, path, body and body(), {**self.headers, **dict(headers)})
                r = c.getresponse()
                data = r.read()
                if r.status < 400:
                    return data
                is_json = r.headers.get_content_subtype().endswith("json")
                error = Error(r.status, json.loads(data) if is_json else {"title": r.reason})
                if r.status not in (429, 503) and not r.headers.get("Retry-After"):   # 409: the same request is in flight
                    raise error
                pause = float(r.headers.get("Retry-After") or pause)
            except (ConnectionError, socket.timeout, http.client.HTTPException) as e:
                error = e
            finally:
                c.close()
            if time.monotonic() + pause > deadline:
                raise error
            time.sleep(pause)


def _form(boundary, job, files):
    """multipart/form-data in pieces: files are never whole in memory."""
    yield f'--{boundary}\r\nContent-Disposition: form-data; name="job"\r\n\r\n'.encode() + job
    for name, source in files.items():
        name = name.replace('"', "%22").replace("\r", "%0D").replace("\n", "%0A")
        yield f'\r\n--{boundary}\r\nContent-Disposition: form-data; name="file"; filename="{name}"\r\n\r\n'.encode()
        with io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb") as f:
            yield from iter(lambda: f.read(1 << 18), b"")
    yield f"\r\n--{boundary}--\r\n".encode()


class Fail(Exception):
    """Failed for good: Fail("bad-page", "page 3 is empty")"""


class Retry(Exception):
    """To be tried again later: Retry("busy", "the dictionary is being updated")"""


class Run(dict):
    """One run: run["job_id"], run["attempt"], run["phase"], ... as in reeve-handler(7), PERSISTENT HANDLERS."""

    def progress(self, percent=None, status=None):
        """Where the run is; any call is a sign of life too (WatchdogSec=)."""
        told = {k: v for k, v in {"progress": percent, "status": status}.items() if v is not None} or {"alive": True}
        os.write(3, json.dumps({"run_id": self["run_id"], **told}).encode() + b"\n")


def serve(handler):
    """Runs handler(payload, run) for each run; what it returns is the result. Ends when there is no more to do."""
    answers = os.fdopen(os.dup(1), "w", encoding="utf-8")
    os.dup2(2, 1)   # what a library prints goes to the log and does not spoil the answers
    for line in sys.stdin:
        run = Run(json.loads(line))
        try:
            answer = json.dumps({"result": handler(run["payload"], run)}, allow_nan=False)
        except (Fail, Retry) as e:
            code, message = (*map(str, e.args), "", "")[:2]
            answer = json.dumps({"error": {"code": code, "message": message, "retry": isinstance(e, Retry)}})
        except Exception as e:  # a bug, or something that may be better next time: the kind's MaxAttempts= decides
            traceback.print_exc()
            answer = json.dumps({"error": {"code": type(e).__name__, "message": str(e), "retry": True}})
        print(answer, file=answers, flush=True)
