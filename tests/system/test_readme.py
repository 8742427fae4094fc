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


def test_readme():
    lines = [line for b in blocks() for line in b.strip().splitlines()]
    assert len(lines) >= 8
    job = ""
    try:
        for line in lines:
            # A reader needs longer for the next line than the job takes.
            end = time.monotonic() + 20
            while True:
                r = type_in(line)
                assert r.returncode == 0, f"{line}\n{r.stdout}{r.stderr}"
                if "job_status" not in line or '"succeeded"' in r.stdout or time.monotonic() > end:
                    break
                time.sleep(0.2)
            if "job_status" in line:
                job = r.stdout
            if "systemctl status" in line:
                assert "slots busy" in r.stdout and "1 done, 0 failed" in r.stdout, r.stdout
        assert '"words": 6' in job and '"succeeded"' in job, job
    finally:
        type_in("sudo tools/machine rm try")
    assert not re.search(r"^try\b", type_in("tools/machine list").stdout, re.M)
