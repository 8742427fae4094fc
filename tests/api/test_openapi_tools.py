"""The description through other people's programs, from npm: spectral reads it, prism stands between the suite and the API."""
import collections
import contextlib
import http.client
import http.server
import json
import os
import pathlib
import re
import shutil
import socket
import subprocess
import sys
import threading

import pytest

from conftest import API, BUILD, SANITIZED, openapi, wait_for
from patience import within

HERE = pathlib.Path(__file__).parent
DOCUMENT = openapi.description(API).document
# The rest of the suite is about bytes on sockets, streams, and what happens when programs die.
FILES = ["test_jobs.py", "test_keys.py", "test_pull.py", "test_flags.py", "test_openapi.py"]
# About time, faults and threads and not about form; and what starts the API many times for one more word in a refusal.
LEFT_OUT = {
    "test_flags.py": ["a_change_is_seen_at_once", "a_change_while_the_connections_were_lost_is_seen",
                      "a_lost_listener_is_made_up_for_by_polling", "flagd_and_this_agree_on_who_is_in", "flags_outlive_the_connection",
                      "flags_wait_for_their_schema", "many_changes_at_once_end_with_the_last", "metrics_tell_how_old_the_flags_are",
                      "the_request_that_started_it_gets_its_flag", "through_pgbouncer_within_two_seconds", "without_flags_it_says_so"],
    "test_jobs.py": ["broken_json", "concurrent_creates_share_commits", "many_waiters_share_one_statement",
                     "one_callers_poison_does_not_fail_the_others", "wait", "wrong_values_are_named"],
    "test_keys.py": ["guessing_is_bounded", "wrong_keys_are_refused"],
    "test_openapi.py": ["every_route_while_the_database_is_away"],
    "test_pull.py": ["a_client_that_has_gone_takes_nothing", "each_job_once_among_many", "no_memory_for_a_body_is_not_the_bodys_fault",
                     "the_database_goes_while_pullers_wait", "the_program_stops_while_pullers_wait", "waiting_for_a_job"],
}
pytestmark = [
    pytest.mark.skipif(SANITIZED, reason="the document is the same"),
    pytest.mark.skipif(bool(openapi.PRISM), reason="it is in the middle of it"),
]


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    if not shutil.which("npm") or not shutil.which("node"):
        pytest.skip("npm is not installed")
    place = tmp_path_factory.mktemp("openapi")
    shutil.copy(HERE / "prism/package.json", place)
    r = subprocess.run(["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=place, text=True,
                       capture_output=True, timeout=300)
    if r.returncode != 0:
        pytest.skip(f"the packages cannot be had here: {r.stderr[-300:]}")
    (place / "openapi.json").write_text(json.dumps(DOCUMENT))
    return place


def program(packages, name):
    directory = packages / "node_modules/@stoplight" / name
    return ["node", str(directory / next(iter(json.loads((directory / "package.json").read_text())["bin"].values())))]


def test_spectral_finds_nothing(packages):
    (packages / "rules.json").write_text('{"extends": ["spectral:oas"]}')
    argv = [*program(packages, "spectral-cli"), "lint", "--ruleset", "rules.json", "--fail-severity=hint"]
    r = subprocess.run([*argv, "openapi.json"], cwd=packages, text=True, capture_output=True, timeout=within(120))
    assert r.returncode == 0 and "No results" in r.stdout, r.stdout + r.stderr
    # It does look.
    broken = json.loads(json.dumps(DOCUMENT))
    del broken["paths"]["/api/jobs"]["get"]["operationId"]
    (packages / "broken.json").write_text(json.dumps(broken))
    r = subprocess.run([*argv, "broken.json"], cwd=packages, text=True, capture_output=True, timeout=within(120))
    assert r.returncode == 1 and "operation-operationId" in r.stdout, r.stdout + r.stderr


class Behind(http.server.BaseHTTPRequestHandler):
    """What prism takes for the API: hands each request to the one that its head names. Each test has its own."""
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def handle_any(self):
        address = json.loads(self.headers[openapi.TARGET])
        path = isinstance(address, str)
        body = self.rfile.read(int(self.headers["Content-Length"] or 0))
        mine = {"connection", "content-length", "host", "transfer-encoding", "accept-encoding", openapi.TARGET.lower()}
        if path:
            mine.add("authorization")
        headers = {k: v for k, v in self.headers.items() if k.lower() not in mine}
        c = http.client.HTTPConnection("localhost", timeout=100)
        c.sock = socket.socket(socket.AF_UNIX if path else socket.AF_INET)
        c.sock.settimeout(within(100))
        with contextlib.closing(c):
            c.sock.connect(address if path else tuple(address))
            c.request(self.command, self.path, body or (b"" if self.command == "POST" else None), headers)
            r = c.getresponse()
            data = r.read()
        self.send_response_only(r.status, r.reason)
        for k, v in r.getheaders():
            if k.lower() not in ("connection", "content-length", "transfer-encoding"):
                self.send_header(k, v)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    do_GET = do_POST = do_PUT = do_PATCH = do_DELETE = handle_any


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


@pytest.fixture(scope="module")
def prism(packages):
    """Two of them, which say what is wrong in place of the answer: both (requests and answers), answers."""
    behind = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Behind)
    behind.daemon_threads = True
    threading.Thread(target=behind.serve_forever, daemon=True).start()
    config, running = {}, []
    try:
        for name, option in ("both", "--validate-request=true"), ("answers", "--validate-request=false"):
            config[name] = free_port()
            with open(packages / f"{name}.log", "wb") as log:
                running.append(subprocess.Popen(
                    [*program(packages, "prism-cli"), "proxy", "openapi.json", f"http://127.0.0.1:{behind.server_address[1]}", "--errors",
                     option, "--cors=false", "--verboseLevel=error", f"--port={config[name]}"], cwd=packages, stdout=log, stderr=log))
        for p, name in zip(running, config):
            def is_up(name=name):
                with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", config[name]), 1):
                    return True
                return False
            wait_for(lambda p=p, is_up=is_up: is_up() or p.poll() is not None, 60, "prism")
            assert p.poll() is None, (packages / f"{name}.log").read_text()
        yield config
    finally:
        for p in running:
            p.terminate()
            p.wait(within(20))
        behind.shutdown()
        behind.server_close()


def test_the_suite_through_prism(packages, prism, tmp_path):
    """Every request that is right goes through a prism that checks it and its answer, every wrong one through one that checks
    its answer; a violation fails the test that made it."""
    log = tmp_path / "log"
    left_out = []
    for file, names in LEFT_OUT.items():
        for name in names:
            assert f"def test_{name}(" in (HERE / file).read_text(), name
            left_out.append(f"--deselect={file}::test_{name}")
    env = os.environ | {"REEVE_TEST_PRISM": json.dumps(prism | {"log": str(log)}), "REEVE_BUILD": str(BUILD)}

    def run(*what):
        return subprocess.run([sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-m", "not direct", *what], cwd=HERE,
                              env=env, text=True, capture_output=True, timeout=900)
    r = run(*FILES, *left_out)
    # Once more what may have failed for the machine's sake, as tools/check does it. A violation fails each time.
    failed = re.findall(r"^(?:FAILED|ERROR) (\S+?::.+?)(?: - .*)?$", r.stdout, re.M)
    if r.returncode == 1 and 0 < len(failed) <= 3:
        print(r.stdout[-6000:])
        r = run(*failed)
    assert r.returncode == 0, r.stdout[-6000:] + r.stderr[-1000:]
    lines = [json.loads(line) for line in log.read_text().splitlines()]
    print(collections.Counter(how for how, _ in lines))
    right = {operation for how, operation in lines if how == "right"}
    assert len(lines) > 500 and len(right) >= 30, sorted(right)
    assert sum(how == "right" for how, _ in lines) > 300


def test_prism_does_look(prism):
    """An answer that is not as described is not let through, nor is a request."""
    class Wrong(Behind):
        def handle_any(self):
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", "13")
            self.end_headers()
            self.wfile.write(b'{"flags":"x"}')
        do_GET = do_POST = handle_any
    server = http.server.HTTPServer(("127.0.0.1", 0), Wrong)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        for port, path, body in (prism["both"], "/api/flags", None), (prism["answers"], "/api/flags", None), \
                (prism["both"], "/api/keys", b'{"name":"k","role":"king"}'):
            c = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
            c.request("POST" if body else "GET", path, body, {
                openapi.TARGET: json.dumps(server.server_address), "Authorization": "Bearer x", "Content-Type": "application/json"})
            assert b"stoplight.io/prism/errors" in c.getresponse().read(), path
            c.close()
    finally:
        server.shutdown()
        server.server_close()
