"""The control question: does a vLLM server read memory where the encoder was trained to put it, with the same weights?

A server without the right chat template reads memory inside the user's turn, and answers something else without an
error. So one question with a picture and a memory is asked here and there, and the likeliest first tokens are compared.
"""

import io

import torch
from PIL import Image
from torch import Tensor

from comem_core.backbone.conversation import Conversation
from comem_core.memory.encoder import MemoryEncoder
from comem_core.memory.injection import embed_with_memory
from comem_core.serving.vllm.messages import make_messages
from comem_core.serving.vllm.server import VllmServer

NUM_TOKENS = 5
"""How many of the likeliest first tokens are compared."""
MAX_DIFFERENCE = {torch.float32: 0.05, torch.bfloat16: 0.5, torch.float16: 0.5}
"""The largest difference of their log-probabilities (nats), by the number type of the backbone."""


def check_placement(encoder: MemoryEncoder, server: VllmServer) -> float:
    """Ask the control question here and there. Returns the largest difference of log-probabilities in nats.

    Raises:
        ValueError: the difference is larger than `MAX_DIFFERENCE`, or the server refuses the question.
        ServerGone: the server does not answer.
    """
    backbone, size = encoder.backbone, encoder.recipe.query_visual_tokens
    conversation = encoder.prompts.make_conversation("What is this?", _draw_control(), "en")
    memory_VD = _make_control_memory(encoder)
    here = _score_here(encoder, conversation, memory_VD)
    there = server.score_first_token(
        make_messages(conversation, memory_VD, backbone, visual_tokens=size), most=NUM_TOKENS
    )
    differences = [abs(here[token] - score) if token in here else float("inf") for token, score in there.items()]
    largest = max(differences, default=float("inf"))
    if largest > MAX_DIFFERENCE[backbone.model.dtype]:
        raise ValueError(
            f"the server at {server.url} does not read memory as {backbone.name!r} does here: the likeliest first "
            f"tokens of a control question differ by {largest:.2f} nats, where at most "
            f"{MAX_DIFFERENCE[backbone.model.dtype]} was expected. It serves another model, or was started without the "
            f"chat template: start it with the command that `python -m comem_core.serving.vllm {backbone.name}` prints"
        )
    return largest


def _draw_control() -> bytes:
    """Return a small picture of two colours, as PNG."""
    picture = Image.new("RGB", (112, 112), (200, 30, 60))
    picture.paste((250, 250, 250), (0, 0, 112, 40))
    written = io.BytesIO()
    picture.save(written, "PNG")
    return written.getvalue()


def _make_control_memory(encoder: MemoryEncoder) -> Tensor:
    """Return vectors (2·M, D) of the norm that memories have, in random but fixed directions."""
    empty_MD = encoder.empty_memory().float().cpu()
    drawn = torch.randn(2 * len(empty_MD), empty_MD.shape[1], generator=torch.Generator().manual_seed(0))
    norm = empty_MD.norm(dim=1).mean()
    return (drawn / drawn.norm(dim=1, keepdim=True) * norm).to(encoder.backbone.model.dtype)


def _score_here(encoder: MemoryEncoder, conversation: Conversation, memory_VD: Tensor) -> dict[str, float]:
    """Return the log-probability of every first token by its text, read in this process."""
    reader = encoder.reader
    with encoder.answering():
        embedded = embed_with_memory(reader, encoder.tokenize([conversation]), [memory_VD.to(reader.device)])
        scores_V = reader.logits(reader.hidden(embedded)[0, -1]).float().log_softmax(dim=-1).cpu()
    return {reader.tokenizer.decode([place]): float(score) for place, score in enumerate(scores_V)}
