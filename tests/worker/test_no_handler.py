"""A handler that cannot be started on a host is no job's fault: the job waits and uses up nothing, other kinds go on, the pause
grows, everybody who asks is told why, and when it is mended the job runs."""
import time

from conftest import EXEC, wait_for


def faults(world):
    return world.db.value("select faults from reeve.instance where stopped_at is null")


def told(world, id, code):
    """The job is ready again, and says why."""
    wait_for(lambda: (world.job(id).get("last_error") or {}).get("code") == code, what=f"{code} of {id}: {world.job(id)}")
    # One look: it is claimed again in a moment.
    job = wait_for(lambda: (job := world.job(id))["state"] == "ready" and job, what="ready again")
    assert (job["attempt"], job["interruptions"]) == (0, 0), job
    return job


def mended(world, id):
    job = world.wait(id, timeout=30)
    assert (job["state"], job["attempt"], job["interruptions"]) == ("succeeded", 1, 0), job
    wait_for(lambda: faults(world) == [], what="nothing is wrong any more")
    wait_for(lambda: "cannot run" not in world.workers[0].notify.status, what="the status says so")
    assert world.workers[0].log_has("can be run again")
    world.check_invariant()


def test_a_kind_without_a_socket_waits_until_it_has_one(world):
    world.kinds.joinpath("lost.kind").write_text("[Kind]\nMaxAttempts=1\nPriority=10\nRetrySec=0\n[Exec]\nStart=/bin/true\n")
    world.sh("echo", "cat", keys="MaxAttempts=1\n")
    w = world.start()
    lost = [world.enqueue("lost") for _ in range(8)]
    told(world, lost[0], "NO_SOCKET")
    echoes = [world.run("echo", i) for i in range(5)]
    assert [j["result"] for j in echoes] == list(range(5))
    (fault,) = faults(world)
    assert (fault["kind"], fault["code"]) == ("lost", "NO_SOCKET") and fault["since"].endswith("Z")
    assert "systemctl daemon-reload" in fault["message"] and "reeve-run-lost.socket" in fault["message"]
    wait_for(lambda: w.notify.status.endswith("; cannot run kind lost (NO_SOCKET)"), what="the status line")
    assert w.text().count("Kind lost cannot be run here: NO_SOCKET") >= 1
    world.host.add("lost", ["/bin/true"])
    for id in lost[1:]:
        world.wait(id, timeout=30)
    mended(world, lost[0])


def test_no_circle_without_rest_and_no_endless_history(world):
    """RetrySec=0: the worker tries after 1, 2, 4... s all the same; each job's history has one line of it."""
    world.kinds.joinpath("lost.kind").write_text("[Kind]\nRetrySec=0\n[Exec]\nStart=/bin/true\n")
    world.start()
    t0, before = time.monotonic(), world.db.value("select last_value from reeve.run_seq")
    id = world.enqueue("lost")
    told(world, id, "NO_SOCKET")
    wait_for(lambda: world.db.value("select last_value from reeve.run_seq") >= before + 3, 30, "three tries")
    n = world.db.value("select last_value from reeve.run_seq") - before
    assert n <= 2 + (time.monotonic() - t0), n
    told(world, id, "NO_SOCKET")
    assert [h["event"] for h in world.history(id)] == ["not-run"]
    assert world.db.value("select reeve.cancel(%s)", id) in ("cancelled", "cancelling")
    assert world.wait(id)["state"] == "cancelled"


def test_a_program_that_is_missing_or_not_executable(world):
    missing, plain, script = (world.dir / n for n in ("missing", "plain", "script"))
    plain.write_text("no program")
    script.write_text("#!/nonexistent/interpreter\n")
    script.chmod(0o755)
    for name, path in (("missing", missing), ("plain", plain), ("script", script)):
        world.kind(name, str(path), keys="MaxAttempts=1\nMaxInterruptions=1\n")
    world.sh("echo", "cat")
    w = world.start()
    ids = {k: world.enqueue(k) for k in ("missing", "plain", "script")}
    codes = {"missing": "HANDLER_MISSING", "plain": "HANDLER_NOT_EXECUTABLE", "script": "HANDLER_MISSING"}
    for k, id in ids.items():
        job = told(world, id, codes[k])
        assert str(world.dir / k) in job["last_error"]["message"]
        (line,) = world.history(id)
        assert (line["event"], line["from"], line["to"], line["code"]) == ("not-run", "running", "ready", codes[k])
    wait_for(lambda: {f["kind"]: f["code"] for f in faults(world)} == codes, what="three faults")
    wait_for(lambda: "; cannot run 3 kinds, " in w.notify.status, what="the status line")
    assert world.run("echo", 1)["result"] == 1
    for path in (missing, plain, script):
        path.unlink(missing_ok=True)
        path.write_text("#!/bin/sh\necho 1\n")
        path.chmod(0o755)
    for id in ids.values():
        mended_job = world.wait(id, timeout=60)
        assert (mended_job["state"], mended_job["attempt"]) == ("succeeded", 1)
    mended(world, ids["missing"])


def test_a_unit_that_does_not_start(world):
    """As with User= of nobody who is there: systemd gives up before the launcher says hello."""
    starts = world.dir / "starts"
    launcher = world.dir / "launcher"
    launcher.write_text(f"#!/bin/sh\n[ -e {starts} ] || exit 1\nexec {EXEC} \"$@\"\n")
    launcher.chmod(0o755)
    world.sh("broken", "cat", keys="MaxInterruptions=1\nMaxAttempts=1\n", launcher=str(launcher))
    world.start()
    id = world.enqueue("broken", 7)
    job = told(world, id, "UNIT_NOT_STARTED")
    assert "journalctl -u 'reeve-run-broken@*'" in job["last_error"]["message"]
    starts.touch()
    mended(world, id)
    assert world.job(id)["result"] == 7


def test_another_host_does_it(world):
    """Two workers, one of which has no such socket: the job is not kept from the other."""
    world.kinds.joinpath("here.kind").write_text("[Kind]\nMaxAttempts=1\n[Exec]\nStart=/bin/true\n")
    w = world.start("default")
    told(world, world.enqueue("here"), "NO_SOCKET")
    wait_for(lambda: w.notify.status.endswith("(NO_SOCKET)"))
    world.host.add("here", ["/bin/true"])
    world.start("default:2")  # knows nothing of the other's trouble
    wait_for(lambda: world.db.value("select count(*) from reeve.done where state = 'succeeded'") == 1, what="done")


def test_the_join_program_is_named(world):
    world.sh("tree", """echo '{"$reeve":{"spawn":[]}}'""", keys="MaxAttempts=1\n", exec_keys=f"Join={world.dir}/join\n",
             options=[f"--join={world.dir}/join"])
    world.start()
    id = world.enqueue("tree")
    assert f"{world.dir}/join" in told_join(world, id)["last_error"]["message"]
    (world.dir / "join").write_text("#!/bin/sh\necho '\"joined\"'\n")
    (world.dir / "join").chmod(0o755)
    assert world.wait(id, timeout=30)["result"] == "joined"


def told_join(world, id):
    wait_for(lambda: (world.job(id).get("last_error") or {}).get("code") == "HANDLER_MISSING", what="the join is missing")
    wait_for(lambda: world.job(id)["state"] == "ready", what="ready again")
    return world.job(id)


def test_a_kind_that_is_kept_out_is_told(world):
    (world.kinds / "bad.kind").write_text("[Kind]\nPriority=x\n[Exec]\nStart=/bin/true\n")
    world.sh("echo", "cat")
    w = world.start(wait=False)
    wait_for(lambda: w.log_has("is instance"), what="registered")
    wait_for(lambda: faults(world), what="the fault")
    (fault,) = faults(world)
    assert (fault["kind"], fault["code"]) == ("bad", "KIND_KEPT_OUT")
    assert fault["message"].endswith("/bad.kind:2: Priority=x: expected a number from 1 to 10")
    wait_for(lambda: w.notify.status.endswith("; cannot run kind bad (KIND_KEPT_OUT)"), what="the status line")
