"""The emergency rollback of a flag: real reeved, PostgreSQL and API; what it waits for are jobs of the database."""
import json
import os
import signal
import subprocess
import time

import pytest
from conftest import MANAGER, NAME, OPERATION, RELEASE, ROOT, Variant, api, flag_path, spin, wait_for
from test_reevectl import CTL, FAILED, NOT_FOUND, REFUSED, USAGE, Ctl
from patience import within

KEY = "async-processing"
AT = f"{ROOT}/release"


def options(**kw):
    types = {"flag": "s", "reason": "s", "timeout": "t", "queues": "as"}
    return {k: Variant(types[k], v) for k, v in kw.items()}


def rollback(client, **kw):
    return client.call(AT, RELEASE, "RollbackEmergency", Variant("(a{sv})", (options(**{"flag": KEY, **kw}),)))


def plan(client, **kw):
    return dict(client.call(AT, RELEASE, "Plan", Variant("(sa{sv})", ("emergency", options(**{"flag": KEY, **kw})))))


@pytest.fixture
def flag(client, manager):
    client.manager("CreateFlag", "(sa{sv})", KEY, {"enabled": Variant("b", True), "percent": Variant("d", 100)})
    return flag_path(KEY)


class Jobs:
    """Jobs in the queue of the flag, as workers would move them."""

    def __init__(self, database):
        self.db = database
        database.add_kind("paper", queue="pdf")

    def make(self, n=1, state="running", queue="pdf", parent=None):
        ids = [self.db.value("select reeve.enqueue('paper', '{}', jsonb_build_object('queue', %s))::text", queue) for _ in range(n)]
        for i in ids:
            if parent:
                self.db.sql("update reeve.job set parent = %s where id = %s", parent, i)
            if state == "running":
                self.db.sql("with r as (delete from reeve.ready where job = %s returning *) insert into reeve.lease (job, instance, lane,"
                            " attempt, interruptions, flags) select job, 1, lane, attempt, interruptions, flags from r", i)
            elif state == "waiting":
                self.db.sql("with r as (delete from reeve.ready where job = %s returning *) insert into reeve.waiting (job, pending,"
                            " children, lane) select job, 1, 1, lane from r", i)
            elif state == "scheduled":
                self.db.sql("with r as (delete from reeve.ready where job = %s returning *) insert into reeve.scheduled (job, run_at, lane)"
                            " select job, now() + interval '1 hour', lane from r", i)
        return ids

    def end(self, ids):
        for i in ids:
            for t in ("ready", "lease", "waiting", "scheduled"):
                self.db.sql(f"delete from reeve.{t} where job = %s", i)
            self.db.sql("insert into reeve.done (job, state, cause) values (%s, 'succeeded', 'exit')", i)


@pytest.fixture
def jobs(database):
    return Jobs(database)


def ended(client, path, timeout=40):
    spin(lambda: client.get(path, OPERATION, "Result") != "running", timeout, "its end")
    return client.get_all(path, OPERATION)


def test_it_waits_for_what_was_let_in(manager, client, flag, jobs, database):
    mine = [jobs.make(1, s)[0] for s in ("running", "waiting", "scheduled", "ready")]
    jobs.make(2, "running", queue="inline")
    jobs.make(1, "ready", queue="default")
    child = jobs.make(1, "running", parent=mine[1])
    client.listen()
    began = time.monotonic()
    number, path = rollback(client, reason="errors rise")
    assert time.monotonic() - began < within(5) and path == f"{ROOT}/operation/{number}"
    assert client.get(flag, "org.reeve1.Flag", "Enabled") is False
    spin(lambda: client.get(path, OPERATION, "Phase") == "drain", what="they are counted")
    o = client.get_all(path, OPERATION)
    assert (o["Id"], o["Type"], o["Subject"], o["Queues"], o["Phase"], o["Result"], o["Jobs"], o["Remaining"], o["Progress"]) == (
        number, "rollback-emergency", KEY, ["pdf"], "drain", "running", 4, 4, 0), o
    assert o["StartedBy"].startswith(f"uid:{os.getuid()} ") and o["Reason"] == "errors rise" and o["FinishedAt"] == 0
    assert o["Steps"] == [("disable", "done", 100), ("drain", "running", 0), ("verify", "waiting", 0)]
    assert client.manager("ListOperations") == [(number, "rollback-emergency", 0, "drain", path)]
    assert path in client.objects()
    for n, i in enumerate(mine, 1):
        jobs.end([i])
        spin(lambda: client.get(path, OPERATION, "Remaining") == 4 - n, what="it is seen")
    o = ended(client, path)   # though the child of one of them is there: it is its parent's
    assert (o["Result"], o["Phase"], o["Progress"], o["Remaining"], o["Error"]) == ("done", "end", 100, 0, ("", "")), o
    assert [s[1] for s in o["Steps"]] == ["done"] * 3 and o["FinishedAt"] >= o["StartedAt"] + 3_000_000
    spin(lambda: client.changes(path).get("Result") == "done", what="PropertiesChanged")
    assert client.changes(path)["Progress"] == 100
    assert [h[:3] for h in manager.history(f"flag/{KEY}")][1:] == [
        ("set-enabled", o["StartedBy"], "errors rise"), ("rollback-emergency", o["StartedBy"], "errors rise"),
        ("rollback-emergency-done", o["StartedBy"], "errors rise")]
    jobs.end(child)


def test_nothing_to_wait_for_and_again(manager, client, flag, database):
    number, path = rollback(client)
    assert rollback(client) == (number, path), "it runs: it is joined"
    o = ended(client, path)
    assert (o["Result"], o["Jobs"], o["Progress"]) == ("done", 0, 100)
    again, other = rollback(client)
    assert again > number and ended(client, other)["Result"] == "done", "safe to repeat"
    assert database.value("select count(*) from reeve.history where object = %s and event = 'set-enabled'", f"flag/{KEY}") == 1


def test_plan_does_nothing(manager, client, flag, jobs, database):
    jobs.make(3)
    said = plan(client, timeout=60_000_000)
    assert list(said) == ["disable", "drain", "verify"]
    assert said["disable"] == f"Flag {KEY} is on (100 %); it is turned off." and said["drain"].startswith("3 jobs wait or run in pdf; they may end, within 1min")
    assert client.get(flag, "org.reeve1.Flag", "Enabled") is True and client.manager("ListOperations") == []
    assert database.value("select count(*) from reeve.operation") == 0
    number, _ = rollback(client)
    assert plan(client)["disable"] == f"Operation {number} is on it already: it is joined."


def test_plans_do_not_stand_before_what_an_operator_does(manager, client, connect, flag, database):
    """Each looks at all that is live, and everybody may ask: many at once let a change wait until its answer was not known."""
    database.sql("""with j as (
            insert into reeve.job (kind, queue, priority, tenant, payload, max_attempts, max_interruptions, timeout_usec)
            select 'echo', 'pdf', 5, 'default', '1', 3, 5, 1000000 from generate_series(1, 20000) returning *)
        insert into reeve.ready (job, lane) select id, reeve.lane(queue, kind, tenant, priority) from j""")
    others = [connect() for _ in range(10)]
    asked = Variant("(sa{sv})", ("emergency", {"flag": Variant("s", KEY), "queues": Variant("as", ["pdf"])}))
    plans = [o.send(ROOT + "/release", RELEASE, "Plan", asked) for _ in range(10) for o in others]
    change = client.send(ROOT, MANAGER, "SetFlagPercent", Variant("(sds)", (KEY, 7, "")))
    change.wait(60)
    spin(lambda: all(p.done for p in plans), 60, "answers")
    refused = [p for p in plans if p.error]
    assert all("LimitsExceeded" in p.error.name for p in refused)
    assert 0 < len(refused) < 100
    assert plan(client, queues=["pdf"])


def test_it_fails_when_time_is_up(manager, client, flag, jobs):
    mine = jobs.make(2)
    _, path = rollback(client, timeout=1_000_000)
    o = ended(client, path)
    assert (o["Result"], o["Error"][0], o["Remaining"]) == ("failed", "TIMEOUT", 2) and "2 jobs have not ended" in o["Error"][1]
    assert [s[1] for s in o["Steps"]] == ["done", "failed", "waiting"] and client.get(flag, "org.reeve1.Flag", "Enabled") is False
    jobs.end(mine)
    assert ended(client, rollback(client)[1])["Result"] == "done"


def test_it_fails_when_the_flag_is_turned_on_again(manager, client, flag, jobs):
    jobs.make(1)
    number, path = rollback(client)
    client.manager("SetFlagEnabled", "(sbs)", KEY, True, "")
    o = ended(client, path)
    assert (o["Result"], o["Error"][0]) == ("failed", "FLAG_ON") and f"uid:{os.getuid()} " in o["Error"][1]
    assert rollback(client)[0] > number and client.get(flag, "org.reeve1.Flag", "Enabled") is False


def test_it_fails_when_jobs_go_on_coming(manager, client, flag, jobs):
    mine = jobs.make(1)
    _, path = rollback(client)
    time.sleep(3.2)   # the flag is off everywhere then: what comes later, it did not let in
    late = jobs.make(2)
    jobs.end(mine)
    o = ended(client, path)
    assert (o["Result"], o["Error"][0]) == ("failed", "LATE_JOBS") and "2 jobs have come into pdf since" in o["Error"][1]
    assert [s[1] for s in o["Steps"]] == ["done", "done", "failed"]
    jobs.end(late)


def test_whom_it_refuses(manager, client, polkit, flag):
    fails = lambda opts, member="RollbackEmergency": client.fails(AT, RELEASE, member, Variant("(a{sv})", (opts,)))
    assert fails(options(flag="nobody")).name == "org.reeve1.Error.NoSuchFlag"
    assert "flag is missing" in fails({}).text and "flag is missing" in fails(options(flag="a b")).text
    assert 'no option "que"' in fails({**options(flag=KEY), "que": Variant("s", "x")}).text
    assert 'of type "t", not "s"' in fails({"flag": Variant("s", KEY), "timeout": Variant("s", "x")}).text
    assert "7 days" in fails(options(flag=KEY, timeout=0)).text
    assert '"a b" is no name of a queue' in fails(options(flag=KEY, queues=["pdf", "a b"])).text
    assert "at most 16" in fails(options(flag=KEY, queues=[f"q{i}" for i in range(17)])).text
    assert "only" not in client.fails(AT, RELEASE, "Plan", Variant("(sa{sv})", ("full", options(flag=KEY)))).name
    client.manager("CreateFlag", "(sa{sv})", "lone", {"enabled": Variant("b", True)})
    e = fails(options(flag="lone"))
    assert e.name.endswith("InvalidArgs") and "does not say which queues it guards" in e.text
    assert client.get(flag_path("lone"), "org.reeve1.Flag", "Enabled") is True, "nothing was done"
    polkit.says = "no"
    assert fails(options(flag=KEY)).name.endswith("AccessDenied")
    assert polkit.asked[-1]["action"] == "org.reeve1.emergency-stop" and polkit.asked[-1]["details"]["flag"] == KEY
    assert client.get(flag, "org.reeve1.Flag", "Enabled") is True and client.manager("ListOperations") == []


def test_queues_of_a_flag(manager, client, flag, jobs, database):
    assert client.get(flag, "org.reeve1.Flag", "Queues") == ["pdf"], "it comes with them"
    client.listen()
    client.call(flag, "org.reeve1.Flag", "SetQueues", Variant("(ass)", (["b", "a", "b"], "moved")))
    assert client.get(flag, "org.reeve1.Flag", "Queues") == ["a", "b"] and client.changes(flag)["Queues"] == ["a", "b"]
    assert manager.history(f"flag/{KEY}")[-1][2:] == ("moved", {"version": 2, "queues": ["b", "a", "b"], "was": ["pdf"]})
    jobs.make(1, queue="pdf"), jobs.make(2, queue="b")
    _, path = rollback(client)
    spin(lambda: client.get(path, OPERATION, "Phase") == "drain", what="they are counted")
    assert client.get(path, OPERATION, "Jobs") == 2 and client.get(path, OPERATION, "Queues") == ["a", "b"]
    client.call(flag, "org.reeve1.Flag", "SetQueues", Variant("(ass)", ([], "")))
    assert client.get(flag, "org.reeve1.Flag", "Queues") == []
    assert "is no name" in client.fails(flag, "org.reeve1.Flag", "SetQueues", Variant("(ass)", (["x y"], ""))).text


def test_it_outlives_its_caller_and_the_manager(manager, client, connect, flag, jobs, start):
    mine = jobs.make(1)
    caller = connect()
    number, path = rollback(caller)
    spin(lambda: client.get(path, OPERATION, "Phase") == "drain", what="they are counted")
    caller.close()
    manager.kill9()
    jobs.end(mine)
    manager.start()
    manager.wait_up(client)
    spin(lambda: path in client.objects(), what="it is read")
    o = ended(client, path)
    assert (o["Id"], o["Result"], o["Jobs"]) == (number, "done", 1)


def test_an_old_operation_goes(manager, client, flag, database):
    _, path = rollback(client)
    ended(client, path)
    database.sql("update reeve.operation set finished_at = finished_at - interval '11 minutes'")
    spin(lambda: client.manager("ListOperations") == [] and path not in client.objects(), what="it goes")


# ---- reevectl


@pytest.fixture
def web(database):
    a = api.Api(database)
    a.wait_up()
    yield a
    a.close()


@pytest.fixture
def ctl(bus, manager, web):
    return Ctl(bus, web.path)


def test_reevectl_with_progress(ctl, flag, jobs, web):
    mine = jobs.make(2)
    p = subprocess.Popen([CTL, f"--socket={web.path}", "rollback", "emergency", KEY, "--reason=errors rise"], stdout=subprocess.PIPE, text=True,
                         env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "DBUS_SYSTEM_BUS_ADDRESS": ctl.bus.address}
                         | {k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")})
    os.set_blocking(p.stdout.fileno(), False)
    said = []

    def reads(words):
        said.extend(p.stdout.readlines())
        return any(words in line for line in said)
    try:
        spin(lambda: reads("disable "), what="the flag is off")
        spin(lambda: reads("2 of 2 jobs have not ended"), what="what it waits for")
        jobs.end(mine[:1])
        spin(lambda: reads("1 of 2 jobs have not ended"), what="progress")
        jobs.end(mine[1:])
        spin(lambda: p.poll() is not None, 40, "its end")
        reads("")
    finally:
        p.kill()
    assert p.returncode == 0, said
    assert said[0].startswith(f"disable  flag {KEY} is off: operation ") and said[-1] == f"done     2 jobs have ended; the flag {KEY} is off\n", said


def test_reevectl_is_killed_and_asked_again(ctl, flag, jobs, client):
    mine = jobs.make(1)
    for how in (signal.SIGINT, signal.SIGKILL):
        p = subprocess.Popen([CTL, f"--socket={ctl.socket}", "rollback", "emergency", KEY], stdout=subprocess.DEVNULL,
                             env={"PATH": os.environ["PATH"], "DBUS_SYSTEM_BUS_ADDRESS": ctl.bus.address})
        spin(lambda: client.manager("ListOperations"), what="it has begun")
        p.send_signal(how)
        spin(lambda: p.poll() is not None, what="it is gone")
        assert p.returncode == -how
        spin(lambda: [o[3] for o in client.manager("ListOperations")] == ["drain"], what="nothing but the watching has ended")
    jobs.end(mine)
    answer = json.loads(ctl("rollback", "emergency", KEY, "--json", timeout=60).stdout)
    assert (answer["id"], answer["result"], answer["jobs"], answer["remaining"]) == (client.manager("ListOperations")[0][0], "done", 1, 0)


def test_reevectl_waits_for_a_manager_that_is_restarted(ctl, flag, jobs, manager, client):
    mine = jobs.make(1)
    p = subprocess.Popen([CTL, f"--socket={ctl.socket}", "rollback", "emergency", KEY], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
                         env={"PATH": os.environ["PATH"], "DBUS_SYSTEM_BUS_ADDRESS": ctl.bus.address}
                         | {k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")})
    try:
        spin(lambda: [o[3] for o in client.manager("ListOperations")] == ["drain"], what="they are counted")
        manager.kill9()
        time.sleep(1)
        manager.start()
        manager.wait_up(client)
        jobs.end(mine)
        spin(lambda: p.poll() is not None, 40, "its end")
    finally:
        p.kill()
    out, err = p.communicate()
    assert p.returncode == 0 and "done     1 jobs" in out and err.count("reeved is away") <= 1, (out, err)


def test_reevectl_tells_failures(ctl, flag, jobs, client, polkit, web):
    jobs.make(1)
    r = ctl("rollback", "emergency", KEY, "--dry-run")
    assert [l.split()[0] for l in r.stdout.splitlines()] == ["disable", "drain", "verify"] and client.manager("ListOperations") == []
    assert [s["step"] for s in json.loads(ctl("rollback", "emergency", KEY, "--dry-run", "--json").stdout)] == ["disable", "drain", "verify"]
    assert "TIMEOUT: 1 jobs have not ended in time" in ctl("rollback", "emergency", KEY, "--timeout=1s", status=FAILED, timeout=60).stderr
    assert "no flag" in ctl("rollback", "emergency", "nobody", status=NOT_FOUND).stderr
    assert "not a time" in ctl("rollback", "emergency", KEY, "--timeout=x", status=USAGE).stderr
    assert "no such command" in ctl("rollback", "full", KEY, status=USAGE).stderr
    polkit.says = "no"
    assert "group reeve-admin" in ctl("rollback", "emergency", KEY, status=REFUSED).stderr
    polkit.says = "yes"
    ctl.socket = web.dir / "nothing"
    r = ctl("rollback", "emergency", KEY, "--queue=other", status=FAILED, timeout=60)
    assert "All that it had let in has ended, but the API of this host cannot be asked" in r.stderr


def test_queues_by_reevectl(ctl, flag):
    ctl("flag", "queues", KEY, "one", "two", "--reason=more")
    assert ctl.json("flag", "show", KEY)[0]["queues"] == ["one", "two"] and "Queues: " in ctl("flag", "show", KEY).stdout
    assert ctl.json("flag", "history", KEY)[0]["event"] == "set-queues"
