"""Describes the scores of a run in plain words, from the differences between its conditions.

Scoring has computed the differences and called each better, worse or tied; every page takes its words from there.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from warehouse.page.wording import (
    NARROW,
    ConditionWords,
    write_interval,
    write_number,
    write_percent,
    write_points,
    write_verdict,
)

MAIN = ("none", "text", "memory")
NOT_DECLARED = ConditionWords()


@dataclass(frozen=True)
class Finding:
    """A question of a reader, a short answer, and the numbers behind it; `tone` is good, bad or open."""

    question: str
    answer: str
    detail: str
    tone: str


@dataclass(frozen=True)
class Headline:
    """The page's title sentence, a paragraph that explains it, and the findings below it."""

    title: str
    lede: str
    findings: tuple[Finding, ...]


@dataclass(frozen=True)
class ConditionDifference:
    """First minus second condition on the same n questions, with a 95 % interval and the word that scoring has for it.

    `value` and `other_value` are the scores of both; shares of 1.
    """

    n: int
    value: float
    other_value: float
    difference: float
    low: float | None
    high: float | None
    p_adjusted: float
    word: str

    @classmethod
    def of(cls, row: dict) -> ConditionDifference:
        """Take a row of the report condition_differences as it is."""
        named = {name: row[name] for name in ("n", "low", "high", "p_adjusted", "word")}
        return cls(**named, value=row["first_value"], other_value=row["second_value"], difference=row["value"])

    def switch(self) -> ConditionDifference:
        """Return second minus first."""
        low, high = (None if end is None else -end for end in (self.high, self.low))
        word = {"better": "worse", "worse": "better"}.get(self.word, self.word)
        sides = {"value": self.other_value, "other_value": self.value, "difference": -self.difference}
        return replace(self, **sides, low=low, high=high, word=word)

    @property
    def clear(self) -> bool:
        """Tell whether scoring calls one of the two better."""
        return self.word != "tied"

    @property
    def verdict(self) -> str:
        """Write what scoring says of the two."""
        return write_verdict(vars(self))

    @property
    def interval(self) -> str:
        """Write the interval in points, or why there is none."""
        written = write_interval(self.low, self.high, write_points)
        return written if self.low is None else f"95{NARROW}% interval {written}"


def compute_headline(
    scores: Sequence[dict],
    differences: Sequence[dict],
    run: dict,
    *,
    text_reader: str | None = None,
    conditions: ConditionWords = NOT_DECLARED,
) -> Headline:
    """Compute the headline of a run; for a run without scores, it describes the run's status.

    `text_reader` names the text-only model that answered in place of the encoder's own backbone.
    """
    if not scores and not differences:
        return _write_unscored(run)
    benchmarks = sorted({row["benchmark"] for row in (differences or scores)})
    parts = [_write_for_benchmark(name, scores, differences, conditions) for name in benchmarks]
    lede = " ".join(part.lede for part in parts)
    if text_reader is not None:
        read_by = f"{text_reader} answers here, a text-only model that sees no picture, in place of the encoder's own"
        lede = f"{read_by} vision-language model. {lede}"
    findings = tuple(finding for part in parts for finding in part.findings)
    return Headline(" ".join(part.title for part in parts[:2]), lede, findings)


def _write_unscored(run: dict) -> Headline:
    """Write the headline of a run without scores, from its status."""
    if run["status"] == "running":
        return Headline(
            "This run has no scores yet.", "It is recorded as running: it still runs, or it died without notice.", ()
        )
    if run["status"] == "completed":
        return Headline("This run has no scores.", "It completed without asking any test question.", ())
    return Headline("This run has no scores.", "It ended before its answers to test questions were scored.", ())


def _write_for_benchmark(
    benchmark: str, scores: Sequence[dict], differences: Sequence[dict], conditions: ConditionWords
) -> Headline:
    pairs = _find_pairs(differences, benchmark)
    values = {condition: pair.value for (condition, _), pair in pairs.items()}
    if not values:
        return _write_without_pairs(benchmark, scores)
    ranked = sorted((name for name in MAIN if name in values), key=lambda name: -values[name])
    if len(ranked) < 2:
        return Headline(f"{benchmark} was asked under other conditions than none, text and memory.", "", ())
    best, second = ranked[:2]
    pair = pairs[best, second]
    if pair.clear:
        title = f"{_name_winner(best)} wins on {benchmark}."
    elif pair.low is None:
        title = f"{_name_both(best, second)} on {benchmark}: which is better {pair.verdict}."
    else:
        title = f"{_name_both(best, second)} are tied on {benchmark}."
    lede = (
        f"The frozen model scores {write_percent(pair.value, 0)} on {write_number(pair.n)} questions "
        f"with {_name_with(best)} and"
        f" {write_percent(pair.other_value, 0)} with {_name_with(second)}: {_describe_difference(pair)}."
    )
    if len(ranked) > 2:
        lede += f" With {_name_with(ranked[2])} it is {write_percent(values[ranked[2]], 0)}."
    return Headline(title, lede, _make_findings(pairs, scores, benchmark, conditions))


def _find_pairs(differences: Sequence[dict], benchmark: str) -> dict[tuple[str, str], ConditionDifference]:
    """Return the differences of a benchmark by their two conditions, in both directions."""
    found = {
        (row["first"], row["second"]): ConditionDifference.of(row)
        for row in differences
        if row["benchmark"] == benchmark
    }
    return found | {(second, first): pair.switch() for (first, second), pair in found.items()}


def _describe_difference(pair: ConditionDifference) -> str:
    """Describe the difference of two conditions, and whether the questions tell them apart."""
    points = "no difference" if pair.difference == 0 else f"{write_points(pair.difference)} points"
    said = f"{points}, {pair.interval}"
    if pair.clear:
        return f"{said}, beyond chance"
    if pair.low is not None and pair.high is not None and pair.low <= 0 <= pair.high:
        return f"{said}, an interval that includes 0, so these questions do not tell them apart"
    return f"{said}, p = {pair.p_adjusted:.2g}, so these questions do not tell them apart"


def _write_without_pairs(benchmark: str, scores: Sequence[dict]) -> Headline:
    """Compare conditions by overlapping intervals, because the predictions themselves are not there."""
    most = max(row["n"] or 0 for row in scores if row["benchmark"] == benchmark)
    rows = [row for row in scores if row["benchmark"] == benchmark and row["condition"] in MAIN and row["n"] == most]
    rows = sorted(
        {row["condition"]: row for row in rows if row["value"] is not None}.values(), key=lambda row: -row["value"]
    )
    if len(rows) < 2:
        return Headline(f"{benchmark} has too few scores to compare.", "", ())
    best, second = rows[:2]
    known = None not in (best["low"], second["high"])
    apart = known and best["low"] > second["high"]
    names = best["condition"], second["condition"]
    title = (
        f"{_name_winner(names[0])} wins on {benchmark}." if apart else f"{_name_both(*names)} are tied on {benchmark}."
    )
    lede = (
        f"{write_percent(best['value'], 0)} with {_name_with(names[0])}, "
        f"{write_percent(second['value'], 0)} with {_name_with(names[1])};"
        f" their 95 % intervals {'do not ' if apart else ''}overlap. The individual answers are not recorded."
    )
    return Headline(title, lede, ())


def _make_findings(
    pairs: dict[tuple[str, str], ConditionDifference],
    scores: Sequence[dict],
    benchmark: str,
    conditions: ConditionWords,
) -> tuple[Finding, ...]:
    """Answer the three questions that decide whether the memory is useful."""
    asked = [
        ("none", "Does the memory help?", ("yes", "not shown", "no, it hurts")),
        ("shuffled", "Is it what the memory says?", ("yes", "not shown", "no")),
        ("text", "Does it keep up with text?", ("it is ahead", "tied", "it is behind")),
    ]
    findings = []
    for other, question, (better, same, worse) in asked:
        if (pair := pairs.get(("memory", other))) is None:
            continue
        left_open = pair.verdict if pair.low is None else same
        answer = left_open if not pair.clear else better if pair.difference > 0 else worse
        tone = "open" if not pair.clear else "good" if pair.difference > 0 else "bad"
        detail = f"{write_points(pair.difference)} points against {_name_with(other, conditions)} ({pair.interval})"
        if other == "text" and (cost := _compare_cost(scores, benchmark)):
            detail += f", {cost}"
        findings.append(Finding(question, answer, detail + ".", tone))
    return tuple(findings)


def _compare_cost(scores: Sequence[dict], benchmark: str) -> str | None:
    """Compare the prompt lengths of memory and text on the split with the most questions, if both are known."""
    rows = sorted((row for row in scores if row["benchmark"] == benchmark), key=lambda row: row["n"] or 0)
    by_condition = {row["condition"]: row for row in rows}
    memory, text = by_condition.get("memory"), by_condition.get("text")
    if not memory or not text or memory["prompt_tokens_mean"] is None or text["prompt_tokens_mean"] is None:
        return None
    vectors = f" + {write_number(memory['memory_vectors'])} memory vectors" if memory["memory_vectors"] else ""
    tokens, instead = write_number(memory["prompt_tokens_mean"]), write_number(text["prompt_tokens_mean"])
    return f"with {tokens} prompt tokens{vectors} instead of {instead}"


def _name_with(condition: str, conditions: ConditionWords = NOT_DECLARED) -> str:
    return {"none": "no items", "text": "the items as text", "memory": "the items as memory"}.get(
        condition, conditions.phrase(condition)
    )


def _name_winner(condition: str) -> str:
    return {"none": "Answering without items", "text": "Text", "memory": "Memory"}[condition]


def _name_both(first: str, second: str) -> str:
    names = {"none": "no items", "text": "text", "memory": "memory"}
    words = f"{names[first]} and {names[second]}"
    return words[0].upper() + words[1:]
