"""Which recipes let a served model write their data or judge answers, and whether this place can reach it."""

from comem_core.recipes.recipe import JudgeRecipe, SynthesisRecipe
from comem_core.synthesis.generator import BACKBONE, SERVED
from comem_core.synthesis.served import ServedModel
from tasks.context import Context


def served_name(generator: str) -> str | None:
    """Name the served model of a recipe's generator or judge, or None for the backbone.

    Raises ValueError for what is neither.
    """
    if generator == BACKBONE:
        return None
    name = generator.removeprefix(SERVED)
    if not name or name == generator:
        raise ValueError(f"generator {generator!r}; expected {BACKBONE!r} or '{SERVED}<model>'")
    return name


def served_model(recipe: SynthesisRecipe, context: Context) -> ServedModel | None:
    """Return the recipe's served model at the context's address, or None where the backbone writes.

    Raises ValueError where a served model is named and the context has no address.
    """
    name = served_name(recipe.generator)
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


def served_judge(recipe: JudgeRecipe, context: Context) -> ServedModel | None:
    """Return the judge at the context's address for judges, or None where the backbone judges.

    Raises ValueError where a served judge is named and the context has no address for it.
    """
    name = served_name(recipe.generator)
    if name is None:
        return None
    if not context.judge_url:
        raise ValueError(
            f"answers are to be judged by the served model {name!r}: set COMEM_JUDGE_URL to the address of its "
            "OpenAI-compatible server, up to /v1 (and COMEM_JUDGE_KEY where it asks for a key)"
        )
    return ServedModel(
        name,
        url=context.judge_url,
        key=context.judge_key,
        concurrency=context.served_concurrency,
        timeout_seconds=context.served_timeout_seconds,
        pictures=False,
    )


def check_served(recipe: SynthesisRecipe, context: Context) -> None:
    """Ask the recipe's served model, where there is one, a cheap question: what is wrong is found before work starts.

    Raises ValueError or ConnectionError that says what is wrong with address, key or model.
    """
    if model := served_model(recipe, context):
        model.check()
