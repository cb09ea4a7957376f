"""How the short answer is found in generated text."""

import pytest

from comem_core.evaluation.answers import extract_answer, find_boxed, find_first_line


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("  Paris \n because it is", "Paris"),
        ("\n\n\t\nباريس", "باريس"),
        ("東京\r\n説明", "東京"),
        ("", ""),
        (" \n\t ", ""),
    ],
)
def test_the_first_line_with_content_is_the_answer(text: str, expected: str):
    assert find_first_line(text) == expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (r"so \boxed{Paris}.", "Paris"),
        (r"\boxed{Lyon}, no: \boxed{ Paris }", "Paris"),  # the last one counts
        (r"\boxed{x^{2}_{i}} done", "x^{2}_{i}"),  # braces inside
        (r"\boxed{Paris} and then \boxed{cut of", "Paris"),  # the last closed one
        (r"\boxed{}", ""),
        ("Paris", ""),
        (r"\boxed{Par", ""),
    ],
)
def test_the_last_closed_box_is_the_answer(text: str, expected: str):
    assert find_boxed(text) == expected


def test_without_a_box_there_is_no_answer_rather_than_a_guess():
    assert extract_answer("The answer is Paris", method="boxed") == ""
    assert extract_answer("The answer is Paris") == "The answer is Paris"


def test_an_unknown_method_names_the_allowed_ones():
    with pytest.raises(ValueError, match="first_line, boxed"):
        extract_answer("Paris", method="last_word")  # pyright: ignore[reportArgumentType]
