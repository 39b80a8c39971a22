"""Every field of every request, wrong in each way that its schema has: a 4xx that names it, and nothing is kept."""

import copy
import http.client
import json
import pathlib
import ssl

import pytest

from integration.testbed import Testbed
from integration.testbed.cluster import Cluster
from integration.testbed.openapi import OpenApi

API = OpenApi((pathlib.Path(__file__).parents[2] / "manager" / "openapi.yaml").read_text())
HERE = "\0here\0"  # where in a body the wrong value goes
IMAGE = "registry.example/a:v1"
MAX_BODY = 1 << 20

JOBS, PULL_JOBS = "/oapi/v1/jobs", "/api/v1/pull-jobs"
TEMPLATE = {"images": [IMAGE], "nodeNames": ["n1"]}
# A body of each route that is taken as it is.
GOOD = {
    ("POST", JOBS): [
        {"type": "preheat", "args": {"type": "image", "url": IMAGE}},
        {"type": "preheat", "args": {"type": "file", "url": "http://127.0.0.1:1/f"}},
    ],
    ("PATCH", JOBS + "/{id}"): [{"bio": "x"}],
    ("POST", "/oapi/v1/clusters"): [{"name": "edge"}],
    ("PATCH", "/oapi/v1/clusters/{id}"): [{"bio": "x"}],
    ("POST", PULL_JOBS): [
        {
            "apiVersion": "operations.kubeedge.io/v1alpha2",
            "kind": "ImagePrePullJob",
            "metadata": {"name": "j"},
            "spec": {"imagePrePullTemplate": TEMPLATE},
        }
    ],
    ("PUT", "/api/v1/secrets/{namespace}/{name}"): [{"auths": {"r.example": {"auth": "dTpw"}}}],
    ("PUT", "/api/v1/nodes/{name}/cordon"): [{"reason": "x"}],
    ("PUT", "/api/v1/nodes/{name}/ban"): [{"reason": "x"}],
    ("POST", "/api/v1/tokens"): [{"name": "x", "scopes": ["job"]}],
    ("POST", "/api/v1/join-tokens"): [{"name": "x"}],
}
NAMES = {"namespace": "default", "name": "n1"}
# What no schema tells: values of the right type that mean nothing, as JSON.
SENSELESS = {
    "args.url": ['"a b"', '"ftp://h/f"', '"http://"', '"http://:80/f"', '"http://h:65536/f"', '"http://h:x/f"', '"http://[::1/f"'],
    "args.urls": ['["a b"]', '["ftp://h/f"]'],
    "args.images": ['["A B"]', '["https://h/x"]'],
    "args.platform": ['"no such thing"', '["linux/amd64", "no such thing"]'],
    "args.platforms": ['["no such thing"]'],
    "args.headers": ['{"X Y": "1"}', '{"X": "a\\nb"}', '{"Host": "b"}', '{"": "x"}', '{"X": "' + "x" * 20_000 + '"}'],
    "args.nodes": ['["no-such-node"]'],
    "args.ips": ['["192.0.2.1"]', '["no address"]'],
    "args.failure_tolerate": ['"1.1"', '"abc"', '"-1"', "2", "1e400", '"101%"'],
    "args.timeout": ["1", "1e30", '"8d"', '"1ms"'],
    "args.refresh": ['"1s"', '"31d"', '"1h"'],
    "args.pin": ['"0s"', "-5"],
    "args.piece_length": ["1024"],
    "args.password": ['"without a user"'],
    "scheduler_cluster_ids": ["[77]"],
    "name": ['"a\\nb"'],
    "cluster": ['"a/b"'],
    "expires_in": ['"100000d"', '"0s"'],
    "apiVersion": ['"v1"'],
    "metadata.name": ['"Upper"', '"a/b"'],
    "metadata.labels": ['["a:b"]'],
    "spec.imagePrePullTemplate.images": ['["A B"]', "[]", "null"],
    "spec.imagePrePullTemplate.nodeNames": ['["A B"]', '["a", ""]'],
    "spec.imagePrePullTemplate.labelSelector": ['{"matchLabels": {"zone": "z"}}'],  # beside nodeNames
    "spec.imagePrePullTemplate.failureTolerate": ['"1.1"', '"abc"', '"-1"', "2", '"101%"'],
    "spec.imagePrePullTemplate.imageSecrets": ['"no-slash"', '"a/B"', '"default/none"'],
    "spec.imagePrePullTemplate.imagePullSecrets": ['["no-slash"]', '["default/none"]'],
}
NOT_DURATIONS = ['"soon"', '"-1h"', '"1"', '"1y"', '"99999999999999999999h"', '"9223372036854775807h"']
# Known and passed over.
PASSED_OVER = {"status"}
# Where a document of YAML is read: it takes a number's or a date's spelling from where it stands, as Kubernetes does.
YAML = {("POST", PULL_JOBS)}


def fields(schema, path=()):
    """(path, schema) of each field, those of objects in it too."""
    for name, below in schema.get("properties", {}).items():
        below = API.resolve(below)
        if name in PASSED_OVER:
            continue
        yield (*path, name), below
        yield from fields(below, (*path, name))


def wrong_values(schema):
    """Values that the schema does not have, as JSON."""
    kind = schema.get("type")
    yield from {
        "string": ["7", "true", '["a"]', '{"a": "b"}'],
        "integer": ['"7"', "1.5", "-1", "true", "[1]", '{"a": 1}', "18446744073709551616", "1e400"],
        "boolean": ['"true"', "1", "[true]", '"maybe"'],
        "array": ['{"a": "b"}', "7", "true"],
        "object": ["7", "true", '["a"]', '"x"'],
        None: ["true", '["1"]', '{"a": "1"}'],
    }[kind]
    if "enum" in schema:
        yield '"no-such-thing"'
    if schema.get("format") == "duration":
        yield from NOT_DURATIONS
    if "maxLength" in schema:
        yield json.dumps("x" * (schema["maxLength"] + 1))
    if "maximum" in schema:
        yield str(schema["maximum"] + 1)
    if schema.get("minimum", 0) > 0 and kind == "integer":
        yield str(schema["minimum"] - 1)
    if kind == "array":
        item = API.resolve(schema["items"])
        yield from (f"[{value}]" for value in wrong_values(item))
        good = json.dumps(item.get("enum", ["x"])[0])
        if "maxItems" in schema:
            yield "[" + ",".join(good[:-1] + f'{number}"' for number in range(schema["maxItems"] + 1)) + "]"
    others = schema.get("additionalProperties")
    if kind == "object" and isinstance(others, dict):
        yield from (f'{{"a": {value}}}' for value in wrong_values(others))
        if "maxProperties" in schema:
            yield "{" + ",".join(f'"k{number}": "x"' for number in range(schema["maxProperties"] + 1)) + "}"


def unreadable(name):
    """Values that no JSON is, or not one that is taken, in bytes."""
    yield b'"\xff"'
    yield b'"a\xc0\xaf"'  # overlong
    yield b'"\\ud800"'  # half of a pair
    yield b'["\xed\xa0\x80"]'
    yield b"[" * 20 + b'"x"' + b"]" * 20
    yield b"[" * 100_000 + b"]" * 100_000
    yield b'{"a":' * 50_000 + b"1" + b"}" * 50_000
    yield b'"x", "%s": "y"' % name.encode()
    yield b"nul"
    yield b'"\n"'


def with_value(body, path, value):
    """The body's JSON with `value`, bytes, in place of that field."""
    body = copy.deepcopy(body)
    at = body
    for name in path[:-1]:
        at = at.setdefault(name, {})
    at[path[-1]] = HERE
    return json.dumps(body).encode().replace(json.dumps(HERE).encode(), value)


class Client:
    """Calls on one connection; TLS anew for each of thousands takes longer than all else."""

    def __init__(self, manager):
        host, port = manager.api.split("://")[1].rsplit(":", 1)
        context = ssl.create_default_context(cafile=manager.ca_file)
        self.headers = {"Authorization": f"Bearer {manager.admin_token}"}
        self.connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=60)

    def call(self, method, path, body=None, headers=None):
        """(status, body)"""
        everything = {**self.headers, **(headers or {})}
        try:
            self.connection.request(method, path, body, everything)
            answer = self.connection.getresponse()
        except http.client.RemoteDisconnected:  # it was idle for long
            self.connection.request(method, path, body, everything)
            answer = self.connection.getresponse()
        return answer.status, answer.read()


@pytest.fixture(scope="module")
def client():
    """Of a manager with a node and a job that has ended."""
    with Testbed() as bed:
        cluster = Cluster(bed, nodes=1)
        job = cluster.create({"type": "file", "url": "http://127.0.0.1:1/f", "timeout": "2s"})
        assert cluster.wait(job["id"])["state"] == "FAILURE"
        yield Client(cluster.manager)


def kept(client):
    """All that a request might leave behind, without what changes by itself."""

    def listed(path):
        status, body = client.call("GET", path)
        assert status == 200, body
        return json.loads(body)

    changing = ("last_seen_at", "last_used_at", "disk_free_bytes", "disk_total_bytes", "store_bytes", "connected")
    found = {path: listed(path) for path in (JOBS, "/oapi/v1/clusters", PULL_JOBS, "/api/v1/secrets")}
    for path, name in (("/api/v1/nodes", "nodes"), ("/api/v1/tokens", "tokens"), ("/api/v1/join-tokens", "tokens")):
        found[path] = [{k: v for k, v in entry.items() if k not in changing} for entry in listed(path)[name]]
    return found


def concrete(pattern):
    return pattern.format(id=1, **NAMES)


def spellings(name):
    words = name.split("_")
    return {name, words[0] + "".join(word.title() for word in words[1:])}


def refused(client, method, pattern, body, name):
    """What is wrong with the answer to a body whose field `name` is wrong, if anything is."""
    status, answer = client.call(method, concrete(pattern), body)
    shown = f"{method} {pattern} {body[:300]!r}"
    if not 400 <= status < 500 or status == 429:
        return f"{shown}: {status} {answer[:300]!r}"
    message = json.loads(answer)["message"]
    if not any(spelt in message for spelt in spellings(name)):
        return f"{shown}: {name} is not named in {answer[:300]!r}"
    return None


def bodies_with_wrong_fields(method, pattern):
    """(body, name that the refusal must have)"""
    route = (method, pattern)
    for good in GOOD[route]:
        for path, schema in fields(API.body(*route)):
            where, name = ".".join(path), path[-1]
            for value in [*wrong_values(schema), *SENSELESS.get(where, [])]:
                for spelt in spellings(name) if route not in YAML else [name]:
                    yield with_value(good, (*path[:-1], spelt), value.encode()), name
            for misspelt in (name + "x", "x" + name, "no_such_" + name):
                yield with_value(good, (*path[:-1], misspelt), b'"x"'), misspelt


@pytest.mark.parametrize("method, pattern", [route for route in GOOD if "secrets" not in route[1]])
def test_each_field_of_a_wrong_value_is_named_and_nothing_is_kept(client, method, pattern):
    before = kept(client)
    tried = list(bodies_with_wrong_fields(method, pattern))
    wrong = [refused(client, method, pattern, body, name) for body, name in tried]
    assert not any(wrong), "\n".join(filter(None, wrong))
    assert kept(client) == before and len(tried) > 5


@pytest.mark.parametrize("method, pattern", [route for route in GOOD if route not in YAML])
def test_each_field_that_cannot_be_read_is_named_and_nothing_is_kept(client, method, pattern):
    """Of no encoding, twice, too deep, or no JSON at all."""
    before = kept(client)
    schema = API.body(method, pattern)
    paths = [path for path, _ in fields(schema)] or [("auths",), ("credHelpers",)]
    wrong = []
    for path in paths:
        for value in unreadable(path[-1]):
            body = with_value(GOOD[method, pattern][0], path, value)
            wrong.append(refused(client, method, pattern, body, path[-1]))
    assert not any(wrong), "\n".join(filter(None, wrong))
    assert kept(client) == before


def test_yaml_that_cannot_be_read_says_in_which_line_and_nothing_is_kept(client):
    before = kept(client)
    (good,) = GOOD["POST", PULL_JOBS]
    wrong = []
    for path, _ in fields(API.body("POST", PULL_JOBS)):
        for value in (b"[" * 50_000, b"{a: " * 50_000, b'"\x00"', b'"x', b"*nobody", b"!!binary [", b"&a [*a]", b"\xff\xfe["):
            wrong.append(refused(client, "POST", PULL_JOBS, with_value(good, path, value), "line 1"))
        for value in (b"[" * 20 + b'"x"' + b"]" * 20, b'"x", "%s": "y"' % path[-1].encode()):
            wrong.append(refused(client, "POST", PULL_JOBS, with_value(good, path, value), path[-1]))
    assert not any(wrong), "\n".join(filter(None, wrong))
    assert kept(client) == before


def test_a_secret_that_is_none_is_refused_and_nothing_is_kept(client):
    before = kept(client)
    pattern = "/api/v1/secrets/{namespace}/{name}"
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "s"}, "type": "kubernetes.io/dockercfg"}
    cases = [
        ("7", ""),
        ("[]", ""),
        ('{"auths": 7}', "auths"),
        ('{"auths": ["r.example"]}', "auths"),
        ('{"auths": {"r.example": 7}}', "r.example"),
        ('{"auths": {"r.example": {"auth": 7}}}', "auth"),
        ('{"auths": {"r.example": {"auth": "!!"}}}', "auth"),
        ('{"auths": {"r.example": {"auth": "dQ=="}}}', "auth"),  # no colon
        ('{"auths": {"r.example": {"username": {}}}}', "username"),
        ('{"auths": {"r.example": {"password": 1}}}', "password"),
        ('{"auths": {"r.example": {"identitytoken": []}}}', "identitytoken"),
        ('{"auths": {}, "credHelpers": 7}', "credHelpers"),
        ('{"auths": {}, "credHelpers": {"r.example": 7}}', "r.example"),
        ('{"auths": {}, "credsStore": 7}', "credsStore"),
        ('{"r.example": 7}', "r.example"),  # the older form
        (json.dumps({**secret, "type": "Opaque"}), "type"),
        (json.dumps({**secret, "data": {}}), "data"),
        (json.dumps({**secret, "data": {".dockercfg": "!!"}}), "data"),
        (json.dumps({**secret, "data": {".dockercfg": "e"}}), "data"),
        (json.dumps({**secret, "stringData": {".dockercfg": "[7]"}}), "dockercfg"),
        (json.dumps({**secret, "stringData": {".dockercfg": 7}}), "dockercfg"),
        (json.dumps({**secret, "metadata": 7}), "metadata"),
        (json.dumps({**secret, "kind": "ConfigMap"}), "kind"),
        (json.dumps({**secret, "tpye": "x"}), "tpye"),
        (json.dumps({"kind": "List", "items": []}), "kind"),
        ("kind: Secret", "apiVersion"),
        ("# nothing", "kind"),
        ("", ""),
        (" ", "kind"),
    ]
    wrong = [refused(client, "PUT", pattern, body.encode(), name) for body, name in cases]
    assert not any(wrong), "\n".join(filter(None, wrong))
    for path in ("/api/v1/secrets/UPPER/x", "/api/v1/secrets/a/b%2Fc", "/api/v1/secrets/a/" + "x" * 300):
        status, answer = client.call("PUT", path, b'{"auths": {}}')
        assert status == 400 and b"namespace and name" in answer, (path, answer)
    assert kept(client) == before


@pytest.mark.parametrize("method, pattern", GOOD)
def test_a_body_of_10_mb_is_refused_before_it_is_sent(client, method, pattern):
    """One that is kept by Content-Length alone, and one that comes in chunks."""
    before = kept(client)
    manager = client.connection
    for framing in (("Content-Length", "10000000"), ("Transfer-Encoding", "chunked")):
        connection = http.client.HTTPSConnection(manager.host, manager.port, context=manager._context, timeout=60)
        connection.putrequest(method, concrete(pattern))
        connection.putheader("Authorization", client.headers["Authorization"])
        connection.putheader(*framing)
        connection.endheaders()
        if framing[1] == "chunked":
            connection.send(b"%x\r\n" % (MAX_BODY + 1))
        answer = connection.getresponse()
        assert answer.status == 413 and str(MAX_BODY).encode() in answer.read()
        connection.close()
    assert kept(client) == before


def test_each_parameter_of_a_wrong_value_is_named(client):
    tried = 0
    for (method, pattern), scope in API.routes().items():
        if scope is None or pattern.endswith("/events") or pattern.endswith("/watch"):
            continue
        for parameter in API.parameters(method, pattern):
            name, schema = parameter["name"], API.resolve(parameter["schema"])
            values = {"integer": ["abc", "-1", "1.5", "18446744073709551616"], "boolean": ["maybe"]}
            values = values.get(schema["type"], [])
            values += ["no-such"] if "enum" in schema else []
            values += [str(schema["minimum"] - 1)] if "minimum" in schema else []
            values += [str(schema["maximum"] + 1)] if "maximum" in schema else []
            values += {"wait": ["soon", "61s", "-1s"]}.get(name, [])
            body = json.dumps(GOOD[method, pattern][0]).encode() if (method, pattern) in GOOD else None
            if parameter["in"] == "header":
                values = ["x" * (schema["maxLength"] + 1)] if "maxLength" in schema else []
            for value in values:
                tried += 1
                headers = {name: value} if parameter["in"] == "header" else {}
                query = "" if headers else f"?{name}={value}"
                status, answer = client.call(method, concrete(pattern) + query, body, headers)
                assert status == 400 and name in json.loads(answer)["message"], (method, pattern, name, value, answer)
    assert tried > 20


def test_a_scope_that_is_there_many_times_is_kept_once(client):
    body = {"name": "many", "scopes": ["job", "node"] * 10_000}
    status, answer = client.call("POST", "/api/v1/tokens", json.dumps(body).encode())
    assert status == 201 and json.loads(answer)["scopes"] == ["job", "node"]


def test_the_good_bodies_are_taken(client):
    """Else nothing above would say anything."""
    for (method, pattern), bodies in GOOD.items():
        for body in bodies:
            status, answer = client.call(method, concrete(pattern), json.dumps(body).encode())
            assert status < 300, (method, pattern, answer)
    for number, path in enumerate((JOBS, "/oapi/v1/clusters", PULL_JOBS, "/api/v1/secrets")):
        assert client.call("GET", path)[1] not in (b"[]\n", b'{"items":[]}\n'), number
