"""`smol_cpu`: a really pretrained model on a CPU, SmolLM2-135M in the Qwen2.5-VL class (docs/smol.md)."""

from comem_core.backbone.finding import SMOL
from comem_core.pretraining.naming_recipe import NamingRecipe
from comem_core.recipes.recipe import BackboneRecipe, EvaluationRecipe, Recipe, RetrievalRecipe, SynthesisRecipe
from comem_core.training.recipe import OptimizerRecipe, TrainingRecipe


def smol_cpu() -> Recipe:
    """Return the recipe: a pretrained reader of English on a small part of the countries world, a second per question.

    Drafts are written with worked examples in the prompt; questions with memory use the encoder's own prompt. Its
    encoder starts from one that was trained on invented passages.
    """
    return Recipe(
        name="smol_cpu",
        backbone=BackboneRecipe(name=SMOL),
        retrieval=RetrievalRecipe(grid=(2, 3)),  # a picture has six visual tokens here
        synthesis=SynthesisRecipe(
            num_seed_questions=240, num_asked_items=0, k=1, prompts="smol_shots", max_new_tokens=12
        ),
        own_synthesis=SynthesisRecipe(num_asked_items=60, k=1, prompts="smol_pairs", max_new_tokens=40),
        training=TrainingRecipe(
            encoder=NamingRecipe().encoder,
            start="smol-encoder",
            optimizer=OptimizerRecipe(num_steps=40, batch_size=6, learning_rate=3e-4, gradient_clip=1.0),
            items_per_sample=1,
        ),
        evaluation=EvaluationRecipe(num_questions=80, k=1, prompts="smol", max_new_tokens=12),
    )
