"""The worker, the launcher and generated units in a booted machine: what ends a run, what survives it, and what is on record."""
import json
import time
import uuid

import pytest
from patience import within

WORKERS = ("default", "inline")
# A tree that does all it can to be forgotten: two forks, a session of its own, no descriptors, no environment, deaf to TERM.
ESCAPE = "python3 -c 'import os,signal\nif os.fork()==0:\n os.setsid()\n if os.fork()==0:\n  signal.signal(15,1); os.closerange(0,100)\n  os.execve(\"/bin/sleep\",[\"sleep\",\"MARK\"],{})\n os._exit(0)\nos.wait()'"
SH = {
    # name: (script, [Kind] lines, [Exec] lines, [Service] lines)
    "ok": ("echo '{\"attempt\":'$REEVE_ATTEMPT'}'", "", "", ""),
    "where": ("echo \"word from $REEVE_JOB_ID\" >&2; echo \\\"$(cat /proc/self/cgroup | tr '\\n' ' ')\\\"", "", "", ""),
    # The payload is how long it takes; then it is done.
    "nap": ("sleep $(cat); echo 1", "", "", ""),
    "napkin": ("sleep $(cat); echo 1", "Queue=inline", "", ""),
    "reuse": ("echo $REEVE_RUN_ID", "", "MaxRuns=1000", ""),
    "seven": ("exit 7", "", "", ""),
    "segv": ("kill -SEGV $$", "", "", ""),
    "slow": ("sleep 600", "TimeoutSec=300ms", "", ""),
    "silent": ("sleep 600", "WatchdogSec=300ms", "", ""),
    "brief": ("sleep $(cat); echo 1", "Queue=brief", "", ""),
    "hog": ("python3 -c 'x = bytearray(300 << 20)'", "MaxInterruptions=1", "", "MemoryMax=40M"),
    "escape": (ESCAPE.replace("MARK", "31415.9") + "; sleep 600", "Queue=inline", "", ""),
    "leave": (ESCAPE.replace("MARK", "27182.8") + "; echo 1", "", "", ""),
}
PROGRAMS = {"missing": "/nonexistent/handler", "plain": "/etc/hostname"}


def quote(script):
    return "'" + script.replace("\\", "\\\\").replace("'", "\\'").replace("\n", "\\n") + "'"


class World:
    def __init__(self, machine):
        self.m = machine

    def psql(self, sql):
        return self.m.psql(sql, user=None)

    def enqueue(self, kind, payload=None, **options):
        return self.psql(f"select reeve.enqueue('{kind}', '{json.dumps(payload)}', '{json.dumps(options)}')")

    def job(self, id):
        return json.loads(self.psql(f"select reeve.job_status('{id}')"))

    def wait(self, id, *states, timeout=20):
        states = states or ("succeeded", "failed", "cancelled")

        def is_there():
            job = self.job(id)
            return job if job["state"] in states else None
        is_there.__name__ = f"job {id} in {states}; it is {self.job(id)}"
        return self.m.wait_until(is_there, timeout)

    def run(self, kind, payload=None, **options):
        return self.wait(self.enqueue(kind, payload, **options))

    def unit(self, id):
        """The unit of a running job, once its handler has started."""
        job = self.wait(id, "running")
        find = f"grep -slz ^REEVE_JOB_ID={id}$ /proc/[0-9]*/environ | cut -d/ -f3 | head -1"
        pid = self.m.wait_until(lambda: self.m.sh(find + " || :"))
        path = self.m.wait_until(lambda: next((p for p in self.m.sh(f"cat /proc/{pid}/cgroup || :").split("/")
                                              if p.startswith(f"reeve-run-{job['kind']}@")), None))
        return path.split()[0]

    def started(self, id):
        """Seen running by the worker, and on record: from now on its loss is an interruption."""
        unit = self.unit(id)
        self.m.wait_until(lambda: self.psql(f"select started from reeve.lease where job = '{id}'") == "t")
        return unit

    def history(self, id):
        rows = self.psql("select coalesce(json_agg(json_build_object('event', event, 'to', to_state, 'cause', cause, 'message', error_message) "
                           f"order by id), '[]') from reeve.history where job = '{id}'")
        return json.loads(rows)

    def units(self):
        return self.m.out("systemctl", "list-units", "--plain", "--no-legend", "reeve-run-*@*.service").splitlines()

    def settle(self):
        self.m.wait_until(lambda: not self.units(), timeout=15)


@pytest.fixture(scope="module")
def world(machine, tmp_path_factory):
    where = tmp_path_factory.mktemp("kinds")
    programs = {name: (f"/bin/bash -c {quote(script)}", *more) for name, (script, *more) in SH.items()}
    programs |= {name: (program, "", "", "") for name, program in PROGRAMS.items()}
    for name, (program, kind, exec_lines, service) in programs.items():
        (where / f"{name}.kind").write_text(f"[Kind]\nMaxAttempts=1\nRetrySec=100ms\nStopSec=500ms\n{kind}\n[Exec]\nStart={program}\n"
                                            f"{exec_lines}\n[Service]\n{service}\n")
        machine.put(where / f"{name}.kind", "/etc/reeve/kinds")
    for worker in WORKERS:
        queues = "inline" if worker == "inline" else "* !inline !brief"
        (where / f"{worker}.conf").write_text(f"[Pool]\nQueues={queues}\nSlots=4\nDrainSec=20s\n")
        machine.put(where / f"{worker}.conf", "/etc/reeve/pools")
    (where / "short.conf").write_text("[Service]\nWatchdogSec=5s\n")
    machine.put(where / "short.conf", "/etc/systemd/system/reeve-worker@default.service.d")
    machine.sh("chmod 755 /etc/reeve/kinds /etc/reeve/pools; systemctl daemon-reload; "
               "systemctl restart reeve-worker@default reeve-worker@inline")
    w = World(machine)
    # Beside those of the package.
    mine = ",".join(f"'{name}'" for name in programs)
    machine.wait_until(lambda: int(machine.psql(f"select count(*) from reeve.kind where name in ({mine})")) == len(programs))
    return w


@pytest.fixture(autouse=True)
def settled(world):
    yield
    world.settle()


def test_the_target_brings_the_workers_and_their_status_says_what_they_do(world):
    for worker in WORKERS:
        unit = f"reeve-worker@{worker}.service"
        assert world.m.is_active(unit) and world.m.property(unit, "NRestarts") == "0"
        world.m.wait_until(lambda unit=unit: "working: 0 of 4 slots busy" in world.m.property(unit, "StatusText"))
    ids = [world.enqueue("nap", 3) for _ in range(2)]
    world.m.wait_until(lambda: "2 of 4 slots busy" in world.m.out("systemctl", "status", "reeve-worker@default"))
    for id in ids:
        world.wait(id)


def test_a_run_has_a_unit_of_its_own_and_its_words_are_in_the_journal(world):
    first, second = (world.run("where") for _ in range(2))
    assert first["state"] == second["state"] == "succeeded" and first["unit"] != second["unit"]
    for job in (first, second):
        assert job["unit"].startswith("reeve-run-where@") and f"reeve-run.slice/{job['unit']}" in job["result"]
        world.m.wait_until(lambda job=job: world.m.journal(f"REEVE_JOB_ID={job['id']}").strip() == f"word from {job['id']}")


def test_a_recycled_worker_is_started_again(world):
    """RecycleJobs=: a clean exit in the unit's eyes, and the next process takes the jobs that are left."""
    world.m.sh("mkdir -p /etc/reeve/pools && cp /etc/reeve/pools/default.conf /srv/default.conf && "
               "echo RecycleJobs=5 >>/etc/reeve/pools/default.conf && systemctl restart reeve-worker@default")
    try:
        before = world.m.main_pid("reeve-worker@default")
        ids = [world.enqueue("where") for _ in range(12)]
        for id in ids:
            job = world.wait(id)
            assert job["state"] == "succeeded" and job["interruptions"] == 0
        assert int(world.m.property("reeve-worker@default", "NRestarts")) >= 1
        assert world.m.main_pid("reeve-worker@default") != before
        assert world.m.property("reeve-worker@default", "Result") == "success"
    finally:
        world.m.sh("cp /srv/default.conf /etc/reeve/pools/default.conf; systemctl restart reeve-worker@default")


def test_a_reused_slot_serves_many_jobs(world):
    world.psql("select reeve.enqueue('reuse') from generate_series(1, 100)")
    world.m.wait_until(lambda: int(world.psql("select count(*) from reeve.done where cause = 'exit' and unit like 'reeve-run-reuse@%'")) == 100)
    assert int(world.psql("select count(distinct unit) from reeve.done where unit like 'reeve-run-reuse@%'")) <= 4
    world.m.sh("systemctl restart reeve-worker@default")  # idle slots go with their worker


@pytest.mark.parametrize("kind,state,cause,code", [
    ("ok", "succeeded", "exit", None), ("seven", "failed", "exit", "EXIT_7"), ("segv", "failed", "signal", "SIGNAL"),
    ("slow", "failed", "timeout", "TIMEOUT"), ("silent", "failed", "watchdog", "WATCHDOG"),
    # Tier: a machine with cgroup v1 here; the launcher reads the v1 or the v2 counter, whichever there is.
    ("hog", "failed", "oom-kill", "INTERRUPTED_TOO_OFTEN")])
def test_every_cause_of_an_end_is_told_apart(world, kind, state, cause, code):
    job = world.run(kind)
    assert (job["state"], job["cause"], job.get("error", {}).get("code")) == (state, cause, code)
    assert job["host"] == world.m.name


def show(world, id):
    return json.loads(world.m.out("reevectl", "show", "--json", id))


def test_a_deadline_that_passes_is_a_cause(world):
    """Nobody serves this queue."""
    soon = world.m.out("date", "-u", "-d", "+5 seconds", "+%FT%T.%3NZ")
    body = json.dumps({"kind": "brief", "deadline": soon})
    made = world.m.out("curl", "-sS", "--unix-socket", "/run/reeve/api.sock", "-H", "Content-Type: application/json", "-d", body,
                       "http://localhost/api/jobs")
    id = json.loads(made)["id"]
    world.wait(id)
    job = show(world, id)
    assert (job["state"], job["cause"], job["attempt"]) == ("failed", "deadline", 0), job


def test_an_input_that_is_gone_is_a_cause(world):
    """Its blob is lost from the store while the job waits."""
    world.m.sh("echo something >/srv/doc.txt")
    id = world.m.out("reevectl", "submit", "nap", "0", "--file=doc.txt=/srv/doc.txt", "--delay=1s")
    digest = world.psql(f"select digest from reeve.blob_ref where job = '{id}'").removeprefix("sha256:")
    world.m.sh(f"rm /var/lib/reeve/blobs/default/{digest[:2]}/{digest[2:]}")
    world.wait(id)
    job = show(world, id)
    assert (job["state"], job["cause"], job["error"]["code"]) == ("failed", "input-error", "INPUT_ERROR"), job
    assert "not in the blob store" in job["error"]["message"], job


def test_a_drain_that_takes_too_long_is_a_cause(world):
    """DrainSec=1s, and a run that would take ten minutes. It counts neither as an attempt nor as an interruption."""
    world.m.sh("printf '[Pool]\\nQueues=brief\\nSlots=1\\nDrainSec=1s\\n' >/etc/reeve/pools/brief.conf; systemctl start reeve-worker@brief")
    id = world.enqueue("brief", 600)
    unit = world.started(id)
    t0 = time.monotonic()
    world.m.sh("systemctl stop reeve-worker@brief")
    assert time.monotonic() - t0 < within(8)
    job = show(world, id)
    assert (job["state"], job["attempt"], job["interruptions"]) == ("ready", 0, 0), job
    history = [json.loads(line) for line in world.m.out("reevectl", "show", "--history", "--json", id).splitlines()]
    assert [(h["cause"], h["to"], h["unit"]) for h in history if h["event"] != "enqueue"] == [("drained", "ready", unit)], history
    world.m.wait_until(lambda: not world.m.is_active(unit))
    world.psql(f"select reeve.cancel('{id}')")


def test_cancel_ends_the_run_and_says_so(world):
    id = world.enqueue("nap", 600)
    unit = world.unit(id)
    world.psql(f"select reeve.cancel('{id}')")
    job = world.wait(id)
    assert (job["state"], job["cause"], job["unit"]) == ("cancelled", "cancelled", unit)


def test_a_tree_that_left_everything_ends_and_its_neighbours_survive(world):
    neighbours = [world.enqueue("nap", 8) for _ in range(3)]
    units = [world.unit(n) for n in neighbours]
    id = world.enqueue("escape")
    world.unit(id)
    world.m.wait_until("pgrep -f '^sleep 31415.9'")
    world.psql(f"select reeve.cancel('{id}')")
    assert world.wait(id)["cause"] == "cancelled"
    assert world.m.exec("pgrep", "-f", "^sleep 31415.9", check=False).returncode == 1, "gone before the end is on record"
    assert world.run("leave")["state"] == "succeeded"
    assert world.m.exec("pgrep", "-f", "^sleep 27182.8", check=False).returncode == 1
    for n, unit in zip(neighbours, units):
        job = world.wait(n)
        assert (job["state"], job["unit"], job["interruptions"]) == ("succeeded", unit, 0)


def test_restart_drains(world):
    id = world.enqueue("nap", 3)
    unit = world.unit(id)
    pid = world.m.main_pid("reeve-worker@default")
    world.m.sh("systemctl restart reeve-worker@default")
    job = world.job(id)
    assert (job["state"], job["unit"], job["interruptions"]) == ("succeeded", unit, 0)
    assert world.m.main_pid("reeve-worker@default") != pid


def test_a_killed_worker_gives_its_jobs_back_and_its_runs_end(world):
    mine, other = world.enqueue("nap", 6), world.enqueue("napkin", 6)
    unit, neighbour = world.started(mine), world.started(other)
    run_id = world.job(mine)["run_id"]
    world.m.kill9("reeve-worker@default.service")
    t0 = time.monotonic()
    world.m.wait_until(lambda: world.job(mine).get("run_id") != run_id, every=0.05)
    assert time.monotonic() - t0 < within(10), "claimable again when the unit has ended, not when the lease does"
    world.m.wait_until(lambda: not world.m.is_active(unit))
    job, beside = world.wait(mine), world.wait(other)
    assert (job["state"], job["interruptions"]) == ("succeeded", 1) and job["unit"] != unit
    assert (beside["state"], beside["interruptions"], beside["unit"]) == ("succeeded", 0, neighbour)
    assert [(h["cause"], "signal (killed KILL)" in h["message"]) for h in world.history(mine)] == [("worker-died", True)]




def test_a_killed_launcher_is_an_interruption(world):
    id, beside = world.enqueue("nap", 6), world.enqueue("nap", 8)
    unit, other = world.started(id), world.unit(beside)
    world.m.kill9(unit)
    job = world.wait(id)
    assert (job["state"], job["interruptions"]) == ("succeeded", 1) and job["unit"] != unit
    assert [h["cause"] for h in world.history(id)] == ["launcher-died"]
    job = world.wait(beside)
    assert (job["interruptions"], job["unit"]) == (0, other)


def test_a_stopped_launcher_is_given_up_and_its_unit_stopped(world):
    """StopUnit over the bus, allowed by the polkit rule; the handler's own patience (StopSec=) and 5 s more have to be over."""
    id = world.enqueue("nap", 600)
    unit = world.unit(id)
    world.m.exec("kill", "-STOP", str(world.m.main_pid(unit)))
    world.psql(f"select reeve.cancel('{id}')")
    assert world.wait(id, timeout=12)["state"] == "cancelled"
    world.m.wait_until(lambda: not world.m.is_active(unit), timeout=8)
    assert "does not stop the unit" not in world.m.journal("-u", "reeve-worker@default")


def test_a_worker_may_stop_runs_and_nothing_else(world):
    for unit in ("reeve-postgres.service", "reeve-run-ok.socket", "reeve-worker@inline.service"):
        p = world.m.exec("busctl", "call", "org.freedesktop.systemd1", "/org/freedesktop/systemd1", "org.freedesktop.systemd1.Manager",
                         "StopUnit", "ss", unit, "replace", user="reeve-worker", check=False)
        assert p.returncode != 0 and "uthentication" in p.stderr, p.stderr
        assert world.m.is_active(unit)


def test_a_stopped_worker_is_ended_by_its_watchdog_and_comes_back(world):
    """With WatchdogSec=5s by a drop-in."""
    id = world.enqueue("nap", 3)
    world.started(id)
    pid = world.m.main_pid("reeve-worker@default")
    world.m.exec("kill", "-STOP", str(pid))
    world.m.wait_until(lambda: world.m.main_pid("reeve-worker@default") not in (0, pid), timeout=30)
    job = world.wait(id)
    assert (job["state"], job["interruptions"]) == ("succeeded", 1)
    assert [(h["cause"], "watchdog" in h["message"]) for h in world.history(id)] == [("worker-died", True)]


def test_a_killed_database_in_the_middle_of_a_hundred_jobs(world):
    mark = uuid.uuid4().hex[:8]
    world.psql(f"select reeve.enqueue('nap', '0.05', '{{\"tenant\": \"{mark}\"}}') from generate_series(1, 100)")
    ended = f"from reeve.done d join reeve.job j on j.id = d.job where j.tenant = '{mark}'"
    world.m.wait_until(lambda: int(world.psql(f"select count(*) {ended}")) > 10)
    world.m.kill9("reeve-postgres.service")
    world.m.wait_until(lambda: (p := world.m.exec("psql", "-XAth", "/run/reeve-postgres", "-U", "reeve_owner", "-c", f"select count(*) {ended}",
                                                  "reeve", check=False)).returncode == 0 and int(p.stdout) == 100, timeout=60, every=0.3)
    assert world.psql(f"select count(distinct d.job), bool_and(d.state = 'succeeded') {ended}") == "100|t"
    assert world.psql("select count(*) from reeve.lease") == "0"
    for worker in WORKERS:
        assert world.m.property(f"reeve-worker@{worker}", "NRestarts") in ("0", "1", "2"), "a database that is away restarts no worker"


def test_after_a_crash_of_the_machine_jobs_go_on(world):
    """All processes of the machine are killed at once: a worker may just have time to record that a handler was, as an attempt."""
    running = world.enqueue("nap", 5, max_attempts=3)
    world.started(running)
    waiting = world.psql("select reeve.enqueue('nap', '0.1', '{\"max_attempts\": 3}') from generate_series(1, 10)").splitlines()
    world.m.crash()
    world.m.boot()
    jobs = [world.wait(id, timeout=60) for id in (running, *waiting)]
    assert [j["state"] for j in jobs] == ["succeeded"] * 11
    assert jobs[0]["interruptions"] + jobs[0]["attempt"] == 2, "it was run once more"
