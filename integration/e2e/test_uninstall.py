"""The whole way there and back: stock containerd, install, adopt, preheats, reboots, uninstall; every image runs all along."""

import json
import os
import re
import shlex
import signal
import subprocess
import tomllib

import pytest

from integration.e2e.test_exact import ALLOWED_TABLES, changed_tables
from integration.testbed.clients import nerdctl_pull_argv
from integration.testbed.image import Image, base_layer, filler_layer
from integration.testbed.process import run, wait_for
from integration.testbed.stock import BUILT_IN, StockMachine

OLD_VERSIONS = [pytest.param(v, marks=pytest.mark.slow) for v in ("1.6", "1.7")]


def pull_in_each_way(stock, version, refs):
    """One preheated image each for ctr, nerdctl and kubelet: no blob may move."""
    machine = stock.machine
    for ref in refs:
        machine.sh(f"hearth preheat {ref}")
    stock.registry.reset()
    machine.sh(f"ctr -n k8s.io i pull {refs[0]}")
    assert stock.registry.blob_gets() == []
    argv = nerdctl_pull_argv("/run/containerd/containerd.sock", refs[1], "-hosts-dir", "/etc/containerd/certs.d",
                             version=version, namespace="k8s.io")  # fmt: skip
    machine.sh(shlex.join(str(word) for word in argv))
    assert stock.registry.blob_gets() == []
    stock.cri("pull", refs[2])
    assert stock.registry.blob_gets() == []


def settings(machine):
    """containerd's configuration; 1.6 names its files in any order."""
    config = tomllib.loads(machine.sh("containerd config dump").stdout)
    return {**config, "imports": sorted(config.get("imports", []))}


def check_running(stock, refs, snapshotter, run=None):
    """CRI lists them soon, each is whole, and those of `run` (default: all) run, with no byte of the registry."""
    stock.registry.reset()
    wait_for(lambda: stock.listed() >= set(refs), 30, "CRI to list every image")
    for ref in refs:
        line = stock.check_image(ref, snapshotter)
        assert " complete (" in line and line.rstrip().endswith("true"), line
    for ref in run or refs:
        assert stock.run(ref, snapshotter) == "hi\n"
        if stock.pods:
            assert stock.run_pod(ref) == "hi\n"
    assert stock.registry.blob_gets() == []


def check_repair(stock, refs):
    """The node's store is lost, and comes back from what containerd has on record and the registry."""
    machine = stock.machine
    machine.node.stop()
    machine.sh("rm -rf /var/lib/hearth")
    machine.start_node()
    report = json.loads(machine.sh("hearth repair --output json").stdout)
    assert report["failed"] == 0 and report["blobs"] > 0
    check_running(stock, refs, "hearth")


@pytest.mark.parametrize("version", [*OLD_VERSIONS, "2.1"])
def test_images_run_all_the_way_there_and_back(bed, image, version):
    stock = StockMachine(bed, version, image, names=("one", "two", "three"), pods=True)
    machine = stock.machine
    assert stock.run_pod(stock.refs[0]) == "hi\n"
    code, report = stock.adopt()
    assert code == 0 and report["failed"] == 0
    assert changed_tables(stock.stock_config, machine.sh("containerd config dump").stdout) <= ALLOWED_TABLES
    check_running(stock, stock.refs, "hearth")

    ref, fourth = stock.new_image("four", seed=7)
    others = [stock.new_image(name, seed)[0] for name, seed in (("five", 8), ("six", 9))]
    pull_in_each_way(stock, version, [ref, *others])
    refs = [*stock.refs, ref, *others]
    check_running(stock, refs, "hearth")
    check_repair(stock, refs)

    stock.reboot(machine.start_node, machine.start_containerd)
    check_running(stock, refs, "hearth", run=(refs[0], ref))
    stock.reboot(stock.start_containerd_and_cri, machine.start_node)
    check_running(stock, refs, "hearth", run=(refs[0], ref))

    machine.sh(f"ctr -n k8s.io c create --snapshotter hearth {ref} stays")
    config = settings(machine)
    refused = machine.sh("hearth uninstall", check=False)
    assert refused.returncode == 1 and "k8s.io: stays" in refused.stderr, refused.stderr
    assert settings(machine) == config
    machine.sh("ctr -n k8s.io c rm stays")

    plan = json.loads(machine.sh("hearth uninstall --dry-run --output json").stdout)
    assert plan["dry_run"] and plan["refusal"] == "" and plan["blobs"] >= len(fourth.layers) + 2
    built_in = machine.view.path(BUILT_IN)
    assert not (built_in / fourth.config.digest.removeprefix("sha256:")).exists()
    code, report = stock.uninstall()
    assert code == 0 and report["restarted"] and report["failed"] == 0
    assert report["blobs"] == plan["blobs"]
    assert {i["state"] for i in report["images"]} == {"unpacked"}
    assert machine.sh("containerd config dump").stdout == stock.stock_config
    machine.node.stop()
    machine.sh("rm -rf /var/lib/hearth")
    check_running(stock, refs, "overlayfs")
    assert not [key for key in stock.snapshots("overlayfs") if "handback" in key]


# ---- uninstall that is cut short, refused, or told to do less

MIB = 1 << 20
OVERLAYFS = "/var/lib/containerd/io.containerd.snapshotter.v1.overlayfs/snapshots"


def adopted(bed, image, **kw):
    """A machine whose images are Hearth's, and one more that only Hearth has, large enough to be met while it moves."""
    stock = StockMachine(bed, "2.1", image, **kw)
    assert stock.adopt()[0] == 0
    made = Image.of([base_layer(), filler_layer(77, 48 * MIB)], "gzip")
    ref = stock.push(made, "large")
    stock.machine.sh(f"ctr -n k8s.io i pull {ref}")
    return stock, ref


def state_of(report, ref):
    return next(image["state"] for image in report["images"] if image["name"] == ref)


@pytest.mark.parametrize("end", ["interrupt", "containerd dies"])
def test_cut_short_it_changes_nothing_and_the_next_run_goes_on(bed, image, end):
    stock, ref = adopted(bed, image)
    machine = stock.machine
    config, unpacked = settings(machine), machine.view.path(OVERLAYFS)
    before = len(list(unpacked.iterdir()))
    argv = machine.argv("hearth", "uninstall", "--restart", "false")
    running = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    wait_for(lambda: running.poll() or len(list(unpacked.iterdir())) > before, 60, "containerd's unpacking", interval=0.001)
    machine.containerd.signal(signal.SIGSTOP)
    if end == "interrupt":
        running.send_signal(signal.SIGINT)
        _, said = running.communicate(timeout=30)
        assert running.returncode == 130 and "run it again" in said, said
        machine.containerd.signal(signal.SIGCONT)
    else:
        machine.containerd.kill9()
        _, said = running.communicate(timeout=60)  # it waits some seconds for one that restarts
        assert running.returncode == 1 and "containerd" in said, said
        machine.start_containerd()
    assert settings(machine) == config
    check_running(stock, [*stock.refs, ref], "hearth", run=[ref])

    def not_under_way():
        return "under way" not in machine.sh("hearth uninstall --dry-run", check=False).stdout

    wait_for(not_under_way, 30, "the end of the first run in the node")
    code, report = stock.uninstall()
    assert code == 0 and report["failed"] == 0 and state_of(report, ref) == "unpacked"
    machine.node.stop()
    machine.sh("rm -rf /var/lib/hearth")
    check_running(stock, [*stock.refs, ref], "overlayfs")
    if end == "interrupt":
        assert not [key for key in stock.snapshots("overlayfs") if "handback" in key]


def test_interrupted_after_the_files_it_ends_with_the_next_run(bed, image):
    stock, ref = adopted(bed, image)
    machine = stock.machine
    interrupted = machine.sh("hearth uninstall --restart 'kill -INT $PPID'", check=False)
    assert interrupted.returncode == 130, interrupted.stderr
    assert machine.sh("containerd config dump").stdout == stock.stock_config
    late, _ = stock.new_image("late", seed=7)
    machine.sh(f"ctr -n k8s.io i pull {late}")  # containerd still runs with Hearth
    machine.restart_containerd()
    report = json.loads(machine.sh("hearth uninstall --output json").stdout)
    assert report["failed"] == 0 and report["blobs"] > 0
    machine.node.stop()
    machine.sh("rm -rf /var/lib/hearth")
    check_running(stock, [*stock.refs, ref], "overlayfs")
    assert " complete (" in stock.check_image(late, "overlayfs")
    assert stock.run(late, "overlayfs") == "hi\n"  # which unpacks it
    assert stock.registry.blob_gets() == []


def test_without_room_it_is_refused_before_anything_changes(bed, image):
    disk = bed.ext4(640 * MIB)
    stock, ref = adopted(bed, image, folder=disk.path / "m")
    machine = stock.machine
    config, unpacked = settings(machine), machine.view.path(OVERLAYFS)
    before = sorted(unpacked.iterdir())
    others = disk.path / "others"
    free = os.statvfs(disk.path).f_bavail * os.statvfs(disk.path).f_frsize
    run(["fallocate", "-l", str(free - 90 * MIB), others])
    plan = json.loads(machine.sh("hearth uninstall --dry-run --output json", check=False).stdout)
    refused = machine.sh("hearth uninstall", check=False)
    assert refused.returncode == 1
    for said in (plan["refusal"], refused.stderr):
        assert re.search(r"handing back takes [0-9.]+ MiB in /var/lib/containerd, where [0-9.]+ MiB are free", said), said
        assert "--no-unpack" in said
    assert settings(machine) == config
    assert sorted(unpacked.iterdir()) == before
    others.unlink()
    code, report = stock.uninstall()
    assert code == 0 and state_of(report, ref) == "unpacked"


def test_no_unpack_leaves_layers_to_the_first_use(bed, image):
    stock, ref = adopted(bed, image)
    code, report = stock.uninstall("--no-unpack")
    assert code == 0 and report["failed"] == 0 and state_of(report, ref) == "left_to_containerd"
    assert {state_of(report, one) for one in stock.refs} == {"unpacked"}  # from before
    stock.machine.node.stop()
    stock.machine.sh("rm -rf /var/lib/hearth")
    stock.registry.reset()
    assert stock.run(ref, "overlayfs") == "hi\n"
    assert stock.registry.blob_gets() == []


def test_force_goes_on_in_spite_of_a_container(bed, image):
    stock, ref = adopted(bed, image)
    machine = stock.machine
    machine.sh(f"ctr -n k8s.io c create --snapshotter hearth {ref} stays")
    assert machine.sh("hearth uninstall", check=False).returncode == 1
    code, report = stock.uninstall("--force")
    assert code == 0 and report["restarted"] and report["failed"] == 0
    assert machine.sh("containerd config dump").stdout == stock.stock_config
    # And without anybody to ask.
    machine.node.stop()
    check_running(stock, [*stock.refs, ref], "overlayfs")


def test_force_goes_on_without_node_and_containerd(bed, image):
    stock, _ = adopted(bed, image)
    machine = stock.machine
    machine.node.stop()
    machine.containerd.stop()
    refused = machine.sh("hearth uninstall", check=False)
    assert refused.returncode == 1 and "--force" in refused.stderr
    assert machine.sh("hearth uninstall --force", check=False).returncode == 0
    assert machine.sh("containerd config dump").stdout == stock.stock_config


@pytest.mark.parametrize("version", [*OLD_VERSIONS, "2.1"])
def test_level_snapshotter_gives_layers_back(bed, image, version):
    """containerd's content store was its own all along; blobs of what Hearth pulled in its place it lacks."""
    stock = StockMachine(bed, version, image, install="--level snapshotter")
    machine = stock.machine
    machine.restart_containerd()
    ref, _ = stock.new_image("four", seed=7)
    machine.sh(f"hearth preheat --depth layers {ref}")
    machine.sh(f"ctr -n k8s.io i pull --snapshotter hearth {ref}")
    assert stock.run(ref) == "hi\n"
    code, report = stock.uninstall()
    assert code == 0 and report["failed"] == 0 and state_of(report, ref) == "unpacked"
    assert machine.sh("containerd config dump").stdout == stock.stock_config
    machine.node.stop()
    machine.sh("rm -rf /var/lib/hearth")
    check_running(stock, [*stock.refs, ref], "overlayfs")
