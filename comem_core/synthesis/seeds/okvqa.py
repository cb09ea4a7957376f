"""OK-VQA's annotations (Marino et al. 2019): a JSON file of questions, and one of answers, ten a question.

The pictures are COCO's of 2014, `COCO_train2014_000000000042.jpg` for image 42. Of an annotation's answers the
processed one (`answer`) counts, as officially; `raw_answer` is what the person wrote.
"""

import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from comem_core.evaluation.official import OKVQA
from comem_core.knowledge.items import Question
from comem_core.synthesis.seeds.files import BadSeed, SeedRow


def okvqa_rows(files: Sequence[Path]) -> Iterator[SeedRow | BadSeed]:
    """Yield a row a question; one without ten answers is a bad row.

    Raises ValueError where a file is no such JSON (the questions come first, then the annotations).
    """
    asked_of, annotated = files
    questions, annotations = _entries(asked_of, "questions"), _entries(annotated, "annotations")
    answers = {each.get("question_id"): each for each in annotations}
    for number, asked in enumerate(questions, start=1):
        try:
            image_id = int(asked["image_id"])
            yield SeedRow(
                question=_question(asked, answers[asked["question_id"]]),
                image_ids=(f"COCO_train2014_{image_id:012d}", f"{image_id:012d}", str(image_id)),
                file=files[0].name,
                row=number,
            )
        except (KeyError, TypeError, ValueError) as error:
            yield BadSeed(files[0].name, number, "bad_row", f"{type(error).__name__}: {error}")


def _entries(path: Path, name: str) -> list[dict[str, Any]]:
    try:
        return json.loads(path.read_text(encoding="utf-8"))[name]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{path.name} has no list `{name}`: give OK-VQA's questions, then its annotations") from error


def _question(asked: dict[str, Any], annotation: dict[str, Any]) -> Question:
    people = tuple(str(each["answer"]) for each in annotation["answers"])
    if len(people) != 10 or not asked["question"].strip():
        raise ValueError(f"{len(people)} answers; expected ten, and a question")
    return Question(
        question_id=f"{OKVQA}/{asked['question_id']}",
        question=asked["question"].strip(),
        image=b"",
        language="en",
        answers=people,
        benchmark=OKVQA,
        split="train",
        attribute=annotation.get("question_type"),
    )
