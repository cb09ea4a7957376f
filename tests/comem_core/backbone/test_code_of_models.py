"""The code in a model's folder or repository is never run, and nobody is asked whether it should be."""

import ast
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import AutoModelForCausalLM

from comem_core.backbone.loading import read_width
from comem_core.backbone.reader import load_model
from comem_core.backbone.text import TextModel
from comem_core.knowledge.embedders.contrastive import ContrastiveEmbedder
from comem_core.knowledge.embedders.sentences import SentenceEmbedder

ROOT = Path(__file__).parents[3]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A model's folder with code of its own, which would leave a file behind."""
    code = {"AutoConfig": "own.OwnConfig", "AutoModel": "own.OwnModel", "AutoModelForCausalLM": "own.OwnModel"}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "of-its-own", "auto_map": code}))
    (tmp_path / "own.py").write_text(f"open({str(tmp_path / 'was-run')!r}, 'w').close()\n")
    return tmp_path


LOADERS: list[Callable[[Path], Any]] = [
    read_width,
    TextModel.check,
    lambda folder: load_model(AutoModelForCausalLM, folder, dtype=torch.float32, device="cpu"),
    lambda folder: load_model(AutoModelForCausalLM, folder, dtype=torch.float32, device="meta"),
    lambda folder: SentenceEmbedder(folder, name="x"),
    lambda folder: ContrastiveEmbedder(folder, name="x"),
]


@pytest.mark.parametrize("load", LOADERS)
def test_code_beside_a_model_is_not_run(folder: Path, load: Callable[[Path], Any], monkeypatch: Any) -> None:
    monkeypatch.setattr("builtins.input", lambda *_: pytest.fail("somebody is asked"))
    with pytest.raises(ValueError, match="trust_remote_code"):
        load(folder)
    assert not (folder / "was-run").exists()


def list_loading() -> Iterator[tuple[str, str]]:
    """Yield the place and text of each call that lets transformers choose the class."""
    for package in ("comem_core", "tasks", "flows"):
        for path in sorted((ROOT / package).rglob("*.py")):
            for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Call) and ast.unparse(node.func).startswith("Auto"):
                    yield f"{path.relative_to(ROOT)}:{node.lineno}", ast.unparse(node)


def test_every_such_call_says_so() -> None:
    calls = {place: text for place, text in list_loading() if "from_pretrained" in text and "gguf_file" not in text}
    assert len(calls) >= 9
    assert [each for each in calls.items() if "trust_remote_code=False" not in each[1]] == []
