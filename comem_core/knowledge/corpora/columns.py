"""Maps the column names in common use to ours. Independent of files.

Upper case, spaces and hyphens do not matter. If a file has several columns for one of ours, the first in this order
that holds a value is taken: a picture that is already fetched comes before its address. `datasets` names the column
`image` of an image folder `image_file_name` in its metadata, and a list of pictures `file_names`.
"""

import math
from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any

NAMES: Mapping[str, tuple[str, ...]] = {
    "image": (
        "image", "images", "image_bytes", "bytes", "jpg", "jpeg", "png", "webp", "img", "picture",
        "photo", "image_path", "img_path", "image_file", "file_name", "file_names", "image_file_name",
        "image_file_names", "images_file_name", "images_file_names", "filename", "filepath", "file_path", "path",
        "image_url", "img_url", "url",
    ),
    "text": (
        "text", "caption", "description", "content", "contents", "passage", "body", "article", "sentence",
        "alt_text", "txt", "captions", "sentences", "texts", "conversations", "messages",
    ),
    "language": ("language", "lang", "language_code", "locale"),
    "source": ("source", "page_url", "source_url", "origin", "provenance", "dataset"),
    "licence": ("licence", "license", "licence_name", "license_name", "rights"),
    "title": ("title", "page_title", "wikipedia_title", "heading", "name"),
    "entity_id": ("entity_id", "entity", "wikidata_id", "wikidata", "qid"),
}  # fmt: skip
# What img2dataset says of a sample: the name of its files, and whether it has any.
SAMPLE = ("key", "status", "error_message")
PICTURE_STRUCT = frozenset({"bytes", "path"})  # how `datasets` stores a picture


def is_missing(value: Any) -> bool:
    """Tell whether a cell is empty: null, not a number, blank text, an empty list, or a picture without content."""
    kind = type(value)
    if kind is str:
        return not value or value.isspace()
    if kind is dict:
        return not any(value.values())
    return value is None or (kind is float and math.isnan(value)) or (kind in (bytes, list) and not value)


def is_stored_picture(value: Any) -> bool:
    """Tell whether a value is a picture as `datasets` stores it, or a list of such."""
    if type(value) is list and value:
        return is_stored_picture(value[0])
    return type(value) is dict and value.keys() >= PICTURE_STRUCT and not is_missing(value)


def rename_fields(row: Mapping[str, Any], columns: tuple[tuple[str, str], ...] = ()) -> dict[str, Any]:
    """Return a row's values under our names. An empty cell is None; a column that does not exist is absent.

    Raises ValueError if `columns` uses a name that is not one of ours.
    """
    renamed = {}
    for name, places in find_columns(tuple(row), columns).items():
        for place in places:
            if not is_missing(value := row[place]):
                renamed[name] = value
                break
        else:
            renamed[name] = None
    return renamed


def list_needed_columns(names: Sequence[str], columns: tuple[tuple[str, str], ...] = ()) -> list[str]:
    """List the columns of a file that are needed, so that the others are not read."""
    wanted = {place for found in find_columns(tuple(names), columns).values() for place in found}
    return [name for name in names if name in wanted]


def check_names(file: str, names: Sequence[str], columns: tuple[tuple[str, str], ...] = ()) -> None:
    """Refuse a table that has two needed columns of one name, of which every reader takes only one.

    Raises ValueError that names them.
    """
    if len(set(names)) == len(names):
        return
    needed = {place for found in find_columns(tuple(names), columns).values() for place in found}
    if twice := sorted({name for name in needed if names.count(name) > 1}):
        raise ValueError(f"{file} has several columns named {', '.join(twice)}; give each a name of its own")


def check_columns(chosen: Mapping[str, str]) -> None:
    """Refuse names that are not ours. Raises ValueError that lists ours."""
    if unknown := sorted(chosen.keys() - NAMES.keys()):
        raise ValueError(f"columns name {', '.join(unknown)}; expected some of {', '.join(NAMES)}")


@lru_cache(maxsize=1024)
def find_columns(names: tuple[str, ...], columns: tuple[tuple[str, str], ...]) -> dict[str, tuple[str, ...]]:
    """Map our names to the columns of a file that may hold them, the preferred one first."""
    chosen = dict(columns)
    check_columns(chosen)
    called: dict[str, list[str]] = {}
    for name in names:
        called.setdefault(name.strip().lower().replace(" ", "_").replace("-", "_"), []).append(name)
    found: dict[str, tuple[str, ...]] = {}
    for ours, theirs in NAMES.items():
        own = [chosen[ours]] if chosen.get(ours) in names else []
        places = own or list(dict.fromkeys(each for name in theirs for each in called.get(name, ())))
        if places:
            found[ours] = tuple(places)
    return found
