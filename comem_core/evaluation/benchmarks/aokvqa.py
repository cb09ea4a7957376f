"""A-OKVQA (Schwenk et al. 2022), direct answers: COCO's pictures, world knowledge, answers of ten people each.

Questions flagged `difficult_direct_answer` are left out, as in the official evaluator. `aokvqa_mc` asks all questions,
as multiple choice. In the Parquet files of the hub, the answers are one text: a printed list.
"""

import ast
from collections.abc import Iterator
from functools import partial
from typing import Any

from comem_core.evaluation.annotations.asking import (
    AnnotatedQuestion,
    make_questions,
    require_gold,
    require_text,
)
from comem_core.evaluation.annotations.release import Found, Release, need
from comem_core.evaluation.annotations.rows import Row, read_json_entries, read_parquet_rows
from comem_core.evaluation.benchmarks import ANY, Benchmark, MissingQuestion, Wording
from comem_core.evaluation.benchmarks.okvqa import list_coco_names
from comem_core.evaluation.metrics.aokvqa import DIRECT_ANSWER
from comem_core.knowledge.items import Question

NAME, SPLIT = "a-okvqa", "val"
SOURCE = "https://huggingface.co/datasets/HuggingFaceM4/A-OKVQA"
LICENCE = "MIT (the repository; the hub states none); pictures: COCO's terms"
COLUMNS = (
    "question_id", "question", "choices", "correct_choice_idx", "direct_answers", "difficult_direct_answer",
)  # fmt: skip


def read_rows(found: Found) -> Iterator[Row]:
    """Yield the rows of the JSON list or the Parquet files."""
    paths = found["questions"]
    return (
        read_json_entries(paths[0])
        if paths[0].suffix == ".json"
        else read_parquet_rows(paths, COLUMNS, picture="image")
    )


def make_question(row: Row, **named: Any) -> AnnotatedQuestion:
    """Turn a row into a question; `named` are the fields that depend on the setting, such as the gold answers."""
    fields = row.fields
    question = Question(
        question_id=require_text(fields["question_id"], what="question_id"),
        question=require_text(fields["question"]),
        image=b"",
        language="en",
        split=SPLIT,
        **named,
    )
    if "image_id" in fields:
        return AnnotatedQuestion(question, row, list_coco_names(int(fields["image_id"]), "val2017")[1:])
    return AnnotatedQuestion(question, row, (str(fields["picture"]),) if fields.get("picture") else ())


def make_direct_question(row: Row) -> AnnotatedQuestion:
    """Turn a row into a question with people's answers. Raises ValueError for a row that is not a question."""
    given = row.fields["direct_answers"]
    answers = tuple(str(each) for each in (ast.literal_eval(given) if isinstance(given, str) else given or ()))
    require_gold(answers, split=SPLIT)
    return make_question(row, benchmark=NAME, answers=answers)


def read_questions(part: str, found: Found) -> Iterator[AnnotatedQuestion | MissingQuestion]:
    """Yield the questions of a part from its files, and those that are missing; their pictures are read later."""
    rows = (row for row in read_rows(found) if row.fields.get("difficult_direct_answer") is not True)
    yield from make_questions(rows, make_direct_question, id_field="question_id")


FILES = (
    "the Parquet files of the hub (hf download HuggingFaceM4/A-OKVQA --repo-type dataset --revision d1b0efa "
    "--include 'data/validation-*' --local-dir FOLDER); or aokvqa_v1p0_val.json "
    "(https://prior-datasets.s3.us-east-2.amazonaws.com/aokvqa/aokvqa_v1p0.tar.gz, unpacked), with the pictures of "
    "http://images.cocodataset.org/zips/val2017.zip, zipped or not."
)
make_release = partial(
    Release,
    files=FILES,
    parts={"val": {"questions": need("aokvqa_v1p0_val.json", "validation-*.parquet", "validation/*.parquet")}},
)
RELEASE = make_release(benchmark=NAME, asked=read_questions)

BENCHMARK = Benchmark(
    name=NAME,
    source=SOURCE,
    licence=LICENCE,
    parts=tuple(RELEASE.parts),
    read=RELEASE.read,
    revision=RELEASE.name_revision,
    metrics=lambda folder: (DIRECT_ANSWER,),
    # Ours, because A-OKVQA prescribes none. Its metric compares exactly, and people's answers are in lower case.
    wording=Wording(question={ANY: "{question}\nAnswer the question using a single word or phrase, in lower case."}),
    files=RELEASE.files,
)
