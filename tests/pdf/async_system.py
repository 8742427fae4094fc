"""What the tests of system 004's routes share."""
import importlib.util
import json
import pathlib
import uuid

from conftest import System, wait_for, worker

_spec = importlib.util.spec_from_file_location("queue_db", pathlib.Path(worker.pg.__file__).with_name("queue_db.py"))
queue_db = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(queue_db)
FLAG = "async-processing"
SIZE_RULE = json.dumps([{"property": "size", "op": ">", "value": 10 << 20}])
FIELDS = {"job_id", "task_id", "user_id", "status", "progress_percent", "current_step", "total_chunks", "processed_chunks",
          "chunk_results", "failed_chunks", "retry_count", "max_retries", "is_cancelled", "cancelled_at", "cancelled_by",
          "processing_time_seconds", "gemini_api_calls", "gemini_tokens_used", "estimated_tokens", "actual_tokens",
          "estimated_credits", "actual_credits", "pricing_version", "pricing_rate", "created_at", "started_at", "completed_at",
          "error_code", "error_message", "original_filename", "task_state"}


def form(*parts):
    """(name, content) or (name, content, file name)"""
    mark = uuid.uuid4().hex
    out = b""
    for name, content, *filename in parts:
        content = content.read_bytes() if isinstance(content, pathlib.Path) else content
        content = content.encode() if isinstance(content, str) else content
        extra = f'; filename="{filename[0]}"\r\nContent-Type: application/pdf' if filename else ""
        out += f'--{mark}\r\nContent-Disposition: form-data; name="{name}"{extra}\r\n\r\n'.encode() + content + b"\r\n"
    return out + f"--{mark}--\r\n".encode(), {"Content-Type": f"multipart/form-data; boundary={mark}"}


class Async(System):
    """A System with the pool that serves synchronous requests, and the flag."""

    def __init__(self, db):
        super().__init__(db)
        self.world.pool("default", slots=6, queues="* !inline")
        self.world.pool("inline", slots=3, queues="inline")
        self.control = queue_db.Control(db)

    def flag(self, **kw):
        self.control.create(FLAG, **{"bucketing": "modulo", "enabled": True} | kw)

    def up(self, inline=True, conf=""):
        self.start()
        if conf:
            self.api.stop()
            self.api.configure(self.db.conninfo, conf)
            self.api.start()
            self.api.wait_up()
        if inline:
            self.world.start(name="inline")
        return self

    def post(self, pdf=None, headers=None, name="doc.pdf", key=None, timeout=90, **fields):
        parts = [(k, v) for k, v in fields.items()]
        if pdf is not None:
            parts.append(("pdf_file", pdf, name))
        body, head = form(*parts)
        if key:
            head["Authorization"] = f"Bearer {key}"
        return self.api.call("POST", "/api/v1/process-pdf-async", body, head | (headers or {}), timeout=timeout, tcp=bool(key))

    def key(self, **fields):
        r = self.api.post("/api/keys", {"name": f"k{uuid.uuid4().hex[:8]}", "role": "submit", "tenant": "default"} | fields)
        assert r.status == 201, r
        return r.json["secret"]

    def v1(self, id, suffix="", method="GET", body=None, key=None, status=200):
        head = {"Authorization": f"Bearer {key}"} if key else {}
        r = self.api.call(method, f"/api/v1/jobs/{id}{suffix}", body, head, tcp=bool(key))
        assert r.status == status, r
        return r.json

    def ended(self, id, timeout=90):
        return wait_for(lambda: (j := self.v1(id))["status"] in ("completed", "failed", "cancelled") and j, timeout, f"the end of {id}")


def check_started(r, status="pending"):
    assert r.status == 202, r
    assert set(r.json) == {"job_id", "task_id", "status", "message"} and r.json["status"] == status
    assert r.json["task_id"] == r.json["job_id"] and r.json["message"]
    assert r.headers["Location"] == "/api/v1/jobs/" + r.json["job_id"]
    return r.json["job_id"]
