"""reevectl monitor: with a service that says what a test says, and with the real API that comes and goes."""
import json
import os
import signal
import subprocess
import time

import pytest
from conftest import CTL, JOB, OTHER, Ctl, problem, response
from patience import within

WAIT = 30


def stream(*parts, cut=False):
    """An answer of events; cut: the connection ends before its end."""
    data = response("".join(parts), kind="text/event-stream", chunked=True)
    return data[:-5] if cut else data


def event(name, id=None, **job):
    data = job if "reason" in job else {"id": JOB, "kind": "echo", "queue": "default", **job}
    return f"event: {name}\n" + (f"id: {id}\n" if id else "") + f"data: {json.dumps(data)}\n\n"


def lines(run):
    """Without the time of day."""
    return [x.split(" ", 1)[1] for x in run.stdout.splitlines()]


def test_a_job_to_its_end(service, ctl):
    service.answers[f"GET /api/jobs/{JOB}/events"] = stream(
        "retry: 2000\n\n", event("state", "5", state="ready"), ": \n\n", event("state", "6", state="running"),
        event("progress", "7", state="running", progress=40, status="page 2\x1b[2J"), event("end", "8", state="succeeded"))
    run = ctl("monitor", JOB, status=0)
    assert lines(run) == [f"{JOB} echo default {x}" for x in ("ready", "running", "running 40% page 2?[2J", "succeeded")]
    assert "text/event-stream" in service.requests[0].fields["accept"]
    run = ctl("monitor", JOB, "--json", status=0)
    assert [json.loads(x)["state"] for x in run.stdout.splitlines()] == ["ready", "running", "running", "succeeded"]


@pytest.mark.parametrize("state, more, text", [
    ("failed", {"error": {"code": "EXIT_1", "message": "no\nluck"}}, "failed: EXIT_1: no?luck"), ("cancelled", {}, "cancelled")])
def test_a_job_that_fails(service, ctl, state, more, text):
    service.answers[f"GET /api/jobs/{JOB}/events"] = stream(event("end", "8", state=state, **more))
    assert lines(ctl("monitor", JOB, status=4)) == [f"{JOB} echo default {text}"]


def test_goes_on_from_the_last_id(service, ctl):
    """Also from an id without data, and never with half an event."""
    half = event("state", "9", state="running")[:-1]
    service.answers[f"GET /api/jobs/{JOB}/events"] = [
        stream(event("state", "5,3", state="ready"), "id: 6\n\n", half, cut=True), problem(503, "stopping", "Stopping"),
        stream(event("close", reason="stopping")), stream(event("end", "11", state="succeeded"))]
    run = ctl("monitor", JOB, status=0)
    assert lines(run) == [f"{JOB} echo default {x}" for x in ("ready", "succeeded")]
    assert [r.fields.get("last-event-id") for r in service.requests] == [None, "9", "9", "9"]
    assert run.stderr.count("is away") == 1


def test_what_the_service_says_of_the_stream(service, ctl):
    service.answers[f"GET /api/jobs/{JOB}/events"] = [stream(event("reset", "2", reason="of another database"), event("close", reason="slow")),
                                                     stream(event("end", "3", state="succeeded"))]
    run = ctl("monitor", JOB, status=0)
    assert "may be missing: of another database" in run.stderr and "ended the stream: slow" in run.stderr


def test_filters_and_refusals(service, ctl):
    service.answers["GET /api/events"] = problem(400, "bad-query", "Wrong", "state: there is no such state.")
    run = ctl("monitor", "--kind=a b", "--queue=q", "--tenant=t", "--state=lost", status=1)
    assert "there is no such state" in run.stderr
    assert service.requests[-1].target == "/api/events?kind=a%20b&queue=q&tenant=t&state=lost"
    service.answers["GET /api/events"] = problem(401, "unauthorized", "Who?")
    ctl("monitor", status=6)
    service.answers["GET /api/events"] = problem(503, "unavailable", "Away")
    ctl("monitor", status=5)
    ctl("monitor", OTHER, status=3)
    ctl("monitor", "no-id", status=2)
    assert "does not go with a job" in ctl("monitor", JOB, "--kind=a", status=2).stderr
    ctl("monitor", JOB, OTHER, status=2)
    service.answers["GET /api/events"] = stream("event: state\ndata: [1]\n\n")
    assert "not a JSON object" in ctl("monitor", status=1).stderr


def test_no_service(tmp_path):
    assert "There is no socket" in Ctl(tmp_path / "none.sock")("monitor", status=5).stderr


@pytest.mark.filterwarnings("ignore::pytest.PytestUnhandledThreadExceptionWarning")
def test_an_event_without_end(service, ctl):
    service.answers["GET /api/events"] = response("data: " + "x" * (5 << 20), kind="text/event-stream")
    assert "too large" in ctl("monitor", status=1).stderr


class Monitor:
    def __init__(self, api, *args):
        self.process = subprocess.Popen([CTL, f"--socket={api.path}", "monitor", *args], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                        text=True, env={"PATH": os.environ["PATH"], "LC_ALL": "C.UTF-8"})

    def end(self, status):
        out, err = self.process.communicate(timeout=within(60))
        assert self.process.returncode == status, (self.process.returncode, out, err)
        return out, err


def wait_streams(api, n):
    end = time.monotonic() + WAIT
    while f"reeve_api_event_streams {n}\n" not in api.get("/metrics").body.decode():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_a_real_job(api):
    job = api.create()["id"]
    m, n = Monitor(api, job), Monitor(api, job, "--json")
    wait_streams(api, 2)
    api.end_job(job, result={"x": 1})
    assert m.end(0)[0].splitlines()[-1].endswith(f"{job} echo default succeeded")
    assert json.loads(n.end(0)[0].splitlines()[-1])["result"] == {"x": 1}
    other = api.create()["id"]
    m = Monitor(api, other)
    wait_streams(api, 1)
    api.post(f"/api/jobs/{other}/cancel", {"reason": "a mistake"})
    assert "cancelled: a mistake" in m.end(4)[0]


@pytest.mark.parametrize("how", ["kill9", "stop"])
def test_the_service_comes_and_goes(start, database, how):
    """Everything is shown, whatever happened while it was away; until Ctrl-C."""
    database.add_kind("echo")
    api = start(keep=True)
    m, one = Monitor(api, "--kind=echo", "--json"), Monitor(api, api.create()["id"])
    wait_streams(api, 2)
    jobs = [api.create()["id"]]
    getattr(api, how)()
    between = str(database.sql("select reeve.enqueue('echo')")[0][0])
    api.start()
    wait_streams(api, 2)
    jobs += [between, api.create()["id"]]
    seen = set()
    for line in m.process.stdout:
        seen.add(json.loads(line)["id"])
        if seen >= set(jobs):
            break
    m.process.send_signal(signal.SIGINT)
    m.end(-signal.SIGINT)
    one.process.kill()
    one.end(-signal.SIGKILL)
