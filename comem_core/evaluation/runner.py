"""Asks benchmark questions of the reader: one batch in, the rows of the prediction table out.

What a question is shown (items, memories) is decided before; see `conditions`. Knows nothing of files or workers.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from torch import Tensor

from comem_core.evaluation.answers import extract_answer
from comem_core.evaluation.benchmarks import Benchmark
from comem_core.knowledge.items import KnowledgeItem, Question, content_id
from comem_core.memory.encoder import MemoryEncoder
from comem_core.synthesis.prompts import PromptSet, prompt_hash


@dataclass(frozen=True, kw_only=True)
class Asking:
    """A question under a condition: items for the prompt, memory (K·M, D; perhaps no row), and the ids of the items."""

    question: Question
    condition: str
    k: int
    prompt_items: tuple[KnowledgeItem, ...]
    item_ids: tuple[str, ...]
    memory: Tensor


def predict(
    encoder: MemoryEncoder,
    askings: Sequence[Asking],
    prompts: PromptSet,
    *,
    benchmark: Benchmark,
    folder: Path | None = None,
    max_new_tokens: int,
) -> list[dict[str, Any]]:
    """Answer one batch of questions of a benchmark, whose files are in `folder`.

    `seconds` of a row is the batch's time divided by its size."""
    started = time.perf_counter()
    conversations = [
        prompts.conversation(
            benchmark.wording.of(asking.question),
            asking.question.image,
            asking.question.language,
            items=asking.prompt_items,
        )
        for asking in askings
    ]
    memories = [asking.memory for asking in askings]
    answers = encoder.answer_batch(conversations, memories, max_new_tokens=max_new_tokens)
    seconds = (time.perf_counter() - started) / len(askings)
    official = benchmark.metrics(folder)[0]
    rows = []
    for asking, conversation, generated in zip(askings, conversations, answers, strict=True):
        question = asking.question
        answer = extract_answer(generated.text, method=prompts.extract)
        read = generated.text if official.reads == "raw" else answer
        rows.append(
            {
                "prediction_id": content_id(question.question_id, asking.condition, str(asking.k)),
                "benchmark": question.benchmark,
                "question_id": question.question_id,
                "split": question.split,
                "condition": asking.condition,
                "k": asking.k,
                "item_ids": list(asking.item_ids),
                "answer_raw": generated.text,
                "answer": answer,
                "correct": official.score(read, question).correct,
                "prompt_hash": prompt_hash(conversation),
                "prompt_tokens": generated.prompt_tokens,
                "memory_vectors": len(asking.memory),
                "answer_tokens": generated.answer_tokens,
                "truncated": generated.truncated,
                "seconds": seconds,
            }
        )
    return rows
