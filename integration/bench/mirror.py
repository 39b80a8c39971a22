"""`make bench-mirror`: a complete blob served by the mirror and by nginx's sendfile, in turns, to one client and to many.

Both serve the same file from the page cache over loopback; each client is a curl of its own.
"""

import argparse
import contextlib
import dataclasses
import signal
import statistics
import subprocess
import sys
import time

from integration.testbed import Testbed
from integration.testbed.machine import free_port
from integration.testbed.process import run
from integration.testbed.swarm import blob_image

from . import measure
from .figure import Figure, exit_code, show
from .nginx import Nginx

MAX_CLIENTS = 256
PATIENCE = 300


@dataclasses.dataclass
class Turn:
    seconds: float
    cpu_seconds: float  # of the server
    bytes: int


def serve(url, clients, times, server_cpu, size_bytes):
    """What it took until every client had the file so many times."""
    cpu = server_cpu()
    began = time.monotonic()
    argv = ["curl", "-sS", "--fail", *["-o", "/dev/null", url] * times]
    curls = [subprocess.Popen(argv) for _ in range(clients)]
    try:
        if any(curl.wait(PATIENCE) for curl in curls):
            raise RuntimeError(f"a client got no whole blob from {url}")
    finally:
        for curl in curls:
            curl.kill()
            curl.wait()
    return Turn(time.monotonic() - began, server_cpu() - cpu, clients * times * size_bytes)


def compare(servers, clients, times, rounds, size_bytes):
    """{server: turns}; the servers take turns."""
    turns = {name: [] for name in servers}
    for number in range(rounds):
        names = list(servers) if number % 2 else list(reversed(servers))
        for name in names:
            url, server_cpu = servers[name]
            turns[name].append(serve(url, clients, times, server_cpu, size_bytes))
    return turns


def figures_of(turns, least_speed, most_cpu=None):
    speed = {name: [one.bytes / one.seconds for one in all_] for name, all_ in turns.items()}
    cpu = {name: [one.cpu_seconds / one.bytes * (1 << 30) for one in all_] for name, all_ in turns.items()}
    goal = (most_cpu, "<=") if most_cpu else ()
    return [
        Figure("the mirror, best", max(speed["mirror"]) / (1 << 20), "MiB/s"),
        Figure("nginx, best", max(speed["nginx"]) / (1 << 20), "MiB/s"),
        Figure("the mirror's speed / nginx's, best", max(speed["mirror"]) / max(speed["nginx"]), "x", least_speed, ">="),
        Figure("the mirror's speed / nginx's, median",
               statistics.median(speed["mirror"]) / statistics.median(speed["nginx"]), "x", least_speed, ">="),
        Figure("CPU seconds per GiB of the mirror, median", statistics.median(cpu["mirror"]), "s"),
        Figure("CPU seconds per GiB of nginx, median", statistics.median(cpu["nginx"]), "s"),
        Figure("the mirror's CPU / nginx's, median",
               statistics.median(cpu["mirror"]) / statistics.median(cpu["nginx"]), "x", *goal),
    ]  # fmt: skip


def main():
    parser = argparse.ArgumentParser(prog="make bench-mirror", description=__doc__.splitlines()[0])
    parser.add_argument("--size", type=int, default=256, help="MiB of the blob")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--no-save", action="store_true", help="write nothing under docs/benchmarks")
    options = parser.parse_args()
    if not 1 <= options.clients <= MAX_CLIENTS:
        parser.error(f"--clients {options.clients}: 1 to {MAX_CLIENTS}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    document = measure.document("a complete blob over loopback, from the mirror and from nginx's sendfile")
    image = blob_image(options.size << 20)
    blob = image.layers[0]
    with Testbed() as bed:
        registry = bed.registry()
        ref = image.push(registry, "bench/blob:v1", bed.folder / "layout")
        node = bed.node(registry)
        node.preheat(ref, depth="blobs")
        folder = bed.new_folder("nginx")
        address = f"127.0.0.1:{free_port()}"
        with contextlib.closing(Nginx(folder, node.root / "blobs", address, tls=False)) as nginx:
            mirror = f"http://{node.mirror}/v2/bench/blob/blobs/{blob.digest}?ns={registry.address}"
            servers = {
                "mirror": (mirror, node.process.cpu_seconds),
                "nginx": (nginx.url(node.blob_path(blob.digest)), nginx.cpu_seconds),
            }
            for url, _ in servers.values():
                if run(["bash", "-c", f"set -o pipefail; curl -sS --fail '{url}' | sha256sum"]).stdout.split()[0] not in blob.digest:
                    raise RuntimeError(f"{url} is not the blob")
            size = image.layer_bytes()
            one = compare(servers, 1, 8, options.rounds, size)
            many = compare(servers, options.clients, 1, options.rounds, size)
            if registry.blob_bytes() > 1.01 * size:
                raise RuntimeError("the mirror asked the registry for the blob")
        figures = {
            "one client": [*figures_of(one, 0.75)],
            f"{options.clients} clients": [
                *figures_of(many, 0.9, 1.2),
                Figure("peak memory of the node", node.vm_hwm_kib() / 1024, "MiB", 128, "<="),
            ],
        }
    for title, list_ in figures.items():
        show(f"{title}, a blob of {options.size} MiB", list_)
    if not options.no_save:
        document |= {
            "turns": {
                str(clients): {name: [dataclasses.asdict(turn) for turn in all_] for name, all_ in turns.items()}
                for clients, turns in ((1, one), (options.clients, many))
            },
            "figures": [{"case": title, **f.record()} for title, list_ in figures.items() for f in list_],
        }
        print(f"raw figures: {measure.save('mirror', document)}")
    return exit_code([figure for list_ in figures.values() for figure in list_])


if __name__ == "__main__":
    sys.exit(main())
