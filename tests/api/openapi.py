"""Holds requests and answers against the API's own description, more strictly than a client would: an answer may have
nothing that the description does not name."""
import copy
import datetime
import functools
import http.client
import json
import os
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
    if (reply.status in (429, 503) or p["type"].endswith(":in-flight")) and not (reply.headers["Retry-After"] or "").isdigit():
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


# ---- through prism, where test_openapi_tools.py runs the suite ----

PRISM = os.environ.get("REEVE_TEST_PRISM")
TARGET = "X-Test-Target"  # what is behind prism: a path, or [host, port]; test_openapi_tools.py reads it


def distinct(pairs):
    if len(dict(pairs)) < len(pairs):
        raise ValueError(pairs)
    return dict(pairs)


def cannot_go(operation, address, method, target, body, headers):
    """Why a request goes to the API itself."""
    path, _, query = target.partition("?")
    if operation is None or method == "HEAD" or path.count("/") > operation.path.count("/"):
        return "prism answers by itself what is not described, and knows no names with slashes"
    names = [name for name, _ in urllib.parse.parse_qsl(query, keep_blank_values=True)]
    if len(set(names)) < len(names):
        return "prism takes names that are there twice for an array"
    content = operation.resolve(operation.item["responses"]["200" if "200" in operation.item["responses"] else "default"]).get("content", {})
    if "text/event-stream" in content or "*/*" in content:
        return "prism reads an answer to its end, as text"
    if operation.item["security"] and not isinstance(address, str) and not headers.get("Authorization"):
        return "prism answers by itself when there is no key"
    if body:
        if media_type(headers) != "application/json":
            return "prism reads bodies as text"
        try:
            value = json.loads(body, object_pairs_hook=distinct)
        except ValueError:
            return "prism answers by itself what is no JSON, and keeps one of two equal names"
        if not isinstance(value, (dict, list)) or re.search(rb"\d{16}", body) or len(body) > 8 << 20:
            return "prism takes no scalar, rounds numbers and reads no more than 10 MB"
    return None


def through_prism(program, address, method, target, body, headers, timeout):
    """Status, headers and body; None: it does not go that way. What may be asked goes through a prism that checks requests and
    answers, what is wrong on purpose through one that checks answers."""
    if not PRISM:
        return None
    config = json.loads(PRISM)
    path, _, query = target.partition("?")
    operation = description(program).find(method, path)
    why = cannot_go(operation, address, method, target, body, headers)
    wrong = why or operation.wrong_request(path, dict(urllib.parse.parse_qsl(query, keep_blank_values=True)), body, headers)
    with open(config["log"], "a", encoding="utf-8") as log:
        log.write(json.dumps([why or ("wrong" if wrong else "right"), f"{operation}"]) + "\n")
    if why:
        return None
    headers = dict(headers) | {TARGET: json.dumps(address)}
    headers.setdefault("Authorization", "Bearer none")  # taken off again on the way to a unix socket
    c = http.client.HTTPConnection("127.0.0.1", config["answers" if wrong else "both"], timeout=timeout + 5)
    try:
        c.request(method, target, body, headers)
        r = c.getresponse()
        data = r.read()
    finally:
        c.close()
    if b"stoplight.io/prism/errors" in data:
        raise Violation(f"{method} {target} {body!r:.300}: {data.decode()[:1500]}")
    return r.status, r.headers, data
