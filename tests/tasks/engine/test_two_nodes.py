"""A cluster of two nodes on this machine: joined by its address, worked on by both, and left by one in the middle."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

SCRIPT = """
import json, os, sys, time
from pathlib import Path

import ray
from ray.cluster_utils import Cluster

from tasks.engine.context import Context
from tasks.engine.on_ray import join_ray, map_shards
from tasks.engine.workers import Workers

cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1})
other = cluster.add_node(num_cpus=1)
os.environ["RAY_ADDRESS"] = cluster.address
context = Context.from_environment()


def make_worker():
    import tasks

    def work(name):
        time.sleep(0.5)
        return ray.get_runtime_context().get_node_id(), tasks.__file__, os.environ["HF_HUB_OFFLINE"]

    return work


seen = []


def on_done(progress):
    seen.append(progress.result[0])
    if len(set(seen)) == 2 and cluster.list_all_nodes()[-1] is other and other.all_processes:
        cluster.remove_node(other, allow_graceful=False)


with join_ray(context):
    done = map_shards(make_worker, {f"part-{n}": n for n in range(12)}, workers=Workers(num_actors=2), on_done=on_done)
    alive = [each["NodeID"] for each in ray.nodes() if each["Alive"]]
print(json.dumps({"done": done, "seen": seen, "alive": alive}))
cluster.shutdown()
"""


@pytest.mark.slow
def test_both_nodes_work_and_the_one_that_stays_does_the_rest(tmp_path: Path) -> None:
    environment = os.environ | {"COMEM_ROOT": str(tmp_path), "RAY_AUTH_MODE": "disabled", "COMEM_NUM_ACTORS": "2"}
    run = subprocess.run(
        [sys.executable, "-c", SCRIPT], cwd=tmp_path, env=environment, capture_output=True, text=True, timeout=300
    )
    assert run.returncode == 0, run.stderr[-3000:]
    told = json.loads(run.stdout.splitlines()[-1])
    assert len(told["done"]) == 12
    assert len({node for node, _, _ in told["done"].values()}) == 2
    assert len(told["alive"]) == 1 and told["seen"][-1] == told["alive"][0]
    assert {offline for _, _, offline in told["done"].values()} == {"1"}
