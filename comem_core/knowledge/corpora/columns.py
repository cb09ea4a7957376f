"""Maps the column names in common use to ours. Independent of files.

Upper case, spaces and hyphens do not matter. If a file has several columns for one of ours, the first in this order
that holds a value is taken: a picture that is already fetched comes before its address.
"""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

NAMES: Mapping[str, tuple[str, ...]] = {
    "image": (
        "image", "image_bytes", "bytes", "jpg", "png", "img", "picture", "photo", "image_path", "img_path",
        "image_file", "file_name", "filename", "filepath", "file_path", "path", "image_url", "img_url", "url",
    ),
    "text": (
        "text", "caption", "description", "content", "contents", "passage", "body", "article", "sentence",
        "alt_text", "txt",
    ),
    "language": ("language", "lang", "language_code", "locale"),
    "source": ("source", "page_url", "source_url", "origin", "provenance", "dataset"),
    "licence": ("licence", "license", "licence_name", "license_name", "rights"),
    "title": ("title", "page_title", "wikipedia_title", "heading", "name"),
    "entity_id": ("entity_id", "entity", "wikidata_id", "wikidata", "qid"),
}  # fmt: skip
PICTURE_STRUCT = frozenset({"bytes", "path"})  # how `datasets` stores a picture


def is_missing(value: Any) -> bool:
    """Tell whether a cell is empty: null, not a number, blank text, or a picture struct without content."""
    if isinstance(value, str):
        return not value.strip()
    if isinstance(value, Mapping):
        return not any(value.values())
    return value is None or value == b"" or (isinstance(value, float) and math.isnan(value))


def rename_fields(row: Mapping[str, Any], columns: tuple[tuple[str, str], ...] = ()) -> dict[str, Any]:
    """Return a row's values under our names. An empty cell is None; a column that does not exist is absent.

    Raises ValueError if `columns` uses a name that is not one of ours.
    """
    places = _places(tuple(row), columns)
    return {
        name: next((value for place in found if not is_missing(value := row[place])), None)
        for name, found in places.items()
    }


def list_needed_columns(names: Sequence[str], columns: tuple[tuple[str, str], ...] = ()) -> list[str]:
    """List the columns of a file that are needed, so that the others are not read."""
    wanted = {place for found in _places(tuple(names), columns).values() for place in found}
    return [name for name in names if name in wanted]


def check_columns(chosen: Mapping[str, str]) -> None:
    """Refuse names that are not ours. Raises ValueError that lists ours."""
    if unknown := sorted(chosen.keys() - NAMES.keys()):
        raise ValueError(f"columns name {', '.join(unknown)}; expected some of {', '.join(NAMES)}")


@lru_cache(maxsize=1024)
def _places(names: tuple[str, ...], columns: tuple[tuple[str, str], ...]) -> dict[str, tuple[str, ...]]:
    chosen = dict(columns)
    check_columns(chosen)
    called: dict[str, list[str]] = {}
    for name in names:
        called.setdefault(name.strip().lower().replace(" ", "_").replace("-", "_"), []).append(name)
    found: dict[str, tuple[str, ...]] = {}
    for ours, theirs in NAMES.items():
        own = [chosen[ours]] if chosen.get(ours) in names else []
        places = own or [each for name in theirs for each in called.get(name, ())]
        if places:
            found[ours] = tuple(places)
    return found
