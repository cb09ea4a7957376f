"""Checks that the prompt sets of a recipe's parts exist, serve the recipe's languages, and read answers alike."""

from comem_core.prompts import read_prompt_set
from comem_core.recipes.recipe import Recipe
from comem_core.synthesis.translation import check_languages, read_translation_prompts


def check_prompts(recipe: Recipe) -> None:
    """Check that what is written and translated can be trained on, and asked as it was trained.

    Raises:
        ValueError: a set does not exist, does not serve a language that is translated into, or trains short answers
            where the evaluation expects a box (or the other way round); or a language cannot be named.
    """
    names = {
        "synthesis.prompts": recipe.synthesis.prompts,
        "training.encoder.prompts": recipe.training.encoder.prompts,
        "evaluation.prompts": recipe.evaluation.prompts,
    }
    sets = {}
    for field, name in names.items():
        try:
            sets[field] = read_prompt_set(name)
            for language in recipe.synthesis.languages:
                sets[field].check_language(language)
        except ValueError as error:
            raise ValueError(f"{field}: {error}") from error
    translating = read_translation_prompts(recipe.synthesis.translation_prompts)
    check_languages(translating, recipe.synthesis.languages, num_translated=recipe.synthesis.num_translated)
    trained, asked = sets["training.encoder.prompts"], sets["evaluation.prompts"]
    if trained.extract != asked.extract:
        raise ValueError(
            f"training.encoder.prompts {trained.name!r} and evaluation.prompts {asked.name!r} do not agree: the "
            f"encoder would learn answers as {trained.extract!r}, and the benchmark reads them as {asked.extract!r}; "
            "name two sets that read answers alike"
        )
