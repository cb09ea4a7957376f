"""The bank of a corpus that changed, in a bucket: shards of the earlier bank are copied there, and not read here."""

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from comem_core.addresses.places import find_store_cache
from comem_core.memory.description import find_encoder_folder
from tasks.engine.address.nodes import list_store_variables
from tasks.engine.context import Context
from tasks.engine.on_ray import release_workers
from tasks.engine.worker_process import handed_on
from tasks.memory.parts import list_parts
from tasks.run import Run
from tests.tasks.evaluation.finished_store import ITEMS, make_run, put_encoder
from tests.tasks.memory.test_encode import OTHERS, check_equal, encode


@pytest.fixture
def on_machine(
    bucket: str, make_context: Callable[..., Context], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, small_ray: None
) -> Iterator[Callable[[str], Run]]:
    """Return what gives a run on a machine with an empty cache; its workers are new ones."""

    def start(name: str) -> Run:
        monkeypatch.setenv("COMEM_STORE_CACHE", str(tmp_path / name / "cache"))
        little = make_context(tmp_path / name, rows_per_shard=8, batch_size=4, num_actors=1)
        context = replace(little, store=find_store_cache(bucket), store_address=bucket)
        handed_on.update(list_store_variables(context))
        release_workers()
        return make_run(context)

    yield start
    handed_on.clear()
    release_workers()


@pytest.mark.slow
def test_a_bank_links_the_shards_of_an_earlier_one_that_is_in_the_bucket(on_machine: Callable[[str], Run]) -> None:
    run = on_machine("one")
    encoder = put_encoder(run, "trained", find_encoder_folder("tiny-encoder"))
    first = encode(run, ITEMS[:32], encoder)
    items = [*ITEMS[:10], *ITEMS[11:32], *OTHERS[:3]]
    other = on_machine("two")
    again = encode(other, items, encoder)
    folder = other.context.store / "bank" / again.fingerprint
    assert len(list_parts(folder, linked=True)) == 3
    assert not list(folder.glob("memory-part-linked-*"))  # nobody needed them on this machine
    earlier = {path.name for path in (other.context.store / "bank" / first.fingerprint).glob("memory-*")}
    assert len(earlier) == 1  # the shard of which single memories were read
    check_equal(again, items)
