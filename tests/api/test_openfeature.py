"""Flags as a program evaluates them that knows OpenFeature only: the SDK and the OFREP provider from npm, unchanged."""
import json
import pathlib
import shutil
import subprocess

import pytest

from test_flags import SIZE_RULE, control, seen  # noqa: F401
from patience import within

HERE = pathlib.Path(__file__).parent / "openfeature"


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    if not shutil.which("npm") or not shutil.which("node"):
        pytest.skip("npm is not installed")
    place = tmp_path_factory.mktemp("openfeature")
    for name in ("package.json", "client.mjs"):
        shutil.copy(HERE / name, place)
    r = subprocess.run(["npm", "install", "--no-package-lock", "--no-audit", "--no-fund", "--ignore-scripts"], cwd=place, text=True,
                       capture_output=True, timeout=180)
    if r.returncode != 0:
        pytest.skip(f"the packages cannot be had here: {r.stderr[-300:]}")
    return place


@pytest.fixture
def sdk(packages):
    started = []

    def start(api, token):
        p = subprocess.Popen(["node", "client.mjs", f"http://127.0.0.1:{api.tcp[1]}", token], cwd=packages, text=True,
                             stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        started.append(p)

        def ask(method, key, default, **context):
            p.stdin.write(json.dumps([method, key, default, context]) + "\n")
            p.stdin.flush()
            return json.loads(p.stdout.readline())
        return ask
    yield start
    for p in started:
        p.stdin.close()
        assert p.wait(within(20)) == 0


def test_the_sdk_for_servers_gets_what_flags_say(control, start, sdk):  # noqa: F811
    control.create("async-processing", enabled=True, percent=10000, allow=["ann"], rules=SIZE_RULE, bucketing="modulo")
    control.create("off", percent=100000)
    control.create("model", enabled=True, percent=100000, value_on='{"model": "new"}', value_off='{"model": "old"}')
    control.create("label", enabled=True, percent=100000, value_on='"blue"', value_off='"red"')
    control.create("limit", enabled=True, percent=0, value_on="200", value_off="50")
    api = start()
    ask = sdk(api, api.post("/api/keys", {"name": "web", "role": "read", "tenant": "acme"}).json["secret"])
    flag = "async-processing"
    assert ask("getBooleanDetails", flag, False, targetingKey="ann") == {
        "value": True, "variant": "on", "reason": "TARGETING_MATCH", "flagMetadata": {"version": 1}}
    assert ask("getBooleanDetails", flag, False, targetingKey="5")["value"] is True
    assert ask("getBooleanDetails", flag, True, targetingKey="50")["value"] is False
    assert ask("getBooleanDetails", flag, False, targetingKey="50", size=20_000_000)["reason"] == "TARGETING_MATCH"
    assert ask("getBooleanDetails", "off", True, targetingKey="1")["reason"] == "DISABLED"
    assert ask("getObjectDetails", "model", {}, targetingKey="1")["value"] == {"model": "new"}
    assert ask("getStringDetails", "label", "", targetingKey="1")["value"] == "blue"
    assert ask("getNumberDetails", "limit", 0, targetingKey="1")["value"] == 50
    # The caller's default, and why, in every other case.
    missing = ask("getBooleanDetails", "nothing", True, targetingKey="1")
    assert (missing["value"], missing["errorCode"]) == (True, "FLAG_NOT_FOUND")
    wrong = ask("getBooleanDetails", "label", True, targetingKey="1")
    assert (wrong["value"], wrong["errorCode"]) == (True, "TYPE_MISMATCH")
    # A change is seen by the next question.
    control.change("set-flag-enabled", flag, False)
    seen(api, flag, reason="DISABLED")
    assert ask("getBooleanDetails", flag, True, targetingKey="ann")["reason"] == "DISABLED"


def test_a_wrong_key_gives_the_default(control, start, sdk):  # noqa: F811
    control.create("x", enabled=True, percent=100000)
    ask = sdk(start(), "reeve_" + "0" * 64)
    answer = ask("getBooleanDetails", "x", False, targetingKey="1")
    assert answer["value"] is False and answer["errorCode"] == "GENERAL"
