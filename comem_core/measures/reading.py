"""How fast a reader answers with items in its prompt, with their memories, and with nothing, side by side.

Memories are made beforehand: one is made once, and read each time.
"""

import statistics
import time
from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import torch

from comem_core.backbone.conversation import Conversation, without_pictures
from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.memory.answering import cut_into_batches
from comem_core.memory.encoder import MemoryEncoder
from comem_core.worlds.countries.world import load_benchmark_questions, load_knowledge_items

BATCH, MAX_TOKENS = 16, 16
NUM_ITEMS, NUM_QUESTIONS = 96, 64


@dataclass(frozen=True, kw_only=True)
class AnswerRates:
    """Median answers a second with no items, with the memories of k items, and with the k items in the prompt."""

    none: float
    memory: float
    text: float


def measure_answer_rates(
    encoder: MemoryEncoder,
    *,
    k: int,
    repeats: int,
    num_items: int = NUM_ITEMS,
    num_questions: int = NUM_QUESTIONS,
) -> AnswerRates:
    """Measure whole answers in batches of 16, the three ways by turns, after one unmeasured turn of each.

    Each question is answered with the k items nearest to it, which are searched for beforehand.
    """
    items = load_knowledge_items()[:num_items]
    questions = load_benchmark_questions("dev")[:num_questions]
    bank, by_id = encoder.encode(items), {item.item_id: item for item in items}
    found = encoder.search(questions, bank, k=k, same_language=False)
    memories = [bank.of(hits.item_ids) for hits in found]
    alone = [encoder.conversation(question) for question in questions]
    in_prompt = [
        encoder.prompts.make_conversation(
            each.question, each.image, each.language, items=[by_id[name] for name in hits.item_ids]
        )
        for each, hits in zip(questions, found, strict=True)
    ]
    nothing = [bank.of(())] * num_questions

    def answer(conversations: Sequence[Conversation], shown: Sequence[torch.Tensor]) -> None:
        for batch in cut_into_batches(list(zip(conversations, shown, strict=True)), BATCH):
            conversations_B, memories_B = zip(*batch, strict=True)
            encoder.answer_batch(conversations_B, memories_B, max_new_tokens=MAX_TOKENS)

    seconds = measure_median_seconds(
        lambda: answer(alone, nothing),
        lambda: answer(alone, memories),
        lambda: answer(in_prompt, nothing),
        repeats=repeats,
    )
    none, memory, text = (num_questions / each for each in seconds)
    print(f"{k} items: {none:.0f} answers/s with none, {memory:.0f} with memory, {text:.0f} with text", flush=True)
    return AnswerRates(none=none, memory=memory, text=text)


def lengthen_items(
    encoder: MemoryEncoder, items: Sequence[KnowledgeItem], num_tokens: int, *, as_encoded: bool = False
) -> list[KnowledgeItem]:
    """Lengthen each item by the texts of the following items; cut it at the word that fills `num_tokens`: of its turn
    in a prompt or, `as_encoded`, of what the encoder reads. The two differ in the sizes of pictures.

    Raises:
        ValueError: all texts together are shorter than `num_tokens`.
    """
    recipe, prompts = encoder.recipe, encoder.prompts
    size = recipe.item_visual_tokens if as_encoded else recipe.query_visual_tokens

    def converse(item: KnowledgeItem) -> Conversation:
        return prompts.make_item_conversation(item) if as_encoded else [prompts.make_item_turn(item)]

    def count(conversation: Conversation) -> int:
        [length] = encoder.backbone.prepare([conversation], generation=False, visual_tokens=size).lengths
        return length

    def count_text(item: KnowledgeItem) -> int:
        return count(without_pictures(converse(item)))

    made = []
    for place, item in enumerate(items):
        in_picture = count(converse(item)) - count_text(item)  # once an item, as pictures take long
        words = " ".join(each.text for each in (*items[place:], *items[:place])).split()[:num_tokens]
        prefixes = [_set_words(item, words[: num_words + 1]) for num_words in range(len(words))]
        filled = bisect_left(prefixes, num_tokens - in_picture, key=count_text)
        if filled == len(prefixes):
            raise ValueError(f"these {len(items)} items hold fewer than {num_tokens} tokens together")
        made.append(prefixes[filled])
    return made


def _set_words(item: KnowledgeItem, words: Sequence[str]) -> KnowledgeItem:
    return replace(item, text=" ".join(words))


def measure_ttft_ratio(
    encoder: MemoryEncoder, question: Question, items: Sequence[KnowledgeItem], *, repeats: int
) -> float:
    """Return the time to first token with the items as prompt tokens, divided by the time with their stored memory."""
    asked = (question.question, question.image, question.language)
    in_prompt, alone = encoder.prompts.make_conversation(*asked, items=items), encoder.prompts.make_conversation(*asked)
    batches = [items[start : start + BATCH] for start in range(0, len(items), BATCH)]
    stored = torch.cat([encoder.encode_batch(batch).flatten(end_dim=1) for batch in batches])
    nothing = stored[:0]
    text, memory = measure_median_seconds(
        lambda: encoder.answer_batch([in_prompt], [nothing], max_new_tokens=1),
        lambda: encoder.answer_batch([alone], [stored], max_new_tokens=1),
        repeats=repeats,
    )
    print(f"{len(items)} items: {1000 * text:.0f} ms with text, {1000 * memory:.0f} ms with memory", flush=True)
    return text / memory


def measure_median_seconds(*works: Callable[[], object], repeats: int) -> list[float]:
    """Return the median wall time of each function, after one warm-up run.

    They run alternately, so that load on the machine affects all of them.
    """
    times: list[list[float]] = [[] for _ in works]
    for turn in range(repeats + 1):
        for own, work in zip(times, works, strict=True):
            started = time.perf_counter()
            work()
            if turn:
                own.append(time.perf_counter() - started)
    return [statistics.median(own) for own in times]
