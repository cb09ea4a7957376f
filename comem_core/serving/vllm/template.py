"""The chat template with which a vLLM server reads memories, and the command that starts such a server.

vLLM takes vectors as a part of a message. Its documentation puts them inside the user's turn, but memory belongs before
the system turn: elsewhere it is read at other positions than in training, and nothing complains. So the template gives
the first message a role of its own, `memory`, and writes it without the marks of a turn.
"""

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

from transformers import AutoTokenizer

ROLE = "memory"
TEMPLATE = "memory_chat_template.jinja"
# The model's own template then sees the conversation without its memory, as if that were not there.
MEMORY_FIRST = (
    "{%- if messages[0]['role'] == '" + ROLE + "' -%}"
    "{%- for part in messages[0]['content'] -%}{{- part['text'] -}}{%- endfor -%}"
    "{%- set messages = messages[1:] -%}"
    "{%- endif %}"
)


def make_memory_template(backbone: str | Path) -> str:
    """Return the chat template of the model in a folder, with memory before the first turn.

    Raises:
        ValueError: the model has no chat template.
    """
    own = AutoTokenizer.from_pretrained(backbone, trust_remote_code=False).chat_template
    if not isinstance(own, str):
        raise ValueError(f"{backbone} has {'several chat templates' if own else 'no chat template'}; expected one")
    return MEMORY_FIRST + own


def make_server_command(
    backbone: str | Path, template: Path, *, dtype: str, port: int = 8000, num_images: int = 1
) -> Sequence[str]:
    """Return the command that starts vLLM on loopback, for a model folder and the template that was written for it.

    `num_images` is the largest number of pictures in a request: 1 for memory, 1 + k for the condition `text`.
    """
    return [
        "vllm", "serve", str(backbone), "--host", "127.0.0.1", "--port", str(port), "--dtype", dtype,
        "--enable-prompt-embeds", "--chat-template", str(template), "--chat-template-content-format", "openai",
        "--limit-mm-per-prompt", json.dumps({"image": num_images, "video": 0}), "--generation-config", "vllm",
    ]  # fmt: skip


def write_template(backbone: str | Path, folder: Path) -> Path:
    """Write the chat template into a folder and return its path."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / TEMPLATE
    path.write_text(make_memory_template(backbone), encoding="utf-8")
    return path


def describe_command(command: Sequence[str]) -> str:
    """Return a command as one can paste it into a shell."""
    return shlex.join(command)
