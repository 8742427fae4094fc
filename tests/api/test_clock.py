"""The database's clock is stepped by an hour, forth and back: keys and rates hold, nobody is locked out."""
import importlib.util
import pathlib

import pytest

from conftest import Api, pg
from test_keys import make

_spec = importlib.util.spec_from_file_location("pg_clock", pathlib.Path(__file__).resolve().parents[1] / "pg/clock.py")
clock = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(clock)
HOUR = clock.HOUR
LONG = 60  # on a slow machine


@pytest.fixture
def stepped():
    s = clock.server(pg)
    yield s
    s.remove()


def test_keys_and_rates(stepped):
    database = stepped.create()
    database.migrate("up")
    database.add_kind("echo")
    api = Api(database, conf="[Limits]\nRouteRate=POST /api/jobs 4/h\n")
    try:
        api.wait_up(LONG)
        by = make(api, "k")[0]

        def ask(key=None):
            return api.post("/api/jobs", {"kind": "echo"}, by | ({"Idempotency-Key": key} if key else {}), tcp=True, timeout=LONG)

        first = ask("a").json["id"]
        for step in HOUR, -HOUR, 0:  # a window is over by each of them, in whichever direction
            stepped.clock.step(step)
            r = ask("a")
            assert r.status in (200, 202) and r.json["id"] == first, r
            assert [ask().status for _ in range(4)] == [202, 202, 202, 429]
            assert api.get("/health", timeout=LONG).status == 200
        stepped.clock.step(25 * HOUR)  # a key is for 24 h
        assert ask("a").json["id"] != first
        assert api.process.poll() is None
    finally:
        api.close()
        database.close()
