"""Streams of events: what is told, from where, to whom, and what happens when somebody goes away."""
import json
import pathlib
import signal
import sys
import threading
import time

import pytest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "pg"))
from conftest import API, SANITIZED, openapi, wait_for  # noqa: E402
from events import Stream  # noqa: E402
from queue_db import Queue  # noqa: E402
from patience import within


@pytest.fixture
def queue(database):
    return Queue(database)


@pytest.fixture
def worker(queue):
    return queue.worker


@pytest.fixture
def open_stream():
    opened = []

    def make(*args, **kw):
        s = Stream(*args, **kw)
        opened.append(s)
        return s
    yield make
    for s in opened:
        s.close()
    # What is told of a job is as /openapi.json describes one.
    job = openapi.description(API).find("GET", "/api/jobs/x")
    for e in {e.data: e for s in opened for e in s.events if e.name in ("state", "progress", "end")}.values():
        assert not (wrong := job.fault({"$ref": "#/components/schemas/Job"}, e.json, strict=True)), (wrong, e)


def make_key(api, name, role="submit", **kw):
    r = api.post("/api/keys", {"name": name, "role": role, "tenant": "acme", **kw})
    assert r.status == 201, r
    return {"Authorization": "Bearer " + r.json["secret"]}, r.json["id"]


def report(worker, run, percent, status=None):
    worker.run("save-progress", [run["run_id"]], [run["run_key"]], [percent], [status])


def test_life_of_a_job(start, worker, open_stream):
    """From ready to its end: each state once, progress, the result; then the stream ends."""
    api = start()
    job = api.create(payload={"n": 1})["id"]
    s = open_stream(api, f"/api/jobs/{job}/events").wait_open()
    assert s.headers["content-type"] == "text/event-stream"
    assert s.headers["cache-control"] == "no-store"
    assert s.headers["x-accel-buffering"] == "no"
    assert s.retry == 2000
    assert s.states() == ["ready"]
    run = worker.claim()[0]
    s.wait(lambda s: s.states() == ["ready", "running"])
    report(worker, run, 40, "page 2 of 5")
    s.wait(lambda s: len(s.events) == 3)
    assert (s.events[2].name, s.events[2].json["progress"], s.events[2].json["status"]) == ("progress", 40, "page 2 of 5")
    worker.end(run, result=json.dumps({"pages": 5}))
    s.wait_end()
    assert s.ended
    assert [e.name for e in s.events] == ["state", "state", "progress", "end"]
    assert s.events[3].json == api.get(f"/api/jobs/{job}").json
    assert s.events[3].json["result"] == {"pages": 5}


def test_job_that_has_ended(start, queue, open_stream):
    api = start()
    job = api.create()["id"]
    api.end_job(job, result="x" * 50000)
    s = open_stream(api, f"/api/jobs/{job}/events").wait_end()
    assert s.ended and [e.name for e in s.events] == ["end"]
    assert s.events[0].json == api.get(f"/api/jobs/{job}").json


def test_job_that_comes_back(start, worker, open_stream):
    """A retry, a due time, children and a join: what no row of the history tells is told to its own stream."""
    api = start()
    job = api.create(kind="echo", delay="1h", queue="q")["id"]
    s = open_stream(api, f"/api/jobs/{job}/events").wait_open()
    assert s.states() == ["scheduled"]
    worker.sql("update reeve.scheduled set run_at = now()")
    worker.promote()
    s.wait(lambda s: s.states() == ["scheduled", "ready"])
    run = worker.claim()[0]
    s.wait(lambda s: s.states()[-1] == "running")
    worker.end(run, state="scheduled", cause="exit", exit_status=1, delay=0)
    s.wait(lambda s: s.states()[-1] == "scheduled")
    worker.promote()
    s.wait(lambda s: s.states()[-1] == "ready")
    worker.spawn(worker.claim()[0], [{"kind": "slow", "queue": "c"}, {"kind": "slow", "queue": "c"}], progress=(10, 90))
    s.wait(lambda s: s.states()[-1] == "waiting")
    worker.end(worker.claim()[0])
    s.wait(lambda s: s.events[-1].json.get("progress") == 50 and s.events[-1].name == "progress")
    worker.end(worker.claim()[0])
    s.wait(lambda s: s.states()[-1] == "ready")
    worker.end(worker.claim()[0])
    s.wait_end()
    assert s.events[-1].name == "end" and s.ended


def test_no_such_job(api, open_stream):
    assert api.get("/api/jobs/018f0000-0000-7000-8000-000000000000/events").status == 404
    assert api.get("/api/jobs/nonsense/events").status == 404


def test_everybody(start, worker, open_stream):
    """/api/events: every creation and every end, each with an id to go on from."""
    api = start()
    s = open_stream(api).wait_open()
    jobs = [api.create()["id"] for _ in range(3)]
    s.wait(lambda s: {e.json["id"] for e in s.events} == set(jobs))
    runs = worker.claim(3)
    s.wait(lambda s: s.states().count("running") == 3)
    worker.end(*runs, result=json.dumps("not told here"))
    s.wait(lambda s: s.states().count("succeeded") == 3)
    assert all(e.id for e in s.events)
    ends = [e for e in s.events if e.name == "end"]
    assert len(ends) == 3 and all("result" not in e.json for e in ends)
    want = api.get(f"/api/jobs/{jobs[0]}").json
    want.pop("result")
    assert next(e.json for e in ends if e.json["id"] == jobs[0]) == want
    # From any of them on: the rest, and nothing of what came before.
    for i, e in enumerate(s.events):
        rest = open_stream(api, after=e.id)
        left = {x.json["id"] for x in s.events[i + 1:] if x.name == "end"}
        rest.wait(lambda r, left=left: {x.json["id"] for x in r.events if x.name == "end"} == left)
        rest.close()


def test_filters(start, worker, open_stream):
    api = start()
    streams = {q: open_stream(api, f"/api/events?{q}").wait_open() for q in ("tenant=acme", "kind=slow", "queue=q", "state=succeeded")}
    a = api.create(tenant="acme")["id"]
    b = api.create(kind="slow")["id"]
    c = api.create(queue="q")["id"]
    worker.end(*worker.claim(3))
    want = {"tenant=acme": {a}, "kind=slow": {b}, "queue=q": {c}, "state=succeeded": {a, b, c}}
    for q, s in streams.items():
        s.wait(lambda s, q=q: {e.json["id"] for e in s.events if e.name == "end"} == want[q])
        assert {e.json["id"] for e in s.events} == want[q]
    assert set(streams["state=succeeded"].states()) == {"succeeded"}
    for bad in ("state=asleep", "colour=red"):
        assert api.get(f"/api/events?{bad}").status == 400


@pytest.mark.parametrize("bad", ["0", "-1", "x", "12:13:", "99999999999999999999", "5,", "5,6", "5.", "5.018f", "5 ", "7,3,3"])
def test_ids_that_are_none(api, bad):
    assert api.get("/api/events", {"Last-Event-ID": bad}).status == 400


def test_tenants_are_kept_apart(start, queue, open_stream):
    api = start()
    acme, _ = make_key(api, "acme")
    other, _ = make_key(api, "other", tenant="other")
    seven, _ = make_key(api, "seven", tenant="other", subject="7")
    mine = api.create(tenant="acme")["id"]
    for h in (other, seven):
        assert api.get(f"/api/jobs/{mine}/events", h, tcp=True).status == 404
        assert api.get("/api/events?tenant=acme", h, tcp=True).status == 403
    a, o, n = [open_stream(api, headers=h, tcp=True).wait_open() for h in (acme, other, seven)]
    begin = o.last_id
    jobs = [api.create(tenant="acme")["id"], api.create(tenant="other")["id"], api.create(tenant="other", subject="7")["id"]]
    a.wait(lambda s: s.of(jobs[0]))
    o.wait(lambda s: s.of(jobs[1]) and s.of(jobs[2]))
    n.wait(lambda s: s.of(jobs[2]))
    assert {e.json["id"] for e in a.events} == {jobs[0]}
    assert {e.json["id"] for e in o.events} == set(jobs[1:])
    assert {e.json["id"] for e in n.events} == {jobs[2]}
    # Neither does a replay show what is not theirs.
    r = open_stream(api, headers=seven, tcp=True, after=begin).wait(lambda s: s.of(jobs[2]))
    assert {e.json["id"] for e in r.events} == {jobs[2]}
    metrics, _ = make_key(api, "numbers", role="metrics", tenant=None)
    assert api.get("/api/events", metrics, tcp=True).status == 403
    assert api.get("/api/events", tcp=True).status == 401


def test_revoked_key_ends_its_streams(start, queue, open_stream):
    """At once on the host where it is revoked, within seconds on others."""
    api = start()
    job = api.create(tenant="acme")["id"]
    h, key = make_key(api, "k")
    h2, _ = make_key(api, "k2")
    streams = [open_stream(api, p, headers=h, tcp=True).wait_open() for p in ("/api/events", f"/api/jobs/{job}/events")]
    elsewhere = open_stream(api, headers=h2, tcp=True).wait_open()
    local = open_stream(api).wait_open()
    assert api.call("DELETE", f"/api/keys/{key}").status == 204
    for s in streams:
        s.wait_end()
        assert s.ended and s.events[-1].name == "close" and "key" in s.events[-1].json["reason"]
    api.db.sql("update reeve.api_key set revoked_at = now(), revoked_by = 'x' where name = 'k2'")
    elsewhere.wait_end()
    assert elsewhere.events[-1].name == "close"
    assert not local.gone


def test_late_commit_is_told(start, queue, open_stream):
    """A job that was enqueued in a long transaction comes after others with higher numbers: nobody misses it, be it live or by
    an id from before its commit; and nobody gets it twice."""
    api = start()
    live = open_stream(api).wait_open()
    slow = queue.session(autocommit=False, role="postgres")
    late = [slow.add() for _ in range(3)]
    early = api.create()["id"]
    live.wait(lambda s: s.of(early))
    after = live.last_id
    assert "," in after
    more = api.create()["id"]
    live.wait(lambda s: s.of(more))
    later = live.last_id
    slow.commit()
    live.wait(lambda s: all(s.of(j) for j in late))
    for place in (after, later):
        r = open_stream(api, after=place).wait(lambda s: all(s.of(j) for j in late))
        assert not r.of(early)
    last = api.create()["id"]
    live.wait(lambda s: s.of(last))
    assert [len(live.of(j)) for j in [early, more, last, *late]] == [1] * 6
    # In the middle of it: those after the one it names.
    first = live.of(sorted(late)[0])[0]
    r = open_stream(api, after=first.id).wait(lambda s: s.of(last))
    assert {j for j in late if r.of(j)} == set(sorted(late)[1:])


def test_many_at_once(start, queue, open_stream):
    """A transaction that makes more jobs than one statement reads: each is told once, live and from every page's end."""
    api = start()
    live = open_stream(api).wait_open()
    begin = live.last_id
    queue.fill(1500)
    live.wait(lambda s: len(s.events) >= 1500, timeout=60)
    time.sleep(0.3)
    assert len({e.json["id"] for e in live.events}) == len(live.events) == 1500
    r = open_stream(api, after=begin).wait(lambda s: len(s.events) >= 1500, timeout=60)
    assert len({e.json["id"] for e in r.events}) == 1500
    at = 777
    r = open_stream(api, after=live.events[at].id).wait(lambda s: len(s.events) >= 1500 - at - 1, timeout=60)
    assert {e.json["id"] for e in r.events} == {e.json["id"] for e in live.events[at + 1:]}


def test_id_of_another_database(start, queue, open_stream):
    api = start()
    s = open_stream(api, after="999999999999").wait(lambda s: s.events)
    assert s.events[0].name == "reset"
    job = api.create()["id"]
    s.wait(lambda s: s.of(job))
    assert int(s.last_id.split(".")[0].split(",")[0]) < 999999999999


class Follower:
    """A client as it should be: connects again with the last id, and remembers all it was told."""

    def __init__(self, api, path="/api/events"):
        self.api, self.path = api, path
        self.seen, self.after = [], None
        self.stopped = False
        self.connections = 0
        self.opened = threading.Event()
        self.thread = threading.Thread(target=self.run, daemon=True)
        self.thread.start()

    def run(self):
        while not self.stopped:
            try:
                s = Stream(self.api, self.path, after=self.after)
            except (OSError, AssertionError, IndexError, ValueError):
                time.sleep(0.05)
                continue
            self.connections += 1
            while not s.gone and not self.stopped:
                if s.ids:
                    self.opened.set()
                time.sleep(0.02)
            s.close()
            self.seen += s.events
            self.after = s.last_id

    def stop(self):
        self.stopped = True
        self.thread.join(within(20))

    def ends(self):
        return [e.json["id"] for e in self.seen if e.name == "end"]


def work(queue, stop, made, ended):
    """A producer and worker that goes on while the API comes and goes."""
    session = queue.session()
    while not stop.is_set():
        made.append(session.add(queue="w"))
        runs = session.claim(5)
        if runs:
            session.end(*runs)
            ended.extend(r["id"] for r in runs)
        time.sleep(0.01)


@pytest.mark.parametrize("how", ["kill9", "stop"])
def test_restart_in_mid_stream_misses_nothing(start, queue, how):
    """kill -9 and orderly stops of the API: with Last-Event-ID every end is told, and after an orderly stop none twice."""
    api = start(keep=True)
    f = Follower(api)
    assert f.opened.wait(within(30))
    stop, made, ended = threading.Event(), [], []
    t = threading.Thread(target=work, args=(queue, stop, made, ended), daemon=True)
    t.start()
    for _ in range(3):
        n = len(ended)
        wait_for(lambda n=n: len(ended) > n + 20, 60)
        getattr(api, how)()
        n = len(ended)
        wait_for(lambda n=n: len(ended) > n + 20, 60)
        api.start()
    stop.set()
    t.join(within(30))
    last = queue.worker.add(queue="w")
    queue.worker.end(*queue.worker.claim(1000))
    ended = {str(j) for j in ended} | {str(last)}
    time.sleep(0.5)
    f.stop()
    assert f.connections >= 4
    told = f.ends()
    assert ended <= set(told)
    if how == "stop":
        assert len(told) == len(set(told))


def test_stop_ends_streams_in_order(start, queue, open_stream):
    api = start(keep=True)
    job = api.create()["id"]
    streams = [open_stream(api).wait_open(), open_stream(api, f"/api/jobs/{job}/events").wait_open()]
    since = time.monotonic()
    api.stop()
    assert time.monotonic() - since < within(8)
    for s in streams:
        s.wait_end()
        assert s.ended and s.events[-1].name == "close" and s.events[-1].json["reason"] == "stopping"
    api.start()
    again = open_stream(api, after=streams[0].last_id).wait_open()
    made = api.create()["id"]
    again.wait(lambda s: s.of(made))


@pytest.mark.parametrize("how", ["restart", "kill9"])
def test_database_away(database, start, queue, open_stream, how):
    """Streams stay, are silent but for comments, and catch up."""
    api = start(conf="[Limits]\nEventCommentSec=1s\n")
    jobs = [api.create()["id"], api.create()["id"]]
    s = open_stream(api).wait_open()
    j = open_stream(api, f"/api/jobs/{jobs[0]}/events").wait_open()
    database.server.stop(signal.SIGINT if how == "restart" else signal.SIGQUIT)
    s.wait(lambda s: any("away" in c for c in s.comments))
    database.server.start()
    session = queue.session()
    run = session.claim(2)
    session.end(*run)
    s.wait(lambda s: {e.json["id"] for e in s.events if e.name == "end"} == set(jobs), timeout=60)
    j.wait_end(60)
    assert j.events[-1].name == "end" and j.ended
    assert not s.gone


def test_comments_move_the_id_on(start, queue, open_stream):
    """Who hears nothing for long has little to catch up all the same."""
    api = start(conf="[Limits]\nEventCommentSec=1s\n")
    s = open_stream(api, "/api/events?kind=slow").wait_open()
    first = s.last_id
    for _ in range(5):
        api.create()
    s.wait(lambda s: len(s.comments) >= 2 and s.last_id != first)
    assert not s.events


def test_reader_that_never_reads(start, queue, open_stream):
    """It is ended, with a line in the log; the others hear everything; memory stays."""
    api = start(conf="[Limits]\nEventBufferMax=256K\nSendSec=30s\n")
    import socket
    stuck = socket.socket(socket.AF_UNIX)
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stuck.connect(api.path)
    stuck.sendall(b"GET /api/events HTTP/1.1\r\nHost: x\r\n\r\n")
    s = open_stream(api).wait_open()
    time.sleep(0.3)
    for _ in range(10):
        queue.fill(400)
    s.wait(lambda s: len(s.events) == 4000, timeout=90)
    wait_for(lambda: "does not read as fast" in api.text(), 30)
    assert api.text().count("does not read as fast") == 1
    assert "reeve_api_event_streams_slow_total 1" in api.get("/metrics").body.decode()
    stuck.close()


def test_reader_that_takes_nothing_for_long(start, queue, open_stream):
    api = start(conf="[Limits]\nSendSec=1s\n")
    import socket
    stuck = socket.socket(socket.AF_UNIX)
    stuck.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    stuck.connect(api.path)
    stuck.sendall(b"GET /api/events HTTP/1.1\r\nHost: x\r\n\r\n")
    s = open_stream(api).wait_open()
    time.sleep(0.3)
    queue.fill(2000)
    s.wait(lambda s: len(s.events) == 2000, timeout=60)
    wait_for(lambda: "took nothing of it for too long" in api.text(), 30)
    wait_for(lambda: "reeve_api_event_streams 1\n" in api.get("/metrics").body.decode())
    stuck.close()


def test_client_that_hangs_up(start, queue, open_stream):
    """It is gone at once, also while nothing happens; and nothing is asked of the database for nobody."""
    api = start()
    job = api.create()["id"]
    streams = [open_stream(api).wait_open() for _ in range(20)]
    streams += [open_stream(api, f"/api/jobs/{job}/events").wait_open() for _ in range(20)]
    assert "reeve_api_event_streams 40\n" in api.get("/metrics").body.decode()
    for s in streams:
        s.close()
    wait_for(lambda: "reeve_api_event_streams 0\n" in api.get("/metrics").body.decode(), 20)


def test_too_many(start, queue, open_stream):
    api = start(conf="[Limits]\nEventStreams=2\n")
    streams = [open_stream(api).wait_open() for _ in range(2)]
    r = api.get("/api/events")
    assert r.status == 503 and "EventStreams=" in r.json["detail"] and r.headers["Retry-After"]
    streams[0].close()
    wait_for(lambda: "reeve_api_event_streams 1\n" in api.get("/metrics").body.decode())
    open_stream(api).wait_open()


def test_head_and_http_1_0(start, queue):
    api = start()
    job = api.create()["id"]
    r = api.call("HEAD", "/api/events")
    assert r.status == 200 and r.headers["Content-Type"] == "text/event-stream" and not r.body
    import socket
    s = socket.socket(socket.AF_UNIX)
    s.settimeout(within(30))
    s.connect(api.path)
    s.sendall(f"GET /api/jobs/{job}/events HTTP/1.0\r\nHost: x\r\n\r\n".encode())
    api.end_job(job)
    data = b""
    while part := s.recv(65536):
        data += part
    assert b"event: end" in data and b"chunked" not in data.lower()
    s.close()


@pytest.mark.parametrize("field", ["Expect: 100-continue", "Content-Length: 0", "Content-Length: 00", "Transfer-Encoding: chunked"])
def test_requests_that_speak_of_a_body(start, queue, field):
    """An answer to each, and none ends the service."""
    import socket
    api = start()
    job = api.create()["id"]
    for path in ("/api/events", f"/api/jobs/{job}/events"):
        s = socket.socket(socket.AF_UNIX)
        s.settimeout(within(30))
        s.connect(api.path)
        s.sendall(f"GET {path} HTTP/1.1\r\nHost: x\r\n{field}\r\n\r\n".encode())
        first = s.recv(65536)
        assert first.startswith((b"HTTP/1.1 200 ", b"HTTP/1.1 400 ", b"HTTP/1.1 100 ")), first
        s.close()
    assert api.get("/health").status == 200


def rss(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().split("\n"):
        if line.startswith("VmRSS"):
            return int(line.split()[1])
    raise AssertionError("no VmRSS")


def test_a_thousand_streams(start, queue, database):
    """All hear everything, in 64 MiB, and the database is asked no more often than for one."""
    import selectors
    import socket
    api = start(conf="[Limits]\nConnections=1100\n")
    pid = api.process.pid
    n = 1000
    selector = selectors.DefaultSelector()
    got = {}
    for i in range(n):
        s = socket.socket(socket.AF_UNIX)
        s.connect(api.path)
        s.sendall(b"GET /api/events HTTP/1.1\r\nHost: x\r\n\r\n")
        s.setblocking(False)
        got[s] = b""
        selector.register(s, selectors.EVENT_READ)

    def read_until(done, timeout=120):
        end = time.monotonic() + timeout
        while not all(done(x) for x in got.values()):
            assert time.monotonic() < end, sorted(x.count(b"event: ") for x in got.values())[:5]
            for key, _ in selector.select(1):
                got[key.fileobj] += key.fileobj.recv(1 << 20)
    read_until(lambda x: b"id: " in x)
    before = database.sql("select xact_commit from pg_stat_database where datname = current_database()")[0][0]
    since = time.monotonic()
    queue.fill(100)
    read_until(lambda x: x.count(b"event: state") == 100)
    memory = rss(pid)
    time.sleep(1.2)
    after = database.sql("select pg_stat_clear_snapshot(), xact_commit from pg_stat_database where datname = current_database()")[0][1]
    asked = (after - before) / (time.monotonic() - since)
    print(f"1000 streams: {memory / 1024:.1f} MiB, {asked:.0f} transactions a second")
    assert asked < 40, asked
    if not SANITIZED:
        assert memory < 64 * 1024, memory
    assert "reeve_api_event_streams 1000\n" in api.get("/metrics").body.decode()
    for s in got:
        s.close()
    wait_for(lambda: "reeve_api_event_streams 0\n" in api.get("/metrics").body.decode(), 30)
