"""What jobs say when things go wrong: whatever breaks, SUCCESS means that every asked copy is whole on every asked node,
and a failure says where and why."""

import json
import os

import pytest

from integration.e2e.test_manager_full_disk import end_untold, job_under_way
from integration.testbed import small_image
from integration.testbed.cluster import Cluster
from integration.testbed.image import digest_of
from integration.testbed.process import wait_for

PATIENCE = 90
BIG = 16 << 20


def failures(cluster, job):
    """{node: [description]}"""
    out = {}
    for task in cluster.tasks(job, "failure_tasks"):
        out.setdefault(task["hostname"], []).append(task["description"])
    return out


def big_image(registry, bed, seed=1):
    """An image whose third layer is of BIG bytes, not compressed: (reference, image)."""
    image = small_image(layers=4, filler_bytes=BIG, seed=seed)
    return image.push(registry, "test/big:v1", bed.folder / f"layout{seed}"), image


def rot(path, keep_mtime=False):
    """Flips a byte behind the node's back."""
    before = path.stat()
    with open(path, "r+b") as file:
        byte = file.read(1)
        file.seek(0)
        file.write(bytes([byte[0] ^ 1]))
    if keep_mtime:
        os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def whole(nodes):
    for node in nodes:
        code, said = node.verify()
        assert code == 0, said


@pytest.mark.slow
def test_ten_nodes_of_which_one_is_full_one_unreachable_and_one_lies(bed, registry):
    """The liar serves bytes that are not what their digest says: nobody keeps them, and its own copies are mended."""
    ref, image = big_image(registry, bed)
    cluster = Cluster(bed, registry, nodes=10, folders={"n1": bed.ext4(20 << 20).path})
    full, away, liar, *honest = cluster.nodes
    first = cluster.create({"type": "image", "url": ref, "depth": "blobs", "nodes": ["n3"]})
    assert cluster.wait(first["id"])["state"] == "SUCCESS"
    rot(liar.blob_path(image.layers[2].digest), keep_mtime=True)
    away.stop()
    cluster.wait_connected("n2", False)

    job = cluster.create({"type": "image", "url": ref, "depth": "blobs", "failure_tolerate": "0.2", "timeout": "60s"})
    done = cluster.wait(job["id"], 120)
    assert done["state"] == "SUCCESS", done["reason"]
    assert done["progress"]["nodes"] == {"total": 10, "waiting": 0, "running": 0, "succeeded": 8, "failed": 2}
    said = failures(cluster, done)
    assert set(said) == {"n1", "n2"}
    assert any(word in text for text in said["n1"] for word in ("space", "room", "free")), said
    assert all("offline" in text for text in said["n2"]), said
    assert "2 of 10 nodes failed" in done["reason"]
    whole([liar, *honest])

    strict = cluster.create({"type": "image", "url": ref, "depth": "blobs", "failure_tolerate": "0.1", "timeout": "5s"})
    assert cluster.wait(strict["id"])["state"] == "FAILURE"


def test_a_byte_that_was_flipped_under_its_old_mtime_is_mended_before_success(bed, registry, ref, image):
    cluster = Cluster(bed, registry, nodes=1)
    node = cluster.nodes[0]
    assert cluster.wait(cluster.create({"type": "image", "url": ref})["id"])["state"] == "SUCCESS"
    rot(node.blob_path(image.layers[0].digest), keep_mtime=True)
    rot(node.blob_path(image.config.digest), keep_mtime=True)
    assert cluster.wait(cluster.create({"type": "image", "url": ref})["id"])["state"] == "SUCCESS"
    whole([node])


def test_a_file_that_was_changed_or_removed_is_no_success_while_its_origin_is_away(bed):
    origin = bed.origin()
    body = b"file" * 100_000
    origin.put("/f", body, signed=False)
    args = {"type": "file", "url": f"http://{origin.address}/f"}
    cluster = Cluster(bed, nodes=1)
    node = cluster.nodes[0]
    assert cluster.wait(cluster.create(args)["id"])["state"] == "SUCCESS"
    path = node.blob_path(digest_of(body))
    for damage in (lambda: rot(path, keep_mtime=True), path.unlink):
        damage()
        origin.status = 503
        done = cluster.wait(cluster.create(args)["id"], 120)
        assert done["state"] == "FAILURE" and failures(cluster, done)["n1"], done
        origin.status = 0
        assert cluster.wait(cluster.create(args)["id"])["state"] == "SUCCESS"
        assert path.read_bytes() == body


def test_a_manager_killed_in_each_state_of_a_job(bed):
    origin = bed.origin()
    file = origin.put("/f", b"f" * (2 << 20), rate=200_000, signed=False)
    url = f"http://{origin.address}/f"
    cluster = Cluster(bed, nodes=1)
    node = cluster.nodes[0]

    def kill():
        cluster.manager.kill9()
        cluster.manager.start()

    node.stop()
    cluster.wait_connected("n1", False)
    job = cluster.create({"type": "file", "url": url})["id"]
    kill()  # it waits for its node
    assert cluster.job(job)["progress"]["nodes"]["waiting"] == 1
    node.start()
    wait_for(lambda: cluster.job(job)["progress"]["bytes_done"] > 0, PATIENCE, "the transfer")
    kill()  # it runs
    assert cluster.job(job)["state"] == "PENDING"
    file.rate = 0
    assert cluster.wait(job)["state"] == "SUCCESS"
    kill()  # it has succeeded
    assert cluster.job(job)["state"] == "SUCCESS" and len(cluster.tasks(cluster.job(job))) == 1

    missing = cluster.create({"type": "file", "url": url + "-none"})["id"]
    failed = cluster.wait(missing)
    assert failed["state"] == "FAILURE"
    kill()  # it has failed
    assert cluster.job(missing)["reason"] == failed["reason"]
    assert cluster.call("POST", f"/oapi/v1/jobs/{missing}/retry")[0] == 200
    assert cluster.wait(missing)["state"] == "FAILURE"

    file.rate = 200_000
    origin.put("/g", b"g" * (20 << 20), rate=200_000, signed=False)
    cancelled = cluster.create({"type": "file", "url": f"http://{origin.address}/g"})["id"]
    assert cluster.call("POST", f"/oapi/v1/jobs/{cancelled}/cancel")[0] == 200
    kill()  # it was cancelled
    again = cluster.job(cancelled)
    assert (again["state"], again["reason"], again["cancelled"]) == ("FAILURE", "cancelled", True)
    assert cluster.call("DELETE", f"/oapi/v1/jobs/{cancelled}")[0] == 204
    kill()  # it was deleted
    assert cluster.call("GET", f"/oapi/v1/jobs/{cancelled}")[0] == 404


def test_a_manager_whose_disk_is_full_takes_no_job_and_ends_none_early(bed):
    disk = bed.ext4(40 << 20)
    cluster, job, url, file = job_under_way(bed, disk)
    filler = disk.fill()
    status, problem = cluster.call("POST", "/oapi/v1/jobs", {"type": "preheat", "args": {"type": "file", "url": url}})
    assert status == 429, problem
    assert cluster.call("GET", f"/oapi/v1/jobs/{job + 1}")[0] == 404
    end_untold(cluster, job, url, file)
    filler.unlink()
    assert cluster.wait(job)["state"] == "SUCCESS"
    cluster.manager.restart()
    assert cluster.job(job)["state"] == "SUCCESS"


def test_a_job_reaches_no_address_that_the_nodes_may_not(bed):
    """Link-local, metadata and loopback, in every spelling, and behind a redirect. A name that changes its address between
    check and connection is net/egress_test.cc's: the socket's own address is what is looked at."""
    inner = bed.origin()
    inner.put("/secret", b"secret", signed=False)
    outer = bed.origin()
    for number, target in enumerate((f"http://127.0.0.1:{inner.port}/secret", "http://169.254.169.254/latest")):
        outer.put(f"/redirect{number}", b"", signed=False, redirect=target)
    settings = {"egress_allow": "[]", f'registry."{outer.address}".plain_http': "true"}
    cluster = Cluster(bed, nodes=1, settings=settings)
    urls = [
        f"http://127.0.0.1:{inner.port}/secret",
        f"http://localhost:{inner.port}/secret",
        f"http://2130706433:{inner.port}/secret",
        f"http://0.0.0.0:{inner.port}/secret",
        f"http://[::ffff:127.0.0.1]:{inner.port}/secret",
        "http://169.254.169.254/latest/meta-data",
        "http://[fe80::1]/latest",
        f"http://{outer.address}/redirect0",
        f"http://{outer.address}/redirect1",
    ]
    done = cluster.wait(cluster.create({"type": "file", "urls": urls})["id"])
    assert done["state"] == "FAILURE"
    refused = {task["url"]: task for task in cluster.tasks(done, "failure_tasks")}
    assert set(refused) == set(urls)
    for url, task in refused.items():
        assert task["code"] == "permission_denied" and "egress_allow" in task["description"], (url, task)
    assert inner.asked == []
    image = {"type": "image", "url": f"http://127.0.0.1:{inner.port}/v2/a/manifests/v1"}
    done = cluster.wait(cluster.create(image)["id"])
    assert done["state"] == "FAILURE" and "egress_allow" in done["reason"], json.dumps(done)
    assert inner.asked == []
