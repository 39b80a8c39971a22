"""What a job's arguments do on real nodes: which nodes, which images, how often, in what order."""

import pytest

from integration.e2e.test_endpoints import HUB, through_mirror
from integration.e2e.test_preheat import push_index
from integration.testbed import Image, Testbed, small_image
from integration.testbed.cluster import Cluster
from integration.testbed.image import base_layer, filler_layer
from integration.testbed.registry import PASSWORD, USER

S390X = {"os": "linux", "architecture": "s390x"}


@pytest.fixture(scope="module")
def three():
    """(cluster, origin, registry): n1 and n2 in zone a, n1 the seed; n3 in zone b; each with an address of its own."""
    with Testbed() as bed:
        registry = bed.registry()
        labels = {"n1": '{zone = "a", seed = "true"}', "n2": '{zone = "a"}', "n3": '{zone = "b"}'}
        own = {}
        for number, name in enumerate(labels, 1):
            address = f'"127.0.0.{number}"'
            listen = {f"peer.{port}_listen": f'"127.0.0.{number}:0"' for port in ("data", "control")}
            own[name] = {"labels": labels[name], "peer.advertise": address, **listen}
        yield Cluster(bed, registry, nodes=3, own=own), bed.origin(), registry


def succeeded(cluster, args):
    """The names of the nodes that have all of it."""
    done = cluster.wait(cluster.create(args)["id"])
    assert done["state"] == "SUCCESS", done["reason"]
    return {task["hostname"] for task in cluster.tasks(done)}


@pytest.mark.parametrize(
    "args, nodes",
    [
        ({"ips": ["127.0.0.2", "127.0.0.3"]}, {"n2", "n3"}),
        ({"nodes": ["n3", "n1"]}, {"n1", "n3"}),
        ({"node_labels": {"zone": "a"}}, {"n1", "n2"}),
        ({"nodeLabels": {"zone": "a"}, "ips": ["127.0.0.1"]}, {"n1"}),
        ({"scope": "single_seed_peer"}, {"n1"}),
        ({"scope": "all_seed_peers"}, {"n1"}),
        ({"scope": "all_peers"}, {"n1", "n2", "n3"}),
        ({"count": 2}, 2),
        ({"percentage": 33}, 1),
        ({"percentage": 67, "scope": "all_peers"}, 2),
        ({"node_labels": {"zone": "a"}, "count": 1}, 1),
    ],
)
def test_each_scope_reaches_its_nodes_and_no_other(three, args, nodes):
    cluster, origin, _ = three
    origin.put("/scope", b"scope" * 100, signed=False)
    found = succeeded(cluster, {"type": "file", "url": f"http://{origin.address}/scope", "tag": str(args), **args})
    assert found == nodes if isinstance(nodes, set) else len(found) == nodes
    assert "zone" not in str(args.get("node_labels")) or found <= {"n1", "n2"}


def test_several_images_at_once_by_name_url_and_digest(three):
    cluster, _, registry = three
    images = [small_image(layers=1, seed=seed) for seed in range(3)]
    names = [f"test/several{number}" for number in range(3)]
    for name, image in zip(names, images):
        image.push(registry, f"{name}:v1", registry.folder / name.replace("/", "-"))
    base = f"http://{registry.address}/v2"
    args = {
        "type": "image",
        "url": f"{base}/{names[0]}/manifests/v1",
        "urls": [f"{base}/{names[1]}/manifests/{images[1].manifest.digest}"],
        "images": [f"{registry.address}/{names[2]}@{images[2].manifest.digest}"],
    }
    done = cluster.wait(cluster.create(args)["id"])
    assert done["state"] == "SUCCESS", done["reason"]
    for name in ("n1", "n2", "n3"):
        has = {task["digest"] for task in cluster.tasks(done) if task["hostname"] == name}
        for image in images:
            assert {image.config.digest, image.manifest.digest, *(blob.digest for blob in image.layers)} <= has
    # The one by tag is warm under its tag, the others under their digests.
    for ref in (f"{names[0]}:v1", f"{names[1]}@{images[1].manifest.digest}", f"{names[2]}@{images[2].manifest.digest}"):
        assert cluster.nodes[2].json("explain", f"{registry.address}/{ref}")["warm"], ref


def test_platforms_of_an_index(three):
    cluster, _, registry = three
    here = Image.of([base_layer(), filler_layer(1, 10_000)])
    there = Image.of([filler_layer(2, 10_000)], platform=S390X)
    ref = push_index([here, there], registry, registry.folder / "multi")

    def digests(**args):
        done = cluster.wait(cluster.create({"type": "image", "url": ref, "depth": "blobs", "nodes": ["n1"], **args})["id"])
        assert done["state"] == "SUCCESS", done["reason"]
        return {task["digest"] for task in cluster.tasks(done)}

    ours, theirs = ({image.config.digest, image.manifest.digest, *(b.digest for b in image.layers)} for image in (here, there))
    both = f"linux/{here.platform['architecture']}", "linux/s390x"
    assert ours <= digests() and not theirs & digests()
    assert theirs <= digests(platform="linux/s390x") and not ours & digests(platform="linux/s390x")
    for args in ({"platforms": list(both)}, {"platform": list(both)}):
        assert ours | theirs <= digests(**args)
    done = cluster.wait(cluster.create({"type": "image", "url": ref, "platform": "linux/mips64le"})["id"])
    assert done["state"] == "FAILURE" and "mips64le" in done["reason"], done["reason"]


@pytest.mark.slow
@pytest.mark.parametrize("retry", [0, 2])
def test_retry_asks_a_flaky_registry_again(bed, registry, image, retry):
    """What a registry calls final the node asks once; the job's retry asks for all of it anew."""
    image.push(registry, "test/small:v1", bed.folder / "layout")
    front = bed.front(registry)
    cluster = Cluster(bed, front, nodes=1)
    refusal = front.rule("/manifests/", method="HEAD", status=404, times=1)
    done = cluster.wait(cluster.create({"type": "image", "url": front.ref("test/small:v1"), "retry": retry})["id"])
    assert done["state"] == ("SUCCESS" if retry else "FAILURE"), done["reason"]
    assert refusal.hits == 1
    status, nodes = cluster.call("GET", f"/oapi/v1/jobs/{done['id']}/nodes")
    assert status == 200 and nodes["nodes"][0]["attempt"] == (2 if retry else 1)


@pytest.mark.slow
@pytest.mark.parametrize("named", HUB[1:])
def test_each_of_the_hubs_names_in_a_job_warms_a_pull_of_docker_io(bed, registry, image, named):
    image.push(registry, "library/small:v1", bed.folder / "layout")
    settings = {'registry."docker.io".endpoints': f'["{registry.url}"]'}
    cluster = Cluster(bed, registry, nodes=1, containerds=1, settings=settings)
    url = f"https://{named}/v2/library/small/manifests/v1"
    assert succeeded(cluster, {"type": "image", "url": url, "depth": "layers"}) == {"n1"}
    registry.reset()
    (containerd,) = cluster.containerds
    through_mirror(containerd, "docker.io")
    containerd.plain_http = False
    containerd.pull("docker.io/library/small:v1")
    assert registry.blob_gets() == []
    assert image.chain_ids()[-1] in containerd.snapshots()


@pytest.mark.slow
@pytest.mark.parametrize("scheme", ["https", "http"])
def test_a_registry_over_tls(bed, image, scheme):
    """What the node's table says of the registry counts, not the job's scheme."""
    registry = bed.registry(tls=True)
    ref = image.push(registry, "test/small:v1", bed.folder / "layout")
    cluster = Cluster(bed, registry, nodes=1)
    url = f"{scheme}://{registry.address}/v2/test/small/manifests/v1"
    assert succeeded(cluster, {"type": "image", "url": url}) == {"n1"}
    assert cluster.nodes[0].json("explain", ref)["warm"]


@pytest.mark.slow
def test_a_jobs_token_that_expires_in_a_layer_is_fetched_anew(bed, image):
    registry = bed.registry(auth="bearer")
    image.push(registry, "test/small:v1", bed.folder / "layout")
    front = bed.front(registry)
    cluster = Cluster(bed, front, nodes=1)
    layer = max(image.layers, key=lambda blob: len(blob.data))
    cut = front.rule(layer.digest, agent="hearth", expire_at=len(layer.data) // 2, times=1)
    login = {"username": USER, "password": PASSWORD}
    assert succeeded(cluster, {"type": "image", "url": front.ref("test/small:v1"), **login}) == {"n1"}
    assert cut.hits == 1 and len(front.blob_gets(layer.digest)) >= 2 and len(front.expired) == 1
    assert cluster.nodes[0].verify()[0] == 0


@pytest.mark.slow
def test_what_is_of_higher_priority_goes_first(bed):
    """All of it waits for the node, which works on four things at once."""
    origin = bed.origin()
    cluster = Cluster(bed, nodes=1)
    (node,) = cluster.nodes
    node.stop()
    cluster.wait_connected("n1", False)
    jobs = []
    for number, priority in enumerate([1, 1, 1, 1, 0, 1, 1, 1, 9, 5]):
        path = f"/{priority}/{number}"
        origin.put(path, bytes(1000), signed=False, rate=2000)
        url = f"http://{origin.address}{path}"
        jobs.append(cluster.create({"type": "file", "url": url, "priority": priority})["id"])
    node.start()
    for job in jobs:
        assert cluster.wait(job)["state"] == "SUCCESS"
    seen = list(dict.fromkeys(asked.path for asked in origin.asked))
    assert {"/9/8", "/5/9"} <= set(seen[:4]) and "/0/4" in seen[-4:], seen
