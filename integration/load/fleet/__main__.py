"""`make bench-fleet`: a manager with a thousand simulated nodes, measured against the goals that stand beside each figure."""

import argparse
import json
import pathlib
import subprocess
import sys

from integration.bench import measure as machine
from integration.bench.figure import exit_code
from integration.testbed import scratch
from integration.testbed.manager import Manager
from integration.testbed.paths import HEARTH

from . import measure
from .nodes import FleetNodes

TRACKER_BENCH = HEARTH.parent / "tracker_bench"


def tracker():
    """The tracker alone, without the wire."""
    said = json.loads(subprocess.run([TRACKER_BENCH], check=True, capture_output=True, text=True, timeout=600).stdout)
    return [
        measure.Figure("the tracker alone: joins of 1,000 nodes", said["joins_per_second"]["1000 nodes"], "1/s", 5000, ">="),
        measure.Figure("the tracker alone: its inventory", said["inventory"]["mib"], "MiB", 200, "<="),
    ]


def run(options):
    folder = scratch.new_folder()
    manager = fleet = None
    figures = []

    def take(found):
        for figure in found:
            figures.append(figure)
            print(figure.line(), flush=True)

    try:
        manager = Manager(pathlib.Path(folder))
        fleet = FleetNodes(manager, pathlib.Path(folder) / "nodes", options.nodes, options.blobs, options.distinct)
        take([measure.Figure("all nodes joined in", fleet.joined_seconds, "s")])
        take(tracker())
        take(measure.orders(manager, fleet, options.rounds))
        take(measure.changes(manager, fleet, options.rounds * 4))
        take(measure.swarms(fleet, options.swarms))
        take(measure.reads(manager, fleet, 200, options.seconds))
        take(measure.old_jobs(manager, options.jobs, 4))
        take(measure.memory(manager))
        take(measure.restart(manager, fleet))
        take(measure.memory(manager))
    finally:
        if fleet:
            fleet.close()
        if manager:
            manager.close()
        scratch.remove_folder(folder)
    return figures


def main():
    parser = argparse.ArgumentParser(prog="make bench-fleet", description=__doc__)
    parser.add_argument("--nodes", type=int, default=1000)
    parser.add_argument("--blobs", type=int, default=10_000, help="that each node holds")
    parser.add_argument("--distinct", type=int, default=100_000, help="blobs in all")
    parser.add_argument("--jobs", type=int, default=10_000, help="old jobs")
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--swarms", type=int, default=20, help="blobs that every node joins")
    parser.add_argument("--seconds", type=int, default=20, help="of GETs")
    parser.add_argument("--no-save", action="store_true")
    options = parser.parse_args()
    document = machine.document("a manager with simulated nodes")
    figures = run(options)
    if not options.no_save:
        document |= {
            "options": {name: value for name, value in vars(options).items() if name != "no_save"},
            "figures": [figure.record() for figure in figures],
        }
        print(machine.save("fleet", document))
    return exit_code(figures)


if __name__ == "__main__":
    sys.exit(main())
