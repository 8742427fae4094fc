"""tools/bench soak, for three minutes: what a system uses stays level under mixed load, and nothing is lost."""
import os
import subprocess

import pytest
from conftest import TREE
from patience import within

pytestmark = [pytest.mark.shipped("what ASan keeps grows"),
              pytest.mark.skipif(not os.environ.get("REEVE_TEST_SLOW"), reason="slow: set REEVE_TEST_SLOW=1")]


def test_three_minutes_of_mixed_load(deb):
    p = subprocess.run([TREE / "tools/bench", "soak", "--minutes=3", "--users=20"], capture_output=True, text=True, timeout=within(900))
    print(p.stdout)
    assert p.returncode == 0, p.stdout + p.stderr
    assert "level          reeve-api KiB" in p.stdout and "level          table lease KiB" in p.stdout
    assert int(p.stdout.split(" jobs ended")[0].split()[-1]) > 1000


@pytest.mark.parametrize("words", [[], ["soak", "--minutes=x"], ["soak", "--hours=1"], ["else"], ["soak", "--minutes=0"], ["load", "--minutes=1"]])
def test_wrong_words_are_told(words):
    p = subprocess.run([TREE / "tools/bench", *words], capture_output=True, text=True, timeout=within(60))
    assert p.returncode == 2 and "tools/bench soak [--minutes=N]" in p.stdout
