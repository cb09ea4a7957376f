"""Renders the page that compares ways to search: how often each finds the right item, and how the best one is used."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from operator import itemgetter
from typing import Any

from warehouse.page.environment import make_environment
from warehouse.page.head import PageHead, write_count
from warehouse.page.wording import write_interval, write_percent, write_points

SET = ("by", "embedder", "text_embedder", "text_weight", "grid", "same_language")


@dataclass(frozen=True, kw_only=True)
class Searched:
    """Searches that were compared: rows of the table tried_search, the corpus, what the questions are (the name of a
    benchmark, or how they were made from the corpus itself), and the settings of each search by its name."""

    corpus: str
    questions: str
    is_augmented: bool
    settings: Mapping[str, Mapping[str, Any]]
    rows: Sequence[Mapping[str, Any]]

    @property
    def best(self) -> Mapping[str, Any]:
        """The row of the best search, over all questions, at the number of items that is shown."""
        return list_shown(self.rows)[0]

    @property
    def simplest(self) -> Mapping[str, Any]:
        """The row of the search to use: the best, or one that is tied with it and needs fewer embedders."""
        return find_simplest(list_shown(self.rows))

    @property
    def languages(self) -> list[str]:
        return sorted({row["language"] for row in self.rows} - {None})

    def list_lines(self) -> list[dict[str, Any]]:
        """Arrange the rows by search, the best first: `overall` by k, `by_language` at the number that is shown."""
        lines = []
        for _, rows in groupby(sorted(self.rows, key=itemgetter("place")), key=itemgetter("place")):
            own = list(rows)
            overall = {row["k"]: row for row in own if row["language"] is None}
            shown = next(row for row in overall.values() if row["is_shown"])
            by_language = {row["language"]: row for row in own if row["language"] and row["is_shown"]}
            lines.append({"shown": shown, "overall": overall, "by_language": by_language, "against": _compare(shown)})
        return lines


def list_shown(rows: Sequence[Mapping[str, Any]]) -> list[Mapping[str, Any]]:
    """List the row of each search over all questions, at the number of items that is shown, the best first."""
    shown = [row for row in rows if row["is_shown"] and row["language"] is None]
    return sorted(shown, key=itemgetter("place"))


def find_simplest(shown: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    """Return the row of the search with the fewest embedders among the best and those that are tied with it."""
    as_good = [row for row in shown if row["word"] is None or _is_tied(row)]
    return min(as_good, key=itemgetter("num_embedders", "place"))


def write_outcome(shown: Sequence[Mapping[str, Any]]) -> str:
    """Say which search is best, which is tied with it and simpler, and how many are worse."""
    best, simplest, others = shown[0], find_simplest(shown), shown[1:]
    found = f"best: {best['search']}, {write_percent(best['found'])} in the first {best['k']}"
    if simplest is not best:
        found += f"; tied and simpler: {simplest['search']}, {write_percent(simplest['found'])}"
    num_worse = sum(row["word"] == "worse" for row in others)
    return f"{found}; worse beyond chance: {num_worse} of {len(others)} others" if others else found


def _is_tied(row: Mapping[str, Any]) -> bool:
    """Tell whether a search is as good as the best: no difference beyond chance, with enough clusters to see one."""
    return row["word"] == "tied" and (row["difference_low"] is not None or not row["difference"])


def _compare(row: Mapping[str, Any]) -> str:
    """Say how a search differs from the best one."""
    if row["word"] is None:
        return "the best"
    bounds = write_interval(row["difference_low"], row["difference_high"], write_points)
    word = "too few to tell" if row["word"] == "tied" and not _is_tied(row) else row["word"]
    return f"{word}: {write_points(row['difference'])} points ({bounds})"


def describe_search(settings: Mapping[str, Any]) -> str:
    """Write a search as the part of a recipe file that sets it (TOML)."""
    kept = {name: settings[name] for name in SET if settings.get(name) is not None}
    if kept["by"] != "both":
        kept.pop("text_weight", None)
    return "\n".join(["[retrieval]", *(f"{name} = {json.dumps(value)}" for name, value in kept.items())])


def describe_searches(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the lines for a terminal: the outcome, and each search, the best first; `rows` are those of all
    questions."""
    every = list_shown(rows)
    lines = [write_outcome(every)]
    for shown in every:
        own = [row for row in rows if row["search"] == shown["search"]]
        found = ", ".join(f"{write_percent(row['found'])} in the first {row['k']}" for row in own)
        interval = write_interval(shown["low"], shown["high"])
        lines.append(f"{shown['search']}: {found} (first {shown['k']}: {interval}); {_compare(shown)}")
    return lines


def render_searches(searched: Searched) -> str:
    """Return the page as one HTML file."""
    described = PageHead(
        title=f"searches of {searched.corpus}",
        about=f"{write_count(searched.best['n'], 'question')} of {searched.questions}",
        result=write_outcome(list_shown(searched.rows)),
    )
    return (
        make_environment()
        .get_template("searches.html.j2")
        .render(
            described=described,
            searched=searched,
            lines=searched.list_lines(),
            settings=describe_search(searched.settings[searched.simplest["search"]]),
        )
    )
