"""tools/machine itself: what the other tests rely on."""
import os
import pathlib
import signal
import subprocess
import sys

import pytest
from conftest import TOOL, Machine, machine_tool
from patience import within

pytestmark = pytest.mark.shipped("none of these programs is run")


def test_exec_passes_streams_and_status(bare):
    run = bare.tool("exec", bare.name, "sh", "-c", "cat; echo bad >&2; exit 7", check=False, input="in")
    assert (run.returncode, run.stdout, run.stderr) == (7, "in", "bad\n")


def test_exec_in_no_machine():
    run = subprocess.run([TOOL, "exec", "nosuch", "true"], capture_output=True, text=True)
    assert run.returncode == 125
    assert "nosuch is not running" in run.stderr


def test_put_and_get(bare, tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a/b").write_text("text")
    bare.put(tmp_path / "a", "/srv/new")
    assert bare.out("cat", "/srv/new/a/b") == "text"
    (tmp_path / "back").mkdir()
    bare.get("/srv/new/a", tmp_path / "back")
    assert (tmp_path / "back/a/b").read_text() == "text"
    assert not os.path.exists("/srv/new"), "the host's disk was written"


def test_own_network_and_identity(bare):
    assert bare.sh("ls /sys/class/net") == "lo"
    assert bare.out("hostname") == bare.name
    assert bare.out("cat", "/etc/machine-id") != pathlib.Path("/etc/machine-id").read_text().strip()


def test_nothing_of_the_hosts_services_runs(bare):
    assert bare.out("systemctl", "is-system-running") == "running"
    units = bare.sh("systemctl list-units --type=service --state=running --plain --no-legend | cut -d' ' -f1").split()
    assert set(units) <= {"dbus.service", "systemd-journald.service", "systemd-logind.service", "polkit.service"}


def test_limits_are_enforced(bare):
    run = bare.exec("systemd-run", "-q", "--wait", "--pipe", "-p", "TasksMax=1", "sh", "-c", "true & wait", check=False)
    assert run.returncode != 0
    assert "fork" in run.stderr.lower()


def test_disk_survives_crash_and_power_off(new_machine):
    m = new_machine("--no-reeve")
    m.sh("echo kept >/etc/kept")
    m.crash()
    assert m.tool("exec", m.name, "true", check=False).returncode == 125
    m.boot()
    m.off()
    assert "Shutting down" in m.journal()
    m.boot()
    assert m.out("cat", "/etc/kept") == "kept"


def test_machines_in_a_lab_reach_each_other(new_machine):
    a = new_machine("--no-reeve", "--lab", "10.77.0.1/24")
    b = new_machine("--no-reeve", "--lab", "10.77.0.2/24")
    b.sh("systemd-run -q --unit=say systemd-socket-activate -l 10.77.0.2:7777 --inetd -a echo hello")
    b.wait_until("ss -ltn | grep -q 7777")
    assert a.out("bash", "-c", "exec 3<>/dev/tcp/10.77.0.2/7777; head -n 1 <&3") == "hello"


def traces(name):
    """Cgroups and processes of a machine on the host."""
    mine = f"eeve-{machine_tool.ID}-{name}"
    return subprocess.run(f"find /sys/fs/cgroup -maxdepth 5 -name r{mine}; pgrep -f 'machine=[r]{mine}'", shell=True, capture_output=True,
                          text=True).stdout


def test_a_killed_owner_leaves_nothing():
    code = ("import subprocess, sys, os, signal; subprocess.run([sys.argv[1], 'up', 'orphan', '--no-reeve', '--owner', str(os.getpid())],"
            " check=True); os.kill(os.getpid(), signal.SIGKILL)")
    assert subprocess.run([sys.executable, "-c", code, TOOL]).returncode == -9

    def gone():
        listed = subprocess.run([TOOL, "list"], capture_output=True, text=True).stdout
        return "orphan" not in listed
    Machine.wait_until(None, gone, timeout=5)
    assert traces("orphan") == ""


def test_a_killed_keeper_takes_its_machine_along(new_machine):
    """Two systems on one disk would be the alternative."""
    m = new_machine("--no-reeve")
    keeper = int((m.disk().parent / "keeper").read_text().split()[0])
    leader = int(m.tool("leader", m.name).stdout)
    os.kill(keeper, signal.SIGKILL)
    m.wait_until(lambda: not os.path.exists(f"/proc/{leader}"), timeout=5)
    assert f"{m.name} down" in m.tool("list").stdout
    m.boot()
    assert m.out("systemctl", "is-system-running") == "running"


def test_a_terminated_start_leaves_nothing():
    up = subprocess.Popen([TOOL, "up", "begun", "--no-reeve"], stderr=subprocess.PIPE, text=True)
    place = machine_tool.place("begun")
    Machine.wait_until(None, lambda: (place / "keeper").exists(), every=0.01)
    up.terminate()
    assert "removing begun" in up.communicate(timeout=within(20))[1]
    assert up.returncode == 143
    assert not place.exists()
    assert traces("begun") == ""
