"""Finds the longest samples of a training, on which everything is tried before the first step."""

import heapq
import json

from comem_core.training.batches import PreparedBatch
from comem_core.training.samples import TrainingSample, TrainingSamples


def find_longest(samples: TrainingSamples, count: int, *, num_items: int) -> list[int]:
    """Return the places of the samples with the longest texts, half of them by question and answer, half by their
    longest item.

    A text is as long as its bytes. Of each sample's items, the first `num_items` count.
    """
    by_words: list[tuple[int, int]] = []
    by_items: list[tuple[int, int]] = []
    for place, described in enumerate(samples.describe_each()):
        _, _, question, answer, _, *texts = json.loads(described)
        _keep_largest(by_words, (len(f"{question}{answer}".encode()), place), count)
        _keep_largest(by_items, (max(len(text.encode()) for text in texts[:num_items]), place), count)
    ranked = [[place for _, place in sorted(found, reverse=True)] for found in (by_words, by_items)]
    longest = dict.fromkeys(place for pair in zip(*ranked, strict=True) for place in pair)
    return list(longest)[:count]


def _keep_largest(heap: list[tuple[int, int]], entry: tuple[int, int], count: int) -> None:
    if len(heap) < count:
        heapq.heappush(heap, entry)
    else:
        heapq.heappushpop(heap, entry)


def refuse_longer_than(context: int, samples: list[TrainingSample], batch: PreparedBatch, lengths: list[int]) -> None:
    """Raise ValueError for a sample or an item that has more tokens than the model reads.

    `batch` holds these samples, and `lengths` what the reader reads of each: its tokens, and its memory.
    """
    read = [(f"the sample {each.sample_id}", length) for each, length in zip(samples, lengths, strict=True)]
    if batch.taught is not None:
        taught = zip(samples, batch.taught.lengths, strict=True)
        read += [(f"the sample {each.sample_id} with its items as text", length) for each, length in taught]
    if batch.item_tokens is not None:
        items = zip(batch.items, batch.item_tokens.lengths, strict=False)
        read += [(f"the item {each.item_id} ({each.source})", length) for each, length in items]
    what, longest = max(read, key=lambda each: each[1])
    if longest > context:
        raise ValueError(
            f"{what} has {longest} tokens, but the model reads at most {context}. Shorten its text, or leave it out"
        )
