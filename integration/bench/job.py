"""`make bench-job`: a preheat job through a manager to real nodes, each with a containerd, against the goals beside each figure.

Everything is on loopback and no link is shaped. Each round has a manager, nodes and containerds of its own, each node with
its containerd on a fresh ext4 as on a machine of its own. When a node had done what, its own log says; when the job was
a success, the manager's events.
"""

import argparse
import dataclasses
import datetime
import json
import signal
import statistics
import sys
import time

from integration.load.fleet.measure import Events
from integration.testbed import Testbed
from integration.testbed.cluster import Cluster
from integration.testbed.debian import debian_image

from . import measure
from .figure import Figure, exit_code, show

MAX_ROUNDS = 10
DISK_BYTES = 12 << 30  # sparse
WHOLE_SECONDS = 10.0
TOLD_SECONDS = 0.5
REGISTERED_SECONDS = 0.1


@dataclasses.dataclass
class Round:
    """Seconds; `whole` and `warm` from the request to the event that says SUCCESS."""

    whole: float  # nothing was there
    told: float  # of it, after the last layer was committed on the last node
    told_registered: float  # of it, after the last node had it registered in containerd
    steps: list  # of each node: {step of the preheat: when it was done}
    node_cpu: list  # of each node with its containerd
    other_cpu: float  # of the registry and the manager
    registry_share: float  # what the registry sent, in images
    warm: float  # all was there, but containerd did not know the image any more
    registration: list  # of each node, in that second job


class Steps:
    """What a node's log says of its preheats from now on."""

    def __init__(self, node):
        self._log = node.process.log
        self._mark = self._log.stat().st_size

    def all(self):
        """{step: when it did it last}, as time.time() has it."""
        with open(self._log, "rb") as file:
            file.seek(self._mark)
            lines = [json.loads(line) for line in file.read().splitlines() if line.startswith(b"{")]
        steps = [line for line in lines if line["message"] == "preheat"]
        return {line["step"]: datetime.datetime.fromisoformat(line["time"]).timestamp() for line in steps}


def run_job(cluster, ref):
    """(request, SUCCESS): when they were, as time.time() has it."""
    events = Events(cluster.manager, "/api/v1/events")
    events.wait(lambda *_: True, "the stream's beginning")
    offset = time.time() - time.monotonic()  # of the events' clock
    began = time.time()
    number = cluster.create({"type": "image", "url": ref, "depth": "image"})["id"]

    def ended(event, document):
        return event == "job" and document["id"] == number and document["state"] != "PENDING"

    success = events.wait(ended, f"the end of job {number}") + offset
    job = cluster.job(number)
    if job["state"] != "SUCCESS":
        raise RuntimeError(f"job {number}: {json.dumps(job['result'])[:4000]}")
    return began, success


def one_round(image, registry, ref, nodes):
    with Testbed() as bed:
        names = [f"n{number}" for number in range(1, nodes + 1)]
        folders = {name: bed.ext4(DISK_BYTES).path for name in [*names, "manager"]}
        settings = {"log_level": '"debug"'}
        cluster = Cluster(bed, registry, names=names, containerds=nodes, folders=folders, settings=settings)
        pairs = [(node.process, containerd.process) for node, containerd in zip(cluster.nodes, cluster.containerds)]
        others = [registry.process, cluster.manager.process]
        measure.calm()
        registry.reset()

        steps = [Steps(node) for node in cluster.nodes]
        node_cpu = [-sum(process.cpu_seconds() for process in pair) for pair in pairs]
        other_cpu = -sum(process.cpu_seconds() for process in others)
        began, success = run_job(cluster, ref)
        node_cpu = [cpu + sum(process.cpu_seconds() for process in pair) for cpu, pair in zip(node_cpu, pairs)]
        other_cpu += sum(process.cpu_seconds() for process in others)
        done = [step.all() for step in steps]

        for containerd in cluster.containerds:
            if ref not in containerd.images():
                raise RuntimeError("SUCCESS, but containerd does not have the image")
            containerd.remove_image(ref)
        measure.calm()
        steps = [Steps(node) for node in cluster.nodes]
        warm_began, warm_success = run_job(cluster, ref)
        done_again = [step.all() for step in steps]
        return Round(
            whole=success - began,
            told=success - max(one["layer unpacked"] for one in done),
            told_registered=success - max(one["registered"] for one in done),
            steps=[{step: when - began for step, when in one.items()} for one in done],
            node_cpu=node_cpu,
            other_cpu=other_cpu,
            registry_share=registry.blob_bytes() / image.layer_bytes(),
            warm=warm_success - warm_began,
            registration=[one["registered"] - one["marked as preheated"] for one in done_again],
        )


def figures_of(rounds):
    cores = measure.machine()["cores"]
    cpu = [sum(one.node_cpu) + one.other_cpu for one in rounds]
    bound = min(cpu) / cores
    whole = [one.whole for one in rounds]
    registration = [seconds for one in rounds for seconds in one.registration]
    told = [one.told for one in rounds]
    return [
        Figure("request to SUCCESS, all unpacked, minimum", min(whole), "s", WHOLE_SECONDS, "<=", bound),
        Figure("request to SUCCESS, all unpacked, median", statistics.median(whole), "s", WHOLE_SECONDS, "<=", bound),
        Figure("SUCCESS after the last layer's commit, worst", max(told), "s", TOLD_SECONDS, "<="),
        Figure("SUCCESS after the last layer's commit, median", statistics.median(told), "s"),
        Figure("SUCCESS after the last registration, worst", max(one.told_registered for one in rounds), "s"),
        Figure("CPU of a node and its containerd, median", statistics.median(c for one in rounds for c in one.node_cpu), "s"),
        Figure("CPU of all, median", statistics.median(cpu), "s"),
        Figure("cores busy, median", statistics.median(c / w / cores for c, w in zip(cpu, whole)) * 100, "%"),
        Figure("sent by the registry, worst", max(one.registry_share for one in rounds), "x"),
        Figure("registration of the warm image on a node, worst", max(registration), "s", REGISTERED_SECONDS, "<="),
        Figure("registration of the warm image on a node, median", statistics.median(registration), "s"),
        Figure("request to SUCCESS where it is all there, median", statistics.median(one.warm for one in rounds), "s"),
    ]


def main():
    parser = argparse.ArgumentParser(prog="make bench-job", description=__doc__.splitlines()[0])
    parser.add_argument("--image", default="medium", help="small, medium or large")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--no-save", action="store_true", help="write nothing under docs/benchmarks")
    options = parser.parse_args()
    if not 1 <= options.rounds <= MAX_ROUNDS:
        parser.error(f"--rounds {options.rounds}: 1 to {MAX_ROUNDS}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    image = debian_image(options.image)
    document = measure.document("a preheat job of a manager, real nodes and containerds on loopback")
    rounds = []
    with Testbed() as bed:
        registry = bed.registry()
        ref = image.push(registry, f"bench/{options.image}:v1")
        for number in range(1, options.rounds + 1):
            rounds.append(one_round(image, registry, ref, options.nodes))
            print(f"round {number}: {rounds[-1].whole:.2f} s", flush=True)
            for name, steps in enumerate(rounds[-1].steps, 1):
                print(f"  n{name}: " + ", ".join(f"{step} {when:.2f}" for step, when in steps.items()), flush=True)
    figures = figures_of(rounds)
    show(f"image '{options.image}' ({image.layer_bytes() / 1e6:.0f} MB) on {options.nodes} nodes", figures)
    if not options.no_save:
        document |= {
            "image": {"name": options.image, "compressed_bytes": image.layer_bytes(), "layers": len(image.digests())},
            "nodes": options.nodes,
            "rounds": [dataclasses.asdict(one) for one in rounds],
            "figures": [figure.record() for figure in figures],
        }
        print(f"raw figures: {measure.save('job', document)}")
    return exit_code(figures)


if __name__ == "__main__":
    sys.exit(main())
