"""Jobs for a program that runs on another host, or outside systemd: it takes them over HTTP and says how they ended. The kind
has [Pull] in its file (examples/kinds/words-pull.kind); the key has the role worker. Beside this file lies reeve.py.

    REEVE_KEY=... python3 pull.py https://jobs.example.org words
"""
import json
import os
import socket
import sys
import threading
import traceback

import reeve

JSON = {"Content-Type": "application/json"}


class Run(dict):
    """What was taken: run["job_id"], run["payload"], run["attempt"], ... of reeve-http(7)."""

    def __init__(self, client, fields):
        super().__init__(fields)
        self.client, self.cancelled = client, threading.Event()

    def say(self, word, **fields):
        body = json.dumps({"run_key": self["run_key"], **fields}, allow_nan=False).encode()
        return json.loads(self.client.call("POST", f"/api/runs/{self['run_id']}/{word}", lambda: body, JSON))

    def progress(self, percent=None, status=None):
        """Where the run is. Look at run.cancelled now and then: somebody may want it to end."""
        fields = {k: v for k, v in {"progress": percent, "status": status}.items() if v is not None}
        self.look(self.say("progress", **fields))

    def look(self, answer):
        if answer["cancel"]:
            self.cancelled.set()


def hold(run, done):
    """Renews the lease while the handler works. A program that dies loses its runs when their leases end."""
    while not done.wait(run["lease_usec"] / 3e6):
        try:
            run.look(run.say("extend"))
        except reeve.Error:
            run.cancelled.set()   # it is somebody else's by now
            return


def work(run, handler):
    done = threading.Event()
    threading.Thread(target=hold, args=(run, done), daemon=True).start()
    try:
        word, answer = "complete", {"result": handler(run["payload"], run)}
    except (reeve.Fail, reeve.Retry) as e:
        code, message = (*map(str, e.args), "", "")[:2]
        word, answer = "fail", {"code": code, "message": message, "retry": isinstance(e, reeve.Retry)}
    except Exception as e:  # a bug, or something that may be better next time: the kind's MaxAttempts= decides
        word, answer = "fail", {"code": type(e).__name__, "message": str(e)[:500], "log": traceback.format_exc()[-16000:]}
    done.set()
    try:
        run.say(word, **answer)
    except reeve.Error as e:
        print(f"run {run['run_id']}: {e}", file=sys.stderr)


def pull(client, queue, kinds, handler):
    """Takes one run after the other, for ever. Threads or processes of this make as many at a time."""
    body = json.dumps({"kinds": kinds, "wait": "30s", "worker": socket.gethostname()}).encode()
    while True:
        for fields in json.loads(client.call("POST", f"/api/queues/{queue}/claim", lambda: body, JSON))["runs"]:
            work(Run(client, fields), handler)


def words(payload, run):
    text = payload.get("text") if isinstance(payload, dict) else None
    if not text:
        raise reeve.Fail("no-text", "the payload has no text")
    run.progress(50, "counting")
    return {"words": len(text.split())}


if __name__ == "__main__":
    if len(sys.argv) != 3:
        sys.exit(__doc__)
    address, kind = sys.argv[1:]
    try:
        pull(reeve.Client(address, key=os.environ.get("REEVE_KEY"), patience=300), "default", [kind], words)
    except reeve.Error as e:   # a wrong key or kind, or no answer for as long as its patience lasts
        sys.exit(f"pull.py: {e}")
    except KeyboardInterrupt:   # what ran is taken up again when its lease ends
        sys.exit(130)
