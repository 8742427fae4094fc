"""reeve-migrate on a real server."""
import hashlib
import json
import os
import pathlib
import shutil
import subprocess
import tempfile
import time

import psycopg2
import pytest

import conftest
from conftest import MIGRATE, Server, run_migrate, wait_for
from patience import within

# A package that has the first migration only, so that these tests do not change with every new one.
MIGRATIONS = pathlib.Path(tempfile.mkdtemp(prefix="reeve-first-"))
WHOLE = conftest.MIGRATIONS
NEWEST = max(int(p.name[:4]) for p in WHOLE.glob("*.up.sql"))

DONE, FAULT, USAGE, PENDING, MISMATCH, REFUSED, AWAY, ROLES = range(8)
FAST = ["--lock-timeout=100ms", "--lock-pause=100ms"]


@pytest.fixture(scope="module", autouse=True)
def first():
    for path in [WHOLE / "bootstrap.sql", *WHOLE.glob("0001_*.sql")]:
        shutil.copy(path, MIGRATIONS)
    yield
    shutil.rmtree(MIGRATIONS)


@pytest.fixture(scope="module")
def template(server, first):
    d = server.create()
    d.migrations = MIGRATIONS
    d.migrate("up")
    return d.name


@pytest.fixture
def database(database):
    database.migrations = MIGRATIONS
    return database


@pytest.fixture
def empty(empty):
    empty.migrations = MIGRATIONS
    return empty


@pytest.fixture
def files(tmp_path):
    """A copy of the migrations to which a test adds its own."""
    d = tmp_path / "migrations"
    shutil.copytree(MIGRATIONS, d)
    return d


def add(files, version, up, down=None, name="more"):
    (files / f"{version:04}_{name}.up.sql").write_text(up)
    if down is not None:
        (files / f"{version:04}_{name}.down.sql").write_text(down)


def start_migrate(db, *args, directory=MIGRATIONS):
    return subprocess.Popen([str(MIGRATE), *args, f"--database={db.conninfo}", f"--directory={directory}"], stdout=subprocess.PIPE,
                            stderr=subprocess.PIPE, text=True)


def version(db):
    return db.value("select coalesce(max(version), 0) from reeve.schema_migration")


def refused(r, code, *texts):
    assert r.returncode == code, r.stdout + r.stderr
    for t in texts:
        assert t in r.stderr, r.stderr
    return r


# ---- up and status


def test_up_applies_all_and_again_nothing(empty):
    first = empty.migrate("up")
    assert "0001_queue: applied (" in first.stdout
    again = empty.migrate("up")
    assert again.stdout == "Up to date: the schema has version 1.\n"
    assert empty.sql("select version, name from reeve.schema_migration") == [(1, "queue")]


def test_record_keeps_both_scripts_and_who(empty):
    empty.migrate("up")
    up, down = ((MIGRATIONS / f"0001_queue.{d}.sql").read_text() for d in ("up", "down"))
    row = empty.sql("select checksum, up_script, down_checksum, down_script, applied_by, program_version,"
                    "now() - applied_at < interval '1 minute' from reeve.schema_migration")[0]
    assert row[:4] == (hashlib.sha256(up.encode()).hexdigest(), up, hashlib.sha256(down.encode()).hexdigest(), down)
    assert "@" in row[4] and row[5] and row[6]


def test_every_program_can_read_the_version(database):
    statement = pathlib.Path(WHOLE.parent / "src/store/sql/get-schema-version.sql").read_text()
    for role in ("reeve_owner", "reeve_api", "reeve_worker"):
        assert database.value(statement, role=role) == 1
    with pytest.raises(psycopg2.errors.InsufficientPrivilege):
        database.value(statement, role=submitter(database))


def submitter(db):
    db.sql("do $$ begin if not exists (select from pg_roles where rolname = 'app') then create role app login in role reeve_submit;"
           " end if; end $$")
    return "app"


def test_status_tells_pending_then_applied(empty, files):
    add(files, 2, "create table reeve.more (n int)", "drop table reeve.more")
    r = empty.migrate("status", directory=files, check=False)
    assert r.returncode == PENDING and "schema version 0, this program's is 2" in r.stdout and "pending" in r.stdout
    empty.migrate("up", "--to=1", directory=files)
    r = empty.migrate("status", "--json", directory=files, check=False)
    assert r.returncode == PENDING
    j = json.loads(r.stdout)
    assert (j["version"], j["package_version"], j["database"], j["writable"]) == (1, 2, empty.name, True)
    assert [(m["version"], m["name"], m["state"]) for m in j["migrations"]] == [(1, "queue", "applied"), (2, "more", "pending")]
    assert j["migrations"][0]["destroys"].startswith("every job")
    empty.migrate("up", directory=files)
    r = empty.migrate("status", directory=files)
    assert "pending" not in r.stdout and "0002_more" in r.stdout


def test_ten_at_once_apply_each_migration_once(empty, files):
    add(files, 2, "create table reeve.more (n int); select pg_sleep(0.2)", "drop table reeve.more")
    add(files, 3, "insert into reeve.more values (1)", "delete from reeve.more", name="row")
    every = [start_migrate(empty, "up", directory=files) for _ in range(10)]
    out = [p.communicate(timeout=within(60)) for p in every]
    assert [p.returncode for p in every] == [0] * 10, out
    text = "".join(o for o, _ in out)
    for label in ("0001_queue", "0002_more", "0003_row"):
        assert text.count(f"{label}: applied (") == 1, text
    assert empty.sql("select version from reeve.schema_migration order by 1") == [(1,), (2,), (3,)]
    assert empty.value("select count(*) from reeve.more") == 1


def test_ten_downs_at_once_take_one_step(empty, files):
    for v in (2, 3, 4):
        add(files, v, f"create table reeve.t{v} (n int)", f"select pg_sleep(0.1); drop table reeve.t{v}", name=f"t{v}")
    empty.migrate("up", directory=files)
    with empty.connect() as c, c.cursor() as cur:  # holds them all until they have read the records
        cur.execute("select pg_advisory_xact_lock(6010733017283926834)")
        every = [start_migrate(empty, "down", directory=files) for _ in range(10)]
        wait_for(lambda: empty.value("select count(*) from pg_locks where locktype = 'advisory' and not granted") == 10,
                 what="ten waiting")
        c.rollback()
    out = [p.communicate(timeout=within(60)) for p in every]
    assert [p.returncode for p in every] == [0] * 10, out
    assert version(empty) == 3
    assert "".join(o for o, _ in out).count("0004_t4: taken back (") == 1


def test_killed_in_the_middle_leaves_nothing_and_no_lock(database, files):
    add(files, 2, "create table reeve.half (n int); select pg_sleep(60); create table reeve.whole (n int)", "")
    p = start_migrate(database, "up", directory=files)
    wait_for(lambda: database.value("select count(*) from pg_stat_activity where wait_event = 'PgSleep'"), what="the sleep")
    p.kill()
    p.communicate()
    add(files, 2, "create table reeve.half (n int); create table reeve.whole (n int)", "drop table reeve.half, reeve.whole")
    t0 = time.monotonic()
    database.migrate("up", directory=files)
    assert time.monotonic() - t0 < within(15)
    assert version(database) == 2


def test_backend_ended_in_the_middle(database, files):
    add(files, 2, "create table reeve.half (n int); select pg_sleep(60)", "")
    p = start_migrate(database, "up", directory=files)
    wait_for(lambda: database.sql("select pg_terminate_backend(pid) from pg_stat_activity where wait_event = 'PgSleep'"),
             what="the sleep")
    out, err = p.communicate(timeout=within(20))
    assert p.returncode == AWAY and "connection to the database was lost" in err, err
    assert version(database) == 1
    assert database.value("select to_regclass('reeve.half')") is None


# ---- files and records that disagree


def test_edited_migration_is_refused_and_explained(database, files):
    path = files / "0001_queue.up.sql"
    text = path.read_text().split("\n")
    text[19] = "-- something else"
    path.write_text("\n".join(text))
    add(files, 2, "create table reeve.more (n int)", "drop table reeve.more")
    for command in ("up", "check", "status"):
        r = database.migrate(command, directory=files, check=False)
        refused(r, MISMATCH, f"{path} was edited after it was applied (20", "1 line differs, the first is line 20:",
                "file:    -- something else", "reeve-migrate show 1", "a new migration")
    assert version(database) == 1


def test_edited_white_space_is_named_so(database, files):
    path = files / "0001_queue.up.sql"
    path.write_bytes(path.read_bytes().replace(b"\n", b"\r\n"))
    refused(database.migrate("up", directory=files, check=False), MISMATCH, "(only in white space), the first is line 1:")


def test_show_gives_back_what_was_applied(database, files):
    (files / "0001_queue.up.sql").write_text("select 1")
    r = database.migrate("show", "1", directory=files)
    assert r.stdout == (MIGRATIONS / "0001_queue.up.sql").read_text()
    assert database.migrate("show", "1", "--down").stdout == (MIGRATIONS / "0001_queue.down.sql").read_text()
    refused(database.migrate("show", "7", check=False), FAULT, "Migration 7 is not applied")


def test_another_migration_of_the_same_number(database, files):
    for d in ("up", "down"):
        (files / f"0001_queue.{d}.sql").rename(files / f"0001_else.{d}.sql")
    refused(database.migrate("up", directory=files, check=False), MISMATCH, 'Migration 0001 was applied as "queue"')


def test_tampered_record_is_noticed_and_never_run(database):
    database.sql("update reeve.schema_migration set down_script = 'drop table public.accounts'")
    refused(database.migrate("check", check=False), MISMATCH, "the scripts stored in reeve.schema_migration are not those")
    refused(database.migrate("down", "--confirm-data-loss", check=False), MISMATCH, "they will not be run")


def test_missing_record(database, files):
    add(files, 2, "select 1", "select 1")
    database.migrate("up", directory=files)
    database.sql("delete from reeve.schema_migration where version = 1")
    refused(database.migrate("up", directory=files, check=False), MISMATCH, "The record of migration 0001 is missing")


@pytest.mark.parametrize("make, text", [
    (lambda d: add(d, 3, "select 1"), "has no migration number 0002, but 0003_more.up.sql"),
    (lambda d: add(d, 1, "select 1", name="zzz"), "0001_zzz.up.sql has the same number as"),
    (lambda d: (d / "0002_gone.down.sql").write_text("select 1"), "0002_gone.down.sql has no up script beside it"),
    (lambda d: (d / "2_short.up.sql").write_text("select 1"), "is not named NNNN_name.up.sql"),
    (lambda d: (d / "0002_bad name.up.sql").write_text("select 1"), "is not named NNNN_name.up.sql"),
    (lambda d: (d / "0002_nul.up.sql").write_bytes(b"select 1\0"), "is not a text in UTF-8"),
    (lambda d: (d / "0002_latin.up.sql").write_bytes(b"-- caf\xe9"), "is not a text in UTF-8"),
    (lambda d: (d / "0002_large.up.sql").write_text(" " * (1024 * 1024 + 1)), "is larger than 1048576 bytes"),
    (lambda d: [p.unlink() for p in d.iterdir()], "There are no migrations in"),
    (lambda d: shutil.rmtree(d), "There are no migrations in"),
])
def test_directory_that_is_not_as_it_should_be(empty, files, make, text):
    make(files)
    refused(empty.migrate("up", directory=files, check=False), FAULT, text)
    assert empty.value("select to_regnamespace('reeve')") is None


def test_package_that_is_not_whole():
    r = run_migrate("status", "--database=host=/nonexistent")
    assert r.returncode in (FAULT, AWAY)  # without --directory= the compiled one is read first
    if not pathlib.Path("/usr/share/reeve/migrations").exists():
        assert "There are no migrations in /usr/share/reeve/migrations" in r.stderr


# ---- older program, newer schema; down


def test_older_program_takes_newer_schema_back(database, files):
    add(files, 2, "create table reeve.more (n int)", "drop table reeve.more")
    database.migrate("up", directory=files)
    # The package of version 1 has only the first file.
    r = database.migrate("status")
    assert "schema version 2, this program's is 1" in r.stdout and "newer" in r.stdout
    assert "newer than this program's 1" in database.migrate("up").stdout
    assert "newer than this program's 1" in database.migrate("check").stderr
    r = database.migrate("down", "--to=1")
    assert "0002_more: taken back (" in r.stdout
    assert version(database) == 1 and database.value("select to_regclass('reeve.more')") is None


def test_down_runs_the_stored_script_not_the_file(database, files):
    add(files, 2, "create table reeve.more (n int)", "drop table reeve.more")
    database.migrate("up", directory=files)
    add(files, 2, "create table reeve.more (n int)", "this is no SQL")
    assert "the stored one is what" in database.migrate("check", directory=files).stderr
    database.migrate("down", directory=files)
    assert database.value("select to_regclass('reeve.more')") is None


def test_up_down_up_leaves_the_same_schema(empty):
    empty.migrations = WHOLE
    empty.migrate("up")
    before = empty.dump()
    empty.migrate("down", "--to=0", "--confirm-data-loss")
    left = empty.sql("select c.relname from pg_class c where c.relnamespace = 'reeve'::regnamespace and c.relkind in ('r', 'p', 'S')")
    assert left == [("schema_migration",)]
    assert empty.value("select count(*) from pg_proc where pronamespace = 'reeve'::regnamespace") == 0
    empty.migrate("up")
    assert empty.dump() == before


def test_each_down_is_the_inverse_of_its_up(empty):
    empty.migrations = WHOLE
    before = []
    for v in range(1, NEWEST + 1):
        empty.migrate("up", f"--to={v}")
        before.append(empty.dump())
    for v in range(NEWEST, 0, -1):
        assert empty.dump() == before.pop(), f"after taking back {v + 1}"
        empty.migrate("down", "--confirm-data-loss")
    assert version(empty) == 0


def test_down_takes_one_step_by_default(database, files):
    for v in (2, 3, 4):
        add(files, v, f"create table reeve.t{v} (n int)", f"drop table reeve.t{v}", name=f"t{v}")
    database.migrate("up", directory=files)
    database.migrate("down")
    assert version(database) == 3
    database.migrate("down", "--steps=2")
    assert version(database) == 1
    assert "Nothing to take back" in database.migrate("down", "--to=1").stdout


def test_destructive_down_needs_the_word(database):
    refused(database.migrate("down", check=False), REFUSED, "Taking back 0001_queue destroys data: every job",
            "--confirm-data-loss")
    assert version(database) == 1
    database.migrate("down", "--confirm-data-loss")
    assert version(database) == 0


def test_without_down_script_there_is_no_way_back(database, files):
    add(files, 2, "create table reeve.more (n int)")
    database.migrate("up", directory=files)
    refused(database.migrate("down", "--confirm-data-loss", check=False), REFUSED, "0002_more was applied without a down script")
    assert version(database) == 2


def add_instance(db, schema_version, **kw):
    row = {"host": "h1", "name": "default", "boot_id": "b", "pid": 7, "version": "2.0", "schema_version": schema_version,
           "kinds": "{}", "queues": "{}", "slots": 1} | kw
    db.sql(f"insert into reeve.instance ({', '.join(row)}) values ({', '.join(['%s'] * len(row))})", *row.values())


def test_living_instance_keeps_its_schema(database, files):
    add(files, 2, "create table reeve.more (n int)", "drop table reeve.more")
    database.migrate("up", directory=files)
    add_instance(database, 2, host="db1", name="pdf:1")
    add_instance(database, 1, host="old")
    for args in (["down"], ["down", "--dry-run"]):
        r = refused(database.migrate(*args, check=False), REFUSED, "need a schema newer than version 1", "pdf:1 on db1 (pid 7")
        assert "old" not in r.stderr.replace("older", "")
    assert version(database) == 2
    database.sql("update reeve.instance set beat_at = now() - interval '2 minutes' where host = 'db1'")
    database.migrate("down", "--dry-run")
    database.sql("update reeve.instance set beat_at = now(), stopped_at = now() where host = 'db1'")
    database.migrate("down")
    assert version(database) == 1


# ---- dry runs


def test_dry_run_leaves_nothing(empty, files):
    add(files, 2, "insert into reeve.queue (name, changed_by) values ('q', 'me')", "delete from reeve.queue")
    before = empty.dump()
    r = empty.migrate("up", "--dry-run", directory=files)
    assert "0001_queue: would be applied (took " in r.stdout and "0002_more: would be applied" in r.stdout
    assert empty.dump() == before and empty.value("select to_regnamespace('reeve')") is None
    empty.migrate("up", directory=files)
    before = empty.dump()
    r = empty.migrate("down", "--to=0", "--dry-run")
    assert "0002_more: would be taken back" in r.stdout and "0001_queue: destroys data: every job" in r.stdout
    assert empty.dump() == before and version(empty) == 2


def test_dry_run_tells_what_would_fail(database, files):
    add(files, 2, "create table reeve.more (n int);\ncreate table reeve.more (n int)")
    refused(database.migrate("up", "--dry-run", directory=files, check=False), FAULT, "0002_more.up.sql: ", "(SQLSTATE 42P07)")


# ---- scripts that fail


def test_error_names_file_line_and_state(database, files):
    add(files, 2, "-- é ü 漢字\ncreate table reeve.more (n int);\n\nselect nothing\n  from reeve.job;\n")
    refused(database.migrate("up", directory=files, check=False), FAULT,
            f"{files}/0002_more.up.sql:4: column \"nothing\" does not exist (SQLSTATE 42703)")
    assert version(database) == 1 and database.value("select to_regclass('reeve.more')") is None


def test_syntax_error_names_its_line(database, files):
    add(files, 2, "select 1;\nselect 2;\ncreate xtable reeve.more (n int);\n")
    refused(database.migrate("up", directory=files, check=False), FAULT, "0002_more.up.sql:3: syntax error at or near \"xtable\"")


def test_error_in_a_function_body_names_its_line(database, files):
    add(files, 2, "select 1;\ncreate function reeve.f() returns int language plpgsql as $$\nbegin\n        xreturn 1;\nend $$;\n")
    refused(database.migrate("up", directory=files, check=False), FAULT, "0002_more.up.sql:4: syntax error at or near \"xreturn\"")


@pytest.mark.parametrize("bad", ["commit", "begin", "rollback", "savepoint a", "prepare transaction 'x'", "end", "start transaction"])
@pytest.mark.parametrize("args", [[], ["--dry-run"]])
def test_script_that_ends_its_transaction_is_refused(database, files, bad, args):
    add(files, 2, f"create table reeve.first (n int);\n{bad};\ncreate table reeve.second (n int);\n")
    refused(database.migrate("up", *args, directory=files, check=False), FAULT, "may not begin, commit or undo a transaction")
    assert version(database) == 1
    assert database.sql("select to_regclass('reeve.first'), to_regclass('reeve.second')") == [(None, None)]


def test_procedure_that_commits_is_refused(database, files):
    add(files, 2, "create procedure reeve.p() language plpgsql as $$ begin commit; end $$;\ncall reeve.p();\n")
    refused(database.migrate("up", directory=files, check=False), FAULT, "2D000")
    assert version(database) == 1


def test_index_concurrently_is_refused(database, files):
    add(files, 2, "create index concurrently more on reeve.job_default (kind)")
    refused(database.migrate("up", directory=files, check=False), FAULT, "cannot run inside a transaction block")


def test_later_migration_fails_earlier_stays(database, files):
    add(files, 2, "create table reeve.more (n int)", "drop table reeve.more")
    add(files, 3, "select 1/0", name="bad")
    refused(database.migrate("up", directory=files, check=False), FAULT, "division by zero")
    assert version(database) == 2


def test_script_sees_no_schema_but_what_it_names(database, files):
    database.sql("create table public.lure (n int)")
    add(files, 2, "select * from lure")
    refused(database.migrate("up", directory=files, check=False), FAULT, "relation \"lure\" does not exist")


def test_script_with_quotes_dollars_and_backslashes(database, files):
    text = "create table reeve.more (t text);\ninsert into reeve.more values ('it''s $$ $1 \\ %s'), (E'a\\tb'), ($q$ ' $q$);\n"
    add(files, 2, text, "drop table reeve.more")
    database.migrate("up", directory=files)
    assert database.sql("select t from reeve.more") == [("it's $$ $1 \\ %s",), ("a\tb",), (" ' ",)]
    assert database.value("select up_script from reeve.schema_migration where version = 2") == text


# ---- locks


def test_lock_held_by_another_session_is_told(database, files):
    add(files, 2, "alter table reeve.queue add column more int", "alter table reeve.queue drop column more")
    c = database.connect("reeve_worker", application_name="somebody")
    with c.cursor() as cur:
        cur.execute("select * from reeve.queue")
    r = database.migrate("up", *FAST, directory=files, check=False)
    refused(r, FAULT, "a lock was not got within 100 ms (try 3 of 3)", "(reeve_worker, somebody)", "nothing was changed")
    assert r.stderr.count("a lock was not got") == 3
    assert version(database) == 1


def test_lock_that_is_given_up_in_time(database, files):
    add(files, 2, "alter table reeve.queue add column more int", "alter table reeve.queue drop column more")
    c = database.connect("reeve_worker")
    with c.cursor() as cur:
        cur.execute("select * from reeve.queue")
    p = start_migrate(database, "up", "--lock-timeout=100ms", "--lock-pause=1s", directory=files)
    line = p.stderr.readline()
    assert "try 1 of 3" in line
    c.rollback()
    out, err = p.communicate(timeout=within(20))
    assert p.returncode == DONE and "0002_more: applied" in out, err


def test_another_migration_that_never_ends(database, files):
    add(files, 2, "select 1")
    c = database.connect()
    with c.cursor() as cur:
        cur.execute("select pg_advisory_xact_lock(6010733017283926834)")
    r = database.migrate("up", "--queue-timeout=200ms", directory=files, check=False)
    refused(r, FAULT, "another migration has been at work for too long", "held by process ")


# ---- servers


def test_server_away_is_told_at_once():
    t0 = time.monotonic()
    r = run_migrate("up", "--database=host=/nonexistent dbname=x", f"--directory={MIGRATIONS}")
    refused(r, AWAY, "Cannot reach the database: ")
    assert time.monotonic() - t0 < within(5)


@pytest.fixture
def other():
    """A cluster of its own, not started, bootstrap.sql not run."""
    s = Server()
    s.init()
    yield s
    s.remove()


def test_waits_for_a_server_that_comes_later(other):
    other.start()
    other.psql(WHOLE / "bootstrap.sql")
    other.stop()
    conninfo = f"--database=host={other.dir} dbname=reeve"
    r = run_migrate("up", conninfo, f"--directory={WHOLE}", "--wait=600ms")
    refused(r, AWAY, "Waiting for the database")
    up = subprocess.Popen([str(MIGRATE), "up", conninfo, f"--directory={WHOLE}", "--wait=1min"], stderr=subprocess.PIPE,
                          stdout=subprocess.PIPE, text=True)
    waits = subprocess.Popen([str(MIGRATE), "wait", conninfo, "--wait=1min"], stderr=subprocess.PIPE, text=True)
    assert "Waiting for the database" in up.stderr.readline()
    assert "Waiting for the database" in waits.stderr.readline()
    other.start()
    assert up.wait(within(30)) == DONE, up.stderr.read()
    assert waits.wait(within(30)) == DONE
    r = run_migrate("wait", conninfo, f"--to={NEWEST + 1}", "--wait=600ms")
    refused(r, PENDING, f"its schema has version {NEWEST}, not {NEWEST + 1}")
    for p in (up, waits):
        p.communicate()


def test_missing_roles_say_what_to_run(other):
    other.start()
    other.sql("create database reeve")
    conninfo = f"--database=host={other.dir} dbname=reeve"
    command = "psql -X -v ON_ERROR_STOP=1 -d postgres -f /usr/share/reeve/migrations/bootstrap.sql"
    refused(run_migrate("up", conninfo, f"--directory={MIGRATIONS}"), AWAY, 'role "reeve_owner" does not exist', command)
    other.sql("create role reeve_owner login superuser")
    refused(run_migrate("up", conninfo, f"--directory={MIGRATIONS}"), ROLES,
            "The server has no role reeve_api, reeve_submit, reeve_worker.", command)
    other.psql(MIGRATIONS / "bootstrap.sql")
    assert run_migrate("up", conninfo, f"--directory={MIGRATIONS}").returncode == DONE


def test_standby_is_refused(server, database, other):
    shutil.rmtree(other.data)
    server.run([server.bin / "pg_basebackup", "-h", server.dir, "-U", "postgres", "-D", other.data, "-c", "fast", "-X", "stream", "-R"])
    with open(other.data / "postgresql.conf", "a", encoding="utf-8") as f:
        f.write(f"unix_socket_directories = '{other.dir}'\n")
    other.start()
    r = run_migrate("up", f"--database=host={other.dir} dbname={database.name}", f"--directory={MIGRATIONS}")
    refused(r, AWAY, "The server is a standby: nothing can be changed there", "target_session_attrs=read-write")
    r = run_migrate("status", f"--database=host={other.dir} dbname={database.name}", f"--directory={MIGRATIONS}")
    assert r.returncode == DONE and "(standby)" in r.stdout


def test_read_only_database_is_refused(empty):
    empty.sql(f"alter database {empty.name} set default_transaction_read_only = on")
    refused(empty.migrate("up", check=False), AWAY, "The server is read-only")


def test_wrong_encoding_is_refused(server):
    server.sql("create database latin owner reeve_owner template template0 encoding 'LATIN1' lc_collate 'C' lc_ctype 'C'")
    try:
        r = run_migrate("up", f"--database=host={server.dir} dbname=latin", f"--directory={MIGRATIONS}")
        refused(r, FAULT, "has the encoding LATIN1")
    finally:
        server.drop("latin")


def test_server_killed_in_the_middle(other, files):
    other.start()
    other.psql(MIGRATIONS / "bootstrap.sql")
    conninfo = f"--database=host={other.dir} dbname=reeve"
    add(files, 2, "create table reeve.half (n int); select pg_sleep(60)", "")
    p = subprocess.Popen([str(MIGRATE), "up", conninfo, f"--directory={files}"], stderr=subprocess.PIPE, stdout=subprocess.PIPE,
                         text=True)
    wait_for(lambda: other.sql("select 1 from pg_stat_activity where wait_event = 'PgSleep'"), what="the sleep")
    other.kill9()
    _, err = p.communicate(timeout=within(20))
    assert p.returncode == AWAY, err
    assert other.sql("select max(version), to_regclass('reeve.half') from reeve.schema_migration", dbname="reeve") == [(1, None)]


# ---- check


def test_check_is_content(database):
    assert database.migrate("check").stdout == "The schema has version 1 and is as it was applied.\n"


def test_check_finds_an_invalid_index(database):
    database.sql("update pg_index set indisvalid = false where indexrelid = 'reeve.ready_job'::regclass")
    refused(database.migrate("check", check=False), FAULT, "index reeve.ready_job is invalid")


def test_check_finds_what_makes_commits_untrue(server, database):
    database.sql(f"alter database {database.name} set synchronous_commit = off")
    refused(database.migrate("check", check=False), FAULT, "synchronous_commit is off",
            f"database {database.name} has synchronous_commit = off")
    database.sql(f"alter database {database.name} reset synchronous_commit")
    server.sql("alter role reeve_api set synchronous_commit = off")
    try:
        refused(database.migrate("check", check=False), FAULT, "role reeve_api has synchronous_commit = off")
    finally:
        server.sql("alter role reeve_api reset synchronous_commit")
    for setting in ("fsync", "full_page_writes"):
        server.sql(f"alter system set {setting} = off")
        server.sql("select pg_reload_conf()")
        try:
            wait_for(lambda s=setting: database.value("select current_setting(%s)", s) == "off", what=setting)
            refused(database.migrate("check", check=False), FAULT, f"server setting {setting} is off")
        finally:
            server.sql(f"alter system reset {setting}")
            server.sql("select pg_reload_conf()")


@pytest.mark.parametrize("name, value", [("enable_seqscan", "off"), ("plan_cache_mode", "force_generic_plan")])
def test_check_finds_a_role_without_its_settings(server, database, name, value):
    server.sql(f"alter role reeve_worker reset {name}")
    try:
        r = database.migrate("check")
        assert f"role reeve_worker has no setting {name} = {value}: run bootstrap.sql" in r.stderr
    finally:
        server.sql(f"alter role reeve_worker set {name} = {value}")
    assert "has no setting" not in database.migrate("check").stderr


def test_check_tells_pending(database, files):
    add(files, 2, "select 1", "select 1")
    refused(database.migrate("check", directory=files, check=False), PENDING, "0002_more is pending")


# ---- through PgBouncer in transaction mode


def test_through_pgbouncer(empty, bouncer, files):
    conninfo = bouncer.conninfo(empty)
    add(files, 2, "create table reeve.more (n int)", "drop table reeve.more")
    every = [subprocess.Popen([str(MIGRATE), "up", f"--database={conninfo}", f"--directory={files}"], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True) for _ in range(10)]
    out = [p.communicate(timeout=within(60)) for p in every]
    assert [p.returncode for p in every] == [0] * 10, out
    assert "".join(o for o, _ in out).count("0002_more: applied (") == 1
    for args, code in ((["status"], DONE), (["check"], DONE), (["up", "--dry-run"], DONE), (["down", "--dry-run"], DONE),
                       (["down"], DONE), (["status"], PENDING), (["up"], DONE)):
        r = run_migrate(*args, f"--database={conninfo}", f"--directory={files}")
        assert r.returncode == code, (args, r.stdout + r.stderr)
    # Nothing that was set for a migration stays in a pooled session.
    with psycopg2.connect(conninfo, user="reeve_owner") as c, c.cursor() as cur:
        for _ in range(10):
            cur.execute("select current_setting('lock_timeout'), current_setting('search_path')")
            assert cur.fetchone() == ("0", '"$user", public')
    c.close()


def test_killed_behind_pgbouncer(database, bouncer, files):
    conninfo = bouncer.conninfo(database)
    add(files, 2, "create table reeve.half (n int); select pg_sleep(60)", "")
    p = subprocess.Popen([str(MIGRATE), "up", f"--database={conninfo}", f"--directory={files}"], stdout=subprocess.DEVNULL,
                         stderr=subprocess.DEVNULL)
    wait_for(lambda: database.value("select count(*) from pg_stat_activity where wait_event = 'PgSleep'"), what="the sleep")
    p.kill()
    p.wait()
    wait_for(lambda: not database.value("select count(*) from pg_locks where locktype = 'advisory'"), 15, "the lock is free")
    assert version(database) == 1 and database.value("select to_regclass('reeve.half')") is None


# ---- the program


@pytest.mark.parametrize("args, text", [
    ([], "No command"), (["fly"], 'Unknown command "fly"'), (["up", "more"], 'Too many arguments: "more"'),
    (["up", "--to=x"], "--to=x is not a number"), (["down", "--steps=0"], "--steps=0 is not a number"),
    (["status", "--to=1"], "--to does not go with this command"), (["down", "--steps=1", "--to=0"], "--steps does not go"),
    (["up", "--confirm-data-loss"], "--confirm-data-loss does not go"), (["up", "--json"], "--json does not go"),
    (["up", "--lock-timeout=never"], "--lock-timeout=never is not a time span"), (["show"], "show needs the number"),
    (["show", "x"], "show needs the number"), (["up", "--nonsense"], "Try --help"),
])
def test_usage(args, text):
    refused(run_migrate(*args, "--database=host=/nonexistent"), USAGE, text)


def test_versions_that_make_no_sense(database, files):
    refused(database.migrate("up", "--to=7", check=False), USAGE, "There is no migration 7")
    refused(database.migrate("up", "--to=0", check=False), USAGE, "down --to 0")
    refused(database.migrate("down", "--to=2", check=False), USAGE, "up --to 2")


def test_connection_string_that_is_none():
    refused(run_migrate("wait", "--database=host=x nonsense=1"), USAGE, "is not a connection string")


def test_help_names_every_command_and_exit_code():
    r = run_migrate("--help")
    assert r.returncode == DONE
    for word in ("status", "up", "down", "check", "show", "wait", "--dry-run", "0 done", "7 roles"):
        assert word in r.stdout


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: another /etc/passwd is put in place in a mount namespace")
def test_root_becomes_the_user_that_owns_the_schema(server, empty, tmp_path):
    passwd = tmp_path / "passwd"
    passwd.write_text("root:x:0:0:root:/root:/bin/sh\nreeve:x:65534:65534:reeve:/:/bin/false\n")
    hba, ident = server.data / "pg_hba.conf", server.data / "pg_ident.conf"
    before = hba.read_text(), ident.read_text()
    hba.write_text(f"local {empty.name} reeve_owner peer map=m\n" + before[0])
    ident.write_text("m nobody reeve_owner\n")
    try:
        server.sql("select pg_reload_conf()")
        command = [str(MIGRATE), "up", f"--database={empty.conninfo}", f"--directory={MIGRATIONS}"]
        wait_for(lambda: "Peer authentication failed" in subprocess.run(command, capture_output=True, text=True).stderr,
                 what="the new pg_hba.conf")
        r = subprocess.run(["unshare", "-m", "sh", "-c", 'mount --bind "$0" /etc/passwd && exec "$@"', str(passwd), *command],
                           capture_output=True, text=True)
        assert r.returncode == DONE, r.stderr
        assert empty.value("select applied_by from reeve.schema_migration").startswith("root@")
    finally:
        hba.write_text(before[0])
        ident.write_text(before[1])
        server.sql("select pg_reload_conf()")
