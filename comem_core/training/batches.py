"""What each step of a training sees: its samples, the items they show, and all of it tokenised.

A step's batch depends on (seed, step) alone.
"""

from array import array
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property, lru_cache
from random import Random

from comem_core.backbone.batches import Tokens
from comem_core.knowledge.items import KnowledgeItem
from comem_core.memory.answering import LocalAnswering
from comem_core.memory.encoding import ItemEncoder
from comem_core.training.pool import ItemPool
from comem_core.training.recipe import TrainingRecipe
from comem_core.training.samples import TrainingSample, as_samples

AHEAD = 1  # batches that are prepared beforehand


@dataclass(frozen=True, kw_only=True)
class PreparedBatch:
    """One worker's part of a batch, on the CPU. `items` are its distinct items; `item_tokens` is None where the encoder
    is not trained. `shown` has the places of each question's items in `items`, in the order in which they are shown,
    and `num_vectors` how many vectors are shown of each. `taught` are the questions with their items as text, where
    what the reader answers to them is taught.
    """

    items: tuple[KnowledgeItem, ...]
    item_tokens: Tokens | None
    shown: tuple[tuple[int, ...], ...]
    num_vectors: tuple[int, ...]
    questions: Tokens
    taught: Tokens | None = None


class Batches:
    """The batches of a training by step, of which this worker has every `num_ranks`-th sample."""

    def __init__(
        self,
        encoder: ItemEncoder,
        answering: LocalAnswering,
        recipe: TrainingRecipe,
        samples: Sequence[TrainingSample],
        *,
        rank: int = 0,
        num_ranks: int = 1,
        tokenize_items: bool = True,
    ):
        """Check samples and recipe. `samples` is a list, or `TrainingSamples` that are read when a step shows them.

        Raises:
            ValueError: there are no samples, one has no items, or the workers cannot share a batch evenly.
        """
        if not samples:
            raise ValueError("no training sample was kept; the funnel shows why drafts were dropped")
        samples = as_samples(samples)
        if bare := samples.list_bare():
            raise ValueError(f"{len(bare)} training samples have no item to encode, first {bare[0]!r}")
        if recipe.optimizer.batch_size % num_ranks:
            raise ValueError(
                f"a batch of {recipe.optimizer.batch_size} cannot be split evenly over {num_ranks} workers"
            )
        self.encoder, self.answering, self.recipe, self.samples = encoder, answering, recipe, samples
        self.rank, self.num_ranks, self.tokenize_items = rank, num_ranks, tokenize_items

    def __len__(self) -> int:
        return self.recipe.optimizer.num_steps

    def __getitem__(self, step: int) -> PreparedBatch:
        chosen = [self.samples[index] for index in self.choose_indices(step)]
        items = [self.choose_items(sample, step) for sample in chosen]
        return self.prepare(chosen, items, [self.choose_length(sample, step) for sample in chosen])

    def _name_fault(self, samples: Sequence[TrainingSample], items: Sequence[Sequence[KnowledgeItem]]) -> None:
        """Raise ValueError with the name of the sample that cannot be prepared, for example for a damaged picture."""
        for sample, own in zip(samples, items, strict=True):
            try:
                self._prepare([sample], [own], None)
            except ValueError as error:
                raise ValueError(f"the sample {sample.sample_id} cannot be prepared: {error}") from error

    def iterate(self, start: int) -> Iterator[PreparedBatch]:
        """Yield the batches of all steps from `start` on. A thread prepares each while the model works on the last.

        One thread, because tokenizers cannot be shared. It measured as fast as a process of its own (docs/log.md).
        """
        with ThreadPoolExecutor(1, thread_name_prefix="comem-batches") as preparing:
            coming = deque[Future[PreparedBatch]]()
            for step in range(start, len(self)):
                coming.append(preparing.submit(self.__getitem__, step))
                if len(coming) > AHEAD:
                    yield coming.popleft().result()
            while coming:
                yield coming.popleft().result()

    def prepare(
        self,
        samples: Sequence[TrainingSample],
        chosen: Sequence[Sequence[KnowledgeItem]] | None = None,
        num_vectors: Sequence[int] | None = None,
    ) -> PreparedBatch:
        """Tokenise samples with the items that they show, all their own ones and whole unless others are given.

        Raises ValueError that names a sample which cannot be prepared, for example for a damaged picture.
        """
        chosen = chosen or [sample.items for sample in samples]
        try:
            return self._prepare(samples, chosen, num_vectors)
        except ValueError:
            self._name_fault(samples, chosen)
            raise

    def _prepare(
        self,
        samples: Sequence[TrainingSample],
        chosen: Sequence[Sequence[KnowledgeItem]],
        num_vectors: Sequence[int] | None,
    ) -> PreparedBatch:
        shown = [
            self.answering.list_shown(items, sample.image, sample.language)
            for sample, items in zip(samples, chosen, strict=True)
        ]
        distinct = {item.item_id: item for items in shown for item in items}
        places = {item_id: place for place, item_id in enumerate(distinct)}
        items = tuple(distinct.values())
        return PreparedBatch(
            items=items,
            item_tokens=self.encoder.prepare_items(items) if self.tokenize_items else None,
            shown=tuple(tuple(places[item.item_id] for item in items) for items in shown),
            num_vectors=tuple(num_vectors or [self.encoder.recipe.num_vectors] * len(samples)),
            questions=self._tokenize_questions(samples, [()] * len(samples)),
            taught=self._tokenize_questions(samples, chosen) if self.recipe.distillation else None,
        )

    def _tokenize_questions(
        self, samples: Sequence[TrainingSample], items: Sequence[Sequence[KnowledgeItem]]
    ) -> Tokens:
        """Tokenise questions and answers as the reader sees them, each with items as text."""
        prompts = self.encoder.prompts
        conversations = [
            prompts.make_conversation(each.question, each.image, each.language, items=own, answer=each.answer)
            for each, own in zip(samples, items, strict=True)
        ]
        return self.answering.prepare([self.answering.seen(each) for each in conversations], generation=False)

    def choose_indices(self, step: int) -> list[int]:
        """Return this worker's samples in a step: consecutive places in permutations that are seeded by the epoch."""
        size, count = self.recipe.optimizer.batch_size, len(self.samples)
        indices = []
        for place in range(step * size, (step + 1) * size):
            epoch, offset = divmod(place, count)
            indices.append(_permute(count, self.recipe.optimizer.seed, epoch)[offset])
        return indices[self.rank :: self.num_ranks]

    def choose_items(self, sample: TrainingSample, step: int) -> tuple[KnowledgeItem, ...]:
        """Return the items that a sample shows in a step."""
        items = sample.items[: self.recipe.items_per_sample]
        random = Random(f"{sample.sample_id}-{step}")
        if self.recipe.random_item_count:
            items = items[: random.randint(1, len(items))]
        if sample.about is not None and random.random() < self.recipe.distractor_share:
            return self._mix_with_distractors(sample.items[sample.about], len(items), random)
        return tuple(items)

    def choose_length(self, sample: TrainingSample, step: int) -> int:
        """Return how many vectors of each item a sample shows in a step: all, or with nested lengths a power of two."""
        whole = self.encoder.recipe.num_vectors
        if not self.recipe.nested_lengths:
            return whole
        lengths = [2**power for power in range(whole.bit_length()) if 2**power < whole]
        return Random(f"{sample.sample_id}-{step}-length").choice([*lengths, whole])

    @cached_property
    def _pool(self) -> ItemPool:
        """All items of the samples. Made only for distractors, as that hashes every picture of samples in memory."""
        return self.samples.pool_items()

    def _mix_with_distractors(self, item: KnowledgeItem, count: int, random: Random) -> tuple[KnowledgeItem, ...]:
        """Return the item and others of its language, `count` in all, in random order."""
        others_N = self._pool.find_others(item)
        # Of a range, the same places are drawn as of a list of the items.
        drawn = random.sample(range(len(others_N)), min(count - 1, len(others_N)))
        shown = [item, *(self._pool.read(int(others_N[place])) for place in drawn)]
        random.shuffle(shown)
        return tuple(shown)


def refuse_longer_than(
    context: int, samples: Sequence[TrainingSample], batch: PreparedBatch, lengths: Sequence[int]
) -> None:
    """Raise ValueError for a sample or an item that has more tokens than the model reads.

    `batch` holds these samples, and `lengths` has how many tokens and vectors the reader reads of each.
    """
    read = [(f"the sample {each.sample_id}", length) for each, length in zip(samples, lengths, strict=True)]
    if batch.item_tokens is not None:
        items = zip(batch.items, batch.item_tokens.lengths, strict=True)
        read += [(f"the item {each.item_id} ({each.source})", length) for each, length in items]
    what, longest = max(read, key=lambda each: each[1])
    if longest > context:
        raise ValueError(
            f"{what} has {longest} tokens, but the model reads at most {context}. Shorten its text, or leave it out"
        )


@lru_cache(maxsize=2)
def _permute(count: int, seed: int, epoch: int) -> array:
    order = array("q", range(count))
    Random(f"{seed}-{epoch}").shuffle(order)
    return order
