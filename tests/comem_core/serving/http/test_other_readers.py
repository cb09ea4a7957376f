"""A vLLM server answers for the service: as the library does; one that is gone or reads otherwise is said."""

from collections.abc import Callable, Sequence
from typing import Any

import pytest

from comem_core.knowledge.items import Question
from comem_core.serving.http.__main__ import prepare_reader
from comem_core.serving.http.limits import ServiceLimits
from comem_core.serving.http.worker import AnsweringWorker
from comem_core.serving.memory import Memory
from comem_core.serving.vllm.template import MEMORY_FIRST
from tests.comem_core.serving.http.conftest import run_service
from tests.splicing_server import SplicingServer, run_server

CHAT = "/v1/chat/completions"


def test_a_vllm_server_answers_as_the_library_does_until_it_is_gone(
    memory: Memory,
    questions: Sequence[Question],
    make_body: Callable[..., dict[str, Any]],
) -> None:
    backbone = memory.encoder.backbone
    faults: dict[str, tuple[int, str]] = {}
    server = SplicingServer(backbone, MEMORY_FIRST + str(backbone.tokenizer.chat_template), faults=faults)
    with (
        run_server(server) as url,
        run_service(lambda: memory, make_reader=prepare_reader(f"vllm:{url}", ServiceLimits())) as running,
    ):
        for question in questions[:3]:
            told = running.ask(make_body(question)).json()
            wanted = memory.ask(question.image, question.question, max_new_tokens=4)
            assert told["choices"][0]["message"]["content"] == wanted.text
            assert told["usage"]["prompt_tokens"] == wanted.prompt_tokens
            assert told["comem"]["reader"].startswith("VllmReader") and "0.0.7" in told["comem"]["reader"]
        faults[CHAT] = (503, "going down")
        response = running.ask(make_body(questions[0]))
        assert (response.status_code, response.json()["error"]["code"]) == (503, "reader_gone")
        faults.clear()
        assert running.ask(make_body(questions[0])).status_code == 200


def test_a_server_that_reads_memory_otherwise_ends_the_service(memory: Memory) -> None:
    backbone, ended = memory.encoder.backbone, []
    with run_server(SplicingServer(backbone, str(backbone.tokenizer.chat_template))) as url:
        make_reader = prepare_reader(f"vllm:{url}", ServiceLimits())
        worker = AnsweringWorker(lambda: memory, make_reader=make_reader, failed=lambda: ended.append(1))
        worker.start()
        assert worker.ready.wait(120)
        worker.stop()
    assert worker.failure is not None and "does not read memory" in worker.failure
    assert (worker.opened, ended) == (None, [1])


def test_only_a_vllm_server_can_be_another_reader() -> None:
    with pytest.raises(ValueError, match="expected vllm:<address>"):
        prepare_reader("openai", ServiceLimits())
