"""Croissant 1.0 metadata of a training set, so that catalogues and loaders know its files, columns and origin.

See https://docs.mlcommons.org/croissant/docs/croissant-spec.html, and croissant-rai-spec.html for the fields `rai:`.
Who publishes a set adds `datePublished`, `version` and `citeAs`, which nobody knows before.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa

from warehouse.content import hash_file
from warehouse.samples.cards import TEMPLATES, Card
from warehouse.samples.training_files import COLUMNS

CONFORMS_TO = "http://mlcommons.org/croissant/1.0"
PARQUET = "application/x-parquet"
ROWS, FILES = "samples", "train-files"


def write_croissant(card: Card, *, name: str, files: Sequence[Path], pattern: str, schema: pa.Schema) -> str:
    """Return the metadata as JSON-LD; `files` are the Parquet files of the set, `pattern` matches their names."""
    described = {
        "@context": json.loads((TEMPLATES / "croissant_context.json").read_text(encoding="utf-8")),
        "@type": "sc:Dataset",
        "name": name,
        "description": f"{card.total['samples']} samples for training a memory encoder: a question about a picture, "
        "its answer, and the items that were retrieved for it, in rank order. README.md has all numbers.",
        "conformsTo": CONFORMS_TO,
        "license": card.licences or ["unknown"],
        "inLanguage": card.languages,
        "isBasedOn": sorted({row["source"] for row in card.found["sources"]}),
        "rai:dataCollection": _describe_models(card),
        "rai:dataPreprocessingProtocol": _describe_filters(card),
        "distribution": [*map(_describe_file, files), _describe_pattern(pattern)],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": ROWS,
                "name": ROWS,
                "description": "One row for each sample.",
                "key": {"@id": f"{ROWS}/sample_id"},
                "field": [_describe_column(field) for field in schema],
            }
        ],
    }
    return json.dumps(described, indent=2, ensure_ascii=False) + "\n"


def _describe_models(card: Card) -> str:
    """Describe in one text, for the specification allows no list here, whose answers were kept."""
    return "; ".join(
        f"{row['samples']} of {row['drafts']} answers of the model {row['model'] or 'unknown'} (mode {row['mode']})"
        for row in card.found["models"]
    )


def _describe_filters(card: Card) -> list[str]:
    dropped = [f"{line.reason} dropped {line.total}" for line in card.funnel.reasons if line.total]
    return [f"of {card.funnel.drafts} drafts {card.funnel.kept} are kept", *dropped]


def _describe_file(path: Path) -> dict[str, Any]:
    return {
        "@type": "cr:FileObject",
        "@id": path.name,
        "name": path.name,
        "contentUrl": path.name,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": PARQUET,
        "sha256": hash_file(path),
    }


def _describe_pattern(pattern: str) -> dict[str, Any]:
    return {"@type": "cr:FileSet", "@id": FILES, "name": FILES, "encodingFormat": PARQUET, "includes": pattern}


def _describe_column(field: pa.Field) -> dict[str, Any]:
    """Describe a column; bytes are pictures, and lists have one value for each item."""
    is_list = pa.types.is_list(field.type)
    return {
        "@type": "cr:Field",
        "@id": f"{ROWS}/{field.name}",
        "name": field.name,
        "description": next(meaning for names, meaning in COLUMNS if field.name in names),
        "dataType": _name_type(field.type.value_type if is_list else field.type),
        "source": {"fileSet": {"@id": FILES}, "extract": {"column": field.name}},
    } | ({"repeated": True} if is_list else {})


def _name_type(kind: pa.DataType) -> str:
    if pa.types.is_integer(kind):
        return "sc:Integer"
    if pa.types.is_floating(kind):
        return "sc:Float"
    return "sc:ImageObject" if pa.types.is_binary(kind) else "sc:Text"
