"""NameServer: answers each name's A with the addresses that the test says, to be kept for no time."""

import socket
import struct
import threading

_A, _IN = 1, 1


class NameServer:
    """On port 53 of the first free address from 127.0.0.60 on: a resolver asks nowhere else."""

    def __init__(self, addresses):
        self.addresses = list(addresses)
        self.told = []  # (name, addresses)
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        for last in range(60, 250):
            self.address = f"127.0.0.{last}"
            try:
                self._socket.bind((self.address, 53))
                break
            except OSError:
                if last == 249:
                    raise
        self._thread = threading.Thread(target=self._serve, daemon=True)
        self._thread.start()

    def _serve(self):
        while True:
            try:
                query, client = self._socket.recvfrom(512)
            except OSError:
                return
            if not query:
                return
            self._socket.sendto(self._answer(query), client)

    def _answer(self, query):
        labels, at = [], 12
        while query[at]:
            labels.append(query[at + 1 : at + 1 + query[at]].decode())
            at += 1 + query[at]
        question = query[12 : at + 5]
        (kind,) = struct.unpack("!H", query[at + 1 : at + 3])
        addresses = list(self.addresses) if kind == _A else []
        if addresses:
            self.told.append((".".join(labels), addresses))
        records = [struct.pack("!HHHIH", 0xC00C, _A, _IN, 0, 4) + socket.inet_aton(one) for one in addresses]
        return query[:2] + struct.pack("!HHHHH", 0x8180, 1, len(records), 0, 0) + question + b"".join(records)

    def close(self):
        self._socket.sendto(b"", (self.address, 53))
        self._thread.join(5)
        self._socket.close()
