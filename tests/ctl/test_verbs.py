"""What each verb asks, prints and returns."""
import json
import os
import pathlib
import re
import stat
import subprocess

import pytest
from conftest import CTL, JOB, OTHER, problem, response
from patience import within

SUCCEEDED = {"id": JOB, "kind": "hello", "queue": "default", "priority": 5, "tenant": "default", "state": "succeeded",
             "created_at": "2026-11-22T10:00:00.125+00:00", "finished_at": "2026-11-22T10:00:02+00:00", "attempt": 1,
             "max_attempts": 3, "cause": "exit", "exit_status": 0, "cpu_usec": 1500, "result": {"pages": 12, "big": 12345678901234567890}}
FAILED = {**SUCCEEDED, "state": "failed", "error": {"code": "EX_DATAERR", "message": "no PDF \x1b[2J"}}
FAILED.pop("result")
RUNNING = {"id": JOB, "kind": "hello", "queue": "default", "state": "running", "attempt": 1, "progress": 40, "status": "page 2",
           "created_at": "2026-11-22T10:00:00.125+00:00"}
CREATED = response({"id": JOB, "outcome": "created", "state": "ready"}, 202)


def test_submit_prints_the_id(service, ctl):
    service.answers["POST /api/jobs"] = CREATED
    run = ctl("submit", "hello", '{"name": 1.0}', "--queue=q", "--priority", "7", "--delay=5min", "--unique-key=u", "--tenant=t",
              "--subject=s", "--timeout=10s", "--max-attempts=2", "--idempotency-key=i k", status=0)
    assert run.stdout == JOB + "\n" and run.stderr == ""
    request = service.requests[0]
    assert request.fields["content-type"] == "application/json" and request.fields["idempotency-key"] == "i k"
    assert request.json == {"kind": "hello", "payload": {"name": 1.0}, "queue": "q", "priority": 7, "delay": "5min", "unique_key": "u",
                            "tenant": "t", "subject": "s", "timeout": "10s", "max_attempts": 2}
    assert b'{"name": 1.0}' in request.body, "the payload is handed over as it was written"


def test_submit_takes_the_payload_from_standard_input(service, ctl):
    service.answers["POST /api/jobs"] = CREATED
    ctl("submit", "hello", "-", stdin='\n["ä", 1e400]\n', status=0)
    assert b'1e400' in service.requests[0].body
    ctl("submit", "hello", "--run-at=2026-11-22T11:00:00+01:00", status=0)
    assert service.requests[1].json == {"kind": "hello", "payload": None, "run_at": "2026-11-22T10:00:00.000Z"}


def test_submit_of_what_is_wrong_asks_nobody(service, ctl):
    for args, text in ((("hello", "{a}"), "line 1, column 2"), (("hello", "{}", "x"), "one too many"), (("a/b",), "not a name"),
                       (("hello", "--priority=11"), "from 1 to 10"), (("hello", "--delay=soon"), "time span"),
                       (("hello", "--run-at=tomorrow"), "not a time"), (("hello", "--delay=1s", "--run-at=2026-11-22T10:00:00Z"), "exclude"),
                       (("hello", "--file=a/b=c"), "may not"), ((), "missing"), (("hello", "--state=ready"), "does not go with"),
                       (("hello", "--idempotency-key=a\nb"), "printable")):
        run = ctl("submit", *args, status=2)
        assert text in run.stderr, run.stderr
    assert service.requests == []


def test_submit_sends_files_as_a_form(service, ctl, tmp_path):
    service.answers["POST /api/jobs"] = CREATED
    (tmp_path / "one.pdf").write_bytes(b"%PDF\r\n\0" * 100000)
    (tmp_path / "empty").write_bytes(b"")
    run = ctl("submit", "pdf", '{"a":1}', f"--file=doc.pdf={tmp_path}/one.pdf", f"--file={tmp_path}/empty", status=0)
    assert run.stdout == JOB + "\n"
    request = service.requests[0]
    kind, boundary = request.fields["content-type"].split("; boundary=")
    assert kind == "multipart/form-data"
    first, *parts, last = (b"\r\n" + request.body).split(b"\r\n--" + boundary.encode())
    assert first == b"" and last == b"--\r\n"
    heads, bodies = zip(*(p[2:].split(b"\r\n\r\n", 1) for p in parts))
    assert json.loads(bodies[0]) == {"kind": "pdf", "payload": {"a": 1}} and b'name="job"' in heads[0]
    assert bodies[1] == b"%PDF\r\n\0" * 100000 and b'filename="doc.pdf"' in heads[1]
    assert bodies[2] == b"" and b'filename="empty"' in heads[2]


def test_a_missing_file_makes_no_job(service, ctl, tmp_path):
    assert f"Cannot open {tmp_path}/no" in ctl("submit", "pdf", f"--file=a={tmp_path}/no", status=1).stderr
    assert "not a regular file" in ctl("submit", "pdf", f"--file=a={tmp_path}", status=1).stderr
    assert service.requests == []


def test_an_answer_in_mid_upload_is_read(service, ctl, tmp_path):
    service.answers["early"] = problem(413, "body-too-large", "The body is too large", "At most 1 GiB.")
    with open(tmp_path / "large", "wb") as f:
        f.truncate(50_000_000)
    run = ctl("submit", "pdf", f"--file=a={tmp_path}/large", status=1)
    assert run.stderr == "reevectl: At most 1 GiB. (HTTP 413)\n"


def test_submit_and_wait_prints_the_result(service, ctl):
    service.answers.update({"POST /api/jobs": CREATED, f"GET /api/jobs/{JOB}": [response(RUNNING), response(SUCCEEDED)]})
    run = ctl("submit", "hello", "--wait", status=0)
    assert json.loads(run.stdout) == SUCCEEDED["result"] and "12345678901234567890" in run.stdout
    assert run.stderr.splitlines() == [JOB, f"{JOB}: running 40% page 2", f"{JOB}: succeeded"]


def test_a_failed_job_is_exit_status_4(service, ctl):
    service.answers.update({"POST /api/jobs": CREATED, f"GET /api/jobs/{JOB}": response(FAILED)})
    run = ctl("submit", "hello", "--wait", status=4)
    assert run.stdout == ""
    assert run.stderr.splitlines()[-1] == f"{JOB}: failed: EX_DATAERR: no PDF ?[2J", "no control characters"
    ctl("wait", JOB, status=4)
    service.answers[f"GET /api/jobs/{JOB}"] = response({**FAILED, "state": "cancelled", "error": None, "reason": "no more"})
    assert "cancelled: no more" in ctl("wait", JOB, status=4).stderr


def test_wait_for_several_and_one_that_is_not_there(service, ctl):
    service.answers[f"GET /api/jobs/{JOB}"] = [response(RUNNING), response(RUNNING), response(SUCCEEDED)]
    run = ctl("wait", OTHER, JOB, status=3)
    assert f"{JOB}: succeeded" in run.stderr and run.stdout == ""
    run = ctl("wait", JOB, "--json", status=0)
    assert json.loads(run.stdout) == SUCCEEDED


def test_wait_outlives_a_service_that_is_away(service, ctl):
    away = problem(503, "stopping", "The service is being stopped or restarted")
    service.answers[f"GET /api/jobs/{JOB}"] = [response(RUNNING), away, b"", response(SUCCEEDED)]
    run = ctl("wait", JOB, status=0)
    assert run.stderr.count("is away") == 1 and f"{JOB}: succeeded" in run.stderr
    service.answers[f"GET /api/jobs/{JOB}"] = away
    run = ctl("wait", JOB, status=5)
    assert "being stopped" in run.stderr, "a service that never answered is not waited for"


def test_show(service, ctl):
    files = {"files": [{"name": "a.txt", "direction": "output", "size": 12}]}
    service.answers.update({f"GET /api/jobs/{JOB}": response(FAILED), f"GET /api/jobs/{JOB}/files": response(files)})
    run = ctl("show", JOB, status=0)
    lines = [line.strip() for line in run.stdout.splitlines()]
    assert f"Job: {JOB}" in lines and "State: failed" in lines and "Created: 2026-11-22 12:00:00" in lines
    assert "Error: EX_DATAERR: no PDF ?[2J" in lines and "File: a.txt (output, 12 bytes)" in lines
    assert ctl("show", JOB, "--json", status=0).stdout == json.dumps(FAILED) + "\n"
    more = {"payload": ["ü" * 300], "child_states": {"succeeded": 3, "running": 2, "unheard-of": 1}}
    service.answers[f"GET /api/jobs/{JOB}"] = response({**FAILED, **more})
    lines = [line.strip() for line in ctl("show", JOB, status=0).stdout.splitlines()]
    assert "Children: 2 running, 3 succeeded" in lines
    (payload,) = [x for x in lines if x.startswith("Payload:")]
    assert payload.endswith("... (--json shows all of it)") and len(payload) < 460
    assert json.loads(ctl("show", JOB, "--json", status=0).stdout)["payload"] == more["payload"]
    for n, shown in (11, 11), (12, 10):
        service.answers[f"GET /api/jobs/{JOB}/files"] = response({"files": files["files"] * n})
        run = ctl("show", JOB, status=0)
        assert run.stdout.count("File:") == shown and (f"2 more, see reevectl files {JOB}" in run.stdout) == (n == 12)


def test_what_people_read_of_a_job(service, ctl):
    service.answers.update({f"GET /api/jobs/{JOB}": response({**SUCCEEDED, "max_rss": 12_900_000, "actor": "uid:0"}),
                            f"GET /api/jobs/{JOB}/files": response({"files": []}), "GET /api/jobs": response({"jobs": [SUCCEEDED, FAILED, RUNNING]})})
    lines = [line.strip() for line in ctl("show", JOB, status=0).stdout.splitlines()]
    assert "Memory: 12.3M" in lines and "By: uid:0 (root)" in lines
    assert '"max_rss": 12900000' in ctl("show", JOB, "--json", status=0).stdout
    assert [x.split()[4] for x in ctl("list", status=0).stdout.splitlines()] == ["DONE", "100%", "-", "40%"]


NO_SOCKET = {"code": "NO_SOCKET", "message": "no reeve-run-hello.socket listens", "host": "far", "at": "2026-11-22T10:00:01Z"}


def test_a_job_that_cannot_be_run_says_why(service, ctl):
    held = {**RUNNING, "state": "ready", "progress": None, "status": None, "attempt": 0, "last_error": NO_SOCKET}
    service.answers.update({f"GET /api/jobs/{JOB}": response(held), f"GET /api/jobs/{JOB}/files": response({"files": []})})
    assert "Last error: NO_SOCKET: no reeve-run-hello.socket listens (2026-11-22 12:00:01, far)\n" in ctl("show", JOB, status=0).stdout
    service.answers[f"GET /api/jobs/{JOB}"] = [response({**held, "last_error": None}), response(held), response(held), response(SUCCEEDED)]
    assert ctl("wait", JOB, status=0).stderr.splitlines() == [
        f"{JOB}: ready", f"{JOB}: ready: NO_SOCKET: no reeve-run-hello.socket listens", f"{JOB}: succeeded"]


def test_status_names_the_kinds_that_cannot_be_run(service, ctl):
    kept = {"kind": "bad", "code": "KIND_KEPT_OUT", "message": "/etc/reeve/kinds/bad.kind:2: Priority=x"}
    lost = {"kind": "lost", "code": "NO_SOCKET", "message": "nothing listens", "since": "2026-11-22T10:00:01Z"}
    gone = {"kind": "gone", "code": "HANDLER_MISSING", "message": "there is no program /x", "since": "2026-11-22T10:00:01Z"}
    full = {"kind": "full", "code": "NO_SPACE", "message": "no room", "since": "2026-11-22T10:00:01Z"}
    two = {**WORKER, "name": "default:2", "faults": [lost]}
    fleet(service, workers=[{**WORKER, "faults": [kept, lost, gone, full]}, two])
    faults = json.loads(ctl("status", "--json", status=1).stdout)["faults"]
    assert [f["what"] for f in faults] == [
        f"Kind bad cannot be run on {WORKER['host']}: KIND_KEPT_OUT: /etc/reeve/kinds/bad.kind:2: Priority=x.",
        f"Kind lost cannot be run on {WORKER['host']} since 2026-11-22 12:00:01: NO_SOCKET: nothing listens.",
        f"Kind gone cannot be run on {WORKER['host']} since 2026-11-22 12:00:01: HANDLER_MISSING: there is no program /x.",
        f"Kind full cannot be run on {WORKER['host']} since 2026-11-22 12:00:01: NO_SPACE: no room."]
    assert "df -h /tmp" in faults.pop()["remedy"]
    assert "systemctl restart reeve-run-lost.socket" in faults[1]["remedy"] and all("reevectl kinds check" in f["remedy"] for f in faults[::2])
    assert "Nothing is wrong." not in ctl("status", status=1).stdout


def test_show_history(service, ctl):
    history = [{"at": "2026-11-22T10:00:00Z", "event": "enqueue", "actor": "uid:0"},
               {"at": "2026-11-22T10:00:01Z", "event": "retry", "to": "scheduled", "attempt": 1, "cause": "exit", "exit_status": 75,
                "host": "h", "log": "one\ntwo\x1b[m\n"}]
    service.answers[f"GET /api/jobs/{JOB}/history"] = response({"history": history})
    rows = [line.split() for line in ctl("show", JOB, "--history", status=0).stdout.splitlines()]
    assert rows[0] == ["TIME", "EVENT", "STATE", "ATTEMPT", "HOST", "BY", "WHY"]
    assert rows[2] == ["2026-11-22", "12:00:01", "retry", "scheduled", "1", "h", "-", "exit,", "exit", "status", "75"]
    lines = ctl("show", JOB, "--history", "--json", status=0).stdout.splitlines()
    assert [json.loads(x) for x in lines] == history


def pages(request):
    first = "cursor" not in request.target
    jobs = [{**RUNNING, "id": JOB if first else OTHER}]
    return response({"jobs": jobs, **({"next": JOB} if first else {})}, chunked=True)


def test_list_goes_through_the_pages(service, ctl):
    service.answers["GET /api/jobs"] = pages
    run = ctl("list", "--all", "--state=running", "--kind=hello", "--queue=a&b", status=0)
    rows = [line.split() for line in run.stdout.splitlines()]
    assert rows[0] == ["ID", "KIND", "QUEUE", "STATE", "DONE", "ATTEMPT", "CREATED", "BLOCKED", "BY"]
    assert rows[1:] == [[i, "hello", "default", "running", "40%", "1", "2026-11-22", "12:00:00", "-"] for i in (JOB, OTHER)]
    assert [r.target for r in service.requests] == [
        "/api/jobs?limit=200&state=running&kind=hello&queue=a%26b",
        f"/api/jobs?limit=200&state=running&kind=hello&queue=a%26b&cursor={JOB}"]
    run = ctl("list", "--limit=1", status=0)
    assert len(run.stdout.splitlines()) == 2 and "There are more" in run.stderr
    run = ctl("list", "--json", status=0)
    assert [json.loads(x)["id"] for x in run.stdout.splitlines()] == [JOB, OTHER]
    service.answers["GET /api/jobs"] = response({"jobs": []})
    run = ctl("list", status=0)
    assert run.stdout == "" and run.stderr == "No jobs.\n"


def test_a_page_that_names_itself_ends(service, ctl):
    service.answers["GET /api/jobs"] = response({"jobs": [RUNNING], "next": JOB})
    ctl("list", "--all", status=0)
    assert len(service.requests) == 2


def test_cancel_and_retry(service, ctl):
    service.answers.update({
        f"POST /api/jobs/{JOB}/cancel": response({"id": JOB, "outcome": "cancelled"}),
        f"POST /api/jobs/{OTHER}/cancel": problem(409, "conflict", "The state does not allow this", f"Job {OTHER} has ended."),
        f"POST /api/jobs/{JOB}/retry": response({**RUNNING, "id": OTHER, "retry_of": JOB}, 202)})
    run = ctl("cancel", OTHER, JOB, "--reason", 'it is "wrong"', status=1)
    assert run.stdout == f"{JOB}: cancelled\n" and run.stderr == f"reevectl: Job {OTHER} has ended. (HTTP 409)\n"
    assert service.requests[1].json == {"reason": 'it is "wrong"'}
    assert ctl("retry", JOB, status=0).stdout == OTHER + "\n"
    assert service.last(f"POST /api/jobs/{JOB}/retry").json == {}
    ctl("cancel", "019aa905-7c00-7000-8000-000000000003", status=3)
    assert "not the id" in ctl("cancel", "../queues", status=2).stderr


WORKER = {"id": 1, "host": "h", "name": "default", "version": "0.1.0", "state": "busy", "slots": 4, "busy": 2, "jobs_done": 7,
          "kinds": ["hello"], "queues": ["*", "!inline"], "heartbeat_at": "2099-01-01T00:00:00Z"}
HEALTH = {"status": "ok", "version": "0.1.0", "checks": {"database": "ok", "schema": "ok", "blobs": "ok"}}
STATS = {"jobs": {"ready": 3, "scheduled": 0, "blocked": 0, "waiting": 1, "running": 2}, "schema_version": 1}
QUEUES = [{"name": "default", "paused": False, "ready": 3, "running": 2, "more": False, "oldest_at": "2026-11-22T10:00:00Z"}]
KINDS = [{"name": "hello", "description": "says it", "queue": "default", "priority": 5, "max_attempts": 3, "timeout_usec": 90000000,
          "workers": 1}]


def fleet(service, health=HEALTH, workers=(WORKER,), queues=QUEUES, kinds=KINDS):
    service.answers.update({"GET /api/health": response(health, 200 if health["status"] == "ok" else 503), "GET /api/stats": response(STATS),
                           "GET /api/workers": response({"workers": list(workers)}), "GET /api/queues": response({"queues": queues}),
                           "GET /api/kinds": response({"kinds": kinds})})


def test_status_of_what_is_well(service, ctl):
    fleet(service)
    run = ctl("status", status=0)
    assert "Nothing is wrong." in run.stdout and "ok, schema 1" in run.stdout and "3 ready, 2 running" in run.stdout
    rows = [line.split() for line in run.stdout.splitlines()]
    assert ["h/default", "busy", "4", "2", "7", "0.1.0", "2099-01-01", "02:00:00"] in rows
    assert ["default", "3", "0", "2", "2026-11-22", "12:00:00", "-"] in rows
    whole = json.loads(ctl("status", "--json", status=0).stdout)
    assert whole["health"] == HEALTH and whole["workers"] == [WORKER] and whole["faults"] == []


def test_a_database_that_is_away_is_told_once(service, ctl):
    detail = "The database is away. Try again."
    fleet(service, health=HEALTH | {"status": "degraded", "detail": detail, "checks": {"database": "away", "schema": "ok"}})
    assert f"  - {detail}\n" in ctl("status", status=1).stdout
    fleet(service, health=HEALTH | {"status": "degraded", "checks": {"database": "stuck", "schema": "ok"}})
    assert "  - The database is stuck.\n" in ctl("status", status=1).stdout


def test_status_names_what_is_wrong_and_the_remedy(service, ctl):
    fleet(service, workers=[])
    run = ctl("status", status=1)
    assert "No worker lives" in run.stdout and "systemctl start reeve-worker@default.service" in run.stdout
    fleet(service, workers=[{**WORKER, "queues": ["*", "!default"], "heartbeat_at": "2020-01-01T00:00:00Z"}],
          kinds=[{**KINDS[0], "workers": 0}])
    faults = json.loads(ctl("status", "--json", status=1).stdout)["faults"]
    assert [f["what"].split(" has")[0].split(" is")[0].split(" was")[0] for f in faults] == ["Worker h/default", "Queue default", "Kind hello"]
    assert all(f["remedy"] for f in faults)
    fleet(service, kinds=[KINDS[0], {**KINDS[0], "name": "resize", "workers": 0, "lease_usec": 60000000}])
    assert "Nothing is wrong." in ctl("status", status=0).stdout
    assert ctl("kinds", status=0).stdout.splitlines()[2].split()[:7] == ["resize", "default", "5", "3", "1min", "30s", "pulled"]
    fleet(service, queues=[{**QUEUES[0], "paused": True, "reason": "disk full"}])
    assert "Queue default is paused: disk full." in ctl("status", status=1).stdout
    fleet(service, health={"status": "degraded", "version": "0.1.0", "detail": "The database is away. Try again.",
                          "checks": {"database": "away", "schema": "ok", "blobs": "ok"}})
    run = ctl("status", status=1)
    assert "The database is away." in run.stdout and "reeve-postgres.service" in run.stdout


def test_lists_of_the_fleet(service, ctl):
    fleet(service)
    assert ctl("queues", status=0).stdout.splitlines()[1].split()[:4] == ["default", "3", "0", "2"]
    assert ctl("workers", status=0).stdout.splitlines()[1].startswith("h/default")
    assert ctl("kinds", status=0).stdout.splitlines()[1].split() == ["hello", "default", "5", "3", "1min", "30s", "1", "-", "says", "it"]
    for verb, want in (("queues", QUEUES), ("workers", [WORKER]), ("kinds", KINDS)):
        assert [json.loads(x) for x in ctl(verb, "--json", status=0).stdout.splitlines()] == want


def script(path, text):
    path.write_text("#!/bin/sh\n" + text)
    path.chmod(path.stat().st_mode | stat.S_IXUSR)


def test_logs_come_from_the_journal(service, ctl, tmp_path):
    script(tmp_path / "journalctl", 'echo "$@"\n')
    path = {"PATH": f"{tmp_path}:{os.environ['PATH']}"}
    assert ctl("logs", JOB.upper(), env=path, status=0).stdout == f"--quiet --output=short-iso REEVE_JOB_ID={JOB}\n"
    assert service.requests == []


def test_logs_that_the_journal_does_not_have_come_from_the_database(service, ctl, tmp_path):
    script(tmp_path / "journalctl", "exit 1\n")
    history = [{"at": "2026-11-22T10:00:00Z", "event": "enqueue"},
               {"at": "2026-11-22T10:00:01Z", "event": "end", "attempt": 2, "host": "far", "log": "one\ntwo\x1b[m\n"}]
    service.answers[f"GET /api/jobs/{JOB}/history"] = response({"history": history})
    run = ctl("logs", JOB, env={"PATH": f"{tmp_path}:{os.environ['PATH']}"}, status=0)
    assert run.stdout == "-- attempt 2, ended 2026-11-22 12:00:01 on far\none\ntwo?[m\n"


def test_kinds_check_and_migrate_say_what_cannot_be_run(ctl):
    for args, program in ((("kinds", "check", "a.kind"), "/reeve-generator"), (("migrate", "status"), "/reeve-migrate")):
        if not os.path.exists("/usr/lib/reeve/reeve-migrate"):
            run = ctl(*args, status=1)
            assert f"{program}: No such file or directory" in run.stderr
    assert "check or retire NAME" in ctl("kinds", "all", status=2).stderr
    assert "check or retire NAME" in ctl("kinds", "retire", status=2).stderr
    assert "kinds retire" in ctl("kinds", "check", "--reason=x", status=2).stderr


def test_help_names_every_verb_and_option(ctl):
    text = ctl("help", status=0).stdout
    verbs = [line.split()[0] for line in text.split("Verbs:\n")[1].split("\n\n")[0].splitlines()]
    assert verbs == ["status", "submit", "list", "show", "files", "wait", "monitor", "cancel", "retry", "logs", "queues", "workers", "kinds", "key", "flag", "rollback", "migrate",
                     "doctor", "selftest", "help"]
    for verb in verbs:
        assert ctl("help", verb, status=0).stdout == ctl(verb, "--help", status=0).stdout if verb != "migrate" else True
    assert max(len(x) for v in verbs for x in ctl("help", v).stdout.splitlines()) <= 100
    assert ctl("--version", status=0).stdout.startswith("reevectl 0.")
    for args in ((), ("nothing",), ("--nothing", "list"), ("list", "--limit"), ("help", "nothing"), ("list", "--json=1")):
        assert ctl(*args, status=2).stderr


def test_the_man_page_knows_every_verb_and_option(ctl):
    page = (pathlib.Path(__file__).resolve().parents[2] / "man/reevectl.1.scd").read_text()
    text = ctl("help", status=0).stdout
    for verb in [line.split()[0] for line in text.split("Verbs:\n")[1].split("\n\n")[0].splitlines()]:
        described = ctl("help", verb, status=0).stdout
        commands = [c.split()[0] for c in re.findall(r"^  (\S.*)$", described.partition("Commands:\n")[2].partition("\n\n")[0], re.M)]
        assert f"*{verb}*" in page or f"*{verb} " in page, verb
        assert [w for w in {*re.findall(r"(?<!\S)--[a-z-]+", described), *commands} if w not in page] == [], verb


def test_a_full_disk_is_told(service, ctl):
    service.answers["GET /api/jobs"] = response({"jobs": [RUNNING]})
    with open("/dev/full", "w") as full:
        run = subprocess.run([CTL, f"--socket={ctl.path}", "list"], stdout=full, stderr=subprocess.PIPE, text=True, timeout=within(30))
    assert run.returncode == 1 and "No space left" in run.stderr


def test_nobody_is_told_of_a_reader_that_has_seen_enough(service, ctl):
    service.answers["GET /api/jobs"] = response({"jobs": [RUNNING]})
    reader, writer = os.pipe()
    os.close(reader)
    with open(writer, "w") as pipe:   # SIGPIPE is ignored, as in units and in what Python starts so
        run = subprocess.run([CTL, f"--socket={ctl.path}", "list"], stdout=pipe, stderr=subprocess.PIPE, text=True, timeout=within(30),
                             restore_signals=False)
    assert run.returncode == 1 and run.stderr == ""


@pytest.mark.parametrize("given, missing", [("--tenant=acme", "--role="), ("--role=submit", "--tenant=")])
def test_a_key_needs_a_role_and_a_tenant(service, ctl, given, missing):
    said = ctl("key", "create", "ci", given, status=2).stderr
    assert f"{missing} is missing" in said and ("admin, submit" in said or '"default"' in said) and not service.requests
    service.answers["POST /api/keys"] = response({"id": 1, "secret": "reeve_0"})
    ctl("key", "create", "ci", "--role=admin", status=0)   # is of no tenant
    assert "tenant" not in service.requests[0].json
