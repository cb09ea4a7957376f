"""The questions that the VLM asks itself about items; a reply that an earlier artefact has is not asked for again."""

import heapq
import json
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from functools import partial as bind
from pathlib import Path
from typing import NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq

from comem_core.backbone.decoding import Decoding
from comem_core.backbone.images import VisualTokens
from comem_core.evaluation.benchmarks.registry import find_benchmark
from comem_core.knowledge.items import KnowledgeItem, Question, hash_content_parts
from comem_core.neutral import OFF_AT_NONE
from comem_core.prompts import read_prompt_set
from comem_core.synthesis.generation import Written, ask_about, is_reply
from tasks.data.benchmarks import find_benchmark_folder, name_part
from tasks.engine.ledger import measure_cost
from tasks.engine.partial import Partial
from tasks.engine.reuse import RowNames, Stage
from tasks.engine.shards import Work, make_shards
from tasks.engine.stage import run_stage
from tasks.engine.store import Reference
from tasks.models import (
    make_generator,
    name_generator_inputs,
    name_generator_key,
    name_written_rows,
    write_with_generator,
)
from tasks.rows.earlier import ROWS_AT_ONCE, LastingRows, count_missing, leave_missing
from tasks.rows.tables import open_item_lengths, read_columns, read_items, write_questions
from tasks.run import ASKED_BY, Run
from warehouse.content import ROW_KEY

ASKED = Stage(name="asked", version="4")
# Replies of the VLM that are not questions. They become faulty drafts, so that they are counted with the drafts.
FAULTY = "faulty.jsonl"
WRITTEN_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("item_id", "kind", "question", "answer", "error", "raw", "prompt_hash")]
    + [(name, pa.int32()) for name in ("prompt_tokens", "answer_tokens")]
    + [("truncated", pa.bool_()), ("seconds", pa.float64()), (ROW_KEY, pa.string())]
)
REPLIES = LastingRows(stage=ASKED, key=ROW_KEY, shard="part-asked-before", schema=WRITTEN_SCHEMA)


@dataclass(frozen=True, kw_only=True)
class AskedKey:
    """How many items and kinds are asked about, which seeds and benchmark are avoided, which model asks, and how."""

    num_items: int
    num_kinds: int | None = field(default=None, metadata=OFF_AT_NONE)
    max_samples: int | None = field(default=None, metadata=OFF_AT_NONE)
    seeds: tuple[str, ...]
    num_seeds: tuple[int, ...]
    benchmark: str
    revision: str
    generator: str
    prompts_sha256: str
    max_new_tokens: int
    temperature: float
    seed: int
    visual_tokens: VisualTokens | None = field(default=None, metadata=OFF_AT_NONE)


class Request(NamedTuple):
    """A request to ask a question of some kind about an item, and the key that names the reply."""

    item_id: str
    kind: str
    key: str


def _choose_requests(run: Run, knowledge: Reference, *, asked_about: set[str | None]) -> list[tuple[str, str]]:
    """List the pairs (item, kind of question) to ask about.

    The items have a picture and no seed question, and a hash decides their order. An item gets as many kinds as the
    recipe says, from those in the item's language.
    """
    recipe = run.recipe.synthesis
    prompts, benchmark = read_prompt_set(recipe.prompts), find_benchmark(run.recipe.evaluation.benchmark)
    held_out, held_out_facts = benchmark.held_out()
    rows = read_columns(knowledge, "item_id", "image_id", "language", "entity_id")
    free = (
        row
        for row in rows
        if row["image_id"] is not None and row["item_id"] not in asked_about and row["entity_id"] not in held_out
    )
    chosen = heapq.nsmallest(recipe.num_asked_items, free, key=lambda row: hash_content_parts("asked", row["item_id"]))
    return [
        (row["item_id"], kind)
        for row in chosen
        for kind in _choose_kinds(prompts.list_kinds(row["language"]), row["item_id"], recipe.num_kinds)
        if (row["entity_id"], kind) not in held_out_facts
    ]


def _choose_kinds(kinds: Sequence[str], item_id: str, num: int | None) -> Sequence[str]:
    return kinds if num is None else sorted(kinds, key=lambda kind: hash_content_parts("kind", item_id, kind))[:num]


def ask_about_items(
    run: Run,
    knowledge: Reference,
    *,
    seeds: tuple[str, ...],
    num_seeds: tuple[int, ...],
    read_seeds: Callable[[], Iterable[Question]],
) -> Reference:
    """Let the VLM ask about items that no seed question is about: one row for each request, in an artefact of its own.

    `seeds` names the content of the seeds' sources, which give so many questions each; `read_seeds` reads these.
    """
    recipe, benchmark = run.recipe.synthesis, find_benchmark(run.recipe.evaluation.benchmark)
    key = AskedKey(
        num_items=recipe.num_asked_items,
        max_samples=recipe.max_samples,
        num_kinds=recipe.num_kinds,
        seeds=seeds,
        num_seeds=num_seeds,
        benchmark=benchmark.name,
        revision=benchmark.revision(name_part(run.recipe.evaluation), find_benchmark_folder(benchmark, run.context)),
        generator=name_generator_key(run),
        prompts_sha256=read_prompt_set(recipe.prompts).sha256,
        max_new_tokens=recipe.max_new_tokens,
        temperature=recipe.ask_temperature,
        seed=recipe.seed,
        visual_tokens=run.recipe.training.encoder.item_visual_tokens,
    )

    def list_requests() -> list[Request]:
        names, asked_about = _name_replies(run), {question.gold_item_id for question in read_seeds()}
        requests = _choose_requests(run, knowledge, asked_about=asked_about)
        if recipe.max_samples is not None:
            requests = requests[: max(0, recipe.max_samples - sum(num_seeds))]
        return [Request(item_id, kind, names.name(item_id, kind)) for item_id, kind in requests]

    def make(artefact: Partial) -> None:
        requests = leave_missing(run.context, artefact, REPLIES, list_requests())
        if not requests:
            return
        lengths = open_item_lengths(read_items(knowledge))

        def write(run: Run) -> None:
            work, until = bind(_make_asker, run, knowledge), run.find_deadline(ASKED_BY)
            make_shards(
                run.context,
                artefact,
                requests,
                work,
                length=lambda each: lengths(each.item_id),
                until=until,
            )

        write_with_generator(run, write)
        measure_cost(artefact)

    inputs = name_generator_inputs(run) | {"knowledge": knowledge}
    expected = recipe.num_asked_items * (recipe.num_kinds or read_prompt_set(recipe.prompts).num_kinds)
    if recipe.max_samples is not None:
        expected = min(expected, max(0, recipe.max_samples - sum(num_seeds)))

    def count() -> tuple[int, int]:
        return count_missing(run.context, REPLIES, [unit.key for unit in list_requests()])

    return run_stage(run, ASKED, key, inputs, make, expects=expected, count_missing=count)


def _name_replies(run: Run) -> RowNames:
    """Return what names the replies about items; an item's id is a hash of what the VLM is shown of it."""
    recipe = run.recipe.synthesis
    return name_written_rows(
        run,
        ASKED,
        prompts_sha256=read_prompt_set(recipe.prompts).sha256,
        max_new_tokens=recipe.max_new_tokens,
        temperature=recipe.ask_temperature,
        seed=recipe.seed,
        visual_tokens=run.recipe.training.encoder.item_visual_tokens,
    )


def _make_asker(run: Run, knowledge: Reference) -> Work:
    writer, items = make_generator(run), read_items(knowledge)
    recipe = run.recipe.synthesis
    options = {
        "max_new_tokens": recipe.max_new_tokens,
        "decoding": Decoding(temperature=recipe.ask_temperature, seed=recipe.seed),
        "visual_tokens": run.recipe.training.encoder.item_visual_tokens,
    }

    def work(batch: Sequence[Request]) -> pa.Table:
        requests: list[tuple[KnowledgeItem, str]] = [(items[each.item_id], each.kind) for each in batch]
        written = ask_about(writer, requests, read_prompt_set(recipe.prompts), **options)
        keys = (each.key if is_reply(reply.error) else None for each, reply in zip(batch, written, strict=True))
        rows = [asdict(reply) | {ROW_KEY: key} for reply, key in zip(written, keys, strict=True)]
        return pa.Table.from_pylist(rows, schema=WRITTEN_SCHEMA)

    return work


def write_asked(artefact: Partial, asked: Reference, items: Mapping[str, KnowledgeItem]) -> None:
    """Write the replies that are questions, shard by shard, and list the others as faulty."""
    faulty: list[Written] = []
    for path in sorted(asked.folder.glob("part-*.parquet")):
        good = (each.make_question(items[each.item_id]) for each in _read_written(path) if not each.error)
        write_questions(artefact, path.stem.removesuffix("-before"), good)
        faulty += [each for each in _read_written(path) if each.error]
    with artefact.open_file(FAULTY) as file:
        file.write_text("".join(json.dumps(asdict(each)) + "\n" for each in faulty), encoding="utf-8")
    artefact.measure("asked_in_vain", Counter(each.error for each in faulty))


def _read_written(path: Path) -> Iterator[Written]:
    """Yield the replies of a shard, which may be all that earlier artefacts have."""
    with pq.ParquetFile(path) as file:
        for batch in file.iter_batches(ROWS_AT_ONCE, columns=[each.name for each in fields(Written)]):
            yield from (Written(**row) for row in batch.to_pylist())


def read_faulty(questions: Reference) -> list[Written]:
    """Return the replies of the VLM that are not questions."""
    path = questions.folder / FAULTY
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [Written(**json.loads(line)) for line in lines]
