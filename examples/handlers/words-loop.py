#!/usr/bin/python3
# words.py as a program that stays (Mode=persistent); reeve.py lies beside it.
import reeve


def words(payload, run):
    if not payload.get("text"):
        raise reeve.Fail("no-text", "the payload has no text")
    if payload["text"] == "busy":
        raise reeve.Retry("busy", "the dictionary is being updated")
    run.progress(50, "counting")
    found = payload["text"].split()
    with open(run["output_dir"] + "/words.txt", "w") as f:
        f.write("\n".join(found) + "\n")
    return {"words": len(found)}


reeve.serve(words)
