"""The task IDs that jobs show are Dragonfly's (v2.1.44): computed here a second time, by Python's own means."""

import hashlib
import time
import urllib.parse

import pytest

from integration.testbed import Testbed
from integration.testbed.cluster import Cluster

DEFAULT_FILTER = (
    "X-Amz-Algorithm X-Amz-Credential X-Amz-Date X-Amz-Expires X-Amz-SignedHeaders X-Amz-Signature X-Amz-Security-Token"
    " X-Amz-User-Agent X-Goog-Algorithm X-Goog-Credential X-Goog-Date X-Goog-Expires X-Goog-SignedHeaders X-Goog-Signature"
    " OSSAccessKeyId Expires Signature SecurityToken AccessKeyId X-Obs-Date X-Obs-Security-Token q-sign-algorithm q-ak"
    " q-sign-time q-key-time q-header-list q-url-param-list q-signature x-cos-security-token ns"
).split()
MIB = 1 << 20
# Parameters of task_id() by an argument's name.
OURS = {
    "filter": "filtered",
    "filteredQueryParams": "filtered",
    "filtered_query_params": "filtered",
    "pieceLength": "piece_length",
}


def task_id(url, filtered="", tag="", application="", piece_length=4 * MIB):
    """sha256 of the filtered URL, its keys sorted and escaped as Go's url.Values.Encode does, and what follows it."""
    parts = urllib.parse.urlsplit(url)
    dropped = filtered.split("&") if filtered else DEFAULT_FILTER
    pairs = urllib.parse.parse_qsl(parts.query, keep_blank_values=True)
    kept = sorted((pair for pair in pairs if pair[0] not in dropped), key=lambda pair: pair[0])
    url = urllib.parse.urlunsplit(parts._replace(query=urllib.parse.urlencode(kept)))
    return hashlib.sha256(f"{url}{tag}{application}{piece_length}".encode()).hexdigest()


@pytest.fixture(scope="module")
def shared():
    """(cluster, origin, registry)"""
    with Testbed() as bed:
        registry = bed.registry()
        yield Cluster(bed, registry, nodes=1), bed.origin(), registry


def shown(cluster, args):
    """{task ID: URL} of a job that succeeded."""
    done = cluster.wait(cluster.create(args)["id"])
    assert done["state"] == "SUCCESS", done["reason"]
    return {task["task_id"]: task["url"] for task in cluster.tasks(done)}


@pytest.mark.parametrize(
    "query, args",
    [
        ({}, {}),
        ({"version": "2", "a": "x y/~*é"}, {}),
        ({"version": "2", "a": "1"}, {"filteredQueryParams": "Expires&Signature"}),
        ({"version": "2", "a": "1"}, {"filtered_query_params": "Expires&Signature&a"}),
        ({"b": "", "a": "1"}, {"filter": "Expires&Signature&version"}),
        ({}, {"tag": "t1"}),
        ({}, {"application": "app", "tag": "t2"}),
        ({}, {"pieceLength": 8 * MIB}),
        ({"z": "1", "a": "2"}, {"filter": "Signature&Expires&z", "tag": "t", "application": "a", "piece_length": 1024 * MIB}),
    ],
)
def test_of_a_file(shared, query, args):
    cluster, origin, _ = shared
    origin.put("/f", b"file" * 1000)
    expected = task_id(origin.url("/f", **query), **{OURS.get(name, name): value for name, value in args.items()})
    ((found, url),) = shown(cluster, {"type": "file", "url": origin.url("/f", **query), **args}).items()
    assert found == expected
    assert "Signature=***" in url
    # A new signature is the same task: nothing comes again.
    before = origin.sent("/f")[0]
    again = origin.url("/f", expires=int(time.time()) + 7200, **query)
    assert list(shown(cluster, {"type": "file", "url": again, **args})) == [expected]
    assert origin.sent("/f")[0] == before


def test_of_a_file_at_the_root_of_its_host(shared):
    """As the guide has it, without a path."""
    cluster, origin, _ = shared
    origin.put("/", b"root", signed=False)
    url = f"http://{origin.address}"
    assert list(shown(cluster, {"type": "file", "url": url})) == [task_id(url)]


@pytest.mark.parametrize("args", [{}, {"tag": "t", "application": "a", "pieceLength": 16 * MIB, "filter": "x"}])
def test_of_an_image(shared, image, args):
    cluster, _, registry = shared
    image.push(registry, "test/small:v1", registry.folder / f"layout{len(args)}")
    url = f"https://{registry.address}/v2/test/small"
    given = {OURS.get(name, name): value for name, value in args.items()}
    tasks = shown(cluster, {"type": "image", "url": f"{url}/manifests/v1", **args})
    assert all(found == task_id(one, **given) for found, one in tasks.items())
    blobs = {f"{url}/blobs/{blob.digest}" for blob in (image.config, *image.layers)}
    assert blobs <= set(tasks.values())
    assert {one.rpartition("/")[0] for one in tasks.values()} == {f"{url}/blobs", f"{url}/manifests"}
