"""vLLM in another interpreter: its version and its command; without it, an error with advice."""

import sys
from pathlib import Path
from typing import Any

import pytest

from comem_core.serving.vllm.installed import (
    VllmMissing,
    find_vllm_version,
    make_engine_command,
    make_environment,
)
from tests.vllm_stand_in import write_interpreter


def command(**changes: Any) -> str:
    given: dict[str, Any] = {"name": "tiny", "dtype": "float32", "host": "10.0.0.2", "port": 4000}
    given |= {"num_images": 4, "gpus": 1.0}
    return " ".join(make_engine_command("/there/python", Path("/models/tiny"), **given | changes))


def test_the_version_is_the_interpreter_s_without_its_build(tmp_path: Path) -> None:
    assert find_vllm_version(str(write_interpreter(tmp_path, version="0.32.0+cpu"))) == "0.32.0"


@pytest.mark.parametrize(
    ("python", "said"),
    [
        (sys.executable, "vllm is not installed there. Install it in an environment of its own"),
        ("/nowhere/python", r"does not run \(.*No such file.*COMEM_VLLM_PYTHON"),
        ("/bin/false", r"it fails \(exit status 1\)"),
    ],
)
def test_an_interpreter_without_vllm_is_refused_with_what_to_do(python: str, said: str) -> None:
    with pytest.raises(VllmMissing, match=f"expected a Python with vLLM at {python}, but .*{said}"):
        find_vllm_version(python)


def test_the_command_fits_the_gpus_of_an_engine() -> None:
    assert command().startswith(
        "/there/python -m vllm.entrypoints.openai.api_server --model /models/tiny --served-model-name tiny "
        "--host 10.0.0.2 --port 4000 --dtype float32 --generation-config vllm"
    )
    assert '{"image": 4, "video": 0}' in command()
    assert "parallel" not in command() and "utilization" not in command() and "eager" not in command()
    assert "--tensor-parallel-size 4 " in command(gpus=4.0)
    assert "--gpu-memory-utilization 0.45" in command(gpus=0.5)
    assert "--enforce-eager" in command(gpus=0.0)
    assert "mm-per-prompt" not in command(num_images=0)
    assert command(further=("--max-model-len", "8192")).endswith(" --max-model-len 8192")


def test_settings_of_this_process_do_not_reach_the_other_interpreter(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("RAY_ADDRESS", "PYTHONPATH", "COMEM_STORE", "OMP_NUM_THREADS", "VIRTUAL_ENV"):
        monkeypatch.setenv(name, "ours")
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3")
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "8")
    with_gpu, without = make_environment({"VLLM_API_KEY": "k"}), make_environment({}, threads=2)
    assert "ours" not in {*with_gpu.values(), *without.values()}
    assert (with_gpu["CUDA_VISIBLE_DEVICES"], with_gpu["VLLM_API_KEY"]) == ("3", "k")
    assert (without["OMP_NUM_THREADS"], without["VLLM_CPU_KVCACHE_SPACE"]) == ("2", "8")
