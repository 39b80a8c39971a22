"""hearth repair: a store that was lost comes back from containerd's records and the registries."""

import json
import os
import pathlib
import re
import shutil
import signal
import subprocess

import pytest

from integration.testbed import Image, small_image
from integration.testbed.image import base_layer, filler_layer
from integration.testbed.process import run, wait_for

MIB = 1 << 20

RAN = 7
RAN_COMMAND = ["/bin/sh", "-c", f"/bin/echo hi && exit {RAN}"]


class Lossy:
    """A warm node and a containerd with two images in two namespaces, and what can be done to the node's store."""

    def __init__(self, bed, version="2.1", registries=None, on=None):
        self.bed = bed
        self.registries = registries or [bed.registry()]
        self.node, self.containerd = bed.warm_pair(*self.registries, version=version, on=on)

    def push(self, image, name, registry=None):
        return image.push(registry or self.registries[0], name, self.bed.new_folder("layout") / "oci")

    def pull(self, ref, namespace="k8s.io", extra=()):
        argv = ["-n", namespace, "images", "pull", "--plain-http", "--snapshotter", "hearth", *extra, ref]
        self.containerd.ctr(*argv, timeout=300)
        wait_for(lambda: " complete (" in self.check(ref, namespace), 20, f"all of {ref}")

    def check(self, ref, namespace="k8s.io"):
        out = self.containerd.ctr("-n", namespace, "images", "check", "--snapshotter", "hearth", f"name=={ref}").stdout
        return next((line for line in out.splitlines() if line.startswith(ref)), out)

    def run(self, ref, namespace="k8s.io", name="probe"):
        """Runs a container to its end; ctr may lose the output of one that ends at once, never how it ended."""
        argv = ["-n", namespace, "run", "--rm", "--snapshotter", "hearth", ref, name, *RAN_COMMAND]
        return self.containerd.ctr(*argv, check=False)

    def files(self, image):
        """The image's tree; directories that no layer has an entry for get their time when they are unpacked."""
        listing = self.containerd.tree(image.chain_ids()[-1])
        return {path: e if e["kind"] != "dir" else {**e, "mtime_ns": 0} for path, e in listing.items()}

    def layer_folder(self, chain):
        """snapshots/N of a layer, as a snapshot on it names it (ctr keeps those, but no views, from the GC)."""
        snapshots = ("-n", "k8s.io", "snapshots", "--snapshotter", "hearth")
        self.containerd.ctr(*snapshots, "prepare", "look", chain)
        text = self.containerd.ctr(*snapshots, "mounts", "/mnt", "look").stdout
        self.containerd.ctr(*snapshots, "rm", "look")
        return pathlib.Path(re.search(r"(?:lowerdir=|bind )(/[^:,\s]+)/fs", text)[1])

    def lose_store(self):
        self.node.stop()
        shutil.rmtree(self.node.root)
        self.node.start()

    def repair(self, *flags, check=True):
        result = self.node.command("repair", "--output", "json", *flags, check=False, timeout=300)
        if check:
            assert result.returncode == 0, result.stdout + result.stderr
        return result.returncode, json.loads(result.stdout)


def states(report, kind="image"):
    """By namespace and name; CRI's second name of each image left out."""
    named = [i for i in report["items"] if i["kind"] == kind and not i["name"].startswith("sha256:")]
    return {(i["namespace"], i["name"]): i["state"] for i in named}


VERSIONS = [pytest.param("1.6", marks=pytest.mark.slow), pytest.param("1.7", marks=pytest.mark.slow), "2.1"]


@pytest.mark.parametrize("version", VERSIONS)
def test_images_and_containers_run_again_after_the_store_was_deleted(bed, image, version):
    lossy = Lossy(bed, version)
    one, two = lossy.push(image, "test/one:v1"), lossy.push(small_image(layers=3), "test/two:v1")
    lossy.pull(one)
    lossy.pull(two)
    lossy.pull(two, "default")
    ctr = lossy.containerd.ctr
    ctr("-n", "default", "containers", "create", "--snapshotter", "hearth", two, "stopped", "/bin/true")
    before = {ns: lossy.containerd.snapshots(ns) for ns in ("k8s.io", "default")}
    lossy.lose_store()
    lossy.containerd.wait_for_hearth()
    failed = lossy.run(one)
    assert failed.returncode == 1 and "hearth repair" in failed.stderr, failed.stderr
    assert lossy.containerd.snapshots() == {}

    _, plan = lossy.repair("--dry-run")
    assert plan["lost"]["blobs"] > 0 and set(states(plan).values()) == {"lost"}
    assert lossy.node.json("store", "ls")["blobs"] == []

    _, report = lossy.repair()
    assert states(report) == {("k8s.io", one): "repaired", ("k8s.io", two): "repaired", ("default", two): "repaired"}
    assert states(report, "container") == {("default", "stopped"): "emptied"}
    assert report["snapshots"] == plan["lost"]["snapshots"] == sum(len(s) for s in before.values())
    assert {ns: lossy.containerd.snapshots(ns) for ns in before} == before
    for ns, ref in (("k8s.io", one), ("k8s.io", two), ("default", two)):
        line = lossy.check(ref, ns)
        assert " complete (" in line and line.rstrip().endswith("true"), line
        assert lossy.run(ref, ns).returncode == RAN
    ctr("-n", "default", "tasks", "start", "stopped")
    assert lossy.node.verify()[0] == 0
    # Once more: nothing is lost.
    _, report = lossy.repair()
    assert report["lost"] == {"blobs": 0, "bytes": 0, "snapshots": 0} and report["blobs"] == 0
    assert set(states(report).values()) == {"whole"}


def test_what_cannot_be_fetched_is_named_and_comes_with_the_next_run(bed, registry, image):
    """One registry asks for credentials that the node lacks; a container runs on files that are gone."""
    front = bed.front(registry)
    lossy = Lossy(bed, registries=[registry, front])
    two = small_image(layers=3)
    good = lossy.push(image, "test/good:v1")
    lossy.push(two, "test/private:v1")
    private = front.ref("test/private:v1")
    lossy.pull(good)
    lossy.pull(private)
    ctr = lossy.containerd.ctr
    ctr("-n", "k8s.io", "run", "-d", "--snapshotter", "hearth", good, "runs", "/bin/sleep", "1000")
    lossy.lose_store()
    front.rule("/v2/", status=401, headers={"WWW-Authenticate": 'Basic realm="private"'})

    code, report = lossy.repair(check=False)
    assert code == 4
    assert states(report) == {("k8s.io", good): "repaired", ("k8s.io", private): "failed"}
    reason = next(i["reason"] for i in report["items"] if i["name"] == private)
    assert "docker_config" in reason and front.address in reason, reason
    container = next(i for i in report["items"] if i["kind"] == "container")
    assert (container["name"], container["state"]) == ("runs", "failed") and "stop it" in container["reason"]
    assert lossy.run(good).returncode == RAN

    front.clear()
    ctr("-n", "k8s.io", "tasks", "kill", "-s", "KILL", "runs")
    wait_for(lambda: "STOPPED" in ctr("-n", "k8s.io", "tasks", "ls").stdout, 20, "the container's end")
    ctr("-n", "k8s.io", "tasks", "rm", "runs")
    registry.reset()
    _, report = lossy.repair()
    assert states(report) == {("k8s.io", good): "whole", ("k8s.io", private): "repaired"}
    assert states(report, "container") == {("k8s.io", "runs"): "emptied"}
    again = {r.path.rpartition("/")[2] for r in registry.blob_gets()}
    assert again <= {blob.digest for blob in two.layers} | {two.config.digest}
    assert lossy.run(private).returncode == RAN
    ctr("-n", "k8s.io", "tasks", "start", "-d", "runs")


def test_layers_of_containerds_own_damaged_blobs_and_single_layers(bed, registry, image):
    lossy = Lossy(bed, registries=[registry])
    ref = lossy.push(image, "test/small:v1")
    # Without labels: containerd unpacks itself, and calls the layers "k8s.io/N/sha256:…".
    lossy.pull(ref, extra=["--local"])
    store = lossy.node.json("store", "ls")
    assert {s["name"].split("/")[0] for s in store["snapshots"]} == {"k8s.io"}
    listing = lossy.files(image)
    lossy.lose_store()
    lossy.repair()
    names = sorted((s["name"], s["parent"], s["kind"]) for s in store["snapshots"])
    assert names == sorted((s["name"], s["parent"], s["kind"]) for s in lossy.node.json("store", "ls")["snapshots"])
    assert lossy.files(image) == listing
    assert lossy.run(ref).returncode == RAN

    # A blob that rotted.
    victim = lossy.node.blob_path(max(image.layers, key=lambda blob: len(blob.data)).digest)
    with open(victim, "r+b") as f:
        f.write(b"wrong")
    _, report = lossy.repair("--verify")
    assert [victim.name in line for line in report["damaged"]] == [True] and report["blobs"] == 1
    assert lossy.node.verify()[0] == 0

    # A layer's files, deleted while the node runs: it says so, and after its restart they are made again.
    shutil.rmtree(lossy.layer_folder(image.chain_ids()[1]))
    code, report = lossy.repair(check=False)
    assert code == 1 and "restart hearth" in next(i["reason"] for i in report["items"] if i["state"] == "failed")
    lossy.node.restart()
    lossy.containerd.wait_for_hearth()
    assert lossy.files(image) == listing
    log = lossy.node.folder / "node.log"
    wait_for(lambda: "what the power loss took is back" in log.read_text(), 60, "the end of the node's own repair")
    _, report = lossy.repair()
    assert states(report) == {("k8s.io", ref): "whole"} and report["blobs"] == 0

    # containerd is their owner again: what it removes is freed.
    for name in lossy.containerd.images():  # CRI's own name too
        lossy.containerd.remove_image(name)
    wait_for(lambda: lossy.node.json("store", "ls")["blobs"] == [], 30, "the blobs to go")
    wait_for(lambda: lossy.node.json("store", "ls")["layers"] == [], 30, "the layers to go")


@pytest.mark.parametrize("how", ["interrupt", pytest.param("kill9", marks=pytest.mark.slow)])
def test_what_came_before_an_interrupt_stays(bed, registry, image, how):
    front = bed.front(registry)
    lossy = Lossy(bed, registries=[front])
    image.push(registry, "test/small:v1", bed.folder / "layout")
    ref = front.ref("test/small:v1")
    lossy.pull(ref)
    lossy.lose_store()
    front.clear()
    big = max(image.layers, key=lambda blob: len(blob.data))
    front.rule(big.digest, rate=len(big.data) // 20)
    command = subprocess.Popen(lossy.node.command_argv("repair"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for(lambda: command.poll() or front.blob_bytes(big.digest) > 200_000, 20, "the throttled blob's first bytes")
    if how == "kill9":
        lossy.node.kill9()
        _, err = command.communicate(timeout=20)
        assert command.returncode == 1 and b"hearth: repair: " in err, err
        lossy.node.start()
    else:
        command.send_signal(signal.SIGINT)
        _, err = command.communicate(timeout=20)
        assert command.returncode == 130 and b"run it again" in err, err
    wait_for(lambda: all(r.ended for r in front.blob_gets(big.digest)), 10, "the end of the origin's transfer")
    front.clear()
    lossy.repair()
    assert lossy.run(ref).returncode == RAN
    assert len(front.blob_gets()) < len(image.layers) + 1
    assert lossy.node.verify()[0] == 0


def test_without_room_it_is_refused_before_anything_is_fetched(bed):
    disk = bed.ext4(256 * MIB)
    lossy = Lossy(bed, on=disk.path)
    ref = lossy.push(Image.of([base_layer(), filler_layer(77, 48 * MIB)], "none"), "test/large:v1")
    lossy.pull(ref)
    lossy.lose_store()
    others = disk.path / "others"
    free = os.statvfs(disk.path).f_bavail * os.statvfs(disk.path).f_frsize
    run(["fallocate", "-l", str(free - 30 * MIB), others])
    (registry,) = lossy.registries
    registry.reset()
    refused = lossy.node.command("repair", check=False)
    assert refused.returncode == 1
    assert re.search(r"takes [0-9.]+ MiB in .*/n/root, where [0-9.]+ MiB are free", refused.stderr), refused.stderr
    assert registry.blob_gets() == [] and lossy.node.json("store", "ls")["blobs"] == []
    others.unlink()
    _, report = lossy.repair()
    assert states(report) == {("k8s.io", ref): "repaired"}
    assert lossy.run(ref).returncode == RAN


def test_containerd_dies_in_the_middle_and_the_next_run_goes_on(bed, registry, image):
    front = bed.front(registry)
    lossy = Lossy(bed, registries=[front])
    image.push(registry, "test/small:v1", bed.folder / "layout")
    ref = front.ref("test/small:v1")
    lossy.pull(ref)
    lossy.lose_store()
    front.clear()
    big = max(image.layers, key=lambda blob: len(blob.data))
    front.rule(big.digest, rate=len(big.data) // 4)
    command = subprocess.Popen(lossy.node.command_argv("repair"), stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    wait_for(lambda: command.poll() or front.blob_bytes(big.digest) > 0, 20, "the throttled blob's first bytes")
    lossy.containerd.process.kill9()
    # Bytes come from the registry, and names were learned before: it may end well without containerd.
    _, err = command.communicate(timeout=120)
    assert command.returncode in (0, 1, 4), err
    front.clear()
    lossy.containerd.start()
    lossy.containerd.wait_for_hearth()
    _, report = lossy.repair()
    assert set(states(report).values()) <= {"whole", "repaired"}
    assert lossy.run(ref).returncode == RAN
    assert len(front.blob_gets()) <= 1
    assert lossy.node.verify()[0] == 0
