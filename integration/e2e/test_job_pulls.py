"""What containerd's clients find after a job: on each node the client is the first that asks its containerd anything."""

import json
import re

import pytest

from integration.testbed.clients import cri
from integration.testbed.cluster import Cluster
from integration.testbed.process import wait_for


VERSIONS = ["2.1", pytest.param("1.7", marks=pytest.mark.slow), pytest.param("1.6", marks=pytest.mark.slow)]


def typed_pull(machine, client, ref):
    """A pull as it is typed, or as kubelet asks."""
    if client == "ctr":
        # The node makes its snapshotter the default as soon as containerd has it loaded.
        labelled = "containerd.io/defaults/snapshotter=hearth"
        wait_for(lambda: labelled in machine.sh("ctr namespaces ls").stdout, 20, "the namespaces' labels")
        machine.sh(f"ctr -n k8s.io i pull {ref}")
    else:
        cri(machine.view.path("/run/containerd/containerd.sock"), "pull", ref)


@pytest.mark.parametrize("depth", ["layers", pytest.param("image", marks=pytest.mark.slow)])
@pytest.mark.parametrize("version", VERSIONS)
def test_each_client_costs_nothing_on_a_machine_of_its_own(bed, image, version, depth):
    """`layers`: containerd has not heard of the image before the pull; `image`: it lists what nobody has pulled."""
    registry = bed.registry(tls=True, host="registry.test")
    ref = image.push(registry, "test/small:v1", bed.folder / "layout")
    cluster = Cluster(bed, nodes=0)
    machines = {"ctr": bed.machine(registry, version=version), "cri": bed.machine(registry, version=version)}
    for client, machine in machines.items():
        cluster.install_on(machine, client)
    done = cluster.wait(cluster.create({"type": "image", "url": ref, "depth": depth})["id"])
    assert done["state"] == "SUCCESS", done["reason"]
    assert {task["hostname"] for task in cluster.tasks(done)} == set(machines)
    for client, machine in machines.items():
        assert (ref in machine.sh("ctr -n k8s.io i ls -q").stdout) == (depth == "image")
        registry.reset()
        typed_pull(machine, client, ref)
        assert registry.blob_gets() == [], client
        assert image.chain_ids()[-1] in machine.sh("ctr -n k8s.io snapshots --snapshotter hearth ls").stdout
        assert "complete (" in machine.sh(f"ctr -n k8s.io i check --snapshotter hearth name=={ref}").stdout
        assert machine.sh(f"ctr -n k8s.io run --rm {ref} probe /bin/echo hi").stdout == "hi\n"


def test_containerds_of_two_versions_under_one_manager(bed, registry, ref, image):
    """By a preheat job and by a pull job each of them has the image."""
    other = image.push(registry, "test/other:v1", bed.folder / "other")
    cluster = Cluster(bed, registry, nodes=2, containerds=2, versions={"n2": "1.7"})
    for containerd, version in zip(cluster.containerds, ("2.1", "1.7")):
        assert re.search(rf"Server:\s+Version: +v?{re.escape(version)}\.", containerd.ctr("version").stdout)
    done = cluster.wait(cluster.create({"type": "image", "url": ref})["id"])
    assert done["state"] == "SUCCESS", done["reason"]
    document = {
        "apiVersion": "operations.kubeedge.io/v1alpha2",
        "kind": "ImagePrePullJob",
        "metadata": {"name": "both"},
        "spec": {"imagePrePullTemplate": {"images": [other], "nodeNames": ["n1", "n2"], "concurrency": 2}},
    }
    assert cluster.call("POST", "/api/v1/pull-jobs", document)[0] == 200

    def phase():
        found = cluster.call("GET", "/api/v1/pull-jobs/both")[1]["status"]["phase"]
        return found if found in ("Completed", "Failure") else None

    assert wait_for(phase, 60, "the pull job's end", interval=0.1) == "Completed"
    registry.reset()
    for containerd in cluster.containerds:
        for name in (ref, other):
            assert name in containerd.images() and name in json.dumps(cri(containerd.socket, "images"))
            containerd.pull(name)
            cri(containerd.socket, "pull", name)
            containerd.wait_complete(name)
            assert containerd.run_container(name, "/bin/cat", "/opt/old/c") == "only this is left\n"
        assert image.chain_ids()[-1] in containerd.snapshots()
    assert registry.blob_gets() == []
