"""The public face of the library: it gives what the documentation promises, and the documentation uses nothing else."""

import ast
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import comem_core

ROOT = Path(__file__).parents[2]
PAGES = [*sorted(ROOT.glob("*.md")), *sorted((ROOT / "docs").glob("*.md"))]
BLOCKS = re.compile(r"^```python\n(.*?)^```$", re.MULTILINE | re.DOTALL)
# A dotted name of a module's inside, as in `comem_core.memory.bank.Bank`, but no command that runs a module.
INSIDE = re.compile(r"(?<!-m )\bcomem_core\.(\w+(?:\.\w+)*)")


def wrong_imports(code: str) -> Iterator[str]:
    """Yield what a snippet imports of the library and the face does not give."""
    for node in ast.walk(ast.parse(code)):
        if isinstance(node, ast.Import):
            yield from (each.name for each in node.names if each.name.startswith("comem_core."))
        elif isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "comem_core":
            public = node.module == "comem_core"
            yield from (f"{node.module}.{each.name}" for each in node.names if not public or each.name not in face())


def face() -> set[str]:
    return set(comem_core.__all__)


def faults_of(page: str) -> list[str]:
    """List what a page shows of the library that is not public."""
    prose = BLOCKS.sub("", page)
    return [
        *(fault for code in BLOCKS.findall(page) for fault in wrong_imports(code)),
        *(f"comem_core.{name}" for name in INSIDE.findall(prose) if name not in face()),
    ]


def test_the_documentation_shows_only_what_is_public() -> None:
    shown = {page.name: page.read_text(encoding="utf-8") for page in PAGES if page.name != "log.md"}
    assert sum(len(BLOCKS.findall(text)) for text in shown.values()) >= 10
    assert {name: faults for name, text in shown.items() if (faults := faults_of(text))} == {}


@pytest.mark.parametrize(
    ("page", "faults"),
    [
        ("```python\nfrom comem_core.memory.bank import Bank\n```\n", ["comem_core.memory.bank.Bank"]),
        ("```python\nfrom comem_core import Bank, open_corpus\n```\n", ["comem_core.open_corpus"]),
        ("```python\nimport comem_core.memory\n```\n", ["comem_core.memory"]),
        ("`comem_core.knowledge.corpora.read_corpus` reads.", ["comem_core.knowledge.corpora.read_corpus"]),
        ("`python -m comem_core.measures.plots`, `comem_core/backbone/` and `comem_core.read_corpus`", []),
    ],
)
def test_what_is_not_public_is_found_on_a_page(page: str, faults: list[str]) -> None:
    assert faults_of(page) == faults


def test_every_public_name_is_there_and_documented() -> None:
    text = "\n".join(page.read_text(encoding="utf-8") for page in PAGES)
    assert {"MemoryEncoder", "Bank", "KnowledgeItem", "Question", "read_corpus", "load_backbone"} <= face()
    assert [name for name in comem_core.__all__ if getattr(comem_core, name) is None] == []
    assert [name for name in comem_core.__all__ if not re.search(rf"\b{name}\b", text)] == []
    assert face() <= set(dir(comem_core))


def test_a_name_that_is_not_public_is_refused_with_those_that_are() -> None:
    with pytest.raises(AttributeError, match=r"no public name 'open_corpus'; it has .*read_corpus"):
        _ = comem_core.open_corpus  # pyright: ignore[reportAttributeAccessIssue]


def test_importing_the_library_imports_nothing_of_it_yet() -> None:
    code = "import sys, comem_core; print([n for n in sys.modules if n.startswith(('comem_core.', 'torch', 'numpy'))])"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
