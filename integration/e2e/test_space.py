"""Space: what goes when the file system is short of it, and what stays."""

import os
import signal
import urllib.request

from integration.testbed import Image
from integration.testbed.image import base_layer, filler_layer
from integration.testbed.process import wait_for

MIB = 1 << 20
# What was used in the last minute is not evicted.
OLD_ENOUGH_SECONDS = 150


def image_of(number, registry, folder):
    """About 12 MiB to fetch and as much unpacked."""
    made = Image.of([base_layer(), filler_layer(number, 12 * MIB)], "none")
    return made, made.push(registry, f"space/image{number}:v1", folder / f"image{number}")


def warm(node, ref):
    return node.json("explain", ref, check=False)["warm"]


def test_unused_preheats_make_way_and_what_is_pinned_or_used_stays(bed, registry):
    disk = bed.ext4(192 * MIB)
    (disk.path / "node").mkdir()
    node = bed.node(registry, folder=disk.path / "node")
    _, kept_ref = image_of(1, registry, bed.folder)
    _, idle_ref = image_of(2, registry, bed.folder)
    node.command("preheat", kept_ref, "--depth", "layers", "--pin", "1h")
    node.preheat(idle_ref, depth="layers")

    log = node.folder / "node.log"

    def limit(quota, min_free):
        text = node.config.read_text()
        line = next(line for line in text.splitlines() if line.startswith("store = "))
        node.config.write_text(text.replace(line, f'store = {{quota = "{quota}", min_free = "{min_free}", min_free_inodes = "0"}}'))
        reloads = log.read_text().count("config reloaded")
        node.process.signal(signal.SIGHUP)
        wait_for(lambda: log.read_text().count("config reloaded") > reloads, 20, "the reload")

    # Somebody else fills the file system: the node sees it and gives the idle image up, no more.
    free = os.statvfs(disk.path).f_bavail * os.statvfs(disk.path).f_frsize
    with open(disk.path / "others", "wb") as others:
        others.write(os.urandom(free - 20 * MIB))
        os.fsync(others.fileno())
    limit("100%", "24MiB")
    wait_for(lambda: not warm(node, idle_ref), OLD_ENOUGH_SECONDS, "the eviction", interval=0.5)
    assert warm(node, kept_ref)
    assert node.verify()[0] == 0

    # There is no room for another one, and the message says what to do; nothing of it stays.
    _, third_ref = image_of(3, registry, bed.folder)
    limit("100%", "60MiB")
    out = node.command("preheat", third_ref, "--depth", "layers", check=False)
    assert out.returncode == 1 and "store.min_free" in out.stderr, out.stderr

    # Nor for a file, whether its server says its size or not.
    origin = bed.origin()
    files = [origin.put(f"/{name}", os.urandom(16 * MIB), length=name == "sized") for name in ("sized", "unsized")]
    for path in origin.files:
        out = node.command("preheat", origin.url(path), check=False)
        assert out.returncode == 1 and "store.min_free" in out.stderr, out.stderr
    assert sum(asked.sent for asked in origin.asked) < len(files) * 16 * MIB
    assert not any(ingest["offset_bytes"] for ingest in node.json("store", "ls")["ingests"])

    # With the space back they go in.
    (disk.path / "others").unlink()
    node.preheat(third_ref, depth="layers")
    assert warm(node, third_ref)
    for path in origin.files:
        node.command("preheat", origin.url(path))
    assert node.verify()[0] == 0


def test_inodes_run_out_before_bytes(bed, registry, ref):
    """Somebody's many empty files: a preheat fails before it takes the rest, and doctor, gc and metrics say so."""
    disk = bed.ext4(64 * MIB)
    (disk.path / "node").mkdir()
    limits = {"store.min_free_inodes": '"40%"'}
    node = bed.node(registry, folder=disk.path / "node", settings=limits)
    others = disk.path / "others"
    others.mkdir()
    stat = os.statvfs(disk.path)
    for number in range(stat.f_favail - stat.f_files // 3):
        (others / str(number)).touch()
    refused = node.command("preheat", ref, "--depth", "layers", check=False)
    assert refused.returncode == 1 and "store.min_free_inodes" in refused.stderr, refused.stderr
    gc = node.command("store", "gc", check=False)
    assert gc.returncode == 4 and "inodes are still missing" in gc.stdout, gc.stdout
    doctor = node.json("doctor", "--set", 'store.min_free_inodes="40%"', check=False)
    (finding,) = [f for f in doctor["findings"] if f["check"] == "inodes"]
    assert finding["state"] == "warn" and "min_free_inodes" in finding["why"], finding
    metrics = urllib.request.urlopen(f"http://{node.status}/metrics", timeout=10).read().decode()
    (free,) = [line.split()[1] for line in metrics.splitlines() if line.startswith("hearth_filesystem_free_inodes ")]
    assert abs(float(free) - os.statvfs(disk.path).f_favail) < 100
    for file in others.iterdir():
        file.unlink()
    node.preheat(ref, depth="layers")
    assert warm(node, ref)


def test_gc_of_a_store_that_lacks_nothing_takes_nothing(bed, registry, ref):
    node = bed.node(registry)
    node.preheat(ref, depth="layers")
    out = node.command("store", "gc")
    assert out.returncode == 0 and "freed" in out.stdout
    answer = node.json("store", "gc", "--dry-run")
    assert answer["dry_run"] and answer["evicted"] == [] and answer["missing_bytes"] == 0
    assert warm(node, ref)
