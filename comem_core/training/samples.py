"""Samples that an encoder is trained on: one, and many, which need not fit into memory."""

import heapq
import json
from abc import abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import overload

from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.training.pool import ItemPool


@dataclass(frozen=True, kw_only=True)
class TrainingSample:
    """A question with the answer to learn and its retrieved items in rank order. `about` is the place of the answering
    item, if it is known."""

    sample_id: str
    question: str
    image: bytes
    language: str
    answer: str
    items: Sequence[KnowledgeItem]
    about: int | None = None

    @classmethod
    def of(cls, question: Question, items: Sequence[KnowledgeItem], *, answer: str | None = None) -> "TrainingSample":
        """Return the sample of a question that shows some items, with its first gold answer or another one."""
        return cls(
            sample_id=question.question_id,
            question=question.question,
            image=question.image,
            language=question.language,
            answer=question.answers[0] if answer is None else answer,
            items=tuple(items),
        )


class TrainingSamples(Sequence[TrainingSample]):
    """Samples by place, and what a training asks of all of them at once: that reads no picture from a store."""

    @abstractmethod
    def list_bare(self) -> list[str]:
        """List the ids of the samples that have no item."""

    @abstractmethod
    def describe_each(self) -> Iterator[str]:
        """Yield what tells samples apart, one by one, as `describe_words` has it."""

    @abstractmethod
    def pool_items(self) -> ItemPool:
        """Return the distinct items of all samples."""


class ListedSamples(TrainingSamples):
    """Samples that are in memory."""

    def __init__(self, samples: Sequence[TrainingSample]):
        self.samples = samples

    def __len__(self) -> int:
        return len(self.samples)

    @overload
    def __getitem__(self, place: int) -> TrainingSample: ...

    @overload
    def __getitem__(self, place: slice) -> Sequence[TrainingSample]: ...

    def __getitem__(self, place: int | slice) -> TrainingSample | Sequence[TrainingSample]:
        return self.samples[place]

    def list_bare(self) -> list[str]:
        return [sample.sample_id for sample in self.samples if not sample.items]

    def describe_each(self) -> Iterator[str]:
        return (
            describe_words([s.sample_id, s.language, s.question, s.answer], s.about, [item.text for item in s.items])
            for s in self.samples
        )

    def pool_items(self) -> ItemPool:
        items = {item.item_id: item for sample in self.samples for item in sample.items}
        return ItemPool.of(list(items.values()))


def as_samples(samples: Sequence[TrainingSample]) -> TrainingSamples:
    """Return samples as `TrainingSamples`, as they are or around a list."""
    return samples if isinstance(samples, TrainingSamples) else ListedSamples(samples)


def find_longest(samples: TrainingSamples, count: int, *, num_items: int) -> list[int]:
    """Return the places of the samples with the longest texts, half of them by their longest item, half by question
    and answer.

    A text is as long as its bytes. Of each sample's items, the first `num_items` count.
    """
    by_words: list[tuple[int, int]] = []
    by_items: list[tuple[int, int]] = []
    for place, described in enumerate(samples.describe_each()):
        _, _, question, answer, _, *texts = json.loads(described)
        _keep_largest(by_words, (len(f"{question}{answer}".encode()), place), count)
        _keep_largest(by_items, (max(len(text.encode()) for text in texts[:num_items]), place), count)
    ranked = [[place for _, place in sorted(found, reverse=True)] for found in (by_items, by_words)]
    longest = dict.fromkeys(place for pair in zip(*ranked, strict=True) for place in pair)
    return list(longest)[:count]


def _keep_largest(heap: list[tuple[int, int]], entry: tuple[int, int], count: int) -> None:
    if len(heap) < count:
        heapq.heappush(heap, entry)
    else:
        heapq.heappushpop(heap, entry)


def describe_words(words: Sequence[str], about: int | None, texts: Sequence[str]) -> str:
    """Return as JSON what tells a sample apart: its id, language, question and answer, and the texts of its items."""
    return json.dumps([*words, about, *texts])
