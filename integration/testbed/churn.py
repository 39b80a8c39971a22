"""Churn: a node's daily work, all of it at the same time, until it is stopped."""

import collections
import os
import random
import subprocess
import threading


class Churn:
    """Pulls, content commits, image deletes with containerd's collection, preheats and `hearth store gc`.

    What fails is tried again: whoever runs it may kill the node at any moment. `done` counts what succeeded.
    """

    def __init__(self, node, containerd, pulled, preheated, seed):
        self._node = node
        self._containerd = containerd
        self._pulled = pulled
        self._preheated = preheated
        self._stopping = threading.Event()
        self._lock = threading.Lock()
        self._running = set()
        self.done = collections.Counter()
        works = [self._pull, self._pull, self._commit, self._delete, self._preheat, self._collect]
        self._threads = [
            threading.Thread(target=self._work, args=(work, random.Random(f"{seed}/{number}")), daemon=True)
            for number, work in enumerate(works)
        ]
        for thread in self._threads:
            thread.start()

    def run_for(self, seconds):
        self._stopping.wait(seconds)

    def stop(self):
        """Ends what is under way, too: with its node dead a client of containerd may wait for ever."""
        self._stopping.set()
        with self._lock:
            for child in self._running:
                child.kill()
        for thread in self._threads:
            thread.join()

    # ---- the kinds of work

    def _pull(self, rng):
        self._run("pull", self._containerd.pull_argv(rng.choice(self._pulled)))

    def _commit(self, rng):
        """Nothing refers to it: containerd's collection deletes it again."""
        data = rng.randbytes(rng.choice((100, 70_000, 900_000)))
        argv = self._containerd.ctr_argv("-n", "churn", "content", "ingest", f"ref-{rng.randrange(1 << 40)}")
        self._run("commit", argv, data)

    def _delete(self, rng):
        self._stopping.wait(rng.uniform(0, 0.4))
        ref = rng.choice(self._pulled)
        self._run("delete", self._containerd.ctr_argv("-n", "k8s.io", "images", "rm", "--sync", ref))

    def _preheat(self, rng):
        self._run("preheat", self._node.command_argv("preheat", rng.choice(self._preheated), "--depth", "layers"))

    def _collect(self, rng):
        self._stopping.wait(rng.uniform(0, 0.2))
        self._run("collect", self._node.command_argv("store", "gc"))

    # ----

    def _work(self, work, rng):
        while not self._stopping.is_set():
            work(rng)

    def _run(self, name, argv, data=b""):
        with self._lock:
            if self._stopping.is_set():
                return
            child = subprocess.Popen(
                [str(a) for a in argv],
                stdin=subprocess.PIPE,
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                env={**os.environ, **self._containerd.env},
            )
            self._running.add(child)
        child.communicate(data)
        with self._lock:
            self._running.remove(child)
            self.done[name] += child.returncode == 0
