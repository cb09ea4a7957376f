"""Finds the items of an index for questions: embeds the questions as the index's items were embedded, and searches.

An index is a folder: one index a side (`image`, `text`), and which items show which picture.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from comem_core.knowledge.embedders.interface import Embedder
from comem_core.knowledge.index.vector_index import Hits, VectorIndex
from comem_core.knowledge.items import Question
from comem_core.knowledge.retrieval import Restriction, Side, find_items, find_items_by_both

IMAGE, TEXT, BOTH = "image", "text", "both"
PICTURES = "pictures"


@dataclass(frozen=True, eq=False)
class Searcher:
    """Indexes of items by side, and the embedder of each. `by` is the side to search, or `both`."""

    by: str
    indexes: Mapping[str, VectorIndex]
    embedders: Mapping[str, Embedder]
    text_weight: float = 0.5

    @classmethod
    def open(
        cls, folder: Path, *, embedders: Mapping[str, Embedder], by: str, text_weight: float | None = None
    ) -> "Searcher":
        """Memory-map the indexes of an artefact. Raises ValueError as `VectorIndex.load`."""
        indexes = {side: VectorIndex.load(folder / side) for side in embedders}
        return cls(by, indexes, embedders, 0.5 if text_weight is None else text_weight)

    def has_language(self, language: str) -> bool:
        """Tell whether an item that can be found is in a language, whatever its region and script."""
        return any(index.has_language(language) for index in self.indexes.values())

    def find(self, questions: Sequence[Question], *, k: int, among: Restriction) -> list[Hits]:
        """Return up to k items for each question, best first.

        A question that is restricted to a language without items is searched in all of them.

        Raises:
            ValueError: a question's picture cannot be read, or as `find_items`.
        """
        sides = {side: self._embed(side, questions) for side in self.indexes}
        if among.languages is not None:
            languages = [each if each and self.has_language(each) else None for each in among.languages]
            among = replace(among, languages=languages)
        if self.by == BOTH:
            return find_items_by_both(sides[IMAGE], sides[TEXT], text_weight=self.text_weight, k=k, among=among)
        return find_items(sides[self.by], k=k, among=among)

    def _embed(self, side: str, questions: Sequence[Question]) -> Side:
        index, embedder = self.indexes[side], self.embedders[side]
        if side == IMAGE:
            return Side(index, embedder.embed_images([question.image for question in questions]))
        return Side(index, embedder.embed_texts([question.question for question in questions], as_query=True))
