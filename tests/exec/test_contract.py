"""The handler's contract: what it gets, and what comes of what it does."""
import hashlib
import json
import os
import signal
import time

import pytest

from conftest import JOB, memfd, wait_until
from patience import within


def test_payload_on_stdin_and_in_a_file(sh):
    end = sh('cat; cmp /dev/stdin "$REEVE_INPUT_DIR/payload.json" </dev/null; :').run(b'{"a": [1, 2]}')
    assert end["cause"] == "exit" and end["exit"] == 0 and end["result"] == "ok"
    assert end.result == b'{"a": [1, 2]}'
    end = sh('cat "$REEVE_INPUT_DIR/payload.json"').run(b'"x"')
    assert end.result == b'"x"'


def test_payload_cannot_be_written(sh):
    end = sh('(echo bad >/proc/self/fd/0) 2>/dev/null; cat').run(b'{"a":1}')
    assert end.result == b'{"a":1}', end["log"]


def test_environment(py, monkeypatch):
    for name in ("LISTEN_FDS", "LISTEN_PID", "WATCHDOG_USEC", "WATCHDOG_PID", "REEVE_SECRET", "REMOTE_ADDR"):
        monkeypatch.setenv(name, "1")
    monkeypatch.setenv("NOTIFY_SOCKET", "/run/systemd/notify")
    monkeypatch.setenv("CREDENTIALS_DIRECTORY", "/run/credentials/x")
    monkeypatch.setenv("OF_THE_KIND", "yes")
    script = "import os,json;print(json.dumps(dict(os.environ)))"
    env = json.loads(py(script).run(subject="42", attempt=3, phase="join").result)
    ours = {k: v for k, v in env.items() if k.startswith("REEVE_")}
    inputs, outputs = ours.pop("REEVE_INPUT_DIR"), ours.pop("REEVE_OUTPUT_DIR")
    assert ours == {"REEVE_PROTOCOL": "1", "REEVE_FD": "3", "REEVE_JOB_ID": JOB, "REEVE_RUN_ID": "1",
                    "REEVE_KIND": "test.kind", "REEVE_QUEUE": "default", "REEVE_ATTEMPT": "3",
                    "REEVE_TENANT": "acme", "REEVE_SUBJECT": "42", "REEVE_PHASE": "join"}
    assert inputs.endswith("/input") and outputs.endswith("/output")
    assert env["NOTIFY_SOCKET"] == os.path.dirname(inputs) + "/notify"
    assert env["CREDENTIALS_DIRECTORY"] == "/run/credentials/x"
    assert env["LC_ALL"] == "C.UTF-8" and env["OF_THE_KIND"] == "yes"
    assert not [k for k in env if k.startswith(("LISTEN_", "WATCHDOG_", "REMOTE_"))]


def test_descriptors_and_signals(py):
    script = """
import os, json, signal
status = dict(l.split(":\\t") for l in open("/proc/self/status").read().splitlines() if ":\\t" in l)
fds = sorted(int(f) for f in os.listdir("/proc/self/fd"))
print(json.dumps({"fds": [f for f in fds if os.path.exists(f"/proc/self/fd/{f}") or f < 4],
                  "blocked": status["SigBlk"], "ignored": status["SigIgn"], "sid": os.getsid(0) == os.getpid(),
                  "oom": open("/proc/self/oom_score_adj").read().strip()}))
"""
    seen = json.loads(py(script).run().result)
    assert seen["fds"] == [0, 1, 2, 3]
    assert int(seen["blocked"], 16) == 0 and seen["sid"]
    # Python ignores PIPE and XFSZ itself, glibc's posix_spawn() its own two, 32 and 33.
    assert {n for n in range(1, 65) if int(seen["ignored"], 16) >> (n - 1) & 1} <= {13, 25, 32, 33}
    assert int(seen["oom"]) >= 500


def test_join_program(launch):
    launcher = launch("/bin/echo", '"run"', join=("/bin/echo", "two words", "--x"), max_runs=0, output="text")
    assert launcher.run().result == b'"run"\n'
    assert launcher.run(phase="join").result == b"two words --x\n"
    same = launch("/bin/sh", "-c", 'echo "\\"$REEVE_PHASE\\""', max_runs=0)
    assert same.run(phase="join").result == b'"join"\n'


@pytest.mark.parametrize("script, result, content", [
    ("", "none", None),
    ("echo", "none", None),
    ("echo null", "ok", b"null\n"),
    ("printf '{\"a\":1}'", "ok", b'{"a":1}'),
    ("echo hello", "not-json", None),
    ("echo '{} {}'", "not-json", None),
    ("printf '\"\\377\"'", "not-json", None),
])
def test_results(sh, script, result, content):
    end = sh(script).run()
    assert (end["cause"], end["exit"], end["result"]) == ("exit", 0, result)
    assert end.result == content
    assert ("standard output is not JSON: line 1, column" in end["log"]) == (result == "not-json")


def test_text_result(sh):
    end = sh("printf 'h\\303\\251llo\\377\\000'", output="text").run()
    assert end["result"] == "text" and end.result == "h\u00e9llo\ufffd\ufffd".encode()
    assert sh(":", output="text").run()["result"] == "none"


def test_result_at_the_limit(py):
    end = py("print(end='\"' + 'x' * (1024 * 1024 - 2) + '\"')").run()
    assert end["result"] == "ok" and len(end.result) == 1024 * 1024
    end = py("print(end='\"' + 'x' * (1024 * 1024 - 1) + '\"')").run()
    assert end["result"] == "too-large" and end.result is None and end["exit"] == 0


@pytest.mark.parametrize("script, exit, sig", [("exit 75", 75, None), ("exit 1", 1, None), ("kill -9 $$", None, 9),
                                               ("kill -TERM $$", None, 15)])
def test_exit_and_signal(sh, script, exit, sig):
    end = sh(script).run()
    assert (end["exit"], end["signal"]) == (exit, sig)
    assert end["cause"] == ("signal" if sig else "exit")


def test_a_signal_to_everybody_is_refused_and_others_are_not(py):
    """With signal 0, which does nothing where it is allowed."""
    end = py("""
import os
try:
    os.kill(-1, 0)
    print('"allowed"')
except PermissionError:
    os.kill(0, 0), os.kill(os.getpid(), 0), os.kill(-os.getpgrp(), 0)
    print('"refused"')
""").run()
    assert json.loads(end.result) == "refused"


def test_missing_program(launch):
    end = launch("/nonexistent/handler").run()
    assert end["cause"] == "missing" and end["exit"] is None and "/nonexistent/handler" in end["log"]
    assert end["wall_usec"] == 0


def test_missing_interpreter(launch, tmp_path):
    script = tmp_path / "script"
    script.write_text("#!/nonexistent/interpreter\n")
    script.chmod(0o755)
    assert launch(str(script)).run()["cause"] == "missing"


def test_not_executable_program(launch, tmp_path):
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\n")
    script.chmod(0o755)
    bad = tmp_path / "text"
    bad.write_text("no program\n")
    bad.chmod(0o755)
    assert launch(str(bad)).run()["cause"] == "not-executable"
    assert launch(str(tmp_path)).run()["cause"] == "not-executable"
    assert launch(str(script)).run()["cause"] == "exit"


def test_usage_is_told(py):
    end = py("x = bytearray(50 << 20)\nimport time\nt = time.process_time()\n"
             "while time.process_time() - t < 0.2: pass\ntime.sleep(0.1)").run()
    assert 200_000 <= end["cpu_usec"] < 5_000_000
    assert end["wall_usec"] >= 300_000
    assert 50 << 20 <= end["max_rss"] < 500 << 20


def test_inputs(sh):
    many = [(f"f{i:03}", str(i).encode()) for i in range(150)]
    script = 'cd "$REEVE_INPUT_DIR"; ls | wc -l; cat f000 f063 f149; stat -c "%a" . f001; (: >x) 2>/dev/null && id -u'
    end = sh(script, output="text").run(inputs=many)
    lines = end.result.decode().split("\n")
    assert lines[0] == "151" and lines[1] == "063149555" and lines[2] == "444", end
    assert [f["type"] for f in end.frames] == ["started"]


def test_files_of_children_have_directories(sh):
    script = 'cd "$REEVE_INPUT_DIR"; cat children/0/a/b children/12.json; stat -c "%a" children children/0 children/0/a'
    script += '; (: >children/0/x) 2>/dev/null && id -u; :'
    end = sh(script, output="text", max_runs=2)
    for _ in range(2):  # and the slot is used again
        assert end.run(inputs=[("children/0/a/b", b"x\n"), ("children/12.json", b"7\n")]).result.decode().split("\n")[:5] == [
            "x", "7", "555", "555", "555"]
    for bad in ("children", "children/0", "children/0/../../evil", "other/0/a"):
        assert sh(":").run(inputs=[(bad, b"x")])["cause"] == "input-error"


def test_input_errors(sh):
    end = sh(":").run(inputs=[("../evil", b"x")])
    assert end["cause"] == "input-error" and "../evil" in end["log"]
    end = sh(":").run(inputs=[("payload.json", b"x")])
    assert end["cause"] == "input-error" and "payload.json" in end["log"]
    r, w = os.pipe()
    os.close(w)
    end = sh(":").run(r)
    assert end["cause"] == "input-error" and end["exit"] is None


def test_large_input_is_copied_whole(sh, tmp_path):
    file = tmp_path / "large"
    file.write_bytes(os.urandom(1 << 20) * 20)
    fd = os.open(file, os.O_RDONLY)
    os.lseek(fd, 100, os.SEEK_SET)
    end = sh('sha256sum <"$REEVE_INPUT_DIR/large"', output="text").run(inputs=[("large", fd)])
    assert end.result.decode().split()[0] == hashlib.sha256(file.read_bytes()).hexdigest()


def test_outputs(sh):
    end = sh('cd "$REEVE_OUTPUT_DIR"; echo one >a.txt; mkdir -p b/c; echo two >b/c/d.txt; : >empty').run()
    assert end.files == {"a.txt": b"one\n", "b/c/d.txt": b"two\n", "empty": b""}
    assert end["output_error"] is None


def test_output_descriptors_are_read_only(launch):
    launcher = launch("/bin/sh", "-c", 'echo x >"$REEVE_OUTPUT_DIR/a"')
    launcher.start()
    fd = launcher.wait_for("file")["fds"][0]
    with pytest.raises(OSError):
        os.write(fd, b"x")
    assert os.read(fd, 10) == b"x\n"
    os.close(fd)


def test_output_tricks(py):
    script = """
import os, socket
d = os.environ["REEVE_OUTPUT_DIR"]; os.chdir(d)
os.symlink("/etc/passwd", "passwd"); os.symlink("/etc", "etc"); os.mkfifo("fifo")
socket.socket(socket.AF_UNIX).bind("sock")
open(b"bad\\xff", "w").close(); open("bad\\n", "w").close()
open("good", "w").write("yes")
"""
    end = py(script).run()
    assert end.files == {"good": b"yes"}
    assert end["output_error"]


def test_output_limits(py):
    end = py("import os\nos.chdir(os.environ['REEVE_OUTPUT_DIR'])\nfor i in range(1005): open(str(i), 'w').close()").run()
    assert len(end.files) == 1000 and end["output_error"] == "too many files"
    launcher = py("import os\nos.chdir(os.environ['REEVE_OUTPUT_DIR'])\nopen('a', 'w').truncate(1 << 30)\nopen('b', 'w').write('x')\n")
    launcher.start()
    names, frame = [], None
    while frame is None or frame["type"] != "end":
        frame = launcher.receive()
        names += [frame["name"]] if frame["type"] == "file" else []
        for fd in frame["fds"]:
            os.close(fd)
    assert len(names) == 1 and frame["output_error"] == "files too large"


def test_output_directory_replaced(sh):
    launcher = sh('mv "$REEVE_OUTPUT_DIR" "$REEVE_OUTPUT_DIR.x"; ln -s /etc "$REEVE_OUTPUT_DIR"', max_runs=0)
    end = launcher.run()
    assert end.files == {} and launcher.receive() is None  # the slot is not used again
    assert launcher.gone() == 0


def test_log_tail(sh):
    end = sh("echo one >&2; printf 'two \\377' >&2").run()
    assert end["log"] == "one\ntwo \ufffd" and not end["log_truncated"]
    end = sh("for i in $(seq 1 9999); do echo line $i; done >&2").run()
    assert end["log"].endswith("line 9998\nline 9999\n") and end["log_truncated"]
    assert end["log"].startswith("line ") and 16000 < len(end["log"]) <= 16384


def test_log_of_control_characters_fits_a_frame(py):
    end = py("import os; os.write(2, b'\\x01' * 20000 + b'the last words')").run()
    assert end["log"].endswith("the last words") and end["log_truncated"]


def test_progress(sh):
    end = sh('echo \'{"progress":40,"status":"page 12 of 30"}\' >&3; sleep 0.4; echo \'{"alive":true}\' >&3; '
             'sleep 0.4; echo \'{"progress":100}\' >&3').run()
    told = [(f["type"], f.get("progress"), f.get("status")) for f in end.frames[1:]]
    assert told == [("progress", 40, "page 12 of 30"), ("alive", None, None), ("progress", 100, "page 12 of 30")]


def test_progress_is_coalesced(py):
    end = py("import os, time\nfor i in range(1000): os.write(3, b'{\"progress\":%d}\\n' % (i // 10)); time.sleep(0.001)").run()
    told = [f["progress"] for f in end.frames if f["type"] == "progress"]
    assert told[-1] == 99 and told == sorted(told)
    assert len(told) <= 2 + end["wall_usec"] / 250_000


def test_bad_progress_is_told_and_does_no_harm(py):
    end = py("import os\nfor l in (b'hello\\n', b'[1]\\n', b'{\"progress\":\"x\"}\\n', b'x' * 9000 + b'\\n', b'{\"progress\":7}\\n'): os.write(3, l)\n").run()
    assert [f["progress"] for f in end.frames if f["type"] == "progress"] == [7]
    assert "progress was not understood" in end["log"] and end["exit"] == 0


NOTIFY = """
import os, socket, sys
s = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); s.connect(os.environ["NOTIFY_SOCKET"])
def say(text, fds=()): socket.send_fds(s, [text.encode()], list(fds))
"""


def test_notify_socket(py):
    end = py(NOTIFY + "say('X_REEVE_PROGRESS=55\\nSTATUS=half of it\\n')").run()
    assert [(f["progress"], f["status"]) for f in end.frames if f["type"] == "progress"] == [(55, "half of it")]


def test_notifications_stay_with_their_run(py):
    """The socket serves many runs: what one says in its last moment is not taken for the next one's."""
    launcher = py(NOTIFY + "if os.environ['REEVE_RUN_ID'] == '1':\n  for i in range(5): say('X_REEVE_PROGRESS=%d' % (90 + i))", max_runs=0)
    assert [f["progress"] for f in launcher.run().frames if f["type"] == "progress"][-1] == 94
    launcher.ready()
    assert [f["type"] for f in launcher.run().frames] == ["started"]


def test_systemd_notify(sh):
    end = sh('systemd-notify --status="page 3" X_REEVE_PROGRESS=10 && echo true').run()
    assert end["exit"] == 0 and end.result == b"true\n", end["log"]
    assert [(f["progress"], f["status"]) for f in end.frames if f["type"] == "progress"] == [(10, "page 3")]


def test_barrier_is_closed_at_once(py):
    script = NOTIFY + """
import select, time
r, w = os.pipe()
say("BARRIER=1", [w]); os.close(w)
t = time.monotonic(); p = select.poll(); p.register(r, select.POLLHUP)
print(len(p.poll(3000)) == 1 and time.monotonic() - t < 1)
"""
    end = py(script.replace("print(", "print(str(").replace("< 1)", "< 1).lower())")).run()
    assert end.result == b"true\n"


def test_extend_timeout(py):
    end = py(NOTIFY + "import time\nsay('EXTEND_TIMEOUT_USEC=6000000')\ntime.sleep(2.5)").run(timeout_usec=2000000)
    assert end["cause"] == "exit" and end["exit"] == 0
    assert [f["usec"] for f in end.frames if f["type"] == "extend"] == [6000000]


def test_a_flood_of_extensions_is_merged(py):
    end = py(NOTIFY + """
import time
for n in range(3000):
    say(f'EXTEND_TIMEOUT_USEC={6000000 + n}')
time.sleep(2.5)""").run(timeout_usec=2000000)
    assert end["cause"] == "exit" and end["exit"] == 0
    told = [f["usec"] for f in end.frames if f["type"] == "extend"]
    assert 1 < len(told) < 200 and 5000000 < told[-1] <= 6002999


def test_timeout(sh):
    t = time.monotonic()
    end = sh("sleep 60").run(timeout_usec=200000)
    assert end["cause"] == "timeout" and end["signal"] == signal.SIGTERM and time.monotonic() - t < within(2)
    end = sh("sleep 60", timeout_usec=200000).run()
    assert end["cause"] == "timeout"


def test_watchdog(py):
    end = py("import time; time.sleep(60)", watchdog_usec=300000).run()
    assert end["cause"] == "watchdog"
    end = py("import os, time\nfor i in range(4): os.write(3, b'{\"alive\":true}\\n'); time.sleep(0.2)", watchdog_usec=500000).run()
    assert end["cause"] == "exit" and end["exit"] == 0
    end = py(NOTIFY + "import time\nfor i in range(4): say('WATCHDOG=1'); time.sleep(0.2)", watchdog_usec=500000).run()
    assert end["cause"] == "exit" and end["exit"] == 0


@pytest.mark.parametrize("reason", ["cancelled", "drained"])
def test_stop(sh, reason):
    launcher = sh("sleep 60")
    launcher.start()
    launcher.wait_for("started")
    launcher.stop(reason)
    end = launcher.end()
    assert end["cause"] == reason and end["signal"] == signal.SIGTERM


def test_stop_of_another_run_is_ignored(sh):
    launcher = sh("sleep 0.3; echo true")
    launcher.start()
    launcher.stop(run_id=77)
    assert launcher.end()["cause"] == "exit"


def test_after_term_a_complete_result_is_told(sh):
    launcher = sh("trap 'echo {\\\"partial\\\":true}; exit 0' TERM; echo ready >&2; sleep 60 & wait")
    launcher.start()
    launcher.wait_for("started")
    time.sleep(0.3)
    launcher.stop("drained")
    end = launcher.end()
    assert (end["cause"], end["exit"], end["result"], end.result) == ("drained", 0, "ok", b'{"partial":true}\n')


def test_ignores_term(sh):
    launcher = sh("trap '' TERM; while :; do sleep 0.05; done", stop_usec=500000)
    launcher.start()
    launcher.wait_for("started")
    time.sleep(0.2)
    t = time.monotonic()
    launcher.stop()
    end = launcher.end()
    assert end["cause"] == "cancelled" and end["signal"] == signal.SIGKILL
    assert 0.4 < time.monotonic() - t < within(1.5)


def test_closes_stdout_early(sh):
    end = sh("echo true; exec >&-; sleep 0.2; exit 3").run()
    assert end["exit"] == 3 and end.result == b"true\n"


def test_stop_while_inputs_are_coming(sh):
    launcher = sh("echo true")
    launcher.next_id += 1
    launcher.send({"type": "run", "run_id": 1, "job_id": JOB, "kind": "k", "queue": "q", "attempt": 1, "tenant": "t",
                   "phase": "run", "timeout_usec": 0, "inputs": [], "more": True}, [memfd(b"{}")])
    launcher.stop()
    end = launcher.end()
    assert end["cause"] == "cancelled" and end["exit"] is None and end.frames == []


def test_oom_kill_is_told_apart(launch, tmp_path):
    base = "/sys/fs/cgroup/memory"
    own = next((l.split(":", 2)[2] for l in open("/proc/self/cgroup").read().splitlines() if ":memory:" in l), None)
    if own is None or os.getuid() != 0 or not os.access(base + own, os.W_OK):
        pytest.skip("needs root and a memory controller of cgroup v1")
    group = f"{base}{own}/reeve-test-{os.getpid()}"
    os.mkdir(group)
    try:
        with open(group + "/memory.limit_in_bytes", "w") as f:
            f.write(str(120 << 20))
        launcher = launch("/usr/bin/python3", "-S", "-c", "x = bytearray(400 << 20)", max_runs=0,
                          wrap=("/bin/sh", "-c", f'echo $$ >{group}/cgroup.procs; exec "$@"', "sh"))
        end = launcher.run()
        assert end["cause"] == "oom-kill" and end["signal"] == signal.SIGKILL, end
        launcher.ready()
        os.kill(launcher.pid, 0)  # the launcher was not taken
        launcher.close()
    finally:
        wait_until(lambda: not open(group + "/cgroup.procs").read())
        os.rmdir(group)


def man_examples():
    page = open(os.path.join(os.path.dirname(__file__), "../../man/reeve-handler.7.scd")).read()
    return [b.replace("\\\\", "\\") for b in page.split("```\n")[1::2] if b.startswith("#!")]


def test_examples_of_the_man_page(launch, tmp_path):
    for i, text in enumerate(man_examples()):
        program = tmp_path / f"handler{i}"
        program.write_text(text)
        program.chmod(0o755)
        end = launch(str(program), mode="persistent" if "for line in" in text else "exec").run(
            b'{"text": "one two three"}', [("text.txt", b"one two three")])
        assert json.loads(end.result) == {"words": 3}, end["log"]
        if "OUTPUT_DIR" in text:
            assert end.files["words.txt"] == b"one\ntwo\nthree\n"
            assert [f["progress"] for f in end.frames if f["type"] == "progress"]
    end = launch(str(tmp_path / "handler1")).run(b"{}")
    assert end["exit"] == 66 and end["log"] == "no text.txt\n"
    assert i == 2
