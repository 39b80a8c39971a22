"""The file proxy against a real https origin with signed URLs: what leaves the origin, and who gets what."""

import json
import os
import socket
import subprocess
import threading
import time

import pytest

from integration.testbed.process import run
from integration.testbed.registry import PASSWORD, USER

FILE = os.urandom(3 << 20)


def rule(match, **kw):
    """A node's setting: rules as TOML inline tables."""
    words = ", ".join(f"{key} = {json.dumps(value)}" for key, value in {"match": match, **kw}.items())
    return {"proxy.rule": f"[{{ {words} }}]"}


def trusting(bed, origin, **settings):
    """A node that trusts the origin's CA as a system does; it may reach loopback."""
    prefix = ("env", f"SSL_CERT_FILE={origin.ca_file}") if origin.tls else ()
    settings = {"egress_allow": '["127.0.0.0/8"]', **settings}
    return bed.node(prefix=prefix, settings=settings)


def curl(*argv, check=True):
    """(status, headers in lower case, body)"""
    argv = ["curl", "-sS", "--max-time", "60", "-i", "--suppress-connect-headers", *argv]
    out = subprocess.run([str(a) for a in argv], capture_output=True, check=False)
    assert not check or out.returncode == 0, out.stderr.decode()
    head, _, body = out.stdout.partition(b"\r\n\r\n")
    if not head:
        return 0, {}, b""
    lines = head.decode().split("\r\n")
    headers = {k.lower(): v for k, v in (line.split(": ", 1) for line in lines[1:])}
    return int(lines[0].split()[1]), headers, body


def below_file(node, url, *argv, **kw):
    """The URL through /file/ of the mirror's port."""
    return curl(*argv, f"http://{node.mirror}/file/" + url.replace("://", "/", 1), **kw)


def proxied(node, url, *argv, **kw):
    return curl("--noproxy", "", "-x", f"http://{node.mirror}", *argv, url, **kw)


@pytest.fixture
def origin(bed):
    return bed.origin(tls=True)


def later():
    """Another time at which a URL may end: another signature."""
    later.n += 60
    return int(time.time()) + 3600 + later.n


later.n = 0


def test_preheated_file_costs_one_byte_at_most(bed, origin):
    node = trusting(bed, origin)
    origin.put("/f", FILE)
    node.command("preheat", origin.url("/f"))
    assert origin.sent("/f")[0] == len(FILE)
    origin.clear()
    status, headers, body = below_file(node, origin.url("/f", later()))
    assert (status, body) == (200, FILE)
    assert headers["x-dragonfly-task-download-finished"] == "true"
    sent, asked = origin.sent("/f")
    assert sent <= 1 and asked == 1
    forged = origin.url("/f", later())[:-1] + "!"
    status, _, body = below_file(node, forged)
    assert status == 403 and b"SignatureDoesNotMatch" in body
    assert below_file(node, origin.url("/f", 1000))[0] == 403, "over"
    assert origin.sent("/f")[0] <= 1


def test_use_tls_rule_reaches_the_https_origin(bed, origin):
    match = f"^http://{origin.address}/"
    node = trusting(bed, origin, **rule(match, use_tls=True))
    origin.put("/f", FILE)
    node.command("preheat", origin.url("/f"))
    origin.clear()
    status, _, body = proxied(node, origin.url("/f", later(), scheme="http"))
    assert (status, body) == (200, FILE)
    assert origin.sent("/f")[0] <= 1
    # And one that nobody preheated: fetched once, for all.
    origin.put("/g", FILE)
    for _ in range(3):
        assert proxied(node, origin.url("/g", later(), scheme="http"))[2] == FILE
    assert len(FILE) <= origin.sent("/g")[0] <= len(FILE) + 3


@pytest.mark.parametrize("filters, hits", [("Expires&Signature&ns", True), ("Expires&Signature", False), ("", True)])
def test_default_filter_decides_whether_ns_makes_another_file(bed, origin, filters, hits):
    node = trusting(bed, origin, **{"proxy.default_filter": json.dumps(filters)})
    origin.put("/f", FILE)
    node.command("preheat", origin.url("/f"))
    url = origin.url("/f", later(), ns="docker.io")
    explained = node.command("explain", url, check=False)
    assert explained.returncode == (0 if hits else 3), explained.stdout + explained.stderr
    assert hits or "parameter ns" in explained.stdout
    origin.clear()
    assert below_file(node, url)[2] == FILE
    assert (origin.sent("/f")[0] <= 1) == hits


@pytest.mark.parametrize("filters", ["Expires&Signature&ns", "Expires&Signature"])
def test_a_registrys_blob_hits_under_either_filter(bed, registry, ref, image, filters):
    """It is known by its digest: by the proxy, the mirror and explain alike, whatever the URL says beside it."""
    node = bed.node(registry, settings={"proxy.default_filter": json.dumps(filters)})
    node.preheat(ref, depth="blobs")
    blob = max(image.layers, key=lambda layer: len(layer.data))
    url = f"{registry.url}/v2/test/small/blobs/{blob.digest}?ns=docker.io"
    explained = node.command("explain", url, check=False)
    assert explained.returncode == 0, explained.stdout + explained.stderr
    registry.reset()
    status, headers, body = proxied(node, url)
    assert (status, body) == (200, blob.data)
    assert headers["x-dragonfly-task-id"] == blob.digest.split(":")[1]
    assert proxied(node, url, "-r", "5-9")[2] == blob.data[5:10]
    assert registry.blob_bytes() <= 2
    registry.reset()
    status, _, body = curl(f"http://{node.mirror}/v2/test/small/blobs/{blob.digest}?ns={registry.address}")
    assert (status, body) == (200, blob.data) and registry.blob_bytes() == 0


def test_a_private_registrys_blob_is_not_given_to_strangers(bed, image):
    registry = bed.registry(auth="basic")
    ref = image.push(registry, "test/small:v1", bed.folder / "private")
    credential = {f'registry."{registry.address}".docker_config': json.dumps(str(registry.docker_config()))}
    node = bed.node(registry, settings=credential)
    node.preheat(ref, depth="blobs")
    url = f"{registry.url}/v2/test/small/blobs/{image.layers[0].digest}"
    status, _, body = proxied(node, url)
    assert status == 401 and body != image.layers[0].data
    registry.reset()
    assert proxied(node, url, "-u", f"{USER}:{PASSWORD}")[2] == image.layers[0].data
    assert registry.blob_bytes() <= 1
    registry.process.kill9()
    assert proxied(node, url)[0] in (502, 503, 504), "nobody says who may have it"


def test_without_a_rule_it_is_passed_through(bed):
    origin = bed.origin()
    node = trusting(bed, origin)
    origin.put("/f", FILE)
    for _ in range(2):
        status, headers, body = proxied(node, origin.url("/f"), "-H", "Proxy-Connection: x", "-H", "X-Mine: 1")
        assert (status, body) == (200, FILE)
    assert headers["content-type"] == "application/x-test" and "hearth-" in headers["via"]
    assert origin.sent("/f") == (2 * len(FILE), 2)
    asked = origin.asked[0].headers
    assert asked["x-mine"] == "1" and "hearth-" in asked["via"] and "proxy-connection" not in asked
    assert node.json("store", "ls")["blobs"] == []
    status, _, body = proxied(node, origin.url("/f"), "-d", "some words")
    assert (status, body) == (200, b"got some words")
    assert proxied(node, origin.url("/none"))[0] == 404
    assert proxied(node, origin.url("/f"), "-r", "10-19")[2] == FILE[10:20]
    # What the store has is given out under no rule too, once the origin grants it.
    node.command("preheat", origin.url("/f"))
    origin.clear()
    assert proxied(node, origin.url("/f", later()))[2] == FILE
    assert origin.sent("/f")[0] <= 1
    # A rule is not needed to ask for the store.
    origin.put("/p", FILE)
    for _ in range(2):
        assert proxied(node, origin.url("/p"), "-H", "X-Dragonfly-Use-P2P: true")[2] == FILE
    assert origin.sent("/p")[0] <= len(FILE) + 1


def test_ranges_head_and_conditions(bed):
    origin = bed.origin()
    node = trusting(bed, origin, **rule(r"\.bin$"))
    origin.put("/f.bin", FILE)
    url = origin.url("/f.bin")
    assert proxied(node, url)[2] == FILE
    origin.clear()
    status, headers, body = proxied(node, url, "-r", "100-199")
    assert (status, body) == (206, FILE[100:200])
    assert headers["content-range"] == f"bytes 100-199/{len(FILE)}"
    assert proxied(node, url, "-r", "-50")[2] == FILE[-50:]
    assert proxied(node, url, "-r", f"{len(FILE)}-")[0] == 416
    status, headers, body = proxied(node, url, "-I")
    assert status == 200 and body == b"" and headers["content-length"] == str(len(FILE))
    etag = headers["etag"]
    assert proxied(node, url, "-H", f"If-None-Match: {etag}")[0] == 304
    assert proxied(node, url, "-H", 'If-None-Match: "other"')[0] == 200
    assert proxied(node, url, "-H", f"If-Modified-Since: {headers['last-modified']}")[0] == 304
    assert proxied(node, url, "-r", "0-9", "-H", 'If-Range: "other"')[0] == 200
    sent, asked = origin.sent("/f.bin")
    assert asked == 8 and sent <= asked


def test_new_version_is_fetched_and_served(bed):
    origin = bed.origin()
    node = trusting(bed, origin, **rule("/f"))
    origin.put("/f", FILE)
    assert proxied(node, origin.url("/f"))[2] == FILE
    origin.put("/f", b"newer")
    assert proxied(node, origin.url("/f"))[2] == b"newer"
    node.command("preheat", origin.url("/f"))  # a reader may have the last byte before the store has the file
    origin.clear()
    assert proxied(node, origin.url("/f"))[2] == b"newer"
    assert origin.sent("/f")[0] <= 1


@pytest.mark.parametrize("kind", ["no length", "no ranges", "no etag", "empty"])
def test_odd_origins(bed, kind):
    origin = bed.origin()
    node = trusting(bed, origin, **rule("/f"))
    body = b"" if kind == "empty" else FILE
    origin.put("/f", body, length=kind != "no length", ranges=kind != "no ranges", etag=kind != "no etag")
    for _ in range(2):
        status, _, got = proxied(node, origin.url("/f"))
        assert status == 200 and got == body
    node.command("get", origin.url("/f"), "-o", node.folder / "out")
    assert (node.folder / "out").read_bytes() == body


def test_redirect_is_followed_without_credentials(bed):
    storage, front = bed.origin(), bed.origin()
    node = trusting(bed, front, **rule("/f"))
    storage.put("/real", FILE)
    front.put("/f", b"", signed=False, redirect=storage.url("/real"))
    status, _, body = proxied(node, front.url("/f"), "-H", "Authorization: Bearer secret", "-H", "X-Mine: 1")
    assert (status, body) == (200, FILE)
    assert front.asked[0].headers["authorization"] == "Bearer secret"
    assert not {"authorization", "x-mine"} & set(storage.asked[0].headers)


@pytest.mark.parametrize("offline", ["allow", "deny"])
def test_origin_gone(bed, offline):
    origin = bed.origin()
    node = trusting(bed, origin, **rule("/f"), **{"proxy.offline": f'"{offline}"'})
    origin.put("/f", FILE)
    url = origin.url("/f")
    node.command("preheat", url)  # a reader may have the last byte before the store has the file
    origin.close()
    status, headers, body = proxied(node, url)
    if offline == "allow":
        assert (status, body) == (200, FILE) and headers["warning"].startswith("111")
    else:
        assert status == 502 and FILE not in body
    assert proxied(node, origin.url("/f2"))[0] == 502


def test_growing_file_streams_and_is_fetched_once(bed):
    origin = bed.origin()
    node = trusting(bed, origin, **rule("/f"))
    file = origin.put("/f", FILE, rate=1 << 20)
    bodies = {}

    def read(n):
        bodies[n] = proxied(node, origin.url("/f", later()))[2]

    first = subprocess.Popen(
        ["curl", "-sS", "--noproxy", "", "-x", f"http://{node.mirror}", origin.url("/f")], stdout=subprocess.PIPE
    )
    begun = first.stdout.read(1000)
    assert begun == FILE[:1000] and origin.sent("/f")[0] < len(FILE), "not before all of it is here"
    readers = [threading.Thread(target=read, args=(n,)) for n in range(4)]
    for reader in readers:
        reader.start()
    # One who may not have it does not get it from the one who may.
    assert proxied(node, origin.url("/f")[:-1] + "!")[0] == 403
    assert begun + first.communicate()[0] == FILE
    for reader in readers:
        reader.join()
    assert all(body == FILE for body in bodies.values()) and len(bodies) == 4
    assert origin.sent("/f")[0] <= len(FILE) + len(readers)
    assert file.rate


def test_announced_digest_is_checked(bed):
    origin = bed.origin()
    node = trusting(bed, origin, **rule("/f"))
    wrong = "AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA="
    origin.put("/f", FILE, headers={"Repr-Digest": f"sha-256=:{wrong}:"})
    assert proxied(node, origin.url("/f"), check=False)[2] != FILE, "a whole body of wrong bytes"
    got = node.command("get", origin.url("/f"), "-o", node.folder / "out", check=False)
    assert got.returncode == 1 and "announced" in got.stderr
    assert node.json("store", "ls")["blobs"] == []


def test_dragonfly_headers(bed):
    origin = bed.origin()
    node = trusting(bed, origin, **rule("/f"))
    origin.put("/f", FILE)

    def ask(*headers, **params):
        argv = [word for header in headers for word in ("-H", f"X-Dragonfly-{header}")]
        return proxied(node, origin.url("/f", later(), **params), *argv)

    _, headers, _ = ask("Tag: blue", "Application: app", "Piece-Length: 4MiB")
    url = f"http://{origin.address}/f"
    ids = run([*node.command_argv("task-id"), url, "--tag", "blue", "--application", "app", "--piece-length", "4194304"])
    assert headers["x-dragonfly-task-id"] in ids.stdout
    origin.clear()
    ask("Tag: blue", "Application: app")
    assert origin.sent("/f")[0] <= 1
    ask("Tag: green", "Application: app")
    assert origin.sent("/f")[0] >= len(FILE)
    ask("Filtered-Query-Params: Expires,Signature,v", "Tag: v", v="1")
    origin.clear()
    ask("Filtered-Query-Params: Expires,Signature,v", "Tag: v", v="2")
    assert origin.sent("/f")[0] <= 1
    assert not any(name.startswith("x-dragonfly") for asked in origin.asked for name in asked.headers)
    for bad, status in [("Output-Path: /etc/passwd", 501), ("Piece-Length: 1KiB", 400), ("Nonsense: 1", 400)]:
        got, _, body = ask(bad)
        assert got == status and bad.split(":")[0] in body.decode(), bad


def test_no_loops_no_foreign_schemes_no_names_in_urls(bed):
    origin = bed.origin()
    node = trusting(bed, origin)
    assert proxied(node, f"http://{node.mirror}/v2/")[0] == 508
    via = proxied(node, origin.url("/none"))[1]["via"]
    assert proxied(node, origin.url("/none"), "-H", f"Via: {via}")[0] == 508
    assert curl(f"http://{node.mirror}/file/ftp/host/f")[0] == 400
    with socket.create_connection(("127.0.0.1", int(node.mirror.split(":")[1]))) as raw:
        raw.sendall(b"GET http://user:password@host/ HTTP/1.1\r\nHost: host\r\n\r\n")
        assert b" 400 " in raw.recv(4096)


def test_connect_only_to_hosts_that_a_rule_names(bed, origin):
    node = trusting(bed, origin, **rule(f"^https://127\\.0\\.0\\.1:{origin.port}/"))
    origin.put("/f", FILE)
    ca = ("--cacert", origin.ca_file)
    assert proxied(node, origin.url("/f"), *ca)[2] == FILE
    assert node.json("store", "ls")["blobs"] == [], "nobody looks into a tunnel"
    other = bed.origin(tls=True)
    assert proxied(node, other.url("/f"), *ca, check=False)[0] == 0
    assert other.sent() == (0, 0)


def test_kill_in_a_download_resumes(bed):
    origin = bed.origin()
    node = trusting(bed, origin, **rule("/f"))
    # Bytes count after a crash once they were synced, which is every 32 MiB.
    content = FILE * 16
    file = origin.put("/f", content, rate=24 << 20)
    argv = ["curl", "-sS", "--noproxy", "", "-x", f"http://{node.mirror}", origin.url("/f")]
    reader = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
    assert len(reader.stdout.read(40 << 20)) == 40 << 20
    node.kill9()
    reader.communicate()
    file.rate = 0
    origin.clear()
    node.start()
    assert proxied(node, origin.url("/f", later()))[2] == content
    assert origin.sent("/f")[0] <= len(content) - (32 << 20)
    assert node.verify()[0] == 0
