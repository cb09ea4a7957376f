"""Describes a page in its own head: the run, what it worked on, and how it ended.

The list of pages reads it from there, so that it never opens the warehouse, which a run may be writing.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from warehouse.page.wording import write_number

NUM_LETTERS = 8
_STYLE = "<style>"  # what describes a page stands before it
_CHUNK = 4096
_TITLE = re.compile(r"<title>(.*?)</title>", re.DOTALL)
_META = re.compile(r'<meta name="(?:comem:)?(description|result)" content="([^"]*)">')


@dataclass(frozen=True, kw_only=True)
class PageHead:
    """What tells a page from others: `title` with its runs, `about` in phrases, and how it ended."""

    title: str
    about: str = ""
    result: str = ""

    @property
    def has_failed(self) -> bool:
        """Tell whether the page's run failed."""
        return self.result.startswith("failed")


def read_head(page: Path) -> PageHead:
    """Read the head of a page; one that an older version wrote has only its title."""
    head = _read_until_style(page)
    titled = _TITLE.search(head)
    found = {name: html.unescape(content) for name, content in _META.findall(head)}
    return PageHead(
        title=html.unescape(titled[1]).removesuffix(" · comem") if titled else page.name,
        about=found.get("description", ""),
        result=found.get("result", ""),
    )


def shorten_run(run_id: str) -> str:
    """Return the first letters of a run's id, by which pages and `make compare` name it."""
    return run_id[:NUM_LETTERS]


def name_corpus(recipe: Mapping[str, Any] | None) -> list[str]:
    """Return the corpus of a recorded recipe as a phrase; nothing where none is recorded."""
    corpus = find_recorded_corpus(recipe)
    return [f"corpus {corpus}"] if corpus else []


def find_recorded_corpus(recipe: Mapping[str, Any] | None) -> str | None:
    """Return the address of the corpus of a recorded recipe; None where none is recorded."""
    return ((recipe or {}).get("knowledge") or {}).get("corpus")


def find_recorded_backbone(recipe: Mapping[str, Any] | None) -> str | None:
    """Return the name or folder of the backbone of a recorded recipe, and in how many bits its layers are if they are
    quantised; None where none is recorded."""
    backbone = (recipe or {}).get("backbone") or {}
    quantization = backbone.get("quantization", "off")
    return backbone.get("name") and f"{backbone['name']}{'' if quantization == 'off' else f' in {quantization}'}"


def write_count(number: int, noun: str) -> str:
    """Write a number of things, in the singular or plural."""
    return f"{write_number(number)} {noun}{'' if number == 1 else 's'}"


def _read_until_style(page: Path) -> str:
    """Return the text before a page's style, or the whole page if it has none."""
    head = ""
    with page.open(encoding="utf-8") as file:
        while _STYLE not in head and (read := file.read(_CHUNK)):
            head += read
    return head.partition(_STYLE)[0]
