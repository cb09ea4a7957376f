"""The plan of a run: which stages it would reuse or make, in order, and why, with the rows, time and space of each.

A fingerprint needs recipes and the inputs' fingerprints but no data, so a whole run can be planned without making
anything. Estimates come from measurements: earlier artefacts of the same stage, or the shards of an interrupted run.

Uses the store, but not Prefect, Ray or the warehouse's file.
"""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

from comem_core.serving.layout import Record
from tasks.engine.ledger import Rates, count_done_rows, measure_rates
from tasks.engine.reuse import NAMING, Stage
from tasks.engine.store import Reference, Store
from warehouse.changes import differing_fields, is_of_one_kind

CountMissing = Callable[[], tuple[int, int]]
GIGABYTE = 1e9
OF_EACH_RUN = "each run makes its own"


@dataclass(frozen=True, kw_only=True)
class PlannedStage:
    """One stage of a plan. `action` is reuse, continue or make; None means unknown. With `at_most`, fewer rows may be
    `missing`: some may be in earlier results."""

    stage: str
    told: str
    fingerprint: str
    action: str
    reason: str
    rows: int | None
    missing: int | None
    rates: Rates | None
    at_most: bool = False

    @property
    def seconds(self) -> float | None:
        return self._cost(self.rates.seconds) if self.rates else self._cost_if_unknown()

    @property
    def bytes(self) -> float | None:
        return self._cost(self.rates.bytes) if self.rates else self._cost_if_unknown()

    @property
    def tokens(self) -> float | None:
        if self.rates and self.rates.tokens is not None:
            return self._cost(self.rates.tokens)
        return self._cost_if_unknown()

    def _cost(self, of_a_row: float) -> float | None:
        return None if self.missing is None else self.missing * of_a_row

    def _cost_if_unknown(self) -> float | None:
        return 0.0 if self.action == "reuse" else None


@dataclass
class Plan:
    """The stages of a planned run, in order."""

    stages: list[PlannedStage] = field(default_factory=list)
    # What is to be said before the table, such as what was seen of the corpus.
    notes: list[str] = field(default_factory=list)

    def list_lines(self) -> list[dict[str, str]]:
        """Return the plan as rows of a table; the last row sums what is known."""
        whole = [
            {
                "stage": each.told,
                "do": each.action,
                "rows": _format_number(each.rows),
                "to make": ("at most " if each.at_most else "") + _format_number(each.missing),
                "tokens": _format_number(each.tokens),
                "hours": _format_number(each.seconds, 3600),
                "GB": _format_number(each.bytes, GIGABYTE),
                "estimated from": each.rates.source if each.rates else "",
                "why": each.reason,
            }
            for each in self.stages
        ]
        sums = {"stage": "all that is known", "do": "", "rows": "", "to make": "", "estimated from": "", "why": ""}
        for name, column, unit in (("tokens", "tokens", 1), ("seconds", "hours", 3600), ("bytes", "GB", GIGABYTE)):
            sums[column] = _format_number(sum(getattr(each, name) or 0 for each in self.stages), unit)
        if unknown := [each.told for each in self.stages if each.seconds is None and each.reason != OF_EACH_RUN]:
            sums["why"] = (
                f"not included, because nothing like them was made yet: {', '.join(unknown)}. A run with a small "
                "`limit` measures them"
            )
        return [*whole, {name: sums[name] for name in whole[0]}] if whole else []

    def add(
        self,
        store: Store,
        stage: str,
        fingerprint: str,
        *,
        told: str,
        reason: str,
        inputs: Mapping[str, Reference],
        expected: int | None,
        count_missing: CountMissing | None,
        workers: int,
    ) -> Reference:
        """Add what would happen to a stage, and return the reference that its result would have.

        `count_missing` counts the rows, and those that no earlier result has; it is called if the inputs are there.
        `workers` is the number of workers that share the work; it counts if only the costs of single rows are known.
        """
        record, at_most = store.find(stage, fingerprint), False
        if record:
            rows, missing, action, rates = record["num_rows"], 0, "reuse", None
            reason = f"same recipe, same inputs, made {record['created'][:16]}"
        else:
            done, rows = count_done_rows(store, stage, fingerprint), expected or None
            missing = None if rows is None else max(0, rows - done)
            action = "continue" if done else "make"
            if done:
                reason = f"{done} rows are there"
            elif count_missing and store.list_records(stage):
                if at_most := any(each.planned is not None for each in inputs.values()):
                    reason += "; rows that earlier results have are reused; their number is not known yet"
                else:
                    rows, missing = count_missing()
                    reason += f"; {rows - missing} of {rows} rows are reused from earlier results"
            named = {role: reference.fingerprint for role, reference in inputs.items()}
            rates = measure_rates(store, stage, fingerprint, named, workers=workers)
        self.stages.append(
            PlannedStage(
                stage=stage,
                told=told,
                fingerprint=fingerprint,
                action=action,
                reason=reason,
                rows=rows,
                missing=missing,
                rates=rates,
                at_most=at_most and missing is not None,
            )
        )
        uri = store.name_artefact(stage, fingerprint)
        planned = None if record else store.find_path(stage, fingerprint)
        return Reference(stage=stage, fingerprint=fingerprint, uri=uri, num_rows=rows or 0, planned=planned)


def _format_number(number: float | None, unit: float = 1) -> str:
    if number is None:
        return "?"
    return f"{number:,.0f}" if unit == 1 else f"{number / unit:,.3f}"


_planned: ContextVar[Plan | None] = ContextVar("planned", default=None)


def get_plan() -> Plan | None:
    """Return the plan to which stages are added, or None if stages really run."""
    return _planned.get()


@contextmanager
def start_planning() -> Iterator[Plan]:
    """Let the stages of the block only add to the plan what they would do."""
    token = _planned.set(Plan())
    try:
        plan = _planned.get()
        assert plan is not None
        yield plan
    finally:
        _planned.reset(token)


def explain_making(
    recipe: dict[str, Any],
    inputs: Mapping[str, Reference],
    store: Store,
    *,
    declared: Stage,
) -> str:
    """Describe how this differs from the most similar earlier artefact of the stage (the latest of equals).

    An artefact of another kind (by the fields in `kinds`), or of another stage's results (`Stage.of`), is not compared,
    because its fields and inputs differ anyway. Nor is one that belongs to its run, because every run makes its own.
    """
    kinds = declared.explained.kinds
    if "run_id" in recipe:
        return OF_EACH_RUN
    made_from = {role: reference.fingerprint for role, reference in inputs.items()}
    asked = {"stage": declared.name, "recipe": recipe, "inputs": made_from}
    records = [each for each in store.list_records(declared.name) if _is_of_one_stage(each, inputs, store, declared.of)]
    earlier = [record for record in records if is_of_one_kind(record, asked, kinds)]
    if not earlier:
        named = [
            (recipe.get(kind), {str(each["recipe"][kind]) for each in records if each["recipe"].get(kind)})
            for kind in kinds
        ]
        of = "".join(f": {now}, and earlier ones are of {', '.join(sorted(before))}" for now, before in named if before)
        return f"no artefact of this kind yet{of}" if records else "no artefact yet"
    compared = [
        (
            _find_inputs_of_other_stages(each, inputs, store),
            _list_differences(recipe, made_from, declared, each),
        )
        for each in reversed(earlier)
    ]
    others, found = min(compared, key=lambda both: (len(both[0]), len(both[1])))
    if others:
        return f"no artefact of this kind yet: the nearest one is of {' and '.join(others)}"
    return f"differs from the nearest one: {'; '.join(found) or 'it has another kind of recipe'}"


def describe_making(action: str, reason: str) -> str:
    """Write what was done and the reason as one sentence."""
    if action == "made" and reason.startswith("again: "):
        return f"made {reason}"
    if action == "made" and reason.startswith("no artefact"):
        return f"made, because there was {reason}"
    if action == "made" and reason.startswith("differs "):
        return f"made, because it {reason}"
    return f"{action}: {reason}"


def _is_of_one_stage(earlier: Record, inputs: Mapping[str, Reference], store: Store, of: str) -> bool:
    """Tell whether an earlier artefact is of results of the same stage as this one, such as of a benchmark."""
    fingerprint = earlier["inputs"].get(of)
    before = store.find_anywhere(fingerprint) if fingerprint and of in inputs else None
    return before is None or before["stage"] == inputs[of].stage


def _find_inputs_of_other_stages(earlier: Record, inputs: Mapping[str, Reference], store: Store) -> list[str]:
    """List the earlier artefact's inputs that another stage made, such as questions that come from a benchmark."""
    found = []
    for role in sorted(earlier["inputs"].keys() & inputs.keys()):
        fingerprint, now = earlier["inputs"][role], inputs[role]
        before = store.find_anywhere(fingerprint) if fingerprint != now.fingerprint else None
        if before and before["stage"] != now.stage:
            found.append(f"the {before['stage']} {fingerprint}, and this of the {now.stage} {now.fingerprint}")
    return found


def _list_differences(recipe: dict[str, Any], inputs: Mapping[str, str], declared: Stage, earlier: Record) -> list[str]:
    found = []
    if (naming := earlier.get("naming", 1)) != NAMING:
        found.append(f"the rule that names results changed from {naming} to {NAMING}")
    if earlier["version"] != declared.version:
        found.append(f"version changed from {earlier['version']} to {declared.version}")
    for kind, old, new in (("input", earlier["inputs"], inputs), ("recipe field", earlier["recipe"], recipe)):
        for name, before, now in differing_fields(old, new):
            if kind == "input" and None in (before, now):
                found.append(f"input `{name}` is {'new' if before is None else 'no more'}")
            else:
                found.append(f"{kind} `{name}` changed from {before} to {now}")
    return found
