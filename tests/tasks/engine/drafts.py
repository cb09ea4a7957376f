"""What a stage hands to the store: rows, and a record that is not completed yet."""

import pyarrow as pa

from comem_core.serving.layout import Record

ROWS = pa.table({"sample_id": ["a", "b"]})


def draft(stage: str = "filter", name: str = "f00d") -> Record:
    return {
        "fingerprint": name,
        "stage": stage,
        "version": "1",
        "recipe": {},
        "inputs": {},
        "uri": "",
        "num_rows": 0,
        "num_bytes": 0,
        "shards": [],
        "content_sha256": "",
        "seconds": 0.0,
        "measured": {},
        "commit": None,
        "created": "2026-01-01T00:00:00+00:00",
    }
