"""Holds requests and answers against the API's own description, more strictly than a client would: an answer may have
nothing that the description does not name."""
import copy
import datetime
import functools
import json
import re
import subprocess
import urllib.parse

from jsonschema import Draft202012Validator, FormatChecker

FORMATS = FormatChecker(formats=["uuid"])


@FORMATS.checks("date-time", ValueError)
def is_time(value):
    if isinstance(value, str):
        if not re.fullmatch(r"\d{4}-\d\d-\d\d[Tt]\d\d:\d\d:\d\d(\.\d+)?([Zz]|[+-]\d\d:\d\d)", value):
            raise ValueError(value)
        datetime.datetime.fromisoformat(re.sub(r"\.\d+", "", value))
    return True


class Violation(AssertionError):
    pass


def closed(schema):
    """The same, but objects have no other members than those that are named."""
    if isinstance(schema, list):
        return [closed(s) for s in schema]
    if not isinstance(schema, dict):
        return schema
    out = {k: closed(v) for k, v in schema.items()}
    if schema.get("type") == "object" and isinstance(schema.get("properties"), dict):
        out.setdefault("additionalProperties", False)
    return out


def media_type(headers):
    return (headers.get("Content-Type") or "").split(";")[0].strip().lower()


class Operation:
    def __init__(self, description, path, method, item):
        self.path, self.method, self.item = path, method, item
        self.resolve = description.resolve
        # A name at the end may have slashes.
        pattern = re.sub(r"\\{[a-z_]+\\}", "([^/]+)", re.escape(path))
        if path.endswith("{name}") or path.startswith("/ofrep/"):
            pattern = re.sub(r"\(\[\^/\]\+\)$", "(.+)", pattern)
        self.pattern = re.compile(pattern)
        self.parameters = [self.resolve(p) for p in item["parameters"]]

    def __repr__(self):
        return f"{self.method} {self.path}"

    @functools.cache
    def validator(self, text, strict):
        schema = self.resolve(json.loads(text), whole=True)
        return Draft202012Validator(closed(schema) if strict else schema, format_checker=FORMATS)

    def fault(self, schema, value, strict=False):
        """What is wrong, or None."""
        for e in self.validator(json.dumps(schema), strict).iter_errors(value):
            return f"{'/'.join(map(str, e.absolute_path))}: {e.message[:400]}"
        return None

    def wrong_parameter(self, path, query, headers):
        values = dict(zip(re.findall(r"{([a-z_]+)}", self.path), self.pattern.fullmatch(path).groups()))
        for p in self.parameters:
            given = {"path": values, "query": query, "header": headers}[p["in"]].get(p["name"])
            if given is None:
                continue
            if p["schema"].get("type") == "integer" and re.fullmatch(r"-?\d+", given):
                given = int(given)
            if wrong := self.fault(p["schema"], given):
                return f"{p['name']}: {wrong}"
        named = {p["name"] for p in self.parameters if p["in"] == "query"}
        return next((f"{q}: not described" for q in query if q not in named), None)

    def wrong_body(self, body, headers):
        content = self.item.get("requestBody", {}).get("content", {})
        kind = media_type(headers)
        if not body:
            return "no body" if self.item.get("requestBody", {}).get("required") else None
        if not content:
            return "a body"
        if kind not in content and "*/*" not in content:
            return f"a body of type {kind}"
        if kind != "application/json":
            return None
        try:
            value = json.loads(body)
        except ValueError as e:
            return str(e)
        if isinstance(value, list):
            value = value[:50]
        # What is null is as good as not there for every reader.
        if isinstance(value, dict):
            value = {k: v for k, v in value.items() if v is not None or k in ("payload", "result")}
        return self.fault(content[kind]["schema"], value)

    def wrong_request(self, path, query, body, headers):
        return self.wrong_parameter(path, query, headers) or self.wrong_body(body, headers)

    def wrong_answer(self, status, headers, body):
        answer = self.item["responses"].get(str(status)) or self.item["responses"]["default"]
        content = self.resolve(answer).get("content")
        if not content:
            return "a body" if body else None
        if self.method == "HEAD":
            return None
        kind = media_type(headers)
        if kind not in content and "*/*" not in content:
            return f"a body of type {kind!r}, not of {list(content)}"
        if not kind.endswith("json") or kind not in content or not content[kind]:
            return None
        try:
            value = json.loads(body)
        except ValueError as e:
            return str(e)
        return self.fault(content[kind]["schema"], value, strict=True)


class Description:
    def __init__(self, document):
        self.document = document
        self.operations = [Operation(self, path, method.upper(), item) for path, items in document["paths"].items()
                           for method, item in items.items()]
        # Literal segments win over names.
        self.operations.sort(key=lambda o: [s.startswith("{") for s in o.path.split("/")])

    def resolve(self, what, whole=False):
        """Follows a $ref; whole: all below it, too."""
        if isinstance(what, dict) and isinstance(what.get("$ref"), str):
            found = self.document
            for name in what["$ref"][2:].split("/"):
                found = found[name]
            what = found
        if not whole:
            return what
        if isinstance(what, dict):
            return {k: self.resolve(v, True) for k, v in what.items()}
        return [self.resolve(v, True) for v in what] if isinstance(what, list) else copy.copy(what)

    def find(self, method, path):
        """The operation, or None."""
        method = "GET" if method == "HEAD" else method
        for o in self.operations:
            if o.method == method and o.pattern.fullmatch(path):
                return o
        return None

    def check(self, method, target, body, headers, reply):
        """Raises Violation if this answer to this request is not as described."""
        path, _, query = target.partition("?")
        wrong = self.find_wrong(method, path, dict(urllib.parse.parse_qsl(query, keep_blank_values=True)), body, headers, reply)
        if wrong:
            raise Violation(f"{method} {target}: {wrong}\n{body!r:.300}\n{reply}")

    def find_wrong(self, method, path, query, body, headers, reply):
        operation = self.find(method, path)
        if method == "HEAD":
            return "HEAD has a body" if reply.body else None
        if reply.status >= 400 and media_type(reply.headers) == "application/problem+json":
            wrong = wrong_problem(path, reply)
            if wrong:
                return wrong
        if not operation:
            if method == "OPTIONS" and reply.status == 204:
                return None if reply.headers["Allow"] else "no Allow"
            return None if reply.status >= 400 and media_type(reply.headers) == "application/problem+json" else "not described"
        wrong = operation.wrong_answer(reply.status, reply.headers, reply.body)
        if not wrong and reply.status < 300:
            wrong = operation.wrong_request(path, query, body, headers)
            wrong = wrong and f"taken, though it should not be: {wrong}"
        return wrong


def wrong_problem(path, reply):
    """RFC 9457, and what we promise beyond it."""
    p = reply.json
    for name in ("type", "title", "detail", "instance"):
        if not isinstance(p.get(name), str) or not p[name]:
            return f"a problem without {name}"
    if p["status"] != reply.status:
        return "its status is another"
    if p["instance"] != path:
        return f"its instance is {p['instance']}"
    if reply.status in (429, 503) and not (reply.headers["Retry-After"] or "").isdigit():
        return "no Retry-After"
    if reply.status == 405 and not reply.headers["Allow"]:
        return "no Allow"
    if reply.status == 401 and not reply.headers["WWW-Authenticate"]:
        return "no WWW-Authenticate"
    return None


@functools.cache
def description(program):
    """Of a build's reeve-api."""
    return Description(json.loads(subprocess.run([program, "--openapi"], capture_output=True, text=True, check=True).stdout))
