"""The questions that drafts answer: seed questions with gold answers, and questions that the VLM asks itself."""

import heapq
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import partial as bind
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from comem_core.backbone.decoding import Decoding
from comem_core.backbone.images import VisualTokens
from comem_core.evaluation.benchmarks.registry import find_benchmark
from comem_core.knowledge.items import KnowledgeItem, Question, hash_content_parts
from comem_core.neutral import OFF_AT_NONE
from comem_core.prompts import read_prompt_set
from comem_core.recipes.recipe import SynthesisRecipe
from comem_core.synthesis.generation import Written, ask_about
from comem_core.synthesis.seeds import SeedSource, find_source, share_out
from tasks.data.benchmarks import find_benchmark_folder, name_part
from tasks.engine.context import Context
from tasks.engine.ledger import measure_cost
from tasks.engine.partial import Partial
from tasks.engine.reuse import Stage
from tasks.engine.shards import Work, make_shards
from tasks.engine.stage import get_stage_logger, run_stage, stage_task
from tasks.engine.store import Reference
from tasks.models import make_generator, name_generator_inputs, name_generator_key, write_with_generator
from tasks.rows.tables import open_item_lengths, read_columns, read_items, write_questions
from tasks.run import ASKED_BY, Run
from warehouse.schemas import check_rows

QUESTIONS = Stage(name="questions", version="3", table="question")
ASKED = Stage(name="asked", version="4")


# Replies of the VLM that are not questions. They become faulty drafts, so that they are counted with the drafts.
FAULTY = "faulty.jsonl"
DIGESTS = "picture-digests"  # in the context's root: a cache of the hashes of seed pictures
WRITTEN_SCHEMA = pa.schema(
    [(name, pa.string()) for name in ("item_id", "kind", "question", "answer", "error", "raw", "prompt_hash")]
    + [(name, pa.int32()) for name in ("prompt_tokens", "answer_tokens")]
    + [("truncated", pa.bool_()), ("seconds", pa.float64())]
)
# The length of a picture in characters, when prompts are ordered by length.
CHARACTERS_OF_A_PICTURE = 256


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


@dataclass(frozen=True, kw_only=True)
class QuestionsKey:
    """Which seeds, by the content of their sources; the questions of the VLM are an input."""

    seeds: tuple[str, ...]
    num_seeds: tuple[int, ...]


@stage_task(name="pose-questions")
def pose_questions(run: Run, knowledge: Reference) -> Reference:
    """Take seed questions evenly from the recipe's sources, and let the VLM ask about items without a seed question.

    The benchmark's entities, and its facts about known entities, are left out.
    """
    seeds = Seeds.of(run.recipe.synthesis, run.context)
    asked = _ask(run, knowledge, seeds) if run.recipe.synthesis.num_asked_items else None
    key = QuestionsKey(seeds=seeds.name_content(), num_seeds=seeds.shares)

    def make(artefact: Partial) -> None:
        if not sum(seeds.shares) and not (asked and asked.num_rows):
            raise ValueError(
                "the recipe names no seeds, and no item has a picture to ask about; name seeds, or add pictures"
            )
        write_questions(artefact, "part-seeds", seeds.read_questions())
        if faults := seeds.list_faults():
            artefact.write_shard("faulty-seeds", check_rows("dropped_row", faults), rows_of="dropped_row")
            counts = Counter(str(fault["reason"]) for fault in faults)
            artefact.measure("faulty_seeds", counts)
            get_stage_logger().warning("%d rows gave no seed question: %s", len(faults), dict(counts))
        if asked:
            _write_asked(artefact, asked, read_items(knowledge))

    inputs = {"knowledge": knowledge} | ({"asked": asked} if asked else {})
    expected = sum(seeds.shares) + (asked.num_rows if asked else 0)
    return run_stage(run, QUESTIONS, key, inputs, make, expects=expected)


@dataclass(frozen=True)
class Seeds:
    """The seed questions of a recipe: its sources, and how many questions each one gives."""

    sources: tuple[SeedSource, ...]
    shares: tuple[int, ...]

    @classmethod
    def of(cls, recipe: SynthesisRecipe, context: Context) -> "Seeds":
        """Open the sources. Raises ValueError if they have no question that can be asked, with the first reasons."""
        find_folder, prompts = bind(find_benchmark_folder, context=context), read_prompt_set(recipe.prompts)
        options: dict[str, Any] = {
            "kept": context.root / DIGESTS,
            "find_folder": find_folder,
            "check_language": prompts.check_language,
        }
        sources = tuple(find_source(each, **options) for each in recipe.seeds)
        wanted = recipe.num_seed_questions
        if recipe.max_samples is not None:
            wanted = min(wanted, recipe.max_samples)
        counts = [source.count(wanted) for source in sources]
        faults = [fault for source in sources for fault in source.list_faults()]
        if wanted and faults and not any(counts):
            shown = "; ".join(f"{fault.file} row {fault.row}: {fault.detail}" for fault in faults[:3])
            raise ValueError(f"none of {', '.join(recipe.seeds)} gives a seed question. {shown}")
        return cls(sources, tuple(share_out(counts, wanted)))

    def name_content(self) -> tuple[str, ...]:
        return tuple(source.name_content(num) for source, num in zip(self.sources, self.shares, strict=True))

    def read_questions(self) -> Iterator[Question]:
        for source, num in zip(self.sources, self.shares, strict=True):
            yield from source.read_questions(num)

    def list_faults(self) -> list[dict[str, object]]:
        return [asdict(fault) for source in self.sources for fault in source.list_faults()]


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


def _ask(run: Run, knowledge: Reference, seeds: Seeds) -> Reference:
    """Let the VLM ask about items; its replies are an artefact of their own, with one row for each request."""
    recipe, benchmark = run.recipe.synthesis, find_benchmark(run.recipe.evaluation.benchmark)
    key = AskedKey(
        num_items=recipe.num_asked_items,
        max_samples=recipe.max_samples,
        num_kinds=recipe.num_kinds,
        seeds=seeds.name_content(),
        num_seeds=seeds.shares,
        benchmark=benchmark.name,
        revision=benchmark.revision(name_part(run.recipe.evaluation), find_benchmark_folder(benchmark, run.context)),
        generator=name_generator_key(run),
        prompts_sha256=read_prompt_set(recipe.prompts).sha256,
        max_new_tokens=recipe.max_new_tokens,
        temperature=recipe.ask_temperature,
        seed=recipe.seed,
        visual_tokens=run.recipe.training.encoder.item_visual_tokens,
    )

    def make(artefact: Partial) -> None:
        requests = _choose_requests(
            run, knowledge, asked_about={question.gold_item_id for question in seeds.read_questions()}
        )
        if recipe.max_samples is not None:
            requests = requests[: max(0, recipe.max_samples - sum(seeds.shares))]
        if not requests:
            artefact.write_shard("part-00000", WRITTEN_SCHEMA.empty_table())
            return
        lengths = open_item_lengths(read_items(knowledge))

        def write(run: Run) -> None:
            work, until = bind(_make_asker, run, knowledge), run.find_deadline(ASKED_BY)
            make_shards(
                "ask-questions",
                run.context,
                artefact,
                requests,
                work,
                length=lambda each: lengths(each[0]),
                until=until,
            )

        write_with_generator(run, write)
        measure_cost(artefact)

    inputs = name_generator_inputs(run) | {"knowledge": knowledge}
    expected = recipe.num_asked_items * (recipe.num_kinds or read_prompt_set(recipe.prompts).num_kinds)
    if recipe.max_samples is not None:
        expected = min(expected, max(0, recipe.max_samples - sum(seeds.shares)))
    return run_stage(run, ASKED, key, inputs, make, expects=expected)


def _make_asker(run: Run, knowledge: Reference) -> Work:
    writer, items = make_generator(run), read_items(knowledge)
    recipe = run.recipe.synthesis
    options = {
        "max_new_tokens": recipe.max_new_tokens,
        "decoding": Decoding(temperature=recipe.ask_temperature, seed=recipe.seed),
        "visual_tokens": run.recipe.training.encoder.item_visual_tokens,
    }

    def work(batch: Sequence[tuple[str, str]]) -> pa.Table:
        requests: list[tuple[KnowledgeItem, str]] = [(items[item_id], kind) for item_id, kind in batch]
        written = ask_about(writer, requests, read_prompt_set(recipe.prompts), **options)
        return pa.Table.from_pylist([asdict(each) for each in written], schema=WRITTEN_SCHEMA)

    return work


def _write_asked(artefact: Partial, asked: Reference, items: Mapping[str, KnowledgeItem]) -> None:
    """Write the replies that are questions, shard by shard, and list the others as faulty."""
    faulty: list[Written] = []
    for path in sorted(Path(asked.uri).glob("part-*.parquet")):
        written = [Written(**row) for row in pq.read_table(path).to_pylist()]
        faulty += [each for each in written if each.error]
        write_questions(
            artefact, path.stem, (each.make_question(items[each.item_id]) for each in written if not each.error)
        )
    with artefact.open_file(FAULTY) as file:
        file.write_text("".join(json.dumps(asdict(each)) + "\n" for each in faulty), encoding="utf-8")
    artefact.measure("asked_in_vain", Counter(each.error for each in faulty))


def read_faulty(questions: Reference) -> list[Written]:
    """Return the replies of the VLM that are not questions."""
    path = Path(questions.uri) / FAULTY
    lines = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    return [Written(**json.loads(line)) for line in lines]
