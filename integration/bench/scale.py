"""`make bench-scale`: a node whose store has as much in it as after years: its start, and what containerd asks of it.

The store is on tmpfs, so that what is measured is the node and not a disk's cache.
"""

import argparse
import json
import signal
import statistics
import sys
import tempfile
import time

from integration.testbed.node import Node
from integration.testbed.paths import HEARTH
from integration.testbed.process import run

from . import measure
from .figure import Figure, exit_code, show

TMPFS = "/dev/shm"
START_SECONDS = 2.0
INFO_MS = 1.0
NODE_MIB = 128
GROWTH_MIB = 8  # more would be a list that is held in memory: 200,000 entries are 20 MiB


def figures_of(node, blobs, starts, probes, grown_kib):
    return [
        Figure("start until all sockets answer, worst", max(starts), "s", START_SECONDS, "<="),
        Figure("start until all sockets answer, median", statistics.median(starts), "s"),
        Figure("Info, p99, worst run", max(p["info_ms"]["p99"] for p in probes), "ms", INFO_MS, "<="),
        Figure("Info, median", statistics.median(p["info_ms"]["median"] for p in probes), "ms"),
        Figure("List of all", statistics.median(p["list_seconds"] for p in probes), "s"),
        Figure("growth of peak memory by List, worst", max(grown_kib) / 1024, "MiB", GROWTH_MIB, "<="),
        Figure("peak memory of the node", node.vm_hwm_kib() / 1024, "MiB", NODE_MIB, "<="),
    ]


def probe(node, blobs, infos):
    """(what content_probe says, KiB by which the peak of the node's memory grew)"""
    argv = [HEARTH.parent / "content_probe", node.socket, blobs]
    run([*argv, 1000])
    before = node.process.status_kib("VmRSS")
    node.process.reset_hwm()
    said = json.loads(run([*argv, infos], timeout=300).stdout)
    if said["listed"] != blobs:
        raise RuntimeError(f"List told of {said['listed']} of {blobs} blobs")
    return said, node.process.status_kib("VmHWM") - before


def main():
    parser = argparse.ArgumentParser(prog="make bench-scale", description=__doc__.splitlines()[0])
    parser.add_argument("--blobs", type=int, default=200_000)
    parser.add_argument("--layers", type=int, default=20_000)
    parser.add_argument("--infos", type=int, default=20_000)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-save", action="store_true", help="write nothing under docs/benchmarks")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    document = measure.document("a node whose store has many blobs and layers, on tmpfs")
    starts, probes, grown = [], [], []
    with tempfile.TemporaryDirectory(prefix="hearth.", dir=TMPFS) as folder:
        node = Node(folder, start=False)
        began = time.monotonic()
        run([HEARTH.parent / "fill_store", node.root, options.blobs, options.layers], timeout=1800)
        print(f"{options.blobs} blobs and {options.layers} layers stored in {time.monotonic() - began:.1f} s", flush=True)
        try:
            for _ in range(options.rounds):
                began = time.monotonic()
                node.start()
                starts.append(time.monotonic() - began)
                said, kib = probe(node, options.blobs, options.infos)
                probes.append(said)
                grown.append(kib)
                node.stop()
            figures = figures_of(node, options.blobs, starts, probes, grown)
        finally:
            node.close()
    show(f"a node with {options.blobs} blobs and {options.layers} layers", figures)
    if not options.no_save:
        document |= {
            "options": {name: value for name, value in vars(options).items() if name != "no_save"},
            "starts": starts,
            "probes": probes,
            "grown_kib": grown,
            "figures": [figure.record() for figure in figures],
        }
        print(f"raw figures: {measure.save('scale', document)}")
    return exit_code(figures)


if __name__ == "__main__":
    sys.exit(main())
