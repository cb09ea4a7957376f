"""Filters drop with a reason; the funnel adds up; nothing is lost or kept silently."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from duckdb import DuckDBPyConnection
from small_world import OFF, PARAMETERS, SmallWorld

from warehouse.samples.filtering import (
    FILTERS,
    count_funnel,
    filter_parameters,
    list_kept_samples,
    read_reason_meanings,
    run_filters,
)
from warehouse.schemas import check_rows, make_blank_row, make_schema
from warehouse.sql import list_sql_names

ON = {"max_answer_words": 4, "must_be_grounded": True, "must_be_consistent": True, "must_be_in_language": True}


def draft(number: int, **changes: object) -> dict:
    row = make_blank_row("draft")
    row |= {"sample_id": f"s{number:02d}", "question_id": f"q{number}", "question": f"Question {number}?"}
    return row | {"image_id": "i", "answer": f"answer {number}", "truncated": False, "answer_tokens": 3} | changes


def verdict(number: int, **changes: object) -> dict:
    good = {"judge": "j", "metric_score": 1.0, "answer_without_items": "", "without_score": 0.0, "grounded": True}
    return make_blank_row("verdict") | {"sample_id": f"s{number:02d}"} | good | changes


def question(number: int, **changes: object) -> dict:
    row = make_blank_row("question")
    return row | {"question_id": f"q{number}", "question": f"Question {number}?", "attribute": "capital"} | changes


def drops_of(
    folder: Path,
    drafts: list[dict],
    verdicts: list[dict],
    *,
    questions: Sequence[dict] = (),
    benchmark: Sequence[dict] = (),
    **parameters: object,
) -> list[tuple]:
    """Write the rows as Parquet files and filter them, without a warehouse."""
    asked = [*questions] or [question(number) for number in range(20)]
    tables = {"draft": drafts, "verdict": verdicts, "question": asked, "benchmark": [*benchmark]}
    for name, rows in tables.items():
        pq.write_table(check_rows("question" if name == "benchmark" else name, rows), folder / f"{name}.parquet")
    paths = {f"{name}s": [folder / f"{name}.parquet"] for name in tables if name != "benchmark" or benchmark}
    found = run_filters(parameters=OFF | ON | parameters, **paths)
    return [tuple(row.values()) for row in found.to_pylist()]


@pytest.mark.parametrize(
    ("changes", "judged", "expected"),
    [
        ({}, {}, []),
        ({"truncated": True, "answer_tokens": 64}, {}, [("s01", "truncated", 64.0)]),
        ({"answer": "  "}, {}, [("s01", "empty_or_long", 0.0)]),
        ({"answer": None}, {}, [("s01", "empty_or_long", 0.0)]),
        ({"answer": "one two  three four\nfive"}, {}, [("s01", "empty_or_long", 5.0)]),
        ({}, {"metric_score": 0.25}, [("s01", "wrong", 0.25)]),
        ({}, {"metric_score": None}, []),
        ({}, {"grounded": False}, [("s01", "ungrounded", 0.0)]),
        ({}, {"without_score": 1.0}, [("s01", "not_needed", 1.0)]),
        ({"error": "no answer in 60 s"}, {}, [("s01", "failed", None)]),
        ({}, {"consistent": False}, [("s01", "inconsistent", 0.0)]),
        ({"language": "en"}, {"language_found": "fr"}, [("s01", "wrong_language", None)]),
        ({"language": "en"}, {"language_found": None}, []),
        ({"question": "Why?"}, {}, [("s01", "question_length", 1.0)]),
        ({"question": "Where is it in all of the world?"}, {}, [("s01", "question_length", 8.0)]),
        ({"question": "这个国家使用什么货币"}, {}, []),
        ({"answer": "这个国家使用什么货币"}, {}, [("s01", "empty_or_long", 5.0)]),
        ({"answer": ""}, {"metric_score": 0.0}, [("s01", "empty_or_long", 0.0), ("s01", "wrong", 0.0)]),
    ],
)
def test_each_filter_says_why_and_by_what_value(tmp_path: Path, changes: dict, judged: dict, expected: list) -> None:
    found = drops_of(
        tmp_path,
        [draft(1, **changes)],
        [verdict(1, **judged)],
        min_metric_score=0.5,
        max_without_score=1.0,
        min_question_words=2,
        max_question_words=7,
    )
    assert found == expected


def test_a_draft_without_a_verdict_is_dropped_and_not_kept_silently(tmp_path: Path) -> None:
    assert drops_of(tmp_path, [draft(1), draft(2)], [verdict(2)]) == [("s01", "unjudged", None)]


def test_the_first_of_equal_drafts_is_kept_and_a_dropped_one_does_not_count(tmp_path: Path) -> None:
    same = {"question": "Where?", "answer": "Lima"}
    drafts = [
        draft(1, **same),
        draft(2, **same),
        draft(3, question=" where?", answer="LIMA"),
        draft(4, **same, truncated=True),
    ]
    verdicts = [verdict(1, metric_score=0.0), verdict(2), verdict(3), verdict(4)]
    assert drops_of(tmp_path, drafts, verdicts, min_metric_score=0.5) == [
        ("s01", "wrong", 0.0),
        ("s03", "duplicate", 2.0),
        ("s04", "truncated", 3.0),
    ]


APART = [
    ("5 mW", "5 MW"), ("5mW", "5MW"), ("3 Pa", "3 PA"), ("2 mmol/L", "2 Mmol/L"), ("C++", "C#"), ("O−", "O+"),
    ("-5 °C", "5 °C"), (">5", "<5"), ("3.5 m", "35 m"),
]  # fmt: skip


@pytest.mark.parametrize(("one", "other"), APART)
def test_what_tells_answers_apart_is_no_duplicate(tmp_path: Path, one: str, other: str) -> None:
    in_answers = [draft(1, question="How much?", answer=one), draft(2, question="How much?", answer=other)]
    in_questions = [
        draft(1, question=f"Is it {one}?", answer="yes"),
        draft(2, question=f"Is it {other}?", answer="yes"),
    ]
    again = draft(3, question="HOW much?", answer=one)
    for drafts in (in_answers, in_questions):
        assert drops_of(tmp_path, drafts, [verdict(1), verdict(2)]) == []
    found = drops_of(tmp_path, [*in_answers, again], [verdict(1), verdict(2), verdict(3)])
    assert found == [("s03", "duplicate", 2.0)]


def test_an_over_represented_answer_keeps_the_allowed_number_the_same_each_time(tmp_path: Path) -> None:
    drafts = [draft(number, answer="euro" if number < 8 else "lev") for number in range(10)]
    verdicts = [verdict(number) for number in range(10)]
    first = drops_of(tmp_path, drafts, verdicts, max_per_answer=3)
    assert [reason for _, reason, _ in first] == ["over_represented"] * 5
    assert sorted(value for *_, value in first) == [4.0, 5.0, 6.0, 7.0, 8.0]
    assert drops_of(tmp_path, drafts[::-1], verdicts, max_per_answer=3) == first


def test_what_is_off_drops_nothing(tmp_path: Path) -> None:
    bad = verdict(1, grounded=False, consistent=False, language_found="fr")
    off = {"must_be_grounded": False, "must_be_consistent": None, "must_be_in_language": False}
    assert drops_of(tmp_path, [draft(1, language="en")], [bad], **off) == []


def near_drops(folder: Path, changes: Sequence[dict], pictures: Sequence[tuple | None], **parameters: object) -> list:
    """Filter drafts s00, s01, … whose questions have these picture hashes, for near duplicates only."""
    hashes = [dict(zip(("image_hash", "image_chroma"), picture or (None, None), strict=True)) for picture in pictures]
    drafts = [draft(number, **change) for number, change in enumerate(changes)]
    verdicts = [verdict(number) for number in range(len(changes))]
    questions = [question(number, **found) for number, found in enumerate(hashes)]
    wanted: dict = {"near_duplicate_similarity": 0.6, "near_duplicate_bits": 3} | parameters
    return drops_of(folder, drafts, verdicts, questions=questions, **wanted)


def test_near_the_same_question_about_near_the_same_picture_is_dropped(tmp_path: Path) -> None:
    asked = [{"question": text} for text in ("What is the capital?", "What is the old capital", "Who lives there")]
    same = (-1, 5)
    assert near_drops(tmp_path, asked, [same, same, same]) == [("s01", "near_duplicate", 0.8)]
    assert near_drops(tmp_path, asked, [same, (-1 ^ 0b11, 4), same]) == [("s01", "near_duplicate", 0.8)]
    assert near_drops(tmp_path, asked, [same, (-1 ^ 0b111, 4), same]) == []
    assert near_drops(tmp_path, asked, [same, same, same], near_duplicate_similarity=0.81) == []
    assert near_drops(tmp_path, asked, [same, same, same], near_duplicate_bits=None) == []


@pytest.mark.parametrize(
    ("one", "other"),
    [
        *(("3.5 m", "35 m"), ("-5 °C", "5 °C"), ("C++", "C#"), ("O−", "O+"), (">5 kg", "<5 kg"), ("1,500 m", "1.5 m")),
        *(("5 mW", "5 MW"), ("5mΩ", "5MΩ"), ("3 Mbit/s", "3 mbit/s")),
    ],
)
def test_questions_with_another_number_or_sign_are_no_near_duplicates(tmp_path: Path, one: str, other: str) -> None:
    asked = [{"question": f"What is this long thing of {text} in this picture used for?"} for text in (one, other, one)]
    assert near_drops(tmp_path, asked, [(1, 1)] * 3) == [("s02", "near_duplicate", 1.0)]


def test_a_number_written_another_way_makes_a_near_duplicate(tmp_path: Path) -> None:
    ways = ("the 1,234.5 m rod", "the 1234.5 m rod", "the 1'234,5 m rod", "the 1234,5 m rod?")
    asked = [{"question": f"Who made {text}"} for text in ways]
    assert [reason for _, reason, _ in near_drops(tmp_path, asked, [(1, 1)] * 4)] == ["near_duplicate"] * 3


def test_a_dropped_draft_makes_no_near_duplicate_and_characters_stand_for_words(tmp_path: Path) -> None:
    asked: list[dict] = [{"question": f"这个国家使用什么货币{end}"} for end in ("", "？", "呢", "")]
    asked[0] |= {"truncated": True}
    found = near_drops(tmp_path, asked, [(1, 1)] * 4)
    assert found == [("s00", "truncated", 3.0), ("s02", "near_duplicate", 10 / 11), ("s03", "near_duplicate", 1.0)]


def test_without_a_picture_the_item_says_what_a_question_is_about(tmp_path: Path) -> None:
    asked = [{"question": "Where is it?", "image_id": None, "item_ids": items} for items in (["a"], ["b"], ["a", "b"])]
    found = near_drops(tmp_path, [*asked, asked[0] | {"item_ids": None}], [None] * 4)
    assert found == [("s02", "near_duplicate", 1.0)]


def test_a_picture_of_a_benchmark_contaminates_what_shows_nearly_the_same(tmp_path: Path) -> None:
    hashes = [{"image_hash": 7, "image_chroma": -9}, {"image_hash": 7 ^ 0b11, "image_chroma": -9 ^ 1}, {}]
    questions = [question(number, **found) for number, found in enumerate(hashes)]
    drafts = [draft(0), draft(1), draft(2, image_id="seen")]
    options = {"questions": questions, "contaminated_bits": 3}
    benchmark = [question(50, **hashes[0]), question(50, image_id="seen")]
    verdicts = [verdict(number) for number in range(3)]
    assert drops_of(tmp_path, drafts, verdicts, benchmark=benchmark, **options) == [
        ("s00", "contaminated_image", 0.0),
        ("s01", "contaminated_image", 3.0),
        ("s02", "contaminated_image", 0.0),
    ]
    assert drops_of(tmp_path, drafts, verdicts, **options) == []


def test_a_question_of_a_benchmark_contaminates_what_says_much_of_it(tmp_path: Path) -> None:
    asked = ["In which YEAR was this bridge built, please?", "Who built it?", "这座桥是哪一年建成的", "In which year?"]
    drafts = [draft(number, question=text) for number, text in enumerate(asked)]
    benchmark = [
        question(9, question=text) for text in ("In which year was this bridge built", "请问这座桥是哪一年建成呢")
    ]
    verdicts = [verdict(number) for number in range(4)]
    options = {"contaminated_ngram": 4, "contaminated_share": 0.5, "contaminated_pictures": 2}
    assert drops_of(tmp_path, drafts, verdicts, benchmark=benchmark, **options) == [
        ("s00", "contaminated_question", 0.8),
        ("s02", "contaminated_question", 2 / 3),
    ]


def test_words_that_are_asked_about_many_pictures_contaminate_nothing(tmp_path: Path) -> None:
    words = "Who made this aircraft?"
    options = {"contaminated_ngram": 4, "contaminated_share": 0.5, "contaminated_pictures": 2}
    drafts = [draft(number, question=words, image_id=f"i{number}") for number in range(3)]
    asked = [question(number, question=words, image_id=f"b{number}") for number in range(3)]
    verdicts = [verdict(number) for number in range(3)]
    two = [("s00", "contaminated_question", 1.0), ("s01", "contaminated_question", 1.0)]
    assert drops_of(tmp_path, drafts[:2], verdicts, benchmark=asked[:2], **options) == two
    assert drops_of(tmp_path, drafts[:2], verdicts, benchmark=asked, **options) == []
    assert drops_of(tmp_path, drafts, verdicts, benchmark=asked[:2], **options) == []


@pytest.mark.parametrize(("one", "other"), APART)
def test_answers_that_are_told_apart_are_counted_apart(tmp_path: Path, one: str, other: str) -> None:
    drafts = [draft(number, answer=one if number % 2 else other) for number in range(4)]
    assert drops_of(tmp_path, drafts, [verdict(number) for number in range(4)], max_per_answer=2) == []
    again = [draft(number, answer=one) for number in range(4)]
    found = drops_of(tmp_path, again, [verdict(number) for number in range(4)], max_per_answer=2)
    assert [reason for _, reason, _ in found] == ["over_represented"] * 2


def test_an_over_represented_item_keeps_the_allowed_number(tmp_path: Path) -> None:
    questions = [question(number, gold_item_id="gold" if number < 3 else None) for number in range(6)]
    drafts = [draft(number, item_ids=["gold" if number == 3 else "other"]) for number in range(5)]
    found = drops_of(tmp_path, drafts, [verdict(number) for number in range(5)], questions=questions, max_per_item=2)
    assert {reason for _, reason, _ in found} == {"over_represented_source"}
    assert sorted(value for *_, value in found) == [3.0, 4.0] and "s04" not in {name for name, *_ in found}


def test_missing_and_unused_parameters_are_errors(tmp_path: Path) -> None:
    nothing = [tmp_path / "none.parquet"]
    sources = {"drafts": nothing, "verdicts": nothing, "questions": nothing}
    with pytest.raises(ValueError, match="the filter empty_or_long needs the parameter max_answer_words"):
        run_filters(parameters={"min_metric_score": 1}, **sources)
    with pytest.raises(ValueError, match="no filter uses max_words"):
        run_filters(parameters=PARAMETERS | {"max_words": 3}, **sources)


def test_ids_that_are_there_twice_are_named(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="the verdict rows have sample_id s01 more than once"):
        drops_of(tmp_path, [draft(1)], [verdict(1), verdict(1)])


def test_an_unknown_artefact_is_named_and_leaves_the_connection_usable(
    con: DuckDBPyConnection, world: SmallWorld
) -> None:
    sources = {"verdicts": [world.fingerprints["judge"]], "questions": [world.fingerprints["questions"]]}
    with pytest.raises(ValueError, match="no artefact wrong is registered to take the draft rows from"):
        run_filters(con, drafts=["wrong"], parameters=PARAMETERS, **sources)
    drops = run_filters(con, drafts=[world.fingerprints["synthesise"]], parameters=PARAMETERS, **sources)
    assert drops.schema == make_schema("drop")
    assert con.execute("SELECT count(*) FROM draft").fetchall() == [(49,)]


def test_files_and_warehouse_give_the_same_drops(con: DuckDBPyConnection, world: SmallWorld) -> None:
    stages = {"drafts": "synthesise", "verdicts": "judge", "questions": "questions"}
    names = {role: world.fingerprints[stage] for role, stage in stages.items()}
    tables = {"drafts": "draft", "verdicts": "verdict", "questions": "question"}
    files = {
        role: sorted((world.store / stages[role] / names[role]).glob(f"{tables[role]}-*.parquet")) for role in stages
    }
    from_files = run_filters(parameters=PARAMETERS, **files)
    assert from_files.equals(run_filters(con, parameters=PARAMETERS, **{role: [name] for role, name in names.items()}))
    assert from_files.num_rows > 10


def test_a_dropped_sample_keeps_its_reason_and_the_funnel_adds_up(con: DuckDBPyConnection, world: SmallWorld) -> None:
    counts = count_funnel(con, world.fingerprints["synthesise"], world.fingerprints["filter"])
    assert [line.reason for line in counts.reasons] == list(FILTERS)
    assert counts.drafts == counts.kept + sum(line.first for line in counts.reasons) == 49
    assert all(line.first <= line.total for line in counts.reasons)
    assert sum(line.total for line in counts.reasons) == con.execute("SELECT count(*) FROM drop").fetchall()[0][0]
    lost = "SELECT sample_id FROM draft ANTI JOIN sample USING (sample_id) ANTI JOIN drop USING (sample_id)"
    both = "SELECT sample_id FROM sample SEMI JOIN drop USING (sample_id)"
    assert con.execute(lost).fetchall() == con.execute(both).fetchall() == []
    assert counts.kept == con.execute("SELECT count(*) FROM sample").fetchall()[0][0]


def test_kept_samples_are_the_drafts_that_no_drop_names(tmp_path: Path) -> None:
    pq.write_table(check_rows("draft", [draft(2), draft(1)]), tmp_path / "d.parquet")
    drops = check_rows("drop", [{"sample_id": "s02", "reason": "wrong", "value": 0.0}])
    assert list_kept_samples(drafts=[tmp_path / "d.parquet"], drops=drops).to_pylist() == [{"sample_id": "s01"}]


def test_every_filter_file_is_ordered_and_explained_with_the_recipes_values() -> None:
    assert set(FILTERS) == set(list_sql_names("filters")) == set(filter_parameters())
    meanings = read_reason_meanings(PARAMETERS | {"max_without_score": None})
    assert "longer than 6 words" in meanings["empty_or_long"] and "Value" not in meanings["empty_or_long"]
    assert meanings["not_needed"] == "Switched off in this recipe."
