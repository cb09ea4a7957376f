#!/usr/bin/env bash
# bitsandbytes 0.50.2 with torch 2.13.0: a checkpointed layer of 8 bits keeps its input all the same.
#
# `torch.utils.checkpoint(..., use_reentrant=False)` frees what a layer saves for its backward pass by
# `ctx.save_for_backward`. `Linear8bitLt` puts its input on `ctx` as an attribute, which checkpoints do not see. So a model
# in 8 bits needs as much memory for activations with gradient checkpointing as without, and a 7B with micro-batches of
# 8,192 tokens more than the same model in 16 bits. Layers of 4 bits (`Linear4bit`) and whole ones are not concerned.
# Seen on a CPU: of 4 inputs inside checkpoints, 0 alive after the forward pass with Linear and Linear4bit, 4 with
# Linear8bitLt.
# The script fails when Linear8bitLt frees its input.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check torch==2.13.0 numpy==2.4.6 bitsandbytes==0.50.2 2>/dev/null
cd "$folder"
cat >keep.py <<'PYTHON'
import gc
import sys
import weakref

import bitsandbytes
import torch
from torch import nn
from torch.utils.checkpoint import checkpoint

WIDTH = 64


def count_alive(make):
    """Checkpoint a layer four times; count its inputs that are alive after the forward pass."""
    layers, seen = [make() for _ in range(4)], []

    def run(layer, given):
        inside = given * 2  # made inside the checkpoint, so that nothing else holds it
        seen.append(weakref.ref(inside.untyped_storage()))
        return layer(inside)

    hidden = torch.randn(8, WIDTH, requires_grad=True)
    for layer in layers:
        hidden = checkpoint(run, layer, hidden, use_reentrant=False)
    gc.collect()
    alive = sum(each() is not None for each in seen)
    hidden.sum().backward()
    return alive


def make_int8():
    layer = bitsandbytes.nn.Linear8bitLt(WIDTH, WIDTH, bias=False, has_fp16_weights=False)
    layer.weight = bitsandbytes.nn.Int8Params(torch.randn(WIDTH, WIDTH), requires_grad=False, has_fp16_weights=False)
    return layer.to("cpu")


def make_4bit():
    layer = bitsandbytes.nn.Linear4bit(WIDTH, WIDTH, bias=False, quant_type="nf4")
    layer.weight = bitsandbytes.nn.Params4bit(torch.randn(WIDTH, WIDTH), requires_grad=False, quant_type="nf4")
    return layer.to("cpu")


found = {
    "Linear": count_alive(lambda: nn.Linear(WIDTH, WIDTH, bias=False).requires_grad_(False)),
    "Linear4bit": count_alive(make_4bit),
    "Linear8bitLt": count_alive(make_int8),
}
print("bitsandbytes", bitsandbytes.__version__, "torch", torch.__version__, "alive of 4:", found)
sys.exit(0 if found == {"Linear": 0, "Linear4bit": 0, "Linear8bitLt": 4} else "this has changed")
PYTHON
venv/bin/python keep.py
