"""Sentences of docs/ that repeat a measured number, and the pages' claims about the code, hold now."""

import ast
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import pytest

from comem_core.measures.results import read_results
from comem_core.recipes import find_recipe

ROOT = Path(__file__).parents[2]
MEASURED = {
    path.stem: {row["measure"]: row for row in read_results(path)} for path in (ROOT / "docs/results").glob("*")
}
SNIPPET = re.compile(r"```python\n(.*?)```", re.DOTALL)

STARTS, TRAINED, EIGHT = (tuple(f"{name}_{seed}" for seed in range(3)) for name in ("start_seed", "seed", "eight_seed"))

Values = Callable[[str], float]


def _countries(value: Values) -> list[str]:
    courses = {
        depth: (_mean(value, depth, STARTS), _mean(value, depth, TRAINED)) for depth in ("gold", "k3", "k3_drawn")
    }
    gold, ranked, drawn = (f"{start:.1f} | {trained:.1f}" for start, trained in courses.values())
    fewer = [f"{_mean(value, depth, EIGHT):.1f} | {_mean(value, depth, TRAINED):.1f}" for depth in courses]
    at = {k: (value(f"em_text_items_{k}"), value(f"em_memory_items_{k}")) for k in (3, 8, 10, 20)}
    num_drawn = value("memory_vectors_k3") / 3 * 10
    seeds = [value(f"em_memory_k3_seed_{seed}") for seed in range(3)]
    lost = value("em_memory_gold_samples_83200") - value("em_memory_gold_samples_166400")
    shown, prompt = value("memory_vectors_k3"), value("prompt_tokens_text_k3")
    held = {number: 8 * value(f"em_memory_facts_8_vectors_{number}") / 100 for number in (2, 4)}
    capacity = [
        f"| {facts} | "
        + " | ".join(f"{value(f'em_memory_facts_{facts}_vectors_{number}'):.1f}" for number in (1, 2, 4, 8, 16))
        + f" | {value(f'em_text_facts_{facts}'):.1f} |"
        for facts in (1, 2, 4, 6, 8)
    ]
    return [
        *capacity,
        f"two vectors answer {held[2]:.1f} on average, and four vectors {held[4]:.1f}.",
        f"{_share(value, 'em_memory_gold', 'em_text_gold')} % of what the reader answers with the text",
        f"{_share(value, 'em_memory_k3', 'em_text_k3')} % of `text`, at {shown:.0f} vectors against {prompt:.0f} "
        f"prompt tokens. By seed {seeds[0]:.1f}, {seeds[1]:.1f} and {seeds[2]:.1f}.",
        f"{_share(value, 'em_memory_k3_any_order', 'em_text_k3_any_order')} % of `text` on the same items, "
        f"{_share(value, 'em_memory_k3_drawn', 'em_text_k3_drawn')} % where the other two are drawn",
        f"| the gold item | {gold} | {value('em_text_gold'):.1f} |",
        f"| three retrieved, ranked | {ranked} | {value('em_text_k3'):.1f} |",
        f"any order | {drawn} | {value('em_text_k3_drawn'):.1f} |",
        f"from {at[3][1]:.0f} % at three to {at[10][1]:.0f} % at ten and {at[20][1]:.0f} % at twenty",
        f"to {at[8][0]:.0f} % at eight and {at[10][0]:.0f} % at ten. Ten items are {num_drawn:.0f} vectors against "
        f"{value('prompt_tokens_items_10'):.0f} prompt tokens.",
        f"the gold item loses {lost:.1f} points",
        f"| the gold item | {fewer[0]} | {value('em_text_gold'):.1f} |",
        f"| three retrieved, ranked | {fewer[1]} | {value('em_text_k3'):.1f} |",
        f"any order | {fewer[2]} | {value('em_text_k3_drawn'):.1f} |",
        f"{_share(value, 'em_memory_k3_drawn', 'em_text_k3_drawn')} % of what the reader answers with the text",
    ]


def _mean(value: Values, depth: str, encoders: Sequence[str]) -> float:
    return sum(value(f"em_memory_{depth}_{encoder}") for encoder in encoders) / len(encoders)


def _share(value: Values, of: str, whole: str) -> str:
    return f"{100 * value(of) / value(whole):.0f}"


def _smol(value: Values) -> list[str]:
    return [
        f"answers {value('accuracy_memory_gold_invented'):.0f} % of the questions from memory",
        f"({value('accuracy_text_gold_invented'):.0f} % from the passage itself",
        f"{value('accuracy_memory_three_invented'):.0f} % among three passages",
    ]


def _side_tables(value: Values) -> list[str]:
    more = value("infoseek_memory+reader=tiny-text,blind") - value("infoseek_memory+reader=tiny-text")
    return [f"without it `memory` has {more:.0f} points more"]


def _scale(value: Values) -> list[str]:
    hours = 37.5e6 / value("ingest_picture_rows_per_s") / 3600
    return [
        f"`ingest_picture_rows_per_s` | {hours:.1f} hours on two cores |",
        f"`index_bytes` of a million | {37.5 * value('index_bytes') / 1e9:.0f} GB on disk",
    ]


PROSE: Mapping[str, tuple[str, Callable[[Values], list[str]]]] = {
    "docs/countries.md": ("countries_vqa", _countries),
    "docs/smol.md": ("smol", _smol),
    "docs/side_tables.md": ("side_tables", _side_tables),
    "docs/scale.md": ("scale", _scale),
}


def _missing(page: str, topics: Mapping[str, Mapping[str, Any]]) -> list[str]:
    """List what a page should say of the measured numbers and does not."""
    topic, sentences = PROSE[page]
    text = " ".join((ROOT / page).read_text(encoding="utf-8").split())
    return [each for each in sentences(lambda name: topics[topic][name]["value"]) if each not in text]


@pytest.mark.parametrize("page", PROSE)
def test_prose_says_what_was_measured(page: str) -> None:
    assert _missing(page, MEASURED) == []


@pytest.mark.parametrize("page", PROSE)
def test_prose_about_other_numbers_is_found(page: str) -> None:
    """Every sentence that repeats numbers fails when those numbers move."""
    topic, sentences = PROSE[page]
    rows = enumerate(MEASURED[topic].items())
    moved = {name: row | {"value": row["value"] * 1.5 + 7.7 * place} for place, (name, row) in rows}
    assert len(_missing(page, {topic: moved})) == len(sentences(lambda name: moved[name]["value"])) > 0


def test_the_readme_has_the_recipe_s_numbers_of_items_and_vectors() -> None:
    text, recipe = (ROOT / "README.md").read_text(encoding="utf-8"), find_recipe("tiny_cpu")
    items, vectors = recipe.evaluation.k, recipe.training.encoder.num_vectors
    assert f"into **{find_recipe('comem_qwen25_vl_7b').training.encoder.num_vectors} vectors**" in text
    assert f"{vectors} vectors an item" in text
    assert f"| {items} retrieved items as prompt tokens |" in text
    assert f"| {items} retrieved items as {items * vectors} memory vectors |" in text


def test_the_example_of_a_stage_is_the_code_itself() -> None:
    """CONTRIBUTING shows a stage; whoever reads it may rely on it."""
    [example] = SNIPPET.findall((ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8"))
    [shown] = ast.parse(example).body
    assert isinstance(shown, ast.FunctionDef)
    sources = [path.read_text(encoding="utf-8") for path in sorted((ROOT / "tasks").rglob("*.py"))]
    assert sum(example in source for source in sources) == 1, f"no module of tasks has this {shown.name}, word by word"
