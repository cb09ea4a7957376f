"""What was withdrawn from a store: items that are not shown, searched, asked about or trained on any more.

Each withdrawal is a file beside the artefacts. It is a rule, so it also holds for items that come later. It names the
items that it was true of when it was made, so that a memory is opened without reading all items.
"""

import json
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from comem_core.addresses.beside import read_beside, remove_beside, write_beside
from comem_core.knowledge.items import hash_content_parts
from comem_core.stated_fields import parse_json

WITHDRAWN = ".withdrawn"
"""The folder of a store that has its withdrawals."""
COLUMNS = {"item": "item_id", "image": "image_id", "licence": "licence", "source": "source"}
"""By what items are withdrawn, and the column of an item that has it."""


@dataclass(frozen=True, kw_only=True)
class Withdrawal:
    """All items whose `by` (a key of `COLUMNS`) is one of `values`, and the ids of those that there were.

    `when` is a time in ISO 8601; `reason` is for people.
    """

    by: str
    values: tuple[str, ...]
    item_ids: tuple[str, ...]
    when: str
    reason: str = ""

    @cached_property
    def name(self) -> str:
        """The name by which it can be taken back: the same rule has the same name."""
        return hash_content_parts(self.by, *sorted(self.values))

    @classmethod
    def parse(cls, content: bytes, where: str) -> "Withdrawal":
        """Read a withdrawal. Raises ValueError for a damaged file, because nobody may show what it withdrew."""
        try:
            found = cls(**parse_json(content))
            lists = (found.values, found.item_ids)
            if found.by not in COLUMNS:
                raise ValueError(f"it withdraws by {found.by!r}; expected one of {', '.join(COLUMNS)}")
            if not all(isinstance(each, list) and all(isinstance(name, str) for name in each) for each in lists):
                raise ValueError("values and item_ids are not lists of texts")
            if not (found.values and isinstance(found.when, str) and isinstance(found.reason, str)):
                raise ValueError("values are empty, or when or reason are not texts")
        except (ValueError, TypeError) as error:
            raise ValueError(
                f"{where} cannot be read ({error}), so what was withdrawn is not known; take it from a backup, or "
                "withdraw the same again, which replaces it"
            ) from error
        return replace(found, values=tuple(found.values), item_ids=tuple(found.item_ids))

    def write(self) -> bytes:
        """Return the content of its file."""
        return json.dumps(asdict(self), indent=1, ensure_ascii=False).encode()

    @property
    def file(self) -> str:
        """The name of its file."""
        return f"{self.name}.json"


def read_withdrawals(store: str | Path) -> list[Withdrawal]:
    """Read what was withdrawn from a store, by its folder or fsspec address, oldest first.

    Raises ValueError for a file that cannot be read.
    """
    contents = {name: each for name, each in read_beside(store, WITHDRAWN).items() if name.endswith(".json")}
    found = [Withdrawal.parse(content, f"{store}/{WITHDRAWN}/{name}") for name, content in contents.items()]
    if renamed := [name for name, each in zip(contents, found, strict=True) if name != each.file]:
        raise ValueError(
            f"{store}/{WITHDRAWN}/{renamed[0]} has another name than it was written under; name it as before"
        )
    return sorted(found, key=lambda each: (each.when, each.name))


def write_withdrawal(store: str | Path, withdrawal: Withdrawal) -> None:
    """Withdraw from a store: from then on, whoever opens it knows."""
    write_beside(store, WITHDRAWN, withdrawal.file, withdrawal.write())


def remove_withdrawal(store: str | Path, withdrawal: Withdrawal) -> None:
    """Take a withdrawal back."""
    remove_beside(store, WITHDRAWN, withdrawal.file)


def list_withdrawn(withdrawals: Iterable[Withdrawal]) -> frozenset[str]:
    """Return the ids of all items that were there when they were withdrawn."""
    return frozenset(item_id for each in withdrawals for item_id in each.item_ids)


def list_pictures(withdrawals: Iterable[Withdrawal]) -> frozenset[str]:
    """Return the ids of the pictures that were withdrawn as such, whatever shows them."""
    return frozenset(image_id for each in withdrawals if each.by == "image" for image_id in each.values)


def find_withdrawn(tables: Iterable[pa.Table], withdrawals: Collection[Withdrawal]) -> list[str]:
    """Return the ids of the items, in tables with the columns of `COLUMNS`, that a withdrawal is about."""
    known = list_withdrawn(withdrawals)
    wanted = {
        column: pa.array([*(v for each in withdrawals if each.by == by for v in each.values)], pa.string())
        for by, column in COLUMNS.items()
    }
    found: list[str] = []
    for table in tables:
        is_gone = pc.call_function(
            "is_in", [table["item_id"]], pc.SetLookupOptions(pa.array(sorted(known), pa.string()))
        )
        for column, values in wanted.items():
            matches = pc.call_function("is_in", [table[column]], pc.SetLookupOptions(values))
            is_gone = pc.call_function("or", [is_gone, matches])
        found += table["item_id"].filter(is_gone).to_pylist()
    return found


def find_shown(training_set: Path, withdrawn: Collection[str]) -> list[str]:
    """Return the withdrawn items that samples of a training set show, in order."""
    found: set[str] = set()
    for path in sorted(training_set.glob("*.parquet")):
        for batch in pq.ParquetFile(path).iter_batches(columns=["item_ids"]):
            found.update(each for each in batch["item_ids"].flatten().to_pylist() if each in withdrawn)
    return sorted(found)
