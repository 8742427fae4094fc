"""What operators change, flags and queues: each change in the history with who and why, and told, in its own transaction."""
import json
import select
import threading
import time

import psycopg2
import pytest

from queue_db import Control, Session, queue  # noqa: F401

# ruff: noqa: F811

pytestmark = pytest.mark.sql

@pytest.fixture
def control(database):
    return Control(database)


class Listener:
    def __init__(self, db, channel="reeve_flag"):
        self.conn = db.connect("reeve_api", autocommit=True)
        with self.conn.cursor() as cur:
            cur.execute(f"listen {channel}")

    def heard(self, timeout=0.0):
        """How many notifications came, waiting for the first at most that long."""
        if timeout:
            select.select([self.conn], [], [], timeout)
        self.conn.poll()
        n = len(self.conn.notifies)
        assert all(x.payload == "" for x in self.conn.notifies)
        self.conn.notifies.clear()
        return n


def test_a_new_flag_is_off_for_everybody(control):
    assert control.create() == 1
    f = control.flag()
    assert (f["key"], f["enabled"], f["percent"], f["bucketing"], f["seed"], f["allow"], f["rules"], f["value_on"], f["value_off"],
            f["on_stale"], f["version"], f["updated_by"], f["archived_usec"]) == (
        "async", False, 0, "murmur3", None, "[]", "[]", "true", "false", "off", 1, "uid:1000", None)
    assert abs(f["updated_usec"] / 1e6 - time.time()) < 60


def test_a_flag_keeps_what_it_was_made_with(control):
    rules = [{"property": "size", "op": ">", "value": 10485760}]
    allow = ["ann", 'quote"d', "back\\slash", "ü,{}"]
    control.create(description="a ü", enabled=True, percent=12345, bucketing="modulo", seed="s", allow=allow,
                   rules=json.dumps(rules), value_on='"new"', value_off='{"a": 1}', on_stale="keep")
    f = control.flag()
    assert json.loads(f["allow"]) == allow and json.loads(f["rules"]) == rules
    assert (f["description"], f["enabled"], f["percent"], f["bucketing"], f["seed"], f["value_on"], f["value_off"], f["on_stale"]) == (
        "a ü", True, 12345, "modulo", "s", '"new"', '{"a": 1}', "keep")
    (h,) = control.history()
    assert (h["event"], h["actor"], h["reason"]) == ("create", "uid:1000", "a test")
    assert h["detail"] == {"version": 1, "enabled": True, "percent": 12.345, "bucketing": "modulo", "seed": "s", "allow": allow,
                           "rules": rules, "on_stale": "keep"}


def test_a_key_is_made_once(database, control):
    """Many at once: one makes it, the others are told."""
    results, sessions = [], [Control(database) for _ in range(8)]

    def make(session):
        results.append(session.create())
    threads = [threading.Thread(target=make, args=(s,)) for s in sessions]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert sorted(results) == [0] * 7 + [1]
    assert len(control.history()) == 1


def test_flags_have_a_limit(control):
    for i in range(3):
        assert control.create(f"f{i}", most=3) == 1
    listener_rows = len(control.run("list-flags", None))
    assert control.create("one-more", most=3) == -1
    assert control.create("f1", most=3) == 0, "a key that is taken is told as such"
    assert len(control.run("list-flags", None)) == listener_rows == 3
    assert control.history("one-more") == []


@pytest.mark.parametrize("statement, value, column, expected, detail", [
    ("set-flag-enabled", True, "enabled", True, {"enabled": True, "was": False}),
    ("set-flag-percent", 25001, "percent", 25001, {"percent": 25.001, "was": 0}),
    ("set-flag-rules", '[{"property": "x", "op": "==", "value": 1}]', "rules", '[{"op": "==", "value": 1, "property": "x"}]',
     {"rules": [{"property": "x", "op": "==", "value": 1}], "was": []}),
    ("set-flag-allow", ["ann", "7"], "allow", '["ann", "7"]', {"allow": ["ann", "7"], "was": []}),
])
def test_a_change_is_recorded_and_told_with_its_commit(database, control, statement, value, column, expected, detail):
    control.create()
    listener = Listener(database)
    late = Control(database, autocommit=False)
    assert late.change(statement, "async", value) == 2
    assert listener.heard(0.2) == 0 and control.flag()["version"] == 1, "nothing is seen before the commit"
    late.commit()
    assert listener.heard(5) == 1
    f = control.flag()
    assert (f[column], f["version"], f["updated_by"]) == (expected, 2, "uid:0")
    h = control.history()
    assert len(h) == 2
    assert (h[0]["event"], h[0]["actor"], h[0]["reason"]) == (statement.replace("-flag-", "-"), "uid:0", "because")
    assert h[0]["detail"] == {"version": 2} | detail


def test_a_change_that_is_undone_leaves_nothing(database, control):
    control.create()
    listener = Listener(database)
    late = Control(database, autocommit=False)
    late.change("set-flag-percent", "async", 50000)
    late.rollback()
    assert (control.flag()["version"], control.flag()["percent"], len(control.history()), listener.heard(0.2)) == (1, 0, 1, 0)


def test_changes_of_many_at_once_are_all_counted(database, control):
    """Each takes the value that it found as "was": the history is a chain."""
    control.create()

    def work(session, base):
        for i in range(10):
            session.change("set-flag-percent", "async", base + i)
    threads = [threading.Thread(target=work, args=(Control(database), 1000 * n)) for n in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert control.flag()["version"] == 41
    changes = sorted((h["detail"] for h in control.history(most=100) if h["event"] == "set-percent"), key=lambda d: d["version"])
    assert [d["version"] for d in changes] == list(range(2, 42))
    assert [d["was"] for d in changes[1:]] == [d["percent"] for d in changes[:-1]]


def test_no_such_flag(database, control):
    listener = Listener(database)
    assert control.change("set-flag-enabled", "nobody", True) == 0
    assert control.change("set-flag-percent", "nobody", 1) == 0
    assert control.change("archive-flag", "nobody") == 0
    assert control.flag("nobody") is None
    assert listener.heard(0.2) == 0 and control.value("select count(*) from reeve.history") == 0


def test_an_archived_flag_is_out_of_use_and_keeps_its_key(control):
    control.create()
    assert control.change("archive-flag", "async") == 2
    assert control.run("list-flags", None) == []
    assert control.flag()["archived_usec"] is not None
    assert control.change("set-flag-enabled", "async", True) == 0 and control.change("archive-flag", "async") == 0
    assert control.create() == 0
    assert [h["event"] for h in control.history()] == ["archive", "create"]


@pytest.mark.parametrize("kw", [
    {"key": ""}, {"key": ".hidden"}, {"key": "a/b"}, {"key": "a b"}, {"key": "a\n"}, {"key": "x" * 65}, {"percent": -1},
    {"percent": 100001}, {"bucketing": "random"}, {"seed": ""}, {"rules": "{}"}, {"rules": "[" + "1," * 40000 + "1]"},
    {"allow": ["x"] * 1001}, {"allow": ["a", None]}, {"on_stale": "maybe"}, {"value_on": '"' + "x" * 5000 + '"'},
    {"description": "x" * 501},
])
def test_the_table_refuses_what_no_flag_can_be(control, kw):
    with pytest.raises(psycopg2.errors.CheckViolation):
        control.create(**kw)
    assert control.run("list-flags", None) == []


def test_daemons_read_flags_and_change_none(database, control):
    control.create()
    for role in ("reeve_api", "reeve_worker"):
        s = Session(database, role)
        assert [f["key"] for f in s.run("list-flags", None)] == ["async"]
        with pytest.raises(psycopg2.errors.InsufficientPrivilege):
            s.run("set-flag-percent", "async", 100000, "me", None)


def test_history_gives_the_newest_first_and_no_more_than_asked_for(control):
    control.create()
    for p in range(5):
        control.change("set-flag-percent", "async", p)
    assert [h["detail"]["version"] for h in control.history(most=3)] == [6, 5, 4]


# ---- queues


def test_a_queue_is_paused_and_resumed(database, control, queue):
    listener = Listener(database, "reeve")
    assert control.change("set-queue-paused", "default", True, reason="disk full") == 1
    assert listener.heard(5) >= 1
    assert queue.worker.run("list-claim-rules") == [{"name": "default", "paused": True}]
    assert control.change("set-queue-paused", "default", False, reason=None) == 1
    assert queue.worker.run("list-claim-rules") == []
    assert control.sql("select event, actor, reason from reeve.history where object = 'queue/default' order by id") == [
        {"event": "pause", "actor": "uid:0", "reason": "disk full"}, {"event": "resume", "actor": "uid:0", "reason": None}]


def test_a_queue_that_nothing_knows_is_not_paused(database, control, queue):
    assert control.change("set-queue-paused", "rubbish", True) == 0
    assert control.value("select count(*) from reeve.queue") == 0 and control.value("select count(*) from reeve.history") == 0


@pytest.mark.parametrize("make", [
    lambda q: q.db.add_kind("other", queue="new"),
    lambda q: q.worker.add(queue="new"),
    lambda q: q.worker.register("new", "h", queues=["new"]),
])
def test_kinds_jobs_and_workers_make_a_queue_known(control, queue, make):
    make(queue)
    assert control.change("set-queue-paused", "new", True) == 1
