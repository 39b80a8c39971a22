"""Real images: a Debian root file system with package layers on top, made once and cached in build/testbed/images.

Each layer is the upper directory of an overlay into which apt installed packages, turned into a tar as a builder does.
Runs as a program too: python3 -m integration.testbed.debian small medium
"""

import contextlib
import fcntl
import hashlib
import json
import os
import pathlib
import shutil
import stat
import subprocess
import sys
import tarfile
import time

from . import image as images
from .paths import IMAGES
from .process import run
from .scratch import Ext4, remove_folder

_WORK_BYTES = 16 << 30  # sparse
_FORMAT = 1  # count up when what a name stands for changes

LAYERS = {
    "tools": ["ca-certificates", "curl", "git", "iputils-ping", "less", "procps", "file", "nano"],
    "compiler": ["python3", "g++", "make", "gdb"],
    "science": ["python3-numpy", "python3-scipy", "python3-pandas"],
    "linux": ["xz-utils", "linux-source"],
}

_PACKAGES = [package for name in ("tools", "compiler", "science") for package in LAYERS[name]]

# What each image is: its layers from the lowest, each with its compression. A name that is none of the above is a
# package. "whole" is one layer of all that lies below it, which is in no layer of its own (None).
NAMES = {
    "small": [("base", "gzip"), ("tools", "zstd"), ("edge", "gzip"), ("empty", "gzip")],
    "medium": [
        ("base", "gzip"),
        ("tools", "gzip"),
        ("compiler", "zstd"),
        ("science", "gzip"),
        ("edge", "none"),
        ("empty", "gzip"),
    ],
    "large": [("base", "gzip"), ("tools", "gzip"), ("compiler", "zstd"), ("linux", "gzip"), ("edge", "gzip")],
    "one": [("base", None), ("tools", None), ("compiler", None), ("science", None), ("whole", "gzip")],
    "many": [
        ("base", "gzip"),
        *((package, "gzip") for package in [*_PACKAGES, "jq", "python3-yaml", "rsync", "vim-tiny"]),
        ("edge", "none"),
        ("empty", "gzip"),
    ],
    "zstd": [("base", "zstd"), ("tools", "zstd"), ("compiler", "zstd"), ("science", "zstd"), ("edge", "zstd"), ("empty", "zstd")],
}


def say(text):
    print(f"    {text}", file=sys.stderr, flush=True)


class DebianImage:
    """A cached OCI layout. layers are (digest, size, diff_id) from the lowest."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        self.manifest = self._blob(json.loads((self.folder / "index.json").read_text())["manifests"][0]["digest"])
        self.config = self._blob(self.manifest["config"]["digest"])
        self.diff_ids = self.config["rootfs"]["diff_ids"]

    def _blob(self, digest):
        return json.loads((self.folder / "blobs" / "sha256" / digest.split(":")[1]).read_text())

    def digests(self):
        return [layer["digest"] for layer in self.manifest["layers"]]

    def layer_bytes(self):
        return sum(layer["size"] for layer in self.manifest["layers"])

    def chain_ids(self):
        chain = []
        for diff_id in self.diff_ids:
            chain.append(diff_id if not chain else images.digest_of(f"{chain[-1]} {diff_id}".encode()))
        return chain

    def write_layout(self, _folder):
        """As Image's, for a layout that is there already."""
        return self.folder

    def push(self, registry, name):
        return registry.push(self.folder, name)


def codename():
    for line in pathlib.Path("/etc/os-release").read_text().splitlines():
        if line.startswith("VERSION_CODENAME="):
            return line.partition("=")[2].strip('"')
    raise RuntimeError("/etc/os-release names no Debian release")


def mirror():
    """The Debian mirror of this machine's own apt."""
    out = run(["apt-get", "indextargets", "--format", "$(REPO_URI) $(CODENAME)", "Created-By: Packages",
               "Origin: Debian"]).stdout  # fmt: skip
    for line in out.splitlines():
        uri, _, name = line.partition(" ")
        if name == codename():
            return uri
    raise RuntimeError(f"this machine's apt names no Debian mirror for {codename()}: run make deps")


# ---- a directory as a layer


class _Hashing:
    """A file that hashes what is written through it."""

    def __init__(self, file):
        self._file = file
        self.sha256 = hashlib.sha256()
        self.size = 0

    def write(self, data):
        self.sha256.update(data)
        self.size += len(data)
        return self._file.write(data)


def _tar_info(path, name, seen):
    """The header of one path of an overlay's upper directory; a device 0/0 is a whiteout."""
    info = os.lstat(path)
    if stat.S_ISCHR(info.st_mode) and info.st_rdev == 0:
        folder, _, last = name.rpartition("/")
        return tarfile.TarInfo(f"{folder}/.wh.{last}" if folder else f".wh.{last}")
    header = tarfile.TarInfo(name)
    header.mode, header.uid, header.gid = stat.S_IMODE(info.st_mode), info.st_uid, info.st_gid
    seconds, ns = divmod(info.st_mtime_ns, 10**9)
    header.mtime = seconds
    header.pax_headers = {"mtime": f"{seconds}.{ns:09d}"} if ns else {}
    for key in os.listxattr(path, follow_symlinks=False):
        if not key.startswith("trusted.overlay."):
            value = os.getxattr(path, key, follow_symlinks=False)
            header.pax_headers[f"SCHILY.xattr.{key}"] = value.decode("utf-8", "surrogateescape")
    if stat.S_ISDIR(info.st_mode):
        header.type = tarfile.DIRTYPE
    elif info.st_nlink > 1 and (info.st_dev, info.st_ino) in seen:
        header.type, header.linkname = tarfile.LNKTYPE, seen[info.st_dev, info.st_ino]
    elif stat.S_ISLNK(info.st_mode):
        header.type, header.linkname = tarfile.SYMTYPE, os.readlink(path)
    elif stat.S_ISREG(info.st_mode):
        header.size = info.st_size
        seen[info.st_dev, info.st_ino] = name
    elif stat.S_ISFIFO(info.st_mode):
        header.type = tarfile.FIFOTYPE
    else:
        header.type = tarfile.CHRTYPE if stat.S_ISCHR(info.st_mode) else tarfile.BLKTYPE
        header.devmajor, header.devminor = os.major(info.st_rdev), os.minor(info.st_rdev)
    return header


def _is_opaque(path):
    try:
        return os.getxattr(path, "trusted.overlay.opaque") == b"y"
    except OSError:
        return False


def _write_tar(folder, out):
    tar = tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT, bufsize=1 << 20)
    seen, pending = {}, [""]
    while pending:
        parent = pending.pop()
        for entry in sorted(os.scandir(os.path.join(folder, parent)), key=lambda e: e.name):
            name = os.path.join(parent, entry.name)
            if stat.S_ISSOCK(os.lstat(entry.path).st_mode):
                continue
            header = _tar_info(entry.path, name, seen)
            if header.isreg() and header.size:
                with open(entry.path, "rb") as f:
                    tar.addfile(header, f)
            else:
                tar.addfile(header)
            if header.isdir():
                if _is_opaque(entry.path):
                    tar.addfile(tarfile.TarInfo(f"{name}/.wh..wh..opq"))
                pending.append(name)
    tar.close()


_COMPRESSORS = {"gzip": ["pigz", "-n", "-6"], "zstd": ["zstd", "-q", "-T0", "-6"], "none": ["cat"]}


def _layer_blob(folder, compression, blobs):
    """Writes the layer blob; returns (descriptor, diff ID)."""
    part = blobs / "part"
    with open(part, "wb") as out:
        packer = subprocess.Popen(_COMPRESSORS[compression], stdin=subprocess.PIPE, stdout=out)
        tar = _Hashing(packer.stdin)
        _write_tar(str(folder), tar)
        packer.stdin.close()
        if packer.wait() != 0:
            raise RuntimeError(f"{_COMPRESSORS[compression][0]} failed")
    with open(part, "rb") as f:
        hexes = hashlib.file_digest(f, "sha256").hexdigest()
    size = part.stat().st_size
    part.rename(blobs / hexes)
    media = "application/vnd.oci.image.layer.v1.tar" + {"gzip": "+gzip", "zstd": "+zstd", "none": ""}[compression]
    return {"mediaType": media, "digest": f"sha256:{hexes}", "size": size}, "sha256:" + tar.sha256.hexdigest()


# ---- the layers' contents


def _make_base(upper):
    say(f"base: mmdebstrap {codename()}")
    run(["mmdebstrap", "--mode=root", "--format=directory", "--variant=minbase", "--dpkgopt=force-unsafe-io",
         "--skip=check/empty", codename(), upper, mirror()], timeout=1200)  # fmt: skip
    shutil.rmtree(upper / "dev")
    (upper / "dev").mkdir()


@contextlib.contextmanager
def _merged(lowers, upper, work):
    at = work.with_name("merged")
    at.mkdir(exist_ok=True)
    lower = ":".join(str(path) for path in reversed(lowers))
    options = f"lowerdir={lower},upperdir={upper},workdir={work},index=off,redirect_dir=off,metacopy=off"
    run(["mount", "-t", "overlay", "overlay", "-o", options, at])
    try:
        yield at
    finally:
        run(["umount", "-R", at])


def _install(lowers, upper, work, packages, apt_folder):
    """apt from outside with dpkg inside, so that this machine's network settings serve, and no download stays."""
    say(f"packages: {' '.join(packages)}")
    with _merged(lowers, upper, work) as root:
        run(["mount", "-t", "proc", "proc", root / "proc"])
        run(["mount", "-t", "tmpfs", "tmpfs", root / "dev"])
        for name, minor in (("null", 3), ("zero", 5), ("full", 7), ("random", 8), ("urandom", 9)):
            run(["mknod", "-m", "666", root / "dev" / name, "c", "1", str(minor)])
        for name in ("lists/partial", "cache/archives/partial"):
            (apt_folder / name).mkdir(parents=True, exist_ok=True)
        apt = ["apt-get", "-o", f"Dir={root}", "-o", f"DPkg::Chroot-Directory={root}", "-o", f"Dir::Log={apt_folder}",
               "-o", f"Dir::State::Lists={apt_folder}/lists", "-o", f"Dir::Cache={apt_folder}/cache",
               "-o", "APT::Sandbox::User=root", "-o", "DPkg::Options::=--force-unsafe-io", "-q=2"]  # fmt: skip
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
        run([*apt, "update"], timeout=300, env=env)
        # Debs are read by the dpkg inside, so the download lies where it sees it, on a mount of its own.
        (apt_folder / "debs" / "partial").mkdir(parents=True, exist_ok=True)
        run(["mount", "--bind", apt_folder / "debs", root / "var/cache/apt/archives"])
        apt += ["-o", f"Dir::Cache::archives={root}/var/cache/apt/archives"]
        run([*apt, "install", "-y", "--no-install-recommends", *packages], timeout=1800, env=env)


def _make_edge(upper):
    """The odd entries of images.edge_layer(), as files: unpacked by tar, whiteouts made as overlayfs has them."""
    layer = images.edge_layer()
    (upper.parent / "edge.tar").write_bytes(layer.tar())
    run(["tar", "-C", upper, "--xattrs", "--xattrs-include=*", "--numeric-owner", "-xpf", upper.parent / "edge.tar"])
    for path in list(upper.rglob(".wh.*")):
        path.unlink()
        if path.name == ".wh..wh..opq":
            os.setxattr(path.parent, "trusted.overlay.opaque", b"y")
        elif not (target := path.with_name(path.name[4:])).exists():
            os.mknod(target, 0o600 | stat.S_IFCHR, 0)
    # And what a package manager leaves when it removes: a file and a directory of the layers below.
    (upper / "usr" / "share").mkdir(parents=True, exist_ok=True)
    os.mknod(upper / "usr" / "share" / "doc", 0o600 | stat.S_IFCHR, 0)
    with open(upper / "data" / "sparse", "wb") as f:
        f.truncate(3 << 20)
        f.seek(1 << 20)
        f.write(b"in the middle")


def _make(name, compressions_of, folder):
    blobs = folder / "blobs" / "sha256"
    blobs.mkdir(parents=True)
    work = Ext4(folder / "work", _WORK_BYTES)
    try:
        lowers, descriptors, diff_ids = [], [], []
        apt_folder = work.path / "apt"
        for number, (layer, compression) in enumerate(compressions_of):
            upper, overlay_work = work.path / f"{number}-{layer}", work.path / f"{number}-work"
            upper.mkdir()
            overlay_work.mkdir()
            if layer == "base":
                _make_base(upper)
            elif layer == "edge":
                _make_edge(upper)
            elif layer not in ("empty", "whole"):
                _install(lowers, upper, overlay_work, LAYERS.get(layer, [layer]), apt_folder)
            if layer == "linux":
                say("linux: unpacking its source")
                (source,) = (upper / "usr/src").glob("linux-source-*.tar.xz")
                run(["tar", "-C", upper / "usr/src", "-xJf", source], timeout=600)
                source.unlink()
            with _merged(lowers, upper, overlay_work) if layer == "whole" else contextlib.nullcontext(upper) as content:
                made = _layer_blob(content, compression, blobs) if compression else None
            lowers.append(upper)
            if not made:
                continue
            descriptor, diff_id = made
            say(f"{layer}: {descriptor['size'] / 1e6:.1f} MB")
            descriptors.append(descriptor)
            diff_ids.append(diff_id)
    finally:
        work.close()
    shutil.rmtree(folder / "work", ignore_errors=True)
    _write_documents(name, descriptors, diff_ids, folder, blobs)


def _write_documents(name, descriptors, diff_ids, folder, blobs):
    made = images.Image([], [])
    config = {
        **made.platform,
        "config": {"Env": ["PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"], "Cmd": ["/bin/bash"]},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        "history": [{"created_by": f"{name} layer {i}"} for i in range(len(diff_ids))],
    }
    config_blob = images.Blob("application/vnd.oci.image.config.v1+json", json.dumps(config).encode())
    manifest = {
        "schemaVersion": 2,
        "mediaType": "application/vnd.oci.image.manifest.v1+json",
        "config": config_blob.descriptor(),
        "layers": descriptors,
    }
    manifest_blob = images.Blob(manifest["mediaType"], json.dumps(manifest).encode())
    for blob in (config_blob, manifest_blob):
        (blobs / blob.digest.split(":")[1]).write_bytes(blob.data)
    (folder / "oci-layout").write_text('{"imageLayoutVersion":"1.0.0"}')
    index = {"schemaVersion": 2, "manifests": [manifest_blob.descriptor(platform=made.platform)]}
    (folder / "index.json").write_text(json.dumps(index))


def debian_image(name):
    """The image, made when it is not in the cache yet (minutes). One process makes, others wait."""
    IMAGES.mkdir(parents=True, exist_ok=True)
    folder = IMAGES / f"{name}-{_FORMAT}"
    with open(IMAGES / f"{name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (folder / "index.json").exists():
            start = time.monotonic()
            say(f"making the image '{name}' (once; cached in build/testbed/images)")
            part = folder.with_name(folder.name + ".part")
            if part.exists():  # of a process that was killed, with its mounts
                remove_folder(part)
            part.mkdir()
            try:
                _make(name, NAMES[name], part)
            except BaseException:
                remove_folder(part)
                raise
            part.rename(folder)
            say(f"made '{name}' in {time.monotonic() - start:.0f} s")
    return DebianImage(folder)


if __name__ == "__main__":
    for wanted in sys.argv[1:] or ["small"]:
        made = debian_image(wanted)
        print(f"{wanted}: {len(made.digests())} layers, {made.layer_bytes() / 1e6:.0f} MB")
