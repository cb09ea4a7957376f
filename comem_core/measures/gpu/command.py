"""`make gpu-check`: measures the parts of the kit one after the other, and writes the rows of each as they are made.

The same command goes on where it was stopped: a part that was finished by this commit on this machine is not measured
again. Rows of a small shape or of a CPU are kept apart from those of `docs/results`.
"""

import argparse
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path

import torch

from comem_core.measures.gpu.answering import measure_answers, measure_encoding, measure_first_token
from comem_core.measures.gpu.cards import TimeLimit, begin_peak, measure_free_gb, name_device, refuse_unfit_device
from comem_core.measures.gpu.equality import UnequalGradients, measure_equality
from comem_core.measures.gpu.setup import Setup, describe_device
from comem_core.measures.gpu.training import measure_training
from comem_core.measures.gpu.workload import WORKLOADS
from comem_core.measures.provenance import find_commit
from comem_core.measures.results import RESULTS, Measured, read_results, write_results
from comem_core.measures.tables import refresh_tables

TOPIC, COMMAND = "gpu", "make gpu-check"
APART = Path("build/gpu-check")
SECONDS = 50.0
FAILED, REFUSED, STOPPED = 1, 2, 130

PARTS: Mapping[str, tuple[str, Callable[[Setup, TimeLimit], Iterator[Measured]]]] = {
    "train": ("training steps at the recipe's settings", measure_training),
    "encode": ("items encoded a second", measure_encoding),
    "first-token": ("time to first and last token, with text and with memory", measure_first_token),
    "answers": ("answers a second", measure_answers),
    "equality": ("the gradient of a step in micro-batches beside that of the unsplit one", measure_equality),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure what a GPU makes of the 7B recipe, and write `docs/results/gpu.json`."""
    options = _read_options(arguments)
    workload, device = WORKLOADS[options.shape], torch.device(options.device)
    try:
        refuse_unfit_device(device, workload)
    except ValueError as error:
        print(f"gpu-check cannot start: {error}", file=sys.stderr)
        return REFUSED
    is_real = device.type == "cuda" and workload.name == "7b"
    folder = options.folder or (RESULTS if is_real else APART)
    command = COMMAND if is_real else f'{COMMAND} ARGS="--shape {workload.name} --device {device.type}"'
    setup = Setup(workload=workload, device=device, command=command)
    names = [options.only] if options.only else list(PARTS)
    path = folder / f"{TOPIC}.json"
    finished = [] if options.only or options.again else _list_finished(path, setup)
    left = [name for name in names if name not in finished]
    _announce(setup, left, options.seconds, path)
    faults: list[str] = []
    try:
        if left:
            _prepare(setup)
        for place, name in enumerate(names, start=1):
            what, _ = PARTS[name]
            print(f"[{place}/{len(names)}] {name}: {what}", flush=True)
            if name in finished:
                print("  finished before by this commit on this machine; --again measures it again", flush=True)
                continue
            faults += _measure_part(name, setup, options.seconds, folder)
    except KeyboardInterrupt:
        print(f"stopped; the rows so far are in {path}, and the same command goes on", file=sys.stderr)
        return STOPPED
    print("\n".join(f"written: {each}" for each in (path, *(refresh_tables(TOPIC) if is_real else []))))
    for fault in faults:
        print(fault, file=sys.stderr)
    return FAILED if faults else 0


def _read_options(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make gpu-check ARGS=...", description=main.__doc__)
    parser.add_argument("--only", choices=PARTS, help="measure only this part, also if it is finished")
    parser.add_argument("--again", action="store_true", help="measure finished parts again")
    parser.add_argument("--seconds", type=float, default=SECONDS, help="a part begins no repeat after so many seconds")
    parser.add_argument("--shape", choices=WORKLOADS, default="7b", help="the model's; `small` is for trying the kit")
    parser.add_argument("--device", choices=("cuda", "cpu"), default="cuda")
    parser.add_argument("--folder", type=Path, help=f"where {TOPIC}.json is written; for a 7B on a GPU {RESULTS}")
    return parser.parse_args(arguments)


def _announce(setup: Setup, names: Sequence[str], seconds: float, path: Path) -> None:
    """Say what is going to be measured, on what, how long it may take and where the rows go."""
    workload, device = setup.workload, setup.device
    print(
        f"A Qwen2.5-VL of the shape {workload.name!r} with random weights in bfloat16, on {name_device(device)} "
        f"({measure_free_gb(device):.0f} GB free), torch {torch.__version__}.\n"
        f"To measure: {', '.join(names) or 'nothing'}. A part begins no repeat after {seconds:g} s; in all this takes "
        f"about {round(len(names) * (seconds + 20) / 60 + 1)} min at most.\n"
        f"Rows go to {path} as they are made.",
        flush=True,
    )


def _prepare(setup: Setup) -> None:
    """Make the model and lengthen the items, which all parts share."""
    started = time.perf_counter()
    print("making the model, and items of the right length", flush=True)
    num_parameters = setup.encoder.count_parameters()["backbone"]
    assert setup.encoded_items and setup.prompt_items
    seconds = time.perf_counter() - started
    print(f"  {num_parameters:,} parameters and {len(setup.prompt_items)} items in {seconds:.0f} s", flush=True)


def _list_finished(path: Path, setup: Setup) -> list[str]:
    """List the parts that this commit has finished on this machine with this workload."""
    now = (find_commit(), describe_device(setup.device), setup.workload.recipe)
    rows = read_results(path) if path.is_file() else []
    here = {row["measure"] for row in rows if (row["commit"], row["machine"], row["recipe"]) == now}
    return [name for name in PARTS if _name_duration(name) in here]


def _measure_part(name: str, setup: Setup, seconds: float, folder: Path) -> list[str]:
    """Measure a part and write its rows; return what went wrong, so that the other parts are measured all the same."""
    started = time.perf_counter()

    def write(row: Measured) -> None:
        write_results(TOPIC, [row], folder=folder)
        print(f"  {row.measure:<34} {row.value:g} {row.unit}", flush=True)

    try:
        begin_peak(setup.device)
        _, measure = PARTS[name]
        for row in measure(setup, TimeLimit(seconds)):
            write(row)
    except UnequalGradients as error:
        return [f"{name}: {error}"]
    except Exception as error:  # whatever it is, the other parts are worth the time on the card
        traceback.print_exc()
        return [f"{name} was not finished: {type(error).__name__}: {error}"]
    write(setup.make_row(_name_duration(name), time.perf_counter() - started, "s that this part took", n=1))
    return []


def _name_duration(part: str) -> str:
    return f"part_seconds_{part}"
