"""What `prefect.yaml` declares, against the flows that it names."""

from pathlib import Path

import pytest
import yaml
from prefect import Flow
from prefect.exceptions import ParameterTypeError
from prefect.flows import load_flow_from_entrypoint

from comem_core.recipes import RECIPES

ROOT = Path(__file__).parents[2]
DEPLOYMENTS = yaml.safe_load((ROOT / "prefect.yaml").read_text())["deployments"]


def _flow(deployment: dict) -> Flow:
    path, _, name = deployment["entrypoint"].partition(":")
    return load_flow_from_entrypoint(f"{ROOT / path}:{name}")


def test_the_deployments_that_the_readme_names_are_there() -> None:
    names = {f"{_flow(each).name}/{each['name']}" for each in DEPLOYMENTS}
    assert names == {
        "synth-and-train/tiny-cpu",
        "synth-and-train/smol-cpu",
        "synth-and-train/comem-qwen25-vl-7b",
        "synth-and-train/comem-qwen2-vl-7b",
        "re-evaluate/weekly",
        "re-evaluate/backfill",
        "rebuild-memory/tiny-cpu",
        "rebuild-memory/hourly",
        "compare-retrieval/tiny-cpu",
        "pretrain-base/tiny-cpu",
    }


@pytest.mark.parametrize("deployment", DEPLOYMENTS, ids=lambda each: each["entrypoint"])
def test_a_deployment_s_parameters_are_accepted_by_its_flow(deployment: dict) -> None:
    flow = _flow(deployment)
    flow.validate_parameters(deployment.get("parameters", {}))


def test_an_unknown_recipe_is_refused_and_the_known_ones_are_named() -> None:
    flow = _flow(DEPLOYMENTS[0])
    with pytest.raises(ParameterTypeError, match="tiny_cpu"):
        flow.validate_parameters({"recipe": "enormous"})


def test_every_recipe_has_a_deployment() -> None:
    deployed = {each["parameters"]["recipe"] for each in DEPLOYMENTS if "synth_and_train" in each["entrypoint"]}
    assert deployed == set(RECIPES)


@pytest.mark.parametrize("name", ["weekly", "hourly"])
def test_a_schedule_is_paused_until_it_is_switched_on(name: str) -> None:
    [deployment] = [each for each in DEPLOYMENTS if each["name"] == name]
    assert [schedule["active"] for schedule in deployment["schedules"]] == [False]
