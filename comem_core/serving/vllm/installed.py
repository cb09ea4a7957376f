"""vLLM in an interpreter, which may be another one than this: its version, and the command that serves a model with it.

vLLM pins a torch of its own, so it is mostly installed in an environment of its own. Nothing here imports it.
"""

import json
import os
import subprocess
from collections.abc import Mapping, Sequence
from functools import cache
from pathlib import Path

LOOK = """
from importlib.metadata import packages_distributions, version
print(*(version(name) for name in packages_distributions().get("vllm", [])[:1]))
"""
LOOK_SECONDS = 60.0
SERVER = "vllm.entrypoints.openai.api_server"  # the wheel for CPUs lacks the command `vllm serve`
MEMORY_SHARE = 0.9  # of a GPU, as vLLM's own default
# Variables of this process and of Ray that would change what another interpreter does.
OURS = ("RAY_", "PYTHON", "COMEM_", "PREFECT_", "OMP_", "MKL_", "GOMP_", "VIRTUAL_ENV")
QUIET = {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1"}


class VllmMissing(ValueError):
    """An interpreter has no vLLM. The message says what to do."""


@cache
def find_vllm_version(python: str) -> str:
    """Return the version of the vLLM that an interpreter has, without the build (for a CPU, for a GPU).

    Raises VllmMissing where the interpreter does not run, or has no vLLM.
    """
    advice = (
        "Install it in an environment of its own on every node (python -m venv FOLDER; FOLDER/bin/pip install vllm), "
        "and set COMEM_VLLM_PYTHON to FOLDER/bin/python (docs/vllm.md)"
    )
    try:
        told = subprocess.run(
            [python, "-c", LOOK],
            env=make_environment({}),
            capture_output=True,
            text=True,
            timeout=LOOK_SECONDS,
            check=False,
            cwd=os.sep,
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise VllmMissing(
            f"expected a Python with vLLM at {python}, but it does not run ({error}). {advice}"
        ) from error
    if told.returncode:
        last = told.stderr.strip().splitlines()[-1:] or [f"exit status {told.returncode}"]
        raise VllmMissing(f"expected a Python with vLLM at {python}, but it fails ({last[0]}). {advice}")
    if not (version := told.stdout.strip()):
        raise VllmMissing(f"expected a Python with vLLM at {python}, but vllm is not installed there. {advice}")
    return version.split("+")[0]


def make_engine_command(
    python: str,
    folder: Path,
    *,
    name: str,
    dtype: str,
    host: str,
    port: int,
    num_images: int,
    gpus: float,
    further: Sequence[str] = (),
) -> list[str]:
    """Return the command that serves a model's folder under a name. With `num_images` 0 it takes no pictures."""
    command = [
        python, "-m", SERVER, "--model", str(folder), "--served-model-name", name, "--host", host, "--port", str(port),
        "--dtype", dtype, "--generation-config", "vllm",
    ]  # fmt: skip
    if num_images:
        command += ["--limit-mm-per-prompt", json.dumps({"image": num_images, "video": 0})]
        command += ["--chat-template-content-format", "openai"]
    if gpus > 1:
        command += ["--tensor-parallel-size", str(int(gpus)), "--distributed-executor-backend", "mp"]
    elif 0 < gpus < 1:
        command += ["--gpu-memory-utilization", f"{MEMORY_SHARE * gpus:.3g}"]
    elif not gpus:
        command += ["--enforce-eager"]  # without a GPU, compiling takes longer than it saves
    return [*command, *further]


def make_environment(own: Mapping[str, str], *, threads: int | None = None) -> dict[str, str]:
    """Return the variables for vLLM's process: this process's without its own settings, and `own`. `threads` are those
    of an engine without a GPU, which would otherwise take every core for itself."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(OURS)}
    cpu = {} if threads is None else {"VLLM_CPU_OMP_THREADS_BIND": "nobind", "VLLM_CPU_KVCACHE_SPACE": "1"}
    chosen = {name: value for name, value in cpu.items() if name not in kept}
    return kept | QUIET | chosen | ({} if threads is None else {"OMP_NUM_THREADS": str(threads)}) | dict(own)
