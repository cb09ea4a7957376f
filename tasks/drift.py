"""Drift: what an evaluation's end is called when a score moved, and the event that an automation can act on."""

from collections.abc import Sequence
from typing import Any

from prefect.artifacts import create_markdown_artifact, create_table_artifact
from prefect.client.schemas.objects import State
from prefect.events import emit_event
from prefect.states import Completed

from tasks.evaluations import Drift, Evaluation
from tasks.plan import being_planned
from tasks.run import Run
from tasks.stage import stage_logger, under_prefect

EVENT = "comem.evaluation.drifted"
RESOURCE = "comem.evaluation"
DRIFTED = "Drifted"


def settle(
    run: Run, evaluations: Sequence[Evaluation], drifts: Sequence[Drift | None], *, min_points: float
) -> State | None:
    """Return the run's final state: `Drifted` where a score moved by more than chance and at least `min_points`.

    Each evaluation that moved raises an event, whose payload says by how much and why; a planned run has no state.
    """
    if being_planned() is not None:
        return None
    moved = {id(drift): drift.moved(min_points=min_points) for drift in drifts if drift is not None}
    found = [drift for drift in drifts if drift is not None and moved[id(drift)]]
    for drift in found:
        _raise_event(run, drift, moved[id(drift)])
    _show(drifts)
    if not found:
        return Completed(message=f"{len(evaluations)} evaluations, no drift")
    said = "; ".join(_sentence(drift, moved[id(drift)]) for drift in found)
    stage_logger().warning("drift: %s", said)
    return Completed(name=DRIFTED, message=said[:1000])


def _raise_event(run: Run, drift: Drift, moved: Sequence[dict[str, Any]]) -> None:
    """Tell Prefect's server, where there is one; triggers match the event's name or its resource."""
    evaluation = drift.evaluation
    resource = {
        "prefect.resource.id": f"{RESOURCE}.{run.recipe_name}.{evaluation.benchmark}",
        "prefect.resource.name": f"{evaluation.name} on {evaluation.benchmark}",
        "comem.encoder": evaluation.encoder.fingerprint,
        "comem.benchmark": evaluation.benchmark,
    }
    payload = {
        "moved": [{name: row[name] for name in ("first", "k", "word", "value", "low", "high", "n")} for row in moved],
        "changes": [str(change) for change in drift.causes],
        "inputs": list(drift.inputs),
        "page": drift.page.as_uri(),
    }
    emit_event(event=EVENT, resource=resource, payload=payload)


def _sentence(drift: Drift, moved: Sequence[dict[str, Any]]) -> str:
    evaluation = drift.evaluation
    scores = ", ".join(f"{row['first']} k={row['k']} {row['word']} by {abs(100 * row['value']):.1f}" for row in moved)
    why = ", ".join(dict.fromkeys(change.subject for change in drift.causes)) or "nothing that is known"
    return f"{evaluation.name} on {evaluation.benchmark}: {scores} points; changed: {why}"


def _show(drifts: Sequence[Drift | None]) -> None:
    """Put what moved and why into the Prefect UI."""
    if not under_prefect():
        return
    told = [drift for drift in drifts if drift is not None]
    lines = [
        {
            "encoder": drift.evaluation.name,
            "benchmark": drift.evaluation.benchmark,
            "condition": row["first"],
            "k": row["k"],
            "split": row["split"],
            "verdict": row["word"],
            "points": round(100 * row["value"], 2),
            "p (Holm)": round(row["p_adjusted"], 4),
            "questions": row["n"],
            "changed": row["changed"],
            "needed to see it": row["needed"],
        }
        for drift in told
        for row in drift.differences
        if "/" not in row["split"]
    ]
    if lines:
        create_table_artifact(lines, key="since-last-time", description="Now against the evaluation before")
    for drift in told:
        causes = "\n".join(f"- {change}" for change in drift.causes) or "- nothing: the same answers were scored"
        text = f"{drift.evaluation.name} on {drift.evaluation.benchmark}\n\n{causes}\n\n[page]({drift.page.as_uri()})"
        create_markdown_artifact(text, key="why", description="What changed since the evaluation before")
