"""reevectl as the package installs it, with the programs that it becomes."""


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
    machine.wait_until("reevectl kinds | grep -q 'ctl-cat.* 1  for reevectl'", timeout=30)
    run = machine.exec("reevectl", "submit", "ctl-cat", '{"a": [1, "ü"]}', "--wait")
    assert run.stdout == '{"a": [1, "ü"]}\n', run
    job = run.stderr.split()[0]
    machine.wait_until(f"reevectl logs {job} | grep -q 'a line of it'")
    assert "Nothing is wrong." in machine.out("reevectl", "status")
