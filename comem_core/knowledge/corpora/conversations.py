"""Lists of texts as training sets of vision-language models hold them: what they say of a picture, as one text.

Turns of conversations are LLaVA's (`from`, `value`) or those of chat models (`role`, `content`). Several captions of
one picture are a list of texts, as in Flickr30k. Independent of files.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Any

from comem_core.knowledge.corpora.columns import is_missing

ASSISTANT = ("gpt", "assistant", "model")
UNSAID = ("system",)
PICTURE = re.compile(r"\s*<(?:image|img)>\s*")


def join_turns(turns: Sequence[Any]) -> str:
    """Return the answer of a conversation with one, or else all its questions and answers; captions each on a line.

    The text is empty for a list of anything else.
    """
    if all(turn is None or isinstance(turn, str) for turn in turns):
        return "\n".join(dict.fromkeys(caption.strip() for caption in turns if not is_missing(caption)))
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
