"""Handlers that reach a database on another host by their kinds' [Service] lines: examples/kinds/totals-*.kind as they stand.

Two machines share a network: 192.0.2.10 has the application's PostgreSQL, 192.0.2.1 has Reeve. The Node.js handler uses the
package "pg" of npm's registry (tests/system/node/package-lock.json, kept in .cache/node once it has come); Debian's own node-pg
goes with Debian's own nodejs only. The Python one runs in a virtual environment made without the network.
"""
import hashlib
import json
import pathlib
import re
import shutil
import subprocess

import pytest

from conftest import TREE, Machine

EXAMPLES = TREE / "examples"
PASSWORD = "fünf Gläser"
CLUSTER = """
install -d -o postgres /srv/shop
run() { runuser -u postgres -- /usr/lib/postgresql/15/bin/"$@"; }
run initdb -D /srv/shop/d --locale=C -E UTF8 -A trust -N >/dev/null
echo 'host shop totals 192.0.2.0/24 scram-sha-256' >/srv/shop/d/pg_hba.conf
echo 'local all all trust' >>/srv/shop/d/pg_hba.conf
systemd-run -q --unit=shop -p User=postgres /usr/lib/postgresql/15/bin/postgres -D /srv/shop/d -k /srv/shop -c listen_addresses='*'
"""
TABLES = """create role totals login password '%s'; create table orders (customer int, amount numeric);
insert into orders values (7, 10.5), (7, 4), (8, 1); grant select on orders to totals""" % PASSWORD


@pytest.fixture(scope="module")
def shop():
    m = Machine("--no-reeve", "--lab", "192.0.2.10/24")
    m.sh("ip addr add 192.0.2.11/24 dev host0")
    m.sh(CLUSTER)
    m.wait_until("pg_isready -q -h /srv/shop")
    psql = ["psql", "-qXh", "/srv/shop", "-U", "postgres", "-v", "ON_ERROR_STOP=1"]
    m.out(*psql, "-c", "create database shop")
    m.out(*psql, "-c", TABLES, "shop")
    yield m
    m.remove()


@pytest.fixture(scope="session")
def node_modules():
    """The packages of package-lock.json; its hashes are checked by npm."""
    if not shutil.which("node") or not shutil.which("npm"):
        pytest.skip("node and npm are not installed")
    source = pathlib.Path(__file__).parent / "node"
    lock = (source / "package-lock.json").read_bytes()
    where = TREE / ".cache/node" / hashlib.sha256(lock).hexdigest()[:16]
    if not (where / "done").exists():
        shutil.rmtree(where, ignore_errors=True)
        where.mkdir(parents=True)
        for name in ("package.json", "package-lock.json"):
            shutil.copy(source / name, where)
        run = subprocess.run(["npm", "ci", "--ignore-scripts", "--no-audit", "--no-fund"], cwd=where, capture_output=True, text=True,
                             timeout=120)
        if run.returncode:
            pytest.skip(f"npm's registry is not reachable: {run.stderr.strip().splitlines()[-1:]}")
        (where / "done").touch()
    return where / "node_modules"


@pytest.fixture(scope="module")
def host(deb, shop, tmp_path_factory):
    """Reeve with the example's files, and with variants of the kinds in which one line is missing or another."""
    m = Machine("--deb", str(deb), "--lab", "192.0.2.1/24")
    where = tmp_path_factory.mktemp("kinds")
    for language in ("py", "mjs"):
        m.put(EXAMPLES / f"handlers/totals.{language}", "/usr/local/lib/reeve/totals")
        m.put(EXAMPLES / f"kinds/totals-{language}.kind", "/etc/reeve/kinds")
        text = (EXAMPLES / f"kinds/totals-{language}.kind").read_text().replace("MaxAttempts=3", "MaxAttempts=1")
        for name, line, other in (("no-network", "PrivateNetwork=no\n", ""), ("no-password", "LoadCredential=", "#LoadCredential="),
                                  ("elsewhere", "PGHOST=192.0.2.10", "PGHOST=192.0.2.11"), ("bare", text[text.index("\n[Service]\n"):], "")):
            assert line in text
            (where / f"{name}-{language}.kind").write_text(text.replace(line, other))
            m.put(where / f"{name}-{language}.kind", "/etc/reeve/kinds")
    m.sh("python3 -m venv --without-pip --system-site-packages /usr/local/lib/reeve/totals; chmod -R go+rX /usr/local/lib/reeve /etc/reeve/kinds; "
         f"install -d -m 700 /etc/reeve/credentials; umask 077; echo '{PASSWORD}' >/etc/reeve/credentials/totals; "
         "systemctl daemon-reload; systemctl restart reeve-worker@default")
    m.wait_until(lambda: m.psql("select count(*) from reeve.kind where name ~ '-(py|mjs)$'") == "10")
    yield m
    m.remove()


@pytest.fixture(params=["py", "mjs"])
def language(request, host):
    if request.param == "mjs":
        modules = request.getfixturevalue("node_modules")
        if host.exec("test", "-d", "/usr/local/lib/reeve/totals/node_modules", check=False).returncode:
            host.put(modules, "/usr/local/lib/reeve/totals")
            host.sh("chmod -R go+rX /usr/local/lib/reeve")
    return request.param


def run(m, kind, payload):
    out = m.exec("reevectl", "submit", kind, json.dumps(payload), "--wait", "--json", check=False, timeout=60)
    return json.loads(out.stdout)


def test_a_database_on_another_host(host, language):
    job = run(host, f"totals-{language}", {"customer": 7})
    assert (job["state"], job.get("result")) == ("succeeded", {"orders": 2, "total": 14.5}), job
    job = run(host, f"totals-{language}", {})
    assert (job["state"], job["attempt"], job["error"]["message"]) == ("failed", 1, "the payload names no customer")


@pytest.mark.parametrize("without,code,message", [("no-network", "EXIT_75", "Network is unreachable|ENETUNREACH"),
                                                   ("no-password", "EXIT_1", "KeyError: 'CREDENTIALS_DIRECTORY'|open 'undefined/password'"),
                                                   ("bare", "EXIT_1", "KeyError: 'CREDENTIALS_DIRECTORY'|open 'undefined/password'")])
def test_without_these_lines_it_is_refused(host, language, without, code, message):
    job = run(host, f"{without}-{language}", {"customer": 7})
    assert (job["state"], job["error"]["code"]) == ("failed", code), job
    assert re.search(message, host.out("reevectl", "logs", job["id"])), job


def test_another_address_is_refused(host, language):
    """Tier: IPAddressDeny= needs cgroup v2 with BPF; elsewhere it has no effect."""
    job = run(host, f"elsewhere-{language}", {"customer": 7})
    if host.sh("stat -fc %T /sys/fs/cgroup") != "cgroup2fs":
        pytest.skip("cgroup v1 here: systemd cannot filter addresses")
    assert (job["state"], job["error"]["code"]) == ("failed", "EXIT_75"), job


def test_the_password_is_in_no_file_that_a_handler_or_the_world_can_read(host):
    # -xdev: below /run the whole host can be seen once more, as runs see it.
    found = host.sh("find /etc /run /var/lib/reeve /usr/local/lib/reeve -xdev -type f -print0 | "
                    f"xargs -0 grep -ls '{PASSWORD}' || :").split()
    assert found == ["/etc/reeve/credentials/totals"] and host.sh("stat -c %a:%U /etc/reeve/credentials/totals") == "600:root"
    assert PASSWORD not in host.sh("systemctl show 'reeve-run-totals-py@*' 'reeve-run-totals-py.socket'; systemctl cat reeve-run-totals-py@.service")
    assert PASSWORD not in host.journal()
