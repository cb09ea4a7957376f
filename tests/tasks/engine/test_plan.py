"""A plan says what a run would do; it makes nothing, and its numbers are those of earlier rows."""

import logging
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from tasks.engine.context import RunRef
from tasks.engine.partial import Partial
from tasks.engine.plan import Plan, PlannedStage, Rates, explain_making, start_planning
from tasks.engine.reuse import Explanation, Stage
from tasks.engine.stage import run_stage, stage_task
from tasks.engine.store import Reference, Store
from tasks.engine.telling import write_plan


@dataclass(frozen=True, kw_only=True)
class Drafting:
    k: int = 3


def drafts(rows: int, *, error_at: int | None = None) -> Callable[[Partial], None]:
    """A stage of `rows` rows in shards of four, each of 2 seconds and 110 tokens."""
    columns = {"prompt_tokens": 100, "answer_tokens": 10, "seconds": 2.0}

    def make(partial: Partial) -> None:
        for start in range(0, rows, 4):
            if start == error_at:
                raise RuntimeError("the machine was switched off")
            partial.write_shard(f"part-{start:05d}", pa.table({name: [value] * 4 for name, value in columns.items()}))

    return make


def stage(run: RunRef, make: Callable[[Partial], None], *, k: int = 3, expects: int | None = None) -> Reference:
    return run_stage(run, Stage(name="drafts", version="1"), Drafting(k=k), {}, make, expects=expects)


def planned(run: RunRef, *, k: int = 3, expects: int | None = 8) -> tuple[Plan, Reference]:
    with start_planning() as plan:
        reference = stage(run, drafts(8), k=k, expects=expects)
    return plan, reference


def test_a_planned_stage_is_not_made_and_has_the_name_that_it_will_have(run: RunRef) -> None:
    plan, reference = planned(run)
    assert not run.context.store.exists() and not run.context.warehouse.exists()
    [line] = plan.stages
    assert (line.action, line.reason, line.missing) == ("make", "no artefact yet", 8)
    assert (line.seconds, line.tokens, line.bytes) == (None, None, None)
    assert stage(run, drafts(8)).fingerprint == reference.fingerprint


def test_what_is_there_is_reused_and_costs_nothing(run: RunRef) -> None:
    stage(run, drafts(8))
    plan, reference = planned(run, expects=None)
    [line] = plan.stages
    assert (line.action, line.rows, line.missing, line.seconds, line.tokens) == ("reuse", 8, 0, 0.0, 0.0)
    assert reference.num_rows == 8


def test_costs_are_those_of_an_earlier_artefact_of_the_stage(run: RunRef) -> None:
    earlier = stage(run, drafts(8))
    record = Store.of(run.context).find("drafts", earlier.fingerprint)
    assert record is not None
    plan, _ = planned(run, k=5, expects=80)
    [line] = plan.stages
    assert line.reason == "differs from the nearest one: recipe field `k` changed from 3 to 5"
    assert line.tokens == 80 * 110
    assert line.bytes == pytest.approx(10 * record["num_bytes"])
    assert line.seconds == pytest.approx(10 * record["seconds"])


def test_tokens_that_were_measured_count_and_not_only_those_of_the_rows(run: RunRef) -> None:
    def make(partial: Partial) -> None:
        drafts(8)(partial)
        partial.measure("prompt_tokens", 8 * 300)
        partial.measure("answer_tokens", 8 * 20)

    stage(run, make)
    plan, _ = planned(run, k=5, expects=80)
    assert plan.stages[0].tokens == 80 * 320


def test_an_interrupted_stage_is_continued_and_costs_what_its_first_rows_did(run: RunRef) -> None:
    with pytest.raises(RuntimeError, match="switched off"):
        stage(run, drafts(8, error_at=4))
    plan, _ = planned(run, expects=20)
    [line] = plan.stages
    assert (line.action, line.reason, line.missing) == ("continue", "4 rows are there", 16)
    assert (line.seconds, line.tokens) == (32.0 / run.context.num_actors, 16 * 110)


def test_the_table_sums_what_is_known_and_names_what_is_not(run: RunRef) -> None:
    stage(run, drafts(8))
    with start_planning() as plan:
        stage(run, drafts(8), k=4, expects=8)
        run_stage(run, Stage(name="encoder", version="1"), Drafting(), {}, drafts(1), expects=100)
    *_, sums = plan.list_lines()
    assert sums["tokens"] == "880"
    assert "encoder" in sums["why"] and "drafts" not in sums["why"]
    assert set(sums) == set(plan.list_lines()[0])


def test_a_stage_task_that_is_planned_needs_no_server(run: RunRef) -> None:
    @stage_task(name="make-drafts")
    def make_drafts(of_run: RunRef) -> Reference:
        return stage(of_run, drafts(8))

    with start_planning() as plan:
        make_drafts(run)
    assert [line.stage for line in plan.stages] == ["drafts"]


@dataclass(frozen=True, kw_only=True)
class Collecting:
    """Questions that were released."""

    benchmark: str
    revision: str


@dataclass(frozen=True, kw_only=True)
class HoldingOut:
    """Questions that were set aside."""

    benchmark: str


def test_a_reason_names_what_changed(run: RunRef) -> None:
    store = Store.of(run.context)
    assert explain_making({"k": 3}, {}, store, declared=Stage(name="drafts", version="1")) == "no artefact yet"
    stage(run, drafts(8))
    assert (
        explain_making({"k": 4}, {}, store, declared=Stage(name="drafts", version="1"))
        == "differs from the nearest one: recipe field `k` changed from 3 to 4"
    )


def test_a_report_is_made_by_each_run_and_no_plan_says_that_nothing_like_it_was_made(run: RunRef) -> None:
    @dataclass(frozen=True)
    class Reporting:
        run_id: str

    report = Stage(name="report", version="1")

    def make(partial: Partial) -> None:
        (partial.folder / "report.html").write_text("")

    run_stage(run, report, Reporting("run-1"), {}, make)
    with start_planning() as plan:
        run_stage(run, report, Reporting("run-2"), {}, make)
    [line, sums] = plan.list_lines()
    assert (line["do"], line["why"], sums["why"]) == ("make", "each run makes its own", "")


OF_KINDS = Stage(name="benchmark", version="1", explained=Explanation(kinds=("benchmark",)))


def test_what_is_of_another_kind_is_not_said_to_have_changed(run: RunRef) -> None:
    kept, store = stage(run, drafts(8)), Store.of(run.context)
    released = Collecting(benchmark="okvqa", revision="1")
    run_stage(run, Stage(name="benchmark", version="1"), released, {}, drafts(4))
    held = {"benchmark": "own"}
    said = explain_making(held, {"kept": kept}, store, declared=replace(OF_KINDS, version="2"))
    assert said == "no artefact of this kind yet: own, and earlier ones are of okvqa"
    run_stage(run, Stage(name="benchmark", version="1"), HoldingOut(benchmark="own"), {"kept": kept}, drafts(4))
    assert (
        explain_making(held, {"kept": kept}, store, declared=replace(OF_KINDS, version="2"))
        == "differs from the nearest one: version changed from 1 to 2"
    )
    also = {"kept": kept, "drafts": kept}
    assert (
        explain_making(held, also, store, declared=replace(OF_KINDS, version="1"))
        == "differs from the nearest one: input `drafts` is new"
    )


def test_what_is_of_another_stage_s_results_is_compared_with_its_like_alone_and_told_apart(
    run: RunRef, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO, logger="comem.stage")
    asked = run_stage(run, Stage(name="questions", version="1"), Drafting(), {}, drafts(4))
    released = run_stage(run, Stage(name="benchmark", version="1"), Drafting(k=4), {}, drafts(4))
    retrieval, store = Stage(name="retrieval", version="1", of="questions"), Store.of(run.context)
    run_stage(run, retrieval, Drafting(), {"questions": asked}, drafts(4))
    assert explain_making({"k": 3}, {"questions": released}, store, declared=retrieval) == "no artefact yet"
    run_stage(run, retrieval, Drafting(), {"questions": released}, drafts(4))
    told = [each.getMessage() for each in caplog.records if each.getMessage().startswith("retrieval")]
    assert [line.partition(":")[0] for line in told] == 2 * ["retrieval (questions)"] + 2 * ["retrieval (benchmark)"]
    said = explain_making({"k": 5}, {"questions": released}, store, declared=retrieval)
    assert said == "differs from the nearest one: recipe field `k` changed from 3 to 5"
    with start_planning() as plan:
        for each in (asked, released):
            run_stage(run, retrieval, Drafting(k=9), {"questions": each}, drafts(4))
    assert [line["stage"] for line in plan.list_lines()[:2]] == ["retrieval (questions)", "retrieval (benchmark)"]


def test_a_plan_ends_with_its_block(run: RunRef, tmp_path: Path) -> None:
    planned(run)
    assert stage(run, drafts(4)).num_rows == 4


def test_a_plan_fits_a_narrow_terminal_and_gives_reasons_in_words(
    run: RunRef, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COLUMNS", "80")
    before, now = "0123456789abcdef", "fedcba9876543210"
    facts: dict[str, Any] = {"action": "make", "rows": 1200, "missing": 1200}
    rates = Rates(source=f"the 120 rows of {before}", seconds=0.5, bytes=300.0, tokens=40.0)
    changes = f"input `knowledge` changed from {before} to {now}; recipe field `k` changed from 3 to 5"
    reason = f"differs from the nearest one: {changes}"
    stages = [
        PlannedStage(stage=name, told=name, fingerprint=now, reason=reason, rates=rates, **facts)
        for name in ("drafts", "verdicts")
    ]
    stages.append(
        PlannedStage(stage="encoder", told="encoder", fingerprint=now, reason="no artefact yet", rates=None, **facts)
    )
    write_plan(Plan(stages=stages, notes=["words: tiny does not know 1 of 2 words (50%)"]))
    said = capsys.readouterr().out
    assert max(map(len, said.splitlines())) <= 80 and before not in said and now not in said
    whole = " ".join(said.split())
    assert "words: tiny does not know 1 of 2 words (50%)" in whole and "1,200" in whole and "48,000" in whole
    assert (
        "drafts, verdicts: differs from the nearest one: input `knowledge` is another one; "
        "recipe field `k` changed from 3 to 5 (estimated from the 120 rows)"
    ) in whole
    assert "encoder: no artefact yet" in whole
