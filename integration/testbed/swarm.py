"""Swarm: nodes, a manager and a registry, each in a network namespace of its own on one bridge, with shaped links."""

import ctypes
import http.client
import itertools
import json
import os
import pathlib
import random
import re
import subprocess
import threading

from .containerd import Containerd
from .image import Image, Layer
from .manager import Manager
from .node import Node
from .paths import HEARTH
from .process import Process, run, wait_for
from .registry import _ACCESS, _BLOB

_LIBC = ctypes.CDLL(None, use_errno=True)
_CLONE_NEWNET = 0x40000000
_SERIAL = itertools.count(1)
_NET = "10.77.0"
REGISTRY_HOST, MANAGER_HOST, FIRST_NODE = f"{_NET}.2", f"{_NET}.3", 11


NAME = "swarm/blob:v1"


def blob_image(size_bytes, seed=1):
    """An image of one layer of about size_bytes, which are random."""
    source = random.Random(seed)
    parts = (source.randbytes(min(1 << 20, size_bytes - at)) for at in range(0, size_bytes, 1 << 20))
    return Image.of([Layer().add("blob", b"".join(parts))], "none")


def fill_storage(storage, layout, name):
    """What a push of the layout's one image would leave in docker-registry's storage; quick, however many its blobs."""
    root = storage / "docker" / "registry" / "v2"
    repository, tag = name.split(":")
    repository = root / "repositories" / repository
    manifest = json.loads((layout / "index.json").read_text())["manifests"][0]["digest"].removeprefix("sha256:")

    def link(folder, hexes):
        folder.mkdir(parents=True, exist_ok=True)  # images share blobs
        (folder / "link").write_text(f"sha256:{hexes}")

    for blob in (layout / "blobs" / "sha256").iterdir():
        data = root / "blobs" / "sha256" / blob.name[:2] / blob.name / "data"
        data.parent.mkdir(parents=True, exist_ok=True)
        if not data.exists():
            data.symlink_to(blob)
        link(repository / "_layers" / "sha256" / blob.name, blob.name)
    link(repository / "_manifests" / "revisions" / "sha256" / manifest, manifest)
    link(repository / "_manifests" / "tags" / tag / "current", manifest)


class Network:
    """A bridge in a namespace of its own, and boxes on it. mbit shapes a link both ways; None leaves it alone."""

    def __init__(self):
        self.prefix = f"h{os.getpid() % 100000}x{next(_SERIAL)}"
        self.hub = f"{self.prefix}hub"
        self.boxes = []
        run(["ip", "netns", "add", self.hub])
        run(["ip", "-n", self.hub, "link", "add", "br0", "type", "bridge"])
        run(["ip", "-n", self.hub, "link", "set", "br0", "up"])

    def box(self, name, address, mbit=None):
        """Adds a namespace; returns the prefix that runs a command line in it."""
        space = f"{self.prefix}{name}"
        run(["ip", "netns", "add", space])
        self.boxes.append(space)
        run(["ip", "-n", self.hub, "link", "add", name, "type", "veth", "peer", "name", "eth0", "netns", space])
        run(["ip", "-n", self.hub, "link", "set", name, "master", "br0", "up"])
        run(["ip", "-n", space, "addr", "add", f"{address}/24", "dev", "eth0"])
        for device in ("lo", "eth0"):
            run(["ip", "-n", space, "link", "set", device, "up"])
        if mbit:
            shape = ["tbf", "rate", f"{mbit}mbit", "burst", "128kb", "latency", "100ms"]
            run(["tc", "-n", space, "qdisc", "add", "dev", "eth0", "root", *shape])
            run(["tc", "-n", self.hub, "qdisc", "add", "dev", name, "root", *shape])
        return ["nsenter", f"--net=/run/netns/{space}", "--"]

    @staticmethod
    def http(prefix, address):
        """A connection to HOST:PORT as it is reached inside the box with this prefix; of use to anybody."""
        host, port = address.rsplit(":", 1)
        connection = http.client.HTTPConnection(host, int(port), timeout=60)

        def inside():  # a thread of its own: it never comes back
            with open(prefix[1].removeprefix("--net="), "rb") as space:
                if _LIBC.setns(space.fileno(), _CLONE_NEWNET) == 0:
                    connection.connect()

        thread = threading.Thread(target=inside)
        thread.start()
        thread.join()
        if connection.sock is None:
            raise ConnectionError(f"nobody answers at {address} in {prefix[1]}")
        connection.auto_open = 0  # again it would connect from here
        return connection

    def set_link(self, name, up):
        """Cuts the box off, or lets it back in; nobody is told."""
        run(["ip", "-n", self.hub, "link", "set", name, "up" if up else "down"])

    def sent_bytes(self, prefix):
        text = run([*prefix, "cat", "/proc/net/dev"]).stdout
        return int(re.search(r"eth0:\s*(.*)", text).group(1).split()[8])

    def close(self):
        for space in [*self.boxes, self.hub]:
            subprocess.run(["ip", "netns", "del", space], check=False, stderr=subprocess.DEVNULL)


class SwarmRegistry:
    """docker-registry in its box, over a storage that was filled before. address is what references say."""

    def __init__(self, folder, prefix, storage):
        self.prefix = prefix
        self.tls, self.ca_file = False, None
        self.address = f"{REGISTRY_HOST}:5000"
        self.url = f"http://{self.address}"
        self.folder = folder
        config = folder / "config.yml"
        config.write_text(
            "version: 0.1\nlog: {level: info, accesslog: {disabled: false}}\n"
            f"storage: {{filesystem: {{rootdirectory: {storage}}}}}\nhttp:\n  addr: 0.0.0.0:5000\n"
        )
        self.start()

    def start(self):
        starts = self._starts()
        self.process = Process(
            [*self.prefix, "docker-registry", "serve", self.folder / "config.yml"], self.folder / "registry.log"
        )
        wait_for(lambda: self._starts() > starts, 20, "the registry")

    def _starts(self):
        log = self.folder / "registry.log"
        return log.read_text(errors="replace").count("listening on") if log.exists() else 0

    def kill9(self):
        self.process.kill9()

    def blob_bytes(self):
        """Bytes of blobs that were answered so far; a request under way counts when it ends."""
        total = 0
        for line in self.process.log.read_text(errors="replace").splitlines():
            match = _ACCESS.match(line)
            if match and match.group(1) == "GET" and match.group(3) in ("200", "206") and _BLOB.match(match.group(2)):
                total += int(match.group(4))
        return total

    def close(self):
        self.process.stop()


class BoxedManager(Manager):
    """`hearth manager` in its box, on the fixed ports that the nodes are told."""

    def __init__(self, folder, prefix):
        super().__init__(folder, prefix=prefix, start=False)
        self._listen = {"api": "127.0.0.1:7780", "grpc": f"{MANAGER_HOST}:7781"}
        self.start()

    def command(self, *argv, token=None, check=True, timeout=60):
        return run([*self.prefix, HEARTH, *argv], check=check, timeout=timeout, env=self.environment(token))


class Disk:
    """A disk of its own at path, of a size like "48m"."""

    def __init__(self, path, size):
        self.path = path
        path.mkdir()
        run(["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", path])

    def close(self):
        run(["umount", "-l", self.path], check=False)


class Swarm:
    """`nodes` nodes that have joined and are connected; .ref is what the registry has.

    image: None is one of a single layer of blob_bytes. containerds: so many of the nodes have one, in .containerds,
    which asks its node's mirror. prefixes {number: words}: before that node's command lines; disks {number: size}: its
    root is a disk of that size ("48m").
    """

    def __init__(
        self, folder, nodes=4, mbit=200, blob_bytes=64 << 20, image=None, containerds=0, settings=None, prefixes=None, disks=None
    ):
        self.folder = pathlib.Path(folder)
        self.network = Network()
        self.nodes = []
        self.containerds = []
        self.prefixes, self.disks = prefixes or {}, disks or {}
        self._parts = [self.network]
        try:
            self._start(nodes, mbit, image or blob_image(blob_bytes), settings or {}, containerds)
        except BaseException:
            self.close()
            raise

    def _start(self, nodes, mbit, image, settings, containerds):
        self.storage = self._folder("storage")
        self.blob_bytes = image.layer_bytes()
        self.add_image(image, NAME)
        self.registry = self._add(
            SwarmRegistry(self._folder("registry"), self.network.box("reg", REGISTRY_HOST, mbit), self.storage)
        )
        self.ref = f"{self.registry.address}/{NAME}"
        self.manager = self._add(BoxedManager(self._folder("manager"), self.network.box("mgr", MANAGER_HOST)))
        token = self.manager.join_token("--uses", nodes + 4)
        for number in range(nodes):
            box = self.network.box(f"n{number}", f"{_NET}.{FIRST_NODE + number}", mbit)
            box = [*box, *self.prefixes.get(number, [])]
            self._start_node(f"n{number}", box, {"manager.join_token_file": f'"{token}"', **settings}, number < containerds)
        for node in self.nodes:
            wait_for(lambda n=node: self.cluster_of(n).get("manager_connected"), 30, f"{node.folder.name} joins")

    def _start_node(self, name, box, settings, with_containerd):
        folder = self._folder(f"{name}c") if with_containerd else None
        own = self._folder(name)
        if disk := self.disks.get(len(self.nodes)):
            self._add(Disk(own / "root", disk))
        node = Node(
            own,
            registries=[self.registry],
            containerd_address=folder / "c.sock" if folder else "",
            settings={"name": f'"{name}"', "manager.addresses": f'["{self.manager.grpc}"]', **settings},
            prefix=box,
        )
        self.nodes.append(self._add(node))
        if folder:
            self.containerds.append(self._add(Containerd(folder, node=node, prefix=box)))
            self.containerds[-1].use_mirror(self.registry)

    def add_image(self, image, name):
        """The registry has it from now on."""
        fill_storage(self.storage, image.write_layout(self._folder(f"layout-{name.replace('/', '-')}") / "oci"), name)

    def _folder(self, name):
        path = self.folder / name
        path.mkdir()
        return path

    def _add(self, part):
        self._parts.append(part)
        return part

    def cluster_of(self, node):
        out = run([*node.prefix, "curl", "-s", "--unix-socket", node.admin_socket, "http://localhost/v1/status"], check=False)
        return (json.loads(out.stdout).get("cluster") or {}) if out.returncode == 0 and out.stdout else {}

    def received(self, node):
        """{source: bytes} that came into the node's store."""
        text = run([*node.prefix, "curl", "-s", f"http://{node.status}/metrics"]).stdout
        return {
            source: float(value)
            for source, value in re.findall(r'hearth_received_bytes_total\{source="(\w+)"\} (\S+)', text)
        }

    def preheat_all(self, nodes=None, output=subprocess.PIPE):
        """Starts the preheats of `nodes` at the same moment; returns the running commands. A pipe has to be read."""
        return [
            subprocess.Popen(
                [str(a) for a in node.command_argv("preheat", self.ref, "--depth", "blobs")],
                stdout=output,
                stderr=subprocess.STDOUT,
                text=True,
            )
            for node in (nodes or self.nodes)
        ]

    def close(self):
        while self._parts:
            self._parts.pop().close()
