"""What a run would do, before it does anything: each stage in order, reused or made and why, how much and how long.

A fingerprint needs recipes and inputs' fingerprints and no data, so the whole run can be walked without making a thing.
Estimates come from what is measured: the shards of an interrupted run, or earlier artefacts of the same stage.
Knows the store; nothing of Prefect, Ray or the warehouse.
"""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from tasks.engine.ledger import Costs, sum_costs
from tasks.engine.partial import BATCHES, read_batch
from tasks.engine.reuse import NAMING
from tasks.engine.store import Record, Reference, Store
from warehouse.changes import differing_fields, is_of_one_kind

GIGABYTE = 1e9


@dataclass(frozen=True, kw_only=True)
class Rates:
    """What a row of a stage costs: seconds of the whole stage, bytes, tokens (image tokens are among them)."""

    source: str
    seconds: float
    bytes: float
    tokens: float | None


@dataclass(frozen=True, kw_only=True)
class PlannedStage:
    """One stage of a plan. `action` is reuse, continue or make; None stands for what nothing is known of."""

    stage: str
    fingerprint: str
    action: str
    reason: str
    rows: int | None
    missing: int | None
    rates: Rates | None

    @property
    def seconds(self) -> float | None:
        return self._cost(self.rates.seconds) if self.rates else self._nothing()

    @property
    def bytes(self) -> float | None:
        return self._cost(self.rates.bytes) if self.rates else self._nothing()

    @property
    def tokens(self) -> float | None:
        return self._cost(self.rates.tokens) if self.rates and self.rates.tokens is not None else self._nothing()

    def _cost(self, of_a_row: float) -> float | None:
        return None if self.missing is None else self.missing * of_a_row

    def _nothing(self) -> float | None:
        return 0.0 if self.action == "reuse" else None


@dataclass
class Plan:
    """The stages that a walked run asked for, in order."""

    stages: list[PlannedStage] = field(default_factory=list)

    def list_lines(self) -> list[dict[str, str]]:
        """The plan as rows of a table, with a last one for the sums of what is known."""
        whole = [
            {
                "stage": each.stage,
                "do": each.action,
                "rows": _shown(each.rows),
                "to make": _shown(each.missing),
                "tokens": _shown(each.tokens),
                "hours": _shown(each.seconds, 3600),
                "GB": _shown(each.bytes, GIGABYTE),
                "estimated from": each.rates.source if each.rates else "",
                "why": each.reason,
            }
            for each in self.stages
        ]
        sums = {"stage": "all that is known", "do": "", "rows": "", "to make": "", "estimated from": "", "why": ""}
        for name, column, unit in (("tokens", "tokens", 1), ("seconds", "hours", 3600), ("bytes", "GB", GIGABYTE)):
            sums[column] = _shown(sum(getattr(each, name) or 0 for each in self.stages), unit)
        if unknown := [each.stage for each in self.stages if each.seconds is None]:
            sums["why"] = (
                f"not in it, for nothing like them was made yet: {', '.join(unknown)}. A run with a small `limit` "
                "measures them"
            )
        return [*whole, {name: sums[name] for name in whole[0]}] if whole else []

    def add(
        self,
        store: Store,
        stage: str,
        fingerprint: str,
        *,
        reason: str,
        inputs: Mapping[str, str],
        expected: int | None,
        workers: int,
    ) -> Reference:
        """Note what would become of a stage and return the reference that it would have.

        `workers` is how many share the work, where costs are known of single rows only.
        """
        record = store.find(stage, fingerprint)
        if record:
            rows, missing, action, rates = record["num_rows"], 0, "reuse", None
            reason = f"same recipe, same inputs, made {record['created'][:16]}"
        else:
            done, rows = count_done_rows(store, stage, fingerprint), expected or None
            missing = None if rows is None else max(0, rows - done)
            action = "continue" if done else "make"
            reason = f"{done} rows are there" if done else reason
            rates = measure_rates(store, stage, fingerprint, inputs, workers=workers)
        self.stages.append(
            PlannedStage(
                stage=stage,
                fingerprint=fingerprint,
                action=action,
                reason=reason,
                rows=rows,
                missing=missing,
                rates=rates,
            )
        )
        uri = str(store.find_path(stage, fingerprint))
        return Reference(stage=stage, fingerprint=fingerprint, uri=uri, num_rows=rows or 0)


def _shown(number: float | None, unit: float = 1) -> str:
    if number is None:
        return "?"
    return f"{number:,.0f}" if unit == 1 else f"{number / unit:,.3f}"


_planned: ContextVar[Plan | None] = ContextVar("planned", default=None)


def get_plan() -> Plan | None:
    """Return the plan that stages are noted in, or None where they run."""
    return _planned.get()


@contextmanager
def start_planning() -> Iterator[Plan]:
    """Let the stages of the block say what they would do, and do nothing."""
    token = _planned.set(Plan())
    try:
        plan = _planned.get()
        assert plan is not None
        yield plan
    finally:
        _planned.reset(token)


def count_done_rows(store: Store, stage: str, fingerprint: str) -> int:
    """Count the rows that an interrupted run of a stage has finished."""
    folder = store.find_partial_folder(stage, fingerprint)
    return sum(pq.read_metadata(path).num_rows for path in _finished(folder))


def measure_rates(
    store: Store, stage: str, fingerprint: str, inputs: Mapping[str, str], *, workers: int
) -> Rates | None:
    """Measure what a row costs: on the latest artefact that is like this one, else on this one's finished shards."""
    earlier = [record for record in store.list_records(stage) if record["num_rows"] and _alike(record, inputs)]
    if earlier:
        record = earlier[-1]
        rows = record["num_rows"]
        return Rates(
            source=f"the {rows} rows of {record['fingerprint']}",
            seconds=record["seconds"] / rows,
            bytes=record["num_bytes"] / rows,
            tokens=_measured_tokens(store, record),
        )
    paths = _finished(store.find_partial_folder(stage, fingerprint))
    if (costs := sum_costs(paths)) is None:
        return None
    return Rates(
        source=f"the first {costs.rows} rows",
        seconds=costs.seconds / costs.rows / workers,
        bytes=sum(path.stat().st_size for path in paths) / costs.rows,
        tokens=_tokens(costs),
    )


def _measured_tokens(store: Store, record: Record) -> float | None:
    """Tokens of a row, as they were measured, or else as its rows say; None where they do not."""
    measured = record["measured"]
    if "prompt_tokens" in measured:
        return (measured["prompt_tokens"] + measured["answer_tokens"]) / record["num_rows"]
    costs = sum_costs(store.find_path(record["stage"], record["fingerprint"]).glob("part-*.parquet"))
    return _tokens(costs) if costs else None


def _tokens(costs: Costs) -> float:
    return (costs.prompt_tokens + costs.answer_tokens) / costs.rows


def _alike(record: Record, inputs: Mapping[str, str]) -> bool:
    """Say whether a record's costs are those of this run: the same models made it."""
    return all(record["inputs"].get(role) == inputs.get(role) for role in ("backbone", "reader"))


def _finished(partial_folder: Path) -> list[Path]:
    batches = (partial_folder / BATCHES).glob("*/[0-9]*.parquet")
    return [*partial_folder.glob("part-*.parquet"), *(path for path in batches if read_batch(path) is not None)]


def explain_making(
    recipe: dict[str, Any],
    inputs: Mapping[str, Reference],
    version: str,
    store: Store,
    *,
    stage: str,
    kinds: Sequence[str] = (),
) -> str:
    """Describe how this differs from the most similar earlier artefact of the stage (the latest of equals).

    An artefact of another kind (the fields in `kinds` tell) is not compared: it has other fields and inputs anyway.
    """
    made_from = {role: reference.fingerprint for role, reference in inputs.items()}
    asked = {"stage": stage, "recipe": recipe, "inputs": made_from}
    records = store.list_records(stage)
    earlier = [record for record in records if is_of_one_kind(record, asked, kinds)]
    if not earlier:
        named = [
            (recipe.get(kind), {str(each["recipe"][kind]) for each in records if each["recipe"].get(kind)})
            for kind in kinds
        ]
        of = "".join(f": {now}, and earlier ones are of {', '.join(sorted(before))}" for now, before in named if before)
        return f"no artefact of this kind yet{of}" if records else "no artefact yet"
    compared = [
        (_inputs_of_another_stage(each, inputs, store), _differences(recipe, made_from, version, each))
        for each in reversed(earlier)
    ]
    others, found = min(compared, key=lambda both: (len(both[0]), len(both[1])))
    if others:
        return f"no artefact of this kind yet: the nearest one is of {' and '.join(others)}"
    return "again: " + ("; ".join(found) if found else "an earlier artefact has another kind of recipe")


def _inputs_of_another_stage(earlier: Record, inputs: Mapping[str, Reference], store: Store) -> list[str]:
    """Say which inputs of the earlier artefact are another kind of thing, such as questions that are a benchmark."""
    found = []
    for role in sorted(earlier["inputs"].keys() & inputs.keys()):
        fingerprint, now = earlier["inputs"][role], inputs[role]
        before = store.find_anywhere(fingerprint) if fingerprint != now.fingerprint else None
        if before and before["stage"] != now.stage:
            found.append(f"the {before['stage']} {fingerprint}, and this of the {now.stage} {now.fingerprint}")
    return found


def _differences(recipe: dict[str, Any], inputs: Mapping[str, str], version: str, earlier: Record) -> list[str]:
    found = []
    if (naming := earlier.get("naming", 1)) != NAMING:
        found.append(f"the rule that names results changed from {naming} to {NAMING}")
    if earlier["version"] != version:
        found.append(f"version changed from {earlier['version']} to {version}")
    for kind, old, new in (("input", earlier["inputs"], inputs), ("recipe field", earlier["recipe"], recipe)):
        for name, before, now in differing_fields(old, new):
            if kind == "input" and None in (before, now):
                found.append(f"input `{name}` is {'new' if before is None else 'no more'}")
            else:
                found.append(f"{kind} `{name}` changed from {before} to {now}")
    return found
