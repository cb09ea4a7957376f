"""The small world, made once for the tests that only read it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from duckdb import DuckDBPyConnection

from warehouse.connection import open_warehouse

sys.path.insert(0, str(Path(__file__).parent))  # pytest imports by path, so the helpers beside this file need it

from small_world import SmallWorld, build


@pytest.fixture(scope="session")
def world(tmp_path_factory: pytest.TempPathFactory) -> SmallWorld:
    """Return a finished run; do not write to it."""
    return build(tmp_path_factory.mktemp("world"))


@pytest.fixture
def con(world: SmallWorld) -> Iterator[DuckDBPyConnection]:
    """Yield a read-only connection to the finished run's warehouse."""
    with open_warehouse(world.database, read_only=True) as con:
        yield con
