"""The gates of a memory: the latest that an evaluation fitted for its encoder and its way of searching."""

from collections.abc import Mapping
from pathlib import Path

import pyarrow.parquet as pq

from comem_core.evaluation.held_out.gate import Gate
from comem_core.serving.layout import GATE_STAGE, INDEX_STAGE, RETRIEVAL_STAGE, SHARDS, Record
from comem_core.serving.stored_artefacts import StoredArtefacts

SEARCH = ("by", "text_weight", "same_language")
"""What of a retrieval's key decides the scores of a search, besides the index."""


def find_gates(store: StoredArtefacts, encoder: str, index: Record, retrieval: Record | None) -> Record | None:
    """Return the latest gates of an encoder whose questions were searched for as this retrieval does, in an index with
    the same embedders; the items may be others. None if there are none."""
    fitted = [each for each in store.list_records(GATE_STAGE) if each["inputs"].get("encoder") == encoder]
    if not fitted or retrieval is None:
        return None  # as in most stores: a service looks again and again, and need not read all other records for it
    retrievals = {each["fingerprint"]: each for each in store.list_records(RETRIEVAL_STAGE)}
    indexes = {each["fingerprint"]: each for each in store.list_records(INDEX_STAGE)}
    for record in reversed(fitted):
        searched = retrievals.get(record["inputs"]["retrieved"])
        if searched is None:
            continue
        same_search = all(searched["recipe"].get(name) == retrieval["recipe"].get(name) for name in SEARCH)
        if same_search and _is_embedded_alike(indexes.get(searched["inputs"]["index"]), index):
            return record
    return None


def _is_embedded_alike(one: Record | None, other: Record) -> bool:
    """Tell whether the same models embedded the items of two indexes."""
    if one is None or one["recipe"] != other["recipe"]:
        return False
    models = one["inputs"].keys() | other["inputs"].keys()
    return all(one["inputs"].get(role) == other["inputs"].get(role) for role in models - {"knowledge"})


def read_gates(folder: Path) -> Mapping[int, Gate]:
    """Read the gates of an artefact by number of items, those that were fitted on all of its questions."""
    rows = [row for path in sorted(folder.glob(SHARDS)) for row in pq.read_table(path).to_pylist()]
    return {row["k"]: Gate(threshold=row["threshold"], sure=row["sure"]) for row in rows if row["fold"] is None}
