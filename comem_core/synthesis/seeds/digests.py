"""Hashes of pictures, kept from run to run: a picture is read again only when its file has changed.

A file that is as long as it was and was last written when it was is the same. One that was written a moment before it
was hashed is hashed again: it may have changed since within what a clock tells apart. Independent of questions.
"""

import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from comem_core.evaluation.annotations.pictures import PictureFiles, Stamp

CLOCK_TICK_NS = 2_000_000_000  # the coarsest clock of a file system in use, FAT's


class Digests:
    """SHA-256 of the pictures of one folder or archive. `file` keeps them; None: they are made anew each time."""

    def __init__(self, pictures: PictureFiles, file: Path | None):
        self.pictures, self.file = pictures, file
        self._kept: dict[str, tuple[Stamp, str]] = {}
        if file is not None and file.exists():
            kept = json.loads(file.read_text(encoding="utf-8"))
            self._kept = {name: ((size, changed), digest) for name, (size, changed, digest) in kept.items()}

    def of(self, names: Iterable[str]) -> Iterator[str]:
        """Yield the hash of each picture; when all are out, those that are new are kept."""
        num_new = 0
        for name in names:
            stamp, kept = self.pictures.stamp(name), self._kept.get(name)
            if kept is not None and kept[0] == stamp:
                yield kept[1]
                continue
            now = time.time_ns()
            digest = hashlib.sha256(self.pictures.read(name)).hexdigest()
            if now - stamp[1] > CLOCK_TICK_NS:
                self._kept[name] = (stamp, digest)
                num_new += 1
            yield digest
        if num_new:
            self._save()

    def _save(self) -> None:
        if self.file is None:
            return
        self.file.parent.mkdir(parents=True, exist_ok=True)
        hidden = self.file.with_suffix(f".{uuid.uuid4().hex[:8]}.tmp")
        kept = {name: (*stamp, digest) for name, (stamp, digest) in self._kept.items()}
        hidden.write_text(json.dumps(kept), encoding="utf-8")
        os.replace(hidden, self.file)
