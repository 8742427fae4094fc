"""Mode=persistent: the program stays, one JSON line in, one out."""
import json
import os
import signal
import time

import pytest
from patience import within

LOOP = """
import json, os, sys, time
def answer(o): sys.stdout.write(json.dumps(o, separators=(",", ":")) + "\\n"); sys.stdout.flush()
n = 0
for line in sys.stdin:
    r = json.loads(line); n += 1; i = r["run_id"]; p = r["payload"]
"""


@pytest.fixture
def loop(py):
    return lambda body, **kw: py(LOOP + "    " + body.replace("\n", "\n    "), **{"mode": "persistent", "max_runs": 0, **kw})


def test_one_program_for_many_runs(loop):
    launcher = loop('answer({"run_id": i, "result": {"pid": os.getpid(), "n": n, "p": p, "r": r}})')
    seen = []
    for i in range(3):
        end = launcher.run(json.dumps({"x": i}, indent=2).encode(), subject="me", attempt=i + 1)
        assert (end["cause"], end["exit"], end["result"]) == ("exit", 0, "ok")
        seen.append(json.loads(end.result))
        launcher.ready()
    assert len({s["pid"] for s in seen}) == 1 and [s["n"] for s in seen] == [1, 2, 3]
    assert seen[2]["p"] == {"x": 2}
    r = seen[2]["r"]
    assert r["run_id"] == 3 and r["attempt"] == 3 and r["subject"] == "me" and r["phase"] == "run" and r["kind"] == "test.kind"


def test_inputs_outputs_progress_and_log(loop):
    launcher = loop("""
name = os.listdir(r["input_dir"])
open(r["output_dir"] + "/out", "w").write(str(n))
os.write(3, b'{"run_id":%d,"progress":%d}\\n{"run_id":999,"progress":1}\\n' % (i, 50 + n))
sys.stderr.write("line %d\\n" % n); sys.stderr.flush()
answer({"run_id": i, "result": sorted(name)})""")
    for i in (1, 2):
        end = launcher.run(inputs=[(f"in{i}", b"x")])
        assert json.loads(end.result) == [f"in{i}", "payload.json"]
        assert end.files == {"out": str(i).encode()}
        assert [f["progress"] for f in end.frames if f["type"] == "progress"] == [50 + i]
        assert end["log"] == f"line {i}\n"
        launcher.ready()


@pytest.mark.parametrize("retry, exit", [(True, 75), (False, 65)])
def test_error(loop, retry, exit):
    launcher = loop(f'answer({{"run_id": i, "error": {{"code": "bad-page", "message": "page 3", "retry": {retry}}}}})')
    end = launcher.run()
    assert (end["cause"], end["exit"], end["result"]) == ("exit", exit, "none")
    assert end["error"] == {"code": "bad-page", "message": "page 3", "retry": retry}
    launcher.ready()
    assert launcher.run()["exit"] == exit


def test_results_of_all_sorts(loop):
    launcher = loop('answer({"run_id": i, "result": p})')
    for payload in (b'{"a":[1,{"b":null}]}', b'"x"', b"0", b"false", b"18446744073709551617"):
        end = launcher.run(payload)
        assert end["result"] == "ok" and end.result == payload
        launcher.ready()
    assert launcher.run(b"null")["result"] == "none"
    launcher.ready()
    large = b'"' + b"x" * (1024 * 1024 - 2) + b'"'
    assert launcher.run(large).result == large
    launcher.ready()
    end = launcher.run(large[:-1] + b'x"')
    assert end["result"] == "too-large" and end["exit"] == 0


def test_death_during_a_run(loop):
    launcher = loop("os.kill(os.getpid(), 9)")
    end = launcher.run()
    assert (end["cause"], end["signal"]) == ("signal", 9)
    assert launcher.receive() is None and launcher.gone() == 0
    launcher = loop("sys.exit(64)")
    end = launcher.run()
    assert (end["cause"], end["exit"]) == ("exit", 64)
    assert launcher.gone() == 0


def test_answer_and_exit_at_once(loop):
    launcher = loop('answer({"run_id": i, "result": 7})\nos._exit(3)')
    end = launcher.run()
    assert end["result"] == "ok" and end.result == b"7"


def test_idle_death_ends_the_launcher(loop):
    launcher = loop('answer({"run_id": i, "result": os.getpid()})')
    pid = int(launcher.run().result)
    launcher.ready()
    os.kill(pid, 9)
    assert launcher.gone(3) == 0


@pytest.mark.parametrize("body", ['print("hello", flush=True)', 'answer({"run_id": i + 1, "result": 1})',
                                  'answer({"run_id": i, "error": "x"})', "print('x' * 2000000, flush=True)"])
def test_broken_protocol(loop, body):
    launcher = loop(body + "\ntime.sleep(60)")
    end = launcher.run()
    assert end["result"] == ("too-large" if "2000000" in body else "not-json")
    assert "answer cannot be taken" in end["log"]
    assert launcher.gone() == 0


def test_timeout_and_stop(loop):
    end = loop("time.sleep(60)").run(timeout_usec=200000)
    assert end["cause"] == "timeout" and end["signal"] == signal.SIGTERM
    launcher = loop("time.sleep(60)")
    launcher.start()
    launcher.wait_for("started")
    launcher.stop()
    assert launcher.end()["cause"] == "cancelled" and launcher.gone() == 0


def test_handler_that_does_not_read(py):
    launcher = py("import time; time.sleep(60)", mode="persistent")
    t = time.monotonic()
    end = launcher.run(b'"' + b"x" * 1000000 + b'"', timeout_usec=300000)
    assert end["cause"] == "timeout" and time.monotonic() - t < within(2)


def test_worker_gone_while_idle(loop):
    launcher = loop('answer({"run_id": i, "result": os.getpid()})')
    pid = int(launcher.run().result)
    launcher.ready()
    launcher.sock.close()
    assert launcher.gone(3) == 0
    assert not os.path.exists(f"/proc/{pid}")


def test_missing(launch):
    assert launch("/nonexistent", mode="persistent").run()["cause"] == "missing"


def test_max_runs(loop):
    launcher = loop('answer({"run_id": i, "result": n})', max_runs=2)
    assert launcher.run().result == b"1"
    launcher.ready()
    assert launcher.run().result == b"2"
    assert launcher.receive() is None and launcher.gone() == 0
