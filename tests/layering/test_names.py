"""Names and folders by which a reader finds the way: one class a name, folders that can be taken in at a glance."""

import ast
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

ROOT = Path(__file__).parents[2]
PACKAGES = ("flows", "tasks", "comem_core", "warehouse")
SOURCES = {
    path.relative_to(ROOT).as_posix(): path.read_text(encoding="utf-8")
    for package in PACKAGES
    for path in sorted((ROOT / package).rglob("*.py"))
}
MOST_MODULES = 16


def shared_class_names(sources: Mapping[str, str]) -> dict[str, list[str]]:
    """Map each name that several classes have to where they are; classes inside functions and classes count too."""
    places: dict[str, list[str]] = defaultdict(list)
    for module, source in sources.items():
        for node in ast.walk(ast.parse(source)):
            if isinstance(node, ast.ClassDef):
                places[node.name].append(f"{module}:{node.lineno}")
    return {name: found for name, found in sorted(places.items()) if len(found) > 1}


def large_folders(modules: list[str]) -> dict[str, int]:
    """Map each folder of too many modules to their number; `__init__.py` and `__main__.py` do not count."""
    numbers: dict[str, int] = defaultdict(int)
    for module in modules:
        numbers[str(Path(module).parent)] += not Path(module).stem.startswith("__")
    return {folder: number for folder, number in sorted(numbers.items()) if number > MOST_MODULES}


def test_a_class_name_means_one_thing() -> None:
    assert shared_class_names(SOURCES) == {}


def test_a_folder_can_be_taken_in_at_a_glance() -> None:
    assert large_folders(list(SOURCES)) == {}


def test_a_class_name_that_stands_twice_is_found() -> None:
    sources = {"tasks/a.py": "class Exam: pass\nclass Other: pass", "warehouse/b.py": "def f():\n    class Exam: pass"}
    assert shared_class_names(sources) == {"Exam": ["tasks/a.py:1", "warehouse/b.py:2"]}
    assert len(SOURCES) > 100


def test_a_folder_of_too_many_modules_is_found() -> None:
    modules = [f"tasks/room/m{number}.py" for number in range(MOST_MODULES)]
    assert large_folders([*modules, "tasks/room/__init__.py", "tasks/other.py"]) == {}
    assert large_folders([*modules, "tasks/room/one_more.py"]) == {"tasks/room": MOST_MODULES + 1}
