"""hearth doctor: content with a healthy machine, and for each thing that is broken a finding that names it."""

import json
import subprocess

import pytest

from integration.e2e.test_exact import OF_THE_MACHINE, install, machine, tls_registry, version  # noqa: F401: fixtures
from integration.testbed.paths import HEARTH
from integration.testbed.process import wait_for

LABEL = "containerd.io/defaults/snapshotter"
WORSE = ["ok", "warn", "fail"]


def doctor(machine, *flags):
    """{check: its worst finding}"""
    out = machine.sh(" ".join(["hearth doctor --output json", *flags]), check=False)
    document = json.loads(out.stdout)
    assert out.returncode == (0 if document["ok"] else 1), out.stdout + out.stderr
    return worst(document)


def worst(document):
    found = {}
    for one in document["findings"]:
        assert (one["state"] == "ok") == (one["why"] == "" and one["advice"] == ""), one
        if one["check"] not in found or WORSE.index(one["state"]) > WORSE.index(found[one["check"]]["state"]):
            found[one["check"]] = one
    return found


def not_ok(found):
    bad = [one for check, one in found.items() if one["state"] != "ok" and check not in OF_THE_MACHINE]
    for one in bad:
        print(one)  # pytest shows it with a failure, which the states alone would not explain
    return {one["check"]: one["state"] for one in bad}


def test_doctor_names_what_is_broken(machine, tls_registry):  # noqa: F811
    machine.write_node_config(space_limits="")  # the defaults, which kubelet's thresholds are compared with
    bare = doctor(machine)
    assert not_ok(bare) == {"node": "fail", "install level": "fail"}, bare
    assert "hearth install" in bare["install level"]["advice"]

    machine.sh("hearth install")
    machine.start_node()
    early = doctor(machine)
    assert not_ok(early) == {"containerd plugins": "fail"}, early
    assert "restart containerd" in early["containerd plugins"]["advice"]

    machine.restart_containerd()
    wait_for(lambda: machine.sh("ctr namespaces ls").stdout.count(f"{LABEL}=hearth") == 2, 20, "the namespaces' labels")
    well = doctor(machine, f"--registry {tls_registry.address}")
    assert not_ok(well) == {}, [one for one in well.values() if one["state"] != "ok"]
    assert well[f"clock against {tls_registry.address}"]["state"] == "ok"
    assert "this node" in well["snapshotter in use"]["detail"]

    hosts = machine.view.path("/etc/containerd/certs.d/_default/hosts.toml")
    text = hosts.read_text()
    hosts.unlink()
    assert not_ok(doctor(machine)) == {"registry hosts": "fail"}
    hosts.write_text(text.replace(f":{machine.mirror_port}", ":1"))
    assert not_ok(doctor(machine)) == {"registry hosts": "fail"}
    hosts.write_text(text)

    machine.sh(f"ctr namespaces label default {LABEL}=overlayfs")
    label = doctor(machine)
    assert not_ok(label) == {"default snapshotter": "warn"}
    assert "default has snapshotter overlayfs" in label["default snapshotter"]["detail"]
    machine.sh(f"ctr namespaces label default {LABEL}=hearth")

    socket = machine.view.path("/run/hearth/hearth.sock")
    socket.chmod(0o666)
    assert not_ok(doctor(machine)) == {"socket for containerd": "fail"}
    socket.chmod(0o600)

    drop_in = machine.view.path("/etc/containerd/conf.d/hearth.toml")
    text = drop_in.read_text()
    drop_in.write_text(text.replace('snapshotter = "hearth"', 'snapshotter = "overlayfs"'))
    config = doctor(machine)
    assert not_ok(config) == {"containerd config": "fail"}
    assert "unpack_config" in config["containerd config"]["detail"]
    drop_in.write_text("this is no TOML")
    assert not_ok(doctor(machine)).get("containerd config") == "fail"
    drop_in.write_text(text)

    kubelet = machine.view.path("/var/lib") / "kubelet"
    kubelet.mkdir()
    (kubelet / "config.yaml").write_text("kind: KubeletConfiguration\nimageGCHighThresholdPercent: 60\n")
    late = doctor(machine)
    assert not_ok(late) == {"disk thresholds": "warn"}
    assert "imageGCHighThresholdPercent 60%" in late["disk thresholds"]["detail"]
    (kubelet / "config.yaml").write_text("evictionHard: [")
    assert not_ok(doctor(machine)) == {"kubelet config": "warn"}
    (kubelet / "config.yaml").unlink()

    machine.node.stop()
    stopped = doctor(machine)
    assert not_ok(stopped) == {"node": "fail"}
    assert "mirror" not in stopped and "systemctl start hearth" in stopped["node"]["advice"]
    machine.start_node()
    machine.containerd.stop()
    down = doctor(machine)
    assert down["containerd"]["state"] == "fail" and down["node"]["state"] == "ok", down


@pytest.mark.slow
@pytest.mark.parametrize("version", ["1.6", "1.7"])
def test_doctor_is_content_with_older_ones(machine):  # noqa: F811
    install(machine)
    well = doctor(machine)
    assert not_ok(well) == {}, [one for one in well.values() if one["state"] != "ok"]
    drop_in = machine.view.path("/etc/containerd/conf.d/hearth.toml")
    drop_in.write_text(drop_in.read_text().replace("hearth.sock", "other.sock"))
    assert not_ok(doctor(machine)) == {"containerd config": "fail"}


def test_doctor_answers_on_a_bare_machine(tmp_path):
    """No containerd, no node, no config file: it still says what is there and what is missing."""
    argv = [HEARTH, "doctor", "--root-prefix", tmp_path, "--output", "json",
            "--set", f"run={tmp_path}/run", "--set", f"root={tmp_path}/store",
            "--set", f"containerd.address={tmp_path}/c.sock"]  # fmt: skip
    out = subprocess.run([str(a) for a in argv], capture_output=True, text=True, timeout=60, env={"PATH": "/nowhere"})
    assert out.returncode == 1 and out.stderr == "", out
    found = worst(json.loads(out.stdout))
    assert not_ok(found) == {"node": "fail", "containerd version": "warn", "containerd": "fail"}, found
    assert {"overlayfs", "disk space", "clock", "boot id"} <= found.keys()
    no_containerd = [*argv, "--set", "containerd.address="]
    out = subprocess.run([str(a) for a in no_containerd], capture_output=True, text=True, timeout=60, env={"PATH": "/nowhere"})
    assert not_ok(worst(json.loads(out.stdout))) == {"node": "fail"}
