"""Cluster: a manager and nodes on loopback that have joined it, and calls to its Open API as a pipeline makes them."""

import json

from .process import wait_for

PATIENCE = 60


def settings_of(manager, name, token):
    return {
        "name": f'"{name}"',
        "manager.addresses": f'["{manager.grpc}"]',
        "manager.join_token_file": f'"{token}"',
        "peer.data_listen": '"127.0.0.1:0"',
        "peer.control_listen": '"127.0.0.1:0"',
        "peer.advertise": '"127.0.0.1"',
    }


class Cluster:
    """A manager and its nodes n1, n2, … or `names`, the first `containerds` of them with a containerd of their own.
    `folders` says where some of the nodes (with their containerds), or "manager", keep their data: {name: folder};
    `versions` of which version some of the containerds are: {name: version}; `own` what some nodes have beside
    `settings`: {name: settings}. `prefix` is put before the command line of each node without a containerd."""

    def __init__(
        self, bed, *registries, nodes=2, containerds=0, settings=None, names=None, folders=None, versions=None, own=None, prefix=()
    ):  # fmt: skip
        names = names or [f"n{number}" for number in range(1, nodes + 1)]
        nodes, folders, versions, own = len(names), folders or {}, versions or {}, own or {}
        self.manager = bed.manager(folder=folders.get("manager"))
        token = self.manager.join_token("--uses", nodes) if nodes else None
        self.token = self.manager.json("tokens", "create", "--name", "ci", "--scope", "job")["token"]
        self.nodes, self.containerds = [], []
        for number, name in enumerate(names, 1):
            these = {**settings_of(self.manager, name, token), **(settings or {}), **own.get(name, {})}
            if number <= containerds:
                node, containerd = bed.warm_pair(
                    *registries, on=folders.get(name), version=versions.get(name), mirror=True, settings=these
                )
                self.containerds.append(containerd)
            else:
                node = bed.node(*registries, settings=these, folder=folders.get(name), prefix=prefix)
            self.nodes.append(node)
        for name in names:
            self.wait_connected(name)

    def install_on(self, machine, name):
        """`hearth install` on a machine whose node then joins under that name."""
        settings = settings_of(self.manager, name, self.manager.join_token())
        machine.write_node_config(top="\n".join(f"{key} = {value}" for key, value in settings.items()))
        machine.start_containerd()
        machine.sh("hearth install")
        machine.start_node()
        machine.restart_containerd()
        self.wait_connected(name)

    def wait_connected(self, name, connected=True):
        def seen():
            # A node that has not joined yet is not there.
            out = self.manager.command("nodes", "show", name, "--output", "json", check=False)
            return out.returncode == 0 and json.loads(out.stdout)["connected"] == connected

        wait_for(seen, PATIENCE, f"{name}: connected {connected}")

    def call(self, method, path, body=None, **kw):
        """(status, document) of a call with the job token."""
        status, headers, text = self.manager.request(method, path, token=self.token, body=body, **kw)
        self.headers = headers
        return status, json.loads(text) if text else None

    def create(self, args, **top):
        status, job = self.call("POST", "/oapi/v1/jobs", {"type": "preheat", "args": args, **top})
        assert status == 200, job
        return job

    def job(self, number):
        status, job = self.call("GET", f"/oapi/v1/jobs/{number}")
        assert status == 200, job
        return job

    def wait(self, number, seconds=PATIENCE):
        """The job when it has ended."""

        def ended():
            job = self.job(number)
            return job if job["state"] != "PENDING" else None

        return wait_for(ended, seconds, f"job {number} to end", interval=0.1)

    def tasks(self, job, kind="success_tasks"):
        return [task for state in job["result"]["job_states"] for result in state["results"] for task in result[kind]]
