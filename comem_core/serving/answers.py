"""What a memory is asked, finds and answers, as plain values.

Shapes: K items of a question, M vectors of an item, D width.
"""

from dataclasses import dataclass

from torch import Tensor

from comem_core.evaluation.held_out.gate import Gate
from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.serving.questions import PictureLike

EVERY_LANGUAGE = "every language"


@dataclass(frozen=True, kw_only=True)
class ShownItem:
    """An item that the reader was shown: its rank (from 1), its score (a cosine; None if it was chosen by its id), and
    where it is from."""

    item_id: str
    rank: int
    score: float | None
    text: str
    source: str
    licence: str
    language: str
    title: str | None


@dataclass(frozen=True, kw_only=True)
class Inquiry:
    """One request: a picture (path, bytes, PIL image or address) and a question.

    `k` None shows as many items as the latest evaluation did; `item_ids` shows these, in this order, without a search.
    Without memory, the reader answers from question and picture alone. If `gated`, it does so too where no found item
    is near enough to be trusted, or it is sure by itself.

    Raises:
        ValueError: it is gated, but nothing is searched for.
    """

    image: PictureLike
    question: str
    language: str | None = None
    k: int | None = None
    with_memory: bool = True
    item_ids: tuple[str, ...] | None = None
    gated: bool = False

    def __post_init__(self) -> None:
        if self.gated and (self.item_ids is not None or not self.with_memory):
            raise ValueError("gated decides whether items that are found are shown; leave out item_ids and with_memory")


@dataclass(frozen=True, kw_only=True, eq=False)
class Found:
    """What is put before the reader: a question, the items found for it, and their memory vectors (K·M, D).

    `searched` is the language whose items were searched, `every language`, or None if nothing was searched.
    `gate` is what else decides whether the reader sees the items, and `trusted` is False if it left them out already.
    `caution` says why the reader cannot know what it is asked, where that can be told.
    """

    question: Question
    items: tuple[ShownItem, ...]
    vectors: Tensor
    searched: str | None
    trusted: bool = True
    gate: Gate | None = None
    caution: str | None = None


@dataclass(frozen=True, kw_only=True)
class MemoryAnswer:
    """The reader's answer, the items it was shown, best first, and the languages: the question's, and that searched.

    `trusted` is False if a gate left out the items that were found, so that this is the reader's own answer. `caution`
    says why it can hardly be right, where that can be told: a reader with a closed vocabulary, as the small model that
    ships has, was asked about another world.
    """

    text: str
    items: tuple[ShownItem, ...]
    language: str
    searched: str | None
    prompt_tokens: int
    memory_vectors: int
    answer_tokens: int
    truncated: bool
    trusted: bool = True
    caution: str | None = None


@dataclass(frozen=True, kw_only=True)
class SearchSettings:
    """How a memory searches: how many items it shows, and whether only those in the question's language."""

    k: int = 3
    same_language: bool = True


def describe_item(item_id: str, item: KnowledgeItem, rank: int, score: float | None) -> ShownItem:
    """Return an item as it is shown in an answer."""
    return ShownItem(
        item_id=item_id,
        rank=rank,
        score=score,
        text=item.text,
        source=item.source,
        licence=item.licence,
        language=item.language,
        title=item.title,
    )
