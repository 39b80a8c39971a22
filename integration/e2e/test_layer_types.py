"""Layers of every type that an image may name: each client gets of Hearth what it gets of stock containerd."""

import subprocess

import pytest

from integration.testbed import Image
from integration.testbed.clients import cri_argv, nerdctl_pull_argv
from integration.testbed.image import base_layer, filler_layer
from integration.testbed.process import run

VERSIONS = [pytest.param("1.6", marks=pytest.mark.slow), pytest.param("1.7", marks=pytest.mark.slow), "2.1"]
CLIENTS = [pytest.param("ctr", marks=pytest.mark.slow), pytest.param("nerdctl", marks=pytest.mark.slow), "cri"]
OCI, DOCKER = "application/vnd.oci.image.layer", "application/vnd.docker.image.rootfs"
# Of a layer whose bytes are a gzip'd tar.
TYPES = [
    f"{OCI}.v1.tar+gzip+encrypted",
    f"{OCI}.v1.tar+encrypted",
    f"{OCI}.nondistributable.v1.tar+gzip",
    f"{OCI}.nondistributable.v1.tar+zstd",  # which the bytes are not
    f"{DOCKER}.foreign.diff.tar.gzip",
    f"{DOCKER}.diff.tar.gzip",
    "application/vnd.example.layer+gzip",
    "application/octet-stream",
]
# What a preheat says by name that it does not unpack; containerd needs a decoder for the first two.
REFUSED = {TYPES[0], TYPES[1], "application/vnd.example.layer+gzip", "application/octet-stream"}


def image_of(media_type, seed):
    image = Image.of([base_layer(), filler_layer(seed, 1000)])
    image.layers[1].media_type = media_type
    return image


def pull(containerd, client, ref):
    if client == "ctr":
        return containerd.pull(ref, check=False, timeout=120)
    if client == "nerdctl":
        flags = ["-plain-http", "-hosts-dir", containerd.hosts_dir]
        argv = nerdctl_pull_argv(containerd.socket, ref, *flags, version=containerd.version,
                                 namespace="k8s.io", snapshotter=containerd.snapshotter)  # fmt: skip
    else:
        argv = cri_argv(containerd.socket, "pull", ref)
    return run(argv, check=False, timeout=120)


def files(containerd, image):
    """The image's tree; directories that no layer has an entry for get their time when they are unpacked."""
    listing = containerd.tree(image.chain_ids()[-1])
    return {path: e if e["kind"] != "dir" else {**e, "mtime_ns": 0} for path, e in listing.items()}


def named(containerd, image):
    """Whether containerd has the image's top layer, whatever its client said."""
    return image.chain_ids()[-1] in containerd.snapshots()


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("version", VERSIONS)
def test_taken_and_refused_as_by_stock_containerd(bed, registry, version, client):
    node, ours = bed.warm_pair(registry, version=version, mirror=True)
    stock = bed.containerd(version=version)
    for number, media_type in enumerate(TYPES):
        image = image_of(media_type, seed=100 + number)
        ref = image.push(registry, f"test/type{number}:v1", bed.folder / f"layout{number}")
        theirs, mine = pull(stock, client, ref), pull(ours, client, ref)
        said = f"{media_type}: {theirs.stderr}\n{mine.stderr}"
        assert mine.returncode == theirs.returncode, said
        assert named(ours, image) == named(stock, image), said
        if named(stock, image):
            assert files(ours, image) == files(stock, image), said
    assert node.verify()[0] == 0


def test_preheat_takes_them_or_names_the_type(bed, registry):
    node = bed.node(registry)
    for number, media_type in enumerate(TYPES):
        image = image_of(media_type, seed=200 + number)
        ref = image.push(registry, f"test/type{number}:v1", bed.folder / f"layout{number}")
        preheated = node.preheat(ref, depth="layers", check=False)
        assert preheated.returncode == (1 if media_type in REFUSED else 0), f"{media_type}: {preheated.stderr}"
        assert media_type not in REFUSED or media_type in preheated.stderr, preheated.stderr
        # As blobs, without a look into them, they can all be warm.
        assert node.preheat(ref, depth="blobs", check=False).returncode == 0, media_type
    assert node.verify()[0] == 0


KEY, IV = "00112233445566778899aabbccddeeff" * 2, "0f" * 16
# In place of containerd's own entry for that type, whose program is not everywhere.
DECODER = f"""
[stream_processors."io.containerd.ocicrypt.decoder.v1.tar.gzip"]
  accepts = ["{TYPES[0]}"]
  returns = "{OCI}.v1.tar+gzip"
  path = "/usr/bin/openssl"
  args = ["enc", "-d", "-aes-256-ctr", "-K", "{KEY}", "-iv", "{IV}"]
"""


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("version", VERSIONS)
def test_encrypted_layer_is_decoded_by_containerds_own_processor(bed, registry, version, client):
    """We keep its bytes and leave the rest to whoever has the key."""
    node, ours = bed.warm_pair(registry, version=version, mirror=True, config_extra=DECODER)
    stock = bed.containerd(version=version, config_extra=DECODER)
    image = image_of(TYPES[0], seed=400)
    layer = image.layers[1]
    layer.data = subprocess.run(["openssl", "enc", "-aes-256-ctr", "-K", KEY, "-iv", IV],
                                input=layer.data, stdout=subprocess.PIPE, check=True).stdout  # fmt: skip
    ref = image.push(registry, "test/encrypted:v1", bed.folder / "layout")
    node.preheat(ref, depth="blobs")
    theirs = pull(stock, client, ref)
    registry.reset()
    mine = pull(ours, client, ref)
    assert mine.returncode == theirs.returncode == 0, theirs.stderr + mine.stderr
    assert files(ours, image) == files(stock, image)
    assert registry.blob_gets() == []
    assert node.verify()[0] == 0


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("version", VERSIONS)
def test_foreign_layer_that_lies_elsewhere_is_pulled_from_there(bed, registry, version, client):
    """Its descriptor says where; the registry has no such blob."""
    origin = bed.origin()
    front = bed.front(registry)
    image = image_of(f"{DOCKER}.foreign.diff.tar.gzip", seed=300)
    layer = image.layers[1]
    origin.put("/layer", layer.data, signed=False)
    url = f"http://{origin.address}/layer"
    plain = layer.descriptor
    layer.descriptor = lambda **extra: plain(urls=[url], **extra)
    image.push(registry, "test/foreign:v1", bed.folder / "layout")
    front.rule(layer.digest, status=404)
    front.rule(layer.digest, method="HEAD", status=404)
    front.document("/manifests/", image.manifest.data, image.manifest.media_type)
    _, ours = bed.warm_pair(front, version=version, mirror=True)
    stock = bed.containerd(version=version)
    stock.use_mirror(front, mirror=front.address)  # how CRI learns that it speaks http
    theirs, mine = (pull(c, client, front.ref("test/foreign:v1")) for c in (stock, ours))
    assert mine.returncode == theirs.returncode == 0, theirs.stderr + mine.stderr
    assert files(ours, image) == files(stock, image)
