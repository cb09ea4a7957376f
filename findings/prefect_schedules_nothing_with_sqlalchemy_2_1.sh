#!/usr/bin/env bash
# Prefect 3.8.8 allows SQLAlchemy 2.1 (its requirement ends before 3.0), starts with it, answers its API and runs what is asked
# for, but its scheduler makes no run: a deployment's schedule stays active and nothing ever comes. The reason stands only in the
# server's log, at each try: "Can't evaluate bulk DML statement; please supply a bulk_dml decorated function" (SQLAlchemy's
# hybrid properties in a bulk insert). Prefect 3.9.1 makes its runs with the same SQLAlchemy.
#
# Seen with: prefect 3.8.8, sqlalchemy 2.0.58 and 2.1.9, fastapi 0.150.0, Python 3.11. Output seen:
#   scheduled runs with Prefect 3.8.8 and SQLAlchemy 2.0.58: 3
#   scheduled runs with Prefect 3.8.8 and SQLAlchemy 2.1.9: 0
#   scheduled runs with Prefect 3.9.1 and SQLAlchemy 2.1.9: 3
# What helps: Prefect 3.9, or a cap on SQLAlchemy below 2.1; and an alarm on runs that should be there and are not.
# Fails when the second number is not 0, or one of the others is.
set -euo pipefail
folder=$(mktemp -d)
trap 'kill "${server:-}" 2>/dev/null || true; rm -rf "$folder"' EXIT
export PREFECT_SERVER_ANALYTICS_ENABLED=false PREFECT_LOGGING_SERVER_LEVEL=ERROR
cat >"$folder/schedule.py" <<'PYTHON'
import sys
import time
from datetime import timedelta

from prefect.client.orchestration import SyncPrefectClient
from prefect.client.schemas.actions import DeploymentScheduleCreate
from prefect.client.schemas.schedules import IntervalSchedule

with SyncPrefectClient(sys.argv[1]) as client:
    flow = client.create_flow_from_name("hourly")
    schedule = DeploymentScheduleCreate(schedule=IntervalSchedule(interval=timedelta(hours=1)), active=True)
    client.create_deployment(flow_id=flow, name="each-hour", schedules=[schedule])
    end = time.monotonic() + 90
    while not (runs := client.read_flow_runs()) and time.monotonic() < end:
        time.sleep(1)
    print(len(runs))
PYTHON
count() {
  name="$1-$2"
  python3 -m venv "$folder/$name"
  "$folder/$name/bin/pip" install --quiet "prefect==$1" "sqlalchemy==$2" "fastapi==0.150.0"
  port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
  export PREFECT_HOME="$folder/home-$name"
  "$folder/$name/bin/prefect" server start --host 127.0.0.1 --port "$port" >"$folder/log-$name" 2>&1 &
  server=$!
  for _ in $(seq 120); do
    python3 -c "import urllib.request as r; r.urlopen('http://127.0.0.1:$port/api/health')" 2>/dev/null && break
    sleep 1
  done
  runs=$("$folder/$name/bin/python" "$folder/schedule.py" "http://127.0.0.1:$port/api")
  kill "$server"
  wait "$server" 2>/dev/null || true
  echo "scheduled runs with Prefect $1 and SQLAlchemy $2: $runs"
}
count 3.8.8 2.0.58 && [ "$runs" -gt 0 ]
count 3.8.8 2.1.9 && [ "$runs" -eq 0 ]
grep -q "please supply a bulk_dml decorated function" "$folder/log-3.8.8-2.1.9"
count 3.9.1 2.1.9 && [ "$runs" -gt 0 ]
