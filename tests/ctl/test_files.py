"""The files of a job: listed, fetched piece by piece, under names that stay where they belong."""
import json
import os
import resource
import subprocess
import time

from conftest import CTL, JOB, Ctl, problem, response
from patience import within

BASE = f"/api/jobs/{JOB}/files"
FILES = [{"name": "doc ü.pdf", "direction": "input", "size": 12}, {"name": "a.txt", "direction": "output", "size": 3, "digest": "sha256:x"},
         {"name": "sub/b.txt", "direction": "output", "size": 1_300_000, "content_type": "text/plain"}]


def serve(service, files=None):
    service.answers[f"GET {BASE}"] = response({"files": FILES if files is None else files})
    service.answers.update({f"GET {BASE}/a.txt": response(b"abc", kind="text/plain"),
                            f"GET {BASE}/doc%20%C3%BC.pdf": response(b"%PDF\0\r\n", kind="application/pdf"),
                            f"GET {BASE}/sub/b.txt": response(b"b" * 1_300_000, kind="text/plain", chunked=True)})


def tree(path):
    return {str(p.relative_to(path)): p.read_bytes() for p in sorted(path.rglob("*")) if p.is_file()}


def test_list(service, ctl):
    serve(service)
    rows = [x.split() for x in ctl("files", JOB, status=0).stdout.splitlines()]
    assert rows == [["NAME", "DIRECTION", "SIZE", "TYPE"], ["doc", "ü.pdf", "input", "12B", "-"], ["a.txt", "output", "3B", "-"],
                    ["sub/b.txt", "output", "1.2M", "text/plain"]]
    assert [json.loads(x) for x in ctl("files", JOB, "--json", status=0).stdout.splitlines()] == FILES
    serve(service, [])
    assert ctl("files", JOB, status=0).stderr == "No files.\n"


def test_fetch(service, ctl, tmp_path):
    serve(service)
    out = tmp_path / "out"
    out.mkdir()
    assert ctl("files", JOB, "--all", f"--output={out}", status=0).stdout == ""
    assert tree(out) == {"a.txt": b"abc", "sub/b.txt": b"b" * 1_300_000}
    ctl("files", JOB, "doc ü.pdf", f"--output={out}", status=0)
    assert (out / "doc ü.pdf").read_bytes() == b"%PDF\0\r\n"
    here = subprocess.run([CTL, f"--socket={ctl.path}", "files", JOB, "a.txt"], cwd=tmp_path, timeout=within(30))
    assert here.returncode == 0 and (tmp_path / "a.txt").read_bytes() == b"abc"
    assert ctl("files", JOB, "a.txt", "a.txt", "--output=-", status=0).stdout == "abcabc"


def test_what_is_there_stays(service, ctl, tmp_path):
    serve(service)
    (tmp_path / "a.txt").write_text("mine")
    run = ctl("files", JOB, "--all", f"--output={tmp_path}", status=1)
    assert "a.txt is there already and stays as it is" in run.stderr
    assert (tmp_path / "a.txt").read_text() == "mine" and (tmp_path / "sub/b.txt").exists(), "the others are fetched"


def test_names_stay_below_the_directory(service, ctl, tmp_path):
    out = tmp_path / "out"
    out.mkdir()
    (tmp_path / "elsewhere").mkdir()
    (out / "link").symlink_to(tmp_path / "elsewhere")
    for name in ("../x", "/etc/x", "a/../../x", "a//b", ".", "..", "a/.", "a\x1b[m", "a/", "link/x", "x" * 5000):
        serve(service, [{"name": name, "direction": "output", "size": 3}])
        service.answers.update({f"GET {BASE}/{n}": response(b"bad") for n in ("x", "link/x", "..%2Fx")})
        run = ctl("files", JOB, "--all", f"--output={out}")
        assert run.returncode in (1, 2) and run.stderr and "\x1b" not in run.stderr, name
    assert tree(tmp_path) == {}
    assert all(r.path == BASE for r in service.requests), "nothing was even asked for"


def test_half_a_file_is_none(service, ctl, tmp_path):
    serve(service)
    service.answers[f"GET {BASE}/a.txt"] = response(b"abc" * 1000)[:-1]
    assert "before the answer was whole" in ctl("files", JOB, "a.txt", f"--output={tmp_path}", status=5).stderr
    assert tree(tmp_path) == {} and not [p for p in tmp_path.iterdir() if p.name != "api.sock"]


def test_what_is_not_there(service, ctl, tmp_path):
    service.answers[f"GET {BASE}/a.txt"] = problem(404, "not-found", "There is no such thing", f"Job {JOB} has no such file.")
    assert "has no such file" in ctl("files", JOB, "a.txt", f"--output={tmp_path}", status=3).stderr
    assert tree(tmp_path) == {}
    for args in (("files", "x"), ("files", JOB, "--output=x"), ("files", JOB, "a", "--all"), ("files",)):
        assert ctl(*args, status=2).stderr
    serve(service)
    assert "Cannot make" in ctl("files", JOB, "a.txt", f"--output={tmp_path}/no", status=1).stderr
    with open("/dev/full", "w") as full:
        run = subprocess.run([CTL, f"--socket={ctl.path}", "files", JOB, "a.txt", "--output=-"], stdout=full, stderr=subprocess.PIPE, text=True,
                             timeout=30)
    assert run.returncode == 1 and "No space left" in run.stderr


def test_a_large_file_is_never_whole_in_memory(service, tmp_path):
    """200 MB with 100 MB of address space beyond what the program takes for itself; under ASan the file alone is looked at."""
    size = 200_000_000
    service.answers[f"GET {BASE}/big"] = response(b"x" * size)
    sanitized = b"__asan" in CTL.read_bytes()
    limit = None if sanitized else lambda: resource.setrlimit(resource.RLIMIT_AS, (100_000_000, 100_000_000))
    run = subprocess.run([CTL, f"--socket={service.listener.getsockname()}", "files", JOB, "big", f"--output={tmp_path}"], preexec_fn=limit,
                         capture_output=True, text=True, timeout=120)
    assert run.returncode == 0, run.stderr
    assert (tmp_path / "big").stat().st_size == size


def test_completion_knows_the_names(service, ctl):
    serve(service)
    words = subprocess.run([CTL, "complete", "--", f"--socket={ctl.path}", "files", JOB, "s"], capture_output=True, text=True, timeout=within(30))
    assert words.stdout == "sub/b.txt\n"


def test_real_files(api, tmp_path):
    real = Ctl(api.path)
    (tmp_path / "doc.pdf").write_bytes(os.urandom(3_000_000))
    job = real("submit", "pdf", f"--file=ä b.pdf={tmp_path}/doc.pdf", status=0).stdout.strip()
    out = tmp_path / "out"
    out.mkdir()
    real("files", job, "ä b.pdf", f"--output={out}", status=0)
    assert (out / "ä b.pdf").read_bytes() == (tmp_path / "doc.pdf").read_bytes()
    assert "3" == str(real("files", job, "nothing").returncode)


# ---- logs --follow

def journalctl(tmp_path):
    """A journal that has one line, and that waits for more with --follow."""
    script = tmp_path / "journalctl"
    script.write_text('#!/bin/sh\necho "$@"\ncase "$*" in *--follow*) exec sleep 600;; esac\n')
    script.chmod(0o755)
    return {"PATH": f"{tmp_path}:{os.environ['PATH']}"}


def test_logs_of_an_ended_job_end(service, ctl, tmp_path):
    service.answers[f"GET /api/jobs/{JOB}"] = response({"id": JOB, "state": "failed"})
    out = ctl("logs", "-f", JOB, env=journalctl(tmp_path), status=0).stdout
    assert out.splitlines()[-1] == f"--quiet --output=short-iso REEVE_JOB_ID={JOB}"


def test_logs_of_a_running_job_end_with_it(service, ctl, tmp_path):
    away = problem(503, "stopping", "The service is being restarted")
    running = response({"id": JOB, "state": "running"})
    service.answers[f"GET /api/jobs/{JOB}"] = [running, running, away, b"", response({"id": JOB, "state": "succeeded"})]
    t0 = time.monotonic()
    run = ctl("logs", "-f", JOB, env=journalctl(tmp_path), status=0)
    assert run.stdout.splitlines()[0].endswith(f"REEVE_JOB_ID={JOB} --follow") and run.stderr == ""
    assert time.monotonic() - t0 < within(30)
    left = subprocess.run(["pgrep", "-f", f"REEVE_JOB_ID={JOB} --follow"], capture_output=True, text=True).stdout
    assert left == "", "journalctl has ended too"


def test_logs_of_nobody(service, ctl, tmp_path):
    ctl("logs", "-f", JOB, env=journalctl(tmp_path), status=3)
