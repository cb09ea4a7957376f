"""What a worker imports with the stages, and what a user gets with the library: nothing that they do not need."""

import subprocess
import sys

HEAVY = ("prefect", "openai", "statsmodels", "scipy.stats", "pandas", "matplotlib", "rich", "ray.train")
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
    "evaluation.encode",
    "evaluation.judge",
)


def imported_with(*modules: str) -> set[str]:
    """Return which of the heavy modules a new process has once it has imported these."""
    script = f"import sys, {', '.join(modules)}; print(*(name for name in {HEAVY!r} if name in sys.modules))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    return set(done.stdout.split())


def test_a_worker_imports_neither_prefect_nor_what_only_the_driver_needs() -> None:
    assert imported_with("tasks.engine.worker_process", *(f"tasks.{name}" for name in FUNCTIONS_OF_WORKERS)) == set()


def test_the_library_alone_is_light() -> None:
    assert imported_with("comem_core") == set()


def test_a_worker_that_has_not_begun_has_not_even_torch() -> None:
    modules = "tasks.engine.worker_process, tasks.engine.partial, tasks.engine.workers, tasks.engine.context"
    script = f"import sys, {modules}; print(*sorted({{'torch', 'ray', 'transformers', 'prefect'}} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert done.stdout.split() == []
