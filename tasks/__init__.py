"""Stages. This file only sets the variables that Ray reads at its first import, before any module imports it, and lets
the logs of every process that runs stages be without control characters."""

import os

from comem_core.terminal import guard_logs

if not os.environ.get("RAY_ADDRESS"):
    # Ray's only switch that makes a local Ray listen on 127.0.0.1 alone; without it every network can reach its ports.
    os.environ.setdefault("RAY_ENABLE_WINDOWS_OR_OSX_CLUSTER", "0")
os.environ.setdefault("RAY_ACCEL_ENV_VAR_OVERRIDE_ON_ZERO", "0")
os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")
guard_logs()
