"""Make the small base model that ships with the project: pretrained from nothing on imaginary countries."""

from prefect import flow

from comem_core.recipes import recipe_named
from tasks.pretrain import install_base, pretrain_base_model
from tasks.run import open_run
from tasks.store import Reference


@flow(name="pretrain-base")
def pretrain_base(num_steps: int | None = None, install: bool = False) -> Reference:
    """Pretrain the tiny base model; hours on a CPU, and it goes on where it was stopped.

    Args:
        num_steps: fewer or more steps than the recipe's (another recipe, so another model).
        install: put the finished model where the project ships it from.
    """
    with open_run("pretrain-base", recipe_named("tiny_cpu"), needs_backbone=False) as run:
        base = pretrain_base_model(run, num_steps=num_steps)
        if install:
            install_base(run, base)
        return base
