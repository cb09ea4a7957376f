"""Measures how long it takes to score a benchmark: synthetic predictions under every metric, with intervals and slices.

Rows are drawn from a seed. Four answers in ten are right. A question has ten answers, four options and an entity, so
that every metric has what it reads; five questions share an image. Texts are of invented words.
"""

import json
import random
import tempfile
import time
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from comem_core.evaluation.authors_compat import find_authors_metric
from comem_core.evaluation.metrics import Gold, Metric
from comem_core.evaluation.metrics.aokvqa import DIRECT_ANSWER, MULTIPLE_CHOICE
from comem_core.evaluation.metrics.choice import CVQA_CHOICE, MRAG_CHOICE
from comem_core.evaluation.metrics.encyclopedic import ENCYCLOPEDIC
from comem_core.evaluation.metrics.infoseek import INFOSEEK
from comem_core.evaluation.metrics.oven import WORD_PIECES, make_oven_metric
from comem_core.evaluation.metrics.squad import EXACT_MATCH, TOKEN_F1
from comem_core.evaluation.metrics.totals import HARMONIC
from comem_core.evaluation.metrics.vqa import VQA_ACCURACY
from comem_core.evaluation.scores import Scoring, mark_rows, score_rows

NUM_PREDICTIONS = 100_000
NUM_TITLES = 20_000
SPLITS = ("unseen_question", "unseen_entity")
LANGUAGES = ("bg", "en", "es", "pt", "ru", "zh")
AUTHORS_SCORE = ("infoseek", "okvqa", "a-okvqa", "viquae", "mrag-bench", "cvqa", "oven")

Table = list[dict[str, Any]]


def measure_scoring(num_predictions: int = NUM_PREDICTIONS, *, seed: int = 0) -> float:
    """Return the CPU seconds that one core takes to mark and score predictions under every metric.

    Making the rows and the index of titles is not counted.
    """
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        names = _write_titles(folder, random.Random(seed))
        predictions, questions = make_rows(num_predictions, names, seed=seed)
        metrics = list_metrics(folder)
        mark_rows(predictions[:1], questions[:1], metrics)  # opens the index
        scoring = Scoring(metrics=metrics, total=HARMONIC, by=("language", "attribute"))
        started = time.process_time()
        score_rows(predictions, questions, mark_rows(predictions, questions, metrics), scoring)
        return time.process_time() - started


def list_metrics(folder: Path) -> tuple[Metric, ...]:
    """Return every metric; the name of the benchmark is appended to the authors' metrics, which all have one name."""
    authors = {name: find_authors_metric(name, folder) for name in AUTHORS_SCORE}
    official = (
        *(INFOSEEK, VQA_ACCURACY, DIRECT_ANSWER, MULTIPLE_CHOICE, EXACT_MATCH, TOKEN_F1),
        *(MRAG_CHOICE, CVQA_CHOICE, ENCYCLOPEDIC, make_oven_metric(folder)),
    )
    return official + tuple(replace(each, name=f"{each.name}:{name}") for name, each in authors.items() if each)


def make_rows(num_predictions: int, names: list[str], *, seed: int) -> tuple[Table, Table]:
    """Make predictions and their questions; the answers are names, numbers and years."""
    draw = random.Random(seed + 1)
    predictions, questions = [], []
    for place in range(num_predictions):
        question_id = f"q{place:07}"
        gold, right = _draw_gold(draw, names)
        answer = right if draw.random() < 0.4 else draw.choice(names)
        questions.append(vars(gold) | {"question_id": question_id} | _draw_columns(draw, place))
        raw = f"This is what I see. \\boxed{{{answer}}}" if draw.random() < 0.8 else answer
        texts = {"answer": answer, "answer_raw": raw}
        run = {"benchmark": "made", "condition": "memory", "k": 3, "truncated": False, "prompt_tokens": 100}
        predictions.append({"prediction_id": f"p{place:07}", "question_id": question_id} | texts | run)
    return predictions, questions


def _draw_gold(draw: random.Random, names: list[str]) -> tuple[Gold, str]:
    """Draw gold answers, and a right answer to them."""
    entity = draw.randrange(len(names))
    people = tuple(draw.choice((names[entity], f"the {names[entity]}", draw.choice(names))) for _ in range(10))
    options: dict[str, Any] = {"options": tuple(draw.sample(names, 4)), "right_option": 1, "entity_id": f"Q{entity}"}
    kind, number = draw.choices(("string", "numerical", "time"), (85, 10, 5))[0], draw.randrange(1, 3000)
    if kind == "numerical":
        bounds = {"answer_low": 0.9 * number, "answer_high": 1.1 * number}
        return Gold(question_type=kind, answers=(str(number),) * 2, **bounds, **options), f"{number:,} m"
    answers = people if kind == "string" else (str(number), str(number + 1))
    return Gold(question_type=kind, answers=answers, **options), draw.choice(
        (answers[0], answers[0], options["options"][1], "2", "B")
    )


def _draw_columns(draw: random.Random, place: int) -> dict[str, Any]:
    attribute = f"attribute {draw.randrange(20)}"
    language, split = draw.choice(LANGUAGES), draw.choice(SPLITS)
    return {"split": split, "image_id": f"image {place // 5}", "language": language, "attribute": attribute}


def _write_titles(folder: Path, draw: random.Random) -> list[str]:
    """Write a vocabulary of invented words, and titles of two or three of them; return the titles."""
    words = sorted({"".join(draw.choices(("ba", "ko", "li", "nu", "re", "sta"), k=4)) for _ in range(1000)})
    (folder / WORD_PIECES).mkdir()
    vocabulary = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "the", "of", *words]
    (folder / WORD_PIECES / "vocab.txt").write_text("".join(f"{word}\n" for word in vocabulary))
    names = [" ".join(draw.choices(words, k=draw.choice((2, 3)))) for _ in range(NUM_TITLES)]
    (folder / "wikipedia_6m.jsonl").write_text("".join(_list_title_lines(names)))
    return names


def _list_title_lines(names: list[str]) -> Iterator[str]:
    for place, name in enumerate(names):
        yield json.dumps({"id": f"Q{place}", "content": name}) + "\n"
