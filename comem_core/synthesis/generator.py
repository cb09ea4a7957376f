"""The interface to the model that writes: a `Backbone` implements it, and so does a model behind an address."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from comem_core.backbone.conversation import Conversation, Generated
from comem_core.backbone.decoding import GREEDY, Decoding
from comem_core.backbone.images import VisualTokens

BACKBONE, SERVED, VLLM = "backbone", "served:", "vllm"
EXPECTED = f"{BACKBONE!r}, '{SERVED}<model>', {VLLM!r} or '{VLLM}:<model>'"


@dataclass(frozen=True)
class GeneratorName:
    """What a recipe's `generator` names: `backbone`, the reader itself; `served:<model>`, a model behind an address; or
    `vllm:<model>`, a model that a run serves itself with vLLM. `vllm` alone serves the backbone (`model` is None).
    """

    kind: Literal["backbone", "served", "vllm"]
    model: str | None = None


def read_generator_name(generator: str) -> GeneratorName:
    """Read a recipe's `generator`. Raises ValueError for what is none of the three kinds."""
    if generator in (BACKBONE, VLLM):
        return GeneratorName(generator)
    if model := _read_model(generator, SERVED):
        return GeneratorName("served", model)
    model = _read_model(generator, f"{VLLM}:")
    if model.startswith(("http://", "https://")):
        raise ValueError(
            f"generator {generator!r} names an address, but '{VLLM}:<model>' names a model that the run serves itself. "
            f"For a server that runs already: '{SERVED}<model>', with its address in COMEM_SERVED_URL (writing) or "
            "COMEM_JUDGE_URL (judge)"
        )
    if not model:
        raise ValueError(f"generator {generator!r}; expected {EXPECTED}")
    return GeneratorName("vllm", model)


def _read_model(generator: str, prefix: str) -> str:
    return generator.removeprefix(prefix).strip() if generator.startswith(prefix) else ""


class ServerGone(ConnectionError):
    """The server no longer answers; its earlier answers are kept."""


class Generator(Protocol):
    """Answers conversations, each independently of the others in its batch."""

    @property
    def name(self) -> str: ...

    def answer(
        self,
        conversations: Sequence[Conversation],
        *,
        max_new_tokens: int,
        decoding: Decoding = GREEDY,
        visual_tokens: VisualTokens | None = None,
    ) -> list[Generated]:
        """Return one answer per conversation, in order; if an answer is missing, its `error` says why."""
        ...
