"""Unit: the sandbox of deploy/hearth.service, or of another unit there, for a process that no systemd starts.

Unit().prefix() is put before a command line: the command then runs with the unit's capability bounding set, without new
privileges and under its system call filter, each read from the unit file. Namespaces and mounts are not imitated.
"""

import ctypes
import errno
import os
import pathlib
import subprocess
import sys

UNIT = pathlib.Path(__file__).resolve().parents[2] / "deploy" / "hearth.service"
_ALLOW = 0x7FFF0000  # SCMP_ACT_ALLOW
_ERRNO = 0x00050000  # SCMP_ACT_ERRNO(0)
_UNKNOWN = -1  # __NR_SCMP_ERROR: a call that this architecture does not have


class Unit:
    def __init__(self, path=UNIT):
        self._path = pathlib.Path(path)
        self._settings = []
        for line in self._path.read_text().splitlines():
            if "=" in line and not line.startswith(("#", ";")):
                key, _, value = line.partition("=")
                self._settings.append((key.strip(), value.strip()))

    def values(self, key):
        """Every value that the unit gives to key, in order."""
        return [value for name, value in self._settings if name == key]

    def value(self, key):
        (value,) = self.values(key)
        return value

    def capabilities(self):
        return self.value("CapabilityBoundingSet").split()

    def syscalls(self):
        """The names that SystemCallFilter leaves, its groups as systemd knows them."""
        allowed = set()
        for value in self.values("SystemCallFilter"):
            names = _expand(value.lstrip("~").split())
            allowed = allowed - names if value.startswith("~") else allowed | names
        return allowed

    def prefix(self, without=()):
        """What to put before a command; `without` takes capabilities out of the set."""
        names = [c.removeprefix("CAP_").lower() for c in self.capabilities() if c not in without]
        kept = ",".join(["-all", *(f"+{name}" for name in names)])
        setpriv = ["setpriv", "--bounding-set", kept, "--inh-caps", "-all", "--ambient-caps", "-all"]
        return [*setpriv, "--no-new-privs", sys.executable, __file__, self._path]


def _expand(names):
    out = set()
    for name in names:
        if not name.startswith("@"):
            out.add(name)
            continue
        shown = subprocess.run(["systemd-analyze", "syscall-filter", name], capture_output=True, text=True, check=True)
        lines = [line.strip() for line in shown.stdout.splitlines()[1:]]
        out |= _expand([line for line in lines if line and not line.startswith("#")])
    return out


def _install_filter(allowed):
    """Calls that are not allowed fail with EPERM from here on, also after exec."""
    seccomp = ctypes.CDLL("libseccomp.so.2", use_errno=True)
    seccomp.seccomp_init.restype = ctypes.c_void_p
    context = ctypes.c_void_p(seccomp.seccomp_init(ctypes.c_uint32(_ERRNO | errno.EPERM)))
    for name in sorted(allowed):
        number = seccomp.seccomp_syscall_resolve_name(name.encode())
        if number == _UNKNOWN:
            continue
        # A call that only other architectures have is refused by libseccomp itself.
        seccomp.seccomp_rule_add(context, ctypes.c_uint32(_ALLOW), ctypes.c_int(number), ctypes.c_uint(0))
    failed = seccomp.seccomp_load(context)
    if failed:
        raise OSError(-failed, "seccomp_load")


if __name__ == "__main__":
    _install_filter(Unit(sys.argv[1]).syscalls())
    os.execvp(sys.argv[2], sys.argv[2:])
