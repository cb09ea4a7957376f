"""Questions of a benchmark that training samples or items show: by picture, by words, and by both at once."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from warehouse.samples.overlap import TrainedOn, describe_overlap, find_overlap
from warehouse.schemas import check_rows, make_blank_row

NEAR: dict[str, Any] = {"near_bits": 6, "run_words": 4, "min_share": 0.5, "max_pictures": 2}
SPECIFIC = "In which year was the suspension bridge of this picture opened to traffic?"
TEMPLATE = "Which country has this flag?"


def question(name: str, words: str, picture: tuple[int, int] | None = None, **changes: object) -> dict:
    hashes = dict(zip(("image_hash", "image_chroma"), picture or (None, None), strict=True))
    shown = {"image_id": f"picture {picture}" if picture else None}
    return make_blank_row("question") | {"question_id": name, "question": words} | shown | hashes | changes


def sample(asked: dict, **changes: object) -> dict:
    row = make_blank_row("draft") | {"sample_id": f"s-{asked['question_id']}", "question_id": asked["question_id"]}
    return row | {"question": asked["question"], "image_id": asked["image_id"]} | changes


def item(name: str, text: str, picture: tuple[int, int] | None = None) -> dict:
    shown = question(name, "", picture)
    columns = {column: shown[column] for column in ("image_id", "image_hash", "image_chroma")}
    return make_blank_row("knowledge_item") | {"item_id": name, "text": text, "language": "en"} | columns


def overlap_of(
    folder: Path,
    asked: Sequence[dict],
    trained: Sequence[dict] = (),
    items: Sequence[dict] = (),
    *,
    kept: Sequence[str] | None = None,
    **parameters: object,
) -> list[tuple]:
    """Write the rows as Parquet files and compare them, without a warehouse."""
    drafts = [sample(each) for each in trained]
    names = [row["sample_id"] for row in drafts] if kept is None else kept
    tables = {"asked": ("question", asked), "trained": ("question", trained), "items": ("knowledge_item", items)}
    tables |= {"drafts": ("draft", drafts), "kept": ("sample", [{"sample_id": name} for name in names])}
    files = {name: [folder / f"{name}.parquet"] for name in tables}
    for name, (table, rows) in tables.items():
        pq.write_table(check_rows(table, list(rows)), files[name][0])
    training = [TrainedOn(drafts=files["drafts"], questions=files["trained"], kept=files["kept"])]
    found = find_overlap(
        questions=files["asked"], items=files["items"], training=training, parameters=NEAR | parameters
    )
    return [tuple(row.values()) for row in found.to_pylist()]


def test_a_picture_with_a_bit_changed_is_the_same_and_one_with_many_is_not(tmp_path: Path) -> None:
    asked = [question("q1", "Who lives there?", (7, -9)), question("q2", "Who lives there?", (0, 0b1111111))]
    trained = [question("t1", "What is the river called?", (7 ^ 0b1, -9)), question("t2", "When?", (7 ^ 0b111, -9))]
    assert overlap_of(tmp_path, asked, trained) == [("q1", "training", "image", "s-t1", 1.0)]
    assert overlap_of(tmp_path, asked, trained, near_bits=7)[1:] == []
    assert overlap_of(tmp_path, asked, trained[1:], near_bits=2) == []


def test_a_question_that_is_copied_word_for_word_is_found_whatever_its_picture(tmp_path: Path) -> None:
    asked = [question("q1", SPECIFIC, (1, 1)), question("q2", "Who was born in this old house by the sea?", (2, 2))]
    trained = [question("t1", SPECIFIC.upper(), (-1, -1)), question("t2", "Who was born here?", (-4, -1))]
    assert overlap_of(tmp_path, asked, trained) == [("q1", "training", "question", "s-t1", 1.0)]


def test_words_of_a_template_count_only_about_the_same_picture(tmp_path: Path) -> None:
    asked = [question(f"q{number}", TEMPLATE, (1 << 9 * number, 255 << 9 * number)) for number in range(4)]
    same = question("t9", TEMPLATE, (asked[2]["image_hash"], asked[2]["image_chroma"]))
    found = overlap_of(tmp_path, asked, [question("t1", TEMPLATE, (-1, -1)), same])
    assert found == [("q2", "training", "both", "s-t9", 1.0)]
    alone = overlap_of(tmp_path, asked[:1], [question("t1", TEMPLATE, (-1, -1))])
    assert alone == [("q0", "training", "question", "s-t1", 1.0)]
    many = [question(f"t{number}", TEMPLATE, (~(1 << 9 * number), number)) for number in range(3)]
    assert overlap_of(tmp_path, asked[:1], many) == []


@pytest.mark.parametrize(
    ("trained", "same"),
    [("3,5 m", True), ("3.5 m", True), ("35 m", False), ("-3.5 m", False), ("3.5 m+", False), ("<3.5 m", False)],
)
def test_a_question_with_another_number_or_sign_is_another_question(tmp_path: Path, trained: str, same: bool) -> None:
    words = "Was {} long"
    asked, other = question("q1", words.format("3.5 m"), (1, 1)), question("t1", words.format(trained), (-1, -1))
    found = overlap_of(tmp_path, [asked], [other])
    assert found == ([("q1", "training", "question", "s-t1", 1.0)] if same else [])


def test_what_was_dropped_was_not_trained_on(tmp_path: Path) -> None:
    asked, trained = [question("q1", SPECIFIC, (1, 1))], [question("t1", SPECIFIC, (1, 1))]
    assert overlap_of(tmp_path, asked, trained, kept=[]) == []
    assert overlap_of(tmp_path, asked, trained) == [("q1", "training", "both", "s-t1", 1.0)]


def test_items_are_found_by_picture_and_by_the_words_that_their_texts_quote(tmp_path: Path) -> None:
    asked = [question("q1", SPECIFIC, (255, 1)), question("q2", "这座桥是在哪一年建成通车的呢", (2, 2))]
    asked.append(question("q3", "Who built it?", (0xFFFF00, 3)))
    text = "A quiz. Question three: in which year was the suspension bridge of this picture opened to traffic? 1937."
    items = [
        item("i1", text, (-1, -1)),
        item("i2", "问：这座桥是在哪一年建成通车的呢？答：1937。", (2, 3)),
        item("i3", "Who built it?"),
    ]
    assert overlap_of(tmp_path, asked, items=items) == [
        ("q1", "knowledge", "question", "i1", 1.0),
        ("q2", "knowledge", "both", "i2", 1.0),
    ]


@pytest.mark.parametrize("offset", range(9))
def test_a_quotation_is_found_wherever_it_begins(tmp_path: Path, offset: int) -> None:
    before = " ".join(f"word{number}" for number in range(offset))
    text = f"{before} {SPECIFIC} and so on"
    found = overlap_of(tmp_path, [question("q1", SPECIFIC)], items=[item("i1", text)], run_words=8)
    assert found == [("q1", "knowledge", "question", "i1", 1.0)]


def test_parameters_that_are_missing_or_too_small_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="run_words is 1; expected runs of 2 words or more"):
        overlap_of(tmp_path, [question("q1", SPECIFIC)], run_words=1)
    with pytest.raises(ValueError, match="contamination needs the parameter max_pictures, min_share, near_bits"):
        find_overlap(questions=[], items=[], training=[], parameters={"run_words": 8})


def test_what_is_not_known_is_not_called_clean() -> None:
    none = {"flagged": 0, "image": 0, "question": 0, "both": 0}
    some = {"flagged": 3, "image": 1, "question": 0, "both": 2}
    counts: dict[str, Any] = {"benchmark": "b", "questions": 9, "training": none, "knowledge": none, "unknown": []}
    assert describe_overlap(counts)[0] == "b: all 9 questions are clean: none is like a training sample"
    assert (
        "3 of 9" in describe_overlap(counts | {"training": some})[0]
        and "6 are clean" in describe_overlap(counts | {"training": some})[0]
    )
    unknown = describe_overlap(counts | {"training": some, "unknown": ["no record"]})
    assert "picture and words 2, picture 1" in unknown[0] and "b: no record" in unknown
    assert not any("are clean" in sentence for sentence in unknown)
