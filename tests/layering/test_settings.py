"""docs/settings.md lists every variable that the project reads, and says where each is set."""

import re
from collections.abc import Iterator
from dataclasses import fields
from pathlib import Path

from tasks.engine.context import ELSEWHERE, Context

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "settings.md").read_text(encoding="utf-8")
ROW = re.compile(r"^\| `([A-Z_]+)` \| ([a-z ]+) \| .+ \|$", re.M)
PLACE = re.compile(r"^\| ([a-z ]+) \| [^`|]+.* \|$", re.M)
READ = re.compile(r"""environ(?:\.get\(|\[)["']([A-Z_]+)["'][\])](?! [|]?= )""")
OF_CONTEXT = {f"COMEM_{each.name.upper()}" for each in fields(Context)} - {
    f"COMEM_{name.upper()}" for name in ("root", "ray_address", "store_address")
}


def list_read() -> Iterator[str]:
    """Yield each variable that code, the Makefile or the installation reads from outside."""
    for package in ("comem_core", "flows", "tasks", "warehouse"):
        for path in (ROOT / package).rglob("*.py"):
            yield from READ.findall(path.read_text(encoding="utf-8"))
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    own = set(re.findall(r"^([A-Z_]+) :?=", makefile, re.M)) | {"MAKEFILE_LIST"}
    yield from set(re.findall(r"\$\((?:or \$\()?([A-Z_]+)\b", makefile)) - own
    yield from re.findall(r"^export ([A-Z_]+) \?=", makefile, re.M)
    [installing] = re.findall(r"ENV: ([A-Z_, ]+[A-Z])", (ROOT / "application" / "install.sh").read_text())
    yield from installing.split(", ")


def test_the_page_lists_every_variable_that_is_read_and_no_other_of_ours() -> None:
    listed = [name for name, _ in ROW.findall(PAGE)]
    assert len(listed) == len(set(listed))
    assert OF_CONTEXT | {*ELSEWHERE} == {each for each in listed if each.startswith("COMEM_")}
    read = set(list_read())
    assert {"RAY_ADDRESS", "HF_HUB_OFFLINE", "TORCH", "TORCH_INDEX", "MEMORY", "PREFECT_API_URL"} <= read | {*listed}
    assert read - {*listed} == set()


def test_the_page_says_of_every_variable_where_it_is_set() -> None:
    places = dict(ROW.findall(PAGE))
    assert {*places.values()} <= {*PLACE.findall(PAGE)}
    assert {name for name in OF_CONTEXT if places[name] != "the run"} == set()


def test_the_defaults_that_the_page_names_are_the_context_s() -> None:
    defaults = {f"COMEM_{each.name.upper()}": each.default for each in fields(Context)}
    said = dict(re.findall(r"^\| `([A-Z_]+)` .*; (\d+) without it \|$", PAGE, re.M))
    assert len(said) >= 8
    assert {name: float(number) for name, number in said.items() if name in defaults} == {
        name: float(str(defaults[name])) for name in said if name in defaults
    }
