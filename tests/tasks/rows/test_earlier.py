"""Rows of earlier artefacts are found by their keys, verified, and taken over once."""

import json
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from tasks.engine import store as stores
from tasks.engine.context import RunRef
from tasks.engine.partial import Partial
from tasks.engine.reuse import RowNames, Stage, list_libraries
from tasks.engine.stage import run_stage
from tasks.engine.store import Reference, Store
from tasks.rows import earlier
from tasks.rows.earlier import LastingRows, count_missing, find_rows, is_of_these_libraries, leave_missing

ECHO = Stage(name="echo", version="1")
SCHEMA = pa.schema([("key", pa.string()), ("said", pa.string()), ("late", pa.bool_())])
LASTING = LastingRows(stage=ECHO, key="key", shard="part-said-before", schema=SCHEMA, unless="late")


@dataclass(frozen=True)
class EchoKey:
    words: tuple[str, ...]


class ToSay(NamedTuple):
    key: str


def write(artefact: Partial, shard: str, keys: Sequence[str | None], said: str, *, late: bool = False) -> None:
    rows = [{"key": key, "said": f"{key} {said}", "late": late} for key in keys]
    artefact.write_shard(shard, pa.Table.from_pylist(rows, schema=SCHEMA))


def echo(run: RunRef, *keys: str, said: str, die_after: int = 99, shard_size: int = 2, lasting=LASTING) -> Reference:
    """A stage that says each key, or takes over what was said before, in shards of two."""

    def make(artefact: Partial) -> None:
        missing = leave_missing(run.context, artefact, lasting, [ToSay(key) for key in keys])
        for number in range(0, len(missing), shard_size):
            name = f"part-{number:05d}"
            if number >= die_after:
                raise RuntimeError("the machine was switched off")
            if name not in artefact.list_finished():
                write(artefact, name, [each.key for each in missing[number : number + shard_size]], said)

    return run_stage(run, replace(lasting.stage), EchoKey(keys), {}, make)


def read(reference: Reference) -> dict[str, str]:
    rows = [row for path in reference.list_shards() for row in pq.read_table(path).to_pylist()]
    assert len({row["key"] for row in rows}) == len(rows)
    return {row["key"]: row["said"] for row in rows}


def test_each_row_is_the_newest_with_its_key_and_the_rest_is_made(
    run: RunRef, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO", "comem.stage")
    echo(run, "a", "b", "c", said="first")
    echo(run, "c", "d", said="second", lasting=replace(LASTING, shard="part-none-before", accepts=lambda record: False))
    third = echo(run, "a", "c", "d", "e", said="third")
    assert read(third) == {"a": "a first", "c": "c second", "d": "d second", "e": "e third"}
    assert "echo: 3 of 4 rows are reused from earlier results" in caplog.text
    assert count_missing(run.context, LASTING, ["a", "e", "f"]) == (3, 1)


def test_reading_ends_with_the_artefact_that_has_what_is_left(run: RunRef, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(5):
        echo(run, "a", *(f"{number} {each}" for each in "xyz"), said=str(number))
    hashed, opened = [], []
    monkeypatch.setattr(earlier, "hash_file", lambda path: hashed.append(path) or stores.hash_file(path))
    read_keys = earlier._read_keys_of_file
    monkeypatch.setattr(earlier, "_read_keys_of_file", lambda path, of: opened.append(path) or read_keys(path, of))
    [table] = find_rows(Store.of(run.context), LASTING, ["4 x", "3 y", "a"])
    assert sorted(table["key"].to_pylist()) == ["3 y", "4 x", "a"]
    assert len({path.parent for path in opened}) == 2
    assert len(hashed) == len(set(hashed)) == 3  # of each artefact the file with a wanted row; of the newest, two


def test_a_row_that_has_to_be_made_again_is_not_found(run: RunRef) -> None:
    def make(artefact: Partial) -> None:
        write(artefact, "part-00000", ["a"], "in time")
        write(artefact, "part-00001", ["b"], "too late", late=True)
        write(artefact, "part-00002", [None], "nothing")

    run_stage(run, ECHO, EchoKey(("first",)), {}, make)
    assert read(echo(run, "a", "b", said="second")) == {"a": "a in time", "b": "b second"}


def test_rows_of_another_version_and_of_other_libraries_are_not_found(run: RunRef) -> None:
    first = echo(run, "a", said="first")
    newer = replace(LASTING, stage=replace(ECHO, version="2"))
    assert read(echo(run, "a", said="second", lasting=newer)) == {"a": "a second"}
    strict = replace(LASTING, accepts=is_of_these_libraries)
    record = json.loads((first.folder / "record.json").read_text())
    for libraries, found in ((None, True), (list_libraries(), True), ({"torch": "1.0"}, False)):
        changed = {name: value for name, value in record.items() if name != "libraries"}
        changed |= {"libraries": libraries} if libraries else {}
        (first.folder / "record.json").write_text(json.dumps(changed))
        assert bool(list(find_rows(Store.of(run.context), strict, ["a"]))) == found


@pytest.mark.parametrize("spoil", ["flip", "cut", "remove"])
def test_a_damaged_file_is_left_out_and_an_older_row_is_found(run: RunRef, spoil: str) -> None:
    echo(run, "a", "b", said="first")
    newer = echo(run, "a", "b", "c", "d", said="second", lasting=replace(LASTING, accepts=lambda record: False))
    path = newer.folder / "part-00000.parquet"
    raw = bytearray(path.read_bytes())
    place = raw.index(b"second") if b"second" in raw else 40
    raw[place] ^= 1
    path.unlink() if spoil == "remove" else path.write_bytes(raw if spoil == "flip" else raw[: len(raw) // 2])
    found = read(echo(run, "a", "b", "c", said="third"))
    assert found == {"a": "a first", "b": "b first", "c": "c second"}


def test_an_artefact_that_is_continued_keeps_what_it_took_over(run: RunRef) -> None:
    echo(run, "a", "b", said="first")
    keys = ("a", "c", "d", "e", "f")
    with pytest.raises(RuntimeError, match="switched off"):
        echo(run, *keys, said="second", die_after=2)
    echo(run, "e", said="between")  # would be found now, and is not: the shards were shared out without it
    assert read(echo(run, *keys, said="third")) == {
        "a": "a first", "c": "c second", "d": "d second", "e": "e third", "f": "f third",
    }  # fmt: skip


def test_an_artefact_that_was_begun_without_earlier_rows_goes_on_without(run: RunRef) -> None:
    with pytest.raises(RuntimeError, match="switched off"):
        echo(run, "a", "b", "c", "d", said="first", die_after=2)
    echo(run, "c", said="between")
    assert read(echo(run, "a", "b", "c", "d", said="second")) == {
        "a": "a first", "b": "b first", "c": "c second", "d": "d second",
    }  # fmt: skip


def test_an_artefact_that_lost_the_rows_it_took_over_is_made_again_as_a_whole(run: RunRef) -> None:
    first = echo(run, "a", "b", said="first")
    keys = ("a", "c", "d", "b", "e")
    second = echo(run, *keys, said="second")
    (second.folder / "part-said-before.parquet").write_bytes(b"lost")
    (first.folder / "part-00000.parquet").write_bytes(b"lost too")
    assert read(echo(run, *keys, said="third")) == {key: f"{key} third" for key in keys}


def test_nothing_to_make_is_one_shard_without_rows(run: RunRef) -> None:
    [path] = echo(run, said="nothing").list_shards()
    assert pq.read_table(path).schema == SCHEMA and pq.read_metadata(path).num_rows == 0


def test_names_of_rows_differ_with_content_and_with_what_decides_all_rows() -> None:
    names = RowNames.of(ECHO, EchoKey(("a",)), {"model": "m"})
    same = RowNames.of(ECHO, EchoKey(("a",)), {"model": "m"})
    assert names.name("x", None, ["y"]) == same.name("x", None, ("y",))
    others = [
        RowNames.of(ECHO, EchoKey(("b",)), {"model": "m"}).name("x"),
        RowNames.of(ECHO, EchoKey(("a",)), {"model": "n"}).name("x"),
        RowNames.of(replace(ECHO, version="2"), EchoKey(("a",)), {"model": "m"}).name("x"),
        *(names.name(*content) for content in (("x",), ("x", ""), ("x", None), (["x"],), ("", "x"))),
    ]
    assert len(set(others)) == len(others)


def test_a_hundred_thousand_rows_take_a_second_or_two_and_little_memory(run: RunRef) -> None:
    keys = [f"{number:016x}" for number in range(100_000)]
    schema = pa.schema([("key", pa.string()), ("embedding", pa.binary())])
    lasting = LastingRows(stage=ECHO, key="key", shard="image-embedded-before", schema=schema)
    raw = np.zeros((4096, 64), "<f4").tobytes()

    def make(artefact: Partial) -> None:
        for number, start in enumerate(range(0, len(keys), 4096)):
            part = keys[start : start + 4096]
            vectors = [raw[each * 256 : each * 256 + 256] for each in range(len(part))]
            artefact.write_shard(f"image-{number:05d}", pa.table([part, vectors], schema=schema))

    run_stage(run, ECHO, EchoKey(("all",)), {}, make)
    started = time.process_time()
    sizes: list[int] = [len(table) for table in find_rows(Store.of(run.context), lasting, [*keys[:99_000], "new"])]
    assert sum(sizes) == 99_000 and max(sizes) < 10_000
    assert time.process_time() - started < 3


def test_a_late_column_is_null_in_older_rows_and_made_where_it_is_needed(run: RunRef) -> None:
    """Rows of a version that did not know a column are still found, unless the caller cannot do without its values."""
    echo(run, "a", "b", said="first")
    wider = pa.schema([*SCHEMA, ("sure", pa.float64())])
    later = replace(LASTING, schema=wider, late=("sure",), shard="part-taken-over")
    [table] = find_rows(Store.of(run.context), later, ["a", "b"])
    assert table.schema == wider and table["said"].to_pylist() == ["a first", "b first"]
    assert table["sure"].null_count == 2
    needed = replace(later, needed="sure")
    assert not list(find_rows(Store.of(run.context), needed, ["a", "b"]))

    def make(artefact: Partial) -> None:
        rows = [
            {"key": key, "said": f"{key} again", "late": False, "sure": sure} for key, sure in (("a", 0.5), ("b", None))
        ]
        artefact.write_shard("part-00000", pa.Table.from_pylist(rows, schema=wider))

    run_stage(run, ECHO, EchoKey(("later",)), {}, make)
    [table] = find_rows(Store.of(run.context), needed, ["a", "b"])
    assert table["said"].to_pylist() == ["a again"]
    assert count_missing(run.context, needed, ["a", "b"]) == (2, 1)
    strict = replace(later, late=())
    assert [each["said"].to_pylist() for each in find_rows(Store.of(run.context), strict, ["b"])] == [["b again"]]
