"""How the next token is chosen: greedily, or by sampling. Plain values; `sampling` makes transformers follow them."""

from dataclasses import dataclass


@dataclass(frozen=True, kw_only=True)
class Decoding:
    """How to decode: greedily at temperature 0, else by sampling.

    `repetition_penalty` counts generated tokens only: a prompt of vectors has no tokens. A sampled answer depends on
    `seed` and its own prompt, never on global random state or on the rest of the batch.

    Raises:
        ValueError: a value is outside its range, or has no effect because decoding is greedy.
    """

    temperature: float = 0.0
    top_p: float = 1.0
    repetition_penalty: float = 1.0
    seed: int = 0

    def __post_init__(self) -> None:
        if self.temperature < 0 or not 0 < self.top_p <= 1 or self.repetition_penalty <= 0:
            raise ValueError(
                f"decoding with temperature {self.temperature}, top_p {self.top_p}, repetition_penalty "
                f"{self.repetition_penalty}; expected temperature >= 0, 0 < top_p <= 1, repetition_penalty > 0"
            )
        if self.temperature == 0 and self.top_p < 1:
            raise ValueError(f"top_p {self.top_p} has no effect at temperature 0; give a temperature above 0")


GREEDY = Decoding()
