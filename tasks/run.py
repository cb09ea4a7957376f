"""A run: its recipe, its backbone and its context; opened before the first stage and closed after the last.

Workers import this module for `Run`. Importing Prefect and rich takes seconds, so they are imported only where a run is
opened or shown.
"""

import contextlib
import time
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, replace
from functools import partial as bind
from pathlib import Path
from typing import Any
from uuid import uuid4

import filelock

from comem_core.backbone.quantization import find_quantization_fault
from comem_core.evaluation.conditions import condition_rows
from comem_core.evaluation.llm_judge import read_judge_prompts
from comem_core.knowledge.corpus_names import find_address
from comem_core.memory.recipe import EncoderRecipe
from comem_core.recipes.prompts import check_prompts
from comem_core.recipes.recipe import EvaluationRecipe, JudgeRecipe, KnowledgeRecipe, Recipe, RetrievalRecipe
from comem_core.recipes.retrieval import check_retrieval
from tasks.devices import describe_missing_gpu
from tasks.engine.context import Context, ParameterRefused, RunRef, refuse_faults
from tasks.engine.on_ray import join_ray, start_workers
from tasks.engine.plan import start_planning
from tasks.engine.rebuild import find_history, mend_warehouse, put_history
from tasks.engine.reuse import explain_older_names
from tasks.engine.store import Reference, Store
from tasks.engine.telling import get_stage_logger, write_plan
from tasks.engine.workers import Workers
from tasks.recorded_recipes import STATED
from tasks.served import ServedHere, find_served_judge, find_served_model
from tasks.sources import (
    BACKBONE,
    NO_BACKBONE,
    READER,
    WRITER,
    describe_sources,
    find_backbone,
    find_run_backbone,
    find_served_here,
    find_text_reader,
    name_engine,
)
from warehouse.commands.metrics import refresh_metrics
from warehouse.connection import open_warehouse
from warehouse.declared import declare_conditions, declare_stages
from warehouse.history import finish_killed, keep_runs
from warehouse.records import finish_run, record_run

METRICS = ".prom"
"""How the file beside the warehouse ends that Prometheus reads."""
# Modules that every worker with a model needs; importing them takes seconds.
MODEL_MODULES = ("comem_core.backbone.loading", "comem_core.memory.transfer")

# Shares of the time allowed by which asking and drafting must end; the rest is for judging.
ASKED_BY, DRAFTED_BY = 0.3, 0.65


class NothingKept(ValueError):
    """The end of a run that has nothing to train on or to ask: not a fault of the program. The message explains it."""


@dataclass(frozen=True, kw_only=True)
class Run(RunRef):
    """The first argument of every stage.

    `backbone` names the VLM's weights by their hash. `reader` names the weights of a text-only model that answers in
    its place, `engine` the program that runs the backbone where it answers; with None, this library. `writer` and
    `judge` are models that the run serves itself. `max_hours` limits how long asking, drafting and
    judging may take together, counted from `started` (in seconds since 1970).
    """

    recipe: Recipe
    backbone: Reference
    reader: Reference | None = None
    engine: Reference | None = None
    writer: ServedHere | None = None
    judge: ServedHere | None = None
    started: float = 0.0
    max_hours: float | None = None

    @property
    def recipe_fields(self) -> dict[str, Any]:
        """The recipe as plain values, as the warehouse has it."""
        return asdict(self.recipe)

    @property
    def answers(self) -> Reference:
        """The model that answers a benchmark's questions, and what runs it if that is not this library."""
        return self.reader or self.engine or self.backbone

    def with_recipe(
        self,
        *,
        knowledge: KnowledgeRecipe | None = None,
        encoder: EncoderRecipe | None = None,
        evaluation: EvaluationRecipe | None = None,
        retrieval: RetrievalRecipe | None = None,
    ) -> "Run":
        """Return the run with these parts of its recipe replaced."""
        recipe = self.recipe
        changed = replace(
            recipe,
            knowledge=knowledge or recipe.knowledge,
            training=replace(recipe.training, encoder=encoder or recipe.training.encoder),
            evaluation=evaluation or recipe.evaluation,
            retrieval=retrieval or recipe.retrieval,
        )
        return replace(self, recipe=changed)

    def find_foreign_knowledge(self) -> "Run | None":
        """Return the run with the corpus of the condition `foreign`; None if the recipe does not ask that condition."""
        asked = self.recipe.evaluation
        if asked.foreign is None or "foreign" not in asked.conditions:
            return None
        return self.with_recipe(knowledge=replace(self.recipe.knowledge, corpus=asked.foreign))

    def find_deadline(self, share: float) -> float | None:
        """Return when a share of the time allowed is over (in seconds since 1970); None if the time has no limit."""
        return None if self.max_hours is None else self.started + share * self.max_hours * 3600


@contextlib.contextmanager
def open_run(
    flow: str,
    recipe: Recipe,
    *,
    needs_backbone: bool = True,
    needs_generator: bool = False,
    plan: bool = False,
    max_hours: float | None = None,
    stated: object = None,
    on_cpu: bool = False,
) -> Iterator[Run]:
    """Check what the run needs, record its start and start Ray; at the end record its outcome and stop Ray.

    With `plan` the stages of the block make nothing; the end shows what each of them would do. `stated` is the option
    that gave the recipe: fields of a user's own recipe are recorded with the run. `on_cpu` lets a model that is made
    for GPUs run on the CPU; a plan only says so.

    Raises:
        ParameterRefused: the backbone or reader is missing or of the wrong kind, or made for GPUs of which none would
            be used; the library for a quantised backbone is missing; the context has faults (all are listed); the
            prompts of the recipe's parts do not agree; the items cannot be retrieved as the recipe says; the served
            model that writes the data has no address; vLLM is to serve a model but is not installed; the data are to be
            translated into a language without a name; or the judge has no address or is unknown there.
        ServerGone: no server answers at the judge's address.
    """
    from prefect.runtime import flow_run

    recipe = with_addresses(recipe)
    with refuse_faults():
        context = Context.from_environment()
        context.check()
        if older := explain_older_names(Store.of(context), remember=not plan):
            get_stage_logger().warning("%s", older)
        if needs_generator:
            _check_writing(recipe, context)
        if needs_backbone:
            check_retrieval(recipe)
        if recipe.evaluation.judge:
            _check_judge(recipe.evaluation.judge, context, ask=not plan)
        backbone, notes = find_run_backbone(recipe) if needs_backbone else (NO_BACKBONE, [])
        if needs_backbone and (lacking := find_quantization_fault(recipe.backbone.quantization)):
            notes.append(lacking)
            if not plan:
                raise ParameterRefused(lacking)
        if needs_backbone and (said := describe_missing_gpu(recipe, backbone, context)):
            notes.append(said)
            if not plan and not on_cpu:
                raise ParameterRefused(f"{said}. To run it on the CPU all the same, for days perhaps: -p on_cpu=true")
        if needs_backbone and not plan and not backbone.uri:
            backbone = find_backbone(recipe.backbone)  # asked for only now, for a download may take an hour
        judge = recipe.evaluation.judge
        find_here = bind(find_served_here, recipe=recipe, backbone=backbone, context=context, plan=plan)
        run_id = flow_run.id or uuid4().hex
        run = Run(
            run_id=run_id,
            recipe_name=recipe.name,
            context=context,
            recipe=recipe,
            backbone=backbone,
            reader=find_text_reader(recipe),
            engine=name_engine(recipe, backbone, context),
            writer=find_here(recipe.synthesis.generator) if needs_generator else None,
            judge=find_here(judge.generator) if judge else None,
            started=time.time(),
            max_hours=max_hours,
        )
    if plan:
        with start_planning() as planned:
            planned.notes += notes
            yield run
        write_plan(planned)
        return
    for note in notes:
        get_stage_logger().warning("%s", note)
    started = {"run_id": run_id, "flow": flow, "recipe_name": recipe.name, "recipe": asdict(recipe)}
    if isinstance(stated, Mapping):
        started["recipe"][STATED] = dict(stated)
    if mended := mend_warehouse(context):
        get_stage_logger().warning("%s", mended)
    with hold_run(context, str(run_id)) as killed:
        with open_warehouse(context.warehouse) as con:
            finish_killed(con, killed)
            record_run(con, started | {"flow_run_id": flow_run.id})
            declare_conditions(con, condition_rows())
            declare_stages(con, [BACKBONE.row, READER.row, WRITER.row])
        status, error = "failed", "interrupted"
        try:
            with join_ray(context, bind(describe_sources, recipe, context.vllm_python)):
                yield run
            status, error = "completed", None
        except (NothingKept, ParameterRefused) as ended:
            error = str(ended)[:1000]
            raise
        except Exception as failure:
            error = f"{type(failure).__name__}: {failure}"[:1000]
            raise
        finally:
            with open_warehouse(context.warehouse) as con:
                finish_run(con, run_id, status=status, error=error)
                keep_runs(con, find_history(context), ended=run_id)
                refresh_metrics(con, context.warehouse.with_suffix(METRICS))
            put_history(context)


@contextlib.contextmanager
def hold_run(context: Context, run_id: str) -> Iterator[list[str]]:
    """Hold a lock that ends with this process, and yield the runs of this machine that were killed: their locks are
    free, and only the end of a run removes its own."""
    folder, killed = Path(f"{context.warehouse}.runs"), []
    folder.mkdir(parents=True, exist_ok=True)
    for path in folder.glob("*.lock"):
        with contextlib.suppress(filelock.Timeout), filelock.FileLock(path, timeout=0):
            killed.append(path.stem)
            path.unlink()
    path = folder / f"{run_id}.lock"
    with filelock.FileLock(path):
        try:
            yield killed
        finally:
            path.unlink()


def with_addresses(recipe: Recipe) -> Recipe:
    """Return the recipe with the addresses of its corpora, by which later runs tell whether they have the same ones."""
    knowledge, asked = recipe.knowledge, recipe.evaluation
    return replace(
        recipe,
        knowledge=replace(knowledge, corpus=find_address(knowledge.corpus)),
        evaluation=replace(asked, foreign=None if asked.foreign is None else find_address(asked.foreign)),
    )


def warm_workers(run: Run) -> None:
    """Start the workers and their imports, which the next stages need, while this process still reads new data.

    A run that reuses everything never calls this, and starts no worker.
    """
    start_workers(Workers.of(run.context), modules=MODEL_MODULES)


def _check_writing(recipe: Recipe, context: Context) -> None:
    """Check at the start what would stop the stages that write data, because they come late in a run."""
    find_served_model(recipe.synthesis, context)
    check_prompts(recipe)


def _check_judge(recipe: JudgeRecipe, context: Context, *, ask: bool) -> None:
    """Check what would stop a judge: unknown prompts, no address and, with `ask`, a server without the model."""
    read_judge_prompts(recipe.prompts)
    if (judge := find_served_judge(recipe, context)) and ask:
        judge.check()
