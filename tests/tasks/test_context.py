from pathlib import Path

import pytest

from tasks.context import Context


def test_defaults_lie_below_the_root_and_every_field_can_be_set(tmp_path: Path) -> None:
    context = Context.from_environment({"COMEM_ROOT": str(tmp_path), "COMEM_NUM_ACTORS": "3", "RAY_ADDRESS": "here:1"})
    assert context.store == tmp_path / ".comem" / "store"
    assert context.warehouse.parent == tmp_path / ".comem"
    assert (context.num_actors, context.ray_address) == (3, "here:1")
    moved = Context.from_environment({"COMEM_STORE": str(tmp_path / "big disk"), "COMEM_CPUS_PER_ACTOR": "0.5"})
    assert moved.store == tmp_path / "big disk"
    assert moved.cpus_per_actor == 0.5


def test_a_value_of_the_wrong_type_is_named() -> None:
    with pytest.raises(ValueError, match="COMEM_BATCH_SIZE is 'many'; expected a whole number"):
        Context.from_environment({"COMEM_BATCH_SIZE": "many"})


def test_a_gpu_that_workers_would_not_get_is_refused() -> None:
    with pytest.raises(ValueError, match="COMEM_GPUS_PER_ACTOR"):
        Context.from_environment({"COMEM_DEVICE": "cuda"})


def test_every_fault_is_listed_before_anything_expensive_begins(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    environ = {
        "COMEM_ROOT": str(tmp_path),
        "COMEM_STORE": str(tmp_path / "file" / "store"),
        "COMEM_MIN_FREE_DISK_MB": str(10**9),
        "COMEM_MIN_FREE_MEMORY_MB": str(10**9),
        "COMEM_DEVICE": "tpu",
    }
    with pytest.raises(ValueError) as caught:
        Context.from_environment(environ).check()
    for fault in ("is a file. Set COMEM_STORE", "MB are free on the disk", "MB of memory", "COMEM_DEVICE is 'tpu'"):
        assert fault in str(caught.value)


def test_a_gpu_asked_for_where_there_is_none_is_an_error(tmp_path: Path) -> None:
    torch = pytest.importorskip("torch")
    if torch.cuda.is_available():
        pytest.skip("this machine has a GPU")
    environ = {"COMEM_ROOT": str(tmp_path), "COMEM_GPUS_PER_ACTOR": "1"}
    with pytest.raises(ValueError, match="torch finds none on this machine"):
        Context.from_environment(environ).check()


def test_a_good_context_passes(tmp_path: Path, make_context) -> None:
    make_context(tmp_path).check()


def test_the_key_of_a_served_model_is_read_and_never_shown() -> None:
    environ = {"COMEM_SERVED_URL": "http://there/v1", "COMEM_SERVED_KEY": "sesame", "COMEM_SERVED_CONCURRENCY": "3"}
    context = Context.from_environment(environ)
    assert (context.served_url, context.served_key, context.served_concurrency) == ("http://there/v1", "sesame", 3)
    assert "sesame" not in repr(context)
