"""Counts the words of texts that a model with a closed vocabulary does not know: they are split into bytes."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

TOKENIZER_FILE = "tokenizer.json"
WORD = re.compile(r"[^\W\d_]{2,}")
NUM_SHOWN = 5


@dataclass(frozen=True, kw_only=True)
class UnknownWords:
    """How many words were read, how many of them the model does not know, and the first few of those."""

    num_words: int
    num_unknown: int
    shown: tuple[str, ...]

    @property
    def share(self) -> float:
        return self.num_unknown / self.num_words if self.num_words else 0.0


def count_unknown_words(folder: Path, texts: Iterable[str]) -> UnknownWords | None:
    """Count the words (of two letters or more) of texts that a model's tokenizer writes as single bytes.

    None if the vocabulary in `folder` is not closed: a tokenizer with merges makes any word of parts that it knows.
    """
    path = folder / TOKENIZER_FILE
    if not path.is_file():
        return None
    model = json.loads(path.read_text(encoding="utf-8")).get("model", {})
    if model.get("type") != "BPE" or model.get("merges"):
        return None
    tokenizer, unknown, num_words = Tokenizer.from_file(str(path)), [], 0
    for text in texts:
        encoding = tokenizer.encode(text, add_special_tokens=False)
        places = {at for (at, _), token in zip(encoding.offsets, encoding.tokens, strict=True) if len(token) == 1}
        for word in WORD.finditer(text):
            num_words += 1
            if not places.isdisjoint(range(*word.span())):
                unknown.append(word[0])
    shown = tuple(dict.fromkeys(unknown))[:NUM_SHOWN]
    return UnknownWords(num_words=num_words, num_unknown=len(unknown), shown=shown)
