"""The page that compares searches: which is best, which is to be used, and what stands on it."""

import tomllib
from typing import Any

import pytest

from warehouse.page.searches import (
    Searched,
    describe_search,
    describe_searches,
    find_simplest,
    list_shown,
    render_searches,
)

BOTH = {"by": "both", "embedder": "seen", "text_embedder": "read", "text_weight": 0.25, "grid": (3, 4), "k": 10}
PICTURES = {"by": "image", "embedder": "seen", "text_embedder": None, "text_weight": 0.5, "grid": (1, 1), "k": 10}


def make_rows(
    name: str, place: int, *, num_embedders: int, word: str | None, found: float = 0.5
) -> list[dict[str, Any]]:
    rows = []
    for language in (None, "de", "ar"):
        for k in (1, 3):
            whole = language is None and k == 3 and word is not None
            rows.append(
                {"search": name, "place": place, "num_embedders": num_embedders, "language": language, "k": k, "n": 40}
                | {"found": found, "low": None if language else found - 0.1, "high": None if language else found + 0.1}
                | {"reciprocal_rank": found, "seconds": None if language else 0.002, "is_shown": k == 3}
                | {"difference": -0.25 if whole else None, "word": word if whole else None}
                | {"difference_low": -0.5 if whole else None, "difference_high": -0.125 if whole else None}
            )
    return rows


def make_searched(word: str) -> Searched:
    rows = make_rows("seen, read at 0.25", 1, num_embedders=2, word=None, found=0.75)
    rows += make_rows("seen <b>", 2, num_embedders=1, word=word)
    settings = {"seen, read at 0.25": BOTH, "seen <b>": PICTURES}
    return Searched(corpus="/my <i>corpus", questions="some", is_augmented=False, settings=settings, rows=rows)


@pytest.mark.parametrize(("word", "used"), [("tied", "seen <b>"), ("worse", "seen, read at 0.25")])
def test_a_search_with_fewer_embedders_is_used_where_it_is_tied_with_the_best(word: str, used: str) -> None:
    searched = make_searched(word)
    assert searched.best["search"] == "seen, read at 0.25"
    assert find_simplest(list_shown(searched.rows))["search"] == searched.simplest["search"] == used
    first, *lines = describe_searches([row for row in searched.rows if row["language"] is None])
    assert ("tied and simpler: seen <b>" in first) == (word == "tied")
    assert (
        lines[0].endswith("the best") and f"{word}: " in lines[1] and "-25" in lines[1].replace("\N{MINUS SIGN}", "-")
    )


def test_a_search_that_too_few_questions_cannot_tell_from_the_best_is_not_used() -> None:
    rows = [dict(row) | {"difference_low": None, "difference_high": None} for row in make_searched("tied").rows]
    shown = list_shown(rows)
    assert find_simplest(shown)["search"] == "seen, read at 0.25"
    lines = describe_searches([row for row in rows if row["language"] is None])
    assert "simpler" not in lines[0] and "too few to tell: " in lines[2]


def test_the_page_has_every_search_and_language_and_escapes_names() -> None:
    page = render_searches(make_searched("worse"))
    assert (
        "/my &lt;i&gt;corpus" in page and "seen &lt;b&gt;" in page and "<b>seen" not in page and "<i>corpus" not in page
    )
    assert all(f'class="num">{language}</th>' in page for language in ("ar", "de"))
    assert "too few clusters" in page  # a language without an interval
    assert "&#34;seen&#34;" in page  # the settings of the best


def test_the_settings_of_a_search_are_a_part_of_a_recipe_file() -> None:
    both = tomllib.loads(describe_search(BOTH))["retrieval"]
    assert both == {"by": "both", "embedder": "seen", "text_embedder": "read", "text_weight": 0.25, "grid": [3, 4]}
    assert tomllib.loads(describe_search(PICTURES))["retrieval"] == {"by": "image", "embedder": "seen", "grid": [1, 1]}
