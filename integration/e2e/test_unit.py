"""deploy/hearth.service: what it leaves to the daemon is enough, and no capability is there in vain."""

import pathlib
import subprocess
import time

import pytest

from integration.testbed import Layer, tree
from integration.testbed.paths import HEARTH
from integration.testbed.unit import UNIT, Unit

TOOL = HEARTH.parent / "unpack_tool"
CAPABILITY = b"\x01\x00\x00\x02\x00\x04\x00\x00" + b"\x00" * 12


def status_of(pid):
    lines = pathlib.Path(f"/proc/{pid}/status").read_text().splitlines()
    return {key: value.strip() for key, _, value in (line.partition(":") for line in lines)}


def names_of(mask):
    """CAP_… names of a hexadecimal mask."""
    shown = subprocess.run(["capsh", f"--decode={mask}"], capture_output=True, text=True, check=True).stdout
    return sorted(shown.strip().partition("=")[2].upper().split(","))


@pytest.mark.parametrize("depth", ["layers", "image"])
def test_preheat_in_the_units_sandbox_equals_stock(bed, registry, ref, image, depth):
    since = time.time_ns()
    unit, place = Unit(), bed.new_folder("p")
    for name in ("n", "c"):
        (place / name).mkdir()
    address = place / "c" / "c.sock"
    node = bed.node(registry, folder=place / "n", containerd_address=address, prefix=unit.prefix())
    status = status_of(node.process.pid)
    assert names_of(status["CapBnd"]) == sorted(unit.capabilities())
    assert names_of(status["CapEff"]) == sorted(unit.capabilities())
    assert (status["NoNewPrivs"], status["Seccomp"]) == ("1", "2")
    containerd = bed.containerd(folder=place / "c", node=node)
    node.preheat(ref, depth=depth)
    registry.reset()
    containerd.pull(ref)
    assert registry.blob_gets() == []
    stock = bed.containerd()
    stock.pull(ref)
    chain = image.chain_ids()[-1]
    assert tree.diff(stock.tree(chain), containerd.tree(chain), since_ns=since) == []
    containerd.remove_image(ref)
    node.restart()  # opens what it wrote
    assert node.verify()[0] == 0


def demanding_layer():
    """One entry at least for each capability."""
    layer = Layer()
    layer.add("foreign", kind="dir", mode=0o700, uid=1000, gid=1000)
    layer.add("foreign/in", b"x", uid=1000, gid=1000)
    layer.add("suid", b"x", mode=0o4755, uid=1000, gid=1000).add("sgid", b"x", mode=0o2755, uid=1000, gid=1000)
    layer.add("null", kind="char", mode=0o666, device=(1, 3))
    layer.add("cap", b"x", xattrs={"security.capability": CAPABILITY})
    layer.add("hidden", kind="dir").opaque("hidden").add("hidden/new", b"x")
    return layer


def unpacked(folder, prefix):
    """(finished process, listing) of the layer, above one that has what its marks hide."""
    lower = folder / "lower"
    (lower / "hidden").mkdir(parents=True)
    root = folder / "root"
    root.mkdir()
    blob = demanding_layer().blob("gzip")
    (folder / "blob").write_bytes(blob.data)
    argv = [*prefix, TOOL, folder / "blob", blob.media_type, root, lower]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60)
    return done, tree.listing(root)


@pytest.fixture(scope="module")
def free_tree(tmp_path_factory):
    """As root unpacks it with everything allowed, and the time before."""
    since = time.time_ns()
    done, entries = unpacked(tmp_path_factory.mktemp("free"), [])
    assert done.returncode == 0, done.stderr
    return entries, since


def test_the_units_capabilities_are_enough(free_tree, tmp_path):
    want, since = free_tree
    done, have = unpacked(tmp_path, Unit().prefix())
    assert done.returncode == 0, done.stderr
    assert tree.diff(want, have, since_ns=since) == []


@pytest.mark.parametrize("capability", Unit().capabilities())
def test_each_capability_is_needed(free_tree, tmp_path, capability):
    want, since = free_tree
    done, have = unpacked(tmp_path, Unit().prefix(without=[capability]))
    assert done.returncode != 0 or tree.diff(want, have, since_ns=since) != []


@pytest.mark.parametrize("command", [["mount", "-t", "tmpfs", "none"], ["setpriv", "--reuid", "1", "true"]])
def test_the_filter_refuses_what_a_store_never_does(tmp_path, command):
    """CAP_SYS_ADMIN would allow the mount: only the filter stands in its way."""
    place = [tmp_path] if command[0] == "mount" else []
    refused = subprocess.run([*Unit().prefix(), *command, *place], capture_output=True, text=True)
    assert refused.returncode != 0
    assert "ermi" in refused.stderr, refused.stderr  # "Operation not permitted", "permission denied"


def test_systemd_takes_the_unit(tmp_path):
    """An unknown key or value is only a warning there, and then the protection is not in force."""
    text = UNIT.read_text().replace("/usr/bin/hearth", str(HEARTH))
    unit = tmp_path / "hearth.service"
    unit.write_text(text)
    # The manual page comes with the package, which need not be installed here.
    said = subprocess.run(["systemd-analyze", "verify", "--man=no", unit], capture_output=True, text=True)
    mine = [line for line in (said.stdout + said.stderr).splitlines() if "hearth" in line]
    assert (said.returncode, mine) == (0, [])


# What each of them is for stands beside it in the unit.
ORDER = {"Before": ["containerd.service", "kubelet.service"], "After": ["network-online.target", "local-fs.target"]}
SETTINGS = {
    "Type": "notify", "Restart": "always", "OOMScoreAdjust": "-999", "StartLimitIntervalSec": "0", "TasksMax": "infinity",
    "NoNewPrivileges": "yes", "AmbientCapabilities": "", "ProtectSystem": "full", "ProtectHome": "read-only", "PrivateTmp": "yes",
    "ProtectKernelTunables": "yes", "ProtectKernelModules": "yes", "ProtectKernelLogs": "yes", "ProtectControlGroups": "yes",
    "ProtectClock": "yes", "ProtectHostname": "yes", "ProtectProc": "invisible", "RestrictNamespaces": "yes",
    "RestrictRealtime": "yes", "LockPersonality": "yes", "MemoryDenyWriteExecute": "yes", "SystemCallArchitectures": "native",
    "RestrictAddressFamilies": "AF_UNIX AF_INET AF_INET6 AF_NETLINK", "WantedBy": "multi-user.target",
}  # fmt: skip


def test_the_unit_starts_before_containerd_and_is_the_last_to_be_killed():
    unit = Unit()
    assert {key: unit.value(key).split() for key in ORDER} == ORDER
    assert {key: unit.value(key) for key in SETTINGS} == SETTINGS
    # A stop has the 10 s that the daemon takes at most; the watchdog is looser than one slow answer.
    assert int(unit.value("TimeoutStopSec")) > 10
    assert int(unit.value("WatchdogSec")) >= 30
    # Either would make the store a mount of its own, into which adopt cannot link.
    assert unit.values("StateDirectory") == unit.values("ReadWritePaths") == []


def test_exposure_stays_low(tmp_path):
    unit = tmp_path / "hearth.service"
    unit.write_text(UNIT.read_text())
    argv = ["systemd-analyze", "security", "--offline=true", "--threshold=50", "--no-pager", unit]
    said = subprocess.run(argv, capture_output=True, text=True)
    assert said.returncode == 0, said.stdout
