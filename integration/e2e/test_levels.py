"""Levels of adoption as installed, ways between them, and a containerd that becomes a newer one: images run all along."""

import json
import shlex

import pytest

from integration.e2e.test_exact import OF_THE_MACHINE
from integration.e2e.test_uninstall import check_running, settings
from integration.testbed.clients import nerdctl_pull_argv
from integration.testbed.process import wait_for
from integration.testbed.stock import StockMachine

VERSIONS = [pytest.param("1.6", marks=pytest.mark.slow), pytest.param("1.7", marks=pytest.mark.slow), "2.1"]
HOSTS = "/etc/containerd/certs.d"
LABEL = "containerd.io/defaults/snapshotter=hearth"


def faults(machine):
    """What doctor finds wrong with the installation, by its checks."""
    document = json.loads(machine.sh("hearth doctor --output json", check=False).stdout)
    return {f["check"]: f for f in document["findings"] if f["state"] == "fail" and f["check"] not in OF_THE_MACHINE}


def blob_gets_of_pulls(stock, version, refs, snapshotter):
    """Preheats the images and pulls one each as ctr, nerdctl and kubelet do; the blobs that left the registry for that."""
    machine = stock.machine
    for ref in refs:
        machine.sh(f"hearth preheat {ref}")
    stock.registry.reset()
    machine.sh(f"ctr -n k8s.io i pull --hosts-dir {HOSTS} --snapshotter {snapshotter} {refs[0]}")
    argv = nerdctl_pull_argv("/run/containerd/containerd.sock", refs[1], "-hosts-dir", HOSTS,
                             version=version, namespace="k8s.io", snapshotter=snapshotter)  # fmt: skip
    machine.sh(shlex.join(str(word) for word in argv))
    stock.cri("pull", refs[2])
    return stock.registry.blob_gets()


def new_refs(stock, first_seed):
    return [stock.new_image(f"new-{seed}", seed)[0] for seed in range(first_seed, first_seed + 3)]


@pytest.mark.parametrize("version", VERSIONS)
def test_level_mirror(bed, image, version):
    """containerd's files name the mirror and nothing else of us; what is preheated comes from the node."""
    stock = StockMachine(bed, version, image, pods=True, install="--level mirror")
    machine = stock.machine
    machine.restart_containerd()
    assert "hearth" not in machine.sh("ctr plugins ls").stdout
    assert LABEL not in machine.sh("ctr namespaces ls").stdout
    assert faults(machine) == {}
    refs = new_refs(stock, 20)
    assert blob_gets_of_pulls(stock, version, refs, "overlayfs") == []
    check_running(stock, [*stock.refs, *refs], "overlayfs")
    assert machine.sh("hearth store verify").returncode == 0
    # No worse than without the node.
    machine.node.stop()
    late = new_refs(stock, 30)
    machine.sh(f"ctr -n k8s.io i pull --hosts-dir {HOSTS} {late[0]}")
    stock.cri("pull", late[1])
    check_running(stock, late[:2], "overlayfs")
    machine.start_node()
    machine.sh("hearth uninstall")
    assert machine.sh("containerd config dump").stdout == stock.stock_config
    machine.restart_containerd()
    machine.node.stop()
    check_running(stock, [*stock.refs, *refs], "overlayfs")


class Moving:
    """A machine that goes from level to level while one container runs on overlayfs."""

    def __init__(self, bed, image, version):
        self.version = version
        self.stock = StockMachine(bed, version, image, pods=True, install="--level mirror")
        self.machine = self.stock.machine
        self.machine.sh(f"ctr -n k8s.io run -d --snapshotter overlayfs {self.stock.refs[0]} stays /bin/sleep 1000")
        self.machine.restart_containerd()
        self.refs = list(self.stock.refs)
        self._seed = 40

    def pull_new(self, snapshotter):
        refs = new_refs(self.stock, self._seed)
        self._seed += 10
        assert blob_gets_of_pulls(self.stock, self.version, refs, snapshotter) == []
        self.refs += refs

    def check(self, snapshotter):
        """Of a level's first image and last ones; one that the other snapshotter has unpacked is unpacked by its first use."""
        self.stock.registry.reset()
        wait_for(lambda: self.stock.listed() >= set(self.refs), 30, "CRI to list every image")
        for ref in (self.refs[0], *self.refs[-2:]):
            assert self.stock.run(ref, snapshotter) == self.stock.run_pod(ref) == "hi\n"
            line = self.stock.check_image(ref, snapshotter)
            assert " complete (" in line and line.rstrip().endswith("true"), line
        assert self.stock.registry.blob_gets() == []
        assert faults(self.machine) == {}
        assert "RUNNING" in self.machine.sh("ctr -n k8s.io task ls").stdout

    def wait_for_label(self):
        wait_for(lambda: LABEL in self.machine.sh("ctr namespaces ls").stdout, 20, "the namespaces' labels")

    def down_to(self, level):
        refused = self.machine.sh(f"hearth install --level {level}", check=False)
        assert refused.returncode == 1 and f"hearth install --level {level}" in refused.stderr, refused.stderr
        code, report = self.stock.uninstall()
        assert code == 0 and report["failed"] == 0 and report["restarted"]
        self.machine.sh(f"hearth install --level {level}")
        self.machine.restart_containerd()


@pytest.mark.slow
@pytest.mark.parametrize("version", ["1.6", "1.7", "2.1"])
def test_up_and_down_again_with_images_running(bed, image, version):
    moving = Moving(bed, image, version)
    machine = moving.machine
    moving.pull_new("overlayfs")
    moving.check("overlayfs")

    machine.sh("hearth install --level snapshotter")
    machine.restart_containerd()
    moving.wait_for_label()
    moving.pull_new("hearth")
    moving.check("hearth")

    machine.sh("hearth install --level content")
    code, report = moving.stock.adopt()
    assert code == 0 and report["failed"] == 0
    moving.pull_new("hearth")
    moving.check("hearth")

    moving.down_to("snapshotter")
    moving.wait_for_label()
    moving.pull_new("hearth")
    moving.check("hearth")

    moving.down_to("mirror")
    moving.pull_new("overlayfs")
    moving.check("overlayfs")

    machine.sh("ctr -n k8s.io task rm -f stays")
    machine.sh("hearth uninstall")
    assert machine.sh("containerd config dump").stdout == moving.stock.stock_config
    machine.restart_containerd()
    machine.node.stop()
    machine.sh("rm -rf /var/lib/hearth")
    check_running(moving.stock, moving.refs, "overlayfs")


@pytest.mark.slow
@pytest.mark.parametrize(("old", "new"), [("1.7", "2.1"), ("1.6", "1.7")])
def test_containerd_is_upgraded_under_an_installation(bed, image, old, new):
    """/var/lib/containerd, our store and every file stay; the newer one is told what it needs by install, run again."""
    stock = StockMachine(bed, old, image, pods=True)
    machine = stock.machine
    code, report = stock.adopt()
    assert code == 0 and report["failed"] == 0
    refs = [*stock.refs, *new_refs(stock, 20)]
    assert blob_gets_of_pulls(stock, old, refs[-3:], "hearth") == []
    machine.sh(f"ctr -n k8s.io run -d --snapshotter hearth {stock.refs[0]} stays /bin/sleep 1000")

    machine.containerd.stop()
    machine.use_containerd(new)
    stock.start_containerd_and_cri()
    check_running(stock, refs, "hearth")
    assert "RUNNING" in machine.sh("ctr -n k8s.io task ls").stdout
    advice = " ".join(fault["advice"] for fault in faults(machine).values())
    assert "hearth install" in advice, faults(machine)

    machine.sh("hearth install")
    machine.restart_containerd()
    assert faults(machine) == {}
    assert not [line for line in machine.sh("ctr plugins ls").stdout.splitlines() if line.rstrip().endswith(" error")]
    refs += new_refs(stock, 30)
    assert blob_gets_of_pulls(stock, new, refs[-3:], "hearth") == []
    check_running(stock, refs, "hearth")
    assert "RUNNING" in machine.sh("ctr -n k8s.io task ls").stdout
    assert machine.sh("hearth store verify").returncode == 0

    machine.sh("ctr -n k8s.io task rm -f stays")
    machine.sh("ctr -n k8s.io c rm stays")
    code, report = stock.uninstall()
    assert code == 0 and report["failed"] == 0
    assert "hearth" not in json.dumps(settings(machine))
    machine.node.stop()
    machine.sh("rm -rf /var/lib/hearth")
    check_running(stock, refs, "overlayfs")
