"""OK-VQA (Marino et al. 2019): questions about COCO's pictures that need outside knowledge, ten answers each.

The original release is a JSON file of questions and one of annotations, with COCO's pictures of 2014. As officially,
the processed answers (`answer`) of an annotation count. The hub has Parquet with pictures and answers. The kind of a
question (`question_type`, "one" to "ten" and "other") is its attribute.
"""

from collections.abc import Iterator, Mapping
from typing import Any

from comem_core.evaluation.annotations.asking import (
    AnnotatedQuestion,
    MissingQuestionError,
    make_questions,
    require_gold,
    require_text,
)
from comem_core.evaluation.annotations.release import Found, Release, need
from comem_core.evaluation.annotations.rows import Row, read_json_entries, read_parquet_rows
from comem_core.evaluation.benchmarks import ANY, Benchmark, MissingQuestion, Wording
from comem_core.evaluation.metrics.vqa import VQA_ACCURACY
from comem_core.knowledge.items import Question

NAME, SPLIT, NUM_ANNOTATORS = "okvqa", "val", 10
COLUMNS = ("question_id", "question", "answers", "question_type")


def make_question(row: Row) -> AnnotatedQuestion:
    """Turn a row into a question; its `answers` are texts, or objects with an `answer`.

    Raises ValueError for a row that is not a question.
    """
    fields = row.fields
    answers = tuple(str(each["answer"] if isinstance(each, dict) else each) for each in fields["answers"] or ())
    if len(answers) != NUM_ANNOTATORS:
        raise MissingQuestionError("no_gold", f"{len(answers)} answers; expected {NUM_ANNOTATORS}", split=SPLIT)
    require_gold(answers, split=SPLIT)
    question = Question(
        question_id=str(fields["question_id"]),
        question=require_text(fields["question"]),
        image=b"",
        language="en",
        answers=answers,
        benchmark=NAME,
        split=SPLIT,
        attribute=fields.get("question_type"),
    )
    if "image_id" in fields:
        return AnnotatedQuestion(question, row, list_coco_names(int(fields["image_id"]), "val2014"))
    return AnnotatedQuestion(question, row, (str(fields["picture"]),) if fields.get("picture") else ())


def list_coco_names(image_id: int, year: str) -> tuple[str, ...]:
    """List the names that a COCO picture may have: names of 2014 contain the split, names of 2017 do not."""
    return f"COCO_{year}_{image_id:012d}", f"{image_id:012d}", str(image_id)


def join_rows(questions: Iterator[Row], annotations: Iterator[Row]) -> Iterator[Row]:
    """Yield the rows of questions, with the answers and the question type from their annotations."""
    rows = list(questions)
    annotation_of: Mapping[Any, Mapping[str, Any]] = {row.fields.get("question_id"): row.fields for row in annotations}
    for row in rows:
        fields = annotation_of.get(row.fields.get("question_id"), {})
        more = {name: fields[name] for name in ("answers", "question_type") if name in fields}
        yield Row(row.file, row.number, {**row.fields, **more}, fault=row.fault)


def read_questions(part: str, found: Found) -> Iterator[AnnotatedQuestion | MissingQuestion]:
    """Yield the questions of a part from its files, and those that are missing; their pictures are read later."""
    if all(path.suffix == ".json" for path in found["questions"]):
        if not found["answers"]:
            raise ValueError(f"{NAME}: mscoco_val2014_annotations.json is missing. Needed are {RELEASE.files}")
        rows = join_rows(
            read_json_entries(found["questions"][0], "questions"), read_json_entries(found["answers"][0], "annotations")
        )
    else:
        rows = read_parquet_rows(found["questions"], COLUMNS, picture="image")
    yield from make_questions(rows, make_question, id_field="question_id")


RELEASE = Release(
    benchmark=NAME,
    files=(
        "the Parquet files of the hub (hf download lmms-lab/OK-VQA --repo-type dataset --revision "
        "c9f858961f4095a9aeef615057b0822cce967096 --local-dir FOLDER); or, unzipped from https://okvqa.allenai.org, "
        "OpenEnded_mscoco_val2014_questions.json and mscoco_val2014_annotations.json, with the pictures of "
        "http://images.cocodataset.org/zips/val2014.zip, zipped or not."
    ),
    parts={
        "val": {
            "questions": need("OpenEnded_mscoco_val2014_questions.json", "val2014-*.parquet", "val2014/*.parquet"),
            "answers": need("mscoco_val2014_annotations.json", optional=True),
        }
    },
    asked=read_questions,
)

BENCHMARK = Benchmark(
    name=NAME,
    source="https://huggingface.co/datasets/lmms-lab/OK-VQA",
    licence="the hub states none; pictures: COCO's terms",
    parts=tuple(RELEASE.parts),
    read=RELEASE.read,
    revision=RELEASE.name_revision,
    metrics=lambda folder: (VQA_ACCURACY,),
    # Exactly lmms-eval's prompt for OK-VQA.
    wording=Wording(
        question={
            ANY: "{question}\nWhen the provided information is insufficient, respond with 'Unanswerable'.\n"
            "Answer the question using a single word or phrase."
        }
    ),
    files=RELEASE.files,
)
