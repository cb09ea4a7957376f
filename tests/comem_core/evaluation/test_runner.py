"""The runner: benchmark questions in, prediction rows out, the same in any batch."""

from typing import Any

import pytest
import torch

from comem_core.evaluation.answers import extract_answer
from comem_core.evaluation.benchmarks.registry import find_benchmark
from comem_core.evaluation.runner import ReaderInput, predict
from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.memory.encoder import MemoryEncoder
from comem_core.prompts import hash_prompt, read_prompt_set

PROMPTS = read_prompt_set("short")
BENCHMARK = find_benchmark("countries-vqa")
OFFICIAL = BENCHMARK.metrics(None)[0]
COLUMNS = {
    "answer_logprob",
    "prediction_id", "benchmark", "question_id", "split", "condition", "k", "item_ids", "answer_raw", "answer",
    "correct", "timed_out", "prefill_seconds",
    "decode_seconds", "prompt_hash", "prompt_tokens", "memory_vectors", "answer_tokens", "truncated", "seconds",
}  # fmt: skip


@pytest.fixture(scope="module")
def askings(
    encoder: MemoryEncoder, items: tuple[KnowledgeItem, ...], questions: tuple[Question, ...]
) -> dict[str, ReaderInput]:
    """One question under four conditions."""
    item_ids = tuple(item.item_id for item in items[:2])
    nothing = torch.zeros(0, encoder.backbone.width)
    memory = encoder.encode_batch(items[:2]).flatten(0, 1)
    empty = torch.cat([encoder.empty_memory()] * 2)
    shown: dict[str, tuple[tuple[KnowledgeItem, ...], tuple[str, ...], torch.Tensor]] = {
        "none": ((), (), nothing),
        "text": (items[:2], item_ids, nothing),
        "memory": ((), item_ids, memory),
        "empty": ((), (), empty),
    }
    return {
        condition: ReaderInput(
            question=questions[0], condition=condition, k=2, prompt_items=in_prompt, item_ids=ids, memory=vectors
        )
        for condition, (in_prompt, ids, vectors) in shown.items()
    }


def timeless(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Leave out times, and digits of the certainty that depend on the batch."""
    kept = [{name: value for name, value in row.items() if not name.endswith("seconds")} for row in rows]
    return [row | {"answer_logprob": round(row["answer_logprob"], 4)} for row in kept]


def test_a_row_says_what_was_asked_under_which_condition_and_what_was_answered(
    encoder: MemoryEncoder, askings: dict[str, ReaderInput]
):
    rows = predict(encoder, list(askings.values()), PROMPTS, benchmark=BENCHMARK, max_new_tokens=5)
    for row, asking in zip(rows, askings.values(), strict=True):
        question = asking.question
        assert set(row) == COLUMNS
        assert (row["benchmark"], row["question_id"]) == ("countries-vqa", question.question_id)
        assert (row["split"], row["condition"], row["k"]) == (question.split, asking.condition, 2)
        assert row["item_ids"] == list(asking.item_ids)
        assert row["memory_vectors"] == len(asking.memory)
        assert row["answer"] == extract_answer(row["answer_raw"])
        assert row["correct"] == OFFICIAL.score(row["answer"], question).correct
        conversation = PROMPTS.make_conversation(
            question.question, question.image, question.language, items=asking.prompt_items
        )
        assert row["prompt_hash"] == hash_prompt(conversation)
        assert 1 <= row["answer_tokens"] <= 5
        assert 0 < row["prefill_seconds"] + row["decode_seconds"] <= row["seconds"]
    assert len({row["prediction_id"] for row in rows}) == 4


def test_memory_costs_no_prompt_tokens_and_text_does(encoder: MemoryEncoder, askings: dict[str, ReaderInput]):
    rows = predict(encoder, list(askings.values()), PROMPTS, benchmark=BENCHMARK, max_new_tokens=2)
    tokens = {row["condition"]: row["prompt_tokens"] for row in rows}
    vectors = {row["condition"]: row["memory_vectors"] for row in rows}
    assert tokens["none"] == tokens["memory"] == tokens["empty"] < tokens["text"] - 20
    assert vectors == {"none": 0, "text": 0, "memory": 16, "empty": 16}


def test_every_condition_is_seen_by_the_reader(encoder: MemoryEncoder, askings: dict[str, ReaderInput]):
    rows = predict(encoder, list(askings.values()), PROMPTS, benchmark=BENCHMARK, max_new_tokens=6)
    assert len({row["answer_raw"] for row in rows}) == 4


def test_a_prediction_does_not_depend_on_its_batch(encoder: MemoryEncoder, askings: dict[str, ReaderInput]):
    together = timeless(predict(encoder, list(askings.values()), PROMPTS, benchmark=BENCHMARK, max_new_tokens=5))
    alone = [
        timeless(predict(encoder, [asking], PROMPTS, benchmark=BENCHMARK, max_new_tokens=5))[0]
        for asking in askings.values()
    ]
    assert together == alone


def test_conditions_without_memory_are_answered_by_the_plain_reader(
    encoder: MemoryEncoder, askings: dict[str, ReaderInput]
):
    [row] = predict(encoder, [askings["text"]], PROMPTS, benchmark=BENCHMARK, max_new_tokens=5)
    question = askings["text"].question
    conversation = PROMPTS.make_conversation(
        question.question, question.image, question.language, items=askings["text"].prompt_items
    )
    assert row["answer_raw"] == encoder.backbone.answer([conversation], max_new_tokens=5)[0].text


def test_a_right_answer_counts_and_a_wrong_one_does_not(questions: tuple[Question, ...]):
    assert OFFICIAL.score(questions[0].answers[0], questions[0]).correct == 1.0
    assert OFFICIAL.score("nothing of the kind", questions[0]).correct == 0.0
