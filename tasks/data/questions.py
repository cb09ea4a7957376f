"""The questions that drafts answer: seed questions with gold answers, and questions that the VLM asks itself."""

from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial as bind
from typing import Any

from comem_core.knowledge.items import Question
from comem_core.prompts import read_prompt_set
from comem_core.recipes.recipe import SynthesisRecipe
from comem_core.synthesis.seeds import SeedSource, find_source, share_out
from tasks.data.asked import ask_about_items, write_asked
from tasks.data.benchmarks import find_benchmark_folder
from tasks.engine.context import Context
from tasks.engine.partial import Partial
from tasks.engine.reuse import Stage
from tasks.engine.stage import run_stage, stage_task
from tasks.engine.store import Reference
from tasks.engine.telling import get_stage_logger
from tasks.rows.tables import read_items, write_questions
from tasks.run import Run
from warehouse.schemas import check_rows

QUESTIONS = Stage(name="questions", version="3", table="question")

DIGESTS = "picture-digests"  # in the context's root: a cache of the hashes of seed pictures


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
    asked = None
    if run.recipe.synthesis.num_asked_items:
        named = {"seeds": seeds.name_content(), "num_seeds": seeds.shares}
        asked = ask_about_items(run, knowledge, **named, read_seeds=seeds.read_questions)
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
            write_asked(artefact, asked, read_items(knowledge))

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
