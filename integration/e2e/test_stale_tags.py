"""[mirror] serve_stale_tags: while its registry is down, a tag means what it meant last."""

import pytest

from integration.testbed import small_image

ON = {"mirror.serve_stale_tags": "true"}


def test_preheated_image_is_pulled_while_its_registry_is_down(bed, registry, ref, image):
    node, containerd = bed.warm_pair(registry, mirror=True, settings=ON)
    node.preheat(ref, depth="layers")
    registry.process.stop()
    containerd.pull(ref)
    assert containerd.run_container(ref, "/bin/cat", "/opt/old/c") == "only this is left\n"
    assert "tag answered from memory" in (node.folder / "node.log").read_text()


@pytest.mark.parametrize("settings", [{}, ON], ids=["off", "on"])
def test_tag_is_the_registrys_while_it_answers(bed, registry, settings):
    """Moved, the new image is pulled; with the key off nothing is pulled once it is down."""
    first, second = small_image(layers=2), small_image(layers=3, seed=4)
    ref = first.push(registry, "test/moving:v1", bed.folder / "first")
    node, containerd = bed.warm_pair(registry, mirror=True, settings=settings)
    node.preheat(ref, depth="layers")
    second.push(registry, "test/moving:v1", bed.folder / "second")
    containerd.pull(ref)
    assert second.chain_ids()[-1] in containerd.snapshots()
    registry.process.stop()
    assert (containerd.pull(ref, check=False).returncode == 0) == bool(settings)
