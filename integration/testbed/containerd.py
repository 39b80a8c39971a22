"""Containerd: one real containerd with its own root, state and sockets; stock, or with Hearth's proxies."""

import calendar
import json
import os
import pathlib
import re
import shutil
import subprocess
import time

from . import tree
from .paths import containerd_bin
from .process import Process, run, wait_for

PULL_SECONDS = 600


class Containerd:
    """node=None is stock containerd (overlayfs, its own content store). With a node its three proxies are used.

    Registries for which use_mirror() was called are asked through the node's mirror first.
    """

    def __init__(self, folder, version="2.1", node=None, root=None, plain_http=True, config_extra="", sandbox="", env=None, prefix=()):
        self.folder = pathlib.Path(folder)
        self.version = version
        self.node = node
        self.prefix = list(prefix)  # put before every command line
        self.plain_http = plain_http
        self.sandbox = sandbox  # image of CRI's pods
        self.root = pathlib.Path(root) if root else self.folder / "root"
        self.socket = self.folder / "c.sock"
        self.hosts_dir = self.folder / "certs.d"
        self.hosts_dir.mkdir(exist_ok=True)
        self.bin = containerd_bin(version)
        self.snapshotter = "hearth" if node else "overlayfs"
        self.env = {**os.environ, "PATH": f"{self.bin}:{os.environ['PATH']}", **(env or {})}
        self.env.pop("CONTAINERD_SNAPSHOTTER", None)
        (self.folder / "config.toml").write_text(self._config() + config_extra)
        self.process = None
        self.start()

    # ---- configuration

    def _config(self):
        parts = [
            f"version = {3 if self._is_2() else 2}",
            f'root = "{self.root}"',
            f'state = "{self.folder}/state"',
            'disabled_plugins = ["io.containerd.content.v1.content"]' if self.node else "disabled_plugins = []",
            f'[grpc]\n  address = "{self.socket}"',
            f'[ttrpc]\n  address = "{self.socket}.ttrpc"',
        ]
        if self.node:
            parts.append(self._proxies())
        parts.append(self._cri_2() if self._is_2() else self._cri_1())
        return "\n".join(parts) + "\n"

    def _is_2(self):
        return self.version.startswith("2.")

    def _proxies(self):
        socket, export_root = self.node.socket, self.folder / "snapshots-export"
        export_root.mkdir(exist_ok=True)
        if self.version == "1.6":
            (self.root / "io.containerd.snapshotter.v1.hearth").mkdir(parents=True, exist_ok=True)
        text = (
            f'[proxy_plugins.hearth-content]\n  type = "content"\n  address = "{socket}"\n'
            f'[proxy_plugins.hearth]\n  type = "snapshot"\n  address = "{socket}"\n'
            f'  [proxy_plugins.hearth.exports]\n    root = "{export_root}"\n'
            '    enable_remote_snapshot_annotations = "true"\n'
        )
        if self.version != "1.6":
            text += (
                f'[proxy_plugins.hearth-diff]\n  type = "diff"\n  address = "{socket}"\n'
                '[plugins."io.containerd.service.v1.diff-service"]\n  default = ["hearth-diff", "walking"]\n'
            )
        return text

    def _cri_1(self):
        cri = 'plugins."io.containerd.grpc.v1.cri"'
        return (
            f"[{cri}]\n  restrict_oom_score_adj = true\n"
            + (f'  sandbox_image = "{self.sandbox}"\n' if self.sandbox else "")
            +
            f'[{cri}.containerd]\n  snapshotter = "{self.snapshotter}"\n'
            f'[{cri}.registry]\n  config_path = "{self.hosts_dir}"\n'
            f'[{cri}.cni]\n  bin_dir = "/usr/lib/cni"\n  conf_dir = "{self.folder}/cni"\n'
        )

    def _cri_2(self):
        images, runtime = 'plugins."io.containerd.cri.v1.images"', 'plugins."io.containerd.cri.v1.runtime"'
        text = (
            f'[{images}]\n  snapshotter = "{self.snapshotter}"\n'
            f'[{images}.registry]\n  config_path = "{self.hosts_dir}"\n'
            f"[{runtime}]\n  restrict_oom_score_adj = true\n"
            f'[{runtime}.cni]\n  bin_dirs = ["/usr/lib/cni"]\n  conf_dir = "{self.folder}/cni"\n'
        )
        if self.sandbox:
            text += f'[{images}.pinned_images]\n  sandbox = "{self.sandbox}"\n'
        if self.node:
            text += (
                '[[plugins."io.containerd.transfer.v1.local".unpack_config]]\n'
                '  platform = "linux"\n  snapshotter = "hearth"\n  differ = "hearth-diff"\n'
            )
        return text

    def use_mirror(self, registry, mirror=None):
        """From now on pulls from registry ask the node's mirror first."""
        folder = self.hosts_dir / registry.address
        folder.mkdir(exist_ok=True)
        (folder / "hosts.toml").write_text(
            f'server = "{registry.url}"\n'
            f'[host."http://{mirror or self.node.mirror}"]\n  capabilities = ["pull", "resolve"]\n'
        )

    # ---- life

    def start(self):
        self.process = Process(
            [*self.prefix, self.bin / "containerd", "--config", self.folder / "config.toml"],
            self.folder / "containerd.log",
            env=self.env,
        )
        wait_for(self._answers, 20, "containerd's socket")

    def _answers(self):
        self.process.check_running()
        return self.socket.exists() and self.ctr("version", check=False, timeout=10).returncode == 0

    def stop(self):
        self._stop_tasks()
        self.process.stop()

    def restart(self):
        self.process.stop()
        self.start()

    def wipe(self):
        """Stops it, removes its root and state, and starts it anew: a new UUID."""
        self.stop()
        shutil.rmtree(self.root, ignore_errors=True)
        shutil.rmtree(self.folder / "state", ignore_errors=True)
        self.start()

    def _stop_tasks(self):
        if not self.process.running():
            return
        for namespace in self._lines("namespaces", "ls", "-q"):
            for task in self._lines("-n", namespace, "tasks", "ls", "-q"):
                self.ctr("-n", namespace, "tasks", "rm", "-f", task, check=False)

    def _lines(self, *argv):
        result = self.ctr(*argv, check=False, timeout=20)
        return result.stdout.split() if result.returncode == 0 else []

    def close(self):
        try:
            self._stop_tasks()
        except subprocess.TimeoutExpired:
            pass
        self.process.stop()

    # ---- commands

    def ctr_argv(self, *argv):
        return [*self.prefix, self.bin / "ctr", "-a", self.socket, *argv]

    def ctr(self, *argv, timeout=120, check=True):
        return run(self.ctr_argv(*argv), timeout=timeout, check=check, env=self.env)

    def pull_argv(self, ref, extra=()):
        flags = ["--plain-http"] if self.plain_http else []
        if any(self.hosts_dir.iterdir()):
            flags += ["--hosts-dir", self.hosts_dir]
        return self.ctr_argv("-n", "k8s.io", "images", "pull", *flags, "--snapshotter", self.snapshotter, *extra, ref)

    def pull(self, ref, *extra, timeout=PULL_SECONDS, check=True):
        return run(self.pull_argv(ref, extra), timeout=timeout, check=check, env=self.env)

    def images(self, namespace="k8s.io"):
        return self._lines("-n", namespace, "images", "ls", "-q")

    def remove_image(self, ref, timeout=120):
        """Removes it and waits for containerd's garbage collection."""
        return self.ctr("-n", "k8s.io", "images", "rm", "--sync", ref, timeout=timeout)

    def check_image(self, ref):
        """The line of `ctr images check` for ref: 'complete (N/N)' when nothing is missing."""
        text = self.ctr("-n", "k8s.io", "images", "check", "--snapshotter", self.snapshotter, f"name=={ref}").stdout
        return next((line for line in text.splitlines() if line.startswith(ref)), text)

    def wait_complete(self, ref, timeout=10):
        """Returns when `ctr images check` misses nothing. Hearth adopts what it pulled itself right after the pull."""
        wait_for(lambda: " complete (" in self.check_image(ref), timeout, f"all of {ref}: {self.check_image(ref)}")

    def export(self, ref, file):
        self.ctr("-n", "k8s.io", "images", "export", file, ref, timeout=300)

    def run_container(self, ref, *command, name="probe", timeout=60):
        """Runs command to its end in a container of ref; returns its output."""
        return self.ctr(
            "-n", "k8s.io", "run", "--rm", "--snapshotter", self.snapshotter, ref, name, *command, timeout=timeout
        ).stdout

    def wait_for_hearth(self):
        """Returns when a call reaches the node: after its restart containerd dials again with pauses of up to 3 s."""
        probe = ("-n", "probe", "snapshots", "--snapshotter", "hearth")
        wait_for(lambda: self.ctr(*probe, "prepare", "pr", check=False).returncode == 0, 20, "containerd to find the node")
        self.ctr(*probe, "rm", "pr")

    def wait_for_leases(self, namespace="k8s.io", timeout=60):
        """Returns when what images hold is held by nothing else: Hearth's lease on layers of a pull ends after it."""

        def ended():
            listed = self.ctr("-n", namespace, "leases", "ls").stdout
            ends = re.findall(r"containerd.io/gc.expire=(\S+)Z", listed)
            return all(calendar.timegm(time.strptime(end, "%Y-%m-%dT%H:%M:%S")) < time.time() for end in ends)

        wait_for(ended, timeout, "the end of the leases", interval=0.2)

    def snapshots(self, namespace="k8s.io"):
        """{key: (parent, kind)} of the snapshotter in use."""
        text = self.ctr("-n", namespace, "snapshots", "--snapshotter", self.snapshotter, "ls").stdout
        rows = [line.split() for line in text.splitlines()[1:]]
        return {r[0]: (r[1] if len(r) == 3 else "", r[-1]) for r in rows if r}

    def content(self, namespace="k8s.io"):
        return self._lines("-n", namespace, "content", "ls", "-q")

    def ingests(self, namespace="k8s.io"):
        text = self.ctr("-n", namespace, "content", "active").stdout
        return [line.split()[0] for line in text.splitlines()[1:] if line.strip()]

    def uuid(self):
        text = self.ctr("version").stdout
        return next(line.split()[-1] for line in text.splitlines() if "UUID" in line)

    def failed_plugins(self):
        text = self.ctr("plugins", "ls").stdout
        return [line for line in text.splitlines() if line.rstrip().endswith(" error")]

    # ---- looking at what was unpacked

    def tree(self, chain_id, namespace="k8s.io"):
        """tree.listing of a committed snapshot, as a container would see it."""
        key = f"look-{os.urandom(4).hex()}"
        snapshots = ("-n", namespace, "snapshots", "--snapshotter", self.snapshotter)
        at = self.folder / key
        at.mkdir()
        out = self.ctr(*snapshots, "view", "--mounts", key, chain_id, check=False)
        if out.returncode != 0 or not out.stdout.strip():
            if out.returncode != 0:
                self.ctr(*snapshots, "view", key, chain_id)
            mount = self.ctr(*snapshots, "mounts", at, key).stdout
        else:
            mount = None
        try:
            if mount is None:
                self._mount_json(json.loads(out.stdout), at)
            else:
                run(["sh", "-c", mount])
            return tree.listing(at)
        finally:
            subprocess.run(["umount", at], check=False, stderr=subprocess.DEVNULL)
            self.ctr(*snapshots, "rm", key, check=False)

    def layer_folders(self, chain_id):
        """The directories of a committed snapshot's layers, lowest first; it must have two or more. containerd 2 only."""
        key = f"look-{os.urandom(4).hex()}"
        snapshots = ("-n", "k8s.io", "snapshots", "--snapshotter", self.snapshotter)
        (mount,) = json.loads(self.ctr(*snapshots, "view", "--mounts", key, chain_id).stdout)
        self.ctr(*snapshots, "rm", key, check=False)  # where containerd has not collected it yet
        options = {key.lower(): value for key, value in mount.items()}["options"]
        lowers = next(option for option in options if option.startswith("lowerdir="))
        return [pathlib.Path(folder) for folder in reversed(lowers.partition("=")[2].split(":"))]

    @staticmethod
    def _mount_json(mounts, at):
        for m in mounts:
            m = {key.lower(): value for key, value in m.items()}
            run(["mount", "-t", m["type"], "-o", ",".join(m["options"]), m["source"], at])
