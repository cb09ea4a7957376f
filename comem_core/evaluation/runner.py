"""Asks the reader benchmark questions: takes one batch, returns rows of the prediction table.

The items and memories of a question are already chosen; see `conditions`. Independent of files and workers.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from comem_core.backbone.conversation import Conversation
from comem_core.evaluation.benchmarks import Benchmark
from comem_core.evaluation.conditions import find_condition
from comem_core.evaluation.prediction_rows import mark_row, name_row
from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.memory.answering import Answering
from comem_core.prompts import PromptSet, hash_prompt


@dataclass(frozen=True, kw_only=True)
class ReaderInput:
    """A question under a condition: items for the prompt, memory (K·M, D; may have no rows), and the items' ids."""

    question: Question
    condition: str
    k: int
    prompt_items: tuple[KnowledgeItem, ...]
    item_ids: tuple[str, ...]
    memory: Tensor


def predict(
    encoder: Answering,
    askings: Sequence[ReaderInput],
    prompts: PromptSet,
    *,
    benchmark: Benchmark,
    folder: Path | None = None,
    max_new_tokens: int,
    max_seconds: float | None = None,
) -> list[dict[str, Any]]:
    """Answer one batch of questions of a benchmark, whose files are in `folder`.

    `seconds` of a row is the time of the batch divided by its size. After `max_seconds` no further token is generated.
    """
    started = time.perf_counter()
    conversations = [encoder.seen(make_conversation(asking, prompts, benchmark)) for asking in askings]
    memories = _put_memories_in_front(encoder, askings)
    answers = encoder.answer_batch(conversations, memories, max_new_tokens=max_new_tokens, max_seconds=max_seconds)
    seconds = (time.perf_counter() - started) / len(askings)
    official = benchmark.metrics(folder)[0]
    return [
        name_row(asking.question, asking.condition, asking.k)
        | mark_row(generated.text, asking.question, official, extract=prompts.extract)
        | {
            "item_ids": list(asking.item_ids),
            "prompt_hash": hash_prompt(conversation),
            "prompt_tokens": generated.prompt_tokens,
            "memory_vectors": len(memory),
            "answer_tokens": generated.answer_tokens,
            "answer_logprob": generated.logprob,
            "truncated": generated.truncated,
            "timed_out": generated.timed_out,
            "seconds": seconds,
            "prefill_seconds": generated.prefill_seconds,
            "decode_seconds": generated.decode_seconds,
        }
        for asking, conversation, memory, generated in zip(askings, conversations, memories, answers, strict=True)
    ]


def _put_memories_in_front(encoder: Answering, askings: Sequence[ReaderInput]) -> list[Tensor]:
    """Return the vectors that go in front of each question.

    Under conditions with memory, the encoder adds whatever else its reader takes besides the words.
    """
    memories = [asking.memory for asking in askings]
    places = [at for at, asking in enumerate(askings) if find_condition(asking.condition).place == "memory"]
    if places:
        found = encoder.put_in_front([askings[at].question for at in places], [memories[at] for at in places])
        for at, memory in zip(places, found, strict=True):
            memories[at] = memory
    return memories


def make_conversation(asking: ReaderInput, prompts: PromptSet, benchmark: Benchmark) -> Conversation:
    """Build the reader's prompt: the benchmark's wording inside the prompt set's frame."""
    question = asking.question
    words = benchmark.wording.of(question)
    return prompts.make_conversation(words, question.image, question.language, items=asking.prompt_items)
