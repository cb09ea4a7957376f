"""Served models: which recipes let one write data or judge answers, and at which address the context finds it."""

from typing import TYPE_CHECKING, Literal

from comem_core.recipes.engine import EngineRecipe
from comem_core.recipes.recipe import JudgeRecipe, SynthesisRecipe
from comem_core.synthesis.generator import BACKBONE, SERVED
from tasks.engine.context import Context

if TYPE_CHECKING:
    from comem_core.serving.vllm.server import VllmServer
    from comem_core.synthesis.served import ServedModel


def name_served_model(generator: str) -> str | None:
    """Return the name of the served model that a recipe's `generator` gives, or None if it is the backbone.

    Raises ValueError for anything else.
    """
    if generator == BACKBONE:
        return None
    name = generator.removeprefix(SERVED)
    if not name or name == generator:
        raise ValueError(f"generator {generator!r}; expected {BACKBONE!r} or '{SERVED}<model>'")
    return name


def find_served_model(recipe: SynthesisRecipe, context: Context) -> "ServedModel | None":
    """Return the recipe's served model at the context's address, or None where the backbone writes.

    Raises ValueError if a served model is named but the context has no address for it.
    """
    return _find_served(recipe.generator, context, role="served", purpose="this recipe's data are written")


def find_served_judge(recipe: JudgeRecipe, context: Context) -> "ServedModel | None":
    """Return the judge at the context's address for judges, or None where the backbone judges.

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
    generator: str, context: Context, *, role: Literal["served", "judge"], purpose: str, pictures: bool = True
) -> "ServedModel | None":
    """Return the served model with the address and the key that the context has for a role."""
    name, url = name_served_model(generator), getattr(context, f"{role}_url")
    if name is None:
        return None
    if not url:
        setting = f"COMEM_{role.upper()}"
        raise ValueError(
            f"{purpose} by the served model {name!r}: set {setting}_URL to the address of its OpenAI-compatible "
            f"server, up to /v1 (and {setting}_KEY where it asks for a key)"
        )
    # Importing its client, openai, takes most of a second, so only workers that ask a served model do it.
    from comem_core.synthesis.served import ServedModel

    return ServedModel(
        name,
        url=url,
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
