"""No connection, a service that does not speak HTTP, refusals: each says what to do."""
import os
import socket

import pytest
from conftest import JOB, Ctl, problem, response
from patience import within


def test_no_socket(ctl):
    run = ctl("list", status=5)
    assert run.stderr == f"reevectl: There is no socket {ctl.path}: is reeve-api.socket running? Try: systemctl start reeve.target\n"


def test_nobody_listens(ctl):
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(str(ctl.path))
    assert "systemctl status reeve-api.socket" in ctl("list", status=5).stderr


def test_a_socket_that_one_may_not_open(service, ctl):
    if os.getuid() != 0:
        pytest.skip("needs root, to be somebody else")
    import subprocess
    from conftest import CTL
    ctl.path.chmod(0o600)
    top = ctl.path.parent
    while str(top) != "/tmp" and str(top) != "/":
        top.chmod(0o755)
        top = top.parent
    copy = ctl.path.parent / "reevectl"
    copy.write_bytes(CTL.read_bytes())
    copy.chmod(0o755)
    run = subprocess.run(["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", copy, f"--socket={ctl.path}", "list"],
                         capture_output=True, text=True, timeout=30)
    assert run.returncode == 6 and "group reeve-admin" in run.stderr


def test_a_path_that_is_too_long():
    assert "File name too long" in Ctl("/tmp/" + "x" * 200)("list", status=5).stderr


@pytest.mark.parametrize("answer, status, text", [
    (b"", 5, "closed before the answer was whole"),
    (b"SSH-2.0-OpenSSH_9.2\r\n", 1, "does not begin as HTTP/1.1 does"),
    (b"HTTP/1.1 200 OK\r\n\r\n", 1, "neither a length nor chunks"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n{}", 5, "closed before"),
    (b"HTTP/1.1 200 OK\r\nContent-Length: 99999999999\r\n\r\n", 1, "too large"),
    (response("<html>", kind="text/html"), 1, "not JSON"),
    (response({"things": []}), 1, 'no list "jobs"'),
    (problem(401, "unauthorized", "Credentials are needed"), 6, "--key-file"),
    (problem(403, "forbidden", "This is not allowed", "uid:7 may not."), 6, "uid:7 may not. On the unix socket"),
    (problem(403, "forbidden", "This is not allowed"), 6, "[Peer] in reeve.conf(5)"),
    (problem(503, "unavailable", "Not available", "The database is away. Try again."), 5, "The database is away. Try again. More by"),
    (problem(400, "bad-query", "A query parameter is wrong", "state: there is no such state."), 1, "state: there is no such state. (HTTP 400)"),
    (response("gone", 404, "text/plain"), 3, "gave no reason. (HTTP 404)"),
    (problem(400, "x", "x", "a\x1b[2Jb"), 1, "a?[2Jb"),
])
def test_answers(service, ctl, answer, status, text):
    service.answers["GET /api/jobs"] = answer
    run = ctl("list", status=status)
    assert text in run.stderr and run.stdout == "" and run.stderr.count("\n") == 1


def test_requests_are_strict_http(service, ctl):
    service.answers["GET /api/jobs"] = response({"jobs": []})
    ctl("list", status=0)
    request = service.requests[0]
    assert request.version == "HTTP/1.1" and request.fields["host"] == "localhost" and request.fields["connection"] == "close"
    assert request.fields["user-agent"].startswith("reevectl/") and "content-length" not in request.fields


def test_by_tcp_with_a_key(tcp, ctl, tmp_path):
    tcp.answers["GET /api/jobs"] = response({"jobs": []})
    (tmp_path / "key").write_text("rk_abc\n")
    run = Ctl("unused")
    import subprocess
    from conftest import CTL
    call = lambda *a: subprocess.run([CTL, *a], capture_output=True, text=True, timeout=within(30))
    assert call(f"--url={tcp.url}", f"--key-file={tmp_path}/key", "list").returncode == 0
    assert tcp.requests[0].fields["authorization"] == "Bearer rk_abc"
    assert tcp.requests[0].fields["host"] == tcp.url[7:]
    (tmp_path / "key").write_text("rk_abc\r\nX: y\n")
    assert call(f"--url={tcp.url}", f"--key-file={tmp_path}/key", "list").returncode == 1
    assert call(f"--url={tcp.url}", f"--key-file={tmp_path}/no", "list").returncode == 1
    assert call("--url=https://x", "list").returncode == 2
    assert run("--url=http://x", "list").returncode == 2
    assert len(tcp.requests) == 1
    port = socket.create_server(("127.0.0.1", 0))
    url = f"http://127.0.0.1:{port.getsockname()[1]}"
    port.close()
    refused = call(f"--url={url}", "list")
    assert refused.returncode == 5 and "Connection refused" in refused.stderr
    assert call("--url=http://does-not-exist.invalid", "list").returncode == 5


def test_quotes_in_a_job_id_do_not_reach_the_service(service, ctl):
    for bad in ("x", JOB + "/cancel", JOB + "?a", "", "0" * 36):
        assert "not the id" in ctl("show", "--", bad, status=2).stderr
    assert service.requests == []
