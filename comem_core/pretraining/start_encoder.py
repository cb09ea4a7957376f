"""`python -m comem_core.pretraining.start_encoder`: train an encoder's start on imaginary countries, with the recipe or
a changed one. Run again, it resumes where it was stopped.
"""

import argparse
import json
from collections.abc import Sequence
from dataclasses import asdict, replace
from pathlib import Path

import torch
from tqdm import tqdm

from comem_core.backbone.loading import load_backbone
from comem_core.backbone.qwen_vl import QwenVL
from comem_core.pretraining.encoder_recipe import EncoderPretrainingRecipe
from comem_core.pretraining.tiny_base import pretrain_encoder
from comem_core.training.reports import StepReport

PARTS = ("embeddings", "reconstruction", "likeness", "finding")


def main(arguments: Sequence[str] | None = None) -> None:
    """Train, and save the encoder in `OUT/encoder`."""
    chosen = _make_parser().parse_args(arguments)
    recipe = change_recipe(
        num_steps=chosen.num_steps, num_vectors=chosen.num_vectors, seed=chosen.seed, without=chosen.without
    )
    torch.set_num_threads(chosen.threads)
    chosen.out.mkdir(parents=True, exist_ok=True)
    _refuse_other_recipe(chosen.out / "recipe.json", recipe, base=chosen.base)
    backbone = load_backbone(chosen.base)
    if not isinstance(backbone, QwenVL):
        raise SystemExit(f"error: {chosen.base} is not a Qwen2.5-VL; the encoder's start is trained on the tiny base")
    with (
        tqdm(total=recipe.optimizer.num_steps, unit="step") as bar,
        (chosen.out / "steps.jsonl").open("a", buffering=1) as steps,
    ):

        def on_step(report: StepReport) -> None:
            bar.update(report.step - bar.n)
            bar.set_postfix(loss=f"{report.loss:.3f}", right=f"{report.measures['token_accuracy']:.3f}")
            steps.write(json.dumps({"step": report.step, "loss": report.loss, **report.measures}) + "\n")

        encoder = pretrain_encoder(recipe, backbone, chosen.out / "state.pt", on_step)
    encoder.save(chosen.out / "encoder")
    print(f"saved {chosen.out / 'encoder'}: {encoder}")


def change_recipe(
    *, num_steps: int | None = None, num_vectors: int | None = None, seed: int = 0, without: Sequence[str] = ()
) -> EncoderPretrainingRecipe:
    """Return the recipe with other steps, vectors or seed, without the named parts, which are ours, not the paper's."""
    recipe = EncoderPretrainingRecipe()
    encoder = replace(
        recipe.encoder,
        num_vectors=num_vectors or recipe.encoder.num_vectors,
        seed=seed,
        reads_embeddings="embeddings" not in without,
    )
    optimizer = replace(recipe.optimizer, seed=seed, num_steps=num_steps or recipe.optimizer.num_steps)
    left_out = {f"{name}_weight": 0.0 for name in without if name != "embeddings"}
    curriculum = tuple(replace(phase, **left_out) for phase in recipe.curriculum)
    return replace(recipe, encoder=encoder, optimizer=optimizer, curriculum=curriculum)


def _refuse_other_recipe(path: Path, recipe: EncoderPretrainingRecipe, *, base: str) -> None:
    """Exit with an error if the folder holds a run of another recipe: resuming would mix two runs."""
    stated = json.dumps({"base": base, "recipe": asdict(recipe)}, indent=2)
    if path.is_file() and path.read_text(encoding="utf-8") != stated:
        raise SystemExit(f"error: {path.parent} holds a run of another recipe (see {path}); give another --out")
    path.write_text(stated, encoding="utf-8")


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m comem_core.pretraining.start_encoder", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of the run: its state, steps and encoder")
    parser.add_argument("--base", default="tiny", help="backbone to train on (default: the shipped tiny)")
    parser.add_argument("--num-steps", type=int, help="optimizer steps (default: the recipe's)")
    parser.add_argument("--num-vectors", type=int, help="memory vectors per item (default: the recipe's)")
    parser.add_argument("--seed", type=int, default=0, help="seed of weights and batches (default 0)")
    parser.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
    parser.add_argument(
        "--without", nargs="*", choices=PARTS, default=(), help="leave out these parts, which are not in the paper"
    )
    return parser


if __name__ == "__main__":
    main()
