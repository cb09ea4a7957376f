#!/usr/bin/env bash
# torch 2.13.0 with TensorBoard 2.21.0: whether `purge_step` purges depends on which of TensorBoard's readers looks.
#
# A training writes steps 1 to 5, is killed, goes on at step 4 and opens its folder again with
# `SummaryWriter(folder, purge_step=4)`, as the documentation says for a restart. `EventAccumulator`, by which one reads
# logs in Python, then has each step once. The reader behind the web page's scalars (`PluginEventMultiplexer`, which
# `tensorboard --load_fast=false` uses) has steps 4 and 5 twice: the first start that it meets in a folder counts as the
# beginning, and later ones are not looked for. So a curve that is right in a test can go back in time on the page.
# Seen: EventAccumulator 1 2 3 4 5 6 7 8 9; the page's reader 1 2 3 4 5 4 5 6 7 8 9.
# The script fails when both agree.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check torch==2.13.0 tensorboard==2.21.0 numpy==2.4.6
cd "$folder"
cat >write_and_read.py <<'PYTHON'
import logging
import time

from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.backend.event_processing.plugin_event_multiplexer import EventMultiplexer
from torch.utils.tensorboard import SummaryWriter

logging.disable(logging.CRITICAL)


def write(steps, **options):
    writer = SummaryWriter("logs", **options)
    for step in steps:
        writer.add_scalar("loss", 1 / step, step)
    writer.close()


write(range(1, 6))
time.sleep(1.1)  # a file is named by the second
write(range(4, 10), purge_step=4)
accumulator = EventAccumulator("logs")
accumulator.Reload()
print(*(event.step for event in accumulator.Scalars("loss")))
page = EventMultiplexer({"training": "logs"})
page.Reload()
print(*(event.step for event in page.Tensors("training", "loss")))
PYTHON
venv/bin/python write_and_read.py 2>/dev/null | tee steps.txt
[ "$(sed -n 1p steps.txt)" = "1 2 3 4 5 6 7 8 9" ] || { echo "EventAccumulator has other steps now"; exit 1; }
[ "$(sed -n 2p steps.txt)" = "1 2 3 4 5 4 5 6 7 8 9" ] || { echo "the page's reader has other steps now"; exit 1; }
