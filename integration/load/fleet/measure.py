"""What a manager does with a fleet, measured: each function returns figures with the goals that they are to meet."""

import http.client
import json
import ssl
import statistics
import threading
import time

from integration.bench.figure import Figure
from integration.testbed.process import wait_for

ORDERED_SECONDS = 1.0
EVENT_SECONDS = 0.2
ANSWER_BYTES = 64 << 10
ANSWER_SECONDS = 0.010
MANAGER_MIB = 256
RESTART_SECONDS = 3.0
PATIENCE = 300


class Api:
    """One kept connection to the manager's API."""

    def __init__(self, manager):
        host, port = manager.api.split("://")[1].rsplit(":", 1)
        context = ssl.create_default_context(cafile=manager.ca_file)
        self._connection = http.client.HTTPSConnection(host, int(port), context=context, timeout=60)
        self._headers = {"Authorization": f"Bearer {manager.admin_token}"}

    def call(self, method, path, body=None):
        """(status, bytes)"""
        self._connection.request(method, path, body=json.dumps(body) if body else None, headers=self._headers)
        answer = self._connection.getresponse()
        return answer.status, answer.read()

    def create(self, url="localhost:5000/fleet/image:v1", **args):
        body = {"type": "preheat", "args": {"type": "image", "url": url, "timeout": 3600 * 10**9, **args}}
        status, text = self.call("POST", "/oapi/v1/jobs", body)
        if status != 200:
            raise RuntimeError(f"POST of a job: {status} {text}")
        return json.loads(text)["id"]

    def state(self, job):
        return json.loads(self.call("GET", f"/oapi/v1/jobs/{job}")[1])["state"]

    def close(self):
        self._connection.close()


class Events:
    """The events of one stream, with the time at which each came."""

    def __init__(self, manager, path):
        self.seen = []
        self._events = manager.events(path, timeout=PATIENCE)
        threading.Thread(target=self._read, daemon=True).start()

    def _read(self):
        for _, event, document in self._events:
            self.seen.append((time.monotonic(), event, document))

    def wait(self, condition, what):
        """When the first event came for which it holds."""

        def found():
            return next((when for when, event, document in list(self.seen) if condition(event, document)), None)

        return wait_for(found, PATIENCE, what, interval=0.005)


def worst(values):
    return max(values)


def orders(manager, fleet, rounds):
    """From POST to the last node that has its order."""
    api = Api(manager)
    took = []
    fleet.ask("hold")
    for number in range(rounds):
        began = time.monotonic()
        job = api.create(f"localhost:5000/fleet/orders:{number}", concurrency=fleet.count)
        took.append(fleet.wait("ordered", job=job)["at"] - began)
        fleet.ask("report", job)
        wait_for(lambda job=job: api.state(job) == "SUCCESS", PATIENCE, "the job to end")
    fleet.ask("release")
    api.close()
    return [
        Figure("a job reaches every node, worst", worst(took), "s", ORDERED_SECONDS, "<="),
        Figure("a job reaches every node, median", statistics.median(took), "s"),
    ]


def changes(manager, fleet, rounds):
    """From what a node says to its event, of the job's own stream and of the one of all jobs; then the end of the job."""
    api = Api(manager)
    fleet.ask("hold")
    job = api.create("localhost:5000/fleet/changes:v1", concurrency=fleet.count)
    fleet.wait("ordered", job=job)
    streams = [Events(manager, f"/oapi/v1/jobs/{job}/events"), Events(manager, "/api/v1/events")]
    for stream in streams:
        stream.wait(lambda *_: True, "the stream's beginning")
    took = []
    for number in range(1, rounds + 1):
        said = fleet.ask("progress", job, number % fleet.count, 1 << number % 40, 1 << 40)
        assert said["told"]
        total = (1 << 40) * min(number, fleet.count)

        def told(event, document, total=total, number=number):
            if event != "job" or document["id"] != job:
                return False
            progress = document["progress"]
            return progress["bytes_total"] >= total and progress["bytes_done"] >= 1 << number % 40

        took += [stream.wait(told, "a change's event") - said["at"] for stream in streams]
    said = fleet.ask("report", job)
    assert said["nodes"] == fleet.count
    ended = [
        stream.wait(lambda event, document: event == "job" and document["id"] == job and document["state"] == "SUCCESS", "the end")
        for stream in streams
    ]
    fleet.ask("release")
    api.close()
    return [
        Figure("a change on a node is in the events, worst", worst(took), "s", EVENT_SECONDS, "<="),
        Figure("a change on a node is in the events, median", statistics.median(took), "s"),
        Figure("all nodes report at once: the end is in the events", max(ended) - said["at"], "s"),
    ]


def reads(manager, fleet, per_second, seconds, connections=8):
    """GET of a job of all nodes, while it runs."""
    api = Api(manager)
    fleet.ask("hold")
    job = api.create("localhost:5000/fleet/reads:v1", concurrency=fleet.count)
    fleet.wait("ordered", job=job)
    fleet.ask("report", job)
    wait_for(lambda: api.state(job) == "SUCCESS", PATIENCE, "the job to end")
    running = api.create("localhost:5000/fleet/reads:v2", concurrency=fleet.count)
    fleet.wait("ordered", job=running)
    took, sizes, late = [], [], []
    lock = threading.Lock()
    start = time.monotonic() + 0.5

    def reader(number):
        own = Api(manager)
        for turn in range(int(per_second * seconds / connections)):
            due = start + (turn * connections + number) / per_second
            time.sleep(max(0.0, due - time.monotonic()))
            began = time.monotonic()
            status, text = own.call("GET", f"/oapi/v1/jobs/{(job, running)[turn % 2]}")
            ended = time.monotonic()
            assert status == 200
            with lock:
                took.append(ended - began)
                sizes.append(len(text))
                late.append(began - due)
        own.close()

    threads = [threading.Thread(target=reader, args=(number,)) for number in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    fleet.ask("report", running)
    fleet.ask("release")
    wait_for(lambda: api.state(running) == "SUCCESS", PATIENCE, "the job to end")
    api.close()
    took.sort()
    return [
        Figure("GET of a job, largest answer", max(sizes) / 1024, "KiB", ANSWER_BYTES / 1024, "<="),
        Figure(f"GET of a job at {per_second}/s, p99", took[int(len(took) * 0.99)] * 1000, "ms", ANSWER_SECONDS * 1000, "<="),
        Figure(f"GET of a job at {per_second}/s, median", statistics.median(took) * 1000, "ms"),
        Figure("requests that began more than 50 ms late", sum(one > 0.05 for one in late), ""),
    ]


def swarms(fleet, count):
    """Joins of swarms over the wire; client, server and TLS of all nodes share this machine."""
    said = fleet.ask("join", count)
    return [Figure("joins of swarms answered over the wire", said["joins"] / said["seconds"], "1/s")]


def old_jobs(manager, count, nodes_of_each, connections=8):
    """Makes jobs and waits for their end."""
    api = Api(manager)
    began = time.monotonic()
    failed = []

    def make(number):
        try:
            own = Api(manager)
            for turn in range(number, count, connections):
                while True:
                    try:
                        own.create(f"localhost:5000/fleet/old:{turn}", count=nodes_of_each)
                        break
                    except RuntimeError as error:
                        if " 429 " not in str(error):
                            raise
                        time.sleep(0.05)
            own.close()
        except Exception as error:  # told below, not by a thread
            failed.append(error)

    threads = [threading.Thread(target=make, args=(number,)) for number in range(connections)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]

    def none_left():
        return json.loads(api.call("GET", "/oapi/v1/jobs?state=PENDING&per_page=1")[1]) == []

    wait_for(none_left, PATIENCE, "all jobs to end")
    api.close()
    return [Figure("jobs made and ended", count / (time.monotonic() - began), "1/s")]


def memory(manager):
    return [Figure("peak memory of the manager", manager.process.status_kib("VmHWM") / 1024, "MiB", MANAGER_MIB, "<=")]


def restart(manager, fleet):
    """Until it is ready, and until every node is there again."""
    manager.stop()
    began = time.monotonic()
    manager.start()
    ready = time.monotonic() - began
    back = fleet.wait("connected")["at"] - began
    return [
        Figure("restart to ready", ready, "s", RESTART_SECONDS, "<="),
        Figure("restart until every node is connected", back, "s"),
    ]
