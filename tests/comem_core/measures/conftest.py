"""An examination on a few real questions, with the shipped base and encoder; no test changes them."""

import pytest

from comem_core.backbone.interface import Backbone
from comem_core.backbone.loading import load_backbone
from comem_core.measures.countries.exam import CountriesExam
from comem_core.memory.description import find_encoder_folder
from comem_core.memory.encoder import MemoryEncoder


@pytest.fixture(scope="session")
def shipped_backbone() -> Backbone:
    return load_backbone("tiny")


@pytest.fixture(scope="session")
def exam(shipped_backbone: Backbone) -> CountriesExam:
    return CountriesExam.of(shipped_backbone, part="dev", num_questions=20)


@pytest.fixture(scope="session")
def shipped_encoder() -> MemoryEncoder:
    return MemoryEncoder.load(find_encoder_folder("tiny-encoder"), load_backbone("tiny"))
