"""Kills at random moments: of random processes of a run, again and again, until it has ended all the same."""

import random
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

import psutil

from flows.faults.checking import find_half_done, find_made_again, find_wrong, list_finished
from flows.faults.journal import KILLS, Round
from flows.faults.stand import Attempt, DeployedAttempt, Stand, wait_for_end

FEWEST_KILLS, MOST_KILLS, MOST_STARTS = 3, 8, 20
SOON = 1 / 3
"""Half of the kills follow the last one within this share of an unbroken run's time, and half within all of it."""
DEPLOYED_EVERY = 6
"""One of so many runs is of a deployment, so that Prefect's server and worker can be killed."""
OUTLIVED_SECONDS = 40.0
FLOW, SERVER, WORKER = "flow", "prefect_server", "prefect_worker"
AnyAttempt = Attempt | DeployedAttempt


def _has_title(words: str) -> Callable[[psutil.Process], bool]:
    return lambda process: process.cmdline()[:1] != [] and process.cmdline()[0].startswith(words)


def _has_name(name: str) -> Callable[[psutil.Process], bool]:
    return lambda process: process.name() == name


OF_RAY: Mapping[str, Callable[[psutil.Process], bool]] = {
    "actor": _has_title("ray::WorkerProcess"),
    "training_worker": _has_title("ray::WorkerProcess.work"),
    "raylet": _has_name("raylet"),
    "ray_head": _has_name("gcs_server"),
}
"""The processes below that of a run. The training worker is the actor that works while an encoder is unfinished."""
WEIGHTS = {FLOW: 25, "actor": 20, "training_worker": 30, "raylet": 10, "ray_head": 8, SERVER: 40, WORKER: 30}
"""How often each is chosen of those that are there; the last two in runs of a deployment alone."""
TARGETS = (*WEIGHTS,)


@dataclass
class Killing:
    """One round: the run of a number that is killed several times, and started again until it has ended well."""

    stand: Stand
    number: int
    chance: random.Random
    duration: float
    planned: int
    is_deployed: bool = False
    only: str | None = None
    finished: dict[str, tuple[int, int]] = field(default_factory=dict)

    def run(self) -> Round:
        """Kill and start again, and check at the end."""
        self.round, began = Round(fault=KILLS, numbers=[self.number], starts=0), time.monotonic()
        attempt = self._start()
        while self.round.starts <= MOST_STARTS:
            is_last = len(self.round.killed) >= self.planned
            seconds = self.chance.uniform(0, self.duration * self.chance.choice((SOON, 1)))
            ended = wait_for_end(attempt) if is_last else wait_for_end(attempt, seconds)
            if ended is None and not is_last:
                attempt = self._kill(attempt, seconds)
                continue
            if ended:
                break
            if ended is None:
                self.round.wrong.append("the run went on for ever after its last kill")
                attempt.end()
            attempt = self._start()
        else:
            self.round.wrong.append(f"the run did not end well after {MOST_STARTS} starts")
            attempt.end()
        context = self.stand.context
        self.round.wrong += [*find_made_again(self.finished, context.store), *find_wrong(context)]
        self.round.seconds = time.monotonic() - began
        return self.round

    def _start(self) -> AnyAttempt:
        self.round.starts += 1
        if self.is_deployed:
            return DeployedAttempt.start(self.stand, self.number)
        return self.stand.start(self.number, api_url=self.stand.read_note().api_url)

    def _kill(self, attempt: AnyAttempt, seconds: float) -> AnyAttempt:
        """Kill a process of a run, or of the local Prefect; return the run that goes on, or that was started again."""
        doing, note = list_doing(self.stand), self.stand.read_note()
        target, process = self._choose(attempt)
        if process is None:
            return attempt  # it has just ended, or has not begun
        workers = _list_matching(process, OF_RAY["actor"]) if target == FLOW else []
        process.kill()
        self.round.killed.append((target, round(seconds, 1), doing))
        if target in (SERVER, WORKER):
            known = note.server if target == SERVER else note.worker
            assert known is not None
            psutil.wait_procs([psutil.Process(known.pid)] if known.is_alive() else [], timeout=5)
            self.stand.read_note()
            return attempt
        if target != FLOW:
            return attempt
        self._look_after_death(workers, is_hasty=self.chance.random() < 0.5)
        if self.is_deployed:
            wait_for_end(attempt, 30)  # Prefect's worker tells the server
        return self._start()

    def _look_after_death(self, workers: list[psutil.Process], *, is_hasty: bool) -> None:
        """Check what a killed run left; in haste, while its workers are still there: somebody may start it at once."""
        context = self.stand.context
        if not is_hasty:
            left = psutil.wait_procs(workers, timeout=OUTLIVED_SECONDS)[1]
            self.round.wrong += [f"a worker outlived its run by {OUTLIVED_SECONDS:.0f} s" for _ in left]
            self.round.wrong += find_made_again(self.finished, context.store)
            self.finished = list_finished(context.store)
        self.round.wrong += find_half_done(context)

    def _choose(self, attempt: AnyAttempt) -> tuple[str, psutil.Process | None]:
        """Choose by chance among the targets that are there now; None if there are none."""
        there = self._find_targets(attempt)
        weights = {name: weight for name, weight in WEIGHTS.items() if there.get(name) and self.only in (None, name)}
        if not weights:
            return FLOW, None
        [target] = self.chance.choices([*weights], [*weights.values()])
        return target, self.chance.choice(there[target])

    def _find_targets(self, attempt: AnyAttempt) -> dict[str, list[psutil.Process]]:
        if (root := attempt.find_root()) is None:
            return {}
        if self.is_deployed:
            note = self.stand.read_note()
            known = {SERVER: note.server, WORKER: note.worker}
            return {FLOW: [root]} | {name: [psutil.Process(each.pid)] for name, each in known.items() if each}
        found = {name: _list_matching(root, matches) for name, matches in OF_RAY.items()}
        if not any(self.stand.context.store.glob("encoder/*.partial")):
            found.pop("training_worker")
        return found | {FLOW: [root]}


def _list_matching(root: psutil.Process, matches: Callable[[psutil.Process], bool]) -> list[psutil.Process]:
    below = sorted(root.children(recursive=True), key=lambda process: process.pid)
    return [each for each in below if _is_one(each, matches)]


def _is_one(process: psutil.Process, matches: Callable[[psutil.Process], bool]) -> bool:
    try:
        return matches(process)
    except psutil.Error:
        return False  # it has just ended


def list_doing(stand: Stand) -> list[str]:
    """List the stages that are being made: those with an unfinished artefact."""
    return sorted(path.parent.name for path in stand.context.store.glob("*/*.partial"))
