"""A small but whole warehouse for the tests: one run over twelve countries, its shards on disk, its flags as pictures.

Everything is made by the package under test, from the rows of small_rows.py.
"""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow.parquet as pq
from small_rows import (
    CONDITIONS,
    difference,
    draft,
    items,
    overlap,
    predict,
    questions,
    retrieve,
    score,
    short_hash,
    verdict,
)

from warehouse.connection import open_warehouse
from warehouse.content import hash_content, hash_file
from warehouse.declared import declare_conditions
from warehouse.records import finish_run, record_run, record_stage, register_artefact
from warehouse.samples.filtering import filter_parameters, list_kept_samples, run_filters
from warehouse.schemas import check_rows

OFF: dict[str, object] = {key: None for used in filter_parameters().values() for key in used}
PARAMETERS = OFF | {
    "min_metric_score": 0.5,
    "max_without_score": 1.0,
    "max_answer_words": 6,
    "max_per_answer": 4,
    "must_be_grounded": True,
    "must_be_consistent": True,
    "min_round_trip": 0.5,
}
RUN_ID = "run-2026-11-23-a"

# What a run hands over of its conditions; `small_rows.CONDITIONS` are asked, and one that nobody asks is declared too.
DECLARED_CONDITIONS = [
    {"name": name, "phrase": f"with {name}", "meaning": meaning, "text_only": text_only}
    for name, meaning, text_only in (
        ("none", "The question and its image alone.", "The question alone."),
        ("text", "The items as text and image.", "The items as text."),
        ("memory", "The items as vectors.", None),
        ("shuffled", "Other items as vectors.", None),
        ("empty", "Vectors of no item.", None),
        ("text_gold", "The right item as text.", None),
    )
]


@dataclass
class SmallWorld:
    """Where everything is: the database, the store, the artefacts' fingerprints by stage."""

    database: Path
    store: Path
    fingerprints: dict[str, str] = field(default_factory=dict)
    actions: dict[str, tuple[str, str]] = field(default_factory=dict)


def write_artefact(
    world: SmallWorld,
    stage: str,
    tables: Mapping[str, Sequence[Mapping]],
    inputs: Mapping[str, str],
    files: Mapping[str, bytes] | None = None,
) -> tuple[dict, Path]:
    """Write shards (two for a table of more than ten rows) and other files; return the record and its folder."""
    fingerprint = short_hash(stage, sorted(inputs.items()))
    folder = world.store / stage / fingerprint
    folder.mkdir(parents=True)
    shards = []
    for table, rows in tables.items():
        cut = len(rows) // 2 if len(rows) > 10 else 0
        for number, part in enumerate([rows[:cut], rows[cut:]] if cut else [rows]):
            path = folder / f"{table}-{number:05d}.parquet"
            pq.write_table(check_rows(table, part), path, row_group_size=64)
            shards.append({"file": path.name, "rows": len(part), "table": table})
    for name, data in (files or {}).items():
        (folder / name).write_bytes(data)
        shards.append({"file": name, "rows": 0})
    for shard in shards:
        path = folder / str(shard["file"])
        shard |= {"sha256": hash_file(path), "bytes": path.stat().st_size}
    return {
        "fingerprint": fingerprint,
        "stage": stage,
        "version": "2026.11.1",
        "recipe": {"stage": stage, "seed": 1},
        "inputs": dict(inputs),
        "num_rows": len(next(iter(tables.values()), [])),
        "num_bytes": sum(shard["bytes"] for shard in shards),
        "shards": shards,
        "content_sha256": hash_content(folder, [shard["file"] for shard in shards]),
        "seconds": 3.2,
        "measured": {},
        "commit": "0f3c9a1",
        "created": "2026-11-23T06:00:00+00:00",
    }, folder


def add(
    world: SmallWorld,
    stage: str,
    tables: Mapping[str, Sequence[Mapping]],
    roles: str = "",
    files: Mapping[str, bytes] | None = None,
    measured: Mapping[str, object] | None = None,
) -> str:
    """Write an artefact made from the stages named `role=stage …`, register it, and note it in the run."""
    inputs = {role: world.fingerprints[made] for role, made in (pair.split("=") for pair in roles.split())}
    record, folder = write_artefact(world, stage, tables, inputs, files)
    record["measured"] = dict(measured or {})
    record["recipe"] = PARAMETERS if stage == "filter" else record["recipe"]
    action, reason = world.actions.get(stage, ("made", "nothing in the store has this fingerprint"))
    with open_warehouse(world.database) as con:
        register_artefact(con, record, table=next(iter(tables), None), folder=folder)
        seconds = 0.1 if action == "reused" else 3.2 + len(world.fingerprints) * 7
        done = {"stage": stage, "action": action, "reason": reason, "seconds": seconds}
        record_stage(con, RUN_ID, done | {"fingerprint": record["fingerprint"]})
    world.fingerprints[stage] = record["fingerprint"]
    return record["fingerprint"]


def start(folder: Path) -> SmallWorld:
    """Open a warehouse with a run that has begun and made nothing yet."""
    world = SmallWorld(folder / "warehouse.duckdb", folder / "store")
    recipe = {"name": "tiny-cpu", "filter": PARAMETERS, "k": 3, "note": "<b>bold</b> & 'quoted'"}
    with open_warehouse(world.database) as con:
        declare_conditions(con, DECLARED_CONDITIONS)
        record_run(
            con,
            {
                "run_id": RUN_ID,
                "flow": "synth-and-train",
                "recipe_name": "tiny-cpu",
                "recipe": recipe,
                "flow_run_id": "5d0c",
            },
        )
    return world


def build(folder: Path) -> SmallWorld:
    """Make the whole world: every stage of one finished run."""
    world = start(folder)
    world.actions = {
        "ingest": ("reused", "the store holds it and its 3 shards are unchanged"),
        "synthesise": ("continued", "a partial artefact with 2 finished shards was there"),
    }
    make_samples(world)
    make_scores(world)
    with open_warehouse(world.database) as con:
        finish_run(con, RUN_ID, status="completed")
    return world


def make_samples(world: SmallWorld) -> None:
    """Add the stages from ingest to filter."""
    chance = random.Random(1)
    bad = {"file": "items.parquet", "row": 7, "reason": "unreadable image", "detail": "not a PNG"}
    known = items()
    read = {"file": bad["file"], "num_files": 1, "num_rows": len(known) + 1, "num_items": len(known), "num_bad": 1}
    read |= {"num_duplicates": 0, "reason": None, "detail": None}
    tables = {"knowledge_item": known, "corpus_file": [read], "dropped_row": [bad]}
    guessed = {"uncertain-languages": {"counts": {"en": 2}, "shown": ["Oboe (en)", "Tug boat (en)"]}}
    add(world, "ingest", tables, measured=guessed)
    train = questions("train")
    add(world, "questions", {"question": train})
    retrieved = retrieve(train, chance)
    add(world, "retrieve", {"retrieval": retrieved}, "items=ingest questions=questions")
    drafts = [draft(row, found, chance) for row, found in zip(train, retrieved, strict=True)]
    drafts.append(drafts[8] | {"sample_id": "zz-again", "seed": 2})
    add(world, "synthesise", {"draft": drafts}, "questions=questions retrieval=retrieve items=ingest")
    add(world, "judge", {"verdict": [verdict(row, chance) for row in drafts]}, "drafts=synthesise questions=questions")
    with open_warehouse(world.database, read_only=True) as con:
        drops = run_filters(
            con,
            drafts=[world.fingerprints["synthesise"]],
            verdicts=[world.fingerprints["judge"]],
            questions=[world.fingerprints["questions"]],
            parameters=PARAMETERS,
        )
        kept = list_kept_samples(con, drafts=[world.fingerprints["synthesise"]], drops=drops)
    tables = {"sample": kept.to_pylist(), "drop": drops.to_pylist()}
    add(world, "filter", tables, "drafts=synthesise verdicts=judge questions=questions")


def make_scores(world: SmallWorld, *, kept: str = "filter") -> None:
    """Add the stages from train to score; `kept` is the stage whose samples are trained on."""
    chance = random.Random(6)
    steps = [
        {
            "step": step,
            "loss": 0.35 + 2.4 * math.exp(-step / 45) + 0.12 * chance.random(),
            "learning_rate": 1e-4,
            "samples": step * 8,
            "tokens": step * 4000,
            "seconds": 0.3,
        }
        for step in range(1, 161)
    ]
    add(
        world, "train", {"training_step": steps}, f"samples={kept} items=ingest", files={"lora.safetensors": b"weights"}
    )
    entries = [{"item_id": row["item_id"], "row": number, "seconds": 0.01} for number, row in enumerate(items())]
    add(world, "encode", {"bank_entry": entries}, "encoder=train items=ingest", files={"memory.bin": b"memory"})
    test = questions("test")
    add(world, "benchmark", {"question": test})
    flagged, counts = overlap(test)
    roles = "questions=benchmark knowledge=ingest encoder=train"
    add(world, "contamination", {"contamination": flagged}, roles, measured=counts)
    found = retrieve(test, chance)
    add(world, "retrieve-test", {"retrieval": found}, "items=ingest questions=benchmark")
    rows = [
        predict(row, hit, condition, chance) for row, hit in zip(test, found, strict=True) for condition in CONDITIONS
    ]
    tables = {"prediction": rows, "score": score(rows), "difference": difference(rows, test)}
    add(
        world,
        "score",
        tables,
        "bank=encode encoder=train questions=benchmark retrieval=retrieve-test contamination=contamination",
    )
