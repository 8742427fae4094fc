"""The handlers of examples/, run as jobs: the same answers in shell, Python and Node."""
import pathlib
import shutil

import pytest

from conftest import wait_for

EXAMPLES = pathlib.Path(__file__).resolve().parents[2] / "examples/handlers"


@pytest.mark.parametrize("name,program", [("words.sh", ["/bin/sh"]), ("words.py", ["/usr/bin/python3"]), ("words.mjs", ["node"])])
def test_the_same_handler_in_three_languages(world, name, program):
    interpreter = shutil.which(program[0])
    if not interpreter:
        pytest.skip(f"{program[0]} is not installed")
    world.kind("words", interpreter, str(EXAMPLES / name), keys="MaxAttempts=2\n")
    world.start()
    job = world.run("words", {"text": "to be or not to be"})
    assert job["state"] == "succeeded" and job["result"] == {"words": 6}, job
    digest = world.db.value("select digest from reeve.blob_ref where job = %s and name = 'words.txt'", job["id"])
    assert (world.blobs / "default" / digest[7:9] / digest[9:]).read_text().split() == "to be or not to be".split()

    job = world.run("words", {"text": ""})
    assert (job["state"], job["attempt"], job["error"]) == ("failed", 1, {"code": "EXIT_65", "message": "the payload has no text"})

    id = world.enqueue("words", {"text": "busy"})
    wait_for(lambda: world.history(id), what="a retry")
    assert world.history(id)[0]["code"] == "EXIT_75"
    job = world.wait(id)
    assert (job["state"], job["attempt"], job["error"]["message"]) == ("failed", 2, "the dictionary is being updated")
