"""Bad input: origins that lie, stall and refuse, layers that are broken, a disk that is full.

Asked of each: a clear error, nothing half-made left, and containerd's own fallback still pulls.
"""

import dataclasses
import http.client
import io
import json
import os
import pathlib
import subprocess
import tarfile
import time

import pytest

from integration.testbed import Image, Layer
from integration.testbed.image import Blob, base_layer, compress, filler_layer
from integration.testbed.process import CommandFailed, wait_for

NAME = "test/small:v1"
on_each_version = pytest.mark.usefixtures("each_version")


@pytest.fixture
def front(bed, registry, ref):
    """A misbehaving address of the registry that holds `image`."""
    return bed.front(registry)


def big_layer(image):
    return max(image.layers, key=lambda blob: len(blob.data))


def nothing_half_made(node, digest):
    """The store is clean, and the blob is not in it."""
    code, said = node.verify()
    assert code == 0, said
    # Whoever waits is told of a failure first, then the file goes.
    wait_for(lambda: not node.blob_path(digest).exists(), 5, "the end of a blob that failed")


@dataclasses.dataclass
class Fault:
    rule: dict
    says: tuple  # one of these words stands in the error
    seconds: float = 60


FAULTS = {
    "wrong byte": Fault({"flip_at": 5000}, ("digest",)),
    "short": Fault({"short_to": 10_000}, ("short", "size", "length", "bytes", "digest")),
    "too long": Fault({"too_long": 10_000}, ("long", "size", "length", "bytes", "digest")),
    "cut off": Fault({"truncate_at": 10_000}, ("closed", "cut", "ended", "short", "transfer", "bytes", "connection")),
    "401": Fault({"status": 401}, ("401", "credentials", "authenticat", "unauthor")),
    "403": Fault({"status": 403}, ("403", "denied", "forbidden", "refused")),
    "404": Fault({"status": 404}, ("404", "not found", "does not have", "no such")),
    "429": Fault({"status": 429, "headers": {"Retry-After": "1"}}, ("429", "too many")),
    "500": Fault({"status": 500}, ("500",)),
    "stalled": Fault({"stall_at": 10_000}, ("no byte", "stall", "timed out", "timeout", "slow", "deadline"), 30),
    "silent": Fault({"silent": True}, ("no byte", "no answer", "stall", "timed out", "timeout", "silent", "deadline"), 30),
    "redirect loop": Fault({"redirect_loop": True}, ("redirect",)),
    "gzip encoded": Fault({"gzip": True}, ("content-encoding",)),
    "trickling": Fault({"rate": 20}, ("slow",)),  # never silent; 30 s until it is too slow
}
# Quick ones, and those for the night.
FAULT_NAMES = [pytest.param(name, marks=pytest.mark.slow) if name in ("trickling", "redirect loop") else name for name in FAULTS]


@pytest.mark.parametrize("name", FAULT_NAMES)
def test_preheat_fails_clearly_and_leaves_nothing(bed, front, image, name):
    fault, blob = FAULTS[name], big_layer(image)
    node = bed.node(front)
    front.rule(blob.digest, **fault.rule)
    start = time.monotonic()
    out = node.preheat(front.ref(NAME), depth="layers", check=False, timeout=120)
    assert time.monotonic() - start < fault.seconds
    assert out.returncode in (1, 4), out.stdout + out.stderr
    said = out.stderr.lower()
    assert "hearth: " in said
    assert any(word in said for word in fault.says), out.stderr
    assert blob.digest[:19] in out.stdout + out.stderr or image.manifest.digest[:19] in out.stdout + out.stderr
    nothing_half_made(node, blob.digest)
    assert node.command("explain", front.ref(NAME), check=False).returncode == 3
    front.clear()
    node.preheat(front.ref(NAME), depth="layers")
    assert node.command("explain", front.ref(NAME)).returncode == 0


@pytest.mark.parametrize("rule", [{"status": 500}, {"status": 429}, {"status": 503}, {"truncate_at": 300_000}])
def test_passing_trouble_is_retried(bed, front, image, rule):
    node = bed.node(front)
    front.rule(big_layer(image).digest, times=1, **rule)
    node.preheat(front.ref(NAME), depth="layers")
    assert node.verify()[0] == 0


def test_cut_off_transfer_is_resumed_not_repeated(bed, front, image):
    blob = big_layer(image)
    node = bed.node(front)
    front.rule(blob.digest, truncate_at=700_000, times=1)
    node.preheat(front.ref(NAME), depth="blobs")
    # A piece that was under way may be asked for again.
    assert front.blob_bytes(blob.digest) <= len(blob.data) + 700_000 - 700_000 // (256 << 10) * (256 << 10) + 1


@on_each_version
@pytest.mark.parametrize("mirror", [False, True], ids=["plain", "mirror"])
@pytest.mark.parametrize(
    "name",
    ["403", "404", "500", "wrong byte", "cut off", "stalled",
     *[pytest.param(name, marks=pytest.mark.slow)
       for name in ("redirect loop", "gzip encoded", "short", "too long", "silent", "401", "429")]],
)  # fmt: skip
def test_containerd_pulls_when_only_hearth_is_refused(bed, front, image, name, mirror):
    """The origin misbehaves towards Hearth's own requests only: the pull falls back and succeeds."""
    node, containerd = bed.warm_pair(front, mirror=mirror)
    front.rule(big_layer(image).digest, agent="hearth", **FAULTS[name].rule)
    if (name, mirror) == ("wrong byte", True):
        # A mirror answers while the blob arrives: what the ingest got of it is wrong, and containerd says so. A 1.x `ctr` asks the
        # mirror before anything is prepared, a 2.x one may be early enough; the next pull is the registry's.
        early = containerd.pull(front.ref(NAME), timeout=120, check=False)
        assert early.returncode == 0 or "was announced" in early.stderr, early.stderr
    containerd.pull(front.ref(NAME), timeout=120)
    assert image.chain_ids()[-1] in containerd.snapshots()
    containerd.wait_complete(front.ref(NAME))
    assert containerd.run_container(front.ref(NAME), "/bin/echo", "ok") == "ok\n"
    assert node.verify()[0] == 0


@on_each_version
@pytest.mark.parametrize(
    "name",
    ["redirect loop", "gzip encoded",
     *[pytest.param(name, marks=pytest.mark.slow) for name in ("stalled", "cut off", "short", "too long")]],
)  # fmt: skip
def test_behind_the_mirror_alone_it_pulls_when_only_hearth_is_refused(bed, front, image, name):
    """containerd's own store and snapshotter: the mirror's trouble sends it to the registry, with no byte wrong."""
    node, stock = bed.node(front), bed.containerd()
    stock.use_mirror(front, mirror=node.mirror)
    front.rule(big_layer(image).digest, agent="hearth", **FAULTS[name].rule)
    stock.pull(front.ref(NAME), timeout=120)
    assert stock.run_container(front.ref(NAME), "/bin/echo", "ok") == "ok\n"
    assert node.verify()[0] == 0


@on_each_version
def test_dead_node_mirror_falls_through_to_the_origin(bed, registry, ref, image):
    """Mirror only, containerd's own store: with Hearth gone the registry is asked directly."""
    node = bed.node(registry)
    containerd = bed.containerd()
    containerd.use_mirror(registry, mirror=node.mirror)
    node.kill9()
    containerd.pull(ref)
    assert ref in containerd.images()


@on_each_version
def test_level_one_mirror_only(bed, registry, ref, image):
    """containerd untouched but for hosts.toml: a preheated image comes from the node."""
    node = bed.node(registry)
    node.preheat(ref, depth="blobs")
    containerd = bed.containerd()
    containerd.use_mirror(registry, mirror=node.mirror)
    registry.reset()
    containerd.pull(ref)
    assert registry.blob_gets() == []
    assert containerd.run_container(ref, "/bin/echo", "ok") == "ok\n"


# ---- images that are wrong in themselves


def _push_wrong(registry, bed, layers, diff_ids, sizes=None):
    """Pushes blobs as they are through the registry's API, with a manifest that skopeo would refuse to make."""
    made = Image(layers, diff_ids)
    manifest = json.loads(made.manifest.data)
    for number, size in (sizes or {}).items():
        manifest["layers"][number]["size"] = size
    _upload(registry, [*layers, made.config])
    document = Blob(made.manifest.media_type, json.dumps(manifest).encode())
    _request(registry, "PUT", "/v2/test/wrong/manifests/v1", document.data, document.media_type)
    return f"{registry.address}/test/wrong:v1", made


def _request(registry, method, path, body=b"", kind="application/octet-stream"):
    connection = http.client.HTTPConnection("127.0.0.1", registry.port, timeout=20)
    connection.request(method, path, body=body, headers={"Content-Type": kind})
    response = connection.getresponse()
    text = response.read()
    assert response.status < 300, text
    location = response.getheader("Location")
    connection.close()
    return location


def _upload(registry, blobs):
    for blob in blobs:
        location = _request(registry, "POST", "/v2/test/wrong/blobs/uploads/")
        path = location.partition(registry.address)[2] or location
        _request(registry, "PUT", f"{path}{'&' if '?' in path else '?'}digest={blob.digest}", blob.data)


def _layer_blob(data, compression):
    return Blob("application/vnd.oci.image.layer.v1.tar" + {"gzip": "+gzip", "zstd": "+zstd", "none": ""}[compression], data)


def _corrupt(kind):
    """(blob, diff ID) of a layer whose digest is right and whose inside is not."""
    good = filler_layer(4, 400_000)
    tar = good.tar()
    if kind == "truncated tar":
        cut = tar[: len(tar) // 2 + 100]
        return _layer_blob(cut, "none"), Blob("", cut).digest
    if kind == "garbage tar":
        noise = os.urandom(100_000)
        return _layer_blob(noise, "none"), Blob("", noise).digest
    if kind == "wrong diff ID":
        return good.blob("gzip"), Layer().diff_id()
    compression = kind.split()[1]
    data = compress(tar, compression)
    if kind.startswith("truncated"):
        data = data[: len(data) // 2]
    else:
        at = len(data) // 2
        data = data[:at] + bytes(b ^ 0x55 for b in data[at : at + 64]) + data[at + 64 :]
    return _layer_blob(data, compression), good.diff_id()


CORRUPT = ["corrupt gzip", "truncated gzip", "corrupt zstd", "truncated zstd", "truncated tar", "garbage tar", "wrong diff ID"]


@on_each_version
@pytest.mark.parametrize("kind", CORRUPT)
def test_broken_layer_is_refused(bed, registry, kind):
    base = base_layer()
    blob, diff_id = _corrupt(kind)
    ref, made = _push_wrong(registry, bed, [base.blob(), blob], [base.diff_id(), diff_id])
    node, containerd = bed.warm_pair(registry)
    out = node.preheat(ref, depth="layers", check=False)
    assert out.returncode in (1, 4), out.stdout + out.stderr
    assert blob.digest[:19] in out.stdout + out.stderr
    assert node.verify()[0] == 0
    with pytest.raises(CommandFailed):
        containerd.pull(ref, timeout=120)
    assert made.chain_ids()[-1] not in containerd.snapshots()
    # What was half unpacked goes: containerd's own collection removes the snapshot, then we the files.
    wait_for(lambda: not list(node.root.glob("snapshots/*/fs/fill4")), 40, "the end of what was half unpacked")


def test_layer_of_a_terabyte_is_refused_before_it_is_fetched(bed, registry):
    base = base_layer()
    ref, made = _push_wrong(registry, bed, [base.blob()], [base.diff_id()], sizes={0: 1 << 40})
    node = bed.node(registry)
    registry.reset()
    start = time.monotonic()
    out = node.preheat(ref, check=False)
    assert out.returncode in (1, 4)
    assert time.monotonic() - start < 20
    assert any(word in out.stderr.lower() for word in ("space", "quota", "tib", "size", "bytes")), out.stderr
    assert node.vm_hwm_kib() < 128 * 1024
    assert node.disk_bytes() < 64 << 20
    assert node.verify()[0] == 0


def _tar(members):
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member, data in members:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return out.getvalue()


def _member(name, kind=tarfile.REGTYPE, target=""):
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.mode = kind, target, 0o755
    return member


ESCAPES = {
    "dots": [(_member("../../../../../../escaped"), b"x")],
    "dots inside": [(_member("a/../../../../../../escaped"), b"x")],
    "absolute": [(_member("/escaped"), b"x")],
    "through a link": [(_member("out", tarfile.SYMTYPE, "/"), b""), (_member("out/escaped"), b"x")],
    "through a relative link": [(_member("out", tarfile.SYMTYPE, "../../../../../.."), b""), (_member("out/escaped"), b"x")],
    "hard link out": [(_member("escaped", tarfile.LNKTYPE, "../../../../../../etc/hostname"), b"")],
    "whiteout of dots": [(_member("a/.wh..."), b"")],
}


@pytest.mark.parametrize("name", ESCAPES)
def test_nothing_escapes_the_layer(bed, registry, name):
    tar = _tar(ESCAPES[name])
    base = base_layer()
    blob = _layer_blob(compress(tar, "gzip"), "gzip")
    ref, _ = _push_wrong(registry, bed, [base.blob(), blob], [base.diff_id(), Blob("", tar).digest])
    node = bed.node(registry)
    node.preheat(ref, depth="layers", check=False)
    assert not pathlib.Path("/escaped").exists()
    outside = [path for path in bed.folder.rglob("escaped") if "/fs/" not in str(path)]
    assert outside == []
    host = pathlib.Path("/etc/hostname")
    for path in node.root.glob("snapshots/*/fs/escaped"):
        assert not host.exists() or not os.path.samefile(path, host)
    assert node.verify()[0] == 0


def test_schema_1_is_refused_by_name(bed, registry, ref):
    front = bed.front(registry)
    node = bed.node(front)
    document = json.dumps({"schemaVersion": 1, "name": "test/old", "tag": "v1", "fsLayers": [], "history": []}).encode()
    front.document("/v2/test/old/manifests/", document, "application/vnd.docker.distribution.manifest.v1+prettyjws")
    out = node.preheat(front.ref("test/old:v1"), check=False)
    assert out.returncode == 1
    assert "schema 1" in out.stderr.lower() or "schemaversion 1" in out.stderr.lower(), out.stderr


def test_garbage_manifest_is_refused(bed, registry, ref):
    front = bed.front(registry)
    node = bed.node(front)
    front.document("/v2/test/bad/manifests/", b"\x00\xffnot json", "application/vnd.oci.image.manifest.v1+json")
    out = node.preheat(front.ref("test/bad:v1"), check=False)
    assert out.returncode == 1 and "hearth: " in out.stderr
    assert node.process.running()


# ---- this machine


def test_unknown_config_key_is_named(bed, registry):
    node = bed.node(registry, start=False)
    node.write_config()
    node.config.write_text(node.config.read_text().replace("listen =", "lisen =", 1))
    out = subprocess.run([str(a) for a in node.argv()], capture_output=True, text=True, timeout=20)
    assert out.returncode == 2
    assert "lisen" in out.stderr and str(node.config) in out.stderr


def test_bad_set_value_is_named(bed, registry):
    node = bed.node(registry, start=False, settings={"containerd.prepare_wait": "soon"})
    node.write_config()
    out = subprocess.run([str(a) for a in node.argv()], capture_output=True, text=True, timeout=20)
    assert out.returncode == 2
    assert "prepare_wait" in out.stderr


def test_second_daemon_on_one_root_is_refused(bed, registry):
    node = bed.node(registry)
    second = bed.node(registry, start=False)
    second.root = node.root
    second.write_config()
    out = subprocess.run([str(a) for a in second.argv()], capture_output=True, text=True, timeout=20)
    assert out.returncode in (1, 2)
    assert str(node.root) in out.stderr
    assert node.process.running()
    assert node.command("store", "ls").returncode == 0


def test_full_disk_is_said_and_leaves_a_clean_store(bed, registry):
    made = Image.of([base_layer(), filler_layer(8, 150 << 20)], "none")
    ref = made.push(registry, "test/big:v1", bed.folder / "big")
    disk = bed.ext4(96 << 20)
    (disk.path / "n").mkdir()
    node = bed.node(registry, folder=disk.path / "n")
    out = node.preheat(ref, depth="layers", check=False)
    assert out.returncode in (1, 4)
    assert any(word in out.stderr.lower() for word in ("space", "full", "quota")), out.stderr
    assert node.process.running()
    assert node.verify()[0] == 0
    assert node.disk_bytes() < 90 << 20
    small = Image.of([base_layer()])
    small_ref = small.push(registry, "test/little:v1", bed.folder / "little")
    node.preheat(small_ref, depth="layers")


def test_node_stops_within_ten_seconds_while_a_pull_is_under_way(bed, front, image):
    node = bed.node(front)
    blob = big_layer(image)
    front.rule(blob.digest, rate=20_000)
    command = subprocess.Popen(
        [str(a) for a in node.command_argv("preheat", front.ref(NAME))], stdout=subprocess.PIPE, stderr=subprocess.STDOUT
    )
    wait_for(lambda: front.blob_gets(blob.digest), 20, "the transfer")
    assert node.stop() < 10
    out, _ = command.communicate(timeout=20)
    assert command.returncode == 1, out
    node.start()
    assert node.verify()[0] == 0
