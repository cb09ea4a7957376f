"""Lets each write of a small run fail in turn, and says what is wrong afterwards.

    python -m tests.tasks.engine.every_write FOLDER folder killed --record

tries the write points of a run with its store in a folder, or in a `bucket`: at an address of a filesystem whose
objects are files. Each try is a run that fails at one write point, a look at what it left, and a run that goes on; both
are forks of this process, which has imported everything. A line of JSON is written for each: the point, how the first
run ended, and what was found to be wrong.
"""

import argparse
import json
import os
import shlex
import shutil
import sys
import traceback
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import pyarrow.parquet as pq

from comem_core.measures.results import Measured
from comem_core.measures.tables import record_rows
from comem_core.serving.layout import RECORD, Record
from tasks.engine.address import lease
from tasks.engine.address.partial import WHOLE
from tasks.engine.address.store import RemoteStore
from tasks.engine.store import Store
from tasks.engine.training.on_ray_train import CHECKPOINT
from tests.tasks.engine.small_run import BUCKET, STAGES, make_context, run_small
from tests.tasks.engine.small_training import OPTIMIZER, TRAINING, make_training, name_step, train_here
from tests.tasks.engine.write_points import FAILURES, WritePoints
from warehouse.comparison import KEYS, compare_stores
from warehouse.connection import open_warehouse

TOPIC, COMMAND = "reliability", "python -m tests.tasks.engine.every_write"
DONE, ENDED = "done.txt", "ended by "
TABLES = ("question", "missing_question", "draft", "training_step")


def main(arguments: Sequence[str]) -> None:
    """Print a line for each write point of the small run that is tried, and one with the number of all."""
    parser = argparse.ArgumentParser(prog=COMMAND, description=__doc__)
    parser.add_argument("folder", type=Path, help="where the runs are; it has to be empty")
    parser.add_argument("where", choices=("folder", BUCKET), help="where their store is")
    parser.add_argument("failure", choices=FAILURES, help="what happens at a write point")
    parser.add_argument("--step", type=int, default=1, help="try every so-manieth; default: %(default)s")
    parser.add_argument("--record", action="store_true", help="write docs/results/reliability.json")
    options = parser.parse_args(arguments)
    tried, wrong = 0, 0
    for faults in try_points(options.folder, options.where, options.failure, options.step):
        tried, wrong = tried + 1, wrong + len(faults)
    if options.record:
        record_rows(TOPIC, make_rows(options.where, options.failure, tried, wrong))


def make_rows(where: str, failure: str, tried: int, wrong: int) -> list[Measured]:
    """Make the rows of docs/results/reliability.json: how many write points were tried, and what was found wrong."""
    command = f"{COMMAND} FOLDER {where} {shlex.quote(failure)} --record"
    counted = (("write_points_tested", tried, "write points"), ("write_points_wrong", wrong, "found wrong"))
    return [
        Measured(
            measure=f"{measure}/{where}/{failure.replace(' ', '_')}",
            recipe="small run",
            value=count,
            unit=unit,
            n=tried,
            command=command,
        )
        for measure, count, unit in counted
    ]


def try_points(folder: Path, where: str, failure: str, step: int) -> Iterator[list[str]]:
    """Try every `step`-th write point, and yield what was found wrong after each."""
    ready, unbroken = folder / "ready", folder / "unbroken"
    train_here()
    run_small(folder / "first", folder / DONE, "first", make_training)  # so that the forks find all imports
    if where == BUCKET:
        (ready / BUCKET).mkdir(parents=True)
        hasten_leases()
    _fork(lambda: _migrate(ready))
    shutil.copytree(ready, unbroken)
    points = _fork(lambda: _run(unbroken))
    assert not points[-1].startswith(ENDED), points[-1]
    print(json.dumps({"write_points": len(points)}), flush=True)
    for number, point in list(enumerate(points, start=1))[step - 1 :: step]:
        place = Path(shutil.copytree(ready, folder / "broken"))
        passed = _fork(lambda: _run(place, fails_at=number, failure=failure))  # noqa: B023
        faults = [*_fork(lambda: find_faults(place)), *_fork(lambda: go_on(place, unbroken))]  # noqa: B023
        ended = next((each for each in passed if each.startswith(ENDED)), None)
        print(json.dumps({"point": f"{number} {point}", "ended": ended, "faults": faults}), flush=True)
        shutil.rmtree(place)
        yield faults


def _fork(function: Callable[[], Iterable[str]]) -> list[str]:
    """Call a function in a process of its own and return its list of words; of one that was ended, nothing."""
    reading, writing = os.pipe()
    if (child := os.fork()) == 0:
        os.close(reading)
        try:
            words = list(function())
        except BaseException:
            words = [traceback.format_exc(limit=-4)]
        with os.fdopen(writing, "w") as file:
            json.dump(words, file)
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading) as file:
        text = file.read()
    os.waitpid(child, 0)
    return json.loads(text) if text else []


def hasten_leases() -> None:
    """Let leases in this process, which stands for several after each other, end soon after their holder's death."""
    assert RemoteStore.__init__.__kwdefaults__ is not None
    RemoteStore.__init__.__kwdefaults__["lease_seconds"] = 2.0
    lease.SETTLE_SECONDS, lease.POLL_SECONDS = 0.01, 0.1


def _migrate(place: Path) -> Iterator[str]:
    place.mkdir(parents=True, exist_ok=True)
    with open_warehouse(make_context(place).warehouse):
        yield from ()


def _run(place: Path, *, fails_at: int | None = None, failure: str = "killed") -> list[str]:
    """Run, and return the write points that were passed; or else, last, what the run ended with."""
    points = WritePoints(place, fails_at=fails_at, failure=failure)
    try:
        run_small(place, place.with_name(f"{place.name}-{DONE}"), "first", make_training)
    except Exception as error:
        where = traceback.extract_tb(error.__traceback__)[-1]
        return [*points.passed, f"{ENDED}{type(error).__name__}: {error} ({Path(where.filename).name}:{where.lineno})"]
    return points.passed


def find_faults(place: Path) -> Iterator[str]:
    """Yield what must not be, whenever a run was ended."""
    context = make_context(place)
    store = Store.of(context)
    for folder in () if isinstance(store, RemoteStore) else store.folder.glob("*/*"):
        if folder.is_dir() and not folder.suffix and not (folder / RECORD).exists():
            yield f"{folder.parent.name} has its final name without a record"
    records = {record["fingerprint"]: record for record in store.all_records()}
    for record in records.values():
        yield from (f"{record['stage']}: {file} {fault}" for file, fault in store.damage(record).items())
    with open_warehouse(context.warehouse, read_only=True) as con:
        for stage, name in con.execute("SELECT stage, fingerprint FROM artefact").fetchall():
            if name not in records:
                yield f"the warehouse has {stage} {name}, which is not in the store"
        for table in TABLES:
            keys = ", ".join(("artefact", *KEYS[table]))
            twice = con.execute(f"SELECT {keys} FROM {table} GROUP BY {keys} HAVING count(*) > 1").fetchall()
            yield from (f"{table} has the row {row} twice" for row in twice)


def go_on(place: Path, unbroken: Path) -> Iterator[str]:
    """Start the run again, and yield how its result differs from that of a run which was never ended."""
    done = place.with_name(f"{place.name}-{DONE}")
    finished = _list_finished(place)
    run_small(place, done, "second", make_training)
    times = Counter(done.read_text().split("\n"))
    done.unlink()
    yield from (f"{unit} was finished and made again" for unit in finished if times[unit] != 1)
    yield from find_faults(place)
    stores = [Store.of(make_context(each)) for each in (unbroken, place)]
    for left, right in (stores, stores[::-1]):
        compared = list(compare_stores(*(Path(each.place.removeprefix(f"{BUCKET}:/")) for each in (left, right))))
        yield from (f"{each.stage} differs: {each}" for each in compared if not each.same)
        if len(compared) != len(STAGES) + 1:
            yield f"{len(compared)} results are complete"
    for wanted, found in zip(*(map(_describe, sorted(each.all_records(), key=_name)) for each in stores), strict=False):
        if wanted != found:
            yield f"a record differs: {found} instead of {wanted}"
    yield from (f"{left.relative_to(place)} was left" for left in (place / "store").rglob("*") if _is_left(left))
    rows = [_read_rows(each) for each in (unbroken, place)]
    yield from (f"rows of {table}: {rows[1][table]}" for table in rows[0] if rows[0][table] != rows[1][table])


def _list_finished(place: Path) -> list[str]:
    """List the samples that are in finished batches and shards of drafts, whether or not these are complete, and the
    steps up to the last checkpoint."""
    store = place / BUCKET if (place / BUCKET).is_dir() else place / "store"
    paths = [path for path in store.glob("drafts/**/*.parquet") if not {path.name[0], path.parent.name} & {".", WHOLE}]
    samples = sorted({unit for path in paths for unit in pq.read_table(path)["sample_id"].to_pylist()})
    steps = [int(path.stem.removeprefix(CHECKPOINT)) for path in store.rglob(f"{CHECKPOINT}*.pt")]
    if any(store.glob(f"{TRAINING.name}/*/{RECORD}")):
        steps.append(OPTIMIZER.num_steps)
    return [*samples, *map(name_step, range(max(steps, default=0)))]


def _name(record: Record) -> str:
    return record["stage"]


def _describe(record: Record) -> dict[str, object]:
    """Return what of a record does not depend on time and place."""
    changing = ("uri", "seconds", "created")
    return {name: value for name, value in record.items() if name not in changing}


def _is_left(path: Path) -> bool:
    return path.name.endswith((".tmp", ".partial"))


def _read_rows(place: Path) -> dict[str, list[tuple]]:
    """Return the rows of the warehouse by table, and how its last run ended."""
    with open_warehouse(make_context(place).warehouse, read_only=True) as con:
        rows = {table: con.execute(f"SELECT * FROM {table} ORDER BY ALL").fetchall() for table in TABLES}
        rows["artefact"] = con.execute(
            "SELECT stage, fingerprint, content_sha256 FROM artefact ORDER BY ALL"
        ).fetchall()
        rows["run"] = con.execute("SELECT status FROM run ORDER BY started DESC LIMIT 1").fetchall()
        last = "SELECT run_id FROM run ORDER BY started DESC LIMIT 1"
        rows["run_stage"] = con.execute(f"SELECT stage FROM run_stage WHERE run_id = ({last}) ORDER BY ALL").fetchall()
    return rows


if __name__ == "__main__":
    main(sys.argv[1:])
