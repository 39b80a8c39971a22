"""Fixtures of the end-to-end tests: real parts, one scratch folder per test."""

import os

import pytest

from integration.testbed import Testbed, small_image

LOG_LINES = 40


def pytest_configure(config):
    config.addinivalue_line("markers", "slow: minutes; only in the nightly run")
    if os.geteuid() != 0:
        raise pytest.UsageError("the end-to-end tests mount and make device nodes: run them as root")


@pytest.hookimpl(hookwrapper=True)
def pytest_runtest_makereport(item, call):
    outcome = yield
    if call.when == "call":
        item.call_failed = outcome.get_result().failed


@pytest.fixture
def bed(request):
    """A test bed of the test's own; the ends of its parts' logs are shown when the test fails."""
    with Testbed() as testbed:
        yield testbed
        if getattr(request.node, "call_failed", False):
            for log in sorted(testbed.folder.rglob("*.log")):
                if log.name in ("node.log", "manager.log", "containerd.log") and log.is_file():
                    print(f"---- {log.relative_to(testbed.folder)}")
                    print("\n".join(log.read_text(errors="replace").splitlines()[-LOG_LINES:]))


@pytest.fixture(params=["2.1", pytest.param("1.7", marks=pytest.mark.slow), pytest.param("1.6", marks=pytest.mark.slow)])
def each_version(request, bed):
    """The bed's containerds are of this version where the test names none: 2.1, and at night the others too."""
    bed.containerd_version = request.param
    return request.param


@pytest.fixture(scope="session")
def image():
    """A small runnable image of five layers, each odd thing in it; the same for every test."""
    return small_image(layers=5)


@pytest.fixture
def registry(bed):
    return bed.registry()


@pytest.fixture
def ref(bed, registry, image):
    """`image`, pushed to `registry`."""
    return image.push(registry, "test/small:v1", bed.folder / "layout")
