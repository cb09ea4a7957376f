"""Puts memory into the reader's input: memory vectors first, then the query with its positions shifted.

The order is [memory of rank 1 ; ... ; memory of rank k ; query], so memory is before the system turn (paper section 3;
the order of items is ours: rank 1 first in training and at inference). Memory takes positions 0 .. K·M-1 on all axes;
the query's own positions are shifted by exactly K·M. Positions stay int64: bfloat16 would round integers above 256.

Shapes: B questions, L query tokens, K·M memory vectors of one question, P padded length, D width.
"""

from collections.abc import Sequence

import torch
from torch import Tensor

from comem_core.backbone.batches import Embedded, Tokens
from comem_core.backbone.reader import Reader


def embed_with_memory(reader: Reader, tokens: Tokens, memories: Sequence[Tensor]) -> Embedded:
    """Embed questions as the reader's input, each with its memory (any number of vectors, D).

    Everything in this library that trains, answers or measures with its own reader calls this: the place of the memory
    is changed here. A prompt for a vLLM server is put together in `comem_core/serving/vllm/`.

    Raises:
        ValueError: see `inject`.
    """
    return inject(reader.embed(tokens), memories)


def inject(query: Embedded, memories: Sequence[Tensor]) -> Embedded:
    """Put each question's memory (any number of vectors, D) before its query, and left-pad the result again.

    Raises:
        ValueError: there is not one memory per question, or its width is not the reader's.
    """
    b, _, d = query.embeds_BLD.shape
    if len(memories) != b:
        raise ValueError(f"{len(memories)} memories for {b} questions; expected one per question (it may be empty)")
    if wrong := [tuple(memory.shape) for memory in memories if memory.ndim != 2 or memory.shape[1] != d]:
        raise ValueError(
            f"memory of shape {wrong[0]}, but this reader takes (vectors, {d}); was it made by another encoder?"
        )
    lengths = [len(memory) + int(mask.sum()) for memory, mask in zip(memories, query.mask_BL, strict=True)]
    padded = max(lengths)
    embeds_BPD = query.embeds_BLD.new_zeros(b, padded, d)
    mask_BP = query.mask_BL.new_zeros(b, padded)
    visual_BP = None if query.visual_BL is None else query.visual_BL.new_zeros(b, padded)
    positions_3BP = query.positions_3BL.new_zeros(3, b, padded)
    rows = []
    for row, memory in enumerate(memories):
        own = query.mask_BL[row]
        start = padded - lengths[row]
        rows.append(torch.cat([embeds_BPD[row, :start], memory.to(embeds_BPD), query.embeds_BLD[row, own]]))
        mask_BP[row, start:] = True
        positions_3BP[:, row, start : start + len(memory)] = torch.arange(len(memory), device=positions_3BP.device)
        positions_3BP[:, row, start + len(memory) :] = query.positions_3BL[:, row, own] + len(memory)
        if visual_BP is not None and query.visual_BL is not None:
            visual_BP[row, start + len(memory) :] = query.visual_BL[row, own]
    return Embedded(torch.stack(rows), mask_BP, positions_3BP, visual_BP, query.deepstack_JPD)
