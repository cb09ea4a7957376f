"""`make bench`: the measures of the library's speed, and what Ray Train costs."""

from collections.abc import Iterator

from comem_core.measures.results import Measured
from comem_core.measures.speed import PARTS, main, make_row
from tasks.measures.ray_training import NUM_STEPS, measure_ray


def _measure_ray() -> Iterator[Measured]:
    yield make_row("ray_vs_bare_ratio", measure_ray(), "Ray Train / bare loop", n=NUM_STEPS)


if __name__ == "__main__":
    main(parts={**PARTS, "ray": _measure_ray})
