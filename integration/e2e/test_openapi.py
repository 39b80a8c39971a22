"""openapi.yaml is the contract: every route of the manager is in it, and every answer is as it says."""

import json
import pathlib
import re

import pytest

from integration.testbed.cluster import Cluster
from integration.testbed.openapi import OpenApi

MANAGER = pathlib.Path(__file__).parents[2] / "manager"
TEXT = (MANAGER / "openapi.yaml").read_text()
# Makes what its path names, but not of an empty body.
MAKES = {("PUT", "/api/v1/secrets/{namespace}/{name}")}


@pytest.fixture
def api():
    return OpenApi(TEXT)


def registered():
    """(method, pattern) that the sources register."""
    source = "".join(path.read_text() for path in sorted(MANAGER.glob("*api.cc")))
    return set(re.findall(r'router\.Add\(\s*"(\w+)",\s*"([^"]+)"', source))


def test_the_contract_has_every_route_and_no_other(api):
    assert set(api.routes()) == registered()


def test_every_answer_is_as_the_contract_says(bed, registry, ref, api):
    cluster = Cluster(bed, registry, nodes=2)
    manager = cluster.manager
    walked = set()

    def call(method, pattern, body=None, query="", status=None, **names):
        walked.add((method, pattern))
        path = pattern.format(**names) + query
        got, headers, text = manager.request(method, path, token=manager.admin_token, body=body)
        assert status is None or got == status, (method, path, got, text)
        return api.check(method, pattern, got, headers, text)

    assert call("GET", "/openapi.yaml").decode() == TEXT
    for path in ("/livez", "/healthy", "/readyz", "/metrics"):
        call("GET", path, status=200)
    job = call("POST", "/oapi/v1/jobs", {"type": "preheat", "args": {"type": "image", "url": ref}}, status=200)
    cluster.wait(job["id"])
    failed = call("POST", "/oapi/v1/jobs", {"type": "preheat", "args": {"type": "image", "url": ref + "-none"}})
    cluster.wait(failed["id"])
    for number in (job["id"], failed["id"]):
        call("GET", "/oapi/v1/jobs/{id}", id=number, status=200)
        call("GET", "/oapi/v1/jobs/{id}/events", id=number, status=200)
        call("GET", "/oapi/v1/jobs/{id}/nodes", id=number, status=200)
    call("GET", "/api/v1/events", status=200)
    call("GET", "/oapi/v1/jobs", query="?state=FAILURE", status=200)
    call("PATCH", "/oapi/v1/jobs/{id}", {"bio": "x"}, id=job["id"], status=200)
    call("POST", "/oapi/v1/jobs/{id}/retry", id=failed["id"], status=200)
    call("POST", "/oapi/v1/jobs/{id}/cancel", id=failed["id"])
    call("DELETE", "/oapi/v1/jobs/{id}", id=failed["id"], status=204)
    call("GET", "/oapi/v1/clusters", status=200)
    call("GET", "/oapi/v1/clusters/{id}", id=1, status=200)
    made = call("POST", "/oapi/v1/clusters", {"name": "edge", "bio": "x"}, status=200)
    call("PATCH", "/oapi/v1/clusters/{id}", {"bio": "y"}, id=made["id"], status=200)
    call("DELETE", "/oapi/v1/clusters/{id}", id=made["id"], status=204)
    pull = {"images": [ref], "nodeNames": ["n1", "nowhere"], "failureTolerate": "0.5"}
    document = {
        "apiVersion": "operations.kubeedge.io/v1alpha1",
        "kind": "ImagePrePullJob",
        "metadata": {"name": "j"},
        "spec": {"imagePrePullTemplate": pull},
    }
    call("POST", "/api/v1/pull-jobs", document, status=200)
    call("GET", "/api/v1/pull-jobs", query="?page=1&per_page=5", status=200)
    call("GET", "/api/v1/pull-jobs/{name}", name="j", status=200)
    call("GET", "/api/v1/pull-jobs/{name}/watch", name="j", status=200)
    call("POST", "/api/v1/pull-jobs/{name}/cancel", name="j")
    call("DELETE", "/api/v1/pull-jobs/{name}", name="j", status=204)
    call("PUT", "/api/v1/secrets/{namespace}/{name}", {"auths": {}}, namespace="a", name="b", status=200)
    call("GET", "/api/v1/secrets", status=200)
    call("DELETE", "/api/v1/secrets/{namespace}/{name}", namespace="a", name="b", status=204)
    call("GET", "/api/v1/nodes", status=200)
    call("GET", "/api/v1/nodes/{name}", name="n1", status=200)
    call("PUT", "/api/v1/nodes/{name}/cordon", {"reason": "x", "drain": True}, name="n1", status=204)
    call("DELETE", "/api/v1/nodes/{name}/cordon", name="n1", status=204)
    call("PUT", "/api/v1/nodes/{name}/ban", {"reason": "x"}, name="n1", status=204)
    call("DELETE", "/api/v1/nodes/{name}/ban", name="n1", status=204)
    call("DELETE", "/api/v1/nodes/{name}", name="n1", status=204)
    for kind, body in (("tokens", {"name": "x", "scopes": ["job"]}), ("join-tokens", {})):
        made = call("POST", f"/api/v1/{kind}", body, status=201)
        call("GET", f"/api/v1/{kind}", status=200)
        call("DELETE", f"/api/v1/{kind}/{{id}}", id=made["id"], status=204)
    call("POST", "/api/v1/backup", status=200)
    audit = call("GET", "/api/v1/audit", query="?per_page=2", status=200)
    assert [entry["method"] for entry in audit["entries"]] == ["POST", "DELETE"] and audit["total"] > 10
    assert audit["entries"][0]["from"] == "127.0.0.1" and audit["entries"][0]["outcome"] == "ok"
    assert walked == set(api.routes())


def test_every_refusal_is_as_the_contract_says(bed, api):
    manager = bed.manager()
    tokens = {None: 401, manager.json("tokens", "create", "--name", "x", "--scope", "job:read")["token"]: 403}
    for (method, pattern), scope in api.routes().items():
        path = re.sub(r"\{\w+\}", "no-such", pattern)
        for token, refused in tokens.items():
            status, headers, body = manager.request(method, path, token=token)
            api.check(method, pattern, status, headers, body)
            if scope and (token is None or scope != "job:read"):
                assert status == refused, (method, pattern, token)
        if scope and "{" in pattern:
            status, headers, body = manager.request(method, path, token=manager.admin_token)
            wanted = 400 if (method, pattern) in MAKES else 404
            assert api.check(method, pattern, status, headers, body)["status"] == wanted == status, (method, pattern)


def test_the_fields_of_a_job_are_those_of_the_contract(bed, api):
    """A field that the contract has is known to the parser, in both spellings; any other is refused by name."""
    manager = bed.manager()
    schemas = api.document["components"]["schemas"]
    names = list(schemas["NewArgs"]["properties"])
    for name in names:
        words = name.split("_")
        for spelt in {name, words[0] + "".join(word.title() for word in words[1:])}:
            body = {"type": "preheat", "args": {"type": "image", "url": "a", spelt: "image" if name == "type" else None}}
            status, _, text = manager.request("POST", "/oapi/v1/jobs", token=manager.admin_token, body=body)
            assert "unknown field" not in json.loads(text)["message"], spelt
    body = {"type": "preheat", "args": {"type": "image", "url": "a", "no_such": None}}
    text = manager.request("POST", "/oapi/v1/jobs", token=manager.admin_token, body=body)[2]
    assert "unknown field" in json.loads(text)["message"]
