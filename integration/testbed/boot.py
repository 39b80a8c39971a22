"""Booted: a root file system whose own systemd runs as the first process of namespaces of its own.

Units start there as on a machine, sandbox and all. What would reach this machine is kept away: /proc/sys and /sys are
read-only, /dev has the plain nodes only, and systemd lacks the capabilities for clock, modules, kernel log and reboot.
"""

from .process import Process, run, wait_for

_MISSING = ("sys_time", "sys_module", "sys_rawio", "sys_boot", "syslog", "audit_control")
# In a control group of its own, which is the root of all that systemd sees. Version 2, which every
# systemd takes and every kernel has, whatever this machine mounts; no controller is used.
_ENTER = """
mount --make-rprivate /
mount -t cgroup2 none /mnt
mkdir -p /mnt/"$2"
echo $$ >/mnt/"$2"/cgroup.procs
umount /mnt
exec unshare --cgroup --pid --uts --ipc --mount --fork --kill-child bash -ec "$3" boot "$1"
"""
_BOOT = f"""
cd "$1"
mount -t proc proc proc
mount --bind proc/sys proc/sys
mount -o remount,bind,ro proc/sys
mount -t sysfs -o ro sysfs sys
mount -t cgroup2 none sys/fs/cgroup
mount -t tmpfs -o mode=755 tmpfs dev
for node in null:3 zero:5 full:7 random:8 urandom:9; do
  mknod -m 666 dev/"${{node%:*}}" c 1 "${{node#*:}}"
done
mkdir dev/pts dev/shm
mount -t tmpfs -o mode=755 tmpfs run
exec setpriv --bounding-set {",".join("-" + name for name in _MISSING)} --inh-caps -all \
  chroot . env -i container=other PATH=/usr/sbin:/usr/bin \
  /lib/systemd/systemd --log-target=console --show-status=no --unit=multi-user.target
"""
_FORGET = """
mount -t cgroup2 none /mnt
[ ! -e /mnt/"$1" ] || find /mnt/"$1" -depth -type d -exec rmdir {} +
"""


class Booted:
    def __init__(self, path, prefix, log):
        """Boots the root at path; prefix leads a command line into the namespaces where path is."""
        self._group = f"hearth-{path.parent.name}"
        argv = [*prefix, "unshare", "--mount", "bash", "-ec", _ENTER, "enter", path, self._group, _BOOT]
        self._process = Process(argv, log)
        self._prefix = prefix
        try:
            wait_for(self._is_up, 120, "systemd in the root")
        except BaseException:
            self.close()
            raise

    def _first_pid(self):
        """systemd, the one child of what started it."""
        with open(f"/proc/{self._process.pid}/task/{self._process.pid}/children") as children:
            return children.read().strip()

    def _is_up(self):
        self._process.check_running()
        state = run(self.argv("systemctl", "is-system-running"), check=False).stdout.strip()
        return state in ("running", "degraded")

    def argv(self, *words):
        """words as they must be started to run as on the booted machine."""
        namespaces = ["--mount", "--pid", "--net", "--uts", "--ipc", "--cgroup", "--root", "--wd"]
        environment = ["env", "-i", "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL=C.UTF-8"]
        return ["nsenter", f"--target={self._first_pid()}", *namespaces, *environment, *[str(w) for w in words]]

    def sh(self, command, check=True, timeout=120):
        return run(self.argv("sh", "-c", command), check=check, timeout=timeout)

    def close(self):
        """All processes of the pid namespace end with its first; the last of them holds the control group a little."""
        self._process.kill9()
        self._process.stop()
        forget = ["unshare", "--mount", "sh", "-ec", _FORGET, "forget", self._group]
        wait_for(lambda: run(forget, check=False).returncode == 0, 30, "the end of the control group")
