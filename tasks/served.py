"""Served models that write data or judge answers: behind an address of the context, or served by the run itself."""

from dataclasses import dataclass
from pathlib import PurePath
from typing import TYPE_CHECKING, Literal

from comem_core.recipes.engine import VLLM, EngineRecipe
from comem_core.recipes.recipe import JudgeRecipe, SynthesisRecipe
from comem_core.synthesis.generator import read_generator_name
from tasks.engine.context import Context
from tasks.engine.store import Reference

if TYPE_CHECKING:
    from comem_core.serving.vllm.server import VllmServer
    from comem_core.synthesis.served import ServedModel


Role = Literal["served", "judge"]
"""The settings that have a served model's address and key: of the writer, or of the judge."""


@dataclass(frozen=True, kw_only=True)
class ServedHere:
    """A model that the run serves itself (`vllm:<model>`). `identity` names its weights and vLLM's version."""

    model: str
    version: str
    identity: Reference
    further: tuple[str, ...] = ()
    """Further arguments of vLLM's server."""

    @property
    def served_name(self) -> str:
        """The model's name in requests: of a folder, only the last part."""
        return PurePath(self.model).name if PurePath(self.model).is_absolute() else self.model

    @property
    def name(self) -> str:
        """The name that rows are recorded with."""
        return f"{VLLM}:{self.served_name}@{self.version}"


def make_client(served: ServedHere, context: Context, *, role: Role) -> "ServedModel":
    """Return the client of a model that the run serves, at the addresses that the stage's engines gave the context."""
    return _make_client(served.served_name, context, role=role, name=served.name, pictures=role == "served")


def find_served_model(recipe: SynthesisRecipe, context: Context) -> "ServedModel | None":
    """Return the recipe's served model at the context's address, or None where another kind of generator writes.

    Raises ValueError if a served model is named but the context has no address for it.
    """
    return _find_served(recipe.generator, context, role="served", purpose="this recipe's data are written")


def find_served_judge(recipe: JudgeRecipe, context: Context) -> "ServedModel | None":
    """Return the judge at the context's address for judges, or None where another kind of generator judges.

    Raises ValueError if a served judge is named but the context has no address for it.
    """
    return _find_served(recipe.generator, context, role="judge", purpose="answers are to be judged", pictures=False)


def find_engine(recipe: EngineRecipe, context: Context) -> "VllmServer":
    """Return the client of the engine that runs the backbone where it answers."""
    from comem_core.serving.vllm.server import VllmServer  # as below: its client takes most of a second

    return VllmServer(
        recipe.url,
        key=context.vllm_key,
        concurrency=context.served_concurrency,
        timeout_seconds=context.served_timeout_seconds,
    )


def _find_served(
    generator: str, context: Context, *, role: Role, purpose: str, pictures: bool = True
) -> "ServedModel | None":
    """Return the served model with the address and the key that the context has for a role."""
    named = read_generator_name(generator)
    if named.kind != "served":
        return None
    assert named.model is not None
    if not getattr(context, f"{role}_url"):
        setting = f"COMEM_{role.upper()}"
        raise ValueError(
            f"{purpose} by the served model {named.model!r}: set {setting}_URL to the address of its OpenAI-compatible "
            f"server, up to /v1 (and {setting}_KEY where it asks for a key)"
        )
    return _make_client(named.model, context, role=role, pictures=pictures)


def _make_client(
    model: str, context: Context, *, role: Role, name: str | None = None, pictures: bool = True
) -> "ServedModel":
    # Importing its client, openai, takes most of a second, so only workers that ask a served model do it.
    from comem_core.synthesis.served import ServedModel

    return ServedModel(
        model,
        name=name,
        url=getattr(context, f"{role}_url"),
        key=getattr(context, f"{role}_key"),
        concurrency=context.served_concurrency,
        timeout_seconds=context.served_timeout_seconds,
        pictures=pictures,
    )


def check_served(recipe: SynthesisRecipe, context: Context) -> None:
    """Ask the recipe's served model, if it has one, a cheap question, to find faults before work starts.

    Raises ValueError or ConnectionError that says what is wrong with the address, the key or the model.
    """
    if model := find_served_model(recipe, context):
        model.check()
