"""hearth adopt: images that were pulled the stock way go on working when Hearth takes containerd's place."""

import json
import os
import shlex
from concurrent.futures import ThreadPoolExecutor

import pytest

from integration.testbed.process import wait_for


class Stock:
    """A machine with two images pulled the stock way; Hearth is installed and started, containerd not restarted."""

    def __init__(self, bed, version, image):
        self.registry = bed.registry(tls=True, host="registry.test")
        self.machine = bed.machine(self.registry, version=version)
        self.machine.write_node_config()
        self.machine.start_containerd()
        self.refs = []
        for name in ("one", "two"):
            image.push(self.registry, f"test/{name}:v1", bed.folder / f"layout-{name}")
            self.refs.append(f"{self.registry.address}/test/{name}:v1")
            self.machine.sh(f"ctr -n k8s.io i pull {self.refs[-1]}")
        self.machine.sh("hearth install")
        self.machine.start_node()

    def adopt(self, *flags, check=True):
        """containerd is stopped by the command, and started by us: it is our child, not systemd's."""
        stop = f"kill {self.machine.containerd.pid}"
        argv = ["hearth", "adopt", "--output", "json", "--restart", stop, *flags]
        with ThreadPoolExecutor(1) as pool:
            running = pool.submit(self.machine.sh, shlex.join(argv), check)
            before = self.machine.containerd
            wait_for(lambda: running.done() or not before.running(), 120, "adopt to stop containerd")
            if not before.running():
                self.machine.start_containerd()
            result = running.result()
        return result.returncode, json.loads(result.stdout) if result.stdout else None

    def check_image(self, ref):
        out = self.machine.sh(f"ctr -n k8s.io i check --snapshotter hearth name=={ref}").stdout
        return next((line for line in out.splitlines() if line.startswith(ref)), out)

    def run(self, ref, snapshotter="hearth"):
        return self.machine.sh(f"ctr -n k8s.io run --rm --snapshotter {snapshotter} {ref} probe /bin/echo hi").stdout


@pytest.mark.parametrize(
    "version", [pytest.param("1.6", marks=pytest.mark.slow), pytest.param("1.7", marks=pytest.mark.slow), "2.1"]
)
def test_images_pulled_before_run_from_hearth(bed, image, version):
    stock = Stock(bed, version, image)
    builtin = stock.machine.view.path("/var/lib/containerd/io.containerd.content.v1.content/blobs/sha256")
    names = sorted(os.listdir(builtin))
    stock.registry.reset()
    code, report = stock.adopt()
    assert code == 0, report
    assert report["restarted"] and report["failed"] == 0
    assert report["blobs"] == len(names)
    assert [i["state"] for i in report["images"]] == ["registered"] * len(report["images"])
    # All that is old comes out of the store alone.
    for name in names:
        (builtin / name).unlink()
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
    stock = Stock(bed, "2.1", image)
    code, report = stock.adopt("--dry-run")
    assert code == 0 and report["blobs"] > 0 and not report["restarted"]
    code, again = stock.adopt("--dry-run")
    assert again["blobs"] == report["blobs"]
    builtin = stock.machine.view.path("/var/lib/containerd/io.containerd.content.v1.content/blobs/sha256")
    victim = max(builtin.iterdir(), key=lambda file: file.stat().st_size)
    with open(victim, "r+b") as f:
        f.write(b"wrong")
    result = stock.machine.sh("hearth adopt --restart false", check=False)
    assert result.returncode == 1
    assert victim.name in result.stderr and "hash to" in result.stderr
    assert stock.machine.containerd.running()
