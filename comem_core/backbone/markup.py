"""How a chat template writes turns, in token ids: where the assistant's words stand, and what data may not hold.

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
    """Token ids of a template: `headers` that may stand before an assistant's words, the turn's `end`, a `newline`.

    `marks` are the texts that stand for turns and pictures.
    """

    headers: tuple[tuple[int, ...], ...]
    end: int
    newline: tuple[int, ...]
    marks: tuple[str, ...]

    def make_inert(self, text: str) -> str:
        """Take marks of turns and pictures out of data, or an item's text could forge a turn or claim a picture."""
        while any(mark in text for mark in self.marks):  # taking one out may put another together
            for mark in self.marks:
                text = text.replace(mark, "")
        return text

    def make_messages(self, conversation: Conversation) -> tuple[list[dict[str, Any]], list[bytes]]:
        """A conversation as chat templates take it, and its pictures in reading order."""
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
        """Mark what the assistant writes: from behind its header to its end token and the newline after it."""
        mask_BL = torch.zeros_like(ids_BL, dtype=torch.bool)
        for row, ids in enumerate(ids_BL.tolist()):
            for at in range(len(ids)):
                start = at + self._header_at(ids, at)
                if start > at and self.end in ids[start:]:
                    end = ids.index(self.end, start) + 1
                    end += len(self.newline) if tuple(ids[end : end + len(self.newline)]) == self.newline else 0
                    mask_BL[row, start:end] = True
        return mask_BL

    def _header_at(self, ids: list[int], at: int) -> int:
        """The length of the header that stands here, or 0."""
        for header in self.headers:
            if ids[at] == header[0] and tuple(ids[at : at + len(header)]) == header:
                return len(header)
        return 0

    def check(self, conversations: Sequence[Conversation], answer_BL: Tensor) -> None:
        """Compare the turns found with those that were written, or the wrong tokens would be trained on in silence.

        Raises:
            ValueError: the template writes the assistant's turns in another way than this markup says.
        """
        starts_BL = answer_BL & ~torch.cat([torch.zeros_like(answer_BL[:, :1]), answer_BL[:, :-1]], dim=1)
        for conversation, found in zip(conversations, starts_BL.sum(dim=1).tolist(), strict=True):
            written = sum(turn.role == "assistant" for turn in conversation)
            if found != written:
                raise ValueError(
                    f"found {found} turns of the assistant where a conversation has {written}: this model's chat "
                    "template writes turns in another way than its family does; use the family's own template"
                )


def make_chatml(tokenizer: Any, marks: Sequence[str]) -> Markup:
    """The markup of the Qwen models and others: `<|im_start|>assistant`, newline, words, `<|im_end|>`, newline.

    Raises:
        ValueError: the tokenizer does not know these marks.
    """
    if missing := [mark for mark in (TURN_START, TURN_END) if mark not in tokenizer.get_vocab()]:
        raise ValueError(f"this tokenizer has no {', '.join(missing)}, which its family's chat template writes")
    start, end = tokenizer.convert_tokens_to_ids([TURN_START, TURN_END])
    header = (start, *tokenize_text(tokenizer, "assistant\n"))
    return Markup((header,), end, tokenize_text(tokenizer, "\n"), (TURN_START, TURN_END, *marks))


def tokenize_text(tokenizer: Any, text: str) -> tuple[int, ...]:
    """Token ids of a text alone, without what a tokenizer would add around it."""
    return tuple(tokenizer(text, add_special_tokens=False)["input_ids"])
