"""Makes a memory of items without a run: their bank, and an index of their pictures by the encoder's own backbone."""

from collections.abc import Iterable
from dataclasses import asdict
from datetime import UTC, datetime

import numpy as np

from comem_core.knowledge.embedders.backbone import BackboneEmbedder
from comem_core.knowledge.embedders.registry import BACKBONE
from comem_core.knowledge.index.vector_index import EXACT_UP_TO, VectorIndex
from comem_core.knowledge.items import KnowledgeItem, check_inputs, hash_content_parts
from comem_core.knowledge.searching import IMAGE, Searcher
from comem_core.measures.provenance import find_commit
from comem_core.memory.answering import cut_into_batches
from comem_core.memory.encoder import MemoryEncoder
from comem_core.memory.encoding import GRID
from comem_core.serving.answers import SearchSettings
from comem_core.serving.layout import BANK_STAGE, INDEX_STAGE, Record
from comem_core.serving.memory import Memory
from comem_core.serving.search_keys import IndexKey

BATCH = 16


def make_memory(encoder: MemoryEncoder, items: Iterable[KnowledgeItem], *, k: int, same_language: bool) -> Memory:
    """Encode items and index their pictures (see `Memory.make`)."""
    by_id = {item.item_id: item for item in check_inputs(items, KnowledgeItem)}
    pictured = [item for item in by_id.values() if item.image is not None]
    if not pictured:
        raise ValueError(f"none of {len(by_id)} items has a picture to search by; expected at least one")
    bank = encoder.encode(by_id.values(), grid=None)
    tokens = encoder.recipe.item_visual_tokens
    embedder = BackboneEmbedder(encoder.backbone, grid=GRID, visual_tokens=tokens)
    pictures = {item.image_id: item.picture for item in pictured}
    embedded = {
        image_id: embedding_E
        for batch in cut_into_batches(pictures.items(), BATCH)
        for (image_id, _), embedding_E in zip(batch, embedder.embed_images([raw for _, raw in batch]), strict=True)
    }
    searched = VectorIndex(
        np.stack([embedded[item.image_id] for item in pictured]),
        item_ids=[item.item_id for item in pictured],
        languages=[item.language for item in pictured],
    )
    content = hash_content_parts(*sorted(by_id))
    key = IndexKey(embedders={IMAGE: BACKBONE}, grid=GRID, visual_tokens=tokens, exact_up_to=EXACT_UP_TO)
    return Memory(
        encoder,
        bank,
        by_id,
        Searcher(IMAGE, {IMAGE: searched}, {IMAGE: embedder}),
        settings=SearchSettings(k=k, same_language=same_language),
        version=f"{encoder.encoder_id}-{content}-{content}",
        made_from={
            BANK_STAGE: _make_record(BANK_STAGE, content, {}, len(by_id)),
            INDEX_STAGE: _make_record(INDEX_STAGE, content, asdict(key), len(pictured)),
        },
    )


def _make_record(stage: str, content: str, recipe: dict[str, object], num_rows: int) -> Record:
    """Make the record of something that no run made: it has no files and no inputs."""
    return {
        "fingerprint": content,
        "stage": stage,
        "version": "",
        "recipe": recipe,
        "inputs": {},
        "uri": "",
        "num_rows": num_rows,
        "num_bytes": 0,
        "shards": [],
        "content_sha256": "",
        "seconds": 0.0,
        "measured": {},
        "commit": find_commit(),
        "created": datetime.now(UTC).isoformat(),
    }
