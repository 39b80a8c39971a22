"""What one pull cost: seconds, CPU, bytes written, memory, bytes from the registry, bytes on disk."""

import dataclasses
import json
import os
import pathlib
import platform
import statistics
import subprocess
import time

from integration.testbed.paths import REPO
from integration.testbed.process import run


@dataclasses.dataclass
class Cost:
    seconds: float = 0.0
    cpu_seconds: float = 0.0
    write_bytes: int = 0
    registry_bytes: int = 0
    disk_bytes: int = 0
    containerd_hwm_kib: int = 0
    node_hwm_kib: int = 0


class Meter:
    """with Meter(registry, [processes]) as meter: …; meter.cost then says what it took."""

    def __init__(self, registry, containerd, node=None):
        self._registry = registry
        self._containerd = containerd
        self._node = node
        self.cost = Cost()

    def _processes(self):
        return [self._containerd.process] + ([self._node.process] if self._node else [])

    def __enter__(self):
        self._registry.reset()
        self._cpu = [p.cpu_seconds() for p in self._processes()]
        self._io = [p.io()["write_bytes"] for p in self._processes()]
        self._start = time.monotonic()
        return self

    def __exit__(self, kind, *exc):
        cost = self.cost
        cost.seconds = time.monotonic() - self._start
        if kind:
            return
        cost.cpu_seconds = sum(p.cpu_seconds() for p in self._processes()) - sum(self._cpu)
        cost.write_bytes = sum(p.io()["write_bytes"] for p in self._processes()) - sum(self._io)
        cost.registry_bytes = self._registry.blob_bytes()
        cost.containerd_hwm_kib = self._containerd.process.status_kib("VmHWM")
        cost.node_hwm_kib = self._node.vm_hwm_kib() if self._node else 0


def summary(costs, field):
    """(minimum, median) of a field over the rounds."""
    values = [getattr(cost, field) for cost in costs]
    return min(values), statistics.median(values)


def machine():
    """What the figures depend on."""
    cpu = "unknown"
    for line in pathlib.Path("/proc/cpuinfo").read_text().splitlines():
        if line.startswith("model name"):
            cpu = line.partition(":")[2].strip()
            break
    memory = pathlib.Path("/proc/meminfo").read_text().split()[1]
    return {
        "cpu": cpu,
        "cores": os.cpu_count(),
        "memory_kib": int(memory),
        "kernel": platform.release(),
        "load_at_start": os.getloadavg()[0],
    }


def commit():
    out = subprocess.run(["git", "-C", REPO, "rev-parse", "--short", "HEAD"], capture_output=True, text=True)
    return out.stdout.strip() or "unknown"


def save(name, document):
    """Writes docs/benchmarks/NAME-DATE.json; returns its path."""
    folder = REPO / "docs" / "benchmarks"
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{name}-{time.strftime('%Y-%m-%d')}.json"
    path.write_text(json.dumps(document, indent=1) + "\n")
    return path


def settle(folder):
    """What earlier steps wrote must not be written while the next one is measured."""
    run(["sync", "-f", folder], timeout=300)
