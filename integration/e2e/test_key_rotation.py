"""Rotation of the key that seals what jobs and secrets must not show: a new one first, a start, and the old one goes."""

import secrets

from integration.testbed.cluster import Cluster

LOGIN = {"auths": {"r.example": {"auth": "am9lOnMzY3JldA=="}}}


def test_a_new_key_goes_first_and_after_a_start_the_old_one_is_needed_no_more(bed):
    origin = bed.origin()
    origin.put("/f", b"f" * 1000, signed=False)
    cluster = Cluster(bed, nodes=1)
    manager, node = cluster.manager, cluster.nodes[0]
    keys = manager.root / "secrets.key"
    old = keys.read_text().strip()
    assert cluster.call("PUT", "/api/v1/secrets/default/login", LOGIN)[0] == 200
    node.stop()
    cluster.wait_connected("n1", False)
    args = {"type": "file", "url": f"http://{origin.address}/f", "headers": {"Authorization": "Bearer of.the.job"}}
    waits = cluster.create(args)["id"]
    gone = cluster.create(args)["id"]
    assert cluster.call("POST", f"/oapi/v1/jobs/{gone}/cancel")[0] == 200

    new = secrets.token_hex(32)
    keys.write_text(f"{new}\n{old}\n")
    manager.restart()
    log = manager.log.read_text()
    assert "sealed kept secrets with the first key" in log and "sealed the credentials of jobs with the first key" in log
    keys.write_text(f"{new}\n")
    manager.restart()

    node.start()
    assert cluster.wait(waits)["state"] == "SUCCESS", cluster.job(waits)
    assert cluster.call("POST", f"/oapi/v1/jobs/{gone}/retry")[0] == 200, "one that had ended"
    assert cluster.wait(gone)["state"] == "SUCCESS"
    assert {asked.headers.get("authorization") for asked in origin.asked} == {"Bearer of.the.job"}
    template = {"images": ["r.example/a:v"], "nodeNames": ["n1"], "imageSecrets": "default/login"}
    document = {
        "apiVersion": "operations.kubeedge.io/v1alpha2",
        "kind": "ImagePrePullJob",
        "metadata": {"name": "j"},
        "spec": {"imagePrePullTemplate": template},
    }
    assert cluster.call("POST", "/api/v1/pull-jobs?dry_run=true", document)[0] == 200
    # With a key that sealed nothing, what is kept cannot be read, and that is said.
    keys.write_text(secrets.token_hex(32) + "\n")
    manager.restart()
    status, problem = cluster.call("POST", "/api/v1/pull-jobs?dry_run=true", document)
    assert status == 409 and "key file" in problem["message"], problem
