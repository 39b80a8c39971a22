"""What happens to jobs, told as it happens: server-sent events and long polls of a manager with real nodes."""

import threading
import time

import pytest

from integration.testbed import Testbed
from integration.testbed.cluster import Cluster
from integration.testbed.process import wait_for

PATIENCE = 60
QUICKLY = 5  # for what takes milliseconds, on a machine that is busy


@pytest.fixture(scope="module")
def shared():
    """A cluster of one node, and an origin."""
    with Testbed() as bed:
        yield Cluster(bed, nodes=1), bed.origin()


class Follower:
    """Reads a stream in a thread; `seen` is [(when, id, event, document)]."""

    def __init__(self, manager, path, last_id=None):
        self.seen = []
        self.ended = False
        self._read = lambda: self._take(manager.events(path, last_id))
        self.thread = threading.Thread(target=self._read, daemon=True)
        self.thread.start()

    def _take(self, events):
        try:
            for event in events:
                self.seen.append((time.monotonic(), *event))
        except OSError:
            return  # cut off, not ended
        self.ended = True

    def wait(self, condition, what, seconds=PATIENCE):
        return wait_for(lambda: next((event for event in self.seen if condition(event)), None), seconds, what, interval=0.01)

    def wait_end(self):
        wait_for(lambda: self.ended, PATIENCE, "the stream to end")


def file_job(cluster, origin, name):
    origin.put(name, name.encode() * 1000, signed=False)
    return cluster.create({"type": "file", "url": f"http://{origin.address}{name}"})


def test_progress_says_how_fast_bytes_come_how_long_it_takes_and_what_was_there(shared):
    cluster, origin = shared
    file = origin.put("/slow", b"s" * (4 << 20), rate=300_000, signed=False)
    args = {"type": "file", "url": f"http://{origin.address}/slow"}
    job = cluster.create(args)["id"]

    def progress():
        return cluster.job(job)["progress"]

    wait_for(lambda: progress()["bytes_per_second"] > 0 and progress()["eta_seconds"], PATIENCE, "a rate and what is left")
    shown = cluster.manager.command("jobs", "show", job, token=cluster.token).stdout
    assert "rate" in shown and "eta" in shown
    file.rate = 0
    done = cluster.wait(job)["progress"]
    assert (done["bytes_per_second"], done["eta_seconds"], done["present_bytes"]) == (0, None, 0)
    again = cluster.wait(cluster.create(args)["id"])["progress"]
    assert (again["bytes_fetched"], again["present_bytes"]) == (0, 4 << 20)


def test_a_job_is_followed_from_its_creation_to_its_end(shared):
    cluster, origin = shared
    job = file_job(cluster, origin, "/a")
    events = list(cluster.manager.events(f"/oapi/v1/jobs/{job['id']}/events"))
    assert {event for _, event, _ in events} == {"job"}
    assert events[-1][2] == cluster.job(job["id"]) and events[-1][2]["state"] == "SUCCESS"
    # Who has the end is not told again.
    status, _, body = cluster.manager.request(
        "GET",
        f"/oapi/v1/jobs/{job['id']}/events",
        token=cluster.token,
        headers={"Last-Event-ID": events[-1][0]},
    )
    assert (status, body) == (204, b"")


def test_what_was_missed_comes_with_the_last_event_id(shared):
    cluster, origin = shared
    manager = cluster.manager
    all_jobs = Follower(manager, "/api/v1/events")
    reset = all_jobs.wait(lambda event: event[2] == "reset", "the first event")
    job = file_job(cluster, origin, "/b")
    ended = all_jobs.wait(lambda event: event[3].get("id") == job["id"] and event[3]["state"] != "PENDING", "the job's end")
    assert ended[3]["progress"]["nodes"]["succeeded"] == 1 and "result" not in ended[3]

    again = Follower(manager, "/api/v1/events", last_id=reset[1])
    first = again.wait(lambda event: True, "what was missed")
    assert first[2] == "job" and first[3]["id"] == job["id"]
    assert cluster.call("DELETE", f"/oapi/v1/jobs/{job['id']}")[0] == 204
    for stream in (all_jobs, again):
        gone = stream.wait(lambda event: event[2] == "removed", "the removal")
        assert gone[3] == {"id": job["id"]}


def test_a_long_poll_is_answered_at_the_end(shared):
    cluster, origin = shared
    job = file_job(cluster, origin, "/c")
    status, done = cluster.call("GET", f"/oapi/v1/jobs/{job['id']}?wait=20s")
    assert status == 200 and done["state"] == "SUCCESS"
    # An answer may be newer than its tag, never older.
    assert cluster.call("GET", f"/oapi/v1/jobs/{job['id']}")[1] == done
    tag = cluster.headers["ETag"]
    assert cluster.call("GET", f"/oapi/v1/jobs/{job['id']}", headers={"If-None-Match": tag})[0] == 304


def test_a_pull_job_is_watched_and_a_change_comes_at_once(shared):
    cluster, _ = shared
    manager = cluster.manager
    document = {
        "apiVersion": "operations.kubeedge.io/v1alpha2",
        "kind": "ImagePrePullJob",
        "metadata": {"name": "waits"},
        "spec": {"imagePrePullTemplate": {"images": ["localhost:1/none:v1"], "nodeNames": ["n1"], "retryTimes": 9}},
    }
    assert cluster.call("POST", "/api/v1/pull-jobs", document)[0] == 200
    watch = Follower(manager, "/api/v1/pull-jobs/waits/watch")
    watch.wait(lambda event: event[2] == "pull-job" and event[3]["status"]["phase"] == "InProgress", "its beginning")
    began = time.monotonic()
    assert cluster.call("POST", "/api/v1/pull-jobs/waits/cancel")[0] == 200
    watch.wait_end()
    assert watch.seen[-1][3]["status"]["phase"] == "Failure"
    assert watch.seen[-1][0] - began < QUICKLY


def test_streams_end_with_the_manager_and_go_on_with_the_next(shared):
    cluster, origin = shared
    manager = cluster.manager
    all_jobs = Follower(manager, "/api/v1/events")
    reset = all_jobs.wait(lambda event: event[2] == "reset", "the first event")
    assert manager.stop() < 10
    all_jobs.wait_end()
    manager.start()
    cluster.wait_connected("n1")
    again = Follower(manager, "/api/v1/events", last_id=reset[1])
    assert again.wait(lambda event: True, "its first event")[2] == "reset"
    job = file_job(cluster, origin, "/d")
    again.wait(lambda event: event[3].get("id") == job["id"] and event[3]["state"] == "SUCCESS", "a job's end")


def test_a_reader_that_stands_still_holds_up_nobody(shared):
    """It reads nothing while a job changes three hundred times; others are told as ever, and it gets the latest state."""
    cluster, origin = shared
    manager = cluster.manager
    job = cluster.create({"type": "file", "url": "http://192.0.2.1:1/never", "timeout": 600_000_000_000, "nodes": ["n1"]})
    path = f"/oapi/v1/jobs/{job['id']}"
    still = manager.events(path + "/events")
    next(still)
    for number in range(300):
        assert cluster.call("PATCH", path, {"bio": f"{number} " + "x" * 900})[0] == 200
    follower = Follower(manager, path + "/events")
    follower.wait(lambda event: event[3]["bio"].startswith("299 "), "the latest state", QUICKLY)
    assert cluster.call("POST", path + "/cancel")[0] == 200
    follower.wait_end()
    missed = list(still)
    assert missed[-1][2]["state"] == "FAILURE" and len(missed) < 100
