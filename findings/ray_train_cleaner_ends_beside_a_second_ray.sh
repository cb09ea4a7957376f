#!/usr/bin/env bash
# ray 2.60.0: where two Rays run on a machine, Ray Train's guard of its placement group ends at once.
#
# `PlacementGroupCleaner` is a process that frees a training's CPUs and GPUs if the controller dies. To see whether the
# controller lives it asks the State API, without naming its own Ray, and the API refuses to choose between several. The
# exception ends the guard's thread; the training goes on unguarded, and only a traceback in a log tells. A second Ray
# is nothing odd: two runs of one user, or two users of a machine, have one each.
# Seen: alone the training ends without a word; beside another Ray "Exception in thread PlacementGroupCleanerMonitor"
# with "ConnectionError: Found multiple active Ray instances", and the training still succeeds. The script fails when
# the guard's thread stays, or a training alone loses it too.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check 'ray[train]==2.60.0'
cat >"$folder/train.py" <<'PYTHON'
import subprocess
import sys
import time

OTHER = """
import ray
ray.init(address="local", num_cpus=1, include_dashboard=False, logging_level="ERROR")
print("up", flush=True)
input()
"""
TRAINING = """
import time
import ray
from ray.train import ScalingConfig
from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer
ray.init(address="local", num_cpus=3, include_dashboard=False, logging_level="ERROR")
DataParallelTrainer(lambda: time.sleep(15), scaling_config=ScalingConfig(num_workers=1)).fit()
time.sleep(3)
print("trained")
"""


def train():
    done = subprocess.run([sys.executable, "-c", TRAINING], capture_output=True, text=True, timeout=300)
    told = done.stdout + done.stderr
    assert done.returncode == 0 and "trained" in done.stdout, told[-2000:]
    return "Exception in thread PlacementGroupCleanerMonitor" in told, "Found multiple active Ray instances" in told


alone = train()
other = subprocess.Popen([sys.executable, "-c", OTHER], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
assert other.stdout.readline() == "up\n"
beside = train()
other.communicate("\n", timeout=60)
for where, (ended, several) in {"alone": alone, "beside another Ray": beside}.items():
    print(f"{where}: the guard's thread {'ended' if ended else 'stayed'}; several instances found: {several}")
assert alone == (False, False), "a training alone lost its guard too (is another Ray up on this machine?)"
assert beside == (True, True), "the guard stayed beside another Ray"
PYTHON
cd "$folder" # no project of this folder may be imported
RAY_USAGE_STATS_ENABLED=0 "$folder/venv/bin/python" train.py
