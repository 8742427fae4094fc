"""reeve-schedule: the last instant of a calendar event, and one job for it from all hosts."""
import subprocess

import pytest
from conftest import BUILD
from queue_db import queue  # noqa: F401
from patience import within

PROGRAM = BUILD / "src/schedule/reeve-schedule"


@pytest.fixture
def schedule(database, tmp_path):
    (tmp_path / "etc/reeve/kinds").mkdir(parents=True)
    (tmp_path / "etc/reeve/reeve.conf").write_text(f"[Database]\nDatabase={database.conninfo} user=reeve_worker\n")

    def start(calendar, *args, at=None, kind="echo"):
        file, text = tmp_path / "etc/reeve/kinds/echo.kind", f"[Kind]\n{calendar}\n[Exec]\nStart=/bin/true\n"
        if not file.exists() or file.read_text() != text:
            file.write_text(text)
        args = (*args, "--at=" + at.replace(" ", "T") + "Z") if at else args
        return subprocess.Popen([PROGRAM, f"--root={tmp_path}", *args, kind], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                text=True, env={"PATH": "/usr/bin:/bin", "TZ": "America/New_York"})

    def run(calendar, *args, rc=0, **kw):
        p = start(calendar, *args, **kw)
        out, err = p.communicate(timeout=within(60))
        assert "Sanitizer" not in err and p.returncode == rc, err
        return out.strip() or err
    run.start = start
    return run


@pytest.mark.parametrize("calendar, at, last", [
    ("daily", "2026-11-21 10:20:30", "2026-11-21 00:00:00"),
    ("daily", "2026-11-21 00:00:00", "2026-11-21 00:00:00"),
    ("daily", "2026-11-20 23:59:59", "2026-11-20 00:00:00"),
    ("*:0/5", "2026-11-21 10:24:59", "2026-11-21 10:20:00"),
    ("*-*-* *:*:00", "2026-11-21 10:24:59", "2026-11-21 10:24:00"),
    ("*:*:0/1", "2026-11-21 10:24:59", "2026-11-21 10:24:59"),
    ("Mon..Fri 08:30", "2026-11-22 10:00:00", "2026-11-20 08:30:00"),
    ("Mon..Fri 08:30 Europe/Berlin", "2026-11-22 10:00:00", "2026-11-20 07:30:00"),
    ("*-02-29", "2027-01-01 00:00:00", "2024-02-29 00:00:00"),
    ("yearly", "2026-11-21 10:20:30", "2026-01-01 00:00:00"),
    # Summer time ends in Berlin on 25 October 2026 at 01:00 UTC and begins on 28 March 2027 at 01:00 UTC.
    ("12:00 Europe/Berlin", "2026-10-24 23:00:00", "2026-10-24 10:00:00"),
    ("12:00 Europe/Berlin", "2026-10-25 23:00:00", "2026-10-25 11:00:00"),
    ("02:30 Europe/Berlin", "2026-10-25 12:00:00", "2026-10-25 00:30:00"),
    ("03:30 Europe/Berlin", "2027-03-28 12:00:00", "2027-03-28 01:30:00"),
])
def test_the_last_instant(schedule, calendar, at, last):
    assert schedule(f"OnCalendar={calendar}", "--show", at=at) == last + " UTC"


def test_an_hour_that_summer_time_leaves_out_is_no_instant_twice(schedule):
    """02:30 does not exist on the day: whatever systemd makes of it, it is one instant, seen by every host."""
    seen = {schedule("OnCalendar=02:30 Europe/Berlin", "--show", at=f"2027-03-28 {h:02}:59:00") for h in range(3, 22, 6)}
    assert len(seen) == 1


def test_one_job_for_an_instant_from_all_hosts(schedule, queue):
    running = [schedule.start("OnCalendar=daily", at=f"2026-11-21 00:00:0{i}") for i in range(6)]
    said = []
    for p in running:
        said.append(p.communicate(timeout=within(60))[1])
        assert p.returncode == 0, said[-1]
    jobs = queue.root.sql("select id, payload, created_by from reeve.job")
    assert len(jobs) == 1 and jobs[0]["payload"] == {"scheduled_for": "2026-11-21T00:00:00Z"}
    assert jobs[0]["created_by"].startswith("timer:")
    assert sum("made job " + jobs[0]["id"] in s for s in said) == 1 and sum("made by another host" in s for s in said) == 5
    assert queue.state(jobs[0]["id"]) == "ready"


def test_the_next_instant_has_its_own_and_an_earlier_one_none(schedule, queue):
    schedule("OnCalendar=daily", at="2026-11-21 00:00:00")
    schedule("OnCalendar=daily", at="2026-11-22 00:00:01")
    assert "made by another host, or before" in schedule("OnCalendar=daily", at="2026-11-21 23:00:00")
    # A timer that is late makes none of an earlier one, which nobody has asked for.
    assert queue.worker.run("enqueue-scheduled", "echo", "2026-11-20 00:00:00", "h", False) == []
    # The job has long ended: the instant stays seen to.
    run = queue.worker.claim(5)
    assert len(run) == 2 and queue.worker.end(*run)
    schedule("OnCalendar=daily", at="2026-11-22 12:00:00")
    assert queue.root.value("select count(*) from reeve.job") == 2
    queue.check()


def test_an_instant_that_was_missed_is_made_when_it_is_asked_for(schedule, queue):
    schedule("OnCalendar=daily", at="2026-11-22 00:00:00")
    assert "made job" in schedule("OnCalendar=daily", at="2026-11-19 12:00:00")
    assert "made by another host, or before" in schedule("OnCalendar=daily", at="2026-11-19 13:00:00")
    queue.worker.end(*queue.worker.claim(5))
    assert "made by another host, or before" in schedule("OnCalendar=daily", at="2026-11-19 13:00:00")
    # Two at once, and the last one stays the last.
    running = [schedule.start("OnCalendar=daily", at="2026-11-20 00:00:00") for _ in range(4)]
    assert sum("made job" in p.communicate(timeout=120)[1] for p in running) == 1
    assert "made by another host" in schedule("OnCalendar=daily", at="2026-11-22 05:00:00")
    said = queue.root.sql("select payload ->> 'scheduled_for' as at from reeve.job order by id")
    assert [r["at"] for r in said] == [f"2026-11-{d}T00:00:00Z" for d in (22, 19, 20)]
    queue.check()


def test_a_kind_that_no_worker_has_published_makes_no_instant(schedule, queue):
    queue.root.sql("delete from reeve.kind")
    assert "unknown kind" in schedule("OnCalendar=daily", at="2026-11-21 00:00:00", rc=1)
    assert queue.root.value("select count(*) from reeve.schedule") == 0
    queue.db.add_kind("echo")
    assert "made job" in schedule("OnCalendar=daily", at="2026-11-21 00:00:00")


def test_what_cannot_be_done_is_said(schedule, tmp_path):
    assert "no kind other" in schedule("OnCalendar=daily", kind="other", rc=1)
    assert "has no OnCalendar=" in schedule("Description=x", rc=1)
    schedule("OnCalendar=daily", "--rubbish", rc=2)
    assert "--at=noon" in schedule("OnCalendar=daily", "--at=noon", rc=2)
    assert "reeve-schedule(8)" in schedule("OnCalendar=daily", "--help")


def test_only_workers_may_ask(queue):
    with pytest.raises(Exception, match="permission denied"):
        queue.session(role="reeve_api").sql("select reeve.enqueue_scheduled('echo', now(), 'h')")
    assert queue.worker.value("select count(*) from reeve.schedule") == 0
