#!/usr/bin/env bash
# pytest-xdist 3.8.0 under pytest 9.2.0: `--dist loadgroup` no longer keeps a group of tests in one process.
#
# The documentation of pytest-xdist says that tests with the same `xdist_group` mark run in the same worker. Under pytest
# 9.2.0 they are spread over all workers, without a warning: xdist appends the group to the private `_nodeid` of an item,
# which pytest no longer reads. Tests that share a server or a file then run at once.
# Seen: 2 workers for one group. The script fails when the group stays in one worker.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check pytest==9.2.0 pytest-xdist==3.8.0
cat >"$folder/test_group.py" <<'PYTHON'
import os
import pathlib
import time

import pytest


@pytest.mark.xdist_group("one")
@pytest.mark.parametrize("number", range(8))
def test_of_the_group(number):
    time.sleep(0.2)
    pathlib.Path(__file__).with_name(f"{number}.worker").write_text(os.environ["PYTEST_XDIST_WORKER"])
PYTHON
cd "$folder"
venv/bin/python -m pytest -q -p no:cacheprovider -n 2 --dist loadgroup test_group.py
venv/bin/python --version
workers=$(cat ./*.worker | sed 's/gw/\ngw/g' | grep . | sort -u | wc -l)
echo "pytest 9.2.0, pytest-xdist 3.8.0: one group ran in $workers workers (documented: 1)"
[ "$workers" -eq 2 ]
