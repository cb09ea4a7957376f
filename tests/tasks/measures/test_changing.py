"""The measure of a corpus that changed: the second process makes the new items alone."""

from pathlib import Path

import pyarrow.parquet as pq
import pytest

from tasks.measures import changing


@pytest.mark.slow
def test_the_second_run_over_a_corpus_that_grew_encodes_what_is_new(tmp_path: Path) -> None:
    changing.write_pictures(tmp_path / changing.CORPUS, range(40))
    assert changing.make_bank(tmp_path).keys() == {"items", "index", "bank"}
    changing.write_pictures(tmp_path / changing.CORPUS, range(40, 44))
    changing.make_bank(tmp_path)
    banks = sorted((tmp_path / "store" / "bank").glob("*/record.json"), key=lambda path: path.stat().st_mtime)
    rows = {path.name: pq.read_metadata(path).num_rows for path in banks[-1].parent.glob("part-*.parquet")}
    assert rows == {"part-linked-00000-before.parquet": 40, "part-00000.parquet": 4}
