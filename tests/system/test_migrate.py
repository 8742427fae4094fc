"""reeve-migrate.service: the schema at start."""
import pytest

UNIT = "reeve-migrate.service"


@pytest.fixture
def wrong_database(machine):
    machine.sh("mkdir -p /etc/reeve/reeve.conf.d; printf '[Database]\\nDatabase=host=/run/nowhere dbname=reeve\\n' >/etc/reeve/reeve.conf.d/t.conf")
    yield
    machine.sh("rm -f /etc/reeve/reeve.conf.d/t.conf; systemctl stop reeve-migrate-retry.timer; systemctl restart reeve.target; systemctl start reeve-migrate",
               timeout=180)


def test_the_schema_is_there(machine):
    assert machine.property(UNIT, "ActiveState") == "active"
    newest = machine.sh("ls /usr/share/reeve/migrations/*.up.sql | sed 's,.*/,,; s/^0*//; s/_.*//' | sort -n | tail -n 1")
    assert machine.psql("select max(version) from reeve.schema_migration") == newest
    assert machine.out("/usr/lib/reeve/reeve-migrate", "check").count("\n") < 5


def test_a_failure_holds_nobody_up_and_is_tried_again(machine, wrong_database):
    """Tried again after 10 s; here after one."""
    machine.sh("mkdir -p /run/systemd/system/reeve-migrate-retry.timer.d; printf '[Timer]\\nOnActiveSec=\\nOnActiveSec=1s\\n' "
               ">/run/systemd/system/reeve-migrate-retry.timer.d/t.conf")
    machine.sh("printf '[Unit]\\nAfter=reeve-migrate.service\\nWants=reeve-migrate.service\\n[Service]\\nExecStart=sleep 600\\n' "
               ">/run/systemd/system/after.service; systemctl daemon-reload; systemctl stop reeve-migrate.service")
    machine.exec("systemctl", "start", "after.service", timeout=120)
    assert machine.is_active("after.service")
    assert machine.property(UNIT, "ActiveState") == "failed"
    assert machine.is_active("reeve-migrate-retry.timer")
    machine.sh("rm /etc/reeve/reeve.conf.d/t.conf; systemctl start reeve-postgres.service")
    machine.wait_until(f"systemctl -q is-active {UNIT}", timeout=120)
    machine.sh("systemctl stop after.service; rm -r /run/systemd/system/after.service /run/systemd/system/reeve-migrate-retry.timer.d; "
               "systemctl daemon-reload")


def test_stopping_the_target_stops_the_trying(machine, wrong_database):
    assert machine.exec("systemctl", "restart", UNIT, check=False, timeout=180).returncode != 0
    machine.wait_until("systemctl -q is-active reeve-migrate-retry.timer")
    machine.sh("systemctl stop reeve.target", timeout=180)
    machine.wait_until("! systemctl -q is-active reeve-migrate-retry.timer")
