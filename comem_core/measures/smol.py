"""`python -m comem_core.measures.smol`: how well SmolLM2-135M, a real English reader, answers from memory
(docs/smol.md).

Each question is asked with the one passage that answers it, or (`_three`) with two more about other things, in any
order. `none` and text have worked examples in the prompt (`smol_open`, `smol_shots`), because otherwise this reader
answers in whole sentences; memory has the encoder's own prompt. A second share counts answers that contain the right
one; a third, answers with another value of a passage that does not state the one asked for. `table` measures an encoder
on the test part; `curve` draws the snapshots of a training run on dev. Rows go to `docs/results/smol.json`.
"""

import argparse
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from comem_core.evaluation.answers import extract_answer
from comem_core.evaluation.metrics.infoseek import normalise_answer
from comem_core.evaluation.passage_questions import (
    FULL,
    INVENTED,
    MAKERS,
    NOT_THERE,
    PROSE,
    Case,
    choose_others,
    choose_three,
    make_invented_cases,
    read_grocery_cases,
)
from comem_core.evaluation.statistics import score_interval
from comem_core.knowledge.items import KnowledgeItem
from comem_core.measures import drawing
from comem_core.measures.results import Measured
from comem_core.measures.tables import record_rows
from comem_core.memory.answering import cut_into_batches
from comem_core.memory.encoder import MemoryEncoder
from comem_core.memory.injection import embed_with_memory
from comem_core.pretraining.naming_recipe import NamingRecipe
from comem_core.pretraining.smol import SNAPSHOTS, count_samples_seen
from comem_core.prompts import read_prompt_set
from comem_core.training.loss import compute_token_losses

TOPIC, RECIPE, COMMAND = "smol", "smol_cpu", "python -m comem_core.measures.smol"
BY_TEXT = ("none", "text_gold", "text_three")
BY_MEMORY = ("memory_gold", "memory_three", "shuffled", "empty")
CONDITIONS = BY_TEXT + BY_MEMORY
# Prompt sets with worked examples like the passages of a benchmark.
SHOTS, SHOTS_OF = "smol_shots", dict.fromkeys((INVENTED, PROSE, NOT_THERE), "smol_open")
MAX_NEW_TOKENS, BATCH_SIZE = 12, 8
PLOT = Path("docs/plots/smol_curve.svg")
DRAWN = {
    "memory_gold": ("the passage's own memory", drawing.MEMORY),
    "shuffled": ("another passage's memory", drawing.TEXT),
    "empty": ("vectors of no passage", drawing.TEXT_SOFT),
    "no_memory": ("nothing but the question", drawing.CONTROL),
}


@dataclass(frozen=True)
class CaseAnswer:
    """One answer: its case, its condition, its text, and whether it is right, and contains what is right (0.0, 1.0)."""

    case: Case
    condition: str
    answer: str
    correct: float
    contains: float

    @property
    def other(self) -> float:
        """Whether it is another value of the passage (0.0, 1.0)."""
        return float(normalise_answer(self.answer) in map(normalise_answer, self.case.others))


def ask(encoder: MemoryEncoder, cases: Sequence[Case], condition: str) -> list[CaseAnswer]:
    """Ask all cases under one condition.

    Raises:
        ValueError: an unknown condition.
    """
    if condition not in CONDITIONS:
        raise ValueError(f"unknown condition {condition!r}; expected one of {', '.join(CONDITIONS)}")
    shots = SHOTS_OF.get(cases[0].question.benchmark or "", SHOTS)
    prompts = read_prompt_set(shots) if condition in BY_TEXT else encoder.prompts
    asked: list[CaseAnswer] = []
    shown = _choose_texts(cases, condition)
    for batch in cut_into_batches(zip(cases, _make_memories(encoder, cases, condition), strict=True), BATCH_SIZE):
        conversations = []
        for case, _ in batch:
            items, question = shown.get(case.question.question_id, []), case.question
            conversations.append(
                prompts.make_conversation(question.question, question.image, question.language, items=items)
            )
        memories = [memory for _, memory in batch]
        answers = encoder.answer_batch(conversations, memories, max_new_tokens=MAX_NEW_TOKENS)
        for (case, _), generated in zip(batch, answers, strict=True):
            answer = extract_answer(generated.text)
            contains = float(normalise_answer(case.question.answers[0]) in normalise_answer(generated.text))
            asked.append(CaseAnswer(case, condition, answer, case.score(answer), contains))
    return asked


def _choose_texts(cases: Sequence[Case], condition: str) -> dict[str, list[KnowledgeItem]]:
    """Return the passages that stand in each question's prompt."""
    nothing: list[list[KnowledgeItem]] = [[] for _ in cases]
    alone = [[case.item] for case in cases] if condition == "text_gold" else nothing
    texts = choose_three(cases) if condition == "text_three" else alone
    return {case.question.question_id: each for case, each in zip(cases, texts, strict=True)}


def _make_memories(encoder: MemoryEncoder, cases: Sequence[Case], condition: str) -> list[Tensor]:
    """Return the vectors in front of each question; none under conditions without memory."""
    if condition in BY_TEXT:
        return [torch.zeros(0, encoder.backbone.width)] * len(cases)
    if condition == "empty":
        return [encoder.empty_memory()] * len(cases)
    match condition:
        case "memory_gold":
            shown = [[each.item] for each in cases]
        case "memory_three":
            shown = choose_three(cases)
        case _:
            shown = [[item] for item in choose_others(cases)]
    bank = encoder.encode([item for items in shown for item in items], batch_size=BATCH_SIZE, grid=None)
    return [bank.of([item.item_id for item in items]) for items in shown]


def measure_conditions(asked: Sequence[CaseAnswer], *, suffix: str, command: str) -> list[Measured]:
    """Measure the share of right answers of each condition, overall and by kind of fact, and overall the shares of
    answers that contain the right one, and that are another value of a passage without it."""
    rows = []
    for condition in CONDITIONS:
        own = [each for each in asked if each.condition == condition]
        kinds = sorted({each.case.kind for each in own if each.case.kind})
        parts = {"": own} | {f"_{kind}": [each for each in own if each.case.kind == kind] for kind in kinds}
        rows += [
            measure_share(f"accuracy_{condition}{suffix}{part}", chosen, command=command)
            for part, chosen in parts.items()
            if chosen
        ]
        if own:
            rows.append(measure_share(f"contains_{condition}{suffix}", own, command=command, of="contains"))
        if any(each.case.others for each in own):
            rows.append(measure_share(f"other_{condition}{suffix}", own, command=command, of="other"))
    return rows


def measure_share(
    measure: str, asked: Sequence[CaseAnswer], *, command: str, of: Literal["correct", "contains", "other"] = "correct"
) -> Measured:
    """Measure answers in percent; the interval is by entity."""
    entities = [each.case.question.entity_id or each.case.question.question_id for each in asked]
    found = score_interval([getattr(each, of) for each in asked], entities)
    value, low, high = (None if part is None else round(100 * part, 1) for part in (found.value, found.low, found.high))
    assert value is not None
    return Measured(
        measure=measure, recipe=RECIPE, value=value, low=low, high=high, unit="%", n=found.n, command=command
    )


def measure_table(options: argparse.Namespace, say: Callable[[str], None] = print) -> list[Measured]:
    """Measure every set of cases under the requested conditions."""
    encoder = MemoryEncoder.from_pretrained(options.encoder, dtype=getattr(torch, options.dtype))
    sets = {
        "" if name == FULL else f"_{name}": make("test", num_cases=options.questions)
        for name, make in MAKERS.items()
        if options.only in (None, name)
    }
    if options.grocery:
        sets["_grocery"] = read_grocery_cases(options.grocery)
    rows: list[Measured] = []
    label = "" if (number := encoder.recipe.num_vectors) == NamingRecipe().encoder.num_vectors else f"_{number}_vectors"
    label += f"_{options.label}" if options.label else ""
    for suffix, cases in sets.items():
        for condition in options.conditions:
            asked = ask(encoder, cases, condition)
            say(f"{condition}{suffix}: {sum(each.correct for each in asked):.0f} of {len(asked)} right")
            for each in asked[:: max(1, len(asked) // 6)]:
                say(f"    {each.case.kind}: {each.answer!r}, right is {each.case.question.answers[0]!r}")
            named = suffix if condition in BY_TEXT else f"{suffix}{label}"
            rows += measure_conditions(asked, suffix=named, command=_write_command(options))
    return rows


def _write_command(options: argparse.Namespace) -> str:
    """Write the command that measures a table, without what changes no number."""
    only, grocery = f" --only {options.only}" if options.only else "", " --grocery FOLDER" if options.grocery else ""
    label = f" --label {options.label}" if options.label else ""
    return f"{COMMAND} table ENCODER --questions {options.questions} --dtype {options.dtype}{only}{grocery}{label}"


def measure_curve(options: argparse.Namespace, say: Callable[[str], None] = print) -> list[Measured]:
    """Measure each snapshot of a run on the same invented passages of dev names, under each condition with memory."""
    cases, rows = make_invented_cases("dev", num_cases=options.questions), []
    samples = count_samples_seen(options.run)
    for folder in sorted((options.run / SNAPSHOTS).iterdir()):
        encoder = MemoryEncoder.from_pretrained(folder, dtype=getattr(torch, options.dtype))
        seen = samples[int(folder.name)]
        command = f"{COMMAND} curve RUN --questions {options.questions} --dtype {options.dtype}"
        for condition in ("memory_gold", "shuffled"):
            named = f"accuracy_{condition}_invented_dev_after_{seen}"
            rows.append(measure_share(named, ask(encoder, cases, condition), command=command))
            say(f"{named}: {rows[-1].value}")
        for condition in DRAWN:
            named = f"loss_{condition}_invented_dev_after_{seen}"
            loss = round(measure_loss(encoder, cases, condition), 3)
            rows.append(Measured(measure=named, recipe=RECIPE, value=loss, unit="nats", n=len(cases), command=command))
            say(f"{named}: {loss}")
    draw(rows, PLOT)
    return rows


def measure_loss(encoder: MemoryEncoder, cases: Sequence[Case], condition: str) -> float:
    """Return the mean loss of the right answers' tokens, in nats, in the prompt that the encoder was trained with.

    The loss shows earlier than accuracy whether a memory helps. The condition `no_memory` has this prompt too,
    unlike `none`.
    """
    known, losses = "none" if condition == "no_memory" else condition, list[Tensor]()
    backbone, size = encoder.backbone, encoder.recipe.query_visual_tokens
    for batch in cut_into_batches(zip(cases, _make_memories(encoder, cases, known), strict=True), BATCH_SIZE):
        asked = [case.question for case, _ in batch]
        conversations = [
            encoder.prompts.make_conversation(each.question, each.image, each.language, answer=each.answers[0])
            for each in asked
        ]
        tokens = backbone.tokenize(conversations, generation=False, visual_tokens=size)
        with encoder.run_inference(), backbone.switch_adapter(False):
            hidden_BLD = backbone.hidden(embed_with_memory(backbone, tokens, [memory for _, memory in batch]))
            losses.append(compute_token_losses(backbone, hidden_BLD, tokens.ids_BL, tokens.answer_BL)[0])
    return float(torch.cat(losses).mean())


def curve_measures(measures: Iterable[str]) -> list[str]:
    """Choose the measures that the curve shows, in a fixed order."""
    starts = tuple(f"{kind}_{condition}_invented_dev_after_" for kind in ("accuracy", "loss") for condition in DRAWN)
    return sorted(measure for measure in measures if measure.startswith(starts))


def name_numbers(rows: Mapping[str, Mapping[str, Any]]) -> str:
    """Name the numbers that the curve is drawn from; `rows` are the topic's rows by measure."""
    return drawing.describe_source(TOPIC, [rows[measure] for measure in curve_measures(rows)])


def draw(rows: Sequence[Measured], path: Path) -> None:
    """Draw accuracy with its intervals, and the loss, against passages seen."""
    title = "What a passage's memory is worth, by passages seen"
    source = name_numbers({row.measure: asdict(row) for row in rows})
    with drawing.open_drawing(path, title, drawn_from=source) as figure:
        right, loss = figure.subplots(1, 2)
        for axes, kind, apart in ((right, "accuracy", 25), (loss, "loss", 0)):  # so that intervals do not overlap
            for turn, (condition, (label, colour)) in enumerate(DRAWN.items()):
                start = f"{kind}_{condition}_invented_dev_after_"
                own = {int(each.measure.removeprefix(start)): each for each in rows if each.measure.startswith(start)}
                if seen := sorted(own):
                    places, drawn = [each + apart * turn for each in seen], [asdict(own[each]) for each in seen]
                    drawing.draw_curve(axes, places, drawn, colour=colour, label=label, marker="o")
            axes.set_xlabel("passages seen in training")
        drawing.set_percent_axis(right, "accuracy (%), 95 % interval")
        loss.set_ylabel("loss of the right answer (nats a token)")
        drawing.put_legend_below(figure, loss, columns=2)


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, and replace the stored rows of the same measures."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    commands = parser.add_subparsers(required=True)
    one = commands.add_parser("table", help="measure an encoder on test questions")
    one.add_argument("encoder", help="the encoder's folder, or the name of one that ships")
    one.add_argument("--grocery", type=Path, help="the folder of the grocery photos; without it they are left out")
    one.add_argument("--conditions", nargs="+", choices=CONDITIONS, default=CONDITIONS)
    one.add_argument("--questions", type=int, default=160, help="number of test questions in each set")
    one.add_argument("--label", help="what names this encoder in the measures, beside the shipped one")
    one.add_argument("--only", choices=MAKERS, help="ask about one set of passages alone")
    one.set_defaults(measure=measure_table)
    many = commands.add_parser("curve", help="measure the snapshots of a training run on dev questions")
    many.add_argument("run", type=Path, help="the folder of the training run")
    many.add_argument("--questions", type=int, default=48, help="number of dev questions")
    many.set_defaults(measure=measure_curve)
    for command in (one, many):
        command.add_argument(
            "--dtype", choices=("float32", "bfloat16"), default="float32", help="of the model (default: float32)"
        )
        command.add_argument("--threads", type=int, default=os.cpu_count(), help="cores to use (default: all)")
    options = parser.parse_args(arguments)
    torch.set_num_threads(options.threads)
    os.environ["TQDM_DISABLE"] = "1"
    record_rows(TOPIC, options.measure(options))


if __name__ == "__main__":
    main()
