"""docs/memory.md can be pasted: every snippet runs, one after another, in one namespace."""

import re
from collections.abc import Callable
from pathlib import Path

import pytest

from comem_core.backbone.text import TextModel

PAGE = Path(__file__).parents[3] / "docs" / "memory.md"
SNIPPETS = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def test_every_snippet_of_the_page_runs(
    new_text_model: Callable[..., TextModel], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    new_text_model(96).save(tmp_path / "text-reader")  # stands for a model that a reader of the page has
    page = PAGE.read_text(encoding="utf-8")
    names: dict[str, object] = {}
    for found in SNIPPETS.finditer(page):
        line = page[: found.start(1)].count("\n")
        exec(compile("\n" * line + found.group(1), str(PAGE), "exec"), names)  # an error names the page's own line
    assert {"answers", "hits", "fresh", "merged", "transfer"} <= names.keys()
    assert {path.name for path in tmp_path.iterdir()} >= {
        "countries.safetensors",
        "my-encoder",
        "merged",
        "my-transfer",
    }
