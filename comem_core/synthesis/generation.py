"""The VLM at work: asking questions about items, and answering questions with items in its prompt.

One batch in, rows out. Greedy, so an answer depends on its prompt alone and not on its batch.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from comem_core.backbone.images import VisualTokens
from comem_core.backbone.interface import Backbone
from comem_core.evaluation.answers import extract_answer
from comem_core.knowledge.items import KnowledgeItem, Question, content_id
from comem_core.synthesis.prompts import PromptSet, prompt_hash


@dataclass(frozen=True, kw_only=True)
class Asked:
    """A question, its retrieved items in rank order, and their retrieval scores."""

    question: Question
    items: tuple[KnowledgeItem, ...]
    scores: tuple[float, ...]


def ask_about(
    backbone: Backbone,
    requests: Sequence[tuple[KnowledgeItem, str]],
    prompts: PromptSet,
    *,
    max_new_tokens: int,
    visual_tokens: VisualTokens | None = None,
) -> list[Question]:
    """Let the VLM write one question for each (item, kind). The item's own picture is the question's picture."""
    conversations = [
        [prompts.system_turn(), prompts.item_turn(item), prompts.ask_turn(kind, item.language)]
        for item, kind in requests
    ]
    written = backbone.answer(conversations, max_new_tokens=max_new_tokens, visual_tokens=visual_tokens)
    return [
        Question(
            question_id=f"asked/{content_id(item.item_id, kind, prompt_hash(conversation))}",
            question=extract_answer(generated.text),
            image=item.picture,
            language=item.language,
            answers=(),
            attribute=kind,
            entity_id=item.entity_id,
            gold_item_id=item.item_id,
            origin="asked",
        )
        for (item, kind), conversation, generated in zip(requests, conversations, written, strict=True)
    ]


def draft_answers(
    backbone: Backbone,
    batch: Sequence[Asked],
    prompts: PromptSet,
    *,
    max_new_tokens: int,
    seed: int,
    visual_tokens: VisualTokens | None = None,
) -> list[dict[str, Any]]:
    """Answer questions with their items in the prompt (paper, data synthesis): the rows of the draft table."""
    started = time.perf_counter()
    conversations = [_conversation(asked, prompts, items=asked.items) for asked in batch]
    answers = backbone.answer(conversations, max_new_tokens=max_new_tokens, visual_tokens=visual_tokens)
    seconds = (time.perf_counter() - started) / len(batch)
    rows = []
    for asked, conversation, generated in zip(batch, conversations, answers, strict=True):
        question, hashed = asked.question, prompt_hash(conversation)
        rows.append(
            {
                "sample_id": content_id(question.question_id, hashed, str(seed)),
                "question_id": question.question_id,
                "mode": "answer" if question.origin == "seed" else "ask",
                "language": question.language,
                "question": question.question,
                "image_id": question.image_id,
                "answer": extract_answer(generated.text),
                "answer_raw": generated.text,
                "error": generated.error,
                "translated_from": None,
                "item_ids": [item.item_id for item in asked.items],
                "retrieval_scores": list(asked.scores),
                "prompt_hash": hashed,
                "seed": seed,
                "prompt_tokens": generated.prompt_tokens,
                "answer_tokens": generated.answer_tokens,
                "truncated": generated.truncated,
                "seconds": seconds,
                "model": backbone.name,
            }
        )
    return rows


def answers_again(
    backbone: Backbone,
    batch: Sequence[Asked],
    prompts: PromptSet,
    *,
    max_new_tokens: int,
    visual_tokens: VisualTokens | None = None,
) -> list[tuple[str, str | None]]:
    """What judging needs: each question answered without items; and those that the VLM asked itself, which have no gold
    answer, once more with their items in reverse order (None for the others)."""
    asked = [each for each in batch if each.question.origin == "asked"]
    without = [_conversation(each, prompts, items=()) for each in batch]
    reversed_order = [_conversation(each, prompts, items=each.items[::-1]) for each in asked]
    texts = [
        [
            extract_answer(generated.text)
            for generated in backbone.answer(part, max_new_tokens=max_new_tokens, visual_tokens=visual_tokens)
        ]
        if part
        else []
        for part in (without, reversed_order)
    ]
    second = {each.question.question_id: text for each, text in zip(asked, texts[1], strict=True)}
    return [(text, second.get(each.question.question_id)) for each, text in zip(batch, texts[0], strict=True)]


def _conversation(asked: Asked, prompts: PromptSet, *, items: Sequence[KnowledgeItem]) -> list[Any]:
    question = asked.question
    return list(prompts.conversation(question.question, question.image, question.language, items=items))
