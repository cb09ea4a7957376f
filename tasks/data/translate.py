"""Translation: translates some kept samples, chosen by hash, into the recipe's languages, and back for judging."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial as bind
from typing import Any, NamedTuple

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
    name_translation,
    read_translation_prompts,
    translate,
)
from tasks.engine.ledger import measure_cost
from tasks.engine.partial import ROWS_OF, Partial
from tasks.engine.reuse import RowNames, Stage
from tasks.engine.shards import Work, make_shards
from tasks.engine.stage import run_stage, stage_task
from tasks.engine.store import Reference
from tasks.models import (
    make_generator,
    name_generator,
    name_generator_inputs,
    name_generator_key,
    name_written_rows,
    write_with_generator,
)
from tasks.rows.earlier import LastingRows, count_missing, leave_missing
from tasks.rows.tables import PICTURE, list_shards, read_rows
from tasks.run import Run
from warehouse.content import ROW_KEY
from warehouse.schemas import check_rows, make_blank_row, make_schema

TRANSLATIONS = Stage(name="translations", version="4", table="draft")
DRAFTS, QUESTIONS, VERDICTS = "part", "questions", "verdicts"
# The translated answers, from which the question's row is made, and the key that names the translation.
EXTRA = {"aliases": pa.list_(pa.string()), ROW_KEY: pa.string()}
CHECKED = {ROW_KEY: pa.string()}
VERDICT_SCHEMA = make_schema("verdict", extra=CHECKED).with_metadata({ROWS_OF: b"verdict"})
TRANSLATED = LastingRows(
    stage=TRANSLATIONS,
    key=ROW_KEY,
    shard=f"{DRAFTS}-translated-before",
    schema=make_schema("draft", extra=EXTRA),
)
TRANSLATED_BACK = LastingRows(
    stage=TRANSLATIONS, key=ROW_KEY, shard=f"{VERDICTS}-checked-before", schema=VERDICT_SCHEMA
)

OpenModel = Callable[[Run], Generator]


@dataclass(frozen=True, kw_only=True)
class TranslationsKey:
    """What decides a translation besides the samples."""

    generator: str
    prompts_sha256: str
    num_translated: int
    languages: tuple[str, ...]
    max_new_tokens: int


class ToTranslate(NamedTuple):
    """A sample to translate into a language, and the key that names the translation."""

    request: TranslationRequest
    key: str


class ToCheck(NamedTuple):
    """A translation to translate back, with its row, and the key that names the verdict."""

    request: TranslationRequest
    row: dict[str, Any]
    key: str


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

        units = leave_missing(run.context, artefact, TRANSLATED, _name_requests(run, requests), _make_renewal(run))
        if units:
            write_with_generator(run, lambda there: _translate(there, artefact, units, translator))
        checks = leave_missing(
            run.context, artefact, TRANSLATED_BACK, _list_checks(run, artefact, requests), _renew_check
        )
        if checks:
            write_with_generator(run, lambda there: _judge(there, artefact, checks, translator))
        measure_cost(artefact, DRAFTS, VERDICTS)
        _write_questions(artefact, requests, pictures)

    def count() -> tuple[int, int]:
        requests, _ = _choose_requests(recipe, questions, drafts, kept)
        return count_missing(run.context, TRANSLATED, [unit.key for unit in _name_requests(run, requests)])

    inputs = name_generator_inputs(run) | {"questions": questions, "drafts": drafts, "kept": kept}
    expected = recipe.num_translated * len(recipe.languages)
    return run_stage(run, TRANSLATIONS, key, inputs, make, expects=expected, count_missing=count)


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


def _name_requests(run: Run, requests: Sequence[TranslationRequest]) -> list[ToTranslate]:
    """Name the translations by what is translated, from which language and into which."""
    names = _name_rows(run)
    return [ToTranslate(each, names.name(*_describe_texts(each))) for each in requests]


def _name_rows(run: Run) -> RowNames:
    recipe = run.recipe.synthesis
    sha256 = read_translation_prompts(recipe.translation_prompts).sha256
    return name_written_rows(run, TRANSLATIONS, prompts_sha256=sha256, max_new_tokens=recipe.max_translated_tokens)


def _describe_texts(request: TranslationRequest) -> list[Any]:
    texts = request.texts
    return [texts.question, texts.answer, texts.aliases, request.draft["language"], request.language]


def _make_renewal(run: Run) -> Callable[[dict[str, Any], ToTranslate], dict[str, Any]]:
    """Return how an earlier translation becomes that of a sample of now."""
    model = name_generator(run)

    def renew(row: dict[str, Any], unit: ToTranslate) -> dict[str, Any]:
        return row | name_translation(unit.request, row["prompt_hash"]) | {"model": model}

    return renew


def _renew_check(row: dict[str, Any], unit: ToCheck) -> dict[str, Any]:
    return row | {"sample_id": unit.row["sample_id"]}


def _translate(run: Run, artefact: Partial, units: Sequence[ToTranslate], translator: OpenModel) -> None:
    factory = bind(_make_translator, run, translator)
    make_shards(run.context, artefact, units, factory, length=_estimate_length, prefix=DRAFTS)


def _make_translator(run: Run, translator: OpenModel) -> Work:
    options, model = _read_options(run), translator(run)

    def work(batch: Sequence[ToTranslate]) -> pa.Table:
        rows = translate(model, [unit.request for unit in batch], **options)
        keys = [None if row.pop("failed") else unit.key for unit, row in zip(batch, rows, strict=True)]
        named = [row | {ROW_KEY: key} for row, key in zip(rows, keys, strict=True)]
        return check_rows("draft", [make_blank_row("draft") | row for row in named], extra=EXTRA)

    return work


def _list_checks(run: Run, artefact: Partial, requests: Sequence[TranslationRequest]) -> list[ToCheck]:
    """List the translations to check, each named by itself and by what was translated."""
    by_sample = {(request.draft["sample_id"], request.language): request for request in requests}
    names, found = _name_rows(run), []
    for row in _read_drafts(artefact):
        request = by_sample[row["translated_from"], row["language"]]
        key = names.name("back", *_describe_texts(request), row["question"], row["answer"], row["error"] is None)
        found.append(ToCheck(request, row, key))
    return found


def _judge(run: Run, artefact: Partial, units: Sequence[ToCheck], translator: OpenModel) -> None:
    make_shards(run.context, artefact, units, bind(_make_judge, run, translator), prefix=VERDICTS)


def _make_judge(run: Run, translator: OpenModel) -> Work:
    options, model = _read_options(run), translator(run)

    def work(batch: Sequence[ToCheck]) -> pa.Table:
        verdicts = judge_round_trip(model, [(unit.request, unit.row) for unit in batch], **options)
        keys = [None if row.pop("failed") else unit.key for unit, row in zip(batch, verdicts, strict=True)]
        named = [row | {ROW_KEY: key} for row, key in zip(verdicts, keys, strict=True)]
        table = check_rows("verdict", [make_blank_row("verdict") | row for row in named], extra=CHECKED)
        return table.replace_schema_metadata(VERDICT_SCHEMA.metadata)

    return work


def _write_questions(artefact: Partial, requests: Sequence[TranslationRequest], pictures: dict[str, bytes]) -> None:
    """Write the question rows of the translations, one shard for each shard of drafts, without a model."""
    asked = {request.draft["sample_id"]: request.asked for request in requests}
    for path in _list_draft_shards(artefact):
        name = path.stem.replace(DRAFTS, QUESTIONS, 1).removesuffix("-before")
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


def _estimate_length(unit: ToTranslate) -> int:
    """Return the approximate length of a prompt in characters."""
    texts = unit.request.texts
    return len(texts.question) + len(texts.answer) + sum(len(alias) for alias in texts.aliases)


def _read_options(run: Run) -> dict[str, Any]:
    recipe = run.recipe.synthesis
    return {
        "prompts": read_translation_prompts(recipe.translation_prompts),
        "max_new_tokens": recipe.max_translated_tokens,
    }
