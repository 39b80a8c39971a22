"""Images made here: OCI layouts written by hand, so that each odd thing that a layer can hold is in one."""

import dataclasses
import gzip
import hashlib
import io
import json
import os
import pathlib
import random
import struct
import subprocess
import tarfile

from .process import run

_ARCH = {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)
_SUFFIX = {"gzip": "+gzip", "zstd": "+zstd", "none": ""}
TIME = 1_600_000_000.123456789


def digest_of(data):
    return "sha256:" + hashlib.sha256(data).hexdigest()


@dataclasses.dataclass
class Blob:
    media_type: str
    data: bytes

    @property
    def digest(self):
        return digest_of(self.data)

    def descriptor(self, **extra):
        return {"mediaType": self.media_type, "digest": self.digest, "size": len(self.data), **extra}


class Layer:
    """A layer in the making: add entries, then blob("gzip" | "zstd" | "none")."""

    def __init__(self):
        self._file = io.BytesIO()
        self._tar = tarfile.open(fileobj=self._file, mode="w", format=tarfile.PAX_FORMAT)
        self._tar_bytes = None

    def add(self, name, data=None, *, kind=None, mode=None, uid=0, gid=0, mtime=TIME, target="", xattrs=None, device=()):
        """data bytes = a file; otherwise kind is dir, link, hard, fifo, char or block."""
        info = tarfile.TarInfo(name)
        info.type = {
            None: tarfile.REGTYPE,
            "dir": tarfile.DIRTYPE,
            "link": tarfile.SYMTYPE,
            "hard": tarfile.LNKTYPE,
            "fifo": tarfile.FIFOTYPE,
            "char": tarfile.CHRTYPE,
            "block": tarfile.BLKTYPE,
        }[kind]
        info.mode = mode if mode is not None else {"dir": 0o755, "link": 0o777}.get(kind, 0o644)
        info.uid, info.gid, info.mtime, info.linkname = uid, gid, mtime, target
        # tarfile writes pax values as UTF-8 from str: bytes above 0x7f come through surrogateescape.
        info.pax_headers = {
            f"SCHILY.xattr.{key}": value.decode("utf-8", "surrogateescape") for key, value in (xattrs or {}).items()
        }
        if isinstance(mtime, str):  # exact decimal, beyond what a float holds
            info.mtime = int(mtime.split(".")[0])
            info.pax_headers["mtime"] = mtime
        if device:
            info.devmajor, info.devminor = device
        if kind is None:
            info.size = len(data)
            self._tar.addfile(info, io.BytesIO(data))
        else:
            self._tar.addfile(info)
        return self

    def whiteout(self, path):
        folder, _, name = path.rpartition("/")
        return self.add(f"{folder}/.wh.{name}" if folder else f".wh.{name}", b"")

    def opaque(self, folder):
        return self.add(f"{folder}/.wh..wh..opq", b"")

    def tar(self):
        if self._tar_bytes is None:
            self._tar.close()
            self._tar_bytes = self._file.getvalue()
        return self._tar_bytes

    def diff_id(self):
        return digest_of(self.tar())

    def blob(self, compression="gzip"):
        return Blob(f"application/vnd.oci.image.layer.v1.tar{_SUFFIX[compression]}", compress(self.tar(), compression))


def compress(data, compression):
    if compression == "gzip":
        return gzip.compress(data, compresslevel=1, mtime=0)
    if compression == "zstd":
        return subprocess.run(["zstd", "-q", "-3"], input=data, stdout=subprocess.PIPE, check=True).stdout
    return data


class Image:
    """Layers with their diff IDs, config and manifest. `layers` may hold wrong things on purpose."""

    def __init__(self, layers, diff_ids, config=None, platform=None):
        self.layers = list(layers)
        self.diff_ids = list(diff_ids)
        platform = platform or {"os": "linux", "architecture": _ARCH}
        document = {
            **platform,
            "config": {"Env": ["PATH=/bin:/usr/bin"], "Cmd": ["/bin/sh"], **(config or {})},
            "rootfs": {"type": "layers", "diff_ids": self.diff_ids},
            "history": [{"created_by": f"layer {i}"} for i in range(len(self.layers))],
        }
        self.config = Blob("application/vnd.oci.image.config.v1+json", json.dumps(document).encode())
        self.platform = platform

    @classmethod
    def of(cls, layers, compressions=None, **kw):
        """From Layer objects; compressions is one word for all, or a list."""
        if compressions is None or isinstance(compressions, str):
            compressions = [compressions or "gzip"] * len(layers)
        blobs = [layer.blob(c) for layer, c in zip(layers, compressions)]
        return cls(blobs, [layer.diff_id() for layer in layers], **kw)

    @property
    def manifest(self):
        document = {
            "schemaVersion": 2,
            "mediaType": "application/vnd.oci.image.manifest.v1+json",
            "config": self.config.descriptor(),
            "layers": [blob.descriptor() for blob in self.layers],
        }
        return Blob(document["mediaType"], json.dumps(document).encode())

    def chain_ids(self):
        chain = []
        for diff_id in self.diff_ids:
            chain.append(diff_id if not chain else digest_of(f"{chain[-1]} {diff_id}".encode()))
        return chain

    def layer_bytes(self):
        return sum(len(blob.data) for blob in self.layers)

    def write_layout(self, folder):
        """Writes an OCI layout; returns its path."""
        folder = pathlib.Path(folder)
        blobs = folder / "blobs" / "sha256"
        blobs.mkdir(parents=True)
        for blob in [*self.layers, self.config, self.manifest]:
            (blobs / blob.digest.split(":")[1]).write_bytes(blob.data)
        (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
        index = {"schemaVersion": 2, "manifests": [self.manifest.descriptor(platform=self.platform)]}
        (folder / "index.json").write_text(json.dumps(index))
        return folder

    def push(self, registry, name, folder):
        """Pushes to registry as name; returns the reference."""
        return registry.push(self.write_layout(folder), name)


# ---- the small image: made in a second, with every odd entry

_BUSYBOX = pathlib.Path("/bin/busybox")


def _capability(effective_bits):
    """A VFS_CAP_REVISION_2 value with these permitted bits, effective."""
    return struct.pack("<IIIII", 0x02000000 | 1, effective_bits, 0, 0, 0)


def base_layer():
    layer = Layer()
    for folder in ("bin", "etc", "tmp", "usr", "usr/bin", "var", "var/lib", "var/lib/app", "opt"):
        layer.add(folder, kind="dir", mode=0o1777 if folder == "tmp" else 0o755)
    layer.add("bin/busybox", _BUSYBOX.read_bytes(), mode=0o755)
    for name in ("sh", "ls", "cat", "echo", "sleep", "true"):
        layer.add(f"bin/{name}", kind="link", target="busybox")
    layer.add("etc/passwd", b"root:x:0:0:root:/:/bin/sh\n")
    layer.add("etc/gone", b"removed by the next layer\n")
    layer.add("opt/old/a", b"hidden by an opaque mark\n")
    layer.add("opt/old/b", b"hidden too\n")
    layer.add("var/lib/app/state", b"file, later a directory\n")
    layer.add("var/lib/folder", kind="dir").add("var/lib/folder/x", b"directory, later a file\n")
    # Lower layer's owner and mode, that a later layer's implied directory must take.
    layer.add("usr/implied", kind="dir", mode=0o2750, uid=12, gid=34)
    return layer


def edge_layer():
    layer = Layer()
    layer.whiteout("etc/gone")
    layer.add("opt/old", kind="dir", mode=0o711).opaque("opt/old").add("opt/old/c", b"only this is left\n")
    layer.whiteout("var/lib/app/state")
    layer.add("var/lib/app/state", kind="dir").add("var/lib/app/state/now", b"a directory\n")
    layer.whiteout("var/lib/folder").add("var/lib/folder", b"a file\n")
    layer.add("usr/implied/deep/er/file", b"its parents are not in the tar\n")
    layer.add("data", kind="dir")
    layer.add("data/original", b"linked thrice\n", mtime="1234567890.987654321")
    layer.add("data/hard1", kind="hard", target="data/original")
    layer.add("usr/bin/hard2", kind="hard", target="data/original")
    layer.add("data/dangling", kind="link", target="/no/where", uid=7, gid=8)
    layer.add("data/loop", kind="link", target="loop")
    layer.add("data/up", kind="link", target="../../../../etc")
    layer.add("data/fifo", kind="fifo", mode=0o620)
    layer.add("data/null", kind="char", device=(1, 3), mode=0o666)
    layer.add("data/disk", kind="block", device=(7, 99), mode=0o660, gid=6)
    layer.add("data/setuid", b"#!/bin/sh\n", mode=0o4755)
    layer.add("data/setgid", kind="dir", mode=0o2775, gid=50)
    layer.add("data/none", b"nobody reads\n", mode=0o000, uid=65534, gid=65534)
    layer.add("data/big-owner", b"", uid=3_000_000_000, gid=2_999_999_999)
    layer.add("data/cap", b"\x7fELF", mode=0o755, xattrs={"security.capability": _capability(1 << 13)})
    layer.add("data/xattr", b"x", xattrs={"user.binary": bytes(range(1, 64)) + b"\x00\xff\xfe", "user.empty": b""})
    layer.add("data/xattr-dir", kind="dir", xattrs={"user.dir": b"on a directory"})
    layer.add("data/old", b"1970", mtime=1)
    layer.add("data/late", b"2038+", mtime=2_200_000_000)
    layer.add("data/" + "n" * 250, b"long name")
    layer.add("data/ünï-名前", b"not ASCII")
    layer.add("data/new\nline", b"newline in the name")
    layer.add("data/" + "/".join(f"d{i}" for i in range(60)) + "/leaf", b"deep")
    layer.add("./data/dot-slash", b"a name with ./")
    layer.add("data/empty", b"")
    return layer


def filler_layer(number, size_bytes):
    """size_bytes in files of uneven sizes, half of it incompressible. The same number gives the same layer."""
    rng = random.Random(number)
    layer = Layer().add(f"fill{number}", kind="dir")
    left, i = size_bytes, 0
    while left > 0:
        size = min(left, rng.choice((10, 1000, 4096, 30_000, 300_000)))
        data = rng.randbytes(size // 2) + b"hearth" * (size // 12 + 1)
        layer.add(f"fill{number}/f{i}", data[:size], mtime=1_500_000_000 + i)
        left, i = left - size, i + 1
    return layer


def small_image(layers=5, filler_bytes=200_000, seed=0):
    """A runnable image of `layers` ≥ 2 layers, its compressions mixed: base, odd entries, then fillers."""
    made = [base_layer(), edge_layer()]
    made += [filler_layer(seed * 1000 + i, filler_bytes) for i in range(layers - 3)]
    if layers > 2:
        made.append(Layer())  # an empty tar is a layer too
    compressions = ["gzip", "zstd", "none"]
    return Image.of(made[:layers], [compressions[i % 3] for i in range(layers)])


def pause_image():
    """For the sandboxes of CRI's pods: it does not end by itself."""
    return Image.of([base_layer()], config={"Cmd": ["/bin/sleep", "infinity"]})
