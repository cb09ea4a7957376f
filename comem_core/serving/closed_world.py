"""Tells once that a reader with a closed vocabulary, as the small model that ships has, is asked about another world.

Such a reader has one token for each word that it was trained on, and answers whatever it is asked with one of them.
"""

import logging
from collections.abc import Sequence

from tokenizers import Tokenizer

from comem_core.backbone.interface import Backbone
from comem_core.backbone.vocabulary import MOST_UNKNOWN, count_unknown_words, is_closed
from comem_core.serving.answers import Found

# By the small model's own embedding of pictures, 120 test questions about flags have an item of 0.605 or more, and
# photographs have none above 0.4; drawings of few colours lie between.
LEAST_ALIKE = 0.6
log = logging.getLogger("comem.serving")


class ClosedWorld:
    """What a reader does not know. Without a closed vocabulary it tells nothing."""

    def __init__(self, reader: Backbone) -> None:
        self.name = reader.name
        tokenizer: Tokenizer | None = getattr(reader.tokenizer, "backend_tokenizer", None)
        self._tokenizer = tokenizer if tokenizer is not None and is_closed(tokenizer) else None

    def say_once(self, found: Sequence[Found], *, by_picture: bool) -> None:
        """Log, once, why one of these questions is outside the reader's world."""
        reason = None if self._tokenizer is None else self._find_reason(found, self._tokenizer, by_picture)
        if reason is not None:
            self._tokenizer = None
            log.warning(
                "%s, but the reader %s is a small model that knows only the words and pictures it was trained on. It "
                "answers with one of them all the same. Questions of another world need a real VLM (docs/recipes.md)",
                *(reason, self.name),
            )

    def _find_reason(self, found: Sequence[Found], tokenizer: Tokenizer, by_picture: bool) -> str | None:
        for each in found:
            asked = count_unknown_words(tokenizer, [each.question.question])
            if asked.num_unknown:
                return f"{each.question.question!r:.80} has words such as {', '.join(asked.shown)}"
            texts = count_unknown_words(tokenizer, [item.text for item in each.items])
            if texts.share > MOST_UNKNOWN:
                return f"the items that were found have words such as {', '.join(texts.shown)}"
            score = each.items[0].score if each.items and by_picture else None
            if score is not None and score < LEAST_ALIKE:
                return f"no item looks like the picture (the nearest has a cosine of {score:.2f})"
        return None
