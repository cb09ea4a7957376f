"""OVEN (Hu et al. 2023, arXiv 2302.11154): which of six million entities of Wikipedia does this picture show?

A row has `data_id`, `image_id`, `question`, `entity_id` (Wikidata), `entity_text` and `data_split`. Query questions ask
about something in the picture; entity questions ask what the picture shows. Both have a split of entities seen in
training and a split of unseen ones. The query score and the entity score are each the harmonic mean of these two
splits; the total is the harmonic mean of both scores.

CoMEM's authors ask all query questions and 3,000 of the entity questions, which are the part `val_3k`.
"""

from collections.abc import Iterator

from comem_core.evaluation.annotations.asking import (
    AnnotatedQuestion,
    MissingQuestionError,
    make_questions,
    require_text,
)
from comem_core.evaluation.annotations.release import Found, Release, need
from comem_core.evaluation.annotations.rows import Row, read_json_lines
from comem_core.evaluation.benchmarks import Benchmark, MissingQuestion
from comem_core.evaluation.benchmarks.infoseek import ADDRESS, IMAGES
from comem_core.evaluation.metrics.oven import TITLES, WORD_PIECES, WORD_PIECES_HUB, make_oven_metric
from comem_core.evaluation.metrics.totals import Total
from comem_core.knowledge.items import Question

NAME = "oven"
GROUPS = {"query": ("query_seen", "query_unseen"), "entity": ("entity_seen", "entity_unseen")}
SPLITS = {split.replace("_", "_val_"): split for splits in GROUPS.values() for split in splits}
QUESTIONS = ("query", "entity")


def make_question(row: Row) -> AnnotatedQuestion:
    """Turn a row into a question. Raises ValueError for a row that is not a question."""
    fields = row.fields
    if fields["data_split"] not in SPLITS:
        raise ValueError(f"data_split {fields['data_split']!r}; expected one of {', '.join(SPLITS)}")
    split = SPLITS[fields["data_split"]]
    if not fields.get("entity_id") or not fields.get("entity_text"):
        raise MissingQuestionError("no_gold", "no entity_id or no entity_text", split=split)
    question = Question(
        question_id=str(fields["data_id"]),
        question=require_text(fields["question"]),
        image=b"",
        language="en",
        answers=(str(fields["entity_text"]),),
        benchmark=NAME,
        split=split,
        entity_id=str(fields["entity_id"]),
    )
    return AnnotatedQuestion(question, row, (str(fields["image_id"]),))


def read_questions(part: str, found: Found) -> Iterator[AnnotatedQuestion | MissingQuestion]:
    """Yield the questions of a part from its files, and those that are missing; their pictures are read later."""
    rows = (row for role in QUESTIONS for path in found[role] for row in read_json_lines(path))
    yield from make_questions(rows, make_question, id_field="data_id")


QUERY = need("oven_query_val.jsonl")
# The files that both parts need. Titles are not questions, but they decide a score.
SHARED = {"query": QUERY, "titles": need(*TITLES, optional=True)}
RELEASE = Release(
    benchmark=NAME,
    files=(
        f"oven_query_val.jsonl and oven_entity_val.jsonl ({ADDRESS}/oven/oven_query_val.jsonl and so on), for the part "
        "val_3k oven_entity_val_3k.jsonl (https://github.com/WenyiWU0111/CoMEM). "
        f"{IMAGES} To score, in the folder itself: Wikipedia's titles "
        f"({ADDRESS}/Wiki6M_ver_1_0_title_only.jsonl) and {WORD_PIECES}/ with the tokenizer of {WORD_PIECES_HUB}."
    ),
    parts={
        "val_3k": SHARED | {"entity": need("oven_entity_val_3k.jsonl")},
        "val": SHARED | {"entity": need("oven_entity_val.jsonl")},
    },
    asked=read_questions,
)

BENCHMARK = Benchmark(
    name=NAME,
    source="https://github.com/open-vision-language/oven",
    licence="Apache-2.0",
    parts=tuple(RELEASE.parts),
    read=RELEASE.read,
    revision=RELEASE.name_revision,
    metrics=lambda folder: (make_oven_metric(folder),),
    total=Total(within="harmonic", across="harmonic", groups=GROUPS),
    files=RELEASE.files,
)
