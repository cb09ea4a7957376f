"""Encoders on disk: what comes back is what was saved, and what does not belong together is refused by name."""

import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from comem_core.backbone.images import VisualTokens
from comem_core.backbone.qwen_vl import QwenVL
from comem_core.knowledge.items import KnowledgeItem
from comem_core.memory.description import DESCRIPTION, WEIGHTS
from comem_core.memory.encoder import MemoryEncoder
from comem_core.memory.recipe import EncoderRecipe
from comem_core.neutral import OFF_AT_FALSE
from comem_core.pretraining.base_recipe import PretrainingRecipe
from comem_core.pretraining.tiny_base import make_tiny_base, save_tiny_base

Items = tuple[KnowledgeItem, ...]
NewBackbone = Callable[[], QwenVL]
NewEncoder = Callable[..., MemoryEncoder]


@pytest.fixture
def saved(encoder: MemoryEncoder, tmp_path: Path) -> Path:
    encoder.save(tmp_path / "encoder")
    return tmp_path / "encoder"


def restate(folder: Path, **changes: Any) -> None:
    """Change the description, a field to None takes it out."""
    stated = json.loads((folder / DESCRIPTION).read_text()) | changes
    kept = {name: value for name, value in stated.items() if value is not None}
    (folder / DESCRIPTION).write_text(json.dumps(kept))


def test_a_loaded_encoder_gives_the_same_memory(
    saved: Path, encoder: MemoryEncoder, new_backbone: NewBackbone, items: Items
):
    loaded = MemoryEncoder.load(saved, new_backbone())
    assert loaded.recipe == encoder.recipe
    assert loaded.encoder_id == encoder.encoder_id
    assert torch.equal(loaded.encode_batch(items[:3]), encoder.encode_batch(items[:3]))
    assert torch.equal(loaded.empty_memory(), encoder.empty_memory())


@dataclass(frozen=True, kw_only=True)
class LaterRecipe(EncoderRecipe):
    """A recipe with one more option, as a later version may have it."""

    later: bool = field(default=False, metadata=OFF_AT_FALSE)


def test_an_option_that_is_off_leaves_every_encoder_its_name(new_backbone: NewBackbone):
    shape: dict[str, Any] = {"num_heads": 4, "lora_rank": 4}
    recipes = (EncoderRecipe(**shape), LaterRecipe(**shape), LaterRecipe(**shape, later=True))
    now, off, on = (MemoryEncoder(new_backbone(), each).encoder_id for each in recipes)
    assert now == off != on


def test_every_field_of_a_recipe_comes_back(new_encoder: NewEncoder, new_backbone: NewBackbone, tmp_path: Path):
    unusual = new_encoder(
        lora_rank=3,
        lora_dropout=0.0,
        num_vectors=5,
        num_rounds=2,
        item_visual_tokens=VisualTokens(min=2, max=7),
        query_visual_tokens=VisualTokens(max=9),
        match_embedding_norm=True,
        seed=4,
    )
    unusual.save(tmp_path)
    assert MemoryEncoder.load(tmp_path, new_backbone()).recipe == unusual.recipe


def test_the_file_holds_lora_and_qformer_and_no_weight_of_the_backbone(saved: Path, encoder: MemoryEncoder):
    weights = load_file(saved / WEIGHTS)
    assert set(weights) == set(encoder.parameters())
    assert all("lora_" in name or name.startswith("qformer.") for name in weights)
    report = encoder.count_parameters()
    num_bytes = 4 * (report["lora"] + report["qformer"])
    assert num_bytes < (saved / WEIGHTS).stat().st_size < num_bytes + 20_000  # names and shapes


def test_the_description_names_recipe_backbone_counts_share_and_size(saved: Path, encoder: MemoryEncoder):
    description = json.loads((saved / DESCRIPTION).read_text())
    assert description["recipe"]["num_heads"] == 4
    assert description["backbone_sha256"] == encoder.backbone.hash_base_weights()
    assert description["backbone_dtype"] == "float32"
    assert description["parameters"] == encoder.count_parameters()
    assert f"of one backbone ({encoder.count_parameters()['backbone']:,} parameters)" in description["parameter_share"]
    assert description["size_bytes"] == (saved / WEIGHTS).stat().st_size


def test_saving_twice_gives_the_same_bytes(saved: Path, encoder: MemoryEncoder, tmp_path: Path):
    encoder.save(tmp_path / "again")
    for name in (WEIGHTS, DESCRIPTION):
        assert (tmp_path / "again" / name).read_bytes() == (saved / name).read_bytes()
    assert len(list((tmp_path / "again").iterdir())) == 2


def test_another_backbone_is_refused(saved: Path, pretraining_recipe: PretrainingRecipe):
    other = make_tiny_base(replace(pretraining_recipe, backbone=replace(pretraining_recipe.backbone, seed=1)))
    with pytest.raises(
        ValueError, match=r"trained for backbone 'tiny' \(weights [0-9a-f]{12}\), but 'tiny' has weights"
    ):
        MemoryEncoder.load(saved, other)
    with pytest.raises(ValueError, match="trained for backbone 'tiny'"):
        MemoryEncoder(other, EncoderRecipe(num_heads=4, lora_rank=4)).start_from(saved)


def test_the_same_backbone_in_another_number_type_is_refused_by_what_it_is(saved: Path, new_backbone: NewBackbone):
    half = new_backbone()
    half.model.bfloat16()
    with pytest.raises(ValueError, match="in float32, but 'tiny' is loaded in bfloat16; load it in float32"):
        MemoryEncoder.load(saved, half)


def test_a_missing_weight_is_refused_by_name(saved: Path, new_backbone: NewBackbone):
    weights = load_file(saved / WEIGHTS)
    del weights["qformer.latents_MD"]
    save_file(weights, saved / WEIGHTS)
    with pytest.raises(ValueError, match=r"'num_vectors' in the recipe in .* is 8, but its weights have none"):
        MemoryEncoder.load(saved, new_backbone())


def test_an_unknown_weight_is_refused_by_name(saved: Path, new_backbone: NewBackbone):
    save_file(load_file(saved / WEIGHTS) | {"qformer.gate": torch.zeros(1)}, saved / WEIGHTS)
    with pytest.raises(ValueError, match=r"1 weights in the checkpoint are unknown here, first 'qformer\.gate'"):
        MemoryEncoder.load(saved, new_backbone())


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ((4, 64), r"'num_vectors' in the recipe in .* is 8, but its weights have 4"),
        ((8, 1), r"'qformer\.latents_MD' is \(8, 1\), expected \(8, 64\)"),
        ((), r"'num_vectors' in the recipe in .* is 8, but its weights have none"),
    ],
)
def test_a_wrong_shape_is_refused_by_name_even_one_that_would_broadcast(
    saved: Path, new_backbone: NewBackbone, shape: tuple[int, ...], message: str
):
    save_file(load_file(saved / WEIGHTS) | {"qformer.latents_MD": torch.zeros(shape)}, saved / WEIGHTS)
    with pytest.raises(ValueError, match=message):
        MemoryEncoder.load(saved, new_backbone())


@pytest.mark.parametrize("broken", [torch.full((8, 64), float("nan")), torch.zeros(8, 64, dtype=torch.int64)])
def test_a_weight_that_is_no_finite_number_is_refused_by_name(saved: Path, new_backbone: NewBackbone, broken: Any):
    save_file(load_file(saved / WEIGHTS) | {"qformer.latents_MD": broken}, saved / WEIGHTS)
    with pytest.raises(ValueError, match=r"'qformer\.latents_MD' holds values that are not finite numbers"):
        MemoryEncoder.load(saved, new_backbone())


@pytest.mark.parametrize("kept", [0, 4, 1000, -1])
def test_a_file_that_is_cut_off_is_refused(saved: Path, new_backbone: NewBackbone, kept: int):
    whole = (saved / WEIGHTS).read_bytes()
    (saved / WEIGHTS).write_bytes(whole[:kept])
    with pytest.raises(ValueError, match=r"encoder\.safetensors is damaged or cut off"):
        MemoryEncoder.load(saved, new_backbone())


def test_a_folder_without_an_encoder_is_refused(saved: Path, new_backbone: NewBackbone, tmp_path: Path):
    with pytest.raises(ValueError, match=r"holds no encoder: encoder\.safetensors, encoder\.json is missing"):
        MemoryEncoder.load(tmp_path / "nowhere", new_backbone())
    (saved / DESCRIPTION).unlink()
    with pytest.raises(ValueError, match=r"holds no encoder: encoder\.json is missing"):
        MemoryEncoder.load(saved, new_backbone())


@pytest.mark.parametrize("text", [b"", b'{"recipe": {"lora_rank"', b"\xff\xfe\x00"])
def test_a_description_that_is_no_json_is_refused(saved: Path, new_backbone: NewBackbone, text: bytes):
    (saved / DESCRIPTION).write_bytes(text)
    with pytest.raises(ValueError, match=r"encoder\.json is damaged"):
        MemoryEncoder.load(saved, new_backbone())
    (saved / DESCRIPTION).write_text("[]")
    with pytest.raises(ValueError, match=r"encoder\.json is a list, expected an object"):
        MemoryEncoder.load(saved, new_backbone())


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"backbone_sha256": None}, r"encoder\.json is damaged: 'backbone_sha256' is missing"),
        ({"colour": "red"}, r"encoder\.json has 'colour', which Description does not know"),
        (
            {"recipe": {"num_heads": 4, "gate": True}},
            r"has 'gate', which EncoderRecipe does not know \(it knows version",
        ),
        ({"recipe": {"num_heads": 4, "item_visual_tokens": {"most": 3}}}, r"has 'most', which VisualTokens does not"),
        ({"recipe": {"num_heads": "four"}}, r"'num_heads' in the recipe .* is 'four', expected int"),
        ({"recipe": [4]}, r"'recipe' in .*encoder\.json is list, expected an object"),
        (
            {"backbone_dtype": "float17"},
            r"'backbone_dtype' .* is 'float17', expected one of float32, bfloat16, float16",
        ),
    ],
)
def test_a_description_with_missing_unknown_or_misshapen_fields_is_refused_by_name(
    saved: Path, new_backbone: NewBackbone, changes: dict[str, Any], message: str
):
    restate(saved, **changes)
    with pytest.raises(ValueError, match=message):
        MemoryEncoder.load(saved, new_backbone())


@pytest.mark.parametrize(
    ("size", "number", "message"),
    [
        ("num_vectors", 10**9, "is 1000000000, but its weights have 8"),
        ("lora_rank", 10**9, "is 1000000000, but its weights have 4"),
        ("num_vectors", 10**30, "expected int, 1 or more"),
        ("num_vectors", 0, "is 0, expected int, 1 or more"),
        ("num_heads", 0, "is 0, expected int, 1 or more"),
        ("num_heads", -(10**30), "expected int, 1 or more"),
        ("num_rounds", 10**9, "is 1000000000, expected int, 1 to 1000"),
        ("lora_dropout", 1.5, "is 1.5, expected float, 0 to below 1"),
    ],
)
def test_sizes_are_checked_before_memory_of_that_size_is_asked_for(
    saved: Path, new_backbone: NewBackbone, monkeypatch: pytest.MonkeyPatch, size: str, number: float, message: str
):
    recipe = json.loads((saved / DESCRIPTION).read_text())["recipe"]
    restate(saved, recipe=recipe | {size: number})
    backbone = new_backbone()
    monkeypatch.setattr("comem_core.memory.encoder.make_qformer", lambda *_: pytest.fail("the Q-Former is made"))
    monkeypatch.setattr(backbone.model, "add_adapter", lambda *_: pytest.fail("the LoRA is made"))
    with pytest.raises(ValueError, match=rf"{size!r} in the recipe in .* {message}"):
        MemoryEncoder.load(saved, backbone)


def test_an_early_description_without_later_fields_still_loads(saved: Path, new_backbone: NewBackbone):
    stated = json.loads((saved / DESCRIPTION).read_text())
    early = {name: value for name, value in stated["recipe"].items() if "visual_tokens" not in name}
    restate(saved, recipe=early, backbone_dtype=None, parameter_share=None, size_bytes=None)
    assert MemoryEncoder.load(saved, new_backbone()).recipe.item_visual_tokens is None


def test_a_name_or_a_folder_is_enough_to_load_encoder_and_backbone(items: Items, tmp_path: Path):
    shipped = MemoryEncoder.from_pretrained("tiny-encoder")
    assert (shipped.backbone.name, shipped.backbone.model.dtype) == ("tiny", torch.float32)
    shipped.save(tmp_path)
    again = MemoryEncoder.from_pretrained(tmp_path)
    assert again.encoder_id == shipped.encoder_id
    assert torch.equal(again.encode_batch(items[:2]), shipped.encode_batch(items[:2]))


def test_another_backbone_is_refused_by_name_when_it_is_given_by_folder(
    backbone: QwenVL, new_backbone: NewBackbone, tmp_path: Path
):
    save_tiny_base(new_backbone(), tmp_path / "base")
    with pytest.raises(ValueError, match=r"trained for backbone 'tiny' .*, but '.*base' has weights"):
        MemoryEncoder.from_pretrained("tiny-encoder", backbone=str(tmp_path / "base"))


def test_an_encoder_can_run_in_another_number_type_than_it_was_trained_in(items: Items, tmp_path: Path):
    full, half = (MemoryEncoder.from_pretrained("tiny-encoder", dtype=dtype) for dtype in (None, torch.bfloat16))
    assert half.backbone.model.dtype == half.encode_batch(items[:1]).dtype == torch.bfloat16
    assert {weight.dtype for weight in half.parameters().values()} == {torch.float32}
    assert half.encoder_id == full.encoder_id  # it is the same encoder, and their banks are of one kind
    torch.testing.assert_close(half.encode_batch(items[:3]).float(), full.encode_batch(items[:3]), rtol=0.1, atol=0.1)
    half.save(tmp_path)  # still belongs to the backbone that it was trained for
    assert MemoryEncoder.from_pretrained(tmp_path).encoder_id == full.encoder_id


def test_a_folder_without_an_encoder_or_an_unknown_name_is_refused_with_what_ships(tmp_path: Path):
    for name, found in (("huge-encoder", "there is no such folder"), (tmp_path, "encoder.safetensors is missing")):
        said = rf"{name} holds no encoder: {found}; the shipped encoders are: .*tiny-encoder"
        with pytest.raises(ValueError, match=said):
            MemoryEncoder.from_pretrained(name)


def test_an_encoder_is_named_by_its_weights_its_recipe_and_its_backbone(new_adapted_encoder: NewEncoder):
    encoder, again = new_adapted_encoder(), new_adapted_encoder()
    assert encoder.encoder_id == again.encoder_id
    assert new_adapted_encoder(lora_alpha=8).encoder_id != encoder.encoder_id  # the same weights, read another way
    before = encoder.encoder_id
    encoder.set_trainable(True)
    with torch.no_grad():
        encoder.qformer.latents_MD[0, 0] += 1e-6
    assert encoder.encoder_id != before
    encoder.set_trainable(False)
    assert encoder.encoder_id != before
