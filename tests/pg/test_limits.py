"""Concurrency=: never more runs than allowed for a key, whoever claims, whatever happens; and what waits for one waits in a line that
nobody walks."""
import json
import random
import threading
import time

import pytest

from queue_db import FIRST, queue  # noqa: F401

# ruff: noqa: F811

pytestmark = pytest.mark.sql


def ids(rows):
    return [r["id"] for r in rows]


def states(queue, jobs):
    return [queue.state(j) for j in jobs]


def user(n, **job):
    return {"kind": "echo", "payload": {"user": n}} | job


def end_all(queue, **kw):
    queue.worker.end(*[(r["run_id"], r["run_key"]) for r in queue.root.sql("select run_id, run_key from reeve.lease")], **kw)


def line(queue):
    return queue.root.sql("select token, count(*) as n from reeve.blocked group by 1 order by 1")


# ---- the line

def test_no_more_than_allowed(queue):
    queue.limit("echo", 2)
    jobs = [queue.worker.add() for _ in range(5)]
    assert states(queue, jobs) == ["ready", "ready", "blocked", "blocked", "blocked"]
    runs = queue.worker.claim_limited(10)
    assert ids(runs) == jobs[:2]
    assert queue.worker.claim_limited(10) == []
    queue.worker.end(runs[0])
    assert states(queue, jobs) == ["succeeded", "running", "ready", "blocked", "blocked"]
    assert ids(queue.worker.claim_limited(10)) == jobs[2:3]
    end_all(queue)
    assert ids(queue.worker.claim_limited(10)) == jobs[3:]
    queue.check()


def test_each_value_of_the_key_counts_for_itself(queue):
    queue.limit("echo", 1, "/user")
    a1, a2, b1, b2 = (queue.worker.add(**user(u)) for u in "aabb")
    none = queue.worker.add(payload=None)
    none2 = queue.worker.add(payload={"user": None})
    assert sorted(ids(queue.worker.claim_limited(10))) == sorted([a1, b1, none])
    assert states(queue, [a2, b2, none2]) == ["blocked"] * 3
    assert [r["token"] for r in line(queue)] == ["limit:echo:/user=", "limit:echo:/user=a", "limit:echo:/user=b"]


@pytest.mark.parametrize("words, jobs, same", [
    ("tenant", [{"tenant": "a"}, {"tenant": "a"}], True),
    ("tenant", [{"tenant": "a"}, {"tenant": "b"}], False),
    ("subject", [{"subject": "7"}, {"subject": 7}], True),
    ("subject", [{"subject": "7"}, {}], False),
    ("/user", [user(1, tenant="a"), user("1", tenant="b")], True),  # of all tenants, unless it says tenant
    ("tenant /user", [user(1, tenant="a"), user(1, tenant="b")], False),
    ("tenant /user", [user(1, subject="x"), user(1, subject="y", priority=9, queue="other")], True),
    ("/a~1b/1/~0", [{"payload": {"a/b": [0, {"~": 5}]}}, {"payload": {"a/b": [1, {"~": 5}]}}], True),
    ("/a~1b/1/~0", [{"payload": {"a/b": [0, {"~": 5}]}}, {"payload": {"a/b": [1, {"~": 6}]}}], False),
    ("/user", [user(1), user(2, concurrency_key="1")], True),
    ("/user", [user(1), user(1, concurrency_key="2")], False),
    ("/user", [user("x" * 50000), user("x" * 50000 + "y")], False),
    ("/user", [user({"b": 1, "a": 2}), user({"a": 2, "b": 1})], True),
    (None, [{"concurrency_key": "1"}, {"concurrency_key": "2"}], True),  # no key: of all jobs together
])
def test_what_is_the_same_key(queue, words, jobs, same):
    queue.limit("echo", 1, *(words or "").split())
    for job in jobs:
        queue.worker.add(**job)
    assert len(queue.worker.claim_limited(10)) == (1 if same else 2)


def test_other_kinds_do_not_count(queue):
    queue.limit("echo", 1)
    queue.limit("slow", 1)
    jobs = [queue.worker.add(kind=k) for k in ("echo", "slow", "echo", "slow")]
    assert sorted(ids(queue.worker.claim_limited(10))) == sorted(jobs[:2])


def test_one_statement_with_many_jobs(queue):
    queue.limit("echo", 3, "/user")
    rows = queue.worker.enqueue(*[user(i % 2) for i in range(1000)])
    assert [r["state"] for r in rows] == ["ready"] * 6 + ["blocked"] * 994
    assert len(queue.worker.claim_limited(100)) == 6
    assert queue.root.value("select count(*) from reeve.history where event = 'block' and to_state = 'blocked'") == 994
    queue.check()


def test_ways_to_give_the_token_back(queue):
    """However a run ends, and also when its job waits for something else."""
    queue.limit("echo", 1)
    for way in ("succeeded", "failed", "cancelled", "scheduled", "ready", "children"):
        a, b = queue.worker.add(), queue.worker.add()
        (run,) = queue.worker.claim_limited(5)
        assert run["id"] == a and queue.state(b) == "blocked"
        if way == "children":
            assert queue.worker.spawn(run, [{"kind": "slow"}]) == 1 and queue.state(a) == "waiting"
        else:
            queue.worker.end(run, state=way, interrupted=way == "ready", delay=3600 * 10**6)
        assert queue.state(b) == "ready", way
        assert len([r for r in queue.worker.claim_limited(5) if r["kind"] == "echo"]) == 1
        queue.check()
        queue.root.sql("truncate reeve.ready, reeve.scheduled, reeve.blocked, reeve.waiting, reeve.lease, reeve.done, reeve.job")


def test_a_child_and_its_parent_of_one_key(queue):
    """The parent does not hold what its children need; its join needs one again."""
    queue.limit("echo", 1)
    parent = queue.worker.add()
    (run,) = queue.worker.claim_limited(5)
    queue.worker.spawn(run, [{"kind": "echo"}, {"kind": "echo"}])
    for _ in range(2):
        (child,) = queue.worker.claim_limited(5)
        assert child["id"] != parent
        queue.worker.end(child)
    other = queue.worker.add()
    got = [run["id"] for _ in range(2) for run in queue.worker.claim_limited(5) if queue.worker.end(run)]
    assert sorted(got) == sorted([parent, other])
    queue.check()


def test_what_comes_back_is_blocked_by_the_claim(queue):
    """Retries, due jobs and interrupted ones are ready first, and sorted out once."""
    queue.limit("echo", 1)
    later = [queue.worker.add(run_at="2099-01-01T00:00:00Z") for _ in range(50)]
    queue.root.sql("update reeve.scheduled set run_at = now()")
    assert queue.worker.promote(100)["n"] == 50
    assert len(queue.worker.claim_limited(5)) == 1
    while queue.root.value("select count(*) from reeve.ready"):
        assert queue.worker.claim_limited(5) == []
    assert sorted(states(queue, later)) == ["blocked"] * 49 + ["running"]
    assert queue.root.value("select count(*) from reeve.history where event = 'block' and from_state = 'ready'") == 49
    queue.check()


def test_first_come_first_in_a_key_and_higher_priority_before(queue):
    queue.limit("echo", 1, "/user")
    order = [(5, "a"), (5, "b"), (9, "c"), (1, "d"), (9, "e"), (5, "f")]
    jobs = {name: queue.worker.add(**user(1, priority=p)) for p, name in order}
    names = {v: k for k, v in jobs.items()}
    got = ""
    for _ in order:
        (run,) = queue.worker.claim_limited(10)
        got += names[run["id"]]
        queue.worker.end(run)
    assert got == "ceabfd"


def test_what_goes_back_into_the_line_keeps_its_place(queue):
    queue.limit("echo", 2)
    jobs = [queue.worker.add() for _ in range(6)]
    queue.worker.end(*queue.worker.claim_limited(2))
    assert states(queue, jobs[2:]) == ["ready", "ready", "blocked", "blocked"]
    queue.limit("echo", 1)
    (run,) = queue.worker.claim_limited(2)
    assert run["id"] == jobs[2] and queue.state(jobs[3]) == "blocked"
    queue.worker.end(run)
    assert states(queue, jobs[3:]) == ["ready", "blocked", "blocked"]


def test_tenants_of_one_key_take_turns(queue):
    queue.limit("echo", 1)
    queue.worker.enqueue(*[{"tenant": "big"}] * 400)
    queue.worker.enqueue(*[{"tenant": "small"}] * 20)
    got = []
    for _ in range(200):
        (run,) = queue.worker.claim_limited(1)
        got.append(run["tenant"])
        queue.worker.end(run)
    # By chance, half each: of 2^20 times once, none in 20. All 20 of them are among the first 120 but for 1 in 10^12.
    assert got[:120].count("small") == 20, got


def test_a_higher_priority_does_not_stand_behind_one_that_nobody_claims(queue):
    queue.limit("echo", 1)
    low = queue.worker.add(priority=1)
    high = queue.worker.add(priority=9)
    assert states(queue, [low, high]) == ["ready", "ready"]
    assert ids(queue.worker.claim_limited(2)) == [high]
    assert queue.state(low) == "blocked"


def test_a_paused_queue_does_not_hold_the_key(queue):
    queue.limit("echo", 1)
    paused = [queue.worker.add(queue="p") for _ in range(3)]
    other = [queue.worker.add() for _ in range(3)]
    assert states(queue, other) == ["blocked", "blocked", "blocked"] or queue.state(other[0]) == "ready"
    queue.root.sql("insert into reeve.queue (name, paused, changed_by) values ('p', true, 'x')")
    for job in other:
        queue.unblock()
        (run,) = queue.worker.claim_limited(5, lanes=[(queue.lane(), FIRST, 5)])
        assert run["id"] == job
        queue.worker.end(run)
    assert "running" not in states(queue, paused)
    queue.check()


@pytest.mark.parametrize("queues, kinds", [
    (["default"], ["echo"]), (["*", "!far"], ["echo"]), (["!far", "default"], ["echo"]), (["*"], ["slow"])])
def test_a_queue_that_nobody_serves_does_not_hold_the_key(queue, queues, kinds):
    """Whether no pool has it, or the workers of those that do lack the kind."""
    queue.limit("echo", 1)
    queue.root.sql("update reeve.instance set queues = %s, kinds = %s", queues, kinds)
    queue.worker.register("second", queues=["default"])
    far = [queue.worker.add(queue="far", priority=p) for p in (5, 9)]
    jobs = [queue.worker.add() for _ in range(4)]
    for job in jobs:
        queue.unblock()
        (run,) = queue.worker.claim_limited(5, lanes=[(queue.lane(), FIRST, 5)])
        assert run["id"] == job
        queue.worker.end(run)
    assert "running" not in states(queue, far)
    # A worker comes that serves it; one that drains would not do.
    i = queue.worker.register("far", queues=["far"])
    queue.root.sql("update reeve.instance set state = 'draining' where id = %s", i)
    queue.worker.end(*queue.worker.claim_limited(5))
    queue.unblock()
    assert "blocked" in states(queue, far) or queue.root.value("select count(*) from reeve.done") == 6
    queue.root.sql("update reeve.instance set state = 'idle' where id = %s", i)
    for _ in far:
        queue.unblock()
        queue.worker.end(*queue.worker.claim_limited(5))
    assert states(queue, far) == ["succeeded"] * 2
    queue.check()


def test_many_that_are_ready_where_it_is_paused_let_no_more_go_on(queue):
    """Each second two more would have been ready that nobody may run."""
    paused = [queue.worker.add(queue="p") for _ in range(300)]
    queue.root.sql("insert into reeve.queue (name, paused, changed_by) values ('p', true, 'x')")
    queue.limit("echo", 2)
    queue.root.sql("update reeve.ready set token = 'limit:echo:='")
    jobs = [queue.worker.add() for _ in range(20)]
    for _ in range(5):
        queue.unblock()
    assert states(queue, jobs).count("ready") == 2
    assert states(queue, paused) == ["ready"] * 300


@pytest.mark.parametrize("words, victim, evil, together", [
    ("tenant /user", user(7, tenant="a"), {"tenant": "b", "concurrency_key": "a\x1f7"}, False),
    ("tenant /user", user(7, tenant="a"), {"tenant": "b", "concurrency_key": "7"}, False),
    ("tenant /user", user(7, tenant="a"), {"tenant": "a", "concurrency_key": "7"}, True),
    ("/user tenant", user(7, tenant="a"), {"tenant": "b", "concurrency_key": "7\x1fa"}, False),
    ("/user tenant /x", user(7, tenant="a"), {"tenant": "a", "concurrency_key": "7"}, False),  # "7", "a" and no third
    ("tenant", {"tenant": "a"}, {"tenant": "b", "concurrency_key": "a"}, False),
    ("tenant", {"tenant": "b"}, {"tenant": "b", "concurrency_key": "x"}, True),  # nor past one's own limit
    ("subject", {"subject": "5"}, {"subject": "6", "concurrency_key": "5"}, False),
    ("subject /user", user(7, subject="5"), {"subject": "5", "concurrency_key": "7"}, True),
    ("/user /x", {"payload": {"user": 7, "x": 1}}, {"concurrency_key": "7\x1f1"}, True),
])
def test_a_key_of_ones_own_is_not_the_tenant_nor_the_subject(queue, words, victim, evil, together):
    queue.limit("echo", 1, *words.split())
    queue.worker.add(**victim)
    queue.worker.add(**evil)
    assert len(queue.worker.claim_limited(10)) == (1 if together else 2)


def test_cancelled_while_it_is_blocked_or_ready(queue):
    queue.limit("echo", 1)
    a, b, c, d = (queue.worker.add() for _ in range(4))
    assert queue.worker.cancel(b) == "cancelled"
    assert queue.worker.cancel(a) == "cancelled"  # it was ready: nobody's end tells the line
    assert states(queue, [c, d]) == ["blocked", "blocked"]
    assert queue.unblock() == 1
    assert states(queue, [c, d]) == ["ready", "blocked"]
    queue.check()


def test_late_jobs_need_no_token(queue):
    queue.limit("echo", 1)
    a, b = queue.worker.add(), queue.worker.add(deadline="2099-01-01T00:00:00Z")
    assert ids(queue.worker.claim_limited(5)) == [a]
    queue.root.sql("with b as (delete from reeve.blocked returning *) insert into reeve.ready (job, lane) select job, lane from b")
    queue.root.sql("update reeve.job set deadline = now() - interval '1 second' where id = %s", b)
    (late,) = queue.worker.claim_limited(5)
    assert late["id"] == b and late["late"]
    assert queue.root.value("select count(*) from reeve.lease where token is not null") == 1


# ---- changes of the limit

def test_a_limit_that_is_raised_lowered_and_removed(queue):
    queue.limit("echo", 1, "/user")
    jobs = [queue.worker.add(**user(1)) for _ in range(10)]
    assert len(queue.worker.claim_limited(10)) == 1
    queue.limit("echo", 4, "/user")
    assert queue.unblock() == 3 and len(queue.worker.claim_limited(10)) == 3
    queue.limit("echo", 2, "/user")
    end_all(queue)
    assert len(queue.worker.claim_limited(10)) == 2
    queue.limit("echo", None)
    assert queue.unblock() == 4
    assert len(queue.worker.claim_limited(10)) == 4  # by one who does not know yet
    assert states(queue, jobs).count("running") == 6
    assert queue.worker.run("list-claim-rules") == []
    queue.check()


def test_a_limit_that_comes_later(queue):
    queue.fill(20)
    queue.limit("echo", 3)
    assert queue.worker.run("list-claim-rules") == [{"name": "echo", "paused": False}]
    assert len(queue.worker.claim_limited(10)) == 3
    queue.check()


def test_another_key(queue):
    queue.limit("echo", 1, "/user")
    jobs = [queue.worker.add(payload={"user": 1, "host": i % 3}) for i in range(9)]
    (run,) = queue.worker.claim_limited(10)
    queue.limit("echo", 1, "/host")
    assert queue.unblock() == 8
    assert len(queue.worker.claim_limited(10)) == 3  # the one that runs holds a token that is no more
    assert states(queue, jobs).count("blocked") == 5
    end_all(queue)
    assert len(queue.worker.claim_limited(10)) == 3
    queue.check()


def test_many_tokens_are_looked_after_in_parts(queue):
    queue.limit("echo", 1, "/user")
    queue.worker.enqueue(*[user(i) for i in range(25) for _ in range(3)])
    assert len(queue.worker.claim_limited(100)) == 25
    queue.limit("echo", 2, "/user")
    after, total = "", 0
    for part in range(3):
        (r,) = queue.worker.run("unblock-next", after, 10)
        total += r["n"]
        after = r["last"] or ""
    assert (total, after) == (25, "")


# ---- two at once

def test_two_claims_at_once(queue):
    """The second does not count before the first has committed: it gets nothing, without waiting for long."""
    queue.limit("echo", 3)
    queue.worker.enqueue(*[{}] * 9)
    a, b = queue.session(autocommit=False), queue.session()
    b.sql("set statement_timeout = '5s'")
    lanes = [(queue.lane(), FIRST, 5)]
    assert len(a.claim_limited(2, lanes=lanes)) == 2
    assert b.claim_limited(3, lanes=lanes) == []
    a.commit()
    assert len(b.claim_limited(3, lanes=lanes)) == 1
    assert b.claim_limited(3, lanes=lanes) == []
    a.claim_limited(3, lanes=lanes)
    a.rollback()
    queue.check()


def test_a_claim_that_rolls_back_gives_its_tokens_back(queue):
    queue.limit("echo", 2)
    queue.worker.enqueue(*[{}] * 3)
    a = queue.session(autocommit=False)
    assert len(a.claim_limited(5)) == 2
    a.rollback()
    assert len(queue.worker.claim_limited(5)) == 2


def test_many_sessions_never_exceed_it_and_all_runs_happen(queue):
    queue.limit("echo", 2, "/user")
    n, users = 240, 4
    queue.worker.enqueue(*[user(i % users) for i in range(n)])
    lanes, errors, ended, worst = [(queue.lane(), FIRST, 5)], [], [], []
    over = threading.Event()

    def work(s):
        try:
            while not over.is_set():
                rows = s.claim_limited(random.randint(1, 5), lanes=lanes)
                time.sleep(random.random() * 0.003)
                for r in rows:
                    s.end(r)
                    ended.append(r["id"])
        except Exception as e:
            errors.append(e)

    def watch(s):
        while not over.is_set():
            worst.append(s.value("select coalesce(max(n), 0) from (select count(*) as n from reeve.lease group by token) t"))
            s.run("unblock-next", "", 100)
            time.sleep(0.005)
    sessions = [queue.session() for _ in range(4)]
    watcher = queue.session()
    threads = [threading.Thread(target=work, args=(s,)) for s in sessions] + [threading.Thread(target=watch, args=(watcher,))]
    for t in threads:
        t.start()
    end = time.monotonic() + 60
    while len(ended) < n and not errors and time.monotonic() < end:
        time.sleep(0.05)
    over.set()
    for t in threads:
        t.join()
    assert not errors, errors
    assert len(ended) == n == len(set(ended)), len(ended)
    assert max(worst) <= 2 and len(worst) > 3
    queue.check()


# ---- random schedules

@pytest.mark.parametrize("seed", range(6))
def test_random_schedules(queue, seed):
    """Whatever is done in whatever order, with transactions that stay open and that fail: no key has more runs than it may, every job
    is in one place, and in the end all have ended."""
    rnd = random.Random(seed)
    most = {"echo": rnd.choice([1, 2, 3]), "slow": rnd.choice([1, 4])}
    for kind, n in most.items():
        queue.limit(kind, n, *rnd.choice([["/user"], ["tenant", "/user"], []]))
    peers = [queue.session(autocommit=False) for _ in range(3)]
    for s in peers:
        s.sql("set statement_timeout = '10s'")
        s.commit()
    runs = {s: [] for s in peers}

    def over():
        return queue.root.sql("""select l.token, count(*) as n, max(k.concurrency) as most from reeve.lease l join reeve.job j on j.id = l.job
            join reeve.kind k on k.name = j.kind where l.token is not null group by 1 having count(*) > max(k.concurrency)""")

    for _ in range(150):
        s = rnd.choice(peers)
        what = rnd.choice(["add", "add", "claim", "claim", "end", "end", "cancel", "sweep", "promote", "commit", "rollback"])
        try:
            if what == "add":
                s.enqueue(*[{"kind": rnd.choice(["echo", "slow"]), "payload": {"user": rnd.randint(1, 3)}, "priority": rnd.choice([3, 5]),
                             "tenant": rnd.choice("ab"), "run_at": rnd.choice([None, "2099-01-01T00:00:00Z"])} for _ in range(rnd.randint(1, 6))])
            elif what == "claim":
                runs[s] += s.claim_limited(rnd.randint(1, 6))
            elif what == "end" and runs[s]:
                run = runs[s].pop(rnd.randrange(len(runs[s])))
                if rnd.random() < 0.2:
                    s.spawn(run, [{"kind": "echo", "payload": {"user": 1}}])
                else:
                    state = rnd.choice(["succeeded", "succeeded", "failed", "scheduled", "ready"])
                    s.end(run, state=state, interrupted=state == "ready")
            elif what == "cancel":
                row = queue.root.sql("select id from reeve.job order by random() limit 1")
                if row:
                    s.sql("set local lock_timeout = '50ms'")
                    s.cancel(row[0]["id"])
            elif what == "sweep":
                s.run("unblock-next", "", 100)
            elif what == "promote":
                s.promote()
        except Exception:  # another transaction holds it
            s.rollback()
            runs[s] = [r for r in runs[s] if queue.root.value("select count(*) from reeve.lease where run_id = %s", r["run_id"])]
            continue
        if what == "rollback":
            s.rollback()
            alive = {r["run_id"]: r for r in queue.root.sql("select run_id, run_key from reeve.lease")}
            runs[s] = [r for r in runs[s] if r["run_id"] in alive]
        elif rnd.random() < 0.8:
            s.commit()
        assert over() == []
    for s in peers:
        s.commit()
    queue.check()
    for _ in range(400):
        queue.root.sql("update reeve.scheduled set run_at = now()")
        queue.worker.promote()
        queue.unblock()
        queue.worker.claim_limited(10)
        assert over() == []
        end_all(queue)
        if not queue.root.value("select count(*) from reeve.job j where not exists (select from reeve.done d where d.job = j.id)"):
            break
    else:
        raise AssertionError(json.dumps(queue.dump(), default=str)[:3000])
    queue.check()


# ---- what it costs

def buffers(session, name, args):
    plan = session.value("explain (analyze, buffers, timing off, format json) " + session.execution(name, args))[0]["Plan"]
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


def test_a_full_key_is_not_walked(queue):
    """10,000 jobs of a full key before one of another: that one is claimed at once, for what it costs without them; and so is the next
    one of the full key when a run ends."""
    queue.limit("echo", 1, "/user")
    args = [[queue.lane()], [FIRST], [5], 4, queue.instance, ["echo"], None, None]

    def run_of(value):
        (run,) = queue.root.sql("select run_id, run_key from reeve.lease where token like '%%=' || %s", value)
        return run

    def costs():
        free = queue.worker.add(**user("free"))
        cost = [buffers(queue.worker, "claim-limited-jobs", args)]
        assert queue.state(free) == "running"
        cost.append(buffers(queue.worker, "end-runs", end_args(run_of("free"))))
        cost.append(buffers(queue.worker, "end-runs", end_args(run_of("full"))))  # the next one of its line is ready now
        cost.append(buffers(queue.worker, "claim-limited-jobs", args))
        assert run_of("full") and queue.root.value("select count(*) from reeve.ready") == 0
        cost.append(buffers(queue.worker, "unblock-next", ["", 500]))
        return cost

    queue.worker.enqueue(*[user("full") for _ in range(10)])
    assert len(queue.worker.claim_limited(4)) == 1
    costs()
    small = costs()
    queue.worker.enqueue(*[user("full") for _ in range(10000)])
    for _ in range(20):
        queue.worker.add(**user("full"))
    large = costs()
    assert all(b <= 2 * a + 60 for a, b in zip(small, large)), (small, large)
    queue.check()


def end_args(run):
    none = [None]
    return [[run["run_id"]], [run["run_key"]], ["succeeded"], ["exit"]] + [none] * 6 + [[0]] + [none] * 4 + [[False], "h", "t"]


# ---- what one is told

def test_why_a_job_is_blocked(queue):
    queue.limit("echo", 1, "tenant", "/user")
    a, b = queue.worker.add(**user("x")), queue.worker.add(**user("x"))
    queue.worker.claim_limited(5)
    status = queue.root.value("select reeve.job_status(%s)", b)
    assert status["state"] == "blocked"
    assert status["blocked_by"] == {"limit": "concurrency", "key": "echo tenant /user=default,x", "most": 1, "running": 1}
    assert "blocked_by" not in queue.root.value("select reeve.job_status(%s)", a)
    assert queue.root.sql("select event, to_state, actor, reason from reeve.history where job = %s", b) == [
        {"event": "block", "to_state": "blocked", "actor": "reeve", "reason": "echo tenant /user=default,x"}]


def test_going_back_to_the_schema_before(database, queue):
    queue.limit("echo", 1)
    jobs = [queue.worker.add() for _ in range(3)]
    queue.worker.claim_limited(5)
    database.migrate("down", "--to=11", "--confirm-data-loss")
    assert states(queue, jobs) == ["running", "ready", "ready"]
    database.migrate("up")
    queue.limit("echo", 1)
    assert len(queue.worker.claim_limited(5)) == 1  # the one that runs has no token
