"""[registry."HOST"] endpoints: whatever a registry is asked, preheat or pull, goes to them first."""

import types

import pytest

from integration.e2e.test_versions import namespace_of, pull

HUB = ["docker.io", "index.docker.io", "registry-1.docker.io"]


def through_mirror(containerd, name):
    """Pulls of NAME/… ask the node's mirror; behind it nobody answers, as where the Hub cannot be reached."""
    containerd.use_mirror(types.SimpleNamespace(address=name, url="http://127.0.0.1:1"))


def pair_behind(bed, registry, name="docker.io", **kw):
    endpoints = f'["{registry.url}"]'
    return bed.warm_pair(registry, settings={f'registry."{name}".endpoints': endpoints}, plain_http=False, **kw)


@pytest.mark.parametrize("table", HUB)
def test_each_name_of_the_hub_is_one_registry(bed, registry, image, table):
    """Preheated under one name, pulled by another process under another, the table under a third."""
    image.push(registry, "library/small:v1", bed.folder / "layout")
    node, containerd = pair_behind(bed, registry, table)
    node.preheat("docker.io/library/small:v1")
    registry.reset()
    for name in HUB:
        through_mirror(containerd, name)
        containerd.pull(f"{name}/library/small:v1")
    assert registry.blob_gets() == []
    assert all("ns=docker.io" in r.path for r in registry.requests() if "/manifests/" in r.path)
    assert image.chain_ids()[-1] in containerd.snapshots()


@pytest.mark.slow
@pytest.mark.parametrize("client", ["ctr", "nerdctl", "cri"])
@pytest.mark.parametrize("version", ["1.6", "1.7", "2.1"])
def test_each_client_finds_what_was_preheated_under_another_name(bed, registry, image, version, client):
    """Each spells the Hub's name in its own way when it asks."""
    image.push(registry, "library/small:v1", bed.folder / "layout")
    node, containerd = pair_behind(bed, registry, version=version)
    node.preheat("docker.io/library/small:v1", depth="layers")
    registry.reset()
    for name in HUB:
        through_mirror(containerd, name)
        flags = ["-hosts-dir", containerd.hosts_dir] if client == "nerdctl" else []
        pull(containerd, client, f"{name}/library/small:v1", *flags)
    assert registry.blob_gets() == []
    assert image.chain_ids()[-1] in containerd.snapshots(namespace_of(client))


def test_cold_pull_comes_from_the_endpoint_once(bed, registry, image):
    image.push(registry, "library/small:v1", bed.folder / "layout")
    _, containerd = pair_behind(bed, registry)
    through_mirror(containerd, "docker.io")
    registry.reset()
    containerd.pull("docker.io/library/small:v1")
    got = [r.path.partition("?")[0].rpartition("/")[2] for r in registry.blob_gets()]
    assert sorted(got) == sorted([blob.digest for blob in image.layers] + [image.config.digest])


def test_endpoint_in_trouble_leaves_the_pull_to_the_registry(bed, registry, ref, image):
    """Refused, without the image, or silent: the registry itself has the last word."""
    front = bed.front(registry)
    front.rule("/v2/", method="HEAD", status=500)
    front.rule("/v2/", method="GET", status=404)
    dead = "http://127.0.0.1:1"
    endpoints = f'["{dead}", "{front.url}"]'
    node, containerd = bed.warm_pair(
        registry, mirror=True, settings={f'registry."{registry.address}".endpoints': endpoints}
    )
    registry.reset()
    containerd.pull(ref)
    assert len(registry.blob_gets()) == len(image.layers) + 1
    assert front.records, "the endpoint was never asked"
