"""Tar archives written header by header, as bytes: also those that a library would refuse to write or would tidy."""

BLOCK = 512
END = b"\0" * (2 * BLOCK)
TIME = 1_600_000_000

USTAR = b"ustar\x0000"
GNU = b"ustar  \0"
V7 = b""

FILE, HARD, LINK, CHAR, DEVICE, DIR, FIFO = (str(i).encode() for i in range(7))

# field: (offset, width)
_FIELDS = {
    "name": (0, 100), "mode": (100, 8), "uid": (108, 8), "gid": (116, 8), "size": (124, 12), "mtime": (136, 12),
    "checksum": (148, 8), "kind": (156, 1), "link": (157, 100), "magic": (257, 8), "owner": (265, 32),
    "group": (297, 32), "major": (329, 8), "minor": (337, 8), "prefix": (345, 155),
}  # fmt: skip


def _bytes(text):
    return text if isinstance(text, bytes) else text.encode(errors="surrogateescape")


def octal(value, width):
    return b"%0*o\0" % (width - 1, value)


def base256(value, width):
    """The binary form of numbers that octal digits cannot hold, negative ones too."""
    return bytes([0x80 if value >= 0 else 0xFF]) + (value % (1 << 8 * (width - 1))).to_bytes(width - 1, "big")


def _number(value, width):
    if isinstance(value, bytes):
        return value  # as it is
    return octal(value, width) if 0 <= value < 8 ** (width - 1) else base256(value, width)


def header(name, kind=FILE, *, raw=None, checksum=None, **fields):
    """One header block. Numbers may be bytes, written as they are; raw = {offset: bytes} goes over all of it."""
    values = {"mode": 0o755 if kind == DIR else 0o644, "uid": 0, "gid": 0, "size": 0, "mtime": TIME, "magic": USTAR,
              "major": 0, "minor": 0, "name": name, "kind": kind, **fields}  # fmt: skip
    if values["magic"] == V7:
        del values["major"], values["minor"]
    block = bytearray(BLOCK)
    for field, value in values.items():
        offset, width = _FIELDS[field]
        data = _number(value, width) if isinstance(value, int) else _bytes(value)
        if len(data) > width:
            raise ValueError(f"{field} takes {width} bytes")
        block[offset : offset + len(data)] = data
    for offset, data in (raw or {}).items():
        block[offset : offset + len(data)] = data
    block[148:156] = b" " * 8
    block[148:156] = (b"%06o\0 " % sum(block)) if checksum is None else checksum
    return bytes(block)


def padded(data):
    return data + b"\0" * (-len(data) % BLOCK)


def record(key, value):
    """One line of an extended header: its own length, key=value."""
    rest = b" " + _bytes(key) + b"=" + _bytes(value) + b"\n"
    size = len(rest) + 1
    while len(b"%d" % size) + len(rest) != size:
        size += 1
    return b"%d" % size + rest


def extended(pax, kind=b"x", name="PaxHeaders/0"):
    """An extended header from a dict, a list of (key, value), or its body as bytes."""
    if not isinstance(pax, bytes):
        pax = b"".join(record(key, value) for key, value in (pax.items() if isinstance(pax, dict) else pax))
    return header(name, kind, size=len(pax)) + padded(pax)


def member(name, body=b"", kind=FILE, *, pax=None, **fields):
    """Extended header, header, body."""
    body = _bytes(body)
    fields.setdefault("size", len(body))
    return (extended(pax) if pax is not None else b"") + header(name, kind, **fields) + padded(body)


def folder(name, **fields):
    return member(name, kind=DIR, **fields)


def link(name, target, **fields):
    return member(name, kind=LINK, link=target, **fields)


def hard(name, target, **fields):
    return member(name, kind=HARD, link=target, **fields)


def gnu_long(text, kind=b"L", end=b"\0"):
    """The GNU way to a name ("L") or link target ("K") above 100 bytes: a member whose body it is."""
    text = _bytes(text) + end
    return header("././@LongLink", kind, magic=GNU, size=len(text)) + padded(text)
