"""Nasty tars: what containerd's own diff service and overlayfs snapshotter make of them, Hearth's make too.

All cases go through two real containerds at once, one stock and one whose content, snapshots and diff are Hearth's, by
the same client. Then each case's trees are compared: every layer's directory, and all of them merged by the kernel.
"""

import concurrent.futures
import hashlib
import json
import pathlib
import time

import pytest

from integration.testbed import Testbed, tree
from integration.testbed.clients import client
from integration.testbed.image import Image
from integration.testbed.nasty_tars import CASES, HUGE_BYTES, HUGE_SPARSE, MEDIA_TYPE, blobs_of, write_many_files
from integration.testbed.process import run

APPLY_SECONDS = 300
MANY_FILES = 1_000_000
MANY_SECONDS = 3600
MANY_DISK_BYTES = 48 << 30  # sparse; as many inodes as both sides need come with it


def apply_all(containerd, plan, timeout=APPLY_SECONDS):
    """{name: answer} of the stacks in the file plan."""
    argv = [client("v2"), "-address", containerd.socket, "-namespace", "tars", "-snapshotter", containerd.snapshotter]
    lines = run([*argv, "apply", plan], timeout=timeout).stdout.splitlines()
    return {answer["name"]: answer for answer in map(json.loads, lines)}


def write_plan(folder, cases, canary):
    """The client's input file."""
    stacks = []
    for number, (name, case) in enumerate(cases.items()):
        layers = []
        for i, blob in enumerate(blobs_of(case, canary)):
            file = folder / f"{number}-{i}"
            file.write_bytes(blob.data)
            layers.append({"File": str(file), "Descriptor": blob.descriptor()})
        stacks.append({"Name": name, "Layers": layers})
    plan = folder / "plan.json"
    plan.write_text(json.dumps(stacks))
    return plan


def make_canary(folder):
    """Files outside of every layer that the cases aim at."""
    folder.mkdir()
    (folder / "file").write_text("alive")
    (folder / "dir").mkdir()
    (folder / "dir" / "inner").write_text("alive")
    (folder / "link").symlink_to("file")
    return folder


def canary_state(folder):
    """With what only a change of the inode moves: inode number, links, change time."""
    state = tree.listing(folder, root_mtime=True)
    for name in state:
        info = (folder / name).lstat()
        state[name].update(inode=info.st_ino, links=info.st_nlink, changed_ns=info.st_ctime_ns)
    return state


class Sides:
    """Both containerds' answers to all cases, and the canary that lay beside them."""

    def __init__(self, bed, cases, on=None, version="2.1"):
        # Its own gzip: what pigz and igzip make of garbage, should they be on PATH, is not containerd's doing.
        on = on or bed.new_folder("sides")
        for name in ("stock", "ours"):
            (on / name).mkdir()
        own_gzip = {"CONTAINERD_DISABLE_PIGZ": "1", "CONTAINERD_DISABLE_IGZIP": "1"}
        self.stock_containerd = bed.containerd(folder=on / "stock", env=own_gzip, version=version)
        self.registry = bed.registry()
        self.node, self.our_containerd = bed.warm_pair(self.registry, on=on / "ours", version=version, env=own_gzip)
        self.own_differ = version != "1.6"  # which has no diff proxies: containerd itself unpacks onto our mounts
        self.bed = bed
        self.canary = make_canary(bed.folder / "canary")
        self.canary_before = canary_state(self.canary)
        self.since = time.time_ns()
        plan = write_plan(bed.new_folder("blobs"), cases, self.canary)
        self.stock, self.ours = self.apply(plan)

    def apply(self, plan, **kw):
        with concurrent.futures.ThreadPoolExecutor(2) as pool:
            return pool.map(lambda c: apply_all(c, plan, **kw), (self.stock_containerd, self.our_containerd))


@pytest.fixture(
    scope="module",
    params=["2.1", pytest.param("1.7", marks=pytest.mark.slow), pytest.param("1.6", marks=pytest.mark.slow)],
)
def sides(request):
    """request.param is the version of both."""
    with Testbed() as bed:
        yield Sides(bed, CASES, version=request.param)


def layer_directories(answer):
    """The fs directories of the whole stack, top first."""
    (mount,) = answer["mounts"]
    if mount["Type"] == "bind":
        return [pathlib.Path(mount["Source"])]
    lower = next(o for o in mount["Options"] if o.startswith("lowerdir=")).removeprefix("lowerdir=")
    return [pathlib.Path(path) for path in lower.split(":")]


def listing(root):
    return without_whiteout_times(tree.listing(root))


def without_whiteout_times(entries):
    """A whiteout has the time at which it was made."""
    for entry in entries.values():
        if entry.get("device") == "0:0":
            del entry["mtime_ns"]
    return entries


def merged(bed, answer):
    """The stack as a container sees it."""
    at = bed.new_folder("merged")
    (mount,) = answer["mounts"]
    run(["mount", "-t", mount["Type"], "-o", ",".join(mount["Options"]), mount["Source"], at])
    try:
        return listing(at)
    finally:
        run(["umount", at])


def compare(sides, name, case):
    stock, ours = sides.stock[name], sides.ours[name]
    assert bool(stock.get("error")) == case.refused, f"containerd: {stock.get('error', 'takes it')}"
    differs = case.ours if sides.own_differ else ""
    if differs == "refused":
        assert case.says in ours.get("error", "Hearth takes it"), ours.get("error")
        return
    if case.refused and not differs:
        assert ours.get("error"), f"containerd refuses it: {stock['error']}\nHearth takes it"
        assert len(ours["applied"] or []) == len(stock["applied"] or [])
        return
    assert not ours.get("error"), f"Hearth: {ours['error']}"
    if differs == "taken":
        return
    assert ours["applied"] == stock["applied"]
    assert ours["inodes"] == stock["inodes"]
    want, have = layer_directories(stock), layer_directories(ours)
    assert len(want) == len(have)
    for want_root, have_root in zip(want, have):
        assert tree.diff(listing(want_root), listing(have_root), since_ns=sides.since) == []
    if len(want) > 1:
        assert tree.diff(merged(sides.bed, stock), merged(sides.bed, ours), since_ns=sides.since) == []


@pytest.mark.parametrize("name", CASES)
def test_same_as_containerd(sides, name):
    compare(sides, name, CASES[name])


def test_every_difference_has_its_reason():
    assert [name for name, case in CASES.items() if bool(case.ours) != bool(case.why)] == []


def test_a_sparse_file_of_64_gib_takes_no_space(sides):
    if not sides.own_differ:
        pytest.skip("this containerd unpacks by itself, and writes every zero")
    (answer,) = apply_all(
        sides.our_containerd, write_plan(sides.bed.new_folder("huge"), {"huge": HUGE_SPARSE}, sides.canary)
    ).values()
    (root,) = layer_directories(answer)
    # Stock containerd would write every zero; what it would call the layer is the hash of its tar, and we say the same.
    (blob,) = blobs_of(HUGE_SPARSE, sides.canary)
    assert [applied["digest"] for applied in answer["applied"]] == [blob.digest]
    info = (root / "huge").stat()
    assert info.st_size == HUGE_BYTES
    assert info.st_blocks * 512 < 1 << 20
    with open(root / "huge", "rb") as file:
        for offset, text in ((0, b"start\0"), (HUGE_BYTES // 2, b"middle\0"), (HUGE_BYTES - 3, b"end")):
            file.seek(offset)
            assert file.read(len(text)) == text


def found(root):
    """Every name below root with its attributes and body, sorted; a Python listing would take minutes."""
    names = run(["find", root, "-mindepth", "1", "-printf", "%P %y %m %U:%G %s %T@\n"], timeout=MANY_SECONDS).stdout
    bodies = run(["sh", "-c", 'cd "$1" && find . -type f -print0 | sort -z | xargs -0 cat | sha256sum', "-", root],
                 timeout=MANY_SECONDS).stdout  # fmt: skip
    return sorted(names.splitlines()), bodies


def image_of(sides, name):
    """The stack as an image, its diff IDs as containerd found them."""
    blobs = blobs_of(CASES[name], sides.canary)
    return Image(blobs, [applied["digest"] for applied in sides.stock[name]["applied"]])


@pytest.mark.slow
def test_same_when_preheated(sides):
    """The other road: fetched and unpacked by Hearth alone, in any order, before containerd asks."""
    names = [name for name, case in CASES.items() if len(sides.stock[name]["applied"] or []) > 1 and not case.refused]
    assert len(names) > 20
    images = {name: image_of(sides, name) for name in names}
    refs = {
        name: image.push(sides.registry, f"test/nasty:v{i}", sides.bed.new_folder("layout") / "l")
        for i, (name, image) in enumerate(images.items())
    }
    sides.node.preheat(*refs.values(), depth="layers")
    sides.registry.reset()
    for name, ref in refs.items():
        sides.our_containerd.pull(ref)
        have = without_whiteout_times(sides.our_containerd.tree(images[name].chain_ids()[-1]))
        assert tree.diff(merged(sides.bed, sides.stock[name]), have, since_ns=sides.since) == [], name
    assert sides.registry.blob_gets() == []


@pytest.mark.slow
def test_one_million_files(bed):
    # Of its own: with the disk image its files are gone at once.
    sides = Sides(bed, {}, on=bed.ext4(MANY_DISK_BYTES).path)
    folder = bed.new_folder("many")
    write_many_files(folder / "layer", MANY_FILES)
    with open(folder / "layer", "rb") as file:
        digest = hashlib.file_digest(file, "sha256").hexdigest()
    size = (folder / "layer").stat().st_size
    descriptor = {"mediaType": MEDIA_TYPE + "+gzip", "digest": f"sha256:{digest}", "size": size}
    plan = folder / "plan.json"
    plan.write_text(
        json.dumps([{"Name": "many", "Layers": [{"File": str(folder / "layer"), "Descriptor": descriptor}]}])
    )
    stock, ours = (answers["many"] for answers in sides.apply(plan, timeout=MANY_SECONDS))
    assert not stock.get("error") and not ours.get("error"), (stock.get("error"), ours.get("error"))
    assert ours["applied"] == stock["applied"]
    (want,), (have,) = layer_directories(stock), layer_directories(ours)
    want, have = found(want), found(have)
    assert len(want[0]) == MANY_FILES + MANY_FILES // 1000
    assert want == have


def test_nothing_outside_changed(sides):
    """Last, so that it sees what every case did."""
    assert canary_state(sides.canary) == sides.canary_before
