"""The GPU kit's small shape on the CPU: the same code, in seconds."""

import pytest
import torch

from comem_core.measures.gpu.setup import Setup
from comem_core.measures.gpu.workload import SMALL


@pytest.fixture(scope="session")
def setup() -> Setup:
    return Setup(workload=SMALL, device=torch.device("cpu"), command="make gpu-check")
