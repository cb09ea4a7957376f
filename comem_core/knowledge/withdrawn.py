"""What was withdrawn from a store: items that are not shown, searched, asked about or trained on any more.

Each withdrawal is a file beside the artefacts. It is a rule, so it also holds for items that come later. It names the
items that it was true of when it was made, so that a memory is opened without reading all items.
"""

import json
from collections.abc import Collection, Iterable
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from comem_core.addresses.beside import read_beside, remove_beside, write_beside
from comem_core.knowledge.items import hash_content_parts

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
            read: Any = json.loads(content)
            lists = {name: tuple(map(str, read[name])) for name in ("values", "item_ids")}
            found = cls(by=read["by"], when=read["when"], reason=read["reason"], **lists)
        except (ValueError, TypeError, KeyError) as error:
            raise ValueError(
                f"{where} cannot be read ({type(error).__name__}: {error}), so what was withdrawn is not known; take "
                "it from a backup, or remove it and withdraw again"
            ) from error
        if found.by not in COLUMNS:
            raise ValueError(f"{where} withdraws by {found.by!r}; expected one of {', '.join(COLUMNS)}")
        return found

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
    contents = read_beside(store, WITHDRAWN)
    found = [Withdrawal.parse(content, f"{store}/{WITHDRAWN}/{name}") for name, content in contents.items()]
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
