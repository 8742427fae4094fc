"""The emergency rollback of system 004 on a real machine: a PDF of 300 pages in flight, everybody asynchronous; then the flag is taken
back. New documents get 503, the one that runs ends right, and the operation says done."""
import json

import pdf_file
import pytest

N_PAGES = 300
FLAG = "async-processing"
HELD = """#!/bin/sh
n=$(sed 's/.*"chunk": *\\([0-9]*\\).*/\\1/' "$REEVE_INPUT_DIR/payload.json")
while [ "$n" -ge 6 ] && [ -e /srv/hold ]; do sleep 0.05; done
exec /usr/lib/reeve/handlers/pdf-chunk "$@"
"""
SETTINGS = """
chmod a+rx /opt/held
mkdir -p /etc/reeve/kinds/pdf-chunk.kind.d
{ echo '[Exec]'; sed -n 's,^Start=/usr/lib/reeve/handlers/pdf-chunk,Start=/opt/held,p' /usr/lib/reeve/kinds/pdf-chunk.kind; } \\
        >/etc/reeve/kinds/pdf-chunk.kind.d/held.conf
chmod -R a+rX /etc/reeve /opt /srv
systemctl daemon-reload
systemctl restart reeve-worker@default
"""


def post(machine):
    """(status, body) of one more document."""
    out = machine.out("curl", "-sS", "--unix-socket", "/run/reeve/api.sock", "-w", "\n%{http_code}", "-F", "pdf_file=@/srv/book.pdf",
                      "-F", "user_id=7", "http://localhost/api/v1/process-pdf-async")
    body, status = out.rsplit("\n", 1)
    return int(status), json.loads(body)


@pytest.fixture(scope="module")
def host(machine, tmp_path_factory):
    where = tmp_path_factory.mktemp("rollback")
    (where / "held").write_text(HELD)
    machine.put(where / "held", "/opt")
    machine.put(pdf_file.make(where / "book.pdf", N_PAGES), "/srv")
    machine.sh(SETTINGS)
    machine.wait_until("reevectl status --json | grep -q '\"faults\":\\[\\]'", timeout=60, every=0.5)
    machine.wait_until("busctl get-property org.reeve1 /org/reeve1 org.reeve1.Manager State | grep -q running", timeout=30)
    machine.out("reevectl", "flag", "create", FLAG, "--enabled", "--percent=100", "--reason=phase 4")
    return machine


def in_the_middle(host):
    host.sh("touch /srv/hold")
    status, body = post(host)
    assert status == 202, body
    job = body["job_id"]
    ended = f"select count(*) from reeve.job j join reeve.done d on d.job = j.id where j.parent = '{job}'"
    host.wait_until(lambda: int(host.psql(ended, user=None)) >= 6, timeout=60)
    return job


def ended_right(host, job):
    host.exec("reevectl", "wait", job, timeout=120)
    result = json.loads(host.out("reevectl", "show", job, "--json"))["result"]
    assert (result["pages"], result["pages_read"], result["chunks"]["failed"]) == (N_PAGES, N_PAGES, 0), result


def test_emergency_with_300_pages_in_flight(host):
    job = in_the_middle(host)
    plan = host.out("reevectl", "rollback", "emergency", FLAG, "--dry-run")
    assert "is on (100 %)" in plan and "1 jobs wait or run in pdf" in plan and post(host)[0] == 202
    host.exec("systemd-run", "-q", "--unit=back", "--property=StandardOutput=file:/run/back.out", "--property=RemainAfterExit=yes",
              "reevectl", "rollback", "emergency", FLAG, "--reason=errors rise")
    host.wait_until(f"grep -q 'disable  flag {FLAG} is off' /run/back.out")
    host.wait_until(lambda: post(host)[0] == 503, timeout=10)   # at once as a rule; two seconds without notifications
    status, body = post(host)
    assert status == 503 and FLAG in body["detail"]
    host.wait_until("grep -q 'drain    2 of 2 jobs have not ended' /run/back.out")
    assert host.out("busctl", "get-property", "org.reeve1", "/org/reeve1/operation/1", "org.reeve1.Operation", "Phase") == 's "drain"'

    # Whoever watches, and who does the work, may die in the middle.
    host.kill9("back.service")
    host.kill9("reeved.service")
    host.wait_until("busctl get-property org.reeve1 /org/reeve1/operation/1 org.reeve1.Operation Result | grep -q running", timeout=30)
    host.sh("rm /srv/hold")
    run = host.exec("reevectl", "rollback", "emergency", FLAG, timeout=120)
    assert "operation 1." in run.stdout and run.stdout.endswith(f"done     2 jobs have ended; the flag {FLAG} is off\n"), run
    ended_right(host, job)
    assert post(host)[0] == 503
    history = [json.loads(line) for line in host.out("reevectl", "flag", "history", FLAG, "--json").splitlines()]
    assert [(h["event"], h.get("reason")) for h in history[:3]] == [
        ("rollback-emergency-done", "errors rise"), ("rollback-emergency", "errors rise"), ("set-enabled", "errors rise")]
    assert not set(f["code"] for f in json.loads(host.exec("reevectl", "doctor", "--json", check=False).stdout)["findings"]) - {"CGROUPS_OLD"}


def test_an_operator_who_is_not_root_and_one_who_may_not(host):
    host.sh("id op >/dev/null 2>&1 || useradd -G reeve-admin op; id guest >/dev/null 2>&1 || useradd guest")
    host.out("reevectl", "flag", "enable", FLAG)
    run = host.exec("reevectl", "rollback", "emergency", FLAG, user="guest", check=False)
    assert run.returncode == 6 and json.loads(host.out("reevectl", "flag", "show", FLAG, "--json"))["enabled"] is True, run
    run = host.exec("reevectl", "rollback", "emergency", FLAG, "--json", user="op", timeout=60)
    assert json.loads(run.stdout)["result"] == "done"
