"""Agreement of a judge with the official metric, worked by hand."""

import pytest

from comem_core.evaluation.agreement import compare_verdicts, compute_kappa

PREDICTIONS = [
    {"prediction_id": f"{name}{n}", "condition": name, "k": 3} for name in ("none", "text") for n in range(6)
]


def test_shares_and_kappa_are_those_worked_by_hand_and_what_is_no_verdict_is_counted_apart() -> None:
    official = {row["prediction_id"]: 0.0 for row in PREDICTIONS} | {"text0": 1.0, "text1": 0.6, "text2": 0.3}
    said = ["correct", "correct", "correct", "incorrect", "unparsable", None]
    verdicts = {f"text{n}": verdict for n, verdict in enumerate(said)} | {"none0": "incorrect", "none1": "incorrect"}
    whole, none, text = compare_verdicts(PREDICTIONS, official, verdicts)
    assert [(row["condition"], row["k"], row["n"]) for row in (whole, none, text)] == [
        (None, None, 6),
        ("none", 3, 2),
        ("text", 3, 4),
    ]
    cells = ("both_right", "first_only", "second_only", "both_wrong", "unparsable", "failed")
    assert tuple(text[cell] for cell in cells) == (2, 0, 1, 1, 1, 1)
    assert (text["share"], text["kappa"]) == (0.75, pytest.approx(0.5))  # by chance: 1/2 · 3/4 + 1/2 · 1/4 = 1/2
    assert (none["share"], none["kappa"]) == (1.0, None)
    assert whole["share"] == pytest.approx(5 / 6)


def test_nothing_judged_is_no_row_and_nothing_said_no_share() -> None:
    official = {row["prediction_id"]: 1.0 for row in PREDICTIONS}
    assert compare_verdicts(PREDICTIONS, official, {}) == []
    whole, _ = compare_verdicts(PREDICTIONS, official, {"none0": "unparsable", "none1": None})
    assert (whole["n"], whole["share"], whole["kappa"], whole["unparsable"], whole["failed"]) == (0, None, None, 1, 1)


def test_kappa_is_zero_by_chance_and_negative_below_it() -> None:
    assert compute_kappa([[5, 2], [0, 0]]) == 0.0
    assert compute_kappa([[0, 4], [4, 0]]) == -1.0
    assert compute_kappa([[3, 0], [0, 5]]) == 1.0
    assert compute_kappa([[5, 0], [0, 0]]) is None
