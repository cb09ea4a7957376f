"""Extracts the short answer that is scored from the text that a model wrote, without gold answers or metrics.

An answer that cannot be found is the empty string: it is scored as wrong and counted as unparsable, never guessed.
"""

from typing import Literal, get_args

ExtractionMethod = Literal["first_line", "boxed"]

_BOX = "\\boxed{"


def find_first_line(text: str) -> str:
    """Return the first line that is not blank, stripped; empty when there is none."""
    return next((line.strip() for line in text.splitlines() if line.strip()), "")


def find_boxed(text: str) -> str:
    """Return the content of the last closed `\\boxed{...}`, inner braces included; empty when there is none.

    The last one counts because a model that reasons may try an answer before it gives its final one. CoMEM's authors
    take the first box and stop at its first closing brace, which breaks on nested braces.
    """
    start = text.rfind(_BOX)
    while start >= 0:
        content = _until_closing_brace(text, start + len(_BOX))
        if content is not None:
            return content.strip()
        start = text.rfind(_BOX, 0, start)
    return ""


def extract_answer(text: str, *, method: ExtractionMethod = "first_line") -> str:
    """Find the short answer in generated text; empty when the text has none (the answer then counts as unparsable).

    `first_line` suits models that are asked for a short answer, `boxed` those that are asked to reason first. `boxed`
    does not fall back to the first line: a model that never closed its box, or was cut off before it, gave no answer.
    """
    if method == "first_line":
        return find_first_line(text)
    if method == "boxed":
        return find_first_line(find_boxed(text))
    allowed = ", ".join(get_args(ExtractionMethod))
    raise ValueError(f"unknown way to extract an answer: {method!r}; allowed are {allowed}")


def _until_closing_brace(text: str, start: int) -> str | None:
    depth = 1
    for place in range(start, len(text)):
        depth += {"{": 1, "}": -1}.get(text[place], 0)
        if depth == 0:
            return text[start:place]
    return None
