"""What a worker, a flow and a user of the library import: nothing that they do not need."""

import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

HEAVY = ("prefect", "openai", "statsmodels", "scipy.stats", "pandas", "matplotlib", "rich", "ray.train")
MODELS = (
    "torch",
    "transformers",
    "peft",
    "safetensors.torch",
    "matplotlib",
    "statsmodels",
    "scipy.stats",
    "pandas",
    "openai",
)
ROOT = Path(__file__).parents[2]
FLOWS = sorted(path.stem for path in (ROOT / "flows").glob("*.py") if "@flow" in path.read_text(encoding="utf-8"))
FUNCTIONS_OF_WORKERS = (
    "engine.shards",
    "models",
    "data.embedders",
    "data.item_shards",
    "data.index",
    "data.questions",
    "data.retrieve",
    "data.synthesize",
    "data.translate",
    "training.encoder",
    "training.transfer",
    "evaluation.answer",
    "memory.encode",
    "evaluation.judge",
)


def imported_with(*modules: str, heavy: Sequence[str] = HEAVY) -> set[str]:
    """Return which of the heavy modules a new process has once it has imported these."""
    return imported_by(f"import {', '.join(modules)}", heavy=heavy)


def imported_by(script: str, *, heavy: Sequence[str]) -> set[str]:
    """Return which of the heavy modules a new process has at the end of a script."""
    last = f"import sys; print('imported:', *(name for name in {heavy!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", f"{script}\n{last}"], capture_output=True, text=True, check=True)
    return set(done.stdout.rpartition("imported:")[2].split())


def test_a_worker_imports_neither_prefect_nor_what_only_the_driver_needs() -> None:
    assert imported_with("tasks.engine.worker_process", *(f"tasks.{name}" for name in FUNCTIONS_OF_WORKERS)) == set()


def test_the_library_alone_is_light() -> None:
    assert imported_with("comem_core") == set()


@pytest.mark.parametrize("name", FLOWS)
def test_a_flow_and_the_commands_need_no_models(name: str) -> None:
    """The server imports flows to deploy them, and a flow's process only hands work to workers."""
    commands = [f"flows.local.{path.stem}" for path in (ROOT / "flows" / "local").glob("*.py")]
    assert imported_with(f"flows.{name}", *commands, heavy=MODELS) == set()


def test_a_plan_needs_no_models(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COMEM_STORE", str(tmp_path / "store"))
    monkeypatch.setenv("COMEM_WAREHOUSE", str(tmp_path / "warehouse.duckdb"))
    script = "from flows.synth_and_train import synth_and_train; synth_and_train.fn(recipe='tiny_cpu', plan=True)"
    assert imported_by(script, heavy=MODELS) <= {"pandas"}  # pyarrow imports it for its first table


def test_a_worker_that_has_not_begun_has_not_even_torch() -> None:
    modules = "tasks.engine.worker_process, tasks.engine.partial, tasks.engine.workers, tasks.engine.context"
    script = f"import sys, {modules}; print(*sorted({{'torch', 'ray', 'transformers', 'prefect'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
