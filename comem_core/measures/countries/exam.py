"""The exam on countries: test questions, the items that each is shown, and which answers match exactly.

Shapes: Q questions, K items of a question, M vectors of an item, D width.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from random import Random

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from comem_core.backbone.interface import Backbone
from comem_core.evaluation.benchmarks.registry import find_benchmark
from comem_core.evaluation.conditions import ItemChooser, ShowableItems
from comem_core.evaluation.metrics.infoseek import matches_any
from comem_core.evaluation.runner import ReaderInput, predict
from comem_core.knowledge.index.vector_index import VectorIndex
from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.memory.bank_files.number_types import pack
from comem_core.memory.encoder import MemoryEncoder
from comem_core.prompts import read_prompt_set
from comem_core.worlds.countries.world import (
    Country,
    load_benchmark_questions,
    load_countries,
    load_knowledge_items,
    read_value,
)
from comem_core.worlds.imaginary.countries import draw_imaginary_items

GRID = (3, 4)
DEEPEST = 20
ItemsOf = Callable[[Question], Sequence[str]]

COUNTRIES = find_benchmark("countries-vqa")


@dataclass(frozen=True)
class Answers:
    """The result of asking every question in one way: right_Q (0 or 1) and the mean number of prompt tokens."""

    right_Q: np.ndarray
    prompt_tokens: float


@dataclass
class CountriesExam:
    """Questions of one part of countries-vqa, and the items that are retrieved for them by picture.

    Answers do not depend on `batch_size`.
    """

    backbone: Backbone
    questions: Sequence[Question]
    items: Mapping[str, KnowledgeItem]
    retrieved: Mapping[str, Sequence[str]]
    foreign: Mapping[str, KnowledgeItem] = field(default_factory=dict)
    batch_size: int = 48

    @classmethod
    def of(cls, backbone: Backbone, *, part: str = "test", num_questions: int | None = None) -> "CountriesExam":
        """Retrieve items for the first questions of a part; any prefix is balanced over languages and kinds of fact."""
        return cls.with_questions(backbone, load_benchmark_questions(part)[:num_questions])

    @classmethod
    def with_questions(cls, backbone: Backbone, questions: Sequence[Question]) -> "CountriesExam":
        """Retrieve items for questions about countries."""
        items = {item.item_id: item for item in load_knowledge_items()}
        return cls(
            backbone,
            questions,
            items,
            _retrieve(backbone, questions, items),
            {item.item_id: item for item in draw_imaginary_items()},
        )

    def choose_as_retrieved(self, question: Question, k: int) -> list[str]:
        """Return the first k retrieved items, in rank order, whether or not the gold item is among them."""
        return list(self.retrieved[question.question_id][:k])

    def choose_with_gold(self, question: Question, k: int) -> list[str]:
        """Return the first k retrieved items, in rank order; a missing gold item takes the last place."""
        found, gold = self.choose_as_retrieved(question, k), question.gold_item_id or ""
        return found if gold in found else [*found[: k - 1], gold]

    def choose_with_gold_anywhere(self, question: Question, k: int) -> list[str]:
        """Return the gold item at a random place among its look-alikes, the best ranked other items.

        The question's id is the seed of the order.
        """
        shown = self.choose_with_gold(question, k)
        Random(question.question_id).shuffle(shown)
        return shown

    def choose_gold_among_others(self, question: Question, k: int) -> list[str]:
        """Return the gold item and k - 1 others in its language; the question's id seeds the choice and the order."""
        random, gold = Random(f"{question.question_id}-others"), question.gold_item_id or ""
        others = [item_id for item_id, item in self.items.items() if item.language == question.language]
        others.remove(gold)
        shown = [gold, *random.sample(others, k - 1)]
        random.shuffle(shown)
        return shown

    def choose_for_control(self, condition: str, question: Question, k: int) -> Sequence[str]:
        """Return the items that a control (`shuffled`, `foreign`) shows; see `evaluation.conditions`."""
        return self._chooser.choose_items(condition, question.question_id, k=k)

    def has_answer(self, question: Question, item_ids: Sequence[str]) -> bool:
        """Return whether one of these items of real countries states a right answer about its own country."""
        shown = (self._countries[self.items[item_id].entity_id or ""] for item_id in item_ids)
        return any(
            set(read_value(country, question.attribute or "", question.language)) & set(question.answers)
            for country in shown
        )

    @cached_property
    def _countries(self) -> Mapping[str, Country]:
        return {country.country_id: country for country in load_countries()}

    @cached_property
    def _chooser(self) -> ItemChooser:
        entities = {item_id: item.entity_id for item_id, item in self.items.items()}
        return ItemChooser(
            self.questions, ShowableItems(retrieved=self.retrieved, entity_of=entities, foreign=list(self.foreign))
        )

    def encode_shown(self, encoder: MemoryEncoder, *choices: ItemsOf) -> dict[str, Tensor]:
        """Encode every item that one of these choices shows to a question: item_id -> memory (M, D)."""
        shown = {item_id for items_of in choices for question in self.questions for item_id in items_of(question)}
        every = {**self.items, **self.foreign}
        return encode_all(encoder, {item_id: item for item_id, item in every.items() if item_id in shown})

    def ask_prompt(self, encoder: MemoryEncoder, items_of: ItemsOf, *, label: str) -> Answers:
        """Answer with items as prompt tokens."""
        nothing = torch.zeros(0, encoder.backbone.width)
        shown = {question.question_id: tuple(items_of(question)) for question in self.questions}
        return self._ask(encoder, lambda q: nothing, label=label, in_prompt=shown)

    def ask_memory(
        self, encoder: MemoryEncoder, memories: Mapping[str, Tensor], items_of: ItemsOf, *, label: str
    ) -> Answers:
        """Answer with the memories of items in front of the question."""
        return self._ask(encoder, lambda q: torch.cat([memories[each] for each in items_of(q)]), label=label)

    def ask_empty(self, encoder: MemoryEncoder, k: int, *, label: str) -> Answers:
        """Answer with as many vectors as k memories have, made without any item."""
        empty = encoder.empty_memory().repeat(k, 1)
        return self._ask(encoder, lambda q: empty, label=label)

    def _ask(
        self,
        encoder: MemoryEncoder,
        memory_of: Callable[[Question], Tensor],
        *,
        label: str,
        in_prompt: Mapping[str, Sequence[str]] | None = None,
    ) -> Answers:
        prompts, right, tokens = read_prompt_set(encoder.recipe.prompts), {}, []
        in_prompt = in_prompt or {}
        # Questions of similar length go together; otherwise a batch would be mostly padding.
        ordered = sorted(self.questions, key=lambda q: (len(in_prompt.get(q.question_id, ())), q.language))
        starts = range(0, len(ordered), self.batch_size)
        for start in tqdm(starts, desc=f"{label:>24}", unit="batch", leave=False):
            asked = ordered[start : start + self.batch_size]
            askings = [
                ReaderInput(
                    question=question,
                    condition="text" if in_prompt else "memory",
                    k=0,
                    prompt_items=tuple(self.items[each] for each in in_prompt.get(question.question_id, ())),
                    item_ids=(),
                    memory=memory_of(question),
                )
                for question in asked
            ]
            rows = predict(encoder, askings, prompts, benchmark=COUNTRIES, max_new_tokens=16)
            for question, row in zip(asked, rows, strict=True):
                right[question.question_id] = matches_any(row["answer"], question.answers)
                tokens.append(row["prompt_tokens"])
        return Answers(np.array([float(right[q.question_id]) for q in self.questions]), float(np.mean(tokens)))


def encode_all(
    encoder: MemoryEncoder, items: Mapping[str, KnowledgeItem], *, batch_size: int = 48
) -> dict[str, Tensor]:
    """Encode every item: item_id -> memory (M, D)."""
    ids, memories = list(items), {}
    for start in tqdm(range(0, len(ids), batch_size), desc=f"{'encode':>24}", unit="batch", leave=False):
        batch = ids[start : start + batch_size]
        memories.update(zip(batch, encoder.encode_batch([items[each] for each in batch]), strict=True))
    return memories


def round_memories(memories: Mapping[str, Tensor], dtype: torch.dtype) -> dict[str, Tensor]:
    """Return memories as they come out of a bank that stores them as `dtype`."""
    return {item_id: pack(memory_MD[None], dtype).restore()[0] for item_id, memory_MD in memories.items()}


def _retrieve(
    backbone: Backbone, questions: Sequence[Question], items: Mapping[str, KnowledgeItem]
) -> Mapping[str, Sequence[str]]:
    pictures = {item.image_id: item.picture for item in items.values()}
    found_ND = dict(zip(pictures, embed_pictures(backbone, list(pictures.values())), strict=True))
    index = VectorIndex(
        np.stack([found_ND[item.image_id] for item in items.values()]),
        item_ids=list(items),
        languages=[item.language for item in items.values()],
    )
    queries_QD = embed_pictures(backbone, [question.image for question in questions])
    hits = index.search(queries_QD, k=DEEPEST, languages=[question.language for question in questions])
    return {question.question_id: hit.item_ids for question, hit in zip(questions, hits, strict=True)}


def embed_pictures(backbone: Backbone, images: Sequence[bytes], *, batch_size: int = 64) -> np.ndarray:
    parts = [
        backbone.pool_images(images[start : start + batch_size], grid=GRID).numpy()
        for start in range(0, len(images), batch_size)
    ]
    return np.concatenate(parts)
