"""Items for questions by picture, by words and by both: against a plain sum over all items."""

import numpy as np
import pytest

from comem_core.knowledge.index.vector_index import VectorIndex
from comem_core.knowledge.retrieval import Restriction, Side, find_items, find_items_by_both

NUM = 40
IDS = [f"{row:02}" for row in range(NUM)]
LANGUAGES = ["en", "ar"] * (NUM // 2)
PICTURED = [row for row in range(NUM) if row % 5]  # every fifth item is text alone
ANY = Restriction()


@pytest.fixture(scope="module")
def vectors() -> dict[str, np.ndarray]:
    random = np.random.default_rng(0)
    made = {"image": random.standard_normal((NUM + 6, 8)), "text": random.standard_normal((NUM + 6, 5))}
    return {
        name: (all_NE / np.linalg.norm(all_NE, axis=1, keepdims=True)).astype(np.float32)
        for name, all_NE in made.items()
    }


@pytest.fixture(scope="module")
def image(vectors: dict[str, np.ndarray]) -> Side:
    index = VectorIndex(
        vectors["image"][PICTURED],
        item_ids=[IDS[row] for row in PICTURED],
        languages=[LANGUAGES[row] for row in PICTURED],
    )
    return Side(index, vectors["image"][NUM:])


@pytest.fixture(scope="module")
def text(vectors: dict[str, np.ndarray]) -> Side:
    return Side(VectorIndex(vectors["text"][:NUM], item_ids=IDS, languages=LANGUAGES), vectors["text"][NUM:])


@pytest.mark.parametrize("weight", [0.0, 0.3, 1.0])
def test_both_together_are_the_weighted_sum_over_all_items(
    vectors: dict[str, np.ndarray], image: Side, text: Side, weight: float
) -> None:
    found = find_items_by_both(image, text, text_weight=weight, k=5, among=ANY)
    by_image, by_text = (vectors[name][NUM:] @ vectors[name][:NUM].T for name in ("image", "text"))
    by_image[:, ::5] = 0  # no picture, no share of it
    sums = (1 - weight) * by_image + weight * by_text
    for row, hits in enumerate(found):
        best = np.argsort(-sums[row])[:5]
        assert hits.item_ids == tuple(IDS[place] for place in best)
        assert hits.scores == pytest.approx(sums[row][best], abs=1e-5)


def test_an_item_of_text_alone_is_found_by_its_text(image: Side, text: Side, vectors: dict[str, np.ndarray]) -> None:
    asked = Side(text.index, vectors["text"][[5]])
    [hits] = find_items_by_both(Side(image.index, image.queries_QE[:1]), asked, text_weight=0.5, k=40, among=ANY)
    assert dict(zip(hits.item_ids, hits.scores, strict=True))["05"] == 0.5


def test_rules_hold_on_both_sides(image: Side, text: Side) -> None:
    languages = ["en", "ar"] * 3
    excluded = [{"02", "03"}] * 6
    among = Restriction(languages=languages, excluded=excluded)
    for found in (
        find_items(image, k=40, among=among),
        find_items(text, k=40, among=among),
        find_items_by_both(image, text, text_weight=0.5, k=40, among=among),
    ):
        for language, hits in zip(languages, found, strict=True):
            allowed = {IDS[row] for row in range(NUM) if LANGUAGES[row] == language} - excluded[0]
            assert hits.item_ids and allowed.issuperset(hits.item_ids)


def test_a_question_in_a_language_that_no_item_has_gets_none_and_others_get_theirs(image: Side, text: Side) -> None:
    among = Restriction(languages=["en", "sw", "ar", "sw", "en", "ar"])
    for found in (
        find_items(image, k=3, among=among),
        find_items_by_both(image, text, text_weight=0.5, k=3, among=among),
    ):
        assert [len(hits.item_ids) for hits in found] == [3, 0, 3, 0, 3, 3]
    assert [len(hits.item_ids) for hits in find_items(image, k=3, among=ANY)] == [3] * 6
    alone = Restriction(languages=["sw"] * 6)
    assert [hits.item_ids for hits in find_items(image, k=3, among=alone)] == [()] * 6


def test_a_weight_that_is_no_share_is_refused(image: Side, text: Side) -> None:
    with pytest.raises(ValueError, match=r"text_weight is 1.5; expected a share from 0"):
        find_items_by_both(image, text, text_weight=1.5, k=3, among=ANY)
