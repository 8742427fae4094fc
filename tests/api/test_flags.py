"""Flags as a program sees them by OFREP, and as those who look after them do."""
import importlib.util
import json
import pathlib
import statistics
import time

import pytest

from conftest import Api, pg, wait_for
from patience import within

_spec = importlib.util.spec_from_file_location("queue_db", pathlib.Path(pg.__file__).with_name("queue_db.py"))
queue_db = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(queue_db)
bouncer = pg.bouncer
SIZE_RULE = json.dumps([{"property": "size", "op": ">", "value": 10485760}])


@pytest.fixture
def control(database):
    return queue_db.Control(database)


def evaluate(api, key="async", status=200, body=None, **context):
    r = api.post(f"/ofrep/v1/evaluate/flags/{key}", {"context": context} if body is None else body)
    assert r.status == status, r
    assert r.headers["Content-Type"] == "application/json"
    assert r.json["key"]
    return r.json


def seen(api, key="async", timeout=10, **expected):
    """Waits until the answer has these members; how long it took."""
    t0 = time.monotonic()
    while True:
        answer = api.post(f"/ofrep/v1/evaluate/flags/{key}", {"context": {"targetingKey": "u"}}).json
        if all(answer.get(k) == v for k, v in expected.items()):
            return time.monotonic() - t0
        assert time.monotonic() - t0 < within(timeout), (answer, expected)
        time.sleep(0.002)


# ---- OFREP


def test_the_answers_of_a_flag(control, start):
    control.create("async", enabled=True, percent=10000, allow=["ann"], rules=SIZE_RULE)
    control.create("off", percent=100000)
    control.create("all", enabled=True, percent=100000, value_on='{"model": "new"}', value_off='{"model": "old"}')
    control.create("mod", enabled=True, percent=25000, bucketing="modulo")
    api = start()
    assert evaluate(api, targetingKey="ann") == {"key": "async", "value": True, "reason": "TARGETING_MATCH", "variant": "on",
                                                 "metadata": {"version": 1}}
    assert evaluate(api, targetingKey="bob", size=10485761)["reason"] == "TARGETING_MATCH"
    assert evaluate(api, targetingKey="bob", size=1)["reason"] == "SPLIT"
    assert evaluate(api) == {"key": "async", "value": False, "reason": "ERROR", "variant": "off",
                             "metadata": {"version": 1, "error": "there is no subject"}}
    assert evaluate(api, "off", targetingKey="ann") == {"key": "off", "value": False, "reason": "DISABLED", "variant": "off",
                                                        "metadata": {"version": 1}}
    assert evaluate(api, "all")["value"] == {"model": "new"} and evaluate(api, "all")["reason"] == "STATIC"
    assert [evaluate(api, "mod", targetingKey=k)["variant"] for k in ("24", "25", 124, -1)] == ["on", "off", "on", "off"]
    assert evaluate(api, "mod", targetingKey="ann")["reason"] == "ERROR"


def test_flagd_and_this_agree_on_who_is_in(control, start):
    control.create("async-processing", enabled=True, percent=10000)
    api = start()
    c = api.connect()
    on = [i for i in range(1, 92) if c.call("POST", "/ofrep/v1/evaluate/flags/async-processing",
                                            {"context": {"targetingKey": f"user-{i}"}}).json["value"]]
    c.close()
    assert on == [19, 23, 24, 33, 76, 80, 88, 91]


@pytest.mark.parametrize("body, code, text", [
    ("{", "PARSE_ERROR", "Line 1"), ("[]", "PARSE_ERROR", "expected an object"), ('{"context": {}} x', "PARSE_ERROR", "Line 1"),
    ('{"context": 1}', "INVALID_CONTEXT", "context"), ('{"context": {"targetingKey": {}}}', "INVALID_CONTEXT", "targetingKey"),
    ('{"context": {"targetingKey": "' + "x" * 257 + '"}}', "INVALID_CONTEXT", "targetingKey"),
    ('{"context": {"a": "\\ud800"}}', "PARSE_ERROR", "Line 1"),
])
def test_a_body_that_is_none(control, start, body, code, text):
    control.create()
    api = start()
    r = api.post("/ofrep/v1/evaluate/flags/async", body, {"Content-Type": "application/json"})
    assert r.status == 400 and r.headers["Content-Type"] == "application/json"
    assert (r.json["key"], r.json["errorCode"]) == ("async", code) and text in r.json["errorDetails"]


def test_what_else_a_client_may_send(control, start):
    control.create(enabled=True, percent=100000)
    api = start()
    for body in ({}, {"context": None}, {"context": {}}, {"context": {"targetingKey": None}}, {"context": {}, "later": 1}):
        assert evaluate(api, body=body)["value"] is True
    assert api.post("/ofrep/v1/evaluate/flags/async").json["value"] is True
    r = api.post("/ofrep/v1/evaluate/flags/async", '{"context":{}}', {"Content-Type": "application/json; charset=utf-8"})
    assert r.status == 200
    assert api.post("/ofrep/v1/evaluate/flags/async", "a=b", {"Content-Type": "text/plain"}).status == 415
    assert api.post("/ofrep/v1/evaluate/flags/async", '{"context":{"a":"' + "x" * 70000 + '"}}',
                    {"Content-Type": "application/json"}).status == 413
    assert api.get("/ofrep/v1/evaluate/flags/async").status == 405


@pytest.mark.parametrize("path, key", [("nobody", "nobody"), ("a%20b%2Fc", "a b/c"), ("a%20b/c", "a b/c"), ("ASYNC", "ASYNC"),
                                       ("x" * 300, "x" * 300), ("%C3%BC", "ü")])
def test_no_such_flag(control, start, path, key):
    control.create()
    assert evaluate(start(), path, 404) == {"key": key, "errorCode": "FLAG_NOT_FOUND", "errorDetails": "There is no such flag."}


def test_who_may_evaluate(control, start):
    control.create(enabled=True, percent=100000)
    api = start()
    path = "/ofrep/v1/evaluate/flags/async"
    assert api.post(path, {"context": {}}, tcp=True).status == 401
    for role, status, listed in (("read", 200, 200), ("submit", 200, 200), ("worker", 200, 200), ("metrics", 403, 403)):
        secret = api.post("/api/keys", {"name": role, "role": role, "tenant": "*"}).json["secret"]
        head = {"Authorization": f"Bearer {secret}"}
        assert api.post(path, {"context": {}}, head, tcp=True).status == status, role
        assert api.get("/api/flags", head, tcp=True).status == listed, role


def test_all_flags_at_once(control, start):
    control.create("async", enabled=True, percent=10000, allow=["ann"], rules=SIZE_RULE)
    control.create("off", percent=100000)
    control.create("mod", enabled=True, percent=25000, bucketing="modulo")
    control.create("gone", enabled=True)
    control.change("archive-flag", "gone")
    api = start()
    path = "/ofrep/v1/evaluate/flags"
    for context in ({"targetingKey": "ann"}, {"targetingKey": "24", "size": 20000000}, {"targetingKey": "bob"}, {}):
        r = api.post(path, {"context": context})
        assert r.status == 200 and r.headers["Content-Type"] == "application/json"
        assert r.json == {"flags": [evaluate(api, key, **context) for key in ("async", "mod", "off")]}
    assert api.post(path).json == r.json, "no body is an empty context"

    # The tag is of what is said to this one, and as exact as that.
    r = api.post(path, {"context": {"targetingKey": "ann"}})
    tag = r.headers["ETag"]
    assert tag[0] == tag[-1] == '"' and api.post(path, {"context": {"targetingKey": "bob"}}).headers["ETag"] != tag
    for asked in (tag, f'W/{tag}', f'"other", {tag}', "*"):
        again = api.post(path, {"context": {"targetingKey": "ann"}}, {"If-None-Match": asked})
        assert again.status == 304 and not again.body and again.headers["ETag"] == tag, asked
    assert api.post(path, {"context": {"targetingKey": "bob"}}, {"If-None-Match": tag}).status == 200
    control.change("set-flag-percent", "off", 5)
    new = wait_for(lambda: (a := api.post(path, {"context": {"targetingKey": "ann"}}, {"If-None-Match": tag})).status == 200 and a,
                   10, "a change changes the tag")
    assert [f["metadata"]["version"] for f in new.json["flags"]] == [1, 1, 2]


def test_bad_bodies_for_all_flags(start):
    api = start()
    path = "/ofrep/v1/evaluate/flags"
    assert api.post(path, {"context": {}}).json == {"flags": []}
    for body, code in (("{", "PARSE_ERROR"), ("[]", "PARSE_ERROR"), ('{"context":1}', "INVALID_CONTEXT"),
                       ('{"context":{"targetingKey":{}}}', "INVALID_CONTEXT")):
        r = api.post(path, body, {"Content-Type": "application/json"})
        assert r.status == 400 and r.json["errorCode"] == code and r.json["errorDetails"] and "key" not in r.json, r
    assert api.get(path).status == 405 and api.post(path, {}, tcp=True).status == 401


# ---- changes arrive


def test_a_change_is_seen_at_once(database, control, start):
    """Within 100 ms as a rule; the bound here is what a busy machine may take. Figures are printed (-s)."""
    control.create(enabled=True)
    api = start()
    seen(api, reason="STATIC", value=False)
    took = []
    for i in range(10):
        control.change("set-flag-percent", "async", 100000 if i % 2 == 0 else 0)
        took.append(seen(api, value=i % 2 == 0))
    print(f"a change was seen after {statistics.median(took) * 1000:.1f} ms (median), {max(took) * 1000:.1f} ms (most)")
    assert max(took) < within(1)
    control.change("archive-flag", "async")
    wait_for(lambda: api.post("/ofrep/v1/evaluate/flags/async").status == 404, 1, "archived")
    control.create("new", enabled=True, percent=100000)
    wait_for(lambda: api.post("/ofrep/v1/evaluate/flags/new").status == 200, 1, "created")


def test_a_change_while_the_connections_were_lost_is_seen(database, control, start):
    control.create(enabled=True)
    api = start()
    seen(api, value=False)
    n = database.value("select count(*) from pg_stat_activity where application_name = 'reeve-api'")
    assert n == 2, "one works, one listens"
    database.sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'reeve-api'")
    control.change("set-flag-percent", "async", 100000)
    seen(api, value=True)
    wait_for(lambda: database.value("select count(*) from pg_stat_activity where application_name = 'reeve-api'") == 2, 10, "both back")
    time.sleep(0.2)
    control.change("set-flag-percent", "async", 0)
    assert seen(api, value=False) < 1, "it listens again"


def test_a_lost_listener_is_made_up_for_by_polling(database, control, start):
    control.create(enabled=True)
    api = start()
    seen(api, value=False)
    with database.connect("postgres", autocommit=True).cursor() as cur:
        def listener():
            cur.execute("select pid from pg_stat_activity where application_name = 'reeve-api' and query ilike 'listen%%'")
            return cur.fetchall()
        (pid,), = wait_for(listener, what="the API listens")
    with database.server.stop_backend(pid):  # it hears nothing and says nothing
        control.change("set-flag-percent", "async", 100000)
        took = seen(api, value=True, timeout=15)
    assert took < within(12)


def test_many_changes_at_once_end_with_the_last(database, control, start):
    control.create(enabled=True)
    api = start()
    for p in range(200):
        control.change("set-flag-percent", "async", p)
    control.change("set-flag-percent", "async", 100000)
    seen(api, value=True, timeout=2, metadata={"version": 202})


def test_through_pgbouncer_within_two_seconds(database, control, bouncer, start):
    control.create(enabled=True)
    api = start(wait=False)
    api.stop()
    api.configure(bouncer.conninfo(database))
    conf = api.dir / "root/etc/reeve/reeve.conf"
    conf.write_text(conf.read_text().replace("Prepared=yes", "Prepared=no"))
    api.start()
    api.wait_up()
    seen(api, value=False)
    for i in range(3):
        control.change("set-flag-percent", "async", 100000 if i % 2 == 0 else 0)
        assert seen(api, value=i % 2 == 0) < 2.5


# ---- without the database


def test_flags_outlive_the_connection(database, server, control, start):
    control.create("kept", enabled=True, percent=100000, on_stale="keep")
    control.create("on", enabled=False, on_stale="on")
    control.create("off", enabled=True, percent=100000, on_stale="off")
    api = start(conf="[Flags]\nStaleSec=4s\n")
    secret = api.post("/api/keys", {"name": "app", "role": "read", "tenant": "*"}).json["secret"]
    head = {"Authorization": f"Bearer {secret}"}

    def answers(tcp=False):
        every = [api.post(f"/ofrep/v1/evaluate/flags/{k}", {}, head, tcp=tcp) for k in ("kept", "on", "off")]
        assert all(r.status == 200 for r in every), every
        return [r.json["value"] for r in every]
    assert answers() == answers(tcp=True) == [True, False, True]
    server.stop()
    try:
        wait_for(lambda: api.get("/health").status == 503, 10, "the loss is seen")
        assert api.get("/api/flags").status == 503
        wait_for(lambda: api.get("/health").json["checks"]["flags"] == "stale", 10, "stale")
        assert answers() == [True, True, False]
        assert api.post("/ofrep/v1/evaluate/flags/on", {}).json["metadata"]["stale"] is True
        time.sleep(2)  # the key was looked up more than five seconds ago now
        assert answers(tcp=True) == [True, True, False], "keys that were good stay good for flags"
        assert api.post("/ofrep/v1/evaluate/flags/on", {}, {"Authorization": "Bearer reeve_wrong"}, tcp=True).status == 503
    finally:
        server.start()
    wait_for(lambda: answers() == [True, False, True], 15, "as they were")
    assert api.get("/health").json["checks"]["flags"] == "ok"


def test_without_flags_it_says_so(database, server, control, start):
    control.create(enabled=True, percent=100000)
    server.stop()
    try:
        api = start(wait=False)
        r = api.post("/ofrep/v1/evaluate/flags/async", {})
        assert r.status == 503 and r.headers["Retry-After"] and r.json["type"] == "urn:reeve:problem:unavailable"
        assert api.get("/health").json["checks"]["flags"] == "not read"
    finally:
        server.start()
    wait_for(lambda: api.post("/ofrep/v1/evaluate/flags/async", {}).status == 200, 15, "the flags were read")


def test_the_request_that_started_it_gets_its_flag(database, control, start):
    control.create(enabled=True, percent=100000)
    api = start(wait=False)
    assert evaluate(api)["value"] is True


def test_flags_wait_for_their_schema(server, start):
    empty = server.create()
    empty.migrate("up", "--to=1")
    api = Api(empty)
    try:
        assert api.post("/ofrep/v1/evaluate/flags/async", {}).status == 503
        empty.migrate("up")
        queue_db.Control(empty).create(enabled=True, percent=100000)
        api.wait_up()
        seen(api, value=True)
    finally:
        api.close()
        empty.close()
        server.drop(empty.name)


def test_rules_of_a_newer_program(database, control, start):
    """What this one cannot read is off and says why; the others are not touched."""
    control.create("newer", enabled=True, percent=100000, rules='[{"property": "a", "op": "~", "value": "x"}]')
    control.create("off", rules='[{"property": "a", "op": "~", "value": "x"}]')
    control.create("fine", enabled=True, percent=100000)
    api = start()
    r = evaluate(api, "newer")
    assert (r["value"], r["reason"]) == (False, "ERROR") and "no such operator" in r["metadata"]["error"]
    assert evaluate(api, "off")["reason"] == "DISABLED" and evaluate(api, "fine")["value"] is True


# ---- looking at flags


def test_flags_are_listed_and_shown(control, start):
    control.create("b", enabled=True, percent=12345, allow=["ann"], rules=SIZE_RULE, description="the B", seed="s")
    control.create("a")
    control.create("gone")
    control.change("archive-flag", "gone")
    api = start()
    flags = api.get("/api/flags").json["flags"]
    assert [f["key"] for f in flags] == ["a", "b"]
    b = api.get("/api/flags/b").json
    assert b == flags[1]
    at = b.pop("updated_at")
    assert at.endswith("Z") and b == {
        "key": "b", "description": "the B", "enabled": True, "percent": 12.345, "bucketing": "murmur3", "seed": "s", "allow": ["ann"],
        "rules": json.loads(SIZE_RULE), "queues": [], "value_on": True, "value_off": False, "on_stale": "off", "version": 1, "updated_by": "uid:1000"}
    assert api.get("/api/flags/gone").json["archived_at"].endswith("Z")
    r = api.get("/api/flags/nobody")
    assert r.status == 404 and r.json["type"] == "urn:reeve:problem:not-found" and "nobody" in r.json["detail"]


def test_history_of_a_flag(control, start):
    control.create()
    control.change("set-flag-percent", "async", 12500, reason="week 3")
    api = start()
    h = api.get("/api/flags/async/history").json["history"]
    assert [(e["event"], e["actor"], e["reason"]) for e in h] == [("set-percent", "uid:0", "week 3"), ("create", "uid:1000", "a test")]
    assert h[0]["detail"] == {"version": 2, "percent": 12.5, "was": 0} and h[0]["at"].endswith(("Z", "+00:00"))
    assert api.get("/api/flags/nobody/history").status == 404


def test_metrics_tell_how_old_the_flags_are(control, start):
    text = start().get("/metrics").body.decode()
    age = [line for line in text.splitlines() if line.startswith("reeve_flags_age_seconds ")]
    assert len(age) == 1 and 0 <= float(age[0].split()[1]) < 15
