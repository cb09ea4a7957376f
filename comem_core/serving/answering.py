"""Lets a reader answer questions from what was found for them; where a gate asks for it, first alone.

A reader with a closed vocabulary, as the small model that ships has, answers every question with a word that it was
trained on; where it is asked about another world, its answer says so.

Shapes: K items of a question, M vectors of an item, D width.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from tokenizers import Tokenizer

from comem_core.backbone.conversation import Generated
from comem_core.backbone.interface import Backbone
from comem_core.backbone.vocabulary import MOST_UNKNOWN, count_unknown_words, is_closed
from comem_core.memory.answering import Answering
from comem_core.serving.answers import Found, MemoryAnswer

# By the small model's own embedding of pictures, 120 test questions about flags have an item of 0.605 or more, and
# photographs have none above 0.4; drawings of few colours lie between.
LEAST_ALIKE = 0.6
log = logging.getLogger("comem.serving")


def answer_found(reader: Answering, found: Sequence[Found], options: Mapping[str, Any]) -> list[MemoryAnswer]:
    """Answer one batch of questions; `options` are those of `Answering.answer_batch`.

    A question whose gate has a limit of certainty is first asked without its items, greedily. If the reader is sure
    enough, that is its answer; with another decoding it is then asked again in this way. Answers also end where the
    encoder's prompts say so.
    """
    options = {**options, "decoding": options["decoding"].stop_also_at(reader.stop)}
    greedy = options["decoding"].make_greedy()
    asked, said = list(found), dict[int, _Said]()
    alone = {place: _leave_out_items(each) for place, each in enumerate(found) if _has_to_be_sure(each)}
    if alone:
        tried = _generate(reader, list(alone.values()), {**options, "decoding": greedy})
        for (place, each), one in zip(alone.items(), tried, strict=True):
            if each.gate is not None and not each.gate.is_unsure(one.generated.logprob):
                asked[place] = each
                said |= {place: one} if options["decoding"] == greedy else {}
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
        caution=found.caution,
        prompt_tokens=generated.prompt_tokens,
        memory_vectors=said.num_vectors,
        answer_tokens=generated.answer_tokens,
        truncated=generated.truncated,
    )


class ClosedWorld:
    """What a reader does not know. Without a closed vocabulary it tells nothing."""

    def __init__(self, reader: Backbone) -> None:
        self.name, self._has_said = reader.name, False
        tokenizer: Tokenizer | None = getattr(reader.tokenizer, "backend_tokenizer", None)
        self._tokenizer = tokenizer if tokenizer is not None and is_closed(tokenizer) else None

    def find_caution(self, question: str, texts: Sequence[str], *, nearest: float | None) -> str | None:
        """Return why a question is outside the reader's world, or None; the first time, log it too.

        `texts` are of the items that were found, `nearest` is the highest cosine with a picture of theirs.
        """
        reason = None if self._tokenizer is None else _find_reason(self._tokenizer, question, texts, nearest)
        if reason is None:
            return None
        caution = (
            f"{reason}, but the reader {self.name} is a small model that knows only the words and pictures it was "
            "trained on. It answers with one of them all the same. Questions of another world need a real VLM "
            "(docs/recipes.md)"
        )
        if not self._has_said:
            log.warning("%s", caution)
            self._has_said = True
        return caution


def _find_reason(tokenizer: Tokenizer, question: str, texts: Sequence[str], nearest: float | None) -> str | None:
    asked = count_unknown_words(tokenizer, [question])
    if asked.num_unknown:
        return f"{question!r:.80} has words such as {', '.join(asked.shown)}"
    read = count_unknown_words(tokenizer, texts)
    if read.share > MOST_UNKNOWN:
        return f"the items that were found have words such as {', '.join(read.shown)}"
    if nearest is not None and nearest < LEAST_ALIKE:
        return f"no item looks like the picture (the nearest has a cosine of {nearest:.2f})"
    return None
