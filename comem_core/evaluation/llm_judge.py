"""A language model as a judge: what it is asked about an answer, how its reply is read, and the marks that result.

It sees a question, the gold answers and the answer, and is asked for one word. Any other reply is unparsable: it is
counted, never guessed at. The model is any `Generator` that answers conversations.
"""

import json
import re
import string
import time
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib import resources
from typing import Any, Literal

from comem_core.backbone.conversation import Conversation, Generated, Turn
from comem_core.evaluation.answers import extract_word
from comem_core.evaluation.metrics import GoldAnswers
from comem_core.prompts import hash_prompt
from comem_core.prompts.files import read_prompt_file
from comem_core.synthesis.generator import Generator

PREFIX = "judge:"
"""The name of a judge's metric begins with this."""

FOLDER = "judge_prompts"
CORRECT, INCORRECT, UNPARSABLE = "correct", "incorrect", "unparsable"
Unparsable = Literal["left_out", "wrong"]
_AROUND_A_WORD = string.punctuation + string.whitespace


@dataclass(frozen=True, kw_only=True)
class JudgePrompts:
    """One way of asking a judge; `sha256` is a hash of its words.

    `correct` and `incorrect` are the words that the judge is asked to reply with; `within` is the wording of a gold
    answer that is a range of numbers.
    """

    name: str
    sha256: str
    version: str
    system: str
    instruction: str
    within: str
    correct: str
    incorrect: str

    def make_conversation(self, question: str, gold: GoldAnswers, answer: str) -> Conversation:
        """Ask whether an answer is right. The sample is JSON, so that an answer cannot be taken for an instruction."""
        right = [*dict.fromkeys(gold.answers)]
        if gold.answer_low is not None and gold.answer_high is not None:
            bounds = {"{low}": f"{gold.answer_low:g}", "{high}": f"{gold.answer_high:g}"}
            right.append(_fill_in(self.within, bounds))
        sample = {"question": question, "right answers": right, "answer to judge": answer}
        words = {"{sample}": json.dumps(sample, ensure_ascii=False, indent=1)}
        return [Turn("system", (self.system,)), Turn("user", (_fill_in(self.instruction, words),))]

    def read_verdict(self, reply: str) -> str:
        """Read a reply: one of the two words, in punctuation and markup; anything else is unparsable."""
        word = extract_word(reply).strip(_AROUND_A_WORD).casefold()
        return {self.correct: CORRECT, self.incorrect: INCORRECT}.get(word, UNPARSABLE)


@dataclass(frozen=True, kw_only=True)
class Judged:
    """One request to a judge: a conversation about an answer, and the predictions that gave this answer.

    `key` is a hash of everything that decides the reply.
    """

    key: str
    prediction_ids: list[str]
    answer: str
    conversation: Conversation


def judge_answers(
    generator: Generator, asked: Sequence[Judged], prompts: JudgePrompts, *, max_new_tokens: int
) -> list[dict[str, Any]]:
    """Ask a judge about answers, with greedy decoding; return rows of the table `judgement`.

    A row without a reply has an `error`.
    """
    started = time.perf_counter()
    replies = generator.answer([each.conversation for each in asked], max_new_tokens=max_new_tokens) if asked else []
    seconds = (time.perf_counter() - started) / max(1, len(asked))
    return [
        {
            "judge_key": each.key,
            "prediction_ids": each.prediction_ids,
            "judge": generator.name,
            "prompt_hash": hash_prompt(each.conversation),
            "answer": each.answer,
            "seconds": seconds,
        }
        | _describe_reply(reply, prompts)
        for each, reply in zip(asked, replies, strict=True)
    ]


def _describe_reply(reply: Generated, prompts: JudgePrompts) -> dict[str, Any]:
    failed = reply.error is not None
    return {
        "reply": None if failed else reply.text,
        "verdict": None if failed else prompts.read_verdict(reply.text),
        "error": reply.error,
        "prompt_tokens": reply.prompt_tokens,
        "answer_tokens": reply.answer_tokens,
        "truncated": reply.truncated,
    }


def map_verdicts(judgements: Iterable[Mapping[str, Any]]) -> dict[str, str | None]:
    """Map prediction ids to verdicts; None where the judge gave no reply."""
    return {name: row["verdict"] for row in judgements for name in row["prediction_ids"]}


def judge_marks(
    verdicts: Mapping[str, str | None], *, metric: str, unparsable: Unparsable = "left_out"
) -> list[dict[str, Any]]:
    """Turn verdicts into rows of the table `mark`.

    A prediction without a reply gets no mark; neither does one with an unparsable verdict, unless that counts as
    `wrong`.
    """
    counted = {CORRECT: 1.0, INCORRECT: 0.0} | ({UNPARSABLE: 0.0} if unparsable == "wrong" else {})
    return [
        {
            "prediction_id": prediction_id,
            "metric": metric,
            "value": counted[verdict],
            "unparsable": verdict == UNPARSABLE,
        }
        for prediction_id, verdict in verdicts.items()
        if verdict is not None and verdict in counted
    ]


@lru_cache
def read_judge_prompts(name: str) -> JudgePrompts:
    """Read a judge's prompts by name.

    Raises:
        ValueError: the name is unknown; the message lists the known ones.
    """
    folder = resources.files("comem_core.evaluation") / FOLDER
    return JudgePrompts(**read_prompt_file(folder, name, what="prompts of a judge"))


def _fill_in(words: str, values: Mapping[str, str]) -> str:
    """Replace each placeholder in `words` by its value; a placeholder inside a value stays as it is."""
    parts = re.split("(" + "|".join(re.escape(place) for place in values) + ")", words)
    return "".join(values.get(part, part) for part in parts)
