"""The Go clients that stand in for nerdctl and kubelet, built once."""

import functools
import json
import os
import shutil

from .paths import CACHE, REPO
from .process import run

BUILD_SECONDS = 900


@functools.lru_cache
def client(name):
    """The program of integration/clients/NAME; Go's own cache makes a second build cheap."""
    target = CACHE / f"client-{name}"
    path = f"{CACHE}/go/bin:/usr/local/go/bin:{os.environ['PATH']}"
    run(["go", "build", "-buildvcs=false", "-o", target, "."], cwd=REPO / "integration" / "clients" / name,
        timeout=BUILD_SECONDS, env={**os.environ, "PATH": path})  # fmt: skip
    return target


def nerdctl_pull_argv(socket, ref, *flags, version, namespace="default", snapshotter="hearth"):
    """What nerdctl does: Client.Pull below containerd 2.0, the transfer service from there on."""
    name, verb = ("v2", ["pull"]) if version.startswith("2.") else ("v1", [])
    return [client(name), "-address", socket, "-namespace", namespace, "-snapshotter", snapshotter, *flags, *verb, ref]


def cri_argv(socket, *words, user=""):
    """What kubelet does: pull REF, run REF COMMAND…, images, status REF, rmi REF, imagefs."""
    return [client("v2"), "-address", socket, *(["-user", user] if user else []), "cri", *words]


def cri(socket, *words, timeout=120, **kw):
    """The JSON document that it prints, None where there is none."""
    out = run(cri_argv(socket, *words, **kw), timeout=timeout).stdout
    return json.loads(out) if out.strip() else None


def real_clients():
    """Those of "real nerdctl" and "real crictl" that this machine has on its PATH; they run beside their stand-ins."""
    return [f"real {name}" for name in ("nerdctl", "crictl") if shutil.which(name)]


def real_pull_argv(client, socket, ref, *, hosts_dir, snapshotter="hearth"):
    if client == "real nerdctl":
        # Plain http where https does not answer, as for the stand-in.
        flags = ["--namespace", "default", "--snapshotter", snapshotter, "--hosts-dir", hosts_dir, "--insecure-registry"]
        return ["nerdctl", "--address", socket, *flags, "pull", "--quiet", ref]
    endpoint = f"unix://{socket}"
    return ["crictl", "--runtime-endpoint", endpoint, "--image-endpoint", endpoint, "--timeout", "120s", "pull", ref]
