"""The manager in a booted machine: the real dbus-daemon, polkitd, systemd and PostgreSQL."""
import pathlib
import subprocess
import time

import pytest
from conftest import machine_tool
from patience import within

BUS = ("org.reeve1", "/org/reeve1", "org.reeve1.Manager")
FLAG = ("org.reeve1", "/org/reeve1/flag/async_2dprocessing", "org.reeve1.Flag")


def busctl(machine, *args, **kw):
    return machine.exec("busctl", *args, **kw)


def call(machine, member, *args, **kw):
    return busctl(machine, "call", *BUS, member, *map(str, args), **kw)


def get(machine, *args):
    return machine.out("busctl", "get-property", *args)


def is_running(machine):
    r = busctl(machine, "--timeout=5", "get-property", *BUS, "State", check=False)
    return r.stdout.strip() == 's "running"'


@pytest.fixture(scope="module")
def reeve(machine):
    machine.wait_until(lambda: is_running(machine))
    machine.psql("insert into reeve.kind (name, queue, timeout_usec, stop_usec, hash) values ('echo', 'default', 1000000, 0, '')")
    machine.sh("useradd -M -G reeve-admin alice; useradd -M bob")
    call(machine, "CreateFlag", "sa{sv}", "async-processing", 1, "percent", "d", 10)
    return machine


def test_reeved_runs_with_the_target(reeve):
    assert reeve.is_active("reeved.service")
    assert reeve.property("reeved.service", "StatusText").startswith("serving: ")
    assert reeve.property("reeved.service", "Type") == "notify"
    assert "polkit" not in reeve.journal("-u", "reeved.service")
    assert "Unknown username" not in reeve.journal("-u", "dbus.service")


def test_lines_of_the_design(reeve):
    assert "/org/reeve1/flag/async_2dprocessing" in reeve.out("busctl", "tree", "org.reeve1")
    busctl(reeve, "set-property", *FLAG, "Enabled", "b", "false")
    busctl(reeve, "set-property", *FLAG, "RolloutPercent", "d", "25")
    call(reeve, "SetFlagEnabled", "sbs", "async-processing", "false", "errors rise")
    assert (get(reeve, *FLAG, "Enabled"), get(reeve, *FLAG, "RolloutPercent")) == ("b false", "d 25")
    rows = reeve.psql("select event || ' ' || actor || ' ' || coalesce(reason, '-') from reeve.history where object = 'flag/async-processing' "
                      "order by id").splitlines()
    assert [r.split()[0] for r in rows] == ["create", "set-enabled", "set-percent", "set-enabled"]
    assert rows[-1].split()[1:3] == ["uid:0", "(root)"] and rows[-1].endswith("errors rise")
    journal = reeve.journal("-u", "reeved.service", "REEVE_FLAG=async-processing")
    assert "disable flag async-processing: errors rise" in journal


def test_the_unit_of_the_caller_is_recorded(reeve):
    reeve.sh("systemd-run -q --wait --unit=deploy-42 busctl call org.reeve1 /org/reeve1 org.reeve1.Manager SetFlagPercent sds async-processing 26 x")
    assert reeve.psql("select actor from reeve.history order by id desc limit 1") == "uid:0 (root) in deploy-42.service"


def test_an_operator_may_and_others_may_not(reeve):
    call(reeve, "SetFlagPercent", "sds", "async-processing", 30, "by alice", user="alice")
    busctl(reeve, "set-property", *FLAG, "Enabled", "b", "true", user="alice")
    call(reeve, "PauseQueue", "s", "default", user="alice")
    call(reeve, "ResumeQueue", "s", "default", user="alice")
    actor = reeve.psql("select actor from reeve.history where event = 'resume' order by id desc limit 1")
    assert actor.startswith(f"uid:{reeve.out('id', '-u', 'alice')} (alice)")

    for args in (("call", *BUS, "SetFlagPercent", "sds", "async-processing", "31", "by bob"), ("call", *BUS, "PauseQueue", "s", "default"),
                 ("set-property", *FLAG, "Enabled", "b", "false"),
                 ("call", *FLAG, "SetEnabled", "bs", "false", "by bob")):
        refused = busctl(reeve, *args, user="bob", check=False)
        assert refused.returncode != 0 and "authenticate" in refused.stderr, refused
    assert "Type instead: busctl call org.reeve1 /org/reeve1 org.reeve1.Manager SetFlagEnabled sbs async-processing false REASON" in \
        busctl(reeve, "set-property", *FLAG, "Enabled", "b", "false", user="bob", check=False).stderr
    # The name of the error, not busctl's words for it.
    script = ("import dbus; b = dbus.SystemBus(); o = b.get_object('org.reeve1', '/org/reeve1')\n"
              "try: o.PauseQueue('default', dbus_interface='org.reeve1.Manager')\n"
              "except dbus.DBusException as e: print(e.get_dbus_name())")
    assert reeve.out("/usr/bin/python3", "-c", script, user="bob") == "org.freedesktop.DBus.Error.InteractiveAuthorizationRequired"
    assert (get(reeve, *FLAG, "Enabled"), get(reeve, *FLAG, "RolloutPercent")) == ("b true", "d 30")
    # Everybody may look.
    assert reeve.out("busctl", "get-property", *FLAG, "Enabled", user="bob") == "b true"


def test_handlers_and_the_other_daemons_are_no_operators(reeve):
    for user in ("reeve-run", "reeve-api", "reeve-worker", "nobody"):
        assert call(reeve, "PauseQueue", "s", "default", user=user, check=False).returncode != 0
    run = reeve.exec("systemd-run", "-q", "--wait", "--pipe", "-p", "User=nobody", "busctl", "call", "org.freedesktop.DBus",
                     "/org/freedesktop/DBus", "org.freedesktop.DBus", "RequestName", "su", "org.reeve1", "0", check=False)
    assert run.returncode != 0 and "Access denied" in run.stderr


@pytest.fixture
def probe(reeve):
    """probe(...): the argument list of manager_probe.py inside the machine."""
    reeve.put(pathlib.Path(__file__).with_name("manager_probe.py"), "/usr/local/lib")

    def make(*args):
        return ("/usr/bin/python3", "/usr/local/lib/manager_probe.py", *map(str, args))
    return make


def test_others_are_served_while_two_wait_at_an_agents_prompt(reeve, probe):
    """The real polkitd asks an agent that does not answer; meanwhile root's changes take < 50 ms."""
    command = machine_tool.inside(reeve.name, ("runuser", "-u", "bob", "--", *probe("agent")))
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as agent:
        try:
            assert [agent.stdout.readline().strip() for _ in range(2)] == ["prompts 1", "prompts 2"]
            assert float(reeve.out(*probe("time", 40))) < 50
            agent.stdin.write("\n")
            agent.stdin.flush()
            assert agent.stdout.readline().strip() == "cancelled 1", "who leaves is not asked any more"
            assert float(reeve.out(*probe("time", 4))) < 50
        finally:
            agent.stdin.close()
            agent.wait(within(20))
    assert reeve.psql("select count(*) from reeve.history where detail ->> 'percent' = '99'") == "0"


def test_a_change_reaches_the_api_within_100_ms(reeve, probe):
    assert float(reeve.out(*probe("push", 20))) < 100


def test_log_level_by_systemctl(reeve):
    reeve.exec("systemctl", "service-log-level", "reeved.service", "debug")
    assert reeve.out("systemctl", "service-log-level", "reeved.service") == "debug"
    assert reeve.out("systemctl", "service-log-target", "reeved.service") == "journal"
    reeve.exec("systemctl", "service-log-level", "reeved.service", "info")


def test_killed(reeve):
    pid = reeve.kill9("reeved.service")
    reeve.wait_until(lambda: is_running(reeve))
    assert reeve.main_pid("reeved.service") not in (0, pid)
    assert get(reeve, *FLAG, "RolloutPercent").startswith("d ")


def test_a_call_starts_it(reeve):
    reeve.exec("systemctl", "stop", "reeved.service")
    assert not reeve.is_active("reeved.service")
    assert get(reeve, *BUS, "Version").startswith('s "')
    assert reeve.is_active("reeved.service")
    reeve.wait_until(lambda: is_running(reeve))


def test_a_call_does_not_start_the_database(reeve):
    reeve.exec("systemctl", "stop", "reeve.target", "reeve-postgres.service", "reeve-migrate.service")
    try:
        reeve.wait_until(lambda: not reeve.is_active("reeve-postgres.service"))
        reeve.exec("systemctl", "stop", "reeved.service")
        assert get(reeve, *BUS, "State") in ('s "starting"', 's "degraded"')
        assert not reeve.is_active("reeve-postgres.service")
        reeve.wait_until(lambda: get(reeve, *BUS, "State") == 's "degraded"')
        assert reeve.property("reeved.service", "StatusText").startswith("degraded: The database is away")
        refused = call(reeve, "SetFlagEnabled", "sbs", "async-processing", "true", "", check=False)
        assert refused.returncode and "Nothing was changed" in refused.stderr
    finally:
        reeve.exec("systemctl", "start", "reeve.target")
    reeve.wait_until(lambda: is_running(reeve), 30)


def test_database_restarted_and_killed(reeve):
    pid = reeve.main_pid("reeved.service")
    reeve.exec("systemctl", "restart", "reeve-postgres.service")
    reeve.wait_until(lambda: is_running(reeve), 30)
    old = reeve.kill9("reeve-postgres.service")
    # Its next one, or what is seen may be from before the loss was.
    reeve.wait_until(lambda: reeve.main_pid("reeve-postgres.service") not in (0, old) and reeve.is_active("reeve-postgres.service")
                     and is_running(reeve), 30)
    call(reeve, "SetFlagPercent", "sds", "async-processing", 40, "after")
    assert reeve.main_pid("reeved.service") == pid


def test_polkitd_killed_and_stopped(reeve):
    reeve.exec("systemctl", "kill", "-s", "KILL", "polkit.service")
    # The question that the dying polkitd had is answered with no; it comes back by the next one.
    reeve.wait_until(lambda: call(reeve, "SetFlagPercent", "sds", "async-processing", 41, "back", check=False).returncode == 0)
    pid = reeve.main_pid("polkit.service")
    reeve.exec("kill", "-STOP", str(pid))
    try:
        begin = time.monotonic()
        refused = busctl(reeve, "set-property", *FLAG, "RolloutPercent", "d", "42", user="alice", check=False)
        assert refused.returncode != 0 and "Access denied" in refused.stderr and 9 < time.monotonic() - begin < within(24)
        assert get(reeve, *FLAG, "RolloutPercent") == "d 41"
    finally:
        reeve.exec("kill", "-CONT", str(pid))
    reeve.wait_until(lambda: call(reeve, "SetFlagPercent", "sds", "async-processing", 43, "on", check=False).returncode == 0)


def test_bus_killed(reeve):
    pid = reeve.main_pid("reeved.service")
    reeve.kill9("dbus.service")
    reeve.wait_until(lambda: is_running(reeve), 30)
    assert reeve.main_pid("reeved.service") == pid, "it has come back by itself"


def test_bus_policy_survives_an_upgrade(reeve, deb):
    reeve.put(deb, "/root")
    reeve.sh(f"dpkg --force-unsafe-io -i /root/{deb.name}")
    reeve.wait_until(lambda: is_running(reeve), 30)
