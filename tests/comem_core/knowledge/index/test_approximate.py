"""Candidates from lists of vectors or of their codes, ranked as if every item had been compared."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Literal

import numpy as np
import pytest

from comem_core.knowledge.index.approximate import WHOLE_UP_TO, Facts, perturb_vectors
from comem_core.knowledge.index.shown import PictureItems
from comem_core.knowledge.index.vector_index import VectorIndex
from comem_core.knowledge.index.vectors import VectorWriter

NUM, WIDTH = 3000, 30  # a width that no code of eight numbers divides
KINDS = {"ivf": WHOLE_UP_TO, "ivf_pq": 0}
LANGUAGES = ["en"] * 2400 + ["ar"] * 550 + ["zh"] * 50
ITEM_IDS = [f"{row * 7919 % NUM:04}" for row in range(NUM)]  # in no order


@pytest.fixture(scope="module")
def embeddings() -> np.ndarray:
    """Sixty clusters, and the last hundred items show pictures that the first hundred show too."""
    random = np.random.default_rng(0)
    centres = random.standard_normal((60, WIDTH))
    made = centres[random.integers(60, size=NUM)] + 0.5 * random.standard_normal((NUM, WIDTH))
    made[-100:] = made[:100]
    return made.astype(np.float32)


@pytest.fixture(scope="module", params=sorted(KINDS))
def index(request: pytest.FixtureRequest, embeddings: np.ndarray, tmp_path_factory: pytest.TempPathFactory):
    folder = tmp_path_factory.mktemp(request.param)
    made = write(folder, embeddings, kind=request.param)
    assert made.approximate is not None and made.approximate.facts.kind == request.param
    return VectorIndex.load(folder)


def write(
    folder: Path,
    embeddings: np.ndarray,
    *,
    kind: str,
    dtype: str = "float32",
    rows: Sequence[int] = range(NUM),
    earlier: Path | None = None,
) -> VectorIndex:
    folder.mkdir(exist_ok=True)
    chosen = np.array(rows)
    item_ids, languages = [ITEM_IDS[row] for row in rows], [LANGUAGES[row] for row in rows]
    writer = VectorWriter(folder, item_ids=item_ids, languages=languages, width=WIDTH, dtype=dtype)
    for start in range(0, len(rows), 700):
        places = np.arange(start, min(start + 700, len(rows)))
        writer.put(places, embeddings[chosen[places]])
    return VectorIndex.finish(writer, exact_up_to=100, whole_up_to=KINDS[kind], earlier=earlier)


@pytest.fixture(scope="module")
def exact(embeddings: np.ndarray) -> VectorIndex:
    return VectorIndex(embeddings, item_ids=ITEM_IDS, languages=LANGUAGES)


def share_found(index: VectorIndex, exact: VectorIndex, queries: np.ndarray, **options) -> float:
    found = index.search(queries, k=10, **options)
    expected = exact.search(queries, k=10, **options)
    return float(np.mean([len({*a.item_ids} & {*b.item_ids}) / 10 for a, b in zip(found, expected, strict=True)]))


def test_most_of_the_nearest_are_found_and_the_recall_was_measured(
    index: VectorIndex, exact: VectorIndex, embeddings: np.ndarray
):
    queries = perturb_vectors(embeddings[::30], seed=9)
    assert share_found(index, exact, queries) > 0.95
    assert index.approximate is not None
    assert 0.95 < index.approximate.facts.recall_at_10 <= 1


def test_scores_are_those_of_comparing_all_and_ties_rank_by_id(
    index: VectorIndex, exact: VectorIndex, embeddings: np.ndarray
):
    """A query that is a picture which two items show: both score 1 and the smaller id comes first."""
    found = index.search(embeddings[:20], k=2)
    assert found == exact.search(embeddings[:20], k=2)
    for row, hits in enumerate(found):
        assert hits.item_ids == tuple(sorted([ITEM_IDS[row], ITEM_IDS[NUM - 100 + row]]))
        assert hits.scores == (1.0, 1.0)


@pytest.mark.parametrize("language", ["en", "ar", "zh"])
def test_a_language_is_searched_alone_however_few_its_items(
    index: VectorIndex, exact: VectorIndex, embeddings: np.ndarray, language: str
):
    queries = perturb_vectors(embeddings[::60], seed=3)
    found = index.search(queries, k=10, languages=[language] * len(queries))
    of_language = {item_id for item_id, spoken in zip(ITEM_IDS, LANGUAGES, strict=True) if spoken == language}
    assert all(len(hits.item_ids) == 10 and of_language.issuperset(hits.item_ids) for hits in found)
    assert share_found(index, exact, queries, languages=[language] * len(queries)) > 0.95


def test_excluded_items_make_room_even_when_they_are_all_that_a_first_look_finds(
    index: VectorIndex, exact: VectorIndex, embeddings: np.ndarray
):
    [near] = exact.search(embeddings[:1], k=400)
    excluded = [set(near.item_ids)]
    [found] = index.search(embeddings[:1], k=10, excluded=excluded)
    assert len(found.item_ids) == 10
    assert not excluded[0] & {*found.item_ids}
    everything = [set(ITEM_IDS) - {"0007"}]
    assert index.search(embeddings[:1], k=10, excluded=everything)[0].item_ids == ("0007",)


def test_the_same_vectors_give_the_same_index_and_a_batch_changes_nothing(
    index: VectorIndex, embeddings: np.ndarray, tmp_path: Path
):
    assert index.approximate is not None
    again = write(tmp_path, embeddings, kind=index.approximate.facts.kind)
    queries = perturb_vectors(embeddings[:40], seed=1)
    together = index.search(queries, k=5)
    assert together == [index.search(queries[row : row + 1], k=5)[0] for row in range(40)]
    assert together == again.search(queries, k=5)


def test_vectors_of_half_the_size_find_the_same(exact: VectorIndex, embeddings: np.ndarray, tmp_path: Path):
    write(tmp_path, embeddings, kind="ivf_pq", dtype="float16")
    half = VectorIndex.load(tmp_path)
    assert half.vectors.vectors_NE.dtype == np.float16
    queries = perturb_vectors(embeddings[::30], seed=9)
    assert share_found(half, exact, queries) > 0.95
    for a, b in zip(half.search(queries, k=3), exact.search(queries, k=3), strict=True):
        assert a.scores == pytest.approx(b.scores, abs=5e-4)


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("dtype", ["float32", "float16"])
def test_an_index_takes_in_new_vectors_and_forgets_those_that_are_gone(
    embeddings: np.ndarray, tmp_path: Path, kind: str, dtype: str, caplog: pytest.LogCaptureFixture
):
    """Items are added, removed, and one has another vector; the rows of all others move."""
    write(tmp_path / "before", embeddings, kind=kind, dtype=dtype, rows=range(100, NUM - 300))
    changed, rows = embeddings.copy(), [*range(60, 2000), *range(2100, NUM - 100)]
    changed[500] = -changed[500]
    with caplog.at_level("INFO"):
        grown = write(tmp_path / "grown", changed, kind=kind, dtype=dtype, rows=rows, earlier=tmp_path / "before")
    assert f"{len(rows)} items, of which 241 are new" in caplog.text
    anew = write(tmp_path / "anew", changed, kind=kind, dtype=dtype, rows=rows)
    assert grown.approximate is not None and anew.approximate is not None
    assert grown.approximate.facts.trained_on == NUM - 400 != anew.approximate.facts.trained_on
    assert grown.approximate.facts.recall_at_10 > 0.97
    opened, exact = VectorIndex.load(tmp_path / "grown"), write(tmp_path / "exact", changed, kind=kind, rows=rows)
    exact.approximate = None
    queries = perturb_vectors(changed[rows[::30]], seed=4)
    assert share_found(opened, exact, queries) > 0.95
    held = opened.search(changed[rows], k=1)
    assert sum(hits.scores[0] > 0.999 for hits in held) > 0.99 * len(rows)
    assert not {hits.item_ids[0] for hits in opened.search(changed[2000:2100], k=1)} & set(ITEM_IDS[2000:2100])


def test_lists_that_no_longer_suit_are_made_anew(embeddings: np.ndarray, tmp_path: Path):
    few = write(tmp_path / "few", embeddings, kind="ivf", rows=range(400))
    many = write(tmp_path / "many", embeddings, kind="ivf", earlier=tmp_path / "few")
    other = write(tmp_path / "other", embeddings, kind="ivf", dtype="float16", earlier=tmp_path / "many")
    assert few.approximate and many.approximate and other.approximate
    made = [each.facts.trained_on for each in (few.approximate, many.approximate, other.approximate)]
    assert made == [400, NUM, NUM]
    queries = perturb_vectors(embeddings[:40], seed=1)
    assert many.search(queries, k=5) == write(tmp_path / "anew", embeddings, kind="ivf").search(queries, k=5)


def test_an_opened_index_lies_on_disk(index: VectorIndex):
    assert isinstance(index.vectors.vectors_NE, np.memmap)
    assert isinstance(index.vectors.item_ids_N, np.memmap)


def test_an_item_without_embedding_is_named(embeddings: np.ndarray, tmp_path: Path):
    writer = VectorWriter(tmp_path, item_ids=["a", "b"], languages=["en", "en"], width=WIDTH, dtype="float32")
    writer.put(np.array([0]), embeddings[:1])
    with pytest.raises(ValueError, match="1 items have no embedding, first b"):
        writer.finish()
    with pytest.raises(ValueError, match="width 2; the index was laid out for 30"):
        writer.put(np.array([1]), np.ones((1, 2), np.float32))


def test_rows_are_found_by_id_also_among_ids_of_other_lengths(exact: VectorIndex):
    rows = exact.vectors.find_rows(["0007", "00071", "", "2999", "zz"])
    assert [exact.vectors.find_id(int(row)) if row >= 0 else None for row in rows] == ["0007", None, None, "2999", None]


def test_the_items_that_show_a_picture_are_found(tmp_path: Path):
    PictureItems.of(["p2", "p1", "p2"], ["b", "c", "a"]).save(tmp_path)
    shown = PictureItems.open(tmp_path)
    assert shown.find_items("p2") == {"a", "b"}
    assert shown.find_items("p1") == {"c"}
    assert shown.find_items("p") == shown.find_items("p22") == shown.find_items("zzz") == frozenset()


def test_what_grew_is_searched_at_least_as_far_as_before(embeddings: np.ndarray, tmp_path: Path) -> None:
    """With fewer lists the other queries may miss what these find, and all lists would be made anew for that."""
    before = write(tmp_path / "before", embeddings, kind="ivf", rows=range(NUM - 50)).approximate
    assert before is not None and before.facts.effort < 32
    before.facts = replace(before.facts, effort=32)
    before.save(tmp_path / "before")
    grown = write(tmp_path / "grown", embeddings, kind="ivf", earlier=tmp_path / "before").approximate
    assert grown is not None
    assert (grown.facts.effort, grown.facts.trained_on) == (32, NUM - 50)


@pytest.mark.parametrize(
    ("kind", "trained", "now", "least"),
    [("ivf", 0.999, 0.995, 0.98), ("ivf", 0.97, 0.96, 0.96), ("ivf_pq", 0.999, 0.9, 0.97), ("ivf", 0.0, 0.95, 0.94)],
)
def test_lists_suit_until_the_recall_falls_by_more_than_chance_below_what_they_had(
    kind: Literal["ivf", "ivf_pq"], trained: float, now: float, least: float
) -> None:
    """However often they grow, it is compared with the recall when they were made; older records have only the last."""
    facts = Facts(kind=kind, width=8, effort=1, candidates=10, recall_at_10=now, trained_recall=trained)
    assert facts.least_recall == pytest.approx(least)
