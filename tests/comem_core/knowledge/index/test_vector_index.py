"""Exact image search: against a plain sort over all items, with ties, languages and exclusions."""

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from comem_core.knowledge.index.vector_index import VectorIndex

AXES = np.eye(3, dtype=np.float32)


def index_of(embeddings: np.ndarray, languages: list[str] | None = None) -> VectorIndex:
    item_ids = [f"item{row:03}" for row in range(len(embeddings))]
    return VectorIndex(embeddings, item_ids=item_ids, languages=languages or ["en"] * len(embeddings), embedder="test")


def test_the_nearest_item_comes_first_with_its_cosine():
    index = index_of(AXES * np.float32(7))  # the length of an embedding does not count
    [hits] = index.search(np.array([[3, 4, 0]], np.float32), k=3)
    assert hits.item_ids == ("item001", "item000", "item002")
    assert hits.scores == (0.8, 0.6, 0.0)  # the 3-4-5 triangle


@settings(max_examples=30, deadline=None)
@given(
    seed=st.integers(0, 2**32 - 1),
    num_items=st.integers(1, 60),
    num_images=st.integers(1, 8),
    k=st.integers(1, 12),
    num_excluded=st.integers(0, 5),
)
def test_search_equals_a_plain_sort_over_all_items(
    seed: int, num_items: int, num_images: int, k: int, num_excluded: int
):
    """Few different images for many items, so that ties are everywhere, also across the k-th place."""
    generator = np.random.default_rng(seed)
    images = generator.normal(size=(num_images, 5)).astype(np.float32)
    images /= np.linalg.norm(images, axis=1, keepdims=True)
    shown = generator.integers(num_images, size=num_items)
    languages = [str(language) for language in generator.choice(["ar", "en", "zh"], size=num_items)]
    index = index_of(images[shown], languages)
    queries = generator.integers(num_items, size=4)
    query_languages = [languages[row] for row in queries]
    excluded = [{f"item{row:03}" for row in generator.integers(num_items, size=num_excluded)} for _ in queries]
    found = index.search(images[shown[queries]], k=k, languages=query_languages, excluded=excluded)
    cosines = np.round(images.astype(np.float64) @ images.astype(np.float64).T, 5)
    for row, hits, language, left_out in zip(queries, found, query_languages, excluded, strict=True):
        expected = sorted(
            (-cosines[shown[row], shown[item]], f"item{item:03}")
            for item in range(num_items)
            if languages[item] == language and f"item{item:03}" not in left_out
        )[:k]
        assert hits.item_ids == tuple(item_id for _, item_id in expected)
        assert hits.scores == pytest.approx([-cosine for cosine, _ in expected], abs=2e-5)


def test_neither_batch_nor_order_of_items_changes_what_is_found():
    generator = np.random.default_rng(1)
    embeddings = generator.normal(size=(500, 16)).astype(np.float32)
    embeddings[250:] = embeddings[:250]  # each image twice
    item_ids, languages = [f"{row:03}" for row in range(500)], ["en"] * 500
    index = VectorIndex(embeddings, item_ids=item_ids, languages=languages)
    together = index.search(embeddings[:64], k=7)
    one_by_one = [index.search(embeddings[row : row + 1], k=7)[0] for row in range(64)]
    backwards = VectorIndex(embeddings[::-1].copy(), item_ids=item_ids[::-1], languages=languages)
    assert together == one_by_one == backwards.search(embeddings[:64], k=7)
    assert [hits.item_ids[:2] for hits in together] == [(f"{row:03}", f"{row + 250:03}") for row in range(64)]


def test_a_thousand_ties_are_cut_by_item_id():
    index = index_of(np.ones((1000, 4), np.float32))
    [hits] = index.search(np.ones((1, 4), np.float32), k=3)
    assert hits.item_ids == ("item000", "item001", "item002")


def test_scores_that_differ_by_float_noise_are_ties_however_many_there_are():
    """Items 50 to 99 score 0.5 exactly, items 0 to 49 less by 2e-7, which is below what a score says."""
    cosines = np.array([0.5 - 2e-7] * 50 + [0.5] * 50)
    index = index_of(np.stack([cosines, np.sqrt(1 - cosines**2)], axis=1).astype(np.float32))
    [hits] = index.search(np.array([[1, 0]], np.float32), k=3)
    assert hits.item_ids == ("item000", "item001", "item002")
    assert hits.scores == (0.5, 0.5, 0.5)


def test_each_query_can_keep_to_its_language():
    index = index_of(np.repeat(AXES, 2, axis=0), ["ar", "zh"] * 3)
    hits = index.search(AXES[:2], k=2, languages=["zh", "ar"])
    assert [each.item_ids[0] for each in hits] == ["item001", "item002"]
    assert all(len(each.item_ids) == 2 for each in hits)
    with pytest.raises(ValueError, match=r"no item in language 'ru'; the index holds ar, zh"):
        index.search(AXES[:1], k=1, languages=["ru"])


def test_a_language_is_one_whatever_its_region_and_script():
    index = index_of(AXES, ["en", "en-US", "zh-Hans"])
    assert index.languages == ("en", "zh")
    hits = index.search(AXES[:2], k=3, languages=["en-GB", "zh"])
    assert [each.item_ids for each in hits] == [("item000", "item001"), ("item002",)]
    assert index.has_language("zh-Hant") and not index.has_language("de")


def test_excluded_items_make_room_for_the_next():
    index = index_of(AXES)
    [hits] = index.search(np.array([[3, 2, 1]], np.float32), k=2, excluded=[{"item000"}])
    assert hits.item_ids == ("item001", "item002")
    [nothing] = index.search(AXES[:1], k=2, excluded=[{"item000", "item001", "item002"}])
    assert (nothing.item_ids, nothing.scores) == ((), ())


def test_thousands_of_nearer_items_that_are_excluded_for_all_questions_make_room_too():
    generator = np.random.default_rng(5)
    embeddings = generator.normal(size=(6000, 16)).astype(np.float32)
    embeddings[:5000, 0] += 9  # nearest to both questions
    index = VectorIndex(embeddings, item_ids=[f"item{row:04}" for row in range(6000)], languages=["en"] * 6000)
    queries = np.eye(2, 16, dtype=np.float32) + np.eye(1, 16, dtype=np.float32)
    excluded = {f"item{row:04}" for row in range(5000)}
    cosines = queries @ (embeddings[5000:] / np.linalg.norm(embeddings[5000:], axis=1, keepdims=True)).T
    for row, hits in enumerate(index.search(queries, k=3, excluded=[excluded, excluded])):
        assert hits.item_ids == tuple(f"item{5000 + place}" for place in np.argsort(-cosines[row])[:3])


def test_no_queries_find_nothing():
    assert index_of(AXES).search(np.zeros((0, 3), np.float32), k=1, languages=[]) == []
    assert index_of(AXES).search(np.zeros((0, 3), np.float32), k=1) == []


def test_a_saved_index_finds_the_same(tmp_path: Path):
    index = index_of(np.random.default_rng(2).normal(size=(40, 8)).astype(np.float32), ["en", "ar"] * 20)
    index.save(tmp_path)
    loaded = VectorIndex.load(tmp_path)
    queries = np.random.default_rng(3).normal(size=(5, 8)).astype(np.float32)
    assert loaded.search(queries, k=5) == index.search(queries, k=5)
    assert (loaded.embedder, loaded.width, len(loaded)) == ("test", 8, 40)


def test_files_that_are_missing_or_do_not_belong_together_are_named(tmp_path: Path):
    with pytest.raises(ValueError, match=r"vectors\.npy is missing; build the index again"):
        VectorIndex.load(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    index_of(AXES).save(tmp_path)
    index_of(AXES[:2]).save(other)
    (tmp_path / "item_ids.npy").write_bytes((other / "item_ids.npy").read_bytes())
    with pytest.raises(ValueError, match=r"3 embeddings, .* 2 items"):
        VectorIndex.load(tmp_path)


@pytest.mark.parametrize(
    ("embeddings", "message"),
    [
        (np.eye(2), "float32 array; found float64"),
        (np.ones(3, np.float32), r"\(number, width\); found \(3,\)"),
        (np.array([[1, 0], [np.nan, 1]], np.float32), "row 1 holds NaN"),
        (np.array([[1, 0], [np.inf, 1]], np.float32), "row 1 holds NaN or infinity"),
        (np.array([[0, 0], [0, 1]], np.float32), "row 0 is all zeros"),
        (np.ones((0, 2), np.float32), "at least one item"),
    ],
)
def test_embeddings_that_cannot_be_searched_are_named(embeddings: np.ndarray, message: str):
    with pytest.raises(ValueError, match=message):
        index_of(embeddings)


def test_ids_and_queries_that_do_not_fit_are_named():
    with pytest.raises(ValueError, match="'b' is given more than once"):
        VectorIndex(AXES, item_ids=["a", "b", "b"], languages=["en"] * 3)
    with pytest.raises(ValueError, match="found 2 ids, 3 languages and 3 embeddings"):
        VectorIndex(AXES, item_ids=["a", "b"], languages=["en"] * 3)
    index = index_of(AXES)
    with pytest.raises(ValueError, match="width 3; the queries have 2"):
        index.search(np.ones((1, 2), np.float32), k=1)
    with pytest.raises(ValueError, match="at least 1; found 0"):
        index.search(AXES, k=0)
    with pytest.raises(ValueError, match="found 1 for 3 queries"):
        index.search(AXES, k=1, languages=["en"])
