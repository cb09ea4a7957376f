"""Backbones by name, and what tells one from another."""

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import torch

from comem_core import backbone
from comem_core.backbone.finding import find_backbone_folder, hash_backbone
from comem_core.backbone.loading import list_families, load_backbone, read_family
from comem_core.backbone.qwen_vl import QwenVL
from comem_core.pretraining.tiny_base import save_tiny_base


@pytest.fixture(scope="module")
def folder(new_backbone: Callable[[], QwenVL], tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("backbone") / "base"
    save_tiny_base(new_backbone(), path)
    return path


def test_a_folder_is_found_and_loaded_under_the_name_that_was_asked_for(folder: Path):
    assert find_backbone_folder(str(folder)) == folder
    loaded = load_backbone(str(folder), dtype=torch.bfloat16)
    assert (loaded.name, loaded.width, loaded.model.dtype) == (str(folder), 64, torch.bfloat16)
    assert not loaded.model.training
    assert not any(weight.requires_grad for weight in loaded.model.parameters())


def test_an_unknown_name_is_refused_with_what_was_looked_for():
    with pytest.raises(
        ValueError, match=r"no backbone 'tinny': it is not shipped \(.*\), not a folder with a config.json"
    ):
        load_backbone("tinny")


def test_a_hub_name_that_is_not_in_the_cache_is_refused_with_what_to_do():
    with pytest.raises(ValueError, match=r"'nobody/no-such-model' is neither shipped .* Give a local folder instead"):
        find_backbone_folder("nobody/no-such-model")


def test_a_folder_without_a_configuration_is_no_backbone(tmp_path: Path):
    with pytest.raises(ValueError, match="no backbone"):
        find_backbone_folder(str(tmp_path))


def test_a_model_of_no_known_family_is_refused_with_the_known_ones(tmp_path: Path):
    (tmp_path / "config.json").write_text('{"model_type": "llava"}')
    known = ", ".join(kind for family in list_families().values() for kind in family.model_types)
    assert "qwen2_vl, qwen2_5_vl" in known
    with pytest.raises(ValueError, match=f"holds a 'llava' model; a backbone is one of {known}"):
        load_backbone(str(tmp_path))


def test_the_fingerprint_changes_with_any_byte_of_what_decides_an_answer(folder: Path, tmp_path: Path):
    copy = tmp_path / "copy"
    copy.mkdir()
    for path in folder.iterdir():
        (copy / path.name).write_bytes(path.read_bytes())
    original = hash_backbone(folder)
    assert hash_backbone(copy) == original
    assert len(original) == 16
    for name in ("model.safetensors", "config.json", "tokenizer.json", "processor_config.json", "chat_template.jinja"):
        raw = bytearray((copy / name).read_bytes())
        raw[-2] ^= 1
        (copy / name).write_bytes(bytes(raw))
        assert hash_backbone(copy) != original, name
        (copy / name).write_bytes((folder / name).read_bytes())
    assert hash_backbone(copy) == original


def test_the_fingerprint_ignores_notes_and_the_record_beside_the_files(folder: Path):
    before = hash_backbone(folder)
    (folder / "record.json").write_text("{}")
    (folder / "README.md").write_text("notes")
    assert hash_backbone(folder) == before


FAMILY_FILE = """
from comem_core.backbone.interface import Family
from comem_core.backbone.qwen_vl import QwenVL


class Pictographs(QwenVL):
    PROCESSORS = {"pictographs": QwenVL.PROCESSORS["qwen2_5_vl"]}


FAMILY = Family(name="pictographs", model_types=("MODEL_TYPE",), backbone=Pictographs)
"""


@pytest.fixture
def add_family(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[str], None]]:
    """Return a function that puts the file of a family, for a `model_type`, into the folder of families."""

    def add(model_type: str) -> None:
        (tmp_path / f"of_{model_type}.py").write_text(FAMILY_FILE.replace("MODEL_TYPE", model_type))
        monkeypatch.setattr(backbone, "__path__", [*backbone.__path__, str(tmp_path)])
        list_families.cache_clear()

    yield add
    list_families.cache_clear()


def test_a_family_in_one_file_is_found_by_itself(add_family: Callable[[str], None], tmp_path: Path):
    add_family("pictographs")
    (tmp_path / "config.json").write_text('{"model_type": "pictographs"}')
    assert read_family(tmp_path).backbone.__name__ == "Pictographs"
    with pytest.raises(ValueError, match=r"of family 'pictographs', not 'qwen_vl'"):
        load_backbone(str(tmp_path), family="qwen_vl")


def test_two_families_that_read_one_model_type_are_refused(add_family: Callable[[str], None]):
    add_family("smolvlm")
    with pytest.raises(ValueError, match="two model families read 'smolvlm': pictographs and smolvlm"):
        list_families()
