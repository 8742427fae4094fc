"""The program's life: activation, health, stopping, and a database that comes and goes."""
import os
import signal
import socket
import subprocess
import threading
import time

import pytest

from conftest import Api, wait_for
from patience import within


def test_ready_before_the_database(database, server, start):
    database.add_kind("echo")
    server.stop()
    try:
        api = start(wait=False)
        r = api.get("/health")
        assert r.status == 503 and r.headers["Retry-After"] and r.json["checks"]["database"] == "away"
        r = api.post("/api/jobs", {"kind": "echo"})
        assert r.status == 503 and r.headers["Retry-After"] and r.json["type"] == "urn:reeve:problem:unavailable"
        wait_for(lambda: api.notify.status.startswith("degraded: no database"), what="STATUS=")
        assert api.get("/metrics").status == 200
    finally:
        server.start()
    api.wait_up()
    assert api.create()["state"] == "ready"
    wait_for(lambda: api.notify.status.startswith("serving"), what="STATUS=")


def test_the_request_that_started_it_is_served(start):
    """It waits for the first connection to the database instead of being told that there is none."""
    api = start(wait=False)
    assert api.get("/health").status == 200


def test_schema_too_old(server, start):
    empty = server.create()
    api = Api(empty)
    try:
        wait_for(lambda: api.get("/health").json["checks"]["database"] == "ok")
        r = api.get("/api/jobs")
        assert r.status == 503 and "reeve-migrate" in r.json["detail"]
        empty.migrate("up")
        api.wait_up()
        assert api.get("/api/jobs").status == 200
    finally:
        api.close()
        empty.close()
        server.drop(empty.name)


def test_who_asks(api):
    assert api.get("/health", tcp=True).status == 200
    r = api.get("/api/jobs", tcp=True)
    assert r.status == 401 and r.json["type"] == "urn:reeve:problem:unauthorized"
    assert api.get("/api/jobs").status == 200


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to become other users")
def test_peers(start, database):
    """Who is on the unix socket is the kernel's word: the user, then its groups."""
    database.add_kind("echo")
    api = start(conf="[Peer]\nAllow=65001 submit acme\nAllow=65002 read * 7\n")
    os.chmod(api.path, 0o777)
    job = api.create(tenant="acme")["id"]
    other = api.create(tenant="other", subject="7")["id"]
    script = ("import http.client,socket,sys\nfor line in sys.argv[1:]:\n  m,p=line.split(' ')\n  c=http.client.HTTPConnection('h')\n"
              f"  c.sock=socket.socket(socket.AF_UNIX)\n  c.sock.connect('{api.path}')\n"
              "  c.request(m,p,'{\"kind\":\"echo\"}' if m=='POST' else None,{'Content-Type':'application/json'})\n  print(c.getresponse().status)")
    asked = [f"GET /api/jobs/{job}", f"GET /api/jobs/{other}", "POST /api/jobs", "GET /api/keys", "GET /api/workers"]
    for uid, want in [(65534, [403] * 5), (65001, [200, 404, 202, 403, 403]), (65002, [404, 200, 403, 403, 200])]:
        out = subprocess.run(["setpriv", f"--reuid={uid}", "--regid=65534", "--clear-groups", "/usr/bin/python3", "-c", script, *asked],
                             capture_output=True, text=True, check=True)
        assert [int(x) for x in out.stdout.split()] == want, uid


def test_stop_loses_no_request(database, start):
    """SIGTERM with requests in the air: each is answered, those in the kernel's queue by the successor."""
    database.add_kind("echo")
    api = start(keep=True)
    stop = threading.Event()
    results, errors = [], []

    def work(n):
        i = 0
        while not stop.is_set():
            i += 1
            try:
                r = api.post("/api/jobs", {"kind": "echo"}, {"Idempotency-Key": f"{n}-{i}"})
                results.append((r.status, r.json.get("id")))
            except OSError as e:
                errors.append(repr(e))
    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for t in threads:
        t.start()
    for _ in range(3):
        time.sleep(0.4)
        api.stop()
        api.start()
    time.sleep(0.3)
    stop.set()
    for t in threads:
        t.join(within(30))
    assert not errors, errors[:5]
    assert {s for s, _ in results} <= {202, 503} and len([1 for s, _ in results if s == 202]) > 20
    made = [j for s, j in results if s == 202]
    assert len(set(made)) == len(made)
    assert database.value("select count(*) from reeve.job where id = any(%s::uuid[])", made) == len(made)


def test_stop_answers_who_waits(api):
    job = api.create()["id"]
    replies = []
    t = threading.Thread(target=lambda: replies.append(api.get(f"/api/jobs/{job}?wait=30s")))
    t.start()
    time.sleep(0.5)
    api.stop()
    t.join(within(10))
    assert replies[0].status == 200 and replies[0].json["state"] == "ready"


def test_kill9_under_load(database, start):
    """The sockets stay: nobody is refused, and repeating with the same key makes no job twice."""
    database.add_kind("echo")
    api = start(keep=True)
    stop = threading.Event()
    made, refused = {}, []

    def work(n):
        i = 0
        while not stop.is_set():
            i += 1
            key = f"{n}-{i}"
            for _ in range(50):
                try:
                    r = api.post("/api/jobs", {"kind": "echo", "payload": key}, {"Idempotency-Key": key})
                except ConnectionRefusedError as e:
                    refused.append(e)
                    continue
                except OSError:
                    continue # cut off in the middle: asks again
                except Exception:
                    continue
                if r.status in (200, 202):
                    made[key] = r.json["id"]
                    break
                time.sleep(0.05)
    threads = [threading.Thread(target=work, args=(n,)) for n in range(6)]
    for t in threads:
        t.start()
    for _ in range(3):
        time.sleep(0.4)
        api.kill9()
        api.start()
    stop.set()
    for t in threads:
        t.join(within(30))
    assert not refused
    rows = database.sql("select payload #>> '{}', id::text from reeve.job")
    assert len(rows) == len({r[0] for r in rows}), "a job twice"
    found = dict(rows)
    assert len(made) > 10 and all(found.get(k) == v for k, v in made.items())


class Load:
    """Creates under load that repeat until they are acknowledged, each with its key."""

    def __init__(self, api, n=6):
        self.api, self.stop_event, self.made, self.seen = api, threading.Event(), {}, {}
        self.threads = [threading.Thread(target=self.work, args=(k,)) for k in range(n)]
        for t in self.threads:
            t.start()

    def work(self, n):
        i = 0
        while not self.stop_event.is_set():
            i += 1
            key = f"{n}-{i}"
            while True:
                r = self.api.post("/api/jobs", {"kind": "echo", "payload": key}, {"Idempotency-Key": key}, timeout=60)
                self.seen[r.status] = self.seen.get(r.status, 0) + 1
                if r.status in (200, 202):
                    self.made[key] = r.json["id"]
                    break
                assert r.status == 503 and r.headers["Retry-After"], r
                time.sleep(0.05)

    def finish(self, database):
        self.stop_event.set()
        for t in self.threads:
            t.join(within(60))
        rows = database.sql("select payload #>> '{}', id::text from reeve.job")
        assert len(rows) == len({r[0] for r in rows}), "a job twice"
        found = dict(rows)
        assert len(self.made) > 10 and all(found.get(k) == v for k, v in self.made.items()), "an acknowledged job is lost"
        assert set(self.seen) <= {200, 202, 503}, self.seen


@pytest.mark.parametrize("fault", ["restart", "kill9", "terminate"])
def test_database_faults_under_load(api, server, database, fault):
    load = Load(api)
    time.sleep(0.5)
    for _ in range(2):
        if fault == "restart":
            server.restart()
        elif fault == "kill9":
            server.kill9()
        else:
            database.sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'reeve-api'")
        time.sleep(1)
    api.wait_up()
    time.sleep(0.5)
    load.finish(database)


def test_database_away_under_load(api, server, database):
    load = Load(api)
    time.sleep(0.3)
    server.stop()
    seconds = 20 if os.environ.get("REEVE_TEST_SLOW") else 4
    t = time.monotonic()
    while time.monotonic() - t < seconds:
        r = api.get("/health", timeout=2)
        time.sleep(0.2)
    assert r.status == 503
    server.start()
    api.wait_up()
    time.sleep(0.5)
    load.finish(database)
    assert load.seen[503] > 0


def test_stopped_backend(database, server, start):
    """A backend under SIGSTOP: the API says so, answers 503, goes on living, and comes back."""
    database.add_kind("echo")
    api = start(watchdog=30)
    load = Load(api, 3)
    time.sleep(0.4)
    pid = database.value("select pid from pg_stat_activity where application_name = 'reeve-api' and query not ilike 'listen%'")
    with server.stop_backend(pid):
        wait_for(lambda: api.get("/health", timeout=2).json["checks"]["database"] == "stuck", 8, "stuck")
        t = time.monotonic()
        r = api.get("/api/jobs")
        assert r.status == 503 and time.monotonic() - t < within(1)
        wait_for(lambda: "does not answer" in api.notify.status, 5, "STATUS=")
        assert api.notify.lines("WATCHDOG=1", time.monotonic() - within(2))
    api.wait_up()
    time.sleep(0.3)
    load.finish(database)


READER = "select pid from pg_stat_activity where application_name = 'reeve-api reads'"


def test_lists_that_take_long_hold_up_nothing_else(api, server):
    """Lists have a connection of their own. Here five of them wait for a server process that stands still."""
    api.create()
    wait_for(lambda: api.db.sql(READER))
    pid, lists = api.db.value(READER), []
    with server.stop_backend(pid):
        waiting = [threading.Thread(target=lambda: lists.append(api.get("/api/jobs", timeout=60))) for _ in range(5)]
        for t in waiting:
            t.start()
        time.sleep(0.3)   # they are on their way
        for n in range(20):
            assert api.post("/api/jobs", {"kind": "echo", "payload": n}).status == 202
        assert api.get("/health").json["checks"]["database"] == "ok" and not lists
    for t in waiting:
        t.join(within(30))
    assert [r.status for r in lists] == [200] * 5 and {len(r.json["jobs"]) for r in lists} <= {1, 21}


def test_lists_go_on_without_their_connection(api, database):
    api.create()
    for _ in range(20):
        database.sql(f"select pg_terminate_backend(({READER} limit 1))")
        r = api.get("/api/jobs")
        assert r.status in (200, 503) and (r.status == 503 or len(r.json["jobs"]) == 1)
    wait_for(lambda: api.get("/api/jobs").status == 200 and database.sql(READER), 20, "a new connection for lists")


def test_metrics(api):
    api.create()
    api.get("/api/nothing")
    r = api.get("/metrics")
    assert r.headers["Content-Type"].startswith("text/plain; version=0.0.4")
    text = r.body.decode()
    assert 'reeve_http_requests_total{route="POST /api/jobs",code="202"} 1' in text
    assert 'reeve_jobs{state="ready"} 1' in text and "reeve_up 1" in text
    assert 'reeve_queue_depth{queue="default",state="ready"} 1' in text
    assert 'reeve_queue_depth{queue="documents",state="running"} 0' in text
    for line in text.splitlines():
        assert line.startswith("# ") or len(line.rsplit(" ", 1)) == 2 and float(line.rsplit(" ", 1)[1]) >= 0, line


def test_client_hangs_up_in_the_middle(api):
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(api.path)
        s.sendall(b"POST /api/jobs HTTP/1.1\r\nHost: h\r\nContent-Type: application/json\r\nContent-Length: 1000\r\n\r\n{\"kind\"")
    job = api.create()["id"]
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(api.path)
        s.sendall(f"GET /api/jobs/{job}?wait=30s HTTP/1.1\r\nHost: h\r\n\r\n".encode())
        time.sleep(0.3)
    time.sleep(0.3)
    api.end_job(job)
    time.sleep(0.3)
    assert api.get(f"/api/jobs/{job}").json["state"] == "succeeded"
    assert api.db.value("select count(*) from reeve.job") == 1


def test_limits_of_http_are_settings(start):
    """Connections=, HeadMax=, HeadSec= and IdleSec= of reeve.conf."""
    api = start(conf="[Limits]\nConnections=16\nConnectionsPerClient=16\nHeadMax=2K\nHeadSec=1s\nIdleSec=1s\n")
    assert api.get("/health", {"A": "x" * 1500}).status == 200
    r = api.get("/health", {"A": "x" * 2000})
    assert r.status == 431 and r.json["type"] == "urn:reeve:problem:head-too-large"
    half = socket.socket(socket.AF_UNIX)
    half.connect(api.path)
    half.sendall(b"GET /health HTTP/1.1\r\nHost: h\r\nA: ")
    idle = api.connect()
    assert idle.call("GET", "/health").status == 200
    for s in (half, idle.sock):
        s.settimeout(within(5))
        begin = time.monotonic()
        while s.recv(1000):
            pass
        assert time.monotonic() - begin < within(3)
        s.close()
    many = [socket.socket(socket.AF_UNIX) for _ in range(16)]
    for s in many:
        s.connect(api.path)
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(api.path)
        s.sendall(b"GET /health HTTP/1.1\r\nHost: h\r\n\r\n")
        s.settimeout(0.4)
        with pytest.raises(TimeoutError):
            s.recv(1)
        many.pop().close()
        s.settimeout(within(5))
        assert s.recv(12) == b"HTTP/1.1 200"
    for s in many:
        s.close()


def test_tcp_connections_have_no_delay(start):
    """The socket unit cannot say it: on its unix socket that fails, with a warning."""
    api = start(keep=True)
    assert api.tcp_socket.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY) == 1


def test_a_key_in_a_transaction_that_is_left_open_holds_up_nobody_else(api):
    """An application that calls reeve.enqueue() with a unique_key and does not commit. Who wants the same key is told to try again."""
    open_transaction = api.db.connect("postgres")
    open_transaction.cursor().execute("select reeve.enqueue('echo', '1', '{\"unique_key\": \"k\"}')")
    replies = []

    def ask(**fields):
        replies.append((fields, api.post("/api/jobs", {"kind": "echo", **fields})))
    waiting = [threading.Thread(target=ask, kwargs=fields) for fields in [{"unique_key": "k"}] * 3 + [{"payload": n} for n in range(20)]]
    for t in waiting:
        t.start()
    for t in waiting:
        t.join(within(30))
    held = [r for fields, r in replies if "unique_key" in fields]
    assert [r.status for r in held] == [503] * 3 and all(r.headers["Retry-After"] and "still open" in r.json["detail"] for r in held)
    assert [r.status for fields, r in replies if "payload" in fields] == [202] * 20
    assert api.get("/health").json["checks"]["database"] == "ok" and "The database is away" not in api.text()
    open_transaction.commit()
    assert api.post("/api/jobs", {"kind": "echo", "unique_key": "k"}).status == 200


def test_a_key_whose_transaction_is_slow_is_waited_for(api):
    """A commit that takes longer than lock_timeout (a disk that stalls, another API's group of creates) is no reason to refuse."""
    slow = api.db.connect("postgres")
    cursor, replies = slow.cursor(), []
    cursor.execute("select reeve.enqueue('echo', '1', '{\"unique_key\": \"k\"}')")
    cursor.execute("select max(id::text) from reeve.job")
    id = cursor.fetchone()[0]
    asking = threading.Thread(target=lambda: replies.append(api.post("/api/jobs", {"kind": "echo", "unique_key": "k"})))
    asking.start()
    for waits in (1, 0):   # until it has given up once
        wait_for(lambda: api.db.value("select count(*) from pg_stat_activity where usename = 'reeve_api' and wait_event_type = 'Lock'") == waits)
    slow.commit()
    asking.join(within(30))
    assert (replies[0].status, replies[0].json["id"]) == (200, id)


def test_a_cancel_in_a_transaction_that_is_left_open_holds_up_nobody_else(api):
    job = api.create()
    open_transaction = api.db.connect("postgres")
    open_transaction.cursor().execute("select reeve.cancel(%s)", (job["id"],))
    r = api.post(f"/api/jobs/{job['id']}/cancel")
    assert r.status == 503 and r.headers["Retry-After"]
    assert api.create()["state"] == "ready"
    open_transaction.rollback()
    assert api.post(f"/api/jobs/{job['id']}/cancel").status == 200


@pytest.mark.parametrize("fields,state", [({"delay": "1h"}, "scheduled"), ({}, "succeeded")])
def test_an_answer_that_was_lost_after_its_commit(api, server, database, fields, state):
    """The connection goes while the commit waits for a standby: the jobs are there, which the API asks before it answers. A worker
    may have done them by then."""
    replies = []
    later = threading.Thread(target=lambda: replies.append(api.post("/api/jobs", {"kind": "echo", **fields})))
    server.sql("alter role reeve_api connection limit 0")
    server.sql("alter system set synchronous_standby_names = 'nobody'")
    try:
        server.sql("select pg_reload_conf()")
        wait_for(lambda: database.value("show synchronous_standby_names") == "nobody", what="the setting")
        later.start()
        waits = "select max(pid) from pg_stat_activity where usename = 'reeve_api' and wait_event = 'SyncRep'"
        pid = wait_for(lambda: database.value(waits), what="a commit that waits")
        assert database.value("select pg_terminate_backend(%s, 60000)", pid)
    finally:
        server.sql("alter system reset synchronous_standby_names")
        server.sql("select pg_reload_conf()")
        wait_for(lambda: database.value("show synchronous_standby_names") == "", what="the setting")
        if state == "succeeded":
            api.end_job(database.value("select max(id::text) from reeve.job"))
        server.sql("alter role reeve_api connection limit -1")
    later.join(within(30))
    assert replies[0].status == 202 and replies[0].json["state"] == state, replies
    assert database.value("select count(*) from reeve.job") == 1


def test_two_on_one_socket_and_database(start, database):
    """As an upgrade by hand has it: whoever takes a connection serves it, a key makes one job, and one of them may go."""
    database.add_kind("echo")
    api = start(keep=True)
    first = api.process
    api.start()
    second = api.process
    answers = {}

    def ask(n):
        for _ in range(100):
            r = api.post("/api/jobs", {"kind": "echo", "payload": n // 2}, {"Idempotency-Key": f"k{n // 2}"}, timeout=60)
            if r.status not in (409, 503):  # in flight, in the one or in the other
                answers[n] = r.json["id"]
                return
            time.sleep(0.1)

    threads = [threading.Thread(target=ask, args=(n,)) for n in range(60)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(60)
    assert len(answers) == 60 and all(answers[n] == answers[n ^ 1] for n in answers)
    assert database.value("select count(*) from reeve.job") == 30
    assert first.poll() is None and second.poll() is None
    first.terminate()
    assert first.wait(60) == 0
    ask(100)
    assert database.value("select count(*) from reeve.job") == 31
    job = api.create()["id"]
    assert api.get(f"/api/jobs/{job}", timeout=60).json["state"] == "ready"
