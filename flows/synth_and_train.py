"""The main story: make question-answer data, keep the good part, train a memory encoder on it, score it."""

from typing import Literal

from prefect import flow

from comem_core.recipes import recipe_named
from tasks.encode import encode_memory
from tasks.filter import filter_qa
from tasks.ingest import ingest_knowledge
from tasks.questions import collect_benchmark, pose_questions
from tasks.report import write_report
from tasks.retrieve import build_index, retrieve
from tasks.run import open_run
from tasks.samples import SampleSet
from tasks.score import answer_benchmark, score_predictions
from tasks.store import Reference
from tasks.synthesize import judge_qa, synthesize_qa
from tasks.train import find_start, train_encoder
from tasks.translate import translate_qa

RecipeName = Literal["tiny_cpu"]


@flow(name="synth-and-train")
def synth_and_train(
    recipe: RecipeName = "tiny_cpu", limit: int | None = None, seed: int = 0, start: str | None = None
) -> Reference:
    """Make question-answer data, keep the good part, train a memory encoder on it, score it.

    Args:
        recipe: what decides the result; a name from `comem_core.recipes`.
        limit: at most so many seed questions, training steps and benchmark questions, for a quick look.
        seed: of the training; the samples stay the same.
        start: folder of an encoder that the training starts from, in place of the recipe's; best an absolute path.
    """
    with open_run("synth-and-train", recipe_named(recipe, limit=limit, seed=seed)) as run:
        start_encoder = find_start(run, start)
        knowledge = ingest_knowledge(run)
        index = build_index(run, knowledge)

        questions = pose_questions(run, knowledge)
        retrieved = retrieve(run, index, questions)
        drafts = synthesize_qa(run, knowledge, questions, retrieved)
        verdicts = judge_qa(run, knowledge, questions, retrieved, drafts)
        kept = filter_qa(run, questions, drafts, verdicts)

        translated = translate_qa(run, questions, drafts, kept)
        kept_translated = filter_qa(run, translated, translated, translated)

        samples = [
            SampleSet(questions=questions, drafts=drafts, kept=kept),
            SampleSet(questions=translated, drafts=translated, kept=kept_translated),
        ]
        encoder = train_encoder(run, knowledge, samples, start_encoder)
        bank = encode_memory(run, knowledge, encoder)

        benchmark = collect_benchmark(run)
        shown = retrieve(run, index, benchmark)
        predictions = answer_benchmark(run, knowledge, encoder, bank, benchmark, shown)
        scores = score_predictions(run, benchmark, predictions)
        return write_report(run, knowledge, benchmark, scores)
