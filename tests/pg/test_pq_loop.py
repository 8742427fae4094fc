"""pq-loop against real servers, with faults that are caused: killed and stopped backends, restarts, a server that is not there,
PgBouncer. tests/pq has the same code against a script. Each test also holds the loop to never blocking."""
import os
import pathlib
import pwd
import queue as queues
import re
import signal
import subprocess
import threading
import time

import pytest

from conftest import BUILD, stopped, wait_for
from patience import within

PROGRAM = BUILD / "tests/pq/pq-real"
LONGEST_USEC = within(50_000 if "clang" not in BUILD.name else 150_000)  # the sanitizers' build is slower


class Program:
    """pq-real; its lines come as they are told."""

    def __init__(self, conninfo, *args, named=False, deadline=15000, listen=None):
        env = os.environ | ({"PQ_REAL_LISTEN": listen} if listen else {})
        self.p = subprocess.Popen([PROGRAM, conninfo, "named" if named else "unnamed", str(deadline), *map(str, args)],
                                  stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=env)
        self.lines = queues.Queue()
        self.seen = []
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for line in self.p.stdout:
            self.lines.put(line.strip())
        self.lines.put(None)

    def until(self, what, timeout=15):
        """The next line that begins so; those before it are in seen."""
        end = time.monotonic() + within(timeout)
        while True:
            try:
                line = self.lines.get(timeout=max(0.01, end - time.monotonic()))
            except queues.Empty:
                raise AssertionError(f"no '{what}' within {timeout} s, but {self.seen[-20:]}") from None
            if line is None:
                raise AssertionError(f"no '{what}' but the end: {self.seen[-20:]} {self.p.stderr.read()}")
            self.seen.append(line)
            if line.startswith(what):
                return line

    def end(self, timeout=60):
        """Ends it and checks what it is to keep whatever happens. Returns the sum."""
        self.p.stdin.close()
        line = self.until("sum", timeout)
        assert self.p.wait(within(20)) == 0, self.p.stderr.read()
        total = {k: int(v) for k, v in re.findall(r"(\w+)=(\d+)", line)}
        assert total["wrong"] == 0, total
        assert total["longest"] < LONGEST_USEC, f"the loop was blocked for {total['longest']} us"
        return total


@pytest.fixture
def program(server):
    made = []

    def make(*args, conninfo=f"host={server.dir} dbname=postgres user=postgres", **kw):
        made.append(Program(conninfo, *args, **kw))
        return made[-1]
    yield make
    for m in made:
        if m.p.poll() is None:
            m.p.kill()
            m.p.wait()


def backend(server):
    return wait_for(lambda: [r[0] for r in server.sql("select pid from pg_stat_activity where application_name = 'pq-real'")], 10,
                    "its backend")[0]


@pytest.mark.parametrize("named", [False, True])
def test_ten_thousand_requests_with_cancels(program, named):
    total = program("run", 10000, 30, named=named).end()
    assert total["sent"] == 10000 and total["lost"] == 0
    assert total["right"] + total["cancelled"] == 10000 and total["cancelled"] > 500


def test_a_terminated_backend(server, program):
    p = program("poll", 5, named=True)
    p.until("ok")
    server.sql("select pg_terminate_backend(%s)", backend(server))
    p.until("down")
    p.until("up", 2)
    p.until("ok")
    p.end()


def test_a_killed_backend(server, program):
    """SIGKILL to one makes the server end them all and recover."""
    p = program("poll", 5)
    p.until("ok")
    os.kill(backend(server), signal.SIGKILL)
    p.until("down")
    p.until("up", 20)
    p.until("ok")
    p.end()
    wait_for(server.answers, 20, "the server")


def test_a_restarted_server(server, program):
    p = program("poll", 5, named=True)
    p.until("ok")
    server.restart()
    p.until("down")
    p.until("up", 5)
    p.until("ok")
    p.end()


def test_a_server_that_comes_later(server, program):
    server.stop()
    try:
        p = program("poll", 5)
        p.until("down")
        for _ in range(3):
            p.until("down", 2)  # tried again and again, at most 0.4 s apart
    finally:
        server.start()
    p.until("up", 2)
    p.until("ok")
    p.end()


def test_a_stopped_backend_is_an_overrun(server, program):
    p = program("poll", 5, deadline=300)
    p.until("ok")
    pid = backend(server)
    with stopped(pid):
        t0 = time.monotonic()
        p.until("late")
        assert 0.1 < time.monotonic() - t0 < within(2)
        p.until("down the database did not answer in time")
        p.until("up")  # with another backend
        p.until("ok")
    p.end()


def test_a_stopped_postmaster_is_an_attempt_that_ends(server, program):
    with stopped(server.pid):
        p = program("poll", 5, conninfo=f"host={server.dir} dbname=postgres user=postgres")
        p.until("down no connection to the database in time", 8)
    p.until("up", 8)
    p.end()


def test_notifications(server, program):
    p = program("poll", 60000, listen="reeve_test", named=True)
    p.until("up")
    p.until("notify")  # what may have been missed
    wait_for(lambda: server.sql("select 1 from pg_stat_activity where application_name = 'pq-real' and state = 'idle'"), 5, "idle")
    server.sql("notify reeve_test")
    p.until("notify")
    p.end()


@pytest.fixture
def pgbouncer(server):
    """Debian's 1.18 in transaction mode, with fewer server connections than clients."""
    if not pathlib.Path("/usr/sbin/pgbouncer").exists():
        pytest.fail("pgbouncer is not installed: tools/deps test")
    d = server.dir / "pgb"
    d.mkdir()
    (d / "users").write_text('"postgres" ""\n')
    (d / "ini").write_text(f"""[databases]
* = host={server.dir}
[pgbouncer]
listen_addr =
unix_socket_dir = {d}
listen_port = 6432
auth_type = trust
auth_file = {d}/users
pool_mode = transaction
default_pool_size = 2
ignore_startup_parameters = extra_float_digits
""")
    if os.geteuid() == 0:
        for f in (d, d / "ini", d / "users"):
            os.chown(f, pwd.getpwnam("postgres").pw_uid, -1)
    with open(d / "log", "wb") as log:
        p = subprocess.Popen(server.as_user + ["/usr/sbin/pgbouncer", str(d / "ini")], stdout=log, stderr=log, cwd="/")
    wait_for((d / ".s.PGSQL.6432").exists, 10, "PgBouncer")
    yield f"host={d} port=6432 dbname=postgres user=postgres"
    p.terminate()
    p.wait(within(10))


def test_pgbouncer_in_transaction_mode_with_unnamed_statements(program, pgbouncer):
    programs = [program("run", 3000, 20, conninfo=pgbouncer) for _ in range(4)]
    for p in programs:
        total = p.end()
        assert total["lost"] == 0 and total["right"] + total["cancelled"] == 3000
