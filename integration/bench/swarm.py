"""`make bench-swarm`: real nodes in network namespaces, measured against the goals that stand beside each figure.

Everything is local: a registry, a manager and the nodes, each in a namespace of its own on one bridge, links shaped by
tc. The table is printed and all figures go to docs/benchmarks. What is short is repeated, and compared in turns.
"""

import argparse
import contextlib
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import tempfile
import time

from integration.testbed import scratch
from integration.testbed.debian import debian_image
from integration.testbed.image import Blob, Image
from integration.testbed.paths import HEARTH
from integration.testbed.process import run
from integration.testbed.swarm import Swarm, blob_image

from . import measure
from .figure import Figure, show
from .nginx import Nginx

MB = 1_000_000
PROBE_BYTES = 64 * MB
POLL_SECONDS = 0.005
LIMIT_SECONDS = 120  # of any one transfer
SMALL_BYTES = 4096
SMALL_BLOBS_PER_IMAGE = 100
MANIFEST = "application/vnd.oci.image.manifest.v1+json"


@contextlib.contextmanager
def swarm_of(**kw):
    folder = scratch.new_folder()
    try:
        with contextlib.closing(Swarm(folder, **kw)) as swarm:
            yield swarm
    finally:
        scratch.remove_folder(folder)


def seconds_of(commands, began, output, watch=lambda: None):
    """When each of the running commands ended, in seconds since began; watch() is called meanwhile.

    output is the file that they all write to; none of them goes on where one fails.
    """
    ended = [None] * len(commands)
    try:
        while None in ended:
            if time.monotonic() - began > LIMIT_SECONDS:
                raise TimeoutError(f"a transfer takes longer than {LIMIT_SECONDS} s")
            watch()
            for number, command in enumerate(commands):
                if ended[number] is not None or command.poll() is None:
                    continue
                ended[number] = time.monotonic() - began
                if command.returncode != 0:
                    output.seek(0)
                    raise RuntimeError(f"{command.args} ended with {command.returncode}: {output.read()[-4000:]}")
            time.sleep(POLL_SECONDS)
    finally:
        for command in commands:
            if command.poll() is None:
                command.kill()
                command.wait()
    return ended


def peak_mib(nodes):
    return max(node.vm_hwm_kib() for node in nodes) / 1024


def simulated_seconds(nodes, mbit, size_bytes):
    links = [word for link in ("--uplink", "--downlink", "--origin") for word in (link, mbit)]
    out = run([HEARTH, "sim", "--nodes", nodes, "--size", size_bytes, *links, "--rtt", 1, "--output", "json"])
    return json.loads(out.stdout)["seconds"]


def goodput_mbit(swarm, image):
    """What one transfer by plain HTTP gets of a link: the rest is headers of TCP and IP."""
    url = f"{swarm.registry.url}/v2/{swarm.ref.split('/', 1)[1].split(':')[0]}/blobs/{image.layers[0].digest}"
    curl = ["curl", "-sS", "--fail", "-o", "/dev/null", "-r", f"0-{PROBE_BYTES - 1}", url]
    began = time.monotonic()
    run([*swarm.nodes[0].prefix, *curl])
    return PROBE_BYTES * 8 / 1e6 / (time.monotonic() - began)


# ---- the cases


def all_at_once(nodes, mbit, size_bytes):
    """A blob wanted by all nodes at the same moment; bound: the registry's link sends it once.

    The simulation knows links only. It is told what a link gives (goodput), or less where this machine's cores, which
    all nodes share, move less than that.
    """
    image = blob_image(size_bytes)
    with swarm_of(nodes=nodes, mbit=mbit, image=image) as swarm:
        goodput, probed = goodput_mbit(swarm, image), swarm.registry.blob_bytes()
        processes = [node.process for node in swarm.nodes] + [swarm.registry.process]
        cpu = -sum(process.cpu_seconds() for process in processes)
        with tempfile.TemporaryFile("w+") as output:
            began = time.monotonic()
            slowest = max(seconds_of(swarm.preheat_all(output=output), began, output))
        cpu += sum(process.cpu_seconds() for process in processes)
        megabits = image.layer_bytes() * 8 / 1e6
        bound, cores = megabits / mbit, os.cpu_count()
        simulated = simulated_seconds(nodes, min(goodput, megabits / (cpu / cores)), image.layer_bytes())
        sent = swarm.registry.blob_bytes() - probed
        return [
            Figure("slowest node", slowest, "s"),
            Figure("slowest node / bound", slowest / bound, "x", 1.25, "<="),
            Figure("plain curl over one link / bound", mbit / goodput, "x"),
            Figure(f"CPU seconds / {cores} cores / bound", cpu / cores / bound, "x"),
            Figure("simulated, with these / bound", simulated / bound, "x"),
            Figure("slowest node / simulated", slowest / simulated, "x", 1.10, "<="),
            Figure("bytes from the registry / size", sent / image.layer_bytes(), "x", 1.01, "<="),
            Figure("peak memory of a node", peak_mib(swarm.nodes), "MiB", 128, "<="),
        ]


class Received:
    """When the last byte of blobs came into a node's store."""

    def __init__(self, swarm, node):
        self._http = swarm.network.http(node.prefix, node.status)
        self._bytes = 0
        self.last = time.monotonic()

    def look(self):
        self._http.request("GET", "/metrics")
        text = self._http.getresponse().read().decode()
        received = sum(float(line.split()[-1]) for line in text.splitlines() if line.startswith("hearth_received_bytes_total{"))
        if received > self._bytes:
            self._bytes, self.last = received, time.monotonic()


def image_pull(mbit, name):
    """Two containerds pull a real image to the end, while two more nodes preheat it."""
    image = debian_image(name)
    with swarm_of(nodes=4, mbit=mbit, image=image, containerds=2) as swarm:
        watched = [Received(swarm, node) for node in swarm.nodes[:2]]
        with tempfile.TemporaryFile("w+") as output:
            began = time.monotonic()
            pulls = [
                subprocess.Popen([str(a) for a in c.pull_argv(swarm.ref)], env=c.env, stdout=output, stderr=subprocess.STDOUT)
                for c in swarm.containerds
            ]
            commands = pulls + swarm.preheat_all(swarm.nodes[2:], output)
            ended = seconds_of(commands, began, output, lambda: [one.look() for one in watched])[: len(pulls)]
        after = [began + end - one.last for end, one in zip(ended, watched)]
        bound = image.layer_bytes() * 8 / (mbit * 1e6)
        return [
            Figure("slower pull", max(ended), "s"),
            Figure("slower pull / bound", max(ended) / bound, "x"),
            Figure("end of a pull after the last byte", max(after), "s", 2.0, "<="),
            Figure("bytes from the registry / size", swarm.registry.blob_bytes() / image.layer_bytes(), "x", 1.01, "<="),
            Figure("peak memory of a node", peak_mib(swarm.nodes), "MiB", 128, "<="),
        ]


def two_nodes(size_bytes, rounds):
    """One blob from one node to another, verified and written; and curl from nginx, then sha256sum, in turns."""
    image = blob_image(size_bytes)
    with swarm_of(nodes=2, mbit=None, image=image) as swarm:
        giver, taker = swarm.nodes
        giver.preheat(swarm.ref, depth="blobs")
        folder = swarm.folder / "nginx"
        folder.mkdir()
        with contextlib.closing(Nginx(folder, giver.root / "blobs", "10.77.0.11:8443", giver.prefix)) as server:
            digest = image.layers[0].digest
            url = server.url(giver.blob_path(digest))
            times = {"hearth": [], "curl": []}
            for number in range(rounds):
                for name in ("hearth", "curl") if number % 2 else ("curl", "hearth"):
                    measure.settle(swarm.folder)
                    times[name].append(hearth_once(swarm, taker) if name == "hearth" else curl_once(taker, server, url, digest))
        if swarm.registry.blob_bytes() > 1.01 * size_bytes:
            raise RuntimeError("the blob did not come from the other node")
        hearth, curl = times["hearth"], times["curl"]
        return [
            Figure("Hearth, minimum", min(hearth), "s"),
            Figure("Hearth, median", statistics.median(hearth), "s"),
            Figure("curl and sha256sum, minimum", min(curl), "s"),
            Figure("curl and sha256sum, median", statistics.median(curl), "s"),
            Figure("Hearth's speed / curl's, minimum", min(curl) / min(hearth), "x", 0.8, ">="),
            Figure("Hearth's speed / curl's, median", statistics.median(curl) / statistics.median(hearth), "x", 0.8, ">="),
            Figure("peak memory of a node", peak_mib(swarm.nodes), "MiB", 128, "<="),
        ]


def hearth_once(swarm, taker):
    began = time.monotonic()
    taker.preheat(swarm.ref, depth="blobs")
    seconds = time.monotonic() - began
    taker.command("store", "rm", swarm.ref)
    return seconds


def curl_once(taker, server, url, digest):
    file = taker.folder / "fetched"
    began = time.monotonic()
    run([*taker.prefix, "curl", "-sS", "--fail", "--tlsv1.3", "--cacert", server.ca_file, "-o", file, url])
    summed = run(["sha256sum", file]).stdout.split()[0]
    seconds = time.monotonic() - began
    if f"sha256:{summed}" != digest:
        raise RuntimeError("nginx served something else")
    file.unlink()
    return seconds


def small_blobs(requests):
    """One blob of 4 KiB after the other, asked of a node's mirror, which has it from the other node."""
    source = random.Random(1)
    blobs = [Blob("application/vnd.oci.image.layer.v1.tar", source.randbytes(SMALL_BYTES)) for _ in range(requests)]
    parts = [blobs[at : at + SMALL_BLOBS_PER_IMAGE] for at in range(0, requests, SMALL_BLOBS_PER_IMAGE)]
    with swarm_of(nodes=2, mbit=None, image=blob_image(1)) as swarm:
        giver, taker = swarm.nodes
        mirror = swarm.network.http(taker.prefix, taker.mirror)
        registry = swarm.registry.address

        def get(path):
            mirror.request("GET", f"/v2/{path}?ns={registry}", headers={"Accept": MANIFEST})
            answer = mirror.getresponse()
            body = answer.read()
            if answer.status != 200:
                raise RuntimeError(f"{path}: {answer.status} {body[:200]}")
            return body

        for number, part in enumerate(parts):
            name = f"small/{number}"
            swarm.add_image(Image(part, [blob.digest for blob in part]), f"{name}:v1")
            giver.preheat(f"{registry}/{name}:v1", depth="blobs")
            get(f"{name}/manifests/v1")
        sent = swarm.registry.blob_bytes()
        times = []
        for number, part in enumerate(parts):
            for blob in part:
                began = time.monotonic()
                if get(f"small/{number}/blobs/{blob.digest}") != blob.data:
                    raise RuntimeError("wrong bytes")
                times.append((time.monotonic() - began) * 1000)
        if swarm.registry.blob_bytes() != sent:
            raise RuntimeError("some blobs did not come from the other node")
        return [
            Figure("requests", len(times), ""),
            Figure("median", statistics.median(times), "ms"),
            Figure("p99", sorted(times)[-(len(times) // 100) - 1], "ms", 20, "<="),
            Figure("slowest", max(times), "ms"),
        ]


# ---- the report


def cases(options):
    return {
        "eight": ("8 nodes and the registry at 200 Mbit/s, 256 MB at once", lambda: all_at_once(8, 200, 256 * MB)),
        "four": ("4 nodes and the registry at 200 Mbit/s, 268 MB at once", lambda: all_at_once(4, 200, 256 << 20)),
        "image": (f"image '{options.image}' at 50 Mbit/s, 4 nodes, 2 of them with containerd", lambda: image_pull(50, options.image)),
        "tls": (f"{options.tls_mib} MiB from node to node, no limits", lambda: two_nodes(options.tls_mib << 20, options.rounds)),
        "small": ("4 KiB blobs from another node, no limits", lambda: small_blobs(options.requests)),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--image", default="small", help="small, medium or large")
    parser.add_argument("--rounds", type=int, default=5, help="of what is compared in turns")
    parser.add_argument("--requests", type=int, default=600)
    parser.add_argument("--tls-mib", type=int, default=512)
    parser.add_argument("--only", default="eight,four,image,tls,small", help="comma list")
    parser.add_argument("--no-save", action="store_true", help="write nothing under docs/benchmarks")
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    document = measure.document("a swarm of real nodes in network namespaces") | {"cases": {}}
    missed, path = 0, None
    for name in options.only.split(","):
        title, case = cases(options)[name]
        figures = case()
        show(title, figures)
        missed += sum(figure.met() is False for figure in figures)
        document["cases"][name] = {"what": title, "figures": [figure.record() for figure in figures]}
        if not options.no_save:  # what is measured stays, whatever comes of the next case
            path = measure.save("swarm", document)
    print(f"\n{missed or 'no'} goals missed")
    if path:
        print(f"raw figures: {path}")


if __name__ == "__main__":
    main()
