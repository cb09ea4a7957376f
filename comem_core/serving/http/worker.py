"""Answers what has arrived together: one thread finds the items of a batch while another one answers the batch before.

A third opens a newer memory beside the one that answers. Finding and answering both run the model with the LoRA off, so
that neither changes a flag of the model that the other one reads.
"""

import logging
import queue
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import InvalidStateError
from contextlib import suppress
from typing import Any, TypeVar

from comem_core.knowledge.corpus_names import name_corpora
from comem_core.memory.answering import Answering
from comem_core.memory.encoder import MemoryEncoder
from comem_core.serving.answers import Found
from comem_core.serving.http.backlog import Backlog, Job, Opened, Ready
from comem_core.serving.http.faults import RequestFault, make_fault
from comem_core.serving.http.limits import ServiceLimits
from comem_core.serving.http.metrics import ServiceMetrics
from comem_core.serving.http.replies import Reply
from comem_core.serving.layout import BANK_STAGE, CORPUS_ADDRESS, KNOWLEDGE_STAGE
from comem_core.serving.memory import Memory
from comem_core.synthesis.generator import ServerGone

Result = TypeVar("Result")
MakeReader = Callable[[MemoryEncoder], Answering]
LOG = logging.getLogger(__name__)


class AnsweringWorker:
    """Answers questions in batches, in threads of its own; one of them looks for newer memories and opens them.

    `make_reader` makes the reader for an encoder (None: the encoder's own frozen model). `failed` is called once if
    the memory cannot be opened at the start; `failure` then says why.
    """

    def __init__(
        self,
        open_memory: Callable[[], Memory],
        *,
        make_reader: MakeReader | None = None,
        limits: ServiceLimits | None = None,
        metrics: ServiceMetrics | None = None,
        failed: Callable[[], None] = lambda: None,
    ):
        self.limits, self.metrics = limits or ServiceLimits(), metrics or ServiceMetrics()
        self.opened: Opened | None = None
        self.failure: str | None = None
        self._open_memory, self._make_reader, self._failed = open_memory, make_reader, failed
        self.backlog = Backlog(self.limits)
        self._stopping = threading.Event()
        self._threads = [
            threading.Thread(target=work, name=f"comem-{work.__name__}", daemon=True)
            for work in (self._run, self._answer, self._watch)
        ]
        self.metrics.waiting.set_function(self.backlog.__len__)
        self.ready = threading.Event()

    def start(self) -> None:
        """Begin to open the memory; questions are refused until it is open."""
        for thread in self._threads:
            thread.start()

    def stop(self) -> None:
        """Finish the batch at hand, and refuse what waits."""
        self._stopping.set()
        self.ready.set()
        for end in (lambda: None, self._join):
            end()
            for job in self.backlog.close():
                _refuse(job, RequestFault(503, "the service ends", code="ending", retry_after=5))

    def _join(self) -> None:
        for thread in self._threads:
            thread.join()

    def put(self, job: Job) -> None:
        """Let a question wait for the next batch.

        Raises:
            RequestFault: 503 while the memory is being opened, or too many wait.
        """
        if self.opened is None or self._stopping.is_set():
            raise RequestFault(503, "the memory is being opened", code="loading", retry_after=2)
        try:
            self.backlog.put(job)
        except queue.Full:
            message = f"{self.limits.queue_size} questions wait already"
            raise RequestFault(503, message, code="overloaded", retry_after=1) from None

    def _run(self) -> None:
        try:
            self.opened = self._make_opened(self._open_memory())
        except Exception as error:
            self.failure = str(error)
            LOG.log(logging.DEBUG if isinstance(error, ValueError | OSError) else logging.ERROR, "", exc_info=error)
            self._stopping.set()
            self.ready.set()
            self.backlog.close()
            self._failed()
            return
        self.ready.set()
        while (jobs := self.backlog.take_new()) is not None:
            self.backlog.put_ready(self._find(jobs, self.opened))

    def _make_opened(self, memory: Memory) -> Opened:
        before = self.opened
        if before is not None and before.memory.encoder is memory.encoder:
            reader = before.reader
        else:
            reader = memory.encoder if self._make_reader is None else self._make_reader(memory.encoder)
        self.metrics.items.set(len(memory))
        name = memory.encoder.backbone.name if reader is memory.encoder else repr(reader)
        return Opened(memory=memory, reader=reader, reader_name=name)

    def _watch(self) -> None:
        """Open a newer memory beside the one that answers, and put it in its place when it is ready."""
        self.ready.wait()
        while not self._stopping.wait(self.limits.reload_seconds):
            assert self.opened is not None
            try:
                older, newer = self.opened.memory, self.opened.memory.reload()
                if newer is not older:
                    self.opened = self._make_opened(newer)
                    self.metrics.reloads.labels("opened").inc()
                    LOG.info("answers now come from version %s (%s items)", newer.version, len(newer))
                    if said := _describe_other_corpus(older, newer):
                        LOG.warning("%s", said)
            except Exception as error:  # the old one answers on, whatever is wrong with the new one
                self.metrics.reloads.labels("failed").inc()
                LOG.warning("the newer memory was not opened, and the old one answers on: %s", error)

    def _find(self, jobs: Sequence[Job], opened: Opened) -> list[Ready]:
        alive = _pick_alive(jobs)
        found = _try_together(alive, lambda jobs: opened.memory.find_many([job.asked.inquiry for job in jobs]))
        return [Ready(job=job, found=each, opened=opened) for job, each in found]

    def _answer(self) -> None:
        while (batch := self.backlog.take_ready()) is not None:
            waiting = _pick_alive([ready.job for ready in batch])
            alive = {job for job in waiting if job.future.set_running_or_notify_cancel()}
            if alive:
                self.metrics.batches.observe(len(alive))
            groups: dict[Any, dict[Job, Found]] = {}
            for ready in batch:
                asked = ready.job.asked
                if ready.job in alive:
                    groups.setdefault((asked.max_new_tokens, asked.decoding), {})[ready.job] = ready.found
            for group in groups.values():
                self._answer_group(group, batch[0].opened)

    def _answer_group(self, found: dict[Job, Found], opened: Opened) -> None:
        """Answer questions that are decoded alike."""
        asked = next(iter(found)).asked

        def answer(jobs: Sequence[Job]) -> list[Any]:
            return opened.memory.answer(
                [found[job] for job in jobs],
                max_new_tokens=asked.max_new_tokens,
                decoding=asked.decoding,
                reader=opened.reader,
                max_seconds=max(0.01, max(job.deadline for job in jobs) - time.monotonic()),
            )

        for job, each in _try_together(list(found), answer):
            self.metrics.tokens.inc(each.answer_tokens)
            self.metrics.vectors.inc(each.memory_vectors)
            job.future.set_result(Reply(answer=each, version=opened.memory.version, reader=opened.reader_name))


def _pick_alive(jobs: Sequence[Job]) -> list[Job]:
    """Return the jobs whose clients still wait; what waited too long is refused."""
    now = time.monotonic()
    for late in [job for job in jobs if job.deadline <= now]:
        _refuse(late, RequestFault(504, "the question waited too long", code="timeout"))
    return [job for job in jobs if job.deadline > now and not job.future.cancelled()]


def _try_together(jobs: Sequence[Job], work: Callable[[Sequence[Job]], Sequence[Result]]) -> list[tuple[Job, Result]]:
    """Return each job with its result; where the batch fails, each job is tried alone and gets its own fault."""
    if not jobs:
        return []
    try:
        return list(zip(jobs, work(jobs), strict=True))
    except ServerGone as error:
        LOG.warning("%s", error)
        for job in jobs:
            _refuse(job, make_fault(error))
        return []
    except Exception as error:
        if len(jobs) > 1:
            return [done for job in jobs for done in _try_together([job], work)]
        if (fault := make_fault(error)).status >= 500:
            LOG.error("a question was not answered", exc_info=error)
        _refuse(jobs[0], fault)
        return []


def _refuse(job: Job, fault: RequestFault) -> None:
    with suppress(InvalidStateError):  # its client has left
        job.future.set_exception(fault)


def find_bank(memory: Memory) -> str:
    """Return the fingerprint of a memory's bank."""
    return memory.made_from[BANK_STAGE]["fingerprint"]


def _describe_other_corpus(older: Memory, newer: Memory) -> str | None:
    """Return a sentence about two memories of different corpora, with how to stay with the older; None for the same."""
    records = [memory.made_from.get(KNOWLEDGE_STAGE, {}) for memory in (older, newer)]
    names = [record.get("recipe", {}).get("corpus") for record in records]
    addresses = [record.get("measured", {}).get(CORPUS_ADDRESS) for record in records]
    if None in names:
        return None
    before, now = name_corpora(names if None in addresses else addresses)
    if before == now:
        return None
    bank = find_bank(older)
    return (
        f"the bank is of another corpus than before: {find_bank(newer)} of {now!r} in place of {bank} of {before!r}. "
        f"To stay with that one, start the service with --bank {bank}"
    )
