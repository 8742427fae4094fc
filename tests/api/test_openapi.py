"""The description of the API against the API: the document itself, and every way in which a request to any route is refused."""
import json
import re
import subprocess
import uuid

import pytest

from conftest import API, Api, openapi, wait_for
from test_keys import make

DOCUMENT = openapi.description(API)
OPERATIONS = {o.item["operationId"]: o for o in DOCUMENT.operations}
METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
PUBLIC = ("getDescription", "getHealth", "getApiHealth")
JOB = "0193f000-0000-7000-8000-000000000000"


def path_of(o, **values):
    values = {"id": JOB, "queue": "q", "kind": "k", "run_id": "1", "key": "1", "name": "f"} | values
    return re.sub(r"{([a-z_]+)}", lambda m: values[m[1]], o.path)


def check(r, status, name):
    assert r.status == status, r
    assert r.headers["Content-Type"] == "application/problem+json" and r.json["type"] == "urn:reeve:problem:" + name, r
    return r.json["detail"]


def body_of(o):
    """A body that is taken as far as its type goes."""
    content = o.item.get("requestBody", {}).get("content", {})
    if "application/json" in content:
        return b"{}", {"Content-Type": "application/json"}
    if "multipart/form-data" in content:
        return b"--x--\r\n", {"Content-Type": "multipart/form-data; boundary=x"}
    return None, {}


# ---- the document ----

@pytest.mark.direct("prism writes JSON anew")
def test_it_is_served_to_everybody_and_cached(start):
    api = start()
    r = api.get("/openapi.json", tcp=True)
    assert r.status == 200 and r.json == DOCUMENT.document and r.headers["Content-Type"] == "application/json"
    assert r.headers["Cache-Control"] == "public, max-age=300"
    again = api.get("/openapi.json", {"If-None-Match": r.headers["ETag"]}, tcp=True)
    assert again.status == 304 and not again.body and again.headers["ETag"] == r.headers["ETag"]
    assert api.get("/openapi.json", {"If-None-Match": '"other"'}, tcp=True).body == r.body
    head = api.call("HEAD", "/openapi.json", tcp=True)
    assert head.status == 200 and head.headers["ETag"] == r.headers["ETag"] and int(head.headers["Content-Length"]) == len(r.body)


def test_it_has_what_the_router_has():
    routes = subprocess.run([API, "--routes"], capture_output=True, text=True, check=True).stdout.replace("...}", "}").splitlines()
    assert sorted(f"{o.method} {o.path}" for o in DOCUMENT.operations) == sorted(routes)
    assert len(OPERATIONS) == len(routes), "an operationId twice"
    for o in DOCUMENT.operations:
        assert o.item["description"] and o.item["summary"] and o.item["tags"], o
        assert bool(o.item["security"]) == bool(o.item["x-roles"]) == (o.item["operationId"] not in PUBLIC), o


def test_it_holds_together():
    """Each reference leads somewhere, and every component is referred to."""
    text = json.dumps(DOCUMENT.document)
    used = set(re.findall(r'"\$ref": "#/components/([^"]+)"', text))
    there = {f"{group}/{name}" for group, items in DOCUMENT.document["components"].items() if group != "securitySchemes" for name in items}
    assert used == there
    for o in DOCUMENT.operations:
        names = {p["name"] for p in o.parameters if p["in"] == "path"}
        assert names == set(re.findall(r"{([a-z_]+)}", o.path)), o
    for name, schema in DOCUMENT.document["components"]["schemas"].items():
        openapi.Draft202012Validator.check_schema(schema)
        for known in re.findall(r'"required": (\[[^]]*\])', json.dumps(schema)):
            assert all(f'"{k}":' in json.dumps(schema) for k in json.loads(known)), name


# ---- every route refuses in the same manner; what each answer must have is looked at by the client of the suite ----

@pytest.fixture(scope="module")
def refused(server, template):
    """An API of a database without jobs, for requests of which none does anything."""
    db = server.create(template)
    api = Api(db)
    api.wait_up()
    yield api
    api.close()
    db.close()
    server.drop(db.name)


def test_a_method_that_it_does_not_have(refused):
    paths = {o.path for o in DOCUMENT.operations}
    for path in paths:
        here = {o.method for o in DOCUMENT.operations if o.path == path}
        o = next(o for o in DOCUMENT.operations if o.path == path)
        for method in set(METHODS) - here:
            r = refused.call(method, path_of(o))
            check(r, 405, "method-not-allowed")
            allowed = set(r.headers["Allow"].split(", "))
            assert allowed == here | {"OPTIONS"} | ({"HEAD"} if "GET" in here else set())
        assert refused.call("OPTIONS", path_of(o)).status == 204


@pytest.mark.parametrize("name", OPERATIONS)
def test_a_body_that_it_does_not_take(refused, name):
    o = OPERATIONS[name]
    content = o.item.get("requestBody", {}).get("content")
    r = refused.call(o.method, path_of(o), b"x", {"Content-Type": "text/x-odd"})
    if not content:
        check(r, 400, "body-unexpected")
    else:
        check(r, 415, "media-type")
        if o.item["requestBody"]["required"]:
            check(refused.call(o.method, path_of(o), b"", {"Content-Type": next(iter(content))}), 400, "invalid")


def schema_of(o):
    schema = o.item["requestBody"]["content"]["application/json"]["schema"]
    return o.resolve(schema.get("anyOf", [schema])[0])


JSON = [n for n, o in OPERATIONS.items() if "application/json" in o.item.get("requestBody", {}).get("content", {}) and not n.startswith("evaluate")]


@pytest.mark.parametrize("name", JSON)
def test_fields_that_are_known_are_those_that_are_described(refused, name):
    o = OPERATIONS[name]
    for field in [None, *schema_of(o)["properties"]]:
        # Of the first one that is not known it would say so.
        r = refused.call(o.method, path_of(o), {"colour": 1} if field is None else {field: None, "colour": 1})
        assert check(r, 400, "invalid") == 'unknown field "colour".', r
    for broken in (b"{", b'{"a":1}}', b'{"a":\xff}', b"[" * 200):
        assert "Line 1" in check(refused.call(o.method, path_of(o), broken, {"Content-Type": "application/json"}), 400, "bad-json")
    for other in (b"7", b"null", b'"x"'):
        check(refused.call(o.method, path_of(o), other, {"Content-Type": "application/json"}), 400, "invalid")


@pytest.mark.parametrize("name", OPERATIONS)
def test_no_key_or_one_that_may_not(refused, name):
    o = OPERATIONS[name]
    body, head = body_of(o)
    r = refused.call(o.method, path_of(o), body, head, tcp=True) if "events" not in o.path else refused.call(o.method, path_of(o), tcp=True)
    if name in PUBLIC:
        assert r.status == 200 and "x-roles" in o.item and not o.item["x-roles"]
        return
    check(r, 401, "unauthorized")
    for role in ("submit", "read", "worker", "metrics"):
        if role in o.item["x-roles"]:
            continue
        key, id = make(refused, f"k{uuid.uuid4().hex[:8]}", role)
        check(refused.call(o.method, path_of(o), body, head | key, tcp=True), 403, "forbidden")
        assert refused.call("DELETE", f"/api/keys/{id}").status == 204


@pytest.mark.parametrize("name", [n for n, o in OPERATIONS.items() if "{id}" in o.path or "{run_id}" in o.path or n == "revokeKey"])
def test_an_id_that_is_none(refused, name):
    o = OPERATIONS[name]
    body, head = body_of(o)
    for odd in ("x", "0193f000", "%20", "-1", "99999999999999999999", "%F0%9F%90%9F"):
        check(refused.call(o.method, path_of(o, id=odd, run_id=odd, key=odd), body, head), 404, "not-found")
    check(refused.call(o.method, path_of(o, id="%ff", run_id="%ff", key="%ff"), body, head), 400, "bad-target")


def test_paths_that_are_none(refused):
    for path in ("/", "/api", "/api/nothing", "/openapi.json/x", "/api/jobs/", "//api/jobs"):
        check(refused.get(path), 404, "not-found")
    for path in ("/api/../health", "/api/jobs/%00", "/api/%zz"):
        check(refused.get(path), 400, "bad-target")
    check(refused.get("/" + "x" * 5000), 414, "uri-too-long")
    check(refused.get("/health", {"A": "x" * 9000}), 431, "head-too-large")


def test_every_route_while_the_database_is_away(start, server):
    """503 with Retry-After from each that needs it."""
    api = start()
    server.stop()
    try:
        wait_for(lambda: api.get("/health").status == 503, what="503")
        for name, o in OPERATIONS.items():
            body, head = body_of(o)
            r = api.call(o.method, path_of(o), body, head)
            if name in ("getHealth", "getApiHealth"):
                assert r.status == 503
            elif name in ("getDescription", "getMetrics", "evaluateFlag", "evaluateFlags"):
                assert r.status in (200, 404), r
            else:
                check(r, 503, "unavailable")
    finally:
        server.start()
