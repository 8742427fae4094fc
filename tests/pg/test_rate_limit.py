"""RateLimit=: how many runs may begin in a time. The formula, the line before a bucket, and when it goes on."""
import datetime
import random
import time

import pytest

from queue_db import FIRST, queue  # noqa: F401
from test_limits import buffers, end_all, end_args, ids, states, user

# ruff: noqa: F811

pytestmark = pytest.mark.sql


def room(queue, ahead, step, burst):
    """ahead: seconds from now to the theoretical arrival time; null: no bucket."""
    return queue.root.value("select reeve.rate_room(now() + %s * interval '1 second', now(), %s * interval '1 second', %s)", ahead, step, burst)


@pytest.mark.parametrize("ahead, step, burst, n", [
    (None, 1, 1, 1), (None, 1, 7, 7), (-5, 1, 1, 1), (0, 1, 3, 3), (0.000001, 1, 1, 0), (1, 1, 1, 0), (0.5, 1, 3, 2), (1, 1, 3, 2),
    (1.000001, 1, 3, 1), (2, 1, 3, 1), (2.5, 1, 3, 0), (3, 1, 3, 0), (10**8, 0.001, 1000000, 0)])
def test_the_formula(queue, ahead, step, burst, n):
    assert room(queue, ahead, step, burst) == n


@pytest.mark.parametrize("seed", range(5))
def test_the_formula_against_counting(queue, seed):
    """Asks at random instants, as often as it is allowed: in no window of the time more than number + burst - 1, and as soon as TAT says."""
    rnd = random.Random(seed)
    n, burst = rnd.randint(1, 10), rnd.randint(1, 5)
    step = 10.0 / n
    at, tat, starts = 0.0, None, []
    for _ in range(60):
        at += rnd.choice([0, 0.01, 0.3, 2, 15]) * rnd.random()
        may = room(queue, None if tat is None else round(tat - at, 6), round(step, 6), burst)
        for _ in range(rnd.randint(0, may)):
            tat = max(at, tat or 0) + step
            starts.append(at)
        assert 0 <= may <= burst
    for i, start in enumerate(starts):
        assert sum(1 for s in starts[i:] if s < start + 10 - 0.001) <= n + burst - 1


def next_in(queue):
    return queue.worker.run("wake-buckets", 100)[0]["next_usec"]


def pass_time(queue, seconds):
    """As if so much time had passed: what is in the buckets is earlier."""
    queue.root.sql("update reeve.bucket set (tat, noted_at, wake_at) = (select tat - s, noted_at - s, wake_at - s "
                   "from make_interval(secs => %s) s)", seconds)


def test_one_after_the_other(queue):
    queue.rate("echo", 1, 60)
    jobs = [queue.worker.add() for _ in range(4)]
    assert states(queue, jobs) == ["ready", "blocked", "blocked", "blocked"]
    (run,) = queue.worker.claim_limited(10)
    queue.worker.end(run)  # its end gives nothing back
    assert states(queue, jobs) == ["succeeded", "blocked", "blocked", "blocked"]
    assert queue.worker.claim_limited(10) == [] and queue.unblock() == 0
    assert 50 * 10**6 < next_in(queue) <= 60 * 10**6
    for i in (1, 2, 3):
        pass_time(queue, 59)
        assert queue.worker.run("wake-buckets", 100)[0]["n"] == 0
        pass_time(queue, 1.1)
        assert queue.worker.run("wake-buckets", 100)[0]["n"] == 1
        assert queue.state(jobs[i]) == "ready"
        assert ids(queue.worker.claim_limited(10)) == [jobs[i]]
    assert queue.worker.run("wake-buckets", 100) == [{"n": 0, "next_usec": None}]
    assert queue.worker.run("list-claim-rules") == [{"name": "echo", "paused": False}]
    queue.check()


def test_a_burst(queue):
    queue.rate("echo", 6, 60, burst=3)
    jobs = [queue.worker.add() for _ in range(8)]
    assert states(queue, jobs) == ["ready"] * 3 + ["blocked"] * 5
    assert len(queue.worker.claim_limited(10)) == 3
    pass_time(queue, 10.1)
    assert queue.unblock() + queue.worker.run("wake-buckets", 100)[0]["n"] == 1
    pass_time(queue, 20)  # one that is ready counts
    assert queue.unblock() + queue.worker.run("wake-buckets", 100)[0]["n"] == 2
    assert len(queue.worker.claim_limited(10)) == 3
    assert states(queue, jobs).count("blocked") == 2
    queue.check()


def test_each_value_of_its_key(queue):
    queue.rate("echo", 1, 60, "/user")
    jobs = [queue.worker.add(**user(u)) for u in "aabb"]
    assert sorted(ids(queue.worker.claim_limited(10))) == sorted([jobs[0], jobs[2]])
    assert states(queue, [jobs[1], jobs[3]]) == ["blocked", "blocked"]


def test_a_retry_counts_and_is_blocked(queue):
    queue.rate("echo", 1, 60)
    job = queue.worker.add()
    (run,) = queue.worker.claim_limited(10)
    queue.worker.end(run, state="scheduled")
    queue.worker.promote()
    assert queue.worker.claim_limited(10) == [] and queue.state(job) == "blocked"
    pass_time(queue, 61)
    queue.worker.run("wake-buckets", 100)
    assert ids(queue.worker.claim_limited(10)) == [job]


def test_with_concurrency_of_another_key(queue):
    """A run needs both: it waits for the one that it lacks."""
    queue.limit("echo", 1, "/user")
    queue.rate("echo", 2, 60, burst=2)
    a1, a2, b, c = (queue.worker.add(**user(u)) for u in "aabc")
    assert queue.root.value("select token from reeve.blocked where job = %s", a2) == "limit:echo:/user=a"
    runs = queue.worker.claim_limited(10)
    assert ids(runs) == [a1, b] and queue.state(c) == "blocked"
    assert queue.root.value("select token from reeve.blocked where job = %s", c) == "rate:echo:="
    queue.worker.end(*runs)
    assert queue.worker.claim_limited(10) == []
    assert states(queue, [a2, c]) == ["blocked", "blocked"]
    assert {r["token"] for r in queue.root.sql("select token from reeve.blocked")} == {"rate:echo:="}
    pass_time(queue, 61)
    queue.worker.run("wake-buckets", 100)
    assert sorted(ids(queue.worker.claim_limited(10))) == sorted([a2, c])
    queue.check()


def test_changes_of_the_rate(queue):
    queue.rate("echo", 1, 3600)
    jobs = [queue.worker.add() for _ in range(5)]
    assert len(queue.worker.claim_limited(10)) == 1
    queue.rate("echo", 1, 0.05)  # an hour is not waited for
    deadline = time.monotonic() + 20
    while states(queue, jobs).count("running") < 3 and time.monotonic() < deadline:
        queue.unblock()
        queue.worker.claim_limited(10)
        time.sleep(0.02)
    assert states(queue, jobs).count("running") >= 3
    queue.rate("echo", None)
    queue.unblock()
    queue.worker.claim_limited(10)
    assert states(queue, jobs) == ["running"] * 5
    end_all(queue)
    queue.worker.run("wake-buckets", 100)
    pass_time(queue, 7300)
    owner = queue.session(role="reeve_owner")
    assert owner.run("forget-buckets", 10) == [{"n": 1}]
    queue.check()


def test_a_clock_that_was_set_back(queue):
    queue.rate("echo", 1, 0.05)
    jobs = [queue.worker.add() for _ in range(2)]
    queue.worker.claim_limited(1)
    pass_time(queue, -3600)
    deadline = time.monotonic() + 20
    while queue.state(jobs[1]) != "running" and time.monotonic() < deadline:
        queue.unblock()
        queue.worker.claim_limited(1)
        time.sleep(0.02)
    assert queue.state(jobs[1]) == "running"


@pytest.mark.parametrize("seed", range(4))
def test_a_clock_that_was_set_back_gives_and_takes_nothing(queue, seed):
    """As many may begin after it as before it, however often and far it is set, whether or not somebody stands in line."""
    rnd = random.Random(seed)
    burst = rnd.randint(2, 12)
    queue.rate("echo", rnd.randint(1, burst), 36000, burst=burst)  # no step of it is over while this runs
    left = burst
    for _ in range(8):
        n = rnd.choice([0, 1, 2])
        jobs = [queue.worker.add() for _ in range(n)]
        started = [job for job in jobs if queue.state(job) == "ready"]
        assert len(started) == min(n, left)
        assert sorted(ids(queue.worker.claim_limited(10))) == sorted(started)
        left -= len(started)
        if rnd.random() < 0.5:
            queue.unblock()
        pass_time(queue, -rnd.choice([0.5, 60, 3600, 86400 * 200]))
        assert queue.root.value("select reeve.token_room('rate:echo:=')") == left
    queue.check()


def test_a_clock_that_was_set_back_does_not_move_the_line(queue):
    queue.rate("echo", 1, 60)
    jobs = [queue.worker.add() for _ in range(3)]
    queue.worker.claim_limited(5)
    pass_time(queue, 50)
    queue.unblock()
    pass_time(queue, -3600)
    assert queue.unblock() == 0 and queue.worker.run("wake-buckets", 100)[0]["n"] == 0
    at = datetime.datetime.fromisoformat(queue.root.value("select reeve.job_status(%s)", jobs[1])["blocked_by"]["next_at"])
    assert at - queue.root.value("select clock_timestamp()") <= datetime.timedelta(seconds=10)
    assert next_in(queue) <= 10 * 10**6
    pass_time(queue, 10.1)
    assert queue.unblock() + queue.worker.run("wake-buckets", 100)[0]["n"] == 1
    assert ids(queue.worker.claim_limited(5)) == jobs[1:2]


def test_two_claims_at_once_spend_once(queue):
    queue.rate("echo", 2, 60, burst=2)
    queue.worker.enqueue(*[{}] * 6)
    a, b = queue.session(autocommit=False), queue.session()
    lanes = [(queue.lane(), FIRST, 5)]
    assert len(a.claim_limited(1, lanes=lanes)) == 1
    assert b.claim_limited(5, lanes=lanes) == []
    a.commit()
    assert len(b.claim_limited(5, lanes=lanes)) == 1
    a.rollback()
    assert b.claim_limited(5, lanes=lanes) == []
    queue.check()


def test_a_claim_that_rolls_back_spends_nothing(queue):
    queue.rate("echo", 1, 60)
    queue.worker.add()
    a = queue.session(autocommit=False)
    assert len(a.claim_limited(1)) == 1
    a.rollback()
    assert len(queue.worker.claim_limited(1)) == 1


def test_why_it_is_blocked(queue):
    queue.rate("echo", 1, 60, "/user")
    queue.worker.add(**user(7))
    job = queue.worker.add(**user(7))
    queue.worker.claim_limited(5)
    by = queue.root.value("select reeve.job_status(%s)", job)["blocked_by"]
    at = datetime.datetime.fromisoformat(by.pop("next_at"))
    assert by == {"limit": "rate", "key": "echo /user=7", "most": 1, "interval_usec": 60_000_000}
    wait = at - queue.root.value("select clock_timestamp()")
    assert datetime.timedelta(seconds=30) < wait <= datetime.timedelta(seconds=60)


def test_a_long_line_is_not_walked(queue):
    queue.rate("echo", 1, 60, "/user")
    args = [[queue.lane()], [FIRST], [5], 4, queue.instance, ["echo"], None, None]

    def costs():
        pass_time(queue, 61)
        cost = [buffers(queue.worker, "wake-buckets", [100]), buffers(queue.worker, "claim-limited-jobs", args)]
        (run,) = queue.root.sql("select run_id, run_key from reeve.lease")
        return cost + [buffers(queue.worker, "end-runs", end_args(run)), buffers(queue.worker, "unblock-next", ["", 500])]

    queue.worker.enqueue(*[user(1) for _ in range(10)])
    queue.worker.end(*queue.worker.claim_limited(4))
    costs()
    small = costs()
    queue.worker.enqueue(*[user(1) for _ in range(5000)])
    large = costs()
    assert all(b <= 2 * a + 60 for a, b in zip(small, large)), (small, large)
    queue.check()


@pytest.mark.parametrize("why", ["paused", "nobody serves it"])
def test_a_line_that_nobody_may_take_is_not_asked_for_all_the_time(queue, why):
    """There is room, so the time of the first in line has come; but it stands where nobody takes it."""
    queue.rate("echo", 10, 1, burst=1)
    queue.worker.enqueue(*[{"queue": "p"}] * 5)
    queue.worker.claim_limited(5)
    if why == "paused":
        queue.root.sql("insert into reeve.queue (name, paused, changed_by) values ('p', true, 'x')")
    else:
        queue.root.sql("update reeve.instance set queues = '{default}'")
    end_all(queue)
    pass_time(queue, 5)
    for _ in range(3):
        assert queue.worker.run("wake-buckets", 100)[0]["n"] == 0
    row = queue.worker.run("wake-buckets", 100)[0]
    assert row["next_usec"] > 500_000  # and not 2 ms, of every worker
    queue.root.sql("update reeve.queue set paused = false")
    queue.root.sql("update reeve.instance set queues = '{*}'")
    assert queue.unblock() == 1
    queue.check()
