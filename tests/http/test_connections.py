"""Life of connections: waiting, hanging up, deadlines, limits, stopping. Each measured trap of libmicrohttpd 0.9.75 under
sd-event is a test here, named after what went wrong."""
import json
import os
import signal
import socket
import threading
import time

import pytest

from conftest import SANITIZED, Client, Server
from patience import within

GET_NEVER = "GET /never HTTP/1.1\r\nHost: h\r\n\r\n"


def test_resume_wakes_the_loop(start):
    """A resumed connection hung until some other event came: here nothing else happens."""
    s = start()
    with s.client(timeout=2) as c:
        for _ in range(300):
            assert c.get("/later").body == b"later\n"
    with s.client(timeout=2) as c:
        for _ in range(30):
            assert c.post("/decide?ms=1", b"hello").body == b"hello"


def test_many_resumed_at_once(start):
    s = start()
    clients = [s.client(timeout=5) for _ in range(200)]
    for c in clients:
        c.send("GET /later?ms=300 HTTP/1.1\r\nHost: h\r\n\r\n")
    for c in clients:
        assert c.recv().body == b"later\n"
    for c in clients:
        c.s.close()


def test_waiting_costs_no_cpu(start):
    """Suspended requests, half a head, half a body, a client that reads nothing: nobody spins."""
    s = start()
    clients = [s.client() for _ in range(40)]
    for i, c in enumerate(clients):
        c.send([GET_NEVER, "GET /now HT", "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 50\r\n\r\nabc",
                "GET /file?size=20000000 HTTP/1.1\r\nHost: h\r\n\r\n",
                GET_NEVER + "GET /now HTTP/1.1\r\nHost: h\r\n\r\n" * 100][i % 5])
    time.sleep(0.5 if not SANITIZED else 2)
    before = s.cpu()
    time.sleep(1)
    assert s.cpu() - before <= 0.05
    for c in clients:
        c.s.close()
    s.wait_stats("connections", 1)


def test_unconsumed_body_of_a_replied_request_does_not_spin(start):
    """The sink has replied (507) while the client goes on sending slowly."""
    s = start()
    with s.client() as c:
        c.send("POST /full HTTP/1.1\r\nHost: h\r\nContent-Length: 100000000\r\n\r\n" + "x" * 150000)
        assert c.recv().status == 507
        before = s.cpu()
        for _ in range(10):
            try:
                c.send("y")
            except OSError:
                break
            time.sleep(0.1)
        assert s.cpu() - before <= 0.05
        assert c.closed(4)


def test_departure_of_a_suspended_client_is_noticed_within_a_second(start):
    s = start()
    for address in s.tcp, s.unix:
        before = s.stats()["cancelled"]
        clients = [Client(address) for _ in range(10)]
        for c in clients:
            c.send(GET_NEVER)
        s.wait_stats("waiting", 10)
        for i, c in enumerate(clients):
            if i % 2:  # with a reset
                c.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            c.s.close()
        s.wait_stats("cancelled", before + 10, seconds=1)
        s.wait_stats("waiting", 0, seconds=1)
        s.wait_stats("connections", 1, seconds=1)


def test_departure_with_more_requests_in_the_pipe(start):
    s = start()
    with s.client() as c:
        c.send(GET_NEVER + "GET /now HTTP/1.1\r\nHost: h\r\n\r\n" * 1000)
        s.wait_stats("waiting", 1)
    s.wait_stats("cancelled", 1, seconds=1)
    s.wait_stats("connections", 1, seconds=1)


def test_departure_while_the_head_is_being_judged(start):
    """Suspended before the body is read: a body half there must not keep the connection."""
    s = start()
    with s.client() as c:
        c.send("POST /decide?ms=60000 HTTP/1.1\r\nHost: h\r\nContent-Length: 100000\r\n\r\n" + "x" * 50000)
        s.wait_stats("waiting", 1)
    s.wait_stats("cancelled", 1, seconds=1)
    s.wait_stats("connections", 1, seconds=1)


def test_departure_in_mid_upload(start):
    s = start()
    with s.client() as c:
        c.send("POST /upload HTTP/1.1\r\nHost: h\r\nContent-Type: application/octet-stream\r\nContent-Length: 100000\r\n\r\n"
               + "x" * 50000)
        s.wait_stats("connections", 2)
    s.wait_stats("cancelled", 1, seconds=1)
    s.wait_stats("connections", 1, seconds=1)


@pytest.mark.parametrize("text", ["", "GET /now HT", "POST /upload HTTP/1.1\r\nHost: h\r\nContent-Type: application/octet-stream\r\n"
                                  "Content-Length: 100000\r\n\r\n" + "x" * 50000])
def test_departure_that_comes_with_the_last_bytes(start, text):
    """The library reads no further after a short read, and no edge comes for a FIN that was there already."""
    s = start()
    for i in range(40):
        with s.client() as c:
            c.send(text)
            if i % 2:
                s.wait_stats("connections", 2)
        s.wait_stats("connections", 1, seconds=1)


def test_a_client_that_closed_its_side_gets_its_reply(start):
    s = start()
    for path, size in ("/now", 4), ("/file?size=5000000", 5000000):
        for _ in range(10):
            with s.client() as c:
                c.send(f"GET {path} HTTP/1.1\r\nHost: h\r\n\r\n")
                c.s.shutdown(socket.SHUT_WR)
                assert len(c.recv().body) == size
                assert c.closed(1)
    s.wait_stats("connections", 1, seconds=1)


def test_departure_while_a_file_is_sent(start):
    s = start()
    with s.client() as c:
        c.send("GET /file?size=50000000 HTTP/1.1\r\nHost: h\r\n\r\n")
        c.s.recv(10)
        c.s.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    s.wait_stats("connections", 1, seconds=2)
    assert s.process.poll() is None  # no SIGPIPE


# -- deadlines

def trickle(c, text, seconds):
    """Sends a byte every 100 ms; returns after how long the server had closed."""
    begin = time.monotonic()
    c.s.settimeout(0.1)
    reply = b""
    for byte in text:
        if time.monotonic() > begin + seconds:
            raise AssertionError(f"still open after {seconds} s")
        try:
            c.send(bytes([byte]))
            while True:
                data = c.s.recv(65536)
                if not data:
                    return time.monotonic() - begin, reply
                reply += data
        except TimeoutError:
            continue
        except (BrokenPipeError, ConnectionResetError):
            return time.monotonic() - begin, reply
    raise AssertionError("sent everything")


@pytest.mark.parametrize("text", [b"GET /now HTTP/1.1\r\nHost: h\r\nA: " + b"x" * 500, b"GET /" + b"x" * 500, b"\r\n" * 300])
def test_a_trickled_head_is_cut_by_the_total_deadline(start, text):
    s = start("--head=1s", "--idle=1s")
    with s.client() as c:
        took, reply = trickle(c, text, 4)
        assert 0.8 <= took <= 2
        assert reply == b"" or b" 408 " in reply
    s.wait_stats("connections", 1)


def test_a_head_that_never_ends_is_told_so(start):
    s = start("--head=1s")
    with s.client() as c:
        c.send("GET /now HTTP/1.1\r\nHost: h\r\nA: ")
        reply = c.recv()
        assert reply.status == 408 and reply.headers["content-type"] == "application/problem+json"
        assert json.loads(reply.body) == {"type": "urn:reeve:problem:request-timeout", "title": "The request came too slowly", "status": 408,
                                          "detail": "The head came more slowly than HeadSec= allows."}
        assert c.closed(2)


def test_a_trickled_head_on_a_kept_connection_is_cut(start):
    s = start("--head=1s", "--idle=1s")
    with s.client() as c:
        assert c.get("/now").status == 200
        took, _ = trickle(c, b"GET /now HTTP/1.1\r\nHost: h\r\nA: " + b"x" * 500, 6)
        assert took <= 3


@pytest.mark.parametrize("path", ["/echo", "/upload", "/form"])
def test_a_trickled_body_is_cut_by_the_total_deadline(start, path):
    s = start("--body=1s")
    kind = {"/echo": "a/b", "/upload": "application/octet-stream", "/form": "multipart/form-data; boundary=B"}[path]
    with s.client() as c:
        c.send(f"POST {path} HTTP/1.1\r\nHost: h\r\nContent-Type: {kind}\r\nContent-Length: 10000\r\n\r\n")
        took, reply = trickle(c, b"x" * 500, 5)
        assert b" 408 " in reply and b"request-timeout" in reply
        assert took <= 4
    s.wait_stats("connections", 1)


def test_a_body_of_the_minimal_rate_is_not_cut(start):
    s = start("--body=500ms")
    with s.client() as c:
        c.send("POST /upload HTTP/1.1\r\nHost: h\r\nContent-Type: application/octet-stream\r\nContent-Length: 40000\r\n\r\n")
        for _ in range(20):
            c.send("x" * 2000)
            time.sleep(0.1)
        assert c.recv().json["size"] == 40000


def test_a_reply_that_never_comes_is_504(start):
    s = start("--wait=500ms")
    with s.client() as c:
        assert c.get("/never").status == 504
        assert c.get("/now").status == 200
    assert s.stats()["cancelled"] == 1


def test_idle_connections_are_closed(start):
    s = start("--idle=500ms", "--head=500ms")
    with s.client() as used, s.client() as fresh:
        assert used.get("/now").status == 200
        assert used.closed(2) and fresh.closed(2)


def test_a_client_that_reads_nothing_is_cut(start):
    s = start("--send=1s")
    with s.client() as c:
        c.send("GET /file?size=50000000 HTTP/1.1\r\nHost: h\r\n\r\n")
        s.wait_stats("connections", 2)
        s.wait_stats("connections", 1, seconds=5)


# -- limits

def test_connection_limit_lets_others_wait(start):
    """Those that have asked for something are left alone."""
    s = start("--connections=10")
    clients = [s.client() for _ in range(15)]
    for c in clients[:10]:
        c.send(GET_NEVER)
    for c in clients[10:]:
        c.send("GET /now HTTP/1.1\r\nHost: h\r\n\r\n")
    with pytest.raises(TimeoutError):
        clients[10].s.settimeout(1.5)
        clients[10].recv()
    before = s.cpu()
    time.sleep(0.5)
    assert s.cpu() - before <= 0.03
    for c in clients[:5]:
        c.s.close()
    for c in clients[10:]:
        c.s.settimeout(30)
        assert c.recv().status == 200
    for c in clients[5:]:
        c.s.close()


HALF = "GET /now HTTP/1.1\r\nHost: h\r\nA: "


@pytest.mark.parametrize("text", ["", HALF, "G", "GET /now HTTP/1.1\r\nHost: h\r\n\r\n"])
def test_idle_connections_make_room(start, text):
    """Nothing, half a head, half a request line, a request that was answered: the oldest goes when another one comes."""
    s = start("--connections=10", "--head=60s", "--idle=60s")
    with s.client() as asks:
        asks.send("GET /later?ms=4000 HTTP/1.1\r\nHost: h\r\n\r\n")
        idle = [s.client() for _ in range(9)]
        for c in idle:
            c.send(text)
            if text.endswith("\r\n\r\n"):
                assert c.recv().status == 200
        with s.client(30) as c, s.client(30) as d:
            assert c.get("/now").status == 200 and d.get("/now").status == 200
            n = d.get("/stats").json["displaced"]
            gone = [i for i, c in enumerate(idle) if c.closed(0.2)]
            assert 2 <= len(gone) == n, gone
            # Of halves it is the server that knows which came first: it may have read all in one turn.
            assert gone == [*range(n)] or text in ("G", HALF)
        asks.s.settimeout(30)
        assert asks.recv().body == b"later\n"
    for c in idle:
        c.s.close()


def test_ten_times_as_many_idle_connections_as_fit(start):
    s = start("--connections=50", "--head=60s", "--idle=60s")
    idle = [s.client() for _ in range(500)]
    for _ in range(5):
        with s.client(60) as c:
            assert c.get("/now").status == 200
    before = s.cpu()
    time.sleep(1)
    assert s.cpu() - before <= 0.1
    assert s.stats()["connections"] <= 50
    for c in idle:
        c.s.close()


def test_one_client_leaves_room_for_others(start):
    s = start("--connections=20", "--per-client=12")
    held = [s.client() for _ in range(12)]
    for c in held:
        c.send(GET_NEVER)
    with Client(s.unix, 30) as other:
        end = time.monotonic() + 30
        while other.get("/stats").json["waiting"] < 12 and time.monotonic() < end:
            time.sleep(0.02)
        with s.client(30) as c:
            r = c.get("/now")
            assert (r.status, r.headers["connection"], r.headers["retry-after"]) == (503, "close", "2")
            assert r.headers["content-type"] == "application/problem+json" and "ConnectionsPerClient=" in r.json["detail"]
            assert c.closed(30)
        assert other.get("/stats").json["refused"] == 1
        held.pop().s.close()
        s.wait_stats("waiting", 11)
        with s.client(30) as c:
            assert c.get("/now").status == 200
    for c in held:
        c.s.close()


def test_one_client_gives_up_its_own_idle_ones(start):
    s = start("--connections=20", "--per-client=5", "--idle=60s")
    with Client(s.unix) as other:
        assert other.get("/now").status == 200
        idle = [s.client() for _ in range(5)]
        for c in idle:
            assert c.get("/now").status == 200
        time.sleep(1.2)
        with s.client(30) as c:
            assert c.get("/now").status == 200
        assert idle[0].closed(30)
        assert other.get("/stats").json["displaced"] == 1 and not idle[4].closed(0.1)
        for c in idle:
            c.s.close()


@pytest.mark.parametrize("full", [False, True])
def test_no_file_descriptors_left_does_not_spin(start, full):
    """With no connection of its own (all descriptors gone elsewhere) the library would spin at EMFILE."""
    s = start(nofile=16)
    held = []
    if full:
        held = [s.client() for _ in range(30)]
    else:
        import resource
        n = len(os.listdir(f"/proc/{s.process.pid}/fd"))
        resource.prlimit(s.process.pid, resource.RLIMIT_NOFILE, (n, 16))
        held = [s.client()]
    time.sleep(0.5)
    before = s.cpu()
    time.sleep(1.5)
    assert s.cpu() - before <= 0.05
    assert s.process.poll() is None
    if not full:
        resource.prlimit(s.process.pid, resource.RLIMIT_NOFILE, (16, 16))
        held[0].send("GET /now HTTP/1.1\r\nHost: h\r\n\r\n")  # it had been waiting in the queue
        assert held[0].recv().status == 200
    for c in held:
        c.s.close()
    stats = s.stats()
    assert stats["accept_errors"] > 0


def test_memory_of_many_idle_connections(start):
    """1,000 kept connections: bounded by the memory limit and little more."""
    n = 1000
    s = start(nofile=4096, activate=True)
    before = s.rss()
    clients = [s.client() for _ in range(n)]
    for c in clients:
        assert c.get("/now").status == 200
    each = (s.rss() - before) / n
    print(f"{each:.1f} KiB for each idle connection")
    assert s.stats()["connections"] == n + 1
    if not SANITIZED:
        assert each <= 22
    for c in clients:
        c.s.close()
    s.wait_stats("connections", 1)


def test_a_large_upload_is_streamed_with_flat_memory(start):
    s = start()
    size = 300_000_000 if not SANITIZED else 30_000_000
    piece = bytes(range(256)) * 4096
    with s.client(timeout=60) as c:
        c.send(f"POST /upload HTTP/1.1\r\nHost: h\r\nContent-Type: application/octet-stream\r\nContent-Length: {size}\r\n\r\n")
        left = size
        before = s.rss()
        most = 0
        n = 0
        while left:
            c.send(piece[:left])
            left -= len(piece[:left])
            n += 1
            if n % 16 == 0:
                most = max(most, s.rss())
        whole, rest = divmod(size, 256)
        assert c.recv().json == {"size": size, "sum": whole * 255 * 128 + rest * (rest - 1) // 2}
    if not SANITIZED:
        assert most - before <= 512


# -- stopping

def test_stop_with_suspended_connections_replies_503_and_exits_0(start):
    """Stopping the library with a suspended connection aborts the process."""
    s = start("--grace=300ms")
    clients = [s.client() for _ in range(5)]
    for c in clients:
        c.send(GET_NEVER)
    s.wait_stats("waiting", 5)
    s.term()
    for c in clients:
        r = c.recv()
        assert (r.status, r.headers["connection"]) == (503, "close")
        assert r.json["type"] == "urn:reeve:problem:stopping" and r.headers["retry-after"] == "2"
        assert c.closed()
    assert s.process.wait(within(5)) == 0


def test_stop_lets_running_requests_end(start):
    s = start("--grace=5s")
    with s.client() as waiting, s.client() as sending, s.client() as idle, s.client() as late:
        idle.get("/now")
        late.get("/now")
        waiting.send("GET /later?ms=800 HTTP/1.1\r\nHost: h\r\n\r\n")
        sending.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab")
        s.wait_stats("waiting", 1)
        s.term()
        time.sleep(0.05)
        late.send("GET /now HTTP/1.1\r\nHost: h\r\n\r\n")  # was on its way
        r = late.recv()
        assert (r.body, r.headers["connection"]) == (b"now\n", "close")
        assert idle.closed(1)
        time.sleep(0.3)
        sending.send("cd")
        assert sending.recv().body == b"abcd"
        r = waiting.recv()
        assert (r.body, r.headers["connection"]) == (b"later\n", "close")
    begin = time.monotonic()
    assert s.process.wait(within(5)) == 0
    assert time.monotonic() - begin < within(1)


def test_stop_cuts_what_does_not_end(start):
    s = start("--grace=300ms")
    with s.client() as body, s.client() as head, s.client() as reader:
        body.send("POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 4\r\n\r\nab")
        head.send("GET /now HTTP/1.1\r\nHost")
        reader.send("GET /file?size=50000000 HTTP/1.1\r\nHost: h\r\n\r\n")
        s.wait_stats("connections", 4)
        begin = time.monotonic()
        s.term()
        assert body.recv().status == 503
        assert s.process.wait(within(6)) == 0
        assert time.monotonic() - begin < within(4)


@pytest.mark.parametrize("what", [GET_NEVER, "POST /echo HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nab",
                                  "POST /decide?ms=9999 HTTP/1.1\r\nHost: h\r\nContent-Length: 9\r\n\r\nab"])
def test_stop_while_clients_leave(start, what):
    s = start("--grace=200ms")
    clients = [s.client() for _ in range(20)]
    for c in clients:
        c.send(what)
    s.wait_stats("connections", 21)
    s.term()
    for c in clients[::2]:
        c.s.close()
    assert s.process.wait(within(5)) == 0
    for c in clients:
        c.s.close()


def test_restart_under_load_refuses_nothing(start):
    """The socket is kept, as systemd keeps it: what the old process does not accept waits for the new one."""
    s = start("--grace=2s", activate=False)
    end = time.monotonic() + (4 if not SANITIZED else 6)
    done, lost = [0] * 6, []

    def load(i):
        while time.monotonic() < end:
            try:
                with s.client() as c:
                    if i % 2:
                        ok = c.get("/later?ms=5").body == b"later\n"
                    else:
                        ok = c.post("/echo", b"x" * 3000).body == b"x" * 3000
                assert ok
                done[i] += 1
            except Exception as e:  # each is a failure of the test
                lost.append(repr(e))

    threads = [threading.Thread(target=load, args=(i,)) for i in range(6)]
    for t in threads:
        t.start()
    restarts = 0
    while time.monotonic() < end - 0.5:
        time.sleep(0.4)
        assert s.stop() == 0
        s.start()
        restarts += 1
    for t in threads:
        t.join()
    assert lost == []
    assert min(done) > 0 and restarts >= 4
    print(f"{sum(done)} requests over {restarts} restarts")


def test_sigkill_leaves_the_socket_working(start):
    s = start(activate=False)
    s.process.send_signal(signal.SIGKILL)
    s.process.wait()
    with s.client() as c:
        c.send("GET /now HTTP/1.1\r\nHost: h\r\n\r\n")
        s.start()
        assert c.recv().status == 200
