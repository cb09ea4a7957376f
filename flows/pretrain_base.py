"""Make the models that ship with the project, on imaginary countries: a base, and an encoder to start from."""

from prefect import flow

from comem_core.pretraining.base_recipe import PretrainingRecipe, make_finding_recipe, make_ranking_recipe
from comem_core.pretraining.encoder_recipe import EncoderPretrainingRecipe
from comem_core.recipes import find_recipe
from tasks.engine.store import Reference
from tasks.evaluation.ending import end_with_explanation
from tasks.run import open_run
from tasks.training.pretrain import install_models, pretrain_base_further, pretrain_base_model, pretrain_encoder_start


@flow(name="pretrain-base")
@end_with_explanation
def pretrain_base(install: bool = False) -> Reference:
    """Pretrain the tiny base model and its encoder's start: about two hours on a CPU; a stopped run resumes.

    Args:
        install: copy the finished models into the project's folder of shipped models.
    """
    with open_run("pretrain-base", find_recipe("tiny_cpu"), needs_backbone=False) as run:
        reading = pretrain_base_model(run, PretrainingRecipe())
        finding = pretrain_base_further(run, reading, make_finding_recipe())
        base = pretrain_base_further(run, finding, make_ranking_recipe())
        encoder = pretrain_encoder_start(run, base, EncoderPretrainingRecipe())
        if install:
            install_models(base, encoder)
        return encoder
