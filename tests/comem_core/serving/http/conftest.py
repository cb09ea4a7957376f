"""A real service on a free port of loopback, over a small real encoder and bank."""

import base64
import socket
import threading
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

import httpx
import pytest
import uvicorn
from torch import Tensor

from comem_core.backbone.conversation import Conversation, Generated
from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.memory.answering import Answering, AnsweringFor
from comem_core.memory.encoder import MemoryEncoder
from comem_core.serving.http.app import ServiceSettings, make_app
from comem_core.serving.http.limits import ServiceLimits
from comem_core.serving.http.worker import AnsweringWorker
from comem_core.serving.memory import Memory

CHAT = "/v1/chat/completions"


class HeldReader(AnsweringFor[MemoryEncoder]):
    """The encoder's own model, which waits before each batch until `go` is set, and keeps the batches' sizes."""

    def __init__(self, encoder: MemoryEncoder):
        self.encoder = encoder
        self.go, self.begun = threading.Event(), threading.Event()
        self.sizes: list[int] = []

    def answer_batch(
        self, conversations: Sequence[Conversation], memories: Sequence[Tensor], **options: Any
    ) -> list[Generated]:
        self.begun.set()
        self.sizes.append(len(conversations))
        assert self.go.wait(60)
        return self.encoder.answer_batch(conversations, memories, **options)


@dataclass(frozen=True, kw_only=True)
class Running:
    """A service that runs, its address, and a client of it."""

    url: str
    client: httpx.Client
    worker: AnsweringWorker

    def ask(self, body: Mapping[str, Any], **more: Any) -> httpx.Response:
        return self.client.post(CHAT, json=dict(body) | more)


@contextmanager
def run_service(
    open_memory: Callable[[], Memory],
    *,
    limits: ServiceLimits | None = None,
    make_reader: Callable[[MemoryEncoder], Answering] | None = None,
    port: int = 0,
    **settings: Any,
) -> Iterator[Running]:
    """Run a service until the end of the context; it is ready when the context begins."""
    limits = limits or ServiceLimits(max_pixels=1_000_000, max_body_bytes=200_000)
    worker = AnsweringWorker(open_memory, limits=limits, make_reader=make_reader)
    given = ServiceSettings(limits=limits, pictures=limits.make_picture_limits(), **settings)
    listening = socket.create_server(("127.0.0.1", port))
    server = uvicorn.Server(uvicorn.Config(make_app(worker, given), log_level="warning", timeout_graceful_shutdown=5))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    try:
        assert worker.ready.wait(120) and worker.failure is None
        with httpx.Client(base_url=url, timeout=120) as client:
            yield Running(url=url, client=client, worker=worker)
    finally:
        server.should_exit = True
        thread.join(60)
        listening.close()
        assert not thread.is_alive()


@pytest.fixture(scope="session")
def memory(encoder: MemoryEncoder, items: Sequence[KnowledgeItem]) -> Memory:
    return Memory.make(encoder, items, k=2)


@pytest.fixture(scope="module")
def service(memory: Memory) -> Iterator[Running]:
    with run_service(lambda: memory) as running:
        yield running


@pytest.fixture(scope="session")
def make_body() -> Callable[..., dict[str, Any]]:
    """Return a function (question, **more fields) -> the body of a chat request."""

    def make(question: Question, **more: Any) -> dict[str, Any]:
        url = f"data:image/png;base64,{base64.b64encode(question.image).decode()}"
        parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": question.question}]
        return {"model": "comem", "messages": [{"role": "user", "content": parts}], "max_tokens": 4} | more

    return make
