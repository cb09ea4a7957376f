"""InfoSeek's metric, worked by hand from the rules in comem_core/evaluation/metrics/infoseek.py.

Accepted ranges are those of real rows of infoseek_val.jsonl: the bridge of 237 m (213.3 to 260.7) and the gestation of
61 to 63 days.
"""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comem_core.evaluation.metrics import Gold, average_percent
from comem_core.evaluation.metrics.infoseek import (
    INFOSEEK,
    compute_overlap,
    find_numbers,
    is_unparsable,
    matches_any,
    normalise_answer,
    parse_number,
    score_answer,
)
from comem_core.evaluation.metrics.totals import HARMONIC, compute_harmonic_mean

BRIDGE = Gold(question_type="numerical", answer_low=213.3, answer_high=260.7)
GESTATION = Gold(question_type="numerical", answer_low=61.0, answer_high=63.0)
WORDS = st.text(st.characters(categories=("Lu", "Ll", "Lo", "Nd")), min_size=1, max_size=8)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("The  United States, of America!", "united states of america"),
        ("An apple a day", "apple day"),
        ("Guinea-Bissau", "guineabissau"),
        ("theatre", "theatre"),  # an article is a word, not a beginning
        ("Москва.", "москва"),
        ("東京", "東京"),
        ("Straße", "straße"),  # lower case, not folded case
        ("القاهرة", "القاهرة"),
        ("हिन्दी", "हिन्दी"),  # its vowel signs are marks, not punctuation
        ("Paris", "paris"),  # the authors' normaliser makes this empty ("is")
        ("tennis", "tennis"),
        ("body of water", "body of water"),
        ("¿Qué?", "¿qué"),  # only ASCII punctuation goes
        ("The", ""),
    ],
)
def test_official_normalisation(text: str, expected: str):
    assert normalise_answer(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("１２３４", "1234"),  # full width
        ("٢٣٧", "237"),  # Arabic-Indic
        ("२०२४", "2024"),  # Devanagari
        ("Cafe\u0301", "café"),  # composed
        ("«Москва»。", "москва"),
        ("\u200fالقاهرة\u200f", "القاهرة"),  # direction marks
        ("हिन्दी", "हिन्दी"),
        ("€", "€"),  # a symbol, not punctuation
    ],
)
def test_unicode_normalisation_goes_further(text: str, expected: str):
    assert normalise_answer(text, normalisation="unicode") == expected
    if text != expected:
        assert normalise_answer(text) != expected


@settings(deadline=None)
@given(answer=WORDS, others=st.lists(WORDS, max_size=4), data=st.data())
def test_the_order_of_aliases_does_not_matter_and_the_gold_answer_is_right(
    answer: str, others: list[str], data: st.DataObject
):
    aliases = data.draw(st.permutations([answer, *others]))
    assert matches_any(answer, aliases)
    assert matches_any(f"  {answer}. ", aliases)
    assert matches_any(answer, aliases, normalisation="unicode") or is_unparsable(
        answer, "string", normalisation="unicode"
    )
    wrong = answer + "0"
    assert matches_any(wrong, aliases) == matches_any(wrong, aliases[::-1])


@settings(deadline=None)
@given(st.text())
def test_any_text_can_be_normalised_parsed_and_scored(text: str):
    for normalisation in ("official", "unicode"):
        assert normalise_answer(text, normalisation=normalisation) == normalise_answer(
            f" {text} ", normalisation=normalisation
        )
        assert score_answer(text, BRIDGE, normalisation=normalisation).correct in (0.0, 1.0)
        assert score_answer(text, Gold(answers=("x",)), normalisation=normalisation).correct in (0.0, 1.0)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("237", 237.0),
        ("about 1,234,567 people", 1_234_567.0),
        ("12,34", (12.0, 34.0)),  # no thousands comma: three digits must follow
        ("1.5e3 kg", 1500.0),
        ("2E-2", 0.02),
        ("9-10", (9.0, 10.0)),  # a hyphen behind a digit separates
        ("-5", -5.0),  # else it is a sign
        ("-10 to -5", (-10.0, -5.0)),
        ("between 3 and 7 or 9", (3.0, 7.0)),  # the first two
        ("10 km (6 miles)", 10.0),  # descending: the first
        ("61.0-63.0", (61.0, 63.0)),
        ("It is 300.", 300.0),
        (".5", 5.0),  # the official code's slip
        ("0.5", 0.5),
        ("٢٣٧", 237.0),  # Python's digits are of every script
        ("no idea", None),
        ("-.5.3 or 7", 7.0),  # official stops with an error at "-.5.3"; we leave it out
    ],
)
def test_numbers_are_read_as_officially(text: str, expected: object):
    assert parse_number(text) == expected


def test_unicode_normalisation_reads_the_numbers_that_the_official_one_misreads():
    assert parse_number(".5", normalisation="unicode") == 0.5
    assert parse_number("٣٫٥", normalisation="unicode") == 3.5
    assert parse_number("١٬٢٣٤", normalisation="unicode") == 1234
    assert parse_number("\u22125", normalisation="unicode") == -5
    assert parse_number("61\u201363", normalisation="unicode") == (61, 63)
    assert find_numbers("面积为1234平方公里,人口5678", normalisation="unicode") == [1234, 5678]


@settings(deadline=None)
@given(st.integers(0, 10**12))
def test_thousands_commas_do_not_change_a_number(number: int):
    assert parse_number(f"{number:,}") == parse_number(str(number)) == number


@pytest.mark.parametrize(
    ("answer", "gold", "correct"),
    [
        ("213.3", BRIDGE, 1),  # the ends are in
        ("260.7 metres", BRIDGE, 1),
        ("213.2", BRIDGE, 0),
        ("220-250", BRIDGE, 1),  # both ends inside
        ("60 - 63", GESTATION, 1),  # 2 of 3: overlap 0.67
        ("61-65", GESTATION, 1),  # 2 of 4: overlap exactly 0.5
        ("61-65.1", GESTATION, 0),  # 2 of 4.1
        ("10-20", GESTATION, 0),
        ("about sixty-two", GESTATION, 0),
    ],
)
def test_a_number_is_right_in_the_relaxed_range_or_with_half_the_overlap(answer: str, gold: Gold, correct: int):
    assert score_answer(answer, gold).correct == correct


def test_overlap_of_ranges_by_hand():
    assert compute_overlap((0, 2), (1, 3)) == pytest.approx(1 / 3)
    assert compute_overlap((0, 1), (2, 3)) == 0
    assert compute_overlap((5, 5), (5, 5)) == 0  # points have no length: inclusion decides, not overlap


def test_no_number_counts_as_unparsable_and_as_zero_officially():
    zero = Gold(question_type="numerical", answer_low=0.0, answer_high=0.0)
    assert score_answer("no idea", zero).correct == 1.0  # official: no number is [0, 0]
    assert score_answer("no idea", zero).unparsable
    assert score_answer("no idea", zero, normalisation="unicode").correct == 0.0


def test_a_reversed_range_holds_no_number_but_overlaps():
    """As officially: -90 and -110 are a tenth less and more than -100."""
    below_zero = Gold(question_type="numerical", answer_low=-90.0, answer_high=-110.0)
    assert score_answer("-100", below_zero).correct == 0.0
    assert score_answer("from -110 to -90", below_zero).correct == 1.0  # the very same range
    assert score_answer("from -100 to -90", below_zero).correct == 1.0  # 10 of 20
    assert score_answer("from -95 to -90", below_zero).correct == 0.0  # 5 of 20


def test_time_is_exact_match_with_an_alias():
    year = Gold(question_type="time", answers=("1813", "1815", "1814"))
    assert score_answer("1815", year).correct == 1
    assert score_answer("in 1815", year).correct == 0
    assert score_answer("1816", year).correct == 0


def test_an_empty_answer_is_right_officially_where_an_alias_normalises_to_nothing():
    dollar = Gold(answers=("$", "US dollar"))
    assert score_answer("...", dollar).correct == 1
    assert score_answer("...", dollar, normalisation="unicode").correct == 0
    assert is_unparsable("...", "string")
    assert not is_unparsable("東", "string")


@pytest.mark.parametrize(
    ("gold", "message"),
    [
        (Gold(answers=()), "no gold answer"),
        (Gold(question_type="number", answers=("3",)), "allowed are string, numerical, time"),
        (Gold(question_type="numerical", answer_low=1.0), "answer_low and answer_high; found answer_low=1.0"),
    ],
)
def test_gold_answers_that_cannot_be_scored_are_named(gold: Gold, message: str):
    with pytest.raises(ValueError, match=message):
        score_answer("3", gold)


def test_an_unknown_normalisation_names_the_allowed_ones():
    with pytest.raises(ValueError, match="official, unicode"):
        normalise_answer("x", normalisation="authors")  # pyright: ignore[reportArgumentType]


def test_scores_are_rounded_percents_and_their_harmonic_mean():
    assert average_percent([1, 0, 0]) == 33.33
    assert compute_harmonic_mean([20, 30]) == pytest.approx(24)  # 2 / (1/20 + 1/30)
    assert HARMONIC.compute_percent({"q": [1, 0, 0], "e": [1, 1, 0]}, INFOSEEK) == 44.44  # of 33.33 and 66.67
    assert HARMONIC.compute_percent({"q": [0], "e": [1]}, INFOSEEK) == 0.0  # a zero counts as 1e-12 percent
    assert HARMONIC.compute_percent({"q": [1], "e": [1]}, INFOSEEK) == 100.0


def test_the_final_score_is_that_of_the_rounded_split_scores():
    """Official: split scores are rounded first. 1/8 = 12.5 and 1/1500 = 0.07 (not 0.0667) give 0.14, not 0.13."""
    assert HARMONIC.compute_percent({"q": [1] + [0] * 7, "e": [1] + [0] * 1499}, INFOSEEK) == 0.14


@settings(deadline=None)
@given(st.lists(st.sampled_from([0.0, 1.0]), min_size=1), st.randoms())
def test_the_order_of_answers_does_not_change_a_score(correct: list[float], random):
    shuffled = correct.copy()
    random.shuffle(shuffled)
    assert average_percent(correct) == average_percent(shuffled)


def test_a_split_without_answers_has_no_score():
    with pytest.raises(ValueError, match="no score"):
        average_percent([])
    with pytest.raises(ValueError, match="no split has marks"):
        HARMONIC.compute_percent({}, INFOSEEK)
