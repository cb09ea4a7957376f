"""The real vLLM on a CPU answers from memory exactly as the library does. It runs in an environment of its own."""

import base64
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import httpx
import pytest

from comem_core.backbone.finding import SHIPPED
from comem_core.memory.encoder import MemoryEncoder
from comem_core.serving.memory import Memory
from comem_core.serving.vllm.control import check_placement
from comem_core.serving.vllm.reader import VllmReader
from comem_core.serving.vllm.server import VllmServer
from comem_core.serving.vllm.template import make_server_command, write_template
from comem_core.worlds.countries.world import load_benchmark_questions, load_knowledge_items

PYTHON = os.environ.get("TEST_VLLM_PYTHON")
NUM_QUESTIONS, START_SECONDS = 96, 300
QUIET = {"HF_HUB_OFFLINE": "1", "VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_CPU_KVCACHE_SPACE": "1"}

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(PYTHON is None, reason="TEST_VLLM_PYTHON names no Python with vLLM (docs/vllm.md)"),
]


def find_free_port() -> int:
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return held.getsockname()[1]


@contextmanager
def start_vllm(arguments: Sequence[str], port: int, log: Path) -> Iterator[str]:
    """Run vLLM's server (of the CPU wheel too, which has no `vllm` command) until it answers, and end it."""
    assert PYTHON is not None
    command = [PYTHON, "-m", "vllm.entrypoints.openai.api_server", "--model", *arguments, "--enforce-eager"]
    with log.open("wb") as output:
        server = subprocess.Popen(command, stdout=output, stderr=output, env=os.environ | QUIET)
    try:
        _wait_until_healthy(server, f"http://127.0.0.1:{port}/health", log)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=60)


def _wait_until_healthy(server: subprocess.Popen[bytes], address: str, log: Path) -> None:
    for _ in range(START_SECONDS):
        with suppress(OSError), urllib.request.urlopen(address, timeout=5):
            return
        assert server.poll() is None, log.read_text(errors="replace")[-3000:]
        time.sleep(1)
    raise AssertionError(f"vLLM did not start in {START_SECONDS} s: {log.read_text(errors='replace')[-3000:]}")


@pytest.fixture(scope="module")
def encoder() -> MemoryEncoder:
    return MemoryEncoder.from_pretrained("tiny-encoder")


def test_vllm_answers_every_question_as_the_library_does(encoder: MemoryEncoder, tmp_path: Path):
    port, template = find_free_port(), write_template(SHIPPED / "tiny", tmp_path)
    _, _, *arguments = make_server_command(SHIPPED / "tiny", template, dtype="float32", port=port, num_images=1)
    questions = load_benchmark_questions("dev")[:NUM_QUESTIONS]
    bank = encoder.encode(load_knowledge_items())
    shown = [list(hits.item_ids) for hits in encoder.search(questions, bank, k=3)]
    with start_vllm(arguments, port, tmp_path / "vllm.log") as url:
        reader = VllmReader(encoder, VllmServer(url))
        assert check_placement(encoder, reader.server) < 1e-3
        for item_ids in (shown, [[] for _ in shown], [found[:1] for found in shown]):
            here = encoder.answer(questions, bank, item_ids=item_ids, max_new_tokens=16)
            there = reader.answer(questions, bank, item_ids=item_ids, max_new_tokens=16, batch_size=NUM_QUESTIONS)
            assert there == here
            assert len({answer.text for answer in there}) > 5


def test_vllm_without_the_template_is_refused(encoder: MemoryEncoder, tmp_path: Path):
    port, template = find_free_port(), write_template(SHIPPED / "tiny", tmp_path)
    _, _, *arguments = make_server_command(SHIPPED / "tiny", template, dtype="float32", port=port, num_images=1)
    at = arguments.index("--chat-template")
    with (
        start_vllm([*arguments[:at], *arguments[at + 2 :]], port, tmp_path / "vllm.log") as url,
        pytest.raises(ValueError, match="does not read memory"),
    ):
        VllmReader(encoder, VllmServer(url))


def ask_service(url: str, image: bytes, question: str) -> httpx.Response:
    picture = f"data:image/png;base64,{base64.b64encode(image).decode()}"
    parts = [{"type": "image_url", "image_url": {"url": picture}}, {"type": "text", "text": question}]
    body = {"model": "comem", "max_tokens": 16, "messages": [{"role": "user", "content": parts}]}
    return httpx.post(f"{url}/v1/chat/completions", json=body, timeout=120)


def test_the_service_with_vllm_as_its_reader_answers_as_the_library_does(encoder: MemoryEncoder, tmp_path: Path):
    port, template = find_free_port(), write_template(SHIPPED / "tiny", tmp_path)
    _, _, *arguments = make_server_command(SHIPPED / "tiny", template, dtype="float32", port=port, num_images=1)
    memory = Memory.make(encoder, load_knowledge_items(), k=3)
    folder, questions = memory.save(tmp_path / "memory"), load_benchmark_questions("dev")[:20]
    with start_vllm(arguments, port, tmp_path / "vllm.log") as reader:
        command = [
            sys.executable,
            "-m",
            "comem_core.serving.http",
            str(folder),
            "--port",
            "0",
            "--reader",
            f"vllm:{reader}",
        ]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as service:
            assert service.stdout is not None
            url = service.stdout.readline().split()[-1]
            try:
                started = time.monotonic()
                while ask_service(url, questions[0].image, questions[0].question).status_code == 503:
                    assert time.monotonic() - started < START_SECONDS
                    time.sleep(1)
                told = [ask_service(url, each.image, each.question).json() for each in questions]
            finally:
                service.terminate()
    wanted = [memory.ask(each.image, each.question, max_new_tokens=16) for each in questions]
    assert [each["choices"][0]["message"]["content"] for each in told] == [each.text for each in wanted]
    assert [each["usage"]["prompt_tokens"] for each in told] == [each.prompt_tokens for each in wanted]
    assert all(each["comem"]["reader"].startswith("VllmReader") for each in told)
