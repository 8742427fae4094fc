"""Two hosts with one database: what becomes of the runs of a host that dies."""
import json
import time

import pytest
from patience import within

KIND = """[Kind]
MaxAttempts=1
MaxInterruptions=%d
[Exec]
Start=/bin/sh -c 'sleep $(cat); echo 1'
"""


@pytest.fixture
def fleet(new_machine, tmp_path):
    """first has the database and shares its socket's directory with second; leases last 3 s."""
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(0o755)
    first, second = (new_machine("--bind", f"{shared}:/srv/shared") for _ in range(2))
    (tmp_path / "reeve.conf").write_text("[Worker]\nLeaseSec=3s\nHeartbeatSec=500ms\n")
    for name, n in (("again", 3), ("once", 1)):
        (tmp_path / f"{name}.kind").write_text(KIND % n)
    for m in (first, second):
        m.sh("systemctl stop reeve.target 'reeve-*.service'; mkdir -p /run/reeve-postgres; mount --bind /srv/shared /run/reeve-postgres; "
             "mkdir -p /etc/reeve/kinds; chmod 755 /etc/reeve/kinds")
        m.put(tmp_path / "reeve.conf", "/etc/reeve")
        for name in ("again", "once"):
            m.put(tmp_path / f"{name}.kind", "/etc/reeve/kinds")
        m.sh("systemctl daemon-reload")
    first.sh("systemctl start reeve-postgres reeve-api.socket")
    first.wait_until("test -S /run/reeve-postgres/.s.PGSQL.5432")
    second.sh("systemctl mask --runtime reeve-postgres; systemctl start reeve-worker@default")
    second.wait_until(lambda: first.psql("select count(*) from reeve.kind where name in ('again', 'once')") == "2")
    return first, second


def test_the_runs_of_a_host_that_died(fleet):
    first, second = fleet

    def running(id):
        return first.psql(f"select started from reeve.lease where job = '{id}'") == "t"

    def ended(id):
        job = json.loads(first.out("reevectl", "show", "--json", id))
        return job if job["state"] in ("succeeded", "failed") else None

    again, once = (first.psql(f"select reeve.enqueue('{kind}', '{seconds}')") for kind, seconds in (("again", 4), ("once", 600)))
    for id in (again, once):
        first.wait_until(lambda id=id: running(id))
    first.sh("systemctl start reeve-worker@default")
    second.crash()
    t0 = time.monotonic()
    job = first.wait_until(lambda: ended(once), timeout=30)
    assert time.monotonic() - t0 < within(12), "within the lease of 3 s and the reaper's patience"
    assert (job["state"], job["cause"], job["host"], job["interruptions"]) == ("failed", "host-lost", second.name, 1), job
    job = first.wait_until(lambda: ended(again), timeout=30)
    assert (job["state"], job["host"], job["interruptions"]) == ("succeeded", first.name, 1), job
    history = [json.loads(line) for line in first.out("reevectl", "show", "--history", "--json", again).splitlines()]
    assert [(h["cause"], h["host"]) for h in history if h["event"] not in ("enqueue", "start", "end")] == [("host-lost", second.name)], history
