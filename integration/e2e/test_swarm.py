"""A swarm of real nodes in network namespaces: nodes feed each other, every byte leaves the registry once."""

import contextlib
import hashlib
import json
import subprocess
import time

import pytest

from integration.testbed import small_image
from integration.testbed.process import wait_for
from integration.testbed.swarm import Swarm

NODES = 4
MBIT = 200
BLOB = 64 << 20
ORIGIN_SLACK = 1.05


@pytest.fixture
def swarm(bed):
    made = Swarm(bed.folder, nodes=NODES, mbit=MBIT, blob_bytes=BLOB)
    yield made
    made.close()


def _ended(commands, timeout=120):
    deadline = time.monotonic() + timeout
    return [(command.communicate(timeout=deadline - time.monotonic())[0], command.returncode) for command in commands]


def test_every_byte_leaves_the_registry_once(swarm):
    began = time.monotonic()
    for out, code in _ended(swarm.preheat_all()):
        assert code == 0, out
    seconds = time.monotonic() - began
    bound = BLOB * 8 / (MBIT * 1e6)
    print(f"slowest {seconds:.2f} s, bound {bound:.2f} s, ratio {seconds / bound:.2f}")
    for node in swarm.nodes:
        print(node.folder.name, swarm.received(node), f"VmHWM {node.vm_hwm_kib() >> 10} MiB")
    assert swarm.registry.blob_bytes() <= ORIGIN_SLACK * BLOB
    assert all(swarm.received(node).get("peer", 0) > 0 for node in swarm.nodes)


def test_a_node_that_is_killed_costs_the_others_little(swarm):
    victim, *others = swarm.nodes
    commands = swarm.preheat_all()
    wait_for(lambda: swarm.received(victim).get("registry", 0) > BLOB / 16, 30, "the victim is in the middle")
    victim.kill9()
    for out, code in _ended(commands)[1:]:
        assert code == 0, out
    # What the victim had fetched and given to nobody, and what it was being sent, leaves once more.
    assert swarm.registry.blob_bytes() <= 1.4 * BLOB


def test_swarm_goes_on_without_its_manager(swarm):
    commands = swarm.preheat_all()
    wait_for(lambda: swarm.received(swarm.nodes[0]), 30, "the transfer is in the middle")
    swarm.manager.kill9()
    for out, code in _ended(commands):
        assert code == 0, out


def test_node_with_an_empty_store_gets_it_from_the_others_while_the_registry_is_away(swarm):
    first, second, *_ = swarm.nodes
    for out, code in _ended(swarm.preheat_all([first])):
        assert code == 0, out
    before = swarm.received(second).get("registry", 0)
    commands = swarm.preheat_all([second])
    wait_for(lambda: swarm.received(second).get("peer"), 30, "the tag is known, the first bytes are here")
    swarm.registry.kill9()
    for out, code in _ended(commands):
        assert code == 0, out
        assert "from other nodes" in out
    assert swarm.received(second).get("registry", 0) - before < BLOB / 100, "only what is smaller than a piece"
    assert swarm.received(second)["peer"] >= BLOB * 0.99


def test_node_that_serves_wrong_bytes_is_named_and_not_fatal(swarm):
    liar, *others = swarm.nodes
    for out, code in _ended(swarm.preheat_all([liar])):
        assert code == 0, out
    path = max((liar.root / "blobs").rglob("*"), key=lambda p: p.stat().st_size if p.is_file() else 0)
    digest = f"sha256:{path.name}"
    with open(path, "r+b") as blob:  # what it told of the bytes was right
        for offset in range(1000, BLOB, 100_000):
            blob.seek(offset)
            blob.write(b"wrong")
    for out, code in _ended(swarm.preheat_all(others)):
        assert code == 0, out
    for node in others:
        assert hashlib.sha256(node.blob_path(digest).read_bytes()).hexdigest() == path.name
    named = [n for n in others if "sent a wrong piece" in n.process.log.read_text() and '"name":"n0"' in n.process.log.read_text()]
    assert named, "nobody says who sent wrong bytes"
    assert swarm.registry.blob_bytes() <= 2.2 * BLOB


def test_readers_of_the_mirror_get_a_stream_while_nodes_feed_each_other(swarm):
    """What containerd does: all nodes at once, from the first byte on, and no gap makes the mirror give up."""
    registry, name = swarm.ref.split("/", 1)
    repository, tag = name.split(":")

    def get(node, path, sink):
        url = f"http://{node.mirror}/v2/{repository}/{path}?ns={registry}"
        accept = "Accept: application/vnd.oci.image.manifest.v1+json"
        return subprocess.Popen([*node.prefix, "curl", "-sS", "--fail", "-H", accept, "-o", sink, url])

    documents = [node.folder / "manifest.json" for node in swarm.nodes]
    for command in [get(node, f"manifests/{tag}", file) for node, file in zip(swarm.nodes, documents)]:
        assert command.wait(30) == 0
    digest = json.loads(documents[0].read_text())["layers"][0]["digest"]
    files = [node.folder / "layer" for node in swarm.nodes]
    for command in [get(node, f"blobs/{digest}", file) for node, file in zip(swarm.nodes, files)]:
        assert command.wait(120) == 0
    for file in files:
        assert f"sha256:{hashlib.sha256(file.read_bytes()).hexdigest()}" == digest
    assert swarm.registry.blob_bytes() <= ORIGIN_SLACK * BLOB


def test_two_containerds_pull_what_a_third_node_preheated(bed):
    """Real containerd on two nodes, at the same moment; nothing but the third node's preheat leaves the registry."""
    image = small_image(layers=5, filler_bytes=2 << 20)
    with contextlib.closing(Swarm(bed.folder, nodes=3, mbit=MBIT, image=image, containerds=2)) as swarm:
        third = swarm.nodes[2]
        for out, code in _ended(swarm.preheat_all([third])):
            assert code == 0, out
        once = image.layer_bytes() + len(image.config.data)
        # The registry logs an answer after its last byte.
        wait_for(lambda: swarm.registry.blob_bytes() == once, 10, "the registry's log to tell of all that it sent")
        pulls = [subprocess.Popen([str(a) for a in c.pull_argv(swarm.ref)], env=c.env) for c in swarm.containerds]
        for pull in pulls:
            assert pull.wait(60) == 0
        for containerd in swarm.containerds:
            containerd.wait_complete(swarm.ref)
            assert image.chain_ids()[-1] in containerd.snapshots()
        assert swarm.registry.blob_bytes() == once, "the pulls went to the registry"
        for node in swarm.nodes[:2]:
            layer = node.json("explain", swarm.ref, check=False)["blobs"][-1]
            assert {source["kind"] for source in layer["sources"]} == {"peer"}
