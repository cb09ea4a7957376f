"""Walks the syntax trees: who imports whom, and a few habits that a reader relies on."""

import ast
import re
import sys
from collections.abc import Iterator, Sequence
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
# Rooms of `tasks/`, lowest first: what each may import of the others. A room is a folder or a module of that name; the
# table holds as soon as there is `tasks/engine/`. Nothing points back up.
ROOMS: dict[str, set[str]] = {
    "engine": set(),
    "vllm": {"engine"},
    "rows": {"engine"},
    "served": {"engine"},
    "devices": {"engine"},
    "recorded_recipes": {"engine"},
    "sources": {"engine", "served"},
    "run": {"engine", "rows", "served", "devices", "recorded_recipes", "sources"},
    "models": {"engine", "vllm", "rows", "served", "run"},
    "data": {"engine", "rows", "served", "run", "models"},
    "training": {"engine", "rows", "served", "run", "models", "data"},
    "memory": {"engine", "rows", "run", "models"},
    "evaluation": {"engine", "rows", "served", "run", "models", "data", "training", "memory"},
    "upkeep": {"engine", "evaluation"},
    "measures": {"engine", "rows", "served", "sources", "run", "models", "data", "training", "memory", "evaluation"},
}
MAY_TALK_TO_RAY = {
    "tasks/engine/cluster.py",
    "tasks/engine/on_ray.py",
    "tasks/engine/training/on_ray_train.py",
    "tasks/engine/training/train_worker.py",
    "tasks/vllm/engines.py",
}
WORKERS_IMPORT = {"tasks/engine/context.py", "tasks/engine/partial.py", "tasks/engine/workers.py"}
VAGUE_NAMES = {"utils", "util", "helpers", "misc", "common"}
MODULES = sorted(path.relative_to(ROOT).as_posix() for package in BELOW for path in (ROOT / package).rglob("*.py"))


def imports_of(source: str) -> Iterator[tuple[int, str, int]]:
    """Yield (line, dotted name, level of a relative import) of every import, also inside functions and by name."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Import):
            yield from ((node.lineno, alias.name, 0) for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield node.lineno, node.module or "", node.level
        elif name := imported_by_name(node):
            yield node.lineno, name, 0  # pyright: ignore[reportAttributeAccessIssue]


def imported_by_name(node: ast.AST) -> str | None:
    """Return what a call such as `import_module("ray.data")` imports, or the module of ours that a text names."""
    if isinstance(node, ast.Call) and node.args and ast.unparse(node.func).endswith(("import_module", "__import__")):
        first = node.args[0]
        start = first.values[0] if isinstance(first, ast.JoinedStr) else first
        return start.value.rstrip(".") if isinstance(start, ast.Constant) and isinstance(start.value, str) else None
    if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"\w+(\.\w+)+", node.value):
        return node.value if any(each in MODULES for each in _files_of(node.value)) else None
    return None


def wrong_imports(module: str, source: str) -> list[str]:
    """Say of each import of a module what is wrong with it."""
    package, faults = module.split("/")[0], []
    for line, name, level in dict.fromkeys(imports_of(source)):
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


def room_of(path: Sequence[str]) -> str:
    """Name the room of a module by its path below the root, or of an import by its dotted parts."""
    return path[1].removesuffix(".py")


def wrong_rooms(module: str, source: str) -> list[str]:
    """Say of each import between rooms of `tasks/` what is wrong with it."""
    if not module.startswith("tasks/") or module == "tasks/__init__.py":
        return []
    room = room_of(module.split("/"))
    if room not in ROOMS:
        return [f"{module}: {room} has no line in ROOMS; say what it may import, or move it into a room"]
    faults = []
    for line, name in dict.fromkeys(_rooms_imported(source)):
        if name != room and name not in ROOMS[room]:
            faults.append(f"{module}:{line}: {room} must not know tasks.{name}")
    return faults


def _rooms_imported(source: str) -> Iterator[tuple[int, str]]:
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.ImportFrom):
            names = [alias.name for alias in node.names]
            names = [f"tasks.{name}" for name in names] if node.module == "tasks" else [node.module or ""]
        elif isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        else:
            named = imported_by_name(node) or ""  # a room that is not here is one of an earlier version
            names = [named] if named.count(".") and room_of(named.split(".")) in ROOMS else []
        for name in names:
            if name.startswith("tasks."):
                yield node.lineno, room_of(name.split("."))  # pyright: ignore[reportAttributeAccessIssue]


def imported_at_start(module: str) -> set[str]:
    """Return the packages that importing a module of ours imports, also those that our other modules import for it."""
    found: set[str] = set()
    waiting, seen = [module], set()
    while waiting:
        seen.add(here := waiting.pop())
        for name in _names_at_start((ROOT / here).read_text()):
            ours = [each for each in _files_of(name) if each in MODULES]
            found |= {name.split(".")[0]} if not ours else set()
            waiting += [each for each in ours if each not in seen]
    return found


def _names_at_start(source: str) -> Iterator[str]:
    """Yield what is imported when the module is: not inside functions, nor for type checkers alone."""
    waiting: list[ast.stmt] = list(ast.parse(source).body)
    while waiting:
        node = waiting.pop()
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            yield from (f"{node.module}.{alias.name}" for alias in node.names)
        elif isinstance(node, ast.If) and "TYPE_CHECKING" not in ast.unparse(node.test):
            waiting += [*node.body, *node.orelse]
        elif isinstance(node, ast.Try | ast.With):
            waiting += node.body


def _files_of(name: str) -> Iterator[str]:
    """Yield the files that importing a dotted name may run: of the name itself, and of every package above it."""
    parts = name.split(".")
    for end in range(1, len(parts) + 1):
        path = "/".join(parts[:end])
        yield from (f"{path}.py", f"{path}/__init__.py")


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
        ("tasks/evaluation/judge.py", "import ray.data", "talk to Ray"),
        ("tasks/evaluation/judge.py", "from flows import local", "tasks must not know flows"),
        ("flows/a.py", "import ray", "flows must not import ray"),
        ("flows/a.py", "from . import local", "a relative import"),
        ("comem_core/a.py", "import importlib\nimportlib.import_module('duckdb')", "comem_core must not import duckdb"),
        ("comem_core/a.py", "import_module(f'warehouse.{name}')", "comem_core must not know warehouse"),
        ("comem_core/a.py", "MODULES = ('tasks.run',)", "comem_core must not know tasks"),
        ("tasks/evaluation/judge.py", "__import__('ray')", "talk to Ray"),
    ],
)
def test_a_wrong_import_is_found(module: str, source: str, fault: str) -> None:
    (found,) = wrong_imports(module, source)
    assert fault in found


def test_rooms_of_tasks_are_entered_from_above_only() -> None:
    assert [fault for module in MODULES for fault in wrong_rooms(module, (ROOT / module).read_text())] == []


@pytest.mark.parametrize(
    ("module", "source", "fault"),
    [
        ("tasks/engine/stage.py", "from tasks.data.filter import filter_qa", "engine must not know tasks.data"),
        ("tasks/engine/stage.py", "def f():\n    from tasks.run import Run", ":2: engine must not know tasks.run"),
        ("tasks/engine/stage.py", "from tasks import rows", "engine must not know tasks.rows"),
        ("tasks/rows/tables.py", "import tasks.run", "rows must not know tasks.run"),
        ("tasks/run.py", "from tasks.data import ingest", "run must not know tasks.data"),
        ("tasks/data/judge.py", "from tasks.training.encoder import train", "data must not know tasks.training"),
        ("tasks/training/train.py", "from tasks.evaluation.score import f", "training must not know tasks.evaluation"),
        ("tasks/encode.py", "import json", "encode has no line in ROOMS"),
        ("tasks/engine/stage.py", "import_module('tasks.data.filter')", "engine must not know tasks.data"),
        ("tasks/rows/tables.py", "import_module(f'tasks.training.{name}')", "rows must not know tasks.training"),
        ("tasks/engine/stage.py", "LATER = ['tasks.run']", "engine must not know tasks.run"),
    ],
)
def test_a_wrong_room_is_found(module: str, source: str, fault: str) -> None:
    [found] = wrong_rooms(module, source)
    assert fault in found


def test_the_right_rooms_are_left_alone() -> None:
    lines = ("tasks.engine.store import Reference", "tasks.run import Run", "tasks.engine.training import on_ray_train")
    allowed = "\n".join(f"from {line}" for line in lines)
    assert wrong_rooms("tasks/evaluation/score.py", allowed) == []
    assert wrong_rooms("flows/a.py", "from tasks.run import Run") == []
    order = list(ROOMS)
    assert all(order.index(below) < order.index(room) for room, others in ROOMS.items() for below in others)


def test_the_modules_that_may_talk_to_ray_do_and_the_pages_name_them() -> None:
    do = {
        module
        for module in MODULES
        if any(name.split(".")[0] == "ray" for _, name, _ in imports_of((ROOT / module).read_text()))
    }
    assert do == MAY_TALK_TO_RAY
    *first, last = [f"`{Path(module).name}`" for module in sorted(do)]
    names = f"{', '.join(first)} and {last}"
    for page in ("README.md", "CONTRIBUTING.md"):
        assert f"only {names} talk to Ray" in (ROOT / page).read_text()


@pytest.mark.parametrize("module", sorted(WORKERS_IMPORT))
def test_what_workers_import_is_light(module: str) -> None:
    """A worker that writes shards must not pay for Prefect, or for the stages."""
    light = {"pyarrow", "psutil", "torch"} | set(sys.stdlib_module_names)
    assert imported_at_start(module) - light == set()


def test_what_is_imported_by_another_module_of_ours_counts() -> None:
    assert {"duckdb", "torch"} <= imported_at_start("tasks/memory/encoding.py")


def calls_of_inject(module: str, source: str) -> list[str]:
    """List where a module puts memory into a reader's input itself, instead of by `embed_with_memory`."""
    calls = [node for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Call)]
    names = [(call.lineno, ast.unparse(call.func).split(".")[-1]) for call in calls]
    return [f"{module}:{line}" for line, name in names if name == "inject"]


def test_one_function_decides_where_the_memory_is() -> None:
    """Somebody who changes the place of the memory misses no caller."""
    found = [each for module in MODULES for each in calls_of_inject(module, (ROOT / module).read_text())]
    assert [each.split(":")[0] for each in found] == ["comem_core/memory/injection.py"], found
    assert calls_of_inject("a.py", "x = 1\ny = injection.inject(query, [memory])") == ["a.py:2"]


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
