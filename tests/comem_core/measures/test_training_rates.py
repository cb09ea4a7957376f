"""What the measured rates are measured on: items of lengths that differ, and workers that may fail."""

from pathlib import Path

import pytest

from comem_core.measures.training.processes import run_workers
from comem_core.measures.training.rates import measure_two_workers, vary_lengths
from comem_core.worlds.countries.world import load_knowledge_items


def test_mixed_items_are_the_same_ones_with_texts_of_very_different_lengths():
    items = load_knowledge_items()[:32]
    mixed = vary_lengths(items)
    assert mixed == vary_lengths(items)
    assert all(made.text.startswith(item.text) for made, item in zip(mixed, items, strict=True))
    lengths = [len(made.text) for made in mixed]
    assert max(lengths) > 3 * min(lengths)


def test_a_failed_worker_is_an_error_that_names_the_measure():
    with pytest.raises(RuntimeError, match=r"a worker of comem_core\.measures\.training\.rates failed"):
        run_workers("comem_core.measures.training.rates", [["0"]])


@pytest.mark.slow
def test_two_workers_train_on_the_batches_of_one():
    assert measure_two_workers(repeats=1) > 0


TALKING = """
import sys, time
from pathlib import Path

said, other = map(Path, sys.argv[1:])
sys.stderr.write("x" * 300_000)
said.touch()
while not other.exists():
    time.sleep(0.01)
print(1)
"""


def test_workers_that_wait_for_each_other_may_say_more_than_a_pipe_holds(tmp_path: Path):
    (tmp_path / "talking.py").write_text(TALKING, encoding="utf-8")
    first, second = str(tmp_path / "first"), str(tmp_path / "second")
    assert run_workers("talking", [(first, second), (second, first)], PYTHONPATH=str(tmp_path)) == [1, 1]
