"""Names of corpora: the address that makes two of them the same one, and short names that tell several apart."""

import os
from collections.abc import Sequence

from comem_core.knowledge.corpora.built_in import BUILT_IN


def find_address(corpus: str) -> str:
    """Return a corpus's address, the same from every folder: a local path becomes absolute, its links stay."""
    return corpus if corpus in BUILT_IN or "://" in corpus else os.path.abspath(corpus)


def name_corpora(addresses: Sequence[str]) -> list[str]:
    """Return a name for each corpus: the last part of its address, with more parts where two end alike.

    Equal addresses have equal names.
    """
    return [_name_among(each, {*addresses} - {each}) for each in addresses]


def _name_among(address: str, others: set[str]) -> str:
    """Return the shortest end of an address that none of the others has; the whole address if there is none."""
    parts = _split(address)
    for num in range(1, len(parts)):
        if all(_split(other)[-num:] != parts[-num:] for other in others):
            return "/".join(parts[-num:])
    return address if others else address.strip("/")


def _split(address: str) -> list[str]:
    return [part for part in address.split("/") if part]
