"""reevectl as the package installs it, with the programs that it becomes."""
import json
import time

import pytest


def test_the_installed_program(machine):
    assert machine.out("reevectl", "--version").startswith("reevectl ")
    assert machine.sh("bash -c 'source /usr/share/bash-completion/completions/reevectl; COMP_WORDS=(reevectl mig); COMP_CWORD=1;"
                      " _reevectl; echo $COMPREPLY'") == "migrate"


def test_migrate_and_kinds_check(machine):
    assert machine.out("reevectl", "migrate", "status", "--json").startswith("{")
    machine.exec("reevectl", "migrate", "check")
    assert machine.exec("reevectl", "migrate", "nothing", check=False).returncode == 2
    machine.exec("reevectl", "kinds", "check")
    machine.sh("printf '[Kind]\\nPriority=99\\n[Exec]\\nStart=/bin/true\\n' >/run/bad.kind")
    bad = machine.exec("reevectl", "kinds", "check", "/run/bad.kind", check=False)
    assert bad.returncode == 1 and "/run/bad.kind:2: error:" in bad.stdout, bad
    assert machine.exec("reevectl", "migrate", "up", "--to=999999999", check=False).returncode == 2


def test_logs_come_from_the_machines_journal(machine):
    job = "019aa905-7c00-7000-8000-000000000001"
    machine.sh(f"printf 'MESSAGE=hello of the run\\nREEVE_JOB_ID={job}\\n' | logger --journald; journalctl --sync")
    assert "hello of the run" in machine.out("reevectl", "logs", job)


def test_a_job_through_the_whole_system(machine):
    kind = "[Kind]\\nDescription=for reevectl\\n[Exec]\\nStart=/bin/sh -c \"echo a line of it >&2; cat\"\\n"
    machine.sh(f"mkdir -p /etc/reeve/kinds; printf '{kind}' >/etc/reeve/kinds/ctl-cat.kind; systemctl daemon-reload;"
               " systemctl start reeve-run-ctl-cat.socket; systemctl restart reeve-worker@default")
    machine.wait_until("reevectl kinds | grep -q 'ctl-cat.* 1  -  *for reevectl'", timeout=30)
    run = machine.exec("reevectl", "submit", "ctl-cat", '{"a": [1, "ü"]}', "--wait")
    assert run.stdout == '{"a": [1, "ü"]}\n', run
    job = run.stderr.split()[0]
    machine.wait_until(f"reevectl logs {job} | grep -q 'a line of it'")
    assert "Nothing is wrong." in machine.out("reevectl", "status")


def status(machine):
    run = machine.exec("reevectl", "status", "--json", check=False)
    faults = json.loads(run.stdout)["faults"]
    assert run.returncode == (1 if faults else 0), run
    return {f["what"]: f["remedy"] for f in faults}


def test_status_names_kinds_that_cannot_be_run_and_its_remedies_help(machine):
    machine.sh("mkdir -p /etc/reeve/kinds; cd /etc/reeve/kinds; printf '[Kind]\\nPriority=x\\n[Exec]\\nStart=/bin/true\\n' >s-bad.kind;"
               " printf '[Kind]\\nMaxAttempts=1\\n[Exec]\\nStart=/srv/s-gone\\n' >s-gone.kind")
    try:
        said = status(machine)
        unread = said["Kind s-gone: /etc/reeve/kinds/s-gone.kind is here, and no worker has read it yet."]
        refused = machine.exec("reevectl", "submit", "s-gone", check=False).stderr
        assert "s-gone.kind is here, and no worker has read it yet. Try: " + unread in refused
        assert not [w for w in said if "reeve-run-s-gone.socket" in w], "a socket alone would not make it known"
        assert "reevectl kinds check" in said["Kind s-gone: its program Start=/srv/s-gone is missing."]
        (bad,) = [w for w in said if w.startswith("Kind s-bad is kept out: /etc/reeve/kinds/s-bad.kind:2: Priority=x: ")]
        assert "reevectl kinds check" in said[bad]
        machine.sh(unread)
        machine.wait_until("reevectl kinds | grep -q '^s-gone '", timeout=30)
        job = machine.out("reevectl", "submit", "s-gone")
        machine.wait_until(f"reevectl show {job} | grep -q 'Last error: HANDLER_MISSING: there is no program /srv/s-gone'", timeout=30)
        machine.wait_until("reevectl status | grep -q 'Kind s-gone cannot be run on .*: HANDLER_MISSING'", timeout=30)
        machine.wait_until("systemctl show -P StatusText reeve-worker@default | grep -q 'cannot run'", timeout=30)
        assert len([w for w in status(machine) if "s-bad" in w]) == 1, "a worker that has read it says it too"
        machine.sh("printf '#!/bin/sh\\necho 1\\n' >/srv/s-gone; chmod +x /srv/s-gone; rm /etc/reeve/kinds/s-bad.kind")
        machine.exec("reevectl", "wait", job, timeout=90)
        machine.sh("systemctl restart reeve-worker@default reeve-worker@inline")
        machine.wait_until("reevectl status | grep -q 'Nothing is wrong.'", timeout=60)
    finally:
        machine.sh("rm -f /etc/reeve/kinds/s-*.kind; systemctl stop reeve-run-s-gone.socket; systemctl daemon-reload;"
                   " systemctl restart reeve-worker@default reeve-worker@inline")


@pytest.fixture(scope="module")
def reeved(machine):
    """The machine when its reeved has seen the schema, too."""
    machine.wait_until("busctl get-property org.reeve1 /org/reeve1 org.reeve1.Manager State | grep -q running", timeout=30)
    return machine


def test_a_kind_that_was_masked_runs_again_after_what_status_says(machine):
    """systemd closes the socket of a unit that is gone when it reads its units, and calls it active when it is back."""
    kind = "[Exec]\\nStart=/bin/cat\\n"
    mask = "/run/reeve/kinds/ctl-mask.kind"
    machine.sh(f"mkdir -p /usr/lib/reeve/kinds /run/reeve/kinds; printf '{kind}' >/usr/lib/reeve/kinds/ctl-mask.kind; systemctl daemon-reload;"
               " systemctl start reeve-run-ctl-mask.socket; systemctl restart reeve-worker@default")
    machine.wait_until("reevectl kinds | grep -q ctl-mask", timeout=30)
    machine.sh(f"ln -s /dev/null {mask}; systemctl daemon-reload; rm {mask}; systemctl daemon-reload")
    assert machine.is_active("reeve-run-ctl-mask.socket")
    job = machine.out("reevectl", "submit", "ctl-mask", "1").strip()

    def remedy():
        faults = json.loads(machine.exec("reevectl", "status", "--json", check=False).stdout)["faults"]
        return next((f["remedy"] for f in faults if "ctl-mask" in f["what"]), None)
    machine.sh(machine.wait_until(remedy, timeout=30))
    machine.wait_until(f"reevectl show --json {job} | grep -q succeeded", timeout=90)
    machine.sh("rm /usr/lib/reeve/kinds/ctl-mask.kind; systemctl stop reeve-run-ctl-mask.socket; systemctl daemon-reload;"
               " systemctl restart reeve-worker@default")


def test_flags_and_queues_go_by_the_bus(reeved):
    machine = reeved
    machine.wait_until("reevectl flag list")
    machine.exec("reevectl", "flag", "create", "ctl-flag", "--enabled", "--percent=10", "--reason=a trial")
    machine.exec("reevectl", "flag", "percent", "ctl-flag", "100", "--reason=it works")
    machine.wait_until("reevectl flag eval ctl-flag | grep -q 'Reason: STATIC'", timeout=5)
    machine.sh("useradd -M -G reeve-admin dora; useradd -M emil")
    machine.exec("reevectl", "flag", "disable", "ctl-flag", user="dora")
    refused = machine.exec("reevectl", "flag", "enable", "ctl-flag", user="emil", check=False)
    assert refused.returncode == 6 and "authenticate" in refused.stderr and "reeve-admin" in refused.stderr, refused
    history = [json.loads(line) for line in machine.out("reevectl", "flag", "history", "ctl-flag", "--json").splitlines()]
    assert [(h["event"], h.get("reason")) for h in history] == [
        ("set-enabled", None), ("set-percent", "it works"), ("create", "a trial")]
    assert "(dora)" in history[0]["actor"] and history[1]["actor"].startswith("uid:0 (root)")


def test_on_a_terminal_an_agent_is_there_to_ask(reeved):
    """As systemctl starts it. That it then asks takes a login session, which these machines have not (systemctl fails there too)."""
    machine = reeved
    machine.sh("reevectl flag create ctl-asked; useradd -M frida")
    script = "script -qec 'setpriv --reuid=frida --regid=frida --init-groups reevectl flag enable ctl-asked' /dev/null </dev/null"
    refused = machine.exec("bash", "-c", script, check=False)
    assert refused.returncode == 6 and "authenticate" in refused.stdout, refused
    assert "Registered Authentication Agent for unix-process:" in machine.journal("-u", "polkit.service")
    assert machine.exec("pgrep", "pkttyagent", check=False).returncode == 1, "it ends with reevectl"
    assert "(frida)" not in machine.out("reevectl", "flag", "history", "ctl-asked")


def test_a_paused_queue_is_left_alone_until_it_is_resumed(reeved):
    machine = reeved
    kind = "[Kind]\\nQueue=ctl-paused\\n[Exec]\\nStart=/bin/true\\n"
    machine.sh(f"mkdir -p /etc/reeve/kinds; printf '{kind}' >/etc/reeve/kinds/ctl-true.kind; systemctl daemon-reload;"
               " systemctl start reeve-run-ctl-true.socket; systemctl restart reeve-worker@default")
    machine.wait_until("reevectl kinds | grep -q 'ctl-true'", timeout=30)
    # The queue is an object of the bus within two seconds.
    machine.wait_until("reevectl queues pause ctl-paused --reason='disk full'", timeout=10)
    assert "reevectl queues resume ctl-paused" in machine.exec("reevectl", "status", check=False).stdout
    job = machine.out("reevectl", "submit", "ctl-true")
    time.sleep(2)
    assert json.loads(machine.out("reevectl", "show", job, "--json"))["state"] == "ready"
    machine.exec("reevectl", "queues", "resume", "ctl-paused")
    machine.exec("reevectl", "wait", job)
