"""Merged export: it answers like the adapter and opens without PEFT, or it is refused and nothing is left."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from transformers import AutoModelForImageTextToText

from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.memory.encoder import MemoryEncoder
from comem_core.memory.export import BACKBONE, DESCRIPTION, QFORMER, MergedEncoder, Probe, Tolerance, export_merged

Items = tuple[KnowledgeItem, ...]
NewEncoder = Callable[..., MemoryEncoder]
ANYTHING = Tolerance(memory=100.0, answers=1.0)


@pytest.fixture
def probes(items: Items, questions: tuple[Question, ...]) -> list[Probe]:
    return [Probe(question=each, items=(items[place], items[0])) for place, each in enumerate(questions[:4])]


@pytest.fixture
def exported(encoder: MemoryEncoder, probes: list[Probe], tmp_path: Path) -> Path:
    export_merged(encoder, tmp_path / "merged", probes)
    return tmp_path / "merged"


def test_a_merged_encoder_gives_the_memories_and_answers_of_the_adapter(
    exported: Path, encoder: MemoryEncoder, items: Items, questions: tuple[Question, ...]
):
    merged = MergedEncoder.load(exported)
    assert not any("lora" in name for name, _ in merged.backbone.model.named_modules())
    torch.testing.assert_close(merged.encode_batch(items), encoder.encode_batch(items), rtol=1e-3, atol=1e-3)
    bank = merged.encode(items)
    shown = [[item.item_id for item in items[:3]]] * len(questions)
    by_merged = encoder.answer(questions, bank, item_ids=shown, max_new_tokens=6)
    assert by_merged == encoder.answer(questions, encoder.encode(items), item_ids=shown, max_new_tokens=6)


def test_without_its_lora_an_encoder_would_not_pass(encoder: MemoryEncoder, new_encoder: NewEncoder, items: Items):
    plain = new_encoder()  # the same Q-Former, and a LoRA that does nothing
    assert not torch.allclose(plain.encode_batch(items), encoder.encode_batch(items), rtol=0.1, atol=0.1)


def test_the_backbones_folder_opens_with_transformers_alone(exported: Path, encoder: MemoryEncoder, items: Items):
    model = AutoModelForImageTextToText.from_pretrained(exported / BACKBONE)
    conversations = [encoder.prompts.make_item_conversation(item) for item in items[:2]]
    tokens = encoder.backbone.tokenize(conversations, generation=False)
    with torch.inference_mode(), encoder.reading():
        expected_BLD = encoder.backbone.hidden(encoder.backbone.embed(tokens))
        found_BLD = model.model(
            input_ids=tokens.ids_BL, attention_mask=tokens.mask_BL.long(), **tokens.images
        ).last_hidden_state
    torch.testing.assert_close(found_BLD[tokens.mask_BL], expected_BLD[tokens.mask_BL], rtol=1e-3, atol=1e-3)


def test_every_adapted_weight_is_the_bases_plus_the_scaled_product(exported: Path, encoder: MemoryEncoder):
    merged, base = MergedEncoder.load(exported).backbone.model.state_dict(), encoder.backbone.model.state_dict()
    lora, recipe, num_adapted = encoder.parameters(), encoder.recipe, 0
    for name, weight in base.items():
        if ".base_layer.weight" in name:
            down, up = (lora[name.replace("base_layer", f"{part}.memory")] for part in ("lora_A", "lora_B"))
            weight = weight + recipe.lora_alpha / recipe.lora_rank * (up @ down).detach()
            num_adapted += 1
        if "lora_" not in name:
            torch.testing.assert_close(merged[name.replace(".base_layer", "")], weight)
    assert num_adapted == len(encoder.backbone.list_lora_targets()) / 3  # a LoRA's two halves are linear layers too


def test_an_export_leaves_the_encoder_and_its_reader_as_they_were(
    new_adapted_encoder: NewEncoder, probes: list[Probe], items: Items, tmp_path: Path
):
    encoder = new_adapted_encoder()
    weights, memory_BMD = encoder.backbone.hash_base_weights(), encoder.encode_batch(items[:2])
    export_merged(encoder, tmp_path / "merged", probes)
    assert encoder.backbone.hash_base_weights() == weights
    assert torch.equal(encoder.encode_batch(items[:2]), memory_BMD)


def test_the_description_says_what_it_was_made_from_and_how_far_it_is_off(exported: Path, encoder: MemoryEncoder):
    stated = json.loads((exported / DESCRIPTION).read_text())
    assert (stated["encoder_id"], stated["reader"]) == (encoder.encoder_id, "tiny")
    assert stated["reader_sha256"] == encoder.backbone.hash_base_weights() != stated["merged_sha256"]
    assert 0 < stated["compared"]["memory"] < 1e-3
    assert stated["compared"]["num_items"] == stated["compared"]["num_answers"] == 4
    assert stated["compared"]["changed_answers"] == 0


def test_rounding_beyond_the_tolerance_is_refused_with_how_far_it_is_off_and_leaves_nothing(
    probes: list[Probe], tmp_path: Path
):
    shipped, strict = MemoryEncoder.from_pretrained("tiny-encoder"), Tolerance(memory=1e-3)
    refused = r"do not answer like .* of 4 items differ by up to 0\.\d+% of their norm \(at most 0\.10% is allowed\)"
    with pytest.raises(ValueError, match=refused):
        export_merged(shipped, tmp_path / "merged", probes, dtype=torch.bfloat16, tolerance=strict)
    assert list(tmp_path.iterdir()) == []
    stated = export_merged(shipped, tmp_path / "merged", probes, tolerance=strict)  # float32, as it was trained
    assert stated.compared["memory"] < 1e-4


def test_a_half_precision_backbone_is_merged_in_its_own_type_or_in_float32(probes: list[Probe], tmp_path: Path):
    half = MemoryEncoder.from_pretrained("tiny-encoder", dtype=torch.bfloat16)
    for dtype, stated in ((None, torch.bfloat16), (torch.float32, torch.float32)):
        # Unrelated items are shown, so that some answers hang by a thread.
        export_merged(half, tmp_path / str(dtype), probes, dtype=dtype, tolerance=Tolerance(answers=0.5))
        assert MergedEncoder.load(tmp_path / str(dtype)).backbone.model.dtype == stated


def test_answers_that_differ_are_refused_however_near_the_memories_may_be(
    encoder: MemoryEncoder, probes: list[Probe], tmp_path: Path
):
    near = replace(ANYTHING, answers=0.0)  # a random model's answers turn at the slightest touch
    with pytest.raises(ValueError, match=r"and [1-4] of 4 greedy answers differ \(at most 0%\)"):
        export_merged(encoder, tmp_path / "merged", probes, dtype=torch.bfloat16, tolerance=near)
    assert list(tmp_path.iterdir()) == []
    stated = export_merged(encoder, tmp_path / "merged", probes, dtype=torch.bfloat16, tolerance=ANYTHING)
    assert MergedEncoder.load(tmp_path / "merged").backbone.model.dtype == torch.bfloat16
    assert stated.compared["changed_answers"] > 0
    assert stated.tolerance == {"memory": 100.0, "answers": 1.0}


def test_weights_that_leave_half_precisions_range_are_refused(
    new_adapted_encoder: NewEncoder, probes: list[Probe], tmp_path: Path
):
    encoder = new_adapted_encoder()
    with torch.no_grad():  # finite in float32, far beyond what float16 holds
        next(weight for name, weight in encoder.parameters().items() if "lora_B" in name).mul_(1e7)
    with pytest.raises(ValueError, match="differ by up to inf%"):
        export_merged(encoder, tmp_path / "merged", probes, dtype=torch.float16, tolerance=ANYTHING)
    assert list(tmp_path.iterdir()) == []


def test_what_was_changed_after_the_export_is_refused(exported: Path):
    weights = load_file(exported / BACKBONE / "model.safetensors")
    changed = next(name for name in weights if name.endswith("q_proj.weight"))
    weights[changed][0, 0] += 1
    save_file(weights, exported / BACKBONE / "model.safetensors", metadata={"format": "pt"})
    with pytest.raises(ValueError, match=r"has weights [0-9a-f]{12}, but [0-9a-f]{12} were exported"):
        MergedEncoder.load(exported)


def test_a_missing_or_unknown_key_or_part_is_refused_by_name(exported: Path):
    weights = load_file(exported / QFORMER)
    save_file(weights | {"gate": torch.zeros(1)}, exported / QFORMER)
    with pytest.raises(ValueError, match="1 weights in the checkpoint are unknown here, first 'gate'"):
        MergedEncoder.load(exported)
    del weights["latents_MD"]
    save_file(weights, exported / QFORMER)
    with pytest.raises(ValueError, match=r"'num_vectors' in the recipe in .* is 8, but its weights have none"):
        MergedEncoder.load(exported)
    (exported / QFORMER).unlink()
    with pytest.raises(ValueError, match=r"holds no merged encoder: qformer\.safetensors is missing"):
        MergedEncoder.load(exported)


def test_search_is_refused_since_the_merged_tower_sees_otherwise_than_the_reader(exported: Path, items: Items):
    merged = MergedEncoder.load(exported)
    with pytest.raises(ValueError, match="cannot embed pictures for search: its vision tower holds the LoRA"):
        merged.encode(items[:1], grid=(1, 1))


def test_no_probe_and_a_folder_that_is_there_are_refused_before_any_work(
    encoder: MemoryEncoder, probes: list[Probe], tmp_path: Path
):
    for none in ([], [replace(probes[0], items=())]):
        with pytest.raises(ValueError, match="give questions, each with its items"):
            export_merged(encoder, tmp_path / "merged", none)
    (tmp_path / "merged").mkdir()
    with pytest.raises(ValueError, match="merged exists already; choose another name"):
        export_merged(encoder, tmp_path / "merged", probes)
