"""Whatever is in a file or a reply that somebody else wrote, a reader gives a result or a ValueError.

The examples are drawn anew from the same seed at each run. What was found once is an `@example` of its test.
"""

import csv
import io
import json
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from comem_core.evaluation.answers import cut_thinking, extract_answer, extract_question, extract_word
from comem_core.evaluation.benchmarks import MissingQuestion
from comem_core.evaluation.benchmarks.registry import find_benchmark
from comem_core.knowledge.corpora import BadRow, FoundItem, ReadingOptions, open_corpus
from comem_core.knowledge.items import Question
from comem_core.knowledge.known_rows import KnownRow
from comem_core.memory.bank import Bank
from comem_core.memory.checkpoint import read_weights
from comem_core.memory.description import DESCRIPTION, WEIGHTS, find_encoder_folder, read_description
from comem_core.memory.recipe import read_recipe, refuse_other_sizes
from comem_core.serving.folders import MEMORY_FILE, read_saved
from comem_core.serving.layout import RECORD, parse_record
from comem_core.serving.stored_artefacts import StoredArtefacts
from comem_core.synthesis.translation import read_reply

FEW = settings(deadline=None, max_examples=60, derandomize=True, database=None)
SURROGATE = "\ud800"
DEEP = "[" * 100_000
DEEP_VALUE = "[" * 900 + "]" * 900  # can be read, but not everything else can be done with it
plain = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=8)
values = st.recursive(
    plain | st.sampled_from([10**30, -1, SURROGATE, "a\x00b", "../x.png", "/etc/hostname", "x" * 300]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


def objects(*names: str) -> st.SearchStrategy[dict[str, Any]]:
    """Draw objects whose fields have, among others, these names."""
    return st.dictionaries(st.sampled_from(names) | st.text(max_size=4), values, max_size=len(names))


def lines(*names: str) -> st.SearchStrategy[bytes]:
    """Draw a line of a file of JSON Lines, or what may be there instead."""
    return (
        objects(*names).map(lambda row: json.dumps(row).encode())
        | st.binary(max_size=30)
        | st.sampled_from([DEEP.encode(), b'{"a":' * 50_000, f'{{"{names[0]}": {DEEP_VALUE}}}'.encode()])
    )


@contextmanager
def make_folder(**files: bytes) -> Iterator[Path]:
    """Make a folder with these files; `__` in a name is a dot."""
    with tempfile.TemporaryDirectory() as folder:
        for name, content in files.items():
            (Path(folder) / name.replace("__", ".")).write_bytes(content)
        yield Path(folder)


class NothingKnown:
    """Earlier rows that were all others, so that the key of each row is asked for."""

    def find_rows(self, keys: Sequence[bytes | None]) -> list[KnownRow | None]:
        return [None] * len(keys)

    def find_picture(self, key: bytes) -> None:
        return None


def read_rows(folder: Path) -> None:
    """Read a corpus to its end; each row is an item or a bad row."""
    with suppress(ValueError):
        corpus = open_corpus(str(folder), reading=ReadingOptions(images="optional", language="en"))
        for known in (None, NothingKnown()):
            for piece in list(corpus.cut_into_pieces()):
                assert all(isinstance(row, FoundItem | BadRow) for row in corpus.read(piece, known))


COLUMNS = ("image", "text", "language", "source", "licence", "title", "entity_id", "conversations", "key", "url")


@FEW
@given(rows=st.lists(lines(*COLUMNS), max_size=4))
@example(rows=[f'{{"text": {DEEP_VALUE}}}'.encode()])
@example(rows=[f'{{"text": "a", "image": {DEEP_VALUE}}}'.encode()])
@example(rows=[f'{{"text": "a", "other": {DEEP_VALUE}}}'.encode()])
def test_rows_of_json_lines(rows: list[bytes]) -> None:
    with make_folder(rows__jsonl=b"\n".join(rows)) as folder:
        read_rows(folder)


@FEW
@given(content=objects("images", "annotations", "image", "text") | st.lists(objects(*COLUMNS), max_size=3) | values)
@example(content={"images": [{"id": []}], "annotations": [{"image_id": {}, "caption": "a"}]})
def test_json_that_is_a_whole_table(content: object) -> None:
    with make_folder(rows__json=json.dumps(content).encode()) as folder:
        read_rows(folder)


@FEW
@given(rows=st.lists(st.lists(st.text(max_size=6), max_size=4), max_size=4), raw=st.binary(max_size=40))
def test_rows_of_tables_of_text(rows: list[list[str]], raw: bytes) -> None:
    written = io.StringIO()
    csv.writer(written).writerows([["image", "text", "language"], *rows])
    encoded = written.getvalue().encode("utf-8", "surrogatepass")
    with make_folder(a__csv=encoded, b__csv=encoded + raw, c__tsv=raw) as folder:
        read_rows(folder)


@FEW
@given(rows=st.lists(st.fixed_dictionaries({"image": st.binary(max_size=9), "text": st.text(max_size=9)}), max_size=3))
def test_rows_of_parquet(rows: list[dict[str, Any]]) -> None:
    written = io.BytesIO()
    pq.write_table(pa.Table.from_pylist([{"image": b"", "text": "a"}, *rows]), written)
    with make_folder(a__parquet=written.getvalue()) as folder:
        read_rows(folder)


@FEW
@given(text=st.binary(max_size=40), fields=lines(*COLUMNS), picture=st.binary(max_size=40))
def test_texts_and_fields_beside_a_picture(text: bytes, fields: bytes, picture: bytes) -> None:
    with make_folder(a__png=picture, a__txt=text, b__png=picture, b__json=fields) as folder:
        read_rows(folder)


BENCHMARKS: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "infoseek": ("infoseek_val.jsonl", "val", ("data_id", "question", "image_id", "answer", "answer_eval")),
    "viquae": ("test.jsonl", "test", ("id", "input", "output", "image", "wikidata_id")),
    "oven": (
        "oven_query_val.jsonl oven_entity_val.jsonl",
        "val",
        ("data_id", "question", "image_id", "entity_id", "entity_text"),
    ),
}


@pytest.mark.parametrize("name", BENCHMARKS)
def test_rows_of_benchmarks(name: str) -> None:
    files, part, columns = BENCHMARKS[name]
    benchmark = find_benchmark(name)

    @FEW
    @given(rows=st.lists(lines(*columns), max_size=4))
    @example(rows=[DEEP.encode(), b'{"a":' * 50_000])
    def check(rows: list[bytes]) -> None:
        with (
            make_folder(**{file.replace(".", "__"): b"\n".join(rows) for file in files.split()}) as folder,
            suppress(ValueError),
        ):
            read = list(benchmark.read(part, folder))
            assert all(isinstance(each, Question | MissingQuestion) for each in read)

    check()


PARTS = [
    "<think>",
    "</think>",
    "\\boxed{",
    "}",
    "{",
    "**",
    "`",
    "```",
    "```json",
    "Answer:",
    "Question:",
    "\n",
    "$",
    "\\frac",
]
PARTS += [
    '{"answer": ',
    '"x"}',
    "\\text{",
    "\\sqrt{",
    "<answer>",
    "</answer>",
    "<|im_end|>",
    "1",
    "a",
    " ",
    SURROGATE,
    "\x1b",
]
replies = st.lists(st.sampled_from(PARTS) | st.text(max_size=4), max_size=12).map("".join)
EXTRACTIONS: Sequence[Callable[[str], object]] = (
    extract_answer,
    extract_question,
    extract_word,
    cut_thinking,
    read_reply,
)


@settings(FEW, max_examples=300)
@given(reply=replies)
@example(reply=DEEP)
@example(reply='{"answer":' * 5_000)
@example(reply="\\boxed{" * 5_000)
@example(reply="\\frac{" * 500)
@example(reply="\\sqrt{" * 500 + "}" * 500)
@example(reply="<think>" * 500)
def test_replies_of_models(reply: str) -> None:
    for extract in EXTRACTIONS:
        extract(reply)


RECORDED = ("stage", "fingerprint", "shards", "created", "inputs", "recipe", "measured", "num_rows", "uri", "libraries")
shards = st.lists(objects("file", "bytes", "sha256", "rows") | values, max_size=2)


@FEW
@given(
    record=objects(*RECORDED) | st.fixed_dictionaries({"created": st.text(max_size=4), "shards": shards}),
    raw=lines(*RECORDED),
)
def test_records(record: dict[str, Any], raw: bytes) -> None:
    for content in (json.dumps(record).encode(), raw):
        parse_record(content, uri="here")
        with make_folder() as folder:
            (folder / "bank" / "12ab").mkdir(parents=True)
            (folder / "bank" / "12ab" / RECORD).write_bytes(content)
            with suppress(ValueError):
                store = StoredArtefacts(folder)
                for found in store.list_records("bank"):
                    store.fetch(found)


@pytest.fixture(scope="module")
def bank_files(tmp_path_factory: pytest.TempPathFactory) -> dict[str, bytes]:
    """Return the files of a small bank by name."""
    folder = tmp_path_factory.mktemp("bank")
    bank = Bank(encoder_id="encoder", num_vectors=2, width=8, dtype=torch.int8)
    bank.put(["a", "b", "ü"], torch.randn(3, 2, 8))
    bank.save(folder)
    found = {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
    return {name: content for name, content in sorted(found.items()) if content}


@settings(FEW, max_examples=150)
@given(data=st.data())
def test_banks(bank_files: dict[str, bytes], data: st.DataObject) -> None:
    name = data.draw(st.sampled_from(sorted(bank_files)))
    content = data.draw(change(bank_files[name]))
    with make_folder() as folder:
        for each, kept in bank_files.items():
            (folder / each).parent.mkdir(exist_ok=True)
            (folder / each).write_bytes(content if each == name else kept)
        with suppress(ValueError, KeyError):  # KeyError: an item is not in the bank
            bank = Bank.load(folder)
            list(bank)
            bank.of(["a", "ü"])
            bank.verify()


def change(whole: bytes) -> st.SearchStrategy[bytes]:
    """Draw what may be in a file instead of its content: a part of it, with other bytes, another value in its JSON."""
    places = st.integers(0, len(whole) - 1)
    cut = places.map(lambda end: whole[:end])
    flipped = st.builds(lambda at, byte: whole[:at] + bytes([byte]) + whole[at + 1 :], places, st.integers(0, 255))
    others = [cut, flipped, st.binary(max_size=60), st.sampled_from([DEEP.encode(), DEEP_VALUE.encode()])]
    with suppress(ValueError):
        stated = json.loads(whole)
        others.append(values.map(lambda value: json.dumps(value).encode()))
        first = stated[0] if isinstance(stated, list) else stated
        changed = st.builds(lambda field, value: {**first, field: value}, st.sampled_from(sorted(first)), values)
        others.append(changed.map(lambda each: json.dumps([each] if isinstance(stated, list) else each).encode()))
        if isinstance(recipe := first.get("recipe"), dict):
            inner = st.builds(lambda field, value: {**recipe, field: value}, st.sampled_from(sorted(recipe)), values)
            others.append(inner.map(lambda each: json.dumps({**first, "recipe": each}).encode()))
    return st.one_of(*others)


@settings(FEW, max_examples=150)
@given(data=st.data())
def test_encoders(data: st.DataObject) -> None:
    shipped = find_encoder_folder("tiny-encoder")
    described, weights = (shipped / DESCRIPTION).read_bytes(), (shipped / WEIGHTS).read_bytes()
    content = data.draw(change(described))
    damaged = data.draw(change(weights[:600])) + weights[600:]
    files = {DESCRIPTION.replace(".", "__"): content, WEIGHTS.replace(".", "__"): damaged}
    with make_folder(**files) as folder:
        with suppress(ValueError):
            recipe = read_recipe(read_description(folder).recipe, where=str(folder))
            refuse_other_sizes(
                recipe, {name: each.shape for name, each in read_weights(shipped / WEIGHTS).items()}, where=""
            )
        with suppress(ValueError):
            read_weights(folder / WEIGHTS)


@FEW
@given(
    content=objects("format", "version", "encoder_id", "by", "settings", "records", "sizes").map(json.dumps)
    | st.just(DEEP)
)
def test_saved_memories(content: str) -> None:
    with make_folder(**{MEMORY_FILE.replace(".", "__"): content.encode()}) as folder, suppress(ValueError):
        read_saved(folder)
