"""A throw-away PostgreSQL for tests on a real server.

server      (session)  the cluster: Server
database    (each test) a fresh database with Reeve's migrations applied by the real reeve-migrate: Database
empty       (each test) a fresh database without the schema
bouncer     (session)  PgBouncer in transaction mode before the cluster
REEVE_BUILD names the build directory (default build). Roles are those of bootstrap.sql, trusted on the socket.
"""
import contextlib
import os
import pathlib
import pwd
import shutil
import signal
import subprocess
import tempfile
import time

import psycopg2
import pytest
from patience import within

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
BUILD = pathlib.Path(os.environ.get("REEVE_BUILD", ROOT / "build")).resolve()
MIGRATIONS = ROOT / "migrations"
MIGRATE = BUILD / "src/migrate/reeve-migrate"
SUPERUSER = "postgres"


def find_bin():
    found = sorted(pathlib.Path("/usr/lib/postgresql").glob("*/bin/postgres"), key=lambda p: int(p.parts[4]))
    if not found:
        pytest.exit("no PostgreSQL server is installed: tools/deps test", returncode=1)
    return found[-1].parent


def wait_for(condition, timeout=20.0, what="condition", step=0.02):
    """Calls until it returns something true; that is the result."""
    end = time.monotonic() + within(timeout)
    while True:
        result = condition()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"{what}: not within {timeout} s")
        time.sleep(step)


class Server:
    """The cluster. dir is the socket directory as well; it is short, for a socket's path has at most 107 bytes."""

    def __init__(self):
        self.bin = find_bin()
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="rpg", dir="/tmp"))
        self.data = self.dir / "d"
        self.log = self.dir / "log"
        self.process = None
        self._n = 0
        if os.geteuid() == 0:
            p = pwd.getpwnam("postgres")
            os.chown(self.dir, p.pw_uid, p.pw_gid)
            self.as_user = ["setpriv", "--reuid=postgres", "--regid=postgres", "--init-groups", "--"]
        else:
            self.as_user = []
        os.chmod(self.dir, 0o755)

    # ---- life

    def init(self):
        self.run([self.bin / "initdb", "-D", self.data, "-U", SUPERUSER, "--locale=C", "-E", "UTF8", "-k", "-A", "trust", "-N",
                  "--no-instructions"])
        settings = {
            "listen_addresses": "''", "unix_socket_directories": f"'{self.dir}'", "max_connections": 200, "shared_buffers": "'64MB'",
            "max_prepared_transactions": 4, "log_line_prefix": "'%m %p %u '", "lc_messages": "C", "autovacuum_naptime": "'10s'",
            "max_wal_senders": 4, "wal_level": "replica", "log_min_messages": "warning",
            # Durability is what is promised, so it is what is tested; only the first write of all is left out (-N above).
            "fsync": "on", "max_wal_size": "'256MB'",
        }
        with open(self.data / "postgresql.conf", "a", encoding="utf-8") as f:
            for key, value in settings.items():
                f.write(f"{key} = {value}\n")

    def run(self, argv, **kw):
        r = subprocess.run(self.as_user + [str(a) for a in argv], capture_output=True, text=True, cwd="/", **kw)
        assert r.returncode == 0, f"{argv}: {r.stdout}{r.stderr}"
        return r.stdout

    def start(self):
        assert not self.process or self.process.poll() is not None, "it runs already"
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(self.as_user + [str(self.bin / "postgres"), "-D", str(self.data)], stdout=log,
                                            stderr=log, stdin=subprocess.DEVNULL, cwd="/")
        wait_for(self.answers, 30, f"PostgreSQL in {self.dir} (see {self.log})")

    def answers(self):
        if self.process.poll() is not None:
            raise AssertionError("PostgreSQL ended: " + self.log.read_text(errors="replace")[-2000:])
        try:
            psycopg2.connect(host=str(self.dir), user=SUPERUSER, dbname="postgres", connect_timeout=2).close()
            return True
        except psycopg2.OperationalError:
            return False

    @property
    def pid(self):
        """The postmaster's."""
        return int((self.data / "postmaster.pid").read_text().split("\n")[0])

    def stop(self, how=signal.SIGINT):
        if self.process and self.process.poll() is None:
            os.kill(self.pid, how)
            self.process.wait(within(30))
        self.process = None

    def restart(self):
        self.stop()
        self.start()

    def kill9(self, start=True):
        """As when the machine's kernel ends it: every process of it at once, the socket's lock file stays behind."""
        pid = self.pid
        children = [int(c) for c in pathlib.Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]
        for p in [pid] + children:
            with contextlib.suppress(ProcessLookupError):
                os.kill(p, signal.SIGKILL)
        self.process.wait(within(30))
        wait_for(lambda: not any(pathlib.Path(f"/proc/{c}").exists() for c in children), 10, "backends have gone")
        if start:
            self.start()

    def remove(self):
        try:
            self.stop()
        finally:
            shutil.rmtree(self.dir, ignore_errors=True)

    # ---- use

    def psql(self, file, database="postgres", **variables):
        args = [a for k, v in variables.items() for a in ("-v", f"{k}={v}")]
        with open(file, "rb") as f:
            return self.run([self.bin / "psql", "-X", "-q", "-v", "ON_ERROR_STOP=1", *args, "-h", self.dir, "-U", SUPERUSER,
                             "-d", database], stdin=f)

    def connect(self, role=SUPERUSER, dbname="postgres", **kw):
        kw.setdefault("connect_timeout", 10)
        return psycopg2.connect(host=str(self.dir), user=role, dbname=dbname, **kw)

    def sql(self, text, *args, role=SUPERUSER, dbname="postgres"):
        c = self.connect(role, dbname)
        c.autocommit = True
        try:
            with c.cursor() as cur:
                cur.execute(text, args or None)
                return cur.fetchall() if cur.description else None
        finally:
            c.close()

    def create(self, template="template0"):
        self._n += 1
        name = f"t{self._n}"
        self.sql(f"create database {name} owner reeve_owner template {template} encoding 'UTF8' lc_collate 'C' lc_ctype 'C'")
        self.sql(f"grant create, connect, temporary on database {name} to reeve_owner;"
                 f"grant connect on database {name} to reeve_api, reeve_worker, reeve_submit")
        return Database(self, name)

    def drop(self, name):
        self.sql(f"drop database if exists {name} with (force)")

    def stop_backend(self, pid):
        """SIGSTOP to a backend (pg_backend_pid()); a context manager that lets it go on."""
        return stopped(pid)


@contextlib.contextmanager
def stopped(pid):
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)


class Database:
    """One database of the cluster. Connections made here are closed at the end of the test."""

    def __init__(self, server, name):
        self.server = server
        self.name = name
        self.conninfo = f"host={server.dir} dbname={name}"
        self.migrations = MIGRATIONS
        self._open = []

    def connect(self, role="reeve_owner", autocommit=False, **kw):
        c = self.server.connect(role, self.name, **kw)
        c.autocommit = autocommit
        self._open.append(c)
        return c

    def sql(self, text, *args, role=SUPERUSER):
        """Runs one text in its own connection and transaction; rows, or None."""
        return self.server.sql(text, *args, role=role, dbname=self.name)

    def value(self, text, *args, role=SUPERUSER):
        return self.sql(text, *args, role=role)[0][0]

    def migrate(self, *args, directory=None, check=True, **kw):
        """Runs reeve-migrate on this database."""
        r = run_migrate(*args, f"--database={self.conninfo}", f"--directory={directory or self.migrations}", **kw)
        if check:
            assert r.returncode == 0, r.stdout + r.stderr
        return r

    def add_kind(self, name="echo", **kw):
        """Publishes a kind as a worker does; enqueue refuses unknown ones."""
        row = {"name": name, "queue": "default", "timeout_usec": 60_000_000, "stop_usec": 5_000_000, "hash": "0"} | kw
        self.sql(f"insert into reeve.kind ({', '.join(row)}) values ({', '.join(['%s'] * len(row))})", *row.values())

    def dump(self):
        """The schema as text, without what changes from dump to dump."""
        text = self.server.run([self.server.bin / "pg_dump", "-h", self.server.dir, "-U", SUPERUSER, "--schema-only", self.name])
        return "\n".join(line for line in text.splitlines() if not line.startswith(("\\restrict", "\\unrestrict")))

    def close(self):
        for c in self._open:
            with contextlib.suppress(psycopg2.Error):
                c.close()


class Bouncer:
    """PgBouncer in transaction mode in front of the cluster."""

    def __init__(self, server):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="rpb", dir="/tmp"))
        self.config = self.dir / "pgbouncer.ini"
        (self.dir / "users").write_text("".join(f'"{r}" ""\n' for r in (SUPERUSER, "reeve_owner", "reeve_api", "reeve_worker")))
        self.config.write_text(f"""[databases]
* = host={server.dir}
[pgbouncer]
listen_port = 6432
unix_socket_dir = {self.dir}
auth_type = trust
auth_file = {self.dir}/users
pool_mode = transaction
default_pool_size = 20
logfile = {self.dir}/log
""")
        if os.geteuid() == 0:
            p = pwd.getpwnam("postgres")
            for f in (self.dir, self.config, self.dir / "users"):
                os.chown(f, p.pw_uid, p.pw_gid)
        self.process = subprocess.Popen(server.as_user + ["/usr/sbin/pgbouncer", "-q", str(self.config)], stdin=subprocess.DEVNULL,
                                        cwd="/")
        wait_for(lambda: (self.dir / ".s.PGSQL.6432").exists(), 10, "PgBouncer")

    def conninfo(self, database):
        return f"host={self.dir} port=6432 dbname={database.name}"

    def remove(self):
        self.process.terminate()
        self.process.wait(within(10))
        shutil.rmtree(self.dir, ignore_errors=True)


def run_migrate(*args, timeout=60, env=None, **kw):
    return subprocess.run([str(MIGRATE), *map(str, args)], capture_output=True, text=True, timeout=within(timeout),
                          env=os.environ | {"LC_ALL": "C"} | (env or {}), **kw)


@pytest.fixture(scope="session")
def server():
    s = Server()
    try:
        s.init()
        s.start()
        s.psql(MIGRATIONS / "bootstrap.sql")
        yield s
    finally:
        s.remove()


@pytest.fixture(scope="session")
def template(server):
    """The migrated database that others are copies of."""
    d = server.create()
    d.migrate("up")
    return d.name


@pytest.fixture(scope="session")
def bouncer(server):
    b = Bouncer(server)
    yield b
    b.remove()


@pytest.fixture
def database(server, template):
    d = server.create(template)
    yield d
    d.close()
    server.drop(d.name)


@pytest.fixture
def empty(server):
    d = server.create()
    yield d
    d.close()
    server.drop(d.name)


def pytest_configure(config):
    config.addinivalue_line("markers", "sql: of the schema alone, so a sanitized build of the programs shows nothing new")
