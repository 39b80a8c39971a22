"""`make bench`: stock containerd and Hearth side by side, cold and preheated, on a fresh ext4 each.

The configurations take turns within a round, so that a busy machine harms them alike; minimum, median and ratios are
printed, all figures go to docs/benchmarks. Everything is local; the number of pulls and their time are bounded.
"""

import argparse
import dataclasses
import json
import os
import signal
import sys

from integration.testbed import Testbed
from integration.testbed.clients import cri
from integration.testbed.debian import debian_image
from integration.testbed.paths import CACHE, HEARTH
from integration.testbed.process import run

from . import measure
from .figure import Figure, show

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
STAGES = {"inflate": ("inflate",), "hash": ("hash_blobs", "hash_layers"), "write": ("write_blobs", "write_files")}


@dataclasses.dataclass(frozen=True)
class Row:
    """One image, pulled by one client of one containerd; goals are times stock's speed."""

    image: str
    rounds: int = 3
    version: str = "2.1"
    client: str = "ctr"
    goals: dict = dataclasses.field(default_factory=dict)

    def pull(self, containerd, ref):
        if self.client == "cri":
            cri(containerd.socket, "pull", ref, timeout=600)
        else:
            containerd.pull(ref)


ROWS = {
    "medium": Row("medium", rounds=5, goals={"cold": 3, "mirror": 3, "preheated": 40}),
    "small": Row("small"),
    "large": Row("large", goals={"preheated": 40}),
    "one": Row("one", goals={"cold": 2}),
    "many": Row("many"),
    "zstd": Row("zstd"),
    # There containerd unpacks by itself what a plain pull brings.
    "1.6": Row("medium", version="1.6", goals={"cold": 1 / 1.2}),
    "1.6-cri": Row("medium", version="1.6", client="cri", goals={"cold": 2.5}),
}


# ---- one measurement


def stock(bed, registry, row, ref, disk):
    (disk.path / "c").mkdir()
    containerd = bed.containerd(folder=disk.path / "c", version=row.version)
    measure.calm()
    with measure.Meter(registry, containerd) as meter:
        row.pull(containerd, ref)
    return containerd, {"stock": meter.cost}


def hearth(bed, registry, row, ref, disk, configuration):
    node, containerd = bed.warm_pair(registry, on=disk.path, version=row.version, mirror=configuration == "mirror")
    costs = {}
    measure.calm()
    if configuration == "preheated":
        with measure.Meter(registry, containerd, node) as meter:
            node.preheat(ref, depth="layers")
        costs["preheat"] = meter.cost
        measure.calm()
    with measure.Meter(registry, containerd, node) as meter:
        row.pull(containerd, ref)
    costs[configuration] = meter.cost
    return containerd, costs


def one(registry, row, ref, configuration):
    """One measurement on a file system of its own."""
    with Testbed() as bed:
        disk = bed.ext4(DISK_BYTES)
        if configuration == "stock":
            containerd, costs = stock(bed, registry, row, ref, disk)
        else:
            containerd, costs = hearth(bed, registry, row, ref, disk, configuration)
        measure.settle(disk.path)
        if ref not in containerd.images():
            raise RuntimeError(f"{configuration}: the pull left no image")
        costs[configuration].disk_bytes = disk.used_bytes()
    return costs


def stages(image):
    """What each stage of a pull costs alone, on the bytes of the image: see stage_bench.cc."""
    with Testbed() as bed:
        disk = bed.ext4(DISK_BYTES)
        measure.calm()
        return json.loads(run([HEARTH.with_name("stage_bench"), image.folder, disk.path], timeout=300).stdout)


# ---- what is printed


def bound(measured):
    """(seconds, text): no pull with these stages is faster on this machine."""
    cpu = {name: min(sum(m[part] for part in parts) for m in measured) for name, parts in STAGES.items()}
    cores = os.cpu_count()
    seconds = sum(cpu.values()) / cores
    parts = " + ".join(f"{name} {value:.2f}" for name, value in cpu.items())
    return seconds, f"bound of the machine: {parts} = {sum(cpu.values()):.2f} CPU s alone, on {cores} cores {seconds:.2f} s"


def line(name, costs, base):
    fields = ("seconds", "cpu_seconds", "write_bytes", "registry_bytes", "disk_bytes")
    low = {field: measure.summary(costs, field) for field in fields}
    ratio = base["seconds"][0] / max(low["seconds"][0], 0.001) if base else 1.0
    text = (
        f"{WHAT[name]:<34}{low['seconds'][0]:>8.2f}{low['seconds'][1]:>8.2f}{ratio:>8.1f}x"
        f"{low['cpu_seconds'][0]:>8.2f}{low['cpu_seconds'][1]:>8.2f}"
        f"{low['write_bytes'][1] / 1e6:>10.1f}{low['registry_bytes'][1] / 1e6:>10.1f}"
        f"{low['disk_bytes'][1] / 1e6:>9.0f}{max(c.node_hwm_kib for c in costs) / 1024:>8.0f}"
        f"{max(c.node_anon_kib for c in costs) / 1024:>8.0f}{max(c.containerd_hwm_kib for c in costs) / 1024:>8.0f}"
        f"{sum(c.steal_seconds for c in costs):>8.2f}"
    )
    return text, low


def figures(row, results, least_seconds):
    """How much faster than stock, and in how much memory."""
    seconds = {name: measure.summary(costs, "seconds")[0] for name, costs in results.items()}
    found = []
    for name, goal in row.goals.items():
        if name in seconds and "stock" in seconds:
            most = seconds["stock"] / least_seconds if name != "preheated" else 0  # whose work was done before
            found.append(Figure(f"{WHAT[name]}, against stock", seconds["stock"] / seconds[name], "x", goal, ">=", most))
    nodes = [cost for costs in results.values() for cost in costs if cost.node_hwm_kib]
    if nodes:
        found.append(Figure("the node's peak memory (VmHWM)", max(c.node_hwm_kib for c in nodes) / 1024, "MiB", 128, "<="))
        found.append(Figure("of that, no file's (RssAnon)", max(c.node_anon_kib for c in nodes) / 1024, "MiB", 96, "<="))
    return found


def report(title, row, results, measured_stages):
    print(f"\n{title:<34}{'seconds':>16}{'speed':>9}{'CPU seconds':>16}{'written':>10}{'registry':>10}{'disk':>9}{'MiB':>24}{'stolen':>8}")
    print(f"{'':<34}{'min':>8}{'median':>8}{'-up':>9}{'min':>8}{'median':>8}{'MB':>10}{'MB':>10}{'MB':>9}{'peak':>8}{'anon':>8}{'contd':>8}{'s':>8}")
    base = None
    for name in WHAT:
        if results.get(name):
            text, low = line(name, results[name], base)
            base = low if name == "stock" else base
            print(text)
    least, text = bound(measured_stages)
    print(f"\n{text}")
    show("against the goals", figures(row, results, least))


# ---- the run


def bench(name, row, rounds, names):
    """All rounds of one row; returns what is kept of it."""
    image = debian_image(row.image)
    results, measured_stages = {}, []
    with Testbed() as bed:
        registry = bed.registry()
        ref = image.push(registry, f"bench/{row.image}:v1")
        for number in range(rounds):
            measured_stages.append(stages(image))
            shift = number % len(names)
            for configuration in names[shift:] + names[:shift]:
                for key, cost in one(registry, row, ref, configuration).items():
                    results.setdefault(key, []).append(cost)
                    print(f"{name}, round {number + 1}: {WHAT[key].strip()}: {cost.seconds:.2f} s", flush=True)
    title = f"{row.image}, {image.layer_bytes() / 1e6:.0f} MB, {row.client} of {row.version}"
    report(title, row, results, measured_stages)
    return {
        "image": {"name": row.image, "layers": len(image.digests()), "compressed_bytes": image.layer_bytes()},
        "client": row.client,
        "containerd": (CACHE / f"containerd-{row.version}" / "VERSION").read_text().strip(),
        "stages": measured_stages,
        "results": {key: [dataclasses.asdict(c) for c in costs] for key, costs in results.items()},
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default="medium", help="comma list of " + ", ".join(ROWS) + "; or all")
    parser.add_argument("--rounds", type=int, default=0, help="of each row; 0 = as many as each asks for")
    parser.add_argument("--only", default=",".join(CONFIGURATIONS), help="comma list of " + ", ".join(CONFIGURATIONS))
    parser.add_argument("--no-save", action="store_true", help="write nothing under docs/benchmarks")
    options = parser.parse_args()
    if not 0 <= options.rounds <= MAX_ROUNDS:
        parser.error(f"--rounds {options.rounds}: 0 to {MAX_ROUNDS}")
    chosen, names = list(ROWS) if options.rows == "all" else options.rows.split(","), options.only.split(",")
    for given, known in ((chosen, ROWS), (names, CONFIGURATIONS)):
        for name in given:
            if name not in known:
                parser.error(f"{name} is none of {', '.join(known)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))

    document = measure.document("one image pulled by stock containerd and by one with Hearth") | {"rows": {}}
    for name in chosen:
        document["rows"][name] = bench(name, ROWS[name], options.rounds or ROWS[name].rounds, names)
    if not options.no_save and HEARTH.exists():
        print(f"\nraw figures: {measure.save('pull', document)}")


if __name__ == "__main__":
    main()
