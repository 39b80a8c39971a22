"""Registry: docker-registry on loopback, plain or TLS with its own CA, and its access log."""

import collections
import pathlib
import re
import urllib.request
import ssl
import uuid

from .process import Process, run, wait_for

Request = collections.namedtuple("Request", "method path status size agent")

_ACCESS = re.compile(r'^\S+ - \S+ \[[^]]+\] "(\S+) (\S+) HTTP/[\d.]+" (\d+) (\d+) "[^"]*" "([^"]*)"')
_BLOB = re.compile(r"^/v2/(.+)/blobs/(sha256:[0-9a-f]{64})(\?|$)")


class Registry:
    """address is HOST:PORT as it stands in references."""

    def __init__(self, folder, tls=False, host="127.0.0.1", storage=None):
        self.folder = pathlib.Path(folder)
        self.tls = tls
        self.ca_file = None
        tls_config = ""
        if tls:
            self._make_certificates(host)
            tls_config = f"  tls:\n    certificate: {self.folder}/server.pem\n    key: {self.folder}/server.key\n"
        (self.folder / "config.yml").write_text(
            "version: 0.1\n"
            "log: {level: info, accesslog: {disabled: false}}\n"
            f"storage: {{filesystem: {{rootdirectory: {storage or self.folder / 'data'}}}, delete: {{enabled: true}}}}\n"
            f"http:\n  addr: 127.0.0.1:0\n{tls_config}"
        )
        self.process = Process(
            ["docker-registry", "serve", self.folder / "config.yml"], self.folder / "registry.log"
        )
        self.port = wait_for(self._listening_port, 10, "docker-registry's port in its log")
        self.address = f"{host}:{self.port}"
        self._mark = 0

    def _listening_port(self):
        self.process.check_running()
        found = re.search(r"listening on \[?[\d.:a-f]+\]?:(\d+)", self.process.log.read_text(errors="replace"))
        return int(found.group(1)) if found else None

    def _make_certificates(self, host):
        f = self.folder
        kind = "IP" if re.fullmatch(r"[\d.]+", host) else "DNS"
        run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "30",
             "-subj", "/CN=Hearth test CA", "-keyout", f / "ca.key", "-out", f / "ca.pem"])  # fmt: skip
        run(["openssl", "req", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes",
             "-subj", f"/CN={host}", "-keyout", f / "server.key", "-out", f / "server.csr"])  # fmt: skip
        (f / "san").write_text(f"subjectAltName={kind}:{host},IP:127.0.0.1\n")
        run(["openssl", "x509", "-req", "-in", f / "server.csr", "-CA", f / "ca.pem", "-CAkey", f / "ca.key",
             "-CAcreateserial", "-days", "30", "-extfile", f / "san", "-out", f / "server.pem"])  # fmt: skip
        self.ca_file = f / "ca.pem"

    @property
    def url(self):
        return f"{'https' if self.tls else 'http'}://127.0.0.1:{self.port}"

    def get(self, path):
        context = ssl.create_default_context(cafile=self.ca_file) if self.tls else None
        with urllib.request.urlopen(self.url + path, timeout=10, context=context) as response:
            return response.read()

    def push(self, layout, name):
        """Pushes the OCI layout's only image as name ("test/small:v1"); returns the reference."""
        run(["skopeo", "--insecure-policy", "copy", "-q", "--all", "--preserve-digests", "--dest-tls-verify=false",
             f"oci:{layout}", f"docker://127.0.0.1:{self.port}/{name}"], timeout=600)  # fmt: skip
        return f"{self.address}/{name}"

    # ---- the access log

    def requests(self):
        """Requests since the last reset(). One that is still being answered is not among them."""
        mark = uuid.uuid4().hex
        self.get(f"/v2/?mark={mark}")
        wait_for(lambda: mark in self.process.log.read_text(errors="replace"), 10, "the registry's access log")
        found = []
        for line in self.process.log.read_bytes()[self._mark :].decode(errors="replace").splitlines():
            match = _ACCESS.match(line)
            if match and "?mark=" not in match.group(2):
                method, path, status, size, agent = match.groups()
                found.append(Request(method, path, int(status), int(size), agent))
        return found

    def reset(self):
        self.requests()
        self._mark = self.process.log.stat().st_size

    def blob_gets(self, digest=None):
        """Answered GETs of blobs (of this digest)."""
        return [
            r
            for r in self.requests()
            if r.method == "GET"
            and r.status in (200, 206)
            and _BLOB.match(r.path)
            and (digest is None or digest in r.path)
        ]

    def blob_bytes(self, digest=None):
        return sum(r.size for r in self.blob_gets(digest))

    def close(self):
        self.process.stop()
