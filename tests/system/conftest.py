"""Throw-away machines (tools/machine) for the system tests.

machine      one booted machine for a module: the current package installed, reeve.target running
bare         one for a module without the package
new_machine  a function: new_machine(*options of tools/machine up) for a test that needs its own
deb          the package, a path

A machine of a failed test shows its journal's end in the report. All are gone when the tests end, even by SIGKILL.
With REEVE_TEST_SANITIZED=1 the package is that of tools/package --sanitize: a test fails if a program wrote a report of
ASan or UBSan into the journal or to a command's stderr; tests marked "shipped" are left out, each with its reason. Those
marked "sanitized" are for that package only.
Limits of cgroup v1 hold in them (MemoryMax=, TasksMax=, CPUQuota=); Result=oom-kill and MemoryHigh= need cgroup v2.
"""
import importlib.machinery
import importlib.util
import itertools
import os
import pathlib
import re
import shlex
import subprocess
import sys
import time

import pytest
from patience import within

TREE = pathlib.Path(__file__).resolve().parents[2]
TOOL = str(TREE / "tools/machine")
# tools/machine as a module: entering a machine needs no interpreter of its own.
loader = importlib.machinery.SourceFileLoader("machine_tool", TOOL)
machine_tool = importlib.util.module_from_spec(importlib.util.spec_from_loader("machine_tool", loader))
sys.dont_write_bytecode = True
loader.exec_module(machine_tool)
numbers = itertools.count(1)
machines = []
SANITIZED = bool(os.environ.get("REEVE_TEST_SANITIZED"))
REPORT = r"(Address|Leak|UndefinedBehavior)Sanitizer|\.[ch]:\d+:\d+: runtime error: |reeve-generator terminated by signal"
if SANITIZED:
    machine_tool.ENVIRON.update(machine_tool.SANITIZERS)


class Machine:
    def __init__(self, *options):
        self.name = f"t{os.getpid()}-{next(numbers)}"
        self.told = 0   # reports of the sanitizers that a test has failed for
        machines.append(self)
        self.tool("up", self.name, "--owner", str(os.getpid()), "--no-sync", *options)

    def tool(self, *args, check=True, timeout=120, **kwargs):
        return self.run([TOOL, *args], "tools/machine " + shlex.join(args), check, timeout, **kwargs)

    def run(self, command, title, check, timeout, **kwargs):
        run = subprocess.run(command, text=True, capture_output=True, timeout=within(timeout), **kwargs)
        if check and run.returncode:
            raise AssertionError(f"{title}: exit {run.returncode}\n{run.stdout}{run.stderr}")
        if SANITIZED and re.search(REPORT, str(run.stderr)):
            raise AssertionError(f"{title}: exit {run.returncode}, and a sanitizer's report:\n{run.stderr}")
        return run

    def exec(self, *command, user=None, check=True, timeout=60, **kwargs):
        """Runs a command; its CompletedProcess. check: a bad exit status is a failure."""
        if user:
            command = ("runuser", "-u", user, "--", *command)
        return self.run(machine_tool.inside(self.name, command), f"{self.name}: {shlex.join(command)}", check, timeout, **kwargs)

    def out(self, *command, **kwargs):
        return self.exec(*command, **kwargs).stdout.strip()

    def sh(self, script, **kwargs):
        return self.out("bash", "-euc", script, **kwargs)

    def psql(self, sql, user="root", role="reeve_owner", database="reeve", **kwargs):
        return self.out("psql", "-X", "-h", "/run/reeve-postgres", "-U", role, "-v", "ON_ERROR_STOP=1", "-Atc", sql, database,
                        user=user, **kwargs)

    def put(self, source, directory):
        self.tool("put", self.name, str(source), directory)

    def get(self, source, directory):
        self.tool("get", self.name, source, str(directory))

    def journal(self, *args):
        return self.tool("journal", self.name, "-o", "cat", *args).stdout

    def check_reports(self):
        """Fails if a sanitized program wrote a report since the last call."""
        look = ("-q", "-g", REPORT, "-o", "short-precise")
        try:
            lines = self.exec("journalctl", "--no-pager", *look, check=False).stdout.splitlines()
        except machine_tool.Problem:   # it is down
            lines = self.tool("journal", self.name, *look, check=False).stdout.splitlines()
        new, self.told = lines[self.told:], len(lines)
        if new:
            whole = self.tool("journal", self.name, "-o", "cat", check=False).stdout
            at = re.search(REPORT, whole)
            raise AssertionError("a sanitizer's report:\n" + "\n".join(new[:10]) + "\n\n" + whole[at.start() if at else 0:][:6000])

    def property(self, unit, name):
        return self.out("systemctl", "show", "-P", name, "--", unit)

    def main_pid(self, unit):
        return int(self.property(unit, "MainPID"))

    def is_active(self, unit):
        return self.exec("systemctl", "-q", "is-active", unit, check=False).returncode == 0

    def kill9(self, unit):
        """SIGKILL to a unit's main process; returns the pid it had."""
        pid = self.main_pid(unit)
        assert pid > 0, f"{unit} has no main process"
        self.exec("kill", "-KILL", str(pid))
        return pid

    def wait_until(self, what, timeout=20, every=0.1):
        """what: a function, or a shell script whose exit status 0 means yes. Returns the function's first true value."""
        deadline = time.monotonic() + within(timeout)
        while True:
            if callable(what):
                value = what()
            else:
                value = self.exec("sh", "-c", what, check=False).returncode == 0
            if value:
                return value
            if time.monotonic() > deadline:
                raise AssertionError(f"not within {timeout} s: {what if isinstance(what, str) else getattr(what, '__name__', what)}")
            time.sleep(every)

    def disk(self):
        """The directory with what the machine has written, as the host sees it."""
        return pathlib.Path(os.environ.get("REEVE_MACHINES") or TREE / ".cache/machines") / "m" / self.name / "upper"

    def crash(self):
        self.tool("kill", self.name)

    def off(self):
        self.tool("off", self.name)

    def boot(self):
        self.tool("boot", self.name)

    def remove(self):
        machines.remove(self)
        try:
            if SANITIZED:
                self.check_reports()
        finally:
            self.tool("rm", self.name)


def pytest_configure(config):
    config.addinivalue_line("markers", "shipped(reason): for the package as it ships, not for the sanitized one")
    config.addinivalue_line("markers", "sanitized: for the sanitized package only")


def pytest_collection_modifyitems(config, items):
    left_out = [item for item in items if item.get_closest_marker("shipped" if SANITIZED else "sanitized")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
    if os.getuid() != 0:
        for item in items:
            item.add_marker(pytest.mark.skip(reason="machines need root"))


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    report = (yield).get_result()
    if report.failed:
        for m in machines:
            journal = m.tool("journal", m.name, "-n", "60", check=False).stdout
            report.sections.append((f"journal of {m.name}", journal))


@pytest.fixture(autouse=True)
def no_reports():
    yield
    if SANITIZED:
        for m in machines:
            m.check_reports()


@pytest.fixture(scope="session")
def deb():
    run = subprocess.run([TREE / "tools/package", *(["--sanitize"] if SANITIZED else [])], text=True, capture_output=True)
    assert run.returncode == 0, run.stderr
    return pathlib.Path(run.stdout.strip())


def one(*options):
    m = Machine(*options)
    yield m
    m.remove()


@pytest.fixture(scope="module")
def machine(deb):
    yield from one("--deb", str(deb))


@pytest.fixture(scope="module")
def bare():
    yield from one("--no-reeve")


@pytest.fixture
def new_machine(deb):
    made = []

    def make(*options):
        made.append(Machine("--deb", str(deb), *options))
        return made[-1]

    yield make
    for m in made:
        m.remove()
