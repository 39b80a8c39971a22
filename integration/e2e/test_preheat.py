"""hearth preheat, and what a pull then still does."""

import json
import signal
import subprocess
import time

import pytest

from integration.testbed import Image, Layer, tree
from integration.testbed.debian import debian_image
from integration.testbed.image import Blob, base_layer, filler_layer
from integration.testbed.process import wait_for

MIB = 1 << 20


@pytest.fixture
def pair(bed, registry):
    """A node and a containerd that use each other."""
    return bed.warm_pair(registry)


def test_preheat_fetches_each_blob_once(pair, registry, ref, image):
    node, _ = pair
    registry.reset()
    node.preheat(ref, depth="layers")
    gets = registry.blob_gets()
    assert sorted(r.path.rpartition("/")[2] for r in gets) == sorted(
        [blob.digest for blob in image.layers] + [image.config.digest]
    )
    assert registry.blob_bytes() == image.layer_bytes() + len(image.config.data)


@pytest.mark.parametrize("depth", ["blobs", "layers", "image"])
def test_pull_after_preheat_gets_no_blob(pair, registry, ref, image, depth):
    node, containerd = pair
    node.preheat(ref, depth=depth)
    registry.reset()
    containerd.pull(ref)
    assert registry.blob_gets() == []
    assert image.chain_ids()[-1] in containerd.snapshots()
    containerd.wait_complete(ref)
    assert containerd.run_container(ref, "/bin/cat", "/opt/old/c") == "only this is left\n"
    assert containerd.ingests() == []


def test_pull_of_a_real_image_writes_nothing(bed, registry):
    """write_bytes of containerd and hearth together stay below 8 MiB, whatever the image's size."""
    real = debian_image("small")
    ref = real.push(registry, "test/debian:v1")
    node, containerd = bed.warm_pair(registry)
    node.preheat(ref)
    registry.reset()
    processes = [containerd.process, node.process]
    before = sum(p.io()["write_bytes"] for p in processes)
    start = time.monotonic()
    containerd.pull(ref)
    took = time.monotonic() - start
    assert sum(p.io()["write_bytes"] for p in processes) - before < 8 * MIB
    assert registry.blob_gets() == []
    assert took < 5
    assert real.chain_ids()[-1] in containerd.snapshots()
    export = bed.folder / "export.tar"
    containerd.export(ref, export)
    assert export.stat().st_size > real.layer_bytes()
    assert "hello" in containerd.run_container(ref, "/bin/echo", "hello")


def test_preheated_tree_equals_stock(bed, registry, ref, image):
    since = time.time_ns()
    node, containerd = bed.warm_pair(registry)
    node.preheat(ref, depth="layers")
    containerd.pull(ref)
    stock = bed.containerd()
    stock.pull(ref)
    chain = image.chain_ids()[-1]
    assert tree.diff(stock.tree(chain), containerd.tree(chain), since_ns=since) == []


def test_depth_image_registers_it(pair, ref, image):
    node, containerd = pair
    node.preheat(ref, depth="image")
    assert ref in containerd.images()
    containerd.wait_complete(ref)
    assert containerd.run_container(ref, "/bin/echo", "no pull") == "no pull\n"


def test_second_preheat_is_instant_and_says_so(pair, registry, ref):
    node, _ = pair
    node.preheat(ref)
    registry.reset()
    start = time.monotonic()
    out = node.preheat(ref)
    assert time.monotonic() - start < 1
    assert "already warm" in out.stdout + out.stderr
    assert registry.blob_gets() == []


def test_preheat_is_hidden_until_pulled_and_survives_gc(bed, registry, ref, image):
    node, containerd = bed.warm_pair(registry)
    other = Image.of([base_layer(), filler_layer(77, 50_000)])
    other_ref = other.push(registry, "test/other:v1", bed.folder / "other")
    node.preheat(ref, depth="layers")
    assert image.layers[1].digest not in containerd.content()
    containerd.pull(other_ref)
    containerd.remove_image(other_ref)
    registry.reset()
    containerd.pull(ref)
    assert registry.blob_gets() == []


def test_removed_image_stays_warm(pair, registry, ref):
    node, containerd = pair
    node.preheat(ref, depth="layers")
    containerd.pull(ref)
    containerd.remove_image(ref)
    registry.reset()
    containerd.pull(ref)
    assert registry.blob_gets() == []


def test_wiped_containerd_pulls_for_free(pair, registry, ref, image):
    node, containerd = pair
    node.preheat(ref)
    containerd.pull(ref)
    uuid = containerd.uuid()
    containerd.wipe()
    assert containerd.uuid() != uuid
    registry.reset()
    containerd.pull(ref)
    assert registry.blob_gets() == []
    containerd.wait_complete(ref)
    assert containerd.run_container(ref, "/bin/echo", "on") == "on\n"


def test_preheat_survives_a_restart_of_the_node(pair, registry, ref):
    node, containerd = pair
    node.preheat(ref, depth="layers")
    node.restart()
    registry.reset()
    containerd.pull(ref)
    assert registry.blob_gets() == []


def test_interrupt_cancels_and_the_next_run_resumes(bed, registry, ref, image):
    front = bed.front(registry)
    big = max(image.layers, key=lambda blob: len(blob.data))
    front.rule(big.digest, rate=len(big.data) // 20)
    node = bed.node(front)
    command = subprocess.Popen(
        node.command_argv("preheat", front.ref("test/small:v1"), "--depth", "blobs"),
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
    )
    wait_for(lambda: front.blob_bytes(big.digest) > 200_000, 20, "the throttled blob's first bytes")
    command.send_signal(signal.SIGINT)
    _, err = command.communicate(timeout=10)
    assert command.returncode == 130, err
    wait_for(lambda: all(r.ended for r in front.blob_gets(big.digest)), 10, "the end of the origin's transfer")
    sent = front.blob_bytes(big.digest)
    assert sent < len(big.data)
    front.clear()
    node.preheat(front.ref("test/small:v1"), depth="blobs")
    # What was there is not fetched again, but for the piece that was under way.
    assert front.blob_bytes(big.digest) <= len(big.data) - sent + MIB
    assert node.verify()[0] == 0


def test_without_containerd_the_default_depth_is_layers(bed, registry, ref):
    node = bed.node(registry)
    out = node.preheat(ref)
    assert "error" not in out.stderr
    registry.reset()
    assert node.command("explain", ref).returncode == 0
    assert registry.blob_gets() == []


def test_depth_image_without_containerd_says_what_to_do(bed, registry, ref):
    node = bed.node(registry)
    out = node.preheat(ref, depth="image", check=False)
    assert out.returncode in (1, 2)
    assert out.stderr.startswith("hearth: ") and "containerd" in out.stderr


def push_index(images, registry, folder):
    """Pushes an index with these images, each of another platform."""
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    descriptors = []
    for made in images:
        for blob in [*made.layers, made.config, made.manifest]:
            (blobs / blob.digest.split(":")[1]).write_bytes(blob.data)
        descriptors.append(made.manifest.descriptor(platform=made.platform))
    index = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.index.v1+json",
        "manifests": descriptors,
    }
    top = Blob(index["mediaType"], json.dumps(index).encode())
    (blobs / top.digest.split(":")[1]).write_bytes(top.data)
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    (folder / "index.json").write_text(json.dumps({"schemaVersion": 2, "manifests": [top.descriptor()]}))
    return registry.push(folder, "test/multi:v1")


def test_only_this_machines_platform_is_fetched(bed, registry):
    here = Image.of([base_layer(), filler_layer(1, 10_000)])
    there = Image.of([filler_layer(2, 10_000)], platform={"os": "linux", "architecture": "s390x"})
    ref = push_index([there, here], registry, bed.folder / "multi")
    node, containerd = bed.warm_pair(registry)
    registry.reset()
    node.preheat(ref)
    assert registry.blob_gets(there.layers[0].digest) == []
    containerd.pull(ref)
    assert len(registry.blob_gets(here.layers[0].digest)) == 1
    node.preheat(ref, "--platform", "linux/s390x", depth="blobs")
    assert len(registry.blob_gets(there.layers[0].digest)) == 1


def test_unknown_platform_names_those_that_exist(bed, registry):
    here = Image.of([filler_layer(1, 10_000)])
    ref = push_index([here], registry, bed.folder / "multi")
    node = bed.node(registry)
    out = node.preheat(ref, "--platform", "linux/riscv64", check=False)
    assert out.returncode == 1
    assert "riscv64" in out.stderr and here.platform["architecture"] in out.stderr


def test_same_layer_twice_in_one_image(bed, registry):
    """Empty layers repeat in real images; their chain IDs differ, their blob is one."""
    layer, empty = base_layer(), Layer()
    made = Image.of([layer, empty, filler_layer(3, 1000), empty], ["gzip"] * 4)
    ref = made.push(registry, "test/twice:v1", bed.folder / "twice")
    node, containerd = bed.warm_pair(registry)
    node.preheat(ref)
    registry.reset()
    containerd.pull(ref)
    assert registry.blob_gets() == []
    assert made.chain_ids()[-1] in containerd.snapshots()


def test_preheat_by_digest(pair, registry, ref, image):
    node, containerd = pair
    by_digest = f"{ref.rpartition(':')[0]}@{image.manifest.digest}"
    node.preheat(by_digest)
    registry.reset()
    containerd.pull(by_digest)
    assert registry.blob_gets() == []


def test_memory_stays_bounded(bed, registry):
    real = debian_image("small")
    ref = real.push(registry, "test/debian:v1")
    node = bed.node(registry)
    node.preheat(ref, depth="layers")
    assert node.vm_hwm_kib() <= 128 * 1024
