"""Front: a registry's address that misbehaves as told, and counts every request when it arrives."""

import dataclasses
import gzip
import hashlib
import http.client
import http.server
import re
import socket
import ssl
import threading
import time

from .http_server import HttpServer

CHUNK = 64 << 10
_BLOB = re.compile(r"^/v2/(.+)/blobs/(sha256:[0-9a-f]{64})(\?|$)")


@dataclasses.dataclass
class Rule:
    """What happens to requests whose path contains `path`. Offsets count bytes of this answer's body."""

    path: str
    method: str = "GET"
    agent: str = ""  # only for User-Agents that start so
    status: int = 0  # answer this, with an error document
    body: bytes = b""  # answer with this instead of what upstream has
    headers: dict = dataclasses.field(default_factory=dict)  # beside status or body
    rate: int = 0  # bytes per second
    stall_at: int = -1  # send this many bytes, then nothing more
    silent: bool = False  # never answer
    flip_at: int = -1  # this byte is wrong
    truncate_at: int = -1  # close the connection here, inside the stated length
    short_to: int = -1  # state and send only so many bytes
    too_long: int = 0  # state and send so many more
    gzip: bool = False  # compressed under way, as a proxy does that should not
    redirect_loop: bool = False  # to itself
    expire_at: int = -1  # close the connection here; from now on the request's credential is refused
    times: int = -1  # only so often; -1 = always
    hits: int = 0


@dataclasses.dataclass
class Record:
    method: str
    path: str
    range: str
    agent: str
    authorization: bool
    started: float
    status: int = 0
    sent: int = 0
    ended: float = 0.0


class _Stop(Exception):
    """The connection is to be closed now."""


class Front:
    """Stands before a Registry, on its own port. Plain HTTP to the clients."""

    def __init__(self, registry, rules=()):
        self.upstream = registry
        self.rules = list(rules)
        self.expired = set()  # Authorization headers that were good once
        self.records = []
        self.tls = False
        self.ca_file = None
        self._lock = threading.Lock()
        self._stopping = threading.Event()
        front = self

        class Handler(_Handler):
            owner = front

        self._server = HttpServer(("127.0.0.1", 0), Handler)
        self.port = self._server.server_address[1]
        self.address = f"127.0.0.1:{self.port}"
        self.url = f"http://{self.address}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def rule(self, path, **kw):
        """Adds a rule; returns it. The first one that matches is used."""
        rule = Rule(path, **kw)
        with self._lock:
            self.rules.append(rule)
        return rule

    def document(self, path, body, media_type):
        """Answers requests whose path contains `path` with this body, as a manifest."""
        for method in ("GET", "HEAD"):
            self.rule(path, method=method, body=body, headers={"Content-Type": media_type})

    def clear(self):
        """Forgets rules and records."""
        with self._lock:
            self.rules.clear()
            self.records.clear()

    def ref(self, name):
        return f"{self.address}/{name}"

    def take_rule(self, method, path, agent):
        with self._lock:
            for rule in self.rules:
                if self._matches(rule, method, path, agent):
                    rule.times -= 1 if rule.times > 0 else 0
                    rule.hits += 1
                    return rule
        return None

    @staticmethod
    def _matches(rule, method, path, agent):
        return (
            rule.method == method and rule.path in path and rule.times != 0 and agent.lower().startswith(rule.agent)
        )

    def record(self, record):
        with self._lock:
            self.records.append(record)

    def wait(self, seconds):
        """Sleeps, but not beyond close()."""
        if self._stopping.wait(seconds):
            raise _Stop

    def blob_gets(self, digest=None):
        """Blob GETs that arrived (for this digest), refused ones too."""
        with self._lock:
            return [
                r
                for r in self.records
                if r.method == "GET" and _BLOB.match(r.path) and (digest is None or digest in r.path)
            ]

    def blob_bytes(self, digest=None):
        return sum(r.sent for r in self.blob_gets(digest))

    def close(self):
        self._stopping.set()
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner = None

    def log_message(self, *args):
        pass

    def do_GET(self):
        self.close_connection = False
        agent = self.headers.get("User-Agent", "")
        record = Record(
            self.command,
            self.path,
            self.headers.get("Range", ""),
            agent,
            "Authorization" in self.headers,
            time.monotonic(),
        )
        self.owner.record(record)
        try:
            self._answer(self.owner.take_rule(self.command, self.path, agent), record)
        except (_Stop, OSError, http.client.HTTPException):
            self.close_connection = True
        finally:
            record.ended = time.monotonic()

    do_HEAD = do_GET

    def _answer(self, rule, record):
        rule = rule or Rule("")
        if rule.silent:
            self.owner.wait(3600)
        if rule.redirect_loop:
            rule = dataclasses.replace(rule, status=307, headers={"Location": self.path})
        if rule.status or rule.body:
            self._answer_alone(rule, record)
            return
        upstream = self._upstream()
        try:
            headers = {k: v for k, v in self.headers.items() if k.lower() not in ("host", "connection")}
            if headers.get("Authorization") in self.owner.expired:
                del headers["Authorization"]  # upstream says how to get another
            upstream.request(self.command, self.path, headers=headers)
            self._pass_on(upstream.getresponse(), rule, record)
        finally:
            upstream.close()

    def _upstream(self):
        registry = self.owner.upstream
        if registry.tls:
            context = ssl.create_default_context(cafile=registry.ca_file)
            return http.client.HTTPSConnection("127.0.0.1", registry.port, timeout=60, context=context)
        return http.client.HTTPConnection("127.0.0.1", registry.port, timeout=60)

    def _answer_alone(self, rule, record):
        body = rule.body or b'{"errors":[{"code":"TEST","message":"as the test says"}]}'
        headers = {"Content-Type": "application/json", **rule.headers}
        if rule.body:
            headers["Docker-Content-Digest"] = "sha256:" + hashlib.sha256(body).hexdigest()
        record.status = rule.status or 200
        self.send_response(record.status)
        for key, value in headers.items():
            self.send_header(key, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _pass_on(self, response, rule, record):
        if rule.gzip and response.status in (200, 206):
            return self._pass_on_compressed(response, record)
        length = int(response.headers.get("Content-Length") or 0)
        stated = length + rule.too_long
        if rule.short_to >= 0:
            stated = min(stated, rule.short_to)
        record.status = response.status
        self.send_response(response.status)
        for key, value in response.getheaders():
            if key.lower() not in ("content-length", "connection", "date", "server", "transfer-encoding"):
                self.send_header(key, value)
        self.send_header("Content-Length", str(stated))
        self.end_headers()
        if self.command != "HEAD":
            self._body(response, rule, record, stated)

    def _pass_on_compressed(self, response, record):
        body = gzip.compress(response.read())
        record.status = response.status
        self.send_response(response.status)
        for key, value in response.getheaders():
            if key.lower() not in ("content-length", "connection", "date", "server", "transfer-encoding"):
                self.send_header(key, value)
        self.send_header("Content-Encoding", "gzip")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _body(self, response, rule, record, stated):
        if rule.expire_at >= 0 and "Authorization" in self.headers:
            self.owner.expired.add(self.headers["Authorization"])
        ends = [n for n in (rule.truncate_at, rule.stall_at, rule.expire_at) if n >= 0]
        end = min([stated, *ends])
        start = time.monotonic()
        chunk_size = min(CHUNK, max(16, rule.rate // 20)) if rule.rate else CHUNK
        while record.sent < end:
            data = response.read(min(chunk_size, end - record.sent)) or b"\x00" * min(chunk_size, end - record.sent)
            if record.sent <= rule.flip_at < record.sent + len(data):
                at = rule.flip_at - record.sent
                data = data[:at] + bytes([data[at] ^ 0xFF]) + data[at + 1 :]
            self.connection.sendall(data)
            record.sent += len(data)
            if rule.rate:
                self.owner.wait(max(0.0, start + record.sent / rule.rate - time.monotonic()))
        if rule.stall_at >= 0 and record.sent < stated:
            self.owner.wait(3600)
        if record.sent < stated:
            self.connection.shutdown(socket.SHUT_RDWR)
            raise _Stop
