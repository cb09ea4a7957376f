"""Which recipes let a served model write their data, and whether this place can reach it."""

from comem_core.recipes.recipe import SynthesisRecipe
from comem_core.synthesis.served import ServedModel
from tasks.context import Context

BACKBONE, SERVED = "backbone", "served:"


def served_name(recipe: SynthesisRecipe) -> str | None:
    """Name the served model of a recipe, or None where the backbone writes.

    Raises ValueError for a generator that is neither.
    """
    if recipe.generator == BACKBONE:
        return None
    name = recipe.generator.removeprefix(SERVED)
    if not name or name == recipe.generator:
        raise ValueError(f"generator {recipe.generator!r}; expected {BACKBONE!r} or '{SERVED}<model>'")
    return name


def served_model(recipe: SynthesisRecipe, context: Context) -> ServedModel | None:
    """Return the recipe's served model at the context's address, or None where the backbone writes.

    Raises ValueError where a served model is named and the context has no address.
    """
    name = served_name(recipe)
    if name is None:
        return None
    if not context.served_url:
        raise ValueError(
            f"this recipe's data are written by the served model {name!r}: set COMEM_SERVED_URL to the address of its "
            "OpenAI-compatible server, up to /v1 (and COMEM_SERVED_KEY where it asks for a key)"
        )
    return ServedModel(
        name,
        url=context.served_url,
        key=context.served_key,
        concurrency=context.served_concurrency,
        timeout_seconds=context.served_timeout_seconds,
    )


def check_served(recipe: SynthesisRecipe, context: Context) -> None:
    """Ask the recipe's served model, where there is one, a cheap question: what is wrong is found before work starts.

    Raises ValueError or ConnectionError that says what is wrong with address, key or model.
    """
    if model := served_model(recipe, context):
        model.check()
