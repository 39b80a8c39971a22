"""The Debian package: what is in it, and that it comes, works and goes on bare root file systems of Debian 12 and 13."""

import contextlib
import ctypes
import json
import os
import re
import shutil
import socket
import subprocess

import pytest

from integration.testbed.debian import codename
from integration.testbed.debian_root import debian_root
from integration.testbed.image import small_image
from integration.testbed.paths import REPO
from integration.testbed.process import Process, run, wait_for
from integration.testbed.scratch import new_folder

DEBIAN = {"bookworm": 12, "trixie": 13}
BUILD_SECONDS = 3600
CLONE_NEWNET = 0x40000000
UNIT = "/usr/lib/systemd/system/hearth.service"
WANTED = "/etc/systemd/system/multi-user.target.wants/hearth.service"


def package_for(suite):
    owner = os.stat(REPO)  # builds; what it makes in build/ has to stay its own
    as_owner = ["setpriv", f"--reuid={owner.st_uid}", f"--regid={owner.st_gid}", "--clear-groups"]
    prefix = as_owner if suite == codename() else []
    run([*prefix, REPO / "deploy" / "debian" / "package", suite], timeout=BUILD_SECONDS)
    (package,) = (REPO / "build" / "packages").glob(f"hearth_*~deb{DEBIAN[suite]}_*.deb")
    return package


# ---- what is in it


@pytest.fixture(scope="module")
def package():
    return package_for(codename())


def depends_of(package):
    return run(["dpkg-deb", "--field", package, "Depends"]).stdout.strip()


def test_package_depends_on_what_the_binary_loads(package, tmp_path):
    run(["dpkg-deb", "-x", package, tmp_path])
    needed = re.findall(r"NEEDED.*\[(.*)\]", run(["readelf", "-d", tmp_path / "usr/bin/hearth"]).stdout)
    depends = {word.split()[0] for word in depends_of(package).split(", ")}
    owned = run(["dpkg", "-S", *[f"*/{name}" for name in needed]]).stdout
    for name in needed:
        owners = re.findall(rf"^(.*?):.*/{re.escape(name)}$", owned, re.M)
        # libspdlog is depended on by a name that it provides.
        provided = run(["dpkg-query", "-W", "-f", "${Provides}, ", *owners]).stdout
        names = {*owners, *(word.split()[0] for word in provided.split(", ") if word.strip())}
        assert names & depends, f"{name} of {owners}: not in {sorted(depends)}"
    assert any(name.startswith("librocksdb") for name in depends)


def test_package_is_what_the_policy_asks_for(package):
    if not shutil.which("lintian"):
        pytest.skip("no lintian here: deploy/deps.sh installs it")
    said = run(["lintian", "--fail-on", "error,warning", package], check=False, timeout=300)
    assert (said.returncode, said.stdout) == (0, "")


def test_package_holds_what_the_binary_prints(package, tmp_path):
    run(["dpkg-deb", "-x", package, tmp_path])
    hearth = tmp_path / "usr/bin/hearth"
    share = tmp_path / "usr/share"
    assert run(["gzip", "-dc", share / "man/man8/hearth.8.gz"]).stdout == run([hearth, "man"]).stdout
    for shell, place in (("bash", "bash-completion/completions/hearth"), ("zsh", "zsh/vendor-completions/_hearth"),
                         ("fish", "fish/vendor_completions.d/hearth.fish")):  # fmt: skip
        assert (share / place).read_text() == run([hearth, "completion", shell]).stdout
    assert (tmp_path / "etc/hearth/node.toml").read_bytes() == (REPO / "config/node.toml").read_bytes()
    assert (tmp_path / UNIT[1:]).read_bytes() == (REPO / "deploy/hearth.service").read_bytes()
    run(["dpkg-deb", "-e", package, tmp_path / "control"])
    assert (tmp_path / "control/conffiles").read_text() == "/etc/hearth/manager.toml\n/etc/hearth/node.toml\n"


# ---- on a bare root of each release


class Installed:
    """A root with the libraries that the package depends on, and the package on call."""

    def __init__(self, root, package):
        self.root = root
        self.package = root.put(package)
        root.apt("satisfy", depends_of(package))
        root.apt("install", "man-db", "zsh")
        self.before = root.listing()

    def install(self):
        self.root.sh(f"dpkg -i {self.package}")

    def remove(self, check=True):
        return self.root.sh("dpkg -r hearth", check=check)

    def purge(self):
        return self.root.sh("dpkg -P hearth")

    def left(self):
        """What is there that was not before the package came."""
        return sorted(self.root.listing() - self.before)

    @contextlib.contextmanager
    def node(self):
        """`hearth node` with the package's own settings, as the unit starts it."""
        node = Process(self.root.argv("hearth", "node"), self.root.folder / "node.log")
        try:
            wait_for(lambda: node.check_running() or self.root.sh("hearth store ls", check=False).returncode == 0, 60,
                     "the node in the root")  # fmt: skip
            yield node
        finally:
            node.stop()


@pytest.fixture(scope="module", params=DEBIAN)
def installed(request):
    with debian_root(new_folder("hearth-root"), request.param) as root:
        installed = Installed(root, package_for(request.param))
        installed.install()
        yield installed
        installed.root.sh("rm -f /etc/hearth/install.json")


@pytest.fixture
def here(installed):
    """Installed, whatever a test before did."""
    installed.install()
    return installed


@pytest.mark.slow
def test_doctor_answers_on_a_bare_root(here):
    version = here.root.sh("dpkg-query -W -f '${Version}' hearth").stdout
    assert here.root.sh("hearth --version").stdout.split()[-1] == version.partition("-")[0]
    said = here.root.sh("hearth doctor", check=False)
    assert said.returncode == 1, said
    assert "containerd version" in said.stdout and "install containerd" in said.stdout
    findings = json.loads(here.root.sh("hearth doctor --output json", check=False).stdout)
    assert findings, "no finding"


@pytest.mark.slow
def test_unit_is_enabled_and_page_and_completions_work(here):
    root = here.root
    assert os.readlink(f"{root.path}{WANTED}").removeprefix("/usr") == UNIT.removeprefix("/usr")
    page = root.sh("MANWIDTH=80 man --warnings -l /usr/share/man/man8/hearth.8.gz")
    assert page.stderr == "" and "hearth preheat" in page.stdout
    assert "keeps container images warm" in root.sh("man -f hearth || whatis hearth").stdout
    root.sh("bash -n /usr/share/bash-completion/completions/hearth")
    root.sh("zsh -n /usr/share/zsh/vendor-completions/_hearth")
    words = root.sh("""bash -c '. /usr/share/bash-completion/completions/hearth
        COMP_WORDS=(hearth store v); COMP_CWORD=2; _hearth; echo ${COMPREPLY[*]}'""").stdout
    assert words == "verify\n"
    # zsh reads the file at the first completion, and that one has to be right too.
    words = root.sh("""zsh -f -c 'fpath=(/usr/share/zsh/vendor-completions); autoload -Uz _hearth
        compadd() print -r -- "$@"; _files() :; words=(hearth store ""); CURRENT=3; _hearth'""").stdout
    assert words.startswith("-- ls verify")


@pytest.mark.slow
def test_package_comes_works_and_goes(here):
    """The node's own data too: nothing of ours is left after a purge."""
    root = here.root
    with here.node() as node:
        said = json.loads(root.sh("hearth doctor --output json", check=False).stdout)
        assert said
        assert root.exists("/var/lib/hearth/index")
        root.write("/etc/hearth/node.toml", root.read("/etc/hearth/node.toml") + "\n# ours\n")
        here.install()  # as an upgrade: settings stay, and the node runs
        assert root.read("/etc/hearth/node.toml").endswith("# ours\n")
        node.check_running()
    here.remove()
    left = here.left()
    assert "/etc/hearth/node.toml" in left and "/var/lib/hearth/index" in left
    assert not [path for path in left if path.startswith(("/usr", "/run"))], left
    here.purge()
    assert here.left() == []


@pytest.mark.slow
def test_purge_leaves_what_is_not_ours(here):
    root = here.root
    root.write("/var/lib/hearth/blobs/sha256/ab/abcd", "x")
    root.write("/var/lib/hearth/lost+found/x", "x")
    here.remove()
    said = here.purge()
    assert "stays" in said.stderr
    assert root.exists("/var/lib/hearth/lost+found/x") and not root.exists("/var/lib/hearth/blobs")
    shutil.rmtree(f"{root.path}/var/lib/hearth")


@pytest.mark.slow
def test_purge_keeps_images_that_containers_use(here):
    root = here.root
    lower = "/var/lib/hearth/snapshots/1/fs"
    root.write(f"{lower}/file", "x")
    here.remove()
    root.sh(f"mount --bind {lower} /mnt")
    try:
        said = here.purge()
        assert "stay" in said.stderr and "mounts" in said.stderr
        assert root.exists(f"{lower}/file")
    finally:
        root.sh("umount /mnt")
    shutil.rmtree(f"{root.path}/var/lib/hearth")


@contextlib.contextmanager
def in_network_of(root):
    """This thread's new sockets are of the root's network."""
    with open("/proc/thread-self/ns/net") as own, open(f"/proc/{root.holder_pid}/ns/net") as other:
        setns(other.fileno(), CLONE_NEWNET)
        try:
            yield
        finally:
            setns(own.fileno(), CLONE_NEWNET)


def setns(descriptor, kind):
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, kind) != 0:
        raise OSError(ctypes.get_errno(), "setns")


@pytest.mark.slow
def test_package_stays_while_a_containerd_is_connected(here):
    root = here.root
    # From the root's network, as on one machine: /proc/net/unix has only the sockets of its network.
    with here.node(), in_network_of(root), socket.socket(socket.AF_UNIX) as containerd:
        containerd.connect(f"/proc/{root.holder_pid}/root{root.path}/run/hearth/hearth.sock")
        said = here.remove(check=False)
        assert said.returncode != 0
        assert "connected" in said.stderr
        assert root.exists("/usr/bin/hearth")
    here.remove()
    assert not root.exists("/usr/bin/hearth")


@pytest.mark.slow
def test_package_stays_while_containerd_is_configured_for_it(here):
    """With the release's own containerd, set up by install and set free by uninstall."""
    root = here.root
    root.apt("install", "containerd")
    root.sh("mkdir -p /run/systemd/system")  # as where systemd runs
    said = json.loads(root.sh("hearth install --output json").stdout)
    assert any("systemctl" in step for step in said["next"])
    # The package's unit is the one that counts.
    assert not root.exists("/etc/systemd/system/hearth.service")
    root.sh("rmdir /run/systemd/system")
    refused = here.remove(check=False)
    assert refused.returncode != 0
    assert "hearth uninstall" in refused.stderr and "install.json" in refused.stderr
    assert "ok installed" in root.sh("dpkg -s hearth").stdout
    root.sh("hearth uninstall --force")
    here.remove()
    # Set up by hand, and removed against the advice: the images stay.
    root.write("/etc/containerd/conf.d/own.toml", '[proxy_plugins.hearth]\n  address = "/run/hearth/hearth.sock"\n')
    root.write("/var/lib/hearth/blobs/sha256/ab/abcd", "x")
    said = here.purge()
    assert "own.toml" in said.stderr and "rm -r /var/lib/hearth" in said.stderr
    assert root.exists("/var/lib/hearth/blobs/sha256/ab/abcd")
    shutil.rmtree(f"{root.path}/var/lib/hearth")
    root.sh("rm /etc/containerd/conf.d/own.toml")


# ---- where systemd runs


@pytest.fixture
def booted(installed):
    """The root's own systemd, and no package of ours yet."""
    root = installed.root
    root.apt("install", "systemd-sysv", "dbus")
    root.sh("dpkg -P hearth")
    # They would ask for terminals and devices that are not there.
    root.sh("cd /etc/systemd/system && ln -sf /dev/null console-getty.service && ln -sf /dev/null systemd-udevd.service")
    with root.boot() as booted:
        yield booted


def main_pid(booted):
    return booted.sh("systemctl show --property MainPID --value hearth").stdout.strip()


@pytest.mark.slow
def test_package_starts_restarts_and_stops_the_service(booted, installed):
    """Under the unit's whole sandbox, by the release's own systemd."""
    booted.sh(f"dpkg -i {installed.package}")
    assert booted.sh("systemctl is-active hearth").stdout == "active\n"  # READY=1 came, and so every socket answers
    booted.sh("hearth store ls")
    status = booted.sh(f"cat /proc/{main_pid(booted)}/status").stdout
    assert re.search(r"^Seccomp:\s+2$", status, re.M) and re.search(r"^NoNewPrivs:\s+1$", status, re.M)
    killed = main_pid(booted)
    booted.sh("systemctl kill --signal KILL hearth")
    wait_for(lambda: main_pid(booted) not in ("0", killed)
             and booted.sh("systemctl is-active hearth", check=False).returncode == 0, 60, "the restart")  # fmt: skip
    before = main_pid(booted)
    booted.sh(f"dpkg -i {installed.package}")  # an upgrade
    assert main_pid(booted) not in ("0", before)
    booted.sh("systemctl disable --now hearth")
    booted.sh(f"dpkg -i {installed.package}")
    assert main_pid(booted) == "0", "an upgrade started what the operator disabled"
    booted.sh("systemctl enable --now hearth")
    booted.sh("dpkg -r hearth")
    assert booted.sh("systemctl is-active hearth", check=False).stdout == "inactive\n"
    assert booted.sh("ls -d /run/hearth", check=False).returncode != 0
    booted.sh("dpkg -P hearth")
    assert booted.sh("find / -xdev -name '*hearth*' -not -path '/root/*' -not -path '/var/log/*'").stdout == ""


def wait_listed(booted, ref):
    wait_for(lambda: ref in booted.sh("ctr -n k8s.io images ls -q", check=False).stdout.split(), 60, f"{ref} in containerd")


@pytest.mark.slow
def test_adopt_restarts_the_releases_containerd_by_itself(booted, installed, tmp_path):
    """With no flag at all: systemd restarts Debian's own containerd, after the node, and the images of before are whole."""
    root, ref = installed.root, "registry.test/small:v1"
    root.apt("install", "containerd")
    layout = small_image(layers=4).write_layout(tmp_path / "layout")
    run(["tar", "-C", layout, "-cf", tmp_path / "image.tar", "."])
    archive = root.put(tmp_path / "image.tar")
    booted.sh("systemctl daemon-reload && systemctl restart containerd")
    booted.sh(f"ctr -n k8s.io images import --index-name {ref} {archive}")
    wait_listed(booted, ref)
    booted.sh(f"dpkg -i {installed.package}")
    booted.sh("hearth install")
    before = booted.sh("systemctl show --property MainPID --value containerd").stdout
    report = json.loads(booted.sh("hearth adopt --output json").stdout)
    assert report["restarted"] and report["failed"] == 0
    assert report["linked"] == report["blobs"] > 0, "the unit's sandbox kept blobs from being linked"
    assert booted.sh("systemctl show --property MainPID --value containerd").stdout != before
    assert "hearth.service" in booted.sh("systemctl show --property After --value containerd").stdout
    booted.sh("rm -r /var/lib/containerd/io.containerd.content.v1.content/blobs")
    line = booted.sh(f"ctr -n k8s.io images check --snapshotter hearth name=={ref}").stdout.splitlines()[-1]
    assert " complete (" in line and line.rstrip().endswith("true"), line
    report = json.loads(booted.sh("hearth uninstall --restart 'systemctl restart containerd' --output json").stdout)
    assert report["restarted"] and report["failed"] == 0
    line = booted.sh(f"ctr -n k8s.io images check --snapshotter overlayfs name=={ref}").stdout.splitlines()[-1]
    assert " complete (" in line, line
    booted.sh("systemctl disable --now containerd")
