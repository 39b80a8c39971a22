"""TlsServer: nginx with TLS 1.3 over a folder, as what others are compared with."""

from integration.testbed.process import Process, run, wait_for

_PORT = 8443
_CONFIG = """\
daemon off;
master_process off;
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
    listen {host}:{port} ssl;
    ssl_certificate {folder}/server.pem;
    ssl_certificate_key {folder}/server.key;
    ssl_protocols TLSv1.3;
    root {root};
  }}
}}
"""


class TlsServer:
    """Started by `prefix`, on the address `host`."""

    def __init__(self, folder, prefix, host, root):
        self.root = root
        self.address = f"{host}:{_PORT}"
        self.ca_file = folder / "server.pem"
        run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2",
             "-subj", f"/CN={host}", "-addext", f"subjectAltName=IP:{host}", "-keyout", folder / "server.key",
             "-out", self.ca_file])  # fmt: skip
        config = folder / "nginx.conf"
        config.write_text(_CONFIG.format(folder=folder, host=host, port=_PORT, root=root))
        self.process = Process([*prefix, "nginx", "-c", config], folder / "nginx.log")
        probe = [*prefix, "curl", "-s", "--cacert", self.ca_file, f"https://{self.address}/"]
        try:
            wait_for(lambda: self.process.check_running() or run(probe, check=False).returncode == 0, 20, "nginx")
        except BaseException:
            self.close()
            raise

    def url(self, path):
        return f"https://{self.address}/{path.relative_to(self.root)}"

    def close(self):
        self.process.stop()
