"""A living corpus: after each odd change, what is made beside earlier artefacts equals what is made from nothing."""

import io
import json
import os
import sys
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tasks.data.ingest import ingest_knowledge
from tasks.data.known_items import SOURCES
from tasks.engine.context import Context
from tasks.engine.store import Reference
from tests.tasks.data.test_ingest import run_on

RECORD = "record.json"


def draw(number: int, *, side: int = 24, form: str = "BMP") -> bytes:
    """A picture of its own; those of one side have one size in bytes."""
    pixels = np.random.default_rng(number).integers(0, 256, (side, side, 3), dtype=np.uint8)
    written = io.BytesIO()
    Image.fromarray(pixels).save(written, format=form)
    return written.getvalue()


def write_pair(folder: Path, name: str, number: int, text: str | None = None) -> None:
    (folder / f"{name}.bmp").write_bytes(draw(number))
    (folder / f"{name}.txt").write_text(text or f"The village of {name} lies on a river and has a market.")


def write_tar(path: Path, numbers: list[int]) -> None:
    """Write samples whose members have the same times whatever is in them."""
    with tarfile.open(path, "w") as tar:
        for place, number in enumerate(numbers):
            text = f"The bridge number {number:03d} crosses the river here.".encode()
            for ending, content in (("bmp", draw(number)), ("txt", text)):
                member = tarfile.TarInfo(f"sample-{place}.{ending}")
                member.size = len(content)
                tar.addfile(member, io.BytesIO(content))


def write_table(path: Path, numbers: list[int]) -> None:
    rows = [{"image": draw(each), "text": f"The tower number {each} was built of stone."} for each in numbers]
    pq.write_table(pa.Table.from_pylist(rows), path)


def write_lines(path: Path, names: list[str]) -> None:
    rows = [{"image": f"beside/{name}.bin", "text": f"A lighthouse that is called {name}."} for name in names]
    path.write_text("\n".join(map(json.dumps, rows)))


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Pictures with texts beside them, a Parquet table, a JSONL file that names pictures, and a tar file."""
    (folder := tmp_path / "corpus").mkdir()
    (folder / "beside").mkdir()
    for number in range(12):
        write_pair(folder, f"place-{number:02d}", number)
    (folder / "place-03.bmp").write_bytes(b"broken")
    write_table(folder / "towers.parquet", list(range(100, 110)))
    for number, name in enumerate(("north", "south", "west")):
        (folder / "beside" / f"{name}.bin").write_bytes(draw(200 + number))
    write_lines(folder / "lights.jsonl", ["north", "south", "west"])
    write_tar(folder / "bridges.tar", [300, 301, 302])
    return folder


def read_record(knowledge: Reference) -> dict:
    return json.loads((knowledge.folder / RECORD).read_text())


def read_all(knowledge: Reference) -> dict[str, object]:
    """Everything that an artefact holds: each table as it is, the other files' bytes, and what its record measured."""
    measured = read_record(knowledge)["measured"]
    found: dict[str, object] = {
        name: value for name, value in measured.items() if name not in ("rows_as_they_were", "pictures_decoded")
    }
    for path in sorted(knowledge.folder.iterdir()):
        if path.name != RECORD:
            found[path.name] = pq.read_table(path) if path.suffix == ".parquet" else path.read_bytes()
    return found


class Living:
    """A corpus that is ingested into one store again and again, and each time into an empty one beside it."""

    def __init__(self, corpus: Path, context: Context) -> None:
        self.corpus, self.context, self.number = corpus, context, 0

    def ingest(self, **reading: object) -> dict:
        """Ingest beside earlier artefacts and from nothing, compare, and return what the record measured."""
        self.number += 1
        root = self.context.root / f"fresh-{self.number}"
        fresh = replace(self.context, root=root, store=root / "store", warehouse=root / "warehouse.duckdb")
        made, anew = (self._ingest(context, reading) for context in (self.context, fresh))
        assert made.fingerprint == anew.fingerprint
        assert read_all(made) == read_all(anew)
        self.made = made
        return read_record(made)["measured"]

    def _ingest(self, context: Context, reading: dict) -> Reference:
        run = run_on(self.corpus, context)
        return ingest_knowledge.fn(
            replace(run, recipe=replace(run.recipe, knowledge=replace(run.recipe.knowledge, **reading)))
        )


@pytest.fixture
def living(corpus: Path, context: Context) -> Living:
    living = Living(corpus, context)
    measured = living.ingest()
    assert "pictures_decoded" not in measured, "nothing was there to compare with"
    return living


def add_and_remove(folder: Path) -> None:
    write_pair(folder, "place-00a", 50)
    for ending in ("bmp", "txt"):
        (folder / f"place-07.{ending}").unlink()


def mend_a_text(folder: Path) -> None:
    (folder / "place-05.txt").write_text("The village of place five, whose text was mended.")


def change_a_picture(folder: Path) -> None:
    (folder / "place-06.bmp").write_bytes(draw(51))


def swap_names(folder: Path) -> None:
    """Two pictures of one size and one time swap their names; another file changes, so that the corpus is another."""
    first, second, aside = folder / "place-01.bmp", folder / "place-02.bmp", folder / "aside"
    os.utime(first, ns=(10**18, 10**18))
    os.utime(second, ns=(10**18, 10**18))
    first.rename(aside)
    second.rename(first)
    aside.rename(second)


def write_a_twin_before(folder: Path) -> None:
    """The twin comes before the item that it repeats, so that now that one is dropped."""
    write_pair(folder, "aa-first", 10, (folder / "place-10.txt").read_text())


def state_a_language(folder: Path) -> None:
    (folder / "place-04.txt").rename(folder / "place-04.de.txt")


def touch(folder: Path) -> None:
    (folder / "place-08.bmp").touch()
    (folder / "place-08.txt").touch()


def replace_by_equal_size(folder: Path) -> None:
    """Set the time back as well; another file changes, so that the corpus is another."""
    path = folder / "place-09.bmp"
    times = (path.stat().st_atime_ns, path.stat().st_mtime_ns)
    path.write_bytes(draw(52))
    os.utime(path, ns=times)
    (folder / "place-11.txt").touch()


def mend_a_bad_row(folder: Path) -> None:
    (folder / "place-03.bmp").write_bytes(draw(3))


def break_a_good_row(folder: Path) -> None:
    (folder / "place-02.bmp").write_bytes(b"broken")
    (folder / "place-01.txt").write_text("")


def move_a_table_row(folder: Path) -> None:
    write_table(folder / "towers.parquet", [100, 109, *range(101, 109)])


def change_a_table(folder: Path) -> None:
    write_table(folder / "towers.parquet", [*range(100, 104), 150, *range(104, 108), 100])


def rename_a_table(folder: Path) -> None:
    """The file is the source of its rows."""
    (folder / "towers.parquet").rename(folder / "spires.parquet")


def change_a_tar(folder: Path) -> None:
    write_tar(folder / "bridges.tar", [300, 303, 302])


def change_a_named_picture(folder: Path) -> None:
    """Two pictures that rows of a table name swap their places; the table stays."""
    first, second = (folder / "beside" / f"{name}.bin" for name in ("north", "south"))
    contents = first.read_bytes(), second.read_bytes()
    first.write_bytes(contents[1])
    second.write_bytes(contents[0])


# What is changed one after another, how many rows are then as they were, and how many pictures are decoded. A row that
# was bad, or a duplicate in the last two artefacts, is read again each time.
CHANGES: list[tuple[Callable[[Path], None], int, int]] = [
    (add_and_remove, 26, 1),
    (mend_a_text, 26, 0),
    (change_a_picture, 26, 1),
    (swap_names, 25, 0),
    (write_a_twin_before, 27, 0),
    (state_a_language, 27, 0),
    (touch, 26, 0),
    (replace_by_equal_size, 25, 1),
    (mend_a_bad_row, 27, 1),
    (break_a_good_row, 26, 0),
    (move_a_table_row, 26, 0),
    (change_a_table, 25, 1),
    (rename_a_table, 16, 0),
    (change_a_tar, 23, 1),
    (change_a_named_picture, 24, 0),
]


def test_a_corpus_that_changes_every_day_is_as_from_nothing_and_only_what_is_new_is_decoded(living: Living) -> None:
    for change, num_rows, num_pictures in CHANGES:
        change(living.corpus)
        measured = living.ingest()
        found = (measured["rows_as_they_were"], measured["pictures_decoded"])
        assert found == (num_rows, num_pictures), change.__name__


def test_rows_whose_files_did_not_change_get_the_languages_that_their_folder_has_now(living: Living) -> None:
    for number in range(12):
        (living.corpus / f"place-{number:02d}.txt").write_text(f"Tal {number}")
    assert living.ingest()["pictures_decoded"] == 0
    before = {row["text"]: row["language"] for row in read_items_of(living)}
    for number in range(40):
        write_pair(
            living.corpus, f"a-{number:02d}", 400 + number, f"Das Dorf {number} liegt am Fluss, wo es schön ist."
        )
    assert living.ingest()["pictures_decoded"] == 40
    after = {row["text"]: row["language"] for row in read_items_of(living)}
    assert (before["Tal 5"], after["Tal 5"]) == ("en", "de")


def read_items_of(living: Living) -> list[dict]:
    return [
        row for path in sorted(living.made.folder.glob("part-*.parquet")) for row in pq.read_table(path).to_pylist()
    ]


def test_an_item_whose_twin_is_removed_comes_back(living: Living) -> None:
    write_a_twin_before(living.corpus)
    living.ingest()
    for ending in ("bmp", "txt"):
        (living.corpus / f"aa-first.{ending}").unlink()
    mend_a_text(living.corpus)
    assert living.ingest()["pictures_decoded"] == 0
    assert "place-10.bmp" in [row["file"] for row in read_items_of(living)]


def test_pieces_are_as_from_nothing_when_rows_move_from_one_to_the_next(corpus: Path, context: Context) -> None:
    living = Living(corpus, replace(context, rows_per_shard=1))  # pieces of 16 rows
    for name in ("bridges.tar", "lights.jsonl"):
        (corpus / name).unlink()
    for number in range(20):
        write_pair(corpus, f"more-{number:02d}", 500 + number)
    living.ingest()
    add_and_remove(corpus)
    (corpus / "place-05.bmp").unlink()
    (corpus / "place-05.txt").unlink()
    measured = living.ingest()
    assert (measured["rows_as_they_were"], measured["pictures_decoded"]) == (39, 1)


opened: list[set[str]] = []


def watch_opening(event: str, arguments: tuple) -> None:
    if event == "open" and opened and isinstance(arguments[0], str):
        opened[-1].add(arguments[0])


sys.addaudithook(watch_opening)


@contextmanager
def collect_opened() -> Iterator[set[str]]:
    opened.append(set())
    try:
        yield opened[-1]
    finally:
        opened.pop()


def test_files_that_did_not_change_are_not_opened(living: Living) -> None:
    mend_a_text(living.corpus)
    run = run_on(living.corpus, living.context)
    run = replace(run, recipe=replace(run.recipe, knowledge=replace(run.recipe.knowledge, language="en")))
    ingest_knowledge.fn(run)
    (living.corpus / "place-05.txt").write_text("It was mended again.")
    with collect_opened() as names:
        ingest_knowledge.fn(run)
    inside = {Path(name).name for name in names if Path(name).parent == living.corpus}
    assert {name for name in inside if name.startswith("place-")} == {
        "place-05.txt", "place-05.bmp", "place-03.txt", "place-03.bmp"
    }, "only what changed, and the row that was bad"  # fmt: skip


def test_a_state_that_was_there_before_decodes_nothing(living: Living) -> None:
    before = (living.corpus / "place-06.bmp").read_bytes()
    change_a_picture(living.corpus)
    living.ingest()
    (living.corpus / "place-06.bmp").write_bytes(before)
    assert living.ingest()["pictures_decoded"] == 0, "the artefact before the newest has it"


def test_other_reading_options_start_anew(living: Living) -> None:
    assert "pictures_decoded" not in living.ingest(max_side=16)
    mend_a_text(living.corpus)
    assert living.ingest(max_side=16)["pictures_decoded"] == 0


def edit_record(knowledge: Reference, edit: Callable[[dict], None]) -> None:
    record = read_record(knowledge)
    edit(record)
    (knowledge.folder / RECORD).write_text(json.dumps(record))


def forget_sources(record: dict) -> None:
    record["shards"] = [shard for shard in record["shards"] if shard["file"] != SOURCES]


@pytest.mark.parametrize(
    "edit",
    [
        forget_sources,
        lambda record: record["libraries"].update(pillow="1.0"),
        lambda record: record.update(version="0"),
    ],
)
def test_what_another_version_made_is_not_taken_row_by_row(living: Living, edit: Callable[[dict], None]) -> None:
    edit_record(living.made, edit)
    mend_a_text(living.corpus)
    assert "pictures_decoded" not in living.ingest()


def test_rows_of_a_damaged_part_are_read_again(living: Living) -> None:
    part = sorted(living.made.folder.glob("part-*.parquet"))[0]
    content = bytearray(part.read_bytes())
    content[len(content) // 2] ^= 1
    part.write_bytes(content)
    mend_a_text(living.corpus)
    measured = living.ingest()
    assert (measured["rows_as_they_were"], measured["pictures_decoded"]) == (16, 11)
    sources = living.made.folder / SOURCES
    sources.write_bytes(sources.read_bytes()[:-1] + b"\7")
    for path in living.context.store.glob("knowledge/*"):
        if path.is_dir() and path != living.made.folder:
            (path / SOURCES).unlink()
    change_a_picture(living.corpus)
    assert "pictures_decoded" not in living.ingest(), "what the keys say of damaged sources is not believed"
