"""Idempotency-Key on every route that makes jobs: the same request again, another one, one day later, and two at once."""
import contextlib
import json
import os
import pathlib
import socket
import sys
import threading
import uuid

import pytest

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "pg"))
from conftest import wait_for  # noqa: E402
from queue_db import Control  # noqa: E402
from test_files import form  # noqa: E402
from test_jobs import problem  # noqa: E402
from test_keys import make  # noqa: E402
from patience import within


def one(text):
    return "/api/jobs", json.dumps({"kind": "echo", "payload": text}).encode(), {"Content-Type": "application/json"}


def bulk(text):
    return "/api/jobs", json.dumps([{"kind": "echo", "payload": [text, n]} for n in range(3)]).encode(), {"Content-Type": "application/json"}


def lines(text):
    rows = "".join(json.dumps({"kind": "echo", "payload": [text, n]}) + "\n" for n in range(3))
    return "/api/jobs", rows.encode(), {"Content-Type": "application/x-ndjson"}


def upload(text):
    return "/api/jobs", *form(("job", None, b'{"kind":"echo"}'), ("f", "a.txt", text.encode() * 20_000))


def file(text):
    return "/api/jobs?kind=echo&name=a.txt", text.encode() * 20_000, {"Content-Type": "text/plain"}


def pdf_form(text):
    return "/api/pdf", *form(("pdf_file", "a.pdf", b"%PDF-1.4" + text.encode() * 20_000))


def pdf_file(text):
    return "/api/pdf?name=a.pdf", b"%PDF-1.4" + text.encode() * 20_000, {"Content-Type": "application/pdf"}


def pdf_async(text):
    return "/api/v1/process-pdf-async", *form(("pdf_file", "a.pdf", b"%PDF-1.4" + text.encode() * 20_000))


WAYS = [one, bulk, lines, upload, file, pdf_form, pdf_file, pdf_async]
UPLOADS = [upload, file, pdf_form, pdf_file, pdf_async]


@pytest.fixture
def creating(database, start):
    database.add_kind("echo")
    database.add_kind("pdf")
    Control(database).create("async-processing", enabled=True, percent=100000)
    return start()


def send(api, way, key, text="one", headers=None, **kw):
    path, body, head = way(text)
    return api.post(path, body, head | {"Idempotency-Key": key} | (headers or {}), **kw)


def ids(r):
    j = r.json
    return [x["id"] for x in j["jobs"]] if "jobs" in j else [j.get("id") or j["job_id"]]


@pytest.mark.parametrize("way", WAYS)
def test_the_same_request_makes_one_job(creating, way):
    api, n = creating, 3 if way in (bulk, lines) else 1
    first = send(api, way, "k")
    assert first.status == 202 and len(set(ids(first))) == n, first
    again = send(api, way, "k")
    assert again.status == (202 if way is pdf_async else 200) and ids(again) == ids(first), again
    problem(send(api, way, "k", "two"), 422, "idempotency-mismatch")
    other = send(api, way, "l", "two")
    assert other.status == 202 and not set(ids(other)) & set(ids(first))
    assert api.db.value("select count(*) from reeve.job") == 2 * n
    # It is kept for 24 hours, and no longer.
    kept = api.db.sql("select extract(epoch from expires_at - now())::int from reeve.key where scope = 'idempotency'")
    assert len(kept) == 2 * n and all(86400 - 120 < seconds <= 86400 for seconds, in kept)
    api.db.sql("update reeve.key set expires_at = now() - interval '1 s'")
    late = send(api, way, "k", "two")
    assert late.status == 202 and not set(ids(late)) & set(ids(first) + ids(other)), late
    assert ids(send(api, way, "k", "two")) == ids(late)


@pytest.mark.parametrize("way", [one, bulk, upload, pdf_async])
def test_a_key_is_of_a_tenant(creating, way):
    acme, _ = make(creating, "acme")
    other, _ = make(creating, "other", tenant="other")
    made = [send(creating, way, "k", headers=h, tcp=True) for h in (acme, other, acme)]
    assert made[0].status == made[1].status == 202 and not set(ids(made[0])) & set(ids(made[1])), made
    assert ids(made[2]) == ids(made[0])


@pytest.mark.parametrize("way", [one, bulk, upload, pdf_async])
def test_a_key_is_of_a_subject(creating, way):
    """Who may only speak for one subject takes no key away from another, and is not told of it."""
    seven, _ = make(creating, "seven", subject="7")
    eight, _ = make(creating, "eight", subject="8")
    made = [send(creating, way, "k", headers=h, tcp=True) for h in (seven, eight, seven)]
    assert made[0].status == made[1].status == 202 and not set(ids(made[0])) & set(ids(made[1])), made
    assert ids(made[2]) == ids(made[0])
    problem(send(creating, way, "k", "two", headers=eight, tcp=True), 422, "idempotency-mismatch")
    assert send(creating, way, "k").status == 202, "nor from the tenant"


@pytest.mark.parametrize("way", [one, bulk])
def test_two_at_once(creating, database, server, way):
    """While one waits for the database the others are told so; of another tenant it is another request."""
    got, other = [], []
    acme, _ = make(creating, "acme")
    assert creating.get("/api/jobs", acme, tcp=True).status == 200
    pid = database.value("select pid from pg_stat_activity where application_name = 'reeve-api' and query not ilike 'listen%'")
    threads = [threading.Thread(target=lambda: got.append(send(creating, way, "k"))) for _ in range(5)]
    threads.append(threading.Thread(target=lambda: other.append(send(creating, way, "k", headers=acme, tcp=True))))
    with server.stop_backend(pid):
        for t in threads:
            t.start()
        wait_for(lambda: len(got) == 4, what="the four that are not the first")
        assert not other
    for t in threads:
        t.join(within(30))
    for r in got[:4]:
        problem(r, 409, "in-flight")
        assert r.headers["Retry-After"] == "1"
    assert got[4].status == other[0].status == 202
    again = send(creating, way, "k")
    assert again.status == 200 and ids(again) == ids(got[4])


def begin(api, way, key):
    """The first part of a request, on a connection that stays open; and the rest."""
    path, body, head = way("one")
    c = api.connect()
    c.putrequest("POST", path)
    for k, v in (head | {"Idempotency-Key": key, "Content-Length": str(len(body))}).items():
        c.putheader(k, v)
    c.endheaders()
    c.send(body[:30_000])

    def is_kept():
        for f in os.listdir(f"/proc/{api.process.pid}/fd"):
            with contextlib.suppress(FileNotFoundError):
                to = os.readlink(f"/proc/{api.process.pid}/fd/{f}")
                if str(api.blobs) in to and "deleted" in to:
                    return True
        return False
    wait_for(is_kept, what="the begin of a file")
    return c, body[30_000:]


@pytest.mark.parametrize("way", UPLOADS)
def test_an_upload_that_is_on_its_way(creating, way):
    c, rest = begin(creating, way, "k")
    r = send(creating, way, "k")
    problem(r, 409, "in-flight")
    assert r.headers["Retry-After"] == "1"
    assert send(creating, way, "l").status == 202
    c.send(rest)
    first = c.getresponse()
    assert first.status == 202
    made = json.loads(first.read())
    again = send(creating, way, "k")
    assert again.status == (202 if way is pdf_async else 200) and ids(again) == [made.get("id") or made["job_id"]]


@pytest.mark.parametrize("way", [upload, file, pdf_async])
def test_a_client_that_goes_away_holds_nothing(creating, way):
    c, _ = begin(creating, way, "k")
    c.sock.shutdown(socket.SHUT_RDWR)
    c.close()
    assert wait_for(lambda: (r := send(creating, way, "k")).status == 202 and r, what="the key is free")
    assert creating.db.value("select count(*) from reeve.job") == 1


def test_what_was_refused_holds_nothing(creating):
    head = {"Content-Type": "application/json", "Idempotency-Key": "k"}
    for body in (b"{", b'{"kind":"nope"}', b'{"kind":"echo","colour":1}'):
        assert creating.post("/api/jobs", body, head).status == 400
    assert send(creating, one, "k").status == 202


@pytest.mark.parametrize("way", [one, bulk, upload, pdf_async])
def test_what_a_key_may_be(creating, way):
    """512 bytes, also for many jobs."""
    for key in ("x" * 512, str(uuid.uuid4()), "k#1", "a b~"):
        first = send(creating, way, key)
        assert first.status == 202 and ids(send(creating, way, key)) == ids(first), first
    for key in ("x" * 513, "", "\u00e4"):
        problem(send(creating, way, key), 400, "bad-header")
