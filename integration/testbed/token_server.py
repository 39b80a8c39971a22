"""TokenServer: gives bearer tokens to whoever knows the password, as docker-registry's token authentication wants them."""

import base64
import http.server
import json
import ssl
import threading
import time
import urllib.parse

from .http_server import HttpServer
from .process import run

TOKEN_SECONDS = 300


def _base64url(data):
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


class TokenServer:
    """Signs with a key of its own; ca_file is what the registry trusts. Without credentials a token allows nothing.

    tls: it speaks TLS with the registry's certificate (server.pem, server.key in folder).
    """

    issuer = "hearth-test"
    service = "registry.test"

    def __init__(self, folder, user, password, tls=False):
        self.folder = folder
        self.user, self.password = user, password
        self.asked = []  # (method, user) of each request, user "" = none
        self.ca_file = folder / "token.pem"
        run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "30", "-subj", "/CN=Hearth test tokens",
             "-keyout", folder / "token.key", "-out", self.ca_file])  # fmt: skip
        owner = self

        class Handler(_Handler):
            tokens = owner

        self._server = HttpServer(("127.0.0.1", 0), Handler)
        port = self._server.server_address[1]
        self.realm = f"http://127.0.0.1:{port}/token"
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(folder / "server.pem", folder / "server.key")
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
            self.realm = f"https://127.0.0.1:{port}/token"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def registry_config(self):
        return (
            f"auth:\n  token:\n    realm: {self.realm}\n    service: {self.service}\n    issuer: {self.issuer}\n"
            f"    rootcertbundle: {self.ca_file}\n"
        )

    def token(self, scopes, user):
        """For all of the scopes ("repository:NAME:pull,push") where there is a user, else for none."""
        access = []
        for scope in scopes if user else []:
            kind, name, actions = scope.split(":")[0], ":".join(scope.split(":")[1:-1]), scope.split(":")[-1]
            access.append({"type": kind, "name": name, "actions": actions.split(",")})
        certificate = "".join(self.ca_file.read_text().splitlines()[1:-1])
        now = int(time.time())
        claims = {"iss": self.issuer, "sub": user, "aud": self.service, "exp": now + TOKEN_SECONDS, "nbf": now - 10,
                  "iat": now, "jti": str(time.time_ns()), "access": access}  # fmt: skip
        parts = [{"typ": "JWT", "alg": "RS256", "x5c": [certificate]}, claims]
        signed = ".".join(_base64url(json.dumps(part).encode()) for part in parts)
        return f"{signed}.{_base64url(self._sign(signed.encode()))}"

    def _sign(self, data):
        source, target = self.folder / "to-sign", self.folder / "signature"
        with _SIGNING:
            source.write_bytes(data)
            run(["openssl", "dgst", "-sha256", "-sign", self.folder / "token.key", "-out", target, source])
            return target.read_bytes()

    def close(self):
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


_SIGNING = threading.Lock()


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    tokens = None

    def log_message(self, *args):
        pass

    def do_GET(self):
        query = urllib.parse.parse_qs(urllib.parse.urlparse(self.path).query)
        pair = ("", "")
        authorization = self.headers.get("Authorization", "")
        if authorization.startswith("Basic "):
            user, _, password = base64.b64decode(authorization[6:]).decode().partition(":")
            pair = (user, password)
        self._answer(query, pair)

    def do_POST(self):
        """OAuth2, which containerd tries first."""
        form = urllib.parse.parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        self._answer(form, (form.get("username", [""])[0], form.get("password", [""])[0]))

    def _answer(self, asked, pair):
        tokens = self.tokens
        tokens.asked.append((self.command, pair[0]))
        if pair not in (("", ""), (tokens.user, tokens.password)):
            return self._send(401, {"errors": [{"code": "UNAUTHORIZED", "message": "wrong user or password"}]})
        scopes = [scope for value in asked.get("scope", []) for scope in value.split(" ")]
        token = tokens.token(scopes, pair[0])
        self._send(200, {"token": token, "access_token": token, "expires_in": TOKEN_SECONDS})

    def _send(self, status, document):
        body = json.dumps(document).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
