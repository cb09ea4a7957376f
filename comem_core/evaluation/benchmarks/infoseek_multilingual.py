"""Multilingual InfoSeek: InfoSeek's validation questions, machine-translated into five languages by CoMEM's authors.

Questions and accepted answers are translated, pictures and ids are InfoSeek's, so here an id begins with its language.
Types and entities are the English questions': from the official files where they are there, else derived from the
English questions, else from the translated answers. The score is the mean over languages of the harmonic mean of the
two splits.
"""

from collections.abc import Iterator, Mapping
from dataclasses import replace

from comem_core.evaluation.annotations.asking import BAD_ROW, Asked, asked_of
from comem_core.evaluation.annotations.release import Found, Release, needed
from comem_core.evaluation.annotations.rows import json_lines
from comem_core.evaluation.benchmarks import Benchmark, Missing
from comem_core.evaluation.benchmarks.infoseek import (
    IMAGES,
    SPLITS,
    entities_in,
    gold_of,
    question_of,
    types_in,
)
from comem_core.evaluation.metrics.infoseek import INFOSEEK
from comem_core.evaluation.metrics.totals import Total

NAME = "infoseek-multilingual"
LANGUAGES = {"bg": "bulgarian", "zh": "chinese", "pt": "portuguese", "ru": "russian", "es": "spanish"}


def asked(part: str, found: Found) -> Iterator[Asked | Missing]:
    types, entities = _english_types(found), entities_in(found)
    for language in LANGUAGES:
        rows = (row for path in found[language] for row in json_lines(path))
        yield from asked_of(
            rows,
            lambda row, language=language: _translated(question_of(row, types=types, entities=entities), language),
            id_field="data_id",
            prefix=f"{language}/",
        )


def _translated(asked: Asked, language: str) -> Asked:
    question = asked.question
    named = {"question_id": f"{language}/{question.question_id}", "split": f"{language}/{question.split}"}
    return replace(asked, question=replace(question, **named, language=language, benchmark=NAME))


def _english_types(found: Found) -> Mapping[str, str] | None:
    if (official := types_in(found)) is not None or not found["english"]:
        return official
    derived = {}
    for row in (row for path in found["english"] for row in json_lines(path)):
        try:
            derived[str(row.fields["data_id"])] = gold_of(row.fields)["question_type"]
        except BAD_ROW:
            continue  # its translations are counted as without a type
    return derived


RELEASE = Release(
    benchmark=NAME,
    files=(
        "infoseek_val_bulgarian.jsonl, ..._chinese, ..._portuguese, ..._russian and ..._spanish "
        "(https://github.com/WenyiWU0111/CoMEM); optional, infoseek's own infoseek_val_qtype.jsonl or "
        "infoseek_val.jsonl (question types) and infoseek_val_withkb.jsonl (entities). " + IMAGES
    ),
    parts={
        "val": {code: needed(f"infoseek_val_{language}.jsonl") for code, language in LANGUAGES.items()}
        | {
            "types": needed("infoseek_val_qtype.jsonl", optional=True),
            "english": needed("infoseek_val.jsonl", optional=True),
            "entities": needed("infoseek_val_withkb.jsonl", optional=True),
        }
    },
    asked=asked,
)

BENCHMARK = Benchmark(
    name=NAME,
    source="https://github.com/WenyiWU0111/CoMEM",
    licence="that of InfoSeek (Apache-2.0); the translations have none of their own",
    parts=tuple(RELEASE.parts),
    read=RELEASE.read,
    revision=RELEASE.revision,
    metrics=lambda folder: (INFOSEEK,),
    total=Total(
        within="harmonic",
        across="mean",
        groups={code: tuple(f"{code}/{split}" for split in SPLITS.values()) for code in LANGUAGES},
    ),
    files=RELEASE.files,
)
