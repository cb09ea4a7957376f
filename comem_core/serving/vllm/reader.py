"""A reader behind a vLLM server: the encoder's frozen model, served by another engine, answers from its memories.

Shapes: V vectors of all items of a question, D width.
"""

from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from torch import Tensor

from comem_core.backbone.conversation import Conversation, Generated
from comem_core.backbone.decoding import GREEDY, Decoding
from comem_core.memory.answering import AnsweringFor
from comem_core.memory.encoder import MemoryEncoder
from comem_core.serving.vllm.control import check_placement
from comem_core.serving.vllm.messages import make_cache_salt, make_messages
from comem_core.serving.vllm.server import VllmServer


class VllmReader(AnsweringFor[MemoryEncoder]):
    """Answers through a vLLM server that serves the encoder's backbone; items are encoded and searched for here."""

    def __init__(self, encoder: MemoryEncoder, server: VllmServer):
        """Combine an encoder and a server, and ask the server the control question (see `check_placement`).

        Raises:
            ValueError: vLLM cannot answer for this family, or the server reads memories in another way.
            ServerGone: no server answers.
        """
        if fault := encoder.backbone.vllm_fault:
            raise ValueError(f"vLLM cannot answer for {encoder.backbone.name!r} from memory: {fault}")
        self.encoder, self.server = encoder, server
        check_placement(encoder, server)

    def __repr__(self) -> str:
        return f"VllmReader of {self.encoder.backbone.name!r} at {self.server.url}, vLLM {self.server.engine.version}"

    def answer_batch(
        self,
        conversations: Sequence[Conversation],
        memories: Sequence[Tensor],
        *,
        max_new_tokens: int,
        decoding: Decoding = GREEDY,
        max_seconds: float | None = None,
    ) -> list[Generated]:
        """As `Answering.answer_batch`; so many requests at once as the server's client allows.

        Raises:
            ValueError: the server refuses a request, a memory cannot be read, or `decoding` has a repetition penalty,
                which vLLM would also apply to the prompt.
            ServerGone: the server does not answer.
        """
        if decoding.repetition_penalty != 1:
            raise ValueError(
                f"repetition_penalty is {decoding.repetition_penalty}; expected 1, since vLLM would apply it to the "
                "prompt's tokens too"
            )

        def answer_one(conversation: Conversation, memory_VD: Tensor) -> Generated:
            size = self.encoder.recipe.query_visual_tokens
            said = self.server.ask(
                make_messages(conversation, memory_VD, self.encoder.backbone, visual_tokens=size),
                max_new_tokens=max_new_tokens,
                decoding=decoding,
                cache_salt=make_cache_salt(memory_VD),
                max_seconds=max_seconds,
            )
            return replace(said, prompt_tokens=max(0, said.prompt_tokens - len(memory_VD)))

        with ThreadPoolExecutor(max_workers=self.server.concurrency) as pool:
            return list(pool.map(answer_one, conversations, memories))
