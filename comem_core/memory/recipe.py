"""The shape of an encoder and what it reads, as plain values that need no torch."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Annotated, Any, Literal

from comem_core.backbone.images import VisualTokens
from comem_core.neutral import OFF_AT_FALSE, OFF_AT_NONE, is_off, off_at
from comem_core.ranges import NoneOrMore, OneOrMore, Range
from comem_core.stated_fields import refuse_unknown


@dataclass(frozen=True, kw_only=True)
class EncoderRecipe:
    """The encoder's shape and what it reads. Defaults are the paper's (section 3, reference code), for d = 3584."""

    version: str = "2026.11.1"
    lora_rank: OneOrMore = 16
    lora_alpha: OneOrMore = 32
    lora_dropout: Annotated[float, Range(0, 1, below=True)] = field(default=0.05, metadata=off_at(0.0))
    num_vectors: OneOrMore = 8
    num_rounds: Annotated[int, Range(1, 1000)] = 8
    num_heads: OneOrMore = 16
    prompts: str = "short"
    # Visual tokens of an item's and of a question's picture; None: the backbone's own processor decides.
    item_visual_tokens: VisualTokens | None = field(default=None, metadata=OFF_AT_NONE)
    query_visual_tokens: VisualTokens | None = field(default=None, metadata=OFF_AT_NONE)
    # Start the memory at the norm of token embeddings instead of sqrt(D), which is far larger.
    match_embedding_norm: bool = field(default=False, metadata=OFF_AT_FALSE)
    # Start the Q-Former near the identity (see `QFormerRecipe.copying_start`).
    copying_start: bool = field(default=False, metadata=OFF_AT_FALSE)
    # Ours: the Q-Former reads the sum of an item's last hidden states and its token embeddings, both at unit RMS. A
    # token's last hidden state predicts the next token, and in a small model it retains little of the token itself.
    reads_embeddings: bool = field(default=False, metadata=OFF_AT_FALSE)
    # Ours: with each token the Q-Former reads its place among those that are worth remembering (`qformer.Counter`).
    reads_counts: bool = field(default=False, metadata=OFF_AT_FALSE)
    seed: NoneOrMore = 0

    def list_asking_options(self) -> dict[str, Any]:
        """Return the options that are on and may decide an answer without memory, by name.

        These are all but `MEMORY_OPTIONS`, so a new option is among them until somebody shows that it need not be.
        """
        values = {each.name: (each, getattr(self, each.name)) for each in fields(self)}
        return {
            name: value
            for name, (each, value) in values.items()
            if name not in MEMORY_OPTIONS and not is_off(each, value)
        }


SHAPE = ("num_vectors", "lora_rank", "lora_alpha", "num_heads", "num_rounds", "reads_embeddings", "reads_counts")
"""The options that decide which encoder's weights fit."""

MEMORY_OPTIONS = frozenset({
    "version", "lora_rank", "lora_alpha", "lora_dropout", "num_vectors", "num_rounds", "num_heads", "prompts",
    "item_visual_tokens", "match_embedding_norm", "copying_start", "reads_embeddings", "reads_counts", "seed",
})  # fmt: skip
"""The options of an encoder on which an answer without memory does not depend."""


def read_recipe(stated: Mapping[str, Any], *, where: str) -> EncoderRecipe:
    """Read an encoder's recipe from its description. Fields that an early version did not have take their defaults.

    Raises:
        ValueError: a field is unknown, of the wrong type or out of its range; the message names it.
    """
    refuse_unknown(stated, EncoderRecipe, where=f"the recipe in {where}", optional=True)
    values = dict(stated)
    for name in ("item_visual_tokens", "query_visual_tokens"):
        if (value := values.get(name)) is not None:
            refuse_unknown(value, VisualTokens, where=f"{name} in {where}")
            values[name] = VisualTokens(**value)
    return EncoderRecipe(**values)


def refuse_other_sizes(recipe: EncoderRecipe, shapes: Mapping[str, Sequence[int]], *, where: str) -> None:
    """Compare the sizes in a recipe with the weights beside it, before memory of these sizes is asked for.

    Raises:
        ValueError: a size is another one; the message names it.
    """
    latents = shapes.get("qformer.latents_MD", ())
    sizes = {"num_vectors": {*latents[:1]}, "lora_rank": {each[0] for name, each in shapes.items() if "lora_A" in name}}
    for name, found in sizes.items():
        if name == "lora_rank" and not found:  # the weights of a merged encoder
            continue
        if found != {getattr(recipe, name)}:
            there = ", ".join(map(str, sorted(found))) or "none"
            raise ValueError(
                f"{name!r} in the recipe in {where} is {getattr(recipe, name)}, but its weights have {there}; copy the "
                "folder again from where it was saved"
            )


@dataclass(frozen=True, kw_only=True)
class BankRecipe:
    """How the memories of a bank are stored: in 8 bit with a scale for each vector, or as floating numbers (None: of
    the backbone's type). In 8 bit the shipped encoder answers as well (docs/memory.md)."""

    number_type: Literal["int8", "bfloat16", "float16", "float32"] | None = "int8"


def list_other_shape(has: EncoderRecipe, wanted: EncoderRecipe) -> list[tuple[str, Any, Any]]:
    """List by which options the weights of one encoder do not fit another: name, what one has, what is wanted."""
    values = [(name, getattr(has, name), getattr(wanted, name)) for name in SHAPE]
    return [(name, one, other) for name, one, other in values if one != other]
