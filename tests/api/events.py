"""A reader of Server-Sent Events as the HTML standard describes one, on a plain socket."""
import contextlib
import json
import socket
import threading
import time
from patience import within


class Event:
    def __init__(self, name, id, data):
        self.name, self.id, self.data = name, id, data

    @property
    def json(self):
        return json.loads(self.data)

    def __repr__(self):
        return f"<{self.name} {self.id} {self.data[:200]}>"


class Stream:
    """Reads in a thread. after: the Last-Event-ID it begins with."""

    def __init__(self, api, path="/api/events", after=None, headers=None, tcp=False, status=200):
        family = socket.AF_INET if tcp else socket.AF_UNIX
        self.sock = socket.socket(family)
        self.sock.settimeout(within(30))
        self.sock.connect(api.tcp if tcp else api.path)
        lines = [f"GET {path} HTTP/1.1", "Host: localhost", "Accept: text/event-stream"]
        lines += [f"{k}: {v}" for k, v in ({"Last-Event-ID": after} if after else {}).items()]
        lines += [f"{k}: {v}" for k, v in (headers or {}).items()]
        self.sock.sendall(("\r\n".join(lines) + "\r\n\r\n").encode())
        self.file = self.sock.makefile("rb")
        self.status = int(self.file.readline().split()[1])
        self.headers = {}
        for line in iter(lambda: self.file.readline().strip(), b""):
            name, _, value = line.decode().partition(":")
            self.headers[name.strip().lower()] = value.strip()
        assert self.status == status, (self.status, self.headers)
        self.events, self.comments, self.ids = [], [], []
        self.retry, self.last_id = None, after
        self.ended = False  # as a whole, by the last chunk
        self.gone = False
        self.buffer = b""
        self.thread = None
        if status == 200:
            self.thread = threading.Thread(target=self.read, daemon=True)
            self.thread.start()

    def read(self):
        with contextlib.suppress(OSError, ValueError):
            self.sock.settimeout(None)
            while True:
                size = self.file.readline()
                if not size:
                    break
                data = self.file.read(int(size, 16))
                self.file.readline()
                if not data:
                    self.ended = True
                    break
                self.take(data)
        self.gone = True

    def take(self, data):
        self.buffer += data
        *blocks, self.buffer = self.buffer.split(b"\n\n")
        for block in blocks:
            name, lines = "message", []
            for line in block.decode().split("\n"):
                field, _, value = line.partition(": ")
                if line.startswith(":"):
                    self.comments.append(line[1:].strip())
                elif field == "event":
                    name = value
                elif field == "id":
                    self.last_id = value
                elif field == "data":
                    lines.append(value)
                elif field == "retry":
                    self.retry = int(value)
                else:
                    raise AssertionError(f"no line of this format: {line!r}")
            if lines:
                self.events.append(Event(name, self.last_id, "\n".join(lines)))
            self.ids.append(self.last_id)

    def wait(self, condition, timeout=30, what=""):
        end = time.monotonic() + within(timeout)
        while not condition(self):
            assert time.monotonic() < end, (what, self.gone, len(self.events), self.events[-5:], self.buffer[-500:])
            time.sleep(0.01)
        return self

    def wait_open(self):
        """Until it stands at a place: what is done from now on is told."""
        return self.wait(lambda s: s.ids or s.events, what="the first id")

    def wait_end(self, timeout=30):
        return self.wait(lambda s: s.gone, timeout, "the end")

    def of(self, job):
        return [e for e in self.events if e.json.get("id") == job]

    def states(self, job=None):
        return [e.json["state"] for e in (self.of(job) if job else self.events) if "state" in e.json]

    def close(self):
        with contextlib.suppress(OSError):
            self.sock.shutdown(socket.SHUT_RDWR)
        self.sock.close()
        if self.thread:
            self.thread.join(within(10))
