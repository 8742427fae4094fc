"""tools/bench soak: hours of mixed load, and whether what a system uses stays level. For tools/bench."""
import pathlib
import subprocess
import tempfile

# In the machine, with Python's standard library only. sys.argv: seconds, users; what a call may take at the 95th percentile, in
# seconds, and then nothing is said of what stays level (0: it is).
INSIDE = r'''
import collections, http.client, json, os, pathlib, random, socket, statistics, subprocess, sys, threading, time

SECONDS, USERS, CALL_SEC = int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3])
TABLES = ("ready", "lease", "scheduled", "waiting", "blocked", "progress", "history", "job_key")
GROWS = ("job", "done", "blob", "job_file")
latencies, wrong, ended = collections.defaultdict(list), collections.Counter(), collections.Counter()
begin, stop = time.monotonic(), threading.Event()
# Levels say nothing where more comes than can be done: users create nothing while MOST jobs wait, until LEAST do.
MOST, LEAST = 2000, 500
held, held_seconds = threading.Event(), [0]


class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(60)
        self.sock.connect("/run/reeve/api.sock")


def form(data):
    head = b'--soak\r\nContent-Disposition: form-data; name="pdf_file"; filename="a.pdf"\r\nContent-Type: application/pdf\r\n\r\n'
    return head + data + b"\r\n--soak--\r\n", {"Content-Type": "multipart/form-data; boundary=soak"}


PDF = form(open("/opt/soak.pdf", "rb").read())


class User:
    """What a client does, one call after the other, on a connection that stays."""

    def __init__(self, n):
        self.n, self.random, self.mine, self.connection = n, random.Random(n), collections.deque(maxlen=50), Connection("localhost")

    def call(self, name, method, path, body=None, headers=None, ok=(200, 202)):
        if body is not None and headers is None:
            body, headers = json.dumps(body), {"Content-Type": "application/json"}
        t = time.monotonic()
        try:
            self.connection.request(method, path, body, headers or {})
            r = self.connection.getresponse()
            text = r.read()
        except (OSError, http.client.HTTPException) as e:
            self.connection.close()
            wrong[f"{name}: {type(e).__name__}"] += 1
            return {}
        if "wait=" not in path:
            latencies[name].append(time.monotonic() - t)
        if r.status not in ok:
            wrong[f"{name}: {r.status} {json.loads(text).get('detail')} ({time.monotonic() - begin:.0f} s)"] += 1
            return {}
        return json.loads(text)

    def create(self, **job):
        answer = self.call("create", "POST", "/api/jobs", {"kind": "soak", "tenant": f"t{self.n % 7}", **job})
        if "id" in answer:
            self.mine.append(answer["id"])

    def step(self):
        what = self.random.random()
        if held.is_set() and (what < 0.68 or what >= 0.97):
            what = 0.68 + self.random.random() * 0.29
        if what < 0.45:
            self.create(payload={"n": self.random.random()})
        elif what < 0.55:
            self.create(payload={"fail": 1})
        elif what < 0.60:
            self.create(payload={}, unique_key=f"k{self.random.randrange(20)}")
        elif what < 0.65:
            self.create(payload={}, run_at=time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + self.random.randrange(8))))
        elif what < 0.68:
            self.call("bulk", "POST", "/api/jobs", [{"kind": "soak", "payload": i} for i in range(20)])
        elif what < 0.78 and self.mine:
            self.call("get", "GET", f"/api/jobs/{self.random.choice(self.mine)}")
        elif what < 0.82 and self.mine:
            job = self.call("wait", "GET", f"/api/jobs/{self.random.choice(self.mine)}?wait=5s")
            ended[job.get("state")] += 1
        elif what < 0.86 and self.mine:
            self.call("cancel", "POST", f"/api/jobs/{self.random.choice(self.mine)}/cancel", {}, ok=(200, 202, 409))
        elif what < 0.92:
            self.call("list", "GET", f"/api/jobs?kind=soak&limit=20&tenant=t{self.n % 7}")
        elif what < 0.97:
            self.call("flag", "POST", "/ofrep/v1/evaluate/flags/soak", {"context": {"targetingKey": str(self.random.randrange(1000))}})
        elif what < 0.98:
            self.call("upload", "POST", "/api/pdf", *PDF)

    def run(self):
        while not stop.is_set():
            self.step()
            stop.wait(self.random.random() * 2 * USERS / 100)   # some 100 calls a second of all together


def psql(sql):
    return subprocess.run(["psql", "-XAtqh", "/run/reeve-postgres", "-U", "reeve_owner", "-c", sql, "reeve"], check=True, text=True,
                          stdout=subprocess.PIPE).stdout.strip()


def sample():
    found = {}
    units = subprocess.run(["systemctl", "list-units", "--plain", "--no-legend", "--state=running", "reeve*.service"], text=True,
                           stdout=subprocess.PIPE).stdout
    for unit in (line.split()[0] for line in units.splitlines()):
        if unit.startswith("reeve-run-") or unit == "reeve-postgres.service":
            continue
        pid = subprocess.run(["systemctl", "show", "-P", "MainPID", unit], text=True, stdout=subprocess.PIPE).stdout.strip()
        rollup = open(f"/proc/{pid}/smaps_rollup").read()
        name = unit.removesuffix(".service")
        found[f"{name} KiB"] = next(int(l.split()[1]) for l in rollup.splitlines() if l.startswith("Pss_Anon"))
        found[f"{name} descriptors"] = len(os.listdir(f"/proc/{pid}/fd"))
    for t in TABLES + GROWS:
        size = psql(f"select (coalesce(sum(pg_total_relation_size(c.oid)), 0) / 1024)::bigint from pg_class c join pg_namespace n on n.oid = c.relnamespace "
                    f"where n.nspname = 'reeve' and c.relkind in ('r', 'p') and (c.relname = '{t}' or c.relname ~ '^{t}_[pd0-9]')")
        found[f"table {t} KiB"] = int(size)
    found["jobs"] = int(psql("select count(*) from reeve.done"))
    found["waiting to run"] = int(psql("select count(*) from reeve.ready"))
    return found


def pace():
    while not stop.wait(1):
        waiting = int(psql(f"select count(*) from (select from reeve.ready limit {MOST}) r"))
        if waiting >= MOST:
            held.set()
        elif waiting <= LEAST:
            held.clear()
        held_seconds[0] += held.is_set()


threads = [threading.Thread(target=User(n).run, daemon=True) for n in range(USERS)] + [threading.Thread(target=pace, daemon=True)]
for t in threads:
    t.start()
samples = []
for part in range(1, 7):   # six parts; the first is the warming up
    time.sleep(max(0, begin + SECONDS * part / 6 - time.monotonic()))
    samples.append(sample())
stop.set()
for t in threads:
    t.join(90)
deadline = time.monotonic() + 120
while psql("select count(*) from reeve.ready") != "0" and time.monotonic() < deadline:
    time.sleep(0.5)

bad = []
print(f"load           {SECONDS} s, {USERS} users, {sum(map(len, latencies.values())) / SECONDS:.0f} calls/s; {samples[-1]['jobs']} jobs ended, "
      f"{samples[-1]['waiting to run']} waited at the end")
if held_seconds[0]:
    print(f"load           nothing was created for {held_seconds[0]} s of them, while {MOST} jobs waited")
for name, times in sorted(latencies.items()):
    times.sort()
    p95 = times[int(len(times) * .95)]
    asked = f" (asked: {CALL_SEC * 1000:.0f})" if CALL_SEC else ""
    print(f"calls          {name:8} p50 {times[len(times) // 2] * 1000:6.1f} ms  p95 {p95 * 1000:6.1f} ms{asked}  of {len(times)}")
    if CALL_SEC and p95 >= CALL_SEC:
        bad.append(f"{name} takes longer than asked")
if wrong:
    bad.append(f"calls that failed: {dict(wrong)}")
for key in samples[0] if not CALL_SEC else ():
    values = [s.get(key, 0) for s in samples]
    print(f"level          {key:36} {' '.join(f'{v:9}' for v in values)}")
    if key.endswith("descriptors") and values[-1] > max(values[1:3]) + USERS // 2 + 16:
        bad.append(f"{key} grow: {values}")
    elif "table " not in key and key.endswith("KiB") and values[-1] > 1.25 * max(values[1:3]) + 512:
        bad.append(f"memory of {key} grows: {values}")
    elif key.split()[0] == "table" and key.split()[1] in TABLES[:6] and values[-1] > 2 * max(values[1:3]) + 4096:
        bad.append(f"{key} grows, though its rows do not stay: {values}")
left = psql("select count(*) from reeve.ready")
if left != "0":
    bad.append(f"{left} jobs were not run two minutes after the load had ended")
lost = psql("select count(*) from reeve.job j where not exists (select from reeve.done d where d.job = j.id) and not exists (select from reeve.ready r where "
            "r.job = j.id) and not exists (select from reeve.lease l where l.job = j.id) and not exists (select from reeve.scheduled s where s.job = j.id) "
            "and not exists (select from reeve.waiting w where w.job = j.id) and not exists (select from reeve.blocked b where b.job = j.id)")
if lost != "0":
    bad.append(f"{lost} jobs are nowhere")
restarts = subprocess.run("systemctl show -P NRestarts reeve-api.service reeve-worker@default.service reeved.service", shell=True, text=True,
                          stdout=subprocess.PIPE).stdout.split()
if set(restarts) != {"0"}:
    bad.append(f"services were started again: {restarts}")
for text in bad:
    print(("not as asked   " if CALL_SEC else "not level      ") + text)
sys.exit(1 if bad else 0)
'''
KIND = """[Kind]
RetrySec=1s
MaxAttempts=2
[Exec]
Start=/bin/sh -c 'if grep -q fail; then exit 1; fi; echo 1'
MaxRuns=200
"""


def prepare(machine, name, inside):
    """The kind, the pool, the flag and the document of the load, in a machine that is up."""
    with tempfile.TemporaryDirectory() as where:
        kind, pool, pdf = (pathlib.Path(where) / n for n in ("soak.kind", "default.conf", "soak.pdf"))
        kind.write_text(KIND)
        pool.write_text("[Pool]\nQueues=* !inline\nSlots=4\n")
        subprocess.run(["pdftocairo", "-pdf", "-f", "20", "-l", "24", "/usr/share/doc/zsh-common/zsh.pdf", pdf], check=True)
        for path, to in ((kind, "/etc/reeve/kinds"), (pool, "/etc/reeve/pools"), (pdf, "/opt")):
            subprocess.run([machine, "put", name, str(path), to], check=True)
    subprocess.run(inside(name, ["sh", "-c", "chmod 755 /etc/reeve/kinds /etc/reeve/pools /opt; systemctl daemon-reload; "
                                             "systemctl restart reeve-worker@default; "
                                             "busctl call org.reeve1 /org/reeve1 org.reeve1.Manager CreateFlag 'sa{sv}' soak 2 "
                                             "enabled b true percent d 30 >/dev/null; "
                                             "until reevectl kinds | grep -q '^soak '; do sleep 0.2; done"]), check=True, timeout=60)


def run(name, inside, seconds, users, call_sec=0):
    """Returns the exit status: 1 if anything was not level, or, with call_sec, if calls took longer."""
    return subprocess.run(inside(name, ["python3", "-c", INSIDE, str(seconds), str(users), str(call_sec)])).returncode
