"""Contamination: finds the benchmark questions that the encoder was trained on, and those that knowledge items show."""

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from comem_core.recipes.recipe import ContaminationRecipe
from tasks.engine.partial import Partial
from tasks.engine.plan import get_plan
from tasks.engine.reuse import Stage
from tasks.engine.stage import run_stage, stage_task
from tasks.engine.store import Reference, Store
from tasks.engine.telling import get_stage_logger
from tasks.rows.tables import list_shards, read_columns, read_rows
from tasks.run import Run
from tasks.training.training_data import TrainingData, find_training_data
from warehouse.samples.overlap import KNOWLEDGE, TRAINING, Listed, TrainedOn, describe_overlap, find_overlap

CONTAMINATION = Stage(name="contamination", version="2", table="contamination")
OVERLAP_KEY = "overlap"


@dataclass(frozen=True, kw_only=True)
class ContaminationKey:
    """Which benchmark's questions are compared, what counts as the same, and which training data are not known."""

    benchmark: str
    near: ContaminationRecipe
    unknown: tuple[str, ...]


@stage_task(name="find-contamination")
def find_contamination(run: Run, questions: Reference, knowledge: Reference, encoder: Reference) -> Reference:
    """Compare questions with the samples that the encoder was trained on, and with the knowledge items.

    If an encoder's training data are not known, the artefact says so.
    """
    recipe, trained_on = run.recipe.evaluation, find_training_data(Store.of(run.context), encoder)
    key = ContaminationKey(benchmark=recipe.benchmark, near=recipe.contamination, unknown=trained_on.unknown)

    def make(artefact: Partial) -> None:
        rows = find_overlap(
            questions=list_shards(questions, "question"),
            items=list_shards(knowledge),
            training=_list_sources(trained_on),
            parameters=asdict(recipe.contamination),
        )
        artefact.write_shard("part-00000", rows)
        counts = _count_flagged(rows.to_pylist(), num_questions=sum(1 for _ in read_columns(questions, "question_id")))
        artefact.measure(OVERLAP_KEY, counts | {"benchmark": key.benchmark, "unknown": list(key.unknown)})

    inputs = {"questions": questions, "knowledge": knowledge, "encoder": encoder} | trained_on.inputs
    found = run_stage(run, CONTAMINATION, key, inputs, make)
    if get_plan() is None:
        for sentence in describe_overlap(read_measured(run, found)):
            get_stage_logger().info("%s", sentence)
    return found


def _list_sources(trained_on: TrainingData) -> list[TrainedOn | Listed]:
    """Return where the samples are that an encoder was trained on."""
    sets = [
        TrainedOn(
            drafts=list_shards(each.drafts, "draft"),
            questions=list_shards(each.questions, "question"),
            kept=list_shards(each.kept),
        )
        for each in trained_on.sets
    ]
    return [*sets, *([Listed(files=trained_on.lists)] if trained_on.listed else [])]


def read_measured(run: Run, contamination: Reference) -> dict[str, Any]:
    """Read the counts: all questions, the flagged ones by source and kind, the benchmark, and what is not known."""
    record = Store.of(run.context).find(CONTAMINATION.name, contamination.fingerprint)
    assert record is not None, contamination
    return record["measured"][OVERLAP_KEY]


def map_clean_questions(run: Run, contamination: Reference, question_ids: Iterable[str]) -> dict[str, str | None]:
    """Map each question to `yes` if the encoder was trained without it, `no`, or None if that is not known.

    Only training counts; an item that shows a question's picture is what retrieval is meant to find.
    """
    trained_on = {row["question_id"] for row in read_rows(contamination) if row["source"] == TRAINING}
    otherwise = None if read_measured(run, contamination)["unknown"] else "yes"
    return {question_id: "no" if question_id in trained_on else otherwise for question_id in question_ids}


def _count_flagged(rows: Iterable[Mapping[str, Any]], *, num_questions: int) -> dict[str, Any]:
    """Count the flagged questions by source (each once) and by kind (a question with two kinds counts in both)."""
    counts: dict[str, Any] = {"questions": num_questions}
    listed = list(rows)
    for source in (TRAINING, KNOWLEDGE):
        of_source = [row for row in listed if row["source"] == source]
        kinds = {kind: sum(row["kind"] == kind for row in of_source) for kind in ("image", "question", "both")}
        counts[source] = {"flagged": len({row["question_id"] for row in of_source})} | kinds
    return counts
