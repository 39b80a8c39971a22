"""Pulls by real containerd through Hearth: cold, slow, interrupted."""

import random
import subprocess
import time

import pytest

from integration.testbed import Image, small_image, tree
from integration.testbed.debian import debian_image
from integration.testbed.image import base_layer, filler_layer
from integration.testbed.process import wait_for

pytestmark = pytest.mark.usefixtures("each_version")

KILLS = 10
MIB = 1 << 20


def start_pull(containerd, ref):
    return subprocess.Popen(
        [str(a) for a in containerd.pull_argv(ref)],
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        env=containerd.env,
    )


@pytest.mark.parametrize("mirror", [False, True], ids=["plain", "mirror"])
def test_cold_pull_gets_each_blob_once_and_the_same_tree(bed, registry, ref, image, mirror):
    since = time.time_ns()
    stock = bed.containerd()
    stock.pull(ref)
    _, containerd = bed.warm_pair(registry, mirror=mirror)
    registry.reset()
    containerd.pull(ref)
    got = sorted(r.path.partition("?")[0].rpartition("/")[2] for r in registry.blob_gets())
    assert got == sorted([blob.digest for blob in image.layers] + [image.config.digest])
    chain = image.chain_ids()[-1]
    assert tree.diff(stock.tree(chain), containerd.tree(chain), since_ns=since) == []
    containerd.wait_complete(ref)
    assert containerd.run_container(ref, "/bin/cat", "/opt/old/c") == "only this is left\n"
    assert containerd.ingests() == []


def _same_tree_and_bytes(bed, registry, name, mirror):
    since = time.time_ns()
    real = debian_image(name)
    ref = real.push(registry, f"test/{name}:v1")
    node, containerd = bed.warm_pair(registry, mirror=mirror)
    processes = [containerd.process, node.process]
    before = sum(p.io()["write_bytes"] for p in processes)
    registry.reset()
    containerd.pull(ref)
    written = sum(p.io()["write_bytes"] for p in processes) - before
    assert registry.blob_bytes() <= 1.01 * real.layer_bytes() + (1 << 20)
    kept = node.disk_bytes()
    if mirror and not containerd.version.startswith("2."):
        kept += real.layer_bytes()  # this `ctr` ingests what the mirror is still fetching; the COMMIT drops it
    assert written <= 1.05 * kept
    stock = bed.containerd()
    stock.pull(ref)
    chain = real.chain_ids()[-1]
    assert tree.diff(stock.tree(chain), containerd.tree(chain), since_ns=since) == []
    assert node.vm_hwm_kib() <= 128 * 1024


@pytest.mark.parametrize("mirror", [False, True], ids=["plain", "mirror"])
def test_real_image_same_tree_no_byte_written_twice(bed, registry, mirror):
    _same_tree_and_bytes(bed, registry, "small", mirror)


@pytest.mark.slow
@pytest.mark.parametrize("name", ["medium", "large"])
def test_large_image_same_tree_no_byte_written_twice(bed, registry, name):
    _same_tree_and_bytes(bed, registry, name, False)


def _throttled(bed, registry, seconds, layers=4):
    """A front whose every layer takes `seconds`, and the image's reference."""
    made = small_image(layers=layers, filler_bytes=300_000, seed=9)
    made.push(registry, "test/slow:v1", bed.folder / "slow")
    front = bed.front(registry)
    for blob in made.layers:
        front.rule(blob.digest, rate=max(1, int(len(blob.data) / seconds)))
    return front, made, front.ref("test/slow:v1")


@pytest.mark.parametrize("seconds", [7, pytest.param(20, marks=pytest.mark.slow)])
def test_layers_slower_than_prepare_may_wait_are_still_fetched_once(bed, registry, seconds):
    front, made, ref = _throttled(bed, registry, seconds)
    _, containerd = bed.warm_pair(front)
    containerd.pull(ref)
    for blob in made.layers:
        assert front.blob_bytes(blob.digest) == len(blob.data), blob.digest
        assert len(front.blob_gets(blob.digest)) == 1
    assert made.chain_ids()[-1] in containerd.snapshots()
    containerd.wait_complete(ref)
    assert containerd.ingests() == []


def test_slow_layer_does_not_hold_up_containerd(bed, registry, ref, image):
    """While one layer takes three minutes, removing another image and starting a container take seconds."""
    front, made, slow_ref = _throttled(bed, registry, 180, layers=3)
    other = Image.of([base_layer(), filler_layer(5, 50_000)])
    other_ref = other.push(registry, "test/other:v1", bed.folder / "other")
    _, containerd = bed.warm_pair(front, registry)
    containerd.pull(ref)
    containerd.pull(other_ref)
    pull = start_pull(containerd, slow_ref)
    try:
        # Its base layer is in the store already.
        slow = max((b for b in made.layers if b not in image.layers), key=lambda blob: len(blob.data))
        wait_for(lambda: front.blob_gets(slow.digest), 20, "the slow layer's request")
        start = time.monotonic()
        containerd.remove_image(other_ref, timeout=60)
        removed = time.monotonic()
        assert containerd.run_container(ref, "/bin/echo", "quick") == "quick\n"
        ran = time.monotonic()
        assert pull.poll() is None, pull.communicate()
        assert removed - start <= 7
        assert ran - removed <= 7
    finally:
        pull.kill()
        pull.communicate()


def test_second_pull_of_a_finished_layer_is_free(bed, registry, ref, image):
    _, containerd = bed.warm_pair(registry)
    containerd.pull(ref)
    registry.reset()
    containerd.pull(ref)
    assert registry.blob_gets() == []


@pytest.mark.parametrize("mirror", [False, True], ids=["plain", "mirror"])
def test_kill_9_of_the_node_at_ten_points_of_a_pull(bed, registry, mirror):
    """After each: the store is clean, nothing is left half-made; at last the pull succeeds, with the same tree."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    rng = random.Random(seed)
    since = time.time_ns()
    front, made, ref = _throttled(bed, registry, 3, layers=5)
    stock = bed.containerd()
    stock.pull(ref)
    node, containerd = bed.warm_pair(front, mirror=mirror)
    for number in range(KILLS):
        pull = start_pull(containerd, ref)
        # Not luck: any moment will do, and the seed says which it was.
        try:
            pull.wait(rng.uniform(0.05, 3))
        except subprocess.TimeoutExpired:
            pass
        node.kill9()
        pull.kill()
        pull.communicate()
        node.start()
        containerd.wait_for_hearth()
        code, said = node.verify()
        assert code == 0, f"seed {seed}, kill {number}: {said}"
    front.rules.clear()
    containerd.pull(ref)
    chain = made.chain_ids()[-1]
    assert tree.diff(stock.tree(chain), containerd.tree(chain), since_ns=since) == [], f"seed {seed}"
    assert containerd.ingests() == [], f"seed {seed}"
    containerd.wait_complete(ref)
    assert node.verify()[0] == 0


@pytest.mark.parametrize("mirror", [False, True], ids=["plain", "mirror"])
def test_retry_after_kill_9_resumes_from_what_was_synced(bed, registry, mirror):
    """A killed node forgets what it had not synced yet, 16 MiB of a slow blob, and no blob that was complete."""
    made = Image.of([base_layer(), filler_layer(6, 64 * MIB)], "none")
    made.push(registry, "test/large:v1", bed.folder / "large")
    front = bed.front(registry)
    small, large = made.layers
    front.rule(large.digest, rate=6 * MIB)  # slower than 16 MiB in the 2 s that a sync waits at least
    ref = front.ref("test/large:v1")
    node, containerd = bed.warm_pair(front, mirror=mirror)
    pull = start_pull(containerd, ref)
    wait_for(lambda: front.blob_bytes(large.digest) > 45 * MIB, 60, "two thirds of the large layer")
    node.kill9()
    pull.kill()
    pull.communicate()
    wait_for(lambda: all(r.ended for r in front.blob_gets()), 20, "the end of the transfers")
    sent = front.blob_bytes(large.digest)
    front.clear()
    node.start()
    containerd.wait_for_hearth()
    containerd.pull(ref)
    assert front.blob_gets(small.digest) == []
    # Beside the unsynced end, socket buffers may hold what was sent and never read.
    assert front.blob_bytes(large.digest) <= len(large.data) - sent + 24 * MIB
    assert node.verify()[0] == 0


def test_stopped_node_leaves_containers_and_containerd_alone(bed, registry, ref, image):
    node, containerd = bed.warm_pair(registry)
    containerd.pull(ref)
    container = subprocess.Popen(
        [str(a) for a in containerd.ctr_argv("-n", "k8s.io", "run", "--rm", "--snapshotter", "hearth", ref, "long",
                                             "/bin/sh", "-c", "while true; do cat /opt/old/c >/dev/null; sleep 0.1; done")],
        env=containerd.env, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)  # fmt: skip
    try:
        wait_for(lambda: "RUNNING" in containerd.ctr("-n", "k8s.io", "tasks", "ls").stdout, 20, "a running container")
        pid = containerd.process.pid
        node.stop()
        inside = containerd.ctr("-n", "k8s.io", "tasks", "exec", "--exec-id", "e1", "long", "/bin/cat", "/opt/old/c")
        assert inside.stdout == "only this is left\n"
        assert "RUNNING" in containerd.ctr("-n", "k8s.io", "tasks", "ls").stdout
        node.start()
        containerd.wait_for_hearth()
        registry.reset()
        containerd.remove_image(ref)
        containerd.pull(ref)
        assert containerd.process.pid == pid and containerd.process.running()
        assert container.poll() is None
    finally:
        containerd.ctr("-n", "k8s.io", "tasks", "kill", "-s", "9", "long", check=False)
        container.wait(20)


def test_pull_after_the_nodes_return_needs_no_restart_of_containerd(bed, registry, ref, image):
    node, containerd = bed.warm_pair(registry)
    node.kill9()
    node.start()
    containerd.wait_for_hearth()
    containerd.pull(ref)
    assert containerd.run_container(ref, "/bin/echo", "ok") == "ok\n"


def test_containerd_restart_in_between(bed, registry, ref, image):
    node, containerd = bed.warm_pair(registry)
    containerd.pull(ref)
    containerd.restart()
    containerd.wait_complete(ref)
    assert containerd.run_container(ref, "/bin/echo", "ok") == "ok\n"


def test_two_pulls_at_once_share_the_fetch(bed, registry):
    front, made, ref = _throttled(bed, registry, 2)
    _, containerd = bed.warm_pair(front)
    pulls = [start_pull(containerd, ref) for _ in range(2)]
    for pull in pulls:
        _, err = pull.communicate(timeout=60)
        assert pull.returncode == 0, err
    for blob in made.layers:
        assert front.blob_bytes(blob.digest) == len(blob.data)


def test_another_namespace_pulls_warm_layers(bed, registry, ref, image):
    node, containerd = bed.warm_pair(registry)
    containerd.pull(ref)
    registry.reset()
    argv = [word if word != "k8s.io" else "second" for word in map(str, containerd.pull_argv(ref))]
    subprocess.run(argv, check=True, env=containerd.env, capture_output=True, timeout=60)
    assert registry.blob_gets() == []
    assert image.chain_ids()[-1] in containerd.snapshots("second")


def test_each_blob_is_on_disk_once(bed, registry, ref, image):
    node, containerd = bed.warm_pair(registry)
    containerd.pull(ref)
    for blob in image.layers:
        assert node.blob_path(blob.digest).stat().st_size == len(blob.data)
    assert not list(containerd.root.glob("io.containerd.content.v1.content/blobs/sha256/*"))
