"""Makes the tiny base model from scratch: its tokenizer from the closed vocabulary, and a resumable pretraining."""

import copy
import os
from collections.abc import Callable, Iterator
from pathlib import Path

import torch

from comem_core.backbone.qwen_vl import QwenVL
from comem_core.backbone.small.tiny import build_tiny, build_tokenizer
from comem_core.memory.encoder import MemoryEncoder
from comem_core.pretraining.base import ReadingObjective
from comem_core.pretraining.base_recipe import PretrainingRecipe
from comem_core.pretraining.encoder import ImaginaryMemory
from comem_core.pretraining.encoder_recipe import EncoderPretrainingRecipe
from comem_core.pretraining.guidance import start_matching
from comem_core.prompts import read_prompt_set
from comem_core.training.loop import Training
from comem_core.training.reports import StepReport
from comem_core.worlds.countries.world import list_vocabulary, read_templates

SAVE_EVERY = 100


def make_tiny_base(recipe: PretrainingRecipe) -> QwenVL:
    """Make a random model whose tokenizer has every word of the prompts and templates, and every name and value."""
    prompts = read_prompt_set(recipe.prompts)
    sentences = [prompts.system, *prompts.remark.values()]
    for language in recipe.languages:
        sentences += [*_list_texts(read_templates()[language]), *_list_texts(prompts.ask[language])]
    kinds = list_vocabulary()
    tokenizer = build_tokenizer(sentences, (value for values in kinds.values() for value in values))
    return build_tiny(recipe.backbone, tokenizer, kinds)


def pretrain(recipe: PretrainingRecipe, state_path: Path, on_step: Callable[[StepReport], None]) -> QwenVL:
    """Pretrain the base to the end of its recipe; resumes from a saved state."""
    backbone = make_tiny_base(recipe)
    run_resumable(Training(ReadingObjective(backbone, recipe), recipe.optimizer), state_path, on_step)
    backbone.model.requires_grad_(False)
    return backbone


def go_on(
    recipe: PretrainingRecipe, backbone: QwenVL, state_path: Path, on_step: Callable[[StepReport], None]
) -> QwenVL:
    """Train a base further with another recipe, which does not change its shape; resumes from a saved state."""
    if recipe.guidance is not None and recipe.guidance.matching_strength:
        start_matching(backbone, recipe.guidance)
    run_resumable(Training(ReadingObjective(backbone, recipe), recipe.optimizer), state_path, on_step)
    backbone.model.requires_grad_(False)
    return backbone


def pretrain_encoder(
    recipe: EncoderPretrainingRecipe, backbone: QwenVL, state_path: Path, on_step: Callable[[StepReport], None]
) -> MemoryEncoder:
    """Train the encoder's start on a finished base; resumes from a saved state."""
    encoder = MemoryEncoder(backbone, recipe.encoder)
    run_resumable(Training(ImaginaryMemory(encoder, recipe), recipe.optimizer), state_path, on_step)
    encoder.set_trainable(False)
    return encoder


def run_resumable(training: Training, state_path: Path, on_step: Callable[[StepReport], None]) -> None:
    """Train to the end, saving the state every `SAVE_EVERY` steps; resumes from a saved state."""
    if state_path.exists():
        training.load(torch.load(state_path, weights_only=True))
    while not training.done:
        training.run(on_step, until=(training.step // SAVE_EVERY + 1) * SAVE_EVERY)
        save_state(training, state_path)


def save_state(training: Training, path: Path) -> None:
    """Write a state atomically: a crash leaves the old file or the new one, never a part of one."""
    path.parent.mkdir(parents=True, exist_ok=True)
    beside = path.with_suffix(".tmp")
    torch.save(training.state(), beside)
    os.replace(beside, path)


def save_tiny_base(backbone: QwenVL, folder: Path) -> None:
    """Save model (half precision) and processor as one folder in the format of the model family."""
    folder.mkdir(parents=True, exist_ok=True)
    copy.deepcopy(backbone.model).half().save_pretrained(folder)
    backbone.processor.save_pretrained(folder)


def _list_texts(words: object) -> Iterator[str]:
    if isinstance(words, str):
        plain = words.replace("{value}", "0")
        yield from (plain, f" {plain}")  # a word at the start of a text is another token than after a space
    elif isinstance(words, dict):
        for part in words.values():
            yield from _list_texts(part)
    elif isinstance(words, list):
        for part in words:
            yield from _list_texts(part)
