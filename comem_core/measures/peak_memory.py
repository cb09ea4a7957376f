"""Measures the memory that sharing one backbone between encoder and reader saves: the peak memory of a process.

Each layout, one copy or two, runs in its own process. It loads a random Qwen2.5-VL of about a hundred million
parameters from a folder, as one loads a real model, then encodes items and answers questions with their memory.
"""

import statistics
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from transformers import Qwen2_5_VLConfig, Qwen2_5_VLForConditionalGeneration

from comem_core.backbone.finding import find_backbone_folder
from comem_core.backbone.interface import Backbone
from comem_core.backbone.loading import load_backbone
from comem_core.backbone.qwen_vl import QwenVL
from comem_core.measures.training.processes import run_elsewhere
from comem_core.memory.encoder import MemoryEncoder
from comem_core.memory.injection import embed_with_memory
from comem_core.memory.recipe import EncoderRecipe
from comem_core.tracking.peaks import read_peak_bytes
from comem_core.worlds.countries.world import load_benchmark_questions, load_knowledge_items

LAYOUTS = ("one", "two")
NUM_RUNS = 3
NUM_QUESTIONS, NUM_ITEMS = 4, 3
WIDTH, NUM_LAYERS, NUM_HEADS = 768, 12, 12


@dataclass(frozen=True)
class Peaks:
    """In bytes: the peak resident size of a process in each layout, and the size of one copy's weights."""

    one_copy: float
    two_copies: float
    weights: float


def measure_peaks() -> Peaks:
    """Run the layouts alternately, each time in a new process, and take the median of each layout's peaks."""
    with tempfile.TemporaryDirectory() as folder:
        weights = save_large_model(Path(folder))
        peaks: dict[str, list[int]] = {layout: [] for layout in LAYOUTS}
        for _ in range(NUM_RUNS):
            for layout in LAYOUTS:
                peaks[layout].append(run_elsewhere("comem_core.measures.peak_memory", folder, layout))
    one, two = (statistics.median(peaks[layout]) for layout in LAYOUTS)
    return Peaks(one, two, weights)


def save_large_model(folder: Path) -> int:
    """Save a random model: the shipped tiny model with a larger language model. Returns the bytes of its weights."""
    small = load_backbone("tiny")
    stated = Qwen2_5_VLConfig.from_pretrained(find_backbone_folder("tiny")).to_dict()
    half = WIDTH // NUM_HEADS // 2
    stated["text_config"] |= {
        "hidden_size": WIDTH,
        "intermediate_size": 4 * WIDTH,
        "num_hidden_layers": NUM_LAYERS,
        "num_attention_heads": NUM_HEADS,
        "num_key_value_heads": NUM_HEADS,
        "layer_types": ["full_attention"] * NUM_LAYERS,
    }
    stated["text_config"]["rope_parameters"]["mrope_section"] = [half // 4, half * 3 // 8, half * 3 // 8]
    stated["vision_config"]["out_hidden_size"] = WIDTH
    torch.manual_seed(0)
    model = Qwen2_5_VLForConditionalGeneration(Qwen2_5_VLConfig(**stated))
    assert isinstance(small, QwenVL)
    model.save_pretrained(folder)
    small.processor.save_pretrained(folder)
    return sum(weight.numel() * weight.element_size() for weight in model.parameters())


def make_large_encoder(folder: str) -> MemoryEncoder:
    """Make a new encoder on the large model in a folder."""
    return MemoryEncoder(load_backbone(folder), EncoderRecipe(num_heads=NUM_HEADS))


def run_layout(folder: str, layout: str) -> None:
    """Encode items and answer questions, with the encoder's own backbone as reader or with a second copy of it."""
    torch.set_num_threads(1)
    encoder = make_large_encoder(folder)
    reader = encoder.backbone if layout == "one" else load_backbone(folder)
    items, questions = load_knowledge_items()[:NUM_ITEMS], load_benchmark_questions("dev")[:NUM_QUESTIONS]
    memory_KD = encoder.encode_batch(items).flatten(end_dim=1)
    conversations = [encoder.prompts.make_conversation(each.question, each.image, each.language) for each in questions]
    with torch.inference_mode(), reader.switch_adapter(False):
        tokens = reader.tokenize(conversations, generation=True)
        embedded = embed_with_memory(reader, tokens, [memory_KD] * NUM_QUESTIONS)
        reader.generated(embedded, tokens, max_new_tokens=4)
    refuse_shared_weights(encoder.backbone, reader, shared=layout == "one")


def refuse_shared_weights(one: Backbone, other: Backbone, *, shared: bool) -> None:
    """Assert that two backbones share their weights in memory, or share none of them."""
    places = [{weight.data_ptr() for weight in each.model.parameters()} for each in (one, other)]
    assert bool(places[0] & places[1]) == shared


if __name__ == "__main__":
    run_layout(*sys.argv[1:])
    print(read_peak_bytes())
