"""The authors' scoring: its defects on texts worked by hand, and how much of the real annotations they touch."""

import json
from collections.abc import Callable
from pathlib import Path

import pytest

from comem_core.evaluation.authors_compat import (
    extract_answer,
    find_authors_metric,
    normalise_as_authors,
    split_at_apostrophes,
)
from comem_core.evaluation.metrics import Gold, Scored
from comem_core.evaluation.metrics.infoseek import normalise_answer

FIXTURES = Path(__file__).parents[3] / "../shared/fixtures"


def score(benchmark: str, response: str, gold: Gold) -> Scored:
    metric = find_authors_metric(benchmark)
    assert metric is not None and (metric.name, metric.reads) == ("authors_compat", "raw")
    return metric.score(response, gold)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("Paris", ""),
        ("tennis", ""),
        ("baby", ""),
        ("Thamnophis", ""),
        ("body of water", "water"),
        ("The University of Paris X", "x"),  # "is" first, then nothing is left to cut
        ("Lighthouse by the sea", "sea"),
        ("of the isthmus", "thmus"),
        ("A Canada goose!", "canada goose"),
        ("Isle of the Dead", "dead"),
        ("London", "london"),
    ],
)
def test_the_normaliser_cuts_inside_words(text: str, kept: str):
    assert normalise_as_authors(text) == kept


@pytest.mark.parametrize(
    ("response", "found"),
    [
        ("so \\boxed{Rome}", "Rome"),
        ("\\boxed{Rome} or \\boxed{Oslo}", "Rome"),  # the first, not the last
        ("\\boxed{\\text{Rome}}", "\\text{Rome"),  # up to the first closing brace
        ("\\boxed{Rome\n}", "\\boxed{Rome\n}"),  # a box over two lines is none
        ("Reason: it is old. Answer: Rome", " Rome"),
        ("Rome", "Rome"),
    ],
)
def test_the_first_box_counts_else_what_follows_the_last_colon(response: str, found: str):
    assert extract_answer(response) == found


@pytest.mark.parametrize(
    ("response", "gold", "correct"),
    [
        ("\\boxed{Rome}", Gold(answers=("Rome",)), 1.0),
        ("\\boxed{Tennis}", Gold(answers=("Paris",)), 1.0),  # both become nothing
        ("\\boxed{lake water}", Gold(answers=("body of water",)), 0.0),
        ("the water", Gold(answers=("body of water",)), 1.0),
        ("\\boxed{Rome}: a city", Gold(answers=("Rome",)), 0.0),  # the colon cuts first, and the box is lost
        ("in June 1954", Gold(question_type="time", answers=("1954",)), 1.0),
        ("9", Gold(question_type="time", answers=("1954",)), 1.0),  # a part of the right year
        ("", Gold(question_type="time", answers=("1954",)), 0.0),
        ("\\boxed{12 m}", Gold(question_type="numerical", answer_low=11, answer_high=13), 1.0),
        ("Of 3 towers: 12 m", Gold(question_type="numerical", answer_low=11, answer_high=13), 1.0),
        ("no idea", Gold(question_type="numerical", answer_low=-1, answer_high=1), 1.0),  # officially so too
    ],
)
def test_infoseek(response: str, gold: Gold, correct: float):
    assert score("infoseek", response, gold).correct == correct
    assert score("infoseek-multilingual", response, gold).correct == correct


def test_one_person_is_enough_for_okvqa_and_the_printed_list_is_what_is_cut():
    people = ("Surf board", "sled") + ("ski",) * 8
    assert score("okvqa", "A sled", Gold(answers=people)).correct == 1.0
    assert score("okvqa", "surf board", Gold(answers=people)).correct == 0.0  # the reference is not lowered
    assert score("okvqa", "tennis", Gold(answers=("tennis",) * 10)).correct == 0.0  # it can never match
    assert split_at_apostrophes(("ski", "dog's bowl")) == ["ski", ', "dog', 's bowl"']
    assert score("okvqa", "dogs bowl", Gold(answers=("ski", "dog's bowl"))).correct == 0.0


def test_one_person_is_enough_for_a_okvqa_as_they_wrote_it():
    gold = Gold(answers=(" sled ", "Ski", ""))
    assert score("a-okvqa", "\\boxed{The sled.}", gold).correct == 1.0
    assert score("a-okvqa", "Ski", gold).correct == 0.0
    nothing = score("a-okvqa", "Paris", gold)
    assert (nothing.correct, nothing.unparsable) == (0.0, True)  # an empty reference is left out


def test_viquae_matches_aliases_in_lower_case_only():
    gold = Gold(answers=("Ringo Starr", "ringo"))
    assert score("viquae", "Ringo", gold).correct == 1.0
    assert score("viquae", "Ringo Starr", gold).correct == 0.0
    assert score("viquae", "\\boxed{ringo}: a drummer", gold).correct == 0.0


@pytest.mark.parametrize(
    ("response", "correct", "unparsable"),
    [("B", 1.0, False), ("Based on it, A", 1.0, False), (" A", 0.0, False), ("(B)", 0.0, True), ("", 0.0, True)],
)
def test_mrag_bench_takes_the_first_character(response: str, correct: float, unparsable: bool):
    gold = Gold(options=("tern", "gull", "skua", "auk"), right_option=1)
    assert score("mrag-bench", response, gold) == Scored(correct, unparsable)


@pytest.mark.parametrize(
    ("response", "correct"),
    [("\\boxed{2}", 1.0), ("\\boxed{2 }", 0.0), ("2", 1.0), ("2.", 0.0), ("Answer:2", 1.0), ("Answer: 2", 0.0)],
)
def test_cvqa_wants_the_number_with_nothing_around_it(response: str, correct: float):
    assert score("cvqa", response, Gold(options=("a", "b", "c", "d"), right_option=1)).correct == correct


def test_what_the_authors_do_not_score_has_no_such_metric():
    assert [find_authors_metric(name) for name in ("countries-vqa", "own", "a-okvqa-mc", "encyclopedic-vqa")] == [
        None
    ] * 4


def test_what_cannot_be_scored_is_said():
    for benchmark in ("infoseek", "okvqa", "a-okvqa", "viquae"):
        with pytest.raises(ValueError, match="no gold answer"):
            score(benchmark, "Rome", Gold())
    with pytest.raises(ValueError, match="give the folder"):
        score("oven", "Rome", Gold(entity_id="Q220"))


def rows_of(file: str) -> list[dict]:
    if not (FIXTURES / file).is_file():
        pytest.skip(f"no annotations at {FIXTURES / file}")
    return [json.loads(line) for line in (FIXTURES / file).read_text(encoding="utf-8").splitlines()]


def altered_and_emptied(rows: list[list[str]], compat: Callable[[str], str] = normalise_as_authors) -> tuple[int, int]:
    """Count the rows with a text that the authors' normaliser changes more than the official, or leaves nothing of."""
    altered = sum(any(compat(text) != normalise_answer(text) for text in row) for row in rows)
    return altered, sum(any(not compat(text) for text in row) for row in rows)


def test_the_normaliser_alters_a_third_of_infoseeks_english_references():
    """1,451 and 153 of 4,265 are also what was counted before. With the cut at colons, which scoring does, 1,458."""
    references = [row["answer_eval"] for row in rows_of("infoseek/infoseek_val.jsonl")]
    references = [each for each in references if not isinstance(each[0], dict)]
    assert len(references) == 4265
    assert altered_and_emptied(references) == (1451, 153)
    assert altered_and_emptied(references, lambda text: normalise_as_authors(extract_answer(text))) == (1458, 153)


@pytest.mark.parametrize(
    ("file", "num", "altered", "emptied"),
    [("oven_entity_val_3k", 3000, 581, 108), ("oven_query_val", 3291, 423, 10)],
)
def test_the_normaliser_alters_names_of_oven(file: str, num: int, altered: int, emptied: int):
    names = [[row["entity_text"]] for row in rows_of(f"oven/{file}.jsonl")]
    assert len(names) == num
    assert altered_and_emptied(names) == (altered, emptied)
