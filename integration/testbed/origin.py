"""Origin: a file server behind signed URLs, as object stores are, over http or https with its own CA."""

import contextlib
import dataclasses
import email.utils
import hashlib
import http.server
import socket
import ssl
import subprocess
import threading
import time
import urllib.parse

from .http_server import HttpServer

CHUNK = 64 << 10
MTIME = 1_700_000_000


@dataclasses.dataclass
class File:
    body: bytes
    etag: bool = True
    ranges: bool = True
    length: bool = True  # False: chunked
    signed: bool = True
    rate: int = 0  # bytes per second
    redirect: str = ""
    headers: dict = dataclasses.field(default_factory=dict)


@dataclasses.dataclass
class Asked:
    method: str
    path: str
    query: dict
    headers: dict
    status: int = 0
    sent: int = 0  # bytes of body


class Origin:
    """A signature is good when it is that of path and Expires (sign()); Expires must not be over."""

    def __init__(self, folder, tls=False, port=0):
        self.files = {}
        self.asked = []
        self.status = 0  # answer everything with this
        self.tls = tls
        self.ca_file = None
        self.connections = set()
        self._lock = threading.Lock()
        origin = self

        class Handler(_Handler):
            owner = origin

        self._server = HttpServer(("127.0.0.1", port), Handler)
        if tls:
            self.ca_file = folder / "origin-ca.pem"
            key = folder / "origin-key.pem"
            if not self.ca_file.exists():
                _certificate(self.ca_file, key)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(self.ca_file, key)
            # The handshake belongs to the connection's own thread.
            self._server.socket = context.wrap_socket(
                self._server.socket, server_side=True, do_handshake_on_connect=False
            )
        self.port = self._server.server_address[1]
        self.address = f"127.0.0.1:{self.port}"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def put(self, path, body, **kw):
        self.files[path] = File(body, **kw)
        return self.files[path]

    @staticmethod
    def sign(path, expires):
        return hashlib.sha256(f"secret {path} {expires}".encode()).hexdigest()[:32]

    def url(self, path, expires=None, scheme="", **params):
        """A signed URL; another `expires` gives another signature."""
        expires = expires or int(time.time()) + 3600
        query = {"Expires": expires, "Signature": self.sign(path, expires), **params}
        scheme = scheme or ("https" if self.tls else "http")
        return f"{scheme}://{self.address}{path}?{urllib.parse.urlencode(query)}"

    def sent(self, path=""):
        """Bytes of good bodies that left for this path; and the requests."""
        with self._lock:
            hits = [a for a in self.asked if path in a.path]
            return sum(a.sent for a in hits if a.status in (200, 206)), len(hits)

    def clear(self):
        with self._lock:
            self.asked.clear()

    def record(self, asked):
        with self._lock:
            self.asked.append(asked)

    def close(self):
        """Nothing listens any more, and connections that were kept alive are cut. Idempotent."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
        with self._lock:
            connections, self.connections = self.connections, set()
        for connection in connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


def _certificate(cert, key):
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2"]
        + ["-subj", "/CN=origin", "-addext", "subjectAltName=IP:127.0.0.1,DNS:localhost"]
        + ["-keyout", str(key), "-out", str(cert)],
        check=True,
        capture_output=True,
    )


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    owner = None
    timeout = 60

    def setup(self):
        super().setup()
        self.owner.connections.add(self.connection)

    def finish(self):
        self.owner.connections.discard(self.connection)
        super().finish()

    def log_message(self, *args):
        pass

    def do_GET(self):
        url = urllib.parse.urlsplit(self.path)
        query = dict(urllib.parse.parse_qsl(url.query))
        asked = Asked(self.command, url.path, query, {k.lower(): v for k, v in self.headers.items()})
        self.owner.record(asked)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        file = self.owner.files.get(url.path)
        if self.owner.status:
            self._plain(asked, self.owner.status, b"as the test says")
        elif file is None:
            self._plain(asked, 404, b"no such file")
        elif self.command not in ("GET", "HEAD"):
            self._plain(asked, 200, b"got " + body)
        elif file.signed and not self._granted(url.path, query):
            self._plain(asked, 403, b"<Error><Code>SignatureDoesNotMatch</Code></Error>")
        elif file.redirect:
            self._plain(asked, 302, b"", {"Location": file.redirect})
        else:
            self._file(asked, file)

    do_HEAD = do_POST = do_PUT = do_GET

    def _granted(self, path, query):
        expires = query.get("Expires", "0")
        good = query.get("Signature") == self.owner.sign(path, expires)
        return good and expires.isdigit() and int(expires) > time.time()

    def _plain(self, asked, status, body, headers=()):
        asked.status = status
        self.send_response(status)
        for name, value in dict(headers).items():
            self.send_header(name, value)
        self.send_header("Content-Type", "application/xml")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def _file(self, asked, file):
        etag = '"' + hashlib.md5(file.body).hexdigest() + '"'
        headers = {"Content-Type": "application/x-test", **file.headers}
        if file.etag:
            headers["ETag"] = etag
            headers["Last-Modified"] = email.utils.formatdate(MTIME, usegmt=True)
        if file.etag and self.headers.get("If-None-Match") == etag:
            return self._head(asked, 304, headers)
        begin, end = 0, len(file.body)
        status = 200
        asked_range = self.headers.get("Range", "")
        if file.ranges and asked_range.startswith("bytes=") and self.headers.get("If-Range") in (None, etag):
            first, last = asked_range[6:].split("-")
            begin = int(first)
            end = min(int(last) + 1, end) if last else end
            if begin >= len(file.body):
                return self._head(asked, 416, {**headers, "Content-Range": f"bytes */{len(file.body)}"})
            status = 206
            headers["Content-Range"] = f"bytes {begin}-{end - 1}/{len(file.body)}"
        if file.length:
            headers["Content-Length"] = str(end - begin)
        else:
            headers["Transfer-Encoding"] = "chunked"
        self._head(asked, status, headers, length=None)
        if self.command != "HEAD":
            self._body(asked, file, begin, end)

    def _head(self, asked, status, headers, length="0"):
        asked.status = status
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if length is not None and status != 304:
            self.send_header("Content-Length", length)
        self.end_headers()

    def _body(self, asked, file, begin, end):
        step = min(CHUNK, max(1024, file.rate // 20)) if file.rate else CHUNK
        started = time.monotonic()
        at = begin
        try:
            while at < end:
                data = file.body[at : min(at + step, end)]
                if not file.length:
                    self.wfile.write(b"%x\r\n" % len(data))
                self.wfile.write(data)
                if not file.length:
                    self.wfile.write(b"\r\n")
                asked.sent += len(data)
                at += len(data)
                if file.rate:
                    time.sleep(max(0.0, started + (at - begin) / file.rate - time.monotonic()))
            if not file.length:
                self.wfile.write(b"0\r\n\r\n")
        except OSError:
            self.close_connection = True
