"""Commands of the pages run as they stand: in this folder, `prefect` and `python` are those of `.venv`."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / "README.md", *sorted(page for page in (ROOT / "docs").glob("*.md") if page.name != "log.md")]
BARE = re.compile(
    r"(?:^|`|\$ )(?:[A-Z_]+=\S+ )*(?:prefect (?:deployment|flow-run|config|profile|server|work-pool|worker)"
    r"|python -m (?:comem_core|flows|tasks|warehouse))\b",
    re.M,
)


def test_a_bare_command_is_found() -> None:
    assert BARE.search("```\nprefect deployment run synth-and-train\n```") and BARE.search(
        "run `python -m warehouse x`"
    )
    assert not BARE.search(".venv/bin/prefect deployment run x\n`.venv/bin/python -m warehouse`")


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_commands_of_a_page_name_the_environment_that_has_them(page: Path) -> None:
    assert BARE.findall(page.read_text(encoding="utf-8")) == []
