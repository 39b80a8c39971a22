"""What a pull of a preheated image still does: DESIGN's table, each containerd with each of its clients."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from integration.e2e.test_preheat import push_index
from integration.testbed import Image, small_image
from integration.testbed.clients import cri, nerdctl_pull_argv, real_clients, real_pull_argv
from integration.testbed.image import base_layer, filler_layer, pause_image
from integration.testbed.process import run, wait_for

VERSIONS = ["1.6", "1.7", "2.1"]
CLIENTS = ["ctr", "nerdctl", "cri", *real_clients()]
MIB = 1 << 20
slow = pytest.mark.slow


@pytest.fixture
def sandbox(bed, registry):
    return pause_image().push(registry, "test/pause:v1", bed.folder / "pause")


@pytest.fixture
def pair(bed, registry, version, sandbox):
    return bed.warm_pair(registry, version=version, sandbox=sandbox)


def pull(containerd, client, ref, *flags):
    if client == "ctr":
        containerd.pull(ref, *flags)
    elif client == "nerdctl":
        run(nerdctl_pull_argv(containerd.socket, ref, "-plain-http", *flags, version=containerd.version), timeout=300)
    elif client == "cri":
        cri(containerd.socket, "pull", ref, timeout=300)
    else:
        run(real_pull_argv(client, containerd.socket, ref, hosts_dir=containerd.hosts_dir), timeout=300)


def namespace_of(client):
    return "default" if client.endswith("nerdctl") else "k8s.io"


def manifests_asked(registry):
    return [(r.method, r.path) for r in registry.requests() if "/manifests/" in r.path]


@slow
@pytest.mark.parametrize("depth", ["layers", "image"])
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("version", VERSIONS)
def test_pull_of_a_preheated_image_costs_a_head(pair, registry, ref, image, version, client, depth):
    node, containerd = pair
    node.preheat(ref, depth=depth)
    registry.reset()
    pull(containerd, client, ref)
    assert registry.blob_gets() == []
    assert {method for method, _ in manifests_asked(registry)} == {"HEAD"}
    assert image.chain_ids()[-1] in containerd.snapshots(namespace_of(client))
    assert containerd.ingests(namespace_of(client)) == []


def files_of_layers(node):
    """What only a write changes, of every file below the store's layers."""
    found = {}
    for path in sorted(node.root.glob("snapshots/*/fs/**/*")):
        info = path.lstat()
        found[path] = (info.st_ino, info.st_size, info.st_mtime_ns, info.st_ctime_ns)
    return found


def written_by(node, containerd):
    return sum(part.process.io()["write_bytes"] for part in (node, containerd))


@slow
@pytest.mark.parametrize("depth", ["layers", "image"])
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("version", VERSIONS)
def test_pull_of_a_preheated_image_writes_metadata_alone(bed, registry, sandbox, version, client, depth):
    """Below containerd 2 `ctr` names no chain when it unpacks: the Diff proxy of 1.7 finds it all the same; 1.6 has none."""
    large = Image.of([base_layer(), filler_layer(1, 40 * MIB), filler_layer(2, 10_000)], "none")
    ref = large.push(registry, "test/large:v1", bed.folder / "large")
    node, containerd = bed.warm_pair(registry, version=version, sandbox=sandbox)
    node.preheat(ref, depth=depth)
    layers, before = files_of_layers(node), written_by(node, containerd)
    assert len(layers) > len(large.layers)
    registry.reset()
    pull(containerd, client, ref)
    assert registry.blob_gets() == []
    unpacked_by_containerd = (version, client, depth) == ("1.6", "ctr", "layers")
    after = files_of_layers(node)
    assert {path: after.get(path) for path in layers} == layers
    assert (len(after) > len(layers)) == unpacked_by_containerd
    if not unpacked_by_containerd:
        assert written_by(node, containerd) - before < 8 * MIB


@slow
@pytest.mark.parametrize("version", VERSIONS)
def test_cri_runs_a_container_of_a_preheated_image(pair, registry, ref, version):
    node, containerd = pair
    node.preheat(ref)
    registry.reset()
    cri(containerd.socket, "pull", ref)
    ran = cri(containerd.socket, "run", ref, "/bin/cat", "/opt/old/c")
    assert ran["stdout"] == "only this is left\n" and ran["exit_code"] == 0
    assert any(ref in one["repo_tags"] for one in cri(containerd.socket, "images"))
    assert cri(containerd.socket, "imagefs")[0]["fs_id"]["mountpoint"]
    cri(containerd.socket, "rmi", ref)


@slow
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("version", VERSIONS)
def test_cold_pull_fetches_each_blob_once(pair, registry, ref, image, version, client):
    """Through the mirror, so that the source is known: Hearth pulls for containerd, or feeds what it asks for."""
    node, containerd = pair
    containerd.use_mirror(registry)
    registry.reset()
    if client == "nerdctl":
        pull(containerd, client, ref, "-hosts-dir", containerd.hosts_dir)
    else:
        pull(containerd, client, ref)
    got = [r.path.rpartition("/")[2].partition("?")[0] for r in registry.blob_gets()]
    assert sorted(got) == sorted([blob.digest for blob in image.layers] + [image.config.digest])


@slow
@pytest.mark.parametrize("depth", ["layers", "image"])
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("version", VERSIONS)
def test_isolated_content_still_pulls_and_runs(bed, registry, sandbox, ref, image, version, client, depth):
    """containerd takes no blob over without its bytes: the mirror gives them, or the preheat does, from the store."""
    policy = '[plugins."io.containerd.metadata.v1.bolt"]\n  content_sharing_policy = "isolated"\n'
    node, containerd = bed.warm_pair(registry, version=version, config_extra=policy, mirror=True, sandbox=sandbox)
    node.preheat(ref, depth=depth)
    registry.reset()
    pull(containerd, client, ref, *(["-hosts-dir", containerd.hosts_dir] if client == "nerdctl" else []))
    assert registry.blob_gets() == []
    namespace = namespace_of(client)
    run_it = ["-n", namespace, "run", "--rm", "--snapshotter", "hearth", ref, "probe", "/bin/echo", "hi"]
    assert containerd.ctr(*run_it, timeout=120).stdout == "hi\n"
    assert image.chain_ids()[-1] in containerd.snapshots(namespace)


@slow
@pytest.mark.parametrize("version", VERSIONS)
def test_user_namespace_remap_gets_plain_mounts(bed, pair, sandbox, version):
    """2.x refuses owners outside of the map, so an image of few owners."""
    node, containerd = pair
    bed.folder.chmod(0o711)  # the container's root is another user, who must reach its bundle
    node.preheat(sandbox)
    containerd.pull(sandbox)
    remap = ("--uidmap", "0:100000:65536", "--gidmap", "0:100000:65536")
    out = containerd.ctr("-n", "k8s.io", "run", "--rm", *remap, "--snapshotter", "hearth", sandbox, "mapped", "/bin/cat",
                         "/proc/self/uid_map", timeout=120)  # fmt: skip
    assert "100000" in out.stdout


@slow
@pytest.mark.parametrize("version", VERSIONS)
def test_all_platforms(pair, registry, ref, image, version):
    node, containerd = pair
    node.preheat(ref, depth="layers")
    registry.reset()
    containerd.pull(ref, "--all-platforms")
    assert registry.blob_gets() == []


@slow
@pytest.mark.parametrize("version", VERSIONS)
def test_all_platforms_of_an_index(bed, pair, registry, version):
    """Two were preheated, containerd takes both; only this machine's is unpacked and runs."""
    node, containerd = pair
    here = Image.of([base_layer(), filler_layer(1, 10_000)])
    there = Image.of([filler_layer(2, 10_000)], platform={"os": "linux", "architecture": "s390x"})
    ref = push_index([here, there], registry, bed.folder / "multi")
    node.preheat(ref, "--platform", here.platform["os"] + "/" + here.platform["architecture"], "--platform", "linux/s390x",
                 depth="blobs")  # fmt: skip
    registry.reset()
    containerd.pull(ref, "--all-platforms")
    assert registry.blob_gets() == []
    assert {blob.digest for image in (here, there) for blob in image.layers} <= set(containerd.content())
    assert containerd.run_container(ref, "/bin/echo", "hi") == "hi\n"


@slow
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("version", VERSIONS)
def test_forced_collections_in_mid_pull(bed, registry, image, sandbox, version, client):
    """containerd's collector runs, again and again, while a slow layer of a pull is under way."""
    front = bed.front(registry)
    image.push(registry, "test/small:v1", bed.folder / "layout")
    ref = front.ref("test/small:v1")
    node, containerd = bed.warm_pair(registry, front, version=version, sandbox=sandbox)
    containerd.use_mirror(front)
    other = small_image(layers=2, seed=7).push(registry, "test/other:v1", bed.folder / "other")
    big = max(image.layers, key=lambda blob: len(blob.data))
    front.rule(big.digest, rate=len(big.data) // 6)
    flags = ("-hosts-dir", containerd.hosts_dir) if client == "nerdctl" else ()
    with ThreadPoolExecutor(1) as pool:
        pulled = pool.submit(pull, containerd, client, ref, *flags)
        wait_for(lambda: pulled.done() or front.blob_bytes(big.digest) > 0, 60, "the slow layer's first bytes")
        collections = 0
        while not pulled.done():
            containerd.pull(other)
            containerd.remove_image(other)  # --sync: it returns after a collection
            collections += 1
        pulled.result()
    assert collections > 0
    assert image.chain_ids()[-1] in containerd.snapshots(namespace_of(client))
    argv = ("-n", namespace_of(client), "run", "--rm", "--snapshotter", "hearth", ref, "probe", "/bin/cat", "/opt/old/c")
    assert containerd.ctr(*argv).stdout == "only this is left\n"
    assert len(front.blob_gets(big.digest)) == 1
    assert node.verify()[0] == 0


@slow
@pytest.mark.parametrize("version", VERSIONS)
def test_containerds_collection_leaves_preheats_alone(pair, registry, ref, image, version):
    """A forced collection between preheat and pull, and after the image went."""
    node, containerd = pair
    node.preheat(ref, depth="layers")
    other = small_image(layers=2, seed=7).push(registry, "test/other:v1", containerd.folder / "other")
    containerd.pull(other)
    containerd.remove_image(other)
    registry.reset()
    containerd.pull(ref)
    assert registry.blob_gets() == []
    containerd.remove_image(ref)
    containerd.pull(ref)
    assert registry.blob_gets() == []
    assert node.verify()[0] == 0


@slow
def test_upgrade_from_1_7_to_2_1_on_one_store(bed, registry, ref, image, sandbox):
    folder = bed.new_folder("up")
    node, old = bed.warm_pair(registry, on=folder, version="1.7", sandbox=sandbox)
    node.preheat(ref)
    old.pull(ref)
    uuid = old.uuid()
    old.close()
    new = bed.containerd(folder=folder / "c", node=node, version="2.1", sandbox=sandbox)
    assert new.uuid() == uuid
    assert ref in new.images()
    registry.reset()
    assert new.run_container(ref, "/bin/echo", "hi") == "hi\n"
    other = small_image(layers=4, seed=3)
    other_ref = other.push(registry, "test/other:v1", bed.folder / "other")
    node.preheat(other_ref)
    registry.reset()
    new.pull(other_ref)
    assert registry.blob_gets() == []
    assert cri(new.socket, "run", ref, "/bin/echo", "again")["stdout"] == "again\n"


@slow
@pytest.mark.parametrize("version", VERSIONS)
def test_unknown_layer_type_is_containerds_to_judge(pair, registry, bed, version):
    """Hearth fetches no layer that it cannot unpack; containerd says what it thinks of it."""
    node, containerd = pair
    good = Image.of([base_layer(), filler_layer(1, 1000)])
    for blob in good.layers[1:]:
        blob.media_type = "application/vnd.oci.image.layer.v1.tar+gzip+encrypted"
    strange = good.push(registry, "test/encrypted:v1", bed.folder / "strange")
    refused = node.preheat(strange, check=False)
    assert refused.returncode != 0 and "encrypted" in refused.stderr
    pulled = containerd.pull(strange, check=False, timeout=120)
    assert pulled.returncode != 0
    assert node.verify()[0] == 0
