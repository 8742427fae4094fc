"""The real reeve-worker and reeve-exec on a real PostgreSQL, without systemd: RunHost stands in for the generated socket
units and starts a launcher for each connection, as Accept=yes does. What needs cgroups is in tests/system."""
import contextlib
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

WORKER = BUILD / "src/worker/reeve-worker"
EXEC = BUILD / "src/exec/reeve-exec"


class RunHost:
    """Listens on DIR/KIND.sock and starts reeve-exec with the connection as standard input."""

    def __init__(self, directory):
        self.dir = directory
        self.launchers = []
        self.sockets = {}
        self.open = True

    def add(self, kind, program, stop="0.5s", timeout=None, max_runs=1, mode="exec", options=(), launcher=None):
        s = socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        s.bind(str(self.dir / f"{kind}.sock"))
        s.listen(64)
        args = [f"--stop-usec={int(float(stop.rstrip('s')) * 1e6)}", f"--max-runs={max_runs}", f"--mode={mode}", *options]
        if timeout:
            args.append(f"--timeout-usec={int(timeout * 1e6)}")
        self.sockets[kind] = s
        threading.Thread(target=self.serve, args=(kind, s, args, program, launcher or EXEC), daemon=True).start()

    def serve(self, kind, listener, args, program, launcher):
        n = 0
        while self.open:
            try:
                c, _ = listener.accept()
            except OSError:
                return
            n += 1
            env = {"PATH": "/usr/bin:/bin", "TMPDIR": str(self.dir.parent), "LC_ALL": "C"}
            env |= {k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}
            p = subprocess.Popen([launcher, f"--unit=reeve-run-{kind}@{n}.service", *args, "--", *program], stdin=c, env=env,
                                 stdout=subprocess.DEVNULL)
            c.close()
            self.launchers.append(p)

    def close(self):
        self.open = False
        for s in self.sockets.values():
            s.close()
        for p in self.launchers:
            if p.poll() is None:
                with contextlib.suppress(ProcessLookupError):
                    p.terminate()
        for p in self.launchers:
            with contextlib.suppress(subprocess.TimeoutExpired):
                p.wait(within(5))


class Notify:
    """systemd's end of NOTIFY_SOCKET: what the worker said, with times."""

    def __init__(self, path):
        self.path = path
        self.sock = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.sock.bind(str(path))
        self.said = []
        threading.Thread(target=self.read, daemon=True).start()

    def read(self):
        while True:
            try:
                data = self.sock.recv(8192)
            except OSError:
                return
            if not data:
                return
            self.said += [(time.monotonic(), line) for line in data.decode().split("\n") if line]

    def lines(self, prefix, since=0):
        return [(t, line) for t, line in self.said if line.startswith(prefix) and t >= since]

    @property
    def status(self):
        found = self.lines("STATUS=")
        return found[-1][1][7:] if found else ""


class World:
    """A configuration below a root, a blob store, a run host, and workers."""

    def __init__(self, db, directory):
        self.db = db
        self.dir = directory
        self.root = directory / "root"
        self.kinds = self.root / "etc/reeve/kinds"
        self.kinds.mkdir(parents=True)
        (self.root / "etc/reeve/pools").mkdir()
        self.blobs = directory / "blobs"
        self.blobs.mkdir()
        (directory / "run").mkdir()
        self.host = RunHost(directory / "run")
        self.workers = []
        self.config(db.conninfo)
        self.pool("default", slots=4)

    def config(self, conninfo, extra="HeartbeatSec=200ms\nLeaseSec=3s\n"):
        (self.root / "etc/reeve/reeve.conf").write_text(f"[Database]\nDatabase={conninfo}\nPrepared=yes\n[Worker]\n{extra}")

    def pool(self, name, slots, drain="10s", queues="*", more=""):
        (self.root / f"etc/reeve/pools/{name}.conf").write_text(f"[Pool]\nQueues={queues}\nSlots={slots}\nDrainSec={drain}\n{more}")

    def kind(self, name, *program, keys="", exec_keys="", **host):
        """A kind whose handler is this program; host: see RunHost.add()."""
        start = " ".join("'" + a.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'" for a in program)
        (self.kinds / f"{name}.kind").write_text(
            f"[Kind]\nRetrySec=100ms\nRetryMaxSec=1s\nStopSec=500ms\n{keys}\n[Exec]\nStart={start}\n{exec_keys}\n")
        self.host.add(name, list(program), **host)

    def sh(self, name, script, **kw):
        self.kind(name, "/bin/sh", "-c", script, **kw)

    def start(self, name="default", env=None, watchdog=None, wait=True, options=(), on=()):
        """on: a command before the worker's, which it becomes."""
        w = Worker(self, name, env or {}, watchdog, options, on)
        self.workers.append(w)
        if wait:
            wait_for(lambda: self.db.value("select count(*) from reeve.instance where stopped_at is null and name = %s", name),
                     what=f"worker {name} registered\n{w.text()}")
            wait_for(lambda: w.log_has("is instance"), what="worker knows it")
            wait_for(lambda: self.db.value("select count(*) from reeve.kind") >= len(list(self.kinds.glob("*.kind"))),
                     what="kinds published")
        return w

    def release(self, name="default", result="signal", code="killed", status="KILL", on=()):
        return subprocess.run([*on, WORKER, "--release", f"--root={self.root}", name], capture_output=True, text=True, timeout=within(20),
                              env=os.environ | {"SERVICE_RESULT": result, "EXIT_CODE": code, "EXIT_STATUS": status})

    def enqueue(self, kind, payload=None, **options):
        return self.db.value("select reeve.enqueue(%s, %s, %s)", kind, json.dumps(payload), json.dumps(options))

    def job(self, id):
        return self.db.value("select reeve.job_status(%s)", id)

    def wait(self, id, *states, timeout=20):
        states = states or ("succeeded", "failed", "cancelled")
        try:
            wait_for(lambda: self.db.value("select reeve.job_state(%s)", id) in states, timeout, f"job {id} in {states}")
        except AssertionError as e:
            logs = "\n".join(w.text()[-3000:] for w in self.workers)
            raise AssertionError(f"{e}; it is {self.job(id)}\n{logs}") from None
        return self.job(id)

    def run(self, kind, payload=None, timeout=20, **options):
        return self.wait(self.enqueue(kind, payload, **options), timeout=timeout)

    def history(self, id):
        rows = self.db.sql("select event, from_state, to_state, cause, error_code, actor, reason from reeve.history "
                           "where job = %s order by id", id)
        return [dict(zip(("event", "from", "to", "cause", "code", "actor", "reason"), r)) for r in rows]

    def check_invariant(self):
        """Every job is in exactly one place."""
        bad = self.db.sql("""select j.id, (select count(*) from reeve.ready x where x.job = j.id)
            + (select count(*) from reeve.scheduled x where x.job = j.id) + (select count(*) from reeve.blocked x where x.job = j.id)
            + (select count(*) from reeve.waiting x where x.job = j.id) + (select count(*) from reeve.lease x where x.job = j.id)
            + (select count(*) from reeve.done x where x.job = j.id) as n from reeve.job j""")
        assert [r for r in bad if r[1] != 1] == []

    def close(self):
        try:
            for w in self.workers:
                w.close()
        finally:
            self.host.close()
        for w in self.workers:
            text = w.text()
            assert "Sanitizer" not in text and "runtime error" not in text, text[-5000:]


class Worker:
    def __init__(self, world, name, env, watchdog, options=(), on=()):
        self.world = world
        self.log = world.dir / f"{name.replace(':', '_')}-{len(world.workers)}.log"
        self.notify = Notify(world.dir / f"n{len(world.workers)}")
        env = os.environ | {"NOTIFY_SOCKET": str(self.notify.path), "REEVE_LOG_LEVEL": "debug"} | env
        argv = [*on, str(WORKER), f"--root={world.root}", f"--run-directory={world.dir}/run", f"--blobs={world.blobs}", *options, name]
        if watchdog:
            env["WATCHDOG_USEC"] = str(int(watchdog * 1e6))
        with open(self.log, "wb") as f:
            self.process = subprocess.Popen(argv, stderr=f, stdout=f, env=env)
        wait_for(lambda: self.notify.lines("READY=1") or self.process.poll() is not None, what="READY=1")

    @property
    def pid(self):
        return self.process.pid

    def text(self):
        return self.log.read_text(errors="replace")

    def log_has(self, text):
        return text in self.text()

    def kill9(self):
        self.process.kill()
        self.process.wait(within(10))

    def stop(self, timeout=30):
        """SIGTERM and a clean end."""
        self.process.send_signal(signal.SIGTERM)
        assert self.process.wait(within(timeout)) == 0, self.text()[-4000:]

    def close(self):
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGCONT)
            self.process.terminate()
            self.process.terminate()
            try:
                self.process.wait(within(15))
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait(within(5))
                raise AssertionError(f"the worker did not end: {self.text()[-4000:]}") from None
        self.notify.sock.close()


@pytest.fixture
def world(database):
    directory = pathlib.Path(tempfile.mkdtemp(prefix="rw", dir="/tmp"))
    w = World(database, directory)
    try:
        yield w
    finally:
        try:
            w.close()
        finally:
            shutil.rmtree(directory, ignore_errors=True)
