"""docs/memory.md and the README can be pasted: every snippet of a page runs, one after another, in one namespace."""

import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from PIL import Image

from comem_core.backbone.text import TextModel
from comem_core.memory.encoder import MemoryEncoder
from comem_core.serving.memory import Memory
from comem_core.worlds.countries.world import load_knowledge_items

ROOT = Path(__file__).parents[3]
SNIPPETS = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def run_snippets(page: Path) -> dict[str, object]:
    text = page.read_text(encoding="utf-8")
    names: dict[str, object] = {}
    for found in SNIPPETS.finditer(text):
        line = text[: found.start(1)].count("\n")
        exec(compile("\n" * line + found.group(1), str(page), "exec"), names)  # an error names the page's own line
    return names


@pytest.fixture
def finished_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder in which a reader of the pages works: with what a run left (here without one), and a photo."""
    monkeypatch.chdir(tmp_path)
    items = load_knowledge_items()[:40]
    Memory.make(MemoryEncoder.from_pretrained("tiny-encoder"), items).save(tmp_path / ".comem")
    Image.open(io.BytesIO(items[0].picture)).convert("RGB").save(tmp_path / "photo.jpg")
    return tmp_path


def test_every_snippet_of_the_page_runs(new_text_model: Callable[..., TextModel], finished_run: Path):
    new_text_model(96).save(finished_run / "text-reader")  # stands for a model that a reader of the page has
    assert {"answers", "hits", "fresh", "merged", "transfer"} <= run_snippets(ROOT / "docs" / "memory.md").keys()
    assert {path.name for path in finished_run.iterdir()} >= {
        "countries",
        "my-encoder",
        "merged",
        "my-memory",
        "my-transfer",
    }


def test_the_snippets_of_the_readme_give_an_answer_to_each_question(finished_run: Path):
    names: Any = run_snippets(ROOT / "README.md")
    assert names["answer"].text and len(names["answer"].items) == 3
    answers = names["answers"]
    assert [len(answer.item_ids) for answer in answers] == [3] * 8
    assert all(answer.text for answer in answers)


def test_the_readme_shows_what_its_first_snippet_prints(finished_run: Path, capsys: pytest.CaptureFixture[str]):
    names: Any = run_snippets(ROOT / "README.md")
    said = [line for line in capsys.readouterr().out.splitlines() if "(without memory: " in line]
    assert "```\n" + "\n".join(said) + "\n```" in (ROOT / "README.md").read_text(encoding="utf-8")
    golds = [question.answers for question in names["questions"]]
    right = [answer.text in gold for answer, gold in zip(names["answers"], golds, strict=True)]
    assert all(right)
    assert not any(guess.text in gold for guess, gold in zip(names["alone"], golds, strict=True))
