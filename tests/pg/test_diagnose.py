"""reeve-doctor: the facts that "reevectl doctor" judges, on a real server."""
import json
import re
import subprocess
import time

import pytest

from conftest import BUILD, ROOT, wait_for
from patience import within

DOCTOR = BUILD / "src/doctor/reeve-doctor"
SQL = ROOT / "src/store/sql"
NUMBER = re.search(r"\d+", sorted(p.name for p in (ROOT / "migrations").glob("*.up.sql"))[-1]).group()


def ask(tmp_path, conninfo):
    (tmp_path / "etc/reeve").mkdir(parents=True, exist_ok=True)
    (tmp_path / "etc/reeve/reeve.conf").write_text(f"[Database]\nDatabase={conninfo}\n")
    r = subprocess.run([DOCTOR, f"--root={tmp_path}"], capture_output=True, text=True, timeout=within(60))
    assert r.returncode == 0 and not r.stderr and r.stdout.count("\n") == 1, r
    return json.loads(r.stdout)


def facts(database, age="1 second", role="reeve_owner"):
    """diagnose-server.sql with a shorter patience."""
    sql = (SQL / "diagnose-server.sql").read_text()
    assert sql.count("5 minutes") == 2
    return json.loads(database.sql(sql.replace("5 minutes", age).replace("%", "%%"), role=role)[0][0])


def test_a_healthy_database(database, tmp_path):
    said = ask(tmp_path, database.conninfo)
    assert said["embedded"] is False and said["faults"] == [] or all("fsync" in f["object"] for f in said["faults"]), said
    assert said["server"]["registry"] and said["server"]["version_num"] >= 150000 and said["server"]["encoding"] == "UTF8"
    assert abs(said["skew_usec"]) < 2_000_000 and said["round_trip_usec"] > 0
    assert said["schema"] == {"version": int(NUMBER), "interrupted": 0, "failed": 0, "succeeded": 0, "in_default": False, "keys": []}
    quiet = {k: said["facts"][k] for k in ("old_transactions", "prepared", "slots", "dead_rows", "hidden")}
    assert quiet == {"old_transactions": [], "prepared": [], "slots": [], "dead_rows": [], "hidden": 0}
    assert 0 < said["facts"]["connections"] < said["facts"]["connections_max"]


def test_without_schema_or_database(empty, tmp_path):
    said = ask(tmp_path, empty.conninfo)
    assert said["server"]["registry"] is False and "schema" not in said and "schema_error" not in said
    said = ask(tmp_path, f"host={empty.server.dir} dbname=nothing")
    assert 'database "nothing" does not exist' in said["error"] and set(said) == {"error", "embedded"}
    assert "No such file" in ask(tmp_path, "host=/nowhere dbname=x")["error"]


def test_a_schema_that_cannot_be_read(database, tmp_path):
    database.sql("alter table reeve.api_key rename to nothing")
    said = ask(tmp_path, database.conninfo)
    assert "reeve.api_key" in said["schema_error"] and "schema" not in said and said["facts"]


@pytest.mark.parametrize("role", ["postgres", "reeve_api"])
def test_a_transaction_that_stays_open(database, role):
    c = database.connect(role)
    cur = c.cursor()
    cur.execute("select 1")
    wait_for(lambda: facts(database)["old_transactions"], what="it is told")
    (old,) = facts(database)["old_transactions"]
    assert old["user"] == role and old["state"] == "idle in transaction" and old["sec"] >= 1 and old["pid"] == c.get_backend_pid()
    assert facts(database, "1 hour")["old_transactions"] == []
    c.rollback()
    assert facts(database)["old_transactions"] == []


def test_who_may_not_see_others_says_so(database):
    c = database.connect("postgres", autocommit=True)
    c.cursor().execute("select 1")
    database.sql("revoke pg_read_all_stats from reeve_owner")
    try:
        assert facts(database)["hidden"] >= 1
    finally:
        database.sql("grant pg_read_all_stats to reeve_owner")
    assert facts(database)["hidden"] == 0


def test_a_prepared_transaction_that_stays(database):
    c = database.connect("reeve_owner")
    c.tpc_begin(c.xid(0, "doctor", ""))
    c.cursor().execute("select 1")
    c.tpc_prepare()
    try:
        time.sleep(1.1)   # it is that old then
        assert [p["sec"] >= 1 for p in facts(database)["prepared"]] == [True]
    finally:
        c.tpc_rollback()
    assert facts(database)["prepared"] == []


def test_help_and_a_wrong_word():
    said = subprocess.run([DOCTOR, "--help"], capture_output=True, text=True, timeout=within(60))
    assert said.returncode == 0 and "reevectl doctor" in said.stdout and not said.stderr
    assert subprocess.run([DOCTOR, "--root"], capture_output=True, timeout=within(60)).returncode == 2
