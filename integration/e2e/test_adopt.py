"""hearth adopt: images that were pulled the stock way go on working when Hearth takes containerd's place."""

import os
import pathlib
import signal

import pytest

from integration.testbed.process import wait_for
from integration.testbed.stock import BUILT_IN, StockMachine

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
    for blob in builtin.iterdir():
        blob.unlink()
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

    # Ctrl-C while the last of it is under way, and a kill that nothing can be done about.
    interrupted = machine.sh("hearth adopt --restart 'kill -INT $PPID; exec sleep 1'", check=False)
    assert interrupted.returncode == 130 and "run it again" in interrupted.stderr, interrupted.stderr
    machine.sh(f"ctr -n k8s.io i pull {stock.new_image('third', seed=8)[0]}")
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
