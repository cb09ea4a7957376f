#!/usr/bin/env bash
# Where RAY_ADDRESS (host:port) names a cluster, this machine joins it as a node without CPUs, from which a run can ask the
# other nodes for work; then the command runs: application/join_ray.sh COMMAND. The image's entrypoint.
set -euo pipefail
if [ -n "${RAY_ADDRESS:-}" ]; then
  # Without the variable, for `ray start` would take it for the address of a cluster that is up here already.
  env -u RAY_ADDRESS ray start --address="$RAY_ADDRESS" --num-cpus=0 --num-gpus=0 --object-store-memory=200000000 \
    --disable-usage-stats >&2
fi
exec "$@"
