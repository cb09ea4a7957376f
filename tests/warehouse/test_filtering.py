"""Filters drop with a reason; the funnel adds up; nothing is lost or kept silently."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from duckdb import DuckDBPyConnection
from small_world import PARAMETERS, SmallWorld

from warehouse.filtering import FILTERS, filter_parameters, funnel, kept_samples, reason_meanings, run_filters
from warehouse.schemas import blank_row, check_rows, schema_of
from warehouse.sql import sql_names

OFF = {
    "min_metric_score": None,
    "max_without_score": None,
    "max_answer_words": None,
    "max_per_answer": None,
    "min_round_trip": None,
}


def draft(number: int, **changes: object) -> dict:
    row = blank_row("draft")
    row |= {"sample_id": f"s{number:02d}", "question_id": f"q{number}", "question": f"Question {number}?"}
    return row | {"image_id": "i", "answer": f"answer {number}", "truncated": False, "answer_tokens": 3} | changes


def verdict(number: int, **changes: object) -> dict:
    good = {"judge": "j", "metric_score": 1.0, "answer_without_items": "", "without_score": 0.0, "grounded": True}
    return blank_row("verdict") | {"sample_id": f"s{number:02d}"} | good | changes


def question(number: int) -> dict:
    row = blank_row("question")
    return row | {"question_id": f"q{number}", "question": f"Question {number}?", "attribute": "capital"}


def drops_of(
    folder: Path, drafts: list[dict], verdicts: list[dict], *, questions: int = 20, **parameters: object
) -> list[tuple]:
    """Write the rows as Parquet files and filter them, without a warehouse."""
    tables = {"draft": drafts, "verdict": verdicts, "question": [question(number) for number in range(questions)]}
    for table, rows in tables.items():
        pq.write_table(check_rows(table, rows), folder / f"{table}.parquet")
    paths = {f"{table}s": [folder / f"{table}.parquet"] for table in tables}
    found = run_filters(parameters=OFF | {"max_answer_words": 4} | parameters, **paths)
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
        ({"answer": ""}, {"metric_score": 0.0}, [("s01", "empty_or_long", 0.0), ("s01", "wrong", 0.0)]),
    ],
)
def test_each_filter_says_why_and_by_what_value(tmp_path: Path, changes: dict, judged: dict, expected: list) -> None:
    found = drops_of(
        tmp_path, [draft(1, **changes)], [verdict(1, **judged)], min_metric_score=0.5, max_without_score=1.0
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


def test_an_over_represented_answer_keeps_the_allowed_number_the_same_each_time(tmp_path: Path) -> None:
    drafts = [draft(number, answer="euro" if number < 8 else "lev") for number in range(10)]
    verdicts = [verdict(number) for number in range(10)]
    first = drops_of(tmp_path, drafts, verdicts, max_per_answer=3)
    assert [reason for _, reason, _ in first] == ["over_represented"] * 5
    assert sorted(value for *_, value in first) == [4.0, 5.0, 6.0, 7.0, 8.0]
    assert drops_of(tmp_path, drafts[::-1], verdicts, max_per_answer=3) == first


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
    assert drops.schema == schema_of("drop")
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
    counts = funnel(con, world.fingerprints["synthesise"], world.fingerprints["filter"])
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
    assert kept_samples(drafts=[tmp_path / "d.parquet"], drops=drops).to_pylist() == [{"sample_id": "s01"}]


def test_every_filter_file_is_ordered_and_explained_with_the_recipes_values() -> None:
    assert set(FILTERS) == set(sql_names("filters")) == set(filter_parameters())
    meanings = reason_meanings(PARAMETERS | {"max_without_score": None})
    assert "longer than 6 words" in meanings["empty_or_long"] and "Value" not in meanings["empty_or_long"]
    assert meanings["not_needed"] == "Switched off in this recipe."
