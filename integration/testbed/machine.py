"""Machine: containerd, node and commands at their default places, inside a private view of /etc, /run and /var/lib.

For what must hold for commands typed exactly as a user types them: no flags, no environment.
"""

import shlex
import shutil
import socket

from .paths import CACHE, HEARTH, containerd_bin
from .process import Process, run, wait_for
from .scratch import MachineView


def free_port():
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Machine:
    """containerd with Debian's own configuration file; registries are known by name and their CA is trusted."""

    def __init__(self, folder, registries=(), version="2.1"):
        self.view = MachineView(folder)
        self.folder = self.view.folder
        self.registries = list(registries)
        self.bin = containerd_bin(version)
        path = f"{HEARTH.parent}:{self.bin}:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        self.env = {"PATH": path, "HOME": "/root", "LANG": "C.UTF-8"}
        self.mirror_port, self.status_port = free_port(), free_port()
        self.containerd = None
        self.node = None
        self._prepare_etc(CACHE / f"containerd-{version}" / "etc" / "containerd" / "config.toml")

    def _prepare_etc(self, containerd_config):
        etc = self.view.path("/etc")
        (etc / "containerd").mkdir(exist_ok=True)
        shutil.copy(containerd_config, etc / "containerd" / "config.toml")
        names = sorted({r.address.rpartition(":")[0] for r in self.registries})
        with open(etc / "hosts", "a") as hosts:
            hosts.writelines(f"127.0.0.1 {name}\n" for name in names)
        bundle = etc / "ssl" / "certs" / "ca-certificates.crt"
        with open(bundle, "a") as out:
            out.writelines(r.ca_file.read_text() for r in self.registries if r.tls)

    def write_node_config(self):
        """/etc/hearth/node.toml: the defaults, but for ports that others on this machine may have."""
        folder = self.view.path("/etc") / "hearth"
        folder.mkdir(exist_ok=True)
        lines = [f'[mirror]\nlisten = "127.0.0.1:{self.mirror_port}"', f'[status]\nlisten = "127.0.0.1:{self.status_port}"']
        # A loopback address is asked only where a table allows it.
        lines += [f'[registry."{r.address}"]' + ("" if r.tls else "\nplain_http = true") for r in self.registries]
        (folder / "node.toml").write_text("\n".join(lines) + "\n")

    def argv(self, *words):
        return self.view.argv(["env", "-i", *[f"{k}={v}" for k, v in self.env.items()], *words])

    def sh(self, command, check=True, timeout=300):
        """Runs a command line as a user types it."""
        return run(self.argv(*shlex.split(command)), check=check, timeout=timeout)

    def start_containerd(self):
        self.containerd = Process(self.argv("containerd"), self.folder / "containerd.log")
        wait_for(self._containerd_answers, 20, "containerd at its default socket")

    def _containerd_answers(self):
        self.containerd.check_running()
        return self.sh("ctr version", check=False).returncode == 0

    def restart_containerd(self):
        self.containerd.stop()
        self.start_containerd()

    def start_node(self):
        self.node = Process(self.argv("hearth", "node"), self.folder / "node.log")
        wait_for(self._node_answers, 20, "the node's sockets")

    def _node_answers(self):
        self.node.check_running()
        return self.view.path("/run/hearth/admin.sock").exists() and self.sh("hearth store ls", check=False).returncode == 0

    def write_bytes(self):
        return sum(p.io()["write_bytes"] for p in (self.containerd, self.node) if p)

    def close(self):
        for process in (self.containerd, self.node):
            if process:
                process.stop()
        self.view.close()

