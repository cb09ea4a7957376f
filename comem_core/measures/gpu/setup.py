"""What every part of the GPU kit measures on: the random model with its encoder, long items, questions, and rows.

Shapes: K items, M vectors of an item, D width.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.measures.gpu.cards import name_device
from comem_core.measures.gpu.model import make_encoder
from comem_core.measures.gpu.workload import RECIPE, Workload
from comem_core.measures.provenance import describe_machine
from comem_core.measures.reading import lengthen_items
from comem_core.measures.results import Measured
from comem_core.memory.answering import cut_into_batches
from comem_core.memory.encoder import MemoryEncoder
from comem_core.recipes import find_recipe
from comem_core.training.recipe import TrainingRecipe
from comem_core.training.samples import TrainingSample
from comem_core.worlds.countries.world import load_benchmark_questions, load_knowledge_items

DIGITS = 4


@dataclass(frozen=True, kw_only=True)
class Setup:
    """A workload on a device. The model is made when a part first asks for it, and then shared."""

    workload: Workload
    device: torch.device
    command: str

    @cached_property
    def encoder(self) -> MemoryEncoder:
        return make_encoder(self.workload, self.device)

    @cached_property
    def encoded_items(self) -> list[KnowledgeItem]:
        """Items that have the workload's tokens where the encoder reads them."""
        return lengthen_items(self.encoder, self._list_items(), self.workload.item_tokens, as_encoded=True)

    @cached_property
    def prompt_items(self) -> list[KnowledgeItem]:
        """The same items with these tokens in a prompt, where pictures are larger."""
        return lengthen_items(self.encoder, self._list_items(), self.workload.item_tokens)

    @cached_property
    def questions(self) -> Sequence[Question]:
        return load_benchmark_questions("dev")[: max(self.workload.batch_size, self.workload.answer_batch)]

    @cached_property
    def memory_KMD(self) -> Tensor:
        """The memories of as many items as are shown at most."""
        batches = cut_into_batches(self.encoded_items[: max(self.workload.depths)], self.workload.encode_batch)
        return torch.cat([self.encoder.encode_batch(batch) for batch in batches])

    @property
    def training(self) -> TrainingRecipe:
        return find_recipe(RECIPE).training

    def _list_items(self) -> list[KnowledgeItem]:
        english = [item for item in load_knowledge_items() if item.language == "en"]
        return english[: self.workload.num_items]

    def make_samples(self) -> list[TrainingSample]:
        """Make the samples of one batch; each has items of its own."""
        size, k = self.workload.batch_size, self.workload.items_per_sample
        shown: Sequence[Sequence[KnowledgeItem]] = [self.encoded_items[k * n : k * (n + 1)] for n in range(size)]
        return [TrainingSample.of(*pair) for pair in zip(self.questions[:size], shown, strict=True)]

    def make_row(self, measure: str, value: float, unit: str, *, n: int) -> Measured:
        """Make a row of `docs/results/gpu.json`; the value keeps four digits."""
        return Measured(
            measure=measure,
            recipe=self.workload.recipe,
            value=float(f"{value:.{DIGITS}g}"),
            unit=unit,
            n=n,
            command=self.command,
            machine=describe_device(self.device),
        )


def describe_device(device: torch.device) -> str:
    """Describe what the numbers were measured on: card, build of torch, machine."""
    return f"{name_device(device)}, torch {torch.__version__}, {describe_machine()}"
