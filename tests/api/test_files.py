"""Uploads into blobs, and files out of them."""
import hashlib
import json
import os
import re
import socket
import subprocess
import time

import pytest

from conftest import BUILD, SANITIZED, Api, wait_for

MAN = BUILD.parent / "man/reeve-http.7.scd"


def form(*parts):
    """(name, filename, content) -> body, content type"""
    out = b""
    for name, filename, content in parts:
        f = f'; filename="{filename}"' if filename is not None else ""
        out += f'--xx\r\nContent-Disposition: form-data; name="{name}"{f}\r\n\r\n'.encode() + content + b"\r\n"
    return out + b"--xx--\r\n", {"Content-Type": "multipart/form-data; boundary=xx"}


def blob_files(api):
    return sorted(p for p in api.blobs.rglob("*") if p.is_file() and len(p.name) > 40)


def test_form(api):
    data = os.urandom(300_000)
    body, h = form(("job", None, json.dumps({"kind": "pdf", "tenant": "acme", "payload": {"a": 1}}).encode()),
                   ("f", "dir/dök; x.pdf", data), ("g", "b.txt", b"text"), ("h", "", b""))
    r = api.post("/api/jobs", body, h)
    assert r.status == 202, r
    job = r.json["id"]
    files = api.get(f"/api/jobs/{job}/files").json["files"]
    assert {(f["name"], f["size"], f["direction"]) for f in files} >= {("b.txt", 4, "input")} and len(files) == 2
    name = [f["name"] for f in files if f["size"] == 300_000][0]
    digest = "sha256:" + hashlib.sha256(data).hexdigest()
    assert [f["digest"] for f in files if f["name"] == name] == [digest]
    assert (api.blobs / "acme" / digest[7:9] / digest[9:]).read_bytes() == data
    inputs = api.db.value("select inputs from reeve.job where id = %s", job)
    assert {i["name"] for i in inputs} == {name, "b.txt"}
    from urllib.parse import quote
    path = f"/api/jobs/{job}/files/{quote(name)}"
    g = api.get(path)
    assert g.status == 200 and g.body == data and g.headers["X-Content-Type-Options"] == "nosniff"
    assert g.headers["Content-Disposition"].startswith("attachment; filename*=UTF-8''")
    part = api.get(path, {"Range": "bytes=100-199"})
    assert part.status == 206 and part.body == data[100:200] and part.headers["Content-Range"] == "bytes 100-199/300000"
    assert api.get(path, {"If-None-Match": g.headers["ETag"]}).status == 304
    assert api.get(path, {"Range": "bytes=400000-"}).status == 416
    assert api.get(path, {"Range": "bytes=0-9", "If-Range": '"other"'}).status == 200
    assert api.get(f"/api/jobs/{job}/files/none").status == 404
    blob_files(api)[0].unlink()
    assert 410 in [api.get(f"/api/jobs/{job}/files/{quote(f['name'])}").status for f in files]


def test_raw_file(api):
    r = api.post("/api/jobs?kind=pdf&name=doc.pdf&priority=9&tenant=acme", b"%PDF-1.4 x", {"Content-Type": "application/pdf"})
    assert r.status == 202, r
    assert api.get(f"/api/jobs/{r.json['id']}/files").json["files"][0]["content_type"] == "application/pdf"
    assert api.get(f"/api/jobs/{r.json['id']}").json["priority"] == 9
    assert api.post("/api/jobs?kind=pdf&colour=1", b"x", {"Content-Type": "application/pdf"}).status == 400


def test_same_upload_with_a_key(api):
    h = {"Idempotency-Key": "u"}
    body, t = form(("job", None, b'{"kind":"pdf"}'), ("f", "a", b"one"))
    first = api.post("/api/jobs", body, t | h)
    assert first.status == 202 and api.post("/api/jobs", body, t | h).json["id"] == first.json["id"]
    body, t = form(("job", None, b'{"kind":"pdf"}'), ("f", "a", b"two"))
    assert api.post("/api/jobs", body, t | h).status == 422


@pytest.mark.parametrize("parts", [
    [("f", "a", b"x")], [("job", None, b'{"kind":"pdf"}'), ("f", "..", b"x")], [("job", None, b"{"), ("f", "a", b"x")],
    [("job", None, b'{"kind":"pdf"}'), ("f", "a", b"x"), ("g", "a", b"y")], [("job", None, b'{"kind":"pdf"}'), ("other", None, b"x")],
    [("f", "a", b"x"), ("job", None, b'{"kind":"pdf","tenant":"acme"}')], [("job", None, b'[{"kind":"pdf"}]'), ("f", "a", b"x")]])
def test_bad_forms(api, parts):
    body, h = form(*parts)
    r = api.post("/api/jobs", body, h)
    assert r.status == 400, r
    assert api.db.value("select count(*) from reeve.job") == 0


def test_too_large_is_refused_early(start, database):
    database.add_kind("pdf")
    api = start(conf="[Limits]\nUploadMax=1M\n")
    c = api.connect()
    c.putrequest("POST", "/api/jobs?kind=pdf")
    c.putheader("Content-Type", "application/pdf")
    c.putheader("Content-Length", "100000000000")
    c.endheaders()
    assert c.getresponse().status == 413
    body, h = form(("job", None, b'{"kind":"pdf"}'), ("f", "a", b"x" * 1_100_000))
    assert api.post("/api/jobs", body, h).status == 413
    assert blob_files(api) == []


def test_client_gone_in_mid_upload_leaves_nothing(api):
    body, h = form(("job", None, b'{"kind":"pdf"}'), ("f", "a", b"x" * 500_000), ("g", "b", b"y" * 500_000))
    with socket.socket(socket.AF_UNIX) as s:
        s.connect(api.path)
        s.sendall(f"POST /api/jobs HTTP/1.1\r\nHost: h\r\nContent-Type: {h['Content-Type']}\r\nContent-Length: {len(body)}\r\n\r\n".encode())
        s.sendall(body[:700_000])
        time.sleep(0.2)
    time.sleep(0.5)
    assert blob_files(api) == [] and api.db.value("select count(*) from reeve.blob") == 0
    assert not [f for f in os.listdir(f"/proc/{api.process.pid}/fd") if str(api.blobs) in os.readlink(f"/proc/{api.process.pid}/fd/{f}") and "deleted" in os.readlink(f"/proc/{api.process.pid}/fd/{f}")]
    assert api.create()["state"] == "ready"


@pytest.mark.skipif(os.geteuid() != 0, reason="needs a small file system")
def test_disk_full(start, database):
    database.add_kind("pdf")
    api = start()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m", "tmpfs", api.blobs], check=True)
    try:
        api.stop()
        api.start()
        api.wait_up()
        r = api.post("/api/jobs?kind=pdf", b"x" * 4_000_000, {"Content-Type": "application/pdf"})
        assert r.status == 507 and r.json["type"] == "urn:reeve:problem:no-space", r
        assert blob_files(api) == [] and database.value("select count(*) from reeve.job") == 0
        assert api.post("/api/jobs?kind=pdf", b"x" * 1000, {"Content-Type": "application/pdf"}).status == 202
    finally:
        api.stop()
        subprocess.run(["umount", api.blobs], check=True)
        api.start()


@pytest.mark.skipif(SANITIZED, reason="the sanitizer's own memory hides it")
def test_uploads_are_not_held_in_memory(api):
    def peak():
        return int(re.search(r"VmHWM:\s+(\d+)", open(f"/proc/{api.process.pid}/status", encoding="ascii").read())[1])
    before = peak()
    r = api.post("/api/jobs?kind=pdf", bytes(64 << 20), {"Content-Type": "application/pdf"}, timeout=60)
    assert r.status == 202 and peak() - before < 8192


def test_man_page_lists_every_route():
    routes = subprocess.run([BUILD / "src/api/reeve-api", "--routes"], capture_output=True, text=True, check=True).stdout.splitlines()
    text = MAN.read_text()
    told = [re.sub(r"\\", "", m) for m in re.findall(r"^\*((?:GET|POST|PUT|DELETE) [^*]+)\*", text, re.M)]
    assert sorted(told) == sorted(routes)


def test_an_expired_jobs_files_are_gone_for_good(api):
    job = api.create("echo")["id"]
    api.end_job(job, result=1)
    assert api.get(f"/api/jobs/{job}/files/a.txt").status == 404
    api.db.sql("update reeve.done set expired_at = now(), result = null where job = %s", job)
    r = api.get(f"/api/jobs/{job}/files/a.txt")
    assert r.status == 410 and "KeepResult=" in r.json["detail"]
    seen = api.get(f"/api/jobs/{job}").json
    assert seen["state"] == "succeeded" and seen["expired_at"] > seen["created_at"] and "result" not in seen
