"""BM25 over titles against rank_bm25 itself, on the names of OVEN's entities and the word pieces of BERT."""

import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from rank_bm25 import BM25Okapi

from comem_core.evaluation.metrics import Gold
from comem_core.evaluation.metrics.oven import WORD_PIECES, make_oven_metric, open_title_finder
from comem_core.evaluation.metrics.title_index import TitleIndex, build_index
from comem_core.evaluation.metrics.totals import Total
from comem_core.knowledge.embedders.weights import find_minilm_folder

ANNOTATIONS = Path(__file__).parents[3] / "../shared/fixtures/oven"
RELEASED = Total(
    within="harmonic",
    across="harmonic",
    groups={"query": ("query_seen", "query_unseen"), "entity": ("entity_seen", "entity_unseen")},
)
OTHERS = {f"Q{place}": f"Lake {name}" for place, name in enumerate(("Ohrid", "Baikal", "Como", "Erie"), start=10)}
WORDS = ("tea", "green tea", "tea house", "black tea", "house", "the house", "tea tea", "a", "black", "green house")


@pytest.fixture(scope="session")
def word_pieces() -> Path:
    """A folder with the word pieces of bert-base-uncased, which MiniLM shares."""
    try:
        return find_minilm_folder()
    except ValueError as missing:
        pytest.skip(f"no word pieces with real words: {missing}")


def write_titles(
    folder: Path, word_pieces: Path, titles: dict[str, str], *, vocabulary: str = "tokenizer.json"
) -> Path:
    """Write titles by entity as OVEN's authors release them, and the word pieces beside them."""
    rows = [json.dumps({"id": entity_id, "content": title}) + "\n" for entity_id, title in titles.items()]
    (folder / "wikipedia_6m.jsonl").write_text("".join(rows), encoding="utf-8")
    (folder / WORD_PIECES).mkdir()
    (folder / WORD_PIECES / vocabulary).write_bytes((word_pieces / vocabulary).read_bytes())
    return folder


@pytest.fixture(scope="session")
def names() -> dict[str, str]:
    """The entities of OVEN's validation split that are at hand: Wikidata id -> name."""
    if not ANNOTATIONS.is_dir():
        pytest.skip(f"no OVEN annotations at {ANNOTATIONS}")
    lines = [line for path in sorted(ANNOTATIONS.glob("*.jsonl")) for line in path.read_text("utf-8").splitlines()]
    return {row["entity_id"]: row["entity_text"] for row in map(json.loads, lines)}


def first_and_ties(bm25: BM25Okapi, query: list[str]) -> tuple[int, bool]:
    """Return the place that rank_bm25 puts first, and whether others have the same score."""
    scores = bm25.get_scores(query)
    return int(np.argsort(scores)[::-1][0]), bool((scores == scores.max()).sum() > 1)


def test_titles_are_found_as_rank_bm25_finds_them(tmp_path: Path, word_pieces: Path, names: dict[str, str]):
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(word_pieces)
    finder = open_title_finder(write_titles(tmp_path, word_pieces, names))
    bm25 = BM25Okapi([tokenizer.tokenize(name) for name in names.values()])
    texts, ids, num_ties = list(names.values()), list(names), 0
    halves = [name.split()[0] for name in texts[:200]] + [name.split()[-1].upper() for name in texts[200:400]]
    pairs = [f"{first} or a {second}, the {first}" for first, second in zip(texts[:100], texts[100:200], strict=True)]
    queries = [
        *texts[:300],
        *halves,
        *pairs,
        "the",
        "a of in",
        "zzzz",
        "東京",
        "🦜",
        "[UNK]",
        "São Tomé",
        "(",
        "bird",
        "",
    ]
    for query in queries:
        place, tied = first_and_ties(bm25, tokenizer.tokenize(query))
        num_ties += tied
        assert finder.find_entity(query) == ids[place], query
    assert len(names) > 2000 and num_ties > 50  # equal scores are part of what is compared


def test_scores_are_those_of_rank_bm25_to_the_last_bit():
    """Also where more than half of the titles hold a word, whose weight would be negative."""
    vocabulary = sorted({word for title in WORDS for word in title.split()})
    tokens = [[vocabulary.index(word) for word in title.split()] for title in WORDS]
    index = build_index([(WORDS[:4], tokens[:4]), (WORDS[4:], tokens[4:])], num_tokens=len(vocabulary) + 1)
    bm25 = BM25Okapi([title.split() for title in WORDS])
    assert bm25.average_idf > 0
    for query in [*WORDS, "tea tea house", "the a", "house black green tea"]:
        numbers = [vocabulary.index(word) for word in query.split()]
        scores = np.zeros(len(WORDS))
        for number in numbers:
            titles, added = index._term(number)
            scores[titles] += added
        assert scores.tolist() == bm25.get_scores(query.split()).tolist()
        assert index.find_first(numbers) == WORDS[first_and_ties(bm25, query.split())[0]]
        assert index.find_first(numbers) == index.find_first(numbers)


def test_an_index_is_mapped_and_built_once(tmp_path: Path, word_pieces: Path):
    folder = write_titles(tmp_path, word_pieces, OTHERS | {"Q1": "Green tea", "Q2": "Black tea"})
    assert open_title_finder(folder).find_entity("black") == "Q2"
    (made,) = (path for path in (folder / ".bm25").iterdir() if path.is_dir())
    assert isinstance(TitleIndex.load(made).titles_P, np.memmap)
    built = made.stat().st_mtime_ns
    assert open_title_finder(folder) is open_title_finder(folder) and made.stat().st_mtime_ns == built
    with (folder / "wikipedia_6m.jsonl").open("a", encoding="utf-8") as titles:
        titles.write('{"id": "Q3", "content": "Black"}\n')  # the shorter title
    assert open_title_finder(folder).find_entity("black") == "Q3"


def test_a_metric_travels_without_its_titles(tmp_path: Path, word_pieces: Path):
    metric = make_oven_metric(write_titles(tmp_path, word_pieces, OTHERS))
    assert metric.score("como", Gold(entity_id="Q12")).correct == 1.0
    sent = pickle.dumps(metric)
    assert len(sent) < 1000
    assert pickle.loads(sent).score("como", Gold(entity_id="Q12")).correct == 1.0


def test_vocabulary_alone_is_enough(tmp_path: Path, word_pieces: Path):
    folder = write_titles(tmp_path, word_pieces, OTHERS | {"Q1": "Café", "Q2": "Tea house"}, vocabulary="vocab.txt")
    assert open_title_finder(folder).find_entity("cafe!") == "Q1"


def test_the_second_released_file_is_read_too(tmp_path: Path, word_pieces: Path):
    folder = write_titles(tmp_path, word_pieces, {"Q1": "unused"})
    (folder / "wikipedia_6m.jsonl").unlink()
    row = {"wikidata_id": "Q2", "wikipedia_title": "Tea house"}
    (folder / "Wiki6M_ver_1_0_title_only.jsonl").write_text(json.dumps(row))
    assert make_oven_metric(folder).score("tea", Gold(entity_id="Q2")).correct == 1.0


def test_an_answer_is_right_where_its_first_title_is_the_entitys(tmp_path: Path, word_pieces: Path):
    titles = OTHERS | {"Q1": "Green tea", "Q2": "Tea house"}
    metric = make_oven_metric(write_titles(tmp_path, word_pieces, titles))
    gold = Gold(answers=("Green tea",), entity_id="Q1")
    assert metric.score("a green one", gold).correct == 1.0
    assert metric.score("some house", gold).correct == 0.0


def test_an_answer_without_words_gets_the_title_that_rank_bm25_gives_it(tmp_path: Path, word_pieces: Path):
    metric = make_oven_metric(write_titles(tmp_path, word_pieces, OTHERS))
    bm25 = BM25Okapi([title.lower().split() for title in OTHERS.values()])
    ((_, taken),) = bm25.get_top_n([], [(title, entity_id) for entity_id, title in OTHERS.items()], n=1)
    marks = {entity_id: metric.score("  ", Gold(entity_id=entity_id)) for entity_id in OTHERS}
    assert [entity_id for entity_id, mark in marks.items() if mark.correct] == [taken]
    assert all(mark.unparsable for mark in marks.values())


def test_what_is_missing_is_said(tmp_path: Path, word_pieces: Path):
    gold = Gold(entity_id="Q1")
    with pytest.raises(ValueError, match=r"give the folder that holds wikipedia_6m\.jsonl or Wiki6M"):
        make_oven_metric(None).score("tea", gold)
    with pytest.raises(ValueError, match=r"github\.com/edchengg/oven_eval"):
        make_oven_metric(tmp_path).score("tea", gold)
    with pytest.raises(ValueError, match="no entity_id"):
        make_oven_metric(tmp_path).score("tea", Gold(answers=("tea",)))
    (tmp_path / "wikipedia_6m.jsonl").write_text('{"content": "Tea"}\n')
    with pytest.raises(ValueError, match=r"neither in .*bert-base-uncased \(tokenizer.json or vocab.txt\)"):
        make_oven_metric(tmp_path).score("tea", gold)
    (tmp_path / WORD_PIECES).mkdir()
    with pytest.raises(ValueError, match="put one of google-bert/bert-base-uncased there"):
        make_oven_metric(tmp_path).score("tea", gold)
    (tmp_path / WORD_PIECES / "vocab.txt").write_bytes((word_pieces / "vocab.txt").read_bytes())
    with pytest.raises(
        ValueError, match=r'wikipedia_6m.jsonl:1 is not a title: .*expected {"content": ..., "id": ...}'
    ):
        make_oven_metric(tmp_path).score("tea", gold)
    (tmp_path / "wikipedia_6m.jsonl").write_text("")
    with pytest.raises(ValueError, match="no title holds a token"):
        make_oven_metric(tmp_path).score("tea", gold)


def test_the_total_is_the_one_that_the_official_page_shows():
    """BLIP2 on the validation split, from the page of edchengg/oven_eval: query 20.58, entity 4.87, together 7.87."""
    accuracies = {"query_seen": 2463, "query_unseen": 1768, "entity_seen": 855, "entity_unseen": 340}
    marks = {split: [1.0] * right + [0.0] * (10_000 - right) for split, right in accuracies.items()}
    metric = make_oven_metric(None)
    assert RELEASED.compute_percent(marks, metric) == 7.87
    for group, score in {"query": 20.58, "entity": 4.87}.items():
        assert RELEASED.compute_percent({split: marks[split] for split in RELEASED.groups[group]}, metric) == score
