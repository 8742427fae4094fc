"""A PDF of 300 pages through the installed system, while one part of it after the other is killed, restarted, full or away: it ends
right, no page is lost or twice, and each page's text is what pdftotext says."""
import json
import os
import threading
import time

import pdf_file
import pytest

N_PAGES = 300
SOCKET = ["curl", "-sS", "--unix-socket", "/run/reeve/api.sock"]
# Chunks from the seventh on wait for as long as there is /srv/hold: that is the middle. Five slots, so that five of them do.
HELD = """#!/bin/sh
n=$(sed 's/.*"chunk": *\\([0-9]*\\).*/\\1/' "$REEVE_INPUT_DIR/payload.json")
while [ "$n" -ge 6 ] && [ -e /srv/hold ]; do sleep 0.05; done
exec /usr/lib/reeve/handlers/pdf-chunk "$@"
"""
SETTINGS = """
mkdir -p /etc/reeve/kinds/pdf-chunk.kind.d /etc/reeve/pools
{ echo '[Exec]'; sed -n 's,^Start=/usr/lib/reeve/handlers/pdf-chunk,Start=/opt/held,p' /usr/lib/reeve/kinds/pdf-chunk.kind; } \\
        >/etc/reeve/kinds/pdf-chunk.kind.d/held.conf
printf '[Pool]\\nQueues=* !inline\\nSlots=5\\nDrainSec=20s\\n' >/etc/reeve/pools/default.conf
chmod -R a+rX /etc/reeve /opt /srv
systemctl daemon-reload
systemctl restart reeve-worker@default
"""
LOAD = '''#!/usr/bin/python3
"""Hands jobs over and asks for them, each time on a new connection, until the file STOP is there. Prints what went wrong, then how many."""
import http.client, json, os, socket, threading
counts, wrong = [0], []
class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(30)
        self.sock.connect("/run/reeve/api.sock")
def ask(method, path, body=None):
    c = Connection("localhost")
    c.request(method, path, body, {"Content-Type": "application/json"} if body else {})
    r = c.getresponse()
    text = r.read()
    if r.status not in (200, 202):
        raise Exception(f"{method} {path}: {r.status} {text[:200]}")
    c.close()
    return json.loads(text)
def work():
    while not os.path.exists("/run/STOP"):
        try:
            id = ask("POST", "/api/jobs", '{"kind": "pdf-chunk", "run_at": "2099-01-01T00:00:00Z"}')["id"]
            assert ask("GET", "/api/jobs/" + id)["id"] == id
            counts[0] += 2
        except Exception as e:
            wrong.append(repr(e))
threads = [threading.Thread(target=work) for _ in range(4)]
for t in threads: t.start()
for t in threads: t.join()
print(json.dumps([counts[0], wrong[:20]]))
'''


@pytest.fixture(scope="module")
def document(tmp_path_factory):
    path = pdf_file.make(tmp_path_factory.mktemp("pdf") / "book.pdf", N_PAGES)
    return path, pdf_file.pages(path)


class Host:
    def __init__(self, machine, document, directory):
        self.m, self.expected, self.directory = machine, document[1], directory

    def psql(self, sql):
        return self.m.psql(sql, user=None)

    def upload(self):
        return json.loads(self.m.out(*SOCKET, "-F", "pdf_file=@/srv/book.pdf", "http://localhost/api/pdf"))["id"]

    def job(self, id):
        return json.loads(self.psql(f"select reeve.job_status('{id}')"))

    def chunks(self, id):
        return json.loads(self.psql("select coalesce(json_agg(reeve.job_status(j.id)), '[]') from (select j.id from reeve.job j "
                                    f"where j.parent = '{id}') j"))

    def in_the_middle(self):
        """A job of which six chunks have ended, five are being read, and the others wait."""
        self.m.sh("touch /srv/hold")
        id = self.upload()
        counts = (f"select count(d), count(l) filter (where l.started) from reeve.job j left join reeve.done d on d.job = j.id "
                  f"left join reeve.lease l on l.job = j.id where j.parent = '{id}'")
        self.m.wait_until(lambda: self.psql(counts) == "6|5", timeout=60)
        return id

    def go_on(self):
        self.m.sh("rm -f /srv/hold")

    def ended_right(self, id, timeout=90):
        """The job, after all has been looked at."""
        def end():
            job = self.m.exec("psql", "-XAth", "/run/reeve-postgres", "-U", "reeve_owner", "-c", f"select reeve.job_status('{id}')", "reeve",
                              check=False)
            job = json.loads(job.stdout) if job.returncode == 0 and job.stdout.strip() else {"state": "?"}
            return job if job["state"] in ("succeeded", "failed", "cancelled") else None
        job = self.m.wait_until(end, timeout, every=0.3)
        assert job["state"] == "succeeded", job
        result = job["result"]
        assert (result["pages"], result["pages_read"], result["chunks"]["failed"]) == (N_PAGES, N_PAGES, 0), result
        files = json.loads(self.m.out(*SOCKET, f"http://localhost/api/jobs/{id}/files"))["files"]
        names = sorted(f["name"] for f in files if f["name"].startswith("page-"))
        assert names == [f"page-{n:04}.txt" for n in range(1, N_PAGES + 1)]
        self.m.sh(f"rm -rf /srv/out; mkdir /srv/out; curl -sS --fail --unix-socket /run/reeve/api.sock "
                  f"'http://localhost/api/jobs/{id}/files/page-[0001-{N_PAGES:04}].txt' -o '/srv/out/#1.txt'")
        target = self.directory / id
        target.mkdir()
        self.m.get("/srv/out", target)
        wrong = [n for n in range(1, N_PAGES + 1) if (target / f"out/{n:04}.txt").read_text() != self.expected[n - 1]]
        assert wrong == []
        assert result["words"] == sum(len(page.split()) for page in self.expected)
        return job

    def interruptions(self, id):
        return sum(c["interruptions"] for c in self.chunks(id))


@pytest.fixture(scope="module")
def host(machine, document, tmp_path_factory):
    where = tmp_path_factory.mktemp("host")
    for name, text in (("load", LOAD), ("held", HELD)):
        (where / name).write_text(text)
        (where / name).chmod(0o755)
        machine.put(where / name, "/opt")
    machine.put(document[0], "/srv")
    machine.sh(SETTINGS)
    machine.wait_until("reevectl kinds | grep -q '^pdf-chunk '")
    return Host(machine, document, where)


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
    host.m.sh("rm -f /run/STOP")
    said = []
    load = threading.Thread(target=lambda: said.append(host.m.out("/opt/load", timeout=120)))
    load.start()
    try:
        pids = set()
        for _ in range(4):
            time.sleep(0.5)
            pids.add(host.m.main_pid("reeve-api.service"))
            host.m.sh("systemctl restart reeve-api.service")
        time.sleep(0.5)
    finally:
        host.m.sh("touch /run/STOP")
        load.join()
    count, wrong = json.loads(said[0])
    assert wrong == [] and count > 50
    assert len(pids) == 4
