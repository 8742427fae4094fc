"""A PDF of 300 pages through the installed system, while one part of it after the other is killed, restarted, full or away: it ends
right, no page is lost or twice, and each page's text is what pdftotext says."""
import json
import os
import time

import pdf_file
import pytest
from pdf_host import SOCKET, Host

N_PAGES = 300


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    path = pdf_file.make(tmp_path_factory.mktemp("pdf") / "book.pdf", N_PAGES)
    return path, pdf_file.pages(path)


@pytest.fixture(scope="module")
def host(machine, document, tmp_path_factory):
    return Host(machine, document, tmp_path_factory.mktemp("host"))


@pytest.fixture(autouse=True)
def released(host):
    yield
    host.go_on()


def test_undisturbed(host):
    id = host.in_the_middle()
    host.go_on()
    host.ended_right(id)
    assert host.interruptions(id) == 0
    units = [c["unit"] for c in host.chunks(id)]
    assert len(set(units)) == len(units) == 22, "each chunk had a unit of its own"


def test_the_worker_is_killed(host):
    id = host.in_the_middle()
    host.m.kill9("reeve-worker@default.service")
    host.go_on()
    host.ended_right(id)
    assert host.interruptions(id) == 5


def test_a_launcher_is_killed(host):
    id = host.in_the_middle()
    units = host.m.sh("systemctl list-units --plain --no-legend --state=running 'reeve-run-pdf-chunk@*' | cut -d' ' -f1").split()
    assert len(units) == 5
    host.m.kill9(units[0])
    host.m.wait_until(lambda: host.interruptions(id) == 1)
    host.go_on()
    host.ended_right(id)
    assert host.interruptions(id) == 1


def test_the_api_is_killed(host):
    id = host.in_the_middle()
    pid = host.m.kill9("reeve-api.service")
    assert json.loads(host.m.out(*SOCKET, f"http://localhost/api/jobs/{id}?wait=1s"))["id"] == id, "the socket starts the next"
    assert host.m.main_pid("reeve-api.service") not in (0, pid)
    host.go_on()
    host.ended_right(id)
    assert host.interruptions(id) == 0


def test_the_manager_is_killed(host):
    id = host.in_the_middle()
    pid = host.m.kill9("reeved.service")
    host.m.wait_until(lambda: host.m.main_pid("reeved.service") not in (0, pid))
    host.go_on()
    host.ended_right(id)
    assert host.interruptions(id) == 0


@pytest.mark.parametrize("held", [True, False])
def test_the_database_is_killed(host, held):
    """While all chunks are being read, and while they end."""
    id = host.in_the_middle()
    if not held:
        host.go_on()
    host.m.kill9("reeve-postgres.service")
    host.go_on()
    host.ended_right(id)


def test_all_of_them_are_killed(host):
    id = host.in_the_middle()
    for unit in ("reeve-worker@default", "reeve-api", "reeved", "reeve-postgres"):
        host.m.kill9(unit + ".service")
    host.go_on()
    host.ended_right(id)


def take_away(host):
    """The database is away, and nothing that wants it brings it back."""
    host.m.sh("systemctl mask --runtime --now reeve-postgres")


def bring_back(host):
    host.m.sh("systemctl unmask --runtime reeve-postgres; systemctl start reeve-postgres")


@pytest.fixture
def database(host):
    yield
    bring_back(host)


@pytest.mark.parametrize("seconds", [3, pytest.param(60, marks=pytest.mark.skipif(
    not os.environ.get("REEVE_TEST_SLOW"), reason="slow: set REEVE_TEST_SLOW=1"))])
def test_the_database_is_away_in_the_middle(host, database, seconds):
    id = host.in_the_middle()
    workers = host.m.main_pid("reeve-worker@default")
    take_away(host)
    host.go_on()   # they end now, and nobody can be told
    time.sleep(seconds)
    answer = host.m.out(*SOCKET, "-i", f"http://localhost/api/jobs/{id}")
    assert answer.startswith("HTTP/1.1 503") and "retry-after: " in answer.lower(), answer
    assert host.m.is_active("reeve-api") and host.m.is_active("reeve-worker@default")
    assert "degraded" in host.m.property("reeve-worker@default", "StatusText")
    bring_back(host)
    host.ended_right(id)
    assert host.m.main_pid("reeve-worker@default") == workers, "a database that is away restarts no worker"


def test_the_database_is_away_at_the_start(host, database):
    host.m.sh("systemctl stop reeve.target; systemctl stop 'reeve*.service'")
    take_away(host)
    host.m.sh("systemctl start --no-block reeve.target")
    host.m.wait_until(lambda: host.m.is_active("reeve-worker@default"), timeout=30)
    answer = host.m.out(*SOCKET, "-i", "-F", "pdf_file=@/srv/book.pdf", "http://localhost/api/pdf")
    assert answer.split("\r\n\r\n")[-2 if "100 Continue" in answer else 0].startswith("HTTP/1.1 503"), answer
    assert "degraded" in host.m.property("reeve-worker@default", "StatusText")
    assert host.m.sh("find /var/lib/reeve/blobs -type f -newer /run/reeve/api.sock") == "", "what was refused left nothing"
    bring_back(host)
    host.m.wait_until(lambda: host.m.exec(*SOCKET, "--fail", "http://localhost/health", check=False).returncode == 0)
    host.ended_right(host.upload())


def test_a_full_disk_refuses_the_upload_and_leaves_nothing(host):
    # The service sees its directories as they were when it was started.
    host.m.sh("systemctl stop reeve-api.service; mount -t tmpfs -o size=256k,mode=2770,gid=reeve-blob tmpfs /var/lib/reeve/blobs")
    try:
        answer = host.m.out(*SOCKET, "-w", "\n%{http_code}", "-F", "pdf_file=@/srv/book.pdf", "http://localhost/api/pdf")
        assert answer.endswith("\n507"), answer
        assert json.loads(answer.rpartition("\n")[0])["status"] == 507
        assert host.m.sh("find /var/lib/reeve/blobs -type f") == ""
        assert int(host.m.sh("df --output=used /var/lib/reeve/blobs | tail -1")) < 16, "not even blocks without a name"
    finally:
        host.m.sh("systemctl stop reeve-api.service; umount /var/lib/reeve/blobs")
    host.ended_right(host.upload())


def test_the_api_is_restarted_under_load_and_refuses_nobody(host):
    assert host.restart_api_under_load(4) > 50
