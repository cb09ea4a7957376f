#!/usr/bin/env bash
# torch 2.13.0: `torch.load` does not look at the checksums that `torch.save` writes.
#
# A checkpoint is a zip archive with a CRC-32 for each tensor. If one bit of a weight changes on disk, `torch.load`, with
# `weights_only=True` too, returns the changed weight without an error or a warning. Python's own `zipfile` notices. So
# whoever keeps checkpoints for long, or on a disk over a network, has to ask `zipfile.ZipFile(path).testzip()` first.
# Seen: loaded without an error, 1 of 1000 weights differs; zipfile names the entry of the tensor.
# The script fails when `torch.load` refuses the file, or zipfile finds nothing.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check torch==2.13.0 numpy==2.4.6 2>/dev/null
cd "$folder"
cat >flip.py <<'PYTHON'
import struct
import sys
import zipfile

import torch

weights = torch.full((1000,), 0.123456789)
torch.save({"weights": weights}, "checkpoint.pt")
with open("checkpoint.pt", "r+b") as file:
    place = file.read().index(struct.pack("<f", float(weights[0]))) + 4 * 500 + 2
    file.seek(place)
    changed = file.read(1)[0] ^ 0b1000
    file.seek(place)
    file.write(bytes([changed]))
found = zipfile.ZipFile("checkpoint.pt").testzip()
try:
    loaded = torch.load("checkpoint.pt", weights_only=True)["weights"]
except Exception as error:
    sys.exit(f"torch.load refuses the file now: {error}")
print("torch", torch.__version__)
print(f"loaded without an error, {int((loaded != weights).sum())} of {len(weights)} weights differs")
print("zipfile names", found)
sys.exit(0 if found and (loaded != weights).sum() == 1 else "the change was not loaded, or zipfile did not see it")
PYTHON
venv/bin/python flip.py
