"""`make bench-against`: what tests, demos and training steps take, beside those of another checkout.

Both run on the same machine and by turns, so that a busy hour is so for both. What is written is the ratio of the
medians: of the tests that both checkouts have, of demos from nothing that show the same scores, of a demo that finds
everything made, of training steps on the same samples, and of the passages that SmolLM2's encoder is trained on.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from comem_core.measures.results import Measured, describe_machine, write_results
from comem_core.measures.training import commits
from comem_core.pretraining.naming_recipe import READING, NamingRecipe
from comem_core.terminal import guard_output

TOPIC, COMMAND = "speed", 'make bench-against ARGS="--against {against}"'
SMOL_TOPIC, SMOL_STEPS, SMOL_WARM_UP = "smol", 16, 4
SMOL_SHORT = ("--passages", "512", "--naming-steps", "40")
PYTHON = ".venv/bin/python"
FOREIGN = ("COMEM_", "PREFECT_", "PYTHON")
LINKED = ("flows", "prefect.yaml", "prefect.toml")


@dataclass(frozen=True, kw_only=True)
class Checkout:
    """A folder with this project and its `.venv`, and the commit that is checked out there."""

    folder: Path
    commit: str

    @classmethod
    def at(cls, folder: Path) -> "Checkout":
        """Raises ValueError where there is no checkout, no `.venv`, or a file that differs from the commit."""
        folder = folder.absolute()
        if not (folder / PYTHON).exists():
            raise ValueError(f"{folder} has no {PYTHON}; `make test` there makes it")
        git = ["git", "-C", str(folder), "describe", "--always", "--abbrev=12", "--dirty", "--exclude=*"]
        found = subprocess.run(git, capture_output=True, text=True)
        commit = found.stdout.strip()
        if found.returncode or commit.endswith("-dirty"):
            raise ValueError(f"{folder} is {commit or 'not a checkout'}; commit first, so that the number has a name")
        return cls(folder=folder, commit=commit)

    def run(self, command: Sequence[str], *, cwd: Path, **settings: str) -> str:
        """Run a command in a folder and return what it says. Raises RuntimeError with the end of that if it fails.

        It gets no setting of this process that is not named here, and none of Python: where to import from, or to
        compile all anew.
        """
        own = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
        done = subprocess.run(
            command,
            cwd=cwd,
            env=own | settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)} failed in {self.folder}:\n{done.stdout[-3000:]}")
        return done.stdout


def list_tests(checkout: Checkout) -> dict[str, list[str]]:
    """Return the fast tests as pytest names them, by what stays if a file is moved: function and parameters."""
    said = checkout.run(["make", "-s", "test", "ARGS=--collect-only -q -p no:cacheprovider"], cwd=checkout.folder)
    found: dict[str, list[str]] = {}
    for line in said.splitlines():
        file, found_any, name = line.partition("::")
        if found_any and file.endswith(".py"):
            found.setdefault(name, []).append(line)
    return found


def run_suite(checkout: Checkout, tests: Mapping[str, Sequence[str]]) -> str:
    """Run the tests listed for this commit, and return the line that counts them."""
    with tempfile.NamedTemporaryFile("w", suffix=".txt", encoding="utf-8") as file:
        file.write("\n".join(tests[checkout.commit]))
        file.flush()
        command = ["make", "-s", "test", f"ARGS=-q -p no:cacheprovider @{file.name}"]
        said = checkout.run(command, cwd=checkout.folder)
    return next(line for line in reversed(said.splitlines()) if " passed" in line).split(" in ")[0].strip(" =")


def find_shared_tests(this: Checkout, other: Checkout) -> dict[str, list[str]]:
    """Return for each commit the tests that both have; a test that one of them lacks tells nothing about speed.

    Raises ValueError if there are none.
    """
    listed = {checkout.commit: list_tests(checkout) for checkout in (this, other)}
    both = listed[this.commit].keys() & listed[other.commit].keys()
    if not both:
        raise ValueError("no test is in both checkouts")
    return {
        commit: [test for name, named in tests.items() if name in both for test in named]
        for commit, tests in listed.items()
    }


def run_demo(checkout: Checkout) -> str:
    """Run a demo in an empty folder, and return condition and score of each line of its table."""
    with tempfile.TemporaryDirectory(prefix="comem-bench-") as folder:
        return run_demo_in(checkout, Path(folder))


def run_demo_in(checkout: Checkout, folder: Path) -> str:
    """Run a demo in a folder, where it reuses what is there, as `run_demo` does."""
    for name in LINKED:
        (folder / name).unlink(missing_ok=True)
        (folder / name).symlink_to(checkout.folder / name)
    return shown_scores(checkout.run([str(checkout.folder / PYTHON), "-m", "flows.local", "demo"], cwd=folder))


def shown_scores(said: str) -> str:
    """Pick condition and score out of the table that a demo prints. Raises ValueError where there is none."""
    lines = iter(said.splitlines())
    heading = next((line for line in lines if line.startswith("benchmark") and "condition" in line), None)
    if heading is None:
        raise ValueError("the demo printed no table of scores")
    columns = [(heading.index(name), name) for name in ("condition", "split", "right")]
    table = []
    for line in lines:
        if not line.strip():
            break
        table.append(" ".join(line[start:].split("  ")[0] for start, _ in columns))
    return "\n".join(table[1:])


def measure_ratio(
    name: str, work: Callable[[Checkout], str], this: Checkout, other: Checkout, *, rounds: int
) -> tuple[float, dict[str, set[str]]]:
    """Time some work of both by turns; returns the ratio of the medians (this / other), and what each said."""
    seconds: dict[str, list[float]] = {other.commit: [], this.commit: []}
    said: dict[str, set[str]] = {other.commit: set(), this.commit: set()}
    for turn in range(rounds):
        for checkout in (other, this) if turn % 2 == 0 else (this, other):
            started = time.monotonic()
            said[checkout.commit].add(work(checkout))
            seconds[checkout.commit].append(time.monotonic() - started)
            print(f"{name} at {checkout.commit}: {seconds[checkout.commit][-1]:.0f} s", flush=True)
    return statistics.median(seconds[this.commit]) / statistics.median(seconds[other.commit]), said


def _measure_suite(this: Checkout, other: Checkout, rounds: int) -> Iterator[Measured]:
    work = partial(run_suite, tests=find_shared_tests(this, other))
    ratio, said = measure_ratio("suite", work, this, other, rounds=rounds)
    _print_said(said)
    yield _make_row("suite_ratio", ratio, "fast tests of both", f"time / time at {other.commit}", this, other, rounds)


def _measure_demo(this: Checkout, other: Checkout, rounds: int) -> Iterator[Measured]:
    ratio, said = measure_ratio("demo", run_demo, this, other, rounds=rounds)
    _print_said(said)
    if said[this.commit] != said[other.commit]:
        raise ValueError("the two demos show different scores, so their times are not compared")
    yield _make_row("demo_ratio", ratio, "tiny_cpu", f"time / time at {other.commit}", this, other, rounds)


def _measure_reuse(this: Checkout, other: Checkout, rounds: int) -> Iterator[Measured]:
    """Time demos that find everything made: each checkout has a folder, in which one ran before."""
    with tempfile.TemporaryDirectory(prefix="comem-bench-") as place:
        folders = {each.commit: Path(place, each.commit) for each in (this, other)}
        for each in (this, other):
            folders[each.commit].mkdir()
            run_demo_in(each, folders[each.commit])

        def run_again(checkout: Checkout) -> str:
            return run_demo_in(checkout, folders[checkout.commit])

        ratio, _ = measure_ratio("demo that finds everything made", run_again, this, other, rounds=rounds)
    yield _make_row("reused_run_ratio", ratio, "tiny_cpu", f"time / time at {other.commit}", this, other, rounds)


def _measure_training(this: Checkout, other: Checkout, rounds: int) -> Iterator[Measured]:
    """Time the steps of both on the same samples, in processes of their own and by turns."""
    for model, recipe in ((commits.TINY, "tiny_cpu"), (commits.LARGE, "random_117m")):
        seconds: dict[str, list[float]] = {this.commit: [], other.commit: []}
        for turn in range(rounds):
            for checkout in (other, this) if turn % 2 == 0 else (this, other):
                said = checkout.run([str(checkout.folder / PYTHON), commits.__file__, model], cwd=Path("/"))
                seconds[checkout.commit] += json.loads(said.splitlines()[-1])
        medians = {commit: statistics.median(found) for commit, found in seconds.items()}
        print(
            *(f"{model} at {commit}: {found:.3f} s a step" for commit, found in medians.items()), sep="\n", flush=True
        )
        unit = f"samples/s / samples/s at {other.commit}"
        yield _make_row(
            f"train_vs_earlier/{model}", medians[other.commit] / medians[this.commit], recipe, unit, this, other, rounds
        )


def _measure_smol(this: Checkout, other: Checkout, rounds: int) -> Iterator[Measured]:
    """Time the training of SmolLM2's encoder: reading passages, and some steps of each of its stages.

    A checkout from before passages were read once has one stage, whose steps read and ask at once.
    """
    rates: dict[str, dict[str, list[float]]] = {this.commit: {}, other.commit: {}}
    for turn in range(rounds):
        for checkout in (other, this) if turn % 2 == 0 else (this, other):
            for stage, found in measure_smol_steps(checkout).items():
                rates[checkout.commit].setdefault(stage, []).extend(found)
    ours = {stage: statistics.median(found) for stage, found in rates[this.commit].items()}
    (theirs,) = (statistics.median(found) for found in rates[other.commit].values())
    recipe = NamingRecipe()
    samples = {stage.name: stage.optimizer.num_steps * stage.optimizer.batch_size for stage in recipe.stages}
    seconds = sum(number / ours[stage] for stage, number in samples.items())
    ours["whole"] = sum(samples.values()) / (recipe.num_passages / ours.pop(READING) + seconds)
    for stage, rate in ours.items():
        print(f"{stage}: {3600 * rate:.0f} passages an hour, {3600 * theirs:.0f} at {other.commit}", flush=True)
        unit = f"passages/h / passages/h at {other.commit}"
        yield _make_row(f"smol_samples_per_hour_ratio/{stage}", rate / theirs, "smol_cpu", unit, this, other, rounds)


def measure_smol_steps(checkout: Checkout) -> dict[str, list[float]]:
    """Return for each stage of the training the passages a second of its steps, but for the first ones."""
    reads_once = (checkout.folder / "comem_core/pretraining/stored_readings.py").exists()
    command = [str(checkout.folder / PYTHON), "-m", "comem_core.pretraining.smol"]
    with tempfile.TemporaryDirectory(prefix="comem-bench-") as folder:
        options = ["--until", str(SMOL_STEPS), *(SMOL_SHORT if reads_once else ())]
        checkout.run([*command, folder, *options], cwd=checkout.folder, PYTHONPATH=str(checkout.folder))
        lines = [json.loads(line) for line in Path(folder, "steps.jsonl").read_text(encoding="utf-8").splitlines()]
    rates: dict[str, list[float]] = {}
    for line in lines:
        rates.setdefault(line.get("stage", "together"), []).append(line["samples"] / line["seconds"])
    return {stage: found if stage == READING else found[SMOL_WARM_UP:] for stage, found in rates.items()}


MEASURES = {
    "suite": (TOPIC, _measure_suite),
    "demo": (TOPIC, _measure_demo),
    "reuse": (TOPIC, _measure_reuse),
    "training": (TOPIC, _measure_training),
    "smol": (SMOL_TOPIC, _measure_smol),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure this checkout against another one, print, and write `docs/results`."""
    parser = argparse.ArgumentParser(prog="make bench-against ARGS=...", description=main.__doc__)
    parser.add_argument("--against", type=Path, required=True, help="folder of another checkout, with its .venv")
    parser.add_argument("--only", choices=MEASURES, help="measure one of them")
    parser.add_argument("--rounds", type=int, default=1, help="how often each is run; default: %(default)s")
    parsed = parser.parse_args(arguments)
    try:
        this, other = Checkout.at(Path.cwd()), Checkout.at(parsed.against)
        if this.commit == other.commit:
            raise ValueError(f"both are {this.commit}: there is nothing to compare")
        rows: dict[str, list[Measured]] = {}
        for name, (topic, measure) in MEASURES.items():
            if parsed.only in (None, name):
                rows.setdefault(topic, []).extend(measure(this, other, parsed.rounds))
    except (ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    for topic, own in rows.items():
        print(f"written: {write_results(topic, own)}")
    return 0


def _print_said(said: Mapping[str, set[str]]) -> None:
    print(*(f"{commit}:\n{each}" for commit, all_ in said.items() for each in all_), sep="\n")


def _make_row(
    measure: str, ratio: float, recipe: str, unit: str, this: Checkout, other: Checkout, rounds: int
) -> Measured:
    print(f"{measure}: {ratio:.2f}")
    return Measured(
        measure=measure,
        recipe=recipe,
        value=round(ratio, 2),
        unit=unit,
        n=rounds,
        command=COMMAND.format(against=f"CHECKOUT_OF_{other.commit}"),
        commit=this.commit,
        machine=f"{describe_machine()}, load {os.getloadavg()[0]:.0f}",
    )


if __name__ == "__main__":
    guard_output()
    raise SystemExit(main())
