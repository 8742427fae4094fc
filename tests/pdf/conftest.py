"""PDFs through the real programs: reeve-api, reeve-worker, reeve-exec, the handlers, PostgreSQL. RunHost stands in for the
generated units, as in tests/worker; what needs systemd is in tests/system."""
import functools
import hashlib
import importlib.util
import json
import pathlib
import random
import re
import shutil
import subprocess
import sys
import tempfile
import uuid
import zlib

import pytest

TESTS = pathlib.Path(__file__).resolve().parents[1]


def load(name, path):
    spec = importlib.util.spec_from_file_location(name, path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


worker = load("worker_conftest", TESTS / "worker/conftest.py")
api_tests = load("api_conftest", TESTS / "api/conftest.py")
BUILD, wait_for, World, Api = worker.BUILD, worker.wait_for, worker.World, api_tests.Api
database, server, template = worker.database, worker.server, worker.template

HANDLERS = BUILD / "src/systems/pdf"
BOOK = pathlib.Path("/usr/share/doc/zsh-common/zsh.pdf")  # zsh-doc: 480 pages
BOOK_PAGES = 480


@functools.cache
def page_texts(path, n):
    """What pdftotext says of each page."""
    return [subprocess.run(["pdftotext", "-enc", "UTF-8", "-nopgbrk", "-f", str(i), "-l", str(i), path, "-"], check=True,
                           capture_output=True).stdout for i in range(1, n + 1)]


@pytest.fixture(scope="session")
def book(tmp_path_factory):
    """book(30): the first 30 pages of a real manual, as a PDF of their own. Above its end it begins again, so that there are
    pages which are equal and must not be taken for one."""
    directory = tmp_path_factory.mktemp("pdf")

    def make(n):
        path = directory / f"{n}.pdf"
        if path.exists():
            return path
        if n > BOOK_PAGES:
            subprocess.run(["pdfunite", BOOK, make(n - BOOK_PAGES), path], check=True, stderr=subprocess.DEVNULL)
        else:
            subprocess.run(["pdftocairo", "-pdf", "-f", "1", "-l", str(n), BOOK, path], check=True)
        return path
    assert BOOK.exists(), "tools/deps test installs it"
    return make


def rc4(key, data):
    s, j, out = list(range(256)), 0, bytearray()
    for i in range(256):
        j = (j + s[i] + key[i % len(key)]) % 256
        s[i], s[j] = s[j], s[i]
    i = j = 0
    for c in data:
        i = (i + 1) % 256
        j = (j + s[i]) % 256
        s[i], s[j] = s[j], s[i]
        out.append(c ^ s[(s[i] + s[j]) % 256])
    return bytes(out)


class Lock:
    """Encryption by the standard handler, revision 2 (RC4, 40 bits): with a password for users, or with the owner's only."""

    def __init__(self, password):
        pad = bytes.fromhex("28BF4E5E4E758A4164004E56FFFA01082E2E00B6D0683E802F0CA9FE6453697A")
        owner = rc4(hashlib.md5((b"owner" + pad)[:32]).digest()[:5], (password + pad)[:32])
        self.key = hashlib.md5((password + pad)[:32] + owner + (0xFFFFFFFC).to_bytes(4, "little") + b"id").digest()[:5]
        self.trailer = (f"/ID[<{b'id'.hex()}><{b'id'.hex()}>]/Encrypt<</Filter/Standard/V 1/R 2/O<{owner.hex()}>"
                        f"/U<{rc4(self.key, pad).hex()}>/P -4>>")

    def __call__(self, number, data):
        return rc4(hashlib.md5(self.key + number.to_bytes(3, "little") + bytes(2)).digest()[:10], data)


def write_pdf(path, pages, resources="", more=None, lock=None):
    """A PDF with a page for each content stream: bytes, or (entries of its dictionary, bytes). more: other streams, by number
    (2,000,000 and above), that resources may name."""
    first = 10
    kids = " ".join(f"{first + 2 * i} 0 R" for i in range(len(pages)))
    table = {1: b"<</Type/Catalog/Pages 2 0 R>>", 2: f"<</Type/Pages/Kids[{kids}]/Count {len(pages)}>>".encode(),
             3: b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"}
    streams = dict(more or {})
    for i, content in enumerate(pages):
        n = first + 2 * i
        table[n] = (f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Resources<</Font<</F 3 0 R>>{resources}>>"
                    f"/Contents {n + 1} 0 R>>").encode()
        streams[n + 1] = content
    for n, content in streams.items():
        dictionary, data = content if isinstance(content, tuple) else ("", content)
        data = lock(n, data) if lock else data
        table[n] = f"<</Length {len(data)}{dictionary}>>stream\n".encode() + data + b"\nendstream"
    out, at = bytearray(b"%PDF-1.7\n"), {}
    for n in sorted(table):
        at[n] = len(out)
        out += f"{n} 0 obj\n".encode() + table[n] + b"\nendobj\n"
    xref = b"xref\n0 1\n0000000000 65535 f \n" + b"".join(f"{n} 1\n{at[n]:010} 00000 n \n".encode() for n in sorted(table))
    end = (f"trailer\n<</Size {max(table) + 1}/Root 1 0 R{lock.trailer if lock else ''}>>\nstartxref\n{len(out)}\n%%EOF\n").encode()
    path.write_bytes(bytes(out) + xref + end)
    return path


def text_page(text):
    return f"BT /F 12 Tf 72 700 Td ({text}) Tj ET".encode()


def endless_page():
    """For resources and more of write_pdf(): forms that draw forms, ten times each, twelve deep. A tool needs years for it."""
    more = {2000000 + i: (f"/Type/XObject/Subtype/Form/BBox[0 0 9 9]/Resources<</XObject<</X {2000001 + i} 0 R>>>>", b"/X Do " * 10)
            for i in range(12)}
    more[2000012] = ("/Type/XObject/Subtype/Form/BBox[0 0 9 9]", b"0 0 m " * 50)
    return {"resources": "/XObject<</X 2000000 0 R>>", "more": more}


def greedy_page():
    """A small stream with millions of words at places of their own, each of which a tool has to remember."""
    r = random.Random(1)
    words = b"".join(b"1 0 0 1 %d %d Tm (%c) Tj " % (r.randint(1, 600), r.randint(1, 780), r.choice(b"abcdefgh")) for _ in range(1000))
    return "/Filter/FlateDecode", zlib.compress((b"BT /F 12 Tf " + words + b"ET\n") * 600, 9)


class System:
    """An API and a worker of the same database and blob store, with the kinds as they are installed."""

    def __init__(self, db, slots=6):
        self.db = db
        self.world = World(db, pathlib.Path(tempfile.mkdtemp(prefix="rp", dir="/tmp")))
        self.world.pool("default", slots=slots)
        self.api = None
        for name in ("pdf", "pdf-chunk"):
            self.install(name)

    def install(self, name, before=None, **options):
        """The kind with other values for options of its Start= line: install("pdf-chunk", page_sec="1s"). before: what a shell
        does first."""
        text = (HANDLERS / f"{name}.kind").read_text()
        for key, value in options.items():
            option = f"--{key.replace('_', '-')}="
            text = re.sub(option + r"\S+", option + value, text) if option in text else re.sub(
                r"(?m)^(Start=.*)$", rf"\1 {option}{value}", text)
        program = [str(HANDLERS / name), *re.search(r"(?m)^Start=\S+ (.*)$", text)[1].split()]
        if before:
            program = ["/bin/sh", "-c", f'{before}; exec "$0" "$@"', *program]
        self.world.kinds.mkdir(exist_ok=True)
        (self.world.kinds / f"{name}.kind").write_text(text)
        if name in self.world.host.sockets:
            self.world.host.sockets.pop(name).close()
            (self.world.host.dir / f"{name}.sock").unlink()
        self.world.host.add(name, program)

    def start(self):
        self.api = Api(self.db)
        self.world.blobs = self.api.blobs
        self.world.start()
        self.api.wait_up()
        return self

    def upload(self, path, status=202, form=True, **headers):
        data = path.read_bytes() if isinstance(path, pathlib.Path) else path
        if form:
            mark = uuid.uuid4().hex
            name = path.name if isinstance(path, pathlib.Path) else "doc.pdf"
            data = (f'--{mark}\r\nContent-Disposition: form-data; name="pdf_file"; filename="{name}"\r\n'
                    "Content-Type: application/pdf\r\n\r\n").encode() + data + f"\r\n--{mark}--\r\n".encode()
            headers["Content-Type"] = f"multipart/form-data; boundary={mark}"
        r = self.api.call("POST", "/api/pdf", data, {"Content-Type": "application/pdf"} | headers, timeout=60)
        assert r.status == status, r
        if status == 202:
            assert r.headers["Location"] == "/api/jobs/" + r.json["id"]
        return r.json.get("id")

    def job(self, id):
        return self.api.get(f"/api/jobs/{id}").json

    def run(self, path, timeout=60, state="succeeded"):
        """Uploads, waits, and gives the job; what was seen of its bar is job["seen"]."""
        id = self.upload(path)
        seen = []

        def ended():
            job = self.job(id)
            if job.get("progress") is not None:
                seen.append((job["state"], job["progress"]))
            return job["state"] in ("succeeded", "failed", "cancelled") and job
        job = wait_for(ended, timeout, f"the end of {id}")
        assert job["state"] == state, (job, self.world.workers[-1].text()[-3000:])
        self.world.check_invariant()
        return job | {"seen": seen}

    def chunks(self, id):
        """The job's children as (state, error code, payload), in order."""
        rows = self.db.sql("select d.state, d.error_code, j.payload from reeve.job j join reeve.done d on d.job = j.id "
                           "where j.parent = %s order by j.child_no", id)
        return [(s, c, p if isinstance(p, dict) else json.loads(p)) for s, c, p in rows]

    def files(self, id):
        listed = self.api.get(f"/api/jobs/{id}/files").json["files"]
        return {f["name"]: self.api.get(f"/api/jobs/{id}/files/{f['name']}").body for f in listed if f["direction"] == "output"}

    def close(self):
        try:
            if self.api:
                self.api.close()
        finally:
            self.world.close()
            shutil.rmtree(self.world.dir, ignore_errors=True)


@pytest.fixture
def system(database):
    s = System(database)
    try:
        yield s
    finally:
        s.close()
