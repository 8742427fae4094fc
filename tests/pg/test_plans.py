"""What the hot statements cost. A plan is judged as a session of a worker gets it: role reeve_worker, prepared, as a generic plan
and as a custom one; made while the tables were empty (the cache keeps it) or full. The cost is counted in buffers: it
must not grow with the backlog, with what is scheduled, or with what has ended."""
import os

import pytest

from queue_db import FIRST, Session, queue  # noqa: F401

# ruff: noqa: F811

pytestmark = pytest.mark.sql

MANY = 300_000 if os.environ.get("REEVE_TEST_SLOW") else 100_000
HOT = ("ready", "scheduled", "lease", "waiting", "blocked", "job", "done", "key", "progress", "cancel_request")


def walk(node):
    yield node
    for child in node.get("Plans", []):
        yield from walk(child)


def explain(session, name, args):
    """Runs the statement. Returns its nodes and the buffers it touched."""
    plan = session.value("explain (analyze, buffers, timing off, format json) " + session.execution(name, args))[0]["Plan"]
    return list(walk(plan)), plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


def is_hot(node):
    name = node.get("Relation Name", "")
    return any(name == t or name.startswith(t + "_") for t in HOT)


def check_nodes(name, nodes, indexes):
    used = {n["Index Name"] for n in nodes if "Index Name" in n and n["Actual Loops"]}
    for n in nodes:
        if n["Node Type"] == "Seq Scan":
            assert not is_hot(n) or not n["Actual Loops"], (name, "sequential scan", n["Relation Name"])
        if n["Node Type"] in ("Index Scan", "Index Only Scan") and is_hot(n) and n["Actual Loops"]:
            assert "Index Cond" in n, (name, "the whole of", n["Index Name"])
            assert n.get("Rows Removed by Filter", 0) * n["Actual Loops"] <= 100, (name, "a filter", n)
        if n["Node Type"] == "Sort":
            assert n["Actual Rows"] <= 1000, (name, "sorts the backlog")
    for index in indexes:
        assert any(u == index or u.startswith(index.split("*")[0]) and u.endswith(index.split("*")[-1]) for u in used), (
            name, index, used)


class Hot:
    """One worker session whose statements are all run once, on whatever the tables hold."""

    def __init__(self, queue, mode):
        self.q, self.w = queue, queue.session()
        self.api = queue.session(role="reeve_api")
        for s in (self.w, self.api):
            s.sql(f"set plan_cache_mode = {mode}")
        self.lane = None

    def run(self):
        """Yields (statement, nodes, buffers, indexes it must use when there is something to do)."""
        w, q = self.w, self.q
        self.lane = q.root.value("select reeve.lane('default', 'echo', 'default', 5::smallint)")
        parent = w.add(tenant="p")
        lane = q.root.value("select lane from reeve.ready where job = %s", parent)
        (run,) = w.claim(lanes=[(lane, FIRST, 5)], instance=q.instance)
        w.spawn(run, [{"kind": "slow", "unique_key": "u"}])
        child = q.root.value("select r.lane from reeve.ready r join reeve.job j on j.id = r.job where j.parent = %s", parent)

        yield "find-lanes", *explain(w, "find-lanes", [sorted([self.lane, child]), 500]), ["ready_pkey"]
        args = [[self.lane, child], [FIRST, FIRST], [5, 5], 20, q.instance, ["echo"], None, None]
        yield "claim-jobs", *explain(w, "claim-jobs", args), ["ready_pkey", "job_*pkey"]
        runs = w.sql("select run_id, run_key from reeve.lease where instance = %s", q.instance)
        n = len(runs)
        ids, keys = [r["run_id"] for r in runs], [r["run_key"] for r in runs]
        yield "save-progress", *explain(w, "save-progress", [ids, keys, [5] * n, ["x"] * n]), ["lease_pkey"]
        yield "list-cancels", *explain(w, "list-cancels", [q.instance]), ["cancel_request_instance"]
        yield "list-orphans", *explain(w, "list-orphans", [100]), []
        a = self.api
        yield "extend-run", *explain(a, "extend-run", [ids[0], keys[0], 1000000]), ["lease_pkey"]
        yield "get-pulled-run", *explain(a, "get-pulled-run", [ids[0], keys[0]]), ["lease_pkey"]
        yield "list-own-runs", *explain(w, "list-own-runs", [q.instance]), ["lease_pkey"]
        none = [None] * n
        args = [ids, keys, ["succeeded"] * n, ["exit"] * n] + [none] * 6 + [[0] * n] + [none] * 4 + [[False] * n, "h", "t"]
        yield "end-runs", *explain(w, "end-runs", args), ["lease_pkey", "key_job", "job_*pkey", "progress_pkey"]
        assert q.state(parent) == "ready"
        w.sql("select reeve.cancel_job(%s, 'test')", parent)
        soon = w.add(run_at="2099-01-01T00:00:00Z")
        q.root.sql("update reeve.scheduled set run_at = now() - interval '1 second' where job = %s", soon)
        yield "promote-due", *explain(w, "promote-due", [100, -1]), ["scheduled_run_at"]
        yield "beat-instance", *explain(w, "beat-instance", [q.instance, "busy", 1, 1]), []
        # A function shows no plan, but what it touches.
        yield "expire-deadlines", *explain(w, "expire-deadlines", ["1 hour", 100]), []
        w.add()
        nodes, buffers = w_enqueue(w)
        yield "enqueue_batch", nodes, buffers, []


def w_enqueue(w):
    plan = w.value("explain (analyze, buffers, timing off, format json) "
                   """select * from reeve.enqueue_batch('[{"kind": "echo"}, {"kind": "echo", "unique_key": "q"}]')""")[0]["Plan"]
    return list(walk(plan)), plan["Shared Hit Blocks"] + plan["Shared Read Blocks"]


def fill(queue, n):
    for table in ("ready", "scheduled", "done"):
        queue.fill(n, table=table)


@pytest.mark.parametrize("mode", ["force_generic_plan", "auto"])
def test_cost_does_not_grow_with_the_backlog(queue, mode):
    """The session and its plans are from the time when everything was empty, and stay."""
    queue.root.sql("vacuum analyze")  # "empty" is what the statistics say
    hot = Hot(queue, mode)
    fill(queue, 1000)
    small = {}
    for name, nodes, buffers, indexes in hot.run():
        check_nodes(name, nodes, indexes)
        small[name] = buffers
    fill(queue, MANY)
    for name, nodes, buffers, indexes in hot.run():
        check_nodes(name, nodes, indexes)
        # Deeper trees and fuller pages cost some; a walk of the backlog would be thousands.
        assert buffers <= 2 * small[name] + 60, (name, small[name], buffers)
    queue.root.sql("analyze")
    for name, nodes, buffers, indexes in hot.run():
        check_nodes(name, nodes, indexes)
        assert buffers <= 2 * small[name] + 60, (name, small[name], buffers)
    queue.check()


@pytest.mark.parametrize("n", [1, 100])
def test_claims_cost_the_same_under_a_held_snapshot(queue, n):
    """With the cursor: the dead entries that nobody may remove are not walked."""
    holder = queue.session(autocommit=False, role="postgres")
    holder.sql("set transaction isolation level repeatable read")
    holder.value("select count(*) from reeve.job")
    w, lane = queue.session(), queue.root.value("select reeve.lane('default', 'echo', 'default', 5::smallint)")
    queue.fill(20000)
    cursor, costs = FIRST, []
    for i in range(60):
        big = 1 if i % 10 < 2 else 300  # measured at n, passed by hundreds
        args = [[lane], [cursor], [5], n if big == 1 else big, queue.instance, ["echo"], None, None]
        if big == 1:
            costs.append(explain(w, "claim-jobs", args)[1] / n)
        else:
            w.run("claim-jobs", *args)
        runs = w.sql("select run_id, run_key from reeve.lease")
        w.end(*runs)
        cursor = queue.root.value("select min(seq) - 1 from reeve.ready")
    assert len(costs) == 12
    first, last = sum(costs[:4]) / 4, sum(costs[-4:]) / 4
    assert last <= 1.5 * first + 10, costs
    holder.rollback()
