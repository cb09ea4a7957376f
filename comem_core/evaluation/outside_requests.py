"""Answers requests of other evaluation programs: a question in their own words, with its pictures. The frozen reader
answers with items of a corpus as prompt tokens or as memory.

Independent of any such program; `lmms_eval_adapter` is the interface to one.
"""

import logging
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor

from comem_core.backbone.conversation import Conversation, Generated, Turn
from comem_core.backbone.decoding import GREEDY, Decoding
from comem_core.evaluation.conditions import find_condition
from comem_core.knowledge.corpora import BadRow, read_corpus
from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.memory.bank import Bank
from comem_core.memory.encoder import MemoryEncoder

# The other conditions need items of other questions, or the gold item; an outside request names neither.
ALLOWED = ("none", "text", "memory", "empty")

logger = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class OutsideRequest:
    """A request of another program. Items are retrieved by the first picture. `name` is for messages."""

    name: str
    context: str
    pictures: tuple[bytes, ...]


@dataclass(frozen=True, kw_only=True)
class ConditionOptions:
    """How items are shown before a request: the condition, the number of items, and their language.

    With `same_language`, only items in `language` are retrieved.

    Raises:
        ValueError: a condition that does not work for outside requests, or fewer than 1 item.
    """

    condition: str = "memory"
    k: int = 3
    language: str = "en"
    same_language: bool = True

    def __post_init__(self) -> None:
        if find_condition(self.condition).name not in ALLOWED:
            raise ValueError(
                f"the condition {self.condition} needs other questions or the right item; allowed here are "
                f"{', '.join(ALLOWED)}"
            )
        if self.k < 1:
            raise ValueError(f"k is {self.k}; expected the number of items to show, at least 1")

    @property
    def retrieves_items(self) -> bool:
        return self.condition in ("text", "memory")


class OutsideAnswerer:
    """Answers outside requests with one encoder, its reader, a bank, and the items (for the condition `text`)."""

    def __init__(
        self,
        encoder: MemoryEncoder,
        options: ConditionOptions,
        *,
        bank: Bank | None = None,
        items: Iterable[KnowledgeItem] = (),
    ):
        """Keep the parts, after checking that the condition has what it needs.

        Raises:
            ValueError: the bank or the items that the condition shows are missing, or the bank is another encoder's.
        """
        self.encoder, self.options, self.bank = encoder, options, bank
        self.items: Mapping[str, KnowledgeItem] = {item.item_id: item for item in items}
        if options.retrieves_items and bank is None:
            raise ValueError(f"the condition {options.condition} shows items: name a corpus (knowledge=...) or a bank")
        if bank is not None:
            bank.refuse_other_encoder(encoder.encoder_id)
        if options.condition == "text" and bank is not None and (missing := set(bank) - self.items.keys()):
            raise ValueError(
                f"the condition text shows the texts of items, but {len(missing)} of the bank's {len(bank)} items are "
                "not in the corpus: name the corpus that the bank was made from (knowledge=...)"
            )

    def answer_batch(
        self, requests: Sequence[OutsideRequest], *, max_new_tokens: int, decoding: Decoding = GREEDY
    ) -> list[Generated]:
        """Answer one batch of requests, each with its own items.

        Raises:
            ValueError: a request without a picture, where items are retrieved by the picture.
        """
        shown = self._find_items(requests)
        conversations = [self._conversation(*pair) for pair in zip(requests, shown, strict=True)]
        memories = [self._memory(item_ids) for item_ids in shown]
        return self.encoder.answer_batch(conversations, memories, max_new_tokens=max_new_tokens, decoding=decoding)

    def _find_items(self, requests: Sequence[OutsideRequest]) -> list[tuple[str, ...]]:
        """Return the ids of the items that each request is shown, in rank order."""
        if not self.options.retrieves_items:
            return [()] * len(requests)
        if without_picture := [request.name for request in requests if not request.pictures]:
            raise ValueError(
                f"{without_picture[0]} has no picture, but items are retrieved by the picture; ask with "
                "condition=none, or leave it out"
            )
        assert self.bank is not None
        asked = [self._question(request) for request in requests]
        found = self.encoder.search(asked, self.bank, k=self.options.k, same_language=self.options.same_language)
        return [hits.item_ids for hits in found]

    def _question(self, request: OutsideRequest) -> Question:
        return Question(
            question_id=request.name,
            question=request.context,
            image=request.pictures[0],
            language=self.options.language,
            answers=(),
        )

    def _conversation(self, request: OutsideRequest, item_ids: Sequence[str]) -> Conversation:
        """Build the prompt: system turn, examples, items (condition `text`), and the request in its own words."""
        prompts, in_prompt = self.encoder.prompts, self.options.condition == "text"
        items = [self.items[item_id] for item_id in item_ids] if in_prompt else []
        return [
            prompts.make_system_turn(),
            *prompts.make_example_turns(self.options.language, with_items=bool(items)),
            *map(prompts.make_item_turn, items),
            Turn("user", (*request.pictures, request.context)),
        ]

    def _memory(self, item_ids: Sequence[str]) -> Tensor:
        if self.options.condition == "memory":
            assert self.bank is not None
            return self.bank.of(item_ids)
        if self.options.condition == "empty":
            return self.encoder.empty_memory().repeat(self.options.k, 1)
        return torch.zeros(0, self.encoder.backbone.width)


def open_answerer(
    encoder: MemoryEncoder, options: ConditionOptions, *, knowledge: str | None = None, bank: str | Path | None = None
) -> OutsideAnswerer:
    """Read the corpus `knowledge` and the bank file; a missing bank is made from the corpus and saved there.

    Raises:
        ValueError: see `OutsideAnswerer`, `read_corpus` and `Bank.load`.
    """
    if not options.retrieves_items:
        return OutsideAnswerer(encoder, options)
    items = _read_items(knowledge) if knowledge is not None else []
    path = None if bank is None else Path(bank)
    if path is not None and (path.exists() or knowledge is None):
        return OutsideAnswerer(encoder, options, bank=Bank.load(path), items=items)
    made = encoder.encode(items) if items else None
    if made is not None and path is not None:
        made.save(path)
    return OutsideAnswerer(encoder, options, bank=made, items=items)


def _read_items(knowledge: str) -> list[KnowledgeItem]:
    items, num_bad = [], 0
    for row in read_corpus(knowledge):
        if isinstance(row, BadRow):
            num_bad += 1
        else:
            items.append(row)
    if num_bad:
        logger.warning("%s: %d rows are not items and are left out; %d items are used", knowledge, num_bad, len(items))
    return items
