"""How the next token is chosen: greedily, or by sampling. Plain values; `sampling` makes transformers follow them."""

from collections.abc import Iterable
from dataclasses import dataclass, replace


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How to decode: greedily at temperature 0, else by sampling.

    `repetition_penalty` counts generated tokens only: a prompt of vectors has no tokens. A sampled answer depends on
    `seed` and its own prompt, never on global random state or on the rest of the batch. An answer ends before the first
    of the texts `stop` that is written.

    Raises:
        ValueError: a value is outside its range, or has no effect because decoding is greedy.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int = 0
    stop: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.temperature < 0 or not 0 < self.top_p <= 1 or self.repetition_penalty <= 0:
            raise ValueError(
                f"decoding with temperature {self.temperature}, top_p {self.top_p}, repetition_penalty "
                f"{self.repetition_penalty}; expected temperature >= 0, 0 < top_p <= 1, repetition_penalty > 0"
            )
        if self.temperature == 0 and self.top_p < 1:
            raise ValueError(f"top_p {self.top_p} has no effect at temperature 0; give a temperature above 0")
        if not all(self.stop):
            raise ValueError(f"stop has an empty text ({self.stop!r}), which would end every answer; leave it out")

    def make_greedy(self) -> "Decoding":
        """Return the greedy decoding that ends where this one does."""
        return Decoding(repetition_penalty=self.repetition_penalty, seed=self.seed, stop=self.stop)

    def stop_also_at(self, texts: Iterable[str]) -> "Decoding":
        """Return a decoding that ends at these texts too."""
        return replace(self, stop=tuple(dict.fromkeys((*self.stop, *texts))))

    def cut(self, text: str) -> str | None:
        """Return the text before the first of `stop`; None if it has none of them."""
        ends = [place for each in self.stop if (place := text.find(each)) >= 0]
        return text[: min(ends)] if ends else None


GREEDY = Decoding()
