"""Claiming: order, fairness, cursors, neighbours, and what a claim may cost. Promotion of due jobs, which feeds it."""
import collections
import threading

import pytest

from queue_db import FIRST, Session, queue  # noqa: F401

# ruff: noqa: F811

pytestmark = pytest.mark.sql


def lane_of(queue, kind="echo", tenant="default", priority=5):
    return queue.root.value("select reeve.lane('default', %s, %s, %s::smallint)", kind, tenant, priority)


def ids(rows):
    return [r["id"] for r in rows]


def test_oldest_first(queue):
    jobs = [queue.worker.add() for _ in range(20)]
    got = [j for n in (1, 3, 10, 100) for j in ids(queue.worker.claim(n))]
    assert got == jobs
    queue.check()


def test_a_claim_tells_what_a_run_needs(queue):
    w = queue.worker
    job = w.add(payload={"a": [1, "ü"]}, subject="u1", tenant="acme", priority=7, max_attempts=4, timeout_usec=1234567)
    (r,) = w.claim(5)
    assert (r["id"], r["kind"], r["queue"], r["tenant"], r["subject"], r["priority"]) == (job, "echo", "default", "acme", "u1", 7)
    assert (r["attempt"], r["interruptions"], r["flags"], r["max_attempts"], r["timeout_usec"]) == (0, 0, 0, 4, 1234567)
    assert r["payload"] == '{"a": [1, "ü"]}' and r["known"] and not r["late"]
    assert queue.root.sql("select run_id, run_key, instance from reeve.lease where job = %s", job) == [
        {"run_id": r["run_id"], "run_key": r["run_key"], "instance": 1}]


def test_higher_priority_first(queue):
    low, mid, high = (queue.worker.add(priority=p) for p in (1, 5, 10))
    high2 = queue.worker.add(priority=10)
    assert ids(queue.worker.claim(3)) == [high, high2, mid]
    assert ids(queue.worker.claim(3)) == [low]


def test_tenants_of_one_priority_take_turns(queue):
    queue.fill(1000, tenant="big")
    queue.fill(50, tenant="small")
    queue.fill(2, tenant="tiny")
    got = collections.Counter(r["tenant"] for r in queue.worker.claim(10))
    assert got == {"big": 4, "small": 4, "tiny": 2}
    got = collections.Counter(r["tenant"] for r in queue.worker.claim(10))
    assert got == {"big": 5, "small": 5}


def test_never_more_than_asked_for(queue):
    for i in range(30):
        queue.fill(30, tenant=f"t{i}", priority=i % 3 + 1)
    for n in (1, 7, 100):
        rows = queue.worker.claim(n)
        assert len(rows) == n == len(set(ids(rows)))
        assert {r["priority"] for r in rows} == {3}
    queue.check()


def test_a_cursor_skips_what_was_passed_and_a_reset_finds_it(queue):
    w = queue.worker
    first = w.add()
    lane = lane_of(queue)
    (row,) = w.claim(lanes=[(lane, FIRST, 5)])
    cursor = row["seq"]
    w.end(row, state="ready", interrupted=True)  # comes back behind the cursor, at the end
    (again,) = w.claim(lanes=[(lane, cursor, 5)])
    assert again["id"] == first and again["seq"] > cursor and again["interruptions"] == 1
    second = w.add()
    assert ids(w.claim(lanes=[(lane, 2**62, 5)])) == []
    assert ids(w.claim(lanes=[(lane, FIRST, 5)])) == [second]


def test_a_late_commit_behind_the_cursor_is_found_after_a_reset(queue):
    app = queue.session(autocommit=False)
    slow = app.add()  # has its place in the lane, is not committed
    fast = queue.worker.add()
    lane = lane_of(queue)
    (row,) = queue.worker.claim(10, lanes=[(lane, FIRST, 5)])
    assert row["id"] == fast
    app.commit()
    assert queue.worker.claim(10, lanes=[(lane, row["seq"], 5)]) == []
    assert ids(queue.worker.claim(10, lanes=[(lane, FIRST, 5)])) == [slow]


def test_an_enqueue_that_rolls_back_leaves_no_job(queue):
    app = queue.session(autocommit=False)
    app.add(unique_key="k")
    app.rollback()
    assert queue.worker.claim(10) == [] and queue.root.value("select count(*) from reeve.job") == 0
    assert queue.worker.add(unique_key="k")


def test_two_sessions_never_take_the_same_and_never_wait(queue):
    queue.fill(10)
    a, b = queue.session(autocommit=False), queue.session()
    b.sql("set statement_timeout = '5s'")
    lanes = [(lane_of(queue), FIRST, 5)]
    mine = a.claim(4, lanes=lanes)
    other = b.claim(10, lanes=lanes)
    assert len(mine) == 4 and len(other) == 6 and not set(ids(mine)) & set(ids(other))
    a.rollback()  # and a claim that fails gives back what it held
    assert sorted(ids(b.claim(10, lanes=lanes))) == sorted(ids(mine))
    queue.check()


def test_many_sessions_share_a_backlog(queue):
    queue.fill(600)
    lanes, got, errors = [(lane_of(queue), FIRST, 5)], [], []

    def work(s):
        try:
            while rows := s.claim(7, lanes=lanes):
                got.extend(ids(rows))
                s.end(*rows)
        except Exception as e:  # a thread's failure is the test's
            errors.append(e)
    threads = [threading.Thread(target=work, args=(queue.session(),)) for _ in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert not errors and len(got) == 600 == len(set(got))
    assert queue.root.value("select count(*) from reeve.done where state = 'succeeded'") == 600
    queue.check()


def test_a_passed_deadline_is_marked(queue):
    job = queue.worker.add(deadline="2099-01-01T00:00:00Z")
    other = queue.worker.add(deadline="2099-01-01T00:00:00Z")
    queue.root.sql("update reeve.job set deadline = now() - interval '1 second' where id = %s", job)
    assert {r["id"]: r["late"] for r in queue.worker.claim(5)} == {job: True, other: False}


def test_a_kind_that_the_worker_has_not_is_marked(queue):
    a, b = queue.worker.add(kind="echo"), queue.worker.add(kind="slow")
    assert {r["id"]: r["known"] for r in queue.worker.claim(5, kinds=["slow"])} == {a: False, b: True}


def test_only_the_lanes_named_are_claimed(queue):
    queue.worker.add(kind="echo")
    job = queue.worker.add(kind="slow")
    assert ids(queue.worker.claim(5, lanes=[(lane_of(queue, kind="slow"), FIRST, 5)])) == [job]


# ---- lanes


def find_all(session):
    """As a worker does: until nothing new comes."""
    known = {}
    for _ in range(100):
        new = session.lanes(known)
        if not new:
            return known
        known |= {r["lane"]: r for r in new}
    raise AssertionError("no end")


def test_every_lane_is_found(queue):
    w = queue.worker
    expected = set()
    for i in range(40):
        job = {"tenant": f"t{i % 10}", "priority": i % 4 + 1, "kind": ("echo", "slow")[i % 2]}
        w.add(**job)
        expected.add(lane_of(queue, **job))
    known = find_all(w)
    assert known.keys() == expected
    for lane, r in known.items():
        assert r["queue"] == "default" and lane == lane_of(queue, r["kind"], r["tenant"], r["priority"])
    assert w.lanes(known) == []
    w.add(tenant="new")  # one more, in whatever gap its hash falls
    assert [r["tenant"] for r in w.lanes(known)] == ["new"]


def test_finding_takes_few_rounds(queue):
    """Each costs a probe for each lane that is known: one for each new lane would be their square."""
    for i in range(64):
        queue.worker.add(tenant=f"t{i}")
    known, found = set(), []
    while new := queue.worker.lanes(known, 30):
        assert not {r["lane"] for r in new} & known
        known |= {r["lane"] for r in new}
        found.append(len(new))
    assert found == [30, 30, 4] and len(known) == 64


def buffers(session, name, *args):
    plan = session.value("explain (analyze, buffers, format json) " + session.execution(name, args))[0]["Plan"]
    return plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


def test_a_drained_lane_under_a_held_snapshot_costs_nothing(queue):
    """20,000 dead entries of a lane that was drained cannot be removed while a snapshot is held; the probe of the gaps
    beside it must not walk them."""
    holder = queue.session(autocommit=False, role="postgres")
    holder.sql("set transaction isolation level repeatable read")
    holder.value("select count(*) from reeve.job")
    queue.fill(20000)
    lane = lane_of(queue)
    known, cursor = {lane}, FIRST
    w = queue.worker
    while rows := w.claim(2000, lanes=[(lane, cursor, 5)]):
        cursor = rows[-1]["seq"]
        w.end(*rows)
    queue.root.sql("vacuum reeve.ready")
    assert w.lanes(known) == []
    assert buffers(w, "find-lanes", sorted(known), 500) <= 20
    assert buffers(w, "claim-jobs", [lane], [cursor], [5], 10, 1, ["echo"], None, None) <= 20
    # The same without what is known: this is what is saved, so the test can see a difference.
    assert buffers(w, "find-lanes", [], 500) > 60
    assert buffers(w, "claim-jobs", [lane], [FIRST], [5], 10, 1, ["echo"], None, None) > 60
    holder.rollback()


# ---- promotion


def test_due_jobs_become_ready_in_order_of_time(queue):
    w = queue.worker
    later, soon, far = (w.add(run_at=f"20{y}-01-01T00:00:00Z") for y in (98, 97, 99))
    r = w.promote()
    assert r["n"] == 0 and r["next_usec"] > 10**12
    queue.root.sql("update reeve.scheduled set run_at = run_at - interval '75 years'")
    assert w.promote(most=2)["n"] == 2
    assert ids(w.claim(5)) == [soon, later]
    r = w.promote()
    assert r["n"] == 1 and r["next_usec"] is None
    assert ids(w.claim(5)) == [far]
    queue.check()


def test_the_lower_bound_leaves_out_what_lies_before_it(queue):
    w = queue.worker
    job = w.add(run_at="2097-01-01T00:00:00Z")
    queue.root.sql("update reeve.scheduled set run_at = now() - interval '1 hour'")
    assert w.promote(back=100_000_000)["n"] == 1
    w.cancel(job)
    w.add(run_at="2097-01-01T00:00:00Z")
    queue.root.sql("update reeve.scheduled set run_at = now() - interval '1 hour'")
    assert w.promote(back=60)["n"] == 0
    assert w.promote()["n"] == 1  # starting again finds it


def test_two_sessions_promote_each_once(queue):
    queue.fill(50, table="scheduled", run_at="-2 days")
    a, b = queue.session(autocommit=False), queue.session()
    assert a.promote(30)["n"] == 30
    assert b.promote(30)["n"] == 20
    a.commit()
    assert queue.root.value("select count(*) from reeve.ready") == 50
    queue.check()


def test_promoted_entries_under_a_held_snapshot_cost_nothing(queue):
    holder = queue.session(autocommit=False, role="postgres")
    holder.sql("set transaction isolation level repeatable read")
    holder.value("select count(*) from reeve.job")
    queue.fill(20000, table="scheduled", run_at="-2 days")
    w = queue.worker
    while w.promote(5000)["n"]:
        pass
    assert buffers(w, "promote-due", 100, 60) <= 20
    assert buffers(w, "promote-due", 100, -1) > 60
    holder.rollback()
