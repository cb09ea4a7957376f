"""How a chat template marks turns in token ids: where the assistant's words are, and which marks data may not contain.

Shapes: B conversations, L tokens of the longest one.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from comem_core.backbone.conversation import Conversation

TURN_START, TURN_END = "<|im_start|>", "<|im_end|>"


@dataclass(frozen=True)
class Markup:
    """Token ids of a template: the `headers` that may open an assistant's turn, the turn's `end`, and a `newline`.

    `marks` are the strings that mark turns and pictures.
    """

    headers: tuple[tuple[int, ...], ...]
    end: int
    newline: tuple[int, ...]
    marks: tuple[str, ...]

    def make_inert(self, text: str) -> str:
        """Remove the marks of turns and pictures from data, so that an item's text cannot forge a turn or a picture."""
        while any(mark in text for mark in self.marks):  # removing one may form another
            for mark in self.marks:
                text = text.replace(mark, "")
        return text

    def make_messages(self, conversation: Conversation) -> tuple[list[dict[str, Any]], list[bytes]]:
        """Return a conversation in the form that chat templates take, and its pictures in reading order."""
        messages, images = [], []
        for turn in conversation:
            images += [part for part in turn.content if isinstance(part, bytes)]
            content = [
                {"type": "image"} if isinstance(part, bytes) else {"type": "text", "text": self.make_inert(part)}
                for part in turn.content
            ]
            messages.append({"role": turn.role, "content": content})
        return messages, images

    def answer_mask(self, ids_BL: Tensor) -> Tensor:
        """Mark the assistant's tokens: from after its header up to its end token and the newline that follows."""
        mask_BL = torch.zeros_like(ids_BL, dtype=torch.bool)
        for row, ids in enumerate(ids_BL.tolist()):
            for at in range(len(ids)):
                start = at + self._measure_header(ids, at)
                if start > at and self.end in ids[start:]:
                    end = ids.index(self.end, start) + 1
                    end += len(self.newline) if tuple(ids[end : end + len(self.newline)]) == self.newline else 0
                    mask_BL[row, start:end] = True
        return mask_BL

    def _measure_header(self, ids: list[int], at: int) -> int:
        """Return the length of the header that begins at `at`, or 0 if there is none."""
        for header in self.headers:
            if ids[at] == header[0] and tuple(ids[at : at + len(header)]) == header:
                return len(header)
        return 0

    def check(self, conversations: Sequence[Conversation], answer_BL: Tensor) -> None:
        """Check that every assistant turn was found; otherwise the wrong tokens would be trained on unnoticed.

        Raises:
            ValueError: the template writes the assistant's turns differently from this markup.
        """
        starts_BL = answer_BL & ~torch.cat([torch.zeros_like(answer_BL[:, :1]), answer_BL[:, :-1]], dim=1)
        for conversation, found in zip(conversations, starts_BL.sum(dim=1).tolist(), strict=True):
            written = sum(turn.role == "assistant" for turn in conversation)
            if found != written:
                raise ValueError(
                    f"found {found} turns of the assistant where a conversation has {written}: this model's chat "
                    "template writes turns differently from its family; use the family's own template"
                )


def make_chatml(tokenizer: Any, marks: Sequence[str]) -> Markup:
    """Make the markup of ChatML (Qwen and others): `<|im_start|>assistant`, newline, words, `<|im_end|>`, newline.

    Raises:
        ValueError: the tokenizer lacks these marks.
    """
    if missing := [mark for mark in (TURN_START, TURN_END) if mark not in tokenizer.get_vocab()]:
        raise ValueError(f"this tokenizer has no {', '.join(missing)}, which its family's chat template writes")
    start, end = tokenizer.convert_tokens_to_ids([TURN_START, TURN_END])
    header = (start, *tokenize_text(tokenizer, "assistant\n"))
    return Markup((header,), end, tokenize_text(tokenizer, "\n"), (TURN_START, TURN_END, *marks))


def tokenize_text(tokenizer: Any, text: str) -> tuple[int, ...]:
    """Return the token ids of a text, without the special tokens that a tokenizer adds."""
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
