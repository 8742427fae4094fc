"""reeve-postgres.service: the embedded server from its first start to its worst day."""
import os
import re

import pytest
from conftest import TREE

UNIT = "reeve-postgres.service"
STATE = "/var/lib/reeve/postgres"
PEERS = {"root": "reeve_owner", "reeve": "reeve_owner", "reeve-api": "reeve_api", "reeve-worker": "reeve_worker",
         "reeve-postgres": "reeve-postgres", "reeve-run": None, "nobody": None, "postgres": None}


def wait_ready(machine, timeout=20):
    machine.wait_until(f"systemctl -q is-active {UNIT} && psql -X -h /run/reeve-postgres -U reeve_owner -c '' reeve", timeout)


def test_the_cluster_is_as_promised(machine):
    assert machine.psql("select setting from pg_settings where name in ('data_checksums', 'listen_addresses', 'huge_pages', 'server_encoding',"
                        " 'max_connections', 'lc_collate') order by name") == "\n".join(["on", "off", "C", "", "100", "UTF8"])
    assert machine.psql("select r.rolname from pg_database d join pg_roles r on r.oid = d.datdba where datname = 'reeve'") == "reeve_owner"
    assert machine.psql("select setting from pg_settings where name = 'enable_seqscan'") == "on"
    assert machine.sh("ss -Hltn 'sport != :8380'") == "", "only the API listens, on loopback"
    assert "serves /run/reeve-postgres" in machine.property(UNIT, "StatusText")


@pytest.mark.parametrize("user", PEERS)
def test_who_may_connect(machine, user):
    for role in ("reeve_owner", "reeve_api", "reeve_worker", "reeve-postgres"):
        run = machine.exec("psql", "-X", "-h", "/run/reeve-postgres", "-U", role, "-Atc", "select current_user", "reeve", user=user, check=False)
        if PEERS[user] == role:
            assert run.stdout.strip() == role, run.stderr
        else:
            assert run.returncode == 2 and "Peer authentication failed" in run.stderr


def test_an_application_as_the_manual_says(machine):
    blocks = re.findall(r"```\n(.*?)```", (TREE / "man/reeve-postgres.service.8.scd").read_text(), re.S)
    let_in, enqueue = blocks
    select = "psql -XAtq -v ON_ERROR_STOP=1 -h /run/reeve-postgres -d reeve -U shop"
    machine.sh("useradd -M shop; useradd -M reeve_api; mkdir -p /etc/reeve/kinds; printf '[Exec]\\nStart=/bin/cat\\n' >/etc/reeve/kinds/send-mail.kind;"
               " systemctl daemon-reload; systemctl restart reeve-worker@default")
    try:
        machine.wait_until("reevectl kinds | grep -q '^send-mail '", timeout=60)
        assert "Peer authentication failed" in machine.exec("bash", "-c", enqueue, user="shop", check=False).stderr, "not before it is let in"
        machine.sh(let_in)
        job = re.search(r"[0-9a-f]{8}-[0-9a-f-]{27}", machine.out("bash", "-c", enqueue, user="shop"))[0]
        machine.exec("reevectl", "wait", job, timeout=90)
        jobs = machine.psql("select count(*) from reeve.job")
        undone = "create table o (n int); begin; insert into o values (1); select reeve.enqueue('send-mail'); rollback"
        machine.exec("bash", "-c", f'{select} -c "{undone}"', user="shop")
        assert machine.psql("select count(*) from reeve.job") == jobs
        assert "permission denied" in machine.exec("bash", "-c", f"{select} -c 'select * from reeve.job'", user="shop", check=False).stderr
        for user in ("root", "nobody", "reeve-api"):
            assert "Peer authentication failed" in machine.exec("bash", "-c", f"{select} -c ''", user=user, check=False).stderr, user
        namesake = machine.exec("psql", "-h", "/run/reeve-postgres", "-U", "reeve_api", "-c", "", "reeve", user="reeve_api", check=False)
        assert "Peer authentication failed" in namesake.stderr, "a user with the name of a role of Reeve's is not that role"
    finally:
        machine.sh("rm -f /etc/reeve/kinds/send-mail.kind; systemctl stop reeve-run-send-mail.socket; systemctl daemon-reload; systemctl restart reeve-worker@default;"
                   " runuser -u reeve-postgres -- psql -Xq -h /run/reeve-postgres -d reeve -c 'drop owned by shop cascade' -c 'drop role shop'; userdel shop; userdel reeve_api")


def test_your_settings_win(machine):
    machine.sh("echo 'work_mem = 7MB' >>/etc/reeve/postgres.conf; systemctl reload reeve-postgres")
    machine.wait_until(lambda: machine.psql("show work_mem") == "7MB")


def test_stopping_the_target_stops_the_server(machine):
    machine.sh("systemctl stop reeve.target")
    machine.wait_until(f"! systemctl -q is-active {UNIT}")
    assert machine.property(UNIT, "Result") == "success"
    machine.sh("systemctl start reeve.target")
    wait_ready(machine)


def test_killed_server_comes_back(machine):
    machine.psql("create table if not exists kept (n int); truncate kept; insert into kept values (1)")
    pid = machine.kill9(UNIT)
    wait_ready(machine)
    assert machine.main_pid(UNIT) != pid
    assert machine.psql("select n from kept") == "1"


def test_killed_often_it_still_comes_back(machine):
    """More often than systemd's usual limit of 5 starts in 10 s."""
    for _ in range(6):
        machine.kill9(UNIT)
        wait_ready(machine)


def test_crash_of_the_machine_keeps_data(machine):
    machine.psql("create table if not exists crash (n int); truncate crash; insert into crash values (7)")
    machine.crash()
    machine.boot()
    wait_ready(machine)
    assert machine.psql("select n from crash") == "7"


def start_over(machine):
    machine.sh(f"systemctl stop {UNIT}; rm -rf {STATE}/*; systemctl reset-failed {UNIT} 2>/dev/null || true")


def test_killed_initdb_heals(machine):
    start_over(machine)
    machine.sh(f"systemctl start --no-block {UNIT}; until [ -e {STATE}/.new-*/base/1/PG_VERSION ]; do sleep 0.01; done 2>/dev/null; "
               f"[ ! -e {STATE}/15 ]; systemctl kill -s KILL {UNIT}; [ ! -e {STATE}/15 ]")
    wait_ready(machine)
    assert machine.sh(f"ls -A {STATE}") == machine.sh("ls /usr/lib/postgresql | sort -n | tail -n 1")
    assert machine.psql("select count(*) from pg_roles where rolname like 'reeve\\_%'") == "4"


def test_killed_bootstrap_heals(machine):
    """Between the server's first start and the roles: the next start makes what is missing."""
    machine.psql("drop database reeve with (force)", user="reeve-postgres", role="reeve-postgres", database="postgres")
    machine.kill9(UNIT)
    wait_ready(machine)
    assert machine.psql("select current_database()") == "reeve"


def test_full_disk_at_initdb_is_told_and_heals(machine):
    start_over(machine)
    machine.sh(f"mount -t tmpfs -o size=8M,mode=0700,uid=reeve-postgres,gid=reeve-postgres tmpfs {STATE}")
    try:
        machine.sh(f"systemctl start --no-block {UNIT}")
        machine.wait_until(lambda: "No space left on device" in machine.property(UNIT, "StatusText"))
        status = machine.property(UNIT, "StatusText")
        assert re.search(rf"Cannot make a PostgreSQL cluster in {STATE}/\d+: .*No space left on device; next attempt in 5 s", status)
        assert "reeve-postgres: " + status in machine.journal("-u", UNIT)
        assert machine.sh(f"ls -A {STATE}") == "", "a failed attempt fills the disk it could not use"
        machine.sh(f"mount -o remount,size=256M {STATE}")
        wait_ready(machine, 30)
    finally:
        machine.sh(f"systemctl stop {UNIT}; umount {STATE}; systemctl start {UNIT}")
    wait_ready(machine)


def test_missing_server_is_told(machine):
    machine.sh(f"systemctl stop {UNIT}; mount -t tmpfs tmpfs /usr/lib/postgresql")
    try:
        machine.sh(f"systemctl start --no-block {UNIT}")
        machine.wait_until(lambda: "install postgresql-15" in machine.property(UNIT, "StatusText"))
    finally:
        machine.sh("umount /usr/lib/postgresql")
    wait_ready(machine)


@pytest.mark.parametrize("database, result", [
    ("host=db.example dbname=reeve", "skipped"),
    ("postgresql://db.example/reeve", "skipped"),
    ("postgresql://%2Frun%2Freeve-postgres/reeve", "started"),
    ("host=db.example,/run/reeve-postgres dbname=reeve", "started"),
    ("host=", "skipped"),
    ("", "started"),
])
def test_another_database_needs_no_server(machine, database, result):
    machine.sh(f"systemctl stop {UNIT}; mkdir -p /etc/reeve/reeve.conf.d; printf '[Database]\\nDatabase=%s\\n' '{database}' >/etc/reeve/reeve.conf.d/t.conf")
    try:
        machine.sh(f"systemctl start {UNIT}")
        if result == "skipped":
            assert machine.property(UNIT, "Result") == "exec-condition"
            assert machine.property(UNIT, "ActiveState") == "inactive"
            assert "names another server" in machine.journal("-u", UNIT, "-n", "10")
        else:
            assert machine.is_active(UNIT)
    finally:
        machine.sh(f"rm /etc/reeve/reeve.conf.d/t.conf; systemctl start {UNIT}")


def test_wrong_connection_string_is_told(machine):
    machine.sh(f"systemctl stop {UNIT}; mkdir -p /etc/reeve/reeve.conf.d; printf '[Database]\\nDatabase=hots=x\\n' >/etc/reeve/reeve.conf.d/t.conf")
    try:
        assert machine.exec("systemctl", "start", UNIT, check=False).returncode != 0
        assert 'Database= is not a connection string: invalid connection option "hots"' in machine.journal("-u", UNIT)
    finally:
        machine.sh(f"rm /etc/reeve/reeve.conf.d/t.conf; systemctl start {UNIT}")


@pytest.mark.skipif(not os.environ.get("REEVE_TEST_SLOW"), reason="slow: set REEVE_TEST_SLOW=1")
def test_upgrade_as_the_manual_says(new_machine):
    """To a "16" whose programs are those of the version at hand: the steps and the directories are what is tested."""
    m = new_machine()
    have = m.sh("ls /usr/lib/postgresql | sort -n | tail -n 1")
    m.psql("create table kept (n int); insert into kept values (5)")
    m.sh(f"mkdir /usr/lib/postgresql/99; mount --bind /usr/lib/postgresql/{have} /usr/lib/postgresql/99")
    page = m.sh("zcat /usr/share/man/man8/reeve-postgres.service.8.gz")
    lines = re.search(r"installed, as root:(.*?)Then, when all is well", page, re.S).group(1)
    steps = re.sub(r"^\.(RS|RE|nf|fi|P)\b.*$|^\.br$", "", lines, flags=re.M).replace("\\&", "")
    steps = steps.replace("15", have).replace("17", "99")
    m.sh("set -x;" + steps, timeout=600)
    wait_ready(m)
    assert m.psql("show data_directory", user="reeve-postgres", role="reeve-postgres") == f"{STATE}/99"
    assert m.psql("select n from kept") == "5"
    m.crash()
    m.boot()
    wait_ready(m)
    assert m.psql("select n from kept") == "5", "after the upgrade the newer cluster is used, the old one is still there"
