"""Pull jobs by REST: the guide's samples as it prints them, what a node then lists, and what is refused."""

import base64
import json

import pytest

from integration.e2e.test_pull_jobs import SECOND_SAMPLE, docker_config, ended, job, phases
from integration.testbed import Testbed
from integration.testbed.clients import cri
from integration.testbed.cluster import Cluster
from integration.testbed.registry import PASSWORD, USER
from integration.testbed.token_server import TokenServer

PULL_JOBS = "/api/v1/pull-jobs"
PRINTED = "registry.cn-hangzhou.aliyuncs.com"
THIRD_SAMPLE = """apiVersion: operations.kubeedge.io/v1alpha1
kind: ImagePrePullJob
metadata:
  name: imageprepull-example
spec:
  imagePrePullTemplate:
    concurrency: 1
    failureTolerate: '0.1'
    images:
      - registry.cn-hangzhou.aliyuncs.com/jilimoxing/test:nginx
    nodeNames:
      - edge.kubeedge
    imageSecrets: default/my-secret
    retryTimes: 1
    timeoutSeconds: 120
"""


@pytest.fixture(scope="module")
def edge(image):
    """(cluster, registry, containerd): the guide's node, and a private registry with its image."""
    with Testbed() as bed:
        registry = bed.registry(auth="basic")
        image.push(registry, "jilimoxing/test:nginx", bed.folder / "layout")
        cluster = Cluster(bed, registry, names=["edge.kubeedge"], containerds=1)
        yield cluster, registry, cluster.containerds[0]


def kubectl_secret(address, kind, user=USER, password=PASSWORD):
    """As `kubectl create secret docker-registry my-secret` makes it, and as it did for dockercfg."""
    pair = base64.b64encode(f"{user}:{password}".encode()).decode()
    auths = {address: {"username": user, "password": password, "email": "joe@example.com", "auth": pair}}
    content = auths if kind == "dockercfg" else {"auths": auths}
    return {
        "apiVersion": "v1",
        "kind": "Secret",
        "metadata": {"name": "my-secret", "namespace": "default", "creationTimestamp": None},
        "type": f"kubernetes.io/{kind}",
        "data": {f".{kind}": base64.b64encode(json.dumps(content).encode()).decode()},
    }


def listed(containerd, ref):
    """(type, digest) of the row that `ctr -n k8s.io i ls` has for it."""
    rows = [line.split() for line in containerd.ctr("-n", "k8s.io", "i", "ls").stdout.splitlines()]
    ((_, kind, digest, *_),) = [row for row in rows if row[0] == ref]
    return kind, digest


def assert_listed(containerd, ref, image):
    manifest = image.manifest
    assert listed(containerd, ref) == (manifest.media_type, manifest.digest)
    found = [entry for entry in cri(containerd.socket, "images") if ref in json.dumps(entry)]
    assert len(found) == 1 and image.config.digest in json.dumps(found), found


def test_the_guides_second_sample_and_its_login_goes_to_no_endpoint(bed, registry, image):
    """The Hub's endpoint asks for a token: what it gets one for is nobody's login."""
    image.push(registry, "library/test:nginx", bed.folder / "layout")
    front = bed.front(registry)
    tokens = bed.own(TokenServer(bed.new_folder("tokens"), USER, PASSWORD))
    challenge = f'Bearer realm="{tokens.realm}",service="{tokens.service}",scope="repository:library/test:pull"'
    for method in ("HEAD", "GET"):
        front.rule("/manifests/", method=method, status=401, headers={"WWW-Authenticate": challenge}, times=1)
    settings = {'registry."docker.io".endpoints': f'["{front.url}"]'}
    cluster = Cluster(bed, names=["edge.kubeedge"], containerds=1, settings=settings)
    secret = docker_config("https://index.docker.io/v1/").encode()
    assert cluster.call("PUT", "/api/v1/secrets/default/secret", secret)[0] == 200
    status, made = cluster.call("POST", PULL_JOBS, SECOND_SAMPLE.encode())
    assert status == 200, made
    done = ended(cluster, "imageprepull-example")
    assert done["phase"] == "Completed", done
    assert phases(done) == {"edge.kubeedge": "Successful"}
    assert_listed(cluster.containerds[0], "docker.io/library/test:nginx", image)
    assert tokens.asked and {user for _, user in tokens.asked} == {""}


@pytest.mark.parametrize("kind", ["dockerconfigjson", "dockercfg"])
def test_the_guides_third_sample(edge, image, kind):
    cluster, registry, containerd = edge
    ref = f"{registry.address}/jilimoxing/test:nginx"
    sample = THIRD_SAMPLE.replace(PRINTED, registry.address).encode()
    status, problem = cluster.call("POST", PULL_JOBS, sample)
    assert status == 400 and "there is no secret default/my-secret" in problem["message"]
    assert cluster.call("PUT", "/api/v1/secrets/default/my-secret", kubectl_secret(registry.address, kind))[0] == 200
    status, made = cluster.call("POST", PULL_JOBS, sample)
    assert status == 200, made
    done = ended(cluster, "imageprepull-example")
    assert done["phase"] == "Completed" and phases(done) == {"edge.kubeedge": "Successful"}, done
    assert_listed(containerd, ref, image)
    for path in (f"{PULL_JOBS}/imageprepull-example", "/api/v1/secrets/default/my-secret"):
        assert cluster.call("DELETE", path)[0] == 204
    # The next one begins where this one did.
    containerd.remove_image(ref)


def test_a_secret_beside_its_job_is_for_that_job_alone(edge):
    cluster, registry, containerd = edge
    ref = f"{registry.address}/jilimoxing/test:nginx"
    named = job("beside", [ref], nodeNames=["edge.kubeedge"], imagePullSecrets=["default/my-secret"])
    body = {"apiVersion": "v1", "kind": "List", "items": [named, kubectl_secret(registry.address, "dockerconfigjson")]}
    assert cluster.call("POST", PULL_JOBS, body)[0] == 200
    assert ended(cluster, "beside")["phase"] == "Completed"
    assert cluster.call("GET", "/api/v1/secrets")[1] == {"secrets": []}
    named["metadata"]["name"] = "alone"
    status, problem = cluster.call("POST", PULL_JOBS, named)
    assert status == 400 and "there is no secret default/my-secret" in problem["message"]
    assert cluster.call("DELETE", f"{PULL_JOBS}/beside")[0] == 204
    containerd.remove_image(ref)


def test_a_secret_that_names_another_registry_is_refused_and_nothing_begins(edge):
    cluster, registry, _ = edge
    before = cluster.call("GET", PULL_JOBS)[1]
    named = job("other", [f"{registry.address}/jilimoxing/test:nginx"], nodeNames=["edge.kubeedge"])
    named["spec"]["imagePrePullTemplate"]["imageSecrets"] = "default/my-secret"
    for address in ("other.example.com", "127.0.0.1", f"{registry.address}/another", "https://index.docker.io/v1/"):
        body = {"apiVersion": "v1", "kind": "List", "items": [named, kubectl_secret(address, "dockerconfigjson")]}
        status, problem = cluster.call("POST", PULL_JOBS, body)
        assert status == 400, (address, problem)
        assert "secret default/my-secret has nothing for the registry" in problem["message"], problem
    assert cluster.call("GET", PULL_JOBS)[1] == before


def test_failure_tolerate_counts_nodes(edge):
    """One node of two fails: more than each share below a half."""
    cluster, registry, _ = edge
    body = {"apiVersion": "v1", "kind": "List", "items": [kubectl_secret(registry.address, "dockerconfigjson")]}
    expected = {"0": "Failure", "0.1": "Failure", "30%": "Failure", "0.5": "Completed", "50%": "Completed", "1": "Completed"}
    for number, share in enumerate(expected):
        body["items"].append(
            job(
                f"j{number}",
                [f"{registry.address}/jilimoxing/test:nginx"],
                nodeNames=["edge.kubeedge", "nowhere"],
                failureTolerate=share,
                imageSecrets="default/my-secret",
            )
        )
    assert cluster.call("POST", PULL_JOBS, body)[0] == 200
    found = {share: ended(cluster, f"j{number}") for number, share in enumerate(expected)}
    assert {share: status["phase"] for share, status in found.items()} == expected
    # A number is as good as its text; absent is "0.1".
    for name, share in (("number", {"failureTolerate": 0.5}), ("absent", {})):
        one = job(name, [f"{registry.address}/a/b:v1"], nodeNames=["nowhere"], **share)
        assert cluster.call("POST", PULL_JOBS, one)[0] == 200
        template = cluster.call("GET", f"{PULL_JOBS}/{name}")[1]["spec"]["imagePrePullTemplate"]
        assert template["failureTolerate"] == ("0.5" if share else "0.1")
