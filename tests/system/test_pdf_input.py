"""Documents that strangers send, through the installed kinds in units of their own: what is refused, what the limits of a unit do."""
import importlib.util
import json
import pathlib
import sys
import time

import pytest

# The makers of bad documents, of tests/pdf.
_spec = importlib.util.spec_from_file_location("pdf_conftest", pathlib.Path(__file__).resolve().parents[1] / "pdf/conftest.py")
pdf = importlib.util.module_from_spec(_spec)
sys.modules["pdf_conftest"] = pdf
_spec.loader.exec_module(pdf)

LIMITS = """
mkdir -p /etc/reeve/kinds/pdf-chunk.kind.d
cat >/etc/reeve/kinds/pdf-chunk.kind.d/test.conf <<'EOF'
[Exec]
Start=/usr/lib/reeve/handlers/pdf-chunk --tool-sec=20s --page-sec=%s --memory-max=%s
[Service]
MemoryMax=%s
EOF
systemctl daemon-reload
systemctl restart reeve-worker@default
"""


@pytest.fixture(scope="module")
def inbox(machine, tmp_path_factory):
    directory = tmp_path_factory.mktemp("in")
    text = [pdf.text_page(f"page {i}") for i in range(1, 6)]
    pdf.write_pdf(directory / "good.pdf", text)
    pdf.write_pdf(directory / "locked.pdf", text, lock=pdf.Lock(b"user"))
    pdf.write_pdf(directory / "none.pdf", [])
    pdf.write_pdf(directory / "many.pdf", [b""] * 5000)
    (directory / "damaged.pdf").write_bytes(b"%PDF-1.7\n" + bytes(range(256)) * 100)
    (directory / "text.pdf").write_bytes(b"only text")
    pdf.write_pdf(directory / "endless.pdf", [text[0], b"/X Do", text[1]], **pdf.endless_page())
    pdf.write_pdf(directory / "greedy.pdf", [text[0], pdf.greedy_page(), text[1]])
    pdf.write_pdf(directory / "glutton.pdf", [pdf.greedy_page()])
    machine.put(directory, "/srv")
    machine.sh("chmod -R a+rX /srv")
    return f"/srv/{directory.name}"


def upload(machine, path, status=202):
    out = machine.out("curl", "-sS", "--unix-socket", "/run/reeve/api.sock", "http://localhost/api/pdf", "-F", f"pdf_file=@{path}",
                      "-w", "\n%{http_code}")
    body, code = out.rsplit("\n", 1)
    assert code == str(status), out
    return json.loads(body).get("id")


def ended(machine, id, timeout=90):
    end = time.monotonic() + timeout
    while time.monotonic() < end:
        job = json.loads(machine.out("reevectl", "show", "--json", id))
        if job["state"] in ("succeeded", "failed", "cancelled"):
            return job
        time.sleep(0.2)
    raise AssertionError(job)


@pytest.mark.parametrize("name, code", [("locked", "ENCRYPTED"), ("none", "NO_PAGES"), ("many", "TOO_MANY_PAGES"), ("damaged", "DAMAGED")])
def test_a_clear_answer(machine, inbox, name, code):
    job = ended(machine, upload(machine, f"{inbox}/{name}.pdf"))
    assert (job["state"], job["error"]["code"], job["attempt"]) == ("failed", code, 1), job


def test_not_a_pdf(machine, inbox):
    upload(machine, f"{inbox}/text.pdf", 415)


def test_limits_of_the_tool(machine, inbox):
    """One page hangs the tool, one wants more memory than it may have: both in the unit's sandbox."""
    for name, code, seconds in (("endless", "TIMEOUT", "2s"), ("greedy", "MEMORY_LIMIT", "20s")):
        machine.sh(LIMITS % (seconds, "100M", "768M"))
        job = ended(machine, upload(machine, f"{inbox}/{name}.pdf"))
        assert job["state"] == "succeeded" and job["result"]["missing"] == [{"page": 2, "code": code}], job
        assert job["result"]["lines"] == ["page 1", "page 2"]


def test_limits_of_the_unit(machine, inbox):
    """The kernel kills the tool for the unit's MemoryMax=: the page is lost and told, and a document of only such a page fails with
    that code, in an attempt and not in ten interruptions."""
    machine.sh(LIMITS % ("20s", "4G", "64M"))
    job = ended(machine, upload(machine, f"{inbox}/greedy.pdf"))
    assert job["state"] == "succeeded" and job["result"]["missing"] == [{"page": 2, "code": "MEMORY_LIMIT"}], job
    job = ended(machine, upload(machine, f"{inbox}/glutton.pdf"))
    assert (job["state"], job["error"]["code"]) == ("failed", "MEMORY_LIMIT"), job
    rows = machine.psql(f"select d.cause, d.attempt, d.interruptions from reeve.job j join reeve.done d on d.job = j.id "
                        f"where j.parent = '{job['id']}'").splitlines()
    assert rows == ["oom-kill|1|0"] * 2, rows  # and once more in the second round


def test_nothing_is_left_behind(machine, inbox):
    job = ended(machine, upload(machine, f"{inbox}/good.pdf"))
    assert job["state"] == "succeeded" and job["result"]["pages_read"] == 5
    machine.wait_until(lambda: not machine.out("systemctl", "list-units", "--plain", "--no-legend", "reeve-run-pdf*.service"))
    assert machine.out("sh", "-c", "pgrep -c 'pdf(info|totext)' || true") == "0"
    assert machine.sh("find /tmp /var/tmp -name 'reeve-run-*' | wc -l") == "0"
