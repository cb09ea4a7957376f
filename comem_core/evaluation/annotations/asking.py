"""From rows to questions that can be asked: in a fair order, each with its picture, and what is missing with a reason.

Knows no format: a benchmark says how a row becomes a question.
"""

import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from comem_core.backbone.images import decode
from comem_core.evaluation.annotations.pictures import PictureSources
from comem_core.evaluation.annotations.rows import Row
from comem_core.evaluation.benchmarks import Missing
from comem_core.knowledge.items import Question, hash_content_parts

# What a row without its fields, or with others than expected, raises while it becomes a question.
BAD_ROW = (KeyError, TypeError, ValueError, IndexError, AttributeError, SyntaxError)
UNREADABLE = (OSError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error, tarfile.TarError)


@dataclass(frozen=True)
class AnnotatedQuestion:
    """A question without its picture, which is inside the row or known by the first of `image_ids` that is there."""

    question: Question
    row: Row
    image_ids: tuple[str, ...] = ()


class Unaskable(ValueError):
    """Says why a row cannot be asked and scored: the reason as a word, the detail as a sentence."""

    def __init__(self, reason: str, detail: str, *, split: str | None = None):
        super().__init__(detail)
        self.reason, self.detail, self.split = reason, detail, split


def make_questions(
    rows: Iterable[Row], question_of: Callable[[Row], AnnotatedQuestion], *, id_field: str, prefix: str = ""
) -> Iterator[AnnotatedQuestion | Missing]:
    """Yield what each row becomes. One without an id is called by its file and row."""
    for row in rows:
        known = row.fields.get(id_field)
        name = f"{prefix}{known}" if known is not None and str(known).strip() else f"{row.file}:{row.number}"
        try:
            if row.fault:
                raise ValueError(row.fault)
            yield question_of(row)
        except Unaskable as error:
            yield Missing(name, error.reason, error.detail, row.file, row.number, error.split)
        except BAD_ROW as error:
            yield Missing(name, "bad_row", f"{type(error).__name__}: {error}", row.file, row.number)


def put_in_order(
    asked: Iterable[AnnotatedQuestion | Missing], pictures: PictureSources
) -> Iterator[Question | Missing]:
    """Yield questions and what is missing in the order of a hash of their ids, any beginning of which is a fair sample.

    Of questions with one id the first is asked.
    """
    named: dict[str, list[AnnotatedQuestion | Missing]] = {}
    for each in asked:
        named.setdefault(
            each.question.question_id if isinstance(each, AnnotatedQuestion) else each.question_id, []
        ).append(each)
    for name in sorted(named, key=lambda name: hash_content_parts("benchmark", name)):
        first: Row | None = None
        for each in named[name]:
            if isinstance(each, Missing):
                yield each
            elif first is not None:
                detail = f"row {first.number} of {first.file} has the same id"
                yield _missing(each, "duplicate_id", detail)
            else:
                first = each.row
                yield _with_picture(each, pictures)


def _with_picture(asked: AnnotatedQuestion, pictures: PictureSources) -> Question | Missing:
    try:
        image = asked.row.embedded() if asked.row.embedded is not None else None
        if image is None:
            if (read := pictures.find(asked.image_ids)) is None:
                return _missing(asked, "missing_image", _not_found(asked, pictures))
            image = read()
        decode(image)
    except UNREADABLE as error:
        return _missing(asked, "unreadable_image", f"{' or '.join(asked.image_ids[:1]) or 'in the row'}: {error}")
    return replace(asked.question, image=image)


def _not_found(asked: AnnotatedQuestion, pictures: PictureSources) -> str:
    named = " or ".join(asked.image_ids) or "in the row"
    unread = f"; not looked into: {', '.join(pictures.unread)}, unpack it" if pictures.unread else ""
    return f"no picture {named}{unread}"


def _missing(asked: AnnotatedQuestion, reason: str, detail: str) -> Missing:
    row, question = asked.row, asked.question
    return Missing(question.question_id, reason, detail, row.file, row.number, question.split)


def require_text(text: object, *, what: str = "question") -> str:
    """Return a text without the space around it. Raises ValueError where it says nothing."""
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"no {what}: {text!r}")
    return text.strip()
