"""What a client sees of single requests: replies, refusals, forms, files. One server for all."""
import pytest

from conftest import Client


def test_reply_at_once_and_later(server):
    with server.client() as c:
        assert c.get("/now").body == b"now\n"
        assert c.get("/later?ms=20").body == b"later\n"
        assert c.get("/now").body == b"now\n"


def test_both_listeners_are_served(server):
    with Client(server.unix) as c:
        assert c.get("/stats").json["listener"] == 1
    assert server.stats()["listener"] == 0


def test_pipelined_requests_are_answered_in_order(server):
    with server.client() as c:
        c.send("".join(f"GET /item/{i}?ms=1 HTTP/1.1\r\nHost: h\r\n\r\n" for i in range(20)))
        assert [c.recv().body for _ in range(20)] == [str(i).encode() for i in range(20)]


def test_pipelined_behind_a_waiting_request(server):
    with server.client() as c:
        c.send("GET /later?ms=100 HTTP/1.1\r\nHost: h\r\n\r\nPOST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\n\r\nhi"
               "GET /now HTTP/1.1\r\nHost: h\r\n\r\n")
        assert [c.recv().body for _ in range(3)] == [b"later\n", b"hi", b"now\n"]


def test_head_has_length_and_no_body(server):
    with server.client() as c:
        c.send("HEAD /now HTTP/1.1\r\nHost: h\r\n\r\n")
        r = c.recv(head=True)
        assert (r.status, r.headers["content-length"]) == (200, "4")
        assert c.get("/now").body == b"now\n"  # nothing was left behind
        c.send("HEAD /later?ms=5 HTTP/1.1\r\nHost: h\r\n\r\n")
        assert c.recv(head=True).headers["content-length"] == "6"
        assert c.get("/now").body == b"now\n"


def test_404_405_options(server):
    with server.client() as c:
        r = c.get("/nowhere")
        assert (r.status, r.headers["content-type"]) == (404, "application/problem+json")
        assert r.json == {"type": "urn:reeve:problem:not-found", "title": "There is no such thing", "status": 404,
                          "detail": "There is nothing at this path.", "instance": "/nowhere"}
        r = c.post("/now")
        assert (r.status, r.headers["allow"]) == (405, "GET, HEAD, OPTIONS")
        c.send("OPTIONS /echo HTTP/1.1\r\nHost: h\r\n\r\n")
        r = c.recv()
        assert (r.status, r.headers["allow"]) == (204, "POST, OPTIONS")
        c.send("OPTIONS * HTTP/1.1\r\nHost: h\r\n\r\n")
        assert c.recv().status == 204
        assert c.get("/now").status == 200


def test_paths_are_decoded_once(server):
    with server.client() as c:
        assert c.get("/item/a%2525%20b").body == b"a%25 b"
        assert c.get("/item/a%2Fb").status == 400
        assert c.get("/item/%ff").status == 400
        assert c.get("/item/..").status == 400
        assert c.get("/item/%2e%2e").status == 400


def test_query_is_strict(server):
    for query in "ms=1&ms=2", "=1", "a=%zz", "a=%ff", "&".join(f"p{i}=1" for i in range(40)), "&".join("a" * 1500):
        with server.client() as c:
            assert c.get("/later?" + query).status == 400, query[:40]


# What the library below takes and the guard must not (trap 11), and what it refuses itself.
LAX = [
    ("two lengths", b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nContent-Length: 3\r\n\r\nabc", 400),
    ("equal lengths", b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 2\r\nContent-Length: 2\r\n\r\nab", 400),
    ("length and chunks", b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 5\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("unknown coding", b"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip\r\n\r\nabc", 501),
    ("coding and chunks", b"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: gzip, chunked\r\n\r\n0\r\n\r\n", 501),
    ("two codings", b"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n", 400),
    ("chunks in 1.0", b"POST /echo HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", 400),
    ("signed length", b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: +3\r\n\r\nabc", 400),
    ("length list", b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 3, 3\r\n\r\nabc", 400),
    ("huge length", b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 99999999999999999999\r\n\r\n", 413),
    ("large length", b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 9999999999\r\n\r\n", 413),
    ("two hosts", b"GET /now HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400),
    ("no host", b"GET /now HTTP/1.1\r\n\r\n", 400),
    ("empty host", b"GET /now HTTP/1.1\r\nHost:\r\n\r\n", 400),
    ("space before colon", b"GET /now HTTP/1.1\r\nHost : h\r\n\r\n", 400),
    ("bare LF everywhere", b"GET /now HTTP/1.1\nHost: h\n\n", 400),
    ("bare LF after the request line", b"GET /now HTTP/1.1\nHost: h\r\n\r\n", 400),
    ("bare LF in the middle", b"GET /now HTTP/1.1\r\nHost: h\nA: b\r\n\r\n", 400),
    ("bare LF after the last field", b"GET /now HTTP/1.1\r\nHost: h\n\r\n", 400),
    ("bare LF as the empty line", b"GET /now HTTP/1.1\r\nHost: h\r\n\n", 400),
    ("folded field", b"GET /now HTTP/1.1\r\nHost: h\r\nA: b\r\n c\r\n\r\n", 400),
    ("folded last field", b"GET /now HTTP/1.1\r\nA: b\r\nHost: h\r\n\tc\r\n\r\n", 400),
    ("NUL in a value", b"GET /now HTTP/1.1\r\nHost: h\r\nA: b\0c\r\nX: e\r\n\r\n", 400),
    ("NUL in the last value", b"GET /now HTTP/1.1\r\nHost: h\0.evil\r\n\r\n", 400),
    ("NUL after the colon", b"GET /now HTTP/1.1\r\nHost: h\r\nA:\0b\r\n\r\n", 400),
    ("NUL in a name", b"GET /now HTTP/1.1\r\nHost: h\r\nA\0b: c\r\n\r\n", 400),
    ("NUL in the path", b"GET /now\0/../secret HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("NUL in the query", b"GET /now?a\0b HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("encoded NUL", b"GET /now%00/x HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("encoded NUL in the query", b"GET /now?a=%00 HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("lone CR", b"GET /now HTTP/1.1\r\nHost: h\r\nA: b\rc\r\n\r\n", 400),
    ("space in the target", b"GET /now x HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("two spaces", b"GET  /now HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("no version", b"GET /now\r\nHost: h\r\n\r\n", 400),
    ("version 2.0", b"GET /now HTTP/2.0\r\nHost: h\r\n\r\n", 505),
    ("version 1.2", b"GET /now HTTP/1.2\r\nHost: h\r\n\r\n", 505),
    ("line without colon", b"GET /now HTTP/1.1\r\nHost: h\r\nrubbish\r\n\r\n", 400),
    ("absolute target", b"GET http://h/now HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("raw bytes in the target", b"GET /n\xc3\xb6w HTTP/1.1\r\nHost: h\r\n\r\n", 400),
    ("unknown method", b"BREW /now HTTP/1.1\r\nHost: h\r\n\r\n", 501),
    ("unknown expectation", b"POST /echo HTTP/1.1\r\nHost: h\r\nExpect: 200-maybe\r\nContent-Length: 1\r\n\r\nx", 417),
    ("compressed body", b"POST /echo HTTP/1.1\r\nHost: h\r\nContent-Encoding: gzip\r\nContent-Length: 1\r\n\r\nx", 415),
    ("bad chunk size", b"POST /echo HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n0x3\r\nabc\r\n0\r\n\r\n", 400),
]


@pytest.mark.parametrize("text,status", [c[1:] for c in LAX], ids=[c[0].replace(" ", "-") for c in LAX])
def test_what_a_lax_parser_takes_is_refused_and_the_connection_closed(server, text, status):
    with server.client() as c:
        c.send(text)
        assert c.recv().status == status
        assert c.closed()


def test_what_is_right_is_not_refused(server):
    """The exactness check must know every form of a right head."""
    fields = ["A:b", "C:   d", "E: f  ", "G:", "I:\t j", "Cookie: a=b; c=\"d\"", "K: " + "x" * 3000]
    with server.client() as c:
        assert c.get("/now", *fields).status == 200
        assert c.get("/now?a&b=c%20d&e=+").status == 200
        c.send("\r\nGET /now HTTP/1.1\r\nHost: h\r\n\r\n")  # RFC 9112, 2.2: an empty line before
        assert c.recv().status == 200
        for i in range(1, 40):
            assert c.get("/now", *[f"X-{j}: {'y' * j}" for j in range(i)]).status == 200, i
        for n in range(0, 200, 7):  # the head in two packets
            text = f"GET /now?{'q' * n} HTTP/1.1\r\nHost: h\r\nA: {'b' * n}\r\n\r\n".encode()
            c.send(text[:n])
            c.send(text[n:])
            assert c.recv().status == 200, n


def test_large_heads(server):
    with server.client() as c:
        assert c.get("/now", "A: " + "x" * 8000).status == 200
        c.send("GET /item/" + "x" * 4000 + " HTTP/1.1\r\nHost: h\r\nA: " + "y" * 4000 + "\r\n\r\n")
        assert c.recv().status == 200
        assert c.get("/now", *[f"X-{i}: {'y' * 100}" for i in range(63)]).status == 200
    for fields, status in (["A: " + "x" * 8200], 431), (["A: b"] * 70, 431), (["A: " + "x" * 20000], 431), \
            (["A: b"] * 2000, 431):
        with server.client() as c:
            assert c.get("/now", *fields).status == status
            assert c.closed()
    for n in 4097, 7000, 20000:
        with server.client() as c:
            assert c.get("/" + "x" * n).status == 414
            assert c.closed()


def expect_continue(c, path, fields, length=5):
    c.send(f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: {length}\r\nExpect: 100-continue\r\n{fields}\r\n")
    return c.recv()


def test_continue_comes_before_the_body(server):
    with server.client() as c:
        for path in "/echo", "/decide?ms=30":
            assert expect_continue(c, path, "").status == 100
            c.send("hello")
            assert c.recv().body == b"hello"


@pytest.mark.parametrize("path,fields,length,status", [
    ("/json", "Content-Type: text/plain\r\n", 5, 415),
    ("/json", "", 5, 415),
    ("/json", "Content-Type: application/json\r\n", 1001, 413),
    ("/decide?deny", "", 5, 401),
    ("/decide?deny&ms=50", "", 5, 401),
    ("/nowhere", "", 5, 404),
    ("/now", "", 5, 405),
    ("/upload", "Content-Encoding: gzip\r\n", 5, 415),
])
def test_refused_before_100_continue(server, path, fields, length, status):
    with server.client() as c:
        assert expect_continue(c, path, fields, length).status == status
        assert c.rest == b"" and c.closed()


def test_a_refusal_is_seen_by_a_client_that_keeps_sending(server):
    """Closing with unread bytes resets the connection and may destroy the reply on its way."""
    for path, fields, status in ("/json", "Content-Type: application/json\r\n", 413), ("/nowhere", "", 404), \
            ("/decide?deny&ms=20", "", 401), ("/full", "", 507):
        with server.client() as c:
            c.send(f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Length: 900000\r\n{fields}\r\n")
            for _ in range(9):
                try:
                    c.send(b"x" * 100000)
                except (ConnectionResetError, BrokenPipeError):
                    raise AssertionError(f"{path}: reset while sending")
            r = c.recv()
            assert r.status == status and r.headers["connection"] == "close" and "date" in r.headers
            assert c.closed()


def test_a_body_in_chunks_is_bounded_too(server):
    with server.client() as c:
        c.send("POST /json HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(11):
            c.send("64\r\n" + "x" * 100 + "\r\n")
        assert c.recv().status == 413
        assert c.closed()


def test_body_rules_of_a_route(server):
    with server.client() as c:
        c.send("POST /json HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\n\r\n")
        assert c.recv().status == 411
        assert c.post("/json", b"", "Content-Type: application/json").status == 400
        assert c.post("/json", b"x" * 1000, "Content-Type: application/json; charset=utf-8").status == 200
        assert c.post("/echo").body == b""
        assert c.post("/decide?ms=5").body == b""
        c.send("POST /echo HTTP/1.1\r\nHost: h\r\n\r\n")
        assert c.recv().status == 200
        c.send("POST /decide?ms=5 HTTP/1.1\r\nHost: h\r\n\r\n")
        assert c.recv().status == 200
        c.send("GET /now HTTP/1.1\r\nHost: h\r\nContent-Length: 3\r\n\r\nabc")
        assert c.recv().status == 400


@pytest.mark.parametrize("path", ["/echo", "/decide?ms=10"])
@pytest.mark.parametrize("size", [1, 100, 8191, 8192, 8193, 100000, 1000000])
def test_bodies_are_exact(server, path, size):
    body = bytes(i * 7 % 256 for i in range(size))
    with server.client() as c:
        assert c.post(path, body).body == body
        c.send(f"POST {path} HTTP/1.1\r\nHost: h\r\nTransfer-Encoding: chunked\r\n\r\n")
        for i in range(0, size, 60000):
            piece = body[i:i + 60000]
            c.send(f"{len(piece):x}\r\n".encode() + piece + b"\r\n")
        c.send("0\r\nTrailer-Field: x\r\n\r\n")
        assert c.recv().body == body
        assert c.get("/now").status == 200


def form(*parts):
    out = b""
    for disposition, data in parts:
        out += b"--B\r\nContent-Disposition: form-data; " + disposition.encode() + b"\r\n\r\n" + data + b"\r\n"
    return out + b"--B--\r\n"


def test_forms(server):
    data = bytes(range(256)) * 2000
    with server.client() as c:
        r = c.post("/form", form(("name=a", b"1"), ('name=f; filename="../x.pdf"', data)),
                   "Content-Type: multipart/form-data; boundary=B")
        assert r.json == [{"name": "a", "filename": None, "type": None, "size": 1, "sum": 49},
                          {"name": "f", "filename": "x.pdf", "type": None, "size": len(data), "sum": sum(data)}]
        assert c.post("/form", form(("name=a", b"x" * 1001)), "Content-Type: multipart/form-data; boundary=B").status == 413
    for body, fields, status in (form(("name=a", b"1"))[:-8], "multipart/form-data; boundary=B", 400), \
            (b"rubbish", "multipart/form-data; boundary=B", 400), (b"x", "multipart/form-data", 400), \
            (b"x", "text/plain", 415):
        with server.client() as c:
            r = c.post("/form", body, "Content-Type: " + fields)
            assert (r.status, r.headers["content-type"]) == (status, "application/problem+json")


def test_files_ranges_etags(server):
    want = bytes(i % 251 for i in range(1000))
    with server.client() as c:
        r = c.get("/file")
        assert (r.status, r.body, r.headers["etag"]) == (200, want, '"e1"')
        r = c.get("/file", "Range: bytes=10-19")
        assert (r.status, r.body, r.headers["content-range"]) == (206, want[10:20], "bytes 10-19/1000")
        assert c.get("/file", "Range: bytes=-7").body == want[-7:]
        assert c.get("/file", "Range: bytes=0-1,3-4").body == want
        assert c.get("/file", "Range: bytes=1000-").status == 416
        assert c.get("/file", 'If-None-Match: "e1"').status == 304
        assert c.get("/file?size=3000000").body == (bytes(range(251)) * 12000)[:3000000]
        assert c.get("/file?size=0").body == b""
        c.send("HEAD /file HTTP/1.1\r\nHost: h\r\n\r\n")
        assert c.recv(head=True).headers["content-length"] == "1000"
        assert c.get("/now").status == 200


def test_http_1_0_closes_unless_asked(server):
    with server.client() as c:
        c.send("GET /now HTTP/1.0\r\n\r\n")
        assert c.recv().body == b"now\n" and c.closed()
    with server.client() as c:
        c.send("GET /later?ms=5 HTTP/1.1\r\nHost: h\r\nConnection: close\r\n\r\n")
        assert c.recv().body == b"later\n" and c.closed()
