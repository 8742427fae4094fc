"""tools/bench load: documents as large as people send, several at once, and a hundred users: each figure beside what is asked. For
tools/bench."""
import os
import pathlib
import subprocess
import tempfile

import soak

# What is asked, in seconds (system 004): 10 MB in 2 minutes, 50 MB in 10; a call's 95th percentile.
SMALL_SEC, LARGE_SEC, CALL_SEC = 120, 600, 0.5
# Pages and bytes of the picture on each.
SMALL, LARGE = (200, 50_000), (500, 100_000)
AT_ONCE = 5

# In the machine, with Python's standard library only. sys.argv: how many of the first at once; NAME:PATH:PAGES:ASKED of each.
INSIDE = r'''
import http.client, json, socket, sys, threading, time

class Connection(http.client.HTTPConnection):
    def connect(self):
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.settimeout(120)
        self.sock.connect("/run/reeve/api.sock")


def call(method, path, body=None, headers=None):
    c = Connection("localhost")
    try:
        c.request(method, path, body, headers or {})
        r = c.getresponse()
        return r.status, json.loads(r.read())
    finally:
        c.close()


def document(path, pages):
    """Seconds from the upload's first byte to the result, or what went wrong."""
    begin = time.monotonic()
    with open(path, "rb") as f:
        status, job = call("POST", "/api/pdf", f.read(), {"Content-Type": "application/pdf"})
    if status != 202:
        return f"{status} {job}"
    while (job := call("GET", f"/api/jobs/{job['id']}?wait=20s")[1])["state"] not in ("succeeded", "failed", "cancelled"):
        if time.monotonic() - begin > 1200:
            return f"still {job['state']} after 20 minutes"
    if job["state"] != "succeeded" or job["result"]["pages_read"] != pages:
        return str(job)[:1000]
    return time.monotonic() - begin


def told(name, took, asked):
    good = all(isinstance(t, float) and t < asked for t in took)
    print(f"{name:14} {max(took):.1f} s (asked: {asked})" if all(isinstance(t, float) for t in took) else f"{name:14} {took}", flush=True)
    return good


good = True
n = int(sys.argv[1])
for i, word in enumerate(sys.argv[2:]):
    name, path, pages, asked = word.split(":")
    good &= told(name, [document(path, int(pages))], int(asked))
    if i == 0:
        took = [None] * n
        threads = [threading.Thread(target=lambda k=k: took.__setitem__(k, document(path, int(pages)))) for k in range(n)]
        for t in threads:
            t.start()
        for t in threads:
            t.join()
        good &= told(f"{n} at once", took, int(asked))
sys.exit(not good)
'''


def scan(path, pages, size):
    """A PDF as scanners make them: on each page a picture that cannot be made smaller, and the words that were read in it."""
    objects = {1: b"<</Type/Catalog/Pages 2 0 R>>", 3: b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>"}
    pages_at, n, width = [], 4, 1000
    for i in range(pages):
        picture = os.urandom(width * (size // width))
        text = b"q 500 0 0 300 50 50 cm /I Do Q BT /F 12 Tf 72 700 Td (Page %d of the scan, with words on it) Tj ET" % (i + 1)
        objects[n] = (b"<</Type/XObject/Subtype/Image/Width %d/Height %d/ColorSpace/DeviceGray/BitsPerComponent 8/Length %d>>stream\n"
                      % (width, size // width, len(picture)) + picture + b"\nendstream")
        objects[n + 1] = b"<</Length %d>>stream\n" % len(text) + text + b"\nendstream"
        objects[n + 2] = (b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 612 792]/Resources<</Font<</F 3 0 R>>/XObject<</I %d 0 R>>>>"
                          b"/Contents %d 0 R>>" % (n, n + 1))
        pages_at.append(b"%d 0 R" % (n + 2))
        n += 3
    objects[2] = b"<</Type/Pages/Kids[%s]/Count %d>>" % (b" ".join(pages_at), pages)
    out, at = bytearray(b"%PDF-1.7\n"), {}
    for k in sorted(objects):
        at[k] = len(out)
        out += b"%d 0 obj\n" % k + objects[k] + b"\nendobj\n"
    table = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % n + b"".join(b"%010d 00000 n \n" % at[k] for k in range(1, n))
    out += b"trailer\n<</Size %d/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % (n, table)
    path.write_bytes(out)
    return len(out)


def load(machine, name, inside, users):
    """In a machine that is up. Returns the exit status: 1 if a figure is not as asked, or a page is missing."""
    words = []
    soak.prepare(machine, name, inside)
    with tempfile.TemporaryDirectory() as where:
        for n, ((pages, size), asked) in enumerate(((SMALL, SMALL_SEC), (LARGE, LARGE_SEC))):
            path = pathlib.Path(where) / f"load{n}.pdf"
            megabytes = scan(path, pages, size) / 1e6
            subprocess.run([machine, "put", name, str(path), "/opt"], check=True)
            words.append(f"{megabytes:.1f} MB:/opt/{path.name}:{pages}:{asked}")
    documents = subprocess.run(inside(name, ["python3", "-c", INSIDE, str(AT_ONCE), *words])).returncode
    return soak.run(name, inside, 60, users, CALL_SEC) or documents
