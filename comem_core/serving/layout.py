"""The layout of a store, written down once: names of files, stages and columns, and what a record says.

A store is `<store>/<stage>/<fingerprint>/`, and an artefact is complete when its record is there. The application
writes it (`tasks`), and this library reads it. Imports little, because workers import it.
"""

from collections.abc import Iterator, Mapping
from functools import cache
from pathlib import Path
from typing import Any, NotRequired, TypedDict, cast, get_type_hints

from comem_core.data_roots import is_file_name
from comem_core.stated_fields import matches, parse_json

RECORD = "record.json"
UNFINISHED = ".partial"
"""How the folder of an artefact ends that is not complete; for a moment it has a record already."""
STORE = "store"
"""The folder of artefacts inside `.comem`."""
USED = ".used"
"""The folder of a store with a file for each bank that a run used again: its time. Such a bank may be newer than its
record says, as where documents were removed and brought back."""
SHARDS = "part-*.parquet"

ENCODER_STAGE, BANK_STAGE, KNOWLEDGE_STAGE = "encoder", "bank", "knowledge"
INDEX_STAGE, RETRIEVAL_STAGE, TRAINING_SET_STAGE = "index", "retrieval", "training-set"
PREDICTIONS_STAGE, GATE_STAGE, TRIED_K_STAGE = "predictions", "gate", "tried-k"
SEARCHES_STAGE, TRIED_SEARCH_ROLE = "tried-searches", "tried-"
"""The stage that compares searches, and how the roles of those begin that are not the recipe's own."""
BANK_ROLE, FOREIGN_BANK_ROLE = "bank", "foreign_bank"
"""The inputs of answers that are banks: of the corpus asked about, and of the condition `foreign`."""

CORPUS_ADDRESS = "corpus_address"
"""What the record of knowledge measured: where its corpus was. Its key has the last part only, so that a corpus that
moves is the same one; older records lack it, and saved memories, which are for others."""


class ShardRecord(TypedDict):
    """One file of an artefact. `rows` is 0 for other files than Parquet; `table` is set if it is not the stage's."""

    file: str
    sha256: str
    bytes: int
    rows: int
    table: NotRequired[str]


class Record(TypedDict):
    """The content of `record.json` of a complete artefact; `inputs` maps roles to fingerprints.

    `num_rows` counts the stage's own rows, without the shards for other tables. `naming` is the version of the rule
    that made the fingerprint (`tasks.engine.reuse`), `table` the warehouse's table of the rows, if they have one; the
    oldest records lack both.
    """

    fingerprint: str
    stage: str
    table: NotRequired[str | None]
    version: str
    naming: NotRequired[int]
    recipe: dict[str, Any]
    inputs: dict[str, str]
    uri: str
    num_rows: int
    num_bytes: int
    shards: list[ShardRecord]
    content_sha256: str
    seconds: float
    measured: dict[str, Any]
    libraries: NotRequired[dict[str, str]]
    commit: str | None
    created: str


def parse_record(raw: str | bytes, *, uri: str) -> Record | None:
    """Parse the record of an artefact, and add where it is.

    None for one that is damaged, or names files that are not in the artefact's folder.
    """
    try:
        record = parse_json(raw)
    except ValueError:
        return None
    if not isinstance(record, dict) or not {"shards", "created"} <= record.keys() or not _have_types(record, Record):
        return None
    for each in record["shards"]:
        if not _have_types(each, ShardRecord) or not is_file_name(each.get("file")):
            return None
    return cast(Record, {"measured": {}, **record, "uri": uri})


@cache
def _list_types(kind: Any) -> Mapping[str, Any]:
    return get_type_hints(kind)


def _have_types(stated: Mapping[str, Any], kind: Any) -> bool:
    """Tell whether those fields are of their types that are stated: older records lack some."""
    return all(matches(value, _list_types(kind).get(name, Any)) for name, value in stated.items())


def list_record_files(store: Path, stage: str = "*") -> Iterator[Path]:
    """Yield the paths of the records of complete artefacts in a store, in order; of one stage, if it is named."""
    for path in sorted(store.glob(f"{stage}/*/{RECORD}")):
        if path.parent.suffix != UNFINISHED:
            yield path
