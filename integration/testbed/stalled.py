"""Stalled: a daemon that takes connections and never says a word, behind a Unix socket and a TCP port."""

import select
import socket
import threading


class Stalled:
    """socket_path: where the Unix socket is made. `address` is HOST:PORT of the other."""

    def __init__(self, socket_path):
        self._unix = socket.socket(socket.AF_UNIX)
        self._unix.bind(str(socket_path))
        self._tcp = socket.socket()
        self._tcp.bind(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._tcp.getsockname()[1]}"
        self.asked = 0  # connections on which something was said
        self._stopping = threading.Event()
        for listener in (self._unix, self._tcp):
            listener.listen(16)
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        listeners, open_ones = {self._unix, self._tcp}, {}
        while not self._stopping.is_set():
            for ready in select.select([*listeners, *open_ones], [], [], 0.05)[0]:
                if ready in listeners:
                    open_ones[ready.accept()[0]] = False
                    continue
                try:
                    said = ready.recv(65536)
                except OSError:
                    said = b""
                if not said:
                    del open_ones[ready]
                    ready.close()
                elif not open_ones[ready]:
                    open_ones[ready] = True
                    self.asked += 1
        for one in (*listeners, *open_ones):
            one.close()

    def close(self):
        self._stopping.set()
        self._thread.join()
