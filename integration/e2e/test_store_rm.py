"""hearth store rm: what containerd uses stays, and who uses it is said; a preheat that is taken back leaves nothing of its own."""

from integration.testbed import Image
from integration.testbed.image import base_layer, filler_layer
from integration.testbed.process import wait_for


def image_of(number, registry, folder):
    """Of a layer that all share and one of its own."""
    made = Image.of([base_layer(), filler_layer(number, 50_000)], "gzip")
    return made, made.push(registry, f"rm/image{number}:v1", folder / f"image{number}")


def remove_images(containerd):
    containerd.wait_for_leases()
    for name in containerd.images():  # CRI's own name too
        containerd.remove_image(name)


def held(node):
    store = node.json("store", "ls")
    return {blob["digest"] for blob in store["blobs"]}, {layer["chain_id"] for layer in store["layers"]}


def test_what_containerd_uses_stays_and_is_named(bed, registry):
    node, containerd = bed.warm_pair(registry)
    image, ref = image_of(1, registry, bed.folder)
    node.preheat(ref)
    before = held(node)
    for name in (image.layers[1].digest, image.config.digest, *image.chain_ids()):
        out = node.command("store", "rm", name, check=False)
        assert out.returncode == 1 and f"image {ref} (k8s.io)" in out.stderr, out.stderr
    assert held(node) == before
    remove_images(containerd)
    for name in (*reversed(image.chain_ids()), image.layers[1].digest):
        node.command("store", "rm", name)
    wait_for(lambda: held(node)[1] == set(), 10, "the layers to go")


def test_a_layer_below_another_is_not_removed(bed, registry):
    node = bed.node(registry)
    image, ref = image_of(1, registry, bed.folder)
    node.preheat(ref, depth="layers")
    low, high = image.chain_ids()
    out = node.command("store", "rm", low, check=False)
    assert out.returncode == 1 and f"layer {high}" in out.stderr, out.stderr


def test_a_preheat_is_taken_back(bed, registry):
    node, containerd = bed.warm_pair(registry)
    (one, one_ref), (two, two_ref) = (image_of(number, registry, bed.folder) for number in (1, 2))
    node.command("preheat", one_ref, "--depth", "layers", "--pin", "1h")
    node.preheat(two_ref, depth="layers")
    # What the other one needs too stays, with its mark; the rest goes at once, pinned or not.
    (done,) = node.json("store", "rm", one_ref)["unpreheated"]
    assert (done["blobs"], done["layers"], done["shared"], done["used"]) == (3, 1, 2, 0)
    assert done["freed_bytes"] > 0 and done["reference"] == one_ref
    blobs, layers = held(node)
    assert not blobs & {one.layers[1].digest, one.config.digest} and one.chain_ids()[1] not in layers
    assert node.json("explain", two_ref)["warm"]
    again = node.command("store", "rm", one_ref, check=False)
    assert again.returncode == 3 and "not preheated" in again.stderr, again.stderr

    # In use: it stays until containerd removes it, and is not kept after that.
    containerd.pull(two_ref)
    (done,) = node.json("store", "rm", two_ref)["unpreheated"]
    assert (done["blobs"], done["layers"], done["shared"]) == (0, 0, 0) and done["used"] > 0
    assert containerd.run_container(two_ref, "/bin/echo", "hi") == "hi\n"
    assert not any(blob["preheated"] for blob in node.json("store", "ls")["blobs"])
    remove_images(containerd)
    wait_for(lambda: held(node) == (set(), set()), 20, "all of it to go")
    assert node.verify()[0] == 0
    # Nothing was broken for the next time.
    node.preheat(one_ref, depth="layers")
    assert node.json("explain", one_ref)["warm"]


def test_a_preheat_of_a_moved_tag_is_named_by_its_digest(bed, registry):
    node = bed.node(registry)
    _, ref = image_of(1, registry, bed.folder)
    node.preheat(ref, depth="layers")
    digest = node.json("explain", ref)["digest"]
    other = Image.of([base_layer(), filler_layer(2, 50_000)], "gzip")
    other.push(registry, "rm/image1:v1", bed.folder / "moved")
    refused = node.command("store", "rm", ref, check=False)
    assert refused.returncode == 3 and "by its digest" in refused.stderr, refused.stderr
    registry.close()  # and the registry is not needed for it
    node.command("store", "rm", f"{ref.rpartition(':')[0]}@{digest}")
    assert held(node) == (set(), set())
