"""InfoSeek's annotations (Chen et al. 2023): JSON lines with `data_id`, `image_id`, `question`, `answer`.

`answer_eval`, where it is there, lists the accepted aliases; for a number it holds an object with the accepted `range`.
The pictures are OVEN's, named by `image_id`. The kind of a question is not in the row: an object is a
number, aliases of digits a time.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from comem_core.evaluation.official import INFOSEEK
from comem_core.knowledge.items import Question
from comem_core.synthesis.seeds.files import BadSeed, SeedRow


def infoseek_rows(files: Sequence[Path]) -> Iterator[SeedRow | BadSeed]:
    """Yield the rows of one JSONL file; a row without its fields is a bad one."""
    [path] = files
    with path.open(encoding="utf-8") as lines:
        for number, line in enumerate(lines, start=1):
            if not line.strip():
                continue
            try:
                row = json.loads(line)
                yield SeedRow(question=_question(row), image_ids=(str(row["image_id"]),), file=path.name, row=number)
            except (KeyError, TypeError, ValueError, IndexError) as error:
                yield BadSeed(path.name, number, "bad_row", f"{type(error).__name__}: {error}")


def _question(row: dict[str, Any]) -> Question:
    accepted = row.get("answer_eval") or row["answer"]
    is_number = isinstance(accepted[0], dict)
    low, high = accepted[0]["range"] if is_number else (None, None)
    aliases = [str(alias) for alias in (row["answer"] if is_number else accepted) if str(alias).strip()]
    if not aliases:
        raise ValueError("no accepted answer")
    kind = "numerical" if is_number else "time" if all(alias.isdigit() for alias in aliases) else "string"
    return Question(
        question_id=f"{INFOSEEK}/{row['data_id']}",
        question=_said(row["question"]),
        image=b"",
        language="en",
        answers=tuple(dict.fromkeys(aliases)),
        question_type=kind,
        answer_low=None if low is None else float(low),
        answer_high=None if high is None else float(high),
        benchmark=INFOSEEK,
        split="train",
        entity_id=row.get("entity_id"),
    )


def _said(question: str) -> str:
    if not question.strip():
        raise ValueError("no question")
    return question.strip()
