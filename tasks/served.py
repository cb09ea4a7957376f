"""Which recipes let a served model write their data or judge answers, and whether this place can reach it."""

from typing import TYPE_CHECKING, Literal

from comem_core.recipes.recipe import JudgeRecipe, SynthesisRecipe
from comem_core.synthesis.generator import BACKBONE, SERVED
from tasks.engine.context import Context

if TYPE_CHECKING:
    from comem_core.synthesis.served import ServedModel


def name_served_model(generator: str) -> str | None:
    """Name the served model of a recipe's generator or judge, or None for the backbone.

    Raises ValueError for what is neither.
    """
    if generator == BACKBONE:
        return None
    name = generator.removeprefix(SERVED)
    if not name or name == generator:
        raise ValueError(f"generator {generator!r}; expected {BACKBONE!r} or '{SERVED}<model>'")
    return name


def find_served_model(recipe: SynthesisRecipe, context: Context) -> "ServedModel | None":
    """Return the recipe's served model at the context's address, or None where the backbone writes.

    Raises ValueError where a served model is named and the context has no address.
    """
    return _served(recipe.generator, context, role="served", purpose="this recipe's data are written")


def find_served_judge(recipe: JudgeRecipe, context: Context) -> "ServedModel | None":
    """Return the judge at the context's address for judges, or None where the backbone judges.

    Raises ValueError where a served judge is named and the context has no address for it.
    """
    return _served(recipe.generator, context, role="judge", purpose="answers are to be judged", pictures=False)


def _served(
    generator: str, context: Context, *, role: Literal["served", "judge"], purpose: str, pictures: bool = True
) -> "ServedModel | None":
    """Return the model at the address and with the key that the context has for a role."""
    name, url = name_served_model(generator), getattr(context, f"{role}_url")
    if name is None:
        return None
    if not url:
        setting = f"COMEM_{role.upper()}"
        raise ValueError(
            f"{purpose} by the served model {name!r}: set {setting}_URL to the address of its OpenAI-compatible "
            f"server, up to /v1 (and {setting}_KEY where it asks for a key)"
        )
    # Its client, openai, takes most of a second to import: only workers that ask a served model pay for it.
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
    """Ask the recipe's served model, where there is one, a cheap question: what is wrong is found before work starts.

    Raises ValueError or ConnectionError that says what is wrong with address, key or model.
    """
    if model := find_served_model(recipe, context):
        model.check()
