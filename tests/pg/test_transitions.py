"""The transition table of src/core/job.c against the statements: each line of it is run, and whatever is not a line of it
changes nothing at all."""
import json
import os
import pathlib
import re
import subprocess

import psycopg2
import pytest

from queue_db import ROOT, new_id, queue  # noqa: F401

BUILD = pathlib.Path(os.environ.get("REEVE_BUILD", ROOT / "build")).resolve()
TABLE = json.loads(subprocess.run([BUILD / "tests/pg/job-steps"], capture_output=True, check=True, text=True).stdout)
STEPS = {(a, b): c for a, b, c in TABLE["steps"]}
NEVER = ("00000000-0000-4000-8000-000000000000", 0, new_id())


def test_the_man_page_has_this_table():
    page = (ROOT / "man/reeve-states.7.scd").read_text()
    rows = [[line[2:].strip() for line in row.splitlines()] for row in re.findall(r"^[|] .*\n(?:: .*\n){3}", page, re.M)]
    assert [(a, b, c) for a, b, c, _ in rows] == [tuple(s) for s in TABLE["steps"]]
    assert all(who for *_, who in rows)
    named = re.findall(r"\*([a-z]+)\*", " ".join(re.findall(r"^\*[a-z*, ]+\*$", page, re.M)))
    assert named == [s for s in TABLE["states"] if s != "none"]


class Life:
    """Brings a job into a state by the real statements, and remembers its last run for events that need one."""

    def __init__(self, q):
        self.q, self.w = q, q.worker
        self.job, self.run, self.child = new_id(), (0, new_id()), None

    def to(self, state):
        getattr(self, "to_" + state)()
        assert self.q.state(self.job) == (None if state == "none" else state)
        return self

    def to_none(self):
        pass

    def to_ready(self):
        self.w.enqueue({"id": self.job})

    def to_scheduled(self):
        self.to_running()
        assert self.w.end(self.run, state="scheduled") == {self.run[0]}

    def to_blocked(self):
        self.to_ready()
        self.q.block(self.job)

    def to_running(self):
        self.to_ready()
        (row,) = self.w.claim()
        assert row["id"] == self.job
        self.run = (row["run_id"], row["run_key"])

    def to_waiting(self):
        self.to_running()
        assert self.w.spawn(self.run, [{"kind": "slow"}]) == 1
        self.child = self.q.root.value("select id from reeve.job where parent = %s", self.job)

    def to_succeeded(self):
        self.to_running()
        self.w.end(self.run)

    def to_failed(self):
        self.to_running()
        self.w.end(self.run, state="failed")

    def to_cancelled(self):
        self.to_ready()
        assert self.w.cancel(self.job) == "cancelled"

    # ---- events

    def happens(self, event):
        getattr(self, "on_" + event)()

    def _enqueue(self, **job):
        try:
            self.w.enqueue({"id": self.job} | job)
        except psycopg2.errors.UniqueViolation:
            pass

    def on_enqueue(self):
        self._enqueue()

    def on_schedule(self):
        self._enqueue(run_at="2099-01-01T00:00:00Z")

    def on_block(self):
        # Another one of its kind runs, and only one may. Enqueue sees it, or the claim.
        self.q.limit("echo", 1)
        self.q.root.sql("insert into reeve.lease (job, instance, lane, attempt, interruptions, flags, token) "
                        "values (gen_random_uuid(), 0, 0, 0, 0, 0, 'limit:echo:=')")
        try:
            if self.q.state(self.job) is None:
                self._enqueue()
            else:
                row = self.q.root.sql("select reeve.lane(queue, kind, tenant, priority) as lane from reeve.job where id = %s", self.job)
                self.w.claim_limited(lanes=[(row[0]["lane"], -1, 5)])
        finally:
            self.q.root.sql("delete from reeve.lease where token = 'limit:echo:=' and lane = 0")
            self.q.limit("echo", None)

    def on_due(self):
        self.w.promote()

    def on_unblock(self):
        # A sibling ended. By hand, as block() is.
        parent = new_id()
        self.q.root.sql("update reeve.blocked set token = 'children:' || %s where job = %s", parent, self.job)
        self.q.root.sql("select reeve.children_ended(array[%s]::uuid[])", parent)

    def on_claim(self):
        row = self.q.root.sql("select reeve.lane(queue, kind, tenant, priority) as lane from reeve.job where id = %s", self.job)
        lane = row[0]["lane"] if row else 0
        self.w.claim(lanes=[(lane, -1, 5)])

    def on_succeed(self):
        self.w.end(self.run)

    def on_spawn(self):
        self.w.spawn(self.run, [{"kind": "slow"}])

    def on_retry(self):
        self.w.end(self.run, state="scheduled")

    def on_fail(self):
        self.w.end(self.run, state="failed", error_code="E")

    def on_interrupt(self):
        self.w.end(self.run, state="ready", cause="oom-kill", interrupted=True)

    def on_cancel(self):
        told = self.w.cancel(self.job)
        if self.q.state(self.job) == "running":
            assert told == "cancelling"
            assert [r["run_id"] for r in self.w.run("list-cancels", self.q.instance)] == [self.run[0]]
            self.w.end(self.run, state="ready", cause="cancelled")
        elif told != "cancelled":
            assert told in ("finished", "not-found")

    def on_join(self):
        if self.child:
            (row,) = self.w.claim(lanes=None)
            assert row["id"] == self.child
            self.w.end(row)
        else:  # nobody's child has ended, yet somebody says so
            self.q.root.sql("select reeve.children_ended(array[%s]::uuid[])", self.job)

    def on_deadline(self):
        # A deadline in the past cannot be asked for; let it have passed.
        self.q.root.sql("update reeve.job set deadline = clock_timestamp() - interval '1 second' where id = %s", self.job)
        self.before = self.q.dump()
        self.w.run("expire-deadlines", "1 hour", 100)


def test_the_table_has_no_line_without_a_statement(queue):  # noqa: F811
    assert {e for e in TABLE["events"] if not hasattr(Life, "on_" + e)} == set()
    assert {s for s in TABLE["states"] if not hasattr(Life, "to_" + s)} == set()


@pytest.mark.parametrize("line", sorted(STEPS), ids="-".join)
def test_step(queue, line):  # noqa: F811
    state, event = line
    life = Life(queue).to(state)
    life.happens(event)
    assert queue.state(life.job) == STEPS[line]
    queue.check()
    # What is more than an ordinary life is in the history, with both states.
    told = queue.root.sql("select from_state, to_state from reeve.history where job = %s order by id desc limit 1", life.job)
    if event in ("spawn", "retry", "fail", "interrupt", "cancel", "deadline"):
        assert told == [{"from_state": state, "to_state": STEPS[line]}]


@pytest.mark.parametrize("state", TABLE["states"])
def test_nothing_else_changes_anything(queue, state):  # noqa: F811
    for event in TABLE["events"]:
        if (state, event) in STEPS or not hasattr(Life, "on_" + event):
            continue
        life = Life(queue).to(state)
        life.before = queue.dump()
        life.happens(event)
        assert queue.dump() == life.before, (state, event)
        queue.check()
        queue.root.sql("truncate reeve.ready, reeve.scheduled, reeve.blocked, reeve.waiting, reeve.lease, reeve.done, reeve.job, "
                       "reeve.history, reeve.cancel_request")
