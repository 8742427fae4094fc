"""reevectl with the real reeved on a bus and the real reeve-api: changes go by the one, looks by the other."""
import json
import os
import time

import pytest
from conftest import BUILD, api, pg, run, spin, wait_for
from patience import within

CTL = BUILD / "src/ctl/reevectl"
OK, FAILED, USAGE, NOT_FOUND, AWAY, REFUSED = 0, 1, 2, 3, 5, 6


class Ctl:
    def __init__(self, bus, socket):
        self.bus, self.socket = bus, socket

    def __call__(self, *args, status=OK, bus=None, **kw):
        env = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "TZ": "UTC", "DBUS_SYSTEM_BUS_ADDRESS": bus or self.bus.address}
        env |= {k: v for k, v in os.environ.items() if k.endswith("SAN_OPTIONS")}
        r = run([CTL, *([f"--socket={self.socket}"] if self.socket else []), *args], env=env, **kw)
        assert r.returncode == status and "Sanitizer" not in r.stderr, (r.returncode, r.stdout, r.stderr)
        return r

    def json(self, *args):
        return [json.loads(line) for line in self(*args, "--json").stdout.splitlines()]


@pytest.fixture
def server_api(database):
    a = api.Api(database)
    a.wait_up()
    yield a
    a.close()


@pytest.fixture
def ctl(bus, manager, server_api):
    return Ctl(bus, server_api.path)


@pytest.fixture
def lone(bus, tmp_path):
    """Without API or manager."""
    return Ctl(bus, tmp_path / "none")


def refusal(r):
    """What it says: one line."""
    assert r.stdout == "" and r.stderr.startswith("reevectl: ") and r.stderr.count("\n") == 1, r
    return r.stderr[10:].strip()


def test_the_life_of_a_flag(ctl, manager, server_api):
    assert ctl("flag", "create", "async", "--percent=10", "--description=PDFs in the background", "--allow=ann", "--allow=b b",
               "--on-stale=keep", "--seed=s", "--reason=week 3").stdout == ""
    flag, = ctl.json("flag", "show", "async")
    assert (flag["enabled"], flag["percent"], flag["allow"], flag["on_stale"], flag["seed"], flag["bucketing"], flag["version"]) == (
        False, 10, ["ann", "b b"], "keep", "s", "murmur3", 1)
    ctl("flag", "enable", "async", "--reason=all is well")
    ctl("flag", "percent", "async", "12.5%")
    assert ctl.json("flag", "list") == [json.loads(ctl("flag", "show", "async", "--json").stdout)]
    lines = ctl("flag", "list").stdout.splitlines()
    assert lines[0].split() == ["FLAG", "STATE", "PERCENT", "VERSION", "CHANGED", "BY", "DESCRIPTION"]
    assert lines[1].split()[:4] == ["async", "enabled", "12.5", "3"] and lines[1].endswith("PDFs in the background")
    shown = dict(line.strip().split(": ", 1) for line in ctl("flag", "show", "async").stdout.splitlines())
    assert (shown["Flag"], shown["State"], shown["Percent"], shown["Allow"], shown["When stale"]) == (
        "async", "enabled", "12.5", '["ann", "b b"]', "keep")
    ctl("flag", "disable", "async", "--reason=errors rise")
    history = ctl.json("flag", "history", "async")
    assert [(h["event"], h.get("reason")) for h in history] == [
        ("set-enabled", "errors rise"), ("set-percent", None), ("set-enabled", "all is well"), ("create", "week 3")]
    assert all(h["actor"].startswith(f"uid:{os.getuid()} ") for h in history)
    text = ctl("flag", "history", "async").stdout.splitlines()
    assert text[0].split() == ["WHEN", "WHAT", "WHO", "WHY", "DETAIL"] and "errors rise" in text[1] and len(text) == 5


RULES = [{"property": "size", "op": ">", "value": 10485760}]


def test_rules_and_allow_lists(ctl, manager):
    ctl("flag", "create", "async", "--enabled", f"--rules={json.dumps(RULES)}")

    def shown():
        flag, = ctl.json("flag", "show", "async")
        return flag["rules"], flag["allow"]
    assert shown() == (RULES, [])
    ctl("flag", "allow", "async", "ann", "b b", "--reason=testers")
    assert shown() == (RULES, ["ann", "b b"])
    ctl("flag", "rules", "async", "[]")
    ctl("flag", "allow", "async")
    assert shown() == ([], [])
    assert [(e, r) for e, _, r, _ in manager.history("flag/async")] == [
        ("create", None), ("set-allow", "testers"), ("set-rules", None), ("set-allow", None)]
    for rules, says in (("[", "line 1"), ('[{"property":"a","op":"~","value":1}]', "no such operator"), ("{}", "array")):
        assert says in refusal(ctl("flag", "rules", "async", rules, status=USAGE))
        assert says in refusal(ctl("flag", "create", "other", f"--rules={rules}", status=USAGE))
    for args in (("rules", "none", "[]"), ("allow", "none", "ann"), ("archive", "none")):
        assert "Try: reevectl flag list" in refusal(ctl("flag", *args, status=NOT_FOUND))
    ctl("flag", "archive", "async")
    assert ctl.json("flag", "list") == [] and "archived" in ctl("flag", "show", "async").stdout
    assert ctl.json("flag", "history", "async")[0]["event"] == "archive"
    refusal(ctl("flag", "create", "async", status=FAILED))


def test_rules_from_a_file_and_back(ctl, manager, tmp_path):
    ctl("flag", "create", "async", "--enabled")
    file = tmp_path / "rules.json"
    file.write_text(json.dumps(RULES, indent=2))
    ctl("flag", "rules", "async", f"@{file}", "--reason=large ones")
    assert json.loads(ctl("flag", "rules", "async").stdout) == RULES
    file.write_text('[\n  {"property": "size",\n   "op": "~", "value": 1}]')
    r = ctl("flag", "rules", "async", f"@{file}", status=USAGE)
    assert "line 3, column 10" in r.stderr and f"The rules are those of {file}." in r.stderr and r.stdout == ""
    assert json.loads(ctl("flag", "rules", "async").stdout) == RULES, "nothing was changed"
    with open(file, "w+") as f:
        f.write("[]")
        f.seek(0)
        ctl("flag", "rules", "async", "-", stdin=f)
    assert ctl("flag", "rules", "async").stdout == "[]\n"
    assert "Cannot read /nowhere: No such file" in refusal(ctl("flag", "rules", "async", "@/nowhere", status=FAILED))
    file.write_text("[" + " " * 70000 + "]")
    assert "at most 65536 bytes" in refusal(ctl("flag", "rules", "async", f"@{file}", status=USAGE))
    assert "no flag" in refusal(ctl("flag", "rules", "none", status=NOT_FOUND))


def test_eval_says_what_programs_are_told(ctl):
    ctl("flag", "create", "async", "--percent=25", "--enabled", "--bucketing=modulo", "--allow=ann")

    def says(*args):
        def asked():  # the API hears of a new flag within milliseconds
            r = run([CTL, f"--socket={ctl.socket}", "flag", "eval", "async", "--json", *args])
            return r.returncode == OK and json.loads(r.stdout)
        r = wait_for(asked, 5, "the flag at the API")
        return r["variant"], r["reason"]
    assert says("--subject=124") == ("on", "SPLIT") and says("--subject=125") == ("off", "SPLIT")
    assert says("--subject=ann") == ("on", "TARGETING_MATCH") and says() == ("off", "ERROR")
    assert says('--context={"targetingKey": 7, "size": 1}') == ("on", "SPLIT")
    assert says('--context={"targetingKey": 7}', "--subject=99") == ("off", "SPLIT")
    text = ctl("flag", "eval", "async", "--subject=bob").stdout
    assert text.split("\n")[:3] == ["     Variant: off", "       Value: false", "      Reason: ERROR"] and "integer" in text
    assert "no such flag" in refusal(ctl("flag", "eval", "none", status=NOT_FOUND))
    assert "targetingKey" in refusal(ctl("flag", "eval", "async", '--context={"targetingKey": []}', status=FAILED))
    assert "line 1" in refusal(ctl("flag", "eval", "async", "--context={", status=USAGE))
    assert "not a JSON object" in refusal(ctl("flag", "eval", "async", "--context=[]", status=USAGE))


def test_queues_are_paused_and_resumed(ctl, manager, client):
    ctl("queues", "pause", "default")
    ctl("queues", "resume", "default")
    ctl("queues", "pause", "documents", "--reason=disk full")
    assert [(e, r) for e, _, r, _ in manager.history("queue/default")] == [("pause", None), ("resume", None)]
    assert [(e, r) for e, _, r, _ in manager.history("queue/documents")] == [("pause", "disk full")]
    paused = {q["name"]: (q["paused"], q.get("reason")) for q in ctl.json("queues")}
    assert paused == {"default": (False, None), "documents": (True, "disk full")}
    assert "reevectl queues resume documents" in ctl("status", status=FAILED).stdout
    for args in (("pause", "no-queue"), ("resume", "no-queue"), ("pause", "no-queue", "--reason=x")):
        assert "reevectl queues" in refusal(ctl("queues", *args, status=NOT_FOUND))


def test_what_is_refused(ctl, manager):
    ctl("flag", "create", "async")
    assert "async" in refusal(ctl("flag", "create", "async", status=FAILED))
    for args in (("enable", "none"), ("disable", "none"), ("percent", "none", "1")):
        assert "Try: reevectl flag list" in refusal(ctl("flag", *args, status=NOT_FOUND))
    assert "none" in refusal(ctl("flag", "show", "none", status=NOT_FOUND))
    assert "none" in refusal(ctl("flag", "history", "none", status=NOT_FOUND))
    for command in ("show", "history"):
        assert 'no flag "a/b"' in refusal(ctl("flag", command, "a/b", status=NOT_FOUND))
    for args in (("create", "a/b"), ("create", "a", "--bucketing=random"), ("create", "a", "--on-stale=maybe"),
                 ("create", "a", "--seed=" + "x" * 65), ("percent", "async", "1", "--reason=" + "x" * 501)):
        refusal(ctl("flag", *args, status=USAGE))
    assert len(manager.history("flag/async")) == 1


@pytest.mark.parametrize("args, says", [
    (["frob"], "no such command"), (["show"], "argument is missing"), (["list", "a"], "one too many"),
    (["percent", "a"], "argument is missing"), (["percent", "a", "101"], "from 0 to 100"), (["percent", "a", "0.0001"], "three"),
    (["percent", "a", "nan"], "from 0 to 100"), (["create", "a", "--percent=x"], "not a percentage"),
    (["list", "--reason=x"], "--reason does not go with flag list"), (["enable", "a", "--percent=5"], "--percent does not go"),
    (["enable", "a", "--url=http://127.0.0.1:1"], "by the bus of this host"), (["eval", "a", "--enabled"], "--enabled does not go"),
])
def test_command_lines_that_are_wrong(lone, args, says):
    lone.socket = None  # none of these asks the API
    assert says in refusal(lone("flag", *args, status=USAGE))


def test_queues_command_lines_that_are_wrong(lone):
    assert "no such command" in refusal(lone("queues", "drop", "a", status=USAGE))
    assert "argument is missing" in refusal(lone("queues", "pause", status=USAGE))
    assert "--reason" in refusal(lone("queues", "resume", "a", "--reason=x", status=USAGE))
    assert "--reason" in refusal(lone("queues", "--reason=x", status=USAGE))


# ---- who may, and what is not there


def test_who_may_not_is_told_what_to_type(ctl, manager, polkit):
    ctl("flag", "create", "async")
    polkit.says = "no"
    assert "Try: sudo reevectl" in refusal(ctl("flag", "enable", "async", status=REFUSED))
    polkit.says = "challenge"
    text = refusal(ctl("flag", "enable", "async", status=REFUSED))
    assert "authenticate" in text and "reeve-admin" in text and "Try: sudo reevectl" in text
    assert polkit.asked[-1]["interactive"] is False, "without a terminal nobody can be asked"
    assert len(manager.history("flag/async")) == 1


def test_there_is_no_bus(lone):
    text = refusal(lone("flag", "enable", "a", status=AWAY, bus="unix:path=/nonexistent/bus"))
    assert "There is no system bus" in text and "systemctl start dbus.socket" in text


def test_reeved_does_not_run(lone):
    text = refusal(lone("flag", "enable", "a", status=AWAY))
    assert "reeved does not run" in text and "systemctl start reeved.service" in text


def test_the_database_is_away(ctl, server, client):
    ctl("flag", "create", "async")
    server.stop()
    try:
        spin(lambda: client.state() == "degraded", 15, "degraded")
        text = refusal(ctl("flag", "enable", "async", status=AWAY))
        assert text.lower().count("nothing was changed") == 1 and "journalctl -u reeved" in text
    finally:
        server.start()


def test_reeved_ends_in_the_middle(ctl, manager, database):
    """A statement that waits for a lock when reeved is killed: it is told that the outcome is not known."""
    ctl("flag", "create", "async")
    lock = database.connect("postgres")
    with lock.cursor() as cur:
        cur.execute("select * from reeve.flag for update")

    def kill():
        waiting = database.value("select count(*) from pg_stat_activity where wait_event_type = 'Lock'")
        if waiting and manager.process.poll() is None:
            manager.kill9()
        return False
    t0 = time.monotonic()
    process = pg.subprocess.Popen([CTL, "flag", "enable", "async"], stderr=-1, text=True,
                                  env={"DBUS_SYSTEM_BUS_ADDRESS": ctl.bus.address, "LC_ALL": "C.UTF-8"})
    spin(lambda: kill() or process.poll() is not None, 20, "reevectl ends")
    lock.rollback()
    assert process.returncode == AWAY and "It may have been changed or not" in process.stderr.read()
    assert time.monotonic() - t0 < within(15)


# ---- completion


def test_completion_knows_flags_and_queues(ctl):
    for key in ("async", "auto", "other"):
        ctl("flag", "create", key)

    def words(*args):
        return ctl("complete", f"--socket={ctl.socket}", *args).stdout.split()
    assert words("flag", "e") == ["enable", "eval"] and words("flag", "a") == ["allow", "archive"] and words("flag", "enable", "a") == ["async", "auto"]
    assert words("flag", "create", "a") == [] and words("flag", "enable", "async", "") == []
    assert words("queues", "") == ["pause", "resume"] and words("queues", "pause", "doc") == ["documents"]
    assert words("flag", "create", "x", "--on-stale=k") == ["--on-stale=keep"]
    assert words("flag", "create", "x", "--b") == ["--bucketing="]


# ---- on a terminal


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root, to be somebody else")
def test_on_a_terminal_a_password_may_be_asked_for(ctl, bus, manager, polkit, tmp_path):
    """The call allows interaction; the agent itself registers at the machine's polkit: tests/system."""
    ctl("flag", "create", "async")
    polkit.says = "challenge"
    # Where only root may enter, the checkout can be read all the same.
    argv = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "--inh-caps=+dac_read_search",
            "--ambient-caps=+dac_read_search", "script", "-qec", f"{CTL} flag enable async", "/dev/null"]
    env = {"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8", "DBUS_SYSTEM_BUS_ADDRESS": bus.address, "TERM": "xterm"}
    r = run(argv, env=env, stdin=pg.subprocess.DEVNULL)
    assert r.returncode == REFUSED, r
    assert polkit.asked[-1]["interactive"] is True
