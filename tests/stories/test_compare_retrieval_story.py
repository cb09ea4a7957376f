"""Searches compared on a folder of one's own: the page, what a terminal shows, and what cannot be compared."""

from pathlib import Path
from uuid import UUID

import duckdb
import pytest

from flows.compare_retrieval import compare_retrieval
from flows.local.results import describe_results
from flows.options import Search
from tasks.engine.context import Context, ParameterRefused

GRIDS: list[str | Search] = ["backbone", Search(grid=(1, 1))]


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory, own_folder: Path, prefect_server: None, small_ray: None) -> Path:
    root = tmp_path_factory.mktemp("searches-story")
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMEM_ROOT", str(root))
        compare_retrieval(knowledge=str(own_folder), among=GRIDS)
        compare_retrieval(knowledge=str(own_folder), among=GRIDS, questions="asked", limit=20)
    return root / ".comem"


def read_rows(place: Path, sql: str) -> list[tuple]:
    with duckdb.connect(str(place / "warehouse.duckdb"), read_only=True) as con:
        return con.execute(sql).fetchall()


def test_every_search_is_compared_on_every_picture_of_the_folder(place: Path) -> None:
    asked = "SELECT count(*), count(DISTINCT gold_item_id) FROM question WHERE question = ''"
    assert read_rows(place, asked) == [(12, 12)]  # twelve flags
    found = "SELECT DISTINCT search, n FROM tried_search WHERE language IS NULL ORDER BY ALL"
    names = ("backbone", "backbone 3x4")
    assert read_rows(place, f"{found} DESC LIMIT 4") and read_rows(place, found) == [
        (name, num) for name in names for num in (12, 20)
    ]


def test_the_vlm_asks_in_words_about_the_same_pictures(place: Path) -> None:
    [(num, num_items)] = read_rows(
        place,
        "SELECT count(*), count(DISTINCT gold_item_id) FROM question WHERE benchmark = 'augmented' AND question <> ''",
    )
    assert num == num_items == 20  # one question of each item


def test_a_terminal_shows_the_best_search_and_where_the_page_is(place: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMEM_ROOT", str(place.parent))
    [(flow_run_id, *_), *_] = read_rows(place, "SELECT flow_run_id FROM run WHERE status = 'completed'")
    lines = describe_results(Context.from_environment(), UUID(flow_run_id))
    assert lines[1].startswith("best: backbone") and any("searches.html" in line for line in lines)
    assert sum("in the first 3" in line for line in lines) == 3  # the outcome, and each search


def test_a_plan_makes_nothing(own_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMEM_ROOT", str(tmp_path))
    compare_retrieval(knowledge=str(own_folder), among=GRIDS, plan=True)
    assert not list(tmp_path.rglob("*.parquet"))


def test_a_benchmark_about_other_items_is_refused_before_anything_is_embedded(
    tmp_path: Path, own_folder: Path, prefect_server: None, small_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMEM_ROOT", str(tmp_path / "root"))
    folder = tmp_path / "folder"
    folder.mkdir()
    picture = next(own_folder.glob("*.en.txt")).with_suffix("").with_suffix(".png")
    (folder / "one.png").write_bytes(picture.read_bytes())
    (folder / "one.txt").write_text("A flag that nobody asks about.")
    with pytest.raises(ParameterRefused, match="questions of countries-vqa are about"):
        compare_retrieval(knowledge=str(folder), among=GRIDS, questions="countries-vqa", limit=5)
    assert not list((tmp_path / "root").rglob("index/*"))
