"""The power fails right after a pull: the node brings back by itself what was not on disk yet."""

import json

import pytest

from integration.testbed.image import pause_image
from integration.testbed.process import run, wait_for
from integration.testbed.stock import BOOT_ID, StockMachine

OLD_VERSIONS = [pytest.param(v, marks=pytest.mark.slow) for v in ("1.6", "1.7")]
NODE_FIRST, CONTAINERD_FIRST = "node first", "containerd first"


def layers(machine, state):
    text = machine.sh(f"curl -s http://127.0.0.1:{machine.status_port}/metrics").stdout
    line = next(line for line in text.splitlines() if line.startswith(f'hearth_layers{{state="{state}"}}'))
    return int(float(line.split()[-1]))


def wait_for_node(machine):
    """containerd dials again with pauses of up to 3 s."""
    snapshots = "ctr -n probe snapshots --snapshotter hearth"
    wait_for(lambda: machine.sh(f"{snapshots} prepare pr", check=False).returncode == 0, 20, "containerd to find the node")
    machine.sh(f"{snapshots} rm pr")


def sync_layers(machine):
    """An orderly stop leaves on disk what was adopted."""
    machine.node.stop()
    machine.start_node()
    assert layers(machine, "volatile") == 0
    wait_for_node(machine)


class Powered:
    """A machine that pulled an image moments ago, and a container of it that was not started yet."""

    def __init__(self, bed, version, image, level="content", imported=False):
        self.stock = StockMachine(bed, version, image, names=("one",), install=f"--level {level}")
        self.machine = self.stock.machine
        if level == "content":
            assert self.stock.adopt()[0] == 0
        else:
            self.machine.restart_containerd()
        self.snapshots = self.machine.view.path("/var/lib/hearth") / "snapshots"
        self.ref, pulled = self.stock.new_image("two", seed=7)
        shared = {layer.digest for layer in image.layers}
        self.own_layer = next(layer.digest for layer in pulled.layers if layer.digest not in shared)
        sync_layers(self.machine)
        before = self._directories()
        if imported:
            archive = bed.folder / "two.tar"
            run(["tar", "-C", bed.folder / "layout-two", "-cf", archive, "."])
            self.machine.sh(f"ctr -n k8s.io i import --snapshotter hearth --index-name {self.ref} {archive}")
            self.stock.registry.process.stop()
        else:
            self.machine.sh(f"ctr -n k8s.io i pull --snapshotter hearth {self.ref}")
        self.machine.sh(f"ctr -n k8s.io c create --snapshotter hearth {self.ref} waits /bin/true")
        self.fresh = self._directories() - before
        if not imported:
            self.stock.registry.reset()

    def _directories(self):
        return {folder.name for folder in self.snapshots.iterdir()}

    def tear(self):
        """As a file system may be that lost its latest writes: names without bytes."""
        torn = 0
        for number in self.fresh:
            for file in (self.snapshots / number / "fs").rglob("*"):
                if file.is_file() and not file.is_symlink():
                    file.write_bytes(b"")
                    torn += 1
        assert torn > 0

    def fail(self, order, meanwhile=None):
        node, containerd = self.machine.start_node, self.stock.start_containerd_and_cri
        starts = (node, containerd) if order == NODE_FIRST else (containerd, node)
        self.stock.reboot(*starts, clean=False, meanwhile=lambda: (self.tear(), meanwhile and meanwhile()))
        wait_for_node(self.machine)
        log = (self.machine.folder / "node.log").read_text(errors="replace")
        assert "snapshot waits for its layer" in log, log[-4000:]

    def blob_file(self, digest):
        hexes = digest.split(":")[1]
        return self.machine.view.path("/var/lib/hearth") / "blobs" / "sha256" / hexes[:2] / hexes

    def check_runs(self):
        assert self.stock.run(self.ref) == "hi\n"
        assert self.stock.run(self.stock.refs[0]) == "hi\n"
        self.machine.sh("ctr -n k8s.io tasks start waits")
        assert self.ref in self.machine.sh("ctr -n k8s.io i ls -q").stdout
        wait_for(lambda: layers(self.machine, "lost") == 0, 30, "the end of the mending", interval=0.2)
        assert self.machine.sh("hearth store verify", check=False).returncode == 0


@pytest.mark.parametrize("order", [NODE_FIRST, pytest.param(CONTAINERD_FIRST, marks=pytest.mark.slow)])
@pytest.mark.parametrize("version", [*OLD_VERSIONS, "2.1"])
def test_an_image_pulled_moments_before_runs_from_own_blobs(bed, image, version, order):
    powered = Powered(bed, version, image)
    powered.fail(order)
    powered.check_runs()
    assert powered.stock.registry.blob_gets() == []


def test_a_layer_whose_blob_went_too_is_fetched_again(bed, image):
    powered = Powered(bed, "2.1", image)
    lost = powered.own_layer
    powered.fail(CONTAINERD_FIRST, meanwhile=powered.blob_file(lost).unlink)
    powered.check_runs()
    fetched = powered.stock.registry.blob_gets()
    assert fetched and all(lost in request.path for request in fetched)


@pytest.mark.parametrize("level", ["content", "snapshotter"])
@pytest.mark.parametrize("version", [*OLD_VERSIONS, pytest.param("2.1", marks=pytest.mark.slow)])
def test_an_imported_image_runs_without_any_registry(bed, image, version, level):
    """Its blobs are in the one content store that has them: ours, or containerd's own."""
    powered = Powered(bed, version, image, level, imported=True)
    powered.fail(NODE_FIRST)
    powered.check_runs()


@pytest.mark.slow
def test_what_cannot_be_had_is_named_and_comes_with_the_registry(bed, image):
    powered = Powered(bed, "2.1", image)
    registry = powered.stock.registry
    lost = powered.own_layer
    hexes = lost.split(":")[1]
    stored = next(registry.folder.glob(f"data/docker/registry/v2/blobs/sha256/{hexes[:2]}/{hexes}/data"))
    kept = stored.read_bytes()
    stored.unlink()
    powered.fail(NODE_FIRST, meanwhile=powered.blob_file(lost).unlink)
    machine = powered.machine
    failed = machine.sh(f"ctr -n k8s.io run --rm --snapshotter hearth {powered.ref} probe /bin/echo hi", check=False)
    assert failed.returncode != 0 and "lost at a power failure" in failed.stderr and lost in failed.stderr, failed.stderr
    stored.write_bytes(kept)

    def runs():
        return machine.sh(f"ctr -n k8s.io run --rm --snapshotter hearth {powered.ref} probe /bin/echo hi", check=False).stdout == "hi\n"

    wait_for(runs, 60, "the image to run once the registry has the blob", interval=1)
    report = json.loads(machine.sh("hearth repair --output json").stdout)
    assert report["failed"] == 0


@pytest.mark.parametrize("version", [*OLD_VERSIONS, "2.1"])
def test_a_user_namespaces_copy_of_a_layer_is_made_anew_once_it_is_removed(bed, version):
    """Nobody can unpack it: 1.x names it after the layer, 2.x by a digest that looks like a layer's."""
    bed.folder.chmod(0o711)  # the container's root is another user, who must reach its bundle
    stock = StockMachine(bed, version, pause_image(), names=("one",))
    assert stock.adopt()[0] == 0
    machine, (ref,) = stock.machine, stock.refs
    sync_layers(machine)

    remap = "--uidmap 0:100000:65536 --gidmap 0:100000:65536 --snapshotter hearth"
    show = "/bin/ls -ldn /bin/busybox"

    def names():
        return set(stock.snapshots("hearth"))

    def run_mapped(name="mapped", flags="--rm"):
        return machine.sh(f"ctr -n k8s.io run {flags} {remap} {ref} {name} {show}", check=False)

    before = names()
    # A container that stays, or containerd's collector would take the copy.
    ran = run_mapped("keeps", "")
    assert ran.returncode == 0 and ran.stdout.split()[2:4] == ["0", "0"], ran
    (copy,) = names() - before - {"keeps"}
    stock.reboot(machine.start_node, stock.start_containerd_and_cri, clean=False)
    wait_for(lambda: copy in names(), 20, "containerd to find the node")
    refused = run_mapped()
    assert refused.returncode != 0 and "ctr snapshots rm" in refused.stderr, refused
    assert layers(machine, "lost") == 0
    machine.sh("ctr -n k8s.io c rm keeps")
    machine.sh(f"ctr -n k8s.io snapshots --snapshotter hearth rm {copy}", check=False)  # the collector may have been
    run(machine.view.argv(["umount", BOOT_ID]))  # a user namespace gets no /proc where something lies over a part of it
    ran = run_mapped()
    assert ran.returncode == 0 and ran.stdout.split()[2:4] == ["0", "0"], ran
