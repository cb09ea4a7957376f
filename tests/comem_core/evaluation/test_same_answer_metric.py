"""Our own metric: right is what means the same as a gold answer, or lies in the accepted range."""

import pytest

from comem_core.evaluation.benchmarks.registry import find_benchmark
from comem_core.evaluation.metrics import Gold
from comem_core.evaluation.metrics.same_answer import SAME_ANSWER, score_same_answer


@pytest.mark.parametrize(
    ("answer", "golds", "correct"),
    [
        ("3,5 m", ("3.5 m",), 1.0),
        ("35 m", ("3.5 m",), 0.0),
        ("5 °C", ("-5 °C",), 0.0),
        ("15 million", ("1.5 million",), 0.0),
        ("C#", ("C++",), 0.0),
        ("lima", ("Quito", "Lima"), 1.0),
        ("A", ("A",), 1.0),
        ("A+", ("A",), 0.0),
        ("the", ("A",), 0.0),
        ("", ("A",), 0.0),
        ("!", ("A",), 0.0),
    ],
)
def test_an_answer_is_right_if_it_means_the_same_as_a_gold_answer(
    answer: str, golds: tuple[str, ...], correct: float
) -> None:
    assert score_same_answer(answer, Gold(answers=golds)).correct == correct


def test_an_answer_that_says_nothing_is_unparsable() -> None:
    assert [score_same_answer(each, Gold(answers=("A",))).unparsable for each in ("", "the", "-", "A")] == [
        *(True,) * 3,
        False,
    ]


@pytest.mark.parametrize("golds", [(), ("",), ("the",), ("...", "an"), ("?",)])
def test_a_gold_answer_that_says_nothing_is_refused_by_name(golds: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"the gold answers \[.*\] say nothing"):
        score_same_answer("Lima", Gold(answers=golds))


@pytest.mark.parametrize(
    ("answer", "correct", "unparsable"),
    [("3,5", 1.0, False), ("3.5 g", 1.0, False), ("35", 0.0, False), ("-3.5", 0.0, False), ("3.4–3.6", 1.0, False),
     ("much", 0.0, True), ("", 0.0, True)],
)  # fmt: skip
def test_a_numerical_answer_is_right_within_the_accepted_range(answer: str, correct: float, unparsable: bool) -> None:
    scored = score_same_answer(
        answer, Gold(question_type="numerical", answers=("3.5",), answer_low=3.3, answer_high=3.7)
    )
    assert (scored.correct, scored.unparsable) == (correct, unparsable)


def test_the_exam_of_an_own_corpus_is_scored_by_what_answers_mean() -> None:
    assert find_benchmark("own").metrics(None) == (SAME_ANSWER,)
