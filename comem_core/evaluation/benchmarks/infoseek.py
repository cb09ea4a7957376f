"""InfoSeek (Chen et al. 2023, arXiv 2302.11713): asks for author, height, opening year ... of the entity in a picture.

A row has `data_id`, `image_id` (OVEN's pictures), `question`, `answer`, `answer_eval` and `data_split`. `answer_eval`
lists the accepted aliases; for a number it is one object with the accepted `range`, in a list or alone. The official
question types are in a separate file. Without it they are derived: an object is a number, aliases of only digits are a
time. This changes no score, because times are matched as strings, but it changes the slice that a question is in.
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
from comem_core.evaluation.annotations.rows import Row, read_json_lines
from comem_core.evaluation.benchmarks import Benchmark, MissingQuestion
from comem_core.evaluation.metrics.infoseek import INFOSEEK
from comem_core.evaluation.metrics.totals import HARMONIC
from comem_core.knowledge.items import Question

NAME = "infoseek"
SPLITS = {"val_unseen_question": "unseen_question", "val_unseen_entity": "unseen_entity"}
TYPES = ("string", "numerical", "time")


def make_gold(fields: Mapping[str, Any], kind: str | None = None) -> dict[str, Any]:
    """Return the gold answers of a row as fields of `Question`; the type is derived where it is not given.

    The aliases are as released, in their order. Raises ValueError where there are none, or where they do not fit the
    type.
    """
    accepted = fields.get("answer_eval") or fields["answer"]
    accepted = [accepted] if isinstance(accepted, dict) else accepted
    is_number = isinstance(accepted[0], dict)
    aliases = tuple(dict.fromkeys(str(alias) for alias in (fields["answer"] if is_number else accepted)))
    require_gold(aliases)
    if kind is None:
        kind = "numerical" if is_number else "time" if all(alias.isdigit() for alias in aliases) else "string"
    if kind not in TYPES or is_number != (kind == "numerical"):
        raise ValueError(f"a question of type {kind!r} whose first accepted answer is {accepted[0]!r}")
    low, high = accepted[0]["range"] if is_number else (None, None)
    return {
        "answers": aliases,
        "question_type": kind,
        "answer_low": None if low is None else float(low),
        "answer_high": None if high is None else float(high),
    }


def make_question(row: Row, *, types: Mapping[str, str] | None, entities: Mapping[str, str]) -> AnnotatedQuestion:
    """Turn a row into a question. `types` maps ids to official question types; None to derive them.

    Raises ValueError for a row that is not a question.
    """
    fields, data_id = row.fields, str(row.fields["data_id"])
    if fields["data_split"] not in SPLITS:
        raise ValueError(f"data_split {fields['data_split']!r}; expected one of {', '.join(SPLITS)}")
    if types is not None and data_id not in types:
        raise MissingQuestionError("no_question_type", f"{data_id} is not in the file of question types")
    gold = make_gold(fields, None if types is None else types[data_id])
    question = Question(
        question_id=data_id,
        question=require_text(fields["question"]),
        image=b"",
        language="en",
        **gold,
        benchmark=NAME,
        split=SPLITS[fields["data_split"]],
        attribute=gold["question_type"],
        entity_id=entities.get(data_id),
    )
    return AnnotatedQuestion(question, row, (str(fields["image_id"]),))


def read_types(found: Found, role: str = "types") -> dict[str, str] | None:
    """Read the official types by id; None where the file is absent."""
    if not found[role]:
        return None
    return {str(row.fields.get("data_id")): str(row.fields.get("question_type")).lower() for row in _rows(found, role)}


def read_entities(found: Found, role: str = "entities") -> dict[str, str]:
    """Read the Wikidata ids of what the pictures show, by question id; empty where the file is absent."""
    rows = (row.fields for row in _rows(found, role))
    return {str(row["data_id"]): row["entity_id"] for row in rows if row.keys() >= {"data_id", "entity_id"}}


def read_questions(part: str, found: Found) -> Iterator[AnnotatedQuestion | MissingQuestion]:
    """Yield the questions of a part from its files, and those that are missing; their pictures are read later."""
    types, entities = read_types(found), read_entities(found)
    yield from make_questions(
        _rows(found, "questions"), lambda row: make_question(row, types=types, entities=entities), id_field="data_id"
    )


def _rows(found: Found, role: str) -> Iterator[Row]:
    for path in found[role]:
        yield from read_json_lines(path)


ADDRESS = "http://storage.googleapis.com/gresearch/open-vision-language"
IMAGES = (
    "The pictures are OVEN's, named by id (oven_05001186.jpg), at any depth, or in zip or plain tar files: "
    "hf download ychenNLP/oven --repo-type dataset, after its conditions are accepted."
)

RELEASE = Release(
    benchmark=NAME,
    files=(
        f"infoseek_val.jsonl ({ADDRESS}/infoseek/infoseek_val.jsonl); optional, infoseek_val_qtype.jsonl (the official "
        "question types: https://github.com/edchengg/infoseek_eval) and infoseek_val_withkb.jsonl (entities: at the "
        "first address). " + IMAGES
    ),
    parts={
        "val": {
            "questions": need("infoseek_val.jsonl"),
            "types": need("infoseek_val_qtype.jsonl", optional=True),
            "entities": need("infoseek_val_withkb.jsonl", optional=True),
        }
    },
    asked=read_questions,
)

BENCHMARK = Benchmark(
    name=NAME,
    source="https://github.com/open-vision-language/infoseek",
    licence="Apache-2.0",
    parts=tuple(RELEASE.parts),
    read=RELEASE.read,
    revision=RELEASE.name_revision,
    metrics=lambda folder: (INFOSEEK,),
    total=HARMONIC,
    files=RELEASE.files,
)
