"""Encoding and answering: items a second, times to first and last token with text and with memory, answers a second.

Times begin with the question and its pictures as bytes, as a user's do. What of a time goes into making tokens of them,
on the CPU, is a row of its own. Memories are made beforehand. Every answer has the same number of tokens.
"""

import statistics
from collections.abc import Iterator, Sequence
from functools import partial as bind

from torch import Tensor

from comem_core.backbone.conversation import Conversation, Generated
from comem_core.measures.gpu.cards import TimeLimit, measure_peak, measure_seconds, run_by_turns
from comem_core.measures.gpu.setup import Setup
from comem_core.measures.results import Measured


def measure_encoding(setup: Setup, limit: TimeLimit) -> Iterator[Measured]:
    """Encode one batch of items again and again."""
    items = setup.encoded_items[: setup.workload.encode_batch]
    encode = bind(measure_seconds, lambda: setup.encoder.encode_batch(items), setup.device)
    [seconds] = run_by_turns([encode], repeats=setup.workload.repeats, limit=limit)
    length, n = setup.workload.item_tokens, len(seconds)
    rate = len(items) / statistics.median(seconds)
    yield setup.make_row(f"encode_items_per_s_{length}_tokens", rate, f"items/s, {len(items)} at once", n=n)
    if setup.device.type == "cuda":
        yield setup.make_row("encode_peak_memory_gb", measure_peak(setup.device) / 1e9, "GB allocated on the card", n=n)


def measure_first_token(setup: Setup, limit: TimeLimit) -> Iterator[Measured]:
    """Answer one question with k items, as text and as memory by turns, for every k."""
    for share, k in zip(limit.split(len(setup.workload.depths)), setup.workload.depths, strict=True):
        asked = {"text": _ask(setup, 1, k), "memory": _ask(setup, 1, 0)}
        works = [bind(_answer, setup, asked["text"], _take_memory(setup, 0)),
                 bind(_answer, setup, asked["memory"], _take_memory(setup, k))]  # fmt: skip
        found = dict(zip(asked, run_by_turns(works, repeats=setup.workload.repeats, limit=share), strict=True))
        first = {way: statistics.median(map(_time_first, answers)) for way, answers in found.items()}
        n = len(found["text"])
        for way, answers in found.items():
            last, unit = statistics.median(map(_time_last, answers)), f"ms to token {setup.workload.new_tokens}"
            yield setup.make_row(f"first_token_ms_{way}_k{k}", 1000 * first[way], "ms", n=n)
            yield setup.make_row(f"last_token_ms_{way}_k{k}", 1000 * last, unit, n=n)
            preparing = measure_seconds(bind(setup.encoder.prepare, asked[way], generation=True), setup.device)
            yield setup.make_row(f"prepare_ms_{way}_k{k}", 1000 * preparing, "ms on the CPU, of both times", n=1)
        yield setup.make_row(f"first_token_ratio_k{k}", first["text"] / first["memory"], "text / memory", n=n)


def measure_answers(setup: Setup, limit: TimeLimit) -> Iterator[Measured]:
    """Answer a batch of questions with the memories of k items, and with k items as text for the smallest k."""
    few, more = setup.workload.depths[:2]
    batch = setup.workload.answer_batch
    unit = f"answers/s of {setup.workload.new_tokens} tokens, {batch} at once"
    cases = (("memory", few), ("memory", more), ("text", few))
    for share, (way, k) in zip(limit.split(len(cases)), cases, strict=True):
        asked = _ask(setup, batch, k if way == "text" else 0)
        answer = bind(_answer, setup, asked, _take_memory(setup, k if way == "memory" else 0))
        work = bind(measure_seconds, answer, setup.device)
        [seconds] = run_by_turns([work], repeats=setup.workload.repeats, limit=share)
        yield setup.make_row(f"answers_per_s_{way}_k{k}", batch / statistics.median(seconds), unit, n=len(seconds))


def _take_memory(setup: Setup, num_items: int) -> Tensor:
    """Return the vectors of some items: (K·M, D)."""
    return setup.memory_KMD[:num_items].flatten(end_dim=1)


def _ask(setup: Setup, num_questions: int, num_items: int) -> list[Conversation]:
    """Make conversations that ask a question, each with the same items in the prompt."""
    items = setup.prompt_items[:num_items] if num_items else []
    return [
        setup.encoder.prompts.make_conversation(each.question, each.image, each.language, items=items)
        for each in setup.questions[:num_questions]
    ]


def _answer(setup: Setup, asked: Sequence[Conversation], memory: Tensor) -> list[Generated]:
    """Answer conversations, each with the same memory in front."""
    answers = setup.encoder.answer_batch(asked, [memory] * len(asked), max_new_tokens=setup.workload.new_tokens)
    assert all(each.answer_tokens == setup.workload.new_tokens for each in answers), "an answer ended early"
    return answers


def _time_first(answers: Sequence[Generated]) -> float:
    """Return the seconds until the first tokens of a batch were ready, from when it was given."""
    return sum(each.prefill_seconds or 0.0 for each in answers)


def _time_last(answers: Sequence[Generated]) -> float:
    return _time_first(answers) + sum(each.decode_seconds or 0.0 for each in answers)
