"""`tiny_cpu`: the whole story on a laptop CPU, in minutes, with the model that ships with the project."""

from comem_core.memory.encoder import EncoderRecipe
from comem_core.recipes.recipe import EvaluationRecipe, Recipe, SynthesisRecipe
from comem_core.training.loop import OptimizerRecipe
from comem_core.training.memory import TrainingRecipe


def tiny_cpu() -> Recipe:
    """A 2-million-parameter Qwen2.5-VL, the countries world, about a minute and a half of training."""
    return Recipe(
        name="tiny_cpu",
        synthesis=SynthesisRecipe(num_seed_questions=1200, num_asked_items=40, max_new_tokens=16),
        training=TrainingRecipe(
            encoder=EncoderRecipe(num_heads=4, match_embedding_norm=True),
            optimizer=OptimizerRecipe(
                num_steps=150,
                batch_size=16,
                learning_rate=1e-3,
                weight_decay=0.01,
                gradient_clip=1.0,
            ),
            random_item_count=True,
        ),
        evaluation=EvaluationRecipe(num_questions=400, max_new_tokens=16),
    )
