"""The filters' defaults leave the countries world alone: what the shipped encoder was trained on stays the same."""

from dataclasses import asdict
from pathlib import Path

import pyarrow.parquet as pq

from comem_core.recipes.recipe import FilterRecipe
from comem_core.worlds.countries.world import load_seed_questions
from tasks.rows.tables import make_question_table
from warehouse.samples.filtering import filter_parameters, run_filters
from warehouse.schemas import check_rows, make_blank_row

NUM_SEEDS = 1200


def test_right_answers_of_the_countries_world_are_dropped_only_where_there_are_too_many(tmp_path: Path) -> None:
    seeds = load_seed_questions()[:NUM_SEEDS]
    drafts, verdicts = [], []
    for seed in seeds:
        named = {"sample_id": seed.question_id, "question_id": seed.question_id}
        asked = {"question": seed.question, "language": seed.language, "image_id": seed.image_id}
        drafts.append(make_blank_row("draft") | named | asked | {"answer": seed.answers[0], "truncated": False})
        judged = {"metric_score": 1.0, "without_score": 1.0, "grounded": True, "consistent": None}
        verdicts.append(make_blank_row("verdict") | {"sample_id": seed.question_id, "language_found": "??"} | judged)
    tables = {
        "drafts": check_rows("draft", drafts),
        "verdicts": check_rows("verdict", verdicts),
        "questions": make_question_table(seeds),
    }
    paths = {name: [tmp_path / f"{name}.parquet"] for name in tables}
    for name, table in tables.items():
        pq.write_table(table, paths[name][0])
    defaults = asdict(FilterRecipe())
    drops = run_filters(**paths, benchmarks=paths["questions"], parameters=defaults)
    assert {row["reason"] for row in drops.to_pylist()} <= {"over_represented"}
    strict = defaults | {"near_duplicate_similarity": 0.5, "near_duplicate_bits": 6, "max_per_item": 1}
    assert run_filters(**paths, parameters=strict).num_rows > drops.num_rows


def test_the_recipe_names_every_parameter_and_no_other() -> None:
    assert set(asdict(FilterRecipe())) == set().union(*filter_parameters().values())
