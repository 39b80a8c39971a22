"""`make demo-swarm`: four nodes preheat one image at the same moment, and every byte leaves the registry once.

Everything is real: a registry, a manager and the nodes, each in a network namespace of its own on a bridge whose links
are shaped. NODES, MBIT and MIB change the numbers.
"""

import os
import sys
import time

from integration.testbed import scratch
from integration.testbed.swarm import Swarm

WIDTH = 48
PERIOD_SECONDS = 0.25
UP = "\x1b[{}A"


def say(text=""):
    print(text, flush=True)


def mib(count):
    return f"{count / (1 << 20):7.1f}"


def picture(name, received, total):
    """o = came from the registry, p = from other nodes."""
    origin, peer = received.get("registry", 0), received.get("peer", 0)
    o, p = (round(WIDTH * min(1, part / total)) for part in (origin, peer))
    bar = ("o" * o + "p" * p)[:WIDTH].ljust(WIDTH, ".")
    return f"  {name:4} [{bar}] {min(100, 100 * (origin + peer) / total):5.1f} %"


def watch(swarm, commands):
    """Draws until all commands have ended; returns the seconds of each."""
    live = sys.stdout.isatty()
    began = time.monotonic()
    seconds = [None] * len(commands)
    drawn = 0
    while None in seconds:
        for number, command in enumerate(commands):
            if seconds[number] is None and command.poll() is not None:
                seconds[number] = time.monotonic() - began
        lines = [picture(node.folder.name, swarm.received(node), swarm.blob_bytes) for node in swarm.nodes]
        if live:
            if drawn:
                sys.stdout.write(UP.format(drawn))
            say("\n".join(lines))
            drawn = len(lines)
        time.sleep(PERIOD_SECONDS)
    if not live:
        say("\n".join(lines))
    return seconds


def table(swarm, seconds, mbit):
    bound = swarm.blob_bytes * 8 / (mbit * 1e6)
    say()
    say("  node  seconds  from registry   from nodes   x the bound")
    for node, taken in zip(swarm.nodes, seconds):
        received = swarm.received(node)
        say(
            f"  {node.folder.name:4}  {taken:7.2f}  {mib(received.get('registry', 0))} MiB    {mib(received.get('peer', 0))} MiB"
            f"   {taken / bound:10.2f}"
        )
    left = swarm.registry.blob_bytes()
    say()
    say(f"  The registry sent {mib(left).strip()} MiB: {left / swarm.blob_bytes:.3f} x the image, for {len(swarm.nodes)} nodes.")
    say(f"  Bound: no node can have it before the registry has sent it once, {bound:.2f} s at {mbit} Mbit/s.")


def main():
    nodes, mbit, size = (int(os.environ.get(key, value)) for key, value in (("NODES", 4), ("MBIT", 200), ("MIB", 128)))
    folder = scratch.new_folder()
    swarm = None
    try:
        say(f"--- {nodes} nodes, a manager and a registry, each link {mbit} Mbit/s")
        swarm = Swarm(folder, nodes=nodes, mbit=mbit, blob_bytes=size << 20)
        say(f"--- hearth preheat {swarm.ref} on every node at once ({size} MiB; o from the registry, p from other nodes)")
        commands = swarm.preheat_all()
        seconds = watch(swarm, commands)
        failed = [command for command in commands if command.returncode != 0]
        for command in failed:
            say(command.stdout.read())
        table(swarm, seconds, mbit)
        return 1 if failed else 0
    finally:
        if swarm:
            swarm.close()
        scratch.remove_folder(folder)


if __name__ == "__main__":
    sys.exit(main())
