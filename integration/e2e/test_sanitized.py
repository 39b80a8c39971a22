"""A preheat and pulls for a build with sanitizers, and that what those report is not overlooked.

`make asan` runs it on build-asan (HEARTH_BINARY), `make e2e` on the release build.
"""

import subprocess

import pytest

from integration.testbed import small_image
from integration.testbed.process import Process, SanitizerReport, wait_for

FAULTY = {
    "address": ("int main() { char* volatile p = new char[4]; delete[] p; return p[1]; }", "heap-use-after-free"),
    "undefined": ("int main(int n, char**) { int m = 2147483647; return (m + n) & 1; }", "runtime error"),
    "leak": ("int main() { char* volatile p = new char[4]; p = nullptr; return 0; }", "LeakSanitizer"),
}


@pytest.mark.parametrize("fault", FAULTY)
def test_what_a_sanitizer_reports_fails_the_test(bed, fault):
    code, says = FAULTY[fault]
    program = bed.folder / "faulty"
    subprocess.run(
        ["c++", "-g0", "-fsanitize=address,undefined", "-fno-sanitize-recover=undefined", "-x", "c++", "-o", program, "-"],
        input=code,
        text=True,
        check=True,
    )
    process = Process([program], bed.folder / "faulty.log")
    wait_for(lambda: not process.running(), 20, "the end of the program")
    with pytest.raises(SanitizerReport, match=says):
        process.stop()


def test_preheat_and_pulls_without_a_report(bed, registry, ref, image):
    """Warm and cold, a restart, what unpacks, registers and removes; the node must end well."""
    node, containerd = bed.warm_pair(registry, mirror=True)
    node.preheat(ref)
    assert ref in containerd.images()
    registry.reset()
    containerd.pull(ref)
    assert registry.blob_gets() == []
    assert containerd.run_container(ref, "/bin/cat", "/opt/old/c") == "only this is left\n"
    cold = small_image(layers=4, seed=3)
    cold_ref = cold.push(registry, "test/cold:v1", bed.folder / "cold")
    containerd.pull(cold_ref)
    assert cold.chain_ids()[-1] in containerd.snapshots()
    containerd.remove_image(cold_ref)
    assert node.command("store", "gc").returncode == 0
    node.restart()
    containerd.wait_for_hearth()
    code, said = node.verify()
    assert code == 0, said
    node.process.signal(15)
    assert node.process.wait(30) == 0, node.process.log_tail()
    node.process.check_sanitizers()
