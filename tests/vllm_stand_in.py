"""A small stand-in for vLLM's server in an interpreter that has none: the shipped tiny model behind the same arguments.

`write_interpreter` makes an interpreter that has a package `vllm` of a version of its own. Started as vLLM is, it runs
`main` here, which serves with tests/serving.py. Three arguments are our own: `--fail-at-start`; `--note FILE`, to which
each answered request is written, by port and text; and `--die-after NUM`, with which the first server that finds so
many lines there dies, and notes that in FILE.died.
"""

import argparse
import hashlib
import os
import sys
from pathlib import Path

import torch
import uvicorn
from fastapi import Request, Response

from comem_core.backbone.loading import load_backbone
from tests import serving

ROOT = Path(__file__).parents[1]


def write_interpreter(folder: Path, *, version: str = "0.0.7+cpu") -> Path:
    """Write an interpreter with the stand-in into a folder, and return its path."""
    entry, told = folder / "vllm" / "entrypoints" / "openai", folder / f"vllm_of_tests-{version}.dist-info"
    entry.mkdir(parents=True)
    told.mkdir()
    (entry / "api_server.py").write_text("from tests.vllm_stand_in import main\n\nmain()\n")
    (told / "METADATA").write_text(f"Metadata-Version: 2.1\nName: vllm-of-tests\nVersion: {version}\n")
    (told / "top_level.txt").write_text("vllm\n")
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nPYTHONPATH={folder}:{ROOT} exec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return python


def main() -> None:
    parser = argparse.ArgumentParser()
    for name in ("model", "served-model-name", "host", "dtype"):
        parser.add_argument(f"--{name}", required=True)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--fail-at-start", action="store_true")
    parser.add_argument("--note", type=Path)
    parser.add_argument("--die-after", type=int)
    given, _ = parser.parse_known_args()
    if given.fail_at_start:
        sys.exit("ValueError: this card is too small for the model")
    torch.set_num_threads(1)
    serving.MODEL, serving.KEY = given.served_model_name, os.environ["VLLM_API_KEY"]
    serving.state["backbone"] = load_backbone(given.model, dtype=getattr(torch, given.dtype))
    if given.note:

        @serving.app.middleware("http")
        async def note(request: Request, call_next) -> Response:
            died, noted = given.note.with_suffix(".died"), given.note.exists() and given.note.read_text().splitlines()
            if given.die_after and noted and len(noted) >= given.die_after and not died.exists():
                died.touch()
                os._exit(1)
            text = hashlib.sha256(await request.body()).hexdigest()
            response = await call_next(request)
            if request.method == "POST":
                with given.note.open("a") as file:
                    file.write(f"{given.port} {text}\n")
            return response

    @serving.app.get("/health")
    def health() -> None:
        return None

    uvicorn.run(serving.app, host=given.host, port=given.port, log_level="error")
