"""Conversations as training sets of vision-language models hold them: what they say of a picture, as a text.

Turns are LLaVA's (`from`, `value`) or those of chat models (`role`, `content`). Independent of files.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

ASSISTANT = ("gpt", "assistant", "model")
UNSAID = ("system",)
PICTURE = re.compile(r"\s*<(?:image|img)>\s*")


def join_turns(turns: Sequence[Any]) -> str:
    """Return the answer of a conversation with one, or else all its questions and answers; empty for another list."""
    said = [_read_turn(turn) for turn in turns]
    if any(not words for _, words in said):
        return ""
    spoken = [(who, PICTURE.sub(" ", words).strip()) for who, words in said if who not in UNSAID]
    answers = [words for who, words in spoken if who in ASSISTANT]
    return answers[0] if len(answers) == 1 else "\n".join(words for _, words in spoken if words) if answers else ""


def _read_turn(turn: Any) -> tuple[str, str]:
    if not isinstance(turn, Mapping):
        return "", ""
    who, words = turn.get("from") or turn.get("role"), turn.get("value") or turn.get("content")
    if isinstance(words, list):
        words = " ".join(
            part["text"] for part in words if isinstance(part, Mapping) and isinstance(part.get("text"), str)
        )
    return (who, words) if isinstance(who, str) and isinstance(words, str) else ("", "")
