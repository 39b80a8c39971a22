"""Nasty tars: layers on which an unpacker can go wrong, and what is to come of each."""

import dataclasses
import gzip
import struct
import subprocess
import zlib

from .image import Blob
from .raw_tar import (
    CHAR, DEVICE, DIR, END, FIFO, GNU, HARD, LINK, TIME, V7, base256, extended, folder, gnu_long, hard, header, link,
    member, octal, padded,
)  # fmt: skip

MEDIA_TYPE = "application/vnd.oci.image.layer.v1.tar"


@dataclasses.dataclass
class Case:
    """layers lowest first: a tar, or the Blob as it is; a function of the canary's path where that is needed.

    refused: by containerd, and so by us. ours says where we differ on purpose: "refused" (our error contains `says`)
    or "taken"; `why` is then the reason.
    """

    layers: object
    refused: bool = False
    ours: str = ""
    says: str = ""
    why: str = ""


def blobs_of(case, canary):
    layers = case.layers(str(canary)) if callable(case.layers) else case.layers
    return [layer if isinstance(layer, Blob) else Blob(MEDIA_TYPE, layer) for layer in layers]


def tar(*members, end=END):
    return b"".join(members) + end


def one(*members, **kw):
    """A case of a single layer."""
    return Case([tar(*members)], **kw)


LOWER = tar(
    folder("etc", mode=0o711, uid=11, gid=12),
    member("etc/file", b"below", mode=0o640, uid=5),
    folder("usr"),
    folder("usr/lib", mode=0o750),
    link("lib", "usr/lib"),
    folder("gone", mode=0o700),
    member("gone/x", b"x"),
)


def above(*members, **kw):
    """A case of a layer above LOWER."""
    return Case([LOWER, tar(*members)], **kw)


CAP_V2 = struct.pack("<IIIII", 0x02000001, 1 << 10, 0, 0, 0)
CAP_V3 = struct.pack("<IIIIII", 0x03000001, 1 << 10, 0, 0, 0, 100_000)
DEEP = "/".join(["d" * 250] * 17)  # 4,266 bytes

_STAR = b"tar\0"


def xattrs(**values):
    return {f"SCHILY.xattr.{key.replace('__', '.')}": value for key, value in values.items()}


def patched(data, at, new):
    """data with the bytes new at offset at."""
    return data[:at] + new + data[at + len(new) :]


FORMATS = {
    "v7": one(
        member("d/", kind=b"\0", magic=V7),
        member("d/f", b"body", kind=b"\0", magic=V7, mode=0o640, uid=3, gid=4),
        link("d/l", "f", magic=V7),
        hard("d/h", "d/f", magic=V7, mode=0o640, uid=3, gid=4),
    ),
    "ustar with a prefix": one(member("n" * 100, b"x", prefix="p" * 155), folder("q", prefix="d")),
    "ustar with a prefix and no name": one(member("", b"x", prefix="p")),
    "v7 with a prefix": one(member("f", b"x", magic=V7, prefix="p")),
    "gnu magic with a prefix": one(member("f", b"x", magic=GNU, prefix="p")),
    "gnu with times in the prefix": one(
        member("f", b"x", magic=GNU, raw={345: octal(TIME + 5, 12), 357: octal(TIME + 6, 12)})
    ),
    "star with a prefix": one(
        member("f", b"x", prefix="p" * 130, raw={476: octal(TIME, 12), 488: octal(TIME, 12), 508: _STAR})
    ),
    "gnu long name and target": one(
        gnu_long("d/" + "n" * 200),
        member("d/nnn", b"x", magic=GNU),
        gnu_long("t" * 300, b"K"),
        gnu_long("l" * 150),
        link("l", "t", magic=GNU),
        gnu_long("d/" + "n" * 200, b"K"),
        hard("h", "t", magic=GNU),
    ),
    "gnu long name without its NUL": one(gnu_long("n" * 150, end=b""), member("n", b"x", magic=GNU)),
    "gnu long name with a NUL inside": one(gnu_long(b"ab\0cd"), member("n", b"x", magic=GNU)),
    "gnu long name twice": one(gnu_long("a" * 150), gnu_long("b" * 150), member("n", b"x", magic=GNU)),
    "gnu long name, then pax": one(gnu_long("a" * 150), extended({"path": "b"}), member("n", b"x", magic=GNU)),
    "pax, then gnu long name": one(extended({"path": "b"}), gnu_long("a" * 150), member("n", b"x", magic=GNU)),
    "gnu long name before a ustar header": one(gnu_long("a" * 150), member("n", b"x")),
    "gnu long name of nothing": one(gnu_long("", end=b""), member("n", b"x", magic=GNU)),
    "gnu long name at the end": one(member("f", b"x"), gnu_long("a" * 150)),
    "pax overrides every field": one(
        member(
            "short",
            b"1234567",
            size=0,
            owner="a",
            group="b",
            uid=1,
            gid=2,
            pax={
                "path": "d/" + "é" * 60,
                "size": "7",
                "uid": "3000000000",
                "gid": "3000000001",
                "uname": "x",
                "gname": "y",
                "mtime": "1500000000.123456789",
                "atime": "1500000001.5",
                "ctime": "7",
                "comment": "none",
            },
        ),
        link("l", "", pax={"linkpath": "x/" * 70}),
    ),
    "pax size above the header's": one(member("f", b"1234567890", size=3, pax={"size": "10"}), member("g", b"x")),
    "pax global, then local": one(
        extended({"uid": "77", "path": "no", "comment": "x"}, b"g", "pax_global_header"),
        member("f", b"x", pax={"gid": "5"}),
        member("g", b"y"),
    ),
    "pax global in a directory": one(extended({"comment": "x"}, b"g", "GlobalHead/0"), member("f", b"x")),
    "pax global with a path": one(extended({"path": "made/by/it"}, b"g", "g"), member("f", b"x")),
    "pax local, then global": one(extended({"uid": "7"}), extended({"gid": "8"}, b"g", "g"), member("f", b"x")),
    "pax twice": one(extended({"uid": "7", "gid": "7"}), extended({"gid": "8"}), member("f", b"x")),
    "pax key twice": one(member("f", b"x", pax=[("uid", "7"), ("uid", "8")])),
    "pax empty values": one(member("f", b"x", uid=5, pax={"uid": "", "path": "", "mtime": "", "size": ""})),
    "pax of nothing": one(member("f", b"x", pax={})),
    "pax at the end": one(member("f", b"x"), extended({"uid": "7"})),
    "pax type X": one(extended({"uid": "7"}, b"X"), member("f", b"x"), refused=True),
    "pax path with a NUL": one(member("f", b"x", pax={"path": b"a\0b"}), refused=True),
    "pax linkpath with a NUL": one(link("f", "x", pax={"linkpath": b"a\0b"}), refused=True),
    "pax uid of words": one(member("f", b"x", pax={"uid": "root"}), refused=True),
    "pax uid with a fraction": one(member("f", b"x", pax={"uid": "7.5"}), refused=True),
    "pax negative size": one(member("f", b"x", pax={"size": "-1"}), refused=True),
    "pax size of words": one(member("f", b"x", pax={"size": "1x"}), refused=True),
    "pax mtime of words": one(member("f", b"x", pax={"mtime": "now"}), refused=True),
    "pax mtime odd fractions": one(
        member("a", pax={"mtime": "1500000000."}),
        member("b", pax={"mtime": "1500000000.1234567891"}),
        member("c", pax={"mtime": "1500000000.5000"}),
        member("e", pax={"mtime": "+1500000000.1"}),
    ),
    "pax record without a newline": one(member("f", b"x", pax=b"6 a=bc"), refused=True),
    "pax record without an equals sign": one(member("f", b"x", pax=b"5 ab\n"), refused=True),
    "pax record with a wrong length": one(member("f", b"x", pax=b"99 a=b\n"), refused=True),
    "pax record of no length": one(member("f", b"x", pax=b" a=b\n"), refused=True),
    "pax record with an empty key": one(member("f", b"x", pax=b"5 =b\n"), refused=True),
    "pax record with a leading zero": one(member("f", b"x", pax=b"008 a=b\n")),
    "pax key with a NUL": one(member("f", b"x", pax=[(b"a\0b", "c")]), refused=True),
    "pax hdrcharset": one(member("f", b"x", pax=[("hdrcharset", "BINARY"), ("path", b"caf\xe9")])),
    "pax keys of other tools": one(
        member(
            "f",
            b"x",
            pax={
                "LIBARCHIVE.xattr.user.b64": "aGk",
                "LIBARCHIVE.creationtime": "5",
                "SCHILY.realsize": "9",
                "SCHILY.dev": "5",
                "SCHILY.ino": "6",
                "SCHILY.nlink": "2",
                "SCHILY.fflags": "immutable",
                "SCHILY.acl.access": "user::rwx,group::r-x,other::---",
                "SUN.holesdata": " 0 1",
                "RHT.security.selinux": "x",
            },
        )
    ),
    "pax device numbers": one(
        member("c", kind=CHAR, major=1, minor=3, pax={"SCHILY.devmajor": "4", "SCHILY.devminor": "5"})
    ),
    "a header above 1 MiB": one(member("f", b"x", pax={"comment": "c" * (1 << 20)}), refused=True),
    "a header just below 1 MiB": one(member("f", b"x", pax={"comment": "c" * ((1 << 20) - 100)})),
    "base-256 numbers": one(
        member(
            "f",
            b"x",
            uid=3_000_000_000,
            gid=4_000_000_000,
            size=base256(1, 12),
            mtime=base256(TIME, 12),
            mode=base256(0o751, 8),
        )
    ),
    "base-256 device numbers": one(member("c", kind=CHAR, major=base256(300, 8), minor=base256(70000, 8))),
    "base-256 negative time": one(member("f", b"x", mtime=base256(-5, 12))),
    "base-256 negative size": one(member("f", b"", size=base256(-1, 12)), refused=True),
    "base-256 too large": one(member("f", b"", size=b"\x80\x01" + b"\0" * 10), refused=True),
    "numbers with spaces": one(
        member("f", b"x", mode=b"  644 \0", uid=b"     7 \0", gid=b"00000010", size=b"         1 \0")
    ),
    "numbers empty": one(member("f", b"", mode=b"", uid=b"", gid=b"", size=b"", mtime=b"")),
    "number of words": one(member("f", b"", mode=b"rw-r--r-"), refused=True),
    "number with digits above 7": one(member("f", b"", uid=b"0000089\0"), refused=True),
    "number with garbage after a NUL": one(member("f", b"", uid=b"7\0zzzzzz")),
    "negative octal": one(member("f", b"", uid=b"-000007\0"), refused=True),
    "checksum of signed bytes": one(
        patched(
            member(b"\xff\xfef"),
            148,
            b"%06o\0 "
            % (sum(b if b < 128 else b - 256 for b in patched(header(b"\xff\xfef"), 148, b" " * 8)) % (1 << 18)),
        )
    ),
    "checksum in other forms": one(member("f", b"x", checksum=b"\0" * 8), refused=True),
    "mode with the type's bits": one(member("f", b"x", mode=0o100644), folder("d", mode=0o40755)),
    "ustar of another version": one(member("f", b"x", magic=b"ustar\x00zz")),
    "unknown magic": one(member("f", b"x", magic=b"gnuta\x0000", prefix="p")),
}

TYPES = {
    "type 7, contiguous": one(member("f", b"x", kind=b"7"), refused=True),
    "type D, gnu directory": one(member("f", b"Yx\0\0", kind=b"D"), refused=True),
    "type M, continued": one(member("f", b"x", kind=b"M"), refused=True),
    "type V, volume": one(member("f", kind=b"V"), refused=True),
    "type N, old long name": one(member("f", b"x", kind=b"N"), refused=True),
    "type A, Solaris ACL": one(member("f", b"x", kind=b"A"), refused=True),
    "type I, inode": one(member("f", kind=b"I"), refused=True),
    "type s, socket of star": one(member("f", kind=b"s"), refused=True),
    "type of no meaning": one(member("f", b"x", kind=b"\xf1"), refused=True),
    "file with a slash at its end": one(member("f/", b"x")),
    "old file with a slash at its end": one(member("f/", b"", kind=b"\0", magic=V7)),
    "old file with a slash at its end and a body": one(member("g/", b"body", kind=b"\0", magic=V7), refused=True),
    "directory with a body": one(member("e", b"body", kind=DIR), member("f", b"x"), refused=True),
    "link with a body": one(member("l", b"body", kind=LINK, link="f"), member("f", b"x"), refused=True),
    "hard link with a body": one(
        member("f", b"x"), member("h", b"body", kind=HARD, link="f"), member("g", b"y"), refused=True
    ),
    "hard link with a size and no body": one(member("f", b"xy"), hard("h", "f", size=2), member("g", b"y")),
    "link with a size and no body": one(link("h", "f", size=2), member("g", b"y")),
    "fifo with a size": one(member("p", kind=FIFO, size=5), member("g", b"y")),
    "device with a size": one(member("p", kind=CHAR, size=700, major=1, minor=3), member("g", b"y")),
    "nodes": one(
        member("fifo", kind=FIFO, mode=0o4622, uid=1),
        member("char", kind=CHAR, major=1, minor=3, mode=0o666, gid=2),
        member("block", kind=DEVICE, major=8, minor=1, mode=0o2660),
        member("big", kind=CHAR, major=4000, minor=1_000_000),
    ),
    "node 0/0": above(member("gone", kind=CHAR), member("etc/file", kind=CHAR)),
    "node above the kernel's range": one(
        member("c", kind=CHAR, major=base256(1 << 33, 8), minor=0),
        ours="refused",
        says="device number",
        why="containerd cuts the number to 32 bits and makes another device than the tar names",
    ),
    "special file replaced": one(member("p", kind=FIFO), member("p", b"x"), member("p", kind=FIFO), folder("p")),
}

NAMES = {
    "name of 255 bytes": one(member("x", b"x", pax={"path": "d/" + "n" * 255})),
    "name of 256 bytes": one(member("x", b"x", pax={"path": "n" * 256}), refused=True),
    "path above 4 KiB": one(member("x", b"x", pax={"path": DEEP + "/f"}), refused=True),
    "path above 4 KiB through folders": one(
        *[member("x", kind=DIR, pax={"path": DEEP[: 251 * i + 250]}) for i in range(17)], refused=True
    ),
    "path of 3.8 KiB": one(member("x", b"x", pax={"path": DEEP[:3800] + "/f"})),
    "link target of 4,095 bytes": one(link("l", "", pax={"linkpath": "t" * 4095})),
    "link target of 4,096 bytes": one(link("l", "", pax={"linkpath": "t" * 4096}), refused=True),
    "not UTF-8": one(
        member(b"caf\xe9", b"x"),
        link(b"l\xff", b"\xfe\xfd"),
        member("x", pax={b"path": b"p\xe9" * 70}),
        hard("h", "", pax={"linkpath": b"caf\xe9"}),
    ),
    "control characters": one(
        member("new\nline", b"1"), member("tab\t\x1b[31m", b"2"), member("back\\slash", b"3"), member(" ", b"4")
    ),
    "prefixes": one(
        member("./a", b"1"), member("/b", b"2"), member("///c//d/./e", b"3"), member("././//f/.", kind=DIR)
    ),
    "the root by all its names": one(
        *[folder(name, mode=0o700, uid=9) for name in ("./", "/", ".", "..", "x/..", "")], member("f", b"x")
    ),
    "files named as the root": one(member(".", b"x"), member("/", b"x"), link("..", "x"), member("f", b"x")),
    "names of dots": one(member("...", b"x"), member("..a", b"x"), member("d/.../f", b"x"), member("a..", b"x")),
    "name that ends in dots": one(member("d/..", b"x"), member("e/.", b"x"), member("g/h/../i", b"x")),
    "no name": one(member("", b"x"), member("f", b"x")),
    "case differs": one(member("F", b"1"), member("f", b"2")),
    "composed and decomposed": one(member("caf\u00e9", b"1"), member("cafe\u0301", b"2")),
}

REPEATED = {
    "file, file": one(member("f", b"long body", mode=0o600), member("f", b"b", uid=3)),
    "file, file by another spelling": one(
        member("f", b"1"), member("./f", b"2"), member("/f", b"3"), member("d/../f", b"4")
    ),
    "file, directory": one(member("f", b"x"), folder("f"), member("f/g", b"y")),
    "directory, file": one(folder("d"), member("d/x", b"x"), member("d", b"file")),
    "directory with a directory, file": one(folder("d"), folder("d/e"), member("d", b"file"), refused=True),
    "directory, link": one(folder("d"), member("d/x", b"x"), link("d", "e"), folder("e"), member("d/y", b"y")),
    "directory, link to nothing": one(folder("d"), link("d", "nowhere"), refused=True),
    "directory, file, directory": one(folder("d", mode=0o700), member("d", b"x"), folder("d", mode=0o711, mtime=5)),
    "link, directory": one(folder("e"), link("d", "e"), folder("d", mode=0o700), member("d/x", b"x")),
    "link, file": one(member("e", b"kept"), link("d", "e"), member("d", b"x")),
    "link, link": one(link("l", "a"), link("l", "b", uid=5)),
    "hard link, file": one(member("a", b"1"), hard("b", "a"), member("b", b"2")),
    "directory, directory": one(
        folder("d", mode=0o2777, uid=4, pax=xattrs(user__a="1")),
        member("d/x", b"x"),
        folder("d", mode=0o700, pax=xattrs(user__b="2")),
    ),
    "file of the lower layer, directory": above(folder("etc/file"), member("etc/file/f", b"x")),
    "directory of the lower layer, file": above(member("gone", b"file")),
    "directory of the lower layer, link": above(link("gone", "etc"), member("gone/f", b"x")),
    "directory of the lower layer, directory": above(folder("gone", mode=0o711, mtime=7)),
    "below a file": one(member("f", b"x"), member("f/g", b"y"), refused=True),
    "below a fifo": one(member("f", kind=FIFO), member("f/g", b"y"), refused=True),
    "directory times after late children": one(
        folder("d", mtime=5), member("d/x", b"x"), folder("d/e", mtime=6), member("d/e/y", b"y")
    ),
}

LINKS = {
    "hard link before its target": one(hard("h", "f"), member("f", b"x"), refused=True),
    "hard link to itself": one(hard("h", "h"), refused=True),
    "hard link over its target": one(member("f", b"x"), hard("f", "f"), refused=True),
    "hard link over its target by another spelling": one(member("f", b"x"), hard("f", "./f"), refused=True),
    "hard link to the lower layer": above(hard("h", "etc/file"), refused=True),
    "hard link to a link": one(link("l", "nowhere"), hard("h", "l", uid=5)),
    "hard link to a fifo": one(member("p", kind=FIFO), hard("h", "p", mode=0o600)),
    "hard link to a device": one(member("p", kind=CHAR, major=1, minor=3), hard("h", "p", mode=0o600)),
    "hard link to a directory": one(folder("d"), hard("h", "d"), refused=True),
    "hard link without a target": one(hard("h", ""), refused=True),
    "hard link to the root": one(hard("h", "/"), refused=True),
    "hard link chain": one(
        member("a", b"1"), hard("b", "a", mtime=5), hard("c/c", "b", mtime=6), hard("d", "./c/../c/c", mtime=7)
    ),
    "hard link through a link": one(member("d/f", b"x"), link("l", "d"), hard("h", "l/f")),
    "hard link to a whiteout": above(member("etc/.wh.file"), hard("h", "etc/file")),
    "hard link with xattrs": one(member("a", b"1", pax=xattrs(user__a="1")), hard("b", "a", pax=xattrs(user__b="2"))),
    "hard link to setuid": one(member("a", b"1", mode=0o4755, uid=9), hard("b", "a", mode=0o4755, uid=9)),
    "link before its target": one(link("l", "f"), member("f", b"x")),
    "link without a target": one(link("l", ""), refused=True),
    "link to itself": one(link("l", "l"), member("l/f", b"x"), refused=True),
    "link circle": one(link("a", "b"), link("b", "a"), member("a/f", b"x"), refused=True),
    "parent is a link": one(
        folder("usr"),
        link("lib", "usr/lib"),
        member("lib/f", b"x"),
        folder("lib/d"),
        link("lib/l", "f"),
        hard("lib/h", "usr/lib/f"),
    ),
    "parent is a link to a file": one(member("f", b"x"), link("l", "f"), member("l/g", b"y"), refused=True),
    "parent is a link in the lower layer": above(member("lib/f", b"x")),
    "parent is a link in the lower layer, listed": above(folder("lib"), member("lib/f", b"x")),
    "parent is an absolute link": one(
        link("l", "/d/e"), member("l/f", b"x"), link("m", "//d/../d/e"), member("m/g", b"x")
    ),
    "parent is a chain of 40 links": one(
        *[link(f"l{i}", f"l{i + 1}") for i in range(40)], folder("l40"), member("l0/f", b"x")
    ),
    "parent is a chain of 300 links": one(
        *[link(f"l{i}", f"l{i + 1}") for i in range(300)], folder("l300"), member("l0/f", b"x"), refused=True
    ),
    "directory times through a link": one(folder("d", mtime=5), link("l", "d"), folder("l/", mtime=6)),
    "link with attributes": one(
        link("l", "f", mode=0o4000, uid=3, gid=4, mtime=5, pax=xattrs(user__a="1", trusted__b="2"))
    ),
}

WHITEOUTS = {
    "whiteout of the lower layer": above(member("etc/.wh.file"), member(".wh.gone"), member(".wh.never")),
    "whiteout at the bottom": one(
        member("f", b"x"),
        folder("d"),
        member("d/x", b"x"),
        member(".wh.f"),
        member(".wh.d"),
        member(".wh.never"),
        refused=True,
    ),
    "whiteout below what is missing": above(member("new/dir/.wh.f")),
    "whiteout after the file in one layer": above(member("f", b"x"), member(".wh.f"), refused=True),
    "whiteout before the file in one layer": above(member("etc/.wh.file"), member("etc/file", b"new")),
    "whiteout, then a directory": above(member(".wh.gone"), folder("gone"), member("gone/y", b"y")),
    "whiteout, then below it": above(member(".wh.gone"), member("gone/y", b"y"), refused=True),
    "whiteout of an implied directory": above(member("gone/y", b"y"), member(".wh.gone"), refused=True),
    "whiteout twice": above(member("etc/.wh.file"), member("etc/.wh.file"), refused=True),
    "whiteout with attributes": above(
        member("etc/.wh.file", b"body", mode=0o4777, uid=5, gid=6, pax=xattrs(user__a="1"))
    ),
    "whiteout by other types": above(
        folder(".wh.gone"), link("etc/.wh.file", "x"), member("usr/.wh.lib", kind=FIFO), hard(".wh.lib", "nothing")
    ),
    "whiteout behind a link": above(link("l", "/etc"), member("l/.wh.file")),
    "whiteout behind a lower link": above(member("lib/.wh.f")),
    "whiteout of an owner": above(member("etc/.wh.file", uid=5), member("usr/.wh.lib", uid=1 << 31)),
    "whiteout of a long name": above(member("x", pax={"path": ".wh." + "n" * 251})),
    "whiteout of a name too long": above(member("x", pax={"path": ".wh." + "n" * 256}), refused=True),
    "whiteout of a whiteout": above(member(".wh..wh.gone"), member("etc/.wh..wh."), member("etc/.wh..wh..wh..opq")),
    "whiteout of nothing": above(member("d/.wh."), refused=True),
    "whiteout of the dot": above(member("d/.wh.."), refused=True),
    "whiteout of the parent": above(member("d/.wh..."), refused=True),
    "whiteout of dots": above(member("d/.wh...."), member("d/.wh. ")),
    "whiteout of the parent at the bottom": one(member("d/.wh..."), refused=True),
    "whiteout names in a path": above(member(".wh.d/f", b"x"), folder("x/.wh..wh..opq/y")),
    "aufs leftovers": above(
        folder(".wh..wh.plnk"), member(".wh..wh.plnk/1.2", b"x"), member(".wh..wh.aufs"), folder(".wh..wh.orph")
    ),
    "opaque before its children": above(member("etc/.wh..wh..opq"), member("etc/new", b"x")),
    "opaque with children before and after": above(
        member("etc/before", b"1"), folder("etc/d"), member("etc/.wh..wh..opq"), member("etc/after", b"2")
    ),
    "opaque, then its directory": above(member("etc/.wh..wh..opq"), folder("etc", mode=0o700), member("etc/new", b"x")),
    "opaque of what is missing": above(member("never/there/.wh..wh..opq")),
    "opaque of a file": above(member("f", b"x"), member("f/.wh..wh..opq"), refused=True),
    "opaque of the root": above(member(".wh..wh..opq"), member("f", b"x")),
    "opaque behind a link": above(folder("d"), link("l", "d"), member("l/.wh..wh..opq")),
    "opaque at the bottom": one(
        member("d/a", b"1"),
        folder("d/sub"),
        member("d/sub/b", b"1"),
        member("i/j/k", b"1"),
        member("d/.wh..wh..opq"),
        member("i/.wh..wh..opq"),
        member("d/c", b"2"),
    ),
    "opaque by other types": above(folder("etc/.wh..wh..opq"), link("usr/.wh..wh..opq", "x")),
    "opaque, then taken back": above(member("gone/.wh..wh..opq"), member("gone", b"file"), folder("gone")),
    "overlayfs xattrs of its own": above(
        folder(
            "etc",
            pax=xattrs(trusted__overlay__opaque="y", trusted__overlay__redirect="/usr", user__overlay__opaque="y"),
        ),
        member("m", b"", pax=xattrs(trusted__overlay__metacopy="", trusted__overlay__redirect="/etc/file")),
    ),
    "whiteout of three layers": Case(
        [
            LOWER,
            tar(member(".wh.gone"), member("etc/.wh..wh..opq")),
            tar(folder("gone"), member("gone/z", b"z"), member("etc/n", b"n")),
        ]
    ),
    "deleted and made again over three layers": Case(
        [LOWER, tar(member(".wh.etc")), tar(member("etc/new", b"n")), tar(member("etc/.wh.new"), folder("usr/lib/x"))]
    ),
}

ATTRIBUTES = {
    "setuid, setgid, sticky": one(
        member("s", b"x", mode=0o6755, uid=5, gid=6),
        folder("g", mode=0o2775, gid=9),
        member("g/in", b""),
        folder("g/below"),
        folder("t", mode=0o1777),
        member("st", b"x", mode=0o7777),
        folder("all", mode=0o7777, uid=1),
    ),
    "implied below a set-group-ID directory": one(folder("g", mode=0o2775, gid=9), member("g/a/b/c", b"x")),
    "mode 0": one(member("f", b"x", mode=0), folder("d", mode=0), member("d/x", b"y", mode=0)),
    "mode above 07777": one(member("f", b"x", mode=0o1234567)),
    "large owners": one(
        member("f", b"x", uid=(1 << 31) + 5, gid=(1 << 32) - 2),
        folder("d", uid=(1 << 32) - 2),
        link("l", "f", uid=1 << 31),
    ),
    "owner -1": one(member("f", b"x", uid=(1 << 32) - 1, gid=(1 << 32) - 1)),
    "owner above 32 bits": one(
        member("f", b"x", pax={"uid": str((1 << 32) + 5)}),
        ours="refused",
        says="owner is out of range",
        why="containerd cuts the number to 32 bits: the file would get another owner, even root, than the tar names",
    ),
    "negative owner": one(
        member("f", b"x", uid=base256(-7, 8)),
        ours="refused",
        says="owner is out of range",
        why="no file system has such an owner; containerd makes 4294967289 of it",
    ),
    "names of owners": one(
        member("f", b"x", uid=3, gid=4, owner="daemon", group="adm", pax={"uname": "daemon", "gname": "adm"})
    ),
    "binary xattrs": one(
        member("f", b"x", pax=xattrs(user__bin=bytes(range(256)), user__empty="", user__line="a\nb\n", user__eq="a=b")),
        folder("d", pax=xattrs(user__d="1")),
        member("p", kind=FIFO, pax=xattrs(user__p="1")),
        member("big", pax=xattrs(user__big="v" * 3000)),
    ),
    "xattr name with odd bytes": one(member("f", b"x", pax={b"SCHILY.xattr.user.\xff\xfe %41=": b"1"})),
    "xattr names with escapes": one(member("f", b"x", pax={"SCHILY.xattr.user.%41": "1"})),
    "xattr twice": one(member("f", b"x", pax=[("SCHILY.xattr.user.a", "1"), ("SCHILY.xattr.user.a", "2")])),
    "xattr of no name": one(member("f", b"x", pax={"SCHILY.xattr.": "1"}), refused=True),
    "xattr of no namespace": one(member("f", b"x", pax={"SCHILY.xattr.name": "1"})),
    "xattr name too long": one(member("f", b"x", pax={"SCHILY.xattr.user." + "n" * 251: "1"}), refused=True),
    "xattr value too large": one(member("f", b"x", pax=xattrs(user__a="v" * 70_000)), refused=True),
    "xattrs of the system": one(
        member(
            "f",
            b"x",
            mode=0o640,
            pax={
                "SCHILY.xattr.system.posix_acl_access": struct.pack(
                    "<IHHIHHIHHIHHIHHI",
                    2,
                    1,
                    6,
                    2**32 - 1,
                    2,
                    7,
                    1000,
                    4,
                    4,
                    2**32 - 1,
                    16,
                    6,
                    2**32 - 1,
                    32,
                    0,
                    2**32 - 1,
                )
            },
        )
    ),
    "a bad ACL": one(member("f", b"x", pax={"SCHILY.xattr.system.posix_acl_access": b"\x02\0\0\0bad"}), refused=True),
    "default ACL of a directory": one(
        folder(
            "d",
            pax={
                "SCHILY.xattr.system.posix_acl_default": struct.pack(
                    "<IHHIHHIHHI", 2, 1, 7, 2**32 - 1, 4, 0, 2**32 - 1, 32, 0, 2**32 - 1
                )
            },
        ),
        member("d/f", b"x"),
        folder("d/e"),
        member("d/i/j", b"x"),
        member("d/p", kind=FIFO),
    ),
    "capabilities v2 and v3": one(
        member("v2", b"x", uid=7, mode=0o755, pax=xattrs(security__capability=CAP_V2)),
        member("v3", b"x", uid=7, mode=0o4755, pax=xattrs(security__capability=CAP_V3)),
    ),
    "capability, then a hard link": one(
        member("a", b"x", uid=7, pax=xattrs(security__capability=CAP_V2)), hard("b", "a", uid=7)
    ),
    "capability of the wrong size": one(member("f", b"x", pax=xattrs(security__capability=b"\1\0\0\2")), refused=True),
    "capability of a directory": one(folder("d", pax=xattrs(security__capability=CAP_V2))),
    "times": one(
        member("past", mtime=base256(-1, 12)),
        member("zero", mtime=0),
        member("paxpast", pax={"mtime": "-5.5"}),
        member("ns", pax={"mtime": "1.000000001"}),
        member("far", pax={"mtime": "9223372037.5"}),
        member("farther", pax={"mtime": "99999999999999999"}),
        member("edge", pax={"mtime": "4000000000.999999999"}),
        folder("d", pax={"mtime": "1500000000.999999999"}),
        link("l", "x", pax={"mtime": "2.5"}),
        member("aonly", mtime=5, pax={"atime": "1500000000.5"}),
        member("y2106", mtime=4294967296),
    ),
    "time beyond 64 bits": one(member("f", pax={"mtime": "99999999999999999999"}), refused=True),
}


def gnu_sparse(name, extents, size, body, more=()):
    """An old GNU sparse member; extents beyond four go to blocks of 21 that follow the header."""

    def pairs(some):
        return b"".join(octal(offset, 12) + octal(length, 12) for offset, length in some)

    first, rest, blocks = extents[:4], list(extents[4:]), b""
    extended_flag = b"\1" if rest else b"\0"
    while rest:
        block, rest = rest[:21], rest[21:]
        blocks += pairs(block).ljust(504, b"\0") + (b"\1" if rest else b"\0") + b"\0" * 7
    raw = {386: pairs(first), 482: extended_flag, 483: octal(size, 12)}
    return header(name, b"S", magic=GNU, size=len(body), raw=raw) + blocks + padded(body)


def pax_sparse_00(name, extents, size, body):
    pax = [("GNU.sparse.size", str(size)), ("GNU.sparse.numblocks", str(len(extents)))]
    for offset, length in extents:
        pax += [("GNU.sparse.offset", str(offset)), ("GNU.sparse.numbytes", str(length))]
    return member(name, body, pax=pax)


def pax_sparse_01(name, extents, size, body):
    flat = ",".join(str(n) for extent in extents for n in extent)
    pax = {
        "GNU.sparse.size": str(size),
        "GNU.sparse.numblocks": str(len(extents)),
        "GNU.sparse.map": flat,
        "GNU.sparse.name": name,
    }
    return member("GNUSparseFile.0/x", body, pax=pax)


def pax_sparse_10(name, extents, size, body, count=None):
    head = (
        "\n".join(
            str(n) for n in [len(extents) if count is None else count, *[n for extent in extents for n in extent]]
        )
        + "\n"
    )
    pax = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": name, "GNU.sparse.realsize": str(size)}
    return member("GNUSparseFile.0/x", padded(head.encode()) + body, pax=pax)


HOLES = [(0, 5), (1 << 20, 3), (2 << 20, 0)]
MANY = [(4096 * i, 1) for i in range(60)] + [(1 << 20, 0)]

SPARSE = {
    "old gnu sparse": one(gnu_sparse("f", HOLES, 2 << 20, b"startend"), member("g", b"x"), refused=True),
    "old gnu sparse, many extents": one(gnu_sparse("f", MANY, 1 << 20, b"x" * 60), member("g", b"x"), refused=True),
    "pax sparse 0.0": one(pax_sparse_00("f", HOLES, 2 << 20, b"startend"), member("g", b"x")),
    "pax sparse 0.1": one(pax_sparse_01("f", HOLES, 2 << 20, b"startend"), member("g", b"x")),
    "pax sparse 1.0": one(pax_sparse_10("f", HOLES, 2 << 20, b"startend"), member("g", b"x")),
    "pax sparse 0.0, many extents": one(pax_sparse_00("f", MANY, 1 << 20, b"x" * 60), member("g", b"x")),
    "pax sparse 1.0, many extents": one(pax_sparse_10("f", MANY, 1 << 20, b"x" * 60), member("g", b"x")),
    "pax sparse 1.0 of 256 MiB": one(
        pax_sparse_10("f", [(0, 5), (128 << 20, 6), ((256 << 20) - 3, 3)], 256 << 20, b"startmiddleend"), member("g", b"x")
    ),
    "pax sparse 1.0 of holes only": one(pax_sparse_10("f", [(1 << 20, 0)], 1 << 20, b""), member("g", b"x")),
    "pax sparse 1.0 without extents": one(pax_sparse_10("f", [], 1 << 20, b""), member("g", b"x")),
    "pax sparse 1.0 of 64 MiB": one(pax_sparse_10("f", [(0, 1), (64 << 20, 0)], 64 << 20, b"x")),
    "sparse extents overlap": one(pax_sparse_10("f", [(0, 5), (3, 5), (100, 0)], 100, b"0123456789"), refused=True),
    "sparse extents go back": one(pax_sparse_10("f", [(50, 5), (0, 5)], 100, b"0123456789"), refused=True),
    "sparse extent beyond the size": one(pax_sparse_10("f", [(0, 5), (200, 5)], 100, b"0123456789"), refused=True),
    "sparse extents with less data": one(pax_sparse_10("f", [(0, 5), (10, 500)], 1000, b"0123456789"), refused=True),
    "sparse extents with more data": one(pax_sparse_10("f", [(0, 5)], 1000, b"0123456789" * 100), refused=True),
    "sparse map of a negative offset": one(pax_sparse_10("f", [(-5, 5)], 1000, b"01234"), refused=True),
    "sparse map of words": one(
        member(
            "x",
            padded(b"1\nzero\n5\n") + b"01234",
            pax={"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "f", "GNU.sparse.realsize": "5"},
        ),
        refused=True,
    ),
    "sparse map that claims too much": one(pax_sparse_10("f", [(0, 5)], 1000, b"01234", count=1 << 40), refused=True),
    "sparse of an unknown version": one(
        member(
            "x",
            b"body",
            pax={
                "GNU.sparse.major": "2",
                "GNU.sparse.minor": "0",
                "GNU.sparse.name": "f",
                "GNU.sparse.realsize": "100",
            },
        )
    ),
    "sparse without a size": one(
        member(
            "x",
            padded(b"1\n0\n5\n") + b"01234",
            pax={"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "f"},
        )
    ),
    "sparse without a size, more data": one(pax_sparse_10("f", [(0, 5)], "", b"01234" * 1000), refused=True),
    "sparse 0.1 odd numbers": one(
        member("x", b"01234", pax={"GNU.sparse.size": "50", "GNU.sparse.numblocks": "2", "GNU.sparse.map": "0,5,9"}),
        refused=True,
    ),
    "sparse directory": one(
        member(
            "d",
            kind=DIR,
            pax={"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.name": "e", "GNU.sparse.realsize": "0"},
        ),
        refused=True,
    ),
}

PLAIN = tar(member("a", b"x" * 1000), extended({"uid": "7"}), member("b", b"y"))
CUTS = {
    "before the first header": (0, False),
    "in the first header": (300, True),
    "after the first header": (512, True),
    "in a body": (512 + 700, True),
    "in the padding": (512 + 1010, False),
    "after a body": (1536, False),
    "in a pax header's block": (1536 + 100, True),
    "after a pax header's block": (1536 + 512, True),
    "in a pax header's body": (1536 + 512 + 3, True),
    "in a pax header's padding": (1536 + 512 + 100, False),
    "after a pax header": (1536 + 1024, False),
    "after the last header": (1536 + 1536, True),
    "in the last padding": (1536 + 1536 + 100, False),
    "without end blocks": (len(PLAIN) - 1024, False),
    "in the first end block": (len(PLAIN) - 700, True),
    "with one end block": (len(PLAIN) - 512, False),
    "in the second end block": (len(PLAIN) - 100, True),
}
GZIPPED = gzip.compress(PLAIN, mtime=0)


def gzipped(data):
    return Blob(MEDIA_TYPE + "+gzip", data)


def zstded(data):
    return Blob(MEDIA_TYPE + "+zstd", data)


def zstd(data, *flags):
    return subprocess.run(["zstd", "-q", "-c", *flags], input=data, stdout=subprocess.PIPE, check=True).stdout


def skippable(data, number=0):
    return struct.pack("<II", 0x184D2A50 + number, len(data)) + data


STREAMS = {
    # What stops between two headers, or in the padding before one, has ended.
    **{f"cut {what}": Case([PLAIN[:at]], refused=refused) for what, (at, refused) in CUTS.items()},
    "trailing garbage": Case([PLAIN + b"garbage" * 1000]),
    "trailing tar": Case([PLAIN + tar(member("never", b"x"))]),
    "one zero block in the middle": one(member("a", b"1"), b"\0" * 512, member("b", b"2"), refused=True),
    "zero blocks before the first header": one(b"\0" * 1024, member("a", b"1")),
    "one zero block before the first header": one(b"\0" * 512, member("a", b"1"), refused=True),
    "no tar": Case([b"this is no tar " * 100], refused=True),
    "a zip": Case([b"PK\3\4" + b"\0" * 2000], refused=True),
    "a cpio": Case([b"070701" + b"0" * 104 + b"\0" * 600], refused=True),
    "gzip of gzip": Case([gzipped(gzip.compress(GZIPPED))], refused=True),
    "gzip of no bytes": Case([gzipped(gzip.compress(b""))]),
    "gzip members": Case([gzipped(b"".join(gzip.compress(PLAIN[i : i + 700]) for i in range(0, len(PLAIN), 700)))]),
    "gzip member of nothing between": Case(
        [gzipped(gzip.compress(PLAIN[:900]) + gzip.compress(b"") + gzip.compress(PLAIN[900:]))]
    ),
    "gzip with name, comment and extra": Case(
        [gzipped(b"\x1f\x8b\x08\x1c" + b"\0" * 6 + struct.pack("<H", 4) + b"abcd" + b"name\0comment\0" + GZIPPED[10:])]
    ),
    "gzip with a header checksum": Case(
        [
            gzipped(
                (lambda h: h + struct.pack("<H", zlib.crc32(h) & 0xFFFF) + GZIPPED[10:])(
                    b"\x1f\x8b\x08\x02" + b"\0" * 6
                )
            )
        ]
    ),
    "gzip with a wrong header checksum": Case(
        [gzipped(b"\x1f\x8b\x08\x02" + b"\0" * 6 + b"zz" + GZIPPED[10:])], refused=True
    ),
    "gzip with reserved flags": Case([gzipped(b"\x1f\x8b\x08\xe0" + GZIPPED[4:])]),
    "gzip with a wrong checksum": Case([gzipped(patched(GZIPPED, len(GZIPPED) - 8, b"zzzz"))], refused=True),
    "gzip with a wrong length": Case([gzipped(patched(GZIPPED, len(GZIPPED) - 4, b"zzzz"))], refused=True),
    "gzip cut in its header": Case([gzipped(GZIPPED[:12])], refused=True),
    "gzip cut in its data": Case([gzipped(GZIPPED[: len(GZIPPED) // 2])], refused=True),
    "gzip cut before its trailer": Case([gzipped(GZIPPED[:-8])], refused=True),
    "gzip cut in its trailer": Case([gzipped(GZIPPED[:-3])], refused=True),
    "gzip, then zeros": Case([gzipped(GZIPPED + b"\0" * 512)], refused=True),
    "gzip, then garbage": Case([gzipped(GZIPPED + b"garbage")], refused=True),
    "gzip, then half a header": Case([gzipped(GZIPPED + b"\x1f\x8b\x08")], refused=True),
    "gzip, then zstd": Case([gzipped(GZIPPED + zstd(b"x"))], refused=True),
    "zstd frames": Case([zstded(zstd(PLAIN[:700]) + zstd(PLAIN[700:]))]),
    "zstd skippable frames": Case(
        [
            zstded(
                skippable(b"first")
                + zstd(PLAIN[:700])
                + skippable(b"")
                + zstd(PLAIN[700:])
                + skippable(b"z" * 9999, 15)
            )
        ]
    ),
    "zstd of skippable frames only": Case([zstded(skippable(b"first"))]),
    "zstd window of 64 MiB": Case([zstded(zstd(PLAIN, "--long=26"))]),
    "zstd window of 128 MiB": Case([zstded(zstd(PLAIN + b"\0" * (1 << 20), "--long=27", "--no-content-size"))]),
    "zstd window of 1 GiB": Case([zstded(b"\x28\xb5\x2f\xfd\x00\xa0\x01\x00\x00")], refused=True),
    "zstd with a checksum": Case([zstded(zstd(PLAIN, "--check"))]),
    "zstd with a wrong checksum": Case([zstded((lambda z: z[:-4] + b"zzzz")(zstd(PLAIN, "--check")))], refused=True),
    "zstd cut": Case([zstded(zstd(PLAIN)[:-5])], refused=True),
    "zstd cut in its skippable frame": Case([zstded(zstd(PLAIN) + skippable(b"0123456789")[:12])], refused=True),
    "zstd, then garbage": Case([zstded(zstd(PLAIN) + b"garbage")], refused=True),
    "zstd with a dictionary": Case([zstded(b"\x28\xb5\x2f\xfd\x23\x07\x00\x00\x00\x01\x09\x00\x00x")], refused=True),
    "zstd called gzip": Case([gzipped(zstd(PLAIN))]),
    "gzip called zstd": Case([zstded(GZIPPED)]),
    "tar called gzip": Case([gzipped(PLAIN)]),
    "gzip called tar": Case([GZIPPED], refused=True),
}

UP = "../" * 40


def aimed(*build, **kw):
    """A case whose members are made by functions of the canary's path."""
    return Case(lambda canary: [tar(*[b(canary) for b in build])], **kw)


def at(path, make=member, **kw):
    """A member named path, in which @ is the canary's path; pax, so that its length does not matter."""

    def build(canary):
        fields = dict(kw)
        pax = {"path": path.replace("@", canary)}
        if "target" in fields:
            pax["linkpath"] = fields.pop("target").replace("@", canary)
        return member("x", pax=pax, **fields)

    return build


ESCAPES = {
    "dots out of the root": aimed(at(UP + "@/file", body=b"dead"), at("a/" + UP + "@/new", body=b"dead")),
    "absolute name": aimed(at("@/file", body=b"dead"), at("/@/dir/inner", body=b"dead")),
    "absolute link, then through it": aimed(
        at("out", kind=LINK, target="@"), at("out/file", body=b"dead"), at("out/new", body=b"dead")
    ),
    "relative link, then through it": aimed(at("out", kind=LINK, target=UP + "@"), at("out/file", body=b"dead")),
    "link in the lower layer, then through it": Case(
        lambda canary: [
            tar(at("out", kind=LINK, target="@")(canary)),
            tar(at("out/file", body=b"dead")(canary), at("out/.wh.dir")(canary), at("out/.wh..wh..opq")(canary)),
        ]
    ),
    "link to a file, then the file": aimed(at("f", kind=LINK, target="@/file"), at("f", body=b"dead")),
    "link to a directory, then the directory": aimed(
        at("d", kind=LINK, target="@/dir"), at("d", kind=DIR, mode=0o700, uid=66), at("d/inner", body=b"dead")
    ),
    "chain of links": aimed(
        at("a", kind=LINK, target="b/c"),
        at("b", kind=LINK, target=".."),
        at("c", kind=LINK, target="@"),
        at("a/file", body=b"dead"),
    ),
    "directory swapped for a link": aimed(
        at("d", kind=DIR),
        at("d/e", kind=DIR),
        at("d/e/f", body=b"in"),
        at("d/e", kind=LINK, target="@"),
        at("d/e/file", body=b"dead"),
    ),
    "hard link outside": aimed(at("h", kind=HARD, target=UP + "@/file"), refused=True),
    "hard link outside, absolute": aimed(at("h", kind=HARD, target="@/file"), refused=True),
    "hard link through a link outside": aimed(
        at("out", kind=LINK, target="@"), at("h", kind=HARD, target="out/file"), refused=True
    ),
    "hard link to a link outside, then written": aimed(
        at("l", kind=LINK, target="@/file"), at("h", kind=HARD, target="l", mode=0o4777, uid=66), at("h", body=b"dead")
    ),
    "hard link to a link outside, with attributes": aimed(
        at("l", kind=LINK, target="@/file"), at("h", kind=HARD, target="l", mode=0o4777, uid=66, mtime=5)
    ),
    "proc self root": aimed(
        at("r", kind=LINK, target="/proc/self/root"),
        at("r/@/file", body=b"dead"),
        at("proc/self/root/@/file", body=b"dead"),
    ),
    "proc self cwd": aimed(at("r", kind=LINK, target="/proc/self/cwd/" + UP), at("r/@/file", body=b"dead")),
    "proc self fd": aimed(
        *[at(f"r{i}", kind=LINK, target=f"/proc/self/fd/{i}") for i in range(10)],
        *[at(f"r{i}/file", body=b"dead") for i in range(10)],
    ),
    "whiteouts outside": Case(
        lambda canary: [
            LOWER,
            tar(
                at(UP + "@/.wh.file")(canary),
                at("out", kind=LINK, target="@")(canary),
                at("out/.wh.dir")(canary),
                at("out/.wh..wh..opq")(canary),
            ),
        ]
    ),
    "whiteouts outside at the bottom": aimed(
        at("out", kind=LINK, target="@"),
        at("out/.wh.dir"),
        at("out/.wh.file"),
        at("out/.wh..wh..opq"),
        at(UP + "@/.wh.file"),
    ),
    "whiteout of the parent's parent": Case(lambda canary: [LOWER, tar(at("d/.wh.../..")(canary))]),
    "directory whose times lead outside": aimed(
        at("d", kind=DIR, mtime=5), at("d", kind=LINK, target="@/dir"), refused=True
    ),
    "attributes through a link": aimed(
        at("f", kind=LINK, target="@/file", mode=0o4777, uid=66, gid=66, mtime=5),
        at("d", kind=LINK, target="@", uid=66),
    ),
    "nodes outside": aimed(
        at("out", kind=LINK, target="@"),
        at("out/p", kind=FIFO),
        at("out/c", kind=CHAR),
        at("out/l", kind=LINK, target="file"),
        at("out/d", kind=DIR),
    ),
    "gnu long name outside": Case(
        lambda canary: [tar(gnu_long(UP + canary + "/file"), member("x", b"dead", magic=GNU))]
    ),
    "prefix outside": one(member("etc/canary", b"dead", prefix="../" * 20)),
    "link up from a deep directory": aimed(
        at("a/b/c", kind=LINK, target="../../../../../../.." + "@"), at("a/b/c/file", body=b"dead")
    ),
    "link of dots and names": aimed(at("a", kind=LINK, target="b/../../" + UP + "@"), at("a/file", body=b"dead")),
}


CASES = {
    name: case
    for group in (FORMATS, TYPES, NAMES, REPEATED, LINKS, WHITEOUTS, ATTRIBUTES, SPARSE, STREAMS, ESCAPES)
    for name, case in group.items()
}

HUGE_BYTES = 64 << 30
# containerd is not asked for it: it writes holes as zeros, all 64 GiB of them.
HUGE_SPARSE = one(
    pax_sparse_10("huge", [(0, 5), (HUGE_BYTES // 2, 6), (HUGE_BYTES - 3, 3)], HUGE_BYTES, b"startmiddleend")
)


def write_many_files(path, count):
    """A tar.gz of count files of a few bytes in folders of 1,000, written without holding it."""
    with gzip.open(path, "wb", compresslevel=1) as out:
        for i in range(count):
            if i % 1000 == 0:
                out.write(folder(f"d{i // 1000}", mtime=TIME + i))
            out.write(member(f"d{i // 1000}/f{i}", b"%d" % i, mtime=TIME + i, uid=i % 7))
        out.write(END)
