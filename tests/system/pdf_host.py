"""A document on its way through the installed system, held in its middle. For test_pdf.py and test_rollout.py."""
import json
import threading
import time

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
        self.sock.settimeout(60)
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


class Host:
    """A machine in which chunks wait, and a document at /srv/book.pdf with what pdftotext says of its pages."""

    def __init__(self, machine, document, directory):
        self.m, self.expected, self.directory = machine, document[1], directory
        self.n_pages = len(self.expected)
        for name, text in (("load", LOAD), ("held", HELD)):
            (directory / name).write_text(text)
            (directory / name).chmod(0o755)
            machine.put(directory / name, "/opt")
        machine.put(document[0], "/srv")
        machine.sh(SETTINGS)
        machine.wait_until("reevectl kinds | grep -q '^pdf-chunk '")

    def psql(self, sql):
        return self.m.psql(sql, user=None)

    def upload(self):
        return json.loads(self.m.out(*SOCKET, "-F", "pdf_file=@/srv/book.pdf", "http://localhost/api/pdf"))["id"]

    def job(self, id):
        return json.loads(self.psql(f"select reeve.job_status('{id}')"))

    def chunks(self, id):
        return json.loads(self.psql("select coalesce(json_agg(reeve.job_status(j.id)), '[]') from (select j.id from reeve.job j "
                                    f"where j.parent = '{id}') j"))

    def in_the_middle(self, upload=None):
        """A job of which six chunks have ended, five are being read, and the others wait."""
        self.m.sh("touch /srv/hold")
        id = (upload or self.upload)()
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
        assert (result["pages"], result["pages_read"], result["chunks"]["failed"]) == (self.n_pages, self.n_pages, 0), result
        files = json.loads(self.m.out(*SOCKET, f"http://localhost/api/jobs/{id}/files"))["files"]
        names = sorted(f["name"] for f in files if f["name"].startswith("page-"))
        assert names == [f"page-{n:04}.txt" for n in range(1, self.n_pages + 1)]
        self.m.sh(f"rm -rf /srv/out; mkdir /srv/out; curl -sS --fail --unix-socket /run/reeve/api.sock "
                  f"'http://localhost/api/jobs/{id}/files/page-[0001-{self.n_pages:04}].txt' -o '/srv/out/#1.txt'")
        target = self.directory / id
        target.mkdir()
        self.m.get("/srv/out", target)
        wrong = [n for n in range(1, self.n_pages + 1) if (target / f"out/{n:04}.txt").read_text() != self.expected[n - 1]]
        assert wrong == []
        assert result["words"] == sum(len(page.split()) for page in self.expected)
        return job

    def restart_api_under_load(self, times):
        """Nobody is refused, and each restart gives another process. How many requests were answered."""
        self.m.sh("rm -f /run/STOP")
        said, pids = [], set()
        load = threading.Thread(target=lambda: said.append(self.m.out("/opt/load", timeout=120)))
        load.start()
        try:
            for _ in range(times):
                time.sleep(0.5)
                pids.add(self.m.main_pid("reeve-api.service"))
                self.m.sh("systemctl restart reeve-api.service")
            time.sleep(0.5)
        finally:
            self.m.sh("touch /run/STOP")
            load.join()
        count, wrong = json.loads(said[0])
        assert wrong == [] and len(pids) == times
        return count

    def interruptions(self, id):
        return sum(c["interruptions"] for c in self.chunks(id))
