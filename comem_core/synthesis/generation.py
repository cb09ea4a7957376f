"""Lets the VLM ask questions about items, and answer questions with items in its prompt.

Each function takes one batch and returns its rows. Greedy answers depend on their prompt alone, sampled ones on their
prompt and a seed; neither depends on the rest of the batch.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from comem_core.backbone.conversation import Conversation, Generated
from comem_core.backbone.decoding import GREEDY, Decoding
from comem_core.backbone.images import VisualTokens
from comem_core.evaluation.answers import extract_answer, extract_question, is_refusal
from comem_core.knowledge.items import KnowledgeItem, Question, hash_content_parts
from comem_core.prompts import PromptSet, hash_prompt
from comem_core.synthesis.generator import Generator
from comem_core.synthesis.pairs import FAULTS, REFUSED, UNPARSABLE, QuestionAnswerPair, parse_pair


@dataclass(frozen=True, kw_only=True)
class QuestionWithItems:
    """A question, its retrieved items in rank order, and their retrieval scores."""

    question: Question
    items: tuple[KnowledgeItem, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Written:
    """What the VLM wrote about an item: a question, and its answer if the prompt set asks for pairs.

    `error` is None, or the reason for an empty question: `unparsable`, `answer in question`, `refused`, or a served
    model's error.
    """

    item_id: str
    kind: str
    question: str
    answer: str
    error: str | None
    raw: str
    prompt_hash: str
    prompt_tokens: int
    answer_tokens: int
    truncated: bool
    seconds: float

    @property
    def question_id(self) -> str:
        """A hash of the item, the kind and the prompt."""
        return f"asked/{hash_content_parts(self.item_id, self.kind, self.prompt_hash)}"

    def make_question(self, item: KnowledgeItem) -> Question:
        """Make a question about the item's picture; the proposed answer, if any, serves as its gold answer."""
        return Question(
            question_id=self.question_id,
            question=self.question,
            image=item.picture,
            language=item.language,
            answers=(self.answer,) if self.answer else (),
            attribute=self.kind,
            entity_id=item.entity_id,
            gold_item_id=item.item_id,
            origin="asked",
        )


@dataclass(frozen=True, kw_only=True)
class FurtherAnswers:
    """The further answers that judging compares a draft with, and their cost.

    `without` was given without items. `second` was given with the items in reverse order; it is None for questions with
    gold answers. `error` says why an answer is missing; then there is no verdict.
    """

    without: str
    second: str | None
    prompt_tokens: int
    answer_tokens: int
    seconds: float
    error: str | None


def ask_about(
    generator: Generator,
    requests: Sequence[tuple[KnowledgeItem, str]],
    prompts: PromptSet,
    *,
    max_new_tokens: int,
    decoding: Decoding = GREEDY,
    visual_tokens: VisualTokens | None = None,
) -> list[Written]:
    """Let the VLM write one question for each (item, kind). The item's picture is the question's picture."""
    started = time.perf_counter()
    conversations = [prompts.make_ask_conversation(item, kind) for item, kind in requests]
    answers = generator.answer(
        conversations, max_new_tokens=max_new_tokens, decoding=decoding, visual_tokens=visual_tokens
    )
    seconds = (time.perf_counter() - started) / len(requests)
    written = []
    for (item, kind), conversation, generated in zip(requests, conversations, answers, strict=True):
        found = generated.error or _find_pair(generated, prompts, item.language)
        written.append(
            Written(
                item_id=item.item_id,
                kind=kind,
                question="" if isinstance(found, str) else found.question,
                answer="" if isinstance(found, str) else found.answer,
                error=found if isinstance(found, str) else None,
                raw=generated.text,
                prompt_hash=hash_prompt(conversation),
                prompt_tokens=generated.prompt_tokens,
                answer_tokens=generated.answer_tokens,
                truncated=generated.truncated,
                seconds=seconds,
            )
        )
    return written


def _find_pair(generated: Generated, prompts: PromptSet, language: str) -> QuestionAnswerPair | str:
    """Return the question in a text with its proposed answer (empty if the prompts ask for questions alone), or the
    fault."""
    if is_refusal(generated.text):
        return REFUSED
    if prompts.asks == "pair":
        markers = prompts.list_pair_markers(language)
        return parse_pair(generated.text, markers=markers, truncated=generated.truncated)
    question = extract_question(generated.text)
    return QuestionAnswerPair(question=question, answer="") if question else UNPARSABLE


def is_reply(error: str | None) -> bool:
    """Tell from the error of a question or draft whether the model replied, so that asking again gives the same."""
    return error is None or error in FAULTS


def make_faulty_draft(written: Written, item: KnowledgeItem, *, seed: int, model: str) -> dict[str, Any]:
    """Make a row of the draft table for a reply that is not a question, so that it is counted with the drafts."""
    return {
        "sample_id": name_sample(written.question_id, written.prompt_hash, seed=seed),
        "question_id": written.question_id,
        "mode": "ask",
        "language": item.language,
        "question": "",
        "image_id": item.image_id,
        "answer": "",
        "answer_raw": written.raw,
        "error": written.error,
        "translated_from": None,
        "item_ids": [item.item_id],
        "retrieval_scores": [],
        "prompt_hash": written.prompt_hash,
        "seed": seed,
        "prompt_tokens": written.prompt_tokens,
        "answer_tokens": written.answer_tokens,
        "truncated": written.truncated,
        "seconds": written.seconds,
        "model": model,
    }


def name_sample(question_id: str, prompt_hash: str, *, seed: int) -> str:
    """Return the id of a draft."""
    return hash_content_parts(question_id, prompt_hash, str(seed))


def draft_answers(
    generator: Generator,
    batch: Sequence[QuestionWithItems],
    prompts: PromptSet,
    *,
    max_new_tokens: int,
    seed: int,
    visual_tokens: VisualTokens | None = None,
) -> list[dict[str, Any]]:
    """Answer questions with their items in the prompt (paper, data synthesis), and return rows of the draft table."""
    started = time.perf_counter()
    conversations = [_make_conversation(asked, prompts, items=asked.items) for asked in batch]
    answers = generator.answer(conversations, max_new_tokens=max_new_tokens, visual_tokens=visual_tokens)
    seconds = (time.perf_counter() - started) / len(batch)
    rows = []
    for asked, conversation, generated in zip(batch, conversations, answers, strict=True):
        question, hashed = asked.question, hash_prompt(conversation)
        error = generated.error or (REFUSED if is_refusal(generated.text) else None)
        rows.append(
            {
                "sample_id": name_sample(question.question_id, hashed, seed=seed),
                "question_id": question.question_id,
                "mode": "answer" if question.origin == "seed" else "ask",
                "language": question.language,
                "question": question.question,
                "image_id": question.image_id,
                "answer": "" if error else extract_answer(generated.text, method=prompts.extract),
                "answer_raw": generated.text,
                "error": error,
                "translated_from": None,
                "item_ids": [item.item_id for item in asked.items],
                "retrieval_scores": list(asked.scores),
                "prompt_hash": hashed,
                "seed": seed,
                "prompt_tokens": generated.prompt_tokens,
                "answer_tokens": generated.answer_tokens,
                "truncated": generated.truncated,
                "seconds": seconds,
                "model": generator.name,
            }
        )
    return rows


def answer_again(
    generator: Generator,
    batch: Sequence[QuestionWithItems],
    prompts: PromptSet,
    *,
    max_new_tokens: int,
    visual_tokens: VisualTokens | None = None,
) -> list[FurtherAnswers]:
    """Answer each question again for judging: without items; and, if the VLM asked it itself, also with its items in
    reverse order."""
    started = time.perf_counter()
    asked = [place for place, each in enumerate(batch) if each.question.origin == "asked"]
    without = [_make_conversation(each, prompts, items=()) for each in batch]
    reversed_order = [_make_conversation(batch[place], prompts, items=batch[place].items[::-1]) for place in asked]
    alone, second = (
        generator.answer(part, max_new_tokens=max_new_tokens, visual_tokens=visual_tokens) if part else []
        for part in (without, reversed_order)
    )
    shown = dict(zip(asked, second, strict=True))
    seconds = (time.perf_counter() - started) / (len(alone) + len(second))
    return [
        _join_answers([generated, shown[place]] if place in shown else [generated], prompts, seconds=seconds)
        for place, generated in enumerate(alone)
    ]


def _join_answers(answers: Sequence[Generated], prompts: PromptSet, *, seconds: float) -> FurtherAnswers:
    texts = [extract_answer(generated.text, method=prompts.extract) for generated in answers]
    return FurtherAnswers(
        without=texts[0],
        second=texts[1] if len(texts) > 1 else None,
        prompt_tokens=sum(generated.prompt_tokens for generated in answers),
        answer_tokens=sum(generated.answer_tokens for generated in answers),
        seconds=seconds * len(answers),
        error=next((generated.error for generated in answers if generated.error), None),
    )


def _make_conversation(asked: QuestionWithItems, prompts: PromptSet, *, items: Sequence[KnowledgeItem]) -> Conversation:
    question = asked.question
    return prompts.make_conversation(question.question, question.image, question.language, items=items)
