"""Translation: translates some kept samples, chosen by hash, into the recipe's languages, and back for judging."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial as bind
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from comem_core.knowledge.items import hash_content_parts
from comem_core.knowledge.languages import is_same_language
from comem_core.recipes.recipe import SynthesisRecipe
from comem_core.synthesis.generator import Generator
from comem_core.synthesis.translation import (
    TranslationRequest,
    judge_round_trip,
    make_translated_question,
    read_translation_prompts,
    translate,
)
from tasks.engine.ledger import measure_cost
from tasks.engine.partial import ROWS_OF, Partial
from tasks.engine.reuse import Stage
from tasks.engine.shards import Work, make_shards
from tasks.engine.stage import run_stage, stage_task
from tasks.engine.store import Reference
from tasks.models import make_generator, name_generator_inputs, name_generator_key, write_with_generator
from tasks.rows.tables import PICTURE, list_shards, read_rows
from tasks.run import Run
from warehouse.schemas import check_rows, make_blank_row

TRANSLATIONS = Stage(name="translations", version="4", table="draft")
DRAFTS, QUESTIONS, VERDICTS = "part", "questions", "verdicts"
ALIASES = {"aliases": pa.list_(pa.string())}  # the translated answers, from which the question's row is made

OpenModel = Callable[[Run], Generator]


@dataclass(frozen=True, kw_only=True)
class TranslationsKey:
    """What decides a translation besides the samples."""

    generator: str
    prompts_sha256: str
    num_translated: int
    languages: tuple[str, ...]
    max_new_tokens: int


@stage_task(name="translate-qa")
def translate_qa(
    run: Run, questions: Reference, drafts: Reference, kept: Reference, translator: OpenModel = make_generator
) -> Reference:
    """Translate kept samples into drafts (`part-*`), their questions (`questions-*`) and verdicts (`verdicts-*`)."""
    recipe = run.recipe.synthesis
    key = TranslationsKey(
        generator=name_generator_key(run),
        prompts_sha256=read_translation_prompts(recipe.translation_prompts).sha256,
        num_translated=recipe.num_translated,
        languages=recipe.languages,
        max_new_tokens=recipe.max_translated_tokens,
    )

    def make(artefact: Partial) -> None:
        requests, pictures = _choose_requests(recipe, questions, drafts, kept)

        def write(run: Run) -> None:
            _translate(run, artefact, requests, translator)
            _judge(run, artefact, requests, translator)

        if requests:
            write_with_generator(run, write)
            measure_cost(artefact, DRAFTS, VERDICTS)
        else:
            artefact.write_shard(f"{DRAFTS}-00000", check_rows("draft", [], extra=ALIASES))
            artefact.write_shard(f"{VERDICTS}-00000", check_rows("verdict", []), rows_of="verdict")
        _write_questions(artefact, requests, pictures)

    inputs = name_generator_inputs(run) | {"questions": questions, "drafts": drafts, "kept": kept}
    expected = recipe.num_translated * len(recipe.languages)
    return run_stage(run, TRANSLATIONS, key, inputs, make, expects=expected)


def _choose_requests(
    recipe: SynthesisRecipe, questions: Reference, drafts: Reference, kept: Reference
) -> tuple[list[TranslationRequest], dict[str, bytes]]:
    """List the samples to translate, each into every language but its own, and the pictures of their questions."""
    if not recipe.num_translated:
        return [], {}
    ids = sorted((row["sample_id"] for row in read_rows(kept)), key=lambda each: hash_content_parts("translated", each))
    chosen = set(ids[: recipe.num_translated])
    rows = sorted(_read_rows_where(drafts, "draft", "sample_id", chosen), key=lambda row: row["sample_id"])
    wanted = {row["question_id"] for row in rows}
    asked = {row["question_id"]: row for row in _read_rows_where(questions, "question", "question_id", wanted)}
    pictures = {question_id: row.pop("image") for question_id, row in asked.items()}
    requests = [
        TranslationRequest(draft=row, asked=asked[row["question_id"]], language=language)
        for row in rows
        for language in recipe.languages
        if not is_same_language(row["language"], language)
    ]
    return requests, pictures


def _read_rows_where(reference: Reference, table: str, column: str, values: set[str]) -> Iterator[dict[str, Any]]:
    """Yield the rows of a table whose column has one of the values; reads a shard at a time."""
    for path in list_shards(reference, table):
        yield from pq.read_table(path, filters=[(column, "in", values)]).to_pylist() if values else ()


def _translate(run: Run, artefact: Partial, requests: Sequence[TranslationRequest], translator: OpenModel) -> None:
    factory = bind(_make_translator, run, translator)
    make_shards("translate-qa", run.context, artefact, requests, factory, length=_estimate_length, prefix=DRAFTS)


def _make_translator(run: Run, translator: OpenModel) -> Work:
    options, model = _read_options(run), translator(run)

    def work(batch: Sequence[TranslationRequest]) -> pa.Table:
        rows = translate(model, batch, **options)
        return check_rows("draft", [make_blank_row("draft") | row for row in rows], extra=ALIASES)

    return work


def _judge(run: Run, artefact: Partial, requests: Sequence[TranslationRequest], translator: OpenModel) -> None:
    by_key = {(request.draft["sample_id"], request.language): request for request in requests}
    units = [(by_key[row["translated_from"], row["language"]], row) for row in _read_drafts(artefact)]
    make_shards("judge-translations", run.context, artefact, units, bind(_make_judge, run, translator), prefix=VERDICTS)


def _make_judge(run: Run, translator: OpenModel) -> Work:
    options, model = _read_options(run), translator(run)

    def work(batch: Sequence[tuple[TranslationRequest, dict[str, Any]]]) -> pa.Table:
        verdicts = judge_round_trip(model, batch, **options)
        table = check_rows("verdict", [make_blank_row("verdict") | verdict for verdict in verdicts])
        return table.replace_schema_metadata({ROWS_OF: b"verdict"})

    return work


def _write_questions(artefact: Partial, requests: Sequence[TranslationRequest], pictures: dict[str, bytes]) -> None:
    """Write the question rows of the translations, one shard for each shard of drafts, without a model."""
    asked = {request.draft["sample_id"]: request.asked for request in requests}
    for path in _list_draft_shards(artefact):
        name = path.stem.replace(DRAFTS, QUESTIONS, 1)
        if name in artefact.list_finished():
            continue
        rows = []
        for row in pq.read_table(path).to_pylist():
            original = asked[row["translated_from"]]
            rows.append(make_translated_question(original, row) | {"image": pictures[original["question_id"]]})
        artefact.write_shard(name, check_rows("question", rows, extra=PICTURE), rows_of="question")


def _read_drafts(artefact: Partial) -> Iterator[dict[str, Any]]:
    for path in _list_draft_shards(artefact):
        yield from pq.read_table(path).to_pylist()


def _list_draft_shards(artefact: Partial) -> list:
    return sorted(artefact.folder.glob(f"{DRAFTS}-*.parquet"))


def _estimate_length(request: TranslationRequest) -> int:
    """Return the approximate length of a prompt in characters."""
    texts = request.texts
    return len(texts.question) + len(texts.answer) + sum(len(alias) for alias in texts.aliases)


def _read_options(run: Run) -> dict[str, Any]:
    recipe = run.recipe.synthesis
    return {
        "prompts": read_translation_prompts(recipe.translation_prompts),
        "max_new_tokens": recipe.max_translated_tokens,
    }
