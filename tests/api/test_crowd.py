"""Clients that are slow, that are many, and that are both; and no descriptors left. Others are served meanwhile."""
import contextlib
import http.client
import json
import os
import pathlib
import re
import resource
import selectors
import socket
import threading
import time

import pytest

from conftest import SANITIZED, Connection, wait_for
from test_keys import make

LONG = 60  # on a slow machine
SPANS = "HeadSec=2s\nBodySec=2s\nSendSec=2s\nIdleSec=2s\n"


def metric(api, name):
    text = ask(api.path, "GET", "/metrics")[1].decode()
    return float(re.search(rf"^{name} (\S+)$", text, re.M)[1])


def cpu(pid):
    fields = pathlib.Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


def anonymous(pid):
    """MiB."""
    return int(re.search(r"RssAnon:\s+(\d+)", pathlib.Path(f"/proc/{pid}/status").read_text())[1]) / 1024


def dial(address):
    s = socket.socket(socket.AF_UNIX if isinstance(address, str) else socket.AF_INET)
    s.settimeout(LONG)
    if not isinstance(address, str):
        s.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    s.connect(address)
    return s


def ask(address, method, path, body=None, headers=None):
    """As a client with patience does it: again, when it is told that its address has too many connections, or cut. The answer that
    tells so comes before any request was read, so it has no instance."""
    end = time.monotonic() + LONG
    while True:
        with contextlib.closing(Connection(address, LONG)) as c:
            with contextlib.suppress(OSError, http.client.HTTPException):
                c.request(method, path, json.dumps(body) if body else None, {"Content-Type": "application/json", **(headers or {})})
                r = c.getresponse()
                told = r.read()
                if r.status != 503 or b"ConnectionsPerClient=" not in told:
                    return r.status, told
                assert r.headers["Retry-After"] == "2" and r.headers["Connection"] == "close"
                assert r.headers["Content-Type"] == "application/problem+json" and json.loads(told)["status"] == 503
        assert time.monotonic() < end, f"not served within {LONG} s"
        time.sleep(0.1)


class Slow:
    """Connections that send what they have byte by byte, and come again when they are closed. reads: what comes is taken."""

    def __init__(self, address, n, first, drops, reads=True):
        self.address, self.first, self.drops, self.reads = address, first, drops, reads
        self.ended, self.said, self.over = 0, b"", threading.Event()
        self.open = [self.one() for _ in range(n)]
        self.thread = threading.Thread(target=self.work)
        self.thread.start()

    def one(self):
        s = dial(self.address)
        with contextlib.suppress(OSError):  # refused already
            s.sendall(self.first)
        s.setblocking(False)
        return s

    def is_closed(self, s):
        try:
            if self.drops:
                s.send(self.drops)
            data = s.recv(4096) if self.reads else s.recv(1, socket.MSG_PEEK) and b"."
            if data == b"":
                return True
            self.said = (self.said + data)[-100000:]
        except BlockingIOError:
            pass
        except OSError:
            return True
        if self.reads:
            return False
        poll = selectors.select.poll()
        poll.register(s, selectors.select.POLLRDHUP)
        return bool(poll.poll(0))

    def work(self):
        while not self.over.wait(0.1):
            for i, s in enumerate(self.open):
                if self.is_closed(s):
                    self.ended += 1
                    s.close()
                    self.open[i] = self.one()

    def stop(self):
        self.over.set()
        self.thread.join(LONG)
        assert not self.thread.is_alive()

    def close(self):
        for s in self.open:
            s.close()


def request(method, path, *fields):
    return "\r\n".join([f"{method} {path} HTTP/1.1", "Host: h", *fields, "", ""]).encode()


@pytest.mark.parametrize("tcp", [True, False])
def test_slow_clients_are_ended_and_others_served(start, database, tcp):
    """Heads and bodies a byte at a time, silence, answers that nobody reads: as many of them as there is room for, on the socket
    that others use as well. Each is ended by its limit."""
    database.add_kind("echo")
    api = start(keep=True, conf=f"[Limits]\nConnections=64\n{SPANS}")
    key = make(api, "slow")[0]["Authorization"]
    address = api.tcp if tcp else api.path
    post = request("POST", "/api/jobs", f"Authorization: {key}", "Content-Type: application/json", "Content-Length: 50000")
    slow = {"head": Slow(address, 20, b"GET /health HTTP/1.1\r\nHost: h\r\nA: ", b"x"), "body": Slow(address, 10, post, b" "),
            "silence": Slow(address, 20, b"", b""), "line": Slow(address, 10, b"GET /", b"x"),
            "reader": Slow(address, 4, request("GET", "/openapi.json") * 200, b"", reads=False)}
    try:
        end, made = time.monotonic() + LONG, 0
        while made < 30 or min(s.ended for s in slow.values()) < 4:
            assert time.monotonic() < end, {k: s.ended for k, s in slow.items()}
            made += 1
            status, told = ask(address, "POST", "/api/jobs", {"kind": "echo"}, {"Authorization": key, "Idempotency-Key": str(made)})
            assert status == 202, told
    finally:
        for s in slow.values():
            s.stop()
    # With nobody else in the way they end too, and it is the limits that end them.
    for s in slow.values():
        for c in s.open:
            c.settimeout(LONG)
            with contextlib.suppress(OSError):
                while c.recv(65536):
                    pass
        s.close()
    assert b" 408 " in slow["body"].said
    wait_for(lambda: metric(api, "reeve_http_connections") == 1, LONG, "all gone")
    assert database.value("select count(*) from reeve.job") == made


def test_one_of_many_clients_leaves_room(start, database):
    """Uploads that do not end, all that one client may have: one on the other socket is served, one more of its own is told."""
    database.add_kind("echo")
    api = start(conf="[Limits]\nConnections=32\nConnectionsPerClient=20\nBodySec=1h\n")
    key = make(api, "greedy")[0]["Authorization"]
    post = request("POST", "/api/jobs", f"Authorization: {key}", "Content-Type: application/json", "Content-Length: 50000")
    held = [dial(api.tcp) for _ in range(20)]
    for s in held:
        s.sendall(post + b"{")
    wait_for(lambda: metric(api, "reeve_http_connections") == 21, LONG, "20 uploads")
    with contextlib.closing(dial(api.tcp)) as s:
        told = s.recv(4096)
        assert told.startswith(b"HTTP/1.1 503 ") and b"ConnectionsPerClient=" in told and b"\r\nRetry-After: 2\r\n" in told
    assert api.create()["state"] == "ready"
    wait_for(lambda: "1 connections were refused" in api.text(), LONG, "a line in the log")
    assert metric(api, "reeve_http_refused_total") >= 1
    held.pop().close()
    assert ask(api.tcp, "GET", "/health")[0] == 200
    for s in held:
        s.close()


def test_ten_thousand_idle_connections(start, database):
    """Ten times as many as Connections=: those that are too many are closed or told so, and memory is that of Connections=."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    n = 10_000
    if hard < n + 500:
        pytest.skip(f"a process may have {hard} descriptors here")
    database.add_kind("echo")
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    held = []
    try:
        api = start(keep=True, conf="[Limits]\nHeadSec=1h\nIdleSec=1h\n")
        key = make(api, "k")[0]
        before = anonymous(api.process.pid)
        for i in range(n):
            held.append(dial(api.path if i % 2 else api.tcp))
            if i % 1000 == 999:  # others all the while
                assert ask(api.path, "POST", "/api/jobs", {"kind": "echo"})[0] == 202
        for tcp in True, False:
            assert ask(api.tcp if tcp else api.path, "POST", "/api/jobs", {"kind": "echo"}, key)[0] == 202
        assert metric(api, "reeve_http_connections") <= 1024
        grown = anonymous(api.process.pid) - before
        print(f"{grown:.1f} MiB for 1024 connections")
        assert SANITIZED or grown <= 40
        spent = cpu(api.process.pid)
        time.sleep(1)
        assert cpu(api.process.pid) - spent <= 0.1
        for s in held:
            s.close()
        held.clear()
        wait_for(lambda: metric(api, "reeve_http_connections") == 1, LONG, "all gone")
    finally:
        for s in held:
            s.close()
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def take_descriptors(pid):
    """The process gets no descriptor more until the context ends."""
    @contextlib.contextmanager
    def held():
        used = {int(f) for f in os.listdir(f"/proc/{pid}/fd")}
        least = next(i for i in range(100000) if i not in used)
        before = resource.prlimit(pid, resource.RLIMIT_NOFILE, (least, resource.prlimit(pid, resource.RLIMIT_NOFILE)[1]))
        try:
            yield
        finally:
            resource.prlimit(pid, resource.RLIMIT_NOFILE, before)
    return held()


def test_no_descriptors_left(start, database, server):
    """New connections wait, files cannot be opened or stored: told as 503, without a turn of the processor for nothing; the
    database's connection cannot be made anew. All goes on by itself when there are descriptors again."""
    database.add_kind("echo")
    database.add_kind("pdf")
    api = start(keep=True)
    pid = api.process.pid
    upload = {"Content-Type": "application/octet-stream"}
    job = api.post("/api/jobs?kind=pdf", b"x" * 200_000, upload | {"Content-Disposition": 'attachment; filename="a"'}).json["id"]
    name = api.get(f"/api/jobs/{job}/files").json["files"][0]["name"]
    c = api.connect(timeout=LONG)
    assert c.call("GET", "/health").status == 200
    with take_descriptors(pid):
        late = dial(api.path)
        late.sendall(request("GET", "/health", "Connection: close"))
        r = c.call("GET", f"/api/jobs/{job}/files/{name}")
        assert r.status == 503 and r.headers["Retry-After"] and r.json["type"] == "urn:reeve:problem:unavailable", r
        assert c.call("POST", "/api/jobs", {"kind": "echo"}).status == 202
        d = c.call("POST", "/api/jobs?kind=pdf", b"y" * 200_000, upload)
        assert d.status == 503 and d.headers["Retry-After"], d
        c.close()
        wait_for(lambda: "No file descriptor" in api.text(), LONG, "a line in the log")
        spent = cpu(pid)
        time.sleep(1.5)
        assert cpu(pid) - spent <= 0.15
    assert late.recv(100).startswith(b"HTTP/1.1 200")
    late.close()
    assert api.get(f"/api/jobs/{job}/files/{name}", timeout=LONG).body == b"x" * 200_000
    assert database.value("select count(*) from reeve.job") == 2 and database.value("select count(*) from reeve.blob") == 1

    c = api.connect(timeout=LONG)
    assert c.call("GET", "/health").status == 200
    server.stop()
    try:
        wait_for(lambda: c.call("GET", "/health").status == 503, LONG, "the database is away")
        used = take_descriptors(pid)
        used.__enter__()
    finally:
        server.start()
    time.sleep(1)
    r = c.call("POST", "/api/jobs", {"kind": "echo"})
    assert r.status == 503 and r.headers["Retry-After"], r
    spent = cpu(pid)
    time.sleep(1.5)
    assert cpu(pid) - spent <= 0.15
    used.__exit__(None, None, None)
    wait_for(lambda: c.call("POST", "/api/jobs", {"kind": "echo"}).status == 202, LONG, "the database again")
    c.close()
    assert api.get("/health", timeout=LONG).status == 200
