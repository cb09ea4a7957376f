"""Peaks of cards, the refusal of a device that cannot do the work, and limits of time."""

import time
from dataclasses import replace

import pytest
import torch

from comem_core.measures.gpu.cards import TimeLimit, find_peak_flops, refuse_unfit_device, run_by_turns
from comem_core.measures.gpu.workload import SMALL, WORKLOADS


@pytest.mark.parametrize(
    ("name", "peak"),
    [
        ("NVIDIA H100 80GB HBM3", 989),
        ("NVIDIA H100 PCIe", 756),
        ("NVIDIA H100 NVL", 835),
        ("NVIDIA H200", 989),
        ("NVIDIA A100-SXM4-80GB", 312),
        ("NVIDIA A100 80GB PCIe", 312),
        ("NVIDIA A100-PCIE-40GB", 312),
        ("NVIDIA L40S", 362),
        ("NVIDIA GeForce RTX 4090", 165.2),
        ("NVIDIA B200", 2250),
    ],
)
def test_a_known_card_has_its_dense_peak(name: str, peak: float):
    assert find_peak_flops(name) == pytest.approx(peak * 1e12)


@pytest.mark.parametrize(
    "name", ["CPU", "NVIDIA GeForce RTX 4090 Laptop GPU", "NVIDIA A100-SXM4-40GB MIG 1g.5gb", "NVIDIA H100"]
)
def test_a_card_of_another_name_has_no_known_peak(name: str):
    assert find_peak_flops(name) is None


def test_a_device_that_cannot_do_the_work_is_refused_with_what_is_missing():
    cpu = torch.device("cpu")
    refuse_unfit_device(cpu, SMALL)
    with pytest.raises(ValueError, match="would take hours for the 7B; give --shape small"):
        refuse_unfit_device(cpu, WORKLOADS["7b"])
    with pytest.raises(ValueError, match=r"GB are free on CPU; expected 1e\+06 GB"):
        refuse_unfit_device(cpu, replace(SMALL, free_gb=1e6))


@pytest.mark.skipif(torch.cuda.is_available(), reason="this machine has a GPU")
def test_a_machine_without_a_gpu_is_refused_in_plain_words():
    with pytest.raises(ValueError, match=r"build without CUDA; docs/gpu.md|finds no GPU; see whether `nvidia-smi`"):
        refuse_unfit_device(torch.device("cuda"), WORKLOADS["7b"])


def test_works_are_run_by_turns_after_a_warm_up_until_the_repeats_or_the_limit():
    run: list[str] = []
    works = [lambda: run.append("a"), lambda: run.append("b")]
    found = run_by_turns(works, repeats=2, limit=TimeLimit(60))
    assert run == ["a", "b"] * 3 and [len(each) for each in found] == [2, 2]
    run.clear()
    found = run_by_turns(works, repeats=5, limit=TimeLimit(0))
    assert run == ["a", "b"] * 2 and [len(each) for each in found] == [1, 1]


def test_a_limit_is_shared_by_works_and_what_one_leaves_is_the_others():
    limits = TimeLimit(60, started=time.perf_counter() - 20).split(2)
    first = next(limits)
    assert first.seconds == pytest.approx(20, abs=1)
    assert next(limits).seconds == pytest.approx(40, abs=1)
    assert [each.seconds for each in TimeLimit(1, started=time.perf_counter() - 5).split(2)] == [0, 0]
