"""Lets a reader answer questions from what was found for them; where a gate asks for it, first alone.

Shapes: K items of a question, M vectors of an item, D width.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from comem_core.backbone.conversation import Generated
from comem_core.backbone.decoding import GREEDY
from comem_core.memory.answering import Answering
from comem_core.serving.answers import Found, MemoryAnswer


def answer_found(reader: Answering, found: Sequence[Found], options: Mapping[str, Any]) -> list[MemoryAnswer]:
    """Answer one batch of questions; `options` are those of `Answering.answer_batch`.

    A question whose gate has a limit of certainty is first asked without its items, greedily. If the reader is sure
    enough, that is its answer; with another decoding it is then asked again in this way.
    """
    asked, said = list(found), dict[int, _Said]()
    alone = {place: _leave_out_items(each) for place, each in enumerate(found) if _has_to_be_sure(each)}
    if alone:
        tried = _generate(reader, list(alone.values()), {**options, "decoding": GREEDY})
        for (place, each), one in zip(alone.items(), tried, strict=True):
            if each.gate is not None and not each.gate.is_unsure(one.generated.logprob):
                asked[place] = each
                said |= {place: one} if options["decoding"] == GREEDY else {}
    left = [place for place in range(len(asked)) if place not in said]
    if left:
        said |= zip(left, _generate(reader, [asked[place] for place in left], options), strict=True)
    return [_write_answer(each, said[place]) for place, each in enumerate(asked)]


@dataclass(frozen=True)
class _Said:
    """What the reader wrote, and how many vectors it had in front of the question."""

    num_vectors: int
    generated: Generated


def _has_to_be_sure(found: Found) -> bool:
    return found.trusted and found.gate is not None and found.gate.sure is not None


def _leave_out_items(found: Found) -> Found:
    return replace(found, items=(), vectors=found.vectors[:0], trusted=False)


def _generate(reader: Answering, found: Sequence[Found], options: Mapping[str, Any]) -> list[_Said]:
    questions = [each.question for each in found]
    conversations = [reader.conversation(question) for question in questions]
    vectors = reader.put_in_front(questions, [each.vectors for each in found])
    generated = reader.answer_batch(conversations, vectors, **options)
    return [_Said(len(front), each) for front, each in zip(vectors, generated, strict=True)]


def _write_answer(found: Found, said: _Said) -> MemoryAnswer:
    generated = said.generated
    return MemoryAnswer(
        text=generated.text,
        items=found.items,
        language=found.question.language,
        searched=found.searched,
        trusted=found.trusted,
        prompt_tokens=generated.prompt_tokens,
        memory_vectors=said.num_vectors,
        answer_tokens=generated.answer_tokens,
        truncated=generated.truncated,
    )
