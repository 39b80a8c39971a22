"""What one pull cost: seconds, CPU, bytes written, memory, bytes from the registry, bytes on disk."""

import dataclasses
import json
import mmap
import os
import pathlib
import platform
import re
import statistics
import subprocess
import threading
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
    node_anon_kib: int = 0  # highest RssAnon, looked at ten times a second
    # Of all cores together: how far the figure is the machine's and its neighbours'.
    steal_seconds: float = 0.0
    idle_seconds: float = 0.0


def _machine_times():
    """(stolen, idle or waiting for a disk) seconds since boot, of all cores."""
    fields = pathlib.Path("/proc/stat").read_text().splitlines()[0].split()[1:]
    ticks = os.sysconf("SC_CLK_TCK")
    return int(fields[7]) / ticks, (int(fields[3]) + int(fields[4])) / ticks


class Meter:
    """with Meter(registry, [processes]) as meter: …; meter.cost then says what it took."""

    def __init__(self, registry, containerd, node=None):
        self._registry = registry
        self._containerd = containerd
        self._node = node
        self.cost = Cost()
        self._ended = threading.Event()
        self._sampler = threading.Thread(target=self._sample_memory)

    def _sample_memory(self):
        while not self._ended.wait(0.1):
            self.cost.node_anon_kib = max(self.cost.node_anon_kib, self._node.process.status_kib("RssAnon"))

    def _processes(self):
        return [self._containerd.process] + ([self._node.process] if self._node else [])

    def __enter__(self):
        self._registry.reset()
        self._cpu = [p.cpu_seconds() for p in self._processes()]
        self._io = [p.io()["write_bytes"] for p in self._processes()]
        if self._node:
            self._sampler.start()
        self._times = _machine_times()
        self._start = time.monotonic()
        return self

    def __exit__(self, kind, *exc):
        cost = self.cost
        cost.seconds = time.monotonic() - self._start
        if self._node:
            self._ended.set()
            self._sampler.join()
        if kind:
            return
        cost.steal_seconds, cost.idle_seconds = (now - was for now, was in zip(_machine_times(), self._times, strict=True))
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


def document(what):
    """The head of what save() takes, made before anything is measured."""
    return {
        "what": what,
        "commit": commit(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": machine(),
    }


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


def _disk_work():
    """Requests ended so far and under way on all disks: writes, discards, flushes."""
    done, under_way = 0, 0
    for line in pathlib.Path("/proc/diskstats").read_text().splitlines():
        fields = [int(field) for field in line.split()[3:]]
        done += fields[4] + sum(fields[index] for index in (11, 15) if index < len(fields))
        under_way += fields[8]
    return done, under_way


def _wait_for_disks(quiet_s, patience_s):
    end = time.monotonic() + patience_s
    last, since = _disk_work(), time.monotonic()
    while time.monotonic() < min(end, since + quiet_s):
        time.sleep(0.1)
        work = _disk_work()
        if work != last or work[1] > 0:
            last, since = work, time.monotonic()


def _touch_memory(size_bytes):
    """A virtual machine may have given free memory back to its host: each page's first touch is then ten times as dear."""
    with mmap.mmap(-1, size_bytes) as memory:
        memory[:: mmap.PAGESIZE] = bytes(size_bytes // mmap.PAGESIZE)


def calm():
    """Makes all measurements begin alike: what those before wrote and removed is written and discarded (no disk has
    had work for a second, or others use them all the time), and the memory that it took is the machine's own."""
    os.sync()
    _wait_for_disks(quiet_s=1.0, patience_s=30.0)
    available_kib = int(re.search(r"MemAvailable: +(\d+)", pathlib.Path("/proc/meminfo").read_text())[1])
    _touch_memory(min(4 << 30, available_kib // 2 * 1024) // mmap.PAGESIZE * mmap.PAGESIZE)
