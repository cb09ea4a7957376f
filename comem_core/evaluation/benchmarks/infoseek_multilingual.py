"""Multilingual InfoSeek: InfoSeek's validation questions, machine-translated into five languages by CoMEM's authors.

Questions and accepted answers are translated; pictures and ids are InfoSeek's, so an id begins with its language here.
Question types come from the official file, else from the English questions, else from the translated answers. Entities
come from the official file. The score is the mean over languages of the harmonic mean of the two splits.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from comem_core.evaluation.annotations.asking import BAD_ROW, AnnotatedQuestion, make_questions
from comem_core.evaluation.annotations.release import Found, Release, need
from comem_core.evaluation.annotations.rows import read_json_lines
from comem_core.evaluation.benchmarks import Benchmark, MissingQuestion
from comem_core.evaluation.benchmarks.infoseek import (
    IMAGES,
    SPLITS,
    make_gold,
    make_question,
    read_entities,
    read_types,
)
from comem_core.evaluation.metrics.infoseek import INFOSEEK
from comem_core.evaluation.metrics.totals import Total

NAME = "infoseek-multilingual"
LANGUAGES = {"bg": "bulgarian", "zh": "chinese", "pt": "portuguese", "ru": "russian", "es": "spanish"}


def read_questions(part: str, found: Found) -> Iterator[AnnotatedQuestion | MissingQuestion]:
    """Yield the questions of a part from its files, and those that are missing; their pictures are read later."""
    types, entities = _read_english_types(found), read_entities(found)
    for language in LANGUAGES:
        rows = (row for path in found[language] for row in read_json_lines(path))
        yield from make_questions(
            rows,
            lambda row, language=language: _mark_language(make_question(row, types=types, entities=entities), language),
            id_field="data_id",
            prefix=f"{language}/",
        )


def _mark_language(annotated: AnnotatedQuestion, language: str) -> AnnotatedQuestion:
    question = annotated.question
    named = {"question_id": f"{language}/{question.question_id}", "split": f"{language}/{question.split}"}
    return replace(annotated, question=replace(question, **named, language=language, benchmark=NAME))


def _read_english_types(found: Found) -> Mapping[str, str] | None:
    if (official := read_types(found)) is not None or not found["english"]:
        return official
    derived = {}
    for row in (row for path in found["english"] for row in read_json_lines(path)):
        try:
            derived[str(row.fields["data_id"])] = make_gold(row.fields)["question_type"]
        except BAD_ROW:
            continue  # its translations are missing, with the reason no_question_type
    return derived


RELEASE = Release(
    benchmark=NAME,
    files=(
        "infoseek_val_bulgarian.jsonl, ..._chinese, ..._portuguese, ..._russian and ..._spanish "
        "(https://github.com/WenyiWU0111/CoMEM); optional, infoseek's own infoseek_val_qtype.jsonl or "
        "infoseek_val.jsonl (question types) and infoseek_val_withkb.jsonl (entities). " + IMAGES
    ),
    parts={
        "val": {code: need(f"infoseek_val_{language}.jsonl") for code, language in LANGUAGES.items()}
        | {
            "types": need("infoseek_val_qtype.jsonl", optional=True),
            "english": need("infoseek_val.jsonl", optional=True),
            "entities": need("infoseek_val_withkb.jsonl", optional=True),
        }
    },
    asked=read_questions,
)

BENCHMARK = Benchmark(
    name=NAME,
    source="https://github.com/WenyiWU0111/CoMEM",
    licence="that of InfoSeek (Apache-2.0); the translations have none of their own",
    parts=tuple(RELEASE.parts),
    read=RELEASE.read,
    revision=RELEASE.name_revision,
    metrics=lambda folder: (INFOSEEK,),
    total=Total(
        within="harmonic",
        across="mean",
        groups={code: tuple(f"{code}/{split}" for split in SPLITS.values()) for code in LANGUAGES},
    ),
    files=RELEASE.files,
)
