"""Rows of WIT (Wikipedia-based Image Text) by its real columns: which of them make an item's text and picture.

As in the paper: the text is the page's title with the description of the section, or else of the page; captions are not
used. A missing value stays missing and never becomes the text "nan". Independent of files.

The release holds addresses of pictures only. A picture that is there already is taken first: a column `image` or
`image_path`, or a file in the folder `images` beside the table, named as the last part of the address is, with or
without its percent signs decoded (`images/Gro%C3%9F.jpg` or `images/Groß.jpg`).
"""

from collections.abc import Mapping, Sequence
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import unquote, urlsplit

from comem_core.knowledge.corpora.columns import is_missing

MARKS = frozenset({"page_title", "context_page_description", "context_section_description"})
COLUMNS = (
    "image", "image_path", "image_url", "language", "page_url", "page_title", "licence", "license",
    "context_section_description", "context_page_description",
)  # fmt: skip
IMAGES = "images"


def is_wit(names: Sequence[str]) -> bool:
    """Tell whether a table has WIT's columns."""
    return MARKS.issubset(names)


def rename_wit_fields(row: Mapping[str, Any]) -> dict[str, Any]:
    """Give a WIT row's values under our names; `downloaded` names files that may hold the picture of its address."""
    values = {name: None if _is_missing(name, row.get(name)) else row.get(name) for name in COLUMNS}
    title = values["page_title"]
    described = values["context_section_description"] or values["context_page_description"]
    text = f"{title}: {described}" if title and described else described
    return {
        "image": values["image"] or values["image_path"] or values["image_url"],
        "downloaded": list_downloaded_names(values["image_url"]),
        "text": text,
        "language": values["language"],
        "source": values["page_url"],
        "licence": values["licence"] or values["license"],
        "title": title,
        "entity_id": None,
    }


def list_downloaded_names(address: Any) -> tuple[str, ...]:
    """Name the files, beside the table, in which the picture of an address may lie."""
    last = PurePosixPath(urlsplit(address).path).name if isinstance(address, str) else ""
    names = dict.fromkeys((unquote(last), last)) if last else {}
    return tuple(f"{IMAGES}/{name}" for name in names if "/" not in name and name not in (".", ".."))


def _is_missing(name: str, value: Any) -> bool:
    """As everywhere, and "nan" as written by what read a gap as not a number; but a page may be called NaN."""
    written = isinstance(value, str) and name != "page_title" and value.strip().lower() == "nan"
    return written or is_missing(value)
