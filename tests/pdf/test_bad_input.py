"""What strangers send: a clear answer, nothing lost, nothing left behind."""
import os
import socket
import subprocess

import pytest

from conftest import BUILD, Lock, endless_page, greedy_page, page_texts, text_page, wait_for, write_pdf
from patience import within

QUICK = {"tool_sec": "2s", "page_sec": "1s"}


def form(*parts):
    """(name, file name or None, data)"""
    out = b""
    for name, filename, data in parts:
        filename = "" if filename is None else f'; filename="{filename}"'
        out += f'--M\r\nContent-Disposition: form-data; name="{name}"{filename}\r\n\r\n'.encode() + data + b"\r\n"
    return out + b"--M--\r\n", {"Content-Type": "multipart/form-data; boundary=M"}


def nothing_is_left(system):
    assert system.db.value("select count(*) from reeve.job") == 0
    assert [f for _, _, files in os.walk(system.api.blobs) for f in files] == []


@pytest.mark.parametrize("data", [b"plain text", b"x" * 5000, b"PK\x03\x04" + bytes(3000), b" " * 1024 + b"%PDF-1.7"],
                         ids=["short", "long", "zip", "late"])
def test_not_a_pdf(system, data):
    system.start()
    for as_form in (True, False):
        r = system.upload(data, status=415, form=as_form)
        assert r is None
    r = system.api.call("POST", "/api/pdf", data, {"Content-Type": "text/plain"})
    assert r.status == 415
    nothing_is_left(system)


def test_magic_may_stand_a_little_later(system, tmp_path):
    path = write_pdf(tmp_path / "a.pdf", [text_page("late")])
    data = b"junk\n" + path.read_bytes()
    system.start()
    assert system.upload(data)


def test_a_form_that_is_wrong(system):
    system.start()
    pdf = b"%PDF-1.7"
    for parts, why in (([("pdf", "a.pdf", pdf)], "pdf_file"), ([("pdf_file", None, pdf)], "pdf_file"),
                       ([("pdf_file", "", b"")], "no file"), ([("pdf_file", "a.pdf", pdf), ("pdf_file", "b.pdf", pdf)], "One document"),
                       ([], ""), ([("pdf_file", "payload.json", pdf)], "name"), ([("pdf_file", "a.pdf", pdf), ("x", None, b"")], "pdf_file")):
        r = system.api.call("POST", "/api/pdf", *form(*parts))
        assert r.status == 400 and why in r.json["detail"], (parts, r)
    for query in ("kind=echo", "tenant=..", "priority=11", "nonsense=1"):
        r = system.api.call("POST", f"/api/pdf?{query}", pdf, {"Content-Type": "application/pdf"})
        assert r.status == 400, (query, r)
    nothing_is_left(system)


def test_empty(system):
    system.start()
    assert "empty" in system.api.call("POST", "/api/pdf", *form(("pdf_file", "a.pdf", b""))).json["detail"]
    r = system.api.call("POST", "/api/pdf", b"", {"Content-Type": "application/pdf"})
    assert r.status in (400, 411)
    nothing_is_left(system)


def test_too_large_is_refused_before_it_is_read(system):
    system.start()
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(within(10))
        s.connect(system.api.path)
        s.sendall(b"POST /api/pdf HTTP/1.1\r\nHost: x\r\nContent-Type: application/pdf\r\nContent-Length: 60000000\r\n\r\n")
        assert s.recv(4096).startswith(b"HTTP/1.1 413 ")
    nothing_is_left(system)


def test_too_large_without_a_length(system):
    system.start()
    with socket.socket(socket.AF_UNIX) as s:
        s.settimeout(within(30))
        s.connect(system.api.path)
        s.sendall(b"POST /api/pdf HTTP/1.1\r\nHost: x\r\nContent-Type: application/pdf\r\nTransfer-Encoding: chunked\r\n\r\n")
        block = b"%PDF-1.7" + bytes((1 << 20) - 8)
        answer = b""
        try:
            for _ in range(60):
                s.sendall(b"100000\r\n" + block + b"\r\n")
        except (BrokenPipeError, ConnectionResetError):
            pass
        try:
            answer = s.recv(4096)
        except ConnectionResetError:
            pass
        assert answer.startswith(b"HTTP/1.1 413 ") or answer == b""
    wait_for(lambda: not [f for _, _, files in os.walk(system.api.blobs) for f in files], what="the file is gone")
    nothing_is_left(system)


def test_a_client_that_hangs_up(system):
    system.start()
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(system.api.path)
        s.sendall(b"POST /api/pdf HTTP/1.1\r\nHost: x\r\nContent-Type: application/pdf\r\nContent-Length: 100000\r\n\r\n%PDF-1.7" + bytes(50000))
    assert system.api.get("/health").status == 200
    nothing_is_left(system)


def fails(system, path, code, text="", **kw):
    job = system.run(path, state="failed", **kw)
    assert job["error"]["code"] == code and text in job["error"]["message"], job["error"]
    assert system.files(job["id"]) == {}
    return job


def test_damaged(system, book, tmp_path):
    system.start()
    junk = tmp_path / "junk.pdf"
    junk.write_bytes(b"%PDF-1.7\n" + os.urandom(50000))
    cut = tmp_path / "cut.pdf"
    cut.write_bytes(book(100).read_bytes()[:200000])
    for path in (junk, cut):
        job = fails(system, path, "DAMAGED", path.name)
        assert job["attempt"] == 1  # trying again would not help


def test_damaged_in_the_middle(system, book, tmp_path):
    """What can be read is: the same as the tool reads."""
    system.start()
    data = bytearray(book(30).read_bytes())
    at = 0
    for _ in range(20):  # some contents of pages
        at = data.index(b"stream\n", at + 2000)
        data[at + 100:at + 200] = bytes(100)
    path = tmp_path / "hole.pdf"
    path.write_bytes(data)
    job = system.run(path)
    files = system.files(job["id"])
    texts = [subprocess.run(["pdftotext", "-nopgbrk", "-f", str(i), "-l", str(i), path, "-"], capture_output=True).stdout
             for i in range(1, 31)]
    assert texts != page_texts(book(30), 30)
    assert files == {f"page-{i:04}.txt": t for i, t in enumerate(texts, 1)}


def test_encrypted(system, tmp_path):
    system.start()
    path = write_pdf(tmp_path / "locked.pdf", [text_page("secret")], lock=Lock(b"user"))
    assert fails(system, path, "ENCRYPTED", "password")["attempt"] == 1


def test_encrypted_without_a_users_password_is_readable(system, tmp_path):
    system.start()
    job = system.run(write_pdf(tmp_path / "open.pdf", [text_page("not secret")], lock=Lock(b"")))
    assert system.files(job["id"]) == {"page-0001.txt": b"not secret\n\n"}


def test_no_pages(system, tmp_path):
    system.start()
    fails(system, write_pdf(tmp_path / "none.pdf", []), "NO_PAGES")


def test_fewer_pages_than_it_says(system, tmp_path):
    """A page that is not there is told, and is no empty page."""
    system.start()
    path = write_pdf(tmp_path / "lie.pdf", [text_page(f"page {i}") for i in range(1, 4)])
    path.write_bytes(path.read_bytes().replace(b"/Count 3", b"/Count 5"))
    job = system.run(path)
    assert job["result"]["missing"] == [{"page": 4, "code": "DAMAGED"}, {"page": 5, "code": "DAMAGED"}]
    assert system.files(job["id"]) == {f"page-{i:04}.txt": f"page {i}\n\n".encode() for i in range(1, 4)}
    assert (job["result"]["pages"], job["result"]["pages_read"]) == (5, 3)


def test_5000_pages(system, tmp_path):
    system.start()
    path = write_pdf(tmp_path / "many.pdf", [text_page(str(i)) for i in range(5000)])
    job = fails(system, path, "TOO_MANY_PAGES", "5000 pages; at most 1000")
    assert system.chunks(job["id"]) == [] and job["attempt"] == 1


@pytest.mark.skipif("clang" in BUILD.name, reason="72 chunks take minutes in the sanitized build")
def test_1000_pages(system, tmp_path):
    system.start()
    path = write_pdf(tmp_path / "most.pdf", [text_page(f"page {i}") for i in range(1, 1001)])
    job = system.run(path, timeout=120)
    assert job["result"]["chunks"]["total"] == 72 and job["result"]["missing"] == []
    files = system.files(job["id"])
    assert files == {f"page-{i:04}.txt": f"page {i}\n\n".encode() for i in range(1, 1001)}


def test_pages_that_are_equal_are_all_there(system, tmp_path):
    system.start()
    job = system.run(write_pdf(tmp_path / "same.pdf", [text_page("the same")] * 45))
    assert system.files(job["id"]) == {f"page-{i:04}.txt": b"the same\n\n" for i in range(1, 46)}
    assert job["result"]["duplicates"] == 2 and job["result"]["words"] == 90


def test_pages_without_text(system, tmp_path):
    system.start()
    job = system.run(write_pdf(tmp_path / "blank.pdf", [b""] * 3))
    assert job["result"]["pages_read"] == 3 and job["result"]["words"] == 0 and job["result"]["lines"] == []


def endless(path, n, bad):
    return write_pdf(path, [b"/X Do" if i in bad else text_page(f"page {i}") for i in range(1, n + 1)], **endless_page())


def test_a_page_that_hangs_the_tool_costs_no_other(system, tmp_path):
    system.install("pdf-chunk", **QUICK)
    system.start()
    job = system.run(endless(tmp_path / "a.pdf", 12, {5}))
    assert job["result"]["missing"] == [{"page": 5, "code": "TIMEOUT"}]
    assert sorted(system.files(job["id"])) == [f"page-{i:04}.txt" for i in range(1, 13) if i != 5]
    assert job["result"]["chunks"]["failed"] == 0


def test_a_part_that_fails_is_told(system, tmp_path):
    """2 of 3 chunks succeed: no second round, and what could be read is there."""
    system.install("pdf-chunk", **QUICK)
    system.start()
    job = system.run(endless(tmp_path / "a.pdf", 40, set(range(20, 40))), timeout=90)
    told = job["result"]["chunks"]
    assert (told["total"], told["succeeded"], told["failed"], told["rounds"]) == (3, 2, 1, 1)
    assert [(e["chunk"], e["first"], e["last"], e["code"]) for e in told["errors"]] == [(1, 20, 39, "TIMEOUT")]
    assert [m["page"] for m in job["result"]["missing"]] == list(range(20, 40))
    assert sorted(system.files(job["id"])) == [f"page-{i:04}.txt" for i in [*range(1, 20), 40]]


def test_a_second_round_for_what_failed(system, tmp_path):
    """1 of 3 chunks succeeds: the other two are tried once more, and no other."""
    system.install("pdf-chunk", **QUICK)
    system.start()
    job = system.run(endless(tmp_path / "a.pdf", 40, set(range(1, 40))), timeout=90)
    told = job["result"]["chunks"]
    assert (told["total"], told["succeeded"], told["failed"], told["rounds"]) == (3, 1, 2, 2)
    assert [(s, c, p["chunk"]) for s, c, p in system.chunks(job["id"])] == [
        ("failed", "TIMEOUT", 0), ("failed", "TIMEOUT", 1), ("succeeded", None, 2), ("failed", "TIMEOUT", 0), ("failed", "TIMEOUT", 1)]
    assert sorted(system.files(job["id"])) == ["page-0040.txt"]
    bar = [p for _, p in job["seen"]]
    assert bar == sorted(bar)


def test_nothing_but_pages_that_hang(system, tmp_path):
    system.install("pdf-chunk", **QUICK)
    system.start()
    job = fails(system, endless(tmp_path / "a.pdf", 2, {1, 2}), "TIMEOUT", "pages 1 to 2", timeout=90)
    assert len(system.chunks(job["id"])) == 2


def test_a_page_that_eats_memory(system, tmp_path):
    system.install("pdf-chunk", memory_max="100M", page_sec="30s")
    system.start()
    path = write_pdf(tmp_path / "greedy.pdf", [text_page("before"), greedy_page(), text_page("after")])
    assert path.stat().st_size < 200_000
    job = system.run(path, timeout=90)
    assert job["result"]["missing"] == [{"page": 2, "code": "MEMORY_LIMIT"}]
    assert system.files(job["id"]) == {"page-0001.txt": b"before\n\n", "page-0003.txt": b"after\n\n"}


def test_tools_that_are_not_there(system, tmp_path):
    """A fault of the host is tried again, not held against the document."""
    system.install("pdf", bin="/nonexistent")
    system.start()
    id = system.upload(write_pdf(tmp_path / "a.pdf", [text_page("x")]))
    wait_for(lambda: system.job(id)["attempt"] >= 1 and system.job(id)["state"] == "scheduled", what="another attempt")
    system.install("pdf")
    assert wait_for(lambda: system.job(id)["state"] == "succeeded", 30, "success")


def test_a_job_with_two_files(system, tmp_path):
    system.start()
    pdf = write_pdf(tmp_path / "a.pdf", [text_page("x")]).read_bytes()
    for job, code in ((b'{"kind":"pdf"}', "NO_INPUT"), (b'{"kind":"pdf","payload":{"file":"c.pdf"}}', "NO_INPUT"),
                      (b'{"kind":"pdf","payload":7}', "BAD_PAYLOAD"), (b'{"kind":"pdf","payload":{"file":"../a.pdf"}}', "NO_INPUT"),
                      (b'{"kind":"pdf","payload":{"file":"b.pdf"}}', None), (b'{"kind":"pdf-chunk","payload":{"file":"b.pdf"}}', "BAD_PAYLOAD"),
                      (b'{"kind":"pdf-chunk","payload":{"file":"b.pdf","first":3,"last":2}}', "BAD_PAYLOAD")):
        r = system.api.call("POST", "/api/jobs", *form(("job", None, job), ("a", "a.pdf", b"no"), ("b", "b.pdf", pdf)))
        assert r.status == 202, r
        ended = wait_for(lambda: (j := system.job(r.json["id"]))["state"] in ("succeeded", "failed") and j, 30, "the end")
        assert ended.get("error", {}).get("code") == code, (job, ended)
    job = system.api.call("POST", "/api/jobs", *form(("job", None, b'{"kind":"pdf"}'), ("a", "a.pdf", b"no pdf")))
    ended = wait_for(lambda: (j := system.job(job.json["id"]))["state"] == "failed" and j, 30, "the end")
    assert ended["error"]["code"] == "NOT_A_PDF"


def test_names_of_files_are_only_names(system, tmp_path):
    """Options, blanks and quotes in a name reach the tools as the name of a file."""
    system.start()
    pdf = write_pdf(tmp_path / "a.pdf", [text_page("x")]).read_bytes()
    for name in ("-opw", "a b $(id).pdf", "ü'\".pdf".replace('"', "%22"), "%2e%2e"):
        r = system.api.call("POST", "/api/pdf", *form(("pdf_file", name, pdf)))
        assert r.status == 202, (name, r)
        assert wait_for(lambda: system.job(r.json["id"])["state"] in ("succeeded", "failed"), 30, "the end")
        assert system.job(r.json["id"])["state"] == "succeeded", system.job(r.json["id"])


def test_the_same_key_is_the_same_job(system, tmp_path):
    system.start()
    path = write_pdf(tmp_path / "a.pdf", [text_page("x")])
    id = system.upload(path, **{"Idempotency-Key": "k"})
    r = system.upload(path, status=200, **{"Idempotency-Key": "k"})
    assert r == id and system.db.value("select count(*) from reeve.job where parent is null") == 1


def test_cancel_takes_the_chunks(system, tmp_path):
    system.install("pdf-chunk", tool_sec="60s")
    system.start()
    id = system.upload(endless(tmp_path / "a.pdf", 60, set(range(1, 61))))
    wait_for(lambda: system.db.value("select count(*) from reeve.lease l join reeve.job j on j.id = l.job where j.parent = %s", id) == 3,
             30, "three chunks")
    assert system.job(id)["state"] == "waiting" and system.job(id)["children"] == 4
    assert system.api.post(f"/api/jobs/{id}/cancel").status == 200
    wait_for(lambda: [s for s, *_ in system.chunks(id)] == ["cancelled"] * 4, 20, "all chunks are cancelled")
    system.world.check_invariant()
    wait_for(lambda: subprocess.run(["pgrep", "-f", "pdftotext.*" + str(system.world.dir.name)], capture_output=True).returncode == 1,
             10, "no tool is left")
