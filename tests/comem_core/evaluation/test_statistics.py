"""Intervals and paired differences, against closed forms, scipy and simulation."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import bootstrap

from comem_core.evaluation.statistics import (
    Difference,
    Interval,
    Resampling,
    average_interval,
    compare_pairs,
    score_interval,
    score_intervals,
)

QUICK = Resampling(num_swaps=399)


def ends(interval: Interval) -> tuple[float, float]:
    assert interval.low is not None and interval.high is not None
    return interval.low, interval.high


def test_with_one_question_a_cluster_the_interval_is_the_ordinary_bootstrap():
    correct = np.array([1.0] * 60 + [0.0] * 140)
    interval = score_interval(correct, [str(row) for row in range(200)])
    expected = bootstrap((correct,), np.mean, method="percentile", n_resamples=5000, rng=0).confidence_interval
    assert interval.value == pytest.approx(0.3)
    assert interval.low == pytest.approx(expected.low, abs=0.01)
    assert interval.high == pytest.approx(expected.high, abs=0.01)


def test_several_marks_at_once_have_the_intervals_that_each_has_alone():
    generator = np.random.default_rng(3)
    marks = generator.random((3, 300)) < [[0.1], [0.5], [1.0]]
    clusters, splits = [str(each) for each in generator.integers(60, size=300)], ["seen", "unseen", "seen"] * 100
    together = score_intervals(marks, clusters, splits=splits, resampling=QUICK)
    assert together == [score_interval(each, clusters, splits=splits, resampling=QUICK) for each in marks]
    assert len({interval.low for interval in together}) == 3
    assert score_intervals([], clusters, splits=splits) == []
    with pytest.raises(ValueError, match="found 300 answers and 2 marks"):
        score_intervals([marks[0], marks[1][:2]], clusters, splits=splits)


def test_copies_of_a_question_under_one_image_add_no_certainty():
    correct, images = [1.0, 0.0, 0.0, 1.0, 0.0, 1.0, 0.0, 0.0, 0.0, 1.0], list("abcdefghij")
    once = score_interval(correct, images)
    ten_times = score_interval(correct * 10, images * 10)
    assert ends(ten_times) == pytest.approx(ends(once))
    assert (ten_times.n, ten_times.num_clusters) == (100, 10)
    as_if_independent = score_interval(correct * 10, [str(row) for row in range(100)])
    assert ends(as_if_independent)[0] > ends(once)[0] + 0.1


def test_answers_taken_as_independent_would_be_too_certain():
    """40 images of 1 to 5 questions each; the chance of an image is drawn, so answers of one image go together."""
    generator = np.random.default_rng(7)
    covered = naive = 0
    for _ in range(200):
        chances = np.repeat(generator.beta(1, 2, size=40), generator.integers(1, 6, size=40))
        images = [str(chance) for chance in chances]
        correct = (generator.random(len(chances)) < chances).astype(float)
        low, high = ends(score_interval(correct, images))
        alone = score_interval(correct, [str(row) for row in range(len(correct))])
        covered += low <= 1 / 3 <= high
        naive += ends(alone)[0] <= 1 / 3 <= ends(alone)[1]
    assert 180 <= covered <= 199
    assert naive < covered


@pytest.mark.parametrize(("value", "low", "high"), [(0.0, 0.0, 0.16843), (1.0, 0.83157, 1.0)])
def test_all_wrong_and_all_right_are_not_certain(value: float, low: float, high: float):
    """Clopper-Pearson for 0 of 20 is 1 - 0.025 ** (1 / 20) = 0.16843, in every table of it."""
    interval = score_interval([value] * 20, [str(row) for row in range(20)])
    assert (interval.value, interval.low, interval.high) == (
        value,
        pytest.approx(low, abs=1e-4),
        pytest.approx(high, abs=1e-4),
    )


def test_the_interval_of_seeds_holds_each_of_them_and_is_wider_where_they_differ():
    generator, clusters = np.random.default_rng(4), [str(row // 8) for row in range(400)]
    shown = generator.random(400)
    far, near = ([(shown < chance).astype(float) for chance in chances] for chances in ((0.8, 0.79, 0.73), (0.8,) * 3))
    wide, narrow = (average_interval(np.array(marks), clusters) for marks in (far, near))
    assert ends(narrow) == pytest.approx(ends(score_interval(near[0], clusters)))  # seeds that agree add nothing
    scores = [float(np.mean(marks)) for marks in far]
    assert wide.value == pytest.approx(np.mean(scores))
    assert ends(wide)[0] < min(scores) and max(scores) < ends(wide)[1]
    certain = np.repeat([[0.0], [1.0]], 400, axis=1)  # by Student on two values, nothing is known between 0 and 1
    assert ends(average_interval(certain, clusters)) == pytest.approx((0, 1), abs=0.01)


def test_the_harmonic_mean_has_an_interval_of_its_own():
    correct = [1.0, 0.0, 0.0, 0.0, 0.0] * 20 + [1.0, 1.0, 1.0, 0.0, 0.0] * 20  # 0.2 and 0.6
    splits = ["entity"] * 100 + ["question"] * 100
    interval = score_interval(correct, [str(row) for row in range(200)], splits=splits)
    assert interval.value == pytest.approx(0.3)  # 2 / (5 + 5 / 3)
    # By the delta method: d hm / d 0.2 = hm**2 / 2 / 0.2**2 = 1.125, d hm / d 0.6 = 0.125; standard error 0.0454.
    assert interval.low == pytest.approx(0.3 - 1.96 * 0.0454, abs=0.02)
    assert interval.high == pytest.approx(0.3 + 1.96 * 0.0454, abs=0.02)


def test_a_split_that_is_all_wrong_leaves_the_harmonic_mean_room_above_zero():
    splits = ["entity"] * 20 + ["question"] * 20
    interval = score_interval([0.0] * 20 + [1.0, 0.0] * 10, [str(row) for row in range(40)], splits=splits)
    assert interval.value == pytest.approx(0, abs=1e-12)
    assert interval.low == pytest.approx(0, abs=1e-12)
    assert 0.16843 < ends(interval)[1] < 2 * 0.16843  # between the bound of the one split and twice that


def test_one_cluster_says_nothing_about_the_next():
    interval = score_interval([1.0, 0.0], ["a", "a"])
    assert (interval.value, interval.low, interval.high, interval.num_clusters) == (0.5, None, None, 1)
    assert compare_pairs([1.0, 1.0], [0.0, 0.0], ["a", "a"]).choose_word() == "tied"


@pytest.mark.parametrize("marks", [[0.0] * 40, [1.0] * 40, [1.0, 0.0, 0.0, 1.0] * 10])
def test_ten_clusters_in_every_split_are_the_fewest_for_an_interval(marks: list[float]):
    ten, nine = [str(row // 2 % 10) for row in range(40)], [str(row // 2 % 9) for row in range(40)]
    splits = ["seen"] * 20 + ["unseen"] * 20
    beside = [f"{split} {cluster}" for split, cluster in zip(splits, ten, strict=True)]
    assert score_interval(marks, ten).low is not None
    assert score_interval(marks, beside, splits=splits).low is not None
    assert compare_pairs(marks, marks[::-1], ten, resampling=QUICK).low is not None
    fewer = [each.replace("seen 9", "seen 8") for each in beside]  # in both splits; there are 18 clusters in all
    for clusters, parts in ((nine, None), (fewer, splits)):
        found = score_interval(marks, clusters, splits=parts)
        assert (found.low, found.high) == (None, None)
        assert compare_pairs(marks, marks[::-1], clusters, splits=parts, resampling=QUICK).high is None


@settings(max_examples=25, deadline=None)
@given(
    st.lists(
        st.tuples(st.sampled_from([0.0, 1.0]), st.sampled_from("abcdef"), st.sampled_from("xy")),
        min_size=1,
        max_size=30,
    ),
    st.randoms(),
)
def test_the_order_of_rows_changes_no_number(rows: list[tuple[float, str, str]], random):
    shuffled = rows.copy()
    random.shuffle(shuffled)
    intervals = [
        score_interval(
            [row[0] for row in each], [row[1] for row in each], splits=[row[2] for row in each], resampling=QUICK
        )
        for each in (rows, shuffled)
    ]
    assert intervals[0] == intervals[1]
    if intervals[0].low is not None and intervals[0].high is not None:
        assert 0 <= intervals[0].low <= intervals[0].high <= 1


def test_ten_of_ten_images_better_has_the_p_value_of_the_sign_test():
    images = [str(row // 3) for row in range(30)]
    difference = compare_pairs([1.0] * 30, [0.0] * 30, images, resampling=Resampling(num_swaps=20_000))
    assert difference.value == 1.0
    assert difference.p_value == pytest.approx(2 / 2**10, abs=0.001)
    assert difference.choose_word() == "better"
    assert compare_pairs([0.0] * 30, [1.0] * 30, images).choose_word() == "worse"


def test_equal_conditions_are_tied():
    correct = [1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0, 0.0, 1.0] * 2
    difference = compare_pairs(correct, correct, list("aabbccddeeffgghhiijj"))
    assert (difference.value, difference.low, difference.high, difference.p_value) == (0, 0, 0, 1)
    assert difference.choose_word() == "tied"


def test_pairing_sees_what_two_overlapping_intervals_hide():
    generator = np.random.default_rng(3)
    second = (generator.random(400) < 0.5).astype(float)
    first = second.copy()
    first[np.flatnonzero(second == 0)[:16]] = 1.0  # 16 answers mended, none spoilt: sign test p = 3e-5
    images = [str(row) for row in range(400)]
    assert ends(score_interval(first, images))[0] < ends(score_interval(second, images))[1]
    difference = compare_pairs(first, second, images)
    assert difference.value == pytest.approx(0.04)
    assert difference.p_value < 0.001
    assert difference.choose_word() == "better"


def test_random_differences_are_rarely_called_differences():
    generator = np.random.default_rng(11)
    words = []
    for _ in range(100):
        first, second = (generator.random((2, 60)) < 0.4).astype(float)
        words.append(compare_pairs(first, second, [str(row // 2) for row in range(60)], resampling=QUICK).choose_word())
    assert words.count("tied") >= 88
    assert words.count("tied") < 100


def test_the_difference_of_harmonic_means_is_tested_too():
    splits = ["entity", "question"] * 40
    first, second = [1.0, 1.0] * 20 + [0.0, 0.0] * 20, [1.0, 0.0] * 20 + [0.0, 0.0] * 19 + [0.0, 1.0]
    images = [str(row) for row in range(80)]
    difference = compare_pairs(first, second, images, splits=splits)
    assert difference.value == pytest.approx(0.5 - 2 / (2 + 40))  # of (0.5, 0.5) and (0.5, 0.025)
    assert difference.choose_word() == "better"


def test_an_adjusted_p_value_can_turn_better_into_tied():
    difference = Difference(value=0.1, low=0.01, high=0.2, p_value=0.03, n=9, num_clusters=9)
    assert difference.choose_word() == "better"
    assert difference.choose_word(p_adjusted=0.06) == "tied"


@pytest.mark.parametrize(
    ("correct", "clusters", "message"),
    [([1.0], ["a", "b"], "1 answers, 2 clusters"), ([], [], "no answers"), ([float("nan")] * 2, ["a", "b"], "NaN")],
)
def test_input_that_cannot_be_resampled_is_named(correct: list[float], clusters: list[str], message: str):
    with pytest.raises(ValueError, match=message):
        score_interval(correct, clusters)


def test_pairs_come_in_equal_numbers():
    with pytest.raises(ValueError, match="found 1 and 2"):
        compare_pairs([1.0], [1.0, 0.0], ["a"])


def test_a_collapse_is_worse_where_one_split_has_too_few_clusters_for_an_interval():
    clusters = [str(row) for row in range(11)] + ["alone"]
    splits = ["seen"] * 11 + ["unseen"]
    difference = compare_pairs([0.0] * 12, [1.0] * 12, clusters, splits=splits)
    assert difference.low is None and difference.p_value < 0.05
    assert difference.choose_word() == "worse"
    few = compare_pairs([0.0, 0.0], [1.0, 1.0], ["a", "b"], splits=["seen", "unseen"])
    assert few.low is None and few.choose_word() == "tied"
