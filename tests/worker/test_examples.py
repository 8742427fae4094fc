"""What is in examples/: the same answers in shell, Python and Node; jobs handed over by reeve.py and reeve.mjs through the real
API, done by handlers that stay."""
import hashlib
import importlib.util
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import threading

import pytest

from conftest import wait_for
from patience import within

TREE = pathlib.Path(__file__).resolve().parents[2]
EXAMPLES = TREE / "examples/handlers"
_spec = importlib.util.spec_from_file_location("api_conftest", TREE / "tests/api/conftest.py")
api_conftest = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(api_conftest)
INTERPRETERS = {"py": "/usr/bin/python3", "mjs": "node"}


def blob(world, job, name):
    digest = world.db.value("select digest from reeve.blob_ref where job = %s and name = %s", job, name)
    return (world.blobs / "default" / digest[7:9] / digest[9:]).read_bytes()


@pytest.mark.parametrize("name,program", [("words.sh", ["/bin/sh"]), ("words.py", ["/usr/bin/python3"]), ("words.mjs", ["node"])])
def test_the_same_handler_in_three_languages(world, name, program):
    interpreter = shutil.which(program[0])
    if not interpreter:
        pytest.skip(f"{program[0]} is not installed")
    world.kind("words", interpreter, str(EXAMPLES / name), keys="MaxAttempts=2\n")
    world.start()
    job = world.run("words", {"text": "to be or not to be"})
    assert job["state"] == "succeeded" and job["result"] == {"words": 6}, job
    assert blob(world, job["id"], "words.txt").decode().split() == "to be or not to be".split()

    job = world.run("words", {"text": ""})
    assert (job["state"], job["attempt"], job["error"]) == ("failed", 1, {"code": "EXIT_65", "message": "the payload has no text"})

    id = world.enqueue("words", {"text": "busy"})
    wait_for(lambda: world.history(id), what="a retry")
    assert world.history(id)[0]["code"] == "EXIT_75"
    job = world.wait(id)
    assert (job["state"], job["attempt"], job["error"]["message"]) == ("failed", 2, "the dictionary is being updated")


def man_blocks(page):
    """The literal blocks of a man page, as a reader sees them: scdoc takes a backslash for itself."""
    text = (TREE / "man" / page).read_text()
    return [re.sub(r"\\(.)", r"\1", b) for b in re.findall(r"^```\n(.*?)^```$", text, re.M | re.S)]


def put_input(world, data):
    digest = hashlib.sha256(data).hexdigest()
    path = world.blobs / "default" / digest[:2]
    path.mkdir(parents=True, exist_ok=True)
    (path / digest[2:]).write_bytes(data)
    return {"name": "text.txt", "blob": "sha256:" + digest, "size": len(data)}


TEXTS = [b"to be or not to be\n", b"  one\ttwo\n\n  three  ", b"", b" \n", b"* ? ~ $HOME `x` \\n %d\r\nend", "straße\u00a0und\u3000weg\x1cx".encode(),
         b"not \xff\xfe UTF-8\0NUL here", b'{"text": "a b"}', b"x" * 100000 + b" y\n" * 3000]


def test_the_handlers_of_the_man_page_give_the_same_answer(world):
    blocks = man_blocks("reeve-handler.7.scd")
    programs = {"shell": "#!/bin/sh\n", "python": "#!/usr/bin/python3\nimport json, os, sys\n"}
    for name, head in programs.items():
        (block,) = [b for b in blocks if b.startswith(head)]
        path = world.dir / name
        path.write_text(block)
        path.chmod(0o755)
        world.kind(name, str(path), keys="MaxAttempts=2\n")
    assert any("Start=/usr/local/lib/word-count" in b for b in blocks)
    world.start()
    jobs = {}
    for name in programs:
        for i, text in enumerate(TEXTS):
            made = world.db.sql("select job from reeve.enqueue_batch(%s)", json.dumps([{"kind": name, "inputs": [put_input(world, text)]}]))
            jobs[name, i] = made[0][0]
    for i, text in enumerate(TEXTS):
        answers = [world.wait(jobs[name, i]) for name in programs]
        assert [a["state"] for a in answers] == ["succeeded"] * 2, answers
        assert [a["result"] for a in answers] == [{"words": len(text.split())}] * 2, text
        files = [blob(world, jobs[name, i], "words.txt") for name in programs]
        assert files == [b"".join(w + b"\n" for w in text.split())] * 2
    for name in programs:
        job = world.run(name)
        assert (job["state"], job["attempt"], job["error"]) == ("failed", 1, {"code": "EXIT_66", "message": "no text.txt"})


# ---- reeve.py and reeve.mjs ----

# The same requests in both languages: each reads one line of JSON [method, arguments...] and answers with one.
DRIVERS = {"py": """
import json, sys, reeve
address, key = json.loads(sys.argv[1])
client = reeve.Client(address, key=key, patience=8)
for line in sys.stdin:
    name, *a = json.loads(line)
    try:
        if name == "submit":
            kind, payload, o = a
            o["idempotency_key"] = o.pop("idempotencyKey", None)
            value = client.submit(kind, payload, **o)
        elif name == "wait":
            value = client.wait(a[0], **a[1])
        elif name == "file":
            value = client.file(*a).decode()
        else:
            value = client.cancel(*a)
        print(json.dumps({"ok": value}), flush=True)
    except reeve.Error as e:
        print(json.dumps({"status": e.status, "problem": e.problem}), flush=True)
    except OSError as e:
        print(json.dumps({"error": type(e).__name__}), flush=True)
""", "mjs": """
import { createInterface } from 'node:readline';
import { ApiError, Client } from './reeve.mjs';
const [address, key] = JSON.parse(process.argv[2]);
const client = new Client(address, { key, patience: 8 });
for await (const line of createInterface({ input: process.stdin })) {
  const [name, ...args] = JSON.parse(line);
  try {
    const value = await client[name](...args);
    console.log(JSON.stringify({ ok: Buffer.isBuffer(value) ? value.toString() : value }));
  } catch (e) {
    console.log(JSON.stringify(e instanceof ApiError ? { status: e.status, problem: e.problem } : { error: e.code }));
  }
}
"""}


class Driver:
    """A program that uses the client of one language, as its user would: the file lies beside it."""

    def __init__(self, language, directory, address, key=None):
        self.dir = directory
        shutil.copy(TREE / f"examples/reeve.{language}", directory)
        (directory / f"driver.{language}").write_text(DRIVERS[language])
        self.process = subprocess.Popen([INTERPRETERS[language], str(directory / f"driver.{language}"), json.dumps([address, key])],
                                        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(self, *request):
        self.process.stdin.write(json.dumps(request) + "\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def __call__(self, *request):
        answer = self.ask(*request)
        assert "ok" in answer, answer
        return answer["ok"]

    def close(self):
        self.process.stdin.close()
        assert self.process.wait(within(20)) == 0


@pytest.fixture(params=["py", "mjs"])
def language(request):
    if not shutil.which(INTERPRETERS[request.param]):
        pytest.skip("node is not installed")
    return request.param


@pytest.fixture
def api(world):
    """The real API on the worker's database and blobs."""
    made = api_conftest.Api(world.db, keep=True, conf="[Limits]\nUploadMax=1M\n")
    try:
        made.stop()
        shutil.rmtree(made.blobs)
        made.blobs.symlink_to(world.blobs)
        made.start()
        made.wait_up()
        yield made
    finally:
        made.close()


@pytest.fixture
def driver(language, tmp_path, api):
    made = []

    def make(address=None, key=None):
        made.append(Driver(language, tmp_path, address or api.path, key))
        return made[-1]
    yield make
    for d in made:
        d.close()


def stay(world, language, script=None, **keys):
    """The kind of examples/kinds with the handler of examples/handlers, or another one, beside its library."""
    d = world.dir / "lib"
    d.mkdir()
    shutil.copy(TREE / f"examples/reeve.{language}", d)
    program = d / f"handler.{language}"
    program.write_text(script or (EXAMPLES / f"words-loop.{language}").read_text())
    world.kind("words", shutil.which(INTERPRETERS[language]), str(program), exec_keys="Mode=persistent\nMaxRuns=1000\n",
               mode="persistent", max_runs=1000, **{"keys": "MaxAttempts=2\n", **keys})


def test_submit_and_wait_with_a_handler_that_stays(world, language, driver):
    stay(world, language)
    world.start()
    ask = driver()
    job = ask("submit", "words", {"text": "to be or not to be"}, {"subject": "hamlet", "priority": 9})
    assert job["state"] == "ready"
    job = ask("wait", job["id"], {"timeout": 20})
    assert (job["state"], job["result"], job["subject"], job["priority"]) == ("succeeded", {"words": 6}, "hamlet", 9)
    assert ask("file", job["id"], "words.txt").split() == "to be or not to be".split()

    job = ask("wait", ask("submit", "words", {"text": ""}, {})["id"], {"timeout": 20})
    assert (job["state"], job["attempt"], job["error"]) == ("failed", 1, {"code": "no-text", "message": "the payload has no text"})
    job = ask("wait", ask("submit", "words", {"text": "busy"}, {})["id"], {"timeout": 20})
    assert (job["state"], job["attempt"], job["error"]["code"]) == ("failed", 2, "busy")
    assert world.history(job["id"])[0]["code"] == "busy"
    assert len(world.host.launchers) <= 4, "a slot has served more than one run"


def test_client_answers(world, language, driver, api, tmp_path):
    """Who asks by TCP with a key; the same key twice; refusals; a file; cancel."""
    world.sh("cat", 'cat "$REEVE_INPUT_DIR/a.txt" >"$REEVE_OUTPUT_DIR/out.txt"; ls "$REEVE_INPUT_DIR" | wc -l')
    world.sh("slow", "sleep 60")
    world.start()
    key = api.post("/api/keys", {"name": "k", "role": "submit", "tenant": "default"}).json["secret"]
    ask = driver(f"http://127.0.0.1:{api.tcp[1]}", key)
    (tmp_path / "a.txt").write_text("from a file")
    files = {"a.txt": str(tmp_path / "a.txt")}
    job = ask("submit", "cat", None, {"files": files, "idempotencyKey": "order-17"})
    assert ask("submit", "cat", None, {"files": files, "idempotencyKey": "order-17"})["id"] == job["id"]
    again = ask.ask("submit", "cat", {"x": 1}, {"idempotencyKey": "order-17"})
    assert (again["status"], again["problem"]["type"]) == (422, "urn:reeve:problem:idempotency-mismatch")
    assert ask("wait", job["id"], {"timeout": 20})["result"] == 2
    assert ask("file", job["id"], "out.txt") == "from a file"
    assert ask.ask("file", job["id"], "none")["status"] == 404
    assert ask.ask("submit", "nobody", None, {})["problem"]["detail"]
    assert ask.ask("submit", "cat", None, {"files": {"a": "/nowhere"}})["error"] in ("FileNotFoundError", "ENOENT")
    (tmp_path / "large").write_bytes(bytes(3_000_000))
    assert ask.ask("submit", "cat", None, {"files": {"a": str(tmp_path / "large")}})["status"] == 413

    job = ask("submit", "slow", None, {})
    wait_for(lambda: ask("wait", job["id"], {"timeout": 0})["state"] == "running", what="running")
    ask("cancel", job["id"], "no longer needed")
    assert ask("wait", job["id"], {"timeout": 20})["state"] == "cancelled"
    assert driver(f"http://127.0.0.1:{api.tcp[1]}", "wrong").ask("wait", job["id"], {})["status"] == 401


def test_client_goes_on_after_a_restart(world, driver, api):
    """The API is away for a second, and one that died in the middle of a call has made no second job."""
    world.sh("echo", "echo 1")
    world.start()
    ask = driver()
    id = ask("submit", "echo", None, {})["id"]
    assert ask("wait", id, {"timeout": 20})["result"] == 1
    world.sh("later", "sleep 2; echo 2")
    world.workers[0].stop()
    world.start()
    id = ask("submit", "later", None, {})["id"]
    killer = threading.Timer(0.5, lambda: (api.kill9(), api.start()))
    killer.start()
    assert ask("wait", id, {"timeout": 20})["result"] == 2
    killer.join()

    os.kill(api.process.pid, signal.SIGSTOP)
    killer = threading.Timer(0.5, lambda: (api.kill9(), api.start()))
    killer.start()
    ask("submit", "echo", {"n": 2}, {})
    killer.join()
    assert world.db.value("select count(*) from reeve.job where kind = 'echo'") == 2


BAD = {"py": """
import os, sys, time
import reeve
def handler(payload, run):
    print("a library prints")
    os.write(1, b"another one too\\n")
    if payload == "bug": raise ValueError("a bug")
    if payload == "nan": return float("nan")
    if payload == "exit": sys.exit(65)
    if payload == "slow":
        for i in range(8):
            time.sleep(0.3); run.progress(*([i] if i % 2 else []))
    return [run["attempt"], os.getpid()]
reeve.serve(handler)
""", "mjs": """
import { setTimeout as sleep } from 'node:timers/promises';
import { serve } from './reeve.mjs';
await serve(async (payload, run) => {
  console.log('a library prints');
  process.stdout.write('another one too\\n');
  if (payload === 'bug') throw new TypeError('a bug');
  if (payload === 'nan') return { a: undefined.b };
  if (payload === 'exit') process.exit(65);
  if (payload === 'slow') for (let i = 0; i < 8; i++) { await sleep(300); run.progress(...(i % 2 ? [i] : [])); }
  return [run.attempt, process.pid];
});
"""}


def test_handler_loop_keeps_its_answers_apart(world, language):
    """What libraries print does no harm, a bug is told and tried again, progress is a sign of life, one process serves all."""
    stay(world, language, BAD[language].replace("\\\\", "\\"), keys="MaxAttempts=2\nWatchdogSec=1s\n",
         options=["--watchdog-usec=1000000"])
    world.pool("default", slots=1)
    world.start()
    first = world.run("words", "ok")
    assert first["state"] == "succeeded" and first["result"][0] == 1
    bug = world.run("words", "bug")
    assert (bug["state"], bug["attempt"], bug["error"]["message"]) == ("failed", 2, "a bug")
    assert bug["error"]["code"] in ("ValueError", "TypeError")
    nan = world.run("words", "nan")
    assert nan["state"] == "failed" and nan["error"]["code"] in ("ValueError", "TypeError")
    assert world.run("words", "slow")["result"] == first["result"]
    ended = world.run("words", "exit")
    assert (ended["state"], ended["attempt"]) == ("failed", 1)
    last = world.run("words", "ok")
    assert last["state"] == "succeeded" and last["result"][1] != first["result"][1]


def test_short_enough():
    for name in ("reeve.py", "reeve.mjs"):
        assert len((TREE / "examples" / name).read_text().splitlines()) <= 150
    used = re.findall(r"^(?:import|from) (\w+)", (TREE / "examples/reeve.py").read_text(), re.M)
    assert set(used) <= set(sys.stdlib_module_names)
