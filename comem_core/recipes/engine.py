"""The program that runs a reader where a benchmark is answered, if that is not this library."""

from dataclasses import dataclass

VLLM = "vllm"


@dataclass(frozen=True, kw_only=True)
class EngineRecipe:
    """Another program that runs the backbone where a benchmark is answered: vLLM at an address (docs/vllm.md).

    The engine and its version are in the name of an answer. `url` only says where it runs.
    """

    url: str
    name: str = VLLM

    def __post_init__(self) -> None:
        """Refuse what is not an address. Raises ValueError that says what was expected."""
        if not self.url.startswith(("http://", "https://")):
            raise ValueError(
                f"found '{VLLM}:{self.url}'; expected {VLLM}:<address>, such as {VLLM}:http://127.0.0.1:8000"
            )
