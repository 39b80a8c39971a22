"""FleetNodes: many simulated nodes of one manager, in one process (fleet_nodes.cc), told what to do and asked what happened."""

import json
import pathlib
import queue
import subprocess
import threading
import time

from integration.testbed.paths import HEARTH

PROGRAM = HEARTH.parent / "fleet_nodes"
PATIENCE = 300


class FleetNodes:
    """count nodes sim-0, sim-1, … that have joined and are connected when it returns; each holds `blobs` of `distinct`."""

    def __init__(self, manager, folder, count, blobs=0, distinct=1):
        self.count = count
        folder = pathlib.Path(folder)
        folder.mkdir(exist_ok=True)
        token = manager.join_token("--uses", count)
        argv = [PROGRAM, manager.grpc, token, folder, count, blobs, distinct]
        self._log = open(folder / "log", "wb")
        self._process = subprocess.Popen(
            [str(arg) for arg in argv], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self._log, text=True
        )
        self._lines = queue.Queue()
        threading.Thread(target=self._read, daemon=True).start()
        self.joined_seconds = self.wait("joined")["seconds"]
        self.wait("connected")

    def _read(self):
        for line in self._process.stdout:
            self._lines.put(json.loads(line))
        self._lines.put(None)

    def wait(self, event, **fields):
        """The next event of that name with these fields; what comes before it is dropped."""
        deadline = time.monotonic() + PATIENCE
        while True:
            try:
                said = self._lines.get(timeout=max(0.0, deadline - time.monotonic()))
            except queue.Empty:
                raise TimeoutError(f"the nodes did not say {event} {fields}") from None
            if said is None:
                log = pathlib.Path(self._log.name).read_text(errors="replace")
                raise RuntimeError(f"fleet_nodes ended with {self._process.wait()}: {log[-2000:]}")
            if said["event"] == event and all(said[name] == value for name, value in fields.items()):
                return said

    def tell(self, *words):
        self._process.stdin.write(" ".join(str(word) for word in words) + "\n")
        self._process.stdin.flush()

    def ask(self, verb, *words):
        """Tells, and returns what it says when that was done."""
        self.tell(verb, *words)
        return self.wait("swarms" if verb == "join" else verb)

    def close(self):
        if self._process.poll() is None:
            self._process.stdin.close()
            try:
                self._process.wait(20)
            except subprocess.TimeoutExpired:
                self._process.kill()
                self._process.wait()
        self._log.close()
