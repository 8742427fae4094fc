"""UniqueFor=: the same payload within a time is the same job, also of two who ask at once. DeadlineSec=: a deadline that the kind gives."""
import threading

import pytest

from queue_db import queue  # noqa: F401
from patience import within

# ruff: noqa: F811

pytestmark = pytest.mark.sql

HOUR = 3600 * 10**6


@pytest.fixture
def same(queue):
    queue.root.sql("update reeve.kind set unique_usec = %s where name = 'echo'", HOUR)
    return queue


def ask(q, **job):
    (row,) = q.worker.enqueue(job)
    return row["outcome"], row["job"]


def test_the_same_payload_is_the_same_job(same):
    outcome, job = ask(same, payload={"a": 1, "b": [2]})
    assert outcome == "created"
    assert ask(same, payload={"b": [2], "a": 1}) == ("exists", job)
    assert ask(same, payload={"b": [2], "a": 1}, priority=9, queue="other") == ("exists", job)
    (run,) = same.worker.claim()
    assert ask(same, payload={"a": 1, "b": [2]}) == ("exists", job)
    same.worker.end(run)
    assert ask(same, payload={"a": 1, "b": [2]}) == ("exists", job)  # the time counts, not its end
    same.check()


@pytest.mark.parametrize("other", [
    {"payload": {"a": 2}}, {"kind": "slow"}, {"tenant": "b"}, {"subject": "7"}, {"unique_usec": 0}, {"payload_blob": "sha256:" + "0" * 64},
    {"inputs": [{"name": "x", "blob": "sha256:" + "0" * 64, "size": 1}]}])
def test_what_makes_another_job(same, other):
    job = {"payload": {"a": 1}}
    assert ask(same, **job)[0] == "created"
    assert ask(same, **{k: v for k, v in (job | other).items() if k != "payload" or "payload_blob" not in other})[0] == "created"
    same.check()


def test_files_count_by_what_is_in_them(same):
    def job(digit):
        return {"inputs": [{"name": "x", "blob": "sha256:" + digit * 64, "size": 1}]}
    assert [ask(same, **job(d))[0] for d in "0101"] == ["created", "created", "exists", "exists"]


def test_it_ends_with_its_time(same):
    _, job = ask(same, payload=1)
    same.root.sql("update reeve.key set expires_at = clock_timestamp() - interval '1 second'")
    outcome, other = ask(same, payload=1)
    assert outcome == "created" and other != job
    assert ask(same, payload=1) == ("exists", other)
    same.root.sql("update reeve.key set expires_at = clock_timestamp() - interval '1 second'")
    assert same.session(role="reeve_owner").run("delete-expired-keys", 10) == [{"n": 1}]


@pytest.mark.parametrize("end", ["failed", "cancelled", "succeeded"])
def test_one_that_failed_or_was_cancelled_is_made_again(same, end):
    _, job = ask(same, payload=1)
    (run,) = same.worker.claim()
    same.worker.end(run, state=end)
    outcome, other = ask(same, payload=1)
    assert (outcome, other == job) == (("exists", True) if end == "succeeded" else ("created", False))


def test_one_that_retention_took_is_made_again(same):
    _, job = ask(same, payload=1)
    (run,) = same.worker.claim()
    same.worker.end(run)
    same.root.sql("delete from reeve.done; delete from reeve.job")
    assert ask(same, payload=1)[0] == "created"


def test_a_job_may_say_it_for_itself(queue):
    assert ask(queue, payload=1)[0] == ask(queue, payload=1)[0] == "created"
    assert ask(queue, payload=2, unique_usec=HOUR)[0] == "created"
    assert ask(queue, payload=2, unique_usec=HOUR)[0] == "exists"
    assert ask(queue, payload=2)[0] == "created"
    assert ask(queue, payload=2, unique_usec=-1)[0] == "refused"


def test_in_one_statement(same):
    rows = same.worker.enqueue(*[{"payload": i % 3} for i in range(9)])
    assert [r["outcome"] for r in rows] == ["created"] * 3 + ["exists"] * 6
    assert [r["job"] for r in rows[3:]] == [r["job"] for r in rows[:3]] * 2
    same.check()


def test_with_the_other_keys(same):
    """One that loses by its payload keeps none of its other keys."""
    _, job = ask(same, payload=1, unique_key="u", idempotency_key="i", request_hash="h")
    assert ask(same, payload=1, unique_key="v", idempotency_key="j", request_hash="h") == ("exists", job)
    assert ask(same, payload=2, unique_key="u") == ("exists", job)
    assert ask(same, payload=3, unique_key="v")[0] == "created"
    assert ask(same, payload=4, idempotency_key="j", request_hash="h")[0] == "created"
    same.check()


def test_children_and_retries_are_not_the_same_as_others(same):
    same.worker.add(kind="slow")
    (run,) = same.worker.claim()
    assert same.worker.spawn(run, [{"kind": "echo", "payload": 1}, {"kind": "echo", "payload": 1}]) == 2
    _, job = ask(same, payload=2)
    for run in same.worker.claim(5):
        same.worker.end(run)
    (retry,) = same.root.sql("select * from reeve.retry_job(%s, null, null, 'me')", job)
    assert retry["outcome"] == "created" and retry["job"] != job
    assert ask(same, payload=2) == ("exists", job)
    same.check()


def test_from_sql(same, database):
    app = same.session(role="reeve_api")
    job = app.value("select reeve.enqueue('echo', '{\"a\": 1}')")
    assert app.value("select reeve.enqueue('echo', '{\"a\": 1}')") == job
    assert app.value("select reeve.enqueue('echo', '{\"a\": 1}', '{\"unique_for\": \"0\"}')") != job
    slow = app.value("select reeve.enqueue('slow', '1', '{\"unique_for\": \"10 minutes\", \"concurrency_key\": \"k\"}')")
    assert app.value("select reeve.enqueue('slow', '1', '{\"unique_for\": \"10 minutes\"}')") == slow
    assert same.root.value("select concurrency_key from reeve.job where id = %s", slow) == "k"


def test_two_at_once(same):
    """The second waits for the first, and gets its job, or makes its own if that was rolled back."""
    for commit in (True, False):
        a = same.session(autocommit=False, role="reeve_api")
        first = a.value("select reeve.enqueue('echo', %s::jsonb)", str(int(commit)))
        got = []
        b = same.session(role="reeve_api")
        b.sql("set statement_timeout = '20s'; set lock_timeout = '20s'")  # the role's is half a second, and the commit may take longer
        t = threading.Thread(target=lambda: got.append(b.value("select reeve.enqueue('echo', %s::jsonb)", str(int(commit)))))
        t.start()
        t.join(0.3)
        assert not got
        a.conn.commit() if commit else a.conn.rollback()
        t.join(within(20))
        assert (got[0] == first) == commit
        assert same.root.value("select count(*) from reeve.job where payload = %s::jsonb", str(int(commit))) == 1
    same.check()


def test_many_at_once(same):
    results, errors = [], []

    def work(s):
        try:
            for i in range(20):
                results.append((i, s.value("select reeve.enqueue('echo', %s::jsonb)", str(i))))
        except Exception as e:
            errors.append(e)
    threads = [threading.Thread(target=work, args=(same.session(role="reeve_api"),)) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(within(60))
    assert not errors and len(results) == 80 and len(set(results)) == 20
    same.check()


# ---- deadlines of kinds

def deadline(queue, job):
    return queue.root.value("select extract(epoch from deadline - greatest(created_at, coalesce((select run_at from reeve.scheduled s "
                            "where s.job = j.id), created_at)))::float from reeve.job j where id = %s", job)


def test_the_deadline_of_a_kind(queue):
    queue.root.sql("update reeve.kind set deadline_usec = %s where name = 'echo'", HOUR)
    assert abs(deadline(queue, queue.worker.add()) - 3600) < 1
    assert abs(deadline(queue, queue.worker.add(run_at="2099-01-01T00:00:00Z")) - 3600) < 1
    own = queue.worker.add(deadline="2098-01-01T00:00:00Z")
    assert queue.root.value("select deadline = '2098-01-01T00:00:00Z' from reeve.job where id = %s", own)
    assert deadline(queue, queue.worker.add(kind="slow")) is None
    assert abs(deadline(queue, queue.root.value("select reeve.enqueue('echo')")) - 3600) < 1


@pytest.mark.parametrize("state", ["ready", "scheduled", "blocked", "waiting", "a child", "a child's parent"])
def test_who_holds_a_late_job_keeps_no_other_waiting(queue, state):
    """Ten that somebody holds are the first whose deadline passed: ten others fail then, they when they are let go."""
    if state == "blocked":
        queue.limit("echo", 1)
        queue.worker.add()
    late = []
    for i in range(20):
        job = queue.worker.add(**({"run_at": "2100-01-01T00:00:00Z"} if state == "scheduled" else {}))
        if state in ("waiting", "a child", "a child's parent"):
            (run,) = queue.worker.claim(1)
            queue.worker.spawn(run, [{"kind": "slow", "run_at": "2100-01-01T00:00:00Z"}])
            child = queue.root.value("select id from reeve.job where parent = %s", job)
            late.append((job if state == "waiting" else child, job if state == "a child's parent" else child if state == "a child" else job))
        else:
            late.append((job, job))
    for i, (job, _) in enumerate(late):
        queue.root.sql("update reeve.job set deadline = clock_timestamp() - make_interval(secs => %s) where id = %s", 100 - i, job)
    table = {"a child": "scheduled", "a child's parent": "waiting"}.get(state, state)
    holder = queue.session(role="reeve_owner", autocommit=False)
    held = [h for _, h in late[:10]]
    assert len(holder.sql(f"select job from reeve.{table} where job = any (%s::uuid[]) for update", held)) == 10
    assert queue.worker.run("expire-deadlines", "1 hour", 10) == [{"n": 10}]
    assert [queue.state(job) for job, _ in late[10:]] == ["failed"] * 10
    assert "failed" not in {queue.state(job) for job, _ in late[:10]}
    holder.rollback()
    assert queue.worker.run("expire-deadlines", "1 hour", 100) == [{"n": 10}]
    assert {queue.state(job) for job, _ in late} == {"failed"}
    queue.check()


def test_a_blocked_job_fails_at_its_deadline(queue):
    queue.limit("echo", 1)
    queue.root.sql("update reeve.kind set deadline_usec = %s where name = 'echo'", HOUR)
    a, b = queue.worker.add(), queue.worker.add()
    queue.root.sql("update reeve.job set deadline = clock_timestamp() - interval '1 second' where id = %s", b)
    assert queue.state(b) == "blocked"
    queue.worker.run("expire-deadlines", "1 hour", 10)
    assert (queue.state(a), queue.state(b)) == ("ready", "failed")
    queue.check()
