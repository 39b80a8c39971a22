"""Nginx: nginx over a folder, as what others are compared with; with TLS 1.3 or without."""

import os
import pathlib

from integration.testbed.process import Process, run, wait_for

_CONFIG = """\
daemon off;
worker_processes auto;
pid {folder}/nginx.pid;
error_log {folder}/error.log;
user root;
events {{}}
http {{
  access_log off;
  sendfile on;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  server {{
    {listen}
    root {root};
  }}
}}
"""
_TLS = """listen {address} ssl;
    ssl_certificate {folder}/server.pem;
    ssl_certificate_key {folder}/server.key;
    ssl_protocols TLSv1.3;"""


class Nginx:
    """Started by `prefix`, on the address HOST:PORT."""

    def __init__(self, folder, root, address, prefix=(), tls=True):
        self.root = root
        self.base = f"{'https' if tls else 'http'}://{address}"
        self.ca_file = folder / "server.pem"
        listen = f"listen {address};"
        if tls:
            self._make_certificate(folder, address.rpartition(":")[0])
            listen = _TLS.format(address=address, folder=folder)
        config = folder / "nginx.conf"
        config.write_text(_CONFIG.format(folder=folder, listen=listen, root=root))
        self.process = Process([*prefix, "nginx", "-c", config], folder / "nginx.log")
        probe = [*prefix, "curl", "-s", *(["--cacert", self.ca_file] if tls else []), f"{self.base}/"]
        try:
            wait_for(lambda: self.process.check_running() or run(probe, check=False).returncode == 0, 20, "nginx")
        except BaseException:
            self.close()
            raise

    def _make_certificate(self, folder, host):
        run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
             "-subj", f"/CN={host}", "-addext", f"subjectAltName=IP:{host}", "-keyout", folder / "server.key",
             "-out", self.ca_file])  # fmt: skip

    def url(self, path):
        return f"{self.base}/{path.relative_to(self.root)}"

    def cpu_seconds(self):
        """Of its workers."""
        workers = pathlib.Path(f"/proc/{self.process.pid}/task/{self.process.pid}/children").read_text().split()
        fields = [pathlib.Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split() for pid in workers]
        return sum(int(one[11]) + int(one[12]) for one in fields) / os.sysconf("SC_CLK_TCK")

    def close(self):
        self.process.stop()
