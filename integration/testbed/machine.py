"""Machine: containerd, node and commands at their default places, inside a private view of /etc, /run and /var/lib.

For what must hold for commands typed exactly as a user types them: no flags, no environment.
"""

import shlex
import socket

from .node import NO_SPACE_LIMITS
from .paths import CACHE, HEARTH, containerd_bin
from .process import Process, run, wait_for
from .scratch import MachineView

CRI_TABLE = '  [plugins."io.containerd.grpc.v1.cri"]\n'
# The first for machines whose root may not lower its score; the others only to be kept.
CRI_SETTINGS = """\
    restrict_oom_score_adj = true
    max_container_log_line_size = 12345
    enable_unprivileged_ports = true  # as our operators want it
"""


def free_port():
    """A port that was free a moment ago."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Machine:
    """containerd with Debian's own configuration file; registries are known by name and their CA is trusted.

    With `sandbox`, the image of CRI's pods, the file also has settings of CRI's as an operator makes them.
    """

    def __init__(self, folder, registries=(), version="2.1", sandbox=""):
        self.view = MachineView(folder)
        self.folder = self.view.folder
        self.registries = list(registries)
        self.env = {"HOME": "/root", "LANG": "C.UTF-8"}
        self.use_containerd(version)
        self.mirror_port, self.status_port = free_port(), free_port()
        self.containerd = None
        self.node = None
        self._prepare_etc(CACHE / f"containerd-{version}" / "etc" / "containerd" / "config.toml", sandbox)

    def use_containerd(self, version):
        """From the next start on: what an upgrade of its package does, the files in /etc aside."""
        system = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
        self.env["PATH"] = f"{HEARTH.parent}:{containerd_bin(version)}:{system}"

    def _prepare_etc(self, containerd_config, sandbox):
        etc = self.view.path("/etc")
        (etc / "containerd").mkdir(exist_ok=True)
        text = containerd_config.read_text()
        if sandbox:
            assert CRI_TABLE in text, text
            text = text.replace(CRI_TABLE, f'{CRI_TABLE}    sandbox_image = "{sandbox}"\n{CRI_SETTINGS}')
        (etc / "containerd" / "config.toml").write_text(text)
        names = sorted({r.address.rpartition(":")[0] for r in self.registries})
        with open(etc / "hosts", "a") as hosts:
            hosts.writelines(f"127.0.0.1 {name}\n" for name in names)
        bundle = etc / "ssl" / "certs" / "ca-certificates.crt"
        with open(bundle, "a") as out:
            out.writelines(r.ca_file.read_text() for r in self.registries if r.tls)

    def write_node_config(self, space_limits=NO_SPACE_LIMITS, top="", docker_config=""):
        """/etc/hearth/node.toml: the defaults, but for ports that others on this machine may have, and limits of space.

        top: further keys; docker_config: of the node itself, for every registry.
        """
        folder = self.view.path("/etc") / "hearth"
        folder.mkdir(exist_ok=True)
        lines = [space_limits, top]
        lines += [f'[mirror]\nlisten = "127.0.0.1:{self.mirror_port}"', f'[status]\nlisten = "127.0.0.1:{self.status_port}"']
        # A loopback address is asked only where a table allows it.
        for r in self.registries:
            lines += [f'[registry."{r.address}"]', "" if r.tls else "plain_http = true"]
            lines += [f'docker_config = "{docker_config}"'] if docker_config else []
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

