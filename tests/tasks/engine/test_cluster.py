"""A cluster's nodes are compared with this process. Here the cluster is one node; `test_two_nodes.py` has two."""

import os
import socket
from dataclasses import replace
from pathlib import Path

import pytest
import ray

from tasks.engine import on_ray
from tasks.engine.cluster import build_environment, check_nodes, join_cluster, list_variables_with_keys
from tasks.engine.context import Context
from tasks.engine.on_ray import map_shards, release_workers
from tasks.engine.workers import Workers


def test_a_node_like_this_process_fits_and_leaves_nothing_in_the_store(small_ray: None, context: Context) -> None:
    check_nodes(context, lambda: {"the model": "7 files"})
    assert list(context.store.iterdir()) == []


@pytest.mark.parametrize("library", ["transformers", "torch", "ray"])
def test_a_node_with_another_version_of_a_library_is_named_with_what_was_found_and_expected(
    small_ray: None, context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, library: str
) -> None:
    from importlib.metadata import version

    found = version(library).split("+")[0]
    described = tmp_path / f"{library}-0.0.1.dist-info"
    described.mkdir()
    (described / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {library}\nVersion: 0.0.1\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ValueError) as refused:
        check_nodes(context)
    name = ray.nodes()[0]["NodeManagerAddress"]
    assert f"node {name} (" in str(refused.value)
    assert f"): {library} is {found}; expected 0.0.1, as here" in str(refused.value)
    assert list(context.store.iterdir()) == []


def test_a_node_with_other_code_of_this_project_is_named(
    small_ray: None, context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import warehouse

    (tmp_path / "__init__.py").touch()
    assert warehouse.__spec__ is not None
    monkeypatch.setattr(warehouse.__spec__, "submodule_search_locations", [str(tmp_path)])
    with pytest.raises(ValueError, match=r"code of this project is \w+; expected \w+, as here"):
        check_nodes(context)


def test_workers_elsewhere_get_the_keys_of_a_run_and_ray_s_logs_do_not(
    context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = {"WANDB_API_KEY": "sesame", "PREFECT_API_KEY": "sesame", "PREFECT_API_AUTH_STRING": "me:sesame"}
    for name, value in (keys | {"MLFLOW_TRACKING_URI": "http://me:sesame@there:5000"}).items():
        monkeypatch.setenv(name, value)
    asked = list_variables_with_keys(replace(context, tracker="mlflow"))
    assert asked.items() >= {"MLFLOW_TRACKING_URI": "http://me:sesame@there:5000", "PREFECT_API_KEY": "sesame"}.items()
    assert "WANDB_API_KEY" not in asked
    assert list_variables_with_keys(replace(context, tracker="wandb")).items() >= keys.items()
    assert "MLFLOW_TRACKING_URI" not in list_variables_with_keys(context)
    assert "sesame" not in str(build_environment())


def test_a_node_with_another_version_of_the_tracker_is_named(
    small_ray: None, context: Context, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    described = tmp_path / "wandb-0.0.1.dist-info"
    described.mkdir()
    (described / "METADATA").write_text("Metadata-Version: 2.1\nName: wandb\nVersion: 0.0.1\n")
    monkeypatch.syspath_prepend(tmp_path)
    check_nodes(context)
    with pytest.raises(ValueError, match=r"\): wandb is .+; expected 0.0.1, as here"):
        check_nodes(replace(context, tracker="wandb"))


def test_a_node_without_a_model_is_named(small_ray: None, context: Context) -> None:
    here = os.getpid()

    def describe() -> dict[str, str]:
        return {"the model smol": "7 files" if os.getpid() == here else "not there"}

    with pytest.raises(ValueError, match="the model smol is not there; expected 7 files, as here"):
        check_nodes(context, describe)


def test_a_node_that_cannot_run_the_code_is_named_with_the_reason(small_ray: None, context: Context) -> None:
    here = os.getpid()

    def describe() -> dict[str, str]:
        if os.getpid() != here:
            raise ModuleNotFoundError("No module named 'faiss'")
        return {}

    with pytest.raises(ValueError, match="cannot run this project: ModuleNotFoundError: No module named 'faiss'"):
        check_nodes(context, describe)


@pytest.mark.parametrize(
    ("address", "kind", "words"),
    [
        ("127.0.0.1:1", ConnectionError, "no Ray cluster answers at RAY_ADDRESS=127.0.0.1:1"),
        ("no-such-host.invalid:6379", ConnectionError, "no Ray cluster answers at RAY_ADDRESS=no-such-host.invalid"),
        ("ray://127.0.0.1:10001", ValueError, "an address of Ray Client"),
    ],
)
def test_an_address_that_cannot_be_joined_is_refused_at_once(
    context: Context, address: str, kind: type[Exception], words: str
) -> None:
    with pytest.raises(kind, match=words):
        join_cluster(replace(context, ray_address=address))


def test_a_shard_whose_worker_fits_nowhere_is_done_by_the_other(
    small_ray: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As after the loss of a node: of two workers of three CPUs only one fits into four."""
    monkeypatch.setattr(on_ray, "START_SECONDS", 1)

    def make_worker():
        return lambda name: os.getpid()

    try:
        done = map_shards(make_worker, {"a": 0, "b": 1}, workers=Workers(num_actors=2, cpus=3))
    finally:
        release_workers()
    assert len(set(done.values())) == 1


def test_a_machine_that_is_not_a_node_is_told_how_to_join(context: Context) -> None:
    with socket.create_server(("127.0.0.1", 0)) as listening:
        address = f"127.0.0.1:{listening.getsockname()[1]}"
        with pytest.raises(
            ConnectionError, match=rf"not a node of that .* `ray start --address={address} --num-cpus=0`"
        ):
            join_cluster(replace(context, ray_address=address))
