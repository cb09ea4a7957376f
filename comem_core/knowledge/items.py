"""Knowledge items and questions: the two kinds of input, as plain values identified by their content.

Independent of files, models and where a row came from.
"""

import hashlib
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import PurePath
from typing import Any, TypeVar

Kind = TypeVar("Kind")


def hash_content_parts(*parts: str | bytes) -> str:
    """Hash content: 16 hex digits of SHA-256 over length-prefixed parts."""
    return hash_each_part(parts)


def hash_each_part(parts: Iterable[str | bytes]) -> str:
    """Hash content as `hash_content_parts` does, a part at a time, so that it need not fit into memory."""
    digest = hashlib.sha256()
    for part in parts:
        raw = part.encode() if isinstance(part, str) else part
        digest.update(len(raw).to_bytes(8, "big"))
        digest.update(raw)
    return digest.hexdigest()[:16]


@dataclass(frozen=True, kw_only=True)
class KnowledgeItem:
    """One image and one text, with language, source and licence. `image` is an encoded picture (PNG, JPEG, WebP), or
    None for an item of text alone."""

    text: str
    language: str
    source: str
    licence: str
    image: bytes | None = None
    title: str | None = None
    entity_id: str | None = None

    @classmethod
    def with_id(cls, item_id: str, **fields: Any) -> "KnowledgeItem":
        """Return the item of these fields, whose id is known: its picture is not hashed again."""
        item = cls(**fields)
        item.__dict__["item_id"] = item_id  # where `cached_property` looks first
        return item

    @property
    def picture(self) -> bytes:
        """The image. Raises ValueError for an item of text alone."""
        if self.image is None:
            raise ValueError(f"item {self.item_id} ({self.title or self.source}) is text alone; a picture is needed")
        return self.image

    @cached_property
    def image_id(self) -> str | None:
        return None if self.image is None else hash_content_parts(self.image)

    @cached_property
    def item_id(self) -> str:
        """A hash of what a reader sees, so that equal items from two sources are one item."""
        return hash_content_parts(self.image or b"", self.text, self.language)


@dataclass(frozen=True, kw_only=True)
class Question:
    """One question about one image, with its gold answers where there are any: without them it cannot be scored.

    `answer_low`/`answer_high` bound a right number; they are set only if `question_type` is `numerical`.
    `options` are the choices of a multiple-choice question; `right_option` is the place of the right one, from 0.
    `origin` is `seed` (from a benchmark's training split) or `asked` (by the VLM itself).
    """

    question_id: str
    question: str
    image: bytes
    language: str
    answers: tuple[str, ...] = ()
    question_type: str = "string"
    answer_low: float | None = None
    answer_high: float | None = None
    options: tuple[str, ...] = ()
    right_option: int | None = None
    benchmark: str | None = None
    split: str | None = None
    attribute: str | None = None
    entity_id: str | None = None
    gold_item_id: str | None = None
    origin: str = "seed"

    @cached_property
    def image_id(self) -> str:
        return hash_content_parts(self.image)


def check_inputs(given: Iterable[Kind], kind: type[Kind]) -> Iterator[Kind]:
    """Yield knowledge items or questions, each when it is asked for.

    Raises:
        ValueError: it is a text, a path or a single one, or one of them is something else; the message says what was
            found and expected.
    """
    expected = f"expected a list, or any iterable, of {kind.__name__}"
    if isinstance(given, str | bytes | PurePath):
        raise ValueError(f"found the {type(given).__name__} {given!r:.80}; {expected} (read_corpus reads a folder)")
    if not isinstance(given, Iterable):
        raise ValueError(f"found one {type(given).__name__}; {expected}")
    for place, each in enumerate(given):
        if not isinstance(each, kind):
            raise ValueError(f"entry {place} is a {type(each).__name__}, {each!r:.80}; {expected}")
        yield each
