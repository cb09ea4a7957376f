"""`python -m comem_core.measures.gate`: when a gate trusts memory, by each signal, where items are right and where not.

`countries` asks the test questions of countries-vqa, which the reader cannot answer itself; `half` asks those of worlds
in which it can answer half of them (`comem_core.measures.gate.half_known`). Gates are fitted on the part `dev`, and
scored on `test`, with items that were retrieved and with three kinds that cannot help: of other questions (`shuffled`),
of imaginary countries (`foreign`), and drawn at random (`drawn`). Scores of several seeds are averaged. Rows go to
`docs/results/gate.json`: exact match in percent, with 95 % intervals clustered by country.
"""

import argparse
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch

from comem_core.backbone.loading import load_backbone
from comem_core.evaluation.held_out.gate import FittedGate, HeldOutAnswers, fit_gate
from comem_core.evaluation.statistics import average_interval
from comem_core.knowledge.items import Question
from comem_core.measures.countries.exam import CountriesExam
from comem_core.measures.gate.asking import ITEMS, NONE, RETRIEVED, USELESS, Asked, GateExam
from comem_core.measures.gate.half_known import is_known
from comem_core.measures.provenance import shorten_folder
from comem_core.measures.results import Measured
from comem_core.measures.tables import describe_rows, record_rows
from comem_core.memory.description import find_encoder_folder
from comem_core.memory.encoder import MemoryEncoder
from comem_core.recipes.held_out import HeldOutRecipe
from comem_core.worlds.countries.world import load_benchmark_questions

TOPIC, RECIPE, BASE, COMMAND = "gate", "tiny_cpu", "tiny", "python -m comem_core.measures.gate"
HELD_OUT, SCORED = "dev", "test"
IRRELEVANT = "irrelevant"
"""The mean of the three kinds of items that cannot help."""
MAX_LOSS = HeldOutRecipe().max_loss


def main(arguments: Sequence[str] | None = None) -> None:
    """Measure, print, and replace the stored rows of the same measures."""
    chosen = _make_parser().parse_args(arguments)
    torch.set_num_threads(chosen.threads)
    rows = list(chosen.measure(chosen))
    print(*describe_rows(rows), sep="\n")
    record_rows(TOPIC, rows)


@dataclass(frozen=True)
class AskedWorld:
    """One seed's questions of both parts, with all answers: by part, and by the kind of items."""

    exams: Mapping[str, CountriesExam]
    asked: Mapping[str, Mapping[str, Asked]]
    seed: int

    @property
    def questions(self) -> Sequence[Question]:
        """The questions that are scored."""
        return self.exams[SCORED].questions

    @classmethod
    def ask(cls, encoder: MemoryEncoder, exams: Mapping[str, CountriesExam], *, seed: int) -> "AskedWorld":
        return cls(exams, {part: GateExam(exam, encoder, seed=seed).ask_all() for part, exam in exams.items()}, seed)


Signal = Callable[[Asked, Asked], np.ndarray]
SIGNALS: Mapping[str, Signal] = {
    "score": lambda alone, shown: shown.scores_QK[:, 0],
    "margin": lambda alone, shown: shown.scores_QK[:, 0] - shown.scores_QK[:, 1],
    "logprob": lambda alone, shown: shown.logprob_Q,
    "logprob_gain": lambda alone, shown: shown.logprob_Q - alone.logprob_Q,
}
"""Single numbers by which memory may be trusted where they are high, given the answers without items and with them."""


def choose_by_one(world: AskedWorld, signal: Signal) -> Mapping[str, np.ndarray]:
    """Return which answers come from memory where one signal decides, by kind of items: uses_Q."""
    fitted = _fit(world, signal, with_certainty=False)
    alone = world.asked[SCORED][NONE]
    return {name: signal(alone, world.asked[SCORED][name]) > fitted.gate.threshold for name in ITEMS}


def choose_by_gate(world: AskedWorld) -> Mapping[str, np.ndarray]:
    """Return which answers come from memory with the gate as it ships: by score and the reader's own certainty."""
    gate = _fit(world, SIGNALS["score"], with_certainty=True).gate
    alone, uses = world.asked[SCORED][NONE], {}
    for name in ITEMS:
        pairs = zip(world.asked[SCORED][name].scores_QK.tolist(), alone.logprob_Q.tolist(), strict=True)
        uses[name] = np.array([gate.can_trust(scores) and gate.is_unsure(logprob) for scores, logprob in pairs])
    return uses


def _fit(world: AskedWorld, signal: Signal, *, with_certainty: bool) -> FittedGate:
    alone, shown = world.asked[HELD_OUT][NONE], world.asked[HELD_OUT][RETRIEVED]
    answers = HeldOutAnswers(
        best_N=signal(alone, shown),
        none_N=alone.right_Q,
        memory_N=shown.right_Q,
        logprob_N=alone.logprob_Q if with_certainty else None,
    )
    return fit_gate(answers, max_loss=MAX_LOSS)


@dataclass(frozen=True)
class GateMarker:
    """Turns answers to the scored part of several seeds' worlds into rows; `name` is the worlds' in their measures."""

    name: str
    worlds: Sequence[AskedWorld]
    command: str

    def measure(self) -> Iterator[Measured]:
        """Yield the scores without items, with memory, gated as it ships, and gated by each single signal."""
        yield self.score("em_none", [self._find_rights(world, NONE) for world in self.worlds])
        uses = [choose_by_gate(world) for world in self.worlds]
        for shown in ITEMS:
            yield self.score(f"em_memory_{shown}", [self._find_rights(world, shown) for world in self.worlds])
            yield self.score(f"em_gated_{shown}", self._choose(uses, shown))
            share = 100 * float(np.mean([1 - each[shown].mean() for each in uses]))
            yield self.make_plain(f"alone_{shown}", round(share, 1), n=sum(len(each[shown]) for each in uses))
        for name, signal in SIGNALS.items():
            by_one = [choose_by_one(world, signal) for world in self.worlds]
            for shown in (RETRIEVED, IRRELEVANT):
                yield self.score(f"em_by_{name}_{shown}", self._choose(by_one, shown))

    def measure_known(self) -> Iterator[Measured]:
        """Yield the main scores apart for questions that the reader can answer itself and for the others."""
        uses = [choose_by_gate(world) for world in self.worlds]
        for kind in ("known", "unknown"):
            among = [
                np.array([is_known(each, seed=world.seed) == (kind == "known") for each in world.questions])
                for world in self.worlds
            ]
            yield self.score(f"em_none_{kind}", [self._find_rights(world, NONE) for world in self.worlds], among)
            for shown in (RETRIEVED, IRRELEVANT):
                rights = [self._find_rights(world, shown) for world in self.worlds]
                yield self.score(f"em_memory_{shown}_{kind}", rights, among)
                yield self.score(f"em_gated_{shown}_{kind}", self._choose(uses, shown), among)

    def _find_rights(self, world: AskedWorld, shown: str) -> np.ndarray:
        """Return right_Q; of the kinds of items that cannot help, the mean."""
        asked = world.asked[SCORED]
        return (
            np.mean([asked[each].right_Q for each in USELESS], axis=0) if shown == IRRELEVANT else asked[shown].right_Q
        )

    def _choose(self, uses: Sequence[Mapping[str, np.ndarray]], shown: str) -> list[np.ndarray]:
        """Return right_Q of each seed where a gate chooses between the answers with these items and without any."""
        kinds, found = USELESS if shown == IRRELEVANT else (shown,), []
        for world, use in zip(self.worlds, uses, strict=True):
            asked = world.asked[SCORED]
            chosen = [np.where(use[each], asked[each].right_Q, asked[NONE].right_Q) for each in kinds]
            found.append(np.mean(chosen, axis=0))
        return found

    def score(self, measure: str, rights: Sequence[np.ndarray], among: Sequence[np.ndarray] | None = None) -> Measured:
        """Return the mean share of right answers over seeds; where each seed has questions of its own (`among`), the
        interval is that of all of them together."""
        countries_Q = np.array([each.entity_id for each in self.worlds[0].questions])
        if among is None:
            found = average_interval(np.stack(rights), countries_Q)
        else:
            joined = np.concatenate([right_Q[each_Q] for right_Q, each_Q in zip(rights, among, strict=True)])
            found = average_interval(joined[None], np.concatenate([countries_Q[each_Q] for each_Q in among]))
        low, high = (None if end is None else round(100 * end, 2) for end in (found.low, found.high))
        return replace(self.make_plain(measure, round(100 * found.value, 2), n=found.n), low=low, high=high)

    def make_plain(self, measure: str, value: float, *, n: int) -> Measured:
        seeds = tuple(world.seed for world in self.worlds)
        name = f"{measure}_{self.name}"
        return Measured(measure=name, recipe=RECIPE, value=value, unit="%", n=n, seeds=seeds, command=self.command)


def measure_countries(chosen: argparse.Namespace) -> Iterator[Measured]:
    """Measure gates for encoders of the ordinary world."""
    backbone = load_backbone(BASE)
    exams = {part: CountriesExam.of(backbone, part=part, num_questions=chosen.questions) for part in (HELD_OUT, SCORED)}
    worlds = []
    for folder in chosen.folders:
        encoder = MemoryEncoder.load(find_encoder_folder(folder), load_backbone(BASE))
        worlds.append(AskedWorld.ask(encoder, exams, seed=encoder.recipe.seed))
    yield from GateMarker("countries", worlds, _write_command(chosen)).measure()


def measure_half(chosen: argparse.Namespace) -> Iterator[Measured]:
    """Measure gates in half-known worlds, in English, in which the facts are known."""
    worlds = []
    for seed, folder in enumerate(chosen.folders):
        backbone = load_backbone(f"{folder}/base")
        questions = {part: _list_english(part, chosen.questions) for part in (HELD_OUT, SCORED)}
        exams = {part: CountriesExam.with_questions(backbone, asked) for part, asked in questions.items()}
        encoder = MemoryEncoder.load(f"{folder}/encoder", backbone)
        worlds.append(AskedWorld.ask(encoder, exams, seed=seed))
    marker = GateMarker("half", worlds, _write_command(chosen))
    yield from marker.measure()
    yield from marker.measure_known()


def _list_english(part: str, num_questions: int | None) -> list[Question]:
    return [each for each in load_benchmark_questions(part) if each.language == "en"][:num_questions]


def _write_command(chosen: argparse.Namespace) -> str:
    """Return the command that measures a row again, with the ends of folders only."""
    words = [COMMAND, chosen.name, *map(shorten_folder, chosen.folders)]
    return " ".join([*words, *(["--questions", str(chosen.questions)] if chosen.questions is not None else [])])


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    commands = parser.add_subparsers(required=True)
    for name, measure, folders, count in (
        ("countries", measure_countries, "folders or names of shipped encoders that differ only in the seed", 400),
        ("half", measure_half, "folders of half-known worlds, of the seeds 0, 1, ... in this order", None),
    ):
        command = commands.add_parser(name, help=measure.__doc__, description=measure.__doc__)
        command.add_argument("folders", nargs="+", metavar="FOLDER", help=folders)
        command.add_argument(
            "--questions", type=int, default=count, help=f"the first N of each part (default {count or 'all'})"
        )
        command.add_argument("--threads", type=int, default=1, help="CPU threads (default 1)")
        command.set_defaults(measure=measure, name=name)
    return parser


if __name__ == "__main__":
    main()
