"""`python -m comem_core.measures.gate.half_known`: a world in which the frozen reader knows half of the answers itself.

The shipped base is trained further to answer the benchmark's questions about half of all countries without any item,
while it goes on reading items of imaginary countries. An encoder is then fitted to the new base: the shipped one,
trained some steps more on imaginary countries, whose facts no reader knows. So half of the questions can be answered
without memory, and the encoder has seen none of the answers. Run again, it resumes.
"""

import argparse
import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from random import Random
from typing import Any

import torch
from torch import Tensor, nn

from comem_core.backbone.conversation import Conversation
from comem_core.backbone.loading import load_backbone
from comem_core.backbone.qwen_vl import QwenVL
from comem_core.knowledge.items import Question
from comem_core.memory.checkpoint import copy_weights, read_weights
from comem_core.memory.description import WEIGHTS, find_encoder_folder
from comem_core.memory.encoder import MemoryEncoder
from comem_core.pretraining.base import ReadingObjective
from comem_core.pretraining.base_recipe import PretrainingRecipe, make_ranking_recipe
from comem_core.pretraining.encoder import ImaginaryMemory
from comem_core.pretraining.encoder_recipe import EncoderPretrainingRecipe
from comem_core.pretraining.tiny_base import run_resumable, save_tiny_base
from comem_core.training.loop import COUNTED, LossObjective, Training
from comem_core.training.loss import compute_token_losses
from comem_core.training.reports import StepReport
from comem_core.worlds.countries.splits import hash_to_unit
from comem_core.worlds.countries.world import PARTS, load_benchmark_questions

BASE, ENCODER = "tiny", "tiny-encoder"
EVERY = 25  # steps between two lines of progress


@dataclass(frozen=True, kw_only=True)
class HalfKnownRecipe:
    """What decides the world: which countries are known, and how the base and the encoder are trained further."""

    seed: int = 0
    known_share: float = 0.5
    # Questions about known countries in a step, all without items. Every other step of this many has a batch of the
    # base's own last phase beside them.
    num_questions: int = 48
    reading_every: int = 4
    # The languages in which facts are known; the others stay as they are.
    languages: tuple[str, ...] = ("en",)
    reading: PretrainingRecipe = field(default_factory=lambda: _make_reading_recipe(num_steps=200))
    encoder: EncoderPretrainingRecipe = field(default_factory=lambda: _make_encoder_recipe(num_steps=200))

    @classmethod
    def of(cls, *, seed: int = 0, base_steps: int = 200, encoder_steps: int = 200) -> "HalfKnownRecipe":
        """Return the recipe with another seed, which also chooses other countries, and other numbers of steps."""
        return cls(
            seed=seed,
            reading=_make_reading_recipe(num_steps=base_steps, seed=seed),
            encoder=_make_encoder_recipe(num_steps=encoder_steps, seed=seed),
        )


def _make_reading_recipe(*, num_steps: int, seed: int = 0) -> PretrainingRecipe:
    """Return the base's last phase with fewer conversations a step: enough that reading is not unlearnt."""
    recipe = make_ranking_recipe()
    (phase,) = recipe.curriculum
    optimizer = replace(recipe.optimizer, num_steps=num_steps, learning_rate=1.5e-3, seed=100 + seed)
    return replace(recipe, optimizer=optimizer, curriculum=(replace(phase, num_conversations=4, num_questions=3),))


def _make_encoder_recipe(*, num_steps: int, seed: int = 0) -> EncoderPretrainingRecipe:
    """Return the last phase of the encoder's start, at a lower rate: the encoder only follows its base."""
    recipe = EncoderPretrainingRecipe()
    optimizer = replace(recipe.optimizer, num_steps=num_steps, learning_rate=1e-3, seed=100 + seed)
    return replace(recipe, optimizer=optimizer, curriculum=(replace(recipe.curriculum[-1], share=1.0),))


def is_known(question: Question, *, seed: int = 0, share: float = 0.5) -> bool:
    """Tell whether the reader of a seed's world has learnt the answers about this question's country by heart."""
    return hash_to_unit("known by heart", str(seed), question.entity_id or "") < share


class KnowingByHeart(LossObjective):
    """Answering the benchmark's questions about known countries without items, beside the base's own reading task."""

    def __init__(self, backbone: QwenVL, recipe: HalfKnownRecipe):
        self.backbone, self.recipe = backbone, recipe
        self.reading = ReadingObjective(backbone, recipe.reading)
        self.questions = [
            each
            for part in PARTS
            for each in load_benchmark_questions(part)
            if each.language in recipe.languages and is_known(each, seed=recipe.seed, share=recipe.known_share)
        ]

    def trainable(self) -> Mapping[str, nn.Parameter]:
        return self.reading.trainable()

    def describe(self) -> Mapping[str, Any]:
        return {"recipe": asdict(self.recipe)}

    def loss(self, step: int) -> tuple[Tensor, Mapping[str, float]]:
        tokens = self.backbone.tokenize(self._draw(step), generation=False)
        hidden_BLD = self.backbone.hidden(self.backbone.embed(tokens))
        losses_S, predicted_S, right_S = compute_token_losses(
            self.backbone, hidden_BLD, tokens.ids_BL, tokens.answer_BL
        )
        value_S = ~torch.isin(right_S, self.backbone.turn_end_ids)
        known = float((predicted_S == right_S)[value_S].float().mean())
        measures = {"samples": float(len(tokens.ids_BL)), "tokens": float(tokens.mask_BL.sum()), "known": known}
        if step % self.recipe.reading_every:
            return losses_S.mean(), measures
        reading, of_reading = self.reading.loss(step)
        counted = {name: measures[name] + of_reading[name] for name in COUNTED}
        return reading + losses_S.mean(), {**measures, **of_reading, **counted}

    def _draw(self, step: int) -> list[Conversation]:
        random, prompts = Random(f"by-heart-{self.recipe.seed}-{step}"), self.reading.prompts
        asked = random.sample(self.questions, min(self.recipe.num_questions, len(self.questions)))
        return [
            prompts.make_conversation(each.question, each.image, each.language, answer=each.answers[0])
            for each in asked
        ]


def train_base(recipe: HalfKnownRecipe, folder: Path) -> None:
    """Train the shipped base further, and save it in `folder/base`."""
    backbone = _load_qwen(BASE)
    objective = KnowingByHeart(backbone, recipe)
    training = Training(objective, recipe.reading.optimizer)
    run_resumable(training, folder / "base.pt", _Progress(folder / "base.jsonl"))
    save_tiny_base(backbone, folder / "base")


def train_encoder(recipe: HalfKnownRecipe, folder: Path) -> None:
    """Fit the shipped encoder to the new base, and save it in `folder/encoder`."""
    start = find_encoder_folder(ENCODER)
    encoder = MemoryEncoder(_load_qwen(str(folder / "base")), recipe.encoder.encoder)
    copy_weights(read_weights(start / WEIGHTS), encoder.parameters())
    training = Training(ImaginaryMemory(encoder, recipe.encoder), recipe.encoder.optimizer)
    run_resumable(training, folder / "encoder.pt", _Progress(folder / "encoder.jsonl"))
    encoder.set_trainable(False)
    encoder.save(folder / "encoder")


def _load_qwen(name: str) -> QwenVL:
    backbone = load_backbone(name)
    assert isinstance(backbone, QwenVL), f"{name} is the tiny base or made from it"
    return backbone


@dataclass
class _Progress:
    """Prints now and then, and writes every step as a line of JSON."""

    path: Path

    def __call__(self, report: StepReport) -> None:
        with self.path.open("a", encoding="utf-8") as file:
            file.write(json.dumps({"step": report.step, "loss": report.loss, **report.measures}) + "\n")
        if report.step % EVERY == 0:
            shown = "  ".join(f"{name} {value:.3f}" for name, value in report.measures.items())
            print(
                f"{self.path.stem} {report.step:5d}  {report.seconds:.2f} s  loss {report.loss:.3f}  {shown}",
                flush=True,
            )


def main(arguments: Sequence[str] | None = None) -> None:
    """Make the world's base and encoder in `OUT/base` and `OUT/encoder`, unless they are there."""
    parser = argparse.ArgumentParser(prog="python -m comem_core.measures.gate.half_known", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the world: base, encoder, states and steps")
    parser.add_argument("--seed", type=int, default=0, help="seed, which also chooses the known countries (default 0)")
    parser.add_argument("--base-steps", type=int, default=200, help="steps of the base (default 200)")
    parser.add_argument("--encoder-steps", type=int, default=200, help="steps of the encoder (default 200)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    chosen = parser.parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    recipe = HalfKnownRecipe.of(seed=chosen.seed, base_steps=chosen.base_steps, encoder_steps=chosen.encoder_steps)
    chosen.out.mkdir(parents=True, exist_ok=True)
    for name, train in (("base", train_base), ("encoder", train_encoder)):
        if not (chosen.out / name).is_dir():
            train(recipe, chosen.out)
    print(f"saved {chosen.out / 'base'} and {chosen.out / 'encoder'}")


if __name__ == "__main__":
    main()
