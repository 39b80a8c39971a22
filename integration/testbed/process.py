"""One child process: its log, its counters, its end."""

import ctypes
import os
import pathlib
import re
import signal
import subprocess
import time

_LIBC = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1
STOP_SECONDS = 10


# What a build with sanitizers says of a fault.
_SANITIZER = re.compile(r"^.*(?:ERROR: (?:Address|Leak|Thread)Sanitizer|runtime error:).*$", re.MULTILINE)


class SanitizerReport(RuntimeError):
    """A sanitizer found a fault in the process; the message has what it said."""


class ProcessEnded(RuntimeError):
    """The process ended when it was expected to run; the message has the end of its log."""


def _die_with_parent():
    _LIBC.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)


def wait_for(condition, timeout, what, interval=0.02):
    """Returns the first true value of condition(), else raises TimeoutError that says what was awaited."""
    deadline = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > deadline:
            raise TimeoutError(f"{what}: not within {timeout} s")
        time.sleep(interval)


class Process:
    """Starts argv with its output in log. Killed with us, however we end.

    Start it from a thread that lives as long as the process: the kernel kills it with the thread that forked it.
    """

    def __init__(self, argv, log, env=None, stdout=None):
        self.argv = [str(a) for a in argv]
        self.log = pathlib.Path(log)
        self._log_file = open(self.log, "ab")
        self._popen = subprocess.Popen(
            self.argv,
            stdin=subprocess.DEVNULL,
            stdout=stdout or self._log_file,
            stderr=self._log_file,
            env=env,
            start_new_session=True,
            preexec_fn=_die_with_parent,
        )

    @property
    def pid(self):
        return self._popen.pid

    @property
    def stdout(self):
        return self._popen.stdout

    def running(self):
        return self._popen.poll() is None

    def returncode(self):
        return self._popen.poll()

    def wait(self, timeout):
        return self._popen.wait(timeout)

    def log_tail(self, lines=30):
        text = self.log.read_text(errors="replace") if self.log.exists() else ""
        return "\n".join(text.splitlines()[-lines:])

    def check_running(self):
        if not self.running():
            raise ProcessEnded(f"{self.argv[0]} ended with {self._popen.returncode}:\n{self.log_tail()}")

    def signal(self, number):
        if self.running():
            os.kill(self.pid, number)

    def kill9(self):
        self.signal(signal.SIGKILL)
        self._popen.wait()

    def stop(self):
        """SIGTERM, then SIGKILL after STOP_SECONDS. Returns the seconds that it took. A sanitizer's report is an error."""
        start = time.monotonic()
        self.signal(signal.SIGTERM)
        try:
            self._popen.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.kill9()
        if self._popen.stdout:
            self._popen.stdout.close()
        self._log_file.close()
        self.check_sanitizers()
        return time.monotonic() - start

    def check_sanitizers(self):
        """Raises SanitizerReport where the log has one."""
        text = self.log.read_text(errors="replace")
        found = _SANITIZER.search(text)
        if found:
            raise SanitizerReport(f"{self.argv[0]}: {text[found.start() : found.start() + 4000]}")

    # ---- counters, from /proc

    def status_kib(self, field):
        """A kB field of /proc/PID/status, e.g. VmHWM, VmRSS."""
        for line in pathlib.Path(f"/proc/{self.pid}/status").read_text().splitlines():
            if line.startswith(field + ":"):
                return int(line.split()[1])
        raise KeyError(field)

    def reset_hwm(self):
        pathlib.Path(f"/proc/{self.pid}/clear_refs").write_text("5")

    def io(self):
        """{'rchar': …, 'write_bytes': …} of the process."""
        text = pathlib.Path(f"/proc/{self.pid}/io").read_text()
        return {key: int(value) for key, value in (line.split(": ") for line in text.splitlines())}

    def cpu_seconds(self):
        """User and system time of the process and of its children that ended."""
        fields = pathlib.Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return sum(int(f) for f in fields[11:15]) / os.sysconf("SC_CLK_TCK")

    def fds(self):
        return len(os.listdir(f"/proc/{self.pid}/fd"))


def run(argv, timeout=120, check=True, env=None, cwd=None, input=None):
    """subprocess.run with text output, whose failure shows what the command said."""
    result = subprocess.run(
        [str(a) for a in argv], capture_output=True, text=True, timeout=timeout, env=env, cwd=cwd, input=input
    )
    if check and result.returncode != 0:
        raise CommandFailed(argv, result)
    return result


class CommandFailed(RuntimeError):
    def __init__(self, argv, result):
        self.returncode = result.returncode
        self.stdout = result.stdout
        self.stderr = result.stderr
        said = f"{result.stdout[-500:]}\n{result.stderr[-2000:]}"  # progress displays repeat themselves
        super().__init__(f"{' '.join(str(a) for a in argv)}: exit {result.returncode}\n{said}")
