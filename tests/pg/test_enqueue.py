"""The public SQL functions, as an application calls them: in its own transaction, with its own role."""
import json
import threading
import time
import uuid

import psycopg2
import psycopg2.extras
import pytest

from conftest import MIGRATIONS, wait_for
from patience import within

pytestmark = pytest.mark.sql


@pytest.fixture
def app(database):
    """A database with two kinds, and a connection of an application's own role, which is granted reeve_submit."""
    database.sql("do $$ begin if not exists (select from pg_roles where rolname = 'app') then create role app login in role"
                 " reeve_submit; end if; end $$")
    database.add_kind("echo", queue="default", priority=5, max_attempts=3)
    database.add_kind("pdf", queue="documents", priority=7, max_attempts=2)
    return database


def call(cur, kind, payload=None, **options):
    cur.execute("select reeve.enqueue(%s, %s, %s)", (kind, json.dumps(payload), json.dumps(options)))
    return cur.fetchone()[0]


def enqueue(db, kind="echo", payload=None, role="app", **options):
    """In a transaction of its own."""
    c = db.connect(role)
    try:
        with c, c.cursor() as cur:
            return call(cur, kind, payload, **options)
    finally:
        c.close()


def job(db, job_id):
    rows = db.sql("select to_jsonb(j) from reeve.job j where id = %s", job_id)
    return rows[0][0] if rows else None


def status(db, job_id, role="app"):
    return db.value("select reeve.job_status(%s)", job_id, role=role)


def n_rows(db):
    """Of every table that a job has a row in."""
    return db.sql("select (select count(*) from reeve.job), (select count(*) from reeve.ready), (select count(*) from reeve.scheduled),"
                  " (select count(*) from reeve.key), (select count(*) from reeve.history)")[0]


# ---- the caller's transaction


def test_rollback_leaves_no_job(app):
    c = app.connect("app")
    with c.cursor() as cur:
        cur.execute("create temp table orders (id int)")
        cur.execute("insert into orders values (1)")
        job_id = call(cur, "echo", {"order": 1}, unique_key="order-1")
        assert uuid.UUID(job_id).version == 7
        cur.execute("select reeve.job_status(%s)", (job_id,))
        assert cur.fetchone()[0]["state"] == "ready"  # inside, it is there
    c.rollback()
    assert n_rows(app) == (0, 0, 0, 0, 0)
    assert status(app, job_id) is None


def test_commit_makes_the_job(app):
    c = app.connect("app")
    with c.cursor() as cur:
        job_id = call(cur, "echo", {"order": 1})
        assert status(app, job_id) is None  # nobody else sees it before the commit
    c.commit()
    s = status(app, job_id)
    assert (s["state"], s["kind"], s["queue"], s["priority"], s["max_attempts"], s["tenant"]) == ("ready", "echo", "default", 5, 3,
                                                                                                  "default")
    j = job(app, job_id)
    assert j["payload"] == {"order": 1} and j["created_by"] == "app"
    assert n_rows(app)[:2] == (1, 1)


def test_savepoint_that_is_undone_takes_only_its_job(app):
    c = app.connect("app")
    with c.cursor() as cur:
        first = call(cur, "echo")
        cur.execute("savepoint s")
        second = call(cur, "echo", unique_key="x")
        cur.execute("rollback to s")
        third = call(cur, "echo", unique_key="x")
    c.commit()
    assert status(app, second) is None
    assert {status(app, first)["state"], status(app, third)["state"]} == {"ready"}


def test_connection_that_breaks_before_the_commit(app):
    c = app.connect("app")
    with c.cursor() as cur:
        call(cur, "echo")
    app.sql("select pg_terminate_backend(%s)", c.info.backend_pid)
    with pytest.raises(psycopg2.Error):
        c.commit()
    assert n_rows(app)[0] == 0


# ---- options


def test_every_option(app):
    deadline = app.value("select to_char(now() + interval '1 day', 'YYYY-MM-DD\"T\"HH24:MI:SSOF')")
    job_id = enqueue(app, "pdf", [1, None, "ü"], queue="slow", priority=9, tenant="acme", subject=4711, delay="1 hour",
                     deadline=deadline, max_attempts=10, timeout="90 seconds", unique_key="k")
    j = job(app, job_id)
    assert (j["queue"], j["priority"], j["tenant"], j["subject"], j["max_attempts"], j["timeout_usec"], j["unique_key"]) == (
        "slow", 9, "acme", "4711", 10, 90_000_000, "k")
    assert j["payload"] == [1, None, "ü"] and j["deadline"] is not None
    s = status(app, job_id)
    assert s["state"] == "scheduled"
    assert app.value("select run_at - now() between interval '59 min' and interval '1 h' from reeve.scheduled")
    assert app.value("select scope || ':' || name from reeve.key where tenant = 'acme'") == "unique:pdf:k"


def test_defaults_are_those_of_the_kind(app):
    j = job(app, enqueue(app, "pdf"))
    assert (j["queue"], j["priority"], j["max_attempts"], j["timeout_usec"]) == ("documents", 7, 2, 60_000_000)


def test_null_means_not_given(app):
    options = dict.fromkeys(["queue", "priority", "tenant", "subject", "run_at", "deadline", "max_attempts", "unique_key"])
    assert status(app, enqueue(app, **options))["state"] == "ready"
    assert status(app, enqueue(app, delay=None, timeout=None))["state"] == "ready"
    for arguments in ("'echo', null, null", "'echo', null", "'echo'", "kind => 'echo'"):
        assert status(app, app.value(f"select reeve.enqueue({arguments})", role="app"))["kind"] == "echo"
    assert app.value("select count(*) from reeve.job where payload = 'null'") == 6


@pytest.mark.parametrize("options, state", [
    ({"run_at": "2001-01-01"}, "ready"), ({"delay": "-1 hour"}, "ready"), ({"delay": "0"}, "ready"),
    ({"run_at": "2999-01-01T00:00:00Z"}, "scheduled"), ({"delay": "10s"}, "scheduled"),
])
def test_when_it_is_to_run(app, options, state):
    c = app.connect("app")
    with c, c.cursor() as cur:
        job_id = call(cur, "echo", **options)
        cur.execute("select reeve.job_status(%s) ->> 'state'", (job_id,))
        assert cur.fetchone()[0] == state


# ---- errors


@pytest.mark.parametrize("kind, options, text", [
    ("nothing", {}, 'unknown kind "nothing"'),
    ("", {}, 'unknown kind ""'),
    (None, {}, "kind is missing"),
    ("x" * 10000, {}, 'unknown kind "' + "x" * 64 + '"'),
    ("echo", {"prio": 1}, "unknown option: prio"),
    ("echo", {"Queue": "a", "b; drop": 1}, 'unknown option: "Queue", "b; drop"'),
    ("echo", {"id": str(uuid.uuid4())}, "unknown option: id"),
    ("echo", {"parent": str(uuid.uuid4())}, "unknown option: parent"),
    ("echo", {"created_by": "root"}, "unknown option: created_by"),
    ("echo", {"priority": 0}, "priority must be between 1 and 10"),
    ("echo", {"priority": 11}, "priority must be between 1 and 10"),
    ("echo", {"priority": 99999}, 'option "priority": value "99999" is out of range for type smallint'),
    ("echo", {"priority": "high"}, 'option "priority": invalid input syntax for type smallint: "high"'),
    ("echo", {"priority": [1]}, 'option "priority": invalid input syntax for type smallint: "[1]"'),
    ("echo", {"max_attempts": 0}, "max_attempts must be between 1 and 1000"),
    ("echo", {"max_attempts": 1.5}, 'option "max_attempts": invalid input syntax'),
    ("echo", {"queue": "a b"}, "queue is not a name"),
    ("echo", {"queue": ""}, "queue is not a name"),
    ("echo", {"queue": {"a": 1}}, "queue is not a name"),
    ("echo", {"queue": "q" * 65}, "queue is not a name"),
    ("echo", {"queue": "a\nb"}, "queue is not a name"),
    ("echo", {"queue": "ab\n"}, "queue is not a name"),
    ("echo", {"tenant": "../x"}, "tenant is not a name"),
    ("echo", {"subject": "s" * 257}, "subject is longer than 256 characters"),
    ("echo", {"unique_key": "k" * 513}, "unique_key is longer than 512 characters"),
    ("echo", {"run_at": "soon"}, 'option "run_at": invalid input syntax for type timestamp with time zone: "soon"'),
    ("echo", {"run_at": "2026-13-45"}, 'option "run_at": date/time field value out of range'),
    ("echo", {"delay": "later"}, 'option "delay": invalid input syntax for type interval: "later"'),
    ("echo", {"delay": "1h", "run_at": "2999-01-01"}, 'option "delay" and option "run_at" exclude each other'),
    ("echo", {"deadline": "2001-01-01"}, "deadline is in the past"),
    ("echo", {"deadline": "2998-01-01", "run_at": "2999-01-01"}, "deadline is before run_at"),
    ("echo", {"timeout": "0"}, "timeout must be longer than nothing"),
    ("echo", {"timeout": "-1 min"}, "timeout must be longer than nothing"),
    ("echo", {"timeout": "x"}, 'option "timeout": invalid input syntax for type interval: "x"'),
    ("echo", {"timeout": "100000000 years"}, 'option "timeout": '),
])
def test_error_says_what_is_wrong(app, kind, options, text):
    c = app.connect("app")
    with c.cursor() as cur, pytest.raises(psycopg2.errors.InvalidParameterValue) as e:
        call(cur, kind, **options)
    assert e.value.diag.message_primary.startswith(text), e.value.diag.message_primary
    c.rollback()
    assert n_rows(app) == (0, 0, 0, 0, 0)


@pytest.mark.parametrize("options", ["[]", "1", '"a"', "null", "true"])
def test_options_that_are_no_object(app, options):
    with pytest.raises(psycopg2.errors.InvalidParameterValue, match="options must be a JSON object"):
        app.sql("select reeve.enqueue('echo', '{}', %s)", options, role="app")


def test_payload_at_the_limit_and_above(app):
    assert job(app, enqueue(app, payload="x" * (65536 - 2)))["payload"] == "x" * 65534
    with pytest.raises(psycopg2.errors.InvalidParameterValue, match="payload of 65537 bytes is larger than 64 KiB") as e:
        enqueue(app, payload="x" * (65536 - 1))
    assert "HTTP API" in e.value.diag.message_hint


# ---- unique keys


def test_unique_key_leads_to_the_job_that_is_there(app):
    first = enqueue(app, unique_key="a")
    assert enqueue(app, unique_key="a") == first
    others = {enqueue(app, "pdf", unique_key="a"), enqueue(app, unique_key="b"), enqueue(app, unique_key="a", tenant="acme")}
    assert len(others | {first}) == 4  # the key is one per tenant and kind
    assert n_rows(app)[:2] == (4, 4)


def test_unique_key_is_free_after_the_job_ended(app):
    first = enqueue(app, unique_key="a")
    assert app.value("select reeve.cancel(%s)", first, role="app") == "cancelled"
    assert enqueue(app, unique_key="a") != first


@pytest.mark.parametrize("end", ["commit", "rollback"])
def test_two_sessions_race_for_a_unique_key(app, end):
    c = app.connect("app")
    with c.cursor() as cur:
        first = call(cur, "echo", unique_key="a")
    got = []
    t = threading.Thread(target=lambda: got.append(enqueue(app, unique_key="a")))
    t.start()
    wait_for(lambda: app.value("select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = %s", app.name),
             what="the second waits for the first")
    getattr(c, end)()
    t.join(within(20))
    assert len(got) == 1 and (got[0] == first) == (end == "commit")
    assert n_rows(app)[:4] == (1, 1, 0, 1)


@pytest.mark.parametrize("key", [{"unique_key": "a"}, {"payload": 1, "unique_usec": 10**9}])
def test_a_key_whose_job_ends_before_the_answer(app, key):
    """Who met it is told which job it was, although the key has gone meanwhile; the batch waits for another of its jobs."""
    first = run_batch(app, [{"kind": "echo"} | key])[0]["job"]
    twin = str(uuid.uuid4())
    c = app.connect("reeve_api")
    got = []
    batch = [{"kind": "echo"} | key, {"kind": "echo", "id": twin}]
    t = threading.Thread(target=lambda: got.extend(run_batch(app, batch, role="reeve_owner")))  # it has no lock_timeout
    with c.cursor() as cur:
        cur.execute("select * from reeve.enqueue_batch(%s)", (json.dumps(batch[1:]),))
    t.start()
    wait_for(lambda: app.value("select count(*) from pg_stat_activity where wait_event_type = 'Lock' and datname = %s", app.name),
             what="the batch waits for its second job")
    assert app.value("select reeve.cancel(%s)", first, role="app") == "cancelled"
    app.sql("delete from reeve.key")
    c.rollback()
    t.join(within(20))
    assert [(r["outcome"], r["job"]) for r in got] == [("exists", first), ("created", twin)]


def test_many_sessions_one_unique_key(app):
    got = []
    threads = [threading.Thread(target=lambda: got.extend(enqueue(app, unique_key="a") for _ in range(5))) for _ in range(8)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(within(60))
    assert len(got) == 40 and len(set(got)) == 1 and n_rows(app)[:2] == (1, 1)


def test_keys_in_crossed_order_do_not_deadlock(app):
    """Two batches with the same keys in opposite orders: the server takes them in one order."""
    ids = []

    def batch(keys):
        for _ in range(10):
            rows = run_batch(app, [{"kind": "echo", "unique_key": k} for k in keys])
            ids.append([r["job"] for r in rows])
    keys = [f"k{i}" for i in range(20)]
    threads = [threading.Thread(target=batch, args=(k,)) for k in (keys, keys[::-1])]
    for t in threads:
        t.start()
    for t in threads:
        t.join(within(60))
    assert len(ids) == 20 and n_rows(app)[0] == 20


# ---- batches


def run_batch(db, jobs, role="reeve_api"):
    c = db.connect(role)
    try:
        with c, c.cursor(cursor_factory=psycopg2.extras.RealDictCursor) as cur:
            cur.execute("select * from reeve.enqueue_batch(%s)", (json.dumps(jobs),))
            return [dict(r) for r in cur.fetchall()]
    finally:
        c.close()


def outcomes(rows):
    return [r["outcome"] for r in rows]


def test_idempotency_key_gives_the_same_answer(app):
    request = {"kind": "echo", "idempotency_key": "r1", "request_hash": "h1", "payload": {"a": 1}}
    first = run_batch(app, [request])[0]
    assert (first["outcome"], first["state"]) == ("created", "ready")
    again = run_batch(app, [request])[0]
    assert (again["outcome"], again["job"]) == ("exists", first["job"])
    other = run_batch(app, [request | {"request_hash": "h2"}])[0]
    assert (other["outcome"], other["job"]) == ("mismatch", first["job"])
    assert run_batch(app, [request | {"tenant": "acme"}])[0]["outcome"] == "created"
    assert n_rows(app)[0] == 2


def test_idempotency_key_outlives_the_job_and_then_expires(app):
    request = {"kind": "echo", "idempotency_key": "r1", "request_hash": "h1"}
    first = run_batch(app, [request])[0]["job"]
    app.sql("select reeve.cancel(%s)", first, role="app")
    assert run_batch(app, [request])[0]["job"] == first
    app.sql("update reeve.key set expires_at = now() - interval '1 s'")
    assert run_batch(app, [request])[0]["job"] != first


def test_idempotency_key_that_is_too_long(app):
    row = run_batch(app, [{"kind": "echo", "idempotency_key": "k" * 513}])[0]
    assert (row["outcome"], row["detail"]) == ("refused", "idempotency_key is longer than 512 characters")
    assert run_batch(app, [{"kind": "echo", "idempotency_key": "ü" * 512}])[0]["outcome"] == "created"


def test_group_is_taken_whole_or_not_at_all(app):
    good, bad = {"kind": "echo"}, {"kind": "nothing"}
    rows = run_batch(app, [good | {"grp": 0}, bad | {"grp": 0}, good | {"grp": 0}, good | {"grp": 1}, good | {"grp": 1}])
    assert outcomes(rows) == ["skipped", "refused", "skipped", "created", "created"]
    assert [r["n"] for r in rows] == [0, 1, 2, 3, 4]
    assert rows[1]["detail"] == 'unknown kind "nothing"' and rows[0]["job"] is None
    assert n_rows(app)[:2] == (2, 2)


def test_refused_group_takes_no_keys(app):
    run_batch(app, [{"kind": "echo", "grp": 0, "unique_key": "a", "idempotency_key": "i"}, {"kind": "nothing", "grp": 0}])
    assert n_rows(app) == (0, 0, 0, 0, 0)


def test_same_key_twice_in_one_batch(app):
    rows = run_batch(app, [{"kind": "echo", "unique_key": "a"}, {"kind": "echo", "unique_key": "a"}, {"kind": "echo"}])
    assert outcomes(rows) == ["created", "exists", "created"] and rows[0]["job"] == rows[1]["job"]


def test_loser_by_one_key_keeps_not_the_other(app):
    held = run_batch(app, [{"kind": "echo", "unique_key": "a"}])[0]["job"]
    row = run_batch(app, [{"kind": "echo", "unique_key": "a", "idempotency_key": "i", "request_hash": "h"}])[0]
    assert (row["outcome"], row["job"]) == ("exists", held)
    assert app.sql("select scope from reeve.key") == [("unique",)]


def test_order_of_a_batch_is_the_order_of_the_queue(app):
    rows = run_batch(app, [{"kind": "echo", "payload": i} for i in range(200)])
    order = app.sql("select j.payload from reeve.ready r join reeve.job j on j.id = r.job order by r.seq")
    assert [r[0] for r in order] == list(range(200)) and len(rows) == 200


def test_empty_batch(app):
    assert run_batch(app, []) == []


# ---- cancel and job_status


def test_cancel(app):
    job_id = enqueue(app)
    assert app.value("select reeve.cancel(%s)", job_id, role="app") == "cancelled"
    assert app.value("select reeve.cancel(%s)", job_id, role="app") == "finished"
    s = status(app, job_id)
    assert (s["state"], s["cause"], s["actor"]) == ("cancelled", "cancelled", "sql:app")
    assert app.value("select reeve.cancel(%s)", str(uuid.uuid4()), role="app") == "not-found"
    assert app.value("select reeve.cancel(null)", role="app") == "not-found"


def test_cancel_in_a_transaction_that_is_undone(app):
    job_id = enqueue(app)
    c = app.connect("app")
    with c.cursor() as cur:
        cur.execute("select reeve.cancel(%s)", (job_id,))
        assert cur.fetchone()[0] == "cancelled"
    c.rollback()
    assert status(app, job_id)["state"] == "ready"


# ---- who may what


PUBLIC = {"enqueue", "cancel", "job_status"}


def test_submit_may_call_three_functions_and_nothing_else(app):
    c = app.connect("app", autocommit=True)
    with c.cursor() as cur:
        cur.execute("select p.proname from pg_proc p where p.pronamespace = 'reeve'::regnamespace"
                    " and has_function_privilege('app', p.oid, 'execute')")
        assert {r[0] for r in cur.fetchall()} == PUBLIC
        # Every table, view and sequence of the schema, partitions too, and every column of each.
        cur.execute("select c.oid::regclass::text, c.relkind from pg_class c where c.relnamespace = 'reeve'::regnamespace"
                    " and c.relkind in ('r', 'p', 'v', 'm', 'S', 'f')")
        relations = cur.fetchall()
        assert len(relations) > 20
        for name, kind in relations:
            statements = [f"select * from {name}"]
            if kind != "S":
                statements += [f"select count(*) from {name}", f"delete from {name}", f"select from {name} for update",
                               f"insert into {name} default values"]
            else:
                statements += [f"select nextval('{name}')"]
            for s in statements:
                with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                    cur.execute(s)
        cur.execute("select count(*) from information_schema.column_privileges where table_schema = 'reeve'")
        assert cur.fetchone()[0] == 0
        cur.execute("select count(*) from information_schema.table_privileges where table_schema = 'reeve'")
        assert cur.fetchone()[0] == 0
        for s in ("create table reeve.mine (n int)", "create function reeve.mine() returns int language sql return 1",
                  "alter function reeve.enqueue(text, jsonb, jsonb) security invoker", "drop schema reeve cascade"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                cur.execute(s)


def test_public_may_nothing(app):
    app.sql("do $$ begin if not exists (select from pg_roles where rolname = 'stranger') then create role stranger login;"
            " end if; end $$")
    for s in ("select reeve.enqueue('echo')", "select * from reeve.job", f"select reeve.job_status('{uuid.uuid4()}')"):
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            app.sql(s, role="stranger")


def test_functions_of_the_owner_have_a_fixed_search_path(app):
    rows = app.sql("select p.proname from pg_proc p where p.pronamespace = 'reeve'::regnamespace and p.prosecdef and not"
                   " coalesce('search_path=pg_catalog, pg_temp' = any (p.proconfig), false)")
    assert rows == []


def test_daemons_own_nothing_and_cannot_change_the_schema(app):
    for role in ("reeve_api", "reeve_worker"):
        for s in ("create table reeve.mine (n int)", "drop table reeve.job", "truncate reeve.job", "delete from reeve.history",
                  "update reeve.job set kind = 'x'", "delete from reeve.schema_migration", "update reeve.done set state = 'failed'"):
            with pytest.raises(psycopg2.errors.InsufficientPrivilege):
                app.sql(s, role=role)


def test_hostile_schema_first_in_the_search_path_changes_nothing(app):
    """Functions, operators, types and tables of the caller's are never taken by what runs with the owner's rights."""
    app.sql("create schema if not exists evil authorization app")
    c = app.connect("app")
    with c, c.cursor() as cur:
        cur.execute("create table evil.caught (who text)")
        for name, args, result in (("jsonb_typeof", "jsonb", "text"), ("octet_length", "text", "integer"),
                                   ("clock_timestamp", "", "timestamptz"), ("lower", "text", "text"),
                                   ("jsonb_object_keys", "jsonb", "setof text"), ("format", "text, text", "text"),
                                   ("hashtextextended", "text, bigint", "bigint"), ("left", "text, integer", "text"),
                                   ("jsonb_build_array", "jsonb", "jsonb"), ("unnest", "text[]", "setof text"),
                                   ("quote_ident", "text", "text"), ("gen_random_uuid", "", "uuid"), ("length", "text", "integer")):
            cur.execute(f"create function evil.{name}({args}) returns {result} language plpgsql as $$ begin insert into evil.caught"
                        f" values (current_user); return null; end $$" if not result.startswith("setof") else
                        f"create function evil.{name}({args}) returns {result} language plpgsql as $$ begin insert into evil.caught"
                        f" values (current_user); return; end $$")
        cur.execute("create function evil.eq(text, text) returns boolean language plpgsql as $$ begin insert into evil.caught values"
                    " (current_user); return false; end $$")
        cur.execute("create operator evil.= (leftarg = text, rightarg = text, procedure = evil.eq)")
        cur.execute("create operator evil.<> (leftarg = text, rightarg = text, procedure = evil.eq)")
        cur.execute("create table evil.job (id uuid); create table evil.kind (name text)")
        cur.execute("create temp table kind (name text); create temp table job (id uuid)")
        cur.execute("set search_path = evil, pg_temp, pg_catalog, reeve")
        job_id = call(cur, "echo", {"a": 1}, priority=8, unique_key="k", subject="me", delay="1h")
        cur.execute("select reeve.job_status(%s) operator(pg_catalog.->>) 'state'", (job_id,))
        assert cur.fetchone()[0] == "scheduled"
        cur.execute("select reeve.cancel(%s)", (job_id,))
        assert cur.fetchone()[0] == "cancelled"
        cur.execute("select * from evil.caught")
        assert cur.fetchall() == []
    assert job(app, job_id)["priority"] == 8


@pytest.mark.parametrize("text", ["'; drop table reeve.job; --", "\\'; select pg_sleep(9); --", "$$; drop schema reeve cascade; $$",
                                  "') or true --", "%s %I %L", "\u0001\u001f", "a'||(select 1)||'"])
def test_texts_are_never_sql(app, text):
    job_id = enqueue(app, payload={text: text}, subject=text, unique_key=text)
    j = job(app, job_id)
    assert (j["subject"], j["unique_key"], j["payload"]) == (text, text, {text: text})
    assert enqueue(app, unique_key=text) == job_id
    for option in ("queue", "tenant"):
        with pytest.raises(psycopg2.errors.InvalidParameterValue, match=f"{option} is not a name"):
            enqueue(app, **{option: text})
    for option in ("delay", "run_at", "timeout", "deadline", "priority", "max_attempts"):
        with pytest.raises(psycopg2.errors.InvalidParameterValue, match=f'option "{option}": '):
            enqueue(app, **{option: text})
    with pytest.raises(psycopg2.errors.InvalidParameterValue, match="unknown option"):
        enqueue(app, **{text: 1})
    with pytest.raises(psycopg2.errors.InvalidParameterValue, match="unknown kind"):
        enqueue(app, kind=text)
    assert n_rows(app)[0] == 1


def test_through_pgbouncer(app, bouncer):
    with open(bouncer.dir / "users", "a", encoding="utf-8") as f:
        f.write('"app" ""\n')
    bouncer.process.send_signal(1)
    time.sleep(0.2)
    c = psycopg2.connect(bouncer.conninfo(app), user="app")
    with c.cursor() as cur:
        call(cur, "echo", unique_key="a")
        c.rollback()
        job_id = call(cur, "echo", unique_key="a")
    c.commit()
    c.close()
    assert status(app, job_id)["state"] == "ready" and n_rows(app)[0] == 1


def manual_examples():
    """The SQL of reeve-sql(7), block by block."""
    text = (MIGRATIONS.parent / "man/reeve-sql.7.scd").read_text()
    text = text[text.index("# EXAMPLES"):text.index("# SEE ALSO")].replace("\\_", "_")
    blocks, lines, goes_on = [], [], False
    for line in text.split("\n"):
        if line.startswith("\t") or goes_on:
            lines.append(line.removesuffix("++"))
            goes_on = line.endswith("++")
            if not goes_on:
                blocks.append("\n".join(lines))
                lines = []
    return blocks


def test_examples_of_the_manual(app):
    for kind in ("send-mail", "report", "index-order"):
        app.add_kind(kind)
    app.sql("create table orders (id int, customer int); grant all on orders to app; grant create on schema public to app")
    blocks = manual_examples()
    assert len(blocks) == 3
    c = app.connect("app", autocommit=True)
    with c.cursor() as cur:
        for b in blocks:
            cur.execute(b)
        assert app.value("select subject from reeve.job where kind = 'send-mail'") == "4711"
        assert app.value("select count(*) from reeve.scheduled s join reeve.job j on j.id = s.job where j.kind = 'report'") == 1
        app.sql("create trigger t after update on orders for each row execute function order_changed()")
        for _ in range(3):
            cur.execute("update orders set customer = 5")
    assert app.sql("select payload, unique_key from reeve.job where kind = 'index-order'") == [({"id": 17}, "17")]
