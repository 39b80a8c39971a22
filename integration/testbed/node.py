"""Node: `hearth node` with its own root and sockets, and the commands that talk to it."""

import json
import pathlib
import select
import shutil
import subprocess

from .paths import HEARTH
from .process import Process, ProcessEnded, run, wait_for

READY_SECONDS = 20
# However full this machine is: what a test says of space does not depend on it.
NO_SPACE_LIMITS = 'store = {quota = "100%", min_free = "0", min_free_inodes = "0"}'


class Node:
    """settings are TOML dotted keys with TOML values, as for --set: {"limits.origin": '"1MiB"'}.

    Without containerd_address depth image is off; attach() changes that. registries are the ones that it may reach on
    loopback. prefix is put before every command line (see MachineView.argv).
    """

    def __init__(self, folder, registries=(), containerd_address="", settings=None, prefix=(), start=True):
        self.folder = pathlib.Path(folder)
        self.root = self.folder / "root"
        self.prefix = list(prefix)
        self.run_folder = self.folder / "run"
        self.config = self.folder / "node.toml"
        self.registries = list(registries)
        self.containerd_address = containerd_address
        self.settings = dict(settings or {})
        self.socket = self.run_folder / "hearth.sock"
        self.admin_socket = self.run_folder / "admin.sock"
        self.mirror = None
        self.status = None
        self._mirror_listen = "127.0.0.1:0"
        self.process = None
        self.peak_kib = 0
        if start:
            self.start()

    def write_config(self):
        lines = [
            f'root = "{self.root}"',
            f'run = "{self.run_folder}"',
            'egress_allow = ["127.0.0.0/8", "::1/128"]',  # where every origin of the tests is
            NO_SPACE_LIMITS,
            "[containerd]",
            f'address = "{self.containerd_address}"',
            "[mirror]",
            f'listen = "{self._mirror_listen}"',
            "[status]",
            'listen = "127.0.0.1:0"',
        ]
        for registry in self.registries:
            lines.append(f'[registry."{registry.address}"]')
            lines.append(f'plain_http = false\nca_file = "{registry.ca_file}"' if registry.tls else "plain_http = true")
        self.config.write_text("\n".join(lines) + "\n")

    def argv(self):
        argv = [*self.prefix, HEARTH, "node", "--config", self.config, "--output", "json"]
        for key, value in self.settings.items():
            argv += ["--set", f"{key}={value}"]
        return argv

    def start(self):
        """Starts the daemon and returns when all its sockets answer."""
        self.write_config()
        self.process = Process(self.argv(), self.folder / "node.log", stdout=subprocess.PIPE)
        line = self._ready_line()
        ready = json.loads(line)
        if not ready.get("ready"):
            raise ProcessEnded(f"hearth node said {line}")
        self.socket = pathlib.Path(ready["socket"])
        self.admin_socket = pathlib.Path(ready["admin_socket"])
        self.mirror = ready["mirror"]
        self.status = ready["status"]
        # hosts.toml of a running containerd names the port: a restart must come back on it.
        self._mirror_listen = self.mirror

    def _ready_line(self):
        def readable():
            return select.select([self.process.stdout], [], [], 0)[0] or not self.process.running()

        wait_for(readable, READY_SECONDS, f"hearth node's ready line\n{self.process.log_tail()}")
        line = self.process.stdout.readline()
        if not line.strip():
            self.process.wait(5)
            self.process.check_running()
        return line

    def attach(self, containerd):
        """Restarts with depth image on."""
        self.containerd_address = str(containerd.socket)
        self.restart()

    def stop(self):
        self._note_peak()
        return self.process.stop()

    def kill9(self):
        self._note_peak()
        self.process.kill9()

    def restart(self):
        if self.process and self.process.running():
            self.stop()
        self.start()

    def close(self):
        if self.process:
            self.process.stop()

    def _note_peak(self):
        if self.process.running():
            self.peak_kib = max(self.peak_kib, self.process.status_kib("VmHWM"))

    def vm_hwm_kib(self):
        self._note_peak()
        return self.peak_kib

    # ---- commands

    def command_argv(self, *argv):
        """hearth COMMAND … against this node."""
        name, *rest = argv
        return [*self.prefix, HEARTH, name, "--config", self.config, *rest]

    def command(self, *argv, check=True, timeout=120):
        return run(self.command_argv(*argv), check=check, timeout=timeout)

    def json(self, *argv, check=True, timeout=120):
        """The one JSON document that the command prints."""
        out = self.command(*argv, "--output", "json", check=check, timeout=timeout)
        return json.loads(out.stdout)

    def preheat(self, *refs, depth=None, check=True, timeout=600):
        flags = ["--depth", depth] if depth else []
        return self.command("preheat", *refs, *flags, check=check, timeout=timeout)

    # ---- what lies on disk

    def blob_path(self, digest):
        hexes = digest.split(":")[1]
        return self.root / "blobs" / "sha256" / hexes[:2] / hexes

    def disk_bytes(self):
        return int(run(["du", "-s", "-B1", self.root]).stdout.split()[0])

    def verify(self):
        """`hearth store verify`, as (exit code, output)."""
        result = self.command("store", "verify", check=False)
        return result.returncode, result.stdout + result.stderr

    def wipe(self):
        self.stop()
        shutil.rmtree(self.root)
        self.start()
