"""Where the repository, the binary and the cached parts are."""

import os
import pathlib

REPO = pathlib.Path(__file__).resolve().parents[2]
HEARTH = pathlib.Path(os.environ.get("HEARTH_BINARY", REPO / "build" / "bin" / "hearth"))
CACHE = REPO / "build" / "testbed"
IMAGES = CACHE / "images"


def containerd_bin(version):
    """The directory with containerd, ctr and the shim of that version."""
    path = CACHE / f"containerd-{version}" / "usr" / "bin"
    if not (path / "containerd").exists():
        raise FileNotFoundError(
            f"containerd {version} is not there: run deploy/deps.sh containerd {version}"
        )
    return path
