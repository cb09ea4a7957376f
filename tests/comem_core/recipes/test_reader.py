"""A text-only reader in a recipe: what it is called by, and what stays as it is."""

from dataclasses import replace

import pytest

from comem_core.recipes import find_recipe, with_evaluation, with_reader
from comem_core.recipes.recipe import ReaderRecipe


@pytest.mark.parametrize(
    ("reader", "called"),
    [
        ("tiny-text", "tiny-text"),
        ("Qwen/Qwen2.5-7B-Instruct", "Qwen/Qwen2.5-7B-Instruct"),
        ("/data/models/own-text", "own-text"),
        (ReaderRecipe(name="tiny-text", question_picture=False), "tiny-text,blind"),
        (ReaderRecipe(name="tiny-text", projection=True), "tiny-text,projection"),
    ],
)
def test_a_reader_and_what_is_unusual_about_it_stand_in_the_name_of_the_recipe(reader: str | ReaderRecipe, called: str):
    plain = find_recipe("tiny_cpu", variant="vectors=4")
    made = with_reader(plain, reader)
    assert made.name == f"tiny_cpu+vectors=4+reader={called}"
    assert replace(made, name=plain.name, reader=None) == plain


def test_without_a_reader_the_backbone_itself_answers():
    assert with_reader(find_recipe("tiny_cpu"), None) == find_recipe("tiny_cpu")


def test_a_reader_stays_with_every_benchmark():
    recipe = with_evaluation(with_reader(find_recipe("tiny_cpu"), "tiny-text"), "countries-vqa", k=[5])
    assert recipe.reader == ReaderRecipe(name="tiny-text") and recipe.name.endswith("+reader=tiny-text")
