"""How many seed questions a run takes."""

from dataclasses import replace

import pytest

from comem_core.prompts import read_prompt_set
from comem_core.recipes import find_recipe
from tasks.data.questions import Seeds
from tasks.engine.context import Context


@pytest.mark.parametrize(("wanted", "at_most", "taken"), [(1200, None, 1200), (1200, 5, 5), (3, 5, 3), (1200, 0, 0)])
def test_the_least_of_what_is_wanted_and_allowed_is_taken(
    context: Context, wanted: int, at_most: int | None, taken: int
) -> None:
    recipe = replace(find_recipe("tiny_cpu").synthesis, num_seed_questions=wanted, max_samples=at_most)
    assert sum(Seeds.of(recipe, context).shares) == taken


def test_seeds_of_which_no_language_has_prompts_are_refused_before_the_first_draft(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = find_recipe("tiny_cpu").synthesis
    prompts = replace(read_prompt_set(recipe.prompts), question={"xx": "{question}"})
    monkeypatch.setattr("tasks.data.questions.read_prompt_set", lambda name: prompts)
    said = r"none of countries-vqa gives a seed question\. countries-vqa row 1: the question .* has no language"
    with pytest.raises(ValueError, match=said):
        Seeds.of(recipe, context)
