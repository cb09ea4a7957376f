"""Devices: which peak a card has, whether one can do the work, and how time and memory are measured on it."""

import re
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TypeVar

import psutil
import torch

from comem_core.measures.gpu.workload import Workload
from comem_core.tracking.peaks import read_peak_bytes

Result = TypeVar("Result")
INSTALLING = "docs/gpu.md says how another build is installed"

PEAK_TFLOPS: Mapping[str, float] = {
    r"NVIDIA B200": 2250,
    r"NVIDIA (H200|GH200 .*|H100 80GB HBM3)": 989,
    r"NVIDIA (H200|H100) NVL": 835,
    r"NVIDIA H100 PCIe": 756,
    r"NVIDIA A100.*(40|80)GB( PCIe)?": 312,
    r"NVIDIA L40S": 362,
    r"NVIDIA L40": 181,
    r"NVIDIA A40": 149.7,
    r"NVIDIA GeForce RTX 4090": 165.2,
}
"""The dense bf16 peak in 10¹² FLOP/s of cards, by a pattern of the name that torch gives them.

From the vendor's datasheets. Where these state the peak with sparsity, it is half of that: H100 (1,979 SXM, 1,513 PCIe,
1,671 NVL; NVIDIA H100 Tensor Core GPU datasheet), H200 (1,979 SXM, 1,671 NVL; NVIDIA H200 datasheet), GH200 (NVIDIA
GH200 Grace Hopper Superchip datasheet), B200 (36 · 10¹⁵ for the eight of an HGX B200; NVIDIA Blackwell datasheet).
A100 (312), A40 (149.7), L40 (181) and L40S (362) state the dense peak beside it. RTX 4090: with sums in float32
(NVIDIA Ada GPU Architecture whitepaper, appendix A).
"""


def find_peak_flops(name: str) -> float | None:
    """Return the dense bf16 peak of a card in FLOP/s, by its name; None if it is not known."""
    return next((1e12 * peak for pattern, peak in PEAK_TFLOPS.items() if re.fullmatch(pattern, name)), None)


def name_device(device: torch.device) -> str:
    """Return the card's name, or `CPU`."""
    return torch.cuda.get_device_name(device) if device.type == "cuda" else "CPU"


def measure_free_gb(device: torch.device) -> float:
    """Return the free memory of a device in 10⁹ bytes."""
    if device.type == "cuda":
        return torch.cuda.mem_get_info(device)[0] / 1e9
    return psutil.virtual_memory().available / 1e9


def refuse_unfit_device(device: torch.device, workload: Workload) -> None:
    """Refuse a device on which the work cannot be done.

    Raises:
        ValueError: torch has no CUDA or finds no card, the card has no bfloat16, or too little memory is free.
    """
    if device.type == "cuda":
        if torch.version.cuda is None and torch.version.hip is None:
            raise ValueError(f"torch {torch.__version__} is a build without CUDA; {INSTALLING}")
        if not torch.cuda.is_available():
            raise ValueError(
                f"torch {torch.__version__} finds no GPU; see whether `nvidia-smi` shows one, and whether its driver "
                f"is new enough for CUDA {torch.version.cuda}"
            )
        if not torch.cuda.is_bf16_supported(including_emulation=False):
            raise ValueError(f"{name_device(device)} cannot compute in bfloat16; a card from 2020 on can")
    elif workload.name != "small":
        raise ValueError(
            "the CPU would take hours for the 7B; give --shape small, or --device cuda on a machine with a GPU"
        )
    free = measure_free_gb(device)
    if free < workload.free_gb:
        raise ValueError(
            f"{free:.1f} GB are free on {name_device(device)}; expected {workload.free_gb:g} GB. End what else runs on "
            "it, or choose another card with CUDA_VISIBLE_DEVICES"
        )


def wait_for_device(device: torch.device) -> None:
    """Wait until the device has done all that it was given."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def begin_peak(device: torch.device) -> None:
    """Give back memory that is not in use, and begin a new peak. On the CPU the peak is that of the process."""
    if device.type == "cuda":
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats(device)


def measure_peak(device: torch.device) -> int:
    """Return the bytes of the peak: allocated on the card since `begin_peak`, or of this process so far."""
    return torch.cuda.max_memory_allocated(device) if device.type == "cuda" else read_peak_bytes()


@dataclass(frozen=True)
class TimeLimit:
    """The seconds in which a part begins repeats, from now on."""

    seconds: float
    started: float = field(default_factory=time.perf_counter)

    @property
    def is_over(self) -> bool:
        return self.elapsed >= self.seconds

    @property
    def elapsed(self) -> float:
        return time.perf_counter() - self.started

    def split(self, num_works: int) -> Iterator["TimeLimit"]:
        """Yield a limit for each of some works, when it begins: its share of the time that is left."""
        for num_left in range(num_works, 0, -1):
            yield TimeLimit(max(0.0, self.seconds - self.elapsed) / num_left)


def run_by_turns(works: Sequence[Callable[[], Result]], *, repeats: int, limit: TimeLimit) -> list[list[Result]]:
    """Run each work once unmeasured, then all by turns; return what each gave.

    There is always one turn, and none begins after the limit.
    """
    for work in works:
        work()
    found: list[list[Result]] = [[] for _ in works]
    while len(found[0]) < repeats and (not found[0] or not limit.is_over):
        for own, work in zip(found, works, strict=True):
            own.append(work())
    return found


def measure_seconds(work: Callable[[], object], device: torch.device) -> float:
    """Return the wall time of a work, from an idle device until it is idle again."""
    wait_for_device(device)
    started = time.perf_counter()
    work()
    wait_for_device(device)
    return time.perf_counter() - started
