"""Private registries, basic and bearer: a preheat serves who may pull, nobody else, and is in nobody's way."""

import re
import shlex

import pytest

from integration.testbed import small_image
from integration.testbed.clients import cri_argv, nerdctl_pull_argv
from integration.testbed.process import run
from integration.testbed.registry import PASSWORD, USER

VERSIONS = [pytest.param("1.6", marks=pytest.mark.slow), pytest.param("1.7", marks=pytest.mark.slow), "2.1"]
CLIENTS = ["ctr", "nerdctl", "cri"]
RIGHT = f"{USER}:{PASSWORD}"
WRONG = f"{USER}:not-the-password"
REFUSED = re.compile(r"401|403|unauthorized|authorization failed|denied|insufficient_scope", re.IGNORECASE)


@pytest.fixture(params=["basic", "bearer"])
def registry(bed, request):
    return bed.registry(auth=request.param)


def settings_of(registry, shared=False):
    table = f'registry."{registry.address}"'
    settings = {f"{table}.docker_config": f'"{registry.docker_config()}"'}
    return {**settings, f"{table}.shared": "true"} if shared else settings


def pair_of(bed, registry, version="2.1", shared=False):
    return bed.warm_pair(registry, version=version, mirror=True, settings=settings_of(registry, shared))


def pull(containerd, client, ref, user):
    """The finished client."""
    if client == "ctr":
        return containerd.pull(ref, *(["--user", user] if user else []), check=False, timeout=120)
    if client == "nerdctl":
        flags = ["-plain-http", "-hosts-dir", containerd.hosts_dir, *(["-user", user] if user else [])]
        argv = nerdctl_pull_argv(containerd.socket, ref, *flags, version=containerd.version,
                                 snapshotter=containerd.snapshotter)  # fmt: skip
    else:
        argv = cri_argv(containerd.socket, "pull", ref, user=user)
    return run(argv, check=False, timeout=120)


def assert_pulls(containerd, client, ref, user=RIGHT):
    pulled = pull(containerd, client, ref, user)
    assert pulled.returncode == 0, pulled.stderr


def assert_refused(containerd, client, ref):
    for user in ("", WRONG):
        refused = pull(containerd, client, ref, user)
        assert refused.returncode != 0, f"pulled by {client} as {user!r}"
        assert REFUSED.search(refused.stderr), refused.stderr


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("version", VERSIONS)
def test_right_credentials_hit_the_preheat_and_others_are_refused(bed, registry, ref, image, version, client):
    node, containerd = pair_of(bed, registry, version)
    # Depth `image` would make it an image of this containerd, which asks nobody who may use it.
    node.preheat(ref, depth="layers")
    registry.reset()
    assert_refused(containerd, client, ref)
    namespace = "default" if client == "nerdctl" else "k8s.io"
    assert containerd.images(namespace) == []
    assert registry.blob_gets() == []
    assert_pulls(containerd, client, ref)
    assert registry.blob_gets() == []
    assert image.chain_ids()[-1] in containerd.snapshots(namespace)
    # Who was let in once opens the door for nobody else.
    containerd.ctr("-n", namespace, "images", "rm", "--sync", *containerd.images(namespace))
    assert_refused(containerd, client, ref)


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("version", VERSIONS)
def test_cold_pull_costs_each_blob_once(bed, registry, ref, image, version, client):
    """The node's own credential plays no part: it has none."""
    _, containerd = bed.warm_pair(registry, version=version, mirror=True)
    registry.reset()
    assert_refused(containerd, client, ref)
    assert registry.blob_gets() == []
    assert_pulls(containerd, client, ref)
    got = [r.path.partition("?")[0].rpartition("/")[2] for r in registry.blob_gets()]
    assert sorted(got) == sorted([blob.digest for blob in image.layers] + [image.config.digest])


@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("version", VERSIONS)
def test_containerd_with_its_own_store_behind_the_mirror(bed, registry, ref, version, client):
    """The first level of adoption; and with the node gone, containerd finds the registry itself."""
    node = bed.node(registry, settings=settings_of(registry))
    stock = bed.containerd(version=version)
    stock.use_mirror(registry, mirror=node.mirror)
    node.preheat(ref)
    registry.reset()
    assert_refused(stock, client, ref)
    assert_pulls(stock, client, ref)
    assert registry.blob_gets() == []
    node.stop()
    other = small_image(layers=2, seed=8).push(registry, "test/other:v1", bed.folder / "other")
    for user in ("", WRONG):  # containerd's message is of its first host, which is gone
        assert pull(stock, client, other, user).returncode != 0
    assert_pulls(stock, client, other)


@pytest.mark.slow
@pytest.mark.parametrize("client", CLIENTS)
@pytest.mark.parametrize("version", ["1.6", "1.7", "2.1"])
def test_no_pull_is_worse_than_without_the_mirror(bed, registry, ref, version, client):
    """The same are let in, the same are refused, and no blob leaves the registry that stock containerd would not fetch."""
    costs = {}
    stock = bed.containerd(version=version)
    _, ours = bed.warm_pair(registry, version=version, mirror=True)
    for name, containerd in (("stock", stock), ("ours", ours)):
        for user in ("", WRONG, RIGHT):
            registry.reset()
            pulled = pull(containerd, client, ref, user)
            assert (pulled.returncode == 0) == (user == RIGHT), f"{name}, {user!r}: {pulled.stderr}"
            gets = registry.blob_gets()
            costs[name, user] = (len(gets), sum(get.size for get in gets))
    for user in ("", WRONG, RIGHT):
        # Neither more GETs nor more bytes.
        assert all(ours <= stock for ours, stock in zip(costs["ours", user], costs["stock", user])), costs


@pytest.mark.parametrize("auth", ["basic", "bearer"])
@pytest.mark.parametrize("version", VERSIONS)
def test_over_tls_as_installed(bed, image, version, auth):
    """Commands as a user types them: right credentials hit the preheat by each client, others are refused."""
    registry = bed.registry(auth=auth, tls=True, host="registry.test")
    ref = image.push(registry, "test/small:v1", bed.folder / "layout")
    machine = bed.machine(registry, version=version)
    machine.write_node_config(top='egress_allow = ["127.0.0.0/8"]', docker_config=registry.docker_config())
    machine.start_containerd()
    machine.sh("hearth install")
    machine.start_node()
    machine.restart_containerd()
    machine.sh(f"hearth preheat --depth layers {ref}")
    for client in CLIENTS:
        namespace = "default" if client == "nerdctl" else "k8s.io"
        registry.reset()
        for user in ("", WRONG, RIGHT):
            pulled = machine.sh(exact_pull(machine, client, ref, user, version), check=False)
            assert (pulled.returncode == 0) == (user == RIGHT), f"{client}, {user!r}: {pulled.stderr}"
            assert user == RIGHT or REFUSED.search(pulled.stderr), pulled.stderr
        assert registry.blob_gets() == []
        assert image.chain_ids()[-1] in machine.sh(f"ctr -n {namespace} snapshots --snapshotter hearth ls").stdout
        names = machine.sh(f"ctr -n {namespace} images ls -q").stdout.split()
        machine.sh(f"ctr -n {namespace} images rm --sync {' '.join(names)}")


def exact_pull(machine, client, ref, user, version):
    """The command line, for Machine.sh."""
    if client == "ctr":
        return f"ctr -n k8s.io i pull {'--user ' + user if user else ''} {ref}"
    socket = machine.view.path("/run/containerd/containerd.sock")
    if client == "cri":
        argv = cri_argv(socket, "pull", ref, user=user)
    else:
        flags = ["-hosts-dir", "/etc/containerd/certs.d", *(["-user", user] if user else [])]
        argv = nerdctl_pull_argv(socket, ref, *flags, version=version)
    return shlex.join(str(word) for word in argv)


@pytest.mark.parametrize("client", ["preheat", *[pytest.param(c, marks=pytest.mark.slow) for c in ("ctr", "cri")]])
def test_token_that_expires_in_a_layer_is_no_pulls_end(bed, image, client):
    """The connection ends inside a layer, and the token that asked for it is good for nothing any more."""
    registry = bed.registry(auth="bearer")
    image.push(registry, "test/small:v1", bed.folder / "bearer")
    front = bed.front(registry)
    settings = {f'registry."{front.address}".docker_config': f'"{registry.docker_config(front.address)}"'}
    node, containerd = bed.warm_pair(front, mirror=True, settings=settings)
    layer = max(image.layers, key=lambda blob: len(blob.data))
    cut = front.rule(layer.digest, agent="hearth", expire_at=len(layer.data) // 2, times=1)
    name = front.ref("test/small:v1")
    if client == "preheat":
        node.preheat(name, depth="layers")
    else:
        assert_pulls(containerd, client, name)
        assert image.chain_ids()[-1] in containerd.snapshots()
    assert cut.hits == 1
    assert len(front.blob_gets(layer.digest)) >= 2
    assert node.verify()[0] == 0


def test_shared_credential_of_the_node_serves_whoever_brings_none(bed, registry, ref, image):
    _, containerd = pair_of(bed, registry, shared=True)
    registry.reset()
    assert_pulls(containerd, "cri", ref, user="")
    got = [r.path.partition("?")[0].rpartition("/")[2] for r in registry.blob_gets()]
    assert sorted(got) == sorted([blob.digest for blob in image.layers] + [image.config.digest])
