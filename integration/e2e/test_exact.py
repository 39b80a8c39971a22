"""hearth install and doctor, and pulls typed exactly: no flags, no environment, Debian's own containerd configuration."""

import json
import tomllib

import pytest

from integration.testbed.debian import debian_image
from integration.testbed.process import wait_for

VERSIONS = ["1.6", "1.7", "2.1"]
# What doctor finds of the machine that the tests run on, which it may lack.
OF_THE_MACHINE = {"clock", "disk space", "inodes", "open files"}

MIB = 1 << 20


@pytest.fixture
def tls_registry(bed):
    return bed.registry(tls=True, host="registry.test")


@pytest.fixture
def version():
    return "2.1"


@pytest.fixture
def machine(bed, tls_registry, version):
    """Debian's containerd runs; Hearth is not installed yet."""
    machine = bed.machine(tls_registry, version=version)
    machine.write_node_config()
    machine.start_containerd()
    return machine


def install(machine):
    machine.sh("hearth install")
    machine.start_node()
    machine.restart_containerd()
    # The node sees that containerd has the snapshotter loaded, and makes it the default.
    labelled = "containerd.io/defaults/snapshotter=hearth"
    wait_for(lambda: machine.sh("ctr namespaces ls").stdout.count(labelled) == 2, 20, "the namespaces' labels")


def dump(machine):
    return machine.sh("containerd config dump").stdout


def files_of_etc(machine):
    out = machine.sh("sh -c 'cd /etc && find containerd hearth systemd -type f 2>/dev/null | sort | xargs sha256sum'")
    return out.stdout


def test_pull_of_a_preheated_image_costs_nothing(bed, machine, tls_registry):
    real = debian_image("small")
    real.push(tls_registry, "test/debian:v1")
    ref = f"{tls_registry.address}/test/debian:v1"
    install(machine)
    machine.sh(f"hearth preheat {ref}")
    tls_registry.reset()
    before = machine.write_bytes()
    machine.sh(f"ctr -n k8s.io i pull {ref}")
    assert machine.write_bytes() - before < 8 * MIB
    assert tls_registry.blob_gets() == []
    assert real.chain_ids()[-1] in machine.sh("ctr -n k8s.io snapshots --snapshotter hearth ls").stdout
    check = machine.sh(f"ctr -n k8s.io i check name=={ref}").stdout
    assert f"complete ({len(real.digests()) + 2}/{len(real.digests()) + 2})" in check or "complete (" in check
    machine.sh(f"ctr -n k8s.io i export /run/export.tar {ref}")
    assert "hello" in machine.sh(f"ctr -n k8s.io run --rm {ref} probe /bin/echo hello").stdout


@pytest.mark.parametrize("version", VERSIONS)
def test_exact_pull_on_each_version(bed, machine, tls_registry, image):
    """install, preheat, pull: no blob moves, the image is whole and runs; uninstall leaves no trace."""
    image.push(tls_registry, "test/small:v1", bed.folder / "layout")
    ref = f"{tls_registry.address}/test/small:v1"
    before, config = files_of_etc(machine), dump(machine)
    machine.sh("hearth install")
    plugins = changed_tables(config, dump(machine))
    machine.sh("hearth uninstall")
    assert files_of_etc(machine) == before
    install(machine)
    assert plugins <= ALLOWED_TABLES, plugins
    machine.sh(f"hearth preheat {ref}")
    tls_registry.reset()
    machine.sh(f"ctr -n k8s.io i pull {ref}")
    assert tls_registry.blob_gets() == []
    assert "complete (" in machine.sh(f"ctr -n k8s.io i check name=={ref}").stdout
    assert machine.sh(f"ctr -n k8s.io run --rm {ref} probe /bin/echo hi").stdout == "hi\n"
    machine.sh(f"ctr -n k8s.io c create {ref} stays")
    refused = machine.sh("hearth uninstall", check=False)
    assert refused.returncode == 1 and "k8s.io: stays" in refused.stderr
    machine.sh("ctr -n k8s.io c rm stays")
    machine.sh("hearth uninstall")
    assert files_of_etc(machine) == before
    assert "defaults/snapshotter" not in machine.sh("ctr namespaces ls").stdout


@pytest.mark.parametrize("version", VERSIONS)
def test_level_snapshotter_registers_a_preheated_image_whole(machine, tls_registry, image, bed):
    """containerd keeps its own content there, and CRI lists no image after a restart whose blobs are missing."""
    image.push(tls_registry, "test/small:v1", bed.folder / "layout")
    ref = f"{tls_registry.address}/test/small:v1"
    machine.sh("hearth install --level snapshotter")
    machine.start_node()
    machine.restart_containerd()
    machine.sh(f"hearth preheat {ref}")
    tls_registry.reset()
    assert "complete (" in machine.sh(f"ctr -n k8s.io i check --snapshotter hearth name=={ref}").stdout
    machine.sh(f"hearth preheat {ref}")
    machine.sh(f"ctr -n k8s.io i pull --snapshotter hearth {ref}")
    assert tls_registry.blob_gets() == []
    assert machine.sh(f"ctr -n k8s.io run --rm --snapshotter hearth {ref} probe /bin/echo hi").stdout == "hi\n"


ALLOWED_TABLES = {
    ("disabled_plugins",),
    ("imports",),
    ("proxy_plugins",),
    ("plugins", "io.containerd.grpc.v1.cri", "containerd", "snapshotter"),
    ("plugins", "io.containerd.grpc.v1.cri", "registry", "config_path"),
    ("plugins", "io.containerd.cri.v1.images", "snapshotter"),
    ("plugins", "io.containerd.cri.v1.images", "registry", "config_path"),
    ("plugins", "io.containerd.service.v1.diff-service", "default"),
    ("plugins", "io.containerd.transfer.v1.local", "unpack_config"),
}


def changed_tables(before, after):
    """Paths of what differs between two dumps, cut at the ones that install speaks of."""

    def walk(a, b, path):
        if a == b or path in ALLOWED_TABLES:
            return {path} if a != b else set()
        if isinstance(a, dict) and isinstance(b, dict):
            return set().union(*(walk(a.get(k), b.get(k), (*path, k)) for k in {*a, *b}))
        return {path}

    return walk(tomllib.loads(before), tomllib.loads(after), ())


def test_cold_plain_pull_is_native(bed, machine, tls_registry, image):
    """The image reference reaches Prepare as a label, so Hearth fetches the layers itself, once each."""
    image.push(tls_registry, "test/small:v1", bed.folder / "layout")
    ref = f"{tls_registry.address}/test/small:v1"
    install(machine)
    tls_registry.reset()
    machine.sh(f"ctr -n k8s.io i pull {ref}")
    gets = tls_registry.blob_gets()
    assert len(gets) == len(image.layers) + 1
    big = max(image.layers, key=lambda blob: len(blob.data)).digest
    assert not [r for r in tls_registry.blob_gets(big) if r.agent.startswith("containerd/")]
    assert machine.sh(f"ctr -n k8s.io run --rm {ref} probe /bin/echo hi").stdout == "hi\n"


def test_dry_run_changes_nothing(machine):
    before = files_of_etc(machine)
    out = machine.sh("hearth install --dry-run")
    assert "hearth-content" in out.stdout
    assert files_of_etc(machine) == before


def test_install_changes_only_what_it_says(machine):
    before = dump(machine)
    install(machine)
    gone = set(before.splitlines()) - set(dump(machine).splitlines())
    allowed = ("disabled_plugins", "snapshotter", "default = [", "config_path", "imports", "unpack_config", "differ", "version")
    assert [line for line in gone if line.strip() and not any(word in line for word in allowed)] == []


def test_uninstall_restores(machine):
    before = files_of_etc(machine)
    install(machine)
    assert files_of_etc(machine) != before
    machine.sh("hearth uninstall")
    assert files_of_etc(machine) == before


def test_second_install_changes_nothing(machine):
    install(machine)
    before = files_of_etc(machine)
    machine.sh("hearth install")
    assert files_of_etc(machine) == before


def test_doctor_is_content_after_install_and_not_before(machine):
    before = machine.sh("hearth doctor", check=False)
    assert before.returncode == 1
    install(machine)
    after = json.loads(machine.sh("hearth doctor --output json", check=False).stdout)
    assert [f for f in after["findings"] if f["state"] == "fail" and f["check"] not in OF_THE_MACHINE] == []


def test_no_plugin_fails_after_install(machine):
    install(machine)
    listed = machine.sh("ctr plugins ls").stdout
    for name in ("hearth-content", "hearth", "hearth-diff"):
        assert any(name in line.split() and line.rstrip().endswith("ok") for line in listed.splitlines()), listed
    assert not [line for line in listed.splitlines() if line.rstrip().endswith(" error")]
