"""Every block of the README that is marked sh, typed as it stands, in its order, into one shell."""
import pathlib
import re
import subprocess
import time

import pytest

pytestmark = pytest.mark.shipped("the README's commands make a machine with the package as it ships")

ROOT = pathlib.Path(__file__).resolve().parents[2]


def commands():
    """The commands: a line each, or up to the end of the text that is given in place (<<'EOF')."""
    found = []
    for block in re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.S):
        found += [m.group().strip() for m in re.finditer(r".*<<'EOF'\n(?:.*\n)*?EOF\n|.+\n", block)]
    return found


class Shell:
    END = "end of the command:"

    def __init__(self):
        self.p = subprocess.Popen(["bash"], cwd=ROOT, text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)

    def type(self, command):
        """Exit status and output. Tests run as root: sudo need not be installed."""
        self.p.stdin.write(command.replace("sudo ", "") + f"\necho; echo '{self.END}' $?\n")
        self.p.stdin.flush()
        said = ""
        for line in self.p.stdout:
            if line.startswith(self.END):
                return int(line.split()[-1]), said
            said += line
        raise AssertionError(f"the shell ended: {command}\n{said}")


def ended(shell, n):
    """Until so many have ended: a reader needs longer for the next line than the jobs take."""
    end = time.monotonic() + 60
    while True:
        listed = shell.type("sudo tools/machine exec try reevectl list")[1]
        if sum(listed.count(state) for state in ("succeeded", "failed", "cancelled")) == n:
            return
        assert time.monotonic() < end, listed
        time.sleep(0.2)


def test_readme():
    shell, said = Shell(), {}
    try:
        for command in commands():
            if " show " in command:
                ended(shell, 3)
            if command.endswith("reevectl list"):
                ended(shell, 5)
            status, out = shell.type(command)
            assert status == 0, f"{command}\n{out}"
            said[command.partition(" exec try ")[2]] = out
        assert "there is no such thing" in said["reevectl show $failed"] and "failed" in said["reevectl show $failed"]
        history = said["reevectl show --history $retried"]
        assert "the other side does not answer" in history and "retry" in history
        assert "succeeded" in said["reevectl wait $retried"]
        assert "cancelled" in said["reevectl show --history $cancelled"] and "uid:0" in said["reevectl show --history $cancelled"]
        report, created = [out for command, out in said.items() if command.startswith("curl")]
        assert report.startswith("all done") and '"outcome":"created"' in created
        assert "the first week went well" in said["reevectl flag history async-processing"]
        listed = said["reevectl list"]
        assert [listed.count(state) for state in ("succeeded", "failed", "cancelled")] == [3, 1, 1]
        assert "Nothing is wrong." in said["reevectl status"]
        assert "the other side does not answer" in said["journalctl --no-pager -u 'reeve-run-*'"]
        status = said["systemctl status --no-pager reeve-worker@default reeve-api"]
        assert "slots busy" in status and "serving" in status
    finally:
        shell.type("sudo tools/machine rm try")
        shell.p.stdin.close()
        shell.p.wait(timeout=60)
    assert not re.search(r"^try\b", subprocess.run([ROOT / "tools/machine", "list"], capture_output=True, text=True).stdout, re.M)


def test_other_commands_of_the_readme_have_tests_of_their_own():
    """tests/system/test_quickstart.py, and CI itself."""
    others = re.findall(r"```\n(sudo .*\n)```", (ROOT / "README.md").read_text())
    assert others == ["sudo tools/quickstart [FILE.pdf]\n", "sudo tools/check\n"]
