"""Ingesting a corpus of one's own: good rows go on, bad rows are listed, an edited file is read again."""

import contextlib
import io
import json
import tarfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import duckdb
import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from comem_core.addresses.places import find_store_cache
from comem_core.backbone.loading import load_backbone
from comem_core.knowledge.corpora import ReadingOptions, open_corpus
from comem_core.knowledge.items import Question
from comem_core.knowledge.pictures import hash_picture
from comem_core.knowledge.withdrawn import Withdrawal, write_withdrawal
from comem_core.recipes import find_recipe
from comem_core.serving.layout import CORPUS_ADDRESS
from comem_core.worlds.countries.world import load_benchmark_questions, load_knowledge_items
from tasks.data.ingest import count_files, finish, ingest_knowledge
from tasks.data.item_shards import PieceWriter, name_part_shard, take_out_duplicates
from tasks.data.known_items import SOURCES, EarlierArtefact, join_sources
from tasks.engine.context import Context, ParameterRefused
from tasks.engine.partial import Partial
from tasks.engine.store import Reference, Store, hash_file
from tasks.rows.tables import make_item_table, make_question_table, read_items, read_questions
from tasks.run import Run
from tasks.sources import NO_BACKBONE
from tests.written import stamp_files


def run_on(corpus: Path, context: Context) -> Run:
    recipe = find_recipe("tiny_cpu")
    recipe = replace(recipe, knowledge=replace(recipe.knowledge, corpus=str(corpus)))
    return Run(run_id="run-1", recipe_name="tiny_cpu", context=context, recipe=recipe, backbone=NO_BACKBONE)


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """A JSONL of two good rows, one with a broken picture, and one without text."""
    (tmp_path / "good.png").write_bytes(load_knowledge_items()[0].picture)
    (tmp_path / "bad.png").write_bytes(b"no picture")
    common = {"language": "en", "source": "test", "licence": "CC0-1.0"}
    rows = [
        {"image": "good.png", "text": "Country: Andorra."} | common,
        {"image": "bad.png", "text": "Capital: Andorra la Vella."} | common,
        {"image": "good.png", "text": ""} | common,
        {"image": "good.png", "text": "Currency: Euro."} | common,
    ]
    path = tmp_path / "corpus.jsonl"
    path.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    return path


def test_good_rows_go_on_and_bad_rows_are_listed_with_file_row_and_reason(corpus: Path, context: Context) -> None:
    knowledge = ingest_knowledge.fn(run_on(corpus, context))
    assert [item.text for item in read_items(knowledge).values()] == ["Country: Andorra.", "Currency: Euro."]
    with duckdb.connect(str(context.warehouse), read_only=True) as con:
        assert con.execute("SELECT row, reason FROM dropped_row ORDER BY row").fetchall() == [
            (2, "unreadable_image"),
            (3, "missing_text"),
        ]


def test_the_setting_that_allows_paths_outside_makes_another_result(
    tmp_path: Path, context: Context, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "corpus").mkdir()
    (tmp_path / "pictures").mkdir()
    picture = tmp_path / "pictures" / "a.png"
    picture.write_bytes(load_knowledge_items()[0].picture)
    rows = [{"text": text, "language": "en"} for text in ("Inside.", "Outside.")]
    rows[0]["image"], rows[1]["image"] = "b.png", str(picture)
    (tmp_path / "corpus" / "b.png").write_bytes(load_knowledge_items()[1].picture)
    (tmp_path / "corpus" / "rows.jsonl").write_text("\n".join(map(json.dumps, rows)))
    run = run_on(tmp_path / "corpus" / "rows.jsonl", context)
    monkeypatch.delenv("COMEM_DATA_ROOTS", raising=False)
    assert [item.text for item in read_items(ingest_knowledge.fn(run)).values()] == ["Inside."]
    with duckdb.connect(str(context.warehouse), read_only=True) as con:
        assert con.execute("SELECT file, row, reason FROM dropped_row").fetchall() == [
            ("rows.jsonl", 2, "outside_roots")
        ]
    monkeypatch.setenv("COMEM_DATA_ROOTS", str(tmp_path / "pictures"))
    assert [item.text for item in read_items(ingest_knowledge.fn(run)).values()] == ["Inside.", "Outside."]
    monkeypatch.delenv("COMEM_DATA_ROOTS")
    assert [item.text for item in read_items(ingest_knowledge.fn(run)).values()] == ["Inside."]
    monkeypatch.setenv("COMEM_DATA_ROOTS", str(tmp_path / "gone"))
    with pytest.raises(ParameterRefused, match=r"COMEM_DATA_ROOTS names .*gone"):
        ingest_knowledge.fn(run)


def test_a_picture_that_is_taken_can_be_read_and_one_too_narrow_is_a_bad_row(tmp_path: Path, context: Context) -> None:
    sizes = [(4000, 10), (1990, 10), (10, 1990), (1, 1), (7, 1400), (10, 4000), (2400, 12)]
    for number, size in enumerate(sizes):
        Image.new("RGB", size, (number, 90, 200)).save(tmp_path / f"{number}.png")
    rows = [{"image": f"{number}.png", "text": f"Strip {number}.", "language": "en"} for number in range(len(sizes))]
    (tmp_path / "strips.jsonl").write_text("\n".join(map(json.dumps, rows)))
    knowledge = ingest_knowledge.fn(run_on(tmp_path / "strips.jsonl", context))
    taken = read_items(knowledge).values()
    assert [item.text for item in taken] == ["Strip 1.", "Strip 2.", "Strip 3.", "Strip 4.", "Strip 6."]
    with duckdb.connect(str(context.warehouse), read_only=True) as con:
        bad = con.execute("SELECT file, row, reason FROM dropped_row ORDER BY row").fetchall()
    assert bad == [("strips.jsonl", 1, "image_too_narrow"), ("strips.jsonl", 6, "image_too_narrow")]
    assert len(load_backbone("tiny").pool_images([item.picture for item in taken])) == 5


COUNTS = ("num_files", "num_rows", "num_items", "num_duplicates", "num_bad")


def test_what_became_of_every_row_and_file_is_counted(tmp_path: Path, context: Context) -> None:
    (folder := tmp_path / "corpus").mkdir()
    for name in ("a.png", "b.png", "sub/c.png"):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(load_knowledge_items()[len(name)].picture)
    (folder / "a.txt").write_text("Country: Andorra.")
    (folder / "sub/c.txt").write_text("Country: Angola.")
    (folder / "notes.pdf").write_text("x")
    rows = [
        "a.png,Country: Andorra.",
        "a.png,Currency: Euro.",
        "gone.png,Capital: Luanda.",
        "",
        "a.png,Currency: Euro.",
    ]
    (folder / "items.csv").write_text("\n".join(["image,text", *rows]))
    run = run_on(folder, context)
    ingest_knowledge.fn(run)
    with duckdb.connect(str(context.warehouse), read_only=True) as con:
        found = con.execute(f"SELECT file, {', '.join(COUNTS)}, reason FROM corpus_file ORDER BY file").fetchall()
    assert found == [
        ("./", 3, 2, 1, 0, 1, None),
        ("items.csv", 1, 4, 1, 2, 1, None),
        ("notes.pdf", 1, 0, 0, 0, 0, "other_kind"),
        ("sub/", 2, 1, 1, 0, 0, None),
    ]


def test_of_a_tar_that_is_cut_off_every_row_and_file_is_counted(tmp_path: Path, context: Context) -> None:
    (folder := tmp_path / "corpus").mkdir()
    members = [(f"{place}.{kind}", place) for place in range(3) for kind in ("png", "txt")]
    with tarfile.open(tmp_path / "whole.tar", "w") as tar:
        for name, place in [*members, ("0.txt", 0)]:
            content = load_knowledge_items()[place].picture if name.endswith("png") else f"Item {place}.".encode()
            member = tarfile.TarInfo(name)
            member.size = len(content)
            tar.addfile(member, io.BytesIO(content))
        end = tar.offset
    (folder / "cut.tar").write_bytes((tmp_path / "whole.tar").read_bytes()[:end])
    (folder / "captions.json").write_text('[{"image": "0.png", "text": "cut')
    ingest_knowledge.fn(run_on(folder, context))
    with duckdb.connect(str(context.warehouse), read_only=True) as con:
        found = con.execute(f"SELECT file, {', '.join(COUNTS)}, reason FROM corpus_file ORDER BY file").fetchall()
        dropped = con.execute("SELECT file, reason FROM dropped_row ORDER BY file").fetchall()
    assert found == [
        ("captions.json", 1, 1, 0, 0, 1, None),
        ("cut.tar", 1, 1, 0, 0, 1, None),
        ("cut.tar/", 6, 3, 2, 0, 1, None),
    ]
    assert dropped == [
        ("captions.json", "wrong_schema"),
        ("cut.tar", "cut_off"),
        ("cut.tar/0.png", "duplicate_name"),
    ]


def test_a_row_that_is_lost_on_the_way_stops_the_ingestion(tmp_path: Path) -> None:
    corpus = open_corpus(str(write_texts(tmp_path, ["one", "two", "three"])), reading=ReadingOptions(images="optional"))
    artefact, pieces = Partial(tmp_path / "made"), list(corpus.cut_into_pieces(2))
    artefact.folder.mkdir()
    for numbered in enumerate(pieces[:1]):
        PieceWriter(str(tmp_path / "texts.jsonl"), corpus.reading, artefact)(numbered)
    take_out_duplicates(artefact, near_duplicate_bits=None)
    with pytest.raises(ValueError, match=r"texts\.jsonl: 3 rows were seen, but 2 became items, duplicates or bad rows"):
        count_files(artefact, corpus, pieces)


def test_the_same_corpus_is_reused_and_an_edited_one_is_read_again(corpus: Path, context: Context) -> None:
    first, again = (ingest_knowledge.fn(run_on(corpus, context)) for _ in range(2))
    assert again == first
    with corpus.open("a", encoding="utf-8") as stream:
        row = {"image": "good.png", "text": "Area: 468 km².", "language": "en", "source": "test", "licence": "CC0-1.0"}
        stream.write("\n" + json.dumps(row))
    edited = ingest_knowledge.fn(run_on(corpus, context))
    assert edited.fingerprint != first.fingerprint
    assert len(read_items(edited)) == 3


def test_two_folders_with_one_last_name_are_two_corpora_and_their_records_say_where_they_are(
    tmp_path: Path, context: Context
) -> None:
    made = []
    for number, place in enumerate(("a", "b")):
        folder = tmp_path / place / "photos"
        folder.mkdir(parents=True)
        (folder / "one.png").write_bytes(load_knowledge_items()[0].picture)
        (folder / "one.en.txt").write_text(f"The text number {number} of it.")
        made.append(ingest_knowledge.fn(run_on(folder, context)))
    assert made[0].fingerprint != made[1].fingerprint
    records = [json.loads((each.folder / "record.json").read_text()) for each in made]
    assert [each["recipe"]["corpus"] for each in records] == ["photos", "photos"]
    places = [str(tmp_path / place / "photos") for place in ("a", "b")]
    assert [each["measured"][CORPUS_ADDRESS] for each in records] == places
    assert [ingest_knowledge.fn(run_on(Path(place), context)) for place in places] == made


def test_a_corpus_that_is_not_there_is_refused_before_anything_is_made(tmp_path: Path, context: Context) -> None:
    with pytest.raises(ValueError, match="no such file or folder"):
        ingest_knowledge.fn(run_on(tmp_path / "nowhere.jsonl", context))


def test_items_and_questions_come_back_from_rows_as_they_went_in(tmp_path: Path) -> None:
    items, questions = list(load_knowledge_items()[:7]), list(load_benchmark_questions("dev")[:7])
    questions.append(Question(question_id="asked/1", question="?", image=items[0].picture, language="en", answers=()))
    folder = Partial(tmp_path)
    folder.write_shard("part-00000", make_item_table(items))
    reference = Reference(stage="x", fingerprint="x", uri=str(tmp_path), num_rows=7)
    assert list(read_items(reference).values()) == items
    (tmp_path / "part-00000.parquet").unlink()
    folder.write_shard("part-00000", make_question_table(questions))
    assert list(read_questions(reference)) == questions


def write_texts(folder: Path, texts: list[str]) -> Path:
    path = folder / "texts.jsonl"
    path.write_text("\n".join(json.dumps({"text": text, "language": "en"}) if text else "" for text in texts))
    return path


def rows_of(knowledge: Reference, pattern: str) -> list[dict]:
    tables = [pq.read_table(path) for path in sorted(knowledge.folder.glob(pattern))]
    return [row for table in tables for row in table.to_pylist()]


@pytest.fixture
def many(tmp_path: Path, context: Context) -> Run:
    """A run on 150 rows with bad ones and duplicates in several pieces of 16 rows."""
    texts = [f"text {number}" for number in range(150)]
    texts[149] = texts[140] = texts[20] = texts[3]
    texts[77] = texts[76]
    run = run_on(write_texts(tmp_path, texts), replace(context, rows_per_shard=1))
    lines = (tmp_path / "texts.jsonl").read_text().splitlines()
    lines[30] = lines[31] = lines[100] = "{broken"
    (tmp_path / "texts.jsonl").write_text("\n".join(lines))
    knowledge = replace(run.recipe.knowledge, images="optional")
    return replace(run, recipe=replace(run.recipe, knowledge=knowledge))


BAD = [
    (21, "duplicate_id"),
    (31, "wrong_schema"),
    (32, "wrong_schema"),
    (78, "duplicate_id"),
    (101, "wrong_schema"),
    (141, "duplicate_id"),
    (150, "duplicate_id"),
]


def test_many_pieces_are_spread_over_workers_and_duplicates_found_across_them(many: Run, small_ray: None) -> None:
    knowledge = ingest_knowledge.fn(many)
    bad = rows_of(knowledge, "dropped-rows.parquet")
    assert [(row["row"], row["reason"]) for row in bad] == BAD
    assert bad[-1]["detail"] == "the same image, text and language as texts.jsonl row 4"
    items = rows_of(knowledge, "part-*.parquet")
    assert [row["row"] for row in items] == [row for row in range(1, 151) if row not in dict(BAD)]
    assert {path.name for path in knowledge.folder.iterdir()} == {
        *(f"part-{number:05d}.parquet" for number in range(10)), "dropped-rows.parquet", "corpus-files.parquet",
        "sources.npy", "record.json",
    }  # fmt: skip


@pytest.mark.parametrize(
    ("damaged", "has_drops"),
    [
        (("part-00003.parquet", "part-00001.parquet"), True),  # items of them repeat one of the first part
        (("part-00000.parquet",), True),  # which others repeat
        (("dropped-rows.parquet",), True),
        (("part-00003.parquet", "dropped-rows.parquet", "corpus-files.parquet"), True),
        (("corpus-files.parquet", "sources.npy"), True),
        (("part-00002.parquet",), False),
    ],
)
def test_a_damaged_ingestion_is_mended_to_what_it_was(
    tmp_path: Path, context: Context, damaged: tuple[str, ...], has_drops: bool
) -> None:
    texts = [f"text {number}" for number in range(60)]
    if has_drops:
        texts[59] = texts[55] = texts[20] = texts[3]
        texts[50] = ""
    run = run_on(write_texts(tmp_path, texts), replace(context, rows_per_shard=1))
    run = replace(run, recipe=replace(run.recipe, knowledge=replace(run.recipe.knowledge, images="optional")))

    def ingest() -> dict[str, object]:
        folder = ingest_knowledge.fn(run).folder
        made: dict[str, object] = {path.name: pq.read_table(path).to_pylist() for path in folder.glob("*.parquet")}
        return made | {path.name: np.load(path)["row"].tolist() for path in folder.glob("*.npy")}

    before = ingest()
    assert sum(name.startswith("part-") for name in before) == 4 and ("dropped-rows.parquet" in before) == has_drops
    folder = ingest_knowledge.fn(run).folder
    for name in damaged:
        if (folder / name).exists():
            (folder / name).write_bytes(b"damaged")
    made = ingest()
    if "sources.npy" in damaged:  # of whole parts it is not known again what they were made from
        made["sources.npy"] = before["sources.npy"]
    assert made == before


class Killed(BaseException):
    """Ends the process, as far as these tests go."""


@pytest.mark.parametrize("when", range(0, 40, 2))
@pytest.mark.parametrize("beside_earlier", [False, True])
def test_wherever_it_is_killed_the_rows_are_those_of_an_unbroken_run(
    tmp_path: Path, when: int, beside_earlier: bool
) -> None:
    """Every file that gets its name is a moment at which a run may end; it is ended at one and begun again."""
    texts = [f"text {number % 40}" for number in range(60)] + ["last", ""]
    corpus, reading = str(write_texts(tmp_path, texts)), ReadingOptions(images="optional")
    with (tmp_path / "texts.jsonl").open("a") as stream:
        stream.write("\n{broken")

    def ingest(folder: Path, moments: int = -1) -> dict[str, list[dict]]:
        artefact = Mortal(folder, moments=moments)
        folder.mkdir(exist_ok=True)
        writer = PieceWriter(corpus, reading, artefact, earlier)
        for numbered in enumerate(writer.opened.cut_into_pieces(7)):
            if name_part_shard(numbered[0]) not in artefact.list_finished():
                writer(numbered)
        take_out_duplicates(artefact, near_duplicate_bits=None)
        join_sources(artefact, sorted(folder.glob("part-*.parquet")))
        finish(artefact, corpus)
        rows = {path.name: pq.read_table(path).to_pylist() for path in sorted(folder.glob("*.parquet"))}
        return rows | {path.name: np.load(path).tolist() for path in folder.glob("*.npy")}

    earlier = ()
    whole = ingest(tmp_path / "whole")
    if beside_earlier:
        folder = tmp_path / "whole"
        parts = [
            (path.name, hash_file(path), pq.read_metadata(path).num_rows) for path in folder.glob("part-*.parquet")
        ]
        earlier = (EarlierArtefact(str(folder), hash_file(folder / SOURCES), tuple(sorted(parts))),)
    assert [row["row"] for row in whole["dropped-rows.parquet"]] == [*range(41, 61), 63]
    with contextlib.suppress(Killed):
        ingest(tmp_path / "broken", moments=when)
    with contextlib.suppress(Killed):
        ingest(tmp_path / "broken", moments=3)
    assert ingest(tmp_path / "broken") == whole


class Mortal(Partial):
    """A partial artefact that ends its process when `moments` more files have got their names."""

    def __init__(self, folder: Path, *, moments: int) -> None:
        super().__init__(folder)
        object.__setattr__(self, "left", [moments])

    @contextlib.contextmanager
    def open_file(self, name: str) -> Iterator[Path]:
        left: list[int] = self.left  # pyright: ignore[reportAttributeAccessIssue]
        if left[0] == 0:
            raise Killed
        with super().open_file(name) as path:
            yield path
        left[0] -= 1


def test_near_duplicates_are_of_equal_words_only(tmp_path: Path, context: Context) -> None:
    blocks = Image.fromarray(np.random.default_rng(0).integers(0, 255, (9, 12, 3), dtype=np.uint8))
    photo, resized = io.BytesIO(), io.BytesIO()
    blocks.resize((240, 180), Image.Resampling.BICUBIC).save(photo, format="PNG")
    blocks.resize((120, 90), Image.Resampling.BICUBIC).save(resized, format="JPEG", quality=80)
    drawn = photo.getvalue()
    (tmp_path / "a.png").write_bytes(drawn)
    (tmp_path / "b.png").write_bytes(resized.getvalue())
    (tmp_path / "c.png").write_bytes(load_knowledge_items()[500].picture)
    rows = [(image, text) for text in ("one", "two") for image in "abc"][:5]
    lines = [json.dumps({"image": f"{image}.png", "text": text, "language": "en"}) for image, text in rows]
    (tmp_path / "items.jsonl").write_text("\n".join(lines))
    run = run_on(tmp_path / "items.jsonl", context)
    assert len(read_items(ingest_knowledge.fn(run))) == 5
    knowledge = replace(run.recipe.knowledge, near_duplicate_bits=10)
    found = ingest_knowledge.fn(replace(run, recipe=replace(run.recipe, knowledge=knowledge)))
    assert [(row["row"], row["reason"]) for row in rows_of(found, "dropped-rows.parquet")] == [
        (2, "near_duplicate"),
        (5, "near_duplicate"),
    ]
    kept = rows_of(found, "part-*.parquet")
    assert [row["file"] for row in kept] == ["items.jsonl"] * 3
    assert {(row["image_hash"], row["image_chroma"]) for row in kept} == {
        hash_picture(drawn), hash_picture(load_knowledge_items()[500].picture)
    }  # fmt: skip


def test_a_corpus_without_a_good_row_is_an_error_with_its_first_reasons(tmp_path: Path, context: Context) -> None:
    path = tmp_path / "items.jsonl"
    path.write_text("{broken\n" * 9)
    with pytest.raises(ValueError, match=r"no usable item; 9 bad rows, first:\n  items.jsonl row 1: wrong_schema"):
        ingest_knowledge.fn(run_on(path, context))


def withdraw(context: Context, by: str, *values: str, item_ids: tuple[str, ...] = ()) -> None:
    when = "2026-01-01T00:00:00+00:00"
    write_withdrawal(Store.of(context).place, Withdrawal(by=by, values=values, item_ids=item_ids, when=when))


def test_withdrawn_items_are_left_out_and_listed_and_other_parts_are_the_same_files(
    tmp_path: Path, context: Context
) -> None:
    corpus, names = tmp_path / "many", ["image", "text", "language", "source", "licence"]
    corpus.mkdir()
    pq.write_table(make_item_table(load_knowledge_items()[:150]).select(names), corpus / "a.parquet")
    run = run_on(corpus, replace(context, rows_per_shard=4))
    whole = ingest_knowledge.fn(run)
    items = list(read_items(whole).values())
    withdraw(run.context, "source", "nobody's")
    assert ingest_knowledge.fn(run) == whole
    withdraw(run.context, "item", items[3].item_id)
    withdraw(run.context, "image", items[10].image_id or "")
    gone = {items[3].item_id} | {each.item_id for each in items if each.image_id == items[10].image_id}

    left = ingest_knowledge.fn(run)
    assert left.fingerprint != whole.fingerprint and ingest_knowledge.fn(run) == left
    assert list(read_items(left)) == [each.item_id for each in items if each.item_id not in gone]
    assert list(read_items(left).values()) == [each for each in items if each.item_id not in gone]
    dropped = pq.read_table(left.folder / "dropped-rows.parquet").to_pylist()
    assert {(each["file"], each["reason"]) for each in dropped} == {("a.parquet", "withdrawn")}
    assert [each["row"] for each in dropped] == [n for n, item in enumerate(items, 1) if item.item_id in gone]
    parts = stamp_files(left.folder, "part-*.parquet")
    assert len(parts) == 3 and len(parts.items() & stamp_files(whole.folder, "part-*.parquet").items()) == 2


def test_a_store_in_a_bucket_knows_what_was_withdrawn(corpus: Path, context: Context, bucket: str) -> None:
    run = run_on(corpus, replace(context, store=find_store_cache(bucket), store_address=bucket))
    before = read_items(ingest_knowledge.fn(run))
    withdraw(run.context, "item", *list(before)[:1])
    left = ingest_knowledge.fn(run)
    assert list(read_items(left)) == list(before)[1:] and left.uri.startswith(bucket)


def test_what_was_withdrawn_and_then_removed_from_the_corpus_costs_no_artefact_of_its_own(
    corpus: Path, context: Context
) -> None:
    run = run_on(corpus, context)
    before = read_items(ingest_knowledge.fn(run))
    withdraw(context, "source", "a page", item_ids=(next(iter(before)),))
    assert list(read_items(ingest_knowledge.fn(run))) == list(before)[1:]
    lines = corpus.read_text(encoding="utf-8").splitlines()
    corpus.write_text("\n".join(lines[1:]), encoding="utf-8")
    whole = ingest_knowledge.fn(run_on(corpus, context))
    record = Store.of(context).find(whole.stage, whole.fingerprint)
    assert record is not None and record["recipe"]["withdrawn"] is None
    assert record["measured"]["rows_as_they_were"] == 1


def test_what_comes_later_is_withdrawn_too(corpus: Path, context: Context) -> None:
    withdraw(context, "source", "page-2")
    rows = [json.loads(line) for line in corpus.read_text(encoding="utf-8").splitlines()]
    rows.append({"image": "good.png", "text": "Another.", "language": "en", "source": "page-2", "licence": "CC0-1.0"})
    corpus.write_text("\n".join(map(json.dumps, rows)), encoding="utf-8")
    knowledge = ingest_knowledge.fn(run_on(corpus, context))
    assert [each.text for each in read_items(knowledge).values()] == ["Country: Andorra.", "Currency: Euro."]


def test_a_corpus_of_which_all_was_withdrawn_is_refused(corpus: Path, context: Context) -> None:
    withdraw(context, "licence", "CC0-1.0")
    with pytest.raises(ParameterRefused, match=r"all 2 items of corpus\.jsonl were withdrawn"):
        ingest_knowledge.fn(run_on(corpus, context))
