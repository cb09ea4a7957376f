"""What holds for every metric whatever the texts: orders, copies, scripts and empty answers."""

import unicodedata

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comem_core.evaluation.authors_compat import find_authors_metric
from comem_core.evaluation.metrics import Gold, Metric
from comem_core.evaluation.metrics.aokvqa import DIRECT_ANSWER, MULTIPLE_CHOICE
from comem_core.evaluation.metrics.choice import CVQA_CHOICE, MRAG_CHOICE
from comem_core.evaluation.metrics.encyclopedic import ENCYCLOPEDIC
from comem_core.evaluation.metrics.infoseek import INFOSEEK, score_answer
from comem_core.evaluation.metrics.squad import EXACT_MATCH, TOKEN_F1
from comem_core.evaluation.metrics.totals import HARMONIC
from comem_core.evaluation.metrics.vqa import VQA_ACCURACY
from comem_core.evaluation.scores import Scoring, mark_rows, score_rows

AUTHORS = {name: find_authors_metric(name) for name in ("infoseek", "okvqa", "a-okvqa", "viquae", "mrag-bench", "cvqa")}
ANY_ALIAS = (INFOSEEK, EXACT_MATCH, TOKEN_F1, ENCYCLOPEDIC, AUTHORS["infoseek"], AUTHORS["a-okvqa"], AUTHORS["viquae"])
PEOPLE = (VQA_ACCURACY, DIRECT_ANSWER, AUTHORS["okvqa"])
CHOICES = (MULTIPLE_CHOICE, MRAG_CHOICE, CVQA_CHOICE, AUTHORS["mrag-bench"], AUTHORS["cvqa"])

# Letters and marks of Latin, Arabic, Hebrew, Devanagari, CJK and kana, signs, spaces, and what a file holds by mistake.
ALPHABET = "aAzßéİıñ ابجאבגकखि東京かナ한국0123456789٣４.,:;-–'\"!?()[]{}\\/_ \u00a0\u200f\u0301\t\n\ufffd🦜"
TEXTS = st.text(alphabet=ALPHABET, max_size=12) | st.sampled_from(["the", "Paris", "1,000", "\\boxed{2}", "is", "(A)"])
ALIASES = st.lists(TEXTS, min_size=2, max_size=5).map(tuple)


@settings(deadline=None)
@given(answer=TEXTS, aliases=ALIASES, order=st.randoms(use_true_random=False))
def test_the_order_of_aliases_and_people_says_nothing(answer: str, aliases: tuple[str, ...], order):
    shuffled = tuple(order.sample(aliases, len(aliases)))
    for metric in named(*ANY_ALIAS, *PEOPLE):
        one, other = metric.score(answer, Gold(answers=aliases)), metric.score(answer, Gold(answers=shuffled))
        assert one.correct == pytest.approx(other.correct) and one.unparsable == other.unparsable
        assert 0.0 <= one.correct <= 1.0


@settings(deadline=None)
@given(answer=TEXTS, aliases=ALIASES)
def test_an_alias_twice_counts_once(answer: str, aliases: tuple[str, ...]):
    for metric in named(*ANY_ALIAS):
        assert metric.score(answer, Gold(answers=aliases)) == metric.score(answer, Gold(answers=aliases * 2))


@settings(deadline=None)
@given(aliases=ALIASES)
def test_a_gold_answer_is_right_in_every_script(aliases: tuple[str, ...]):
    for metric in (INFOSEEK, EXACT_MATCH):
        assert all(metric.score(alias, Gold(answers=aliases)).correct == 1.0 for alias in aliases)
    for alias in aliases:
        assert VQA_ACCURACY.score(alias, Gold(answers=(alias,) * 10)).correct == 1.0
        assert DIRECT_ANSWER.score(alias, Gold(answers=(alias,) * 3)).correct == 1.0


@settings(deadline=None)
@given(text=TEXTS)
def test_composed_and_decomposed_letters_are_one_answer_in_our_normalisation_alone(text: str):
    composed, decomposed = (unicodedata.normalize(form, text) for form in ("NFC", "NFD"))
    ours = score_answer(composed, Gold(answers=(decomposed,)), normalisation="unicode")
    assert ours.correct == 1.0 or ours.unparsable
    for metric in named(*ANY_ALIAS, *PEOPLE):
        assert 0.0 <= metric.score(composed, Gold(answers=(decomposed,) * 2)).correct <= 1.0


def test_officially_a_decomposed_letter_is_another_one():
    for metric in (INFOSEEK, EXACT_MATCH):
        assert metric.score("Cafe\u0301", Gold(answers=("Café",))).correct == 0.0


@pytest.mark.parametrize("empty", ["", " ", "\n\t", "\u00a0"])
def test_nothing_is_wrong_and_unparsable_where_gold_says_something(empty: str):
    for metric in named(*ANY_ALIAS, *PEOPLE):
        scored = metric.score(empty, Gold(answers=("Oslo", "東京", "القاهرة")))
        assert (scored.correct, scored.unparsable) == (0.0, True), metric
    for metric in named(*CHOICES):
        scored = metric.score(empty, Gold(options=("Oslo", "東京", "القاهرة", "Lima"), right_option=0))
        assert (scored.correct, scored.unparsable) == (0.0, True), metric


@settings(deadline=None)
@given(answer=TEXTS, options=st.lists(TEXTS, min_size=4, max_size=4).map(tuple), right=st.integers(0, 3))
def test_a_choice_is_right_or_wrong_whatever_was_written(answer: str, options: tuple[str, ...], right: int):
    for metric in named(*CHOICES):
        scored = metric.score(answer, Gold(options=options, right_option=right))
        assert scored.correct in (0.0, 1.0) and not (scored.unparsable and scored.correct)


@settings(deadline=None, max_examples=25)
@given(answers=st.lists(st.sampled_from(["Oslo", "oslo", "Lima", ""]), min_size=4, max_size=9), order=st.randoms())
def test_the_order_of_predictions_says_nothing(answers: list[str], order):
    questions = [
        vars(Gold(answers=("Oslo",))) | {"question_id": f"q{place}", "split": "even" if place % 2 else "odd"}
        for place in range(len(answers))
    ]
    predictions = [
        {"prediction_id": f"p{place}", "question_id": f"q{place}", "benchmark": "b", "condition": "memory", "k": 3}
        | {"answer": answer, "answer_raw": answer, "truncated": False, "prompt_tokens": place}
        for place, answer in enumerate(answers)
    ]
    questions = [question | {"image_id": question["question_id"]} for question in questions]
    scoring = Scoring(metrics=(INFOSEEK, TOKEN_F1), total=HARMONIC)
    rows = score_rows(predictions, questions, mark_rows(predictions, questions, scoring.metrics), scoring)
    order.shuffle(predictions)
    order.shuffle(questions)
    assert score_rows(predictions, questions, mark_rows(predictions, questions, scoring.metrics), scoring) == rows


def named(*metrics: Metric | None) -> list[Metric]:
    """The metrics, none of which is missing."""
    assert all(metrics)
    return [metric for metric in metrics if metric is not None]
