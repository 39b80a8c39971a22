"""Lists everything that can be seen of a file tree, so that two unpackers can be compared entry by entry."""

import hashlib
import os
import stat

_KINDS = {
    stat.S_IFREG: "file",
    stat.S_IFDIR: "dir",
    stat.S_IFLNK: "link",
    stat.S_IFIFO: "fifo",
    stat.S_IFSOCK: "socket",
    stat.S_IFCHR: "char",
    stat.S_IFBLK: "block",
}


def _walk(folder, relative=b""):
    """(name relative to the first folder, path to reach it by) of everything below folder.

    By open directories, so that no path is too long; a path is good until the next one is asked for.
    """
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
    try:
        for name in os.listdir(fd):
            entry = os.fsencode(name)
            path = b"/proc/self/fd/%d/%s" % (fd, entry)
            yield relative + entry, path
            if os.path.isdir(path) and not os.path.islink(path):
                yield from _walk(path, relative + entry + b"/")
    finally:
        os.close(fd)


def _sha256(path):
    digest = hashlib.sha256()
    with open(path, "rb") as f:
        while chunk := f.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def _xattrs(path):
    return {
        name: os.getxattr(path, name, follow_symlinks=False).hex()
        for name in sorted(os.listxattr(path, follow_symlinks=False))
    }


def _entry(path, content):
    try:
        info = os.lstat(path)
    except FileNotFoundError:
        # overlayfs lists the whiteouts of a directory that it need not merge.
        return {"kind": "listed, not there"}, None
    kind = _KINDS[stat.S_IFMT(info.st_mode)]
    entry = {
        "kind": kind,
        "mode": oct(stat.S_IMODE(info.st_mode)),
        "owner": f"{info.st_uid}:{info.st_gid}",
        "mtime_ns": info.st_mtime_ns,
        "xattrs": _xattrs(path),
    }
    if kind == "file":
        entry["size"] = info.st_size
        if content:
            entry["sha256"] = _sha256(path)
    elif kind == "link":
        entry["target"] = os.readlink(path).decode(errors="surrogateescape")
    elif kind in ("char", "block"):
        entry["device"] = f"{os.major(info.st_rdev)}:{os.minor(info.st_rdev)}"
    return entry, info


def listing(root, content=True, root_mtime=False):
    """{path: {kind, mode, owner, mtime_ns, xattrs, size, sha256, target, device, same_as}}, paths relative to root.

    same_as is the first path (in byte order) of a group of hard links. The root directory's own time is left out
    unless asked for: a layer that has no entry for it gets the time of the unpacking.
    """
    found = {b"": _entry(os.fsencode(root), content)}
    found.update((relative, _entry(path, content)) for relative, path in _walk(os.fsencode(root)))
    entries, groups = {}, {}
    for relative, (entry, info) in sorted(found.items()):
        if not relative and not root_mtime:
            del entry["mtime_ns"]
        if info and info.st_nlink > 1 and not stat.S_ISDIR(info.st_mode):
            first = groups.setdefault((info.st_dev, info.st_ino), relative)
            entry["same_as"] = first.decode(errors="surrogateescape")
        entries[relative.decode(errors="surrogateescape") or "."] = entry
    return entries


def _same(want, have, since_ns):
    """What no layer's entry dates, a directory or overlayfs' whiteout, got the moment of the unpacking in `want`: nobody
    can give it the same."""
    dated_by_entry = want.get("kind") != "dir" and want.get("device") != "0:0"
    if not dated_by_entry and want.get("kind") == have.get("kind") and since_ns and want.get("mtime_ns", 0) > since_ns:
        want, have = {**want, "mtime_ns": 0}, {**have, "mtime_ns": 0}
    return want == have


def diff(want, have, limit=20, since_ns=0):
    """Lines that say where two listings differ; [] when they are equal. At most limit lines.

    since_ns (time.time_ns() before both were unpacked): a directory whose time in `want` is later has any time.
    """
    lines = []
    for path in sorted(want.keys() | have.keys()):
        if path not in have:
            lines.append(f"missing {path!r}: {want[path]}")
        elif path not in want:
            lines.append(f"too much {path!r}: {have[path]}")
        elif not _same(want[path], have[path], since_ns):
            keys = want[path].keys() | have[path].keys()
            parts = [
                f"{key} want {want[path].get(key)} have {have[path].get(key)}"
                for key in sorted(keys)
                if want[path].get(key) != have[path].get(key)
            ]
            lines.append(f"differs {path!r}: {'; '.join(parts)}")
    if len(lines) > limit:
        lines[limit:] = [f"… and {len(lines) - limit} more"]
    return lines
