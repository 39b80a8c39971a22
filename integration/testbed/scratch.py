"""Scratch folders, fresh file systems, and private views of /etc, /run and /var/lib."""

import contextlib
import os
import pathlib
import shutil
import subprocess
import tempfile

from .process import run


def new_folder(name="hearth"):
    """A fresh folder with a short path: Unix socket names end at 107 bytes."""
    return pathlib.Path(tempfile.mkdtemp(prefix=f"{name}.", dir=os.environ.get("HEARTH_SCRATCH", "/tmp")))


def mounts_under(folder):
    """Mount points below folder, deepest first."""
    folder = os.path.realpath(folder)  # as the kernel names it
    points = []
    for line in pathlib.Path("/proc/self/mountinfo").read_text().splitlines():
        point = line.split()[4].encode().decode("unicode_escape")
        if point == folder or point.startswith(f"{folder}/"):
            points.append(point)
    return sorted(points, key=len, reverse=True)


def unmount_all(folder):
    for point in mounts_under(folder):
        subprocess.run(["umount", "-l", point], check=False, stderr=subprocess.DEVNULL)


def remove_folder(folder):
    """Unmounts what is mounted below folder, and removes it."""
    unmount_all(folder)
    shutil.rmtree(folder, ignore_errors=True)


class Disk:
    """A fresh file system in a sparse file, mounted at path. As new for every measurement: file creation slows down
    on a file system from which much was deleted."""

    def __init__(self, path, size_bytes, mkfs):
        self.path = pathlib.Path(path)
        self.file = self.path.with_name(self.path.name + ".disk")
        self.path.mkdir(parents=True)
        with open(self.file, "wb") as f:
            f.truncate(size_bytes)
        run([*mkfs, self.file])
        run(["mount", "-o", "loop", self.file, self.path])

    def used_bytes(self):
        stat = os.statvfs(self.path)
        return (stat.f_blocks - stat.f_bfree) * stat.f_frsize

    def fill(self):
        """Leaves not a byte; returns the file that takes them."""
        filler = self.path / "filler"
        for step in (1 << 20, 4 << 10, 1):
            with contextlib.suppress(OSError), open(filler, "ab", buffering=0) as out:
                while True:
                    out.write(b"\0" * step)
        return filler

    def close(self):
        unmount_all(self.path)
        self.file.unlink(missing_ok=True)


class Ext4(Disk):
    def __init__(self, path, size_bytes):
        super().__init__(path, size_bytes, ["mkfs.ext4", "-q", "-F", "-m0", "-E", "lazy_itable_init=0,lazy_journal_init=0"])


class Xfs(Disk):
    """Whose files can share blocks. At least 300 MiB."""

    def __init__(self, path, size_bytes):
        super().__init__(path, size_bytes, ["mkfs.xfs", "-q", "-m", "reflink=1"])


PRIVATE = ("/etc", "/run", "/var/lib")


class MachineView:
    """A mount namespace whose /etc, /run and /var/lib are the test's own, for commands called exactly as a
    user types them. /etc and /var/lib start as copies on write of the machine's, /run starts empty."""

    def __init__(self, folder):
        self.folder = pathlib.Path(folder)
        for name in ("etc", "var-lib"):
            for part in ("upper", "work"):
                (self.folder / name / part).mkdir(parents=True)
        (self.folder / "run").mkdir()
        (self.folder / "plain").mkdir()
        script = " && ".join(
            [
                "mount --make-rprivate /",
                self._overlay("/etc", "etc"),
                # Not an overlay: overlayfs below it must lie on a plain file system.
                f"mount --bind {self.folder}/plain /var/lib",
                f"mount --bind {self.folder}/run /run",
                "echo ready",
                "exec sleep infinity",
            ]
        )
        self._holder = subprocess.Popen(
            ["unshare", "-m", "--kill-child", "sh", "-c", script],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        line = self._holder.stdout.readline().strip()
        if line != "ready":
            self.close()
            raise RuntimeError(f"no private mount namespace: {line}")

    def _overlay(self, target, name):
        upper, work = self.folder / name / "upper", self.folder / name / "work"
        return f"mount -t overlay overlay -o lowerdir={target},upperdir={upper},workdir={work} {target}"

    def _holder_pid(self):
        children = pathlib.Path(f"/proc/{self._holder.pid}/task/{self._holder.pid}/children").read_text().split()
        return children[0] if children else str(self._holder.pid)

    def argv(self, argv):
        """argv as it must be started to run inside."""
        return ["nsenter", f"--mount=/proc/{self._holder_pid()}/ns/mnt", "--", *[str(a) for a in argv]]

    def run(self, argv, **kw):
        return run(self.argv(argv), **kw)

    def path(self, absolute):
        """Where a file of the view is seen from outside."""
        return pathlib.Path(f"/proc/{self._holder_pid()}/root{absolute}")

    def close(self):
        if self._holder.poll() is None:
            self._holder.kill()
        self._holder.wait()
        self._holder.stdout.close()
