"""What the manager shows: its objects, their properties and signals, its own life."""
import os
import signal
import time

from conftest import MANAGER, NAME, QUEUE, ROOT, WORKER, Daemon, Variant, spin, stopped
from patience import within


def test_properties_of_the_manager(manager, client):
    said = client.get_all(ROOT, MANAGER)
    assert said.pop("StartTimestamp") > 1e15
    assert said == {"Version": "0.1.0", "State": "running", "DatabaseState": "ok", "QueuedJobs": 0, "ActiveJobs": 0}


def test_queues_workers_and_numbers_follow_the_database(manager, client, database):
    client.listen()
    assert client.manager("ListQueues") == [("default", f"{ROOT}/queue/default"), ("documents", f"{ROOT}/queue/documents")]
    assert client.get_all(f"{ROOT}/queue/documents", QUEUE) == \
        {"Name": "documents", "Paused": False, "Reason": "", "Depth": 0, "Running": 0}
    database.sql("select reeve.enqueue('pdf') from generate_series(1, 3)")
    database.sql("insert into reeve.instance (host, name, boot_id, pid, version, schema_version, kinds, queues, slots) values "
                 "('web-1', 'default:2', 'b', 42, '1', 1, '{pdf}', '{documents,extra}', 8)")
    spin(lambda: client.get(f"{ROOT}/queue/documents", QUEUE, "Depth") == 3, what="the depth")
    path = f"{ROOT}/worker/web_2d1_2fdefault_3a2"
    spin(lambda: client.manager("ListWorkers") == [("web-1", "default:2", "idle", path)], what="the worker")
    assert client.get_all(path, WORKER) == {"Host": "web-1", "Pool": "default", "Instance": "default:2", "MainPID": 42, "State": "idle",
                                            "Unit": "reeve-worker@default:2.service", "Slots": 8, "Busy": 0, "JobsDone": 0}
    spin(lambda: client.changes(ROOT).get("QueuedJobs") == 3, what="QueuedJobs")
    assert client.changes(f"{ROOT}/queue/documents") == {"Depth": 3}
    assert [(p, a[0]) for _, p, m, a in client.signals if m == "InterfacesAdded"][0] == (ROOT, path)
    database.sql("update reeve.instance set stopped_at = now()")
    spin(lambda: [a[0] for _, _, m, a in client.signals if m == "InterfacesRemoved"] == [path], what="its end")
    assert client.manager("ListWorkers") == []
    assert client.fails(path, "org.freedesktop.DBus.Properties", "GetAll", Variant("(s)", (WORKER,))).name.endswith("UnknownObject")


def test_the_tree_is_browsable(manager, client):
    tree = manager.busctl("--list", "tree", NAME).stdout.split()
    assert tree == ["/", "/org", "/org/freedesktop", "/org/freedesktop/LogControl1", "/org/reeve1", f"{ROOT}/flag", f"{ROOT}/operation",
                    f"{ROOT}/queue", f"{ROOT}/queue/default", f"{ROOT}/queue/documents", f"{ROOT}/release", f"{ROOT}/worker"]
    assert client.objects().keys() >= {f"{ROOT}/queue/default", f"{ROOT}/queue/documents"}


def test_log_level(manager, client):
    log = ("/org/freedesktop/LogControl1", "org.freedesktop.LogControl1")
    assert client.get_all(*log) == {"LogLevel": "debug", "LogTarget": "console", "SyslogIdentifier": "reeved"}
    client.set(*log, "LogLevel", "s", "warning")
    assert client.get(*log, "LogLevel") == "warning"
    refused = client.send_set(*log, "LogLevel", "s", "loud")
    spin(lambda: refused.done)
    assert refused.error.name.endswith("InvalidArgs") and '"loud"' in refused.error.text
    assert client.get(*log, "LogLevel") == "warning"
    r = manager.busctl("set-property", NAME, *log, "LogLevel", "s", "debug", user="nobody", check=False)
    assert r.returncode and "Access" in r.stderr and client.get(*log, "LogLevel") == "warning"


def test_status_and_readiness(manager):
    spin(lambda: manager.notify.lines("READY=1"), what="its word")
    spin(lambda: manager.notify.status == "serving: 2 queues, 0 workers, 0 flags; 0 jobs wait, 0 run", what="the status")


def test_database_away_at_start(start, polkit, client, database):
    m = start(conninfo="host=/nonexistent dbname=reeve")
    m.wait_up(client, "degraded")
    assert client.state("DatabaseState") == "away"
    assert client.manager("ListQueues") == []
    assert "no database" in m.notify.status or "database is away" in m.notify.status
    begin = time.monotonic()
    error = client.fails(ROOT, MANAGER, "SetFlagEnabled", Variant("(sbs)", ("a", True, "")))
    assert error.name == "org.reeve1.Error.NotReady" and "Nothing was changed" in error.text
    assert time.monotonic() - begin < within(1) and polkit.asked == [], "nobody is asked for a password in vain"


def has_owner(client):
    return client.call("/org/freedesktop/DBus", "org.freedesktop.DBus", "NameHasOwner", Variant("(s)", (NAME,)), to="org.freedesktop.DBus")


def test_the_first_call_is_answered_by_what_the_database_says(manager, client, server):
    """Whoever starts the service by a call is not told that it does not know yet, however slow the database is."""
    client.manager("CreateFlag", "(sa{sv})", "a", {"percent": Variant("d", 10)})
    manager.stop()
    with stopped(server.pid):
        begin = time.monotonic()
        manager.start()
        spin(lambda: manager.notify.status == "starting: asking the database", what="it waits")
        assert not spin(lambda: has_owner(client), 1 / within(1), must=False) or time.monotonic() > begin + 5
    spin(lambda: has_owner(client), what="the name")
    client.manager("SetFlagEnabled", "(sbs)", "a", True, "")
    assert (client.state(), client.state("DatabaseState")) == ("running", "ok") and len(client.manager("ListQueues")) == 2


def test_a_database_that_never_answers_is_not_waited_for(manager, client, server):
    manager.stop()
    with stopped(server.pid):
        manager.start()
        spin(lambda: has_owner(client), 10, "the name")
        error = client.fails(ROOT, MANAGER, "PauseQueue", Variant("(s)", ("default",)))
        assert error.name == "org.reeve1.Error.NotReady", error
    manager.wait_up(client)


def test_schema_comes_later(start, polkit, client, empty):
    m = start(db=empty)
    m.wait_up(client, "degraded")
    assert client.state("DatabaseState") == "no-schema" and "reeve-migrate" in m.notify.status
    empty.migrate("up")
    m.wait_up(client)
    assert client.state("DatabaseState") == "ok"


def test_database_restarted_and_killed(manager, client, server, database):
    for how in (server.stop, lambda: server.kill9(start=False)):
        how()
        try:
            manager.wait_up(client, "degraded")
            assert client.state("DatabaseState") == "away"
            assert len(client.manager("ListQueues")) == 2, "the last state is shown"
        finally:
            server.start()
        manager.wait_up(client)


def test_a_stopped_database_is_told(manager, client, database):
    pids = [r[0] for r in database.sql("select pid from pg_stat_activity where application_name = 'reeved'")]
    assert len(pids) == 2, "one connection, and one that listens"
    with stopped(pids[0]), stopped(pids[1]):
        manager.wait_up(client, "degraded", 10)
        assert client.state("DatabaseState") in ("stuck", "away")
        t = time.monotonic()
        error = client.fails(ROOT, MANAGER, "PauseQueue", Variant("(s)", ("default",)))
        assert error.name == "org.reeve1.Error.NotReady" and time.monotonic() - t < within(1)
    manager.wait_up(client)


def test_write_into_a_database_that_stops_answering(manager, client, server, database):
    """The write is on its way when the database stands still: a bounded time, and the truth about it."""
    blocker = database.connect("postgres")
    with blocker.cursor() as c:
        c.execute("lock table reeve.queue in access exclusive mode")
    t = time.monotonic()
    error = client.fails(ROOT, MANAGER, "PauseQueue", Variant("(s)", ("default",)))
    assert error.name == "org.reeve1.Error.OutcomeUnknown" and 4 < time.monotonic() - t < within(9), error
    blocker.rollback()
    manager.wait_up(client)


def test_killed_backend(manager, client, database):
    database.sql("select pg_terminate_backend(pid) from pg_stat_activity where application_name = 'reeved'")
    spin(lambda: "The database is away" in manager.text(), what="the loss")
    manager.wait_up(client)
    client.manager("PauseQueue", "(s)", "default")


def test_killed_and_started_again(manager, client, polkit):
    first = client.call("/org/freedesktop/DBus", "org.freedesktop.DBus", "GetNameOwner", Variant("(s)", (NAME,)),
                        to="org.freedesktop.DBus")
    manager.kill9()
    manager.start()
    manager.wait_up(client)
    assert client.call("/org/freedesktop/DBus", "org.freedesktop.DBus", "GetNameOwner", Variant("(s)", (NAME,)),
                       to="org.freedesktop.DBus") != first


def test_second_one_waits_for_the_name(manager, start, client):
    second = start()
    spin(lambda: "another program has the name" in second.notify.status, what="its status")
    assert not second.notify.lines("READY=1")
    manager.stop()
    spin(lambda: second.notify.lines("READY=1"), what="its turn")
    second.wait_up(client)


def test_stop(manager):
    manager.stop()
    spin(lambda: manager.notify.lines("STOPPING=1"), what="its word")


def test_bus_goes_and_comes(start, connect, polkit, database):
    daemon = Daemon()
    try:
        m = start(daemon)
        m.wait_up(connect(daemon.address))
        daemon.kill()
        spin(lambda: "not on the bus" in m.notify.status, what="its status")
        daemon.start()
        m.wait_up(connect(daemon.address))
        assert m.process.poll() is None
    finally:
        daemon.remove()


def test_a_bus_that_refuses_the_name(start, connect, polkit, database):
    """Until its policy lets us: when the package is being installed."""
    daemon = Daemon()
    try:
        conf = daemon.dir / "conf"
        right = conf.read_text()
        conf.write_text(right.replace('<allow own="*"/>', ""))
        daemon.kill()
        daemon.start()
        m = start(daemon)
        spin(lambda: "not on the bus" in m.notify.status and "not allowed to own" in m.notify.status, what="its status")
        assert not m.notify.lines("READY=1") and m.text().count("not allowed to own") == 1
        conf.write_text(right)
        daemon.process.send_signal(signal.SIGHUP)
        spin(lambda: m.notify.lines("READY=1"), what="the name")
        m.wait_up(connect(daemon.address))
    finally:
        daemon.remove()


def test_watchdog(start, client, polkit, database):
    m = start(watchdog=3)
    m.wait_up(client)
    spin(lambda: len(m.notify.lines("WATCHDOG=1")) > 8, what="it is fed")


def test_watchdog_starves_when_the_loop_stands(start, client, polkit, database):
    m = start(watchdog=3)
    m.wait_up(client)
    os.kill(m.process.pid, signal.SIGSTOP)
    t = time.monotonic()
    time.sleep(1)
    assert not m.notify.lines("WATCHDOG=1", t + 0.1)
    os.kill(m.process.pid, signal.SIGCONT)
    m.wait_up(client)


def test_properties_are_read_while_statements_wait(manager, client, database):
    """A getter never asks the database."""
    blocker = database.connect("postgres")
    with blocker.cursor() as c:
        c.execute("lock table reeve.instance in access exclusive mode")
    end, slowest = time.monotonic() + 2.5, 0
    while time.monotonic() < end:
        t = time.monotonic()
        client.objects()
        slowest = max(slowest, time.monotonic() - t)
    assert slowest < min(within(1), 3), "the statement waits for longer"
    blocker.rollback()
