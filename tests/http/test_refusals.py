"""What libmicrohttpd cannot read, and so refuses before any of ours sees it, has a problem for its answer, too (RFC 9457)."""
import time

import pytest

from conftest import Client
from patience import within

POST = b"POST /echo HTTP/1.1\r\nHost: h\r\n"
CHUNKED = POST + b"Transfer-Encoding: chunked\r\n\r\n"
REFUSED = [
    ("no version", b"GET /now\r\nHost: h\r\n\r\n", 400, "bad-request", None),
    ("a version in small letters", b"GET /now http/1.1\r\nHost: h\r\n\r\n", 400, "bad-request", None),
    ("HTTP/0.9", b"GET /now HTTP/0.9\r\nHost: h\r\n\r\n", 505, "http-version", None),
    ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505, "http-version", None),
    ("a line without an end", b"x" * 100000, 414, "uri-too-long", None),
    ("a path of 100 KB", b"GET /" + b"x" * 100000 + b" HTTP/1.1\r\nHost: h\r\n\r\n", 414, "uri-too-long", None),
    ("a field of 100 KB", b"GET /now?a=1 HTTP/1.1\r\nHost: h\r\nA: " + b"x" * 100000 + b"\r\n\r\n", 431, "head-too-large", "/now"),
    ("20,000 fields", b"GET /now HTTP/1.1\r\nHost: h\r\n" + b"A: b\r\n" * 20000 + b"\r\n", 431, "head-too-large", "/now"),
    ("no colon", b"GET /now HTTP/1.1\r\nHost: h\r\nfoo\r\n\r\n", 400, "bad-header", "/now"),
    ("a length below 0", POST + b"Content-Length: -1\r\n\r\n", 400, "bad-header", "/echo"),
    ("a length that is a word", POST + b"Content-Length: x\r\n\r\n", 400, "bad-header", "/echo"),
    ("a length of nothing", POST + b"Content-Length:\r\n\r\n", 400, "bad-header", "/echo"),
    ("a length above 64 bits", POST + b"Content-Length: " + b"9" * 30 + b"\r\n\r\n", 413, "body-too-large", "/echo"),
    ("a chunk without a size", CHUNKED + b"zz\r\nhello\r\n", 400, "bad-framing", "/echo"),
    ("a chunk without an end", CHUNKED + b"5\r\nhelloXX0\r\n\r\n", 400, "bad-framing", "/echo"),
    ("a chunk above 64 bits", CHUNKED + b"f" * 20 + b"\r\n", 413, "body-too-large", "/echo"),
    ("a trailer without a colon", CHUNKED + b"5\r\nhello\r\n0\r\nfoo\r\n\r\n", 400, "bad-framing", "/echo"),
    ("a trailer of 100 KB", CHUNKED + b"0\r\nA: " + b"x" * 100000 + b"\r\n\r\n", 431, "head-too-large", "/echo"),
]


@pytest.mark.parametrize("text,status,name,path", [c[1:] for c in REFUSED], ids=[c[0].replace(" ", "-") for c in REFUSED])
def test_it_is_told_in_json_and_the_connection_closed(server, text, status, name, path):
    for before in b"", b"GET /now HTTP/1.1\r\nHost: h\r\n\r\n":
        with server.client() as c:
            c.send(before + text)
            if before:
                assert c.recv().body == b"now\n"
            r = c.recv()
            assert (r.status, r.headers["content-type"], r.headers["connection"]) == (status, "application/problem+json", "close")
            assert "date" in r.headers
            assert (r.json["type"], r.json["status"], r.json.get("instance")) == ("urn:reeve:problem:" + name, status, path)
            assert len(r.json["detail"]) > 10
            assert c.closed() and not c.rest  # once: 0.9.75 sends its own answer to a wrong length with two heads


@pytest.mark.parametrize("path", ["/json", "/upload", "/decide?ms=30", "/form"])
def test_who_reads_the_body_learns_that_it_is_over(start, path):
    """A handler that waits, or keeps what came, is told: nothing of the request stays behind."""
    server = start()
    kind = {"/json": "application/json", "/form": "multipart/form-data; boundary=B"}.get(path, "application/octet-stream")
    for _ in range(3):
        with server.client() as c:
            c.send(f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Type: {kind}\r\nTransfer-Encoding: chunked\r\n\r\n5\r\n--B\r\n\r\n")
            time.sleep(0.05)
            c.send("zz\r\n")
            r = c.recv()
            assert (r.status, r.json["type"]) == (400, "urn:reeve:problem:bad-framing")
            assert c.closed()
    server.wait_stats("connections", 1, within(5))  # the one that asks
    with server.client() as c:
        assert c.get("/now").status == 200


@pytest.mark.parametrize("line", [b"5;" + b"x" * 70000, b"0" * 70000], ids=["extension", "zeros"])
def test_a_chunk_line_that_does_not_end_costs_nobody_else_anything(start, line):
    """libmicrohttpd 0.9.75 turns in circles once such a line has filled the connection's memory."""
    server = start("--body=4s")
    with server.client(20) as c, Client(server.unix, 20) as u:
        for x in c, u:
            x.send(CHUNKED + line)
        begin, cpu = time.monotonic(), server.cpu()
        while time.monotonic() < begin + 2:
            with server.client() as other:
                assert other.get("/now").status == 200
            time.sleep(0.05)
        spent, took = server.cpu() - cpu, time.monotonic() - begin
        assert spent < took / 3, f"{spent} s of processor time in {took} s"
        for x in c, u:
            r = x.recv()
            assert (r.status, r.json["type"]) == (408, "urn:reeve:problem:request-timeout")
