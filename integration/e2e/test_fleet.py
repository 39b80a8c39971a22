"""A manager with fifty simulated nodes that speak the real protocol; `make bench-fleet` measures a thousand."""

import json

import pytest

from integration.load.fleet import measure
from integration.load.fleet.nodes import FleetNodes
from integration.testbed import Testbed
from integration.testbed.process import wait_for

NODES = 50
PATIENCE = 60
QUICKLY = 10  # for what is to take a second at most, on a machine that is busy


@pytest.fixture(scope="module")
def shared():
    with Testbed() as bed:
        manager = bed.manager()
        fleet = FleetNodes(manager, bed.folder / "fleet", NODES, blobs=100, distinct=1000)
        yield manager, fleet
        fleet.close()


def test_every_node_is_there_with_what_it_holds(shared):
    manager, _ = shared
    nodes = manager.json("nodes", "ls")["nodes"]
    assert len(nodes) == NODES and all(node["connected"] for node in nodes)
    wait_for(lambda: manager.json("nodes", "show", "sim-7")["blobs"] > 50, PATIENCE, "the inventory of a node")


def test_a_job_reaches_every_node_and_what_they_say_is_in_the_events(shared):
    manager, fleet = shared
    figures = measure.orders(manager, fleet, rounds=1) + measure.changes(manager, fleet, rounds=3)
    assert all(figure.value < QUICKLY for figure in figures if figure.unit == "s"), figures


def test_a_restarted_manager_goes_on_with_its_jobs(shared):
    manager, fleet = shared
    api = measure.Api(manager)
    fleet.ask("hold")
    job = api.create("localhost:5000/fleet/restart:v1")
    fleet.wait("ordered", job=job)
    api.close()
    measure.restart(manager, fleet)
    api = measure.Api(manager)
    assert fleet.ask("report", job)["nodes"] == NODES
    fleet.ask("release")
    wait_for(lambda: api.state(job) == "SUCCESS", PATIENCE, "the job to end")
    assert json.loads(api.call("GET", f"/oapi/v1/jobs/{job}")[1])["progress"]["nodes"]["succeeded"] == NODES
    api.close()
