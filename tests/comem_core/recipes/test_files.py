"""A recipe of one's own: the file and the code say the same, and every fault is told by the name of its field."""

import json
import re
import shutil
import tomllib
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest

from comem_core.backbone.finding import SHIPPED
from comem_core.recipes import RECIPES, find_recipe
from comem_core.recipes.files import make_own_recipe, read_recipe_file
from comem_core.recipes.names import check_names
from comem_core.recipes.recipe import JudgeRecipe, Recipe

FILE = """
base = "tiny_cpu"
unset = ["training.start"]

[training.optimizer]
num_steps = 7
learning_rate = 1      # a whole number where a number is expected

[training.encoder]
num_vectors = 4
item_visual_tokens = {max = 64}

[retrieval]
grid = [2, 3]

[evaluation]
conditions = ["none", "memory"]
judge.generator = "backbone"
"""


def write(folder: Path, text: str, name: str = "mine.toml") -> Path:
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def spell(recipe: Recipe) -> str:
    """The recipe as fingerprints have it, where 1 and 1.0 are two values."""
    return json.dumps(asdict(recipe), sort_keys=True)


def test_a_file_and_code_with_the_same_values_make_the_same_recipe(tmp_path: Path) -> None:
    tiny = find_recipe("tiny_cpu")
    training = tiny.training
    tokens = type(find_recipe("comem_qwen25_vl_7b").training.encoder.item_visual_tokens)
    in_code = replace(
        tiny,
        name="mine",
        retrieval=replace(tiny.retrieval, grid=(2, 3)),
        training=replace(
            training,
            start=None,
            optimizer=replace(training.optimizer, num_steps=7, learning_rate=1.0),
            encoder=replace(training.encoder, num_vectors=4, item_visual_tokens=tokens(max=64)),  # pyright: ignore
        ),
        evaluation=replace(tiny.evaluation, conditions=("none", "memory"), judge=JudgeRecipe(generator="backbone")),
    )
    in_file = find_recipe(str(write(tmp_path, FILE)))
    assert in_file == in_code and spell(in_file) == spell(in_code)
    assert find_recipe(read_recipe_file(tmp_path / "mine.toml")) == in_code


@pytest.mark.parametrize("name", RECIPES)
def test_a_file_that_changes_nothing_is_its_base_and_a_recorded_recipe_comes_back(name: str, tmp_path: Path) -> None:
    shipped = find_recipe(name)
    same = find_recipe(str(write(tmp_path, f'base = "{name.replace("_", "-")}"')))
    assert same == replace(shipped, name="mine")
    recorded = json.loads(json.dumps(asdict(find_recipe(name, limit=9, seed=2))))
    recorded["training"]["version"] = "an older one"
    again = make_own_recipe({"run": "12345678", **recorded}, RECIPES)
    assert spell(again) == spell(find_recipe(name, limit=9, seed=2))


def test_a_recipe_s_seed_stays_until_another_is_asked_for(tmp_path: Path) -> None:
    path = str(write(tmp_path, 'base = "tiny_cpu"\ntraining.optimizer.seed = 5\ntraining.encoder.seed = 6'))
    assert [find_recipe(path).training.optimizer.seed, find_recipe(path).training.encoder.seed] == [5, 6]
    assert [find_recipe(path, seed=0).training.optimizer.seed, find_recipe(path, limit=3).training.encoder.seed] == [
        0,
        6,
    ]


def test_the_start_of_training_stays_only_where_it_fits(tmp_path: Path) -> None:
    def start(said: str) -> str | None:
        return find_recipe(str(write(tmp_path, f'base = "tiny_cpu"\n{said}'))).training.start

    copied, other = tmp_path / "copy", tmp_path / "other"
    shutil.copytree(SHIPPED / "tiny", copied)
    shutil.copytree(SHIPPED / "tiny", other)
    (other / "generation_config.json").write_text("{}")
    assert start("") == start("training.encoder.lora_dropout = 0.2") == start(f"backbone.name = '{copied}'")
    assert start("training.encoder.num_vectors = 4") is start(f"backbone.name = '{other}'") is None
    assert start("backbone.dtype = 'bfloat16'") is start("backbone.name = 'Qwen/Qwen2.5-VL-3B-Instruct'") is None
    assert start("training = {start = 'tiny-encoder', encoder.num_vectors = 4}") == "tiny-encoder"  # refused later


def test_what_a_corpus_of_one_s_own_is_asked_begins_with_what_all_are_asked(tmp_path: Path) -> None:
    path = write(tmp_path, 'base = "tiny_cpu"\nsynthesis.max_new_tokens = 9\nown_synthesis.num_asked_items = 3')
    recipe = find_recipe(str(path))
    assert recipe.own_synthesis == replace(recipe.synthesis, num_asked_items=3)
    assert recipe.synthesis.max_new_tokens == 9


def test_a_file_may_have_the_marks_and_line_ends_of_windows_and_a_name_of_any_script(tmp_path: Path) -> None:
    path = tmp_path / "mein rezept ü.toml"
    path.write_bytes('\ufeffbase = "tiny_cpu"\r\n[training.optimizer]\r\nnum_steps = 3\r\n'.encode())
    recipe = find_recipe(str(path))
    assert (recipe.name, recipe.training.optimizer.num_steps) == ("mein_rezept_ü", 3)


def test_the_file_that_the_page_shows_is_a_recipe() -> None:
    page = Path(__file__).parents[3] / "docs" / "recipes.md"
    [shown] = re.findall(r"```toml\n(.*?)```", page.read_text(encoding="utf-8"), re.DOTALL)
    recipe, base = find_recipe(tomllib.loads(shown)), find_recipe("comem_qwen25_vl_7b")
    assert (recipe.name, recipe.backbone.name) == ("my_recipe", "/models/my-vlm")
    assert recipe.training.optimizer == replace(base.training.optimizer, num_steps=2000, learning_rate=1e-4)
    assert recipe.training.encoder == replace(base.training.encoder, lora_rank=32, num_vectors=16)


TINY = 'base = "tiny_cpu"\n'
FAULTS: dict[str, tuple[str, ...]] = {
    "": ("base: this field is needed; expected one of tiny_cpu",),
    'base = "tiny"': ("base: found 'tiny'; expected one of tiny_cpu",),
    "base = 3": ("base: found 3; expected one of",),
    'base = ["tiny_cpu"]': ("base: found ['tiny_cpu']; expected one of",),
    'base = "tiny_cpu': ("cannot be read as TOML",),
    "base: tiny_cpu": ("cannot be read as TOML",),
    TINY + TINY: ("cannot be read as TOML", "Cannot overwrite a value"),
    TINY + 'name = "smol-cpu"': ("name: found 'smol-cpu', which is a recipe that ships",),
    TINY + 'name = "a+b"': ("name: found 'a+b'; expected letters, digits",),
    TINY + 'name = ""': ("name: found ''; expected letters",),
    TINY + "nam = 'x'": ("nam: there is no such field; did you mean name?",),
    TINY + "num_steps = 3": ("num_steps: there is no such field; did you mean training.optimizer.num_steps or reader",),
    TINY + "[optimizer]\nnum_steps = 3": ("optimizer: there is no such field; did you mean training.optimizer or",),
    TINY + "[training.optimiser]\nnum_steps = 3": ("training.optimiser: ", "did you mean training.optimizer?"),
    TINY + "training.optimizer.learningrate = 0.1": ("did you mean training.optimizer.learning_rate?",),
    TINY + "training.optimizer.num_steps = 0": ("training.optimizer: num_steps is 0; expected 1 or more",),
    TINY + "training.optimizer.num_steps = 2.5": ("training.optimizer.num_steps: found 2.5; expected a whole number",),
    TINY + "training.optimizer.num_steps = true": ("num_steps: found True; expected a whole number",),
    TINY + 'training.optimizer.num_steps = "7"': ("num_steps: found '7'; expected a whole number",),
    TINY + "training.optimizer.num_steps = 99999999999999999999": ("num_steps: found 99999999999999999999; expected",),
    TINY + "training.optimizer.learning_rate = nan": ("learning_rate: found nan; expected a number",),
    TINY + "training.optimizer.gradient_clip = inf": ("gradient_clip: found inf; expected a number",),
    TINY + "training.optimizer.betas = [0.9]": ("betas: found [0.9]; expected a list of 2 values",),
    TINY + "training.optimizer.betas = [0.9, 'x']": ("betas: found 'x'; expected a number",),
    TINY + "training.optimizer.betas = [0.9, 2]": ("training.optimizer: betas is (0.9, 2.0); expected two numbers",),
    TINY + "training.version = '1'": ("training.version: there is no such field",),
    TINY + "training.encoder.lora_rank = 0": ("lora_rank: found 0; expected a whole number, 1 or more",),
    TINY + "training.encoder.lora_dropout = 1": ("lora_dropout: found 1; expected a number, 0 to below 1",),
    TINY + "training.encoder.item_visual_tokens = {min = 3}": ("item_visual_tokens.max: this field is needed",),
    TINY + "training.encoder.item_visual_tokens = {min = 3, max = 2}": ("item_visual_tokens: visual tokens from 3",),
    TINY + "training = 5": ("training: found 5; expected its fields, each with a value",),
    TINY + "backbone = 'tiny'": ("backbone: found 'tiny'; expected its fields",),
    TINY + "backbone.dtype = 'float8'": ("backbone.dtype: found 'float8'; expected one of float32, bfloat16, float16",),
    TINY + "backbone.name = ' '": ("backbone.name: found ' '; expected a text of at least one letter",),
    TINY + "retrieval.by = 'smell'": ("retrieval.by: found 'smell'; expected one of image, text, both",),
    TINY + "retrieval.grid = 3": ("retrieval.grid: found 3; expected a list",),
    TINY + "retrieval.text_weight = 1.5": ("text_weight: found 1.5; expected a number, 0 to 1",),
    TINY + "evaluation.num_questions = -4": ("num_questions: found -4; expected a whole number, 1 or more",),
    TINY + "evaluation.judge.prompts = 'x'": ("evaluation.judge.generator: this field is needed",),
    TINY + "evaluation.judge.generator = ' '": ("evaluation.judge.generator: found ' '",),
    TINY + "[[evaluation]]\nk = 3": ("evaluation: found [{'k': 3}]; expected its fields",),
    TINY + "knowledge.licence = 2026-11-29": ("knowledge.licence: found 2026-11-29; expected a text",),
    TINY + "filters.held_out_share = 7": ("held_out_share: found 7; expected a number, 0 to 1",),
    TINY + "filters.must_be_grounded = 1": ("must_be_grounded: found 1; expected true or false",),
    TINY + "unset = 'training.start'": ("unset: found 'training.start'; expected a list of fields",),
    TINY + "unset = ['training.k']": ("unset: 'training.k' is not a field",),
    TINY + "unset = ['retrieval.k', 'name']": ("unset: 'retrieval.k' always has a value", "unset: 'name' always has"),
    TINY + "unset = ['training.start']\ntraining.start = 'x'": ("unset: 'training.start' has a value in this recipe",),
    TINY + "engine.url = 'here'": ("engine: found 'vllm:here'; expected vllm:<address>",),
}


@pytest.mark.parametrize("text", FAULTS, ids=lambda text: text.removeprefix(TINY)[:40] or "nothing")
def test_a_fault_is_told_with_the_file_and_the_field(text: str, tmp_path: Path) -> None:
    path = write(tmp_path, text)
    with pytest.raises(ValueError) as caught:
        find_recipe(str(path))
    assert str(path) in str(caught.value) and "Traceback" not in str(caught.value)
    for said in FAULTS[text]:
        assert said in str(caught.value)


def test_every_fault_is_told_at_once(tmp_path: Path) -> None:
    path = write(tmp_path, TINY + "retrieval.k = 0\nsynthesis.kk = 1\nbackbone.dtype = 'int'")
    with pytest.raises(ValueError) as caught:
        find_recipe(str(path))
    assert all(name in str(caught.value) for name in ("retrieval.k: found 0", "synthesis.kk: ", "backbone.dtype: "))


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"base = \xff", "cannot be read as TOML"),
        ('base = "tiny_cpu"'.encode("utf-16"), "cannot be read as TOML"),
        (b"a = " + b"[" * 5000, "cannot be read as TOML"),
        (b"#" * 1_000_001, "has 1000001 bytes, which is too large"),
        (None, "no such file"),
    ],
)
def test_what_is_no_recipe_file_is_refused(content: bytes | None, said: str, tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    path.write_bytes(content) if content is not None else path.mkdir()
    with pytest.raises(ValueError, match=said):
        find_recipe(str(path))


def test_fields_without_a_file_need_a_name() -> None:
    with pytest.raises(ValueError, match="name: this field is needed"):
        find_recipe({"base": "tiny_cpu"})
    assert find_recipe({"base": "tiny_cpu", "name": "mine", "training": {"start": None}}).training.start is None


@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"backbone": {"name": "nonsense"}}, "backbone: no backbone 'nonsense'"),
        ({"backbone": {"family": "smolvlm"}}, "backbone: backbone 'tiny' is of the family 'qwen_vl', not 'smolvlm'"),
        ({"knowledge": {"corpus": "/no/such"}}, "knowledge.corpus: corpus '/no/such': no such file"),
        ({"synthesis": {"seeds": ["nonsense"]}}, "synthesis.seeds: seeds 'nonsense'"),
        ({"against": ["okvqaa"]}, "against: unknown benchmark: 'okvqaa'"),
        ({"evaluation": {"benchmark": "x"}}, "evaluation.benchmark: unknown benchmark: 'x'"),
        ({"evaluation": {"conditions": []}}, "evaluation.conditions: found none"),
        ({"evaluation": {"conditions": ["x"]}}, "evaluation.conditions: unknown condition: 'x'"),
        ({"evaluation": {"conditions": ["foreign"], "foreign": None}}, "evaluation: the condition foreign"),
        ({"evaluation": {"part": "x"}}, "evaluation.part: found 'x'; expected one of"),
        ({"training": {"items_per_sample": 9}}, "training.items_per_sample is 9, but synthesis.k is 3; set it to 9"),
        ({"training": {"encoder": {"num_heads": 7}}}, "training.encoder.num_heads is 7, which does not divide"),
        ({"reader": {"name": "tiny-text"}, "engine": {"url": "http://x"}}, "reader and engine: "),
        ({"filters": {"near_duplicate_bits": 3}}, "near_duplicate_similarity need each other"),
        ({"filters": {"max_question_words": 3}}, "min_question_words and max_question_words need each other"),
        ({"filters": {"contaminated_share": 0.5}}, "contaminated_ngram and contaminated_share need each other"),
        ({"knowledge": {"columns": [["txet", "x"]]}}, "knowledge.columns: "),
        ({"knowledge": {"language": "../x"}}, "knowledge.language: found '../x'"),
        ({"evaluation": {"prompts": "x"}}, "evaluation.prompts: unknown prompt set 'x'"),
        ({"evaluation": {"k": 9}}, "evaluation.k is 9, but 3 items are retrieved"),
        ({"retrieval": {"embedder": "resnet"}}, "unknown embedder 'resnet'"),
        ({"training": {"start": "nowhere"}}, "training.start: nowhere holds no encoder"),
        ({"training": {"encoder": {"prompts": "reason"}}}, "training.encoder.prompts 'reason' and evaluation.prompts"),
        ({"reader": {"name": "nonsense"}}, "reader.name: no backbone 'nonsense'"),
    ],
)
def test_what_a_recipe_names_and_what_is_not_there_is_told(changed: dict[str, Any], said: str) -> None:
    check_names(find_recipe("tiny_cpu"))
    with pytest.raises(ValueError) as caught:
        check_names(find_recipe({"base": "tiny_cpu", "name": "mine"} | changed))
    assert said in str(caught.value)
