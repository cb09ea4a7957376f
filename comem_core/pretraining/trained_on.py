"""The training samples of a shipped encoder, each with its words and the hashes of its picture, in a file beside the
weights. `record.json` says which weights the file belongs to.

The encoder of a run has a record in a store, which names its samples; a shipped encoder has this file instead.
`python -m comem_core.pretraining.trained_on` makes the files of the shipped encoders again. It takes some minutes,
because their samples are drawn again.
"""

import hashlib
import json
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from dataclasses import asdict, dataclass
from functools import partial as bind
from itertools import chain, islice
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from tqdm import tqdm

from comem_core.backbone.finding import SHIPPED, hash_backbone
from comem_core.knowledge.items import hash_content_parts
from comem_core.knowledge.pictures import hash_picture
from comem_core.pretraining.encoder_recipe import EncoderPretrainingRecipe
from comem_core.pretraining.imagined import draw_batch
from comem_core.pretraining.naming_recipe import NamingRecipe
from comem_core.pretraining.passages import draw_passage_of
from comem_core.worlds.countries.world import ITEM_SOURCE, load_seed_questions
from comem_core.worlds.imaginary.borrowed import read_borrowed_drawings

FILE, RECORD, NOTE = "trained_on.parquet", "record.json", "trained_on"
START, TRAINED, SMOL = "tiny-encoder-start", "tiny-encoder", "smol-encoder"
COMMAND = "python -m comem_core.pretraining.trained_on"
# A picture that was drawn only for training has no `image_id`; a drawing that pictures were made from has no `words`.
SCHEMA = pa.schema(
    {"sample_id": pa.string(), "words": pa.string(), "image_id": pa.string()}
    | {"image_hash": pa.int64(), "image_chroma": pa.int64()}
)
ROWS_AT_ONCE, STEPS_AT_ONCE = 4096, 10


@dataclass(frozen=True, kw_only=True)
class Listing:
    """The entry about the file in `record.json`: what it lists, in words, what made it, for which weights, its hash."""

    what: str
    made_by: str
    weights: str
    file_sha256: str
    num_rows: int


def write_listing(folder: Path, rows: Iterable[Mapping[str, Any]], *, what: str, made_by: str) -> Listing:
    """Write the samples of the encoder in `folder` beside its weights, and add the entry to its `record.json`."""
    path, record, left, num_rows = folder / FILE, folder / RECORD, iter(rows), 0
    with pq.ParquetWriter(path, SCHEMA, compression="zstd") as writer:
        while group := list(islice(left, ROWS_AT_ONCE)):
            writer.write_table(pa.Table.from_pylist(group, schema=SCHEMA))
            num_rows += len(group)
    listing = Listing(
        what=what,
        made_by=made_by,
        weights=hash_backbone(folder),
        file_sha256=_hash_file(path),
        num_rows=num_rows,
    )
    facts = json.loads(record.read_text(encoding="utf-8")) if record.is_file() else {}
    record.write_text(json.dumps(facts | {NOTE: asdict(listing)}, indent=2) + "\n", encoding="utf-8")
    return listing


def read_listing(folder: Path) -> Listing | None:
    """Read the entry about an encoder's list of samples; None where its `record.json` has none.

    Raises ValueError where the list belongs to other weights, is missing, or has changed since it was written.
    """
    facts = _read_record(folder)
    if NOTE not in facts:
        return None
    listing, path, weights = Listing(**facts[NOTE]), folder / FILE, hash_backbone(folder)
    named = f"{folder.name}/{FILE}"
    if listing.weights != weights:
        raise ValueError(f"{named} lists the training samples of the weights {listing.weights}; these are {weights}")
    if not path.is_file():
        raise ValueError(f"{named} is missing; according to {RECORD}, it lists the training samples")
    if (found := _hash_file(path)) != listing.file_sha256:
        raise ValueError(f"{named} has changed (sha256 {found[:8]}; {RECORD} has {listing.file_sha256[:8]})")
    return listing


def read_start_weights(folder: Path) -> str | None:
    """Return the hash of the weights that the encoder in a folder started from, from its `record.json`, or None."""
    return _read_record(folder).get("inputs", {}).get("start")


def draw_samples_of_start(recipe: EncoderPretrainingRecipe) -> Iterator[dict[str, Any]]:
    """Draw the samples of the encoder's start again, step by step, on every core."""
    steps = range(recipe.optimizer.num_steps)
    with ProcessPoolExecutor(mp_context=get_context("spawn")) as pool:
        yield from chain.from_iterable(pool.map(bind(draw_samples_of_step, recipe), steps, chunksize=STEPS_AT_ONCE))


def draw_samples_of_step(recipe: EncoderPretrainingRecipe, step: int) -> list[dict[str, Any]]:
    """Return the samples of one step: the words of each question, and the hashes of its picture."""
    return [
        _make_row(f"{START}/{sample.sample_id}", sample.image) | {"words": sample.question, "image_id": None}
        for sample in draw_batch(recipe, step)
    ]


def draw_borrowed_pictures() -> Iterator[dict[str, Any]]:
    """Yield the real drawings that training pictures were made from: flags of train countries.

    The pictures in training had other colours, corners and proportions, but showed the same flag by the same artist.
    """
    for country_id, drawings in read_borrowed_drawings().items():
        for place, image in enumerate(drawings):
            yield _make_row(f"flag/{country_id}-{place}", image) | {
                "words": None,
                "image_id": hash_content_parts(image),
            }


def _make_row(name: str, image: bytes) -> dict[str, Any]:
    image_hash, image_chroma = hash_picture(image)
    return {"sample_id": name, "image_hash": image_hash, "image_chroma": image_chroma}


def list_start(folder: Path, recipe: EncoderPretrainingRecipe) -> Listing:
    """Write the list of an encoder's start; its samples are drawn again by the recipe that made it."""
    num_countries = len(read_borrowed_drawings())
    return write_listing(
        folder,
        chain(tqdm(draw_samples_of_start(recipe), unit="sample"), draw_borrowed_pictures()),
        what="questions about imaginary countries, whose flags were drawn at random or borrowed from the "
        f"{num_countries} countries of the train split of `countries`, over facts that are not theirs; and the "
        "borrowed drawings. No flag of a country of dev or test, and no country with a fact of its own",
        made_by=COMMAND,
    )


def list_trained(folder: Path) -> Listing:
    """Write the list of the encoder that `synth-and-train` made from the start: all samples that it may have seen.

    No store is needed for that: its samples were seed questions, and questions that the model asked about items of
    countries that no part of the benchmark is about.
    """
    seeds = (
        _make_row(seed.question_id, seed.image) | {"words": seed.question, "image_id": seed.image_id}
        for seed in load_seed_questions()
    )
    return write_listing(
        folder,
        chain(seeds, draw_borrowed_pictures()),
        what="at most: every seed question of `countries-vqa`, and every drawing of a flag of the train split, which "
        "the model may have asked about; its samples were some of these",
        made_by=COMMAND,
    )


def list_smol(folder: Path, recipe: NamingRecipe) -> Listing:
    """Write the list of SmolLM2's encoder: all questions about the passages, and what their pictures show.

    The reader saw two of a passage's questions, in passages that were drawn; the list has each of all passages.
    """
    return write_listing(
        folder,
        chain.from_iterable(tqdm(draw_questions_of_passages(recipe), total=recipe.num_passages, unit="passage")),
        what="at most: every question about the passages of the training, which state facts of invented things, of "
        "imaginary countries and products, and of countries of the train split of `countries` but for the facts that a "
        "part of the benchmark asks for. No picture was read",
        made_by=COMMAND,
    )


def draw_questions_of_passages(recipe: NamingRecipe) -> Iterator[list[dict[str, Any]]]:
    """Draw the passages of a training again, and yield the questions about each."""
    for number in range(recipe.num_passages):
        passage = draw_passage_of(recipe, number)
        is_real = passage.item.source == ITEM_SOURCE
        row = _make_row("", passage.item.picture) | {"image_id": passage.item.image_id if is_real else None}
        asked = [question for question, _ in passage.questions]
        asked += passage.unstated if recipe.unstated_share else ()
        yield [
            row | {"sample_id": f"{SMOL}/{number}-{place}", "words": question} for place, question in enumerate(asked)
        ]


def _read_record(folder: Path) -> dict[str, Any]:
    path = folder / RECORD
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def _hash_file(path: Path) -> str:
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


if __name__ == "__main__":
    print(list_trained(SHIPPED / TRAINED))
    print(list_start(SHIPPED / START, EncoderPretrainingRecipe()))
    print(list_smol(SHIPPED / SMOL, NamingRecipe()))
