"""The node's log: at level debug it says why a pull was cold, each line is JSON whatever strangers send, and no secret is in it."""

import base64
import json

from integration.testbed.process import wait_for
from integration.e2e.test_proxy import below_file, curl, proxied

PASSWORD = "hunter2-very-secret"


def events(node):
    """Each line of the log as the object it must be."""
    lines = (node.folder / "node.log").read_bytes().decode().splitlines()  # strict: invalid UTF-8 fails
    return [json.loads(line) for line in lines if line]


def of(node, message, **fields):
    return [e for e in events(node) if e["message"] == message and all(e.get(k) == v for k, v in fields.items())]


def test_debug_lines_explain_a_miss_and_a_preheat(bed, registry, ref, image):
    node, containerd = bed.warm_pair(registry, mirror=True, settings={"log_level": '"debug"'})
    node.preheat(ref, depth="layers")
    steps = [e["step"] for e in of(node, "preheat", reference=ref)]
    assert steps[0] == "resolved" and steps.count("layer unpacked") == len(image.layers), steps
    assert steps[-1] == "marked as preheated"
    assert {e["blob"] for e in of(node, "preheat layer")} == {layer.digest for layer in image.layers}
    containerd.pull(ref)
    assert of(node, "asked the origin", method="HEAD", status=200)
    assert len(of(node, "prepare", decision="layer is here")) == len(image.layers)
    containerd.ctr("-n", "probe", "snapshots", "--snapshotter", "hearth", "prepare", "mine")
    assert of(node, "prepare", decision="mounts", key="probe/1/mine") or [
        e for e in of(node, "prepare", decision="mounts") if e["key"].endswith("/mine") and "no chain is named" in e["why"]
    ]


def test_strangers_bytes_leave_each_line_json(bed, registry, ref):
    node = bed.node(registry, settings={"log_level": '"debug"'})
    for path in ("/v2/a%0Ab%22,%22level%22:%22x/manifests/v1", "/v2/%FF%FE%1B%5B31m/manifests/v1", "/v2/x/manifests/" + "y" * 5000):
        curl(f"http://{node.mirror}{path}?ns={registry.address}")
    odd = wait_for(lambda: of(node, "mirror", method="GET"), 10, "the mirror's decisions")
    assert len(odd) == 3, odd
    assert "\\xff\\xfe" in odd[1]["path"] + odd[1]["why"] or "%FF" in odd[1]["path"], odd[1]
    assert all(len(value) < 5000 for event in events(node) for value in event.values() if isinstance(value, str))


def test_no_secret_is_in_the_log(bed, registry, ref):
    origin = bed.origin(tls=True)
    settings = {
        "log_level": '"debug"',
        "egress_allow": '["127.0.0.0/8"]',
        "proxy.rule": '[{ match = ".*", use_tls = true }]',
    }
    node = bed.node(registry, prefix=("env", f"SSL_CERT_FILE={origin.ca_file}"), settings=settings)
    basic = base64.b64encode(f"user:{PASSWORD}".encode()).decode()
    name = ref.removeprefix(registry.address + "/").rpartition(":")[0]
    base = f"http://{node.mirror}/v2/{name}"
    for path in ("manifests/v1", "blobs/sha256:" + "0" * 64, "manifests/none"):
        curl("-H", f"Authorization: Basic {basic}", f"{base}/{path}?ns={registry.address}")
    assert of(node, "asked the origin", with_credentials=True)
    url = f"https://{origin.address}/f?Expires=4102444800&Signature={PASSWORD}"
    below_file(node, url, "-H", f"Authorization: Bearer {PASSWORD}", "-H", f"Cookie: sid={PASSWORD}")
    proxied(node, url.replace("https://", "http://"))
    proxied(node, f"http://user:{PASSWORD}@127.0.0.1:1/f")
    node.command("preheat", url, check=False)
    node.command("preheat", f"https://user:{PASSWORD}@127.0.0.1:1/f", check=False)
    node.command("preheat", f"user:{PASSWORD}@127.0.0.1:1/x", check=False)
    node.stop()
    log = (node.folder / "node.log").read_text()
    assert events(node)
    for secret in (PASSWORD, basic):
        assert secret not in log, [line for line in log.splitlines() if secret in line]
