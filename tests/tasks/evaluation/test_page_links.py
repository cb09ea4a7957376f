"""Links to pages: where they are served, else to the files; between pages always relative."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from tasks.engine.context import Context
from tasks.evaluation.page_links import find_page, name_page, write_link


@pytest.fixture
def context(tmp_path: Path) -> Context:
    page = tmp_path / "store" / "report" / "0f3c" / "report.html"
    page.parent.mkdir(parents=True)
    page.write_text("<!doctype html>")
    return Context(root=tmp_path, store=tmp_path / "store", warehouse=tmp_path / "w", benchmarks=tmp_path / "b")


@pytest.fixture
def served(context: Context, serve_folder: Callable[[Path], str]) -> str:
    return serve_folder(context.store)


def test_a_page_that_is_served_is_named_by_its_address(context: Context, served: str) -> None:
    page = context.store / "report" / "0f3c" / "report.html"
    assert find_page(replace(context, pages_url=served + "/"), page) == f"{served}/report/0f3c/report.html"


def test_a_log_names_the_address_and_the_file_of_a_page_that_is_served(context: Context, served: str) -> None:
    page = context.store / "report" / "0f3c" / "report.html"
    assert name_page(replace(context, pages_url=served), page) == f"{served}/report/0f3c/report.html (file: {page})"
    assert name_page(context, page) == page.as_uri()


def test_a_page_that_nobody_serves_is_named_by_its_file(context: Context, served: str) -> None:
    page = context.store / "report" / "0f3c" / "report.html"
    assert find_page(context, page) == page.as_uri()
    assert find_page(replace(context, pages_url="http://127.0.0.1:9"), page) == page.as_uri()
    other = context.root / "store2" / "report" / "0f3c" / "report.html"
    assert find_page(replace(context, pages_url=served), other) == other.as_uri()
    missing = context.store / "report" / "0f3d" / "report.html"
    assert find_page(replace(context, pages_url=served), missing) == missing.as_uri()


def test_a_page_links_to_another_of_its_store_by_a_relative_path(context: Context) -> None:
    page = context.store / "compare" / "12ab" / "comparison.html"
    assert write_link(page) == "../../compare/12ab/comparison.html"
    assert (context.store / "report" / "0f3c" / write_link(page)).resolve() == page.resolve()
