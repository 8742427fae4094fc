"""Limits of kinds as a client of the API meets them: pullers, what a blocked job says of itself, jobs that are the same."""
import pytest

from test_pull import claim, say


@pytest.fixture
def limited(database, start):
    database.add_kind("resize", queue="images", lease_usec=2_000_000, retry_usec=0, retry_max_usec=0, concurrency=1,
                      concurrency_key=["/user"])
    database.add_kind("echo", concurrency=1)
    database.add_kind("mail", unique_usec=3600 * 10**6)
    return start()


def state(api, job):
    return api.get(f"/api/jobs/{job['id']}").json["state"]


def test_pullers_keep_the_limit(limited):
    a, b, c = (limited.create("resize", payload={"user": u}) for u in (1, 1, 2))
    runs = claim(limited, n=10)
    assert sorted(r["job_id"] for r in runs) == sorted([a["id"], c["id"]])
    assert claim(limited, n=10) == []
    assert limited.get(f"/api/jobs/{b['id']}").json["blocked_by"] == {
        "limit": "concurrency", "key": "resize /user=1", "most": 1, "running": 1}
    (run,) = [r for r in runs if r["job_id"] == a["id"]]
    assert say(limited, run, "complete", result=1)["state"] == "succeeded"
    (run,) = claim(limited, wait="20s")
    assert run["job_id"] == b["id"]


def test_two_pullers_wait_for_one_key(limited):
    jobs = [limited.create("resize", payload={"user": 1})["id"] for _ in range(4)]
    got = []
    for _ in jobs:
        runs = claim(limited, wait="20s", n=10)
        assert len(runs) == 1
        got.append(runs[0]["job_id"])
        say(limited, runs[0], "fail", code="NO", message="no", retry=False)
    assert got == jobs


def test_own_key_and_history(limited):
    limited.create("resize", payload={"user": 1})
    other = limited.create("resize", payload={"user": 1}, concurrency_key="2")
    assert state(limited, other) == "ready"
    held = limited.create("resize", payload={"user": 3}, concurrency_key="2")
    assert held["state"] == "blocked"
    history = limited.get(f"/api/jobs/{held['id']}/history").json["history"]
    assert [(h["event"], h.get("reason")) for h in history] == [("enqueue", None), ("block", "resize /user=2")]
    listed = limited.get("/api/jobs?state=blocked").json["jobs"]
    assert [j["id"] for j in listed] == [held["id"]] and listed[0]["blocked_by"]["key"] == "resize /user=2"
    (queue,) = [q for q in limited.get("/api/queues").json["queues"] if q["name"] == "images"]
    assert (queue["ready"], queue["blocked"]) == (2, 1)
    (kind,) = [k for k in limited.get("/api/kinds").json["kinds"] if k["name"] == "resize"]
    assert (kind["concurrency"], kind["concurrency_key"]) == (1, "/user")
    assert limited.post(f"/api/jobs/{held['id']}/cancel").status == 200


def test_the_same_payload(limited):
    first = limited.create("mail", payload={"to": "a", "n": 1})
    again = limited.create("mail", status=200, payload={"n": 1, "to": "a"})
    assert again["id"] == first["id"]
    assert limited.create("mail", payload={"n": 1, "to": "a"}, unique_for=0)["id"] != first["id"]
    assert limited.create("mail", payload={"n": 1, "to": "a"}, tenant="other")["id"] != first["id"]
    one = limited.create("echo", payload=1, unique_for="10min")
    assert limited.create("echo", status=200, payload=1, unique_for="10min")["id"] == one["id"]
    large = "x" * 100000  # kept as a file
    assert limited.create("mail", payload=large)["id"] == limited.create("mail", status=200, payload=large)["id"]
    refused = limited.post("/api/jobs", {"kind": "mail", "unique_for": "soon"})
    assert refused.status == 400 and "unique_for" in str(refused.json)
    bulk = limited.post("/api/jobs", [{"kind": "mail", "payload": 7}, {"kind": "mail", "payload": 7}])
    assert bulk.status == 202 and len({j["id"] for j in bulk.json["jobs"]}) == 1


def test_the_same_file(limited):
    head = {"Content-Type": "text/plain"}
    a = limited.post("/api/jobs?kind=mail&name=a.txt", b"hello", head)
    b = limited.post("/api/jobs?kind=mail&name=a.txt", b"hello", head)
    c = limited.post("/api/jobs?kind=mail&name=a.txt&unique_for=0", b"hello", head)
    d = limited.post("/api/jobs?kind=mail&name=a.txt", b"hallo", head)
    assert [r.status for r in (a, b, c, d)] == [202, 200, 202, 202]
    assert b.json["id"] == a.json["id"] and len({r.json["id"] for r in (a, c, d)}) == 3
