"""Preheat jobs through the manager's Open API: what they promise, and what a pull then finds on the nodes."""

import hashlib
import http.client
import json
import re
import ssl

import pytest

from integration.testbed import Testbed, small_image
from integration.testbed.clients import cri
from integration.testbed.cluster import Cluster
from integration.testbed.process import wait_for
from integration.testbed.registry import PASSWORD, USER

PATIENCE = 60
# The answers of the guide have these fields.
FIELDS = {"id", "created_at", "updated_at", "task_id", "type", "state", "args", "scheduler_clusters"}
ARGS = {"filteredQueryParams", "headers", "password", "pieceLength", "platform", "tag", "type", "url", "username"}
RFC3339 = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ")


@pytest.fixture(scope="module")
def shared(image):
    """A cluster of two nodes, the first with a containerd, for tests that leave it as it was: (cluster, registry, ref)."""
    with Testbed() as bed:
        registry = bed.registry()
        ref = image.push(registry, "test/small:v1", bed.folder / "layout")
        yield Cluster(bed, registry, containerds=1), registry, ref


def task_id(url, piece_length=4194304, tag="", application="", digest=""):
    """As Dragonfly v2.1.44 computes it, for a URL without a query."""
    assert "?" not in url
    return hashlib.sha256((url + digest + tag + application + str(piece_length)).encode()).hexdigest()


def manifest_url(registry, name):
    repository, tag = name.split(":")
    return f"https://{registry.address}/v2/{repository}/manifests/{tag}"


# ---- the guide


def test_an_image_as_the_guide_prints_it_is_warm_on_every_node(bed, registry, ref, image):
    cluster = Cluster(bed, registry, nodes=3, containerds=3)
    url = manifest_url(registry, "test/small:v1")
    job = cluster.create(
        {
            "type": "image",
            "url": url,
            "filteredQueryParams": "Expires&Signature",
            "username": "your_registry_username",
            "password": "your_registry_password",
        }
    )
    assert FIELDS <= set(job) and ARGS <= set(job["args"])
    assert job["state"] == "PENDING" and job["type"] == "preheat"
    assert re.fullmatch(r"group_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}", job["task_id"])
    assert RFC3339.fullmatch(job["created_at"]) and RFC3339.fullmatch(job["updated_at"])
    args = job["args"]
    assert (args["url"], args["type"], args["pieceLength"]) == (url, "image", 4194304)
    assert args["filteredQueryParams"] == "Expires&Signature"
    assert (args["username"], args["password"], args["headers"]) == ("", "", None)
    assert [c["name"] for c in job["scheduler_clusters"]] == ["default"]
    assert isinstance(job["id"], int) and isinstance(job["scheduler_clusters"][0]["id"], int)

    done = cluster.wait(job["id"])
    assert done["state"] == "SUCCESS", done
    assert FIELDS <= set(done) and done["task_id"] == job["task_id"]
    blobs = {blob.digest for blob in image.layers} | {image.config.digest}
    for name in ("n1", "n2", "n3"):
        own = [task for task in cluster.tasks(done) if task["hostname"] == name]
        assert {task["digest"] for task in own if "/blobs/" in task["url"]} == blobs
        assert any("/manifests/sha256:" in task["url"] for task in own)
    for task in cluster.tasks(done):
        assert task["task_id"] == task_id(task["url"]) and task["ip"] == "127.0.0.1"
    assert cluster.tasks(done, "failure_tasks") == []

    registry.reset()
    for containerd in cluster.containerds:
        assert ref in containerd.images()
        containerd.ctr("-n", "k8s.io", "i", "pull", "--plain-http", ref)
        cri(containerd.socket, "pull", ref)
        assert containerd.run_container(ref, "/bin/cat", "/opt/old/c") == "only this is left\n"
    assert registry.blob_gets() == []


def two_authorizations(manager, first, second, body):
    """POST /oapi/v1/jobs with two Authorization headers, as curl sends them."""
    host, port = manager.api.split("://")[1].rsplit(":", 1)
    connection = http.client.HTTPSConnection(host, int(port), context=ssl.create_default_context(cafile=manager.ca_file), timeout=20)
    connection.putrequest("POST", "/oapi/v1/jobs")
    connection.putheader("Content-Type", "application/json")
    connection.putheader("Authorization", first)
    connection.putheader("Authorization", second)
    connection.putheader("Content-Length", str(len(body)))
    connection.endheaders(body)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def test_a_file_as_the_guide_prints_it(bed):
    origin = bed.origin()
    origin.put("/f", b"file" * 1000, signed=False)
    url = f"http://{origin.address}/f"
    cluster = Cluster(bed)
    ours = f"Bearer {cluster.token}"
    theirs = "token your_example.com_personal_access_token"
    printed = '{\n    "type": "preheat",\n    "args": {\n        "type": "file",\n        "url": "%s",\n    }\n}' % url
    status, problem = two_authorizations(cluster.manager, ours, theirs, printed.encode())
    assert status == 400 and "line 6, column 5" in problem["message"], problem

    status, job = two_authorizations(cluster.manager, ours, theirs, printed.replace('",\n    }', '"\n    }').encode())
    assert status == 200, job
    assert FIELDS <= set(job) and ARGS <= set(job["args"]) and job["state"] == "PENDING"
    assert job["args"]["type"] == "file" and job["args"]["headers"] == {"Authorization": "***"}
    done = cluster.wait(job["id"])
    assert done["state"] == "SUCCESS", done
    assert {(task["hostname"], task["task_id"]) for task in cluster.tasks(done)} == {
        ("n1", task_id(url)),
        ("n2", task_id(url)),
    }
    assert {asked.headers.get("authorization") for asked in origin.asked} == {theirs}
    assert (done["progress"]["origin_bytes"], done["progress"]["peer_bytes"]) == (2 * 4000, 0)
    origin.clear()
    for node in cluster.nodes:
        assert node.json("explain", url)["warm"]


# ---- Harbor


@pytest.mark.parametrize("scope", ["", "single_seed_peer", "all_seed_peers", "all_peers"])
def test_harbors_requests(shared, scope):
    cluster, registry, _ = shared
    status, _, body = cluster.manager.request("GET", "/healthy")
    assert (status, body) == (200, b"OK")
    job = cluster.create(
        {
            "type": "image",
            "url": manifest_url(registry, "test/small:v1"),
            "tag": "",
            "filtered_query_params": "",
            "headers": {"Authorization": "Bearer of.harbor"},
            "scope": scope,
            "concurrent_count": 0,
            "timeout": 0,
        },
        scheduler_cluster_ids=None,
    )
    done = cluster.wait(job["id"])
    assert done["state"] == "SUCCESS", done
    assert isinstance(done["id"], int) and RFC3339.fullmatch(done["created_at"])
    state = done["result"]["job_states"][0]
    assert state["error"] == ""
    result = state["results"][0]
    assert isinstance(result["scheduler_cluster_id"], int) and result["failure_tasks"] == []
    assert all({"url", "hostname", "ip"} <= set(task) for task in result["success_tasks"])
    nodes = {task["hostname"] for task in result["success_tasks"]}
    assert len(nodes) == (1 if "seed" in scope else 2)


def test_harbors_token_opens_a_private_project(bed, image):
    """Harbor brings a bearer token of its own; no node has a login there."""
    registry = bed.registry(auth="bearer")
    image.push(registry, "test/small:v1", bed.folder / "layout")
    cluster = Cluster(bed, registry, nodes=1)

    def preheat(headers):
        url = manifest_url(registry, "test/small:v1")
        return cluster.wait(cluster.create({"type": "image", "url": url, "headers": headers})["id"])

    for headers in ({}, {"Authorization": "Bearer of.harbor"}):
        refused = preheat(headers)
        assert refused["state"] == "FAILURE" and "401" in refused["reason"], refused["reason"]
    token = registry.tokens.token(["repository:test/small:pull"], USER)
    done = preheat({"Authorization": f"Bearer {token}"})
    assert done["state"] == "SUCCESS", done["reason"]
    assert token not in json.dumps(done)


def test_harbors_token_goes_with_each_request_and_to_no_host_that_a_blob_is_redirected_to(bed, image):
    registry = bed.registry(auth="bearer")
    image.push(registry, "test/small:v1", bed.folder / "layout")
    front, store = bed.front(registry), bed.origin()
    moved = dict(zip((blob.digest for blob in image.layers), ("127.0.0.1", "localhost")))
    for blob in image.layers:
        if blob.digest in moved:
            store.put(f"/{blob.digest}", blob.data, signed=False)
            url = f"http://{moved[blob.digest]}:{store.port}/{blob.digest}"
            front.rule(blob.digest, status=307, headers={"Location": url})
    cluster = Cluster(bed, front, nodes=1)
    registry.tokens.asked.clear()
    token = registry.tokens.token(["repository:test/small:pull"], USER)
    args = {"type": "image", "url": manifest_url(front, "test/small:v1"), "headers": {"Authorization": f"Bearer {token}"}}
    done = cluster.wait(cluster.create(args)["id"])
    assert done["state"] == "SUCCESS", done["reason"]
    asked = [record for record in front.records if "/manifests/" in record.path or "/blobs/" in record.path]
    assert {record.path.rpartition("/")[2] for record in front.blob_gets()} == {
        image.config.digest,
        *(blob.digest for blob in image.layers),
    }
    assert any("/manifests/" in record.path for record in asked) and all(record.authorization for record in asked)
    # Nor did it ask for a token of its own.
    assert registry.tokens.asked == []
    assert {hit.path.strip("/") for hit in store.asked} == set(moved)
    assert all("authorization" not in hit.headers and token not in str(hit) for hit in store.asked)
    assert cluster.nodes[0].verify()[0] == 0


def test_a_failure_says_where_and_why(shared):
    cluster, registry, _ = shared
    job = cluster.create({"type": "image", "url": manifest_url(registry, "test/none:v1")})
    done = cluster.wait(job["id"])
    assert done["state"] == "FAILURE" and "2 of 2 nodes failed" in done["reason"]
    assert "404" in done["result"]["job_states"][0]["error"]
    failures = cluster.tasks(done, "failure_tasks")
    assert {task["hostname"] for task in failures} == {"n1", "n2"}
    assert all({"url", "hostname", "ip", "description"} <= set(task) and "404" in task["description"] for task in failures)
    assert cluster.tasks(done) == []
    out = cluster.manager.command("jobs", "watch", str(job["id"]), token=cluster.token, check=False)
    assert out.returncode == 1 and "404" in out.stderr


# ---- credentials


@pytest.mark.parametrize("auth", [pytest.param("basic", marks=pytest.mark.slow), "bearer"])
def test_a_jobs_login_fetches_a_private_image_and_is_nowhere_to_be_read(bed, auth):
    registry = bed.registry(auth=auth)
    small_image(layers=3).push(registry, "test/small:v1", bed.folder / "layout")
    cluster = Cluster(bed, registry, nodes=1)
    args = {"type": "image", "url": manifest_url(registry, "test/small:v1"), "username": USER}
    refused = cluster.wait(cluster.create({**args, "password": "not-the-password"})["id"])
    assert refused["state"] == "FAILURE" and "401" in refused["reason"], refused["reason"]
    done = cluster.wait(cluster.create({**args, "password": PASSWORD})["id"])
    assert done["state"] == "SUCCESS", done["reason"]
    # Nobody else may have it for that.
    assert cluster.nodes[0].command("explain", registry.address + "/test/small:v1", check=False).returncode != 0
    assert PASSWORD not in json.dumps(done)
    for folder in (cluster.manager.folder, cluster.nodes[0].folder):
        for path in folder.rglob("*"):
            if path.is_file():
                assert PASSWORD.encode() not in path.read_bytes(), path


# ---- the truth


def test_a_node_that_is_down_fails_at_the_deadline_and_a_retry_is_for_it_alone(bed, registry, ref):
    cluster = Cluster(bed, registry)
    cluster.nodes[1].stop()
    cluster.wait_connected("n2", False)
    job = cluster.create({"type": "image", "url": ref, "timeout": "3s"})
    done = cluster.wait(job["id"])
    assert done["state"] == "FAILURE"
    assert done["reason"].startswith("1 of 2 nodes failed; n2: offline")
    assert {task["hostname"] for task in cluster.tasks(done)} == {"n1"}
    cluster.nodes[1].start()
    cluster.wait_connected("n2")
    status, again = cluster.call("POST", f"/oapi/v1/jobs/{job['id']}/retry")
    assert status == 200 and again["state"] == "PENDING"
    assert again["progress"]["nodes"]["succeeded"] == 1
    assert cluster.wait(job["id"])["state"] == "SUCCESS"


def slow_file(bed, size=2 << 20, rate=200_000):
    origin = bed.origin()
    file = origin.put("/slow", b"s" * size, rate=rate, signed=False)
    return f"http://{origin.address}/slow", file, origin


def test_a_manager_killed_in_mid_job_ends_it_truthfully(bed):
    url, file, _ = slow_file(bed)
    cluster = Cluster(bed)
    job = cluster.create({"type": "file", "url": url})
    wait_for(lambda: cluster.job(job["id"])["progress"]["bytes_done"] > 0, PATIENCE, "the transfer")
    cluster.manager.kill9()
    cluster.manager.start()
    assert cluster.job(job["id"])["state"] == "PENDING"
    file.rate = 0
    assert cluster.wait(job["id"])["state"] == "SUCCESS"
    for node in cluster.nodes:
        assert node.json("explain", url)["warm"]


@pytest.mark.slow
def test_a_node_killed_in_mid_job_is_asked_again(bed):
    url, file, _ = slow_file(bed)
    cluster = Cluster(bed, nodes=1)
    job = cluster.create({"type": "file", "url": url})
    wait_for(lambda: cluster.job(job["id"])["progress"]["bytes_done"] > 0, PATIENCE, "the transfer")
    cluster.nodes[0].kill9()
    cluster.nodes[0].start()
    file.rate = 0
    assert cluster.wait(job["id"])["state"] == "SUCCESS"
    assert cluster.nodes[0].json("explain", url)["warm"]


def test_a_cancel_ends_the_work_on_the_nodes(bed):
    url, _, origin = slow_file(bed, size=20 << 20)
    cluster = Cluster(bed, nodes=1)
    job = cluster.create({"type": "file", "url": url})
    wait_for(lambda: cluster.job(job["id"])["progress"]["bytes_done"] > 0, PATIENCE, "the transfer")
    path = f"/oapi/v1/jobs/{job['id']}"
    status, cancelled = cluster.call("POST", f"{path}/cancel")
    assert (status, cancelled["state"], cancelled["reason"]) == (200, "FAILURE", "cancelled")
    wait_for(lambda: not origin.connections, 20, "the end of the transfer")
    assert cluster.call("POST", f"{path}/cancel")[0] == 409
    assert cluster.call("DELETE", path)[0] == 204
    assert cluster.call("GET", path)[0] == 404


def test_a_job_that_runs_again_mends_what_was_changed_behind_the_nodes_back(bed, registry, ref, image):
    cluster = Cluster(bed, registry, nodes=1)
    node = cluster.nodes[0]
    assert cluster.wait(cluster.create({"type": "image", "url": ref})["id"])["state"] == "SUCCESS"
    flipped, removed = (node.blob_path(blob.digest) for blob in image.layers[:2])
    with open(flipped, "r+b") as file:
        byte = file.read(1)
        file.seek(0)
        file.write(bytes([byte[0] ^ 1]))
    removed.unlink()
    registry.reset()
    assert cluster.wait(cluster.create({"type": "image", "url": ref})["id"])["state"] == "SUCCESS"
    assert node.verify()[0] == 0
    # The registry may log the first job's last GET after it.
    assert {blob.digest for blob in image.layers[:2]} <= {r.path.rpartition("/")[2] for r in registry.blob_gets()}


# ---- the rest of the API


def test_jobs_are_listed_by_page_and_state_and_carry_a_bio(shared):
    cluster, _, ref = shared
    made = [cluster.create({"type": "image", "url": ref}, bio="nightly")["id"] for _ in range(3)]
    bad = cluster.create({"type": "image", "url": ref + "-none"})["id"]
    states = [cluster.wait(number)["state"] for number in (bad, *made)]
    assert states == ["FAILURE"] + 3 * ["SUCCESS"]
    status, jobs = cluster.call("GET", "/oapi/v1/jobs?page=1&per_page=2")
    assert status == 200 and [job["id"] for job in jobs] == [bad, made[-1]]
    assert "page=2&per_page=2>;rel=next" in cluster.headers["Link"] and "rel=last" in cluster.headers["Link"]
    failures = cluster.call("GET", "/oapi/v1/jobs?state=FAILURE")[1]
    assert failures[0]["id"] == bad and {job["state"] for job in failures} == {"FAILURE"}
    assert cluster.call("GET", "/oapi/v1/jobs?state=DONE")[0] == 400
    assert cluster.call("GET", "/oapi/v1/jobs?page=0")[0] == 400
    path = f"/oapi/v1/jobs/{made[0]}"
    status, changed = cluster.call("PATCH", path, {"bio": "for the release"})
    assert status == 200 and changed["bio"] == "for the release" and changed["state"] == "SUCCESS"
    cluster.manager.restart()
    for name in ("n1", "n2"):
        cluster.wait_connected(name)
    assert cluster.job(made[0])["bio"] == "for the release"
    assert [job["state"] for job in cluster.call("GET", "/oapi/v1/jobs")[1]][:4] == states
    status, nodes = cluster.call("GET", f"{path}/nodes?state=done&per_page=1")
    assert status == 200 and nodes["total"] == 2 and len(nodes["nodes"]) == 1 and nodes["nodes"][0]["tasks"]


def test_what_cannot_be_done_is_refused_and_nothing_is_kept(bed):
    manager = bed.manager()
    token = manager.json("tokens", "create", "--name", "ci", "--scope", "job")["token"]

    def post(body):
        status, _, text = manager.request("POST", "/oapi/v1/jobs", token=token, body=body)
        return status, json.loads(text)["message"]

    image = {"type": "image", "url": "https://r.example/v2/a/manifests/b"}
    for body, status, words in (
        ({"type": "preheat", "args": image}, 409, "no node has joined"),
        ({"type": "preheat", "args": image, "scheduler_cluster_ids": [7]}, 404, "scheduler_cluster_ids"),
        ({"type": "gc", "args": {}}, 400, "type"),
        ({"type": "preheat", "args": {**image, "urll": "x"}}, 400, 'did you mean "url"'),
        (b'{"type": "preheat", "args": {"type": "image",}}', 400, "line 1"),
    ):
        assert post(body)[0] == status and words in post(body)[1], body
    assert json.loads(manager.request("GET", "/oapi/v1/jobs", token=token)[2]) == []


def test_a_key_that_comes_again_makes_no_second_job(shared):
    cluster, _, ref = shared
    body = {"type": "preheat", "args": {"type": "image", "url": ref}}
    made = [cluster.call("POST", "/oapi/v1/jobs", body, headers={"Idempotency-Key": "k1"}) for _ in range(2)]
    assert [status for status, _ in made] == [200, 200] and made[0][1]["id"] == made[1][1]["id"]
    body["bio"] = "another"
    assert cluster.call("POST", "/oapi/v1/jobs", body, headers={"Idempotency-Key": "k1"})[0] == 409


# ---- commands


def test_preheat_and_jobs_as_commands(shared):
    cluster, _, ref = shared

    def command(*argv, **kw):
        return cluster.manager.command(*argv, token=cluster.token, **kw)

    out = command("preheat", ref)
    assert "2 of 2 nodes" in out.stdout and "SUCCESS" in out.stdout
    for node in cluster.nodes:
        assert node.json("explain", ref)["warm"]
    job = cluster.manager.json("jobs", "ls", token=cluster.token)["jobs"][0]
    assert job["state"] == "SUCCESS"
    number = str(job["id"])
    assert cluster.manager.json("jobs", "show", number, token=cluster.token)["progress"]["nodes"]["succeeded"] == 2
    assert ref in command("jobs", "show", number).stdout
    assert command("jobs", "show", "999", check=False).returncode == 3
    out = command("jobs", "retry", number, check=False)
    assert out.returncode == 1 and f"nothing of job {number} failed" in out.stderr
    out = command("preheat", ref + "-none", check=False)
    assert out.returncode == 1 and "2 of 2 nodes failed" in out.stderr
