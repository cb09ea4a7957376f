"""ViQuAE (Lerner et al. 2022): trivia questions about what a picture of Wikimedia Commons shows.

A row has `id`, `input` (the question), `output` with `answer` (the accepted aliases) and `original_answer`, `image`
(the picture's file name) and `wikidata_id`. Officially an answer is scored against its best alias, by exact match and
token F1 as in SQuAD.
"""

from collections.abc import Iterator

from comem_core.evaluation.annotations.asking import AnnotatedQuestion, make_questions, require_gold, require_text
from comem_core.evaluation.annotations.release import Found, Release, need
from comem_core.evaluation.annotations.rows import Row, read_json_lines, read_parquet_rows
from comem_core.evaluation.benchmarks import Benchmark, MissingQuestion
from comem_core.evaluation.metrics.squad import EXACT_MATCH, TOKEN_F1
from comem_core.knowledge.items import Question

NAME = "viquae"
COLUMNS = ("id", "input", "output", "wikidata_id")


def make_question(row: Row, *, split: str) -> AnnotatedQuestion:
    """Turn a row into a question. Raises ValueError for a row that is not a question."""
    fields, output = row.fields, row.fields["output"]
    accepted = output.get("answer") or [output.get("original_answer")]
    aliases = tuple(dict.fromkeys(str(each) for each in accepted if each is not None))
    require_gold(aliases, split=split)
    question = Question(
        question_id=require_text(fields["id"], what="id"),
        question=require_text(fields["input"]),
        image=b"",
        language="en",
        answers=aliases,
        benchmark=NAME,
        split=split,
        entity_id=fields.get("wikidata_id"),
    )
    name = fields.get("picture", fields.get("image"))
    return AnnotatedQuestion(question, row, (str(name),) if name else ())


def read_questions(part: str, found: Found) -> Iterator[AnnotatedQuestion | MissingQuestion]:
    """Yield the questions of a part from its files, and those that are missing; their pictures are read later."""
    paths = found["questions"]
    if paths[0].suffix == ".parquet":
        rows = read_parquet_rows(paths, COLUMNS, picture="image")
    else:
        rows = (row for path in paths for row in read_json_lines(path))
    yield from make_questions(rows, lambda row: make_question(row, split=part), id_field="id")


RELEASE = Release(
    benchmark=NAME,
    files=(
        "test.jsonl, or validation.jsonl (hf download PaulLerner/viquae_dataset --repo-type dataset --revision "
        "779bec48cd16da60a0f217c39cb6b57f16cbc06b --local-dir FOLDER), and the pictures (hf download "
        "PaulLerner/viquae_images --repo-type dataset --local-dir FOLDER; then unpack images.tar.gz there)."
    ),
    parts={
        part: {"questions": need(f"{part}.jsonl", f"{part}-*.parquet", f"{part}/*.parquet")}
        for part in ("validation", "test")
    },
    asked=read_questions,
)

BENCHMARK = Benchmark(
    name=NAME,
    source="https://huggingface.co/datasets/PaulLerner/viquae_dataset",
    licence="CC-BY-4.0 (annotations); pictures: each its own, of Wikimedia Commons",
    parts=tuple(RELEASE.parts),
    tuning_part="validation",
    read=RELEASE.read,
    revision=RELEASE.name_revision,
    metrics=lambda folder: (EXACT_MATCH, TOKEN_F1),
    files=RELEASE.files,
)
