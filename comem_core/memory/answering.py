"""Answers questions with memories from a bank in front of each: what all frozen readers of memory have in common.

Shapes: K items of a question, M vectors of an item, D width.
"""

import time
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from typing import Generic, TypeVar

from torch import Tensor
from tqdm.auto import tqdm

from comem_core.backbone.batches import Tokens
from comem_core.backbone.conversation import Conversation, Generated
from comem_core.backbone.decoding import GREEDY, Decoding
from comem_core.backbone.reader import Reader
from comem_core.knowledge.index.vector_index import Hits
from comem_core.knowledge.items import KnowledgeItem, Question, check_inputs
from comem_core.memory.bank import Bank
from comem_core.memory.injection import embed_with_memory

Thing = TypeVar("Thing")


@dataclass(frozen=True, kw_only=True)
class Answer:
    """The reader's answer and the items it was shown: in rank order, with their cosines if they were searched for."""

    question_id: str
    text: str
    item_ids: tuple[str, ...]
    scores: tuple[float, ...]
    prompt_tokens: int
    memory_vectors: int
    answer_tokens: int
    truncated: bool


class Answering(ABC):
    """Answers questions through a frozen reader, in this process or elsewhere, from the memories of one encoder."""

    @property
    @abstractmethod
    def encoder_id(self) -> str:
        """The id of the encoder whose memories are read."""

    @abstractmethod
    def search(self, questions: Sequence[Question], bank: Bank, *, k: int, same_language: bool = True) -> list[Hits]:
        """Find the k items whose pictures are nearest to each question's."""

    @abstractmethod
    def conversation(self, question: Question, *, answer: str | None = None) -> Conversation:
        """Build the reader's prompt, with the answer if it is given."""

    @abstractmethod
    def empty_memory(self) -> Tensor:
        """Return vectors (M, D) that carry no item's content, for the control `empty`."""

    @property
    def stop(self) -> tuple[str, ...]:
        """Texts at which an answer to this encoder's prompts ends, however the reader goes on."""
        return ()

    def seen(self, conversation: Conversation) -> Conversation:
        """Return the part of a conversation that the reader sees."""
        return conversation

    def list_shown(self, items: Sequence[KnowledgeItem], image: bytes, language: str) -> tuple[KnowledgeItem, ...]:
        """List what is encoded for a question with this picture: its items, unless a reader needs more."""
        return tuple(items)

    def put_in_front(self, questions: Sequence[Question], memories: Sequence[Tensor]) -> Sequence[Tensor]:
        """Return the vectors to put in front of each question, given the memories (K·M, D) of its items."""
        return memories

    @abstractmethod
    def answer_batch(
        self,
        conversations: Sequence[Conversation],
        memories: Sequence[Tensor],
        *,
        max_new_tokens: int,
        decoding: Decoding = GREEDY,
        max_seconds: float | None = None,
    ) -> list[Generated]:
        """Answer one batch of conversations through the frozen reader.

        Each has its memory, vectors of the encoder's width, in front. After `max_seconds` no further token is begun.
        """

    def answer(
        self,
        questions: Iterable[Question],
        bank: Bank,
        *,
        k: int | None = None,
        item_ids: Sequence[Sequence[str]] | None = None,
        same_language: bool = True,
        max_new_tokens: int = 64,
        decoding: Decoding = GREEDY,
        batch_size: int = 8,
    ) -> list[Answer]:
        """Answer questions through the frozen reader, with the memories of items in front of each.

        With `k`, the k items are shown whose pictures are nearest to the question's; `same_language` searches only
        items in the question's language. With `item_ids`, each question's listed items are shown, in that order.

        Raises:
            ValueError: `questions` holds something else than questions, the bank is another encoder's, not exactly one
                of `k` and `item_ids` is given, or the bank cannot be searched (see `Bank.search`).
            KeyError: an item is not in the bank.
        """
        bank.refuse_other_encoder(self.encoder_id)
        asked, decoding = list(check_inputs(questions, Question)), decoding.stop_also_at(self.stop)
        if (k is None) == (item_ids is None):
            raise ValueError("give either how many items to find (k=...) or which ones to show (item_ids=...)")
        if item_ids is not None and len(item_ids) != len(asked):
            raise ValueError(f"{len(item_ids)} lists of item ids for {len(asked)} questions; expected one a question")
        answers: list[Answer] = []
        with tqdm(total=len(asked), desc="answer", unit="question") as bar:
            for batch in cut_into_batches(asked, batch_size):
                if item_ids is not None:
                    given = item_ids[len(answers) : len(answers) + len(batch)]
                    shown = [Hits(tuple(ids), ()) for ids in given]
                else:
                    shown = self.search(batch, bank, k=k or 0, same_language=same_language)
                answers += self._answer_shown(batch, shown, bank, max_new_tokens=max_new_tokens, decoding=decoding)
                bar.update(len(batch))
        return answers

    def _answer_shown(
        self,
        questions: Sequence[Question],
        shown: Sequence[Hits],
        bank: Bank,
        *,
        max_new_tokens: int,
        decoding: Decoding,
    ) -> list[Answer]:
        conversations = [self.conversation(question) for question in questions]
        memories = self.put_in_front(questions, [bank.of(hits.item_ids) for hits in shown])
        generated = self.answer_batch(conversations, memories, max_new_tokens=max_new_tokens, decoding=decoding)
        return [
            Answer(
                question_id=question.question_id,
                item_ids=hits.item_ids,
                scores=hits.scores,
                memory_vectors=len(memory),
                text=said.text,
                prompt_tokens=said.prompt_tokens,
                answer_tokens=said.answer_tokens,
                truncated=said.truncated,
            )
            for question, hits, memory, said in zip(questions, shown, memories, generated, strict=True)
        ]


class LocalAnswering(Answering):
    """Answers through a reader in this process."""

    @property
    @abstractmethod
    def reader(self) -> Reader:
        """The model that answers."""

    @abstractmethod
    def answering(self) -> AbstractContextManager[None]:
        """Return a context in which the reader answers: without gradients, and without anything trained beside it."""

    @abstractmethod
    def as_reader(self) -> AbstractContextManager[None]:
        """Return a context in which the reader is the frozen model; gradients still pass through it."""

    @abstractmethod
    def prepare(self, conversations: Sequence[Conversation], *, generation: bool) -> Tokens:
        """Tokenize conversations for the reader, on the CPU; `generation` opens a turn for the answer."""

    def tokenize(self, conversations: Sequence[Conversation]) -> Tokens:
        """Tokenize conversations for the reader, each with an open turn for the answer."""
        return self.prepare(conversations, generation=True).to(self.reader.device)

    def project(self, memory: Tensor) -> Tensor:
        """Map vectors (..., D) to the reader's width."""
        return memory

    def answer_batch(
        self,
        conversations: Sequence[Conversation],
        memories: Sequence[Tensor],
        *,
        max_new_tokens: int,
        decoding: Decoding = GREEDY,
        max_seconds: float | None = None,
    ) -> list[Generated]:
        started = time.perf_counter()
        with self.answering():
            tokens = self.tokenize(conversations)
            embedded = embed_with_memory(self.reader, tokens, [self.project(memory) for memory in memories])
            return self.reader.generated(
                embedded,
                tokens,
                max_new_tokens=max_new_tokens,
                decoding=decoding,
                started=started,
                max_seconds=max_seconds,
            )


Encoder = TypeVar("Encoder", bound=Answering)


class AnsweringFor(Answering, Generic[Encoder]):
    """Answers in the place of `encoder`, whose memories, search, prompts and control it takes."""

    encoder: Encoder

    @property
    def encoder_id(self) -> str:
        return self.encoder.encoder_id

    def search(self, questions: Sequence[Question], bank: Bank, *, k: int, same_language: bool = True) -> list[Hits]:
        return self.encoder.search(questions, bank, k=k, same_language=same_language)

    def conversation(self, question: Question, *, answer: str | None = None) -> Conversation:
        return self.seen(self.encoder.conversation(question, answer=answer))

    @property
    def stop(self) -> tuple[str, ...]:
        return self.encoder.stop

    def empty_memory(self) -> Tensor:
        return self.encoder.empty_memory()


def cut_into_batches(things: Iterable[Thing], size: int) -> Iterator[list[Thing]]:
    """Cut an iterable into lists of `size` entries; the last may be shorter. Raises ValueError for a size below 1."""
    if size < 1:
        raise ValueError(f"a batch has at least 1 entry; found batch_size={size}")
    batch: list[Thing] = []
    for thing in things:
        batch.append(thing)
        if len(batch) == size:
            yield batch
            batch = []
    if batch:
        yield batch
