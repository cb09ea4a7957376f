"""Encyclopedic-VQA's annotations (Mensink et al. 2023): a CSV with one question per row.

In `answer`, `|` separates alternatives and `&&` separates the entries of a list. In `dataset_image_ids`, `|` separates
the ids of pictures that show the entity, of iNaturalist (files named by the id in its `images` list) or Google
Landmarks. Rows of other splits than training are left out, and so are two-hop questions: one item cannot answer them.
"""

import csv
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from comem_core.evaluation.meaning import is_empty
from comem_core.evaluation.metrics.encyclopedic import (
    ALTERNATIVES,
    ENCYCLOPEDIC,
    LIST,
    LIST_QUESTION,
    process_encyclopedic_answer,
)
from comem_core.knowledge.items import Question, hash_content_parts
from comem_core.synthesis.seeds.files import BadSeed, SeedFormat, SeedRow

NAME = "encyclopedic-vqa"
COLUMNS = {"question", "answer", "question_type", "dataset_name", "dataset_image_ids"}
SPLIT, TWO_HOP, MULTI_ANSWER = "encyclopedic_vqa_split", "2_hop", "multi_answer"


def read_encyclopedic_vqa_rows(files: Sequence[Path]) -> Iterator[SeedRow | BadSeed]:
    """Yield the training rows of one CSV file. Raises ValueError if a column is missing."""
    [path] = files
    with path.open(encoding="utf-8", newline="") as stream:
        rows = csv.DictReader(stream)
        if missing := COLUMNS - set(rows.fieldnames or ()):
            raise ValueError(f"{path.name} has no column {', '.join(sorted(missing))}; it has {rows.fieldnames}")
        for number, row in enumerate(rows, start=2):
            if row.get(SPLIT) not in (None, "", "train") or row["question_type"] == TWO_HOP:
                continue
            try:
                yield SeedRow(
                    question=_make_question(row),
                    image_ids=tuple(each for each in row["dataset_image_ids"].split("|") if each),
                    file=path.name,
                    row=number,
                    folder=row["dataset_name"],
                )
            except (AttributeError, ValueError) as error:  # a short row has None instead of text
                yield BadSeed(path.name, number, "bad_row", f"{type(error).__name__}: {error}")


def _make_question(row: Mapping[str, str]) -> Question:
    answers = tuple(dict.fromkeys(each for each in row["answer"].split(ALTERNATIVES) if _says_something(each)))
    if not answers or not row["question"].strip():
        raise ValueError(f"no question or no answer that says anything: {row['question']!r}, {row['answer']!r}")
    name = hash_content_parts(row["question"], row["dataset_name"], row["dataset_image_ids"], row["answer"])
    return Question(
        question_id=f"{NAME}/{name}",
        question=row["question"].strip(),
        image=b"",
        language="en",
        answers=answers,
        question_type=LIST_QUESTION if row["question_type"] == MULTI_ANSWER else "string",
        benchmark=NAME,
        split="train",
        attribute=row["question_type"],
        entity_id=row.get("wikipedia_url") or row.get("wikipedia_title") or None,
    )


def _says_something(answer: str) -> bool:
    return any(process_encyclopedic_answer(part) and not is_empty(part) for part in answer.split(LIST))


FORMAT = SeedFormat(name=NAME, num_files=1, rows=read_encyclopedic_vqa_rows, metric=ENCYCLOPEDIC)
