"""The main story: make question-answer data, keep the good part, train a memory encoder on it, score it."""

from prefect import flow

from comem_core.recipes.scaling import Variant
from flows.evaluating import evaluate
from flows.options import (
    BackboneOption,
    Filled,
    JudgeOption,
    KnowledgeOption,
    LimitOption,
    ReaderOption,
    RecipeOption,
    Seed,
    WritingOption,
)
from flows.recipes import as_limits, recipe_to_train
from tasks.data.benchmarks import collect_benchmark
from tasks.data.card import JudgedSet, write_card
from tasks.data.filter import filter_qa
from tasks.data.hold_out import hold_out
from tasks.data.index import build_index
from tasks.data.ingest import ingest_knowledge
from tasks.data.kept_apart import collect_against
from tasks.data.preview import say_preview
from tasks.data.questions import pose_questions
from tasks.data.retrieve import retrieve
from tasks.data.synthesize import judge_qa, synthesize_qa
from tasks.data.translate import translate_qa
from tasks.engine.store import Reference
from tasks.evaluation.compare import TRAINED, compare_with_last
from tasks.evaluation.ending import end_with_explanation, refuse_nothing_kept
from tasks.evaluation.opening import explain_opening
from tasks.evaluation.report import write_report
from tasks.run import open_run
from tasks.training.encoder import find_start, train_encoder
from tasks.training.encoders import NamedEncoder
from tasks.training.fitting import check_training
from tasks.training.transfer import train_transfer


@flow(name="synth-and-train")
@end_with_explanation
def synth_and_train(
    recipe: RecipeOption = "tiny_cpu",
    backbone: BackboneOption | None = None,
    variant: Variant | None = None,
    seed: Seed | None = None,
    knowledge: KnowledgeOption | None = None,
    writing: WritingOption | None = None,
    judge: JudgeOption | None = None,
    reader: ReaderOption | None = None,
    limit: LimitOption | None = None,
    start: Filled | None = None,
    plan: bool = False,
    on_cpu: bool = False,
) -> Reference:
    """Make question-answer data, keep the good part, train a memory encoder on it, score it.

    Args:
        recipe: decides the result: the name of a recipe that ships, a recipe file of your own (`my_recipe.toml`), the
            fields of one, or the name or id of an earlier run's recipe (docs/recipes.md).
        backbone: the VLM in place of the recipe's: a hub name, a folder, or fields that also set its number type.
        variant: the recipe with another number of vectors per item, samples or parameters (docs/side_tables.md).
        seed: the seed of training, in place of the recipe's; the samples stay the same.
        knowledge: a corpus of your own in place of the recipe's: a folder, a file or a URL (docs/data.md), or fields
            that also set how it is read. The VLM asks about its items, and a tenth of the kept samples is held out as
            its benchmark.
        writing: the model that writes the data: `backbone`; `served:<model>` at COMEM_SERVED_URL; `vllm` (the backbone)
            or `vllm:<model>`, which the run serves itself (docs/vllm.md); or fields that also set the questions.
        judge: a language model that also marks every answer: `served:<model>` at COMEM_JUDGE_URL, `vllm:<model>`, which
            the run serves itself, `backbone`, or the fields of a JudgeRecipe (docs/evaluation.md).
        reader: a text-only model that answers the benchmark in the backbone's place: `tiny-text`, a hub name, a folder,
            or the fields of a ReaderRecipe (docs/side_tables.md). `vllm:<address>`: the backbone itself, through a vLLM
            server (docs/vllm.md).
        limit: the maximum number each of seed questions, training steps and benchmark questions, for a quick look, or
            fields that limit drafts or hours.
        start: folder of the encoder that training starts from, in place of the recipe's; best an absolute path.
        plan: make nothing; show what would run and why, with rows, tokens, hours and gigabytes.
        on_cpu: run a model that is made for GPUs on the CPU all the same.
    """
    whole = recipe_to_train(
        recipe,
        backbone=backbone,
        variant=variant,
        seed=seed,
        knowledge=knowledge,
        writing=writing,
        judge=judge,
        reader=reader,
        limit=limit,
        start=start,
    )
    max_hours = as_limits(limit).max_hours
    with open_run(
        "synth-and-train", whole, needs_generator=True, plan=plan, max_hours=max_hours, stated=recipe, on_cpu=on_cpu
    ) as run:
        start_encoder = find_start(run, start)
        check_training(run)
        say_preview(run)
        items = ingest_knowledge(run)
        index = build_index(run, items)
        benchmark = collect_benchmark(run)
        against = collect_against(run, benchmark)

        questions = pose_questions(run, items)
        retrieved = retrieve(run, index, questions)
        drafts = synthesize_qa(run, items, questions, retrieved)
        verdicts = judge_qa(run, items, questions, retrieved, drafts)
        kept = filter_qa(run, questions, drafts, verdicts, against.benchmarks)

        translated = translate_qa(run, questions, drafts, kept)
        kept_translated = filter_qa(run, translated, translated, translated, against.benchmarks)

        samples = [
            JudgedSet(questions=questions, drafts=drafts, verdicts=verdicts, kept=kept),
            JudgedSet(questions=translated, drafts=translated, verdicts=translated, kept=kept_translated),
        ]
        refuse_nothing_kept(run, items, samples)
        asked = hold_out(run, benchmark, questions, drafts, kept)
        write_card(run, items, samples, against.missing)
        encoder = train_encoder(run, items, samples, start_encoder)
        transfer = train_transfer(run, encoder, items, samples)

        shown = retrieve(run, index, asked)
        named = NamedEncoder(name=TRAINED, encoder=encoder, transfer=transfer)
        evaluation = evaluate(run, named, items, index, asked, shown)
        compare_with_last(run, evaluation)
        explain_opening(run, evaluation.bank)
        return write_report(run, items, evaluation.questions, evaluation.scores)
