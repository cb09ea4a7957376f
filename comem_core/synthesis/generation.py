"""The VLM at work: asking questions about items, and answering questions with items in its prompt.

One batch in, rows out. Greedy answers depend on their prompt alone, drawn ones on their prompt and a seed; never on the
batch around them.
"""

import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from comem_core.backbone.conversation import Conversation, Generated
from comem_core.backbone.decoding import GREEDY, Decoding
from comem_core.backbone.images import VisualTokens
from comem_core.evaluation.answers import extract_answer
from comem_core.knowledge.items import KnowledgeItem, Question, hash_content_parts
from comem_core.prompts import PromptSet, hash_prompt
from comem_core.synthesis.generator import Generator
from comem_core.synthesis.pairs import UNPARSABLE, QuestionAnswerPair, parse_pair


@dataclass(frozen=True, kw_only=True)
class QuestionWithItems:
    """A question, its retrieved items in rank order, and their retrieval scores."""

    question: Question
    items: tuple[KnowledgeItem, ...]
    scores: tuple[float, ...]


@dataclass(frozen=True, kw_only=True)
class Written:
    """What the VLM wrote when it was asked about an item: a question, and its answer where pairs are asked for.

    `error` says why there is no question: `unparsable`, `answer in question`, or what a served model said.
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
        """Name a question by its kind, its item and its prompt."""
        return f"asked/{hash_content_parts(self.item_id, self.kind, self.prompt_hash)}"

    def make_question(self, item: KnowledgeItem) -> Question:
        """The question about its item's picture; a proposed answer is its gold answer, for want of another."""
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
class Again:
    """The further answers that judging compares a draft with, and what they cost.

    `second` is None for questions with gold answers. `error` says why an answer is missing: then there is no verdict.
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
    """Let the VLM write one question for each (item, kind). The item's own picture is the question's picture."""
    started = time.perf_counter()
    conversations = [prompts.make_ask_conversation(item, kind) for item, kind in requests]
    answers = generator.answer(
        conversations, max_new_tokens=max_new_tokens, decoding=decoding, visual_tokens=visual_tokens
    )
    seconds = (time.perf_counter() - started) / len(requests)
    written = []
    for (item, kind), conversation, generated in zip(requests, conversations, answers, strict=True):
        found = generated.error or _pair_in(generated, prompts, item.language)
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


def _pair_in(generated: Generated, prompts: PromptSet, language: str) -> QuestionAnswerPair | str:
    """The question in a text, with its proposed answer (empty where questions alone are asked for), or the fault."""
    if prompts.asks == "pair":
        markers = prompts.list_pair_markers(language)
        return parse_pair(generated.text, markers=markers, truncated=generated.truncated)
    question = extract_answer(generated.text)
    return QuestionAnswerPair(question=question, answer="") if question else UNPARSABLE


def make_faulty_draft(written: Written, item: KnowledgeItem, *, seed: int, model: str) -> dict[str, Any]:
    """Return a reply that is not a question as a row of the draft table, so that it is counted with the drafts."""
    return {
        "sample_id": hash_content_parts(written.question_id, written.prompt_hash, str(seed)),
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


def draft_answers(
    generator: Generator,
    batch: Sequence[QuestionWithItems],
    prompts: PromptSet,
    *,
    max_new_tokens: int,
    seed: int,
    visual_tokens: VisualTokens | None = None,
) -> list[dict[str, Any]]:
    """Answer questions with their items in the prompt (paper, data synthesis): the rows of the draft table."""
    started = time.perf_counter()
    conversations = [_conversation(asked, prompts, items=asked.items) for asked in batch]
    answers = generator.answer(conversations, max_new_tokens=max_new_tokens, visual_tokens=visual_tokens)
    seconds = (time.perf_counter() - started) / len(batch)
    rows = []
    for asked, conversation, generated in zip(batch, conversations, answers, strict=True):
        question, hashed = asked.question, hash_prompt(conversation)
        rows.append(
            {
                "sample_id": hash_content_parts(question.question_id, hashed, str(seed)),
                "question_id": question.question_id,
                "mode": "answer" if question.origin == "seed" else "ask",
                "language": question.language,
                "question": question.question,
                "image_id": question.image_id,
                "answer": extract_answer(generated.text, method=prompts.extract),
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
) -> list[Again]:
    """Answer each question without items for the judge; answer those that the VLM asked itself once more with
    their items in reverse order."""
    started = time.perf_counter()
    asked = [place for place, each in enumerate(batch) if each.question.origin == "asked"]
    without = [_conversation(each, prompts, items=()) for each in batch]
    reversed_order = [_conversation(batch[place], prompts, items=batch[place].items[::-1]) for place in asked]
    alone, second = (
        generator.answer(part, max_new_tokens=max_new_tokens, visual_tokens=visual_tokens) if part else []
        for part in (without, reversed_order)
    )
    shown = dict(zip(asked, second, strict=True))
    seconds = (time.perf_counter() - started) / (len(alone) + len(second))
    return [
        _again([generated, shown[place]] if place in shown else [generated], prompts, seconds=seconds)
        for place, generated in enumerate(alone)
    ]


def _again(answers: Sequence[Generated], prompts: PromptSet, *, seconds: float) -> Again:
    texts = [extract_answer(generated.text, method=prompts.extract) for generated in answers]
    return Again(
        without=texts[0],
        second=texts[1] if len(texts) > 1 else None,
        prompt_tokens=sum(generated.prompt_tokens for generated in answers),
        answer_tokens=sum(generated.answer_tokens for generated in answers),
        seconds=seconds * len(answers),
        error=next((generated.error for generated in answers if generated.error), None),
    )


def _conversation(asked: QuestionWithItems, prompts: PromptSet, *, items: Sequence[KnowledgeItem]) -> Conversation:
    question = asked.question
    return prompts.make_conversation(question.question, question.image, question.language, items=items)
