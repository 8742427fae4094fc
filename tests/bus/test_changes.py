"""What changes something: who may, what is answered when, what is recorded."""
import json
import os
import pwd
import time

import pytest
from conftest import FLAG, INTERACTIVE, MANAGER, NAME, PROPERTIES, QUEUE, ROOT, Polkit, Variant, api, flag_path, pg, spin
from patience import within

ME = f"uid:{os.getuid()} ({pwd.getpwuid(os.getuid()).pw_name})"

RULES = '[{"property": "size", "op": ">", "value": 10485760}]'


@pytest.fixture
def flag(manager, client):
    """A flag, disabled, at 10 %; its path."""
    path = client.manager("CreateFlag", "(sa{sv})", "async-processing", {"percent": Variant("d", 10)})
    assert path == flag_path("async-processing") == f"{ROOT}/flag/async_2dprocessing"
    return path


def send_enabled(client, key, on, reason="", **kw):
    return client.send(ROOT, MANAGER, "SetFlagEnabled", Variant("(sbs)", (key, on, reason)), **kw)


# ---- flags


def test_create_a_flag(manager, client, polkit):
    client.listen()
    options = {"enabled": Variant("b", True), "percent": Variant("d", 12.345), "bucketing": Variant("s", "modulo"),
               "seed": Variant("s", "s1"), "description": Variant("s", "words"), "on_stale": Variant("s", "keep"),
               "allow": Variant("as", ["a", 'b"\\']), "reason": Variant("s", "trial"), "rules": Variant("s", RULES),
               "value_on": Variant("s", '{"a": 1}'), "value_off": Variant("s", "null")}
    path = client.manager("CreateFlag", "(sa{sv})", "async-processing", options)
    said = client.get_all(path, FLAG)
    assert abs(said.pop("UpdatedAt") - time.time() * 1e6) < 60e6
    assert said.pop("UpdatedBy").startswith(ME)
    assert json.loads(said.pop("Rules")) == json.loads(RULES)
    assert said == {"Key": "async-processing", "Enabled": True, "RolloutPercent": 12.345, "Bucketing": "modulo", "Seed": "s1",
                    "Description": "words", "OnStale": "keep", "Etag": '"1"', "Allow": ["a", 'b"\\'], "Queues": ["pdf"],
                    "ValueOn": '{"a": 1}', "ValueOff": "null"}
    (event, actor, reason, detail), = manager.history("flag/async-processing")
    assert (event, reason, detail["percent"], detail["allow"]) == ("create", "trial", 12.345, ["a", 'b"\\'])
    assert actor.startswith(ME)
    assert client.manager("ListFlags") == [("async-processing", True, 12.345, path)]
    assert polkit.asked[-1]["action"] == "org.reeve1.manage-flags"
    assert polkit.asked[-1]["subject"] == ("system-bus-name", {"name": client.name})
    spin(lambda: [a[0] for _, _, m, a in client.signals if m == "InterfacesAdded"] == [path], what="InterfacesAdded")
    assert client.fails(ROOT, MANAGER, "CreateFlag", Variant("(sa{sv})", ("async-processing", {}))).name == "org.reeve1.Error.FlagExists"


@pytest.mark.parametrize("key, options, says", [
    ("", {}, "Not a name"), ("a/b", {}, "Not a name"), ("x" * 65, {}, "Not a name"), ("\N{SNOWMAN}", {}, "Not a name"),
    ("a", {"colour": Variant("s", "red")}, '"colour"'), ("a", {"enabled": Variant("s", "yes")}, 'type "b", not "s"'),
    ("a", {"percent": Variant("d", 100.1)}, "0 to 100"), ("a", {"percent": Variant("d", float("nan"))}, "0 to 100"),
    ("a", {"percent": Variant("d", 0.0001)}, "steps of 0.001"), ("a", {"percent": Variant("i", 5)}, 'type "d"'),
    ("a", {"bucketing": Variant("s", "random")}, '"random"'), ("a", {"on_stale": Variant("s", "maybe")}, '"maybe"'),
    ("a", {"seed": Variant("s", "x" * 65)}, "64 bytes"), ("a", {"description": Variant("s", "x" * 501)}, "500 bytes"),
    ("a", {"allow": Variant("as", [""])}, "1 to 256"), ("a", {"allow": Variant("as", ["x"] * 1001)}, "1000 subjects"),
    ("a", {"reason": Variant("s", "x" * 501)}, "500 bytes"), ("a", {"rules": Variant("s", "[")}, "Rules, line 1"),
    ("a", {"rules": Variant("s", '[{"property": "a", "op": "~", "value": 1}]')}, "Rules, line 1"),
    ("a", {"rules": Variant("s", " " * 65537)}, "65536 bytes"), ("a", {"value_on": Variant("s", "yes")}, "no JSON"),
    ("a", {"value_off": Variant("s", '"\\u0000"')}, "no JSON"), ("a", {"value_on": Variant("s", f'"{"x" * 4096}"')}, "4096 bytes"),
])
def test_bad_flags_are_refused(manager, client, polkit, key, options, says):
    error = client.fails(ROOT, MANAGER, "CreateFlag", Variant("(sa{sv})", (key, options)))
    assert error.name == "org.freedesktop.DBus.Error.InvalidArgs" and says in error.text
    assert client.manager("ListFlags") == [] and polkit.asked == []


def test_set_enabled_by_each_way(manager, client, flag, database):
    client.listen()
    client.manager("SetFlagEnabled", "(sbs)", "async-processing", True, "go")
    assert client.get(flag, FLAG, "Enabled") is True
    client.call(flag, FLAG, "SetEnabled", Variant("(bs)", (False, "stop")))
    assert client.get(flag, FLAG, "Enabled") is False
    client.set(flag, FLAG, "Enabled", "b", True)
    assert client.get(flag, FLAG, "Enabled") is True and client.get(flag, FLAG, "Etag") == '"4"'
    assert [(e, r, d.get("enabled"), d.get("was")) for e, _, r, d in manager.history("flag/async-processing")[1:]] == \
        [("set-enabled", "go", True, False), ("set-enabled", "stop", False, True), ("set-enabled", None, True, False)]
    spin(lambda: client.changes(flag).get("Etag") == '"4"', what="PropertiesChanged")
    assert client.changes(flag)["Enabled"] is True
    assert database.value("select enabled from reeve.flag") is True


def test_set_percent_by_each_way(manager, client, flag, polkit):
    client.manager("SetFlagPercent", "(sds)", "async-processing", 25.5, "more")
    assert client.get(flag, FLAG, "RolloutPercent") == 25.5
    assert polkit.asked[-1]["details"] == {"flag": "async-processing", "percent": "25.5"}
    client.call(flag, FLAG, "SetRolloutPercent", Variant("(ds)", (50, "")))
    client.set(flag, FLAG, "RolloutPercent", "d", 100)
    assert client.get(flag, FLAG, "RolloutPercent") == 100
    assert [d["percent"] for e, _, _, d in manager.history("flag/async-processing") if e == "set-percent"] == [25.5, 50, 100]
    for bad in (-1, 100.0001, float("inf"), 3.14159):
        assert client.fails(ROOT, MANAGER, "SetFlagPercent", Variant("(sds)", ("async-processing", bad, ""))).name.endswith("InvalidArgs")
        refused = client.send_set(flag, FLAG, "RolloutPercent", "d", bad)
        spin(lambda: refused.done)
        assert refused.error.name.endswith("InvalidArgs")
    assert client.get(flag, FLAG, "RolloutPercent") == 100


def test_rules_allow_and_archive(manager, client, flag, database):
    client.listen()
    client.call(flag, FLAG, "SetRules", Variant("(ss)", (RULES, "large ones")))
    assert json.loads(client.get(flag, FLAG, "Rules")) == json.loads(RULES)
    client.set(flag, FLAG, "Rules", "s", "[]")
    assert client.get(flag, FLAG, "Rules") == "[]"
    assert client.fails(flag, FLAG, "SetRules", Variant("(ss)", ("{}", ""))).name.endswith("InvalidArgs")
    client.call(flag, FLAG, "SetAllow", Variant("(ass)", (["alice", "bob"], "friends")))
    assert client.get(flag, FLAG, "Allow") == ["alice", "bob"]
    spin(lambda: client.changes(flag).get("Allow") == ["alice", "bob"], what="PropertiesChanged")
    assert client.fails(flag, FLAG, "SetAllow", Variant("(ass)", (["x" * 257], ""))).name.endswith("InvalidArgs")
    client.call(flag, FLAG, "Archive")
    assert client.manager("ListFlags") == []
    assert [e for e, _, _, _ in manager.history("flag/async-processing")] == ["create", "set-rules", "set-rules", "set-allow", "archive"]
    assert client.fails(ROOT, MANAGER, "CreateFlag", Variant("(sa{sv})", ("async-processing", {}))).name == "org.reeve1.Error.FlagExists"
    assert client.fails(ROOT, MANAGER, "SetFlagEnabled", Variant("(sbs)", ("async-processing", True, ""))).name == "org.reeve1.Error.NoSuchFlag"


def test_evaluate(manager, client, polkit):
    options = {"enabled": Variant("b", True), "percent": Variant("d", 10), "allow": Variant("as", ["alice"]),
               "rules": Variant("s", '[{"property": "size", "op": ">", "value": 10485760}, {"property": "targetingKey", "op": "==", "value": "rule"},'
                                     '{"property": "country", "op": "in", "value": ["fr", "de"]}, {"property": "new", "op": "==", "value": true}]')}
    path = client.manager("CreateFlag", "(sa{sv})", "async-processing", options)
    asked = len(polkit.asked)

    def says(subject, **context):
        return client.call(path, FLAG, "Evaluate", Variant("(sa{sv})", (subject, context)))

    # flagd's own known answers (10 of 100 by murmur3).
    assert [n for n in range(100) if says(f"user-{n}")[1] == "on"] == [19, 23, 24, 33, 76, 80, 88, 91]
    assert says("user-19") == ("true", "on", "SPLIT") and says("user-20") == ("false", "off", "SPLIT")
    assert says("alice") == ("true", "on", "TARGETING_MATCH") and says("rule")[2] == "TARGETING_MATCH"
    for kind, big, small in (("y", None, 1), ("i", 20 << 20, 1), ("u", 20 << 20, 1), ("x", 20 << 20, -1), ("t", 1 << 63, 1), ("d", 2e7, 1.5),
                             ("n", None, 1), ("q", None, 1)):
        assert says("", size=Variant(kind, small))[1] == "off"
        assert big is None or says("", size=Variant(kind, big))[1] == "on"
    assert says("x", country=Variant("s", "fr"))[1] == "on" and says("x", country=Variant("s", "it"))[1] == "off"
    assert says("x", new=Variant("b", True))[1] == "on"
    for bad in ({"a": Variant("as", [])}, {"a": Variant("v", Variant("i", 1))}, {f"p{i}": Variant("i", 1) for i in range(65)}):
        assert client.fails(path, FLAG, "Evaluate", Variant("(sa{sv})", ("x", bad))).name.endswith("InvalidArgs")
    assert client.fails(path, FLAG, "Evaluate", Variant("(sa{sv})", ("x" * 257, {}))).name.endswith("InvalidArgs")
    client.manager("SetFlagEnabled", "(sbs)", "async-processing", False, "")
    assert says("alice") == ("false", "off", "DISABLED")
    assert len(polkit.asked) == asked + 1, "nobody is asked to look"


def test_evaluate_a_flag_of_a_newer_program(manager, client, flag, database):
    database.sql("update reeve.flag set enabled = true, percent = 100000, rules = '[{\"property\": \"a\", \"op\": \"near\", \"value\": 1}]',"
                 " version = 9; notify reeve_flag")
    spin(lambda: client.get(flag, FLAG, "Etag") == '"9"', what="the change")
    assert client.call(flag, FLAG, "Evaluate", Variant("(sa{sv})", ("x", {}))) == ("false", "off", "ERROR")


def test_evaluate_without_a_database(start, client, polkit, database, server):
    m = start(conf="[Flags]\nStaleSec=3s\n")
    m.wait_up(client)
    paths = {s: client.manager("CreateFlag", "(sa{sv})", s, {"enabled": Variant("b", True), "percent": Variant("d", 100),
                                                             "on_stale": Variant("s", s)}) for s in ("keep", "off")}

    def says(key):
        return client.call(paths[key], FLAG, "Evaluate", Variant("(sa{sv})", ("x", {})))[1]
    server.stop()
    try:
        m.wait_up(client, "degraded")
        assert (says("keep"), says("off")) == ("on", "on")
        spin(lambda: says("off") == "off", 10, "StaleSec= is over")
        assert says("keep") == "on"
    finally:
        server.start()
    m.wait_up(client)
    spin(lambda: says("off") == "on", what="it is fresh again")


def test_a_change_reaches_the_api(manager, client, flag, database):
    """Stored, recorded in history, and in the API's cache: within 100 ms of the answer, mostly of the call."""
    web = api.Api(database)
    try:
        web.wait_up()
        c = web.connect()
        reached = []
        for i in range(10):
            on = i % 2 == 0
            begin = time.monotonic()
            client.manager("SetFlagPercent", "(sds)", "async-processing", 100 if on else 0, "")
            if i == 0:
                client.manager("SetFlagEnabled", "(sbs)", "async-processing", True, "")
            assert database.value("select percent from reeve.flag") == (100000 if on else 0)

            def value():
                return c.call("POST", "/ofrep/v1/evaluate/flags/async-processing", {"context": {"targetingKey": "user-1"}}).json["value"]
            pg.wait_for(lambda: value() is on, 5, "the API", step=0.002)
            reached.append(time.monotonic() - begin)
        assert len(manager.history("flag/async-processing")) == 12
        assert sorted(reached)[5] < within(0.1) and max(reached) < within(1.5), reached
    finally:
        web.close()


def test_lines_of_the_design(manager, flag, client):
    manager.busctl("set-property", NAME, flag, FLAG, "Enabled", "b", "true")
    manager.busctl("set-property", NAME, flag, FLAG, "RolloutPercent", "d", "25")
    manager.busctl("call", NAME, ROOT, MANAGER, "SetFlagEnabled", "sbs", "async-processing", "false", "errors rise")
    assert (client.get(flag, FLAG, "Enabled"), client.get(flag, FLAG, "RolloutPercent")) == (False, 25)
    assert "async_2dprocessing" in manager.busctl("tree", NAME).stdout


def test_no_such_flag(manager, client):
    assert client.fails(ROOT, MANAGER, "SetFlagEnabled", Variant("(sbs)", ("nobody", True, ""))).name == "org.reeve1.Error.NoSuchFlag"
    missing = client.send_set(flag_path("nobody"), FLAG, "Enabled", "b", True)
    spin(lambda: missing.done)
    assert missing.error.name.endswith("UnknownObject")


def test_a_change_by_another_host_is_seen(manager, client, flag, database):
    client.listen()
    t = time.monotonic()
    database.sql("update reeve.flag set enabled = true, version = 2; notify reeve_flag")
    spin(lambda: client.changes(flag).get("Enabled") is True, what="PropertiesChanged")
    assert [s[0] for s in client.signals if s[1] == flag][0] - t < 1
    database.sql("update reeve.flag set archived_at = now(); notify reeve_flag")
    spin(lambda: client.manager("ListFlags") == [], what="its end")


def test_a_change_is_seen_without_its_notification(manager, client, flag, database):
    database.sql("update reeve.flag set enabled = true, version = 2")
    spin(lambda: client.get(flag, FLAG, "Enabled"), timeout=8, what="the next poll")


# ---- queues


def test_pause_and_resume(manager, client, database, polkit):
    client.listen()
    path = f"{ROOT}/queue/documents"
    client.manager("PauseQueue", "(s)", "documents")
    assert client.get(path, QUEUE, "Paused") is True and database.value("select paused from reeve.queue") is True
    assert polkit.asked[-1]["action"] == "org.reeve1.manage-queues" and polkit.asked[-1]["details"]["queue"] == "documents"
    client.manager("ResumeQueue", "(s)", "documents")
    assert client.get(path, QUEUE, "Paused") is False
    client.call(path, QUEUE, "Pause", Variant("(s)", ("too many errors",)))
    assert client.get(path, QUEUE, "Reason") == "too many errors"
    client.call(path, QUEUE, "Resume")
    assert [(e, r) for e, _, r, _ in manager.history("queue/documents")] == \
        [("pause", None), ("resume", None), ("pause", "too many errors"), ("resume", None)]
    spin(lambda: client.changes(path) == {"Paused": False, "Reason": ""}, what="PropertiesChanged")
    assert client.fails(ROOT, MANAGER, "PauseQueue", Variant("(s)", ("nothing",))).name == "org.reeve1.Error.NoSuchQueue"


# ---- who may


def test_denied(manager, client, polkit, flag):
    polkit.says = "no"
    error = client.fails(ROOT, MANAGER, "SetFlagEnabled", Variant("(sbs)", ("async-processing", True, "")))
    assert error.name.endswith("AccessDenied") and "enable flag async-processing" in error.text
    refused = client.send_set(flag, FLAG, "Enabled", "b", True)
    spin(lambda: refused.done)
    assert refused.error.name.endswith("AccessDenied")
    assert client.get(flag, FLAG, "Enabled") is False and len(manager.history("flag/async-processing")) == 1


def test_set_property_never_prompts_and_says_what_to_type(manager, client, polkit, flag):
    polkit.says = "prompt"
    r = manager.busctl("set-property", NAME, flag, FLAG, "RolloutPercent", "d", "25", check=False)
    assert r.returncode and not polkit.prompts and not polkit.asked[-1]["interactive"]
    line = r.stderr.strip().split("Type instead: ")[1]
    refused = client.send_set(flag, FLAG, "RolloutPercent", "d", 25)
    spin(lambda: refused.done)
    assert refused.error.name == "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"
    polkit.says = "yes"
    assert line.startswith("busctl call ") and line.endswith(" async-processing 25 REASON")
    manager.busctl(*line.split()[1:])
    assert client.get(flag, FLAG, "RolloutPercent") == 25


def test_a_call_that_allows_no_prompt(manager, client, polkit, flag):
    polkit.says = "prompt"
    error = client.fails(ROOT, MANAGER, "SetFlagEnabled", Variant("(sbs)", ("async-processing", True, "")))
    assert error.name == "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired" and "reeve-admin" in error.text


def test_polkit_absent_means_no(start, client, database, bus):
    """Nobody owns its name on this bus."""
    m = start()
    m.wait_up(client)
    error = client.fails(ROOT, MANAGER, "CreateFlag", Variant("(sa{sv})", ("a", {})))
    assert error.name.endswith("AccessDenied") and "polkit cannot be asked" in error.text
    assert database.value("select count(*) from reeve.flag") == 0


def test_polkit_broken_means_no(manager, client, polkit):
    polkit.says = "error"
    error = client.fails(ROOT, MANAGER, "CreateFlag", Variant("(sa{sv})", ("a", {})))
    assert error.name.endswith("AccessDenied") and "something is broken" in error.text


def test_polkit_that_does_not_answer_means_no(manager, client, polkit):
    polkit.says = "silent"
    stuck = client.send(ROOT, MANAGER, "CreateFlag", Variant("(sa{sv})", ("a", {})))
    spin(lambda: polkit.asked, what="the question")
    t = time.monotonic()
    client.manager("ListFlags")
    assert time.monotonic() - t < within(0.5)
    spin(lambda: stuck.done, 15, what="the answer")
    assert stuck.error.name.endswith("AccessDenied") and 9 < stuck.seconds < within(13)


def test_others_are_served_while_two_wait_at_a_prompt(manager, connect, polkit, flag):
    """Two clients wait at an agent's prompt; a third's calls, one that changes something among them, take < 50 ms."""
    first, second, third = connect(), connect(), connect()
    polkit.says = lambda asked: "yes" if asked["subject"][1]["name"] == third.name else "prompt"
    waiting = [send_enabled(first, "async-processing", True, "first", flags=INTERACTIVE),
               second.send(ROOT, MANAGER, "SetFlagPercent", Variant("(sds)", ("async-processing", 30, "")), flags=INTERACTIVE)]
    spin(lambda: len(polkit.prompts) == 2, what="two prompts")
    reads, writes = [], []
    for i in range(20):
        p = third.send(flag, PROPERTIES, "GetAll", Variant("(s)", (FLAG,)))
        p.wait()
        reads.append(p.seconds)
        p = send_enabled(third, "async-processing", bool(i % 2))
        p.wait()
        writes.append(p.seconds)
    assert sorted(reads)[10] < within(0.05) and sorted(writes)[10] < within(0.05), (reads, writes)
    assert not any(w.done for w in waiting) and third.get(flag, FLAG, "RolloutPercent") == 10
    polkit.answer("yes")
    waiting[0].wait()
    assert not waiting[1].done and third.get(flag, FLAG, "Enabled") is True
    polkit.answer("no")
    spin(lambda: waiting[1].done, what="the refusal")
    assert waiting[1].error.name.endswith("AccessDenied") and third.get(flag, FLAG, "RolloutPercent") == 10
    assert manager.history("flag/async-processing")[-1][2] == "first"


def test_a_caller_who_leaves_ends_the_prompt(manager, connect, client, polkit, flag):
    polkit.says = "prompt"
    leaver = connect()
    send_enabled(leaver, "async-processing", True, flags=INTERACTIVE)
    spin(lambda: polkit.prompts, what="a prompt")
    cancellation = polkit.prompts[0][0]
    leaver.close()
    spin(lambda: polkit.cancelled, what="its end")
    assert polkit.cancelled == [cancellation] and not polkit.prompts
    assert client.get(flag, FLAG, "Enabled") is False
    polkit.says = "yes"
    send_enabled(client, "async-processing", True).wait()


def test_nothing_is_remembered(manager, client, polkit, flag):
    before = len(polkit.asked)
    for i in range(3):
        send_enabled(client, "async-processing", True).wait()
    assert len(polkit.asked) == before + 3


def test_the_database_goes_while_somebody_types_a_password(manager, client, connect, polkit, flag, server):
    polkit.says = "prompt"
    waiting = send_enabled(connect(), "async-processing", True, flags=INTERACTIVE)
    spin(lambda: polkit.prompts, what="a prompt")
    server.stop()
    try:
        manager.wait_up(client, "degraded")
        polkit.answer("yes")
        spin(lambda: waiting.done, what="an answer")
        assert waiting.error.name == "org.reeve1.Error.NotReady"
    finally:
        server.start()
    manager.wait_up(client)
    assert client.get(flag, FLAG, "Enabled") is False


def test_the_bus_goes_while_somebody_types_a_password(start, connect, database):
    from conftest import Daemon
    daemon = Daemon()
    polkit = Polkit(daemon.address)
    try:
        m = start(daemon)
        c = connect(daemon.address)
        m.wait_up(c)
        polkit.says = "prompt"
        for key in "abc":
            c.send(ROOT, MANAGER, "CreateFlag", Variant("(sa{sv})", (key, {})), flags=INTERACTIVE)
        spin(lambda: len(polkit.prompts) == 3, what="prompts")
        daemon.kill()
        spin(lambda: "not on the bus" in m.notify.status, what="its status")
        daemon.start()
        polkit = Polkit(daemon.address)
        c = connect(daemon.address)
        m.wait_up(c)
        c.manager("CreateFlag", "(sa{sv})", "d", {})
        assert [f[0] for f in c.manager("ListFlags")] == ["d"]
    finally:
        daemon.remove()


def test_stop_answers_what_is_on_its_way(manager, client, polkit, database):
    blocker = database.connect("postgres")
    with blocker.cursor() as c:
        c.execute("lock table reeve.queue in access exclusive mode")
    waiting = client.send(ROOT, MANAGER, "PauseQueue", Variant("(s)", ("default",)))
    spin(lambda: database.value("select count(*) from pg_locks where not granted") > 0, what="the statement")
    manager.process.terminate()
    spin(lambda: manager.notify.lines("STOPPING=1"), what="STOPPING=1")
    assert client.fails(ROOT, MANAGER, "PauseQueue", Variant("(s)", ("default",))).name == "org.reeve1.Error.NotReady"
    blocker.rollback()
    waiting.wait()
    spin(lambda: manager.process.poll() == 0, what="its end")
