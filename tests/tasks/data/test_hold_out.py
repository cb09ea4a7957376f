"""The benchmark of a corpus itself: what the filters set aside, with the drafts' answers as gold."""

from dataclasses import dataclass, replace

import pyarrow as pa
import pytest

from comem_core.evaluation.benchmarks.own import NAME
from comem_core.recipes import find_recipe, with_knowledge
from comem_core.worlds.countries.world import load_benchmark_questions
from tasks.data.filter import DROPS, HELD_OUT, KEPT_SHARD
from tasks.data.hold_out import hold_out
from tasks.engine.context import Context
from tasks.engine.partial import Partial
from tasks.engine.reuse import Stage
from tasks.engine.stage import run_stage
from tasks.engine.store import Reference
from tasks.rows.tables import make_question_table, read_questions
from tasks.run import Run
from tasks.sources import NO_BACKBONE
from warehouse.schemas import check_rows, make_blank_row

ASKED = [replace(each, question_id=f"asked/{place}") for place, each in enumerate(load_benchmark_questions("dev")[:3])]


@dataclass(frozen=True)
class Made:
    """What tells the artefacts of this test apart."""

    held_out: tuple[str, ...]


def stored(run: Run, name: str, table: str, held_out: tuple[str, ...], **shards: pa.Table) -> Reference:
    def make(artefact: Partial) -> None:
        for shard, rows in shards.items():
            artefact.write_shard(shard.replace("_", "-"), rows, rows_of="drop" if shard == DROPS else None)

    return run_stage(run, Stage(name=name, version="1", table=table), Made(held_out), {}, make)


def set_aside(context: Context, *held_out: str) -> Reference:
    recipe = with_knowledge(find_recipe("tiny_cpu"), "docs")
    run = Run(run_id="r", recipe_name="t", context=context, recipe=recipe, backbone=NO_BACKBONE)
    drafts = [
        make_blank_row("draft") | {"sample_id": each.question_id, "question_id": each.question_id, "answer": "Lima"}
        | {"question": each.question, "item_ids": []}
        for each in ASKED
    ]  # fmt: skip
    drops = [{"sample_id": each, "reason": HELD_OUT, "value": 0.0} for each in held_out]
    kept = [{"sample_id": each.question_id} for each in ASKED if each.question_id not in held_out]
    rows = {DROPS: check_rows("drop", drops), KEPT_SHARD.replace("-", "_"): check_rows("sample", kept)}
    questions = stored(run, "questions", "question", (), part_00000=make_question_table(ASKED))
    drafted = stored(run, "drafts", "draft", (), part_00000=check_rows("draft", drafts))
    filtered = stored(run, "samples", "sample", held_out, **rows)
    return hold_out.fn(run, NO_BACKBONE, questions, drafted, filtered)


def test_what_is_set_aside_is_asked_with_the_draft_s_answer_as_gold(context: Context) -> None:
    [question] = read_questions(set_aside(context, "asked/1"))
    assert (question.question_id, question.answers, question.benchmark) == (f"{NAME}/asked/1", ("Lima",), NAME)


def test_a_corpus_of_which_nothing_is_set_aside_ends_the_run_with_the_reason(context: Context) -> None:
    with pytest.raises(
        ValueError, match=r"3 samples were kept, about fewer than two items\. Raise limit or writing\.ask"
    ):
        set_aside(context)
