"""Bad calls, and too many of them: a clear answer, nothing changed, the manager goes on and keeps its size."""
import subprocess
import time

import pytest
from conftest import FLAG, INTERACTIVE, MANAGER, NAME, PROPERTIES, ROOT, Client, Daemon, Failed, Gio, Polkit, Variant, api, flag_path, spin
from patience import within

ERROR = "org.freedesktop.DBus.Error."


def pss(manager):
    text = open(f"/proc/{manager.process.pid}/smaps_rollup").read()
    return int(text.split("Pss_Anon:")[1].split()[0])


@pytest.fixture
def flag(manager, client):
    return client.manager("CreateFlag", "(sa{sv})", "a", {"percent": Variant("d", 10)})


@pytest.fixture
def wide(start, connect, database):
    """A manager on a bus that lets one connection wait for 4096 answers: (Daemon, Polkit, Manager, Client)."""
    database.add_kind("echo")
    daemon = Daemon(replies=4096)
    polkit = Polkit(daemon.address)
    client = connect(daemon.address)
    m = start(daemon)
    m.wait_up(client)
    client.manager("CreateFlag", "(sa{sv})", "a", {})
    yield daemon, polkit, m, client
    polkit.close()
    daemon.remove()


def test_malformed_calls(manager, client, flag, polkit):
    asked = len(polkit.asked)
    s = lambda signature, *values: Variant(f"({signature})", values)  # noqa: E731
    v = Variant
    cases = [
        (ROOT, MANAGER, "SetFlagEnabled", None, "InvalidArgs"), (ROOT, MANAGER, "SetFlagEnabled", s("sb", "a", True), "InvalidArgs"),
        (ROOT, MANAGER, "SetFlagEnabled", s("sis", "a", 1, ""), "InvalidArgs"), (ROOT, MANAGER, "SetFlagPercent", s("sis", "a", 1, ""), "InvalidArgs"),
        (ROOT, MANAGER, "PauseQueue", s("o", "/a"), "InvalidArgs"), (ROOT, MANAGER, "PauseQueue", s("s", ""), "InvalidArgs"),
        (ROOT, MANAGER, "PauseQueue", s("s", "a b"), "InvalidArgs"), (ROOT, MANAGER, "CreateFlag", s("sa{ss}", "b", {}), "InvalidArgs"),
        (ROOT, MANAGER, "CreateFlag", s("sa{sv}", "b", {"allow": v("as", ["x"]), "colour": v("s", "")}), "InvalidArgs"),
        (ROOT, MANAGER, "CreateFlag", s("sa{sv}", "b", {"allow": v("a{ss}", {})}), "InvalidArgs"),
        (ROOT, MANAGER, "CreateFlag", s("sa{sv}", "b", {"enabled": v("v", v("b", True))}), "InvalidArgs"),
        (ROOT, MANAGER, "Frobnicate", None, "UnknownMethod"), (ROOT, "org.reeve1.Nothing", "A", None, "UnknownMethod"),
        (ROOT + "/flag/b", FLAG, "SetEnabled", s("bs", True, ""), "UnknownObject"), ("/", MANAGER, "ListFlags", None, "UnknownObject"),
        (flag, FLAG, "SetEnabled", s("bs", True, "x" * 501), "InvalidArgs"), (flag, FLAG, "SetRolloutPercent", s("ds", float("nan"), ""), "InvalidArgs"),
        (flag, PROPERTIES, "Set", s("ssv", FLAG, "Enabled", v("s", "true")), "InvalidArgs"),
        (flag, PROPERTIES, "Set", s("ssv", FLAG, "Enabled", v("v", v("b", True))), "InvalidArgs"),
        (flag, PROPERTIES, "Set", s("ssv", FLAG, "RolloutPercent", v("i", 5)), "InvalidArgs"),
        (flag, PROPERTIES, "Set", s("ssv", FLAG, "Key", v("s", "b")), "PropertyReadOnly"),
        (flag, PROPERTIES, "Set", s("ssv", FLAG, "Colour", v("s", "b")), "UnknownProperty"),
        (flag, PROPERTIES, "Set", s("ssv", MANAGER, "Enabled", v("b", True)), "UnknownProperty"),
        (flag, PROPERTIES, "Set", s("ss", FLAG, "Enabled"), "InvalidSignature"), (flag, PROPERTIES, "Get", s("ss", FLAG, "Colour"), "UnknownProperty"),
        (ROOT, PROPERTIES, "Set", s("ssv", MANAGER, "State", v("s", "running")), "PropertyReadOnly"),
        (ROOT, PROPERTIES, "Set", s("ssv", FLAG, "Enabled", v("b", True)), "Unknown"),
    ]
    for path, interface, member, arguments, name in cases:
        error = client.fails(path, interface, member, arguments)
        assert error.name.startswith(ERROR + name), (member, arguments, error)
    assert len(polkit.asked) == asked and client.get(flag, FLAG, "Enabled") is False
    assert [f[0] for f in client.manager("ListFlags")] == ["a"]


def test_huge_texts(manager, client, flag, polkit):
    before, asked = pss(manager), len(polkit.asked)
    big = "x" * (8 << 20)
    for path, interface, member, arguments in [
            (ROOT, MANAGER, "SetFlagEnabled", Variant("(sbs)", (big, True, ""))), (ROOT, MANAGER, "SetFlagEnabled", Variant("(sbs)", ("a", True, big))),
            (ROOT, MANAGER, "CreateFlag", Variant("(sa{sv})", ("b", {"rules": Variant("s", big)}))),
            (ROOT, MANAGER, "CreateFlag", Variant("(sa{sv})", ("b", {big: Variant("s", "")}))),
            (flag, FLAG, "SetRules", Variant("(ss)", ("[" * (8 << 20), ""))), (flag, FLAG, "Evaluate", Variant("(sa{sv})", (big, {})))]:
        error = client.fails(path, interface, member, arguments)
        assert error.name == ERROR + "InvalidArgs" and len(error.text) < 1000
    assert len(polkit.asked) == asked
    spin(lambda: api.SANITIZED or pss(manager) - before < 500, 5, "memory is given back")


def test_a_thousand_changes_at_once_by_one_client(wide):
    _, polkit, manager, client = wide
    before = len(polkit.asked)
    calls = [client.send(ROOT, MANAGER, "SetFlagPercent", Variant("(sds)", ("a", i % 100, ""))) for i in range(1000)]
    slowest = 0.0
    while not all(c.done for c in calls):
        p = client.send(ROOT, PROPERTIES, "Get", Variant("(ss)", (MANAGER, "State")))
        p.wait()
        slowest = max(slowest, p.seconds)
    done = [c for c in calls if not c.error]
    assert {c.error.name for c in calls if c.error} <= {ERROR + "LimitsExceeded"}
    assert 512 <= len(done) and len(polkit.asked) - before == len(done)
    assert len(manager.history("flag/a")) == 1 + len(done)
    assert client.get(flag_path("a"), FLAG, "Etag") == f'"{1 + len(done)}"'
    assert slowest < within(3)


def test_prompts_of_one_user_leave_room_for_others(wide):
    """Processes of user nobody wait at as many prompts as they may have; root is served meanwhile."""
    daemon, polkit, manager, client = wide
    nobody = int(subprocess.check_output(["id", "-u", "nobody"]))
    root_names = {client.name}
    polkit.says = lambda asked: "yes" if asked["subject"][1]["name"] in root_names else "prompt"
    argv = ["setpriv", "--reuid=nobody", "--regid=nogroup", "--clear-groups", "busctl", f"--address={daemon.address}", "--timeout=60", "call",
            NAME, ROOT, MANAGER, "SetFlagEnabled", "sbs", "a", "true", "no"]
    waiting = [subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE) for _ in range(20)]
    try:
        spin(lambda: len(polkit.prompts) == 16, what="prompts")
        p = client.send(ROOT, MANAGER, "SetFlagPercent", Variant("(sds)", ("a", 50, "")))
        p.wait()
        assert p.seconds < within(5) and len(polkit.prompts) == 16
        polkit.answer("no")
        spin(lambda: len(polkit.prompts) == 16, what="the next one's turn")
    finally:
        for w in waiting:
            w.kill()
            w.communicate()
    spin(lambda: not polkit.prompts, what="their end")
    assert manager.history("flag/a")[-1][0] == "set-percent" and nobody > 0
    client.manager("SetFlagPercent", "(sds)", "a", 51, "")


def test_a_client_with_a_thousand_calls_leaves(wide):
    daemon, polkit, manager, client = wide
    polkit.says = "prompt"
    leaver = Client(daemon.address)
    for _ in range(1000):
        leaver.send(ROOT, MANAGER, "SetFlagEnabled", Variant("(sbs)", ("a", True, "")), flags=INTERACTIVE)
    spin(lambda: len(polkit.prompts) == 16, what="prompts")
    leaver.close()
    spin(lambda: len(polkit.cancelled) == 16 and not polkit.prompts, what="their end")
    polkit.says = "yes"
    p = client.send(ROOT, MANAGER, "SetFlagPercent", Variant("(sds)", ("a", 52, "")))
    p.wait()
    assert p.seconds < within(5) and [e for e, *_ in manager.history("flag/a")] == ["create", "set-percent"]


def test_clients_that_come_and_leave(wide):
    """Each asks and leaves at once, in every phase of a check."""
    daemon, polkit, manager, client = wide
    polkit.says = "prompt"
    for i in range(60):
        c = Client(daemon.address)
        c.send(ROOT, MANAGER, "SetFlagEnabled", Variant("(sbs)", ("a", True, "")), flags=INTERACTIVE)
        c.connection.flush_sync(None)
        spin(lambda: False, 0.001 * (i % 5), must=False)
        c.close()
    spin(lambda: not polkit.prompts, what="their end")
    polkit.says = "yes"
    client.manager("SetFlagPercent", "(sds)", "a", 52, "")
    assert [e for e, *_ in manager.history("flag/a")] == ["create", "set-percent"]


def test_calls_that_want_no_answer(manager, client, flag):
    for i in range(50):
        m = Gio.DBusMessage.new_method_call(NAME, ROOT, MANAGER, "SetFlagPercent")
        m.set_body(Variant("(sds)", ("a", i, "")))
        m.set_flags(Gio.DBusMessageFlags.NO_REPLY_EXPECTED)
        client.connection.send_message(m, Gio.DBusSendMessageFlags.NONE)
    spin(lambda: client.get(flag, FLAG, "Etag") == '"51"', what="all of them")


def test_a_changing_database_and_many_readers(manager, connect, database):
    """Objects come and go while they are read."""
    readers = [connect() for _ in range(4)]
    end = time.monotonic() + 3
    c = database.connect("postgres", autocommit=True).cursor()
    n = 0
    while time.monotonic() < end:
        n += 1
        c.execute("insert into reeve.flag (key, updated_by) values (%s, 'x') on conflict (key) do update set version = reeve.flag.version + 1;"
                  "update reeve.flag set archived_at = case when archived_at is null then now() end where key = %s; notify reeve_flag",
                  (f"f{n % 7}", f"f{n % 3}"))
        calls = [r.send(ROOT, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects") for r in readers]
        calls += [r.send(flag_path(f"f{n % 7}"), PROPERTIES, "GetAll", Variant("(s)", (FLAG,))) for r in readers]
        spin(lambda calls=calls: all(p.done for p in calls), what="answers")
        assert not any(p.error for p in calls[:4])
    assert n > 20 and not isinstance(manager.process.poll(), int)


def test_memory_stays(manager, client, flag, polkit):
    """Neither refused nor done calls leave anything behind."""
    def round_of_calls():
        for says in ("yes", "no"):
            polkit.says = says
            calls = [client.send(ROOT, MANAGER, "SetFlagPercent", Variant("(sds)", ("a", i, "x" * 400))) for i in range(100)]
            spin(lambda calls=calls: all(c.done for c in calls), what="answers")
            assert not [c.error for c in calls if c.error and not isinstance(c.error, Failed)]
    for _ in range(3):
        round_of_calls()
    before = pss(manager)
    for _ in range(10):
        round_of_calls()
    assert api.SANITIZED or pss(manager) - before < 300
