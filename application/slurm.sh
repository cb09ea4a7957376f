#!/usr/bin/env bash
#SBATCH --job-name=comem
#SBATCH --nodes=2
#SBATCH --ntasks-per-node=1
#SBATCH --output=comem-%j.log
# One run on the nodes of a Slurm job: a Ray of all nodes, with the run on the first. In the project's folder, which all nodes
# see under the same path, as they do the store, unless that is a bucket (COMEM_STORE=s3://bucket/store):
#   COMEM_STORE=/shared/store sbatch --cpus-per-task=8 --gpus-per-task=1 application/slurm.sh -p recipe=comem_qwen25_vl_7b
# What follows the script's name goes to the run, as with ARGS of `make demo`. The same command continues an interrupted run.
set -euo pipefail
: "${COMEM_STORE:?a folder that all nodes see under this path, or the address of a bucket}"

PORT="${RAY_PORT:-6379}"
CPUS="${SLURM_CPUS_PER_TASK:-1}"
HEAD=$(scontrol show hostnames "$SLURM_JOB_NODELIST" | head -n 1)
ADDRESS=$(srun --nodes=1 --ntasks=1 --nodelist="$HEAD" hostname --ip-address | awk '{print $1}')
# One worker of a stage, and one of training, for each node, unless the variables say otherwise.
export COMEM_NUM_ACTORS="${COMEM_NUM_ACTORS:-$SLURM_JOB_NUM_NODES}"
export COMEM_TRAIN_WORKERS="${COMEM_TRAIN_WORKERS:-$SLURM_JOB_NUM_NODES}"
# With GPUs, each worker has one.
if [ "${SLURM_GPUS_ON_NODE:-0}" != 0 ]; then
  export COMEM_DEVICE="${COMEM_DEVICE:-cuda}" COMEM_GPUS_PER_ACTOR="${COMEM_GPUS_PER_ACTOR:-1}"
fi
# Beside the store; a bucket has no room for it, so then it is in the project's folder.
case "$COMEM_STORE" in *://*) BESIDE=.comem ;; *) BESIDE="$COMEM_STORE/.." ;; esac
export COMEM_WAREHOUSE="${COMEM_WAREHOUSE:-$BESIDE/warehouse.duckdb}" RAY_USAGE_STATS_ENABLED=0
# A token of this job alone, so that nobody else on the network can use its Ray.
RAY_AUTH_MODE=token RAY_AUTH_TOKEN=$(.venv/bin/python -c 'import secrets; print(secrets.token_hex(32))')
export RAY_AUTH_MODE RAY_AUTH_TOKEN

export RAY_ADDRESS="$ADDRESS:$PORT"

# `ray start` ends with its srun, and that with this script; `ray stop` would also end other jobs' Rays on these nodes.
start_ray() { env -u RAY_ADDRESS srun --overlap "$@" --num-cpus="$CPUS" --disable-usage-stats --block & }
trap 'kill $(jobs -p) 2>/dev/null || true; wait' EXIT
start_ray --nodes=1 --ntasks=1 --nodelist="$HEAD" \
  .venv/bin/ray start --head --node-ip-address="$ADDRESS" --port="$PORT" --include-dashboard=false
until (: <"/dev/tcp/$ADDRESS/$PORT") 2>/dev/null; do sleep 1; kill -0 $! || exit 1; done
if [ "$SLURM_JOB_NUM_NODES" -gt 1 ]; then
  OTHERS=$((SLURM_JOB_NUM_NODES - 1))
  start_ray --nodes="$OTHERS" --ntasks="$OTHERS" --exclude="$HEAD" .venv/bin/ray start --address="$ADDRESS:$PORT"
fi
.venv/bin/python - "$SLURM_JOB_NUM_NODES" <<'PYTHON'
import sys, time
import ray

ray.init(logging_level="ERROR")
while sum(node["Alive"] for node in ray.nodes()) < int(sys.argv[1]):
    time.sleep(1)
PYTHON
.venv/bin/python -m flows.local demo "$@"
