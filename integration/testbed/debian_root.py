"""DebianRoot: a bare root file system of a Debian release, in which packages are installed as on a machine of it.

What runs inside has its own mounts and its own network (loopback only); apt runs outside with dpkg inside, so that
this machine's network settings serve. No systemd runs there, until boot().
"""

import contextlib
import fcntl
import os
import pathlib
import shutil
import subprocess

from .boot import Booted
from .debian import mirror
from .paths import CACHE
from .process import run
from .scratch import remove_folder

_FORMAT = 1  # count up when what is in a bare root changes
_MAKE_SECONDS = 1200
_SIZE_BYTES = 2 << 30
_PATH = "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
# Records of dpkg, apt and their like, that no package owns; and what is not on disk.
_RECORDS = ("/var/lib/dpkg", "/var/lib/apt", "/var/cache", "/var/log", "/etc/ld.so.cache", "/proc", "/dev", "/tmp")


def _bare(suite):
    """A tar of the release's smallest system with apt, made when it is not in the cache. One makes, others wait."""
    CACHE.mkdir(parents=True, exist_ok=True)
    tar = CACHE / f"root-{suite}-{_FORMAT}.tar"
    with open(tar.with_suffix(".lock"), "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not tar.exists():
            part = tar.with_suffix(".part.tar")
            part.unlink(missing_ok=True)
            run(["mmdebstrap", "--mode=root", "--variant=minbase", "--dpkgopt=force-unsafe-io", suite, part,
                 mirror()], timeout=_MAKE_SECONDS)  # fmt: skip
            part.rename(tar)
    return tar


class DebianRoot:
    def __init__(self, folder, suite):
        self.suite = suite
        self.folder = pathlib.Path(folder)
        self.path = self.folder / "root"
        self._apt_folder = CACHE / f"apt-{suite}"  # downloads and lists, kept
        self.path.mkdir(parents=True)
        # In memory: dpkg syncs a lot, and thousands of files go again.
        run(["mount", "-t", "tmpfs", "-o", f"mode=755,size={_SIZE_BYTES}", "tmpfs", self.path])
        run(["tar", "-C", self.path, "--numeric-owner", "-xpf", _bare(suite)], timeout=300)
        for name in ("lists/partial", "debs/partial"):
            (self._apt_folder / name).mkdir(parents=True, exist_ok=True)
        script = " && ".join([
            "mount --make-rprivate /",
            f"mount -t proc proc {self.path}/proc",
            f"mount --bind {self._apt_folder}/debs {self.path}/var/cache/apt/archives",
            "ip link set lo up",
            "echo ready",
            "exec sleep infinity",
        ])  # fmt: skip
        self._holder = subprocess.Popen(["unshare", "--mount", "--net", "sh", "-c", script], text=True,
                                        stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)  # fmt: skip
        line = self._holder.stdout.readline().strip()
        if line != "ready":
            self.close()
            raise RuntimeError(f"no namespaces for the root: {line}")

    @property
    def holder_pid(self):
        """A process in the root's namespaces."""
        return self._holder.pid

    def close(self):
        if self._holder.poll() is None:
            self._holder.kill()
        self._holder.wait()
        self._holder.stdout.close()
        remove_folder(self.folder)

    @contextlib.contextmanager
    def boot(self):
        """Its own systemd runs; what sh() starts is still outside of that, what Booted.sh() starts is not."""
        booted = Booted(self.path, self._inside(), self.folder / "boot.log")
        try:
            yield booted
        finally:
            booted.close()

    def _inside(self):
        """Leads a command line into the root's namespaces."""
        spaces = f"/proc/{self._holder.pid}/ns"
        return ["nsenter", f"--mount={spaces}/mnt", f"--net={spaces}/net"]

    def argv(self, *words):
        """words as they must be started to run inside."""
        environment = ["env", "-i", _PATH, "LC_ALL=C.UTF-8", "HOME=/root", "DEBIAN_FRONTEND=noninteractive"]
        return [*self._inside(), "chroot", str(self.path), *environment, *[str(w) for w in words]]

    def sh(self, command, check=True, timeout=120):
        """Runs a shell line inside."""
        return run(self.argv("sh", "-c", command), check=check, timeout=timeout)

    def apt(self, *words):
        """apt-get with these words, from outside; the first time it fetches the lists."""
        lists = self._apt_folder / "lists"
        options = [f"Dir={self.path}", f"DPkg::Chroot-Directory={self.path}", f"Dir::State::Lists={lists}",
                   f"Dir::Cache::archives={self.path}/var/cache/apt/archives", f"Dir::Cache={self.folder}/cache",
                   "APT::Sandbox::User=root", "APT::Architecture=" + self.sh("dpkg --print-architecture").stdout.strip(),
                   "DPkg::Options::=--force-unsafe-io", "APT::Keep-Downloaded-Packages=true"]  # fmt: skip
        (self.folder / "cache").mkdir(exist_ok=True)
        into = ["nsenter", f"--mount=/proc/{self._holder.pid}/ns/mnt"]
        apt = [*into, "apt-get", "-q=2", "-y", "--no-install-recommends", *[w for o in options for w in ("-o", o)]]
        env = {**os.environ, "DEBIAN_FRONTEND": "noninteractive", "LC_ALL": "C.UTF-8"}
        with open(self._apt_folder / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (self.folder / "updated").exists():
                run([*apt, "update"], timeout=300, env=env)
                (self.folder / "updated").touch()
            return run([*apt, *words], timeout=900, env=env)

    def put(self, file, at="/root"):
        """Copies a file in; returns its path inside."""
        shutil.copy(file, f"{self.path}{at}")
        return f"{at}/{pathlib.Path(file).name}"

    def read(self, path):
        return (self.path / path.lstrip("/")).read_text()

    def write(self, path, text):
        file = self.path / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)

    def exists(self, path):
        return os.path.lexists(f"{self.path}{path}")

    def listing(self):
        """Every path that packages and programs left, but for dpkg's and apt's own records."""
        found = set()
        for folder, folders, files in os.walk(self.path):
            inside = "/" + os.path.relpath(folder, self.path) if folder != str(self.path) else ""
            folders[:] = [f for f in folders if f"{inside}/{f}" not in _RECORDS]
            found |= {f"{inside}/{name}" for name in folders + files if f"{inside}/{name}" not in _RECORDS}
        return found


@contextlib.contextmanager
def debian_root(folder, suite):
    root = DebianRoot(folder, suite)
    try:
        yield root
    finally:
        root.close()
