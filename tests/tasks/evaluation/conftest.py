"""What tests of a stored memory share: one finished store, and the memory that it opens as."""

from collections.abc import Callable

import pytest

import comem_core as comem
from tasks.engine.context import Context
from tests.tasks.evaluation.finished_store import ITEMS, QUESTIONS, Finished, finish_run


@pytest.fixture(scope="session")
def finished(
    tmp_path_factory: pytest.TempPathFactory, make_context: Callable[..., Context], small_ray: None
) -> Finished:
    root = tmp_path_factory.mktemp("finished") / ".comem"
    root.mkdir()
    return finish_run(make_context(root), ITEMS, QUESTIONS)


@pytest.fixture(scope="session")
def memory(finished: Finished) -> comem.Memory:
    return comem.open(finished.place)
