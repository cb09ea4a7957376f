"""How many answers a second the service gives to 16 clients, beside the library at batch 16 without a service.

Both sides answer the same questions about the countries from the same items, in one process each with one torch thread,
by turns. The clients are threads of the measuring process, so what they cost is not the service's.
"""

import base64
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from http.client import HTTPConnection
from pathlib import Path

from comem_core.knowledge.items import Question
from comem_core.memory.encoder import MemoryEncoder
from comem_core.serving.memory import Memory
from comem_core.worlds.countries.world import load_benchmark_questions, load_knowledge_items

ENCODER = "tiny-encoder"
CLIENTS, K, MAX_TOKENS = 16, 3, 16
NUM_ITEMS, NUM_QUESTIONS = 96, 160
START_SECONDS = 120


@dataclass(frozen=True, kw_only=True)
class ServiceRates:
    """Median answers a second of the service and of the library, and the share of answers that are the same."""

    service: float
    library: float
    same: float


def measure_service(*, repeats: int, num_items: int = NUM_ITEMS, num_questions: int = NUM_QUESTIONS) -> ServiceRates:
    """Measure both sides by turns, after one unmeasured turn of each."""
    encoder = MemoryEncoder.from_pretrained(ENCODER)
    items = load_knowledge_items()[:num_items]
    questions = load_benchmark_questions("dev")[:num_questions]
    memory = Memory.make(encoder, items, k=K)
    bank = encoder.encode(items)
    served: list[float] = []
    answered: list[float] = []
    same = 0.0
    with tempfile.TemporaryDirectory() as folder, run_service(memory.save(Path(folder) / "memory")) as port:
        for turn in range(repeats + 1):
            started = time.perf_counter()
            answers = encoder.answer(questions, bank, k=K, max_new_tokens=MAX_TOKENS, batch_size=CLIENTS)
            middle = time.perf_counter()
            texts = ask_all(questions, port)
            ended = time.perf_counter()
            if turn:
                answered.append(len(questions) / (middle - started))
                served.append(len(questions) / (ended - middle))
            same = sum(each.text == text for each, text in zip(answers, texts, strict=True)) / len(texts)
            rates = len(questions) / (ended - middle), len(questions) / (middle - started)
            print(f"service {rates[0]:.1f}/s, library {rates[1]:.1f}/s, {100 * same:.1f} % the same", flush=True)
    return ServiceRates(service=statistics.median(served), library=statistics.median(answered), same=same)


@contextmanager
def run_service(folder: Path) -> Iterator[int]:
    """Run the service on a saved memory in a process of its own, and yield its port when it is ready."""
    command = [sys.executable, "-m", "comem_core.serving.http", str(folder), "--port", "0"]
    command += ["--batch-size", str(CLIENTS)]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        port = int(process.stdout.readline().rpartition(":")[2])
        until = time.monotonic() + START_SECONDS
        while _ask_status(port) != 200:
            assert time.monotonic() < until and process.poll() is None, "the service did not start"
            time.sleep(0.2)
        yield port
    finally:
        process.terminate()
        process.wait(timeout=60)


def _ask_status(port: int) -> int:
    connection = HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/health")
    return connection.getresponse().status


def ask_all(questions: Sequence[Question], port: int) -> list[str]:
    """Ask the service all questions, `CLIENTS` at a time, each over one connection; return the answers in order."""
    bodies = [make_body(each) for each in questions]

    def ask_share(first: int) -> list[str]:
        connection = HTTPConnection("127.0.0.1", port, timeout=300)
        return [_ask(connection, body) for body in bodies[first::CLIENTS]]

    texts = [""] * len(bodies)
    with ThreadPoolExecutor(CLIENTS) as pool:
        for first, share in enumerate(pool.map(ask_share, range(CLIENTS))):
            texts[first::CLIENTS] = share
    return texts


def _ask(connection: HTTPConnection, body: bytes) -> str:
    connection.request("POST", "/v1/chat/completions", body, {"Content-Type": "application/json"})
    response = connection.getresponse()
    told = json.loads(response.read())
    assert response.status == 200, told
    return told["choices"][0]["message"]["content"]


def make_body(question: Question) -> bytes:
    """Return a question as a chat request."""
    url = f"data:image/png;base64,{base64.b64encode(question.image).decode()}"
    parts = [{"type": "image_url", "image_url": {"url": url}}, {"type": "text", "text": question.question}]
    told = {
        "model": "comem",
        "messages": [{"role": "user", "content": parts}],
        "max_tokens": MAX_TOKENS,
        "comem": {"language": question.language},
    }
    return json.dumps(told).encode()
