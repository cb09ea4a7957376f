"""What a user reads (messages, docstrings, logs, pages, docs) is plain English that a reader in a hurry understands.

A phrase that has to be read twice is refused; each pattern below says what to write instead.
"""

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
PACKAGES = ("flows", "tasks", "comem_core", "warehouse")
# "there is no X" is plain English; so is a comparison ("is no longer", "is no better").
PLAINER = {
    "is no": "write 'is not' or 'are not'",
    "knows nothing of": "say what it is independent of",
    "what is said": "name the thing: the message, the answer, the items",
}
TURNS = {
    "is no": re.compile(
        r"(?:(?<!there )(?<!there has )(?<!there have )\b(?:is|are|was|were|been)|(?<!there)'s)"
        r"\s+no\b(?!\s+(?:longer|more|less|better|worse|\w+er\s+than)\b)",
        re.I,
    ),
    "knows nothing of": re.compile(r"\bknows?\s+nothing\s+of\b", re.I),
    "what is said": re.compile(r"\bwhat\s+(?:is|was|are|were)\s+(?:said|told|shown|asked)\b", re.I),
}


def texts_of_code(source: str) -> Iterator[tuple[int, str]]:
    """Yield (line, text) of every string of a module, docstrings among them; comments are for its authors."""
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.lineno, node.value


def texts() -> Iterator[tuple[str, int, str]]:
    """Yield (file, first line, text) of everything that a user reads."""
    for package in PACKAGES:
        for path in sorted((ROOT / package).rglob("*")):
            name = path.relative_to(ROOT).as_posix()
            if path.suffix == ".py":
                yield from ((name, line, text) for line, text in texts_of_code(path.read_text(encoding="utf-8")))
            elif path.suffix in (".j2", ".html", ".md"):
                yield name, 1, path.read_text(encoding="utf-8")
    for path in (ROOT / "README.md", ROOT / "CONTRIBUTING.md", *sorted((ROOT / "docs").glob("*.md"))):
        yield path.relative_to(ROOT).as_posix(), 1, path.read_text(encoding="utf-8")


def turns_in(name: str, first: int, text: str) -> list[str]:
    """List each turn of phrase with the line where it stands; it may be broken over two lines."""
    return [
        f"{name}:{first + text.count(chr(10), 0, found.start())}: {turn!r} in {_around(text, found)!r}; {PLAINER[turn]}"
        for turn, pattern in TURNS.items()
        for found in pattern.finditer(text)
    ]


def _around(text: str, found: re.Match[str]) -> str:
    return " ".join(text[max(0, found.start() - 25) : found.end() + 15].split())


def test_users_read_plain_english() -> None:
    found = [turn for each in texts() for turn in turns_in(*each)]
    assert not found, "\n".join([f"{len(found)} turns of phrase to say more plainly:", *found])


@pytest.mark.parametrize(
    ("source", "turn"),
    [
        ('raise ValueError(f"{path} is no bank, or only a part of one")', "a.py:1: 'is no'"),
        ('def f():\n    """Raises ValueError for values that are no\n    numbers."""', "a.py:2: 'is no'"),
        ('log(f"a file is no {kind}")', "a.py:1: 'is no'"),
        ('"""Owns rows. Knows\nnothing of files."""', "a.py:1: 'knows nothing of'"),
        ('x = 1\nlog("what was asked of %s", x)', "a.py:2: 'what is said'"),
    ],
)
def test_a_turn_of_phrase_is_found(source: str, turn: str) -> None:
    [found] = [each for line, text in texts_of_code(source) for each in turns_in("a.py", line, text)]
    assert found.startswith(turn)


@pytest.mark.parametrize(
    "plain",
    ["there is no bank at x", "it is no longer there", "controls are no better than nothing", "it is not a bank", "x"],
)
def test_plain_english_is_left_alone(plain: str) -> None:
    assert turns_in("a.md", 1, plain) == []


def test_every_kind_of_text_is_read() -> None:
    files = {name for name, _, _ in texts()}
    assert {Path(name).suffix for name in files} >= {".py", ".md", ".j2"}
    assert {name.split("/")[0] for name in files} >= {*PACKAGES, "docs", "README.md", "CONTRIBUTING.md"}
