"""Renders the page that compares two evaluations: their differences, the causes, and the answers that changed.

Owns the arrangement of the collected data for its template. The caller does the statistics and provides the pictures.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

from warehouse.changes import Change
from warehouse.page.environment import make_environment
from warehouse.page.head import PageHead, shorten_run
from warehouse.page.pictures import PagePictures
from warehouse.page.wording import ConditionWords, write_verdict


@dataclass(frozen=True, kw_only=True)
class Compared:
    """Two evaluations of one benchmark, rows of the table evaluation; `differences` has rows of the table difference.

    `changes` are causes, `inputs` the differing inputs of the answers, `fields` the differing fields of the recipes,
    and `answers` rows of the report changed_answers. `apart` means that the two share no question: they are two
    benchmarks with one name, such as `own`, which differs for each corpus. `corpora` names the corpora of the two if
    they differ.
    """

    benchmark: str
    before: dict
    now: dict
    differences: Sequence[dict]
    changes: Sequence[Change]
    inputs: Sequence[str]
    fields: Sequence[tuple[str, str, str]]
    answers: Sequence[dict]
    apart: bool = False
    corpora: tuple[str, str] | None = None
    conditions: ConditionWords = field(default_factory=ConditionWords)

    @property
    def causes(self) -> list[Change]:
        """The changes that can change an answer."""
        return [change for change in self.changes if not change.extent]

    @property
    def has_moved(self) -> bool:
        """Tell whether a condition is better or worse overall."""
        return any(row["word"] != "tied" for row in self._list_overall())

    def _list_overall(self) -> list[dict]:
        whole = name_whole(self.differences)
        return [row for row in self.differences if row["split"] == whole]

    @property
    def verdict(self) -> str:
        """One sentence that says what got better or worse overall, or that nothing did."""
        whole = self._list_overall()
        moved = [row for row in whole if row["word"] != "tied"]
        if self.apart:
            return "Two benchmarks: the two evaluations share no question, so nothing is compared."
        if not whole:
            return "Nothing can be compared: the two evaluations share no condition."
        if not moved and all(row["low"] is None for row in whole):
            return f"{write_verdict(whole[0])}: too few for an interval under any condition.".capitalize()
        if not moved:
            return f"Tied: no difference beyond chance under any of {len(whole)} conditions."
        said = [
            f"{word}: {' and '.join(_describe_moved(row) for row in moved if row['word'] == word)}"
            for word in ("better", "worse")
            if any(row["word"] == word for row in moved)
        ]
        return f"{'; '.join(said)} points, on {moved[0]['n']} questions.".capitalize()


def _describe_moved(row: dict) -> str:
    k = f" (k = {row['k']})" if row["k"] else ""
    return f"{row['first']}{k} by {abs(100 * row['value']):.1f}"


def name_whole(differences: Sequence[dict]) -> str | None:
    """Return the split that stands for the whole benchmark: `all`, or the only one; None if there is neither."""
    splits = {row["split"] for row in differences if "/" not in row["split"]}
    if "all" in splits:
        return "all"
    return next(iter(splits)) if len(splits) == 1 else None


def describe_comparison(compared: Compared) -> PageHead:
    """Describe the page of two evaluations: their runs, their encoders, and what moved."""
    sides = (compared.before, compared.now)
    encoders = dict.fromkeys(f"{side['encoder_name']} {side['encoder'][:8]}" for side in sides)
    corpora = [f"corpora {' and '.join(compared.corpora)}"] if compared.corpora else []
    return PageHead(
        title=f"{compared.benchmark}: {' and '.join(shorten_run(side['run_id']) for side in sides)}",
        about="; ".join([f"encoder {' and '.join(encoders)}", *corpora]),
        result=compared.verdict,
    )


def render_comparison(compared: Compared, *, images: Callable[[str], bytes | None]) -> str:
    """Return the comparison as one HTML file; `images` returns the bytes of an image_id, or None."""
    rows = [row for row in compared.differences if "/" not in row["split"]]
    rows.sort(
        key=lambda row: (compared.conditions.order(row["first"]), row["k"] or 0, row["split"] != "all", row["split"])
    )
    return (
        make_environment()
        .get_template("comparison.html.j2")
        .render(
            described=describe_comparison(compared),
            compared=compared,
            differences=rows,
            pictures=PagePictures(images),
            total=compared.answers[0]["total"] if compared.answers else 0,
        )
    )
