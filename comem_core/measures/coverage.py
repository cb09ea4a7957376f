"""`python -m comem_core.measures.coverage`: how often 95 % intervals hold the truth, and what `needed` is worth.

Draws questions in clusters, whose chance of a right answer is drawn too, so that the answers of a cluster go together.
The truth is known, so it is counted how often the intervals of `evaluation.statistics` hold it. Rows go to
`docs/results/coverage.json`.

Shapes: C clusters, N questions.
"""

import argparse
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.special import betaincinv

from comem_core.evaluation.comparison import count_questions_needed
from comem_core.evaluation.statistics import (
    FEWEST_CLUSTERS,
    Resampling,
    average_interval,
    compare_pairs,
    score_interval,
)
from comem_core.measures.results import Measured
from comem_core.measures.tables import record_rows

TOPIC, COMMAND, RECIPE = "coverage", "python -m comem_core.measures.coverage", "made answers"
NUMS_CLUSTERS = (FEWEST_CLUSTERS, 20, 40)
NUM_SIMULATIONS = 2000
FEW_SWAPS = Resampling(num_swaps=1)  # where only the interval is looked at

# Three seeds, and how much of a chance the seed decides.
NUM_SEEDS, SEED_PART = 3, 0.2

Bounds = tuple[float | None, float | None]


@dataclass(frozen=True, kw_only=True)
class World:
    """Questions as they are drawn: clusters of 1 to `most` questions, and how alike the answers of a cluster are.

    `right` are the chances of a right answer in two splits, or under two conditions; `alike` is the correlation of two
    answers in a cluster.
    """

    right: tuple[float, float] = (0.8, 0.6)
    most: int = 9
    alike: float = 0.3


# Comparisons whose number of questions needed is tried: with one question a cluster, and with clusters that differ.
COMPARED = {"one_a_cluster": World(right=(0.6, 0.5), most=1), "clusters": World(right=(0.6, 0.5))}
LARGE = 200_000


def main(arguments: Sequence[str] | None = None) -> None:
    """Simulate, print, and replace the stored rows."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("--simulations", type=int, default=NUM_SIMULATIONS, help="how often each is drawn")
    chosen = parser.parse_args(arguments)
    rows = list(measure(chosen.simulations))
    for row in rows:
        print(f"{row.measure:>30}  {row.value:6.2f} {row.unit} ({row.low} to {row.high})")
    record_rows(TOPIC, rows)


def measure(num_simulations: int) -> Iterator[Measured]:
    """Measure coverage by kind of number and number of clusters, and the power at the number of questions needed."""
    for name, simulate in SIMULATED.items():
        for num_clusters in NUMS_CLUSTERS:
            held = count_held(simulate, num_clusters, num_simulations, world=World())
            yield _make_row(f"coverage_{name}_{num_clusters}_clusters", held, num_simulations)
    for name, world in COMPARED.items():
        yield _make_row(f"power_at_needed_{name}", count_seen(num_simulations, world=world), num_simulations)


def count_held(simulate: "Simulate", num_clusters: int, num_simulations: int, *, world: World, seed: int = 0) -> int:
    """Count the simulations in which the interval holds the truth."""
    generator = np.random.default_rng([seed, num_clusters])
    held = 0
    for _ in range(num_simulations):
        (low, high), truth = simulate(generator, num_clusters, world)
        held += low is not None and high is not None and low <= truth <= high
    return held


def count_seen(num_simulations: int, *, world: World, seed: int = 0) -> int:
    """Count how often the first condition is called better with as many questions as a large comparison needs."""
    generator = np.random.default_rng(seed)
    found = compare_pairs(*_draw_pair(generator, LARGE, world), resampling=FEW_SWAPS)
    needed = count_questions_needed(found)
    assert needed is not None, "the conditions do not differ"
    num_clusters, swapped = round(needed * found.num_clusters / found.n), Resampling(num_swaps=999)
    drawn = (_draw_pair(generator, num_clusters, world) for _ in range(num_simulations))
    return sum(compare_pairs(*each, resampling=swapped).choose_word() == "better" for each in drawn)


def simulate_score(generator: np.random.Generator, num_clusters: int, world: World) -> tuple[Bounds, float]:
    """Draw the interval of a share of right answers, and the truth."""
    correct, _, clusters_N = _draw_pair(generator, num_clusters, world)
    found = score_interval(correct, clusters_N)
    return (found.low, found.high), world.right[0]


def simulate_harmonic(generator: np.random.Generator, num_clusters: int, world: World) -> tuple[Bounds, float]:
    """Draw the interval of the harmonic mean of two splits with as many clusters each, and the truth."""
    first, _, clusters_N = _draw_pair(generator, num_clusters, world)
    _, second, others_N = _draw_pair(generator, num_clusters, world)
    splits = ["first"] * len(first) + ["second"] * len(second)
    found = score_interval(
        np.concatenate([first, second]), np.concatenate([clusters_N, others_N + num_clusters]), splits=splits
    )
    return (found.low, found.high), 2 / sum(1 / right for right in world.right)


def simulate_difference(generator: np.random.Generator, num_clusters: int, world: World) -> tuple[Bounds, float]:
    """Draw the interval of the difference of two conditions on the same questions, and the truth."""
    found = compare_pairs(*_draw_pair(generator, num_clusters, world), resampling=FEW_SWAPS)
    return (found.low, found.high), world.right[0] - world.right[1]


def simulate_seeds(generator: np.random.Generator, num_clusters: int, world: World) -> tuple[Bounds, float]:
    """Draw the interval of the mean of three seeds, of which one learns more than another, and the truth."""
    chance_C = _draw_chances(generator.random(num_clusters), world.right[0], world)
    clusters_N = _draw_clusters(generator, num_clusters, world)
    learnt = generator.random((NUM_SEEDS, 1))
    chance_RN = (1 - SEED_PART) * chance_C[clusters_N] + SEED_PART * learnt
    found = average_interval(_draw_marks(generator, chance_RN), clusters_N)
    return (found.low, found.high), (1 - SEED_PART) * world.right[0] + SEED_PART / 2


Simulate = Callable[[np.random.Generator, int, World], tuple[Bounds, float]]
SIMULATED: dict[str, Simulate] = {
    "score": simulate_score,
    "harmonic": simulate_harmonic,
    "difference": simulate_difference,
    "three_seeds": simulate_seeds,
}


def _draw_clusters(generator: np.random.Generator, num_clusters: int, world: World) -> np.ndarray:
    """Draw the cluster of each question (N)."""
    return np.repeat(np.arange(num_clusters), generator.integers(1, world.most + 1, size=num_clusters))


def _draw_chances(quantile_C: np.ndarray, right: float, world: World) -> np.ndarray:
    """Return each cluster's chance of a right answer (C): a beta distribution with the mean `right`."""
    spread = 1 / world.alike - 1
    return betaincinv(right * spread, (1 - right) * spread, quantile_C)


def _draw_marks(generator: np.random.Generator, chance_N: np.ndarray) -> np.ndarray:
    return (generator.random(chance_N.shape) < chance_N).astype(float)


def _draw_pair(
    generator: np.random.Generator, num_clusters: int, world: World
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Draw the marks of two conditions, and the clusters; half of the clusters are as hard for one as for the other."""
    clusters_N, quantile_C = _draw_clusters(generator, num_clusters, world), generator.random(num_clusters)
    other_C = np.where(generator.random(num_clusters) < 0.5, quantile_C, generator.random(num_clusters))
    first, second = (
        _draw_marks(generator, _draw_chances(quantiles_C, right, world)[clusters_N])
        for quantiles_C, right in zip((quantile_C, other_C), world.right, strict=True)
    )
    return first, second, clusters_N


def _make_row(measure: str, num: int, num_simulations: int) -> Measured:
    """Make a row of a share of simulations, with its Clopper-Pearson interval."""
    low = betaincinv(num, num_simulations - num + 1, 0.025) if num else 0.0
    high = betaincinv(num + 1, num_simulations - num, 0.975) if num < num_simulations else 1.0
    value, low, high = (round(100 * float(share), 2) for share in (num / num_simulations, low, high))
    return Measured(
        measure=measure, recipe=RECIPE, value=value, low=low, high=high, unit="%", n=num_simulations, command=COMMAND
    )


if __name__ == "__main__":
    main()
