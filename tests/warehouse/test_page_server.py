"""The pages of a store at an address: the pages of complete artefacts, and nothing else of the store."""

from pathlib import Path

import pytest
from markupsafe import escape
from starlette.testclient import TestClient

from warehouse.content import RECORD
from warehouse.page.environment import POLICY, TEMPLATES, make_environment
from warehouse.page.head import PageHead, read_head
from warehouse.page.server import make_app

PAGE = "<!doctype html><title>Run 1 &amp; more · comem</title><p>Scores</p>"


@pytest.fixture
def store(tmp_path: Path) -> Path:
    for stage, files in {"report": (RECORD, "report.html"), "unfinished": ("report.html",)}.items():
        folder = tmp_path / "store" / stage / "0f3c"
        folder.mkdir(parents=True)
        for name in files:
            (folder / name).write_text(PAGE)
    (tmp_path / "store" / "report" / "0f3c" / "part-00000.parquet").write_bytes(b"rows")
    (tmp_path / RECORD).write_text("{}")
    (tmp_path / "store" / RECORD).write_text("{}")
    (tmp_path / "secret.html").write_text("of another folder")
    return tmp_path / "store"


def open_store(store: Path, host: str = "127.0.0.1:4300") -> TestClient:
    return TestClient(make_app(store), base_url=f"http://{host}")


def test_a_page_is_served_as_it_is_and_listed_by_its_title(store: Path) -> None:
    client = open_store(store)
    shown = client.get("/report/0f3c/report.html")
    assert (shown.status_code, shown.text) == (200, PAGE)
    assert shown.headers["content-type"] == "text/html; charset=utf-8"
    assert client.head("/report/0f3c/report.html").status_code == 200
    listed = client.get("/").text
    assert '<a href="report/0f3c/report.html">Run 1 &amp; more</a>' in listed and "unfinished" not in listed


def test_the_list_tells_runs_apart_by_what_their_pages_say(store: Path) -> None:
    described = PageHead(title="tiny_cpu · 0f3c", about="corpus /a & b; 3 of 5 drafts kept", result="failed: no draft")
    head = make_environment().get_template("head.html.j2").render(described=described)
    page = store / "report" / "0f3c" / "report.html"
    page.write_text(f"<!doctype html><head>{head}</head><p>Scores</p>")
    assert read_head(page) == described
    listed = open_store(store).get("/").text
    assert "corpus /a &amp; b; 3 of 5 drafts kept" in listed and '<td class="failure">failed: no draft</td>' in listed


def test_a_page_of_an_older_version_is_listed_without_a_description(store: Path) -> None:
    listed = open_store(store).get("/").text
    assert "not recorded on this page" in listed and "failure" not in listed.partition("<body>")[2]


def test_a_store_without_pages_says_so(tmp_path: Path) -> None:
    assert "No run has written a page yet" in open_store(tmp_path / "nowhere").get("/").text


@pytest.mark.parametrize(
    "path",
    [
        "/report/0f3c/part-00000.parquet",
        "/report/0f3c/record.json",
        "/report/0f3c/other.html",
        "/unfinished/0f3c/report.html",
        "/report/0f3c/",
        "/report/0f3c/..%2f..%2f..%2fsecret.html",
        "/..%2f/report/secret.html",
        "/%2e%2e/%2e/secret.html",
    ],
)
def test_nothing_else_of_the_machine_is_served(store: Path, path: str) -> None:
    assert open_store(store).get(path).status_code == 404


def test_another_host_name_is_refused(store: Path) -> None:
    assert open_store(store, "pages.example:4300").get("/").status_code == 400


def test_every_page_holds_the_policy_that_it_is_served_with(store: Path) -> None:
    templates = [each for each in TEMPLATES.glob("*.j2") if "<head>" in each.read_text(encoding="utf-8")]
    assert len(templates) >= 4
    head = make_environment().get_template("head.html.j2").render(described=PageHead(title="x"))
    listed = open_store(store).get("/")
    for page in (head, listed.text):
        assert f'<meta http-equiv="Content-Security-Policy" content="{escape(POLICY)}">' in page
    for each in templates:
        assert "head.html.j2" in each.read_text(encoding="utf-8") or "{{ policy }}" in each.read_text(encoding="utf-8")
    assert listed.headers["Content-Security-Policy"].startswith(POLICY)
    assert "script" not in POLICY and POLICY.startswith("default-src 'none'")
