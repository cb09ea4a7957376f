"""An unfinished artefact whose store is at an address: what is finished is put there at once, and found there again.

    <stage>/<fingerprint>/part-00000.parquet            a finished file, under its final name
    <stage>/<fingerprint>/.whole/part-00000.parquet     its receipt: size and hash; written after it
    <stage>/<fingerprint>/.batches/part-00001/...       finished batches, one object each
    <stage>/<fingerprint>/record.json                   written last, by the run; then the hidden files go

A file without its receipt does not count, whoever put it there. Notes and checkpoints have none: they are read whole or
not at all. Weights and vectors (`*.safetensors`) are not brought to the machine of the run, which reads none of them.
"""

import contextlib
import json
import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from uuid import uuid4

from comem_core.addresses.copies import hash_file, is_as_recorded
from comem_core.addresses.remote import Remote
from comem_core.data_roots import is_file_name
from comem_core.serving.layout import ShardRecord
from tasks.engine.partial import BATCHES, KEPT, MEASURED, Partial

WHOLE = ".whole"
HEAVY = ".safetensors"
LOOK_EVERY_SECONDS = 2.0
_looked: dict[str, tuple[float, bool]] = {}


@dataclass(frozen=True)
class Receipt:
    """What the maker of a finished file says of it."""

    sha256: str
    size: int

    @classmethod
    def of(cls, path: Path) -> "Receipt":
        return cls(sha256=hash_file(path), size=path.stat().st_size)

    @classmethod
    def of_shard(cls, shard: ShardRecord) -> "Receipt":
        return cls(sha256=shard["sha256"], size=shard["bytes"])

    def write(self) -> bytes:
        return json.dumps(asdict(self)).encode()

    def is_of(self, path: Path) -> bool:
        """Tell whether a file is what this says."""
        return is_as_recorded(path, {"sha256": self.sha256, "bytes": self.size})

    def describe(self, name: str) -> ShardRecord:
        """Describe a file without rows, as a record does."""
        return {"file": name, "sha256": self.sha256, "bytes": self.size, "rows": 0}


@dataclass(frozen=True)
class RemotePartial(Partial):
    """An artefact that is being made at an address; `folder` is this machine's copy of it. Workers get it pickled, and
    each machine makes its own folder under the same path."""

    address: str = ""

    @property
    def remote(self) -> Remote:
        return Remote(self.address)

    def list_finished(self) -> set[str]:
        """List the names of finished files, here or at the address. A folder is made again: nothing tells whether all
        of its files came there."""
        here = {name for name in super().list_finished() if not (self.folder / name).is_dir()}
        return here | {name.removesuffix(".parquet") for name in self.read_receipts() if "/" not in name}

    def read_receipts(self, wanted: Callable[[str, int], bool] = lambda name, size: True) -> dict[str, Receipt]:
        """Read the receipts of the finished files that are there with the size that they say, if the file is wanted."""
        sizes, found = self.remote.list_sizes(), {}
        files = [name.removeprefix(f"{WHOLE}/") for name in sizes if name.startswith(f"{WHOLE}/")]
        asked = [f"{WHOLE}/{file}" for file in files if file in sizes and wanted(file, sizes[file])]
        for name, content in self.remote.read_each(asked).items():
            with contextlib.suppress(ValueError, TypeError):
                receipt, file = Receipt(**json.loads(content)), name.removeprefix(f"{WHOLE}/")
                if sizes[file] == receipt.size:
                    found[file] = receipt
        return found

    @contextlib.contextmanager
    def open_file(self, name: str) -> Iterator[Path]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with super().open_file(name) as path:
            yield path
        self._hand_on([name])

    @contextlib.contextmanager
    def open_folder(self, name: str) -> Iterator[Path]:
        self.folder.mkdir(parents=True, exist_ok=True)
        with super().open_folder(name) as path:
            yield path
        files = sorted(each for each in (self.folder / name).rglob("*") if each.is_file())
        self._hand_on([each.relative_to(self.folder).as_posix() for each in files])

    def _hand_on(self, names: Sequence[str]) -> None:
        """Put finished files to the address, then the receipts of those that have one."""
        for name in names:
            self.remote.upload(self.folder / name, name)
        for name in names:
            if self.durable and not name.startswith("."):
                self.remote.write(f"{WHOLE}/{name}", Receipt.of(self.folder / name).write())

    def put(self, *names: str) -> None:
        for name in names:
            if (self.folder / name).exists():
                self.remote.upload(self.folder / name, name)

    def take(self, *names: str) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        for name in names:
            (self.folder / name).unlink(missing_ok=True)
        there = self.remote.list_names()
        self._download([name for name in names if name in there])

    def remove(self, *names: str) -> None:
        super().remove(*names)
        self.remote.remove([*(f"{WHOLE}/{name}" for name in names if not name.startswith(".")), *names])

    def remove_batches(self, shard: str) -> None:
        shutil.rmtree(self.batches / shard, ignore_errors=True)
        self.remote.remove(self.remote.list_sizes(f"{BATCHES}/{shard}"))

    def batches_of(self, shard: str) -> "RemotePartial":
        """Open the folder of a shard's batches: those that are at the address, and no others."""
        folder = self.batches / shard
        folder.mkdir(parents=True, exist_ok=True)
        place = f"{self.address}/{BATCHES}/{shard}"
        found = RemotePartial(folder, self.min_free_bytes, durable=False, address=place)
        found.take_there(found.remote.list_sizes())
        return found

    def take_there(self, sizes: Mapping[str, int]) -> None:
        """Make the files in the folder those that are listed, of their sizes."""
        for path in self.folder.glob("*"):
            if path.is_file() and sizes.get(path.name) != path.stat().st_size:
                path.unlink()
        self._download(name for name in sizes if is_file_name(name) and not (self.folder / name).exists())

    def _download(self, names: Iterable[str]) -> None:
        """Bring files here; each gets its name when it is whole."""
        hidden = {name: self._hide(name) for name in names}
        try:
            self.remote.download(hidden)
            for name, path in hidden.items():
                (self.folder / name).parent.mkdir(parents=True, exist_ok=True)
                path.replace(self.folder / name)
        finally:
            for path in hidden.values():
                path.unlink(missing_ok=True)

    def _hide(self, name: str) -> Path:
        return self.folder / f".{name.replace('/', '_')}.{uuid4().hex[:8]}.tmp"

    def fetch_finished(self) -> None:
        """Bring finished files that are not here, but for weights and vectors. One that differs from its receipt is
        removed at the address: it is not finished."""
        self.folder.mkdir(parents=True, exist_ok=True)
        receipts = self.read_receipts(lambda name, size: not name.endswith(HEAVY) and not self._is_here(name, size))
        self._download(receipts)
        damaged = [name for name, each in receipts.items() if not each.is_of(self.folder / name)]
        if damaged:
            self.remove(*damaged)

    def _is_here(self, name: str, size: int) -> bool:
        path = self.folder / name
        return path.is_file() and path.stat().st_size == size

    def fetch_unfinished(self) -> None:
        """Make the folder what is at the address: finished files, notes and batches. Nothing else here counts."""
        self.folder.mkdir(parents=True, exist_ok=True)
        receipts, sizes = self.read_receipts(), self.remote.list_sizes()
        for path in [each for each in self.folder.rglob("*") if each.is_file()]:
            name = path.relative_to(self.folder).as_posix()
            is_batch = name.startswith(f"{BATCHES}/") and sizes.get(name) == path.stat().st_size
            if not is_batch and not (name in receipts and receipts[name].is_of(path)):
                path.unlink()
        self.fetch_finished()
        begun = [name for name in sizes if name.startswith(f"{BATCHES}/") and not (self.folder / name).exists()]
        self._download([*(name for name in (KEPT, MEASURED) if name in sizes), *begun])

    def has_file(self, name: str, num_bytes: int) -> bool:
        return self._is_here(name, num_bytes) or self.remote.list_sizes(name).get(name) == num_bytes

    def take_file(self, shard: ShardRecord, uri: str, name: str) -> None:
        """Take a file of another artefact at the address: it is copied there, and not read here."""
        self.remote.copy(f"{uri}/{shard['file']}", name)
        self.remote.write(f"{WHOLE}/{name}", Receipt.of_shard(shard).write())

    def post(self, name: str, text: str) -> None:
        self.remote.write(name, text.encode())

    def append_line(self, name: str, line: str) -> None:
        """Leave a line as an object of its own: objects cannot be appended to."""
        self.remote.write(f"{name}-{time.time_ns():020}-{uuid4().hex[:8]}", line.encode())

    def read_lines(self, name: str) -> list[str]:
        return self.read_posts(f"{name}-")

    def read_posts(self, prefix: str) -> list[str]:
        found = self.remote.read_each(self.list_hidden(prefix))
        return [found[name].decode() for name in sorted(found)]

    def has_post(self, name: str) -> bool:
        """Tell whether a text was left under a name; the address is asked every few seconds."""
        place, now = f"{self.address}/{name}", time.monotonic()
        looked, found = _looked.get(place, (-LOOK_EVERY_SECONDS, False))
        if now - looked >= LOOK_EVERY_SECONDS:
            found = self.remote.read(name) is not None
            _looked[place] = now, found
        return found

    def list_hidden(self, prefix: str) -> list[str]:
        return [name for name in self.remote.list_names() if name.startswith(prefix)]

    def fetch_hidden(self, name: str) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        if not self._is_here(name, self.remote.list_sizes(name).get(name, -1)):
            self._download([name])
        return self.folder / name

    def clear(self, *prefixes: str) -> None:
        for prefix in prefixes:
            Partial.remove(self, *(path.name for path in self.folder.glob(f"{prefix}*")))
            names = self.list_hidden(prefix)
            self.remote.remove(names)
            for name in names:
                _looked.pop(f"{self.address}/{name}", None)
