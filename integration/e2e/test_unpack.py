"""The unpacker against stock containerd: the same layer gives the same upper directory, or both refuse it."""

import io
import json
import subprocess
import tarfile
import time

import pytest

from integration.testbed import Layer, Testbed, tree
from integration.testbed.image import Blob, Image, compress, digest_of
from integration.testbed.paths import HEARTH

TOOL = HEARTH.parent / "unpack_tool"
LAYER = "application/vnd.oci.image.layer.v1.tar"


def base():
    """What the layers below hold: attributes that implied directories take over."""
    layer = Layer()
    layer.add("etc", kind="dir", mode=0o711, uid=11, gid=12, xattrs={"user.a": b"1"}, mtime="1500000000.123456789")
    layer.add("etc/opt", kind="dir", mode=0o2775, gid=50, mtime=1500000001)
    layer.add("etc/file", b"below")
    layer.add("usr", kind="dir").add("usr/lib", kind="dir", mode=0o750).add("lib", kind="link", target="usr/lib")
    layer.add("gone", kind="dir", mode=0o700).add("gone/x", b"x")
    return layer


CAP = b"\x01\x00\x00\x02\x00\x04\x00\x00" + b"\x00" * 12

# Each takes a Layer and fills it.
CASES = {
    "plain": lambda l: l.add("d", kind="dir").add("d/f", b"body", uid=1, gid=2, mtime="1600000000.987654321"),
    "special bits": lambda l: l.add("s", b"x", mode=0o6755, uid=5, gid=6)
    .add("g", kind="dir", mode=0o2775, gid=9)
    .add("g/in", b"")
    .add("g/below", kind="dir")
    .add("t", kind="dir", mode=0o1777),
    "nodes": lambda l: l.add("null", kind="char", mode=0o666, device=(1, 3))
    .add("disk", kind="block", mode=0o660, gid=6, device=(8, 1))
    .add("p", kind="fifo", mode=0o600, uid=3),
    "xattrs": lambda l: l.add("cap", b"x", uid=7, xattrs={"security.capability": CAP, "user.b": b"\x00\xff"})
    .add("d", kind="dir", xattrs={"user.c": b"", "trusted.overlay.opaque": b"y"})
    .add("l", kind="link", target="d", xattrs={"user.d": b"1"}),
    "hard links": lambda l: l.add("a", b"1", mode=0o4755, uid=3, xattrs={"security.capability": CAP})
    .add("b", kind="hard", target="a", mode=0o640, uid=4, gid=4)
    .add("c/d", kind="hard", target="./b")
    .add("e", kind="hard", target="/a"),
    "hard link to a link": lambda l: l.add("a", kind="link", target="x").add("b", kind="hard", target="a", uid=4),
    "hard link to below": lambda l: l.add("h", kind="hard", target="etc/file"),
    "hard link to nothing": lambda l: l.add("h", kind="hard", target="nothing"),
    "hard link to a directory": lambda l: l.add("d", kind="dir").add("h", kind="hard", target="d"),
    "hard link outside": lambda l: l.add("h", kind="hard", target="../../../../../../etc/hostname"),
    "hard link through a link": lambda l: l.add("r/f", b"x").add("k", kind="link", target="r").add(
        "h", kind="hard", target="k/f"
    ),
    "implied": lambda l: l.add("etc/opt/f", b"").add("usr/lib/new/f", b"").add("never/f", b""),
    "implied, listed later": lambda l: l.add("etc/opt/f", b"").add("etc", kind="dir", mode=0o755),
    "implied through a link below": lambda l: l.add("lib/f", b""),
    "implied where a file replaced it": lambda l: l.add("etc/file/f", b""),
    "link here, directory there": lambda l: l.add("bin", kind="link", target="/usr/bin").add("bin/f", b""),
    "link outside": lambda l: l.add("out", kind="link", target="../../../..").add("out/f", b"x"),
    "link chain": lambda l: l.add("a/one", kind="link", target="../two")
    .add("two", kind="link", target="/three/./x/..")
    .add("a/one/f", b""),
    "link circle": lambda l: l.add("a", kind="link", target="b").add("b", kind="link", target="a").add("a/f", b""),
    "names": lambda l: l.add("/abs/f", b"").add("./x//y/./z", b"").add("../../up", b"").add("p/../q", b""),
    "names of bytes": lambda l: l.add("cafe\u0301", b"").add("\u65e5", kind="link", target="\u672c\u8a9e"),
    "long names": lambda l: l.add("n" * 90 + "/" + "m" * 200, b"").add("l", kind="link", target="t" * 300),
    "the root": lambda l: l.add("./", kind="dir", mode=0o700, uid=9).add("f", b""),
    "whiteouts": lambda l: l.whiteout("gone").whiteout("etc/file").whiteout("never").opaque("usr"),
    "whiteout with an owner": lambda l: l.add(".wh.gone", b"body", uid=5, gid=6),
    "whiteout, then again": lambda l: l.whiteout("gone").add("gone", kind="dir").add("gone/y", b"y"),
    "whiteout of its own": lambda l: l.add("f", b"").whiteout("f"),
    "whiteout twice": lambda l: l.whiteout("f").whiteout("f"),
    "whiteout without a name": lambda l: l.add("d/.wh.", b""),
    "whiteout of dot": lambda l: l.add("d/.wh..", b""),
    "whiteout of the parent": lambda l: l.add("d/.wh...", b""),
    "aufs leftovers": lambda l: l.add(".wh..wh.plnk", kind="dir").add(".wh..wh.aufs", b""),
    "opaque late": lambda l: l.add("etc/new", b"").opaque("etc"),
    "opaque root": lambda l: l.opaque("").add("f", b""),
    "replaced": lambda l: l.add("f", b"long").add("f", b"b", mode=0o600)
    .add("d/x", b"").add("d", b"file").add("e", b"").add("e", kind="dir").add("e/x", b""),
    "directory again": lambda l: l.add("d", kind="dir", mode=0o2777).add("d/x", b"").add("d", kind="dir", mode=0o700),
    "directory goes": lambda l: l.add("d", kind="dir").add("d", kind="link", target="nowhere"),
    "directory becomes a link": lambda l: l.add("d", kind="dir", mtime=1400000000)
    .add("d", kind="link", target="e").add("e", kind="dir", mtime=1300000000),
    "below a file": lambda l: l.add("f", b"").add("f/x", b""),
    "times": lambda l: l.add("past", b"", mtime="-5.5").add("far", b"", mtime="9223372037.5").add(
        "edge", b"", mtime="4000000000.000000001"
    ),
    "empty": lambda l: l,
}


def raw(*members, end=b"\0" * 1024):
    """A tar of (name, kind byte, body) with the ustar header as it is, not as a library would tidy it."""
    out = io.BytesIO()
    for name, kind, body in members:
        info = tarfile.TarInfo(name)
        info.size = len(body)
        header = bytearray(info.tobuf(tarfile.USTAR_FORMAT))
        header[156:157] = kind
        header[148:156] = b" " * 8
        header[148:156] = b"%06o\0 " % sum(header)
        out.write(header + body + b"\0" * (-len(body) % 512))
    return out.getvalue() + end


RAW = {
    "nothing at all": b"",
    "no end mark": raw(("f", b"0", b"x"), end=b""),
    "half an end mark": raw(("f", b"0", b"x"), end=b"\0" * 512),
    "trailing bytes": raw(("f", b"0", b"x")) + b"trailing" * 5000,
    "old directory": raw(("d/", b"\0", b""), ("d/f", b"\0", b"x")),
    "cut in a body": raw(("f", b"0", b"x" * 2000))[:1000],
    "cut in a header": raw(("f", b"0", b"x"), ("g", b"0", b"x"))[:1200],
    "no tar": b"this is no tar" * 100,
    "bad pax": raw(("p", b"x", b"garbage"), ("f", b"0", b"")),
    "wrong checksum": raw(("f", b"0", b"x")).replace(b"f", b"g", 1),
    "global header": raw(("pax_global_header", b"g", b"13 comment=c\n"), ("f", b"0", b"x")),
}


# What containerd refuses, so that a pull that fails for another reason is noticed.
REFUSED = {
    "hard link to below", "hard link to nothing", "hard link to a directory", "hard link outside", "link circle",
    "whiteout of its own", "whiteout twice", "whiteout without a name", "whiteout of dot", "whiteout of the parent",
    "directory goes", "below a file", "cut in a body", "cut in a header", "no tar", "bad pax", "wrong checksum",
}  # fmt: skip
REFUSED_ONLY_ABOVE = {"whiteout of its own", "whiteout twice"}  # at the bottom a whiteout just removes


@pytest.fixture(scope="module")
def stock():
    """One stock containerd and registry for all cases."""
    with Testbed() as bed:
        registry, containerd = bed.registry(), bed.containerd()
        # Stays pulled, so that its snapshot is there after a failed pull of a layer above it.
        image = Image.of([base()])
        containerd.pull(image.push(registry, "test/base:v1", bed.new_folder("layout") / "l"))
        yield bed, registry, containerd


def upper_directories(containerd, chain_id):
    """The fs directories of a committed snapshot, top first."""
    key = f"look-{time.time_ns()}"
    snapshots = ("-n", "k8s.io", "snapshots", "--snapshotter", "overlayfs")
    mounts = json.loads(containerd.ctr(*snapshots, "view", "--mounts", key, chain_id).stdout)
    containerd.ctr(*snapshots, "rm", key, check=False)  # without a lease it may be collected already
    mount = {name.lower(): value for name, value in mounts[0].items()}
    if mount["type"] == "bind":
        return [mount["source"]]
    return next(o for o in mount["options"] if o.startswith("lowerdir=")).removeprefix("lowerdir=").split(":")


def listing(root):
    """A whiteout has the time at which it was made."""
    entries = tree.listing(root)
    for entry in entries.values():
        if entry.get("device") == "0:0":
            del entry["mtime_ns"]
    return entries


def tool(blob, root, lower):
    file = root.parent / "blob"
    file.write_bytes(blob.data)
    root.mkdir()
    root.chmod(0o755)
    return subprocess.run([TOOL, file, blob.media_type, root, *lower], capture_output=True, text=True, timeout=60)


def compare(stock, layers, tmp_path, refused=False):
    """Unpacks the last of `layers` (Blob, diff ID) both ways."""
    bed, registry, containerd = stock
    since = time.time_ns()
    image = Image([blob for blob, _ in layers], [diff_id for _, diff_id in layers])
    name = f"test/unpack:t{since}"
    ref = image.push(registry, name, bed.new_folder("layout") / "l")
    pulled = containerd.pull(ref, check=False)
    lower = []
    if len(layers) > 1:
        lower = upper_directories(containerd, image.chain_ids()[-2])
    blob, diff_id = layers[-1]
    done = tool(blob, tmp_path / "fs", lower)
    assert (pulled.returncode != 0) == refused, pulled.stderr
    if refused:
        assert done.returncode == 1, f"containerd refuses it: {pulled.stderr}\nwe do not: {done.stdout}"
        return
    assert done.returncode == 0, f"containerd takes it, we say: {done.stderr}"
    assert json.loads(done.stdout)["diff_id"] == diff_id
    want = upper_directories(containerd, image.chain_ids()[-1])[0]
    assert tree.diff(listing(want), listing(tmp_path / "fs"), since_ns=since) == []
    containerd.ctr("-n", "k8s.io", "images", "rm", ref)


def of(layer, compression="gzip"):
    return layer.blob(compression), layer.diff_id()


def of_bytes(tar):
    return Blob(f"{LAYER}+gzip", compress(tar, "gzip")), digest_of(tar)


@pytest.mark.parametrize("case", CASES)
def test_same_tree_above_other_layers(stock, case, tmp_path):
    compare(stock, [of(base()), of(CASES[case](Layer()))], tmp_path, refused=case in REFUSED)


@pytest.mark.parametrize("case", CASES)
def test_same_tree_at_the_bottom(stock, case, tmp_path):
    refused = case in REFUSED - REFUSED_ONLY_ABOVE
    compare(stock, [of(CASES[case](Layer()))], tmp_path, refused=refused)


@pytest.mark.parametrize("case", RAW)
def test_same_answer_to_odd_bytes(stock, case, tmp_path):
    compare(stock, [of_bytes(RAW[case])], tmp_path, refused=case in REFUSED)


@pytest.mark.parametrize("media", ["", "+gzip", "+zstd"])
@pytest.mark.parametrize("compression", ["none", "gzip", "zstd"])
def test_same_answer_to_wrong_media_types(stock, media, compression, tmp_path):
    # Of its own for each case: an equal chain would not be unpacked again.
    layer = Layer().add("f", f"{media} {compression}".encode())
    blob = Blob(LAYER + media, compress(layer.tar(), compression))
    # Only the media type without a suffix is taken at its word.
    compare(stock, [(blob, layer.diff_id())], tmp_path, refused=media == "" and compression != "none")
