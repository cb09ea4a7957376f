#!/usr/bin/env bash
# transformers 5.23.0: an explicit GenerationConfig does not keep a model folder's own settings out of `generate`.
#
# `model.generate(generation_config=GenerationConfig(max_new_tokens=4))` looks like a full description of the decoding.
# But each field that it leaves at its default is taken from `model.generation_config`, which was read from
# generation_config.json in the model's folder; also fields that are set to their default on purpose. So a folder that
# says `suppress_tokens` or `min_new_tokens` decides the answers of an evaluation that states its decoding.
# Seen: the greedy token is suppressed although the given config does not suppress it. The script fails when the given
# config decides alone.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install -q --disable-pip-version-check transformers==5.23.0 torch==2.13.0
cat >"$folder/decode.py" <<'PYTHON'
import torch
import transformers
from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

torch.manual_seed(0)
small = LlamaConfig(
    vocab_size=32, hidden_size=16, intermediate_size=32, num_hidden_layers=1, num_attention_heads=2,
    bos_token_id=0, eos_token_id=None, pad_token_id=0,
)
model = LlamaForCausalLM(small).eval()
ids = torch.tensor([[5, 6, 7]])


def decode(**settings):
    asked = GenerationConfig(max_new_tokens=4, do_sample=False, pad_token_id=0, **settings)
    return model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=asked)[0, 3:].tolist()


plain = decode()
model.generation_config.suppress_tokens = [plain[0]]  # as if generation_config.json had said so
found, stated = decode(), decode(suppress_tokens=None)
print(f"transformers {transformers.__version__}, torch {torch.__version__}")
print(f"the folder says nothing: {plain}; the folder suppresses {plain[0]}: {found}; and with None given: {stated}")
assert found != plain and plain[0] not in found, "the given config decided alone"
assert stated == found, "a field that is set to its default counts as set"
PYTHON
cd "$folder"
venv/bin/python --version
venv/bin/python decode.py
