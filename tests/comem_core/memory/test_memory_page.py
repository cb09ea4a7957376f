"""docs/memory.md and the README can be pasted: every snippet of a page runs, one after another, in one namespace."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from comem_core.backbone.text import TextModel

ROOT = Path(__file__).parents[3]
SNIPPETS = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run_snippets(page: Path) -> dict[str, object]:
    text = page.read_text(encoding="utf-8")
    names: dict[str, object] = {}
    for found in SNIPPETS.finditer(text):
        line = text[: found.start(1)].count("\n")
        exec(compile("\n" * line + found.group(1), str(page), "exec"), names)  # an error names the page's own line
    return names


def test_every_snippet_of_the_page_runs(
    new_text_model: Callable[..., TextModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    new_text_model(96).save(tmp_path / "text-reader")  # stands for a model that a reader of the page has
    assert {"answers", "hits", "fresh", "merged", "transfer"} <= run_snippets(ROOT / "docs" / "memory.md").keys()
    assert {path.name for path in tmp_path.iterdir()} >= {
        "countries.safetensors",
        "my-encoder",
        "merged",
        "my-transfer",
    }


def test_the_snippet_of_the_readme_gives_an_answer_to_each_question():
    answers: Any = run_snippets(ROOT / "README.md")["answers"]
    assert [len(answer.item_ids) for answer in answers] == [3] * 8
    assert all(answer.text for answer in answers)
