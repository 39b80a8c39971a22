"""Registry: docker-registry on loopback, plain or TLS with its own CA, and its access log."""

import base64
import collections
import json
import pathlib
import re
import ssl
import urllib.error
import urllib.request
import uuid

from .process import Process, run, wait_for
from .token_server import TokenServer

Request = collections.namedtuple("Request", "method path status size agent")

_ACCESS = re.compile(r'^\S+ - \S+ \[[^]]+\] "(\S+) (\S+) HTTP/[\d.]+" (\d+) (\d+) "[^"]*" "([^"]*)"')
_BLOB = re.compile(r"^/v2/(.+)/blobs/(sha256:[0-9a-f]{64})(\?|$)")


USER, PASSWORD = "joe", "s3cret"
_HTPASSWD = f"{USER}:$2b$04$YV0k0seK/8ZLXYHWMpruDuMJ8m/w65JM5ciwR3iReb02RrMxmMeLi\n"


class Registry:
    """address is HOST:PORT as it stands in references. auth "basic" or "bearer": only USER with PASSWORD may do anything."""

    def __init__(self, folder, tls=False, host="127.0.0.1", storage=None, auth=""):
        self.folder = pathlib.Path(folder)
        self.tls = tls
        self.ca_file = None
        self.auth = auth
        self.tokens = None
        tls_config = ""
        if tls:
            self._make_certificates(host)
            tls_config = f"  tls:\n    certificate: {self.folder}/server.pem\n    key: {self.folder}/server.key\n"
        (self.folder / "config.yml").write_text(
            "version: 0.1\n"
            "log: {level: info, accesslog: {disabled: false}}\n"
            f"storage: {{filesystem: {{rootdirectory: {storage or self.folder / 'data'}}}, delete: {{enabled: true}}}}\n"
            f"http:\n  addr: 127.0.0.1:0\n{tls_config}{self._auth_config()}"
        )
        self.process = Process(
            ["docker-registry", "serve", self.folder / "config.yml"], self.folder / "registry.log"
        )
        self.port = wait_for(self._listening_port, 10, "docker-registry's port in its log")
        self.address = f"{host}:{self.port}"
        self._mark = 0

    def _auth_config(self):
        if self.auth == "bearer":
            # A registry with TLS may send nobody to a token server without.
            self.tokens = TokenServer(self.folder, USER, PASSWORD, tls=self.tls)
            return self.tokens.registry_config()
        if self.auth == "basic":
            (self.folder / "htpasswd").write_text(_HTPASSWD)
            return f"auth:\n  htpasswd:\n    realm: test\n    path: {self.folder}/htpasswd\n"
        return ""

    def docker_config(self, address=""):
        """A docker config.json with the credential, for another address of the registry where one is given."""
        file = self.folder / "docker.json"
        pair = base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()
        file.write_text(json.dumps({"auths": {address or self.address: {"auth": pair}}}))
        file.chmod(0o600)
        return file

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
        try:
            with urllib.request.urlopen(self.url + path, timeout=10, context=context) as response:
                return response.read()
        except urllib.error.HTTPError as error:
            if self.auth and error.code == 401:
                return error.read()
            raise

    def push(self, layout, name):
        """Pushes the OCI layout's only image as name ("test/small:v1"); returns the reference."""
        credential = [f"--dest-creds={USER}:{PASSWORD}"] if self.auth else []
        run(["skopeo", "--insecure-policy", "copy", "-q", "--all", "--preserve-digests", "--dest-tls-verify=false", *credential,
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
        if self.tokens:
            self.tokens.close()
