"""Walks the syntax trees: who imports whom, and a few habits that a reader relies on."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
BELOW = {
    "flows": {"tasks", "comem_core", "warehouse"},
    "tasks": {"comem_core", "warehouse"},
    "comem_core": set(),
    "warehouse": set(),
}
FORBIDDEN = {
    "flows": {"ray", "duckdb", "transformers", "peft"},
    "tasks": {"duckdb"},
    "comem_core": {"prefect", "ray", "duckdb"},
    "warehouse": {"torch", "transformers", "peft", "accelerate", "ray", "prefect"},
}
MAY_TALK_TO_RAY = {"tasks/on_ray.py", "tasks/training.py"}
WORKERS_IMPORT = {"tasks/context.py", "tasks/partial.py", "tasks/workers.py"}
VAGUE_NAMES = {"utils", "util", "helpers", "misc", "common"}
MODULES = sorted(path.relative_to(ROOT).as_posix() for package in BELOW for path in (ROOT / package).rglob("*.py"))


def imports_of(source: str) -> Iterator[tuple[int, str, int]]:
    """Yield (line, dotted name, level of a relative import) of every import, also of those inside functions."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or "", node.level


def wrong_imports(module: str, source: str) -> list[str]:
    """Say of each import of a module what is wrong with it."""
    package, faults = module.split("/")[0], []
    for line, name, level in imports_of(source):
        top = name.split(".")[0]
        if level:
            faults.append(f"{module}:{line}: a relative import")
        elif top in BELOW and top != package and top not in BELOW[package]:
            faults.append(f"{module}:{line}: {package} must not know {top}")
        elif top == "ray" and package == "tasks" and module not in MAY_TALK_TO_RAY:
            faults.append(f"{module}:{line}: only {', '.join(sorted(MAY_TALK_TO_RAY))} talk to Ray")
        elif top in FORBIDDEN[package]:
            faults.append(f"{module}:{line}: {package} must not import {top}")
        elif top in ("tests", "conftest", "pytest"):
            faults.append(f"{module}:{line}: the product must not know its tests")
    return faults


def test_imports_go_down_only() -> None:
    assert len(MODULES) > 20
    faults = [fault for module in MODULES for fault in wrong_imports(module, (ROOT / module).read_text())]
    assert faults == []


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("comem_core/a.py", "import warehouse.records", "comem_core must not know warehouse"),
        ("comem_core/a.py", "def f():\n    import duckdb", "comem_core must not import duckdb"),
        ("warehouse/a.py", "from torch import nn", "warehouse must not import torch"),
        ("warehouse/a.py", "from comem_core.recipes import tiny", "warehouse must not know comem_core"),
        ("tasks/judge.py", "import ray.data", "talk to Ray"),
        ("tasks/judge.py", "from flows import local", "tasks must not know flows"),
        ("flows/a.py", "import ray", "flows must not import ray"),
        ("flows/a.py", "from . import local", "a relative import"),
    ],
)
def test_a_wrong_import_is_found(module: str, source: str, fault: str) -> None:
    (found,) = wrong_imports(module, source)
    assert fault in found


def test_what_workers_import_is_light() -> None:
    """A worker that writes shards must not pay for Prefect, or for the stages."""
    light = {"tasks", "pyarrow", "psutil", "torch"} | set(sys.stdlib_module_names)
    for module in sorted(WORKERS_IMPORT):
        tops = {name.split(".")[0] for _, name, _ in imports_of((ROOT / module).read_text())}
        assert tops <= light, f"{module} imports {sorted(tops - light)}"


def test_modules_are_short_enough_to_read() -> None:
    lines = {module: len((ROOT / module).read_text().splitlines()) for module in MODULES}
    assert {module: count for module, count in lines.items() if count >= 300} == {}


def test_modules_say_what_they_own() -> None:
    vague = [module for module in MODULES if Path(module).stem in VAGUE_NAMES or Path(module).stem.endswith("_v2")]
    assert vague == []
    silent = [
        module
        for module in MODULES
        if (source := (ROOT / module).read_text()).strip() and ast.get_docstring(ast.parse(source)) is None
    ]
    assert silent == []


def test_tests_are_no_package() -> None:
    assert [path.name for path in (ROOT / "tests").rglob("__init__.py")] == []
