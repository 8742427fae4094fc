"""reeve-maintenance on a real database and a real directory of blobs: what expires goes, what is needed stays."""
import datetime
import hashlib
import pathlib
import shutil
import subprocess
import tempfile
import time
import uuid

import pytest
from conftest import BUILD, wait_for
from queue_db import queue  # noqa: F401
from patience import within

PROGRAM = BUILD / "src/maintenance/reeve-maintenance"
WEEK = datetime.timedelta(days=7)
HOUR = 3600


def now():
    return datetime.datetime.now(datetime.timezone.utc)


def monday(weeks_ago):
    today = now().replace(hour=0, minute=0, second=0, microsecond=0)
    return today - datetime.timedelta(days=today.weekday()) - weeks_ago * WEEK


def id_at(at):
    """A job's id of that time."""
    n = uuid.uuid4().int & ((1 << 74) - 1)
    return str(uuid.UUID(int=(int(at.timestamp() * 1000) << 80) | (7 << 76) | ((n >> 62) << 64) | (2 << 62) | (n & ((1 << 62) - 1))))


GRACE = max(1, round(within(0.8)))  # OrphanSec=: longer than one maintenance may take here


class Blobs:
    def __init__(self):
        self.dir = pathlib.Path(tempfile.mkdtemp(prefix="rmb", dir="/tmp"))

    def path(self, digest, tenant="default"):
        return self.dir / tenant / digest[7:9] / digest[9:]

    def add(self, text, tenant="default"):
        digest = "sha256:" + hashlib.sha256(text.encode()).hexdigest()
        p = self.path(digest, tenant)
        p.parent.mkdir(parents=True, exist_ok=True)
        p.write_text(text)
        return digest

    def age(self):
        """What is there now is older than the grace time of the tests: nobody can set a ctime."""
        time.sleep(GRACE + 0.1)


@pytest.fixture
def blobs():
    b = Blobs()
    yield b
    shutil.rmtree(b.dir)


@pytest.fixture
def root(database, tmp_path):
    conf = tmp_path / "etc/reeve"
    conf.mkdir(parents=True)

    def configure():
        (conf / "reeve.conf").write_text(f"[Database]\nDatabase={database.conninfo} user=reeve_owner\n"
                                         f"[Maintenance]\nOrphanSec={GRACE}s\n")
        return tmp_path
    configure()
    return configure


@pytest.fixture
def maintain(root, blobs):
    def run(check=True, timeout=60):
        p = subprocess.run([PROGRAM, f"--root={root()}", f"--blobs={blobs.dir}"], capture_output=True, text=True,
                           timeout=timeout)
        assert "Sanitizer" not in p.stderr and "runtime error" not in p.stderr, p.stderr
        if check:
            assert p.returncode == 0, p.stderr
        return p
    return run


def add_week(queue, weeks_ago):
    """The partition of a week long ago."""
    first = monday(weeks_ago)
    name = first.strftime("%Y%m%d")
    lo, hi = (queue.root.value("select reeve.uuid_floor(%s)", t) for t in (first, first + WEEK))
    for table in "job", "done":
        queue.db.sql(f"create table reeve.{table}_{name} partition of reeve.{table} for values from ('{lo}') to ('{hi}')",
                     role="reeve_owner")
    return first, name


def old_job(queue, at, ended=True, file=None, kind="echo", result='{"n": 1}', **columns):
    row = {"id": id_at(at), "created_at": at, "kind": kind, "queue": "default", "priority": 5, "tenant": "default",
           "max_attempts": 3, "max_interruptions": 5, "timeout_usec": 1000000} | columns
    job = row["id"]
    queue.root.sql(f"insert into reeve.job ({', '.join(row)}) values ({', '.join(['%s'] * len(row))})", *row.values())
    if ended:
        queue.root.sql("insert into reeve.done (job, state, cause, finished_at, claimed_at, result) "
                       "values (%s, 'succeeded', 'exit', %s, %s, %s)", job, at + datetime.timedelta(minutes=1), at, result)
        queue.root.sql("insert into reeve.history (job, event, actor) values (%s, 'retry', 'test')", job)
    else:
        queue.root.sql("insert into reeve.ready (job, lane) values (%s, 1)", job)
    if file:
        queue.root.sql("insert into reeve.blob values ('default', %s, 1) on conflict do nothing", file)
        queue.root.sql("insert into reeve.blob_ref (job, direction, name, tenant, digest, size) "
                       "values (%s, 'output', 'a.txt', 'default', %s, 1)", job, file)
    return job


def weeks(queue):
    return {r["relname"] for r in queue.root.sql("select relname from pg_class where relname ~ '^job_[0-9]{8}$'")}


def known(queue, job):
    return queue.root.value("select count(*) from reeve.job where id = %s", job) == 1


def test_results_and_files_go_after_keep_result_and_the_record_stays(queue, maintain, blobs):
    queue.root.sql("update reeve.kind set keep_usec = %s where name = 'echo'", HOUR * 1_000_000)
    digest = blobs.add("page one")
    blobs.age()
    old = old_job(queue, now() - datetime.timedelta(hours=3), file=digest)
    young = old_job(queue, now() - datetime.timedelta(minutes=10))
    for_ever = old_job(queue, now() - datetime.timedelta(hours=3), kind="slow")
    said = maintain().stderr
    assert "Results expired: 1" in said
    status = queue.root.value("select reeve.job_status(%s)", old)
    assert status["state"] == "succeeded" and "result" not in status and status["expired_at"]
    assert queue.root.value("select count(*) from reeve.blob_ref where job = %s", old) == 0
    for job in young, for_ever:
        status = queue.root.value("select reeve.job_status(%s)", job)
        assert status["result"] == {"n": 1} and "expired_at" not in status
    assert blobs.path(digest).exists(), "the file stays for the grace time of one that nobody names"
    queue.root.sql("update reeve.blob set orphan_since = orphan_since - interval '2 hours'")
    assert "files removed: 1" in maintain().stderr
    assert not blobs.path(digest).exists()
    assert queue.root.value("select count(*) from reeve.blob") == 0
    assert maintain().stderr == "", "nothing is left to do"


def test_a_job_that_ended_late_expires_late(queue, maintain):
    queue.root.sql("update reeve.kind set keep_usec = %s where name = 'echo'", HOUR * 1_000_000)
    job = old_job(queue, now() - datetime.timedelta(hours=3), ended=False)
    maintain()
    assert queue.root.value("select reached from reeve.expiry where kind = 'echo'") == job
    queue.root.sql("delete from reeve.ready")
    queue.root.sql("insert into reeve.done (job, state, cause, result) values (%s, 'succeeded', 'exit', '5')", job)
    maintain()
    assert queue.root.value("select reeve.job_status(%s)", job)["result"] == 5
    queue.root.sql("update reeve.done set finished_at = finished_at - interval '2 hours'")
    maintain()
    assert "result" not in queue.root.value("select reeve.job_status(%s)", job)
    assert queue.root.value("select count(*) from reeve.late_result") == 0


def test_a_childs_result_waits_for_its_parent(queue, maintain):
    queue.root.sql("update reeve.kind set keep_usec = %s where name = 'echo'", HOUR * 1_000_000)
    parent = old_job(queue, now() - datetime.timedelta(hours=4), ended=False)
    child = old_job(queue, now() - datetime.timedelta(hours=3), parent=parent, child_no=0)
    maintain()
    assert queue.root.value("select reeve.job_status(%s)", child)["result"] == {"n": 1}
    queue.root.sql("delete from reeve.ready")
    queue.root.sql("insert into reeve.done (job, state, cause, finished_at) values (%s, 'failed', 'exit', now() - interval '2 hours')",
                   parent)
    maintain()
    assert "result" not in queue.root.value("select reeve.job_status(%s)", child)


def test_old_weeks_are_dropped_and_what_lives_moves_out(queue, maintain, blobs):
    queue.root.sql("update reeve.kind set keep_usec = null")
    first, name = add_week(queue, 20)
    _, younger = add_week(queue, 5)
    digest = blobs.add("old page")
    ended = [old_job(queue, first + datetime.timedelta(hours=h), file=digest) for h in range(5)]
    live = old_job(queue, first + datetime.timedelta(days=1), ended=False)
    child = old_job(queue, first + datetime.timedelta(days=1, hours=1), parent=live, child_no=0, file=digest)
    kept = old_job(queue, monday(5) + datetime.timedelta(hours=1))
    said = maintain().stderr
    assert "weeks dropped: 1" in said
    assert f"job_{name}" not in weeks(queue) and f"job_{younger}" in weeks(queue)
    assert not any(known(queue, j) for j in ended)
    assert known(queue, live) and known(queue, child) and known(queue, kept)
    assert queue.root.value("select reeve.job_status(%s)", child)["result"] == {"n": 1}
    assert queue.root.value("select count(*) from reeve.blob_ref") == 1, "the child's file is still its parent's to read"
    assert queue.root.value("select count(*) from reeve.history where job = any (%s::uuid[])", ended) == 0
    # When they have ended, they go from the default partition too.
    queue.root.sql("delete from reeve.ready")
    queue.root.sql("insert into reeve.done (job, state, cause, finished_at) values (%s, 'cancelled', 'cancelled', now())", live)
    maintain()
    assert not known(queue, live) and not known(queue, child)


def test_keep_result_longer_than_keep_jobs_wins(queue, maintain):
    queue.root.sql("update reeve.kind set keep_usec = %s where name = 'echo'", 400 * 86400 * 1_000_000)
    first, name = add_week(queue, 20)
    job = old_job(queue, first)
    maintain()
    assert known(queue, job)
    queue.root.sql("update reeve.kind set keep_usec = null")
    maintain()
    assert not known(queue, job) and f"job_{name}" not in weeks(queue)


def test_a_busy_table_is_waited_for_and_then_left(queue, maintain):
    add_week(queue, 20)
    reader = queue.session(autocommit=False, role="postgres")
    reader.sql("select count(*) from reeve.job")
    p = maintain(check=False)
    assert p.returncode == 1 and "Failed to drop old weeks of jobs" in p.stderr
    reader.rollback()
    assert "weeks dropped: 1" in maintain().stderr


def test_files_that_no_job_names(queue, maintain, blobs):
    unknown, used, noted = (blobs.add(t) for t in ("never noted", "in use", "noted, then its job was refused"))
    old_job(queue, now(), file=used)
    queue.root.sql("insert into reeve.blob values ('default', %s, 1)", noted)
    blobs.age()
    fresh = blobs.add("just uploaded")
    assert "files removed: 1" in maintain().stderr
    assert not blobs.path(unknown).exists()
    assert all(blobs.path(d).exists() for d in (fresh, used, noted))
    queue.root.sql("update reeve.blob set orphan_since = orphan_since - interval '2 hours'")
    # A second upload of the same content: it is named again before the next round.
    queue.worker.run("note-blobs", ["default"], [noted], [1])
    maintain()
    assert blobs.path(noted).exists()
    queue.root.sql("update reeve.blob set orphan_since = orphan_since - interval '2 hours'")
    maintain()
    assert not blobs.path(noted).exists() and blobs.path(used).exists()


def test_expired_inputs_cannot_be_retried(queue, maintain):
    queue.root.sql("update reeve.kind set keep_usec = %s where name = 'echo'", HOUR * 1_000_000)
    digest = "sha256:" + "0" * 64
    job = old_job(queue, now() - datetime.timedelta(hours=3),
                  inputs='[{"name": "a.pdf", "blob": "%s", "size": 1}]' % digest)
    plain = old_job(queue, now() - datetime.timedelta(hours=3))
    maintain()
    row = queue.root.sql("select * from reeve.retry_job(%s, null, null, 'test')", job)[0]
    assert row["outcome"] == "refused" and "KeepResult=" in row["detail"]
    assert queue.root.sql("select * from reeve.retry_job(%s, null, null, 'test')", plain)[0]["outcome"] == "created"


def test_expired_keys_and_old_instances_go(queue, maintain):
    for name, expires in ("old", "-1 second"), ("young", "1 hour"):
        queue.root.sql("insert into reeve.key (tenant, scope, name, job, expires_at) "
                       "values ('default', 'idempotency', %s, gen_random_uuid(), now() + %s::interval)", name, expires)
    queue.root.sql("insert into reeve.instance (host, name, boot_id, pid, version, schema_version, kinds, queues, slots, stopped_at, "
                   "reaped) values ('h', 'gone', '', 1, '', 1, '{}', '{}', 1, now() - interval '8 days', true), "
                   "('h', 'late', '', 1, '', 1, '{}', '{}', 1, now() - interval '8 days', false)")
    maintain()
    assert [r["name"] for r in queue.root.sql("select name from reeve.key")] == ["young"]
    assert {r["name"] for r in queue.root.sql("select name from reeve.instance")} == {"late", "default"}


def test_rows_of_a_week_without_partition_get_one(queue):
    queue.root.sql("update reeve.kind set keep_usec = null")
    this = monday(0).strftime("%Y%m%d")
    queue.root.sql(f"drop table reeve.job_{this}, reeve.done_{this}")
    jobs = [queue.worker.add() for _ in range(3)]
    assert queue.root.value("select count(*) from reeve.job_default") == 3
    assert queue.root.value("select reeve.ensure_partitions()") == 1
    assert queue.root.value("select count(*) from reeve.job_default") == 0
    assert queue.root.value(f"select count(*) from reeve.job_{this}") == 3
    run = queue.worker.claim(1)[0]
    assert run["id"] in jobs and queue.worker.end(run)
    queue.check()


def test_two_at_once_do_no_harm(queue, maintain, blobs, root):
    queue.root.sql("update reeve.kind set keep_usec = %s", HOUR * 1_000_000)
    for i in range(50):
        old_job(queue, now() - datetime.timedelta(hours=3, seconds=i))
        blobs.add(f"nobody's {i}")
    blobs.age()
    argv = [PROGRAM, f"--root={root()}", f"--blobs={blobs.dir}"]
    running = [subprocess.Popen(argv, stderr=subprocess.PIPE, text=True) for _ in range(3)]
    for p in running:
        said = p.communicate(timeout=within(60))[1]
        assert p.returncode == 0, said
    assert queue.root.value("select count(*) from reeve.done where expired_at is not null") == 50
    assert not [p for p in blobs.dir.rglob("*") if p.is_file() and len(p.name) == 62]


def test_it_ends_when_told_and_says_why_without_a_database(root, blobs, tmp_path):
    (tmp_path / "etc/reeve/reeve.conf").write_text("[Database]\nDatabase=host=/nonexistent dbname=x\n")
    p = subprocess.Popen([PROGRAM, f"--root={tmp_path}", f"--blobs={blobs.dir}"], stderr=subprocess.PIPE, text=True)
    wait_for(lambda: "SigBlk:\t0000000000004002" in pathlib.Path(f"/proc/{p.pid}/status").read_text(), what="its start")
    p.terminate()
    p.communicate(timeout=within(20))
    assert p.returncode == 1


@pytest.mark.parametrize("args", [["--help"], ["--version"]])
def test_help(args):
    p = subprocess.run([PROGRAM, *args], capture_output=True, text=True, timeout=within(10))
    assert p.returncode == 0 and "reeve-maintenance" in p.stdout


def test_wrong_usage():
    for args in ["--no-such-option"], ["surplus"]:
        assert subprocess.run([PROGRAM, *args], capture_output=True, timeout=within(10)).returncode == 2
