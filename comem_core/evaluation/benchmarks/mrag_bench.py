"""MRAG-Bench (Hu et al. 2024, arXiv 2410.08182): multiple-choice questions for which another picture helps, not a text.

A row has `question`, `A` to `D`, `answer_choice` (the letter of the right one), `scenario` (one of nine, our attribute)
and its `image`. The benchmark's own pictures for retrieval are not read: items come from the run's own knowledge.
"""

from collections.abc import Iterator

from comem_core.evaluation.annotations.asking import (
    AnnotatedQuestion,
    MissingQuestionError,
    make_questions,
    require_text,
)
from comem_core.evaluation.annotations.release import Found, Release, need
from comem_core.evaluation.annotations.rows import Row, read_parquet_rows
from comem_core.evaluation.benchmarks import ANY, Benchmark, MissingQuestion, Wording
from comem_core.evaluation.metrics.choice import MRAG_CHOICE
from comem_core.knowledge.items import Question

NAME, SPLIT, LABELS = "mrag-bench", "test", ("A", "B", "C", "D")
COLUMNS = ("id", "scenario", "question", *LABELS, "answer_choice")


def make_question(row: Row) -> AnnotatedQuestion:
    """Turn a row into a question. Raises ValueError for a row that is not a question."""
    fields = row.fields
    options = tuple(require_text(fields[label], what=f"option {label}") for label in LABELS)
    if fields["answer_choice"] not in LABELS:
        raise MissingQuestionError("no_gold", f"answer_choice {fields['answer_choice']!r}", split=SPLIT)
    right = LABELS.index(fields["answer_choice"])
    question = Question(
        question_id=str(fields["id"]),
        question=require_text(fields["question"]),
        image=b"",
        language="en",
        answers=(options[right],),
        options=options,
        right_option=right,
        benchmark=NAME,
        split=SPLIT,
        attribute=fields["scenario"],
    )
    return AnnotatedQuestion(question, row, (str(fields["picture"]),) if fields.get("picture") else ())


def read_questions(part: str, found: Found) -> Iterator[AnnotatedQuestion | MissingQuestion]:
    """Yield the questions of a part from its files, and those that are missing; their pictures are read later."""
    yield from make_questions(
        read_parquet_rows(found["questions"], COLUMNS, picture="image"), make_question, id_field="id"
    )


RELEASE = Release(
    benchmark=NAME,
    files=(
        "the Parquet files of the hub: hf download uclanlp/MRAG-Bench --repo-type dataset --revision 43620fd "
        "--local-dir FOLDER."
    ),
    parts={"test": {"questions": need("test-*.parquet", "test/*.parquet")}},
    asked=read_questions,
)

BENCHMARK = Benchmark(
    name=NAME,
    source="https://huggingface.co/datasets/uclanlp/MRAG-Bench",
    licence="CC-BY-4.0",
    parts=tuple(RELEASE.parts),
    read=RELEASE.read,
    revision=RELEASE.name_revision,
    metrics=lambda folder: (MRAG_CHOICE,),
    # The exact official prompt without retrieved pictures; its placeholder for the picture was before the first line
    # break.
    wording=Wording(
        question={
            ANY: "Answer with the option's letter from the given choices directly.\n{question}\n Choices:\n{options}"
        },
        labels=LABELS,
        option="{label}: {text}",
    ),
    files=RELEASE.files,
)
