"""The card of a saved memory: what it is, where it is from and how to open it, from records and from its items."""

import json
import re
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from comem_core.backbone.quantization import describe_weights
from comem_core.knowledge.stored_items import StoredItems
from comem_core.memory.description import Description
from comem_core.serving.layout import BANK_STAGE, ENCODER_STAGE, KNOWLEDGE_STAGE
from comem_core.serving.memory import Memory
from comem_core.terminal import escape_controls

UNKNOWN_LICENCE = "other"
MARKUP = re.compile(r"[\\|`*_\[\]]")


def write_card(memory: Memory, encoder: Description, path: Path, *, with_training_set: bool) -> None:
    """Write `README.md` with the front matter that the Hub reads."""
    languages, licences = _count(memory, "language"), _count(memory, "licence")
    front = {
        "library_name": "comem",
        "pipeline_tag": "visual-question-answering",
        "language": sorted(languages),
        "license": UNKNOWN_LICENCE,
        "license_name": " AND ".join(sorted(licences)),
        "tags": ["comem", "continuous-memory", "retrieval-augmented-generation"],
    }
    if encoder.backbone.count("/") == 1 and not encoder.backbone.startswith("/"):
        front["base_model"] = encoder.backbone
    lines = ["---", *(f"{name}: {json.dumps(value, ensure_ascii=False)}" for name, value in front.items()), "---", ""]
    lines += _describe(memory, encoder)
    lines += ["", "## Licences of the items", "", *_make_table("licence", licences)]
    lines += ["", "## Languages of the items", "", *_make_table("language", languages)]
    lines += ["", "## What it was made from", "", *_describe_records(memory.made_from), ""]
    if with_training_set:
        lines += ["`training_set/` has the samples that the encoder was trained on, with a card of their own.", ""]
    path.write_text("\n".join(lines), encoding="utf-8")


def _describe(memory: Memory, encoder: Description) -> list[str]:
    bank = memory.bank
    held = describe_weights(encoder.backbone_dtype, encoder.backbone_quantization)
    return [
        "# Continuous memory for a vision-language model",
        "",
        f"{len(memory):,} knowledge items, each as {bank.num_vectors} vectors of width {bank.width}, with the encoder "
        "that made them. The frozen reader answers questions about pictures with the vectors of the items it is shown.",
        "",
        "| | |",
        "| --- | --- |",
        f"| encoder | `{memory.encoder.encoder_id}` |",
        f"| backbone, which is not in here | `{encoder.backbone}` ({held}) |",
        f"| SHA-256 of the backbone's weights | `{encoder.backbone_sha256}` |",
        f"| parameters that were trained | {encoder.parameter_share} |",
        f"| vectors | {str(bank.dtype).removeprefix('torch.')} |",
        f"| items shown for a question | {memory.settings.k}, searched by {memory.searcher.by} |",
        "",
        "```python",
        "import comem_core as comem",
        "",
        'memory = comem.open("<this folder, or user/name>")',
        'answer = memory.ask("photo.jpg", "Who designed this?")',
        "print(answer.text, [item.source for item in answer.items])",
        "```",
    ]


def _count(memory: Memory, column: str) -> Counter[str]:
    """Count the values of a column over the bank's items, without reading their pictures."""
    items = memory.items
    if isinstance(items, StoredItems):
        values: Iterable[tuple[str, str]] = zip(items, items.rows.read_column(column), strict=True)
    else:
        values = ((item_id, getattr(item, column)) for item_id, item in items.items())
    return Counter(value for item_id, value in values if item_id in memory.bank)


def _make_table(name: str, counts: Counter[str]) -> list[str]:
    ordered = sorted(counts.items(), key=lambda each: (-each[1], each[0]))
    rows = [f"| {_escape(value)} | {count:,} |" for value, count in ordered]
    return [f"| {name} | items |", "| --- | --- |", *rows]


def _describe_records(records: Mapping[str, Any]) -> list[str]:
    """Describe the artefacts by their records: fingerprint, when and by which commit each was made."""
    rows = ["| | fingerprint | rows | made | commit |", "| --- | --- | --- | --- | --- |"]
    for stage in (ENCODER_STAGE, BANK_STAGE, KNOWLEDGE_STAGE):
        if (record := records.get(stage)) is not None:
            made, commit = record["created"][:19], record.get("commit") or "unknown"
            rows.append(f"| {stage} | `{record['fingerprint']}` | {record['num_rows']:,} | {made} | `{commit}` |")
    corpus = records.get(KNOWLEDGE_STAGE, {}).get("recipe", {}).get("corpus")
    return rows if corpus is None else [*rows, "", f"The items are of the corpus {_escape(corpus)}."]


def _escape(text: str) -> str:
    """Return a text of somebody else's data without line breaks, and without anything that Markdown or HTML obeys."""
    plain = escape_controls(" ".join(text.split())).replace("&", "&amp;").replace("<", "&lt;")
    return MARKUP.sub(r"\\\g<0>", plain)
