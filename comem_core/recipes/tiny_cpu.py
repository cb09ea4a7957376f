"""`tiny_cpu`: the whole pipeline on a laptop's CPU in minutes, with the models that ship with the project."""

from comem_core.pretraining.encoder_recipe import EncoderPretrainingRecipe
from comem_core.recipes.recipe import EvaluationRecipe, Recipe, RetrievalRecipe, SynthesisRecipe
from comem_core.training.recipe import OptimizerRecipe, TrainingRecipe


def tiny_cpu() -> Recipe:
    """Return the recipe: a Qwen2.5-VL of 2 million parameters on the countries world.

    Its encoder starts from one that was trained on imaginary countries.
    """
    return Recipe(
        name="tiny_cpu",
        # As many cells as a 4:3 picture has visual tokens; docs/log.md has the cost of fewer.
        retrieval=RetrievalRecipe(grid=(3, 4)),
        synthesis=SynthesisRecipe(num_seed_questions=1200, num_asked_items=40, max_new_tokens=16),
        training=TrainingRecipe(
            encoder=EncoderPretrainingRecipe().encoder,
            start="tiny-encoder-start",
            distractor_share=0.4,
            optimizer=OptimizerRecipe(
                num_steps=100,
                batch_size=16,
                learning_rate=3e-4,
                weight_decay=0.01,
                gradient_clip=1.0,
            ),
        ),
        evaluation=EvaluationRecipe(num_questions=400, max_new_tokens=16, foreign="imaginary-countries"),
    )
