"""A language model as judge of answers: it gets each question with gold and answer only once over all evaluations.

Judgements are written as they are made. Requests without a reply are sent once more at the end. A request that fails
again is kept with its error, and a later evaluation sends it again.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import partial as bind
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from comem_core.evaluation.llm_judge import UNPARSABLE, Judged, JudgePrompts, judge_answers, read_judge_prompts
from comem_core.evaluation.scores import read_gold
from comem_core.neutral import OFF_AT_NONE
from comem_core.prompts import hash_prompt
from comem_core.recipes.recipe import JudgeRecipe
from comem_core.synthesis.generator import BACKBONE, VLLM
from tasks.engine.ledger import measure_cost
from tasks.engine.partial import Partial
from tasks.engine.reuse import Explanation, Stage, fingerprint
from tasks.engine.shards import Work, make_shards
from tasks.engine.stage import run_stage, stage_task
from tasks.engine.store import Reference
from tasks.engine.telling import get_stage_logger
from tasks.models import judge_with_generator, make_judge
from tasks.rows.earlier import LastingRows, count_missing, is_of_these_libraries, leave_missing
from tasks.rows.tables import read_asked_questions, read_columns
from tasks.run import Run
from warehouse.schemas import check_rows, make_schema

JUDGEMENTS = Stage(
    name="judgements",
    version="3",
    table="judgement",
    explained=Explanation(subject="judge", beside=True),
)
KEY = "judge_key"
FIRST, AGAIN = "part-first", "part-again"
NO_JUDGE = Reference(stage=JUDGEMENTS.name, fingerprint="", uri="", num_rows=0)


@dataclass(frozen=True, kw_only=True)
class JudgementsKey:
    """What decides a reply besides question, gold and answer. Scoring decides how an unparsable reply counts."""

    judge: str
    revision: str | None = field(default=None, metadata=OFF_AT_NONE)
    prompts: str
    prompts_version: str
    prompts_sha256: str
    max_new_tokens: int


@stage_task(name="judge-predictions")
def judge_predictions(run: Run, questions: Reference, predictions: Reference) -> Reference:
    """Let the recipe's judge decide whether each answer is right; returns NO_JUDGE if the recipe names no judge.

    Multiple choice is not judged, because the chosen option can be compared exactly.
    """
    recipe = run.recipe.evaluation.judge
    if recipe is None:
        return NO_JUDGE
    prompts = read_judge_prompts(recipe.prompts)
    key = JudgementsKey(
        judge=recipe.generator if run.judge is None else VLLM,
        revision=recipe.revision,
        prompts=prompts.name,
        prompts_version=prompts.version,
        prompts_sha256=prompts.sha256,
        max_new_tokens=recipe.max_new_tokens,
    )
    model = {"backbone": run.backbone} if recipe.generator == BACKBONE else {}
    model |= {"judge": run.judge.identity} if run.judge else {}

    def make(artefact: Partial) -> None:
        units = _list_units(run, key, prompts, questions, predictions)
        missing = leave_missing(run.context, artefact, _describe_judgements(key), units, _renew)
        if missing:
            judge_with_generator(run, lambda there: _ask(there, artefact, recipe, missing))
        _measure(artefact)

    inputs = model | {"questions": questions, "predictions": predictions}

    def count() -> tuple[int, int]:
        units = _list_units(run, key, prompts, questions, predictions)
        return count_missing(run.context, _describe_judgements(key), [unit.key for unit in units])

    return run_stage(run, JUDGEMENTS, key, inputs, make, expects=predictions.num_rows, count_missing=count)


def read_judgements(reference: Reference) -> list[dict[str, Any]]:
    """Read the judgements: rows of `prediction_ids` and `verdict`; none without a judge."""
    return list(read_columns(reference, "prediction_ids", "verdict")) if reference.fingerprint else []


def _list_units(
    run: Run, key: JudgementsKey, prompts: JudgePrompts, questions: Reference, predictions: Reference
) -> list[Judged]:
    """List what to judge: one unit for all predictions with the same question, gold and answer."""
    known = run.judge.identity if run.judge else run.backbone if key.judge == BACKBONE else None
    judge = known.fingerprint if known else key.judge
    asked = {row["question_id"]: row for row in read_asked_questions(questions.folder) if not row["options"]}
    found: dict[str, Judged] = {}
    for row in read_columns(predictions, "prediction_id", "question_id", "answer"):
        if question := asked.get(row["question_id"]):
            answer = row["answer"] or ""
            conversation = prompts.make_conversation(question["question"], read_gold(question), answer)
            name = fingerprint(JUDGEMENTS, key, {"judge": judge, "prompt": hash_prompt(conversation)})
            new = Judged(key=name, prediction_ids=[], answer=answer, conversation=conversation)
            found.setdefault(name, new).prediction_ids.append(row["prediction_id"])
    return list(found.values())


def _describe_judgements(key: JudgementsKey) -> LastingRows:
    """Describe the replies of earlier evaluations; requests that had no reply are sent again.

    The backbone as judge decides with this process's libraries, and a served judge with its own.
    """
    return LastingRows(
        stage=JUDGEMENTS,
        key=KEY,
        shard="part-judged-before",
        schema=make_schema("judgement"),
        unless="error",
        accepts=is_of_these_libraries if key.judge == BACKBONE else None,
    )


def _renew(row: dict[str, Any], unit: Judged) -> dict[str, Any]:
    return row | {"prediction_ids": unit.prediction_ids}


def _ask(run: Run, artefact: Partial, recipe: JudgeRecipe, units: Sequence[Judged]) -> None:
    """Ask the judge, and send failed requests again: the first pass keeps only replies, the second failures too."""
    for prefix in (FIRST, AGAIN):
        judged = set(_read_column(artefact, FIRST, KEY)) if prefix == AGAIN else set()
        left = [unit for unit in units if unit.key not in judged]
        if left:
            work = bind(_make_judge_work, run, recipe, keep_failed=prefix == AGAIN)
            make_shards(run.context, artefact, left, work, length=_get_length, prefix=prefix)


def _make_judge_work(run: Run, recipe: JudgeRecipe, *, keep_failed: bool) -> Work:
    judge, prompts = make_judge(run, recipe), read_judge_prompts(recipe.prompts)

    def work(batch: Sequence[Judged]) -> pa.Table:
        rows = judge_answers(judge, batch, prompts, max_new_tokens=recipe.max_new_tokens)
        return check_rows("judgement", [row for row in rows if keep_failed or row["error"] is None])

    return work


def _get_length(unit: Judged) -> int:
    return sum(len(part) for turn in unit.conversation for part in turn.content)


def _read_column(artefact: Partial, prefix: str, name: str) -> list[Any]:
    """Read a column of the shards with this prefix."""
    paths = sorted(artefact.folder.glob(f"{prefix}-*.parquet"))
    return [value for path in paths for value in pq.read_table(path, columns=[name])[name].to_pylist()]


def _measure(artefact: Partial) -> None:
    """Measure the requests, their cost, and the unparsable and failed replies; reused replies cost nothing."""
    measure_cost(artefact, FIRST, AGAIN)
    verdicts = _read_column(artefact, "part", "verdict")
    unparsable, failed = verdicts.count(UNPARSABLE), verdicts.count(None)
    artefact.measure("unparsable", unparsable)
    artefact.measure("failed", failed)
    if bad := unparsable + failed:
        get_stage_logger().warning(
            "%d of %d judgements are unparsable or failed; the page shows them", bad, len(verdicts)
        )
