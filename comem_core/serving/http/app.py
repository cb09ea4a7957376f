"""The endpoints: chat completions, models, health, metrics, and a page to try it."""

import asyncio
import hashlib
import hmac
import logging
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import HTMLResponse, JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from comem_core.serving.http.backlog import Job
from comem_core.serving.http.faults import RequestFault
from comem_core.serving.http.limits import ServiceLimits
from comem_core.serving.http.page import read_page
from comem_core.serving.http.replies import Reply, make_completion, stream_completion
from comem_core.serving.http.requests import ChatQuestion, read_request
from comem_core.serving.http.worker import AnsweringWorker, find_bank
from comem_core.serving.questions import PictureLimits

LOG = logging.getLogger(__name__)
OPEN_TO_ALL = ("/", "/health")  # without a key
GONE = 499  # as nginx counts a client that left
Handler = Callable[[Request], Awaitable[Response]]


@dataclass(frozen=True, kw_only=True)
class ServiceSettings:
    """The name of the model, the bounds, the pictures that are accepted, the key that clients send, if any, and how
    many items are shown and whether a gate decides it, where a request does not say it."""

    limits: ServiceLimits
    pictures: PictureLimits
    model: str = "comem"
    key: str | None = None
    k: int | None = None
    gated: bool = False

    def __post_init__(self) -> None:
        if self.k is not None and not 1 <= self.k <= self.limits.max_items:
            raise ValueError(f"k is {self.k}; expected 1 to {self.limits.max_items} items (max_items)")


class Endpoints:
    """The handlers of one service; its worker answers."""

    def __init__(self, worker: AnsweringWorker, settings: ServiceSettings):
        self.worker, self.settings, self.metrics = worker, settings, worker.metrics
        self.created = int(time.time())
        self.page, self.page_headers = read_page()

    def make_routes(self) -> list[Route]:
        """Return the routes; each answer is counted, and each fault is written as OpenAI writes it."""
        return [
            Route("/", self._finish("/", self.write_page)),
            Route("/health", self._finish("/health", self.describe_health)),
            Route("/metrics", self._finish("/metrics", self.write_metrics)),
            Route("/v1/models", self._finish("/v1/models", self.list_models)),
            Route("/v1/models/{name:path}", self._finish("/v1/models/{name}", self.describe_model)),
            Route("/v1/chat/completions", self._finish("/v1/chat/completions", self.answer_chat), methods=["POST"]),
        ]

    def _finish(self, path: str, handle: Handler) -> Handler:
        async def finish(request: Request) -> Response:
            try:
                if path not in OPEN_TO_ALL:
                    self._check_key(request)
                response = await handle(request)
            except RequestFault as fault:
                response = write_fault(fault)
            except ClientDisconnect:
                response = Response(status_code=GONE)
            except Exception:
                LOG.exception("a request failed")
                response = write_fault(RequestFault(500, "the request failed; the service's log says why"))
            self.metrics.requests.labels(path, str(response.status_code)).inc()
            return response

        return finish

    def _check_key(self, request: Request) -> None:
        if self.settings.key is None:
            return
        kind, _, given = request.headers.get("authorization", "").partition(" ")
        wanted, found = (hashlib.sha256(each.encode()).digest() for each in (self.settings.key, given.strip()))
        if kind.lower() != "bearer" or not hmac.compare_digest(wanted, found):
            message = "the key is missing or wrong; expected Authorization: Bearer <key>"
            raise RequestFault(401, message, code="invalid_api_key")

    async def write_page(self, request: Request) -> Response:
        return HTMLResponse(self.page, headers=self.page_headers)

    async def describe_health(self, request: Request) -> Response:
        """Say whether questions are answered (200) or not yet (503), and by what."""
        opened = self.worker.opened
        if opened is None:
            return JSONResponse({"status": "loading"}, status_code=503, headers={"Retry-After": "2"})
        memory = opened.memory
        told = {
            "status": "ready",
            "model": self.settings.model,
            "version": memory.version,
            "encoder": memory.encoder.encoder_id,
            "backbone": memory.encoder.backbone.name,
            "bank": find_bank(memory),
            "items": len(memory),
            "languages": memory.languages,
            "k": self.settings.k or memory.settings.k,
            "gated": self.settings.gated,
            "gates": sorted(memory.gates),
            "searched_by": memory.searcher.by,
            "reader": opened.reader_name,
        }
        return JSONResponse(told)

    async def write_metrics(self, request: Request) -> Response:
        return Response(self.metrics.write(), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def list_models(self, request: Request) -> Response:
        return JSONResponse({"object": "list", "data": [self._describe_model()]})

    async def describe_model(self, request: Request) -> Response:
        if (name := request.path_params["name"]) != self.settings.model:
            message = f"there is no model {name!r:.100}; expected {self.settings.model!r}"
            raise RequestFault(404, message, param="model", code="model_not_found")
        return JSONResponse(self._describe_model())

    def _describe_model(self) -> dict[str, Any]:
        return {"id": self.settings.model, "object": "model", "created": self.created, "owned_by": "comem"}

    async def answer_chat(self, request: Request) -> Response:
        """Answer a question about a picture from memory."""
        limits, backlog = self.settings.limits, self.worker.backlog
        if backlog.num_open >= limits.most_at_once:
            raise RequestFault(503, f"{backlog.num_open} requests are open", code="overloaded", retry_after=1)
        backlog.num_open += 1
        self.metrics.open.set(backlog.num_open)
        started = time.monotonic()
        try:
            async with asyncio.timeout(limits.request_seconds):
                job = await self._put_question(request, started + limits.request_seconds)
                reply = await self._wait_for(request, job)
        except TimeoutError:
            message = f"the answer took longer than {limits.request_seconds:g} s"
            raise RequestFault(504, message, code="timeout") from None
        finally:
            backlog.num_open -= 1
            self.metrics.open.set(backlog.num_open)
        self.metrics.seconds.observe(time.monotonic() - started)
        model = self.settings.model
        if not job.asked.stream:
            return JSONResponse(make_completion(reply, model))
        pieces = stream_completion(reply, model, include_usage=job.asked.include_usage)
        return StreamingResponse(pieces, media_type="text/event-stream", headers={"Cache-Control": "no-store"})

    async def _put_question(self, request: Request, deadline: float) -> Job:
        """Read a question, and let it wait for the next batch, which waits a moment for it too."""
        self.worker.backlog.num_arriving += 1
        try:
            job = Job(asked=await self._read_question(request), deadline=deadline)
            self.worker.put(job)
        finally:
            self.worker.backlog.num_arriving -= 1
        return job

    async def _read_question(self, request: Request) -> ChatQuestion:
        kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
        if kind != "application/json":
            raise RequestFault(415, f"the body is {kind[:60]!r}; expected application/json", code="not_json")
        settings = self.settings
        body = await read_body(request, settings.limits.max_body_bytes)
        options = {"model": settings.model, "limits": settings.limits, "pictures": settings.pictures}
        asked = await asyncio.to_thread(read_request, body, **options, k=settings.k, gated=settings.gated)
        opened = self.worker.opened
        if asked.inquiry.language is not None and opened is not None:
            try:
                opened.memory.encoder.prompts.check_language(asked.inquiry.language)
            except ValueError as error:
                raise RequestFault(400, str(error), param="comem.language", code="unknown_language") from error
        return asked

    async def _wait_for(self, request: Request, job: Job) -> Reply:
        """Wait for the reply; give up where the client leaves."""
        reply = asyncio.wrap_future(job.future)
        left = asyncio.ensure_future(wait_until_left(request))
        try:
            await asyncio.wait((reply, left), return_when=asyncio.FIRST_COMPLETED)
            if reply.done():
                return reply.result()
            raise ClientDisconnect
        finally:
            left.cancel()
            reply.cancel()


async def wait_until_left(request: Request) -> None:
    """Return when the client has closed its connection; the body has been read before."""
    while (await request.receive())["type"] != "http.disconnect":
        pass


async def read_body(request: Request, most: int) -> bytes:
    """Read the body of a request.

    Raises:
        RequestFault: 413 if it has more than `most` bytes; no more than that are read.
    """
    parts, size = [], 0
    stated = request.headers.get("content-length", "")
    too_large = RequestFault(413, f"the body is larger than {most} bytes", code="body_too_large")
    if stated.isdigit() and int(stated) > most:
        raise too_large
    async for part in request.stream():
        if (size := size + len(part)) > most:
            raise too_large
        parts.append(part)
    return b"".join(parts)


def write_fault(fault: RequestFault) -> Response:
    """Return a fault as a response in OpenAI's shape."""
    return JSONResponse(fault.body, status_code=fault.status, headers=fault.headers)


def make_app(worker: AnsweringWorker, settings: ServiceSettings) -> Starlette:
    """Return the application; it starts the worker, and ends it."""

    @asynccontextmanager
    async def run_worker(app: Starlette) -> AsyncIterator[None]:
        worker.start()
        yield
        await asyncio.to_thread(worker.stop)

    async def refuse_address(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        fault = RequestFault(error.status_code, f"{request.method} {request.url.path[:200]}: {error.detail}")
        response = write_fault(fault)
        response.headers.update(error.headers or {})
        return response

    return Starlette(
        routes=Endpoints(worker, settings).make_routes(),
        lifespan=run_worker,
        exception_handlers={HTTPException: refuse_address},
    )
