"""Caches hashes of pictures between runs: a picture is read again only if its file has changed.

A file with the same size and modification time is the same. A file that was hashed just after it was written is hashed
again: it may have changed within one tick of the file system's clock. Independent of questions.
"""

import hashlib
import json
import os
import time
import uuid
from collections.abc import Iterable, Iterator
from pathlib import Path

from comem_core.evaluation.annotations.pictures import PictureFiles, Stamp

CLOCK_TICK_NS = 2_000_000_000  # FAT's, the coarsest clock of a file system in use


class Digests:
    """SHA-256 hashes of the pictures in one folder or archive. `file` caches them; None: there is no cache."""

    def __init__(self, pictures: PictureFiles, file: Path | None):
        self.pictures, self.file = pictures, file
        self._kept: dict[str, tuple[Stamp, str]] = {}
        if file is not None and file.exists():
            kept = json.loads(file.read_text(encoding="utf-8"))
            self._kept = {name: ((size, changed), digest) for name, (size, changed, digest) in kept.items()}

    def of(self, names: Iterable[str]) -> Iterator[str]:
        """Yield the hash of each picture. After the last one, write new hashes to the cache."""
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
