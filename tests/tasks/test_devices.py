"""A model made for GPUs runs on the CPU only where somebody asked for that, and a plan says so."""

import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest

from comem_core.backbone.finding import SHIPPED
from comem_core.recipes import find_recipe, with_backbone
from flows.checking import check_parameters
from flows.synth_and_train import synth_and_train
from tasks import devices
from tasks.devices import describe_missing_gpu
from tasks.engine.context import Context, ParameterRefused
from tasks.run import open_run
from tasks.sources import NO_BACKBONE

PAPER, TINY = find_recipe("comem_qwen25_vl_7b"), find_recipe("tiny_cpu")


@pytest.fixture
def large(tmp_path: Path) -> Path:
    """A folder with gigabytes of weights, which take no place on the disk."""
    folder = tmp_path / "large"
    folder.mkdir()
    with (folder / "model.safetensors").open("wb") as file:
        file.truncate(3_000_000_000)
    return folder


def test_what_counts_is_the_size_of_the_weights_and_else_their_number_type(large: Path, context: Context) -> None:
    here, small = replace(NO_BACKBONE, uri=str(large)), replace(NO_BACKBONE, uri=str(SHIPPED / "tiny"))
    said = describe_missing_gpu(TINY, here, context)
    assert said is not None and "tiny_cpu is made for GPUs (the weights of tiny have 3.0 GB)" in said
    assert describe_missing_gpu(PAPER, small, context) is None  # as with `-p backbone=tiny`
    assert "Qwen/Qwen2.5-VL-7B-Instruct in bfloat16" in (describe_missing_gpu(PAPER, NO_BACKBONE, context) or "")
    assert describe_missing_gpu(TINY, NO_BACKBONE, context) is None


def test_on_a_cluster_its_workers_count_and_where_a_gpu_is_asked_for_nothing_is_said(
    large: Path, tmp_path: Path, make_context: Callable[..., Context]
) -> None:
    here = replace(NO_BACKBONE, uri=str(large))
    on_cluster = describe_missing_gpu(TINY, here, make_context(tmp_path, ray_address="10.0.0.1:6379"))
    assert on_cluster is not None and "the workers of the Ray cluster 10.0.0.1:6379 would use none" in on_cluster
    assert describe_missing_gpu(TINY, here, make_context(tmp_path, device="cuda", gpus_per_actor=1)) is None


def test_a_run_is_refused_before_anything_is_made_and_a_plan_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], small_ray: None
) -> None:
    monkeypatch.setenv("COMEM_ROOT", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "1000")
    monkeypatch.setattr(devices, "LARGE_GB", 0.001)  # now the shipped model is a large one
    refused = r"tiny_cpu is made for GPUs .* all the same, .*: -p on_cpu=true"
    with pytest.raises(ValueError, match=refused), open_run("test", TINY):
        pytest.fail("the run has begun")
    assert list(tmp_path.iterdir()) == []
    with open_run("test", TINY, plan=True):
        pass
    assert "tiny_cpu is made for GPUs" in capsys.readouterr().out
    with open_run("test", TINY, on_cpu=True) as run:
        assert run.backbone.uri


def test_the_gpu_is_looked_for_before_the_hub_is_asked_for_gigabytes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMEM_ROOT", str(tmp_path))
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    absent = with_backbone(PAPER, name="nobody/no-such-model")
    with pytest.raises(ValueError, match=r"no-such-model in bfloat16\): none is seen here"), open_run("test", absent):
        pytest.fail("the run has begun")
    with pytest.raises(ParameterRefused, match="neither shipped"), open_run("test", absent, on_cpu=True):
        pytest.fail("the run has begun")
    assert list(tmp_path.iterdir()) == []


def test_a_plan_without_the_weights_says_that_they_are_missing_and_a_run_does_not_begin(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMEM_ROOT", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "1000")
    recipe = with_backbone(TINY, name="nobody/no-such-model")
    with open_run("test", recipe, plan=True) as run:
        assert run.backbone.uri == ""
    said = capsys.readouterr().out
    assert "backbone 'nobody/no-such-model' is neither shipped" in said and "made without the weights" in said
    with pytest.raises(ValueError, match="'nobody/no-such-model' is neither shipped"), open_run("test", recipe):
        pytest.fail("the run has begun")


def test_a_model_of_another_family_is_refused_before_the_first_stage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("COMEM_ROOT", str(tmp_path))
    folder = tmp_path / "llama"
    shutil.copytree(SHIPPED / "tiny", folder)
    (folder / "config.json").write_text('{"model_type": "llama"}')
    recipe = replace(TINY, backbone=replace(TINY.backbone, name=str(folder)))
    with pytest.raises(ValueError, match="holds a 'llama' model; a backbone is one of"), open_run("test", recipe):
        pytest.fail("the run has begun")


def test_the_plan_of_the_paper_s_recipe_on_a_bare_machine_says_what_is_missing_and_shows_the_stages(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("COMEM_ROOT", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "1000")
    absent = replace(PAPER.backbone, name="nobody/no-such-model")  # should somebody have the real one
    stated = {"base": PAPER.name, "name": "absent", "backbone": {"name": absent.name}}
    synth_and_train.fn(recipe=check_parameters(synth_and_train, {"recipe": stated})["recipe"], plan=True)
    before, table = capsys.readouterr().out.split("What this run would do")
    for said in ("is neither shipped", "made for GPUs", "starts from random weights", "samples are not compared with"):
        assert [said in line for line in before.splitlines()].count(True) == 1, said
    assert all(stage in table for stage in ("knowledge", "drafts", "encoder", "predictions", "report"))
    assert not list(tmp_path.rglob("*.duckdb"))
