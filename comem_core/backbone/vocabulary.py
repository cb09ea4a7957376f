"""Counts the words of texts that a model with a closed vocabulary does not know: they are split into bytes."""

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from tokenizers import Tokenizer

TOKENIZER_FILE = "tokenizer.json"
MOST_UNKNOWN = 0.2  # the share of words above which texts are of another world than the model's
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


def read_closed_tokenizer(folder: Path) -> Tokenizer | None:
    """Read the tokenizer of the model in `folder`; None if it has none, or its vocabulary is not closed."""
    path = folder / TOKENIZER_FILE
    tokenizer = Tokenizer.from_file(str(path)) if path.is_file() else None
    return tokenizer if tokenizer is not None and is_closed(tokenizer) else None


def is_closed(tokenizer: Tokenizer) -> bool:
    """Tell whether a vocabulary is closed: a tokenizer with merges makes any word of parts that it knows."""
    model = json.loads(tokenizer.to_str()).get("model", {})
    return model.get("type") == "BPE" and not model.get("merges")


def count_unknown_words(tokenizer: Tokenizer, texts: Iterable[str]) -> UnknownWords:
    """Count the words (of two letters or more) of texts that a tokenizer with a closed vocabulary writes as bytes."""
    unknown, num_words = [], 0
    for text in texts:
        encoding = tokenizer.encode(text, add_special_tokens=False)
        places = {at for (at, _), token in zip(encoding.offsets, encoding.tokens, strict=True) if len(token) == 1}
        for word in WORD.finditer(text):
            num_words += 1
            if not places.isdisjoint(range(*word.span())):
                unknown.append(word[0])
    shown = tuple(dict.fromkeys(unknown))[:NUM_SHOWN]
    return UnknownWords(num_words=num_words, num_unknown=len(unknown), shown=shown)
