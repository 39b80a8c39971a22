"""The test bed itself, with stock containerd: what the other tests compare with must be right first."""

import pathlib
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request

import pytest

from integration.testbed import Layer, tree
from integration.testbed.paths import REPO
from integration.testbed.process import CommandFailed, wait_for
from integration.testbed.scratch import Ext4, mounts_under, remove_folder


def test_pull_fetches_each_blob_once(bed, registry, ref, image):
    containerd = bed.containerd()
    registry.reset()
    containerd.pull(ref)
    gets = registry.blob_gets()
    assert len(gets) == len(image.layers) + 1
    assert registry.blob_bytes() == image.layer_bytes() + len(image.config.data)
    assert "complete (6/6)" in containerd.check_image(ref)
    assert containerd.failed_plugins() == []


def test_container_runs(bed, registry, ref, image):
    containerd = bed.containerd()
    containerd.pull(ref)
    assert containerd.run_container(ref, "/bin/cat", "/opt/old/c") == "only this is left\n"


def test_tree_holds_what_the_layers_say(bed, registry, ref, image):
    containerd = bed.containerd()
    containerd.pull(ref)
    listing = containerd.tree(image.chain_ids()[-1])
    assert "etc/gone" not in listing and "opt/old/a" not in listing
    assert listing["var/lib/folder"]["kind"] == "file"
    assert listing["usr/bin/hard2"]["same_as"] == listing["data/original"]["same_as"]
    assert listing["data/xattr"]["xattrs"]["user.binary"].endswith("00fffe")
    assert listing["data/cap"]["xattrs"]["security.capability"]
    assert listing["data/null"]["device"] == "1:3"
    assert listing["usr/implied"] == {**listing["usr/implied"], "mode": "0o2750", "owner": "12:34"}


def test_two_stock_pulls_give_the_same_tree(bed, registry, ref, image):
    since = time.time_ns()
    listings = []
    for _ in range(2):
        containerd = bed.containerd()
        containerd.pull(ref)
        listings.append(containerd.tree(image.chain_ids()[-1]))
    assert tree.diff(*listings, since_ns=since) == []


def test_diff_names_each_difference(tmp_path):
    (tmp_path / "a").write_text("one")
    want = tree.listing(tmp_path)
    (tmp_path / "a").chmod(0o600)
    (tmp_path / "b").symlink_to("a")
    lines = tree.diff(want, tree.listing(tmp_path))
    assert len(lines) == 2 and "mode want 0o644 have 0o600" in lines[0] and "too much 'b'" in lines[1]


def _get(front, digest):
    return urllib.request.urlopen(f"{front.url}/v2/test/small/blobs/{digest}", timeout=5).read()


def test_front_counts_and_misbehaves_as_told(bed, registry, ref, image):
    front = bed.front(registry)
    blob = image.layers[0]
    assert _get(front, blob.digest) == blob.data
    front.rule(blob.digest, flip_at=100, times=1)
    wrong = _get(front, blob.digest)
    assert wrong[:100] == blob.data[:100] and wrong[100] != blob.data[100] and wrong[101:] == blob.data[101:]
    front.rule(blob.digest, status=503, times=1)
    with pytest.raises(urllib.error.HTTPError):
        _get(front, blob.digest)
    front.rule(blob.digest, too_long=7, times=1)
    assert len(_get(front, blob.digest)) == len(blob.data) + 7
    front.rule(blob.digest, truncate_at=1000, times=1)
    with pytest.raises(Exception):
        _get(front, blob.digest)
    assert len(front.blob_gets(blob.digest)) == 5
    assert front.blob_bytes(blob.digest) == 3 * len(blob.data) + 7 + 1000


def test_front_throttles(bed, registry, ref, image):
    front = bed.front(registry)
    blob = image.layers[2]
    front.rule(blob.digest, rate=len(blob.data))
    start = time.monotonic()
    _get(front, blob.digest)
    assert 0.8 < time.monotonic() - start < 3


def test_stock_pull_refuses_a_wrong_body(bed, registry, ref, image):
    front = bed.front(registry)
    front.rule(image.layers[0].digest, flip_at=500_000)
    containerd = bed.containerd()
    with pytest.raises(CommandFailed):
        containerd.pull(front.ref("test/small:v1"))
    assert front.blob_gets(image.layers[0].digest)
    assert front.ref("test/small:v1") not in containerd.images()


def test_tls_registry_pull(bed, image):
    registry = bed.registry(tls=True)
    ref = image.push(registry, "test/small:v1", bed.folder / "layout")
    containerd = bed.containerd(plain_http=False)
    containerd.pull(ref, "--tlscacert", registry.ca_file, "--local")
    assert ref in containerd.images()


def test_machine_view_is_private(bed):
    view = bed.machine_view()
    view.run(["sh", "-c", "echo mine >/etc/hearth-test && mkdir -p /run/x /var/lib/y"])
    assert view.run(["cat", "/etc/hearth-test"]).stdout == "mine\n"
    with pytest.raises(FileNotFoundError):
        open("/etc/hearth-test")
    assert view.path("/var/lib/y").is_dir()


def test_exact_command_on_a_machine_of_its_own(bed, image):
    registry = bed.registry(tls=True, host="registry.test")
    ref = image.push(registry, "test/small:v1", bed.folder / "layout")
    machine = bed.machine(registry)
    machine.start_containerd()
    registry.reset()
    machine.sh(f"ctr -n k8s.io i pull {ref}")
    assert ref in machine.sh("ctr -n k8s.io i ls -q").stdout
    assert len(registry.blob_gets()) == len(image.layers) + 1
    assert machine.sh(f"ctr -n k8s.io run --rm {ref} probe /bin/echo hi").stdout == "hi\n"


def test_mounts_are_undone_below_a_linked_folder(bed, tmp_path):
    """The kernel names a mount by its real path, whatever link it was reached by."""
    link = tmp_path / "link"
    link.symlink_to(bed.folder)
    disk = Ext4(link / "disk", 64 << 20)
    assert len(mounts_under(link / "disk")) == 1
    disk.close()
    assert mounts_under(bed.folder) == []


_STARTS_AND_WAITS = """
import sys, time
from integration.testbed import Testbed
with Testbed() as bed:
    registry, containerd = bed.registry(), bed.containerd()
    disk = bed.ext4(64 << 20)
    print(registry.process.pid, containerd.process.pid, bed.folder, flush=True)
    time.sleep(60)
"""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGKILL], ids=["interrupt", "kill"])
def test_nothing_outlives_the_test_bed(number):
    user = subprocess.Popen(
        [sys.executable, "-c", _STARTS_AND_WAITS],
        cwd=REPO,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
        # A shell starts what runs in the background with SIGINT ignored, and that is inherited.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    *pids, folder = user.stdout.readline().split()
    user.send_signal(number)
    user.communicate(timeout=60)
    wait_for(lambda: not any(pathlib.Path(f"/proc/{pid}").exists() for pid in pids), 10, "the end of all parts")
    if number == signal.SIGKILL:
        remove_folder(folder)
    assert not pathlib.Path(folder).exists()
    assert mounts_under(folder) == []


def test_every_layer_of_the_image_is_in_use(image):
    """A layer that is equal to another one would be fetched once only, and the counts above would lie."""
    assert len({layer.digest for layer in image.layers}) == len(image.layers)
    assert Layer().diff_id() == image.diff_ids[-1]
