"""kill -9 of the node at any moment of its daily work: what it finds again is right or gone."""

import random
import time

import pytest

from integration.testbed import Image, tree
from integration.testbed.churn import Churn
from integration.testbed.image import base_layer, edge_layer, filler_layer
from integration.testbed.quick_clock import quick_clock

MIB = 1 << 20
# What was not used for a minute may be evicted: under this clock for a second.
CLOCK_SPEED = 60
# About half of what all images take: preheats live only by the eviction of others.
QUOTA = "24MiB"


def _images(registry, folder):
    """[(image, reference)]: all share their base, some the second layer; 5 to 8 MiB with what is unpacked of it."""
    base, edge = base_layer(), edge_layer()
    images = []
    for number in range(6):
        layers = [base, edge] if number < 3 else [base]
        layers += [filler_layer(100 * number + i, 900_000) for i in range(3)]
        made = Image.of(layers, [("gzip", "zstd", "none")[i % 3] for i in range(len(layers))])
        images.append((made, made.push(registry, f"kill/image{number}:v1", folder / f"image{number}")))
    return images


def _true_trees(stock, images):
    """{chain ID: listing of the layer's own directory}, as stock containerd unpacks it."""
    trees = {}
    for made, ref in images:
        stock.pull(ref)
        lowers = stock.layer_folders(made.chain_ids()[-1])
        for chain, folder in zip(made.chain_ids(), lowers):
            if chain not in trees:
                trees[chain] = tree.listing(folder)
    return trees


def _shown(node):
    """[(what it is, chain ID, directory)] of every layer and committed snapshot that the store shows."""
    answer = node.json("store", "ls")
    shown = [("layer", layer["chain_id"], layer["directory"]) for layer in answer["layers"]]
    for snapshot in answer["snapshots"]:
        if snapshot["kind"] == "committed":
            chain = snapshot["chain_id"] or snapshot["name"].rpartition("/")[2]
            shown.append((f"snapshot {snapshot['name']}", chain, snapshot["directory"]))
    return shown


def _check(node, trees, since, when):
    code, said = node.verify()
    assert code == 0, f"{when}: {said}"
    looked_at = {}
    for what, chain, directory in _shown(node):
        if looked_at.get(directory) != chain:
            have = tree.listing(node.root / "snapshots" / str(directory) / "fs")
            assert tree.diff(trees[chain], have, since_ns=since) == [], f"{when}: {what} of {chain}"
        looked_at[directory] = chain
    return len(looked_at)


@pytest.mark.parametrize("kills", [20, pytest.param(100, marks=pytest.mark.slow)])
def test_kill_9_at_random_points_of_all_work_at_once(bed, registry, kills):
    """Pulls, commits, deletes, containerd's collection, ours and evictions go on while the node is killed. After each
    restart the store is clean and every tree it shows is the true one; in the end every pull succeeds."""
    seed = random.randrange(1 << 30)
    print(f"seed {seed}")
    rng = random.Random(seed)
    images = _images(registry, bed.folder)
    front = bed.front(registry)
    for blob in {blob.digest: blob for made, _ in images for blob in made.layers}.values():
        front.rule(blob.digest, rate=3 * MIB)
    refs = [front.ref(ref.partition("/")[2]) for _, ref in images]
    since = time.time_ns()
    stock = bed.containerd()
    trees = _true_trees(stock, images)
    stock.stop()

    folder = bed.new_folder("p")
    (folder / "n").mkdir()
    (folder / "c").mkdir()
    node = bed.node(
        front,
        folder=folder / "n",
        containerd_address=folder / "c" / "c.sock",
        settings={"store.quota": f'"{QUOTA}"'},
        prefix=quick_clock(CLOCK_SPEED),
    )
    containerd = bed.containerd(folder=folder / "c", node=node)
    done, looked_at = {}, 0
    for number in range(kills):
        when = f"seed {seed}, kill {number}"
        churn = Churn(node, containerd, refs[:4], refs[2:], seed + number)
        # Not luck: any moment will do.
        churn.run_for(rng.uniform(0.1, 1.5))
        node.kill9()
        churn.stop()
        node.start()
        looked_at += _check(node, trees, since, when)
        containerd.wait_for_hearth()
        for name, count in churn.done.items():
            done[name] = done.get(name, 0) + count
    print(f"done {done}, {looked_at} trees compared")

    front.rules.clear()
    for ref in refs:
        containerd.pull(ref, timeout=60)
        assert containerd.run_container(ref, "/bin/echo", "ok") == "ok\n", f"seed {seed}"
    assert containerd.ingests() == [], f"seed {seed}"
    _check(node, trees, since, f"seed {seed}, after the last pull")
    assert "space freed" in (node.folder / "node.log").read_text()
    assert all(done.get(name) for name in ("pull", "commit", "delete", "preheat", "collect")), done
