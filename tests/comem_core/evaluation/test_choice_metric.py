"""Which option a text names, on texts worked by hand."""

import pytest

from comem_core.evaluation.metrics import Gold
from comem_core.evaluation.metrics.choice import (
    CVQA_CHOICE,
    MRAG_CHOICE,
    find_option_of_label,
    find_option_of_response,
)

DOGS = ("basenji", "pharaoh hound", "ibizan hound", "shiba inu")


@pytest.mark.parametrize(
    ("response", "option"),
    [
        ("B", 1),
        (" b ", None),
        ("C.", 2),
        ("(D)", 3),
        ("The answer is (A), not (B)", 1),  # the last in brackets
        ("A or B", 1),
        ("(A) rather than B", 0),  # brackets before bare letters
        ("A: basenji", None),  # the letter has to stand alone
        ("Based on the picture, this is a basenji", 0),  # more than five words: the options' own words
        ("It may be a basenji or a Shiba Inu", 3),
        ("a basenji", None),  # five words or fewer: officially GPT-3.5 is asked
        ("Based on", None),
        ("", None),
    ],
)
def test_a_response_names_an_option_as_mrag_bench_reads_it(response: str, option: int | None):
    assert find_option_of_response(response, DOGS) == option
    scored = MRAG_CHOICE.score(response, Gold(options=DOGS, right_option=1))
    assert (scored.correct, scored.unparsable) == (float(option == 1), option is None)


@pytest.mark.parametrize(
    ("answer", "option"),
    [("2", 1), ("B", 1), ("2. Mate", 1), ("B. Mate", 1), ("5", None), ("0", None), ("E", None), ("Mate", None)],
)
def test_an_answer_gives_a_number_or_a_letter(answer: str, option: int | None):
    assert find_option_of_label(answer, 4) == option
    scored = CVQA_CHOICE.score(answer, Gold(options=("Té", "Mate", "Café", "Agua"), right_option=1))
    assert (scored.correct, scored.unparsable) == (float(option == 1), option is None)


def test_mrag_reads_all_that_was_written_and_cvqa_the_answer():
    assert (MRAG_CHOICE.reads, CVQA_CHOICE.reads) == ("raw", "answer")


def test_a_question_without_options_cannot_be_scored():
    for metric in (MRAG_CHOICE, CVQA_CHOICE):
        with pytest.raises(ValueError, match="found 0 options and right_option=None"):
            metric.score("A", Gold(answers=("basenji",)))
