import math
import re
import sys
from dataclasses import fields
from pathlib import Path

import pytest

from comem_core.backbone.finding import find_cache_folder
from flows.local.layout import Layout
from tasks.engine.context import ELSEWHERE, Context, check_names

ROOT = Path(__file__).parents[3]
SETTINGS = [f"COMEM_{each.name.upper()}" for each in fields(Context) if each.name not in ("root", "ray_address")]
MEANT = {
    "COMEM_CPUS_PER_ACTOR": {"0"},
    "COMEM_GPUS_PER_ACTOR": {"0"},
    "COMEM_LOCK_WAIT_SECONDS": {"0"},
    "COMEM_MIN_FREE_DISK_MB": {"0"},
    "COMEM_MIN_FREE_MEMORY_MB": {"0"},
    "COMEM_STAGE_RETRIES": {"0"},
}
"""Zero means something here: none, at once, or no reserve."""
FREE = {"COMEM_STORE", "COMEM_WAREHOUSE", "COMEM_BENCHMARKS", "COMEM_SERVED_KEY", "COMEM_JUDGE_KEY", "COMEM_VLLM_KEY"}
FREE |= {"COMEM_VLLM_PYTHON", "COMEM_VLLM_ARGS"}
"""A folder, a file or a key may have any name; an interpreter and its arguments are tried before a run begins."""


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


def test_on_a_gpu_training_takes_micro_batches_unless_told_otherwise():
    gpu = {"COMEM_DEVICE": "cuda", "COMEM_GPUS_PER_ACTOR": "1"}
    by_default = Context.from_environment(gpu)
    assert (by_default.train_tokens, by_default.train_checkpointing) == (8192, "on")
    told = Context.from_environment(gpu | {"COMEM_TRAIN_TOKENS": "4000", "COMEM_TRAIN_CHECKPOINTING": "off"})
    assert (told.train_tokens, told.train_checkpointing) == (4000, "off")
    on_cpu = Context.from_environment({})
    assert (on_cpu.train_tokens, on_cpu.train_checkpointing) == (None, "off")


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


def test_a_model_that_nobody_is_there_to_share_is_refused(tmp_path: Path) -> None:
    environ = {"COMEM_ROOT": str(tmp_path), "COMEM_TRAIN_SHARDING": "on"}
    with pytest.raises(ValueError, match=r"COMEM_TRAIN_SHARDING is 'on', but COMEM_TRAIN_WORKERS is 1, .* 2 or more"):
        Context.from_environment(environ).check()
    Context.from_environment(environ | {"COMEM_TRAIN_WORKERS": "2"}).check()


@pytest.mark.parametrize(
    ("value", "fault"),
    [
        ("tensorbord", "COMEM_TRACKER is 'tensorbord'; expected 'tensorboard' or 'mlflow' or 'wandb'"),
        ("wandb", "COMEM_TRACKER=wandb needs the package wandb, which is not installed here"),
    ],
)
def test_a_tracker_that_is_unknown_or_lacks_something_is_refused_before_a_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, value: str, fault: str
) -> None:
    monkeypatch.setitem(sys.modules, "wandb", None)
    environ = {"COMEM_ROOT": str(tmp_path), "COMEM_MIN_FREE_MEMORY_MB": "1", "COMEM_TRACKER": value}
    with pytest.raises(ValueError, match=fault):
        Context.from_environment(environ).check()
    assert Context.from_environment({}).tracker is None


def test_a_good_context_passes(tmp_path: Path, make_context) -> None:
    make_context(tmp_path).check()


def test_the_key_of_a_served_model_is_read_and_never_shown() -> None:
    environ = {"COMEM_SERVED_URL": "http://there/v1", "COMEM_SERVED_KEY": "sesame", "COMEM_SERVED_CONCURRENCY": "3"}
    context = Context.from_environment(environ)
    assert (context.served_url, context.served_key, context.served_concurrency) == ("http://there/v1", "sesame", 3)
    assert "sesame" not in repr(context)


@pytest.mark.parametrize("value", ["", "  ", "0", "-1", "nan", "inf", "many"])
@pytest.mark.parametrize("name", SETTINGS)
def test_empty_zero_and_negative_mean_what_they_say_or_are_refused_by_name(
    tmp_path: Path, name: str, value: str
) -> None:
    environ = {"COMEM_ROOT": str(tmp_path), "COMEM_MIN_FREE_MEMORY_MB": "1", name: value}
    if value in MEANT.get(name, ()):
        read = getattr(Context.from_environment(environ), name.removeprefix("COMEM_").lower())
        assert getattr(read, "every", read) == float(value)  # a number, or one for every stage
        Context.from_environment(environ).check()
    elif name in FREE and value.strip():
        assert str(getattr(Context.from_environment(environ), name.removeprefix("COMEM_").lower())).endswith(value)
    else:
        with pytest.raises(ValueError, match=name):
            Context.from_environment(environ).check()


@pytest.mark.parametrize("name", ELSEWHERE)
def test_a_variable_that_is_set_to_nothing_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is set to nothing"):
        check_names({name: ""})


def test_each_part_that_reads_a_variable_itself_refuses_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMEM_CACHE", "")
    with pytest.raises(ValueError, match="COMEM_CACHE is set to nothing"):
        find_cache_folder()
    monkeypatch.setenv("COMEM_ROOT", " ")
    with pytest.raises(ValueError, match="COMEM_ROOT is set to nothing"):
        Layout.find()


@pytest.mark.parametrize(
    ("name", "nearest"),
    [
        ("COMEM_BATCHSIZE", "COMEM_BATCH_SIZE"),
        ("COMEM_NUM_ACTOR", "COMEM_NUM_ACTORS"),
        ("COMEM_STROE", "COMEM_STORE"),
        ("COMEM_PORTS", "COMEM_PORT"),
        ("COMEM_RAY_ADDRESS", "RAY_ADDRESS"),
    ],
)
def test_an_unknown_variable_is_an_error_that_names_the_nearest(name: str, nearest: str) -> None:
    with pytest.raises(ValueError, match=f"{name} is not a setting of this project; did you mean {nearest}"):
        Context.from_environment({name: "1"})


def test_every_variable_that_the_project_reads_is_known() -> None:
    sources = [ROOT / "Makefile", ROOT / "prefect.yaml", ROOT / "README.md", ROOT / "CONTRIBUTING.md"]
    sources += [path for path in (ROOT / "application").iterdir() if path.is_file()]
    for package in ("flows", "tasks", "comem_core", "warehouse", "docs"):
        sources += [path for path in (ROOT / package).rglob("*") if path.suffix in (".py", ".md", ".sql")]
    found = {name for path in sources for name in re.findall(r"\bCOMEM_[A-Z_]*[A-Z]\b(?! = )", path.read_text())}
    found -= {"COMEM_NAME", "COMEM_SUBSETS"}  # the context's docstring; a constant of a benchmark
    assert len(found) > 15
    assert found <= {*SETTINGS, *ELSEWHERE}


def test_a_number_that_is_none_is_refused_wherever_it_comes_from(tmp_path: Path, make_context) -> None:
    with pytest.raises(ValueError, match="COMEM_SERVED_TIMEOUT_SECONDS is nan; expected more than 0"):
        make_context(tmp_path, served_timeout_seconds=math.nan).check()
