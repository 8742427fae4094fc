"""The ends of runs: stale ones change nothing, parents learn of their last child exactly once, cancels are not lost, and whatever
several sessions do at once, every job is in one place and ends once."""
import os
import random
import threading
import time

import psycopg2
import pytest

from conftest import wait_for
from queue_db import FIRST, new_id, queue  # noqa: F401
from patience import within

# ruff: noqa: F811

pytestmark = pytest.mark.sql

CHILD = {"kind": "slow"}


class Thread(threading.Thread):
    """A call in another session that may have to wait; result() joins and raises what it raised."""

    def __init__(self, call, *args, **kw):
        super().__init__(daemon=True)
        self.call, self.args, self.kw, self.value, self.error = call, args, kw, None, None
        self.start()

    def run(self):
        try:
            self.value = self.call(*self.args, **self.kw)
        except Exception as e:
            self.error = e

    def result(self):
        self.join(within(20))
        assert not self.is_alive(), "it still waits"
        if self.error:
            raise self.error
        return self.value


def waits(queue, session):
    """Until the session waits for a lock."""
    wait_for(lambda: queue.root.value("select wait_event_type = 'Lock' from pg_stat_activity where pid = %s", session.pid), 10,
             "a session that waits for a lock")


def parent_with_children(queue, n, **job):
    w = queue.worker
    parent = w.add(**job)
    lane, priority = queue.root.sql("select r.lane, j.priority from reeve.ready r join reeve.job j on j.id = r.job where j.id = %s",
                                    parent)[0].values()
    (run,) = w.claim(lanes=[(lane, FIRST, priority)])
    assert run["id"] == parent
    assert w.spawn(run, [CHILD] * n) == n
    return parent


def claim_all(queue):
    return {r["id"]: r for r in queue.worker.claim(1000)}


def children_of(queue, parent):
    return [r["id"] for r in queue.root.sql("select id from reeve.job where parent = %s order by child_no", parent)]


# ---- one run, one end


@pytest.mark.parametrize("state", ["succeeded", "failed", "cancelled", "scheduled", "ready"])
def test_a_stale_run_changes_nothing(queue, state):
    w = queue.worker
    w.add(unique_key="k")
    (old,) = w.claim()
    w.end(old, state="ready", interrupted=True)
    (new,) = w.claim()
    before = queue.dump()
    assert w.end(old, state=state) == set()
    assert w.end((new["run_id"], new_id()), state=state) == set()  # the number without the key
    assert w.end((old["run_id"], new["run_key"]), state=state) == set()
    assert w.spawn(old, [CHILD]) == 0 and w.spawn((new["run_id"], new_id()), [CHILD]) == 0
    w.run("save-progress", [old["run_id"]], [old["run_key"]], [50], ["x"])
    assert queue.root.value("select count(*) from reeve.progress") == 0
    assert queue.dump() == before
    assert w.end(new, state=state) == {new["run_id"]}
    queue.check()


def test_an_end_is_an_end_once(queue):
    w = queue.worker
    queue.fill(3)
    runs = w.claim(3)
    assert w.end(*runs, *runs) == {r["run_id"] for r in runs}
    assert w.end(*runs) == set()
    assert queue.root.value("select count(*) from reeve.done") == 3
    queue.check()


def test_what_an_end_keeps(queue):
    w = queue.worker
    job = w.add()
    (r,) = w.claim()
    w.end(r, state="failed", cause="signal", exit_signal=9, error_code="E1", error_message="no 'luck' \\ \"x\"", cpu_usec=5,
          max_rss=7, unit="u.service", log="last\nlines\t{,}", result_blob=None)
    d = queue.root.sql("select * from reeve.done where job = %s", job)[0]
    assert (d["state"], d["cause"], d["exit_signal"], d["error_code"], d["error_message"], d["cpu_usec"], d["max_rss"], d["unit"],
            d["log"], d["host"], d["run_id"], d["attempt"]) == (
        "failed", "signal", 9, "E1", "no 'luck' \\ \"x\"", 5, 7, "u.service", "last\nlines\t{,}", "h1", r["run_id"], 1)
    assert d["claimed_at"] <= d["finished_at"]


@pytest.mark.parametrize("interrupted,attempt,interruptions", [(False, 1, 0), (True, 0, 1), (None, 0, 0)])
def test_attempts_and_interruptions_count_apart(queue, interrupted, attempt, interruptions):
    w = queue.worker
    w.add()
    (r,) = w.claim()
    w.end(r, state="ready", interrupted=interrupted)
    (r,) = w.claim()
    assert (r["attempt"], r["interruptions"]) == (attempt, interruptions)


def test_a_retry_waits_its_delay(queue):
    w = queue.worker
    job = w.add()
    (r,) = w.claim()
    w.end(r, state="scheduled", delay=3_600_000_000, error_code="E")
    left = queue.root.value("select extract(epoch from run_at - now()) from reeve.scheduled where job = %s", job)
    assert 3590 < left <= 3600 and w.claim() == []


def test_a_batch_that_fails_ends_nothing(queue):
    w = queue.worker
    queue.fill(2)
    a, b = w.claim(2)
    before = queue.dump()
    with pytest.raises(psycopg2.Error):
        w.end(a, b, result=["1", "not json"])
    assert queue.dump() == before


def test_a_unique_key_is_free_at_the_end(queue):
    w = queue.worker
    for state in ("succeeded", "failed", "cancelled"):
        job = w.add(unique_key="k")
        again = w.enqueue({"unique_key": "k"})[0]
        assert (again["outcome"], again["job"]) == ("exists", job)
        (r,) = w.claim()
        w.end(r, state="ready", interrupted=True)  # not an end
        assert w.enqueue({"unique_key": "k"})[0]["outcome"] == "exists"
        (r,) = w.claim()
        w.end(r, state=state)
    job = w.add(unique_key="k")
    w.cancel(job)
    assert w.add(unique_key="k") != job
    queue.check()


def test_leases_are_taken_in_the_order_of_run_ids(queue):
    """A worker ends in the order of its runs' ends and a reaper by number: in one order they cannot deadlock."""
    queue.fill(2)
    first, second = queue.worker.claim(2)
    holder, a, b = (queue.session(autocommit=False) for _ in range(3))
    holder.cancel(first["id"])
    t = Thread(a.end, second, first)
    waits(queue, a)
    b.sql("set local lock_timeout = '5s'")
    assert b.end(second) == {second["run_id"]}  # a waits for the first and holds nothing yet
    b.commit()
    holder.commit()
    assert t.result() == {first["run_id"]}
    a.commit()
    queue.check()


# ---- children


def test_the_join_comes_after_the_last_child_whatever_their_ends(queue):
    w = queue.worker
    parent = parent_with_children(queue, 4)
    runs = claim_all(queue)
    kids = children_of(queue, parent)
    assert list(runs) == kids
    assert w.end(runs[kids[0]], result="1")
    assert w.end(runs[kids[1]], state="failed", error_code="E")
    w.cancel(kids[2], "not needed")
    assert w.end(runs[kids[2]], state="cancelled", cause="cancelled")
    w.end(runs[kids[3]], state="scheduled")
    assert queue.state(parent) == "waiting"
    queue.check()
    w.promote()
    (last,) = w.claim(5)
    w.end(last, result="4")
    (join,) = w.claim(5)
    assert join["id"] == parent and join["flags"] & 1 and join["attempt"] == 0
    rows = w.run("list-children", parent, -1, 10)
    assert [(r["child_no"], r["state"], r["result"], r["error_code"]) for r in rows] == [
        (0, "succeeded", "1", None), (1, "failed", None, "E"), (2, "cancelled", None, None), (3, "succeeded", "4", None)]
    assert [r["child_no"] for r in w.run("list-children", parent, 1, 1)] == [2]
    w.end(join)
    queue.check()


def test_children_that_end_in_one_batch(queue):
    a, b = parent_with_children(queue, 3), parent_with_children(queue, 2)
    runs = claim_all(queue)
    queue.worker.end(*runs.values())
    assert (queue.state(a), queue.state(b)) == ("ready", "ready")
    queue.check()


@pytest.mark.parametrize("first", [0, 1])
def test_the_last_two_children_end_in_two_transactions(queue, first):
    """Both batches are held open at once; the second must see what the first did, and the parent joins exactly once."""
    parent = parent_with_children(queue, 2)
    runs = list(claim_all(queue).values())
    a, b = queue.session(autocommit=False), queue.session(autocommit=False)
    a.end(runs[first])
    t = Thread(b.end, runs[1 - first])
    waits(queue, b)
    assert queue.state(parent) == "waiting"
    a.commit()
    assert t.result() == {runs[1 - first]["run_id"]}
    b.commit()
    assert queue.state(parent) == "ready"
    assert queue.root.value("select count(*) from reeve.ready where job = %s", parent) == 1
    queue.check()


def test_the_first_of_two_rolls_back(queue):
    parent = parent_with_children(queue, 2)
    runs = list(claim_all(queue).values())
    a, b = queue.session(autocommit=False), queue.session(autocommit=False)
    a.end(runs[0])
    t = Thread(b.end, runs[1])
    waits(queue, b)
    a.rollback()
    t.result()
    b.commit()
    assert queue.state(parent) == "waiting"
    queue.check()
    queue.worker.end(runs[0])
    assert queue.state(parent) == "ready"
    queue.check()


def test_two_parents_crossing_do_not_deadlock(queue):
    """Each batch ends a child of either parent, in opposite orders."""
    p, q = parent_with_children(queue, 2), parent_with_children(queue, 2)
    runs = claim_all(queue)
    (p1, p2), (q1, q2) = [[runs[c] for c in children_of(queue, x)] for x in (p, q)]
    a, b = queue.session(autocommit=False), queue.session(autocommit=False)
    a.end(p1, q1)
    t = Thread(b.end, q2, p2)
    waits(queue, b)
    a.commit()
    t.result()
    b.commit()
    assert (queue.state(p), queue.state(q)) == ("ready", "ready")
    queue.check()


def test_a_refused_child_changes_nothing(queue):
    w = queue.worker
    w.add()
    (r,) = w.claim()
    before = queue.dump()
    for bad in ({"kind": "nobody"}, {"kind": "slow", "priority": 11}, {}):
        with pytest.raises(psycopg2.errors.InvalidParameterValue) as e:
            w.spawn(r, [CHILD, bad, CHILD])
        assert "child 1" in str(e.value)
    assert queue.dump() == before
    assert w.spawn(r, [CHILD]) == 1
    queue.check()


def test_children_are_their_parents(queue):
    parent = parent_with_children(queue, 2, tenant="acme", subject="s")
    rows = queue.root.sql("select tenant, subject, child_no from reeve.job where parent = %s order by child_no", parent)
    assert rows == [{"tenant": "acme", "subject": "s", "child_no": n} for n in (0, 1)]


def test_no_children_are_a_join_at_once(queue):
    w = queue.worker
    job = w.add()
    (r,) = w.claim()
    assert w.spawn(r, []) == 0
    (join,) = w.claim()
    assert join["id"] == job and join["flags"] & 1
    queue.check()


def under_way(queue, kids):
    states = [queue.state(k) for k in kids]
    return states, sum(s in ("ready", "running") for s in states)


def test_no_more_children_at_once_than_asked_for(queue):
    w = queue.worker
    parent = w.add()
    (run,) = w.claim()
    assert w.spawn(run, [CHILD] * 6, at_once=2) == 6
    kids = children_of(queue, parent)
    assert [queue.state(k) for k in kids] == ["ready"] * 2 + ["blocked"] * 4
    queue.check()
    runs = claim_all(queue)
    assert sorted(runs) == sorted(kids[:2])
    w.end(runs[kids[0]], state="scheduled")  # it will be tried again: its place stays its own
    assert [queue.state(k) for k in kids] == ["scheduled", "running"] + ["blocked"] * 4
    w.end(runs[kids[1]])
    assert [queue.state(k) for k in kids] == ["scheduled", "succeeded", "ready"] + ["blocked"] * 3
    assert w.cancel(kids[4]) == "cancelled"  # had no place: gives none away
    assert [queue.state(k) for k in kids] == ["scheduled", "succeeded", "ready", "blocked", "cancelled", "blocked"]
    assert w.cancel(kids[0]) == "cancelled"  # had one
    assert [queue.state(k) for k in kids] == ["cancelled", "succeeded", "ready", "ready", "cancelled", "blocked"]
    runs = claim_all(queue)
    w.end(runs[kids[2]], runs[kids[3]])  # two in one batch, one that waits
    assert queue.state(kids[5]) == "ready" and queue.state(parent) == "waiting"
    w.end(claim_all(queue)[kids[5]])
    assert queue.state(parent) == "ready" and queue.root.value("select count(*) from reeve.blocked") == 0
    queue.check()


def test_blocked_children_go_with_their_parent(queue):
    w = queue.worker
    parent = w.add()
    (run,) = w.claim()
    w.spawn(run, [CHILD] * 4, at_once=1)
    assert w.cancel(parent) == "cancelled"
    assert {queue.state(k) for k in children_of(queue, parent)} == {"cancelled"}
    queue.check()


def test_two_batches_free_two_children(queue):
    """Both end a child of one parent in transactions that are held open: each lets another one go on."""
    a, b = queue.session(autocommit=False), queue.session(autocommit=False)
    w = queue.worker
    parent = w.add()
    (run,) = w.claim()
    w.spawn(run, [CHILD] * 5, at_once=2)
    kids = children_of(queue, parent)
    runs = claim_all(queue)
    a.end(runs[kids[0]])
    t = Thread(b.end, runs[kids[1]])
    waits(queue, b)
    a.commit()
    t.result()
    b.commit()
    assert [queue.state(k) for k in kids] == ["succeeded"] * 2 + ["ready"] * 2 + ["blocked"]
    queue.check()


def test_the_parents_bar_moves_with_its_children(queue):
    w = queue.worker
    parent = w.add()
    (run,) = w.claim()
    w.run("save-progress", [run["run_id"]], [run["run_key"]], [10], ["split"])
    w.spawn(run, [CHILD] * 4, progress=(15, 75))

    def bar():
        job = queue.root.value("select reeve.job_status(%s)", parent)
        return job["state"], job.get("progress"), job.get("status")
    seen, runs = [bar()], claim_all(queue)
    for kid in children_of(queue, parent):
        w.end(runs[kid])
        seen.append(bar())
    assert seen[:4] == [("waiting", p, f"{n} of 4 children have ended") for n, p in enumerate((15, 30, 45, 60))]
    assert seen[4] == ("ready", 75, None)  # and the join begins where they ended
    (join,) = w.claim()
    w.run("save-progress", [join["run_id"]], [join["run_key"]], [80], [None])
    assert bar() == ("running", 80, None)
    w.end(join)
    assert queue.root.value("select count(*) from reeve.progress") == 0


def test_children_without_a_part_of_the_bar_leave_it_alone(queue):
    parent = parent_with_children(queue, 2)
    job = queue.root.value("select reeve.job_status(%s)", parent)
    assert "progress" not in job and job["status"] == "0 of 2 children have ended" and job["children"] == 2


def test_a_join_may_ask_for_more_children(queue):
    w = queue.worker
    parent = parent_with_children(queue, 3)
    runs = claim_all(queue)
    w.end(*(runs[k] for k in children_of(queue, parent)), result="1")
    (join,) = w.claim()
    assert w.spawn(join, [CHILD] * 2) == 2
    kids = children_of(queue, parent)
    assert [r["child_no"] for r in queue.root.sql("select child_no from reeve.job where parent = %s order by 1", parent)
            ] == [0, 1, 2, 3, 4]
    runs = claim_all(queue)
    w.end(runs[kids[3]], runs[kids[4]], result="2")
    (join,) = w.claim()
    assert join["id"] == parent and join["flags"] & 1
    assert [(r["child_no"], r["result"]) for r in w.run("list-children", parent, -1, 10)] == [
        (0, "1"), (1, "1"), (2, "1"), (3, "2"), (4, "2")]
    queue.check()


def test_children_share_inputs_of_their_parent(queue):
    w = queue.worker
    digests = ["sha256:" + c * 64 for c in "ab"]
    for d in digests:
        queue.root.sql("insert into reeve.blob (tenant, digest, size) values ('acme', %s, 7)", d)
    inputs = [{"name": n, "blob": d, "size": 7, "content_type": "application/pdf"} for n, d in zip(("a.pdf", "b.pdf"), digests)]
    parent = w.add(tenant="acme", inputs=inputs)
    (run,) = w.claim()
    before = queue.dump()
    for bad, why in (({"inputs": ["c.pdf"]}, 'no input "c.pdf"'), ({"inputs": [inputs[0]]}, "no input {"), ({"inputs": [7]}, "no input 7"),
                     ({"inputs": "a.pdf"}, "array of names"), ({"id": parent}, 'unknown field "id"'),
                     ({"payload_blob": digests[0]}, 'unknown field "payload_blob"'), ({"tenant": "x"}, "unknown field")):
        with pytest.raises(psycopg2.errors.InvalidParameterValue) as e:
            w.spawn(run, [CHILD, CHILD | bad])
        assert "child 1" in str(e.value) and why in str(e.value)
    with pytest.raises(psycopg2.errors.InvalidParameterValue):
        w.spawn(run, [CHILD, 7])
    assert queue.dump() == before
    w.spawn(run, [CHILD | {"inputs": ["b.pdf"]}, CHILD | {"inputs": ["b.pdf", "a.pdf", "b.pdf"]}, CHILD | {"inputs": []}, CHILD])
    got = queue.root.sql("select id, inputs from reeve.job where parent = %s order by child_no", parent)
    assert [g["inputs"] for g in got] == [inputs[1:], inputs, None, None]
    refs = queue.root.sql("select name, digest from reeve.blob_ref where job = %s and direction = 'input' order by name", got[1]["id"])
    assert [(r["name"], r["digest"]) for r in refs] == [("a.pdf", digests[0]), ("b.pdf", digests[1])]
    queue.check()


def test_a_job_without_inputs_has_none_to_share(queue):
    w = queue.worker
    w.add()
    (run,) = w.claim()
    with pytest.raises(psycopg2.errors.InvalidParameterValue):
        w.spawn(run, [CHILD | {"inputs": ["a.pdf"]}])


def test_a_join_finds_the_files_of_its_children(queue):
    w = queue.worker
    parent = parent_with_children(queue, 4)
    kids, runs = children_of(queue, parent), claim_all(queue)
    for n, k in enumerate(kids):
        for direction, names in (("output", ("a", "b")), ("result", ("",))):
            if n != 1:
                d = [f"sha256:{n}{i}".ljust(71, "0") for i in range(len(names))]
                w.run("add-files", runs[k]["run_id"], runs[k]["run_key"], [direction] * len(names), list(names), d, [n + 1] * len(names))
    w.end(runs[kids[0]], runs[kids[1]], runs[kids[3]])
    w.end(runs[kids[2]], state="failed")  # what it left is no result
    found, after = [], (-1, "", "")
    while page := w.run("list-child-files", parent, *after, 2):
        found += [(r["child_no"], r["direction"], r["name"], r["size"]) for r in page]
        after = found[-1][:3]
    assert found == [(n, d, f, n + 1) for n in (0, 3) for d, f in (("output", "a"), ("output", "b"), ("result", ""))]


# ---- cancels


def test_a_cancel_takes_the_whole_tree(queue):
    w = queue.worker
    top = parent_with_children(queue, 3)
    runs = claim_all(queue)
    kids = children_of(queue, top)
    w.end(runs[kids[0]])  # ended before
    w.end(runs[kids[1]], state="ready", interrupted=True)  # waits to run
    assert w.spawn(runs[kids[2]], [CHILD]) == 1  # has a child of its own, which runs
    runs = claim_all(queue)
    (grandchild,) = children_of(queue, kids[2])
    w.end(runs[kids[1]], state="ready", interrupted=True)
    assert w.cancel(top, "enough") == "cancelled"
    assert [queue.state(x) for x in (top, *kids, grandchild)] == ["cancelled", "succeeded", "cancelled", "cancelled", "running"]
    assert [r["run_id"] for r in w.run("list-cancels", queue.instance)] == [runs[grandchild]["run_id"]]
    w.end(runs[grandchild], state="ready", cause="cancelled")
    assert queue.state(grandchild) == "cancelled"
    assert w.run("list-cancels", queue.instance) == []
    assert w.cancel(top) == "finished" and w.cancel(new_id()) == "not-found"
    queue.check()


def test_a_result_is_stronger_than_a_cancel_and_a_retry_is_not(queue):
    w = queue.worker
    for state, expected in (("succeeded", "succeeded"), ("failed", "failed"), ("scheduled", "cancelled"), ("ready", "cancelled")):
        job = w.add()
        (r,) = w.claim()
        assert w.cancel(job, "why") == "cancelling"
        assert w.end(r, state=state) == {r["run_id"]}
        assert queue.state(job) == expected
        d = queue.root.sql("select actor, reason from reeve.done where job = %s", job)
        assert d == [{"actor": "test", "reason": "why"}]
    assert queue.root.value("select count(*) from reeve.cancel_request") == 0
    queue.check()


def test_a_cancel_of_a_run_that_asks_for_children_stops_them(queue):
    w = queue.worker
    job = w.add()
    (r,) = w.claim()
    assert w.cancel(job) == "cancelling"
    assert w.spawn(r, [CHILD, CHILD]) == 2
    assert queue.state(job) == "cancelled"
    assert {queue.state(c) for c in children_of(queue, job)} == {"cancelled"}
    queue.check()


@pytest.mark.parametrize("state,expected", [("succeeded", "succeeded"), ("scheduled", "cancelled"), ("ready", "cancelled")])
def test_a_cancel_after_an_end_that_is_not_committed(queue, state, expected):
    w = queue.worker
    job = w.add()
    (r,) = w.claim()
    a, b = queue.session(autocommit=False), queue.session()
    a.end(r, state=state)
    t = Thread(b.cancel, job)
    waits(queue, b)
    a.commit()
    assert t.result() == ("finished" if state == "succeeded" else "cancelled")
    assert queue.state(job) == expected
    queue.check()


@pytest.mark.parametrize("state,expected", [("succeeded", "succeeded"), ("scheduled", "cancelled"), ("ready", "cancelled")])
def test_an_end_after_a_cancel_that_is_not_committed(queue, state, expected):
    w = queue.worker
    job = w.add()
    (r,) = w.claim()
    a, b = queue.session(autocommit=False), queue.session()
    assert a.cancel(job) == "cancelling"
    t = Thread(b.end, r, state=state)
    waits(queue, b)
    a.commit()
    assert t.result() == {r["run_id"]}
    assert queue.state(job) == expected
    # Though the request came after the end's snapshot.
    assert queue.root.value("select count(*) from reeve.cancel_request") == 0
    queue.check()


def test_a_cancel_of_a_claim_that_is_not_committed(queue):
    job = queue.worker.add()
    a, b = queue.session(autocommit=False), queue.session()
    (r,) = a.claim(instance=queue.instance)
    t = Thread(b.cancel, job)
    waits(queue, b)
    a.commit()
    assert t.result() == "cancelling"
    assert [x["run_id"] for x in b.run("list-cancels", queue.instance)] == [r["run_id"]]


def test_a_cancel_of_a_parent_while_its_child_ends_does_not_deadlock(queue):
    w = queue.worker
    parent = parent_with_children(queue, 2)
    runs = claim_all(queue)
    kids = children_of(queue, parent)
    a, b = queue.session(autocommit=False), queue.session(autocommit=False)
    b.sql("set local lock_timeout = '5s'")
    a.end(runs[kids[1]])
    t = Thread(b.cancel, parent)
    waits(queue, b)
    a.end(runs[kids[0]])
    a.commit()
    assert t.result() == "cancelled"
    b.commit()
    assert queue.state(parent) == "cancelled"
    queue.check()
    assert w.claim(5) == []


def lock_lease(queue, run):
    """Another session that has a lease row for a moment: a worker marks the run as started."""
    x = queue.session(autocommit=False)
    x.run("mark-started", [run["run_id"]], queue.instance)
    return x


def test_a_cancel_that_reaches_children_while_another_ends_does_not_deadlock(queue):
    parent = parent_with_children(queue, 2)
    runs = claim_all(queue)
    kids = sorted(children_of(queue, parent))  # in the order in which a cancel takes them
    x = lock_lease(queue, runs[kids[0]])
    a, b = queue.session(), queue.session()
    cancel = Thread(b.cancel, parent)
    waits(queue, b)  # has the parent, wants the first child
    end = Thread(a.end, runs[kids[1]], state="failed")
    waits(queue, a)  # must not have the second child already
    x.commit()
    assert cancel.result() == "cancelled"
    assert end.result() == {runs[kids[1]]["run_id"]}
    queue.worker.end(runs[kids[0]], state="ready")
    assert {queue.state(k) for k in kids} == {"cancelled", "failed"}
    queue.check()


def test_cancels_of_a_job_and_of_its_parent_do_not_deadlock(queue):
    w = queue.worker
    parent = parent_with_children(queue, 1)
    (child,) = children_of(queue, parent)
    run = claim_all(queue)[child]
    assert w.spawn(run, [CHILD]) == 1
    (grandchild,) = children_of(queue, child)
    leaf = claim_all(queue)[grandchild]
    x = lock_lease(queue, leaf)
    a, b = queue.session(), queue.session()
    below = Thread(a.cancel, child)
    waits(queue, a)  # has the child, wants the grandchild
    above = Thread(b.cancel, parent)
    waits(queue, b)
    x.commit()
    assert below.result() == "cancelled"
    assert above.result() in ("cancelled", "finished")
    w.end(leaf, state="ready")
    assert {queue.state(j) for j in (child, grandchild)} == {"cancelled"}
    queue.check()


def test_ten_thousand_children_are_made_and_cancelled(queue):
    w = queue.worker
    w.add()
    (run,) = w.claim()
    t0 = time.monotonic()
    assert w.spawn(run, [CHILD] * 10000) == 10000
    t1 = time.monotonic()
    assert w.cancel(run["id"]) == "cancelled"
    t2 = time.monotonic()
    print(f"spawn {t1 - t0:.1f} s, cancel {t2 - t1:.1f} s")
    assert t1 - t0 < within(15) and t2 - t1 < within(15), "longer than a worker waits for a statement"
    assert queue.root.value("select count(*) from reeve.done") == 10001
    queue.check()


# ---- instances


def test_a_claim_that_is_committed_long_after_its_instance_is_found(queue):
    w = queue.worker
    job = w.add()
    w.run("stop-instance", queue.instance, "worker-died")
    queue.root.sql("update reeve.instance set stopped_at = now() - interval '2 minutes'")
    assert w.run("list-orphans", 100) == []
    assert queue.root.value("select reaped from reeve.instance")
    (late,) = w.claim(instance=queue.instance)  # its backend had stood still
    assert w.run("list-orphans", 100) == []
    assert [r["id"] for r in w.run("reopen-instances")] == [queue.instance]
    (orphan,) = w.run("list-orphans", 100)
    assert orphan["job"] == job and orphan["run_id"] == late["run_id"]
    w.end(late, state="ready")
    assert w.run("list-orphans", 100) == []
    assert w.run("reopen-instances") == []
    assert queue.state(job) == "ready"


def test_runs_of_a_stopped_instance_are_found_and_freed(queue):
    w = queue.worker
    queue.fill(3)
    old = w.register("pool", "h2")
    w.claim(2, instance=old)
    (mine,) = w.claim(1, instance=queue.instance)
    assert w.run("list-orphans", 10) == []
    assert w.register("pool", "h2", gone=[(old, 0)])
    orphans = w.run("list-orphans", 10)
    assert len(orphans) == 2 and {o["stop_cause"] for o in orphans} == {"worker-died"} and {o["host"] for o in orphans} == {"h2"}
    assert len(w.run("list-orphans", 1)) == 1
    assert w.run("beat-instance", old, "busy", 2, 0) == []  # it is told that it is no more
    w.end(*[(o["run_id"], o["run_key"]) for o in orphans], state="ready", cause="worker-died", interrupted=True)
    assert w.run("list-orphans", 10) == []
    assert not queue.root.value("select reaped from reeve.instance where id = %s", old)  # a claim may still come
    queue.root.sql("update reeve.instance set stopped_at = now() - interval '2 minutes' where id = %s", old)
    w.run("list-orphans", 10)
    assert queue.root.value("select reaped from reeve.instance where id = %s", old)
    assert len(w.claim(10)) == 2
    assert [r["run_id"] for r in w.run("list-own-runs", queue.instance)][0] == mine["run_id"]
    queue.check()


def test_two_of_one_name_do_not_stop_each_other(queue):
    """Only one that is known to be gone is stopped, if it has not moved since; on other hosts and of other names nobody is."""
    w = queue.worker
    old = w.register("pool", "h2")
    assert w.register("pool", "h3") and w.register("other", "h2")
    before = queue.root.value("select count(*) from reeve.instance where stopped_at is null")
    assert w.register("pool", "h2") is None
    (other,) = w.run("list-namesakes", "h2", "pool")
    assert other["id"] == old and other["beat"] == 0 and 0 <= other["age_usec"] < 600 * 10**6
    w.run("beat-instance", old, "idle", 0, 0)
    assert w.register("pool", "h2", gone=[(old, 0)]) is None
    assert w.register("pool", "h3", gone=[(old, 1)]) is None  # not by its number alone
    assert queue.root.value("select count(*) from reeve.instance where stopped_at is null") == before
    assert w.register("pool", "h2", gone=[(old, 1)])
    assert queue.root.value("select stop_cause from reeve.instance where id = %s", old) == "worker-died"
    assert queue.root.value("select count(*) from reeve.instance where stopped_at is null") == before


def test_two_that_register_at_once(queue):
    a, b = queue.session(autocommit=False), queue.session(autocommit=False)
    mine = a.register("pool", "h2")
    got = []
    other = threading.Thread(target=lambda: got.append(b.register("pool", "h2")))
    other.start()
    wait_for(lambda: queue.root.value("select count(*) from pg_locks where locktype = 'advisory' and not granted"), 60, "it waits")
    a.commit()
    other.join()
    assert mine and got == [None]
    b.rollback()


def test_a_counter_that_moved_is_not_void(queue):
    w = queue.worker
    (row,) = [r for r in w.run("list-instances") if r["id"] == queue.instance]
    assert w.run("beat-instance", queue.instance, "idle", 0, 0)[0]["beat"] == row["beat"] + 1
    assert w.run("void-instance", queue.instance, row["beat"]) == []
    assert [r["id"] for r in w.run("void-instance", queue.instance, row["beat"] + 1)] == [queue.instance]
    assert w.run("beat-instance", queue.instance, "idle", 0, 0) == []


# ---- everything at once


class Chaos(threading.Thread):
    """One worker, reaper and user: claims, ends in all ways, keeps some runs to end them late (stale by then), cancels, reaps,
    promotes. A deadlock or serialization failure is tried again, as the worker does."""

    def __init__(self, queue, seed, until):
        super().__init__(daemon=True)
        self.q, self.s, self.random, self.until = queue, queue.session(), random.Random(seed), until
        self.ended, self.held, self.cancelled, self.error, self.retries = [], [], set(), None, 0

    def again(self, call, *args, **kw):
        for _ in range(50):
            try:
                return call(*args, **kw)
            except (psycopg2.errors.DeadlockDetected, psycopg2.errors.SerializationFailure):
                self.retries += 1
        raise AssertionError("too many retries")

    def run(self):
        try:
            while time.monotonic() < self.until:
                self.step()
        except Exception as e:
            self.error = e

    def step(self):
        r, s = self.random, self.s
        what = r.random()
        if what < 0.35:
            self.held += self.again(s.claim, r.randint(1, 6), instance=self.q.instance)
        elif what < 0.7 and self.held:
            r.shuffle(self.held)
            n = r.randint(1, 6)
            batch, self.held = self.held[:n], self.held[n:]
            state = [r.choice(("succeeded", "succeeded", "failed", "scheduled", "ready")) for _ in batch]
            ended = self.again(s.end, *batch, state=state, interrupted=[x == "ready" for x in state])
            self.ended += [(b["id"], st) for b, st in zip(batch, state) if b["run_id"] in ended]
            if r.random() < 0.2:  # a second answer for the same runs
                assert self.again(s.end, *batch, state="succeeded") == set()
        elif what < 0.78 and self.held:
            run = self.held.pop()
            self.again(s.spawn, run, [CHILD] * r.randint(0, 3), r.choice((None, 1, 2)))
        elif what < 0.86:
            job = self.q.root_jobs[r.randrange(len(self.q.root_jobs))]
            if self.again(s.cancel, job) in ("cancelled", "cancelling"):
                self.cancelled.add(job)
        elif what < 0.92:
            self.again(s.promote)
        elif what < 0.96:  # a reaper who thinks us dead takes any runs, in their order
            runs = self.again(s.sql, "select run_id, run_key from reeve.lease order by run_id limit 5")
            self.again(s.end, *runs, state="ready", cause="worker-died", interrupted=True)
        else:
            self.again(s.run, "expire-deadlines", "1 hour", 10)


@pytest.mark.parametrize("seed", [1, 2] if not os.environ.get("REEVE_TEST_SLOW") else range(1, 11))
def test_random_lives_in_several_sessions(queue, seed):
    w = queue.worker
    queue.root_jobs = [w.add(tenant=f"t{i % 3}", priority=i % 2 + 5, unique_key=f"k{i}" if i % 4 == 0 else None) for i in range(60)]
    threads = [Chaos(queue, seed * 10 + i, time.monotonic() + 3) for i in range(4)]
    for t in threads:
        t.start()
    for t in threads:
        t.join(within(30))
        assert not t.is_alive()
        if t.error:
            raise t.error
    queue.check()
    # Drain: everything ends.
    for turn in range(200):
        w.promote(1000)
        runs = w.claim(1000, instance=queue.instance)
        held = w.sql("select run_id, run_key from reeve.lease")
        if not runs and not held:
            break
        w.end(*held, state=["succeeded" if (i + turn) % 2 else "ready" for i in range(len(held))], interrupted=True)
    queue.check()
    left = queue.root.sql("select job, 'waiting' as place from reeve.waiting union all select job, 'ready' from reeve.ready "
                          "union all select job, 'scheduled' from reeve.scheduled union all select job, 'lease' from reeve.lease")
    assert left == []
    # One terminal state each, and no cancel lost: who was told "cancelled" or "cancelling" did not run on for ever, and
    # what ended otherwise had a verdict of its run.
    n = queue.root.value("select count(*) from reeve.job")
    assert queue.root.value("select count(*) from reeve.done") == n >= 60
    for job in set().union(*[t.cancelled for t in threads]):
        d = queue.root.sql("select state, actor from reeve.done where job = %s", job)[0]
        # A job whose run asked for children and whose cancel came first is cancelled, too.
        assert d["state"] == "cancelled" or d["actor"] == "test", d
    assert w.run("list-cancels", queue.instance) == []
    assert queue.root.value("select count(*) from reeve.cancel_request") == 0
    print("retries:", [t.retries for t in threads])
