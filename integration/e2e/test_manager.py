"""The manager as operators, machines that join, and strangers meet it."""

import hashlib
import json
import os
import pathlib
import re
import socket
import ssl
import stat
import subprocess
import time

import pytest

from integration.testbed.paths import HEARTH
from integration.testbed.process import run, wait_for
from integration.testbed.unit import UNIT, Unit

SCOPES = ["job", "job:read", "cluster", "cluster:read", "node", "node:read", "admin", "admin:read"]
# What needs no token, and says nothing that one would be needed for.
PUBLIC = {("GET", path) for path in ("/livez", "/readyz", "/healthy", "/metrics", "/openapi.yaml")}
# Method, path, and the scopes that suffice. A route that is missing here fails test_every_route_is_walked.
ROUTES = {
    ("POST", "/oapi/v1/jobs"): {"job", "admin"},
    ("GET", "/oapi/v1/jobs"): {"job", "job:read", "admin", "admin:read"},
    ("GET", "/oapi/v1/jobs/{id}"): {"job", "job:read", "admin", "admin:read"},
    ("GET", "/oapi/v1/jobs/{id}/nodes"): {"job", "job:read", "admin", "admin:read"},
    ("GET", "/oapi/v1/jobs/{id}/events"): {"job", "job:read", "admin", "admin:read"},
    ("GET", "/api/v1/events"): {"job", "job:read", "admin", "admin:read"},
    ("GET", "/api/v1/pull-jobs/{name}/watch"): {"job", "job:read", "admin", "admin:read"},
    ("PATCH", "/oapi/v1/jobs/{id}"): {"job", "admin"},
    ("DELETE", "/oapi/v1/jobs/{id}"): {"job", "admin"},
    ("POST", "/oapi/v1/jobs/{id}/cancel"): {"job", "admin"},
    ("POST", "/oapi/v1/jobs/{id}/retry"): {"job", "admin"},
    ("GET", "/oapi/v1/clusters"): {"cluster", "cluster:read", "admin", "admin:read"},
    ("GET", "/oapi/v1/clusters/{id}"): {"cluster", "cluster:read", "admin", "admin:read"},
    ("POST", "/oapi/v1/clusters"): {"cluster", "admin"},
    ("PATCH", "/oapi/v1/clusters/{id}"): {"cluster", "admin"},
    ("DELETE", "/oapi/v1/clusters/{id}"): {"cluster", "admin"},
    ("POST", "/api/v1/pull-jobs"): {"job", "admin"},
    ("GET", "/api/v1/pull-jobs"): {"job", "job:read", "admin", "admin:read"},
    ("GET", "/api/v1/pull-jobs/{name}"): {"job", "job:read", "admin", "admin:read"},
    ("POST", "/api/v1/pull-jobs/{name}/cancel"): {"job", "admin"},
    ("DELETE", "/api/v1/pull-jobs/{name}"): {"job", "admin"},
    ("GET", "/api/v1/secrets"): {"job", "job:read", "admin", "admin:read"},
    ("PUT", "/api/v1/secrets/{namespace}/{name}"): {"job", "admin"},
    ("DELETE", "/api/v1/secrets/{namespace}/{name}"): {"job", "admin"},
    ("GET", "/api/v1/nodes"): {"node", "node:read", "admin", "admin:read"},
    ("GET", "/api/v1/nodes/{name}"): {"node", "node:read", "admin", "admin:read"},
    ("DELETE", "/api/v1/nodes/{name}"): {"node", "admin"},
    ("PUT", "/api/v1/nodes/{name}/cordon"): {"node", "admin"},
    ("DELETE", "/api/v1/nodes/{name}/cordon"): {"node", "admin"},
    ("PUT", "/api/v1/nodes/{name}/ban"): {"node", "admin"},
    ("DELETE", "/api/v1/nodes/{name}/ban"): {"node", "admin"},
    ("POST", "/api/v1/backup"): {"admin"},
    ("GET", "/api/v1/audit"): {"admin", "admin:read"},
    ("GET", "/api/v1/tokens"): {"admin", "admin:read"},
    ("POST", "/api/v1/tokens"): {"admin"},
    ("DELETE", "/api/v1/tokens/{id}"): {"admin"},
    ("GET", "/api/v1/join-tokens"): {"node", "node:read", "admin", "admin:read"},
    ("POST", "/api/v1/join-tokens"): {"node", "admin"},
    ("DELETE", "/api/v1/join-tokens/{id}"): {"node", "admin"},
}


@pytest.fixture
def manager(bed):
    return bed.manager()


@pytest.fixture
def joined(manager):
    """The folder of a node that joined as n1."""
    root = manager.folder / "n1"
    manager.join(root, "n1", manager.join_token(), "--set=labels={zone=\"a\"}")
    return root


def scoped_token(manager, scope):
    body = {"name": scope, "scopes": [scope]}
    return json.loads(manager.request("POST", "/api/v1/tokens", token=manager.admin_token, body=body)[2])["token"]


def concrete(pattern):
    return re.sub(r"\{\w+\}", "no-such", pattern)


# ---- tokens


def test_first_start_makes_an_admin_token_that_only_root_reads_and_no_log_has(manager):
    file = manager.root / "admin-token"
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert re.fullmatch(r"hpat_[0-9a-f]{48}", manager.admin_token)
    log = manager.log.read_text()
    assert str(file) in log and manager.admin_token not in log
    assert manager.json("tokens", "ls")["tokens"][0]["name"] == "first admin"


def test_a_token_of_the_operators_own_is_read_from_its_file_and_replaced_with_it(bed, tmp_path):
    file = tmp_path / "token"
    first, second = "hpat_" + "a" * 40, "hpat_" + "b" * 40
    file.write_text(first + "\n")
    manager = bed.manager(settings={"tokens.admin_token_file": f'"{file}"'})
    assert not (manager.root / "admin-token").exists()
    assert manager.request("GET", "/api/v1/tokens", token=first)[0] == 200
    file.write_text(second)
    manager.restart()
    assert manager.request("GET", "/api/v1/tokens", token=first)[0] == 401
    assert manager.request("GET", "/api/v1/tokens", token=second)[0] == 200


def test_a_token_is_shown_once_and_ends_when_it_is_revoked(manager):
    made = manager.json("tokens", "create", "--name", "ci", "--scope", "job", "--expires", "30d")
    assert made["scopes"] == ["job"] and made["expires_at"]
    listed = manager.command("tokens", "ls", "--output", "json").stdout
    assert made["id"] in listed and made["token"] not in listed
    assert manager.request("GET", "/api/v1/nodes", token=made["token"])[0] == 403
    manager.command("tokens", "revoke", made["id"])
    assert manager.request("GET", "/api/v1/nodes", token=made["token"])[0] == 401
    assert manager.command("tokens", "revoke", made["id"], check=False).returncode == 3


def test_a_plain_create_prints_the_token_alone_on_stdout(manager):
    out = manager.command("tokens", "create", "--name", "x", "--scope", "node:read")
    assert re.fullmatch(r"hpat_[0-9a-f]{48}\n", out.stdout)
    out = manager.command("tokens", "create", "--join")
    assert re.fullmatch(rf"hjt_[0-9a-f]{{48}}\.{manager.ca_sha256}\n", out.stdout)


def test_tokens_of_no_use_are_refused_with_the_reason(manager):
    for flags, word in (
        (["--name", "x"], "scope"),
        (["--name", "x", "--scope", "jobs"], "job:read"),
        (["--scope", "job"], "name"),
        (["--name", "x", "--scope", "job", "--expires", "soon"], "expires_in"),
        (["--join", "--uses", "0"], "uses"),
        (["--join", "--cluster", "a b"], "cluster"),
    ):
        out = manager.command("tokens", "create", *flags, check=False)
        assert out.returncode == 2 and word in out.stderr, (flags, out)


# ---- every route


def test_no_route_answers_without_a_token_or_with_one_that_has_another_scope(manager):
    tokens = {scope: scoped_token(manager, scope) for scope in SCOPES}
    nothing = ({}, {"Authorization": "Basic aDpo"}, {"Authorization": "Bearer "}, {"Authorization": "hpat_x"})
    for route, allowed in ROUTES.items():
        method, path = route[0], concrete(route[1])
        for headers in nothing:
            status, answer_headers, body = manager.request(method, path, headers=headers)
            assert status == 401, (route, headers)
            assert "Bearer" in answer_headers["WWW-Authenticate"]
            assert json.loads(body)["status"] == 401
        for scope, token in tokens.items():
            status, _, body = manager.request(method, path, token=token)
            assert (status not in (401, 403)) == (scope in allowed), (route, scope, status, body)


def test_every_route_is_walked():
    """The routes above are those that the source registers."""
    source = "".join(path.read_text() for path in (pathlib.Path(__file__).parents[2] / "manager").glob("*api.cc"))
    registered = set(re.findall(r'router\.Add\(\s*"(\w+)",\s*"([^"]+)"', source))
    assert registered == set(ROUTES) | PUBLIC


def test_public_routes_answer_without_a_token(manager):
    for method, path in PUBLIC:
        assert manager.request(method, path)[0] == 200, path
    assert manager.request("GET", "/healthy")[2] == b"OK"
    metrics = manager.request("GET", "/metrics")[2].decode()
    assert "hearth_manager_nodes 0" in metrics and 'hearth_http_requests_total{' in metrics


def test_what_is_not_there_and_wrong_methods_say_so(manager):
    token = manager.admin_token
    status, headers, body = manager.request("GET", "/api/v2/x", token=token)
    problem = json.loads(body)
    assert status == 404 and headers["Content-Type"] == "application/problem+json"
    assert problem["detail"] == problem["message"] and problem["title"] == "Not Found"
    status, headers, _ = manager.request("PATCH", "/api/v1/tokens", token=token)
    assert status == 405 and headers["Allow"] == "GET, POST"


@pytest.mark.parametrize(
    "body, words",
    [
        (b"{", "line 1"),
        (b'{"name": "x",\n "scopes": }', "line 2"),
        (b"[]", "one JSON object"),
        (b'{"nam": "x", "scopes": ["job"]}', 'did you mean "name"'),
        (b'{"name": "x", "name": "y"}', "twice"),
        (b'{"name": 1}', "name: must be a text"),
        (b'{"name": "x", "scopes": "job"}', "scopes: must be a list"),
        (b'{"name": "x", "scopes": [7]}', "scopes: must be a list"),
        (b'{"name": "\xff", "scopes": ["job"]}', "not JSON"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "nested too deep"),
    ],
)
def test_a_wrong_body_is_a_400_that_names_what_is_wrong_and_nothing_is_kept(manager, body, words):
    status, _, answer = manager.request("POST", "/api/v1/tokens", token=manager.admin_token, body=body)
    assert status == 400 and words in json.loads(answer)["message"], answer
    assert len(manager.json("tokens", "ls")["tokens"]) == 1


def test_a_body_of_10_mb_is_refused(manager):
    try:
        status = manager.request("POST", "/api/v1/tokens", token=manager.admin_token, body=b" " * 10_000_000)[0]
    except OSError:
        return  # it closed while we were still sending
    assert status == 413


def test_wrong_tokens_are_slowed_down_and_right_ones_never(manager):
    wrong = "hpat_" + "0" * 48
    answers = [manager.request("GET", "/api/v1/nodes", token=wrong) for _ in range(12)]
    assert [status for status, _, _ in answers] == [401] * 10 + [429] * 2
    assert int(answers[-1][1]["Retry-After"]) > 0
    assert manager.request("GET", "/api/v1/nodes", token=manager.admin_token)[0] == 200


# ---- joining


def test_a_node_joins_and_is_listed(manager, joined):
    nodes = manager.json("nodes", "ls")["nodes"]
    assert [(n["name"], n["cluster"], n["labels"], n["connected"]) for n in nodes] == [
        ("n1", "default", {"zone": "a"}, False)
    ]
    key = joined / "identity" / "key.pem"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    text = run(["openssl", "x509", "-noout", "-text", "-in", joined / "identity" / "certificate.pem"]).stdout
    assert f"URI:hearth://default/node/{nodes[0]['id']}" in text
    shown = manager.command("nodes", "show", "n1").stdout
    assert nodes[0]["id"] in shown
    assert manager.command("nodes", "show", "n2", check=False).returncode == 3
    assert [n["name"] for n in manager.json("nodes", "ls", "--cluster", "other")["nodes"]] == []


def test_the_certificate_was_valid_two_hours_ago_and_is_for_a_day_at_most(joined):
    certificate = joined / "identity" / "certificate.pem"
    dates = run(["openssl", "x509", "-noout", "-dates", "-dateopt", "iso_8601", "-in", certificate]).stdout
    start, end = (
        time.mktime(time.strptime(line.split("=")[1], "%Y-%m-%d %H:%M:%SZ")) - time.timezone
        for line in dates.splitlines()
    )
    assert abs(time.time() - 7200 - start) < 120
    assert end - time.time() <= 24 * 3600


def test_a_token_for_one_node_is_used_up_by_one(manager):
    token = manager.join_token()
    manager.join(manager.folder / "a", "a", token)
    out = manager.join(manager.folder / "b", "b", token, check=False)
    assert out.returncode == 1 and "used up" in out.stderr
    assert [n["name"] for n in manager.json("nodes", "ls")["nodes"]] == ["a"]
    shown = manager.json("tokens", "ls", "--join")["tokens"][0]
    assert (shown["used"], shown["uses_left"]) == (1, 0)


def test_a_token_expires(manager):
    token = manager.join_token("--expires", "1s")
    time.sleep(1.1)  # what is tested is that this time passes
    out = manager.join(manager.folder / "a", "a", token, check=False)
    assert out.returncode == 1 and "expired" in out.stderr


def test_a_token_is_for_one_cluster(manager):
    token = manager.join_token("--cluster", "edge")
    assert manager.join(manager.folder / "a", "a", token, check=False).returncode == 1
    manager.join(manager.folder / "a", "a", token, "--cluster", "edge")
    assert manager.json("nodes", "show", "a")["cluster"] == "edge"


def test_a_manager_with_another_ca_is_refused_before_the_secret_is_sent(bed, manager):
    other = bed.manager()
    token = manager.join_token()
    out = other.join(other.folder / "a", "a", token, check=False)
    assert out.returncode == 1 and "authority" in out.stderr
    assert "refused a node" not in other.log.read_text()  # it never saw the token
    manager.join(manager.folder / "a", "a", token)  # nor was a use counted


def test_a_name_is_bound_to_its_first_key_until_it_is_forgotten(manager, joined):
    token = manager.join_token("--uses", "3")
    out = manager.join(manager.folder / "thief", "n1", token, check=False)
    assert out.returncode == 1 and "hearth nodes forget n1" in out.stderr
    manager.join(joined, "n1", token)  # the same key may come again
    manager.command("nodes", "forget", "n1")
    manager.join(manager.folder / "thief", "n1", token)


def test_garbage_in_place_of_a_token_names_no_secret(manager, tmp_path):
    file = tmp_path / "token"
    for text in ("", "hjt_", "hjt_SECRETWORD", "hjt_SECRETWORD.123", "SECRETWORD." + "0" * 64):
        file.write_text(text)
        out = manager.join(tmp_path / "a", "a", file, check=False)
        assert out.returncode == 2 and "SECRETWORD" not in out.stderr and "join token" in out.stderr, text


def test_a_manager_that_is_not_there_or_is_something_else(manager, tmp_path):
    token = manager.join_token()
    with socket.socket() as dead:
        dead.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{dead.getsockname()[1]}"
        out = run([HEARTH, "node", "join", address, "--token-file", token, f"--set=root={tmp_path}"], check=False)
        assert out.returncode == 1 and address in out.stderr


# ---- nodes that run


def settings_of(manager, name):
    return {
        "name": f'"{name}"',
        "manager.addresses": f'["{manager.grpc}"]',
        "manager.join_token_file": f'"{manager.join_token()}"',
        "peer.data_listen": '"127.0.0.1:0"',
        "peer.control_listen": '"127.0.0.1:0"',
        "peer.advertise": '"127.0.0.1"',
    }


def wait_connected(manager, name, blobs=0):
    def there():
        nodes = {node["name"]: node for node in manager.json("nodes", "ls")["nodes"]}
        node = nodes.get(name, {})
        return node.get("connected") and node["blobs"] >= blobs and node

    return wait_for(there, 60, f"{name} with {blobs} blobs", interval=0.3)


def test_a_node_joins_by_its_config_says_what_it_holds_and_comes_back_to_a_restarted_manager(
    bed, manager, registry, ref, image
):
    node = bed.node(registry, settings=settings_of(manager, "n1"))
    assert wait_connected(manager, "n1")["version"]
    node.preheat(ref, depth="blobs")
    held = len(image.layers) + 2  # manifest and config
    wait_connected(manager, "n1", blobs=held)
    manager.kill9()
    manager.start()
    wait_connected(manager, "n1", blobs=held)
    metrics = manager.request("GET", "/metrics")[2].decode()
    assert "hearth_manager_nodes_connected 1" in metrics
    node.stop()
    wait_for(lambda: not manager.json("nodes", "show", "n1")["connected"], 20, "n1 to be away")


def test_a_banned_nodes_stream_ends_and_it_comes_back_when_the_ban_does(bed, manager, registry):
    bed.node(registry, settings=settings_of(manager, "n1"))
    wait_connected(manager, "n1")
    token = manager.admin_token
    assert manager.request("PUT", "/api/v1/nodes/n1/ban", token=token, body={"reason": "test"})[0] == 204
    wait_for(lambda: not manager.json("nodes", "show", "n1")["connected"], 20, "the stream's end")
    shown = manager.json("nodes", "show", "n1")
    assert (shown["banned"], shown["ban_reason"]) == (True, "test")
    assert manager.request("DELETE", "/api/v1/nodes/n1/ban", token=token)[0] == 204
    wait_connected(manager, "n1")


# ---- the wire


def handshake(address, context):
    host, port = address.rsplit(":", 1)
    with socket.create_connection((host, int(port)), timeout=10) as raw:
        with context.wrap_socket(raw) as tls:
            version = tls.version()
            tls.settimeout(5)
            tls.send(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0")
            return version, bool(tls.recv(9))


def client_context(manager):
    context = ssl.create_default_context(cafile=manager.ca_file)
    context.check_hostname = False
    context.set_alpn_protocols(["h2"])
    return context


def test_both_ports_speak_nothing_older_than_tls_1_3(manager):
    for address in (manager.grpc, manager.api.split("://")[1]):
        context = client_context(manager)
        context.maximum_version = ssl.TLSVersion.TLSv1_2
        with pytest.raises((ssl.SSLError, ConnectionError)):
            handshake(address, context)
    assert handshake(manager.grpc, client_context(manager)) == ("TLSv1.3", True)


def test_a_certificate_of_another_cluster_is_refused_on_grpc(bed, manager, joined):
    context = client_context(manager)
    identity = joined / "identity"
    context.load_cert_chain(identity / "certificate.pem", identity / "key.pem")
    assert handshake(manager.grpc, context) == ("TLSv1.3", True)
    other = bed.manager()
    foreign = other.folder / "a"
    other.join(foreign, "a", other.join_token())
    context = client_context(manager)
    context.load_cert_chain(foreign / "identity" / "certificate.pem", foreign / "identity" / "key.pem")
    # In TLS 1.3 the client is through before the server has looked at its certificate.
    try:
        served = handshake(manager.grpc, context)[1]
    except (ssl.SSLError, ConnectionError):
        served = False
    assert not served


# ---- operation


@pytest.mark.parametrize("end", ["stop", "kill9"])
def test_a_restart_keeps_tokens_nodes_bans_and_the_ca(manager, joined, end):
    made = manager.json("tokens", "create", "--name", "ci", "--scope", "node:read")
    join = manager.join_token("--uses", "2")
    manager.join(manager.folder / "n2", "n2", join)
    assert manager.request("PUT", "/api/v1/nodes/n1/ban", token=manager.admin_token, body={"reason": "test"})[0] == 204
    before = manager.json("nodes", "ls")["nodes"]
    authority = manager.ca_sha256
    getattr(manager, end)()
    manager.start()
    der = ssl.PEM_cert_to_DER_cert(manager.ca_file.read_text())
    assert manager.ca_sha256 == authority == hashlib.sha256(der).hexdigest()
    after = manager.json("nodes", "ls", token=made["token"])["nodes"]
    assert [(n["name"], n["id"], n["banned"]) for n in after] == [(n["name"], n["id"], n["banned"]) for n in before]
    assert [n["banned"] for n in after] == [True, False]
    assert manager.join(joined, "n1", manager.join_token(), check=False).returncode == 1  # banned
    manager.join(manager.folder / "n3", "n3", join)
    assert manager.join(manager.folder / "n4", "n4", join, check=False).returncode == 1


def test_sigterm_stops_it_quickly_and_a_second_manager_on_one_root_is_refused(manager):
    listen = ["--set=api.listen=127.0.0.1:0", "--set=grpc.listen=127.0.0.1:0"]
    argv = [HEARTH, "manager", f"--set=root={manager.root}", *listen]
    second = subprocess.run(argv, capture_output=True, text=True, timeout=30)
    assert second.returncode == 1 and second.stderr.splitlines()[-1].startswith("hearth: manager: ")
    assert manager.request("GET", "/livez")[0] == 200
    assert manager.stop() < 10
    assert manager.process.returncode() == 0


def test_sighup_takes_over_the_log_level_and_names_what_needs_a_restart(manager):
    text = manager.config.read_text()
    manager.config.write_text('log_level = "debug"\n' + text.replace("[grpc]", 'names = ["x.example"]\n[grpc]'))
    manager.process.signal(1)
    wait_for(lambda: "reloaded" in manager.log.read_text(), 10, "the reload")
    assert "in force after a restart" in manager.log.read_text()
    manager.config.write_text("nonsense = 1\n" + text)
    manager.process.signal(1)
    wait_for(lambda: "not reloaded" in manager.log.read_text(), 10, "the refusal")
    assert "nonsense" in manager.log.read_text()
    assert manager.request("GET", "/livez")[0] == 200


def test_the_units_sandbox_leaves_it_what_it_needs(bed, registry):
    unit = Unit(UNIT.with_name("hearth-manager.service"))
    assert unit.capabilities() == []
    manager = bed.manager(prefix=unit.prefix())
    status = pathlib.Path(f"/proc/{manager.process.pid}/status").read_text()
    assert re.search(r"^CapEff:\s0+$", status, re.M) and re.search(r"^Seccomp:\s2$", status, re.M)
    bed.node(registry, settings=settings_of(manager, "n1"))
    wait_connected(manager, "n1")
    manager.restart()
    wait_connected(manager, "n1")


def test_an_unknown_key_stops_the_start(tmp_path):
    out = subprocess.run([HEARTH, "manager", "--set", "api.lisen=x"], capture_output=True, text=True, timeout=30)
    assert out.returncode == 2 and "api.lisen" in out.stderr and "listen" in out.stderr


def test_plain_http_is_explicit_and_warned_of(bed):
    manager = bed.manager(settings={"api.insecure_http": "true"})
    assert manager.api.startswith("http://")
    assert manager.json("nodes", "ls")["nodes"] == []
    assert "plain HTTP" in manager.log.read_text()


def test_a_certificate_of_the_operators_own_is_shown_and_read_again(bed, tmp_path):
    def make(name):
        run(["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}",
             "-addext", "subjectAltName=IP:127.0.0.1", "-keyout", tmp_path / "key", "-out", tmp_path / "cert"])  # fmt: skip

    make("first")
    manager = bed.manager(settings={"api.tls_cert": f'"{tmp_path}/cert"', "api.tls_key": f'"{tmp_path}/key"'})

    def name():
        host, port = manager.api.split("://")[1].rsplit(":", 1)
        pem = ssl.get_server_certificate((host, int(port)))
        return run(["openssl", "x509", "-noout", "-subject"], input=pem).stdout.strip()

    assert name().endswith("first")
    make("second")
    manager.process.signal(1)
    wait_for(lambda: name().endswith("second"), 10, "the new certificate")


def test_no_secret_is_in_a_log_a_command_line_or_a_file_that_others_read(manager, joined):
    secrets = [manager.admin_token]
    secrets.append(manager.json("tokens", "create", "--name", "x", "--scope", "admin")["token"])
    token_file = manager.join_token()
    secrets.append(token_file.read_text().strip().split(".")[0].removeprefix("hjt_"))
    manager.request("GET", "/api/v1/nodes", token="hpat_" + "1" * 48)
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            line = pathlib.Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace")
        except OSError:
            continue
        assert not any(secret in line for secret in secrets), line
    log = manager.log.read_text()
    assert not any(secret in log for secret in [*secrets, "1" * 48])
    assert "PRIVATE KEY" not in log
    assert stat.S_IMODE(manager.root.stat().st_mode) == 0o700
    for path in manager.root.rglob("*"):
        if path.is_file() and path.name != "admin-token":
            content = path.read_bytes()
            assert not any(secret.encode() in content for secret in secrets), path
            if b"PRIVATE KEY" in content:
                assert stat.S_IMODE(path.stat().st_mode) == 0o600, path


def test_who_changed_what_is_in_the_log(manager):
    made = manager.json("tokens", "create", "--name", "ci", "--scope", "job")
    line = next(line for line in manager.log.read_text().splitlines() if '"audit"' in line)
    entry = json.loads(line)
    assert (entry["method"], entry["path"], entry["token_name"]) == ("POST", "/api/v1/tokens", "first admin")
    assert made["token"] not in line


def test_commands_say_what_they_need(manager):
    env = manager.environment()
    needs = {"HEARTH_MANAGER": "--manager", "HEARTH_TOKEN": "admin-token", "HEARTH_CA_FILE": "HEARTH_CA_FILE"}
    for missing, word in needs.items():
        reduced = {key: value for key, value in env.items() if key != missing}
        out = run([HEARTH, "nodes", "ls"], env=reduced, check=False)
        assert out.returncode in (1, 2) and word in out.stderr, out.stderr
    out = manager.command("nodes", "ls", "--manager", "127.0.0.1:1", check=False)
    assert out.returncode == 1 and "127.0.0.1:1" in out.stderr
