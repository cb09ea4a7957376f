"""Seed questions from files: which rows are taken, their pictures, and the faults of the others.

Independent of formats: a format gives each row's question, gold answers, and the possible ids of its picture.
"""

import hashlib
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

from comem_core.backbone.images import decode
from comem_core.evaluation.annotations.pictures import PictureFiles, open_pictures
from comem_core.evaluation.metrics import Metric
from comem_core.knowledge.items import Question, hash_content_parts
from comem_core.synthesis.seeds.digests import Digests


@dataclass(frozen=True)
class BadSeed:
    """A row that gave no question: file name, row (from 1), a one-word reason, and a sentence of detail."""

    file: str
    row: int
    reason: str
    detail: str


@dataclass(frozen=True, kw_only=True)
class SeedRow:
    """A question whose picture is still to be found, by the first of `image_ids` that exists.

    `folder` is a part of the picture's path that distinguishes it from other pictures of the same name, if any.
    """

    question: Question
    image_ids: tuple[str, ...]
    file: str
    row: int
    folder: str | None = None


@dataclass(frozen=True, kw_only=True)
class SeedFormat:
    """How annotation files become seed questions. `name` is the benchmark that the questions name.

    `rows` reads `num_files` annotation files. `metric` scores the questions; None: the metric of the benchmark `name`.
    """

    name: str
    num_files: int
    rows: Callable[[Sequence[Path]], Iterator[SeedRow | BadSeed]]
    metric: Metric | None = None


CheckLanguage = Callable[[str], None]
NO_PROMPTS = "no_prompts"


def describe_unknown_language(question: Question, file: str, row: int, check: CheckLanguage) -> BadSeed | None:
    """Return the fault of a row whose question is in a language that cannot be asked, or None."""
    try:
        check(question.language)
    except ValueError as error:
        return BadSeed(file, row, NO_PROMPTS, f"the question {question.question_id}: {error}")
    return None


class SeedFile:
    """Rows of annotation files with a folder or archive of pictures."""

    def __init__(
        self,
        form: str,
        files: Sequence[Path],
        pictures: Path,
        read: Callable[[Sequence[Path]], Iterator[SeedRow | BadSeed]],
        *,
        kept: Path | None = None,
        check_language: CheckLanguage = lambda _: None,
    ):
        """Open the pictures. The folder `kept`, if given, caches hashes of pictures."""
        self.form, self.files, self.read, self.check_language = form, files, read, check_language
        self.pictures: PictureFiles = open_pictures(pictures)
        name = hash_content_parts("pictures", str(pictures.absolute()))
        self.digests = Digests(self.pictures, kept / f"{name}.json" if kept else None)
        self._faults: dict[BadSeed, None] = {}

    @cached_property
    def found(self) -> list[tuple[SeedRow, str]]:
        """The rows that can be asked and whose picture exists, with the picture's name, in the order of a hash.

        Raises ValueError, with the first reasons, if there is no such row.
        """
        found, missing = [], {}
        for row in self.read(self.files):
            if isinstance(row, BadSeed):
                self._faults[row] = None
            elif fault := describe_unknown_language(row.question, row.file, row.row, self.check_language):
                self._faults[fault] = None
            elif (name := self._find_picture(row)) is None:
                missing.setdefault(row.image_ids, []).append(row)
            else:
                found.append((row, name))
        for image_ids, rows in missing.items():
            self._note_missing(image_ids, rows)
        if not found:
            reasons = Counter(fault.reason for fault in self._faults)
            shown = "; ".join(f"{fault.file} row {fault.row}: {fault.detail}" for fault in list(self._faults)[:3])
            counted = ", ".join(f"{count} {reason}" for reason, count in reasons.most_common()) or "no rows"
            raise ValueError(f"no seed question of {self.form} has its picture ({counted}). {shown}")
        return sorted(found, key=lambda pair: hash_content_parts("seed", self.form, pair[0].question.question_id))

    def count(self, limit: int) -> int:
        return min(limit, len(self.found))

    def name_content(self, num: int) -> str:
        digest = hashlib.sha256()
        found = self.found[:num]
        for (row, _), picture in zip(found, self.digests.of(name for _, name in found), strict=True):
            digest.update(repr(row.question).encode())
            digest.update(bytes.fromhex(picture))
        return f"{self.form}@{digest.hexdigest()[:16]}"

    def read_questions(self, num: int) -> Iterator[Question]:
        for row, name in self.found[:num]:
            image = self.pictures.read(name)
            try:
                decode(image)
            except ValueError as error:
                self._faults[BadSeed(row.file, row.row, "unreadable_image", f"{Path(name).name}: {error}")] = None
                continue
            yield replace(row.question, image=image)

    def list_faults(self) -> list[BadSeed]:
        return list(self._faults)

    def _find_picture(self, row: SeedRow) -> str | None:
        names = (self.pictures.find(image_id, folder=row.folder) for image_id in row.image_ids)
        return next((name for name in names if name is not None), None)

    def _note_missing(self, image_ids: tuple[str, ...], rows: Sequence[SeedRow]) -> None:
        named = " or ".join(image_ids[:3]) or "without an id"
        detail = f"no picture {named}; {len(rows)} question(s) ask about it"
        self._faults[BadSeed(rows[0].file, rows[0].row, "missing_image", detail)] = None
