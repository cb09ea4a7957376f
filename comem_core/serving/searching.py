"""Opens the search of a stored index: the embedders that made it, verified by their weights, and how it is searched."""

from collections.abc import Mapping
from pathlib import Path

from comem_core.backbone.interface import Backbone
from comem_core.knowledge.embedders.backbone import BackboneEmbedder
from comem_core.knowledge.embedders.interface import Embedder
from comem_core.knowledge.embedders.registry import BACKBONE, load_embedder, name_embedder
from comem_core.knowledge.searching import BOTH, IMAGE, TEXT, Searcher
from comem_core.serving.answers import SearchSettings
from comem_core.serving.layout import Record
from comem_core.serving.search_keys import EMBEDDERS, IndexKey, RetrievalKey, read_index_key


def open_search(
    folder: Path,
    index: Record,
    retrieval: Record | None,
    backbone: Backbone,
    *,
    named: Mapping[str, str] | None = None,
) -> tuple[Searcher, SearchSettings]:
    """Open the index in `folder`, and search it as the run's retrieval did.

    `named` maps a side (`image`, `text`) to its embedder, where the record's own name is of another machine.

    Raises:
        ValueError: an embedder's weights are not here, or are others; or the index is damaged.
    """
    key = read_index_key(index["recipe"])
    embedders = {side: _find_embedder(side, index, key, backbone, named or {}) for side in key.embedders}
    by = BOTH if len(embedders) > 1 else next(iter(embedders))
    how = None if retrieval is None else RetrievalKey(**retrieval["recipe"])
    if how is None or not ({IMAGE, TEXT} if how.by == BOTH else {how.by}) <= embedders.keys():
        return Searcher.open(folder, embedders=embedders, by=by), SearchSettings()
    searcher = Searcher.open(folder, embedders=embedders, by=how.by, text_weight=how.text_weight)
    return searcher, SearchSettings(k=how.k, same_language=how.same_language)


def _find_embedder(side: str, index: Record, key: IndexKey, backbone: Backbone, named: Mapping[str, str]) -> Embedder:
    kind = key.embedders[side]
    if kind == BACKBONE:
        if key.grid is None:
            raise ValueError(f"index {index['fingerprint']} does not say how pictures are embedded; build it again")
        return BackboneEmbedder(backbone, grid=key.grid, visual_tokens=key.visual_tokens)
    name = named.get(side) or index["measured"].get(EMBEDDERS, {}).get(side) or kind
    hint = f"name it with comem.open(..., embedders={{{side!r}: {kind + ':<folder or hub name>'!r}}})"
    try:
        found = name_embedder(name)
    except ValueError as error:
        raise ValueError(
            f"the items were embedded by {name!r}, which is not here: {error}. If it is elsewhere, {hint}"
        ) from error
    if found != (wanted := index["inputs"].get(f"{side}_embedder")):
        raise ValueError(f"the items were embedded by {wanted}, but {name!r} has other weights ({found}); {hint}")
    return load_embedder(name, device=str(backbone.device))
