"""reevectl with the real reeve-api and a real PostgreSQL. No worker runs: tests end jobs as a worker does."""
import json
import os
import subprocess
import threading
import time

import pytest
from conftest import CTL, Ctl
from patience import within


@pytest.fixture
def real(api):
    return Ctl(api.path)


def test_a_job_from_submit_to_result(api, real):
    run = real("submit", "echo", '{"a": [1, "ü"]}', "--queue=fast", "--priority=9", "--subject=42", "--max-attempts=7", "--timeout=5min",
               "--tenant=acme", status=0)
    job = run.stdout.strip()
    shown = json.loads(real("show", job, "--json", status=0).stdout)
    assert {k: shown[k] for k in ("kind", "queue", "priority", "tenant", "subject", "state", "max_attempts")} == {
        "kind": "echo", "queue": "fast", "priority": 9, "tenant": "acme", "subject": "42", "state": "ready", "max_attempts": 7}
    assert api.db.sql("select payload, timeout_usec from reeve.job where id = %s", job) == [({"a": [1, "ü"]}, 300_000_000)]
    threading.Timer(1, api.end_job, (job,), {"result": {"x": 1}}).start()
    run = real("wait", job, status=0)
    assert run.stderr.splitlines() == [f"{job}: ready", f"{job}: succeeded"]
    assert 'Result: {"x": 1}' in real("show", job, status=0).stdout
    rows = [line.split() for line in real("show", job, "--history", status=0).stdout.splitlines()[1:]]
    assert [r[2] for r in rows] == ["enqueue", "end"]


def test_unique_and_idempotent(real):
    first = real("submit", "echo", "--unique-key=u", status=0).stdout
    assert real("submit", "echo", "--unique-key=u", status=0).stdout == first
    first = real("submit", "echo", "1", "--idempotency-key=k", status=0).stdout
    assert real("submit", "echo", "1", "--idempotency-key=k", status=0).stdout == first
    assert "(HTTP 422)" in real("submit", "echo", "2", "--idempotency-key=k", status=1).stderr


def test_files(api, real, tmp_path):
    (tmp_path / "doc.pdf").write_bytes(os.urandom(3_000_000))
    job = real("submit", "pdf", '{"a": 1}', f"--file={tmp_path}/doc.pdf", f"--file=other ü.txt={CTL}", status=0).stdout.strip()
    text = real("show", job, status=0).stdout
    assert "File: doc.pdf (input, 3000000 bytes)" in text and f"File: other ü.txt (input, {CTL.stat().st_size} bytes)" in text
    assert api.get(f"/api/jobs/{job}/files/doc.pdf").body == (tmp_path / "doc.pdf").read_bytes()
    assert api.db.sql("select payload, queue from reeve.job where id = %s", job) == [({"a": 1}, "documents")]


def test_what_a_limit_blocks_says_so(api, real):
    api.db.add_kind("thumb", queue="images", concurrency=1, concurrency_key=["tenant", "/user"])
    real("submit", "thumb", '{"user": 7}', status=0)
    job = real("submit", "thumb", '{"user": 7}', status=0).stdout.strip()
    assert "Blocked by: 0 of 1 runs of thumb tenant /user=default,7\n" in real("show", job, status=0).stdout
    (line,) = [x for x in real("list", status=0).stdout.splitlines() if job in x]
    assert line.endswith("0 of 1 runs of thumb tenant /user=default,7")
    heading, *lines = real("queues", status=0).stdout.splitlines()
    assert heading.split()[:4] == ["QUEUE", "READY", "BLOCKED", "RUNNING"]
    assert [x.split()[:4] for x in lines if x.startswith("images")] == [["images", "1", "1", "0"]]
    assert "1 at once for each tenant /user" in real("kinds", status=0).stdout
    assert "thumb tenant /user=default,7" in real("show", job, "--history", status=0).stdout
    free = real("submit", "thumb", '{"user": 7}', "--concurrency-key=mine", status=0).stdout.strip()
    assert "State: ready" in real("show", free, status=0).stdout
    assert real("submit", "thumb", '{"user": 7}', "--unique-for=1h", status=0).stdout != real(
        "submit", "thumb", '{"user": 8}', "--unique-for=1h", status=0).stdout
    first = real("submit", "thumb", '{"user": 9}', "--unique-for=1h", status=0).stdout
    assert real("submit", "thumb", '{"user": 9}', "--unique-for=1h", status=0).stdout == first


def test_what_a_rate_blocks_says_until_when(api, real):
    api.db.add_kind("mail", queue="images", rate_n=2, rate_usec=3600 * 10**6, rate_burst=1, rate_key=["tenant"])
    real("submit", "mail", status=0)
    job = real("submit", "mail", status=0).stdout.strip()
    text = real("show", job, status=0).stdout
    assert "Blocked by: 2 in 1h of mail tenant=default, next at " in text
    assert "2 in 1h for each tenant" in real("kinds", status=0).stdout


def test_list(real):
    ids = [real("submit", kind, status=0).stdout.strip() for kind in ("echo", "pdf", "echo")]
    listed = [json.loads(x)["id"] for x in real("list", "--json", status=0).stdout.splitlines()]
    assert listed == ids[::-1]
    assert [x.split()[0] for x in real("list", "--kind=echo", "--state=ready", status=0).stdout.splitlines()[1:]] == [ids[2], ids[0]]
    assert len(real("list", "--all", "--queue=documents", status=0).stdout.splitlines()) == 2
    run = real("list", "--limit=2", status=0)
    assert len(run.stdout.splitlines()) == 3 and "There are more" in run.stderr
    refused = real("list", "--state=lost", status=1).stderr
    assert "there is no such state" in refused and all(s in refused for s in (
        "scheduled", "blocked", "ready", "running", "waiting", "succeeded", "failed", "cancelled"))


def test_cancel_and_retry(real):
    job = real("submit", "echo", status=0).stdout.strip()
    assert "has not ended" in real("retry", job, status=1).stderr
    assert real("cancel", job, "--reason=a mistake", status=0).stdout == f"{job}: cancelled\n"
    assert "cancelled: a mistake" in real("wait", job, status=4).stderr
    assert "has ended" in real("cancel", job, status=1).stderr
    again = real("retry", job, status=0).stdout.strip()
    assert again != job and f"Retry of: {job}" in real("show", again, status=0).stdout
    assert "a mistake" in real("show", job, "--history", status=0).stdout
    refused = real("submit", "nope", status=1).stderr
    assert 'unknown kind "nope"' in refused and "reevectl kinds check" in refused
    real("show", "019aa905-7c00-7000-8000-000000000001", status=3)


def test_a_cancel_of_a_running_job_reads_as_it_went(api, real):
    """The request when it is made, the end when it comes; the first run is attempt 1, also while it goes on."""
    job = real("submit", "echo", status=0).stdout.strip()
    api.db.sql("with gone as (delete from reeve.ready where job = %s returning *) insert into reeve.lease (job, instance, lane, attempt,"
               " interruptions, flags) select g.job, 1, g.lane, g.attempt, g.interruptions, g.flags from gone g", job)

    def rows():
        lines = real("show", job, "--history", status=0).stdout.splitlines()
        return [(r[2], r[3], r[4]) for r in map(str.split, lines[1:])], lines

    assert rows()[0] == [("enqueue", "-", "-"), ("start", "running", "1")]
    assert "it runs and is being ended" in real("cancel", job, "--reason=not wanted", status=0).stdout
    real("cancel", job, "--reason=again", status=0)
    seen, lines = rows()
    assert seen == [("enqueue", "-", "-"), ("start", "running", "1"), ("cancel", "-", "1")], "no end yet, and one request"
    assert "uid:0 (root)" in lines[3] and lines[3].endswith("not wanted")
    # As a worker ends it: what the history and the row of done get in one statement may bear any order of times.
    api.db.sql("""with gone as (delete from reeve.lease where job = %s returning *), told as (
        insert into reeve.history (job, event, from_state, to_state, run_id, attempt, interruptions, cause, actor, reason)
        select g.job, 'cancel', 'running', 'cancelled', g.run_id, 0, 0, 'cancelled', g.cancel_actor, g.cancel_reason from gone g)
        insert into reeve.done (job, state, cause, finished_at, claimed_at, run_id, actor, reason, host)
        select g.job, 'cancelled', 'cancelled', clock_timestamp() - interval '1 ms', g.claimed_at, g.run_id, g.cancel_actor, g.cancel_reason, 'h'
        from gone g""", job)
    assert rows()[0] == [("enqueue", "-", "-"), ("start", "running", "1"), ("cancel", "-", "1"), ("end", "cancelled", "1")]


def test_the_attempts_of_ends_are_those_that_ran(api, real):
    """run_id, state, error and the verdicts so far, as the row of done has them: the number of the last run."""
    for i, (state, code, cause, attempt, shown) in enumerate((
            ("succeeded", None, "exit", 2, "2"), ("failed", "EXIT_1", "exit", 3, "3"), ("cancelled", None, "cancelled", 1, "2"),
            ("cancelled", None, "exit", 1, "1"), ("failed", "INTERRUPTED_TOO_OFTEN", "worker-died", 0, "1"))):
        job = real("submit", "echo", status=0).stdout.strip()
        api.db.sql("with gone as (delete from reeve.ready where job = %s returning job) insert into reeve.done (job, state, cause, error_code,"
                   " attempt, run_id, claimed_at) select job, %s, %s, %s, %s, 1000, clock_timestamp() from gone", job, state, cause, code, attempt)
        rows = [x.split() for x in real("show", job, "--history", status=0).stdout.splitlines()[1:]]
        assert [(r[2], r[4]) for r in rows] == [("enqueue", "-"), ("start", shown), ("end", shown)], (i, rows)


def test_a_cancel_of_a_job_that_waits(real):
    job = real("submit", "echo", "--delay=1h", status=0).stdout.strip()
    real("cancel", job, "--reason=not wanted", status=0)
    lines = [x.split() for x in real("show", job, "--history", status=0).stdout.splitlines()[1:]]
    assert [(x[2], x[3]) for x in lines] == [("enqueue", "-"), ("cancel", "-"), ("end", "cancelled")]


def test_status_and_lists_of_the_fleet(api, real):
    real("submit", "echo", status=0)
    run = real("status", status=1)
    assert "1 ready" in run.stdout and "Database: ok, schema " in run.stdout
    assert "No worker lives" in run.stdout and "systemctl start reeve-worker@default.service" in run.stdout
    assert {x.split()[0] for x in real("kinds", status=0).stdout.splitlines()[1:]} == {"echo", "pdf"}
    queues = {q["name"]: q for q in map(json.loads, real("queues", "--json", status=0).stdout.splitlines())}
    assert queues["default"]["ready"] == 1 and "documents" in queues
    assert real("workers", "--json", status=0).stdout == ""
    words = subprocess.run([CTL, "complete", "--", f"--socket={api.path}", "submit", "p"], capture_output=True, text=True, timeout=within(30))
    assert words.stdout == "pdf\n"


def test_who_may_not(api):
    if os.getuid() != 0:
        pytest.skip("needs root, to be somebody else")
    os.chmod(api.path, 0o666)
    copy = api.dir / "reevectl"
    copy.write_bytes(CTL.read_bytes())
    copy.chmod(0o755)
    run = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", copy, f"--socket={api.path}", "list"],
                         capture_output=True, text=True, timeout=30)
    assert run.returncode == 6 and "reeve-admin" in run.stderr, run.stderr


def test_wait_outlives_a_killed_api(database, start):
    database.add_kind("echo")
    api = start(keep=True)
    real = Ctl(api.path)
    job = real("submit", "echo", status=0).stdout.strip()
    wait = subprocess.Popen([CTL, f"--socket={api.path}", "wait", job], stderr=subprocess.PIPE, text=True)
    time.sleep(1)
    api.kill9()
    time.sleep(0.5)
    api.start()
    api.wait_up()
    api.end_job(job)
    _, said = wait.communicate(timeout=within(60))
    assert wait.returncode == 0 and said.splitlines()[-1] == f"{job}: succeeded", said


def test_keys(api, real, tmp_path):
    secret = real("key", "create", "ci", "--role=submit", "--tenant=acme", status=0).stdout
    (tmp_path / "key").write_text(secret)
    by_tcp = [CTL, f"--url=http://127.0.0.1:{api.tcp[1]}", f"--key-file={tmp_path}/key"]
    call = lambda *a: subprocess.run([*by_tcp, *a], capture_output=True, text=True, timeout=within(30))
    job = call("submit", "echo").stdout.strip()
    assert json.loads(real("show", job, "--json", status=0).stdout)["tenant"] == "acme"
    assert call("key", "list").returncode == 6
    assert call("submit", "echo", "--subject=7").returncode == 1, "it may name none"
    (tmp_path / "key").write_text(real("key", "create", "acts", "--role=submit", "--tenant=acme", "--act-for-subjects", status=0).stdout)
    job = call("submit", "echo", "--subject=7").stdout.strip()
    assert json.loads(real("show", job, "--json", status=0).stdout)["subject"] == "7"
    (tmp_path / "key").write_text(secret)
    assert "(HTTP 409)" in real("key", "create", "ci", "--role=read", "--tenant=acme", status=1).stderr
    rows = [line.split() for line in real("key", "list", status=0).stdout.splitlines()]
    ci = next(r for r in rows if r[1] == "ci")
    assert ci[1:4] == ["ci", "submit", "acme"] and secret.strip() not in str(rows)
    assert real("key", "revoke", ci[0], status=0).stdout == ""
    refused = call("list")
    assert refused.returncode == 6 and "(HTTP 401)" in refused.stderr
    real("key", "revoke", "999999", status=3)
    for args in (("create", "x"), ("revoke", "ci"), ("list", "x"), ("nothing",), ()):
        real("key", *args, status=2)


def test_children_and_a_kind_that_goes(api, real):
    parent, child = (real("submit", "pdf", '{"n": 1}', status=0).stdout.strip() for _ in range(2))
    api.db.sql("update reeve.job set parent = %s where id = %s", parent, child)
    shown = real("show", parent, status=0).stdout
    assert 'Payload: {"n": 1}\n' in shown and "Children: 1 ready\n" in shown
    assert [json.loads(x)["id"] for x in real("list", f"--parent={parent}", "--json", status=0).stdout.splitlines()] == [child]
    assert "2 jobs of kind pdf have not ended" in real("kinds", "retire", "pdf", status=1).stderr
    for job in parent, child:
        api.end_job(job)
    real("kinds", "retire", "pdf", "--reason=no more paper", status=0)
    assert "pdf" not in real("kinds", status=0).stdout
    assert "There is no kind pdf" in real("kinds", "retire", "pdf").stderr
