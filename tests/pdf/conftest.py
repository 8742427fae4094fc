"""PDFs through the real programs: reeve-api, reeve-worker, reeve-exec, the handlers, PostgreSQL. RunHost stands in for the
generated units, as in tests/worker; what needs systemd is in tests/system."""
import importlib.util
import json
import pathlib
import re
import shutil
import subprocess
import sys
import tempfile
import uuid

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


def write_pdf(path, contents, trailer="", objects=()):
    """A PDF with a page for each content stream; more objects, whole, and entries of the trailer may be added."""
    n = len(contents)
    kids = " ".join(f"{5 + 2 * i} 0 R" for i in range(n))
    table = {1: b"<</Type/Catalog/Pages 2 0 R>>", 2: f"<</Type/Pages/Kids[{kids}]/Count {n}>>".encode(),
             3: b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"}
    for i, content in enumerate(contents):
        resources = "/Font<</F 3 0 R>>" + "".join(f"/XObject<<{x} {y} 0 R>>" for x, y in [o[2:4] for o in objects][:1])
        table[5 + 2 * i] = (f"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Resources<<{resources}>>"
                            f"/Contents {6 + 2 * i} 0 R>>").encode()
        dictionary, data = content if isinstance(content, tuple) else ("", content)
        table[6 + 2 * i] = f"<</Length {len(data)}{dictionary}>>stream\n".encode() + data + b"\nendstream"
    for number, body, *_ in objects:
        table[number] = body
    out, at = bytearray(b"%PDF-1.7\n"), {}
    for number in sorted(table):
        at[number] = len(out)
        out += f"{number} 0 obj\n".encode() + table[number] + b"\nendobj\n"
    xref = len(out)
    out += b"xref\n"
    for number in [0, *sorted(table)]:
        out += f"{number} 1\n".encode() + (b"0000000000 65535 f \n" if number == 0 else f"{at[number]:010} 00000 n \n".encode())
    out += f"trailer\n<</Size {max(table) + 1}/Root 1 0 R{trailer}>>\nstartxref\n{xref}\n%%EOF\n".encode()
    path.write_bytes(out)
    return path


def text_page(text):
    return f"BT /F 12 Tf 72 700 Td ({text}) Tj ET".encode()


class System:
    """An API and a worker of the same database and blob store, with the kinds as they are installed."""

    def __init__(self, db, slots=6):
        self.db = db
        self.world = World(db, pathlib.Path(tempfile.mkdtemp(prefix="rp", dir="/tmp")))
        self.world.pool("default", slots=slots)
        self.api = None
        for name in ("pdf", "pdf-chunk"):
            self.install(name)

    def install(self, name, **options):
        """The kind with other values for options of its Start= line: install("pdf-chunk", page_sec="1s")."""
        text = (HANDLERS / f"{name}.kind").read_text()
        for key, value in options.items():
            option = f"--{key.replace('_', '-')}="
            text = re.sub(option + r"\S+", option + value, text) if option in text else re.sub(
                r"(?m)^(Start=.*)$", rf"\1 {option}{value}", text)
        program = [str(HANDLERS / name), *re.search(r"(?m)^Start=\S+ (.*)$", text)[1].split()]
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
