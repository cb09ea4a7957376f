"""Simulations in which the truth is known: intervals hold it, and the questions needed show a difference."""

from pathlib import Path

import pytest

from comem_core.measures import coverage
from comem_core.measures.coverage import SIMULATED, World, count_held, count_seen
from comem_core.measures.results import read_results

BELOW, ABOVE = 0.93, 0.99  # of 400 simulations: three standard errors around 95 and 97 of 100
NUM = 400


@pytest.mark.parametrize("world", [World(), World(right=(0.5, 0.4), most=3), World(right=(0.9, 0.5), alike=0.1)])
@pytest.mark.parametrize("num_clusters", [10, 20])
@pytest.mark.parametrize("simulate", SIMULATED.values(), ids=SIMULATED)
def test_intervals_hold_the_truth_about_95_times_in_100(
    simulate: coverage.Simulate, num_clusters: int, world: World
) -> None:
    assert BELOW <= count_held(simulate, num_clusters, NUM, world=world) / NUM <= ABOVE


def test_three_seeds_on_the_same_questions_are_three_looks_at_them_not_three_times_as_many() -> None:
    """The mean of seeds as if each had questions of its own is too sure: it leaves the seeds' variance out."""
    assert BELOW <= count_held(coverage.simulate_seeds, 20, NUM, world=World(most=30)) / NUM <= ABOVE


@pytest.mark.parametrize("world", coverage.COMPARED.values(), ids=coverage.COMPARED)
def test_with_the_questions_needed_a_difference_is_seen_in_four_of_five_comparisons(world: World) -> None:
    assert 0.7 <= count_seen(200, world=world) / 200 <= 0.87


def test_every_simulation_becomes_a_row_with_its_interval(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    coverage.main(["--simulations", "20"])
    rows = {row["measure"]: row for row in read_results(Path("docs/results/coverage.json"))}
    assert {"coverage_score_10_clusters", "coverage_difference_40_clusters", "power_at_needed_clusters"} <= set(rows)
    assert all(row["low"] <= row["value"] <= row["high"] and row["n"] == 20 for row in rows.values())
