"""Testbed: owns a scratch folder and the parts started in it."""

import itertools
import signal
import threading

from . import scratch
from .containerd import Containerd
from .front import Front
from .machine import Machine
from .manager import Manager
from .node import Node
from .origin import Origin
from .registry import Registry


class Testbed:
    """Starts parts, and stops them in reverse order, whatever happened.

    containerd_version: of every containerd whose starter names none.
    """

    __test__ = False

    def __init__(self, keep=False):
        self.folder = scratch.new_folder()
        self.keep = keep
        self.containerd_version = "2.1"
        self._parts = []
        self._numbers = itertools.count(1)

    def __enter__(self):
        return self

    def __exit__(self, *exc):
        self.close()

    def close(self):
        """Stops everything; a second Ctrl-C does not cut it short."""
        before = self._ignore_interrupts()
        try:
            self._close()
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    @staticmethod
    def _ignore_interrupts():
        if threading.current_thread() is not threading.main_thread():
            return {}
        return {number: signal.signal(number, signal.SIG_IGN) for number in (signal.SIGINT, signal.SIGTERM)}

    def _close(self):
        errors = []
        while self._parts:
            try:
                self._parts.pop().close()
            except Exception as error:  # the other parts must be stopped all the same
                errors.append(error)
        if self.keep:
            scratch.unmount_all(self.folder)
        else:
            scratch.remove_folder(self.folder)
        if errors:
            raise errors[0]

    def new_folder(self, name):
        folder = self.folder / f"{name}{next(self._numbers)}"
        folder.mkdir()
        return folder

    def own(self, part):
        """Closes part with the bed."""
        self._parts.append(part)
        return part

    def registry(self, **kw):
        return self.own(Registry(self.new_folder("r"), **kw))

    def front(self, registry, **kw):
        return self.own(Front(registry, **kw))

    def origin(self, **kw):
        """A file server behind signed URLs."""
        return self.own(Origin(self.new_folder("origin"), **kw))

    def node(self, *registries, folder=None, **kw):
        return self.own(Node(folder or self.new_folder("n"), registries=registries, **kw))

    def manager(self, folder=None, **kw):
        return self.own(Manager(folder or self.new_folder("manager"), **kw))

    def containerd(self, folder=None, version=None, **kw):
        return self.own(Containerd(folder or self.new_folder("c"), version=version or self.containerd_version, **kw))

    def warm_pair(self, *registries, on=None, version=None, mirror=False, settings=None, plain_http=True, **kw):
        """A node and a containerd that know each other, their data under the folder `on`: (node, containerd)."""
        on = on or self.new_folder("p")
        for name in ("n", "c"):
            (on / name).mkdir()
        node = self.node(*registries, folder=on / "n", containerd_address=on / "c" / "c.sock", settings=settings)
        containerd = self.containerd(folder=on / "c", node=node, version=version, plain_http=plain_http, **kw)
        if mirror:
            for registry in registries:
                containerd.use_mirror(registry)
        return node, containerd

    def ext4(self, size_bytes):
        return self.own(scratch.Ext4(self.folder / f"e{next(self._numbers)}", size_bytes))

    def xfs(self, size_bytes):
        return self.own(scratch.Xfs(self.folder / f"x{next(self._numbers)}", size_bytes))

    def machine(self, *registries, folder=None, version=None, **kw):
        folder, version = folder or self.new_folder("m"), version or self.containerd_version
        return self.own(Machine(folder, registries=registries, version=version, **kw))

    def machine_view(self):
        return self.own(scratch.MachineView(self.new_folder("v")))
