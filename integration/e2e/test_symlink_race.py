"""Somebody exchanges a directory for a link out of the layer while it is unpacked: nothing outside changes."""

import ctypes
import os
import subprocess
import threading

import pytest

from integration.e2e.test_nasty_tars import canary_state, make_canary
from integration.testbed.paths import HEARTH
from integration.testbed.process import wait_for
from integration.testbed.raw_tar import CHAR, END, FIFO, folder, hard, link, member

TOOL = HEARTH.parent / "unpack_tool"
TAR = "application/vnd.oci.image.layer.v1.tar"
MIB = 1 << 20
RENAME_EXCHANGE = 2
AT_FDCWD = -100
LIBC = ctypes.CDLL(None, use_errno=True)

# What a layer may want inside the directory; the canary has a file "file", a directory "dir" and a link "link".
WANTS = {
    "file": member("d/new", b"x"),
    "file that is there": member("d/file", b"overwritten"),
    "directory": folder("d/new", mode=0o700, uid=5),
    "directory that is there": folder("d/dir", mode=0o700, uid=5),
    "below a directory that is there": member("d/dir/inner", b"overwritten"),
    "link": link("d/link", "elsewhere"),
    "hard link": hard("d/new", "d/file"),
    "fifo": member("d/new", kind=FIFO),
    "device": member("d/new", kind=CHAR, major=1, minor=3),
    "xattr": member("d/file", b"x", pax={"SCHILY.xattr.user.a": "b"}),
    "whiteout": member("d/.wh.file"),
    "whiteout of a directory": member("d/.wh.dir"),
    "opaque": member("d/.wh..wh..opq"),
    "the directory itself": folder("d", mode=0o700, uid=5, mtime=1),
}


@pytest.fixture
def canary(tmp_path):
    return make_canary(tmp_path / "canary")


@pytest.fixture
def root(tmp_path):
    root = tmp_path / "root"
    root.mkdir()
    return root


def start(blob, root, *lower):
    return subprocess.Popen([TOOL, blob, TAR, root, *lower], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.mark.parametrize("above", [False, True], ids=["bottom", "above"])
@pytest.mark.parametrize("want", WANTS)
def test_exchanged_once_between_two_entries(tmp_path, root, canary, want, above):
    before = canary_state(canary)
    blob, lower = tmp_path / "blob", tmp_path / "lower"
    os.mkfifo(blob)
    lower.mkdir()
    unpacking = start(blob, root, *([lower] if above else []))
    with open(blob, "wb", buffering=0) as feed:
        feed.write(folder("d") + member("d/first", b"x") + member("d/file", b"ours"))
        # Whatever it reads ahead, it has come past these by then.
        feed.write(member("padding", b"\0" * (8 * MIB)))
        wait_for(lambda: unpacking.poll() is not None or (root / "padding").exists(), 20, "the first entries")
        os.rename(root / "d", root / "away")
        os.symlink(canary, root / "d")
        try:
            feed.write(WANTS[want] + END)
        except BrokenPipeError:
            pass
    _, said = unpacking.communicate(timeout=20)
    assert canary_state(canary) == before, said
    assert unpacking.returncode in (0, 1), said


def test_exchanged_again_and_again(tmp_path, root, canary):
    """A race in earnest: the name means the directory and the link in turn, some 100,000 times a second."""
    before = canary_state(canary)
    blob = tmp_path / "blob"
    os.mkfifo(blob)
    unpacking = start(blob, root)
    stopping = threading.Event()
    turns = 0

    def exchange():
        nonlocal turns
        names = [os.fsencode(root / name) for name in ("d", "evil")]
        while not stopping.is_set():
            # On an error too: the layer may have put something in their place.
            turns += LIBC.renameat2(AT_FDCWD, names[0], AT_FDCWD, names[1], RENAME_EXCHANGE) == 0

    with open(blob, "wb", buffering=0) as feed:
        feed.write(folder("d") + member("padding", b"\0" * (8 * MIB)))
        wait_for(lambda: unpacking.poll() is not None or (root / "padding").exists(), 20, "the directory")
        os.symlink(canary, root / "evil")
        exchanging = threading.Thread(target=exchange)
        exchanging.start()
        try:
            for number in range(3000):
                feed.write(member(f"d/n{number}", b"x") + folder(f"d/d{number}", mode=0o700, uid=5) + b"".join(
                    entry for name, entry in WANTS.items() if name not in ("hard link",)))  # fmt: skip
            feed.write(END)
        except BrokenPipeError:
            pass
        finally:
            stopping.set()
            exchanging.join()
    _, said = unpacking.communicate(timeout=60)
    assert canary_state(canary) == before, said
    assert turns > 100
    assert unpacking.returncode in (0, 1), said
