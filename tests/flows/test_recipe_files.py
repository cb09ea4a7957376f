"""A recipe file and a backbone as options of the flows: refused alike everywhere, and sent as what they say."""

import json
import shutil
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import pytest
from prefect import Flow

from comem_core.backbone.finding import OWN_FAMILY, SHIPPED
from comem_core.backbone.loading import read_family
from comem_core.recipes import find_recipe, with_backbone
from flows.checking import check_deployment, check_parameters
from flows.re_evaluate import re_evaluate
from flows.rebuild_memory import rebuild_memory
from flows.recipes import recipe_to_train
from flows.synth_and_train import synth_and_train
from warehouse.connection import open_warehouse
from warehouse.records import record_run

ROOT = Path(__file__).parents[2]
ENTRYPOINTS = {"re_evaluate": re_evaluate, "rebuild_memory": rebuild_memory, "synth_and_train": synth_and_train}
NOTHING = dict.fromkeys(("variant", "seed", "knowledge", "writing", "judge", "reader", "limit", "start"))


@pytest.fixture
def file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("COMEM_ROOT", str(tmp_path))
    path = tmp_path / "mine.toml"
    path.write_text('base = "tiny_cpu"\ntraining.optimizer.num_steps = 3\n')
    return path


def make(recipe: str | dict[str, Any], backbone: Any = None) -> Any:
    """The recipe of synth-and-train with these options alone."""
    given = {"recipe": recipe} | ({} if backbone is None else {"backbone": backbone})
    checked = check_parameters(synth_and_train, given)
    return recipe_to_train(checked["recipe"], backbone=checked.get("backbone"), **NOTHING)


def record(folder: Path, recipe: dict[str, Any], *, run_id: str, flow: str = "synth-and-train") -> None:
    with open_warehouse(folder / ".comem" / "warehouse.duckdb") as con:
        facts = {"run_id": run_id, "flow": flow, "recipe_name": recipe["name"], "recipe": recipe, "flow_run_id": None}
        record_run(con, facts)


@pytest.mark.parametrize("name", ENTRYPOINTS)
def test_a_file_is_sent_as_what_it_says_and_everything_else_as_it_was_given(name: str, file: Path) -> None:
    sent = check_deployment(ROOT, f"flows/{name}.py:{name}", {"recipe": str(file), "on_cpu": False})
    said = {"name": "mine", "base": "tiny_cpu", "training": {"optimizer": {"num_steps": 3}}}
    assert sent == {"recipe": said, "on_cpu": False}
    assert json.loads(json.dumps(sent)) == sent
    file.unlink()
    assert make(sent["recipe"]).training.optimizer.num_steps == 3


@pytest.mark.parametrize("flow", ENTRYPOINTS.values(), ids=ENTRYPOINTS)
def test_a_fault_in_a_file_is_told_by_every_flow(flow: Flow, file: Path) -> None:
    file.write_text('base = "tiny_cpu"\ntraining.optimizer.num_stepz = 3\n')
    with pytest.raises(ValueError) as caught:
        check_parameters(flow, {"recipe": str(file)})
    assert f"recipe: {file}: training.optimizer.num_stepz: there is no such field" in str(caught.value)
    file.write_text('base = "tiny_cpu"\nevaluation.prompts = "nowhere"\n')
    with pytest.raises(ValueError, match=r"evaluation.prompts: unknown prompt set 'nowhere'"):
        check_parameters(flow, {"recipe": str(file)})


def test_a_recipe_is_found_again_when_its_file_has_moved(file: Path) -> None:
    stated = check_parameters(synth_and_train, {"recipe": str(file)})["recipe"]
    limited = asdict(find_recipe(stated, limit=2)) | {"stated": stated}
    record(file.parent, limited, run_id="aaaaaaaa-1")
    file.unlink()
    with pytest.raises(
        ValueError, match=r"mine.toml: no such file\. A run here has recorded the recipe mine: -p recipe=mine t"
    ):
        make(str(file))
    assert make("mine") == find_recipe(stated)
    by_id = make("aaaaaaaa")
    assert by_id == find_recipe(stated, limit=2)  # as that run had it
    assert check_deployment(ROOT, "flows/re_evaluate.py:re_evaluate", {"recipe": "mine"}) == {"recipe": stated}


def test_a_recipe_that_no_run_recorded_is_not_found(file: Path) -> None:
    record(file.parent, asdict(replace(find_recipe("tiny_cpu"), name="theirs")), run_id="bbbbbbbb-1")
    for unknown in ("mine", "bbbbbbb", "their", "bbbbbbbb-2"):
        with pytest.raises(ValueError, match=rf"recipe: found '{unknown}'; expected one of tiny_cpu, .* a recipe file"):
            make(unknown)
    with pytest.raises(ValueError, match=r"nowhere.toml: no such file in"):
        make("nowhere.toml")
    assert make("theirs").name == "theirs"


def test_a_recorded_recipe_with_fields_that_are_gone_says_which(file: Path) -> None:
    recipe = asdict(replace(find_recipe("tiny_cpu"), name="old"))
    recipe["retrieval"]["by_smell"] = 3
    record(file.parent, recipe, run_id="cccccccc-1")
    with pytest.raises(ValueError, match=r"recipe: retrieval.by_smell: there is no such field"):
        make("old")


def test_a_backbone_by_word_is_one_by_name_and_its_family_is_read(tmp_path: Path) -> None:
    copied = tmp_path / "copy"
    shutil.copytree(SHIPPED / "tiny", copied)
    tiny = find_recipe("tiny_cpu")
    made = make("tiny_cpu", str(copied))
    assert made == make("tiny_cpu", {"name": str(copied)})
    assert made == replace(tiny, name="tiny_cpu+backbone=copy", backbone=replace(tiny.backbone, name=str(copied)))
    assert make("tiny_cpu", {"name": "tiny"}) == make("tiny_cpu", {"dtype": "float32"}) == make("tiny_cpu", {}) == tiny
    half = make("tiny_cpu", {"dtype": "bfloat16"})
    assert (half.name, half.backbone.dtype, half.training.start) == ("tiny_cpu+backbone=bfloat16", "bfloat16", None)
    hub = make("comem_qwen25_vl_7b", {"name": "Qwen/Qwen3-VL-8B-Instruct", "family": "qwen3_vl"})
    assert hub.backbone.family == "qwen3_vl" and hub.name.endswith("+backbone=Qwen/Qwen3-VL-8B-Instruct")


@pytest.mark.parametrize(
    ("backbone", "said"),
    [
        ("nonsense", "backbone: no backbone 'nonsense'"),
        ("/no/such/folder", "backbone: no backbone '/no/such/folder'"),
        ("tiny-encoder", "backbone: no backbone 'tiny-encoder'"),
        ("/tmp", "backbone: no backbone '/tmp'"),
        ("../tiny", "backbone: no backbone '../tiny'"),
        ("tiny-text", "holds a 'qwen2' model; a backbone is one of"),
        ("", "backbone.name: found ''"),
        ({"name": "tiny", "family": "smolvlm"}, "of the family 'qwen_vl', not 'smolvlm'"),
        ({"family": "smolvlm"}, "of the family 'qwen_vl', not 'smolvlm'"),
        ({"dtype": "float8"}, "backbone.dtype: found 'float8'; expected 'float32', 'bfloat16' or 'float16'"),
        ({"model": "tiny"}, "backbone.model: there is no such field; did you mean name?"),
        (7, "backbone.name: found 7; expected a text"),
    ],
)
@pytest.mark.parametrize("flow", ENTRYPOINTS.values(), ids=ENTRYPOINTS)
def test_a_backbone_that_cannot_be_is_refused_by_every_flow(flow: Flow, backbone: Any, said: str) -> None:
    with pytest.raises(ValueError) as caught:
        check_parameters(flow, {"backbone": backbone})
    assert said in str(caught.value)


def test_a_start_of_another_number_type_is_refused_before_training() -> None:
    with pytest.raises(ValueError, match=r"number type float32 \(the recipe: bfloat16\)"):
        check_parameters(synth_and_train, {"backbone": {"dtype": "bfloat16"}, "start": "tiny-encoder-start"})


@pytest.mark.parametrize(
    ("recipe", "said"),
    [
        ("x" * 5000 + ".toml", "no such file"),
        ("/tmp/no/such.TOML", "/tmp/no/such.TOML: no such file"),
        ("\0.toml", "no such file"),
        (["tiny_cpu"], "recipe: found ['tiny_cpu']; expected one of tiny_cpu"),
        ({"run": "1"}, "recipe: name: this field is needed"),
        ({"base": "tiny_cpu", "name": "x", "synthesis": {"generator": "gpt"}}, "generator 'gpt'; expected 'backbone'"),
        ({"base": "tiny_cpu", "name": "x", "evaluation": {"judge": {"generator": "g"}}}, "generator 'g'; expected"),
    ],
)
def test_what_is_no_recipe_is_refused(recipe: Any, said: str, file: Path) -> None:
    with pytest.raises(ValueError) as caught:
        check_parameters(synth_and_train, {"recipe": recipe})
    assert said in str(caught.value)


def test_a_recipe_s_name_may_be_written_as_its_deployment_is() -> None:
    assert make("tiny-cpu") == find_recipe("tiny_cpu")


def test_an_encoder_of_another_number_type_is_refused_before_it_is_asked() -> None:
    given = {"backbone": {"dtype": "bfloat16"}, "encoders": ["tiny-encoder"]}
    with pytest.raises(ValueError, match=r"was trained in float32, but recipe .* loads its reader in bfloat16"):
        check_parameters(re_evaluate, given)


def test_the_project_s_own_models_are_of_the_family_that_they_are_said_to_be() -> None:
    own = [each for each in SHIPPED.iterdir() if (each / "config.json").is_file()]
    assert own and {read_family(each).name for each in own} == {OWN_FAMILY}
    assert with_backbone(find_recipe("tiny_cpu"), family=OWN_FAMILY) == find_recipe("tiny_cpu")
