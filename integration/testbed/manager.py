"""Manager: `hearth manager` with its own root and ports, and the commands and requests that go to it."""

import json
import os
import pathlib
import select
import ssl
import subprocess
import urllib.error
import urllib.request

from .paths import HEARTH
from .process import Process, ProcessEnded, run, wait_for

READY_SECONDS = 20


def _first_event(answer):
    text = b""
    while b"\ndata: " not in text or not text.endswith(b"\n\n"):
        line = answer.readline()
        if not line:
            break
        text += line
    return text


class Manager:
    """settings are TOML dotted keys with TOML values, as for --set. prefix is put before the daemon's command line."""

    def __init__(self, folder, settings=None, prefix=(), start=True):
        self.folder = pathlib.Path(folder)
        self.prefix = list(prefix)
        self.root = self.folder / "root"
        self.config = self.folder / "manager.toml"
        self.log = self.folder / "manager.log"
        self.settings = dict(settings or {})
        self.api = self.grpc = self.ca_file = self.ca_sha256 = None
        self._listen = {"api": "127.0.0.1:0", "grpc": "127.0.0.1:0"}
        self.process = None
        if start:
            self.start()

    def argv(self):
        argv = [*self.prefix, HEARTH, "manager", "--config", self.config, "--output", "json"]
        for key, value in self.settings.items():
            argv += ["--set", f"{key}={value}"]
        return argv

    def start(self):
        """Starts it and returns when both ports answer; after a restart they are the same."""
        api, grpc = self._listen["api"], self._listen["grpc"]
        self.config.write_text(f'root = "{self.root}"\n[api]\nlisten = "{api}"\n[grpc]\nlisten = "{grpc}"\n')
        self.process = Process(self.argv(), self.log, stdout=subprocess.PIPE)

        def readable():
            return select.select([self.process.stdout], [], [], 0)[0] or not self.process.running()

        wait_for(readable, READY_SECONDS, f"hearth manager's ready line\n{self.process.log_tail()}")
        line = self.process.stdout.readline()
        if not line.strip():
            self.process.wait(5)
            self.process.check_running()
        ready = json.loads(line)
        if not ready.get("ready"):
            raise ProcessEnded(f"hearth manager said {line}")
        self.api, self.grpc = ready["api"], ready["grpc"]
        self.ca_file, self.ca_sha256 = pathlib.Path(ready["ca_file"]), ready["ca_sha256"]
        self._listen = {"api": self.api.split("://")[1], "grpc": self.grpc}

    def stop(self):
        return self.process.stop()

    def kill9(self):
        self.process.kill9()

    def restart(self):
        if self.process.running():
            self.stop()
        self.start()

    def close(self):
        if self.process:
            self.process.stop()

    # ---- clients

    @property
    def admin_token(self):
        return (self.root / "admin-token").read_text().strip()

    def environment(self, token=None):
        return {
            "PATH": os.environ["PATH"],
            "HEARTH_MANAGER": self.api,
            "HEARTH_TOKEN": token or self.admin_token,
            "HEARTH_CA_FILE": str(self.ca_file),
        }

    def command(self, *argv, token=None, check=True, timeout=60):
        return run([HEARTH, *argv], check=check, timeout=timeout, env=self.environment(token))

    def json(self, *argv, **kw):
        """The one JSON document that the command prints."""
        return json.loads(self.command(*argv, "--output", "json", **kw).stdout)

    def request(self, method, path, token=None, body=None, headers=None):
        """(status, headers, body) of a REST call; token None = none is shown. body: bytes, or what becomes JSON."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        request = urllib.request.Request(self.api + path, data=data, method=method, headers=headers or {})
        if token:
            request.add_header("Authorization", f"Bearer {token}")
        context = ssl.create_default_context(cafile=self.ca_file)
        try:
            with urllib.request.urlopen(request, context=context, timeout=20) as answer:
                endless = answer.headers["Content-Type"] == "text/event-stream"
                return answer.status, dict(answer.headers), _first_event(answer) if endless else answer.read()
        except urllib.error.HTTPError as error:
            return error.code, dict(error.headers), error.read()

    def events(self, path, last_id=None, timeout=60):
        """Yields (id, event, document) as they come, until the stream ends; silence for `timeout` is an error."""
        request = urllib.request.Request(self.api + path, headers={"Authorization": f"Bearer {self.admin_token}"})
        if last_id is not None:
            request.add_header("Last-Event-ID", last_id)
        context = ssl.create_default_context(cafile=self.ca_file)
        with urllib.request.urlopen(request, context=context, timeout=timeout) as answer:
            event = {}
            for line in answer:
                name, _, value = line.decode().rstrip("\n").partition(": ")
                if name:
                    event[name] = value
                elif "data" in event:
                    yield event["id"], event["event"], json.loads(event["data"])
                    event = {}

    def join_token(self, *flags):
        """A file that holds a fresh join token."""
        text = self.command("tokens", "create", "--join", "--quiet", *flags).stdout.strip()
        file = self.folder / f"join-{len(list(self.folder.glob('join-*')))}"
        file.write_text(text + "\n")
        file.chmod(0o600)
        return file

    def join(self, root, name, token_file, *flags, check=True):
        """`hearth node join` of a node with that root and name."""
        settings = [f"--set=root={root}", f"--set=name={name}"]
        return run(
            [HEARTH, "node", "join", self.grpc, "--token-file", token_file, *settings, *flags], check=check, timeout=60
        )
