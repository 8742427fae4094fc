"""Programs elsewhere that take jobs (examples/pull.py, pull.mjs), with the real API, and a worker that frees what they leave."""
import os
import shutil
import signal
import subprocess
import time

import pytest

from conftest import wait_for
from test_examples import INTERPRETERS, TREE, api, language  # noqa: F401
from patience import within


@pytest.fixture
def puller(world, api, language, tmp_path):  # noqa: F811
    started = []

    def start(code=None, lease="1s", errors=None):
        (world.kinds / "words.kind").write_text(f"[Kind]\nRetrySec=100ms\nMaxAttempts=2\n[Pull]\nLeaseSec={lease}\n")
        if not world.workers:
            world.start()
        for name in ("reeve", "pull"):
            shutil.copy(TREE / f"examples/{name}.{language}", tmp_path)
        program = tmp_path / f"pull.{language}"
        if code:
            text = program.read_text()
            assert code[0] in text
            program.write_text(text.replace(*code))
        with open(errors or "/dev/stderr", "wb") as err:
            p = subprocess.Popen([INTERPRETERS[language], str(program), api.path, "words"], stderr=err)
        started.append(p)
        return p
    yield start
    for p in started:
        p.kill()
        p.wait(within(10))


def test_without_arguments_it_says_which(language, tmp_path):  # noqa: F811
    run = subprocess.run([INTERPRETERS[language], TREE / f"examples/pull.{language}"], capture_output=True, text=True)
    assert run.returncode == 1 and "https://jobs.example.org" in run.stderr and "Error" not in run.stderr, run.stderr


def test_a_refusal_ends_it_with_a_line(world, api, puller, language, tmp_path):  # noqa: F811
    puller().kill()
    run = subprocess.run([INTERPRETERS[language], str(tmp_path / f"pull.{language}"), api.path, "nothing"], capture_output=True, text=True,
                         timeout=within(30))
    assert run.returncode == 1 and run.stderr.startswith(f"pull.{language}: 4") and "nothing" in run.stderr, run.stderr
    assert run.stderr.count("\n") == 1, run.stderr


def test_jobs_are_done_elsewhere(world, puller):
    puller()
    jobs = [world.enqueue("words", {"text": "to be or not to be"}) for _ in range(5)]
    for id in jobs:
        job = world.wait(id)
        assert (job["state"], job["result"], job["host"]) == ("succeeded", {"words": 6}, os.uname().nodename), job
    job = world.wait(world.enqueue("words", {"text": ""}))
    assert (job["state"], job["attempt"], job["error"]) == ("failed", 1, {"code": "no-text", "message": "the payload has no text"})
    assert world.workers[0].log_has("is instance") and not world.host.launchers


def test_one_that_dies_loses_its_runs(world, puller, language):  # noqa: F811
    stuck = {"py": ('run.progress(50, "counting")', "import time; run.progress(50); time.sleep(100)"),
             "mjs": ("await run.progress(50, 'counting');", "await run.progress(50); await sleep(100000);")}[language]
    p = puller(stuck)
    id = world.enqueue("words", {"text": "a b"})
    wait_for(lambda: world.db.value("select count(*) from reeve.progress where job = %s", id), what="the run")
    time.sleep(2.5)  # longer than the lease: it is renewed
    assert world.db.value("select count(*) from reeve.lease where job = %s", id) == 1
    p.send_signal(signal.SIGKILL)
    wait_for(lambda: world.db.value("select count(*) from reeve.lease") == 0, 20, "its lease has ended")
    puller()
    job = world.wait(id)
    assert (job["state"], job["result"], job["interruptions"]) == ("succeeded", {"words": 2}, 1), job
    assert [(h["event"], h["cause"]) for h in world.history(id)] == [("interrupt", "lease-expired")]


def test_one_that_was_stopped_is_told_that_its_run_is_lost(world, puller, language, tmp_path):  # noqa: F811
    slow = {"py": ('run.progress(50, "counting")', "run.progress(50); run.cancelled.wait(60); None"),
            "mjs": ("await run.progress(50, 'counting');",
                    "await run.progress(50); await new Promise((r) => run.cancelled.addEventListener('abort', r));")}[language]
    errors = tmp_path / "errors"
    p = puller(slow, errors=errors)
    id = world.enqueue("words", {"text": "a b c"})
    wait_for(lambda: world.db.value("select count(*) from reeve.progress where job = %s", id), what="the run")
    p.send_signal(signal.SIGSTOP)
    wait_for(lambda: world.db.value("select count(*) from reeve.lease") == 0, 20, "its lease has ended")
    puller()
    job = world.wait(id)
    p.send_signal(signal.SIGCONT)   # its late result changes nothing, and it goes on
    wait_for(lambda: "409" in errors.read_text(), what="its late result is refused")
    assert world.job(id) == job and job["state"] == "succeeded" and job["result"] == {"words": 3}
    assert p.poll() is None


def test_a_cancel_reaches_it(world, puller, language):  # noqa: F811
    slow = {"py": ('run.progress(50, "counting")', "run.progress(50); run.cancelled.wait(60); raise reeve.Retry('stopped')"),
            "mjs": ("await run.progress(50, 'counting');",
                    "await run.progress(50); await new Promise((r) => run.cancelled.addEventListener('abort', r)); throw new Retry('stopped');")}[language]
    puller(slow)
    id = world.enqueue("words", {"text": "a"})
    wait_for(lambda: world.db.value("select count(*) from reeve.progress where job = %s", id), what="the run")
    assert world.db.value("select reeve.cancel(%s)", id) == "cancelling"
    assert world.wait(id)["state"] == "cancelled"
