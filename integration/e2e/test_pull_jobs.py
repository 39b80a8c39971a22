"""ImagePrePullJobs, by `hearth prepull -f` and by REST: KubeEdge's documents, and what nodes have afterwards."""

import base64
import json

import pytest

from integration.testbed import small_image
from integration.testbed.clients import cri
from integration.testbed.cluster import Cluster
from integration.testbed.process import wait_for
from integration.testbed.registry import PASSWORD, USER

PATIENCE = 60
# As the guide prints them.
FIRST_SAMPLE = """apiVersion: operations.kubeedge.io/v1alpha1
kind: ImagePrePullJob
metadata:
  name: imageprepull-example
  labels:
    description:ImagePrePullLabel
spec:
  imagePrePullTemplate：
    images:
      - image1
      - image2
    nodes：
      - edgenode1
      - edgenode2
    checkItems:
      - "disk"
    failureTolerate: "0.3"
    concurrency: 2
    timeoutSeconds: 180
    retryTimes: 1
"""
SECOND_SAMPLE = """apiVersion: operations.kubeedge.io/v1alpha1
kind: ImagePrePullJob
metadata:
  name: imageprepull-example
spec:
  imagePrePullTemplate:
    concurrency: 1
    failureTolerate: '0.1'
    images:
      - test:nginx
    nodeNames:
      - edge.kubeedge
    imageSecrets: default/secret
    retryTimes: 1
    timeoutSeconds: 120
"""


def docker_config(address, user=USER, password=PASSWORD):
    pair = base64.b64encode(f"{user}:{password}".encode()).decode()
    return json.dumps({"auths": {address: {"auth": pair}}})


def job(name, images, **template):
    nodes = {} if "labelSelector" in template else {"nodeNames": ["n1"]}
    return {
        "apiVersion": "operations.kubeedge.io/v1alpha2",
        "kind": "ImagePrePullJob",
        "metadata": {"name": name},
        "spec": {"imagePrePullTemplate": {"images": images, **nodes, **template}},
    }


def ended(cluster, name, seconds=PATIENCE):
    def look():
        status, document = cluster.call("GET", f"/api/v1/pull-jobs/{name}")
        assert status == 200, document
        return document["status"] if document["status"]["phase"] in ("Completed", "Failure") else None

    return wait_for(look, seconds, f"pull job {name} to end", interval=0.1)


def phases(status):
    return {node["nodeName"]: node["phase"] for node in status["nodeStatus"]}


def test_the_guides_second_sample_runs_as_it_is(bed, registry, image, tmp_path):
    image.push(registry, "library/test:nginx", bed.folder / "layout")
    cluster = Cluster(
        bed,
        registry,
        names=["edge.kubeedge"],
        containerds=1,
        settings={'registry."docker.io".endpoints': f'["{registry.url}"]'},
    )
    (tmp_path / "job.yaml").write_text(SECOND_SAMPLE)
    (tmp_path / "secret.json").write_text(docker_config("https://index.docker.io/v1/"))
    flags = ["-f", tmp_path / "job.yaml", "--secret", f"default/secret={tmp_path}/secret.json"]
    planned = cluster.manager.json("prepull", *flags, "--dry-run", token=cluster.token)
    assert planned["items"][0]["status"]["nodes"]["desired"] == 1
    assert cluster.call("GET", "/api/v1/pull-jobs")[1] == {"items": []}

    done = cluster.manager.command("prepull", *flags, "--wait", token=cluster.token)
    assert "imageprepull-example: 1 of 1 node has it" in done.stdout
    containerd = cluster.containerds[0]
    assert "docker.io/library/test:nginx" in containerd.images()
    assert "docker.io/library/test:nginx" in json.dumps(cri(containerd.socket, "images"))
    status, document = cluster.call("GET", "/api/v1/pull-jobs/imageprepull-example")
    assert status == 200 and document["status"]["phase"] == "Completed"
    assert document["spec"]["imagePrePullTemplate"]["imageSecrets"] == "default/secret"
    assert phases(document["status"]) == {"edge.kubeedge": "Successful"}
    assert document["status"]["nodeStatus"][0]["imageStatus"] == [{"image": "test:nginx", "status": "True"}]
    for text in (json.dumps(document), cluster.manager.log.read_text(), cluster.nodes[0].process.log_tail(1000)):
        assert PASSWORD not in text

    again = cluster.manager.command("prepull", *flags, token=cluster.token, check=False)
    assert again.returncode == 1 and "delete it first" in again.stderr


def test_the_guides_first_sample_is_explained(bed, tmp_path):
    manager = bed.manager()
    (tmp_path / "job.yaml").write_text(FIRST_SAMPLE)
    out = manager.command("prepull", "-f", tmp_path / "job.yaml", check=False)
    assert out.returncode == 2 and f"{tmp_path}/job.yaml" in out.stderr
    assert 'line 8: "imagePrePullTemplate：" ends in a full-width colon (U+FF1A): write "imagePrePullTemplate:"' in out.stderr
    assert "line 12" in out.stderr and "did you mean nodeNames?" in out.stderr
    status, _, problem = manager.request("POST", "/api/v1/pull-jobs", manager.admin_token, FIRST_SAMPLE.encode())
    assert status == 400 and "line 12" in json.loads(problem)["message"]


@pytest.mark.parametrize("auth", ["basic", "bearer"])
def test_a_private_image_needs_its_secret_and_only_its_registry_gets_it(bed, image, auth):
    registry = bed.registry(auth=auth)
    image.push(registry, "test/small:v1", bed.folder / "layout")
    ref = f"{registry.address}/test/small:v1"
    cluster = Cluster(bed, registry, nodes=1, containerds=1)
    named = job("named", [ref], imageSecrets="default/secret")
    status, problem = cluster.call("POST", "/api/v1/pull-jobs", named)
    assert status == 400 and "there is no secret default/secret" in problem["message"]

    status, _ = cluster.call("POST", "/api/v1/pull-jobs", job("none", [ref]))
    assert status == 200
    refused = ended(cluster, "none")
    assert refused["phase"] == "Failure" and refused["nodeStatus"][0]["imageStatus"][0]["status"] == "False"

    wrong = docker_config(registry.address, password="wrong").encode()
    assert cluster.call("PUT", "/api/v1/secrets/default/secret", wrong)[0] == 200
    assert cluster.call("POST", "/api/v1/pull-jobs", named)[0] == 200
    assert ended(cluster, "named")["phase"] == "Failure"

    assert cluster.call("DELETE", "/api/v1/pull-jobs/named")[0] == 204
    assert cluster.call("PUT", "/api/v1/secrets/default/secret", docker_config(registry.address).encode())[0] == 200
    assert cluster.call("GET", "/api/v1/secrets")[1] == {"secrets": ["default/secret"]}
    cluster.manager.kill9()
    cluster.manager.start()
    cluster.wait_connected("n1")
    assert cluster.call("POST", "/api/v1/pull-jobs", named)[0] == 200
    named = ended(cluster, "named")
    assert named["phase"] == "Completed", named
    for file in cluster.manager.root.rglob("*"):
        assert not file.is_file() or PASSWORD.encode() not in file.read_bytes(), file


def test_failures_are_told_per_node_and_tolerated_as_asked(bed, registry, ref):
    cluster = Cluster(bed, registry, nodes=2, containerds=2, settings={"labels": '{zone = "a"}'})
    names = ["n1", "n2", "nowhere"]
    assert cluster.call("POST", "/api/v1/pull-jobs", job("strict", [ref], nodeNames=names, concurrency=3))[0] == 200
    strict = ended(cluster, "strict")
    assert strict["phase"] == "Failure" and phases(strict)["nowhere"] == "Failure"
    reasons = {node["nodeName"]: node["reason"] for node in strict["nodeStatus"]}
    assert "no node of this name has joined" in reasons["nowhere"]
    assert "not tried: 1 of 3 nodes failed" in reasons["n1"]
    assert cluster.call("POST", "/api/v1/pull-jobs", job("loose", [ref], nodeNames=names, failureTolerate="50%"))[0] == 200
    loose = ended(cluster, "loose")
    assert loose["phase"] == "Completed"
    assert phases(loose) == {"n1": "Successful", "n2": "Successful", "nowhere": "Failure"}

    selected = job("selected", [ref], labelSelector={"matchLabels": {"zone": "a"}})
    assert cluster.call("POST", "/api/v1/pull-jobs", selected)[0] == 200
    assert ended(cluster, "selected")["nodes"]["succeeded"] == 2
    nobody = job("nobody", [ref], labelSelector={"matchLabels": {"zone": "z"}})
    status, problem = cluster.call("POST", "/api/v1/pull-jobs", nobody)
    assert status >= 400 and "no node has these labels" in problem["message"]


def test_a_full_and_a_slow_node_are_told_apart_and_hold_up_no_other(bed, registry):
    image = small_image(layers=4, filler_bytes=16 << 20)
    ref = image.push(registry, "test/large:v1", bed.folder / "large")
    cluster = Cluster(bed, registry, nodes=3, containerds=3, folders={"n1": bed.ext4(32 << 20).path})
    slow = cluster.nodes[1]
    slow.settings["limits.download"] = '"400KB"'
    slow.restart()
    cluster.wait_connected("n2")
    wanted = {"nodeNames": ["n1", "n2", "n3"], "concurrency": 3, "failureTolerate": "0.7", "timeoutSeconds": 10}
    assert cluster.call("POST", "/api/v1/pull-jobs", job("large", [ref], **wanted))[0] == 200
    status = ended(cluster, "large")
    assert status["phase"] == "Completed", status
    assert phases(status) == {"n1": "Failure", "n2": "Unknown", "n3": "Successful"}
    reasons = {node["nodeName"]: node.get("reason", "") for node in status["nodeStatus"]}
    assert "no room for" in reasons["n1"], reasons
    # As the manager says it, or the node, whose own clock of the order may end first.
    assert "timeoutSeconds (10)" in reasons["n2"] or "the job's time is over" in reasons["n2"], reasons
    assert cluster.nodes[2].json("explain", ref)["warm"]
    had = slow.disk_bytes()
    assert had > 1 << 20  # what came stays for the next time
    del slow.settings["limits.download"]
    slow.restart()
    cluster.wait_connected("n2")
    assert cluster.call("POST", "/api/v1/pull-jobs", job("again", [ref], nodeNames=["n2"]))[0] == 200
    assert ended(cluster, "again")["phase"] == "Completed"
    assert slow.json("explain", ref)["warm"]


def test_an_offline_node_is_waited_for_and_has_it_when_it_comes(bed, registry, ref):
    cluster = Cluster(bed, registry, nodes=2, containerds=2)
    cluster.nodes[1].stop()
    cluster.wait_connected("n2", False)
    out = cluster.manager.command("prepull", "-f", "-", "--help")
    assert "Example" in out.stdout
    body = job("later", [ref], nodeNames=["n2", "n1"], timeoutSeconds=PATIENCE)
    assert cluster.call("POST", "/api/v1/pull-jobs", body)[0] == 200

    def n1_has_it():
        found = phases(cluster.call("GET", "/api/v1/pull-jobs/later")[1]["status"])
        return found == {"n2": "Pending", "n1": "Successful"}

    wait_for(n1_has_it, PATIENCE, "n1 to have it while n2 is offline")
    cluster.nodes[1].start()
    assert ended(cluster, "later")["phase"] == "Completed"
    assert cluster.nodes[1].json("explain", ref)["warm"]


def test_a_job_is_cancelled_and_one_whose_node_stays_away_ends(bed, registry, ref):
    cluster = Cluster(bed, registry, nodes=1, containerds=1)
    cluster.nodes[0].stop()
    cluster.wait_connected("n1", False)
    assert cluster.call("POST", "/api/v1/pull-jobs", job("away", [ref], timeoutSeconds=2))[0] == 200
    assert cluster.call("POST", "/api/v1/pull-jobs", job("cancelled", [ref]))[0] == 200
    status, document = cluster.call("POST", "/api/v1/pull-jobs/cancelled/cancel")
    assert status == 200 and document["status"]["phase"] == "Failure" and document["status"]["cancelled"]
    away = ended(cluster, "away")
    assert away["phase"] == "Failure" and "offline" in away["nodeStatus"][0]["reason"]
    assert cluster.call("DELETE", "/api/v1/pull-jobs/away")[0] == 204
    assert cluster.call("GET", "/api/v1/pull-jobs/away")[0] == 404
