"""`make demo`: preheat an image on one machine, and see containerd pull it for free.

Everything is real and private: a containerd with stock settings, one with Hearth, a registry, a manager and a node that has
joined it, all in a scratch folder that is removed at the end, also after Ctrl-C. IMAGE=docker.io/library/nginx:1.27 takes a public image.
"""

import hashlib
import os
import shlex
import signal
import subprocess
import sys
import time

from integration.bench import measure
from integration.testbed import Testbed
from integration.testbed.cluster import settings_of
from integration.testbed.debian import DebianImage, debian_image
from integration.testbed.paths import HEARTH, IMAGES
from integration.testbed.process import CommandFailed, run, wait_for

DISK_BYTES = 12 << 30  # sparse


def say(text=""):
    print(text, flush=True)


def public_image(ref):
    """A public image as a layout in the cache, for this machine's platform."""
    folder = IMAGES / f"public-{hashlib.sha256(ref.encode()).hexdigest()[:16]}"
    if not (folder / "index.json").exists():
        say(f"    fetching {ref} (once; cached in build/testbed/images)")
        part = folder.with_name(folder.name + ".part")
        IMAGES.mkdir(parents=True, exist_ok=True)
        run(["rm", "-rf", part])
        run(["skopeo", "--insecure-policy", "copy", "-q", f"docker://{ref}", f"oci:{part}"], timeout=1800)
        part.rename(folder)
    return DebianImage(folder)


def command_line(containerd, ref):
    """The pull as one would type it, its paths cut short."""
    words = [str(word) for word in containerd.pull_argv(ref)]
    return shlex.join([os.path.basename(words[0]), *words[1:]]).replace(str(containerd.folder.parent), "…")


def run_container(containerd, ref):
    command = ["/bin/sh", "-c", "echo hello from a container of this image"]
    try:
        return containerd.run_container(ref, *command, timeout=60).strip()
    except (CommandFailed, subprocess.TimeoutExpired) as error:
        last = str(error).strip().splitlines()[-1]
        return f"runc cannot run containers on this machine ({last})"


def stock_pull(registry, ref):
    with Testbed() as bed:
        disk = bed.ext4(DISK_BYTES)
        (disk.path / "c").mkdir()
        containerd = bed.containerd(folder=disk.path / "c")
        empty = disk.used_bytes()
        with measure.Meter(registry, containerd) as meter:
            containerd.pull(ref)
        measure.settle(disk.path)
        meter.cost.disk_bytes = disk.used_bytes() - empty
    return meter.cost


def joined(manager):
    return any(node["connected"] for node in manager.json("nodes", "ls")["nodes"])


def hearth_pull(registry, ref):
    """(cost of the preheat, cost of the pull)"""
    with Testbed() as bed:
        disk = bed.ext4(DISK_BYTES)
        manager = bed.manager()
        settings = settings_of(manager, "node-1", manager.join_token())
        node, containerd = bed.warm_pair(registry, on=disk.path, settings=settings)
        wait_for(lambda: joined(manager), 30, "the node's joining")
        empty = disk.used_bytes()
        say(f"--- hearth preheat {ref}   # on all nodes of HEARTH_MANAGER={manager.api}")
        with measure.Meter(registry, containerd, node) as preheat:
            subprocess.run([HEARTH, "preheat", ref], env=manager.environment(), check=True, timeout=600)
        measure.settle(disk.path)
        preheat.cost.disk_bytes = disk.used_bytes() - empty
        say(f"--- {command_line(containerd, ref)}")
        with measure.Meter(registry, containerd, node) as pull:
            containerd.pull(ref)
        measure.settle(disk.path)
        pull.cost.disk_bytes = disk.used_bytes() - empty
        say(f"    {pull.cost.seconds:.2f} s")
        say("--- ctr -n k8s.io run --rm --snapshotter hearth …")
        said = run_container(containerd, ref)
        say(f"    {said}")
    return preheat.cost, pull.cost


def table(rows):
    say()
    say(f"{'':<28}{'seconds':>10}{'from registry':>16}{'written':>12}{'on disk':>12}{'speed-up':>10}")
    first = rows[0][1].seconds
    for name, cost in rows:
        speed = "" if name.startswith("hearth preheat") else f"{first / max(cost.seconds, 0.001):.0f}x"
        say(
            f"{name:<28}{cost.seconds:>10.2f}{cost.registry_bytes / 1e6:>13.1f} MB{cost.write_bytes / 1e6:>9.1f} MB"
            f"{cost.disk_bytes / 1e6:>9.0f} MB{speed:>10}"
        )


def main():
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    started = time.monotonic()
    public = os.environ.get("IMAGE", "")
    image = public_image(public) if public else debian_image("medium")
    name = public.rpartition("/")[2] if public else "debian-with-compilers:v1"
    name = f"demo/{name.partition('@')[0]}"
    if ":" not in name:
        name += ":latest"
    with Testbed() as bed:
        say(f"--- a registry, and in it an image of {len(image.digests())} layers, {image.layer_bytes() / 1e6:.0f} MB compressed")
        registry = bed.registry()
        ref = image.push(registry, name)
        say(f"    {ref}")
        say("--- a stock pull, to compare with")
        stock = stock_pull(registry, ref)
        say(f"    {stock.seconds:.2f} s")
        preheat, pull = hearth_pull(registry, ref)
    table([("stock pull", stock), ("hearth preheat (before)", preheat), ("pull of what is warm", pull)])
    say(f"\ndone in {time.monotonic() - started:.0f} s; nothing is left but the caches in build/")


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        print("\ninterrupted; all parts are stopped and the scratch folder is removed", file=sys.stderr)
        sys.exit(130)
    except (CommandFailed, RuntimeError, FileNotFoundError, TimeoutError, subprocess.SubprocessError) as error:
        print(f"demo: {error}", file=sys.stderr)
        sys.exit(1)
