"""Every block of the README that is marked sh, typed as it stands, in its order."""
import pathlib
import re
import subprocess
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]


def blocks():
    return re.findall(r"```sh\n(.*?)```", (ROOT / "README.md").read_text(), re.S)


def type_in(line, timeout=300):
    line = line.replace("sudo ", "", 1)  # tests run as root; sudo need not be installed
    return subprocess.run(["bash", "-c", line], cwd=ROOT, capture_output=True, text=True, timeout=timeout)


def wait_for_jobs(n):
    end = time.monotonic() + 20
    while True:
        listed = type_in("sudo tools/machine exec try reevectl list").stdout
        if listed.count("succeeded") + listed.count("failed") == n:
            return
        assert time.monotonic() < end, listed
        time.sleep(0.2)


def test_readme():
    lines = [line for b in blocks() for line in b.strip().splitlines()]
    said = {}
    try:
        for line in lines:
            # A reader needs longer for the next line than the jobs take.
            if line.endswith("reevectl list"):
                wait_for_jobs(3)
            r = type_in(line)
            assert r.returncode == 0, f"{line}\n{r.stdout}{r.stderr}"
            said[" ".join(line.split()[4:6])] = r.stdout
        assert '{"words": 6}' in said["reevectl submit"]
        assert '"outcome":"created"' in said["curl -sS"]
        assert said["reevectl list"].count("succeeded") == 2 and said["reevectl list"].count("failed") == 1
        assert "Nothing is wrong." in said["reevectl status"]
        assert "the payload has no text" in said["journalctl --no-pager"]
        assert "slots busy, 3 done, 1 failed" in said["systemctl status"] and "serving" in said["systemctl status"]
    finally:
        type_in("sudo tools/machine rm try")
    assert not re.search(r"^try\b", type_in("tools/machine list").stdout, re.M)
