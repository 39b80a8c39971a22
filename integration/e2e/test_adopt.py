"""hearth adopt: images that were pulled the stock way go on working when Hearth takes containerd's place."""

import json
import os
import pathlib
import shutil
import signal
import subprocess
import uuid

import pytest

from integration.testbed.image import Image, base_layer, filler_layer
from integration.testbed.process import run, wait_for
from integration.testbed.stock import BUILT_IN, StockMachine

MIB = 1 << 20
VERSIONS = [pytest.param("1.6", marks=pytest.mark.slow), pytest.param("1.7", marks=pytest.mark.slow), "2.1"]


@pytest.mark.parametrize("version", VERSIONS)
def test_images_pulled_before_run_from_hearth(bed, image, version):
    stock = StockMachine(bed, version, image)
    builtin = stock.machine.view.path(BUILT_IN)
    names = sorted(os.listdir(builtin))
    stock.registry.reset()
    code, report = stock.adopt()
    assert code == 0, report
    assert report["restarted"] and report["failed"] == 0
    assert 0 < report["refused_seconds"] < 30  # containerd's restart is most of it
    assert report["blobs"] == report["linked"] == len(names)
    assert report["copied"] == report["reflinked"] == 0
    assert [i["state"] for i in report["images"]] == ["registered"] * len(report["images"])
    # All of it comes out of our store alone.
    assert list(builtin.iterdir()) == []
    for ref in stock.refs:
        line = stock.check_image(ref)
        assert " complete (" in line and line.rstrip().endswith("true"), line
        assert stock.run(ref) == "hi\n"
    assert stock.registry.blob_gets() == []
    # Once more: everything is there, nothing is restarted.
    code, report = stock.adopt()
    assert code == 0 and report["blobs"] == 0 and not report["restarted"]
    assert stock.machine.sh("hearth store verify").returncode == 0


def test_dry_run_takes_nothing_and_a_wrong_blob_is_named(bed, image):
    stock = StockMachine(bed, "2.1", image)
    code, report = stock.adopt("--dry-run")
    assert code == 0 and report["blobs"] > 0 and not report["restarted"]
    code, again = stock.adopt("--dry-run")
    assert again["blobs"] == report["blobs"]
    builtin = stock.machine.view.path(BUILT_IN)
    victim = max(builtin.iterdir(), key=lambda file: file.stat().st_size)
    with open(victim, "r+b") as f:
        f.write(b"wrong")
    result = stock.machine.sh("hearth adopt --restart false", check=False)
    assert result.returncode == 1
    assert victim.name in result.stderr and "hash to" in result.stderr
    assert stock.machine.containerd.running()


@pytest.mark.parametrize("restarted", [False, True], ids=["has-pulled", "just-started"])
@pytest.mark.parametrize("version", VERSIONS)
def test_a_pull_between_the_last_copy_and_the_restart_loses_nothing(bed, image, version, restarted):
    """It is refused. A containerd that began no ingest since its start may take the first one: then all of it is copied."""
    stock = StockMachine(bed, version, image, restart=restarted)
    machine, run_folder = stock.machine, stock.machine.view.path("/run")
    late, _ = stock.new_image("late", seed=7)
    running = "ctr -n k8s.io run -d --snapshotter overlayfs"
    machine.sh(f"{running} {stock.refs[0]} stays /bin/sleep 1000")
    pull = f"ctr -n k8s.io i pull {late} >/run/late.log 2>&1; echo $? >/run/late.code"
    code, report = stock.adopt(first=pull)
    assert code == 0 and report["restarted"] and report["failed"] == 0
    said = (run_folder / "late.log").read_text()
    refused = (run_folder / "late.code").read_text() != "0\n"
    assert refused or restarted, said
    if refused:
        assert "/ingest" in said and "no such file or directory" in said, said
        machine.sh(f"ctr -n k8s.io i pull {late}")
    refs = [*stock.refs, late]
    wait_for(lambda: stock.listed() >= set(refs), 30, "CRI to list every image")
    builtin = machine.view.path(BUILT_IN)
    assert list(builtin.iterdir()) == []
    for ref in refs:
        assert " complete (" in stock.check_image(ref)
        assert stock.run(ref) == "hi\n"
    assert "stays" in machine.sh("ctr -n k8s.io task ls").stdout and "RUNNING" in machine.sh("ctr -n k8s.io task ls").stdout
    machine.sh("ctr -n k8s.io task rm -f stays")  # and its shim
    left = sorted(entry.name for entry in builtin.parent.parent.iterdir())
    assert left == ["blobs", "ingest"], left
    assert machine.sh("hearth store verify").returncode == 0


def test_pulls_go_on_where_the_restart_fails_or_adopt_is_killed(bed, image):
    stock = StockMachine(bed, "2.1", image)
    machine = stock.machine
    failed = machine.sh("hearth adopt --restart false", check=False)
    assert failed.returncode == 1 and "restart containerd by hand" in failed.stderr, failed.stderr
    other, _ = stock.new_image("other", seed=7)
    machine.sh(f"ctr -n k8s.io i pull {other}")

    # Ctrl-C while the last of it is under way.
    interrupted = machine.sh("hearth adopt --restart 'kill -INT $PPID; exec sleep 1'", check=False)
    assert interrupted.returncode == 130 and "run it again" in interrupted.stderr, interrupted.stderr
    machine.sh(f"ctr -n k8s.io i pull {stock.new_image('third', seed=8)[0]}")
    # A terminal that goes away, and somebody who does not wait for the first signal's end.
    for seed, signals in ((10, ["HUP"]), (11, ["HUP", "INT"]), (12, ["INT", "TERM"])):
        kills = "; ".join(f"kill -{name} $PPID" for name in signals)
        argv = f"env --default-signal=HUP hearth adopt --restart '{kills}; exec sleep 2'"
        assert machine.sh(argv, check=False).returncode == 130, signals
        machine.sh(f"ctr -n k8s.io i pull {stock.new_image(f'after-{seed}', seed=seed)[0]}")
    # And a kill that nothing can be done about.
    killed = machine.sh("hearth adopt --restart 'kill -KILL $PPID'", check=False)
    assert killed.returncode == -signal.SIGKILL
    fourth, _ = stock.new_image("fourth", seed=9)
    refused = machine.sh(f"ctr -n k8s.io i pull {fourth}", check=False)
    assert "ingest" in refused.stderr, refused

    code, report = stock.adopt()
    assert code == 0 and report["restarted"] and report["failed"] == 0
    machine.sh(f"ctr -n k8s.io i pull {fourth}")
    for ref in (*stock.refs, other, fourth):
        assert stock.run(ref) == "hi\n"
    assert sorted(entry.name for entry in pathlib.Path(machine.view.path(BUILT_IN)).parent.parent.iterdir()) == ["blobs", "ingest"]


def test_images_are_listed_also_where_containerd_was_restarted_too_early(bed, image):
    """By hand, between install and adopt: it starts without a single blob."""
    stock = StockMachine(bed, "2.1", image)
    stock.machine.restart_containerd()
    assert not stock.listed() & set(stock.refs)
    code, report = stock.adopt()
    assert code == 0 and not report["restarted"] and report["failed"] == 0
    wait_for(lambda: stock.listed() >= set(stock.refs), 30, "CRI to list every image")
    for ref in stock.refs:
        assert stock.run(ref) == "hi\n"


def test_without_room_nothing_is_taken(bed):
    """The layers unpacked anew would take the disk below min_free: it is said before anything is written."""
    disk = bed.ext4(400 * MIB)
    large = Image.of([base_layer(), filler_layer(1, 24 * MIB), filler_layer(2, 24 * MIB)], ["gzip", "gzip", "none"])
    stock = StockMachine(bed, "2.1", large, names=("large",), folder=disk.path / "m")
    machine = stock.machine

    def free():
        os.sync()
        stat = os.statvfs(disk.path)
        return stat.f_bavail * stat.f_frsize

    def with_min_free(size):
        machine.node.stop()
        machine.write_node_config(f'store = {{quota = "100%", min_free = "{size}", min_free_inodes = "0"}}')
        machine.start_node()

    code, plan = stock.adopt("--dry-run")
    assert code == 0 and 48 * MIB <= plan["needed_bytes"] < 60 * MIB, plan
    before = free()
    with_min_free(before - 30 * MIB)
    for flags in ("--dry-run", ""):
        refused = machine.sh(f"hearth adopt {flags} --restart false", check=False)
        assert refused.returncode == 1 and "of layers to unpack" in refused.stderr, refused
        assert "store.min_free" in refused.stderr and "are free" in refused.stderr, refused.stderr
    held = json.loads(machine.sh("hearth store ls --output json").stdout)
    assert held["blobs"] == held["layers"] == [] and before - free() < MIB
    machine.sh(f"ctr -n k8s.io i pull {stock.new_image('other', seed=7)[0]}")
    least = before - 80 * MIB
    with_min_free(least)
    code, report = stock.adopt()
    assert code == 0 and report["failed"] == 0, report
    assert least <= free() < before - 48 * MIB
    assert stock.run(stock.refs[0]) == "hi\n"


# ---- where the node's store lies on another file system: every byte is copied

COPY_LAYERS = 8
HEARTH_ROOT = "/var/lib/hearth"


class CopyMachine:
    """A StockMachine of one image of large layers, and an adopt of it that can be met half-way."""

    def __init__(self, bed):
        disk = bed.ext4(1 << 30)
        layers = [base_layer(), *(filler_layer(number, 24 * MIB) for number in range(COPY_LAYERS))]
        # The lowest as other images have it: containerd 2 does not fetch another blob of a layer that it has.
        made = Image.of(layers, ["gzip", *["none"] * COPY_LAYERS])
        self.stock = StockMachine(bed, "2.1", made, names=("large",))
        self.machine = self.stock.machine
        self.machine.node.stop()
        self.machine.sh(f"rm -rf {HEARTH_ROOT}")
        self.machine.sh(f"mkdir {HEARTH_ROOT}")
        run(self.machine.view.argv(["mount", "--bind", disk.path, HEARTH_ROOT]))
        self.machine.start_node()
        self.root = disk.path
        self.total = len(list(self.machine.view.path(BUILT_IN).iterdir()))

    def blobs(self):
        return len(list(self.root.glob("blobs/sha256/*/*")))

    def start(self, restart="false"):
        """The adopt, with the node stopped (SIGSTOP) after some blobs and amid the next."""
        argv = self.machine.argv("hearth", "adopt", "--output", "json", "--restart", restart)
        adopting = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

        def amid():
            return self.blobs() >= 2 and any(file.stat().st_size > 0 for file in self.root.glob("ingest/adopt-*"))

        wait_for(lambda: adopting.poll() is not None or amid(), 60, "the copy", interval=0.0005)
        self.machine.node.signal(signal.SIGSTOP)
        assert adopting.poll() is None, adopting.communicate()
        assert 2 <= self.blobs() < self.total, "the copy was too quick to be met"
        return adopting


@pytest.mark.parametrize("killed", ["node", pytest.param("command", marks=pytest.mark.slow)])
def test_killed_amid_the_copy_it_goes_on_where_it_was(bed, killed):
    copy = CopyMachine(bed)
    stock, machine = copy.stock, copy.machine
    code, plan = stock.adopt("--dry-run")
    assert code == 0 and plan["blobs"] == copy.total and plan["needed_bytes"] >= plan["bytes"] + COPY_LAYERS * 24 * MIB
    adopting = copy.start()
    before = copy.blobs()
    if killed == "node":
        machine.node.kill9()
        out, said = adopting.communicate(timeout=60)
        assert adopting.returncode == 1 and "no node answers" in said, said
        machine.start_node()
    else:
        adopting.kill()
        adopting.communicate()
        machine.node.signal(signal.SIGCONT)
        # It ends the copy under way once it sees that nobody listens.
        wait_for(lambda: "under way" not in machine.sh("hearth adopt --dry-run", check=False).stderr, 30, "its end")
    assert machine.sh("hearth store verify").returncode == 0
    code, report = stock.adopt()
    assert code == 0 and report["failed"] == 0 and report["restarted"]
    # One file may have lain there without its record, and was taken anew.
    assert report["copied"] == report["blobs"] <= copy.total - before + 1
    assert report["linked"] == report["reflinked"] == 0
    assert copy.blobs() == copy.total and not list(copy.root.glob("ingest/adopt-*"))
    assert list(machine.view.path(BUILT_IN).iterdir()) == []
    assert " complete (" in stock.check_image(stock.refs[0])
    assert stock.run(stock.refs[0]) == "hi\n"
    assert machine.sh("hearth store verify").returncode == 0


def test_what_is_pulled_amid_the_copy_is_taken_too(bed):
    copy = CopyMachine(bed)
    stock, machine = copy.stock, copy.machine
    adopting = copy.start(restart=f"kill {machine.containerd.pid}")
    late, _ = stock.new_image("late", seed=7)
    machine.sh(f"ctr -n k8s.io i pull {late}")
    machine.node.signal(signal.SIGCONT)
    wait_for(lambda: adopting.poll() is not None or not machine.containerd.running(), 120, "adopt to stop containerd")
    machine.start_containerd()
    out, said = adopting.communicate(timeout=120)
    assert adopting.returncode == 0, said
    states = {image["name"]: image["state"] for image in json.loads(out)["images"]}
    assert states[stock.refs[0]] == states[late] == "registered"
    assert list(machine.view.path(BUILT_IN).iterdir()) == []
    for ref in (stock.refs[0], late):
        assert " complete (" in stock.check_image(ref)
        assert stock.run(ref) == "hi\n"


def test_blocks_are_shared_where_the_file_system_can(bed, image):
    if not shutil.which("mkfs.xfs"):
        pytest.skip("no mkfs.xfs here: deploy/deps.sh installs it")
    disk = bed.xfs(512 * MIB)
    stock = StockMachine(bed, "2.1", image, folder=disk.path / "m")
    code, report = stock.adopt()
    assert code == 0 and report["reflinked"] == report["blobs"] > 0
    for ref in stock.refs:
        assert stock.run(ref) == "hi\n"


# ---- the built-in store's names of what is ours


@pytest.mark.parametrize("moment", ["before", "amid"])
def test_what_containerd_reads_itself_is_left_alone(bed, image, moment):
    """Before the restart its store keeps every blob; adopt killed while it removes them ends with the next run."""
    stock = StockMachine(bed, "2.1", image)
    machine, builtin = stock.machine, stock.machine.view.path(BUILT_IN)
    names = sorted(os.listdir(builtin))
    if moment == "before":
        assert machine.sh("hearth adopt --restart false", check=False).returncode == 1
        assert sorted(os.listdir(builtin)) == names
        machine.node.stop()
        machine.sh("rm -rf /var/lib/hearth")
        for ref in stock.refs:
            assert stock.run(ref, snapshotter="overlayfs") == "hi\n"
        return
    assert stock.adopt()[0] == 0
    # As a kill in the middle leaves it: some names are still there.
    for file in list(machine.view.path(HEARTH_ROOT).glob("blobs/sha256/*/*"))[:3]:
        os.link(file, builtin / file.name)
    code, report = stock.adopt()
    assert code == 0 and report["blobs"] == 0 and not report["restarted"]
    assert list(builtin.iterdir()) == []


def test_the_store_of_another_containerd_keeps_its_names(bed, image):
    """The configuration was changed to another root, and the containerd that answers still has its own."""
    stock = StockMachine(bed, "2.1", image)
    assert stock.adopt()[0] == 0
    view = stock.machine.view
    other = view.path("/var/lib/other")
    blobs = other / "io.containerd.content.v1.content/blobs/sha256"
    blobs.mkdir(parents=True)
    for file in view.path(HEARTH_ROOT).glob("blobs/sha256/*/*"):
        os.link(file, blobs / file.name)
    (other / "io.containerd.grpc.v1.introspection").mkdir()
    (other / "io.containerd.grpc.v1.introspection/uuid").write_text(str(uuid.uuid4()))
    main = view.path("/etc/containerd/config.toml")
    main.write_text('root = "/var/lib/other"\n' + main.read_text())
    names = sorted(os.listdir(blobs))
    assert stock.adopt()[0] == 0
    assert names and sorted(os.listdir(blobs)) == names


def test_plugins_taken_away_by_hand_lose_nothing(bed, image):
    """containerd with its own store again, without uninstall: that gives back what adopt had removed there."""
    stock = StockMachine(bed, "2.1", image, pods=True)
    machine, builtin = stock.machine, stock.machine.view.path(BUILT_IN)
    names = sorted(os.listdir(builtin))
    assert stock.adopt()[0] == 0
    drop_in = machine.view.path("/etc") / "containerd" / "conf.d" / "hearth.toml"
    (version,) = [line for line in drop_in.read_text().splitlines() if line.startswith("version")]
    drop_in.write_text(f"{version}\n")
    machine.restart_containerd()
    assert not stock.listed() & set(stock.refs)
    result = machine.sh("hearth uninstall --output json")
    assert json.loads(result.stdout)["blobs"] == len(names), result
    assert sorted(os.listdir(builtin)) == names
    machine.node.stop()
    machine.sh("rm -rf /var/lib/hearth")
    wait_for(lambda: stock.listed() >= set(stock.refs), 30, "CRI to list every image")
    for ref in stock.refs[:2]:
        assert stock.run(ref, snapshotter="overlayfs") == "hi\n"
