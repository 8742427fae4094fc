"""Ends that the database does not take, for a while or at all: no verdict of a handler is lost or turned into another."""
import threading
import time

from conftest import wait_for


def trouble(world, sqlstate, times=1000000, table="done"):
    """From now on writing a row fails with this SQLSTATE."""
    world.db.sql(f"""create sequence reeve.trouble;
        grant usage on sequence reeve.trouble to public;
        create function reeve.trouble() returns trigger language plpgsql as $$ begin
            if nextval('reeve.trouble') <= {times} then
                raise exception 'trouble' using errcode = '{sqlstate}';
            end if;
            return new;
        end $$;
        create trigger trouble before insert on reeve.{table} for each row execute function reeve.trouble()""")


def test_a_server_in_trouble_is_asked_again_and_the_result_is_kept(world):
    world.sh("echo", "cat")
    for state in ("53100", "53200", "57014", "58030", "40P01"):
        trouble(world, state, 3)
        if not world.workers:
            world.start()
        job = world.run("echo", state)
        assert (job["state"], job.get("result"), job["attempt"]) == ("succeeded", state, 1)
        world.db.sql("drop function reeve.trouble() cascade; drop sequence reeve.trouble")
    world.check_invariant()


def test_no_run_succeeds_without_its_files(world):
    world.sh("files", "echo a >$REEVE_OUTPUT_DIR/a.txt; echo 1", keys="MaxAttempts=1\n")
    for state, end in (("53100", "succeeded"), ("40P01", "succeeded"), ("23514", "failed")):
        trouble(world, state, 2, "blob_ref")
        if not world.workers:
            world.start()
        job = world.run("files")
        assert job["state"] == end
        assert world.db.value("select count(*) from reeve.blob_ref where job = %s", job["id"]) == (end == "succeeded")
        world.db.sql("drop function reeve.trouble() cascade; drop sequence reeve.trouble")
    world.check_invariant()


def test_a_long_last_line_of_wide_characters_does_not_end_the_retries(world):
    for shift in range(4):
        world.sh(f"wide{shift}", f"printf '{'x' * shift}%0.s' 1 >&2; for i in $(seq 400); do printf '\\360\\237\\220\\214' >&2; done; exit 1",
                 keys="MaxAttempts=2\n")
    world.start()
    for id in [world.enqueue(f"wide{shift}") for shift in range(4)]:
        job = world.wait(id)
        assert (job["state"], job["attempt"], job["error"]["code"]) == ("failed", 2, "EXIT_1")


def test_a_refused_child_with_a_long_name_of_wide_characters_ends_the_job(world):
    name = "\U0001F40C" * 300
    world.sh("tree", f"""echo '{{"$reeve":{{"spawn":[{{"kind":"x","queue":"{name}"}},{{"kind":"{name}"}}]}}}}'""")
    world.start()
    job = world.run("tree")
    assert (job["state"], job["error"]["code"]) == ("failed", "BAD_CHILDREN")
    world.check_invariant()


def test_results_that_the_database_cannot_hold_are_said_so_and_their_neighbours_end(world):
    world.sh("nul", r"""printf '"a\\u0000b"'""", keys="MaxAttempts=1\n")
    world.sh("number", "printf 1e999999", keys="MaxAttempts=1\n")
    world.sh("echo", "cat")
    world.start()
    bad = [world.enqueue(k) for k in ("nul", "number")]
    good = [world.enqueue("echo", i) for i in range(8)]
    for id in bad:
        job = world.wait(id)
        assert (job["state"], job["error"]["code"]) == ("failed", "NOT_JSON"), job
    for i, id in enumerate(good):
        assert world.wait(id)["result"] == i
    world.check_invariant()


def test_parents_are_cancelled_while_their_children_end(world):
    world.sh("tree", """[ $REEVE_PHASE = join ] || echo '{"$reeve":{"spawn":[{"kind":"leaf"},{"kind":"leaf"},{"kind":"leaf"},{"kind":"leaf"}]}}'""",
             max_runs=1000)
    world.sh("leaf", "sleep 0.0$((REEVE_RUN_ID % 5)); echo 1", max_runs=1000)
    world.start("default")
    world.start("default:2")
    ids = [r[0] for r in world.db.sql("select reeve.enqueue('tree') from generate_series(1, 60)")]
    answers = {}

    def cancel(some):
        for i in some:
            wait_for(lambda: world.db.value("select reeve.job_state(%s)", i) not in ("ready", "running"), 30)
            time.sleep(0.01)
            answers[i] = world.db.value("select reeve.cancel(%s)", i)

    threads = [threading.Thread(target=cancel, args=(ids[k::3],)) for k in range(2)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    assert len(answers) == 40
    wait_for(lambda: world.db.value("select count(*) from reeve.done") == world.db.value("select count(*) from reeve.job"), 30)
    assert all(world.job(i)["state"] == "succeeded" for i in ids[2::3])
    assert not any("deadlock" in w.text() for w in world.workers)
    world.check_invariant()
