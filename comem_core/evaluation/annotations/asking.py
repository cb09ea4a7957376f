"""Turns rows into questions, each with its picture, in a fair order. What cannot be asked is listed with a reason.

Independent of formats: a benchmark says how a row becomes a question.
"""

import tarfile
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace

from comem_core.backbone.images import decode
from comem_core.evaluation.annotations.pictures import PictureSources
from comem_core.evaluation.annotations.rows import Row
from comem_core.evaluation.benchmarks import MissingQuestion
from comem_core.evaluation.meaning import is_empty
from comem_core.knowledge.items import Question, hash_content_parts

# What a row with missing or unexpected fields raises while it becomes a question.
BAD_ROW = (
    *(KeyError, TypeError, ValueError, IndexError, AttributeError),
    *(SyntaxError, ArithmeticError, RecursionError, MemoryError),
)
UNREADABLE = (OSError, ValueError, RuntimeError, NotImplementedError, zipfile.BadZipFile, zlib.error, tarfile.TarError)


@dataclass(frozen=True)
class AnnotatedQuestion:
    """A question without its picture. The picture is in the row, or is the first of `image_ids` that can be found."""

    question: Question
    row: Row
    image_ids: tuple[str, ...] = ()


class MissingQuestionError(ValueError):
    """Raised for a row that is a missing question, because it cannot be asked or scored.

    The reason is a word, the detail a sentence.
    """

    def __init__(self, reason: str, detail: str, *, split: str | None = None):
        super().__init__(detail)
        self.reason, self.detail, self.split = reason, detail, split


def make_questions(
    rows: Iterable[Row], question_of: Callable[[Row], AnnotatedQuestion], *, id_field: str, prefix: str = ""
) -> Iterator[AnnotatedQuestion | MissingQuestion]:
    """Yield a question for each row, or why it is missing. A row without an id is named by its file and number."""
    for row in rows:
        known = row.fields.get(id_field)
        name = f"{prefix}{known}" if known is not None and str(known).strip() else f"{row.file}:{row.number}"
        try:
            if row.fault:
                raise ValueError(row.fault)
            yield question_of(row)
        except MissingQuestionError as error:
            yield MissingQuestion(name, error.reason, error.detail, row.file, row.number, error.split)
        except BAD_ROW as error:
            yield MissingQuestion(name, "bad_row", f"{type(error).__name__}: {error}", row.file, row.number)


def put_in_order(
    asked: Iterable[AnnotatedQuestion | MissingQuestion], pictures: PictureSources
) -> Iterator[Question | MissingQuestion]:
    """Yield questions and missing ones in the order of a hash of their ids, so that any prefix is a fair sample.

    Of several questions with the same id, only the first is asked.
    """
    named: dict[str, list[AnnotatedQuestion | MissingQuestion]] = {}
    for each in asked:
        named.setdefault(
            each.question.question_id if isinstance(each, AnnotatedQuestion) else each.question_id, []
        ).append(each)
    for name in sorted(named, key=lambda name: hash_content_parts("benchmark", name)):
        first: Row | None = None
        for each in named[name]:
            if isinstance(each, MissingQuestion):
                yield each
            elif first is not None:
                detail = f"row {first.number} of {first.file} has the same id"
                yield _make_missing(each, "duplicate_id", detail)
            else:
                first = each.row
                yield _add_picture(each, pictures)


def _add_picture(asked: AnnotatedQuestion, pictures: PictureSources) -> Question | MissingQuestion:
    try:
        image = asked.row.embedded() if asked.row.embedded is not None else None
        if image is None:
            if (read := pictures.find(asked.image_ids)) is None:
                return _make_missing(asked, "missing_image", _describe_absence(asked, pictures))
            image = read()
        decode(image)
    except UNREADABLE as error:
        return _make_missing(asked, "unreadable_image", f"{' or '.join(asked.image_ids[:1]) or 'in the row'}: {error}")
    return replace(asked.question, image=image)


def _describe_absence(asked: AnnotatedQuestion, pictures: PictureSources) -> str:
    named = " or ".join(asked.image_ids) or "in the row"
    unread = f"; these archives cannot be read, unpack them: {', '.join(pictures.unread)}" if pictures.unread else ""
    return f"no picture {named}{unread}"


def _make_missing(asked: AnnotatedQuestion, reason: str, detail: str) -> MissingQuestion:
    row, question = asked.row, asked.question
    return MissingQuestion(question.question_id, reason, detail, row.file, row.number, question.split)


def require_gold(answers: Iterable[str], *, split: str | None = None) -> None:
    """Refuse gold answers that all say nothing, because an empty answer would be right. Raises MissingQuestionError."""
    given = list(answers)
    if all(map(is_empty, given)):
        raise MissingQuestionError("no_gold", f"no accepted answer says anything: {given}", split=split)


def require_text(text: object, *, what: str = "question") -> str:
    """Return a text, stripped. Raises ValueError for anything else, and for an empty text."""
    if not isinstance(text, str) or not text.strip():
        raise ValueError(f"no {what}: {text!r}")
    return text.strip()
