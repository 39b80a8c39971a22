"""Jobs reach no address that the nodes may not, whoever names it: a registry's redirect, its token service, a name server."""

import pytest

from integration.testbed.cluster import Cluster
from integration.testbed.name_server import NameServer

pytestmark = pytest.mark.slow
METADATA = "http://169.254.169.254/latest/meta-data"


def failure_of(cluster, args):
    done = cluster.wait(cluster.create(args)["id"])
    assert done["state"] == "FAILURE", done
    (task,) = cluster.tasks(done, "failure_tasks")
    return task


def test_an_image_whose_registry_points_to_where_nodes_may_not_go(bed, registry, image):
    image.push(registry, "test/small:v1", bed.folder / "layout")
    inner = bed.origin()
    inner.put("/secret", b"secret", signed=False)
    front = bed.front(registry)
    cluster = Cluster(bed, front, nodes=1, settings={"egress_allow": "[]"})
    args = {"type": "image", "url": front.ref("test/small:v1")}
    for target in (f"http://localhost:{inner.port}/secret", METADATA):
        challenge = f'Bearer realm="{target}",service="x",scope="repository:test/small:pull"'
        for what in (
            {"path": "/manifests/", "status": 307, "headers": {"Location": target}},
            {"path": "/blobs/", "status": 307, "headers": {"Location": target}},
            {"path": "/manifests/", "status": 401, "headers": {"WWW-Authenticate": challenge}},
            {"path": "/blobs/", "status": 401, "headers": {"WWW-Authenticate": challenge}},
        ):
            front.clear()
            for method in ("HEAD", "GET"):
                front.rule(**what, method=method)
            task = failure_of(cluster, args)
            assert task["code"] == "permission_denied" and "egress_allow" in task["description"], (what, task)
    assert inner.asked == []
    front.clear()
    assert cluster.wait(cluster.create(args)["id"])["state"] == "SUCCESS"


@pytest.mark.parametrize("kind", ["file", "image"])
def test_a_name_whose_address_changes_to_this_machines(bed, kind):
    """Public when it is first asked for, then loopback beside it, then loopback alone: what a socket would reach counts."""
    inner = bed.origin()
    public = "203.0.113.7"  # where nobody is
    names = bed.own(NameServer([public]))
    view = bed.machine_view()
    view.run(["sh", "-c", f"rm -f /etc/resolv.conf && echo nameserver {names.address} > /etc/resolv.conf"])
    cluster = Cluster(bed, nodes=1, settings={"egress_allow": "[]"}, prefix=view.argv([]))
    path = "f" if kind == "file" else "v2/a/manifests/v1"
    args = {"type": kind, "url": f"http://rebinding.example.com:{inner.port}/{path}", "timeout": "15s"}
    failure_of(cluster, args)
    for addresses in ([public, "127.0.0.1"], ["127.0.0.1"]):
        names.addresses = addresses
        cluster.nodes[0].restart()  # it remembers a name's address for a minute
        cluster.wait_connected("n1")
        task = failure_of(cluster, args)
    assert task["code"] == "permission_denied" and "egress_allow" in task["description"], task
    assert [told for name, told in names.told if name.startswith("rebinding")][-1] == ["127.0.0.1"]
    assert inner.asked == []
