"""`make export`: writes a run's answers in a benchmark's own format, for its official evaluator.

Owns the command (docs/other_programs.md); `comem_core.evaluation.submissions` has the formats.
"""

import argparse
import sys
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from comem_core.evaluation.benchmarks.registry import find_benchmark
from comem_core.evaluation.metrics.oven import open_title_finder
from comem_core.evaluation.submissions import write_submission
from comem_core.terminal import guard_output
from tasks.data.benchmarks import find_benchmark_folder
from tasks.engine.context import Context
from warehouse.connection import NO_RUN, open_warehouse
from warehouse.sql import read_report_rows

OVEN = "oven"


def main(arguments: Sequence[str] | None = None) -> int:
    """Write a run's answers as files for the benchmark's official evaluator, and print where they are."""
    options = _make_parser().parse_args(arguments)
    try:
        context = Context.from_environment()
        files = export(
            context,
            run_id=options.run,
            benchmark=options.benchmark,
            condition=options.condition,
            k=options.k,
            encoder=options.encoder,
        )
    except ValueError as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    options.output.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        (options.output / name).write_text(text, encoding="utf-8")
        print(f"written: {options.output / name}")
    return 0


def export(
    context: Context,
    *,
    benchmark: str,
    condition: str,
    run_id: str | None = None,
    k: int | None = None,
    encoder: str | None = None,
) -> Mapping[str, str]:
    """Return the official files (name -> text) of a run's answers; without `run_id`, of the last run that has
    such answers.

    Raises:
        ValueError: the run has no such answers, or it has several sets of them (they are listed), or the benchmark has
            no official evaluator.
    """
    find_entity = _open_entities(context) if benchmark == OVEN else None
    with open_warehouse(context.warehouse, read_only=True) as con:
        wanted = {"benchmark": benchmark, "condition": condition, "k": k, "encoder": encoder}
        if run_id is None:  # the last run with such answers, or else the last run, which then says what it has
            latest = {name: wanted[name] for name in ("benchmark", "condition")} | {"limit": 1}
            found = read_report_rows(con, "runs_with_answers", latest)
            run_id = _take_first_run(found or read_report_rows(con, "recent_runs", {"limit": 1}))
        chosen = _choose_answers(read_report_rows(con, "answered", {"run_id": run_id}), wanted, run_id)
        names = ("predictions", "questions", "condition", "k")
        answered = read_report_rows(con, "answered_questions", {name: chosen[name] for name in names})
    return write_submission(benchmark, answered, find_entity=find_entity)


def _take_first_run(runs: Sequence[Mapping[str, Any]]) -> str:
    if not runs:
        raise ValueError(NO_RUN)
    return runs[0]["run_id"]


def _choose_answers(answered: Sequence[Mapping[str, Any]], wanted: Mapping[str, Any], run_id: str) -> Mapping[str, Any]:
    """Return the one set of answers that is wanted; the beginning of a fingerprint is enough to name an encoder."""
    found = [each for each in answered if all(_matches(name, each[name], value) for name, value in wanted.items())]
    if len(found) == 1:
        return found[0]
    said = ", ".join(f"{name} {value}" for name, value in wanted.items() if value is not None)
    listed = "".join(
        f"\n  {each['benchmark']}, {each['condition']}, k {each['k']}, encoder {each['encoder']}: {each['n']} answers"
        for each in (found or answered)
    )
    many = f"{len(found)} sets of answers" if found else "no answers"
    raise ValueError(f"run {run_id} has {many} of {said}; choose one of{listed or ': none at all'}")


def _matches(name: str, value: Any, wanted: Any) -> bool:
    return wanted is None or value == wanted or (name == "encoder" and str(value).startswith(wanted))


def _open_entities(context: Context) -> Callable[[str], str]:
    return open_title_finder(find_benchmark_folder(find_benchmark(OVEN), context)).find_entity


def _make_parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="make export ARGS=...", description=main.__doc__)
    parser.add_argument("--run", help="a run_id (default: the last run with such answers)")
    parser.add_argument("--benchmark", required=True, help="the benchmark's name, such as okvqa")
    parser.add_argument("--condition", required=True, help="the condition, such as memory")
    parser.add_argument("--k", type=int, help="the number of items (default: the only one there is)")
    parser.add_argument("--encoder", help="the beginning of its fingerprint (default: the only encoder there is)")
    parser.add_argument("--output", type=Path, required=True, help="the folder to write to")
    return parser


if __name__ == "__main__":
    guard_output()
    raise SystemExit(main())
