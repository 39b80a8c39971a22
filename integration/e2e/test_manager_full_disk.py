"""A manager whose disk is full: what it acknowledges is kept, what it refuses has changed nothing, and it loses no end."""

import json

import pytest

from integration.e2e.test_wrong_fields import Client, kept
from integration.testbed.cluster import Cluster
from integration.testbed.process import wait_for

PATIENCE = 90
pytestmark = pytest.mark.slow


def job_under_way(bed, disk):
    """(cluster, job, its URL, the origin's file), the manager on `disk`; the rest of the file comes once its rate is 0."""
    origin = bed.origin()
    file = origin.put("/f", b"f" * (2 << 20), rate=300_000, signed=False)
    url = f"http://{origin.address}/f"
    cluster = Cluster(bed, nodes=1, folders={"manager": disk.path})
    job = cluster.create({"type": "file", "url": url})["id"]
    wait_for(lambda: cluster.job(job)["progress"]["bytes_done"] > 0, PATIENCE, "the transfer")
    return cluster, job, url, file


def end_untold(cluster, job, url, file):
    """The node has all, and the manager cannot write that down."""
    file.rate = 0
    wait_for(lambda: cluster.nodes[0].json("explain", url, check=False)["warm"], PATIENCE, "the file on the node")
    assert cluster.job(job)["state"] == "PENDING"


def pull_job(name):
    template = {"images": ["127.0.0.1:1/a:v1"], "nodeNames": ["nowhere"]}
    return {
        "apiVersion": "operations.kubeedge.io/v1alpha2",
        "kind": "ImagePrePullJob",
        "metadata": {"name": name},
        "spec": {"imagePrePullTemplate": template},
    }


def secret(number):
    return {"auths": {f"r{number}.example": {"auth": "dTpw"}}}


def test_each_change_is_kept_or_refused(bed):
    disk = bed.ext4(48 << 20)
    cluster = Cluster(bed, nodes=1, folders={"manager": disk.path})
    client = Client(cluster.manager)

    def call(method, path, body=None):
        status, answer = client.call(method, path, json.dumps(body).encode() if body is not None else None)
        return status, json.loads(answer) if answer else None

    def make(path, body):
        status, made = call("POST", path, body)
        assert status in (200, 201), made
        return made

    def file_job(url, **args):
        return {"type": "preheat", "args": {"type": "file", "url": url, **args}}

    origin = bed.origin()
    slow = origin.put("/slow", bytes(20 << 20), rate=10_000, signed=False)
    failed = [make("/oapi/v1/jobs", file_job("http://127.0.0.1:1/f", timeout="1s"))["id"] for _ in range(3)]
    for job in failed:
        cluster.wait(job)
    running = [make("/oapi/v1/jobs", file_job(f"http://{origin.address}/slow", tag=tag))["id"] for tag in "ab"]
    edge = make("/oapi/v1/clusters", {"name": "edge"})["id"]
    gone = make("/oapi/v1/clusters", {"name": "gone"})["id"]
    make("/api/v1/pull-jobs", pull_job("old"))
    assert call("PUT", "/api/v1/secrets/default/old", secret(0))[0] == 200
    token = make("/api/v1/tokens", {"name": "old", "scopes": ["job"]})["id"]
    join = make("/api/v1/join-tokens", {"name": "old"})["id"]

    filler = disk.fill()
    changes = [
        ("POST", "/oapi/v1/jobs", file_job("http://127.0.0.1:1/f")),
        ("PATCH", f"/oapi/v1/jobs/{failed[0]}", {"bio": "b" * 900}),
        ("PATCH", f"/oapi/v1/jobs/{running[0]}", {"bio": "b" * 900}),
        ("POST", f"/oapi/v1/jobs/{failed[1]}/retry", None),
        ("POST", f"/oapi/v1/jobs/{running[0]}/cancel", None),
        ("DELETE", f"/oapi/v1/jobs/{running[1]}", None),
        ("DELETE", f"/oapi/v1/jobs/{failed[2]}", None),
        ("POST", "/oapi/v1/clusters", {"name": "new"}),
        ("PATCH", f"/oapi/v1/clusters/{edge}", {"bio": "b" * 900}),
        ("DELETE", f"/oapi/v1/clusters/{gone}", None),
        ("POST", "/api/v1/pull-jobs", pull_job("new")),
        ("DELETE", "/api/v1/pull-jobs/old", None),
        ("PUT", "/api/v1/secrets/default/new", secret(1)),
        ("PUT", "/api/v1/secrets/default/old", secret(2)),
        ("DELETE", "/api/v1/secrets/default/old", None),
        ("POST", "/api/v1/tokens", {"name": "new", "scopes": ["job"]}),
        ("DELETE", f"/api/v1/tokens/{token}", None),
        ("POST", "/api/v1/join-tokens", {"name": "new"}),
        ("DELETE", f"/api/v1/join-tokens/{join}", None),
        ("PUT", "/api/v1/nodes/n1/cordon", {"reason": "r" * 500}),
        ("PUT", "/api/v1/nodes/n1/ban", {"reason": "r" * 500}),
        ("DELETE", "/api/v1/nodes/n1/ban", None),
        ("POST", "/api/v1/backup", None),
    ]
    refused = 0
    for method, path, body in changes:
        disk.fill()  # the index keeps a little room, and gives it away for a deletion
        before = state(client)
        status, answer = call(method, path, body)
        if status < 300:
            continue
        refused += 1
        assert status in (409, 429, 500, 503), (method, path, answer)
        words = answer["message"]
        if "is not written down yet" in words:
            assert path.endswith("/cancel")
            continue  # the work is stopped, and the record follows when there is room
        assert any(word in words for word in ("free some room", "is the disk full", "No space")) or status == 409, (method, path, words)
        assert state(client) == before, (method, path, words)
    assert refused > 5, "the disk was not full"
    filler.unlink()
    slow.rate = 0
    wait_for(lambda: call("POST", f"/oapi/v1/jobs/{running[0]}/cancel")[0] == 409, PATIENCE, "the record of the cancelled job")
    wait_for(lambda: all(job["state"] != "PENDING" for job in call("GET", "/oapi/v1/jobs")[1]), PATIENCE, "each end")
    before = kept(client)
    cluster.manager.kill9()
    cluster.manager.start()
    assert kept(Client(cluster.manager)) == before


def state(client):
    """What is kept, without what a job's work changes meanwhile."""
    found = kept(client)
    found["/oapi/v1/jobs"] = [(job["id"], job["bio"]) for job in found["/oapi/v1/jobs"]]
    return found


def test_an_end_that_the_full_disk_did_not_take_survives_a_kill(bed):
    disk = bed.ext4(40 << 20)
    cluster, job, url, file = job_under_way(bed, disk)
    filler = disk.fill()
    end_untold(cluster, job, url, file)
    cluster.manager.kill9()
    filler.unlink()
    cluster.manager.start()
    # The node tells its report again.
    assert cluster.wait(job, PATIENCE)["state"] == "SUCCESS"
    assert len(cluster.tasks(cluster.job(job))) == 1


def test_a_node_that_the_full_disk_cannot_take_comes_later_with_the_same_token(bed, tmp_path):
    disk = bed.ext4(40 << 20)
    manager = bed.manager(folder=disk.path)
    token = manager.join_token()
    filler = disk.fill()
    out = manager.join(tmp_path / "n1", "n1", token, check=False)
    assert out.returncode == 1 and "free some room" in out.stderr, out.stderr
    assert manager.json("nodes", "ls")["nodes"] == []
    assert manager.json("tokens", "ls", "--join")["tokens"][0]["uses_left"] == 1
    filler.unlink()
    manager.join(tmp_path / "n1", "n1", token)
    assert [node["name"] for node in manager.json("nodes", "ls")["nodes"]] == ["n1"]
