"""The manager is killed in each state of a job that test_job_truth.py has not: it goes on, and ends as it would have."""

import shutil

import pytest

from integration.e2e.test_pull_jobs import ended, job, phases
from integration.testbed.cluster import Cluster
from integration.testbed.process import wait_for

pytestmark = pytest.mark.slow
PATIENCE = 90
PULL_JOBS = "/api/v1/pull-jobs"


def kill(cluster, *connected):
    """Kills it; returns when it and these nodes are back."""
    cluster.manager.kill9()
    cluster.manager.start()
    for name in connected:
        cluster.wait_connected(name)


def lose_store(node):
    """All that the node has but who it is."""
    node.stop()
    for name in ("blobs", "snapshots", "ingest", "index"):
        shutil.rmtree(node.root / name)
    node.start()


def slowed(bed, registry, image):
    """A front before the registry with the image, and the rule that slows its layers down."""
    image.push(registry, "test/small:v1", bed.folder / "layout")
    front = bed.front(registry)
    return front, front.rule("/blobs/", rate=10_000)


def test_in_each_state_of_a_pull_job(bed, registry, image):
    front, slow = slowed(bed, registry, image)
    cluster = Cluster(bed, front, nodes=2, containerds=2)
    ref = front.ref("test/small:v1")

    def pull_job(name="j"):
        return cluster.call("GET", f"{PULL_JOBS}/{name}")[1]["status"]

    cluster.nodes[0].stop()
    cluster.wait_connected("n1", False)
    cluster.nodes[1].stop()
    cluster.wait_connected("n2", False)
    assert cluster.call("POST", PULL_JOBS, job("j", [ref], nodeNames=["n1", "n2"], timeoutSeconds=PATIENCE))[0] == 200
    kill(cluster)  # both nodes are away
    assert phases(pull_job()) == {"n1": "Pending", "n2": "Pending"}
    cluster.nodes[0].start()
    wait_for(lambda: pull_job()["bytesDone"] > 0, PATIENCE, "the transfer")
    kill(cluster, "n1")  # one works, the other is away
    wait_for(lambda: phases(pull_job()) == {"n1": "InProgress", "n2": "Pending"}, PATIENCE, "n1 to go on")
    slow.rate = 0
    wait_for(lambda: phases(pull_job())["n1"] == "Successful", PATIENCE, "n1's image")
    kill(cluster, "n1")  # one has it
    assert phases(pull_job()) == {"n1": "Successful", "n2": "Pending"}
    cluster.nodes[1].start()
    assert ended(cluster, "j", PATIENCE)["phase"] == "Completed"
    before = pull_job()
    kill(cluster)  # it has ended
    assert pull_job() == before

    cluster.nodes[1].stop()
    cluster.wait_connected("n2", False)
    assert cluster.call("POST", PULL_JOBS, job("stopped", [ref], nodeNames=["n2"], timeoutSeconds=PATIENCE))[0] == 200
    assert cluster.call("POST", f"{PULL_JOBS}/stopped/cancel")[0] == 200
    before = pull_job("stopped")
    kill(cluster)  # it was cancelled
    assert pull_job("stopped") == before and before["cancelled"] and before["phase"] == "Failure"
    assert cluster.call("DELETE", f"{PULL_JOBS}/stopped")[0] == 204
    kill(cluster)  # it was deleted
    assert cluster.call("GET", f"{PULL_JOBS}/stopped")[0] == 404
    assert len(cluster.call("GET", PULL_JOBS)[1]["items"]) == 1


def test_between_the_attempts_of_a_job_and_in_its_last(bed, registry, image):
    front, slow = slowed(bed, registry, image)
    front.rule("/manifests/", method="HEAD", status=404, times=3)
    cluster = Cluster(bed, front, nodes=1)
    made = cluster.create({"type": "image", "url": front.ref("test/small:v1"), "retry": 3})["id"]

    def target():
        return cluster.call("GET", f"/oapi/v1/jobs/{made}/nodes")[1]["nodes"][0]

    def pausing():
        found = target()
        return found["state"] == "waiting" and found["attempt"] >= 2

    wait_for(pausing, PATIENCE, "the pause behind the second attempt")
    kill(cluster, "n1")  # between two attempts
    assert target()["attempt"] >= 2 and cluster.job(made)["state"] == "PENDING"
    wait_for(lambda: cluster.job(made)["progress"]["bytes_done"] > 0, PATIENCE, "the transfer")
    assert target()["attempt"] == 4
    kill(cluster, "n1")  # in the last attempt
    assert target()["attempt"] == 4 and cluster.job(made)["state"] == "PENDING"
    slow.rate = 0
    assert cluster.wait(made)["state"] == "SUCCESS" and target()["attempt"] == 4


def test_of_a_standing_preheat_and_of_a_dry_run(bed, registry, image):
    front, slow = slowed(bed, registry, image)
    cluster = Cluster(bed, front, nodes=1)
    (node,) = cluster.nodes
    ref = front.ref("test/small:v1")
    node.stop()
    cluster.wait_connected("n1", False)
    dry = cluster.create({"type": "image", "url": ref, "dry_run": True})["id"]
    kill(cluster)  # a dry run waits for its node
    node.start()
    done = cluster.wait(dry)
    assert done["state"] == "SUCCESS" and done["progress"]["bytes_missing"] > 0 and front.blob_gets() == []
    kill(cluster, "n1")  # it has ended
    assert cluster.job(dry)["progress"] == done["progress"]

    standing = cluster.create({"type": "image", "url": ref, "keep": True})["id"]
    wait_for(lambda: cluster.job(standing)["progress"]["bytes_done"] > 0, PATIENCE, "the transfer")
    kill(cluster, "n1")  # it asks its node for the first time
    slow.rate = 0
    assert cluster.wait(standing)["state"] == "SUCCESS"
    kill(cluster, "n1")  # it stands
    lose_store(node)
    wait_for(lambda: node.json("explain", ref, check=False).get("warm"), PATIENCE, "the wiped node to be warm again")
    assert cluster.wait(standing)["state"] == "SUCCESS"
    assert cluster.call("POST", f"/oapi/v1/jobs/{standing}/cancel")[0] == 200
    kill(cluster, "n1")  # it stands no more
    lose_store(node)
    cluster.wait_connected("n1")
    again = cluster.wait(cluster.create({"type": "image", "url": ref, "dry_run": True})["id"])
    assert again["progress"]["bytes_missing"] > 0
