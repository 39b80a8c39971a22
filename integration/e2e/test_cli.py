"""The commands as scripts see them: exit codes, JSON, messages."""

import hashlib
import json
import pathlib
import subprocess
import urllib.request

import pytest

from integration.testbed.paths import HEARTH

COMMANDS = ["node", "manager", "nodes", "tokens", "preheat", "get", "explain", "task-id", "doctor", "install", "uninstall", "store", "sim"]


@pytest.fixture
def node(bed, registry):
    return bed.node(registry)


def hearth(*argv, **kw):
    return subprocess.run([HEARTH, *argv], capture_output=True, text=True, timeout=30, **kw)


@pytest.mark.parametrize("command", COMMANDS)
def test_help_has_an_example(command):
    out = hearth(command, "-h")
    assert out.returncode == 0
    assert "xample" in out.stdout, out.stdout


def test_wrong_use_is_2_and_an_error_line():
    for argv in (["no-such-command"], ["preheat", "--no-such-flag"], ["preheat"], ["preheat", "x", "--depth", "deep"]):
        out = hearth(*argv)
        assert out.returncode == 2, (argv, out)
        assert out.stderr.startswith("hearth: "), out.stderr
        assert out.stdout == ""


def test_help_of_an_unknown_command_is_wrong_use():
    out = hearth("frobnicate", "-h", check=False)
    assert out.returncode == 2 and out.stdout == "" and "frobnicate" in out.stderr


def test_command_without_a_node_says_what_to_do(tmp_path):
    out = hearth("preheat", "127.0.0.1:1/x:v1", "--set", f"run={tmp_path}")
    assert out.returncode == 1
    assert out.stderr.startswith("hearth: ") and "admin.sock" in out.stderr and "hearth node" in out.stderr


def test_explain_is_3_until_warm(node, ref, image):
    out = node.command("explain", ref, check=False)
    assert out.returncode == 3
    node.preheat(ref, depth="layers")
    out = node.command("explain", ref)
    for blob in image.layers:
        assert blob.digest.split(":")[1][:12] in out.stdout


def test_explain_names_what_is_missing(node, ref, image):
    node.preheat(ref, depth="blobs")
    gone = image.layers[2].digest
    node.command("store", "rm", gone)
    out = node.command("explain", ref, check=False)
    assert out.returncode == 3
    assert gone.split(":")[1][:12] in out.stdout


def test_explain_json_is_one_document(node, ref, image):
    document = node.json("explain", ref, check=False)
    assert isinstance(document, dict)
    node.preheat(ref, depth="layers")
    warm = node.json("explain", ref)
    assert image.layers[0].digest in json.dumps(warm)
    assert document != warm


def test_preheat_json_is_one_document(node, ref):
    first = node.json("preheat", ref)
    second = node.json("preheat", ref)
    assert isinstance(first, dict) and isinstance(second, dict)


def test_quiet_is_quiet(node, ref):
    out = node.command("preheat", ref, "--quiet")
    assert out.stdout == "" and out.stderr == ""


def test_preheat_of_two_images_one_missing_is_partly_done(node, ref):
    missing = ref.replace("small", "nowhere")
    out = node.preheat(ref, missing, check=False)
    assert out.returncode == 4
    assert "nowhere" in out.stderr
    assert node.command("explain", ref).returncode == 0


def test_missing_image_names_it(node, ref):
    out = node.preheat(ref.replace("small", "nowhere"), check=False)
    assert out.returncode == 1
    assert "nowhere" in out.stderr and out.stderr.startswith("hearth: ")


def test_bad_reference_is_wrong_use(node):
    out = node.preheat("UPPER/case:??", check=False)
    assert out.returncode == 2
    assert "UPPER/case:??" in out.stderr


def test_pin_is_shown(node, ref):
    node.command("preheat", ref, "--pin", "24h")
    assert "pin" in node.command("explain", ref).stdout.lower()
    out = node.command("preheat", ref, "--pin", "soon", check=False)
    assert out.returncode == 2 and "soon" in out.stderr


def test_store_ls_verify_rm(node, ref, image):
    assert node.command("store", "verify").returncode == 0
    node.preheat(ref, depth="layers")
    listed = node.command("store", "ls").stdout
    for blob in image.layers:
        assert blob.digest in listed
    assert isinstance(node.json("store", "ls"), dict)
    node.command("store", "rm", image.layers[3].digest)
    assert image.layers[3].digest not in node.command("store", "ls").stdout
    assert node.command("store", "rm", "sha256:" + "0" * 64, check=False).returncode == 3


def test_verify_finds_a_changed_byte(node, ref, image):
    node.preheat(ref, depth="blobs")
    path = node.blob_path(image.layers[0].digest)
    with open(path, "r+b") as f:
        f.seek(1000)
        byte = f.read(1)
        f.seek(1000)
        f.write(bytes([byte[0] ^ 1]))
    code, said = node.verify()
    assert code == 1
    assert image.layers[0].digest in said


def test_get_writes_the_file(node, registry, ref, image, bed):
    blob = image.layers[0]
    out = bed.folder / "got"
    url = f"{registry.url}/v2/test/small/blobs/{blob.digest}"
    node.command("get", url, "-o", out)
    assert hashlib.sha256(out.read_bytes()).hexdigest() == blob.digest.split(":")[1]


def test_get_of_nothing_leaves_no_file(node, registry, bed):
    out = bed.folder / "got"
    result = node.command("get", f"{registry.url}/v2/test/none/blobs/sha256:{'0' * 64}", "-o", out, check=False)
    assert result.returncode in (1, 3)
    assert result.stderr.startswith("hearth: ")
    assert not out.exists()


def test_status_answers(node):
    for path in ("livez", "readyz"):
        with urllib.request.urlopen(f"http://{node.status}/{path}", timeout=5) as response:
            assert response.status == 200


def test_mirror_answers_ranges_of_a_warm_blob(node, registry, ref, image):
    node.preheat(ref, depth="blobs")
    blob = image.layers[0]
    url = f"http://{node.mirror}/v2/test/small/blobs/{blob.digest}?ns={registry.address}"
    request = urllib.request.Request(url, headers={"Range": "bytes=100-199"})
    with urllib.request.urlopen(request, timeout=5) as response:
        assert response.status == 206
        assert response.headers["Content-Range"] == f"bytes 100-199/{len(blob.data)}"
        assert "Content-Encoding" not in response.headers
        assert response.read() == blob.data[100:200]


def test_sockets_are_for_root_only(node):
    for socket in (node.socket, node.admin_socket):
        assert pathlib.Path(socket).stat().st_mode & 0o777 == 0o600


def test_task_id_of_a_url():
    out = hearth("task-id", "http://example.com/file?Expires=1", "--output", "json")
    assert out.returncode == 0
    assert isinstance(json.loads(out.stdout), dict)


# What peers of Dragonfly (client 1.5.10) called a blob when they were asked.
LAB_DIGEST = "335c241fe16d3ad03e58b6c9972e97cf9cb82c82e24d411dbc96f777a63886c8"
LAB = f"http://10.77.0.10:5000/v2/lab/small/blobs/sha256:{LAB_DIGEST}"
PLAIN_ID = "b9f0793c4f9438971149c22d259367b8db9eae06004752eab4b523424a2fcec7"
MEASURED_IDS = [
    ([LAB], PLAIN_ID),
    ([LAB + "?ns=docker.io"], PLAIN_ID),
    (["HTTP" + LAB[4:]], PLAIN_ID),
    ([LAB.replace("/lab/", "/lab/./")], PLAIN_ID),
    ([LAB, "--tag", "foo"], "71b71b0647f41419010b9f5ccd56cf93ccf03b671dbc7f4ae9d3ca6053829e7b"),
    ([LAB, "--application", "bar"], "3569737943417346ea5846d7fc33284934ebd65dd8f0293a4b7e031dbe8eef54"),
    ([LAB, "--tag", "foo", "--application", "bar"], "6e6a2d3858ba4efea574c09a61af106e16695c3d6efbd5bbf5ade36eaa83ed41"),
    ([LAB, "--piece-length", "4194304"], "749f15d33f1087eadb3721c626c74658cdd8ec3e9c31eebe9c896c1e2350ff81"),
    ([LAB, "--piece-length", "8388608"], "005fe4c5d0983550e7d89d2bda8bc76b8393f7511db9b1be108b7889c31833bb"),
    ([LAB, "--tag", "foo", "--application", "bar", "--piece-length", "8388608"],
     "a5d2d9da0ef8b378bf2212917aff0bf8b491d77337a010f014607489426293d6"),
    ([LAB + "?X-Amz-Signature=1&y=2"], "50ebba981b2747ab58940ce86f046ae36dcfed65fbf6a9e9aa33845fa5726529"),
    ([LAB + "?foo=1&bar=2&c=3", "--filter", "foo&bar"], "6ecd71b5dfd7324b197952658054dbb09fa301d8b4f4b028ef9c4d7f5807d8eb"),
    ([LAB + "?ns=docker.io&foo=1", "--filter", "foo"], "b92193e5426ed05ef8c38903c11a2ed72c7d41b6a065edb3cae80e7b883caf77"),
    ([LAB + "?b=2&a=1"], "1c11a7e0f607375c4504039e0a6513f9532d24921cc7b37af80aaf4d58c9af5b"),
    ([LAB + "?q=a%20b~*"], "860161f4b23418a74eb516089d7e6f2fc1e73936226591b7d0462f5defbed394"),
]  # fmt: skip


@pytest.mark.parametrize("argv, measured", MEASURED_IDS, ids=[" ".join(argv)[len(LAB) :] or "plain" for argv, _ in MEASURED_IDS])
def test_task_ids_that_real_peers_gave(argv, measured):
    printed = hearth("task-id", *argv).stdout
    assert measured in printed and LAB_DIGEST in printed
    assert hearth("task-id", "--scheme", "v2.5", *argv).stdout.split()[-1] == measured


def test_task_id_of_content_as_a_real_peer_gave_it():
    printed = hearth("task-id", "--scheme", "content", "X").stdout
    assert "4b68ab3847feda7d6c62c1fbcbeebfa35eab7351ed5e78f4ddadea5df64b8015" in printed
