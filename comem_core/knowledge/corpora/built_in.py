"""Shipped corpora: ready items, by name."""

from collections.abc import Callable, Iterator, Sequence

from comem_core.knowledge.corpora.parquet import cut_rows
from comem_core.knowledge.corpora.rows import Form, Piece, RawRow
from comem_core.knowledge.items import KnowledgeItem
from comem_core.worlds.countries import world as countries
from comem_core.worlds.imaginary.countries import draw_imaginary_items

BUILT_IN: dict[str, Callable[[], Sequence[KnowledgeItem]]] = {
    "countries": countries.load_knowledge_items,
    "imaginary-countries": draw_imaginary_items,
}


class BuiltIn(Form):
    """One shipped corpus."""

    def __init__(self, name: str):
        self.name = name

    def cut_into_pieces(self, size: int) -> Iterator[Piece]:
        yield from cut_rows(self.name, len(BUILT_IN[self.name]()), size)

    def read_rows(self, piece: Piece) -> Iterator[RawRow]:
        for number, item in enumerate(BUILT_IN[self.name]()[piece.start : piece.stop], start=piece.row):
            yield RawRow(self.name, number, item)
