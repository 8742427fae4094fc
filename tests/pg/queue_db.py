"""The queue's statements as a worker runs them: the files of src/store/sql, prepared by their names, every parameter a text.

queue (each test)  a Queue on a fresh database with the kinds "echo" and "slow"
"""
import json
import pathlib
import re
import uuid

import pytest
from patience import within

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
FILES = {p.stem: p for p in sorted((ROOT / "src/store/sql").glob("*.sql"))}
TABLES = ("ready", "scheduled", "blocked", "waiting", "lease", "done")
FIRST = -(2**63)


def statement(name):
    """The text of one file without its comments."""
    return re.sub(r"^\s*--.*$", "", FILES[name].read_text(), flags=re.M).strip()


def text(value):
    """A value as libpq sends it."""
    if value is None:
        return None
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, (list, tuple)):
        return "{" + ",".join("NULL" if v is None else '"' + text(v).replace("\\", "\\\\").replace('"', '\\"') + '"'
                              for v in value) + "}"
    if isinstance(value, dict):
        return json.dumps(value)
    return str(value)


class Session:
    """One connection. Statements return lists of dicts."""

    def __init__(self, db, role="reeve_worker", autocommit=True):
        self.conn = db.connect(role, autocommit=autocommit)
        self.prepared = set()
        if role == "reeve_worker":
            # Half a second by bootstrap.sql, after which a worker tries again. Here a session waits on purpose while others come.
            with self.conn.cursor() as cur:
                cur.execute(f"set lock_timeout = '{within(20)}s'")
            if not autocommit:
                self.conn.commit()

    def sql(self, query, *args):
        with self.conn.cursor() as cur:
            cur.execute(query, args or None)
            if not cur.description:
                return cur.rowcount
            names = [d[0] for d in cur.description]
            return [dict(zip(names, row)) for row in cur.fetchall()]

    def value(self, query, *args):
        rows = self.sql(query, *args)
        return next(iter(rows[0].values())) if rows else None

    def execution(self, name, args):
        """EXECUTE with the arguments as literals, for run() and for EXPLAIN."""
        if name not in self.prepared:
            self.sql(f'prepare "{name}" as {statement(name)}')
            self.prepared.add(name)
        if not args:
            return f'execute "{name}"'
        with self.conn.cursor() as cur:
            return cur.mogrify(f'execute "{name}" ({", ".join(["%s"] * len(args))})', [text(a) for a in args]).decode()

    def run(self, name, *args):
        return self.sql(self.execution(name, args))

    def commit(self):
        self.conn.commit()

    def rollback(self):
        self.conn.rollback()

    @property
    def pid(self):
        return self.conn.info.backend_pid

    # ---- the statements with the arguments that matter

    def register(self, name="default", host="h1", kinds=("echo", "slow"), queues=("*",), gone=()):
        """gone: (instance, beat) of predecessors. The new id, or None if others of its name are left."""
        row = self.run("register-instance", host, name, "boot", 1, "0", 1, list(kinds), list(queues), 10, None, None,
                       [g[0] for g in gone], [g[1] for g in gone])[0]
        return row["id"] if row["made"] else None

    def lanes(self, known=(), most=500):
        return self.run("find-lanes", sorted(known), most)

    def claim(self, n=1, instance=1, lanes=None, kinds=("echo", "slow"), lease=None, puller=None):
        """lanes: [(lane, cursor, priority)]; None: all there are, from the start."""
        if lanes is None:
            lanes = [(r["lane"], FIRST, r["priority"]) for r in self.sql(
                "select distinct r.lane, j.priority from reeve.ready r join reeve.job j on j.id = r.job order by 2 desc, 1")]
        return self.run("claim-jobs", [x[0] for x in lanes], [x[1] for x in lanes], [x[2] for x in lanes], n, instance,
                        list(kinds), lease, puller)

    def claim_limited(self, n=1, instance=1, lanes=None, kinds=("echo", "slow"), lease=None, puller=None):
        """As claim(), by the statement for kinds that may have limits."""
        if lanes is None:
            lanes = [(r["lane"], FIRST, r["priority"]) for r in self.sql(
                "select distinct r.lane, j.priority from reeve.ready r join reeve.job j on j.id = r.job order by 2 desc, 1")]
        return self.run("claim-limited-jobs", [x[0] for x in lanes], [x[1] for x in lanes], [x[2] for x in lanes], n, instance,
                        list(kinds), lease, puller)

    def end(self, *runs, state="succeeded", cause="exit", interrupted=False, delay=0, host="h1", **fields):
        """runs: rows of claim(), or (run_id, run_key). Returns the run ids that were ended."""
        runs = [(r["run_id"], r["run_key"]) if isinstance(r, dict) else r for r in runs]
        n = len(runs)

        def each(value):
            return value if isinstance(value, list) else [value] * n
        f = dict.fromkeys(("exit_status", "exit_signal", "error_code", "error_message", "result", "result_blob", "cpu_usec",
                           "max_rss", "unit", "log")) | fields
        rows = self.run("end-runs", [r[0] for r in runs], [r[1] for r in runs], each(state), each(cause),
                        each(f["exit_status"]), each(f["exit_signal"]), each(f["error_code"]), each(f["error_message"]),
                        each(f["result"]), each(f["result_blob"]), each(delay), each(f["cpu_usec"]), each(f["max_rss"]),
                        each(f["unit"]), each(f["log"]), each(interrupted), host, "test")
        return {r["run_id"] for r in rows}

    def spawn(self, run, children, at_once=None, progress=(None, None)):
        run_id, run_key = (run["run_id"], run["run_key"]) if isinstance(run, dict) else run
        return self.run("spawn-children", run_id, run_key, json.dumps(children), "test", at_once, *progress)[0]["n"]

    def promote(self, most=100, back=-1):
        return self.run("promote-due", most, back)[0]

    def enqueue(self, *jobs):
        """Rows of enqueue_batch(); a job is a dict, kind echo unless it says so."""
        batch = [{"kind": "echo"} | j for j in jobs or ({},)]
        return self.sql("select * from reeve.enqueue_batch(%s)", json.dumps(batch, default=str))

    def add(self, **job):
        row = self.enqueue(job)[0]
        assert row["outcome"] == "created", row
        return row["job"]

    def cancel(self, job, reason=None):
        return self.value("select reeve.cancel_job(%s, 'test', %s)", job, reason)


class Control(Session):
    """A session of reeved's: who changes flags and queues."""

    def __init__(self, db, autocommit=True):
        super().__init__(db, "reeve_owner", autocommit)

    def create(self, key="async", most=1000, **kw):
        f = {"description": None, "enabled": False, "percent": 0, "bucketing": "murmur3", "seed": None, "allow": [], "rules": "[]",
             "value_on": "true", "value_off": "false", "on_stale": "off"} | kw
        rows = self.run("create-flag", key, f["description"], f["enabled"], f["percent"], f["bucketing"], f["seed"], f["allow"],
                        f["rules"], f["value_on"], f["value_off"], f["on_stale"], "uid:1000", most, "a test")
        return rows[0]["version"] if rows else 0

    def change(self, statement, key, *value, reason="because"):
        rows = self.run(statement, key, *value, "uid:0", reason)
        assert len(rows) <= 1
        return next(iter(rows[0].values())) if rows else 0

    def flag(self, key="async"):
        rows = self.run("list-flags", key)
        return rows[0] if rows else None

    def history(self, key="async", most=100):
        return json.loads(self.run("list-flag-history", key, most)[0]["history"])


class Queue:
    def __init__(self, db):
        self.db = db
        self.root = Session(db, "postgres")
        for kind in ("echo", "slow"):
            db.add_kind(kind)
        self.worker = Session(db)
        self.instance = self.worker.register()

    def session(self, autocommit=True, role="reeve_worker"):
        return Session(self.db, role, autocommit)

    def state(self, job):
        return self.root.value("select reeve.job_state(%s)", job)

    def fill(self, n, table="ready", **job):
        """n jobs made in one go. table done: they have succeeded; scheduled: from run_at (an interval) on within a day."""
        j = {"kind": "echo", "priority": 5, "tenant": "default", "run_at": "1 hour"} | job
        self.root.sql("""
            with j as (
                insert into reeve.job (kind, queue, priority, tenant, payload, max_attempts, max_interruptions, timeout_usec)
                select %s, 'default', %s, %s, '{"n": 1}', 3, 5, 1000000 from generate_series(1, %s) returning *
            ), d as (
                insert into reeve.done (job, state, cause) select id, 'succeeded', 'exit' from j where %s = 'done'
            ), s as (
                insert into reeve.scheduled (job, run_at, lane)
                select id, now() + %s::interval + random() * interval '1 day',
                    reeve.lane(queue, kind, tenant, priority) from j where %s = 'scheduled'
            )
            insert into reeve.ready (job, lane) select id, reeve.lane(queue, kind, tenant, priority) from j where %s = 'ready'
            """, j["kind"], j["priority"], j["tenant"], n, table, j["run_at"], table, table)

    def lane(self, kind="echo", tenant="default", priority=5, queue="default"):
        return self.root.value("select reeve.lane(%s, %s, %s, %s::smallint)", queue, kind, tenant, priority)

    def limit(self, kind, most, *key):
        """Concurrency= and ConcurrencyKey= of a kind, as its next publication says them."""
        self.root.sql("update reeve.kind set concurrency = %s, concurrency_key = %s where name = %s", most, list(key) or None, kind)

    def rate(self, kind, n, seconds=1.0, *key, burst=1):
        """RateLimit=, RateLimitKey= and RateBurst=."""
        self.root.sql("update reeve.kind set rate_n = %s, rate_usec = %s, rate_burst = %s, rate_key = %s where name = %s", n,
                      n and int(seconds * 1e6), n and burst, list(key) or None, kind)

    def unblock(self):
        """What workers do every second. Returns how many are ready now."""
        return self.worker.run("unblock-next", "", 1000)[0]["n"]

    def block(self, job):
        """By hand, by something that has no limit."""
        self.root.sql("""with r as (delete from reeve.ready where job = %s returning *)
            insert into reeve.blocked (job, token, lane, attempt, interruptions, flags)
            select job, 'key', lane, attempt, interruptions, flags from r""", job)

    def dump(self):
        """All that says where jobs are and what happened to them."""
        return {t: self.root.value(f"select coalesce(jsonb_agg(to_jsonb(t) order by to_jsonb(t)), '[]') from reeve.{t} t")
                for t in TABLES + ("job", "history", "key", "cancel_request")}

    def check(self):
        """The invariant: every job in exactly one place, parents wait for as many as live, keys with the living."""
        everywhere = " union all ".join(f"select job, '{t}' as place from reeve.{t}" for t in TABLES)
        wrong = self.root.sql(f"""select coalesce(j.id, p.job) as job, array_agg(p.place) as places
            from reeve.job j full join ({everywhere}) p on p.job = j.id
            group by 1 having count(p.place) <> 1 or count(j.id) <> 1""")
        assert not wrong, wrong
        wrong = self.root.sql("""select w.job, w.pending, n.alive from reeve.waiting w, lateral (
            select count(*) as alive from reeve.job j where j.parent = w.job
                and not exists (select from reeve.done d where d.job = j.id)) n where n.alive <> w.pending""")
        assert not wrong, wrong
        wrong = self.root.sql("""select k.* from reeve.key k join reeve.done d on d.job = k.job where k.scope = 'unique'""")
        assert not wrong, wrong
        wrong = self.root.sql("""select j.id from reeve.job j where j.unique_key is not null
            and not exists (select from reeve.done d where d.job = j.id)
            and not exists (select from reeve.key k where k.job = j.id)""")
        assert not wrong, wrong


@pytest.fixture
def queue(database):
    return Queue(database)


def new_id():
    return str(uuid.uuid4())
