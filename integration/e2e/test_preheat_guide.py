"""Dragonfly's preheat guide, run as it stands: each of its curl commands through a shell, and each of its answers.

Only the manager's address, the tokens and, of the file, the host are this machine's. The image is the Hub's: the nodes'
[registry."docker.io"] says where that is.
"""

import json
import os
import subprocess

import pytest

from integration.testbed import Testbed
from integration.testbed.cluster import Cluster

MANAGER = "http://dragonfly-manager:8080"
TOKEN = "your_dragonfly_personal_access_token"
FILE = "https://example.com"

CREATE_IMAGE = """curl --location --request POST 'http://dragonfly-manager:8080/oapi/v1/jobs' \\
--header 'Content-Type: application/json' \\
--header 'Authorization: Bearer your_dragonfly_personal_access_token' \\
--data-raw '{
    "type": "preheat",
    "args": {
        "type": "image",
        "url": "https://index.docker.io/v2/library/alpine/manifests/3.19",
        "filteredQueryParams": "Expires&Signature",
        "username": "your_registry_username",
        "password": "your_registry_password"
    }
}'
"""
GET = """curl --request GET 'http://dragonfly-manager:8080/oapi/v1/jobs/1' \\
--header 'Content-Type: application/json' \\
--header 'Authorization: Bearer your_dragonfly_personal_access_token'
"""
CREATE_FILE = """curl --location --request POST 'http://dragonfly-manager:8080/oapi/v1/jobs' \\
--header 'Content-Type: application/json' \\
--header 'Authorization: Bearer your_dragonfly_personal_access_token' \\
--header 'Authorization: token your_example.com_personal_access_token' \\
--data-raw '{
    "type": "preheat",
    "args": {
        "type": "file",
        "url": "https://example.com",
    }
}'
"""
IMAGE_CREATED = """{
  "id": 1,
  "created_at": "2024-04-18T08:51:55Z",
  "updated_at": "2024-04-18T08:51:55Z",
  "task_id": "group_2717f455-ff0a-435f-a3a7-672828d15a2a",
  "type": "preheat",
  "state": "PENDING",
  "args": {
    "filteredQueryParams": "Expires&Signature",
    "headers": null,
    "password": "",
    "pieceLength": 4194304,
    "platform": "",
    "tag": "",
    "type": "image",
    "url": "https://index.docker.io/v2/library/alpine/manifests/3.19",
    "username": ""
  },
  "scheduler_clusters": [
    {
      "id": 1,
      "created_at": "2024-04-18T08:29:15Z",
      "updated_at": "2024-04-18T08:29:15Z",
      "name": "cluster-1"
    }
  ]
}
"""
# The guide prints one answer four times: of the file's jobs, and of the image's when it has ended, type and state differ.
IMAGE_ENDED = IMAGE_CREATED.replace('"PENDING"', '"SUCCESS"').replace('"type": "image"', '"type": "file"')
FILE_CREATED = IMAGE_CREATED.replace('"type": "image"', '"type": "file"')
FILE_ENDED = IMAGE_ENDED


@pytest.fixture(scope="module")
def guide(image):
    """(cluster, registry, origin)"""
    with Testbed() as bed:
        registry = bed.registry()
        image.push(registry, "library/alpine:3.19", bed.folder / "layout")
        settings = {'registry."docker.io".endpoints': f'["{registry.url}"]'}
        yield Cluster(bed, settings=settings), registry, bed.origin()


def run(cluster, command, number=1, file=FILE):
    """(status, answer) of a command of the guide."""
    for printed, ours in ((MANAGER, cluster.manager.api), (TOKEN, cluster.token), (FILE, file)):
        command = command.replace(printed, ours)
    command = command.replace("/jobs/1'", f"/jobs/{number}'")
    env = {"PATH": os.environ["PATH"], "CURL_CA_BUNDLE": str(cluster.manager.ca_file)}
    told = ["bash", "-c", command.rstrip() + " --silent --show-error --write-out '%{http_code}'"]
    out = subprocess.run(told, env=env, capture_output=True, text=True, timeout=60, check=False)
    assert out.returncode == 0, out.stderr
    return int(out.stdout[-3:]), json.loads(out.stdout[:-3])


def assert_like(answer, printed, where="answer"):
    """Each field that the guide prints is there, and of the same kind."""
    if isinstance(printed, dict):
        assert isinstance(answer, dict), where
        for name, value in printed.items():
            assert name in answer, f"{where}.{name}"
            assert_like(answer[name], value, f"{where}.{name}")
    elif isinstance(printed, list):
        assert isinstance(answer, list) and answer, where
        for entry in answer:
            assert_like(entry, printed[0], f"{where}[]")
    elif printed is None:
        assert answer is None or set(answer.values()) == {"***"}, where
    else:
        assert type(answer) is type(printed), f"{where}: {answer!r}"


def assert_answers(answer, printed, **args):
    """As the guide prints it, with the state that it has there; `args` are those of the request that it answers."""
    printed = json.loads(printed)
    assert_like(answer, printed)
    assert (answer["type"], answer["state"]) == (printed["type"], printed["state"])
    expected = {"filteredQueryParams": "", "pieceLength": 4194304, "platform": "", "tag": "", "username": "", "password": ""}
    expected.update(args)
    assert {name: answer["args"][name] for name in expected} == expected
    assert [cluster["name"] for cluster in answer["scheduler_clusters"]] == ["default"]


def test_the_image(guide):
    cluster, registry, _ = guide
    args = {
        "type": "image",
        "url": "https://index.docker.io/v2/library/alpine/manifests/3.19",
        "filteredQueryParams": "Expires&Signature",
        "headers": None,
    }
    status, created = run(cluster, CREATE_IMAGE)
    assert status == 200, created
    assert_answers(created, IMAGE_CREATED, **args)
    cluster.wait(created["id"])
    status, ended = run(cluster, GET, created["id"])
    assert status == 200 and ended["state"] == "SUCCESS", ended
    assert_answers(ended, IMAGE_ENDED, **args)
    assert ended["task_id"] == created["task_id"] and ended["created_at"] == created["created_at"]
    assert registry.blob_gets() != []
    for node in cluster.nodes:
        assert node.json("explain", "docker.io/library/alpine:3.19")["warm"]


def test_the_file_whose_url_has_no_path(guide):
    cluster, _, origin = guide
    origin.put("/", b"home" * 1000, signed=False)
    url = f"http://{origin.address}"

    status, problem = run(cluster, CREATE_FILE, file=url)
    assert status == 400 and "line 6, column 5" in problem["message"], problem
    as_meant = CREATE_FILE.replace(f'"{FILE}",', f'"{FILE}"')
    status, created = run(cluster, as_meant, file=url)
    assert status == 200, created
    args = {"type": "file", "url": url, "headers": {"Authorization": "***"}}
    assert_answers(created, FILE_CREATED, **args)
    cluster.wait(created["id"])
    status, ended = run(cluster, GET, created["id"])
    assert status == 200 and ended["state"] == "SUCCESS", ended
    assert_answers(ended, FILE_ENDED, **args)
    # The second Authorization is for the file's host.
    assert {asked.path for asked in origin.asked} == {"/"}
    assert {asked.headers["authorization"] for asked in origin.asked} == {"token your_example.com_personal_access_token"}
    origin.clear()
    for node in cluster.nodes:
        assert node.json("explain", url)["warm"]
    assert origin.asked == []
