"""What the tests of comem_core share: a small random Qwen2.5-VL of the real class, real items and real questions."""

import copy
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from transformers import Qwen2Config, Qwen2ForCausalLM

from comem_core.backbone.qwen_vl import QwenVL
from comem_core.backbone.small.tiny_recipe import TinyBackboneRecipe
from comem_core.backbone.text import TextModel
from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.memory.encoder import MemoryEncoder
from comem_core.memory.recipe import EncoderRecipe
from comem_core.pretraining.base_recipe import PretrainingRecipe
from comem_core.pretraining.tiny_base import make_tiny_base
from comem_core.worlds.countries.world import load_benchmark_questions, load_knowledge_items

SMALL = TinyBackboneRecipe(
    width=64,
    num_layers=2,
    num_heads=4,
    num_key_value_heads=4,
    feed_forward_width=96,
    vision_width=32,
    vision_layers=2,
    vision_heads=2,
    vision_feed_forward_width=48,
)
# As Qwen2.5's own: a turn's words are one string.
TEXT_TEMPLATE = (
    "{% for message in messages %}{{ '<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>\n' }}"
    "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
)


@pytest.fixture(scope="session")
def pretraining_recipe() -> PretrainingRecipe:
    return PretrainingRecipe(backbone=SMALL)


@pytest.fixture(scope="session")
def backbone(pretraining_recipe: PretrainingRecipe) -> QwenVL:
    """A random model that no test changes.

    What its layers add is large, unlike before any training: a wrong position or mask has to show in the output.
    """
    made = make_tiny_base(pretraining_recipe)
    torch.manual_seed(1)
    with torch.no_grad():
        for name, weight in made.model.named_parameters():
            if weight.ndim > 1 and (".layers." in name or ".blocks." in name):
                weight.normal_(std=0.2)
    return made


@pytest.fixture(scope="session")
def new_backbone(backbone: QwenVL) -> Callable[[], QwenVL]:
    """Return a function that makes a copy of `backbone` to change."""
    return lambda: QwenVL(copy.deepcopy(backbone.model), backbone.processor, backbone.name)


@pytest.fixture(scope="session")
def new_encoder(new_backbone: Callable[[], QwenVL]) -> Callable[..., MemoryEncoder]:
    """Return a function (**changes to the recipe) -> an untrained encoder on a backbone of its own."""
    return lambda **changes: MemoryEncoder(new_backbone(), replace(EncoderRecipe(num_heads=4, lora_rank=4), **changes))


@pytest.fixture(scope="session")
def new_adapted_encoder(new_encoder: Callable[..., MemoryEncoder]) -> Callable[..., MemoryEncoder]:
    """As `new_encoder`, with a random LoRA (it starts at nothing), so that it matters whether it is on."""

    def make(**changes: Any) -> MemoryEncoder:
        made = new_encoder(**changes)
        torch.manual_seed(5)
        with torch.no_grad():
            for name, weight in made.parameters().items():
                if "lora_B" in name:
                    weight.normal_(std=0.1)
        return made

    return make


@pytest.fixture(scope="session")
def encoder(new_adapted_encoder: Callable[..., MemoryEncoder]) -> MemoryEncoder:
    """An encoder with a random LoRA that no test changes."""
    return new_adapted_encoder()


@pytest.fixture(scope="session")
def new_text_model(backbone: QwenVL) -> Callable[..., TextModel]:
    """Return a function (width, **changes to the configuration) -> a random text-only model of the Qwen2.5 class."""

    def make(width: int, **changes: Any) -> TextModel:
        tokenizer = copy.deepcopy(backbone.tokenizer)
        tokenizer.chat_template = TEXT_TEMPLATE
        torch.manual_seed(2)
        config = Qwen2Config(
            vocab_size=len(tokenizer),
            hidden_size=width,
            intermediate_size=2 * width,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            initializer_range=0.2,  # a head that can be sure of something
            pad_token_id=tokenizer.pad_token_id,
            eos_token_id=tokenizer.eos_token_id,
            **changes,
        )
        return TextModel(Qwen2ForCausalLM(config), tokenizer, "text")

    return make


@pytest.fixture(scope="session")
def items() -> tuple[KnowledgeItem, ...]:
    """Six items of six countries, in five languages, of different lengths."""
    return tuple(load_knowledge_items()[place] for place in (0, 46, 107, 213, 374, 500))


@pytest.fixture(scope="session")
def questions() -> tuple[Question, ...]:
    """Six questions of six kinds in several languages, with pictures of different sizes."""
    chosen: dict[str | None, Question] = {}
    for place, question in enumerate(load_benchmark_questions("dev")):
        if place % 3 == 0:
            chosen.setdefault(question.attribute, question)
    return tuple(chosen.values())[:6]
