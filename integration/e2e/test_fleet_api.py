"""The fleet through the manager: what nodes lack, nodes that are left out, clusters, preheats that stand, and the
manager's backup."""

import json
import shutil
import stat

import pytest

from integration.testbed import Testbed
from integration.testbed.cluster import Cluster, settings_of
from integration.testbed.process import wait_for

PATIENCE = 60


@pytest.fixture(scope="module")
def shared(image):
    """A cluster of two nodes, of which n1 has the image, for tests that leave it as it was: (cluster, registry, ref)."""
    with Testbed() as bed:
        registry = bed.registry()
        ref = image.push(registry, "test/small:v1", bed.folder / "layout")
        cluster = Cluster(bed, registry)
        job = cluster.create({"type": "image", "url": ref, "nodes": ["n1"]})
        assert cluster.wait(job["id"])["state"] == "SUCCESS"
        yield cluster, registry, ref


def nodes_of(cluster, job):
    status, answer = cluster.call("GET", f"/oapi/v1/jobs/{job['id']}/nodes")
    assert status == 200, answer
    return {node["name"]: node for node in answer["nodes"]}


def test_a_dry_run_says_what_each_node_lacks_and_fetches_nothing(shared, image):
    cluster, registry, ref = shared
    registry.reset()
    job = cluster.create({"type": "image", "url": ref, "dry_run": True})
    done = cluster.wait(job["id"])
    assert done["state"] == "SUCCESS" and cluster.tasks(done) == [], done
    nodes = nodes_of(cluster, job)
    assert (nodes["n1"]["bytes_missing"], nodes["n1"]["layers_missing"]) == (0, 0)
    layers = sum(len(blob.data) for blob in image.layers)
    assert nodes["n2"]["bytes_missing"] >= layers and nodes["n2"]["layers_missing"] == len(image.layers)
    assert nodes["n2"]["disk_free_bytes"] > 0
    assert done["progress"]["bytes_missing"] == nodes["n2"]["bytes_missing"]
    assert registry.blob_gets() == []
    assert not any(cluster.nodes[1].blob_path(blob.digest).exists() for blob in image.layers)
    status, problem = cluster.call(
        "POST", "/oapi/v1/jobs", {"type": "preheat", "args": {"type": "file", "url": "http://a.example/f", "dry_run": True}}
    )
    assert status == 400 and "dry_run" in problem["message"]


def test_explain_and_dry_run_as_commands(shared):
    cluster, _, ref = shared

    def command(*argv, **kw):
        return cluster.manager.command(*argv, token=cluster.token, check=False, **kw)

    before = len(cluster.call("GET", "/oapi/v1/jobs?per_page=1000")[1])
    assert command("explain", ref, "--node", "n1").returncode == 0
    out = command("explain", ref, "--node", "n2", "--output", "json")
    assert out.returncode == 3
    answer = json.loads(out.stdout)
    assert answer["warm"] is False and [node["name"] for node in answer["nodes"]] == ["n2"]
    assert answer["nodes"][0]["bytes_missing"] > 0
    out = cluster.manager.command("explain", ref, "--cluster", "default", check=False)
    assert out.returncode == 3 and "n1" in out.stdout and "n2" in out.stdout
    assert command("preheat", ref, "--dry-run").returncode == 0
    out = command("explain", ref + "-none", "--node", "n1")
    assert out.returncode == 1 and "404" in out.stdout
    out = command("explain", ref, "--node", "nowhere")
    assert out.returncode == 3 and "nowhere" in out.stderr
    assert len(cluster.call("GET", "/oapi/v1/jobs?per_page=1000")[1]) == before, "nothing is left of a look"


def test_a_dry_run_fails_where_the_image_does_not_fit(bed, registry, ref):
    cluster = Cluster(bed, registry, nodes=1, settings={"store.quota": '"100KiB"'})
    done = cluster.wait(cluster.create({"type": "image", "url": ref, "dry_run": True})["id"])
    assert done["state"] == "FAILURE" and "store.quota" in done["reason"], done["reason"]


def test_a_cordoned_node_is_left_out_and_a_drained_ones_share_ends(bed):
    origin = bed.origin()
    origin.put("/slow", b"s" * (20 << 20), rate=200_000, signed=False)
    origin.put("/f", b"f", signed=False)
    cluster = Cluster(bed)
    manager = cluster.manager
    running = cluster.create({"type": "file", "url": f"http://{origin.address}/slow", "failure_tolerate": "0.5"})["id"]
    wait_for(lambda: cluster.job(running)["progress"]["bytes_done"] > 0, PATIENCE, "the transfer")
    manager.command("nodes", "drain", "n2", "--reason", "new disk")
    share = {task["hostname"]: task["description"] for task in cluster.tasks(cluster.job(running), "failure_tasks")}
    assert share == {"n2": "the node is drained: new disk"}
    assert cluster.job(running)["state"] == "PENDING", "n1 goes on"
    assert cluster.call("POST", f"/oapi/v1/jobs/{running}/cancel")[0] == 200

    job = cluster.wait(cluster.create({"type": "file", "url": f"http://{origin.address}/f"})["id"])
    assert {task["hostname"] for task in cluster.tasks(job)} == {"n1"}
    named = {"type": "preheat", "args": {"type": "file", "url": f"http://{origin.address}/f", "nodes": ["n2"]}}
    status, problem = cluster.call("POST", "/oapi/v1/jobs", named)
    assert status == 409 and "new disk" in problem["message"]
    assert "cordoned" in manager.command("nodes", "ls").stdout
    manager.restart()
    assert manager.json("nodes", "show", "n2")["cordoned"], "also after a restart"
    manager.command("nodes", "uncordon", "n2")
    for name in ("n1", "n2"):
        cluster.wait_connected(name)
    job = cluster.wait(cluster.create({"type": "file", "url": f"http://{origin.address}/f"})["id"])
    assert {task["hostname"] for task in cluster.tasks(job)} == {"n1", "n2"}


def test_clusters_are_made_changed_and_removed(shared):
    cluster, _, ref = shared
    token = cluster.manager.json("tokens", "create", "--name", "c", "--scope", "cluster")["token"]

    def call(method, path, body=None):
        status, _, text = cluster.manager.request(method, "/oapi/v1/clusters" + path, token=token, body=body)
        return status, json.loads(text) if text else None

    status, made = call("POST", "", {"name": "edge", "bio": "the edge"})
    assert status == 200 and made["bio"] == "the edge"
    assert call("POST", "", {"name": "edge"})[0] == 409
    for body, word in (({}, "name"), ({"name": "a/b"}, "name"), ({"name": "x", "scopes": {"idc": "a"}}, "scopes")):
        status, problem = call("POST", "", body)
        assert status == 400 and word in problem["message"], problem
    assert call("PATCH", f"/{made['id']}", {"bio": "far away"})[1]["bio"] == "far away"
    assert call("PATCH", f"/{made['id']}", {"name": "other"})[0] == 400
    job = {"type": "preheat", "args": {"type": "image", "url": ref}, "scheduler_cluster_ids": [made["id"]]}
    assert cluster.call("POST", "/oapi/v1/jobs", job)[0] == 409, "no node is in it"
    assert call("DELETE", f"/{made['id']}")[0] == 204
    assert call("GET", f"/{made['id']}")[0] == 404
    (default,) = [entry for entry in call("GET", "")[1] if entry["name"] == "default"]
    status, problem = call("DELETE", f"/{default['id']}")
    assert status == 409 and "2 nodes" in problem["message"]


def test_a_standing_preheat_warms_who_comes_later_and_who_lost_it(bed, registry, ref):
    cluster = Cluster(bed, registry, nodes=1)
    job = cluster.create({"type": "image", "url": ref, "keep": True, "refresh": "1h"})["id"]
    assert cluster.wait(job)["state"] == "SUCCESS"
    token = cluster.manager.join_token()
    late = bed.node(registry, settings=settings_of(cluster.manager, "n2", token))

    def warm(node):
        return node.command("explain", ref, check=False).returncode == 0

    wait_for(lambda: warm(late), PATIENCE, "the node that joined later")
    assert cluster.wait(job)["progress"]["nodes"]["total"] == 2
    # All that it had but who it is.
    late.stop()
    cluster.wait_connected("n2", False)
    for name in ("blobs", "snapshots", "ingest", "index"):
        shutil.rmtree(late.root / name)
    late.start()
    wait_for(lambda: warm(late), PATIENCE, "the node that lost it")
    # One that stays connected loses it.
    assert cluster.wait(job)["state"] == "SUCCESS"
    first = cluster.nodes[0]

    def attempt():
        nodes = cluster.call("GET", f"/oapi/v1/jobs/{job}/nodes")[1]["nodes"]
        return next(node["attempt"] for node in nodes if node["name"] == "n1")

    before = attempt()
    known = lambda: cluster.manager.json("nodes", "show", "n1")["blobs"] > 0
    wait_for(known, PATIENCE, "the manager to hear what the node holds")
    first.command("store", "rm", ref)
    wait_for(lambda: attempt() > before and warm(first), 2 * PATIENCE, "the connected node that lost it")
    assert cluster.call("POST", f"/oapi/v1/jobs/{job}/cancel")[0] in (200, 409)
    for body, word in (({"refresh": "1h"}, "refresh"), ({"keep": True, "refresh": "1s"}, "refresh")):
        args = {"type": "preheat", "args": {"type": "image", "url": ref, **body}}
        status, problem = cluster.call("POST", "/oapi/v1/jobs", args)
        assert status == 400 and word in problem["message"]


def test_a_backup_of_a_running_manager_is_restored_and_nodes_come_back(bed):
    origin = bed.origin()
    origin.put("/f", b"f" * 1000, signed=False)
    args = {"type": "file", "url": f"http://{origin.address}/f"}
    cluster = Cluster(bed)
    manager = cluster.manager
    done = cluster.wait(cluster.create(args, bio="before")["id"])
    backup = manager.folder / "hearth-manager.backup"
    manager.command("manager", "backup", backup)
    assert stat.S_IMODE(backup.stat().st_mode) == 0o600
    lost = cluster.wait(cluster.create(args, bio="after")["id"])
    admin = manager.admin_token
    out = manager.command("manager", "restore", backup, f"--set=root={manager.root}", check=False)
    assert out.returncode == 1 and "move it away" in out.stderr
    manager.kill9()

    key = (manager.root / "secrets.key").read_bytes()
    manager.root.rename(manager.folder / "lost")
    manager.command("manager", "restore", backup, f"--set=root={manager.root}", token=admin)
    (manager.root / "secrets.key").write_bytes(key)
    (manager.root / "secrets.key").chmod(0o600)
    (manager.root / "admin-token").write_text(admin)
    manager.start()
    for name in ("n1", "n2"):
        cluster.wait_connected(name)
    assert cluster.job(done["id"])["bio"] == "before"
    assert cluster.call("GET", f"/oapi/v1/jobs/{lost['id']}")[0] == 404
    again = cluster.wait(cluster.create(args)["id"])
    assert again["state"] == "SUCCESS" and again["id"] > lost["id"], "its number was given before"
