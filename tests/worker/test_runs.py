"""What a worker does with jobs: results, errors, retries, progress, files, children."""
import hashlib
import json
import time

from conftest import wait_for
from patience import within


def test_a_result_is_kept(world):
    world.sh("echo", "cat")
    world.start()
    job = world.run("echo", {"a": [1, "zwei"]})
    assert job["state"] == "succeeded" and job["result"] == {"a": [1, "zwei"]}
    assert job["attempt"] == 1 and job["cause"] == "exit" and job["exit_status"] == 0
    assert job["unit"].startswith("reeve-run-echo@")
    assert world.history(job["id"]) == []


def test_many_jobs_in_few_slots_each_once(world):
    world.sh("count", f"echo $REEVE_JOB_ID >>{world.dir}/ran; echo 1", max_runs=1000)
    world.start()
    ids = {str(r[0]) for r in world.db.sql("select reeve.enqueue('count', to_jsonb(g)) from generate_series(1, 200) g")}
    wait_for(lambda: world.db.value("select count(*) from reeve.done") == 200, 60)
    ran = (world.dir / "ran").read_text().split()
    assert len(ran) == 200 and set(ran) == ids
    world.check_invariant()


def test_an_error_is_tried_again_with_a_stored_delay(world):
    world.sh("flaky", f"echo try >>{world.dir}/tries; [ $REEVE_ATTEMPT = 3 ] || {{ echo 'no luck' >&2; exit 1; }}; echo '\"ok\"'",
             keys="MaxAttempts=3\n")
    world.start()
    job = world.run("flaky")
    assert job["state"] == "succeeded" and job["attempt"] == 3
    assert (world.dir / "tries").read_text().count("try") == 3
    assert [(h["event"], h["to"], h["code"]) for h in world.history(job["id"])] == [
        ("retry", "scheduled", "EXIT_1"), ("retry", "scheduled", "EXIT_1")]


def test_attempts_run_out(world):
    world.sh("bad", "echo 'first line' >&2; echo 'it broke' >&2; exit 1", keys="MaxAttempts=2\n")
    world.start()
    job = world.run("bad")
    assert job["state"] == "failed" and job["attempt"] == 2
    assert job["error"] == {"code": "EXIT_1", "message": "it broke"}
    assert world.db.value("select log from reeve.done where job = %s", job["id"]) == "first line\nit broke\n"


def test_exit_status_says_whether_to_try_again(world):
    for status, attempts in ((64, 1), (65, 1), (66, 1), (75, 2), (2, 2)):
        world.sh(f"exit{status}", f"exit {status}", keys="MaxAttempts=2\n")
    world.start()
    for status, attempts in ((64, 1), (65, 1), (66, 1), (75, 2), (2, 2)):
        job = world.run(f"exit{status}")
        assert (job["state"], job["attempt"], job["exit_status"]) == ("failed", attempts, status)


def test_signal_and_timeout(world):
    world.sh("killed", "kill -SEGV $$", keys="MaxAttempts=1\n")
    world.sh("slow", "sleep 60", keys="MaxAttempts=1\nTimeoutSec=300ms\n", timeout=0.3)
    world.start()
    ids = {k: world.enqueue(k) for k in ("killed", "slow")}
    jobs = {k: world.wait(i) for k, i in ids.items()}
    assert {k: (j["state"], j["cause"], j["error"]["code"]) for k, j in jobs.items()} == {
        "killed": ("failed", "signal", "SIGNAL"), "slow": ("failed", "timeout", "TIMEOUT")}
    assert jobs["killed"]["exit_signal"] == 11


def test_output_that_is_no_result(world):
    world.sh("text", "echo hello")
    world.sh("huge", "head -c 2000000 /dev/zero | tr '\\0' 1")
    world.sh("none", ":")
    world.sh("plain", "printf 'a \"b\"'", exec_keys="Output=text\n", options=["--output=text"])
    world.start()
    assert world.run("text")["error"]["code"] == "NOT_JSON"
    assert world.run("huge")["error"]["code"] == "RESULT_TOO_LARGE"
    assert "result" not in world.run("none")
    assert world.run("plain")["result"] == 'a "b"'


def test_a_large_result_is_a_blob(world):
    world.sh("large", "printf '\"'; head -c 200000 /dev/zero | tr '\\0' x; printf '\"'")
    world.start()
    job = world.run("large")
    assert job["state"] == "succeeded" and job["result_blob"].startswith("sha256:")
    hex = job["result_blob"][7:]
    assert (world.blobs / "default" / hex[:2] / hex[2:]).read_bytes() == b'"' + b"x" * 200000 + b'"'
    assert world.db.sql("select direction, size from reeve.blob_ref where job = %s", job["id"]) == [("result", 200002)]


def test_output_files_are_kept_and_only_of_the_attempt_that_succeeded(world):
    world.sh("files", "mkdir $REEVE_OUTPUT_DIR/sub; echo $REEVE_ATTEMPT >$REEVE_OUTPUT_DIR/a.txt; echo two >$REEVE_OUTPUT_DIR/sub/b.txt;"
             "[ $REEVE_ATTEMPT = 2 ] || exit 1", keys="MaxAttempts=2\n")
    world.start()
    job = world.run("files")
    assert job["state"] == "succeeded"
    files = world.db.sql("select name, digest, size from reeve.blob_ref where job = %s and direction = 'output' order by name", job["id"])
    assert [(f[0], f[2]) for f in files] == [("a.txt", 2), ("sub/b.txt", 4)]
    hex = files[0][1][7:]
    assert (world.blobs / "default" / hex[:2] / hex[2:]).read_text() == "2\n"


def test_progress_is_seen_while_it_runs(world):
    world.sh("slow", f"echo '{{\"progress\":40,\"status\":\"page 12 of 30\"}}' >&3; while ! [ -e {world.dir}/go ]; do sleep 0.05; done")
    world.start()
    id = world.enqueue("slow")
    wait_for(lambda: world.job(id).get("progress") == 40, what="progress")
    assert world.job(id)["status"] == "page 12 of 30" and world.job(id)["state"] == "running"
    (world.dir / "go").touch()
    assert world.wait(id)["state"] == "succeeded"
    assert world.db.value("select count(*) from reeve.progress") == 0


SPAWN = """if [ $REEVE_PHASE = join ]; then
  wc -l <$REEVE_INPUT_DIR/children.ndjson | tr -d '\\n'
  cat $REEVE_INPUT_DIR/children.ndjson >@HERE@/children
else
  echo '{"$reeve":{"spawn":[{"kind":"leaf","payload":1},{"kind":"leaf","payload":2},{"kind":"leaf","payload":"x"}]}}'
fi"""


def test_children_and_join(world):
    world.sh("tree", SPAWN.replace("@HERE@", str(world.dir)))
    world.sh("leaf", 'read x; [ "$x" != \'"x"\' ] || exit 65; echo $((x * 10))')
    world.start()
    job = world.run("tree")
    assert job["state"] == "succeeded" and job["result"] == 3
    children = [json.loads(line) for line in (world.dir / "children").read_text().splitlines()]
    assert [(c["index"], c["state"], c.get("result")) for c in children] == [
        (0, "succeeded", 10), (1, "succeeded", 20), (2, "failed", None)]
    assert children[2]["error"]["code"] == "EXIT_65"
    assert [h["event"] for h in world.history(job["id"])] == ["spawn"]
    world.check_invariant()


def test_children_get_inputs_and_a_join_their_files(world):
    """The parent's input goes to its children by reference, and what they leave comes back to it, results above 64 KiB too."""
    big = 70_000
    world.sh("tree", f"""cd $REEVE_INPUT_DIR
if [ $REEVE_PHASE = join ]; then
  cp -r children children.ndjson in.txt {world.dir}/; echo 1
else
  echo '{{"$reeve":{{"spawn":[{{"kind":"leaf","payload":1,"inputs":["in.txt"]}},{{"kind":"leaf","payload":2,"inputs":["in.txt"]}}]}}}}'
fi""")
    world.sh("leaf", f"""read n; mkdir $REEVE_OUTPUT_DIR/d; tr a-z A-Z <$REEVE_INPUT_DIR/in.txt >$REEVE_OUTPUT_DIR/d/$n.txt
        [ $n = 1 ] && echo '{{"n":1}}' || {{ echo '"'; head -c {big} /dev/zero | tr '\\0' x; echo '"'; }} | tr -d '\\n'""")
    world.start()
    text = b"some text"
    digest = "sha256:" + hashlib.sha256(text).hexdigest()
    blob = world.blobs / "default" / digest[7:9] / digest[9:]
    blob.parent.mkdir(parents=True)
    blob.write_bytes(text)
    blob.chmod(0o440)
    world.db.sql("insert into reeve.blob (tenant, digest, size) values ('default', %s, %s)", digest, len(text))
    job = world.db.value("select job from reeve.enqueue_batch(%s)", json.dumps(
        [{"kind": "tree", "inputs": [{"name": "in.txt", "blob": digest, "size": len(text)}]}]))
    assert world.wait(job)["state"] == "succeeded", world.job(job)
    assert (world.dir / "in.txt").read_bytes() == text
    assert (world.dir / "children/0/d/1.txt").read_bytes() == (world.dir / "children/1/d/2.txt").read_bytes() == text.upper()
    lines = [json.loads(line) for line in (world.dir / "children.ndjson").read_text().splitlines()]
    assert lines[0]["result"] == {"n": 1} and "result" not in lines[1] and lines[1]["result_blob"]
    assert json.loads((world.dir / "children/1.json").read_text()) == "x" * big
    assert not (world.dir / "children/0.json").exists()


def test_children_run_as_many_at_once_as_asked_for(world):
    world.pool("default", slots=6)
    asked = json.dumps({"$reeve": {"at_once": 2, "progress": [20, 80], "spawn": [{"kind": "leaf"}] * 6}})
    world.sh("tree", f"[ $REEVE_PHASE = join ] && echo 1 || echo '{asked}'")
    world.sh("leaf", f"echo + >>{world.dir}/log; sleep 0.4; echo - >>{world.dir}/log")
    world.start()
    id = world.enqueue("tree")
    seen = set()
    wait_for(lambda: seen.add(world.job(id).get("progress")) or world.job(id)["state"] == "succeeded", what="the end")
    most = now = 0
    for line in (world.dir / "log").read_text().split():
        now += 1 if line == "+" else -1
        most = max(most, now)
    assert most == 2 and len(seen & {20, 40, 60}) >= 2, (most, seen)
    world.check_invariant()


def test_a_child_that_is_refused_fails_the_run(world):
    world.sh("tree", """echo '{"$reeve":{"spawn":[{"kind":"nope"}]}}'""", keys="MaxAttempts=1\n")
    world.start()
    job = world.run("tree")
    assert job["state"] == "failed" and job["error"]["code"] == "BAD_CHILDREN"
    assert "unknown kind" in job["error"]["message"] and "nope" in job["error"]["message"]


def test_a_handler_names_its_error(world):
    world.sh("named", """echo '{"$reeve":{"error":{"code":"QUOTA","message":"too much","retry":false}}}'; exit 1""")
    world.start()
    job = world.run("named")
    assert job["state"] == "failed" and job["attempt"] == 1
    assert job["error"] == {"code": "QUOTA", "message": "too much"}


def test_inputs_come_by_name(world):
    data = b"%PDF-1.4 not really"
    import hashlib
    hex = hashlib.sha256(data).hexdigest()
    path = world.blobs / "default" / hex[:2]
    path.mkdir(parents=True)
    (path / hex[2:]).write_bytes(data)
    world.sh("input", "wc -c <$REEVE_INPUT_DIR/doc.pdf | tr -d ' \\n'")
    world.start()
    made = world.db.sql("select job from reeve.enqueue_batch(%s)", json.dumps([{"kind": "input", "inputs": [
        {"name": "doc.pdf", "blob": "sha256:" + hex, "size": len(data)}]}]))
    assert world.wait(made[0][0])["result"] == len(data)
    made = world.db.sql("select job from reeve.enqueue_batch(%s)", json.dumps([{"kind": "input", "max_attempts": 1, "inputs": [
        {"name": "doc.pdf", "blob": "sha256:" + "0" * 64, "size": 1}]}]))
    job = world.wait(made[0][0])
    assert job["state"] == "failed" and job["error"]["code"] == "INPUT_ERROR" and "blob store" in job["error"]["message"]


def test_scheduled_jobs_run_when_they_are_due(world):
    world.sh("echo", "cat")
    world.start()
    t0 = time.monotonic()
    job = world.run("echo", 1, delay="1 second")
    assert job["state"] == "succeeded" and time.monotonic() - t0 >= 0.9


def test_a_job_past_its_deadline_is_not_run(world):
    world.sh("echo", f"touch {world.dir}/ran; cat")
    world.sh("slow", "sleep 1")
    world.pool("default", slots=1)
    world.start()
    slow = world.enqueue("slow")
    world.wait(slow, "running")
    id = world.db.value("select reeve.enqueue('echo', '1', jsonb_build_object('deadline', clock_timestamp() + interval '300 milliseconds'))")
    job = world.wait(id)
    assert job["state"] == "failed" and job["error"]["code"] == "DEADLINE"
    assert not (world.dir / "ran").exists()


def test_priority_and_paused_queue(world):
    world.sh("echo", f"read x; echo $x >>{world.dir}/order")
    world.pool("default", slots=1)
    world.db.sql("insert into reeve.queue (name, paused, changed_by) values ('other', true, 'test')")
    w = world.start()
    w.stop()
    for p in (1, 9, 5):
        world.enqueue("echo", p, priority=p)
    paused = world.enqueue("echo", 100, queue="other")
    world.start()
    wait_for(lambda: world.db.value("select count(*) from reeve.done") == 3)
    assert (world.dir / "order").read_text().split() == ["9", "5", "1"]
    assert world.job(paused)["state"] == "ready"
    world.db.sql("update reeve.queue set paused = false")
    assert world.wait(paused)["state"] == "succeeded"


def test_an_idle_worker_hears_at_once_that_a_queue_is_paused(world):
    """Not only with its next heartbeat."""
    world.config(world.db.conninfo, "HeartbeatSec=60s\nLeaseSec=300s\n")
    world.sh("echo", "cat")
    world.start()
    assert world.wait(world.enqueue("echo", 1, queue="other"))["state"] == "succeeded"
    with world.db.connect(autocommit=True).cursor() as cur:
        for paused in ("true", "false", "true"):
            cur.execute("insert into reeve.queue as q (name, paused, changed_by) values ('other', %s, 'test') on conflict (name)"
                        " do update set paused = excluded.paused", (paused,))
            cur.execute("notify reeve")
            time.sleep(within(0.3))
            job = world.enqueue("echo", 1, queue="other")
            if paused == "true":
                time.sleep(0.7)
                assert world.job(job)["state"] == "ready"
            else:
                assert world.wait(job, timeout=4)["state"] == "succeeded"

