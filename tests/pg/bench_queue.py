#!/usr/bin/python3
"""bench_queue.py [N] : what the queue's statements do per second on a throw-away server, from one session of psycopg2 (which is
slower than libpq's pipeline: for comparing, not for boasting). Not run by the tests."""
import json
import sys
import time

from conftest import MIGRATIONS, Server
from queue_db import FIRST, Queue


def rate(what, n, call, until=1.5):
    """Calls until the time is up; n jobs each."""
    t0, times = time.monotonic(), 0
    while time.monotonic() - t0 < until and call() is not False:
        times += 1
    spent = time.monotonic() - t0
    print(f"{what:28} {times * n / spent:9.0f} jobs/s {spent / max(1, times * n) * 1e6:8.1f} us a job")


def bulk(w, n):
    batch = json.dumps([{"kind": "echo", "payload": {"text": "x" * 180, "n": i}} for i in range(n)])
    return lambda: w.sql("select * from reeve.enqueue_batch(%s)", batch) and None


def claim_and_end(queue, n):
    w = queue.session()
    lane = queue.root.value("select reeve.lane('default', 'echo', 'default', 5::smallint)")
    state = {"cursor": FIRST, "claim": 0.0, "end": 0.0, "jobs": 0}

    def step():
        t0 = time.monotonic()
        runs = w.claim(n, instance=queue.instance, lanes=[(lane, state["cursor"], 5)])
        t1 = time.monotonic()
        if not runs:
            return False
        state["cursor"] = runs[-1]["seq"]
        w.end(*runs, result="null")
        state["claim"] += t1 - t0
        state["end"] += time.monotonic() - t1
        state["jobs"] += len(runs)
    rate(f"claim + end, {n} at once", n, step)
    print(f"{'':28} claim {state['claim'] / state['jobs'] * 1e6:6.1f} us, end {state['end'] / state['jobs'] * 1e6:6.1f} us a job")


def main():
    n = int(sys.argv[1]) if len(sys.argv) > 1 else 100000
    server = Server()
    try:
        server.init()
        server.start()
        server.psql(MIGRATIONS / "bootstrap.sql")
        db = server.create()
        db.migrate("up")
        queue = Queue(db)
        w = queue.worker
        rate("enqueue, one a call", 1, lambda: w.sql("select reeve.enqueue('echo', '{\"n\": 1}')") and None)
        rate("enqueue_batch of one", 1, bulk(w, 1))
        for size in (10, 100, 1000):
            rate(f"enqueue_batch of {size}", size, bulk(w, size))
        queue.fill(n)
        for size in (1, 10, 100, 500):
            claim_and_end(queue, size)
        db.close()
    finally:
        server.remove()


main()
