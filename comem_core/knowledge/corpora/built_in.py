"""Shipped corpora: ready items, by name."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from comem_core.knowledge.corpora.parquet import cut_rows
from comem_core.knowledge.corpora.rows import Form, Piece, RawRow
from comem_core.knowledge.items import KnowledgeItem
from comem_core.worlds.countries import world as countries
from comem_core.worlds.emoji import world as emoji
from comem_core.worlds.imaginary.countries import draw_imaginary_items


@dataclass(frozen=True)
class Shipped:
    """A corpus that ships: how its items are loaded, and how the data that they are made from are named."""

    load: Callable[[], Sequence[KnowledgeItem]]
    name_revision: Callable[[], str]


BUILT_IN: Mapping[str, Shipped] = {
    "countries": Shipped(countries.load_knowledge_items, countries.name_revision),
    "imaginary-countries": Shipped(draw_imaginary_items, countries.name_revision),
    "emoji": Shipped(emoji.load_knowledge_items, emoji.name_revision),
}


class BuiltIn(Form):
    """One shipped corpus."""

    def __init__(self, name: str):
        self.name = name

    def cut_into_pieces(self, size: int) -> Iterator[Piece]:
        yield from cut_rows(self.name, len(BUILT_IN[self.name].load()), size)

    def read_rows(self, piece: Piece) -> Iterator[RawRow]:
        for number, item in enumerate(BUILT_IN[self.name].load()[piece.start : piece.stop], start=piece.row):
            yield RawRow(self.name, number, item)
