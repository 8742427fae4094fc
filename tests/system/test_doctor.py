"""reevectl doctor and selftest on a real machine: silence when it is well, and each fault caused for real."""
import json
import time

import pytest

QUIET = {"CGROUPS_OLD", "NOT_LOOKED_AT"}   # notes of machines on such a host, and for others than root


def run(machine, *args, user=None, env=(), rc=None):
    r = machine.exec("env", *env, "reevectl", *args, user=user, check=False, timeout=60)
    assert rc is None or r.returncode == rc, r
    return r


def look(machine, user=None, env=()):
    """The findings by code; each has all its members, and the exit status is what they make it."""
    r = run(machine, "doctor", "--json", user=user, env=env)
    said = json.loads(r.stdout)
    levels = [f["level"] for f in said["findings"]]
    assert [levels.count(x) for x in ("error", "warning", "note")] == [said[k] for k in ("errors", "warnings", "notes")]
    assert r.returncode == (2 if "error" in levels else 1 if "warning" in levels else 0), r
    for f in said["findings"]:
        assert f["code"] and f["what"].endswith(".") and f["remedy"] and f["where"] in ("api", "database", "systemd", "host"), f
    return {f["code"]: f for f in said["findings"]}


@pytest.fixture(scope="module")
def well(machine):
    """The machine when nothing is wrong with it."""
    machine.wait_until(lambda: not set(look(machine)) - QUIET, timeout=60, every=0.5)
    return machine


@pytest.fixture(autouse=True)
def nothing_is_left(request, machine):
    yield
    deadline = time.monotonic() + 60
    while left := set(look(machine)) - QUIET:
        assert time.monotonic() < deadline, f"after this test the doctor still says {left}"
        time.sleep(0.5)


def super_sql(machine, *statements):
    """As the superuser, elsewhere than in a database that may be read-only."""
    for s in (*statements, "select pg_reload_conf()"):
        machine.exec("env", "PGOPTIONS=-c default_transaction_read_only=off", "psql", "-X", "-h", "/run/reeve-postgres",
                     "-v", "ON_ERROR_STOP=1", "-c", s, "reeve", user="reeve-postgres")


def finds(machine, code, level, timeout=20, **kwargs):
    """Waits for that finding and returns it."""
    found = machine.wait_until(lambda: look(machine, **kwargs).get(code), timeout=timeout, every=0.3)
    assert found["level"] == level, found
    return found


# ---- well ----

def test_a_healthy_machine_is_silent(well):
    assert set(look(well)) <= {"CGROUPS_OLD"}
    old = well.out("stat", "-fc", "%T", "/sys/fs/cgroup") != "cgroup2fs"
    assert ("CGROUPS_OLD" in look(well)) == old
    r = run(well, "doctor", rc=0)
    assert r.stdout.endswith("Nothing is wrong.\n") and not r.stderr, r


def test_others_than_root_are_told_what_was_not_looked_at(well):
    found = look(well, user="nobody")
    assert set(found) <= QUIET and found["NOT_LOOKED_AT"]["level"] == "note"
    r = run(well, "doctor", user="nobody", rc=0)
    assert "you are neither root nor a member of group reeve-admin" in r.stdout and "only root may" in r.stdout
    assert r.stdout.endswith("Nothing is wrong with what was looked at; not all was: see the notes.\n")
    # What is wrong there is told by those who may see it, and is no error for those who may not.
    well.sh("mkdir -p /etc/reeve/reeve.conf.d; chmod 0755 /etc/reeve /etc/reeve/reeve.conf.d; : >/etc/reeve/reeve.conf.d/x.conf;"
            "chmod 0600 /etc/reeve/reeve.conf.d/x.conf;"
            "chmod 0700 /run/reeve")
    try:
        notes = [f for f in json.loads(run(well, "doctor", "--json", user="nobody").stdout)["findings"] if f["code"] == "NOT_LOOKED_AT"]
        assert {"/run/reeve/run", "/run/reeve/api.sock", "/etc/reeve/reeve.conf"} <= {f["what"].split()[0] for f in notes}
        assert not {"FILE_MISSING", "CONFIGURATION"} & set(look(well, user="nobody"))
    finally:
        well.sh("rm /etc/reeve/reeve.conf.d/x.conf; chmod 0755 /run/reeve")
    assert run(well, "doctor", "--url=http://127.0.0.1:8380", rc=2).stderr.count("ssh HOST") == 1


def test_selftest(well):
    jobs = set(well.out("reevectl", "list", "--kind=reeve-selftest", "--json").splitlines())
    r = run(well, "selftest", "--smoke", rc=0)
    assert [l.split()[:2] for l in r.stdout.splitlines()] == [
        ["ok", s] for s in ("units", "bus", "api", "database", "flags", "submit", "run", "file")]
    said = json.loads(run(well, "selftest", "--json", rc=0).stdout)
    assert said["ok"] and all(s["ok"] and s["usec"] >= 0 and s["text"] for s in said["steps"])
    new = [json.loads(j) for j in set(well.out("reevectl", "list", "--kind=reeve-selftest", "--json").splitlines()) - jobs]
    assert [j["state"] for j in new] == ["succeeded"] * 2
    # What it leaves goes: KeepResult= of its kind.
    assert well.psql("select keep_usec from reeve.kind where name = 'reeve-selftest'") == "60000000"


def test_selftest_says_which_step_fails(well):
    well.exec("systemctl", "stop", "reeve-worker@inline", "reeve-worker@default")
    try:
        r = run(well, "selftest", rc=1)
        state = {l.split()[1]: l.split()[0] for l in r.stdout.splitlines()}
        assert state["units"] == state["run"] == state["file"] == "FAILED" and state["submit"] == state["bus"] == "ok", r
        assert "reeve-worker@default.service is inactive" in r.stdout and "the job is ready" in r.stdout and "reevectl doctor" in r.stderr
    finally:
        well.exec("systemctl", "start", "reeve-worker@inline", "reeve-worker@default")
    well.wait_until("! reevectl list --kind=reeve-selftest --state=ready --json | grep -q .")
    assert run(well, "selftest", user="nobody", rc=1).stdout.count("HTTP 403") >= 1
    well.exec("systemctl", "stop", "reeve-api.socket", "reeve-api.service")
    try:
        assert run(well, "selftest", rc=1).stdout.count("left out: the API does not answer") == 5
    finally:
        well.exec("systemctl", "start", "reeve-api.socket")


# ---- the database ----

DATABASE = [
    ("SERVER_SETTING", "error", "alter system set fsync = off", "alter system reset fsync", "server setting fsync is off"),
    ("SERVER_SETTING", "error", "alter system set synchronous_commit = off", "alter system reset synchronous_commit",
     "Server setting synchronous_commit is off"),
    ("SERVER_SETTING", "error", "alter role reeve_api set synchronous_commit = off", "alter role reeve_api reset synchronous_commit",
     "synchronous_commit = off"),
    ("ROLES", "warning", "alter role reeve_worker reset lock_timeout", "alter role reeve_worker set lock_timeout = '500ms'",
     "Role reeve_worker has no setting lock_timeout"),
    ("AUTOVACUUM_OFF", "warning", "alter system set autovacuum = off", "alter system reset autovacuum", "autovacuum"),
    ("SERVER_READ_ONLY", "error", "alter database reeve set default_transaction_read_only = on",
     "alter database reeve reset default_transaction_read_only", "read-only"),
    ("NOT_LOOKED_AT", "note", "revoke pg_read_all_stats from reeve_owner", "grant pg_read_all_stats to reeve_owner", "reeve_owner"),
    ("INDEX_INVALID", "error", "update pg_index set indisvalid = false where indexrelid = 'reeve.history_object'::regclass",
     "update pg_index set indisvalid = true where indexrelid = 'reeve.history_object'::regclass", "history_object is invalid"),
    ("SLOT_UNUSED", "warning", "select pg_create_physical_replication_slot('doctor')", "select pg_drop_replication_slot('doctor')",
     "slot doctor"),
    ("PARTITIONS", "warning", "insert into reeve.done (job, state, cause) values (reeve.uuid_floor('2001-01-01'), 'failed', 'exit')",
     "delete from reeve.done where job = reeve.uuid_floor('2001-01-01')", "no partition of its own"),
    ("POISON", "warning", "insert into reeve.done (job, state, cause, error_code) select reeve.uuidv7(), 'failed', 'worker-died',"
     " 'INTERRUPTED_TOO_OFTEN' from generate_series(1, 2)", "delete from reeve.done where error_code = 'INTERRUPTED_TOO_OFTEN'",
     "2 jobs of the last day"),
    ("MANY_FAILED", "warning", "insert into reeve.done (job, state, cause, error_code) select reeve.uuidv7(), 'failed', 'exit', 'DOCTOR'"
     " from generate_series(1, 500)", "delete from reeve.done where error_code = 'DOCTOR'", "jobs of the last hour"),
    ("SCHEMA_NEW", "note", "update reeve.schema_migration set version = 999 where version = (select max(version) from reeve.schema_migration)",
     "update reeve.schema_migration set version = (select max(version) + 1 from reeve.schema_migration where version < 999)"
     " where version = 999", "version 999, newer"),
]


@pytest.mark.parametrize("code, level, cause, undo, words", DATABASE, ids=[d[2][:60] for d in DATABASE])
def test_the_database(well, code, level, cause, undo, words):
    super_sql(well, cause)
    try:
        found = finds(well, code, level)
        assert words.lower() in found["what"].lower() and found["where"] == "database", found
    finally:
        super_sql(well, *undo.split("; "))


def test_dead_rows(well):
    well.psql("alter table reeve.progress set (autovacuum_enabled = off)")
    well.psql("insert into reeve.progress (job, run_id) select gen_random_uuid(), 1 from generate_series(1, 60000)")
    well.psql("delete from reeve.progress")
    try:
        assert "reeve.progress" in finds(well, "DEAD_ROWS", "warning")["remedy"]
    finally:
        well.psql("alter table reeve.progress reset (autovacuum_enabled)")
        well.psql("vacuum reeve.progress")


def test_keys_that_expire(well):
    well.out("reevectl", "key", "create", "doctor", "--role=read", "--tenant=*")
    well.psql("update reeve.api_key set expires_at = now() + interval '1 day' where name = 'doctor'")
    assert "doctor expires in" in finds(well, "KEY_EXPIRES", "warning")["what"]
    well.psql("update reeve.api_key set expires_at = now() - interval '1 day' where name = 'doctor'")
    found = finds(well, "KEY_EXPIRED", "warning")
    well.sh(found["remedy"].split("; ")[1])   # revokes it


def test_connections_run_out(well):
    super_sql(well, "alter system set max_connections = 20")
    well.exec("systemctl", "restart", "reeve-postgres")
    try:
        well.sh("for i in 1 2 3 4 5 6 7; do setsid psql -X -h /run/reeve-postgres -U reeve_owner -c 'select pg_sleep(600)' reeve"
                " >/dev/null 2>&1 & done")
        assert "of the 17 connections" in finds(well, "CONNECTIONS", "warning", timeout=40)["what"]
    finally:
        super_sql(well, "alter system reset max_connections")
        well.exec("systemctl", "restart", "reeve-postgres")


def test_without_the_database_the_rest_is_looked_at(well):
    well.exec("systemctl", "stop", "reeve-postgres")
    try:
        finds(well, "DATABASE_AWAY", "error")
        finds(well, "MANAGER_DEGRADED", "error")
        found = look(well)
        assert {"DATABASE_UNREACHABLE", "DATABASE_AWAY", "MANAGER_DEGRADED"} <= set(found) <= {
            "DATABASE_UNREACHABLE", "DATABASE_AWAY", "MANAGER_DEGRADED"} | QUIET, found
    finally:
        well.sh(found["DATABASE_UNREACHABLE"]["remedy"].split("; ")[0])


def test_an_old_schema(well):
    well.sh("psql -X -h /run/reeve-postgres -U reeve_owner -v ON_ERROR_STOP=1 -c 'copy (select * from reeve.schema_migration order by"
            " version desc limit 1) to stdout' reeve >/run/row; test -s /run/row")
    well.psql("delete from reeve.schema_migration where version = (select max(version) from reeve.schema_migration)")
    try:
        assert "is needed" in finds(well, "SCHEMA_OLD", "error")["what"]
    finally:
        well.sh("psql -X -h /run/reeve-postgres -U reeve_owner -v ON_ERROR_STOP=1 -c 'copy reeve.schema_migration from stdin' reeve </run/row")


# ---- units and the bus ----

UNITS = [
    ("UNIT_FAILED", "error",
     "mkdir -p /run/systemd/system/reeve-maintenance.service.d; printf '[Service]\\nExecStart=\\nExecStart=/bin/false\\n'"
     " >/run/systemd/system/reeve-maintenance.service.d/x.conf; systemctl daemon-reload; systemctl start reeve-maintenance || true",
     "rm -r /run/systemd/system/reeve-maintenance.service.d; systemctl daemon-reload; systemctl reset-failed reeve-maintenance",
     "reeve-maintenance.service"),
    ("NEEDS_RELOAD", "warning",
     "touch /lib/systemd/system/reeved.service", "systemctl daemon-reload", "reeved.service"),
    ("UNIT_MASKED", "error", "systemctl mask -q --runtime --now reeve-maintenance.timer",
     "systemctl unmask -q --runtime reeve-maintenance.timer; systemctl start reeve-maintenance.timer", "reeve-maintenance.timer"),
    ("UNIT_MISSING", "error", "systemctl stop reeve-maintenance.timer; mv /lib/systemd/system/reeve-maintenance.timer /srv/; systemctl daemon-reload",
     "mv /srv/reeve-maintenance.timer /lib/systemd/system/; systemctl daemon-reload; systemctl start reeve-maintenance.timer",
     "reeve-maintenance.timer"),
    ("UNIT_INACTIVE", "warning", "systemctl stop reeve-worker@inline", "systemctl start reeve-worker@inline", "reeve-worker@inline.service"),
    ("TARGET_DISABLED", "note", "systemctl disable -q reeve.target", "systemctl enable -q reeve.target", "boots"),
    ("WATCHDOG_OFF", "warning",
     "mkdir -p /run/systemd/system/reeve-api.service.d; printf '[Service]\\nWatchdogSec=0\\n' >/run/systemd/system/reeve-api.service.d/x.conf;"
     " systemctl daemon-reload; systemctl restart reeve-api",
     "rm -r /run/systemd/system/reeve-api.service.d; systemctl daemon-reload; systemctl restart reeve-api", "reeve-api.service"),
    ("HARDENING_OFF", "warning",
     "mkdir -p /run/systemd/system/reeved.service.d; printf '[Service]\\nProtectSystem=no\\nPrivateTmp=no\\n'"
     " >/run/systemd/system/reeved.service.d/x.conf; systemctl daemon-reload",
     "rm -r /run/systemd/system/reeved.service.d; systemctl daemon-reload", "PrivateTmp=, ProtectSystem="),
    ("WORKER_NAMESAKE", "error",
     "systemctl stop reeve-worker@inline; systemd-run -q --unit=by-hand -p User=reeve-worker -p Type=notify -p ProtectProc=invisible /usr/lib/reeve/reeve-worker inline;"
     " until reevectl workers | grep -q inline; do sleep 0.1; done; systemctl start reeve-worker@inline;"
     " until systemctl status reeve-worker@inline | grep -q 'Status: \"waiting: '; do sleep 0.1; done",
     "systemctl stop by-hand; until systemctl status reeve-worker@inline | grep -q 'Status: \"working'; do sleep 0.1; done",
     "worker inline runs on this host already"),
    ("POLKIT_AWAY", "error", "systemctl mask -q --runtime --now polkit", "systemctl unmask -q --runtime polkit", "every change is refused"),
    ("MANAGER_AWAY", "error", "systemctl mask -q --runtime --now reeved", "systemctl unmask -q --runtime reeved; systemctl start reeved",
     "flags cannot be changed"),
]


@pytest.mark.parametrize("code, level, cause, undo, words", UNITS, ids=[u[0] for u in UNITS])
def test_units(well, code, level, cause, undo, words):
    try:
        well.sh(cause)
        found = finds(well, code, level)
        assert words in found["what"] and found["where"] == "systemd", found
    finally:
        well.sh(undo)


def test_a_target_that_is_stopped_and_its_remedy(well):
    well.exec("systemctl", "stop", "reeve.target", timeout=90)
    found = look(well)
    assert found["TARGET_INACTIVE"]["level"] == "error" and "API_AWAY" in found and "UNIT_INACTIVE" not in found
    well.sh(found["TARGET_INACTIVE"]["remedy"], timeout=90)


def test_a_service_that_is_restarted_again_and_again(well):
    well.exec("systemctl", "restart", "reeved")
    for n in range(5):
        well.wait_until(lambda: well.main_pid("reeved") > 0)
        well.kill9("reeved")
        well.wait_until(lambda: int(well.property("reeved", "NRestarts")) > n)
    assert "reeved.service has had to be restarted" in finds(well, "UNIT_RESTARTS", "warning")["what"]
    well.exec("systemctl", "restart", "reeved")


def test_memory_near_its_limit(well):
    used = well.property("reeved", "MemoryCurrent")
    if not used.isdigit():
        pytest.skip("no memory controller in this machine")
    well.exec("systemctl", "set-property", "--runtime", "reeved.service", f"MemoryMax={int(used) * 104 // 100}")
    try:
        found = finds(well, "MEMORY_HIGH", "warning")
        assert "reeved.service uses" in found["what"]
    finally:
        # Not set-property again: on a busy machine systemd once asked for a reload from then on.
        well.sh("rm -r /run/systemd/system.control/reeved.service.d; systemctl daemon-reload; systemctl restart reeved")


def test_no_bus_and_one_without_systemd(well):
    found = look(well, env=["DBUS_SYSTEM_BUS_ADDRESS=unix:path=/run/nothing"])
    assert found["BUS_AWAY"]["level"] == "error" and "POLKIT_AWAY" not in found
    r = well.exec("dbus-run-session", "--", "sh", "-c", 'DBUS_SYSTEM_BUS_ADDRESS=$DBUS_SESSION_BUS_ADDRESS exec reevectl doctor --json',
                  check=False)
    assert {"SYSTEMD_AWAY", "POLKIT_AWAY", "MANAGER_AWAY"} <= {f["code"] for f in json.loads(r.stdout)["findings"]}, r


# ---- the host ----

HOST = [
    ("USER_MISSING", "error", "cp -p /etc/passwd /srv/passwd; sed -i /^reeve-run:/d /etc/passwd", "cp -p /srv/passwd /etc/passwd", "reeve-run"),
    ("GROUP_MISSING", "error", "cp -p /etc/group /srv/group; sed -i /^reeve-admin:/d /etc/group", "cp -p /srv/group /etc/group", "reeve-admin"),
    ("SERVICE_IS_OPERATOR", "error", "gpasswd -a reeve-run reeve-admin >/dev/null", "gpasswd -d reeve-run reeve-admin >/dev/null", "reeve-run"),
    ("FILE_RIGHTS", "error", "chmod 0777 /run/reeve/run", "systemd-tmpfiles --create reeve.conf", "0777"),
    ("FILE_RIGHTS", "error", "chown nobody /var/lib/reeve/blobs", "systemd-tmpfiles --create reeve.conf", "/var/lib/reeve/blobs"),
    ("FILE_MISSING", "error", "mv /run/reeve/api.sock /run/reeve/gone", "systemctl restart reeve-api.socket; rm -f /run/reeve/gone", "api.sock"),
    ("PACKAGE_FILE", "error", "mv /usr/share/polkit-1/rules.d/50-reeve.rules /srv/", "mv /srv/50-reeve.rules /usr/share/polkit-1/rules.d/", "50-reeve.rules"),
    ("DISK_LOW", "error", "mount -t tmpfs -o size=8m,mode=2770,gid=$(getent group reeve-blob | cut -d: -f3) none /var/lib/reeve/blobs",
     "umount /var/lib/reeve/blobs", "/var/lib/reeve/blobs has 8.0M left"),
    ("DISK_LOW", "warning", "mount -t tmpfs -o size=64m,mode=2770,gid=$(getent group reeve-blob | cut -d: -f3) none /var/lib/reeve/blobs",
     "umount /var/lib/reeve/blobs", "64.0M left"),
    ("INODES_LOW", "warning", "mount -t tmpfs -o size=1g,nr_inodes=100,mode=2770,gid=$(getent group reeve-blob | cut -d: -f3) none"
     " /var/lib/reeve/blobs; for i in $(seq 99); do : >/var/lib/reeve/blobs/$i; done", "umount /var/lib/reeve/blobs", "of 100 inodes"),
    ("TZDATA_MISSING", "warning", "mv /usr/share/zoneinfo/Europe/Berlin /srv/", "mv /srv/Berlin /usr/share/zoneinfo/Europe/", "UTC only"),
    ("CONFIGURATION", "error", "mkdir -p /etc/reeve/reeve.conf.d; printf '[API]\\nLeaseSec=x\\n[Worker]\\nLeaseSec=never\\n'"
     " >/etc/reeve/reeve.conf.d/x.conf", "rm /etc/reeve/reeve.conf.d/x.conf", "/etc/reeve/reeve.conf.d/x.conf:"),
    ("CONFIGURATION", "warning", "mkdir -p /etc/reeve/pools; printf '[Pool]\\nQueues=inline\\nNothing=1\\n' >/etc/reeve/pools/inline.conf",
     "rm /etc/reeve/pools/inline.conf", "/etc/reeve/pools/inline.conf:3"),
    ("KIND_MASKED", "note", "mkdir -p /etc/reeve/kinds; ln -s /dev/null /etc/reeve/kinds/pdf.kind", "rm /etc/reeve/kinds/pdf.kind", "pdf.kind"),
]


@pytest.mark.parametrize("code, level, cause, undo, words", HOST, ids=[f"{h[0]}-{n}" for n, h in enumerate(HOST)])
def test_the_host(well, code, level, cause, undo, words):
    try:
        well.sh(cause)
        found = finds(well, code, level)
        assert words in found["what"] and found["where"] == "host", found
    finally:
        well.sh(undo)


def test_without_its_helper(well):
    well.exec("chmod", "0", "/usr/lib/reeve/reeve-doctor")
    well.exec("mv", "/usr/lib/reeve/reeve-doctor", "/usr/lib/reeve/gone")
    try:
        assert look(well)["DOCTOR_BROKEN"]["level"] == "error"
    finally:
        well.sh("mv /usr/lib/reeve/gone /usr/lib/reeve/reeve-doctor; chmod 755 /usr/lib/reeve/reeve-doctor")


# ---- work that is not done ----

def test_jobs_that_wait_though_a_slot_is_free(well):
    """E30: workers idle. A kind whose socket is gone is held by the workers."""
    well.sh("mkdir -p /etc/reeve/kinds; printf '[Kind]\\nMaxAttempts=1\\n[Exec]\\nStart=/bin/true\\n' >/etc/reeve/kinds/idle.kind;"
            " systemctl daemon-reload; systemctl start reeve-run-idle.socket; systemctl restart reeve-worker@default")
    try:
        well.wait_until("reevectl kinds | grep -q '^idle .* 1'", timeout=30)
        well.exec("systemctl", "stop", "reeve-run-idle.socket")
        job = well.out("reevectl", "submit", "idle")
        well.psql(f"update reeve.job set created_at = created_at - interval '5 minutes' where id = '{job}'")
        found = finds(well, "WORKERS_IDLE", "error", timeout=40)
        assert "has free slots" in found["what"] and "KIND_SOCKET" in look(well)
        well.exec("systemctl", "start", "reeve-run-idle.socket")
        well.exec("reevectl", "wait", job, timeout=90)
    finally:
        well.sh("rm -f /etc/reeve/kinds/idle.kind; systemctl stop reeve-run-idle.socket; systemctl daemon-reload; systemctl restart reeve-worker@default")
        well.psql("delete from reeve.kind where name = 'idle'")


def test_jobs_that_wait_because_all_slots_are_busy(well):
    """E30: pending stuck."""
    well.sh("mkdir -p /etc/reeve/kinds /etc/reeve/pools; printf '[Kind]\\nQueue=stuck\\nMaxAttempts=1\\n[Exec]\\nStart=/bin/sleep 300\\n'"
            " >/etc/reeve/kinds/stuck.kind; printf '[Pool]\\nQueues=stuck\\nSlots=1\\n' >/etc/reeve/pools/stuck.conf;"
            " printf '[Pool]\\nQueues=* !inline !stuck\\n' >/etc/reeve/pools/default.conf;"
            " systemctl daemon-reload; systemctl start reeve-run-stuck.socket; systemctl restart reeve-worker@default; systemctl start reeve-worker@stuck")
    try:
        well.wait_until("reevectl kinds | grep -q '^stuck '", timeout=30)
        jobs = [well.out("reevectl", "submit", "stuck") for _ in range(2)]
        well.wait_until("reevectl list --queue=stuck --state=running --json | grep -q .")
        well.psql("update reeve.job set created_at = created_at - interval '20 minutes' where queue = 'stuck'")
        assert "all slots" in finds(well, "PENDING_STUCK", "warning", timeout=40)["what"]
        well.exec("reevectl", "cancel", *jobs)
        well.exec("reevectl", "wait", *jobs, check=False, timeout=60)
    finally:
        well.sh("rm -f /etc/reeve/kinds/stuck.kind /etc/reeve/pools/stuck.conf /etc/reeve/pools/default.conf; systemctl stop reeve-worker@stuck"
                " reeve-run-stuck.socket; systemctl daemon-reload; systemctl restart reeve-worker@default")
        well.psql("delete from reeve.kind where name = 'stuck'")


def test_a_queue_that_is_paused_and_a_kind_that_is_broken(well):
    well.exec("reevectl", "queues", "pause", "pdf", "--reason=doctor")
    well.sh("mkdir -p /etc/reeve/kinds; printf '[Kind]\\nPriority=x\\n[Exec]\\nStart=/bin/true\\n' >/etc/reeve/kinds/bad.kind")
    try:
        found = look(well)
        assert found["QUEUE_PAUSED"]["level"] == "warning" and found["KIND_KEPT_OUT"]["level"] == "error"
        well.sh(found["QUEUE_PAUSED"]["remedy"])
    finally:
        well.sh("rm /etc/reeve/kinds/bad.kind; reevectl queues resume pdf")
