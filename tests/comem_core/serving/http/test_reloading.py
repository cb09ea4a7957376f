"""A newer memory answers as soon as it is ready; until then, and whatever is wrong with it, the old one answers."""

import shutil
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.memory.encoder import MemoryEncoder
from comem_core.serving.http.limits import ServiceLimits
from comem_core.serving.layout import BANK_STAGE, CORPUS_ADDRESS, KNOWLEDGE_STAGE
from comem_core.serving.memory import Memory, MemorySource
from comem_core.serving.opening import open as open_memory
from comem_core.worlds.countries.world import load_knowledge_items
from tests.comem_core.serving.http.conftest import Running, run_service

MakeBody = Callable[..., dict[str, Any]]
LIMITS = ServiceLimits(reload_seconds=0.05)
SECONDS = 120


@dataclass
class Shelf(MemorySource):
    """Gives the memory that lies on it; opening one waits until `go`, and says `begun`."""

    memory: Memory
    go: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)
    fault: Exception | None = None

    def find_version(self) -> str:
        return self.memory.version

    def read(self, *, previous: Memory | None = None) -> Memory:
        self.begun.set()
        assert self.go.wait(SECONDS)
        if self.fault is not None:
            raise self.fault
        self.memory.source = self
        return self.memory


@pytest.fixture
def shelf(encoder: MemoryEncoder, items: Sequence[KnowledgeItem]) -> Iterator[tuple[Shelf, Memory, Memory]]:
    old, new = Memory.make(encoder, items[:3]), Memory.make(encoder, items[3:])
    old.source = shelf = Shelf(old)
    yield shelf, old, new
    shelf.go.set()


def ask_until(running: Running, body: dict[str, Any], version: str) -> list[Any]:
    """Ask until a version answers; return all answers. Every question is answered."""
    answers, until = [], time.monotonic() + SECONDS
    while not answers or answers[-1]["version"] != version:
        assert time.monotonic() < until
        response = running.ask(body)
        assert response.status_code == 200
        answers.append(response.json()["comem"])
    return answers


def test_the_old_memory_answers_until_the_new_one_is_ready(
    shelf: tuple[Shelf, Memory, Memory], questions: Sequence[Question], make_body: MakeBody
) -> None:
    on, old, new = shelf
    body = make_body(questions[0])
    with run_service(lambda: old, limits=LIMITS) as running, ThreadPoolExecutor(2) as pool:
        assert ask_until(running, body, old.version)
        on.memory = new
        assert on.begun.wait(SECONDS)
        assert [answer["version"] for answer in ask_until(running, body, old.version)] == [old.version]
        several = [pool.submit(ask_until, running, body, new.version) for _ in range(2)]
        on.go.set()
        for each in several:
            answers = each.result()
            assert {item["item_id"] for item in answers[-1]["items"]} <= set(new.items)
            for answer in answers:
                assert answer["version"] in (old.version, new.version)
                shown = {item["item_id"] for item in answer["items"]}
                assert shown <= set(old.items if answer["version"] == old.version else new.items)
        assert running.client.get("/health").json()["version"] == new.version
        assert 'comem_reloads_total{outcome="opened"} 1.0' in running.client.get("/metrics").text


# The last name of each corpus and, in a newer store, its address; and their names where they are two.
CORPORA = [
    (("countries", None), ("plants", None), ("countries", "plants")),
    (("countries", None), ("countries", None), None),
    (("photos", "/home/me/a/photos"), ("photos", "/home/me/b/photos"), ("a/photos", "b/photos")),
    (("photos", "/home/me/a/photos"), ("photos", "/home/me/a/photos"), None),
    (("photos", None), ("photos", "/home/me/b/photos"), None),
    (("countries", "countries"), ("plants", "/home/me/plants"), ("countries", "plants")),
]


@pytest.mark.parametrize(("older", "newer", "said_names"), CORPORA)
def test_a_bank_of_another_corpus_is_named_beside_the_one_before(
    shelf: tuple[Shelf, Memory, Memory],
    questions: Sequence[Question],
    make_body: MakeBody,
    caplog: pytest.LogCaptureFixture,
    older: tuple[str, str | None],
    newer: tuple[str, str | None],
    said_names: tuple[str, str] | None,
) -> None:
    on, old, new = shelf
    for memory, (name, address) in ((old, older), (new, newer)):
        record = {"recipe": {"corpus": name}, "measured": {CORPUS_ADDRESS: address} if address else {}}
        memory.made_from = {**memory.made_from, KNOWLEDGE_STAGE: record}
    before, now = (memory.made_from[BANK_STAGE]["fingerprint"] for memory in (old, new))
    with caplog.at_level("INFO"), run_service(lambda: old, limits=LIMITS) as running:
        assert running.client.get("/health").json()["bank"] == before
        on.memory = new
        on.go.set()
        ask_until(running, make_body(questions[0]), new.version)
        until = time.monotonic() + SECONDS
        while not any("answers now come from" in line for line in caplog.messages):
            assert time.monotonic() < until
        assert running.client.get("/health").json()["bank"] == now
    said = [line for line in caplog.messages if "another corpus" in line]
    was, is_now = said_names or ("", "")
    expected = f"the bank is of another corpus than before: {now} of {is_now!r} in place of {before} of {was!r}. "
    assert said == ([f"{expected}To stay with that one, start the service with --bank {before}"] if said_names else [])


def test_a_new_memory_that_cannot_be_opened_leaves_the_old_one(
    shelf: tuple[Shelf, Memory, Memory], questions: Sequence[Question], make_body: MakeBody
) -> None:
    on, old, new = shelf
    body = make_body(questions[0])
    with run_service(lambda: old, limits=LIMITS) as running:
        on.fault = ValueError("its bank is damaged")
        on.memory = new
        on.go.set()
        until = time.monotonic() + SECONDS
        while 'outcome="failed"' not in running.client.get("/metrics").text:
            assert time.monotonic() < until
        assert ask_until(running, body, old.version)
        on.fault = None
        assert ask_until(running, body, new.version)


def test_a_folder_that_is_saved_anew_is_opened(
    tmp_path: Path, questions: Sequence[Question], make_body: MakeBody
) -> None:
    encoder, items = MemoryEncoder.from_pretrained("tiny-encoder"), load_knowledge_items()
    first, second = (Memory.make(encoder, items[start : start + 4]) for start in (0, 4))
    folder, later = first.save(tmp_path / "memory"), second.save(tmp_path / "later")
    with run_service(lambda: open_memory(folder), limits=LIMITS) as running:
        body = make_body(questions[0])
        assert ask_until(running, body, first.version)
        folder.rename(tmp_path / "before")
        shutil.move(later, folder)
        answers = ask_until(running, body, second.version)
        assert {item["item_id"] for item in answers[-1]["items"]} <= set(second.items)
