#!/usr/bin/env bash
# ray 2.60.0: a local Ray's raylet and gcs_server stay in the process group of the program that called `ray.init`.
#
# Workers are moved to a group of their own, the two servers are not. A signal to the program's group, which is how
# supervisors end a job (Prefect's process worker, `timeout`, a terminal's Ctrl-C), therefore also ends Ray itself while
# the program still handles the signal: it can no longer ask its workers to save what they have.
# Seen: raylet and gcs_server in the program's group, a worker outside. The script fails when the servers leave it.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check ray==2.60.0 psutil
cat >"$folder/groups.py" <<'PYTHON'
import logging
import os

import psutil
import ray

ray.init(address="local", num_cpus=1, include_dashboard=False, logging_level=logging.ERROR)
worker = ray.get(ray.remote(lambda: os.getpgrp()).remote())
own = os.getpgrp()
servers = {
    each.name(): os.getpgid(each.pid) == own
    for each in psutil.Process().children(recursive=True)
    if each.name() in ("raylet", "gcs_server")
}
print(f"ray {ray.__version__}; in the program's process group: {servers}, worker {worker == own}")
assert servers == {"raylet": True, "gcs_server": True}, "a server has a group of its own"
assert worker != own
PYTHON
cd "$folder"
venv/bin/python --version
venv/bin/python groups.py
