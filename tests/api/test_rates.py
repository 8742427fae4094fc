"""How often a key may use a route: counted in the database, for all processes together."""
import concurrent.futures
import re
import signal
import time

from conftest import wait_for

LIMITS = "[Limits]\nRouteRate=POST /api/jobs {}\n"


def key(api, **fields):
    r = api.post("/api/keys", {"name": "k", "role": "submit", "tenant": "default"} | fields)
    assert r.status == 201, r
    return {"Authorization": "Bearer " + r.json["secret"]}, r.json["id"]


def create(api, head, path="/api/jobs"):
    return api.post(path, {"kind": "echo"}, head, tcp=True)


def left(r):
    """(quota, window, remaining, seconds)"""
    policy = re.fullmatch(r'"route";q=(\d+);w=(\d+)', r.headers["RateLimit-Policy"])
    now = re.fullmatch(r'"route";r=(\d+);t=(\d+)', r.headers["RateLimit"])
    return tuple(map(int, policy.groups() + now.groups()))


def test_a_key_has_its_limit(database, start):
    database.add_kind("echo")
    api = start(conf=LIMITS.format("3/h"))
    head, id = key(api)
    other, _ = key(api, name="other")
    for n in (2, 1, 0):
        r = create(api, head)
        assert r.status == 202, r
        quota, window, remaining, seconds = left(r)
        assert (quota, window, remaining) == (3, 3600, n) and 3590 <= seconds <= 3600
    for _ in range(3):
        r = create(api, head)
        assert r.status == 429 and r.headers["Content-Type"] == "application/problem+json", r
        assert left(r)[2] == 0 and 3500 < int(r.headers["Retry-After"]) <= 3600
    # What is refused by its body counts as well; what is not allowed at all does not.
    assert api.post("/api/jobs", {"colour": 1}, other, tcp=True).status == 400
    assert [create(api, other).status for _ in range(3)] == [202, 202, 429]
    reader, reader_id = key(api, name="reader", role="read")
    assert create(api, reader).status == 403 and "RateLimit" not in create(api, reader).headers
    assert not database.value("select count(*) from reeve.rate where key = %s", reader_id)
    # Another route, and the unix socket: no limit.
    assert "RateLimit" not in api.get("/api/jobs", head, tcp=True).headers
    assert [api.post("/api/jobs", {"kind": "echo"}).status for _ in range(5)] == [202] * 5
    assert database.value("select count(*) from reeve.job where created_by = 'key:k'") == 3
    # A key of the same name is another key.
    assert api.call("DELETE", f"/api/keys/{id}").status == 204
    assert create(api, key(api)[0]).status == 202


def test_all_processes_share_it(database, start):
    database.add_kind("echo")
    a, b = start(conf=LIMITS.format("4/h")), start(conf=LIMITS.format("4/h"))
    head, _ = key(a)
    assert [create(x, head).status for x in (a, b, a, b, a, b)] == [202] * 4 + [429] * 2
    a.stop()
    a.start()
    a.wait_up()
    assert create(a, head).status == 429


def test_two_at_once_are_counted_twice(database, start):
    database.add_kind("echo")
    api = start(conf=LIMITS.format("10/h"))
    head, _ = key(api)
    create(api, head)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        got = list(pool.map(lambda _: create(api, head).status, range(40)))
    assert sorted(got) == [202] * 9 + [429] * 31


def test_a_window_ends(database, start):
    database.add_kind("echo")
    api = start(conf=LIMITS.format("2/min"))
    head, id = key(api)
    assert [create(api, head).status for _ in range(3)] == [202, 202, 429]
    database.sql("update reeve.rate set since = since - interval '61 s'")
    r = create(api, head)
    assert r.status == 202 and left(r)[2] == 1
    # A clock that was set back holds nobody up for longer than a window.
    database.sql("update reeve.rate set since = since + interval '9 h', n = 3")
    assert create(api, head).status == 202
    # One that is over by itself.
    api.stop()
    api.configure(database.conninfo, LIMITS.format("1/s"))
    api.start()
    api.wait_up()
    assert wait_for(lambda: create(api, head).status == 202, what="a new window")
    wait_for(lambda: create(api, head).status == 429, what="a second request within a second")
    time.sleep(1.05)
    assert create(api, head).status == 202


def test_what_is_limited_without_a_word(database, start):
    """System 004's limits; off, or others, if that is said."""
    database.add_kind("pdf")
    api = start()
    head, _ = key(api)
    path, cancel = "/api/v1/process-pdf-async", "/api/v1/jobs/0193f000-0000-7000-8000-000000000000/cancel"
    form = head | {"Content-Type": "multipart/form-data; boundary=x"}
    got = [api.post(path, b"--x--\r\n", form, tcp=True) for _ in range(11)]
    assert [r.status for r in got] == [503] * 10 + [429], "no flag"
    assert left(got[0])[:3] == (10, 3600, 9) and got[0].headers["Retry-After"] == "60"
    r = api.post(cancel, None, head, tcp=True)
    assert r.status == 404 and left(r)[:3] == (100, 3600, 99)
    for route in ("/api/jobs", "/api/v1/jobs/0193f000-0000-7000-8000-000000000000"):
        assert "RateLimit" not in api.get(route, head, tcp=True).headers
    api.stop()
    api.configure(database.conninfo, f"[Limits]\nRate=off\nRouteRate=POST {path} 2/d\nRouteRate=POST /api/nothing 1/s\n"
                  "RouteRate=GET /api/v1/jobs/{id} 5/s\n")
    api.start()
    api.wait_up()
    assert "POST /api/nothing" in api.text()
    assert "RateLimit" not in api.post(cancel, None, head, tcp=True).headers
    r = api.post(path, b"--x--\r\n", form, tcp=True)
    assert r.status == 429 and left(r)[:2] == (2, 86400), r
    assert left(api.get("/api/v1/jobs/0193f000-0000-7000-8000-000000000000", head, tcp=True))[:2] == (5, 1)


def test_the_database_is_away(database, start):
    database.add_kind("echo")
    api = start(conf=LIMITS.format("3/h"))
    head, _ = key(api)
    assert create(api, head).status == 202
    database.server.stop(signal.SIGQUIT)
    try:
        wait_for(lambda: create(api, head).status == 503, what="503")
    finally:
        database.server.start()
    # The counts went with the crash, for they are in an unlogged table; nothing else did.
    r = wait_for(lambda: (a := create(api, head)).status == 202 and a, 30, "the database is back")
    assert left(r)[2] in (1, 2) and database.value("select count(*) from reeve.job") >= 2
