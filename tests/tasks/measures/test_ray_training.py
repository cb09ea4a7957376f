"""What Ray Train costs is measured on whole trainings, with and without it."""

import pytest

from tasks.measures.ray_training import measure_ray


@pytest.mark.slow
def test_a_training_is_timed_with_ray_and_without_it():
    assert 0.1 < measure_ray(5) < 10
