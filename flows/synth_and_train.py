"""The main story: make question-answer data, keep the good part, train a memory encoder on it, score it."""

from typing import Literal

from prefect import flow

from comem_core.recipes import recipe_named, with_judge, with_knowledge, with_reader
from comem_core.recipes.recipe import ReaderRecipe
from comem_core.recipes.scaling import Variant
from tasks.against import collect_against
from tasks.answer import answer_benchmark
from tasks.card import JudgedSet, write_card
from tasks.contamination import find_contamination
from tasks.encode import encode_memory
from tasks.evaluations import TRAINED, Evaluation, compare_with_last
from tasks.exam import Exam
from tasks.filter import filter_qa
from tasks.hold_out import hold_out
from tasks.ingest import ingest_knowledge
from tasks.judge import judge_predictions
from tasks.questions import collect_benchmark, pose_questions
from tasks.report import write_report
from tasks.retrieve import build_index, retrieve
from tasks.run import open_run
from tasks.score import score_predictions
from tasks.store import Reference
from tasks.synthesize import judge_qa, synthesize_qa
from tasks.train import find_start, train_encoder
from tasks.transfer import train_transfer
from tasks.translate import translate_qa

RecipeName = Literal["tiny_cpu", "smol_cpu", "comem_qwen25_vl_7b", "comem_qwen2_vl_7b"]


@flow(name="synth-and-train")
def synth_and_train(
    recipe: RecipeName = "tiny_cpu",
    variant: Variant | None = None,
    knowledge: str | None = None,
    seeds: list[str] | None = None,
    ask_about: int | None = None,
    language: str | None = None,
    source: str | None = None,
    licence: str | None = None,
    images: Literal["needed", "optional"] | None = None,
    allow_urls: bool = False,
    generator: str | None = None,
    judge: str | None = None,
    judge_unparsable: Literal["left_out", "wrong"] | None = None,
    limit: int | None = None,
    seed: int = 0,
    start: str | None = None,
    reader: str | ReaderRecipe | None = None,
    max_samples: int | None = None,
    max_hours: float | None = None,
    plan: bool = False,
) -> Reference:
    """Make question-answer data, keep the good part, train a memory encoder on it, score it.

    Args:
        recipe: what decides the result; a name from `comem_core.recipes`.
        variant: the recipe with other vectors an item, samples or parameters (docs/side_tables.md).
        knowledge: a corpus of your own in place of the recipe's: a folder, a file or a URL (docs/data.md). The VLM asks
            about its items, and a tenth of what is kept is set aside and asked as its benchmark.
        seeds: sources of seed questions with gold answers, such as `infoseek:/path/train.jsonl:/path/images`.
        ask_about: about how many items the VLM asks questions of its own.
        language: of rows that do not say it; without it, it is identified.
        source: of rows that do not say it; without it, the file is named.
        licence: of rows that do not say it.
        images: whether a text without a picture is an item (`optional`) or a bad row (`needed`).
        allow_urls: whether pictures may be fetched from http and https addresses in the corpus.
        generator: what writes the data: `backbone`, or `served:<model>` at COMEM_SERVED_URL.
        judge: a language model that marks every answer too: `served:<model>` at COMEM_JUDGE_URL, or `backbone`.
        judge_unparsable: whether replies of the judge that are no verdict are left out of its score, or wrong.
        limit: at most so many seed questions, training steps and benchmark questions, for a quick look.
        seed: of the training; the samples stay the same.
        start: folder of an encoder that the training starts from, in place of the recipe's; best an absolute path.
        reader: a text-only model that answers the benchmark in the backbone's place: `tiny-text`, a hub name, a folder,
            or the fields of a ReaderRecipe (docs/side_tables.md).
        max_samples: at most so many questions are drafted, seeds first.
        max_hours: what asking, drafting and judging may take; what is made by then is used, and a later run goes on.
        plan: make nothing; show what would run and why, with rows, tokens, hours and gigabytes.
    """
    reading = {"language": language, "source": source, "licence": licence, "images": images, "allow_urls": allow_urls}
    writing = {"seeds": seeds, "num_asked_items": ask_about, "max_samples": max_samples, "generator": generator}
    named = recipe_named(recipe, limit=limit, seed=seed, variant=variant)
    judged = with_judge(named, judge, unparsable=judge_unparsable)
    whole = with_reader(with_knowledge(judged, knowledge, reading=reading, writing=writing), reader)
    with open_run("synth-and-train", whole, needs_generator=True, plan=plan, max_hours=max_hours) as run:
        start_encoder = find_start(run, start)
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
        write_card(run, items, samples, against.missing)
        encoder = train_encoder(run, items, samples, start_encoder)
        transfer = train_transfer(run, encoder, items, samples)
        bank = encode_memory(run, items, encoder)

        asked = hold_out(run, benchmark, questions, drafts, kept)
        shown = retrieve(run, index, asked)
        exam = Exam(knowledge=items, encoder=encoder, bank=bank, questions=asked, retrieved=shown, transfer=transfer)
        predictions = answer_benchmark(run, exam)
        contamination = find_contamination(run, asked, items, encoder)
        judgements = judge_predictions(run, asked, predictions)
        scores = score_predictions(run, asked, predictions, contamination, judgements)
        compare_with_last(
            run,
            Evaluation(
                name=TRAINED,
                benchmark=run.recipe.evaluation.benchmark,
                encoder=encoder,
                questions=asked,
                predictions=predictions,
                scores=scores,
            ),
        )
        return write_report(run, items, asked, scores)
