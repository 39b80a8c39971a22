"""`make bench`: stock containerd and Hearth side by side, cold and preheated, on a fresh ext4 each.

The configurations take turns within a round, so that a busy machine harms them alike; minimum, median and ratios are
printed, all figures go to docs/benchmarks. Everything is local; the number of pulls and their time are bounded.
"""

import argparse
import dataclasses
import signal
import sys
import time

from integration.testbed import Testbed
from integration.testbed.debian import debian_image
from integration.testbed.paths import CACHE, HEARTH

from . import measure

MAX_ROUNDS = 10
DISK_BYTES = 12 << 30  # sparse
CONFIGURATIONS = ("stock", "cold", "mirror", "preheated")
WHAT = {
    "stock": "stock containerd, cold",
    "cold": "Hearth, cold, plain pull",
    "mirror": "Hearth, cold, through the mirror",
    "preheated": "Hearth, preheated",
    "preheat": "  (the preheat itself)",
}


def stock(bed, registry, ref, disk):
    containerd = bed.containerd(folder=disk.path / "c", version="2.1")
    with measure.Meter(registry, containerd) as meter:
        containerd.pull(ref)
    return containerd, {"stock": meter.cost}


def hearth(bed, registry, ref, disk, configuration):
    node, containerd = bed.warm_pair(registry, on=disk.path, mirror=configuration == "mirror")
    costs = {}
    if configuration == "preheated":
        with measure.Meter(registry, containerd, node) as meter:
            node.preheat(ref, depth="layers")
        costs["preheat"] = meter.cost
        measure.settle(disk.path)
    with measure.Meter(registry, containerd, node) as meter:
        containerd.pull(ref)
    costs[configuration] = meter.cost
    return containerd, costs


def one(bed_registry, ref, configuration):
    """One measurement on a file system of its own."""
    with Testbed() as bed:
        disk = bed.ext4(DISK_BYTES)
        if configuration == "stock":
            (disk.path / "c").mkdir()
            containerd, costs = stock(bed, bed_registry, ref, disk)
        else:
            containerd, costs = hearth(bed, bed_registry, ref, disk, configuration)
        measure.settle(disk.path)
        if ref not in containerd.images():
            raise RuntimeError(f"{configuration}: the pull left no image")
        costs[configuration].disk_bytes = disk.used_bytes()
    return costs


def row(name, costs, base):
    fields = ("seconds", "cpu_seconds", "write_bytes", "registry_bytes", "disk_bytes", "node_hwm_kib")
    low = {field: measure.summary(costs, field) for field in fields}
    ratio = base["seconds"][0] / max(low["seconds"][0], 0.001) if base else 1.0
    text = (
        f"{WHAT[name]:<34}{low['seconds'][0]:>8.2f}{low['seconds'][1]:>8.2f}{ratio:>8.1f}x"
        f"{low['cpu_seconds'][0]:>8.2f}{low['cpu_seconds'][1]:>8.2f}"
        f"{low['write_bytes'][1] / 1e6:>10.1f}{low['registry_bytes'][1] / 1e6:>10.1f}"
        f"{low['disk_bytes'][1] / 1e6:>9.0f}{max(c.node_hwm_kib for c in costs) / 1024:>8.0f}"
        f"{max(c.containerd_hwm_kib for c in costs) / 1024:>8.0f}"
    )
    return text, low


def report(results):
    print(f"\n{'':<34}{'seconds':>16}{'speed':>9}{'CPU seconds':>16}{'written':>10}{'registry':>10}{'disk':>9}{'peak MiB':>16}")
    print(f"{'':<34}{'min':>8}{'median':>8}{'-up':>9}{'min':>8}{'median':>8}{'MB':>10}{'MB':>10}{'MB':>9}{'node':>8}{'contd':>8}")
    base = None
    for name in WHAT:
        if results.get(name):
            text, low = row(name, results[name], base)
            base = low if name == "stock" else base
            print(text)


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image", default="medium", help="small, medium or large")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--only", default=",".join(CONFIGURATIONS), help="comma list of " + ", ".join(CONFIGURATIONS))
    parser.add_argument("--no-save", action="store_true", help="write nothing under docs/benchmarks")
    options = parser.parse_args()
    if not 1 <= options.rounds <= MAX_ROUNDS:
        parser.error(f"--rounds {options.rounds}: 1 to {MAX_ROUNDS}")
    names = options.only.split(",")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    image = debian_image(options.image)
    document = {
        "what": "ctr -n k8s.io images pull, containerd 2.1",
        "image": {"name": options.image, "layers": len(image.digests()), "compressed_bytes": image.layer_bytes()},
        "commit": measure.commit(),
        "started": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
        "machine": measure.machine(),
        "containerd": (CACHE / "containerd-2.1" / "VERSION").read_text().strip(),
        "results": {},
    }
    results = document["results"]
    with Testbed() as bed:
        registry = bed.registry()
        ref = image.push(registry, f"bench/{options.image}:v1")
        for number in range(options.rounds):
            shift = number % len(names)
            for name in names[shift:] + names[:shift]:
                for key, cost in one(registry, ref, name).items():
                    results.setdefault(key, []).append(cost)
                    print(f"round {number + 1}: {WHAT[key].strip()}: {cost.seconds:.2f} s", flush=True)
    report(results)
    document["results"] = {key: [dataclasses.asdict(c) for c in costs] for key, costs in results.items()}
    if not options.no_save and HEARTH.exists():
        print(f"\nraw figures: {measure.save('pull', document)}")


if __name__ == "__main__":
    main()
