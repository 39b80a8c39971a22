"""What the node says of itself: /metrics, /readyz, systemd's notify protocol, and reload by SIGHUP."""

import json
import os
import signal
import socket
import time
import urllib.error
import urllib.request

import pytest

from integration.testbed import exposition
from integration.testbed.node import Node
from integration.testbed.process import ProcessEnded, wait_for

SECONDS = 30


def get(node, path):
    """(status, headers, text), whatever the status."""
    try:
        with urllib.request.urlopen(f"http://{node.status}{path}", timeout=SECONDS) as response:
            return response.status, response.headers, response.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.headers, error.read().decode()


def metrics(node):
    status, headers, text = get(node, "/metrics")
    assert status == 200
    assert headers["Content-Type"] == "text/plain; version=0.0.4; charset=utf-8"
    return exposition.parse(text)


# ---- the reader itself

FINE = "# HELP a_total A.\n# TYPE a_total counter\n"
HISTOGRAM = "# HELP h H.\n# TYPE h histogram\n"
WRONG = {
    "no final line break": FINE + "a_total 1",
    "no help": "# TYPE a_total counter\na_total 1\n",
    "no type": "# HELP a_total A.\na_total 1\n",
    "type twice": FINE + "# TYPE a_total counter\na_total 1\n",
    "family in two places": FINE + "a_total 1\n# HELP b B.\n# TYPE b gauge\nb 1\n# HELP a_total A.\na_total 2\n",
    "sample of another family": FINE + "b 1\n",
    "sample before its family": "a_total 1\n",
    "no sample": FINE,
    "series twice": FINE + 'a_total{x="1",y="2"} 1\na_total{y="2",x="1"} 1\n',
    "label twice": FINE + 'a_total{x="1",x="2"} 1\n',
    "label name": FINE + 'a_total{x-y="1"} 1\n',
    "open quote": FINE + 'a_total{x="1\\"} 1\n',
    "unknown escape": FINE + 'a_total{x="\\t"} 1\n',
    "line break in a value": FINE + 'a_total{x="1\n2"} 1\n',
    "no value": FINE + "a_total\n",
    "odd value": FINE + "a_total 0x10\n",
    "negative counter": FINE + "a_total -1\n",
    "counter without _total": "# HELP a A.\n# TYPE a counter\na 1\n",
    "gauge with _total": "# HELP a_total A.\n# TYPE a_total gauge\na_total 1\n",
    "unknown type": "# HELP a A.\n# TYPE a number\na 1\n",
    "histogram without +Inf": HISTOGRAM + 'h_count 1\nh_sum 1\nh_bucket{le="1"} 1\n',
    "histogram that falls": HISTOGRAM + 'h_count 1\nh_sum 1\nh_bucket{le="1"} 2\nh_bucket{le="+Inf"} 1\n',
}


@pytest.mark.parametrize("case", WRONG)
def test_the_reader_refuses(case):
    with pytest.raises(exposition.Malformed):
        exposition.parse(WRONG[case])


def test_the_reader_takes_what_is_right():
    text = FINE + 'a_total{x="\\\\ \\" \\n"} 1e+06\na_total 0\n'
    assert exposition.parse(text)["a_total"].value(x='\\ " \n') == 1e6
    exposition.parse(HISTOGRAM + 'h_count 2\nh_sum 3.5\nh_bucket{le="1"} 1\nh_bucket{le="+Inf"} 2\n')


# ---- /metrics


def test_metrics_are_well_formed_and_count_a_preheat_and_a_pull(bed, registry, ref, image):
    node, containerd = bed.warm_pair(registry, mirror=True)
    before = metrics(node)
    assert before["hearth_blobs"].value(state="preheated") == 0
    node.preheat(ref, depth="layers")
    warm = metrics(node)
    blobs = len({blob.digest for blob in image.layers}) + 2  # and manifest and config
    assert warm["hearth_blobs"].value(state="preheated") == blobs
    assert sum(warm["hearth_layers"].samples.values()) == len(image.layers)
    wait_for(lambda: metrics(node)["hearth_containerd_connected"].value() == 1, SECONDS, "containerd's answer")
    containerd.pull(ref)
    after = metrics(node)
    assert after["hearth_blobs"].value(state="claimed") == blobs
    requests = after["hearth_http_requests_total"]
    assert sum(requests.samples.values()) > 0
    for name, family in warm.items():
        if family.kind == "counter":
            for key, value in family.samples.items():
                assert after[name].samples[key] >= value, f"{key} fell"
    assert before.keys() <= after.keys()
    assert after["process_open_fds"].value() > 0
    assert abs(after["process_start_time_seconds"].value() - time.time()) < 3600


def test_metrics_only_for_get(node):
    request = urllib.request.Request(f"http://{node.status}/metrics", data=b"x", method="POST")
    with pytest.raises(urllib.error.HTTPError) as refused:
        urllib.request.urlopen(request, timeout=SECONDS)
    assert (refused.value.code, refused.value.headers["Allow"]) == (405, "GET, HEAD")


# ---- /readyz


@pytest.fixture
def node(bed, registry):
    return bed.node(registry)


def checks(text):
    return {check["name"]: check for check in json.loads(text)["checks"]}


@pytest.mark.parametrize("gone", ["containerd_socket", "admin_socket"])
def test_readyz_is_503_while_a_socket_is_gone(node, gone):
    status, headers, text = get(node, "/readyz")
    assert (status, headers["Content-Type"]) == (200, "application/json")
    assert json.loads(text)["ready"] is True
    before = checks(text)
    assert before.keys() == {"containerd_socket", "admin_socket", "mirror"}
    assert all(check["ready"] and check["error"] == "" for check in before.values())
    path = {"containerd_socket": node.socket, "admin_socket": node.admin_socket}[gone]
    aside = path.with_suffix(".aside")
    path.rename(aside)
    status, headers, text = get(node, "/readyz")
    assert (status, headers["Content-Type"]) == (503, "application/json")
    assert json.loads(text)["ready"] is False
    after = checks(text)
    assert [name for name, check in after.items() if not check["ready"]] == [gone]
    assert str(path) in after[gone]["where"] and after[gone]["error"]
    assert get(node, "/livez")[0] == 200
    aside.rename(path)
    wait_for(lambda: get(node, "/readyz")[0] == 200, SECONDS, "ready again")


# ---- the service manager


class Manager:
    """The service manager's end of NOTIFY_SOCKET: every datagram as a dictionary of its assignments."""

    def __init__(self, address):
        self.address = address
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind("\0" + address[1:] if address.startswith("@") else address)
        self._socket.settimeout(SECONDS)

    def next(self):
        while True:
            message = self._socket.recv(4096).decode()
            said = dict(line.split("=", 1) for line in message.splitlines())
            if said != {"WATCHDOG": "1"}:
                return said

    def beat(self):
        """The next keep-alive."""
        while self._socket.recv(4096) != b"WATCHDOG=1":
            pass

    def pending(self):
        self._socket.setblocking(False)
        try:
            return self._socket.recv(4096).decode()
        except BlockingIOError:
            return ""
        finally:
            self._socket.settimeout(SECONDS)

    def close(self):
        self._socket.close()


@pytest.fixture(params=["path", "abstract"])
def manager(request, bed, monkeypatch):
    name = f"@hearth-test-{os.getpid()}" if request.param == "abstract" else str(bed.folder / "notify")
    manager = bed.own(Manager(name))
    monkeypatch.setenv("NOTIFY_SOCKET", name)
    return manager


def test_ready_reloading_stopping(bed, registry, manager):
    node = bed.node(registry)
    said = manager.next()
    assert said["READY"] == "1" and said["STATUS"].startswith("serving")
    assert get(node, "/readyz")[0] == 200
    began = time.monotonic_ns() // 1000
    node.process.signal(signal.SIGHUP)
    said = manager.next()
    assert said["RELOADING"] == "1"
    assert began <= int(said["MONOTONIC_USEC"]) <= time.monotonic_ns() // 1000
    assert manager.next()["READY"] == "1"
    node.process.signal(signal.SIGTERM)
    assert manager.next()["STOPPING"] == "1"
    assert node.process.wait(SECONDS) == 0
    assert manager.pending() == ""


def test_a_node_that_cannot_serve_never_says_ready(bed, registry, manager):
    """Its first sockets answer already when the mirror's port turns out to be taken."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = f'"127.0.0.1:{taken.getsockname()[1]}"'
        node = bed.own(Node(bed.new_folder("n"), [registry], settings={"mirror.listen": port}, start=False))
        with pytest.raises(ProcessEnded):
            node.start()
    assert "mirror.listen" in node.process.log_tail()
    assert manager.next()["STOPPING"] == "1"
    assert manager.pending() == ""


def test_watchdog_is_fed_only_while_the_sockets_answer(bed, registry, manager, monkeypatch):
    monkeypatch.setenv("WATCHDOG_USEC", "400000")
    node = bed.node(registry)
    assert manager.next()["READY"] == "1"
    manager.beat()
    manager.beat()
    aside = node.socket.with_suffix(".aside")
    node.socket.rename(aside)
    wait_for(lambda: "not ready" in node.process.log_tail(), SECONDS, "the node's notice that a socket is gone")
    while manager.pending():
        pass  # what was sent before
    notices = node.process.log.read_text().count("not ready")
    wait_for(lambda: node.process.log.read_text().count("not ready") >= notices + 2, SECONDS, "two more looks")
    assert manager.pending() == ""
    aside.rename(node.socket)
    manager.beat()


# ---- reload


def reload(node, manager):
    """SIGHUP, and the READY=1 that ends the reload."""
    node.process.signal(signal.SIGHUP)
    assert manager.next()["RELOADING"] == "1"
    said = manager.next()
    assert said["READY"] == "1" and "failed" not in said["STATUS"]


def test_reload_changes_the_log_level(bed, registry, ref, manager):
    node = bed.node(registry)
    manager.next()
    pid, config = node.process.pid, node.config.read_text()
    log = node.process.log

    def told():
        return [json.loads(line) for line in log.read_text().splitlines() if "config reloaded" in line]

    reload(node, manager)
    assert [event["changed"] for event in told()] == [""]
    node.config.write_text('log_level = "error"\n' + config)
    reload(node, manager)
    # Nothing but errors from here on: not the reload itself, not the warning that a key needs a restart.
    node.config.write_text('log_level = "error"\nname = "other"\n' + config)
    reload(node, manager)
    assert len(told()) == 1 and "need a restart" not in log.read_text()
    node.config.write_text('log_level = "info"\nname = "other"\n' + config)
    reload(node, manager)
    assert [event["changed"] for event in told()] == ["", "log_level"]
    assert '"level":"warning"' in log.read_text() and "need a restart" in log.read_text()
    node.preheat(ref, depth="blobs")
    assert node.process.pid == pid


def test_reload_of_a_broken_file_changes_nothing(bed, registry, manager):
    node = bed.node(registry)
    manager.next()
    config = node.config.read_text()
    node.config.write_text(config + "\nnot_a_key = 1\n")
    node.process.signal(signal.SIGHUP)
    assert manager.next()["RELOADING"] == "1"
    said = manager.next()
    assert said["READY"] == "1" and "reload failed" in said["STATUS"] and "not_a_key" in said["STATUS"]
    assert get(node, "/readyz")[0] == 200
