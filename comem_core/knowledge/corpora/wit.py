"""Rows of WIT (Wikipedia-based Image Text): which of its columns make an item's text and picture.

As in the paper, the text is the page's title with the description of the section, or else of the page; captions are not
used. A missing value stays missing and never becomes the text "nan". Independent of files.

The release holds only addresses of pictures. A picture that is already present is preferred: in a column `image` or
`image_path`, or in the folder `images` beside the table. There its file has the last part of the address as its name,
percent-encoded or not (`images/Gro%C3%9F.jpg` or `images/Groß.jpg`).
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
    """Return a WIT row's values under our names; `downloaded` lists files that may hold the picture of its address."""
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
    """List the files beside the table that may hold the picture of an address."""
    last = PurePosixPath(urlsplit(address).path).name if isinstance(address, str) else ""
    names = dict.fromkeys((unquote(last), last)) if last else {}
    return tuple(f"{IMAGES}/{name}" for name in names if "/" not in name and name not in (".", ".."))


def _is_missing(name: str, value: Any) -> bool:
    """As `columns.is_missing`, and also the text "nan", which tools write for a gap; but a page's title may be NaN."""
    written = isinstance(value, str) and name != "page_title" and value.strip().lower() == "nan"
    return written or is_missing(value)
