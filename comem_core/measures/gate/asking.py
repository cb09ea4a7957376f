"""Asks the questions of a countries world with memories of right, wrong and foreign items, and keeps every signal by
which a gate could tell them apart.

Shapes: Q questions, K items of a question, D width.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property, partial
from random import Random

import numpy as np
import torch
from torch import Tensor
from tqdm import tqdm

from comem_core.evaluation.answers import extract_answer
from comem_core.evaluation.metrics.infoseek import matches_any
from comem_core.knowledge.items import Question
from comem_core.measures.countries.exam import CountriesExam, ItemsOf, embed_pictures
from comem_core.memory.encoder import MemoryEncoder

NONE, RETRIEVED = "none", "retrieved"
USELESS = ("shuffled", "foreign", "drawn")
ITEMS = (RETRIEVED, *USELESS)
MAX_NEW_TOKENS = 16


@dataclass(frozen=True)
class Asked:
    """Every question asked in one way: right_Q (0 or 1), logprob_Q, and of the items shown, scores_QK (cosines)."""

    right_Q: np.ndarray
    logprob_Q: np.ndarray
    scores_QK: np.ndarray


@dataclass
class GateExam:
    """Questions about countries, with none and with k items: retrieved ones, and three kinds that cannot help."""

    exam: CountriesExam
    encoder: MemoryEncoder
    k: int = 3
    seed: int = 0

    def choose(self, name: str) -> ItemsOf:
        """Return how the items of a kind are chosen for a question."""
        if name == RETRIEVED:
            return partial(self.exam.choose_as_retrieved, k=self.k)
        if name == "drawn":
            return self._draw
        return partial(self.exam.choose_for_control, name, k=self.k)

    def _draw(self, question: Question) -> list[str]:
        """Draw items in the question's language that are not about its country."""
        items = self.exam.items
        others = [each for each, item in items.items() if item.language == question.language]
        others = [each for each in others if items[each].entity_id != question.entity_id]
        return Random(f"{self.seed}-{question.question_id}").sample(others, self.k)

    def ask_all(self) -> dict[str, Asked]:
        """Ask without items, and with each kind of items in memory."""
        chosen = {name: self.choose(name) for name in ITEMS}
        memories = self.exam.encode_shown(self.encoder, *chosen.values())
        nothing = torch.zeros(0, self.encoder.backbone.width)
        asked = {NONE: Asked(*self._ask(lambda question: nothing, label=NONE), np.zeros((len(self.exam.questions), 0)))}
        for name, items_of in chosen.items():
            asked[name] = Asked(*self._ask(_join(memories, items_of), label=name), self._compare(items_of))
        return asked

    def _ask(self, memory_of: Callable[[Question], Tensor], *, label: str) -> tuple[np.ndarray, np.ndarray]:
        """Return right_Q and logprob_Q of the answers with a memory in front of each question."""
        prompts, found = self.encoder.prompts, {}
        # Questions of one language go together; otherwise a batch would be mostly padding.
        ordered = sorted(self.exam.questions, key=lambda each: each.language)
        for start in tqdm(range(0, len(ordered), self.exam.batch_size), desc=label, unit="batch", leave=False):
            batch = ordered[start : start + self.exam.batch_size]
            conversations = [self.encoder.conversation(each) for each in batch]
            said = self.encoder.answer_batch(
                conversations, [memory_of(each) for each in batch], max_new_tokens=MAX_NEW_TOKENS
            )
            for each, answer in zip(batch, said, strict=True):
                short = extract_answer(answer.text, method=prompts.extract)
                found[each.question_id] = (matches_any(short, each.answers), answer.logprob)
        pairs_Q2 = np.array([found[each.question_id] for each in self.exam.questions], dtype=float)
        return pairs_Q2[:, 0], pairs_Q2[:, 1]

    def _compare(self, items_of: ItemsOf) -> np.ndarray:
        """Return the cosine of each question's picture with that of each item that it is shown, best first."""
        every = {**self.exam.items, **self.exam.foreign}
        rows = []
        for question, asked_D in zip(self.exam.questions, self._questions_QD, strict=True):
            shown = np.stack([self._pictures[every[each].image_id or ""] for each in items_of(question)])
            rows.append(np.sort(shown @ asked_D)[::-1])
        return np.array(rows)

    @cached_property
    def _questions_QD(self) -> np.ndarray:
        return _normalise(embed_pictures(self.exam.backbone, [each.image for each in self.exam.questions]))

    @cached_property
    def _pictures(self) -> Mapping[str, np.ndarray]:
        pictures = {item.image_id: item.picture for item in (*self.exam.items.values(), *self.exam.foreign.values())}
        found_ND = _normalise(embed_pictures(self.exam.backbone, list(pictures.values())))
        return {image_id or "": each_D for image_id, each_D in zip(pictures, found_ND, strict=True)}


def _join(memories: Mapping[str, Tensor], items_of: ItemsOf) -> Callable[[Question], Tensor]:
    """Return a function from a question to the memories of its items, one after the other (K·M, D)."""
    return lambda question: torch.cat([memories[each] for each in items_of(question)])


def _normalise(found_ND: np.ndarray) -> np.ndarray:
    return found_ND / np.linalg.norm(found_ND, axis=1, keepdims=True)
