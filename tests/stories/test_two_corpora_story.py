"""Two folders with one last name are two corpora: each is compared with itself, and pages tell them apart."""

from pathlib import Path

import duckdb
import pytest

from comem_core.worlds.countries.world import load_knowledge_items
from flows.local.comparing import compare_runs
from flows.re_evaluate import re_evaluate
from tasks.engine.context import Context
from warehouse.connection import open_warehouse
from warehouse.sql import read_report_rows

FEW = 4
ORDER = ("a", "b", "a")


@pytest.fixture(scope="module")
def context(tmp_path_factory: pytest.TempPathFactory, prefect_server: None, small_ray: None) -> Context:
    """An evaluation on the flags in folder a, in folder b, and in folder a again, where one has been added."""
    root = tmp_path_factory.mktemp("corpora")
    items = [item for item in load_knowledge_items() if item.language == "en"][: 4 * FEW]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("COMEM_ROOT", str(root))
        for number, name in enumerate(ORDER):
            folder = root / name / "flags"
            folder.mkdir(parents=True, exist_ok=True)
            for item in items[number * FEW :][:FEW]:
                (folder / f"{item.entity_id}.png").write_bytes(item.picture)
                (folder / f"{item.entity_id}.en.txt").write_text(item.text, encoding="utf-8")
            patch.chdir(root / name)
            re_evaluate(encoders=["tiny-encoder"], knowledge="flags", limit=FEW, conditions=["memory"])
        return Context.from_environment()


def read_rows(context: Context, sql: str) -> list[tuple]:
    with duckdb.connect(str(context.warehouse), read_only=True) as con:
        return con.execute(sql).fetchall()


def test_each_corpus_is_compared_with_itself(context: Context) -> None:
    evaluations = read_rows(context, "SELECT predictions FROM evaluation ORDER BY made")
    compared = read_rows(context, "SELECT DISTINCT before FROM difference WHERE before IS NOT NULL")
    assert len(evaluations) == len(ORDER) and compared == [evaluations[0]]


def test_the_pages_and_the_list_of_runs_say_which_corpus_it_is(context: Context) -> None:

    with open_warehouse(context.warehouse, read_only=True) as con:
        listed = read_report_rows(con, "recent_runs", {"limit": 9})
    places = [str(context.root.parent / name / "flags") for name in ORDER]
    assert [row["corpus"] for row in reversed(listed)] == places
    pages = sorted(context.store.glob("evaluation-report/*/evaluation.html"), key=lambda page: page.stat().st_mtime)
    for page, place in zip(pages, places, strict=True):
        assert f"<dt>Corpus</dt><dd>{place}</dd>" in page.read_text(encoding="utf-8")


@pytest.mark.parametrize("two", [(0, 1), (0, 2)], ids=["two corpora", "one corpus"])
def test_a_comparison_that_is_asked_for_names_the_corpora_where_they_are_two(
    context: Context, tmp_path: Path, two: tuple[int, int]
) -> None:
    runs = [run_id for (run_id,) in read_rows(context, "SELECT run_id FROM evaluation ORDER BY made")]
    [(page, _)] = compare_runs(context, runs[two[0]], runs[two[1]], tmp_path)
    text = page.read_text(encoding="utf-8")
    are_named = ["<dd>a/flags</dd>" in text, "<dd>b/flags</dd>" in text, "another corpus" in text]
    assert are_named == [two == (0, 1)] * 3
