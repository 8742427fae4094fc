"""PostgreSQL's own disk is full, until it cannot even write its log and ends: what was acknowledged is there when there is room again,
what was not is told, and everything goes on by itself."""
import contextlib
import os
import re
import subprocess
import time

import pytest

from conftest import Api, pg, wait_for

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs a small file system")
LONG = 60  # on a slow machine
MIB = 1 << 20
# PostgreSQL's words, for a write that fails and one that is cut short.
NO_SPACE = re.compile("No space left on device|Check free disk space")


class Disk:
    """A throw-away server on a file system of its own."""

    def __init__(self):
        self.server = pg.Server()
        owner = self.server.dir.stat()
        subprocess.run(["mount", "-t", "tmpfs", "-o", f"size=160m,uid={owner.st_uid},gid={owner.st_gid},mode=755", "tmpfs",
                        self.server.dir], check=True)
        self.filler = self.server.dir / "filler"

    def fill(self, leave=0):
        with open(self.filler, "ab", buffering=0) as f, contextlib.suppress(OSError):
            while f.write(bytes(MIB // 16)) == MIB // 16:
                pass
        if leave:
            os.truncate(self.filler, max(self.filler.stat().st_size - leave, 0))

    def room(self):
        self.filler.unlink(missing_ok=True)

    def alive(self):
        """Ends what the log's disk full ended, as its unit would, and starts it."""
        if self.server.process.poll() is None:
            with contextlib.suppress(AssertionError):
                if wait_for(self.server.answers, 10, "it answers"):
                    return
            self.server.process.terminate()
            self.server.process.wait(LONG)
        (self.server.data / "postmaster.pid").unlink(missing_ok=True)
        self.server.start()


@pytest.fixture(scope="module")
def disk():
    d = Disk()
    try:
        d.server.init()
        d.server.start()
        d.server.psql(pg.MIGRATIONS / "bootstrap.sql")
        yield d
    finally:
        d.room()
        with contextlib.suppress(Exception):
            d.server.stop()
        subprocess.run(["umount", "-l", d.server.dir], check=True)
        os.rmdir(d.server.dir)


def create(api, n):
    """Asks once; what came."""
    body = {"kind": "echo", "payload": f"{n}:" + os.urandom(30_000).hex()}
    try:
        return api.post("/api/jobs", body, {"Idempotency-Key": str(n)}, timeout=LONG)
    except OSError:
        return None


def test_a_full_disk_of_the_database(disk):
    database = disk.server.create()
    database.migrate("up")
    database.add_kind("echo")
    api = Api(database)
    try:
        api.wait_up(LONG)
        made, refused, n = {}, [], 0
        disk.fill(leave=2 * MIB)
        end = time.monotonic() + 2 * LONG
        while len(refused) < 5:
            assert time.monotonic() < end and n < 2000, "the disk never was full"
            n += 1
            r = create(api, n)
            if r is not None and r.status == 202:
                made[str(n)] = r.json["id"]
                continue
            assert r is None or r.status in (503, 507) and r.json["detail"], r
            assert r is None or r.status == 507 or r.headers["Retry-After"]
            refused.append(n)
            disk.fill()  # nothing is left over
            time.sleep(0.2)
        assert api.process.poll() is None
        disk.room()
        disk.alive()
        api.wait_up(LONG)
        for n in refused:
            def taken(n=n):
                r = create(api, n)
                if r is not None and r.status in (200, 202):
                    made[str(n)] = r.json["id"]
                    return True
                # The same key with another payload: it had been made after all.
                return r is not None and r.status == 422
            wait_for(taken, LONG, f"job {n} is taken")
        rows = {t: i for i, t in database.sql("select id::text, split_part(payload #>> '{}', ':', 1) from reeve.job")}
        assert len(rows) == database.value("select count(*) from reeve.job"), "a job twice"
        assert {n: rows.get(n) for n in made} == made and len(rows) == len(made) + len(set(map(str, refused)) - set(made))
        assert "Sanitizer" not in api.text()
    finally:
        disk.room()
        api.close()
        database.close()


def test_migrate_and_maintenance(disk, tmp_path):
    """They say what is missing, leave nothing half done, and go on when they are run again."""
    disk.room()
    disk.alive()
    database = disk.server.create()
    disk.fill(leave=MIB)  # a connection takes some
    r = database.migrate("up", check=False)
    assert r.returncode != 0 and NO_SPACE.search(r.stderr), r
    disk.room()
    disk.alive()
    database.migrate("up")
    assert database.migrate("check").returncode == 0

    database.add_kind("echo", keep_usec=3600 * 1000000)
    database.sql("with made as (insert into reeve.job (id, created_at, kind, queue, priority, tenant, max_attempts, max_interruptions,"
                 " timeout_usec) select (substr(reeve.uuid_floor(now() - interval '3 hours')::text, 1, 24) || lpad(to_hex(i), 12, '0'))::uuid,"
                 " now() - interval '3 hours', 'echo', 'default', 5, 'default', 3, 5, 1000000 from generate_series(1, 500) i returning id)"
                 " insert into reeve.done (job, state, cause, finished_at, claimed_at, result) select id, 'succeeded', 'exit',"
                 " now() - interval '3 hours', now() - interval '3 hours', to_jsonb(repeat('x', 1000)) from made")
    expired = "select count(*) from reeve.done where expired_at is not null"
    (tmp_path / "etc/reeve").mkdir(parents=True)
    (tmp_path / "etc/reeve/reeve.conf").write_text(f"[Database]\nDatabase={database.conninfo}\n")
    (tmp_path / "blobs").mkdir()
    argv = [pg.BUILD / "src/maintenance/reeve-maintenance", f"--root={tmp_path}", f"--blobs={tmp_path}/blobs"]
    disk.fill()
    told = subprocess.run(argv, capture_output=True, text=True, timeout=2 * LONG, env=os.environ | {"LC_ALL": "C"})
    assert told.returncode != 0 and NO_SPACE.search(told.stderr), told
    disk.room()
    disk.alive()
    assert database.value(expired) < 500
    subprocess.run(argv, check=True, timeout=2 * LONG)
    assert database.value(expired) == 500
    database.close()
