"""The memory objective: answer a question from the memories of its items, through the frozen reader (paper section 3).

The gradient flows through the reader, whose weights are frozen, into the memory, the Q-Former and the LoRA. A step is
the whole batch, whatever fits at once: items and questions are cut into micro-batches, each by its own tokens.

Shapes: B items, M vectors of an item, D width, S supervised tokens.
"""

import logging
import time
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from comem_core.backbone.batches import Tokens
from comem_core.knowledge.items import hash_each_part
from comem_core.memory.answering import LocalAnswering
from comem_core.memory.encoder import MemoryEncoder
from comem_core.memory.injection import embed_with_memory
from comem_core.memory.packing import pack_by_tokens, split_further
from comem_core.training.batches import Batches, PreparedBatch, refuse_longer_than
from comem_core.training.loop import Objective
from comem_core.training.loss import compute_divergence, compute_supervised_logits
from comem_core.training.parts import Parts
from comem_core.training.recipe import ComputeOptions, TrainingRecipe
from comem_core.training.reports import WAITED, SampleRefused
from comem_core.training.samples import TrainingSample, find_longest
from comem_core.training.workers import find_largest_count, sum_over_workers

LOG = logging.getLogger(__name__)


class Memories(ABC):
    """The memories of a batch's items, memory_BMD, apart from the graph of the encoder that made them."""

    memory_BMD: Tensor

    @abstractmethod
    def backward(self) -> None:
        """Hand the gradient that the reader's passes left at the memories on to the encoder, if that is trained."""


class TrainedMemories(Memories):
    """Memories of an encoder that is trained.

    If all items are one micro-batch, its graph is kept. Otherwise each micro-batch is encoded without a graph, and once
    more in `backward`: one forward pass more, for the memory of one micro-batch instead of all. Both passes of a
    micro-batch have the same random state, for dropout.
    """

    def __init__(self, encoder: MemoryEncoder, tokens: Tokens, packed: Sequence[Sequence[int]], parts: Parts):
        self.encoder, self.tokens, self.parts = encoder, tokens, parts
        lengths = tokens.lengths
        self.cuts = [parts.cut(rows, lengths) for rows in packed]
        self.kept = self._encode(self.cuts[0], None) if len(self.cuts) == 1 else None
        self.seeds = [None] if self.kept else torch.randint(2**31, (len(self.cuts),)).tolist()
        encoded = self.kept or self._encode_apart()
        order = torch.tensor([row for cut in self.cuts for rows in cut for row in rows], device=encoded[0].device)
        self.memory_BMD = torch.cat(encoded).detach()[order.argsort()].requires_grad_()

    def backward(self) -> None:
        gradient_BMD = self.memory_BMD.grad
        assert gradient_BMD is not None, "no reader has read these memories"
        weights = self.encoder.parameters().values()
        with self.encoder.reading():
            for cut, seed in zip(self.cuts, self.seeds, strict=True):
                encoded = self.kept or self._encode(cut, seed)
                self.parts.backward(encoded, [gradient_BMD[rows] for rows in cut], weights)

    def _encode(self, cut: list[list[int]], seed: int | None) -> list[Tensor]:
        """Encode the parts of a micro-batch, each as memory_BMD."""
        if seed is not None:
            torch.manual_seed(seed)
        with self.encoder.reading():  # switched here, once for all threads
            return self.parts.map(self._encode_rows, cut)

    def _encode_rows(self, rows: list[int]) -> Tensor:
        is_whole = len(rows) == len(self.tokens.ids_BL)
        tokens = self.tokens if is_whole else self.encoder.backbone.select(self.tokens, rows)
        return self.encoder.read_items(tokens.to(self.encoder.backbone.device))

    @torch.no_grad()
    def _encode_apart(self) -> list[Tensor]:
        return [each for cut, seed in zip(self.cuts, self.seeds, strict=True) for each in self._encode(cut, seed)]


class AnswerFromMemory(Objective):
    """The encoder's objective (see `training.loop.Objective`). Each epoch is a new permutation of the samples."""

    def __init__(
        self,
        encoder: MemoryEncoder,
        recipe: TrainingRecipe,
        samples: Sequence[TrainingSample],
        *,
        answering: LocalAnswering | None = None,
        train_encoder: bool = True,
        rank: int = 0,
        num_ranks: int = 1,
        compute: ComputeOptions | None = None,
    ):
        self.encoder, self.recipe, self.answering = encoder, recipe, answering or encoder
        self.batches = Batches(
            encoder,
            self.answering,
            recipe,
            samples,
            rank=rank,
            num_ranks=num_ranks,
            tokenize_items=train_encoder,
        )
        self.compute = compute or ComputeOptions()
        # Threads would draw a dropout, and gather shared weights, in any order.
        self.parts = Parts(1 if encoder.recipe.lora_dropout or self.compute.sharded else self.compute.parts)
        self._has_halved = False
        self._coming: tuple[int, Iterator[PreparedBatch]] | None = None
        encoder.set_trainable(train_encoder)
        if self.compute.gradient_checkpointing:
            for reader in {encoder.backbone, self.answering.reader}:
                reader.checkpoint_gradients()

    def trainable(self) -> Mapping[str, nn.Parameter]:
        return self.encoder.parameters()

    def check(self) -> None:
        """Prepare a batch of the longest samples; on a GPU also compute its gradient, so that it fits."""
        samples, count = self.batches.samples, self.recipe.optimizer.batch_size // self.batches.num_ranks
        longest = [samples[place] for place in find_longest(samples, count, num_items=self.recipe.items_per_sample)]
        batch = self.batches.prepare(longest, [each.items[: self.recipe.items_per_sample] for each in longest])
        reader: Any = self.answering.reader.model
        context = reader.config.get_text_config().max_position_embeddings
        refuse_longer_than(context, longest, batch, self._count_tokens(batch))
        if self.answering.reader.device.type == "cuda":
            self.accumulate_batch_gradient(batch)
            self._forget_gradient()

    def describe_batch(self, step: int) -> str:
        samples = self.batches.samples
        return f"samples {', '.join(samples[index].sample_id for index in self.batches.choose_indices(step))}"

    def describe(self) -> Mapping[str, Any]:
        samples = self.batches.samples
        return {"recipe": asdict(self.recipe), "samples": f"{len(samples)} ({hash_each_part(samples.describe_each())})"}

    def accumulate_gradient(self, step: int) -> tuple[Tensor, Mapping[str, float]]:
        started = time.perf_counter()
        batch = self._take_with_others(step)
        waited = time.perf_counter() - started
        loss, measures = self.accumulate_batch_gradient(batch)
        return loss, {**measures, WAITED: waited}

    def _take_with_others(self, step: int) -> PreparedBatch:
        """Return a step's batch. Raises SampleRefused on all workers, which else would wait for one that has none."""
        try:
            batch, fault = self._take(step), None
        except ValueError as error:
            batch, fault = None, error
        num_refused = sum_over_workers(torch.tensor(float(batch is None), device=self.answering.reader.device))
        if batch is None:
            raise SampleRefused(str(fault), is_cause=True) from fault
        if num_refused > 0:
            raise SampleRefused(f"another worker cannot prepare a sample of step {step + 1}", is_cause=False)
        return batch

    def accumulate_batch_gradient(self, batch: PreparedBatch) -> tuple[Tensor, Mapping[str, float]]:
        """Add the gradient of a batch's loss to the parameters, and return the loss and measures.

        The loss is the mean over the supervised tokens of all workers' parts, whoever has them; this worker's share of
        it is returned, and the shares add up. The first micro-batch that is too large for the device halves the budget.

        Raises:
            MemoryError: half the budget is too large as well.
        """
        count = torch.tensor(float(batch.questions.answer_BL.sum()), device=self.answering.reader.device)
        num_supervised = sum_over_workers(count)
        while True:
            try:
                return self._accumulate(batch, num_supervised)
            except torch.OutOfMemoryError as error:
                self._halve_budget(batch, error)
            # Outside of the handler, whose error would keep the tensors of the failed pass alive.
            self._forget_gradient()

    def _halve_budget(self, batch: PreparedBatch, error: torch.OutOfMemoryError) -> None:
        """Halve the tokens of a micro-batch, once in a training. Raises MemoryError the second time.

        Raises it at once where the workers share weights: another worker waits for this one in the middle of its pass.
        """
        items = 0 if batch.item_tokens is None else batch.item_tokens.mask_BL.numel()
        budget = self.compute.tokens_at_once or max(items, sum(self._count_tokens(batch)))
        if self._has_halved or self.compute.sharded:
            raise MemoryError(
                f"a micro-batch of {budget} tokens does not fit on the device ({error}); set COMEM_TRAIN_TOKENS to "
                "less, and COMEM_TRAIN_CHECKPOINTING=on"
            ) from error
        self._has_halved = True
        self.compute = replace(self.compute, tokens_at_once=max(1, budget // 2))
        LOG.warning("out of memory with micro-batches of %d tokens: from now on %d", budget, budget // 2)

    def _forget_gradient(self) -> None:
        for parameter in self.trainable().values():
            parameter.grad = None
        if torch.cuda.is_available():
            torch.cuda.empty_cache()

    def _accumulate(self, batch: PreparedBatch, num_supervised: Tensor) -> tuple[Tensor, Mapping[str, float]]:
        memories = self.remember(batch)
        lengths = self._count_tokens(batch)
        shares = [
            share
            for rows in self._pack(lengths)
            for share in self._accumulate_shares(
                batch, self.parts.cut(rows, lengths), memories.memory_BMD, num_supervised
            )
        ]
        memories.backward()
        loss, accuracy = (torch.stack(each).sum() for each in zip(*shares, strict=True))
        return loss, {
            "samples": float(len(batch.shown)),
            "tokens": float(batch.questions.mask_BL.sum()),
            "token_accuracy": float(accuracy),
        }

    def remember(self, batch: PreparedBatch) -> Memories:
        """Encode the items of a batch, each once."""
        tokens = batch.item_tokens
        assert tokens is not None
        if self.compute.sharded:  # what is encoded again is shown to no question
            count = len(tokens.ids_BL)
            if missing := find_largest_count(count, self.encoder.backbone.device) - count:
                tokens = self.encoder.backbone.select(tokens, [*range(count), *[count - 1] * missing])
        return TrainedMemories(self.encoder, tokens, self._pack(tokens.lengths), self.parts)

    def _pack(self, lengths: Sequence[int]) -> list[list[int]]:
        """Pack rows into micro-batches, and into as many as every other worker if they share weights."""
        packed = pack_by_tokens(lengths, self.compute.tokens_at_once)
        if not self.compute.sharded:
            return packed
        return split_further(packed, find_largest_count(len(packed), self.encoder.backbone.device))

    def _count_tokens(self, batch: PreparedBatch) -> list[int]:
        """Return the length of what the reader reads of each question: its tokens, and the vectors in front of them; or
        its tokens with the items as text, where these are taught and longer."""
        own = [
            length + vectors * len(places)
            for length, vectors, places in zip(batch.questions.lengths, batch.num_vectors, batch.shown, strict=True)
        ]
        return own if batch.taught is None else [max(pair) for pair in zip(own, batch.taught.lengths, strict=True)]

    def _accumulate_shares(
        self, batch: PreparedBatch, cut: list[list[int]], memory_BMD: Tensor, num_supervised: Tensor
    ) -> list[tuple[Tensor, Tensor]]:
        """Add the gradient of a micro-batch of questions; return the share of the loss and of the token accuracy of
        each of its parts."""
        with self.answering.as_reader():  # switched here, once for all threads
            shares = self.parts.map(lambda rows: self._compute_share(batch, rows, memory_BMD, num_supervised), cut)
            losses = [loss for loss, _ in shares]
            self.parts.backward(losses, [None] * len(losses), [memory_BMD, *self.trainable().values()])
        return [(loss.detach(), accuracy) for loss, accuracy in shares]

    def _compute_share(
        self, batch: PreparedBatch, rows: list[int], memory_BMD: Tensor, num_supervised: Tensor
    ) -> tuple[Tensor, Tensor]:
        """Return what some questions add to the loss, with its graph, and to the token accuracy."""
        answering, reader = self.answering, self.answering.reader
        tokens = self._select_rows(batch.questions, rows)
        shown = [memory_BMD[list(batch.shown[row]), : batch.num_vectors[row]].flatten(end_dim=1) for row in rows]
        embedded = embed_with_memory(reader, tokens, [answering.project(memory) for memory in shown])
        logits_SV, right_S = compute_supervised_logits(reader, reader.hidden(embedded), tokens.ids_BL, tokens.answer_BL)
        losses_S = cross_entropy(logits_SV, right_S, reduction="none")
        if batch.taught is not None:
            taught_SV = self._compute_taught_logits(self._select_rows(batch.taught, rows))
            losses_S = torch.lerp(losses_S, compute_divergence(logits_SV, taught_SV), self.recipe.distillation)
        return losses_S.sum() / num_supervised, (logits_SV.argmax(dim=-1) == right_S).sum() / num_supervised

    def _select_rows(self, tokens: Tokens, rows: list[int]) -> Tokens:
        reader = self.answering.reader
        return (tokens if len(rows) == len(tokens.ids_BL) else reader.select(tokens, rows)).to(reader.device)

    @torch.no_grad()
    def _compute_taught_logits(self, tokens: Tokens) -> Tensor:
        """Return what the reader expects of the answer's tokens with the items as text: logits_SV."""
        reader = self.answering.reader
        hidden_BLD = reader.hidden(reader.embed(tokens))
        return compute_supervised_logits(reader, hidden_BLD, tokens.ids_BL, tokens.answer_BL)[0]

    def _take(self, step: int) -> PreparedBatch:
        """Return the batch of a step, which the iterator has next unless a training begins or goes on elsewhere."""
        expected, coming = self._coming or (None, None)
        if coming is None or expected != step:
            coming = self.batches.iterate(step)
        batch = next(coming)
        self._coming = step + 1, coming
        return batch
