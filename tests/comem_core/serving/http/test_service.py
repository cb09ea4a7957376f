"""What the service answers: as the library does, in OpenAI's shape, in batches, and within its bounds."""

import base64
import json
import re
import socket
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from copy import copy
from dataclasses import asdict
from pathlib import Path
from typing import Any

import httpx
import openai
import pytest
from prometheus_client.parser import text_string_to_metric_families

from comem_core.evaluation.held_out.gate import Gate
from comem_core.knowledge.items import KnowledgeItem, Question
from comem_core.memory.encoder import MemoryEncoder
from comem_core.serving.answers import Found, Inquiry
from comem_core.serving.http.limits import ServiceLimits
from comem_core.serving.memory import Memory
from comem_core.worlds.countries.world import load_knowledge_items
from tests.comem_core.serving.http.conftest import CHAT, HeldReader, Running, run_service

Body = dict[str, Any]
MakeBody = Callable[..., Body]
ROOT = Path(__file__).parents[4]


def read_events(text: str) -> list[Any]:
    lines = [line.removeprefix("data: ") for line in text.split("\n\n") if line]
    assert lines.pop() == "[DONE]"
    return [json.loads(line) for line in lines]


def count(running: Running, name: str) -> float:
    families = text_string_to_metric_families(running.client.get("/metrics").text)
    return sum(sample.value for family in families for sample in family.samples if sample.name == name)


def test_questions_are_answered_as_the_library_does(
    service: Running, memory: Memory, questions: Sequence[Question], make_body: MakeBody
) -> None:
    for question in questions:
        told = service.ask(make_body(question, comem={"language": question.language})).json()
        wanted = memory.ask(question.image, question.question, language=question.language, max_new_tokens=4)
        assert told["choices"][0]["message"]["content"] == wanted.text
        assert told["choices"][0]["finish_reason"] == ("length" if wanted.truncated else "stop")
        shown = {name: value for name, value in told["comem"].items() if name not in ("version", "reader")}
        assert shown == {
            name: value for name, value in json.loads(json.dumps(asdict(wanted))).items() if name != "text"
        }
        assert told["comem"]["version"] == memory.version
        assert [item["rank"] for item in shown["items"]] == [*range(1, len(shown["items"]) + 1)]
        assert told["usage"]["total_tokens"] == wanted.prompt_tokens + wanted.answer_tokens


@pytest.mark.parametrize("as_list", [True, False])
def test_an_answer_ends_where_the_request_says_so(
    service: Running, questions: Sequence[Question], make_body: MakeBody, as_list: bool
) -> None:
    def ask(**options: Any) -> Any:
        [choice] = service.ask(make_body(questions[0], max_tokens=8, **options)).json()["choices"]
        return choice

    whole = ask()["message"]["content"]
    end = whole[len(whole) // 2 :][:2]
    ended = ask(stop=[end, "never said"] if as_list else end)
    assert ended["message"]["content"] == whole.partition(end)[0].strip() and ended["finish_reason"] == "stop"
    assert ask(stop=[])["message"]["content"] == whole


def test_a_question_of_another_world_comes_with_a_caution() -> None:
    """The fixture's reader has an open vocabulary; the small model that ships has a closed one."""
    items = [item for item in load_knowledge_items() if item.language == "en"][:3]
    memory = Memory.make(MemoryEncoder.from_pretrained("tiny-encoder"), items)
    picture = f"data:image/png;base64,{base64.b64encode(items[0].picture).decode()}"

    def make(question: str) -> Body:
        content = [{"type": "image_url", "image_url": {"url": picture}}, {"type": "text", "text": question}]
        return {"model": "comem", "messages": [{"role": "user", "content": content}]}

    with run_service(lambda: memory) as running:
        assert running.ask(make("What is the capital of this country?")).json()["comem"]["caution"] is None
        told = running.ask(make("What breed is this dog?")).json()["comem"]["caution"]
        assert told.startswith("'What breed is this dog?' has words such as breed, dog, but the reader tiny is a small")


def test_the_extra_field_chooses_what_is_shown(
    service: Running, items: Sequence[KnowledgeItem], questions: Sequence[Question], make_body: MakeBody
) -> None:
    def ask(**options: Any) -> Any:
        return service.ask(make_body(questions[0], comem=options)).json()["comem"]

    chosen = [items[3].item_id, items[1].item_id]
    told = ask(item_ids=chosen)
    assert [item["item_id"] for item in told["items"]] == chosen
    assert [item["score"] for item in told["items"]] == [None, None] and told["searched"] is None
    alone = ask(with_memory=False)
    assert (alone["items"], alone["memory_vectors"]) == ([], 0)
    assert len(ask(k=1)["items"]) == 1
    assert ask(language="ar")["language"] == "ar"


def test_a_gate_leaves_items_out_where_the_service_or_the_request_asks_it(
    memory: Memory, questions: Sequence[Question], make_body: MakeBody
) -> None:
    gated = copy(memory)
    gated.gates = {2: Gate(threshold=2.0)}  # no cosine is above that
    with run_service(lambda: gated, gated=True) as running:
        told = running.client.get("/health").json()
        assert (told["gated"], told["gates"], told["k"]) == (True, [2], 2)

        def ask(**options: Any) -> httpx.Response:
            return running.ask(make_body(questions[0], comem=options))

        for left_out in (ask(), ask(gated=True)):
            told = left_out.json()["comem"]
            assert (told["items"], told["memory_vectors"], told["trusted"]) == ([], 0, False)
        shown = ask(gated=False).json()["comem"]
        assert shown["items"] and shown["trusted"]
        assert ask(with_memory=False).json()["comem"]["trusted"]  # nothing was found that could be left out
        refused = ask(k=1)
        assert refused.status_code == 400 and "no gate was fitted for k=1" in refused.json()["error"]["message"]
        refused = ask(gated=True, with_memory=False)
        assert (refused.status_code, refused.json()["error"]["param"]) == (400, "comem.gated")


def test_openai_s_client_reads_answers_streams_models_and_faults(
    service: Running, memory: Memory, questions: Sequence[Question], make_body: MakeBody
) -> None:
    client = openai.OpenAI(base_url=f"{service.url}/v1", api_key="none", max_retries=0)
    assert [model.id for model in client.models.list()] == ["comem"]
    assert client.models.retrieve("comem").id == "comem"
    body = make_body(questions[0])
    wanted = memory.ask(questions[0].image, questions[0].question, max_new_tokens=4)
    whole = client.chat.completions.create(**body, extra_body={"comem": {"k": 2}})
    assert whole.choices[0].message.content == wanted.text
    assert whole.model_extra is not None and whole.model_extra["comem"]["items"][0]["rank"] == 1
    stream = client.chat.completions.create(**body, stream=True, stream_options={"include_usage": True})
    chunks = list(stream)
    assert "".join(each.choices[0].delta.content or "" for each in chunks if each.choices) == wanted.text
    assert chunks[-1].usage == whole.usage and not chunks[-1].choices
    assert chunks[-2].model_extra is not None and chunks[-2].model_extra["comem"] == whole.model_extra["comem"]
    with pytest.raises(openai.BadRequestError, match="n is not supported") as caught:
        client.chat.completions.create(**body, n=2)
    assert caught.value.param == "n"
    with pytest.raises(openai.NotFoundError, match="there is no model 'gpt'"):
        client.models.retrieve("gpt")


def test_a_stream_has_usage_only_if_asked(service: Running, questions: Sequence[Question], make_body: MakeBody) -> None:
    response = service.ask(make_body(questions[0], stream=True))
    assert response.headers["content-type"].startswith("text/event-stream")
    text, end = read_events(response.text)
    assert "usage" not in text and "comem" not in text
    assert end["choices"][0]["finish_reason"] and end["comem"]["items"]


def test_sampling_depends_on_the_seed_alone(
    service: Running, memory: Memory, questions: Sequence[Question], make_body: MakeBody
) -> None:
    def ask(seed: int) -> str:
        body = make_body(questions[0], temperature=2.0, top_p=0.99, seed=seed, max_tokens=8)
        return service.ask(body).json()["choices"][0]["message"]["content"]

    assert ask(1) == ask(1)
    assert len({ask(seed) for seed in range(4)}) > 1


def test_what_arrives_together_is_answered_together(
    memory: Memory, questions: Sequence[Question], make_body: MakeBody
) -> None:
    held = HeldReader(memory.encoder)
    bodies = [make_body(question) for question in questions[:5]]
    with (
        run_service(lambda: memory, make_reader=lambda encoder: held) as running,
        ThreadPoolExecutor(len(bodies)) as pool,
    ):
        first = pool.submit(running.ask, bodies[0])
        assert held.begun.wait(60)
        others = [pool.submit(running.ask, body) for body in bodies[1:]]
        while running.worker.backlog.num_ready < len(others):
            assert not any(each.done() for each in others)
        held.go.set()
        texts = [each.result().json()["choices"][0]["message"]["content"] for each in (first, *others)]
        assert held.sizes == [1, 4]
        assert texts == [memory.ask(q.image, q.question, max_new_tokens=4).text for q in questions[:5]]
        assert count(running, "comem_batch_size_count") == 2


def test_a_full_queue_and_late_answers_are_said_in_time(
    memory: Memory, questions: Sequence[Question], make_body: MakeBody
) -> None:
    held, body = HeldReader(memory.encoder), make_body(questions[0])
    limits = ServiceLimits(queue_size=1, batch_size=1, request_seconds=3)
    with (
        run_service(lambda: memory, limits=limits, make_reader=lambda encoder: held) as running,
        ThreadPoolExecutor(4) as pool,
    ):
        waiting = [pool.submit(running.ask, body)]
        assert held.begun.wait(60)
        waiting += [pool.submit(running.ask, body) for _ in range(2)]
        answers = [each.result() for each in waiting]
        assert sorted(each.status_code for each in answers) == [503, 504, 504]
        [full] = [each for each in answers if each.status_code == 503]
        assert full.headers["retry-after"] == "1" and full.json()["error"]["code"] == "overloaded"
        held.go.set()
        while len(running.worker.backlog):
            pass
        assert running.ask(body).status_code == 200


def test_a_client_that_leaves_costs_nothing_more(
    memory: Memory, questions: Sequence[Question], make_body: MakeBody
) -> None:
    held, body = HeldReader(memory.encoder), make_body(questions[0])
    with run_service(lambda: memory, make_reader=lambda encoder: held) as running, ThreadPoolExecutor(1) as pool:
        first = pool.submit(running.ask, body)
        assert held.begun.wait(60)
        with suppress(httpx.ReadTimeout):
            httpx.post(running.url + CHAT, json=body, timeout=0.5)
        half = socket.create_connection(("127.0.0.1", int(running.url.rpartition(":")[2])))
        half.sendall(f"POST {CHAT} HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n".encode())
        half.sendall(b"Content-Length: 100\r\n\r\n{")
        half.close()
        held.go.set()
        assert first.result().status_code == 200
        assert running.ask(body).status_code == 200
        assert held.sizes == [1, 1]


def test_a_key_is_asked_of_everything_but_page_and_health(
    memory: Memory, questions: Sequence[Question], make_body: MakeBody
) -> None:
    with run_service(lambda: memory, key="open sesame") as running:
        for path in ("/", "/health"):
            assert running.client.get(path).status_code == 200
        for given in (None, "Bearer", "Bearer open", "Basic open sesame", "Bearer öpen sesame"):
            headers = {} if given is None else {b"Authorization": given.encode()}
            for path in ("/v1/models", "/metrics"):
                assert running.client.get(path, headers=headers).status_code == 401
            refused = running.client.post(CHAT, json=make_body(questions[0]), headers=headers)
            assert (refused.status_code, refused.json()["error"]["code"]) == (401, "invalid_api_key")
        client = openai.OpenAI(base_url=f"{running.url}/v1", api_key="open sesame")
        assert client.chat.completions.create(**make_body(questions[0])).choices
        assert "sesame" not in running.client.get("/health").text


def test_health_says_what_answers_and_metrics_count(
    service: Running, memory: Memory, questions: Sequence[Question], make_body: MakeBody
) -> None:
    told = service.client.get("/health").json()
    assert told["status"] == "ready" and told["items"] == len(memory) and told["k"] == 2
    assert (told["encoder"], told["version"]) == (memory.encoder.encoder_id, memory.version)
    before = count(service, "comem_answer_tokens_total")
    answer = service.ask(make_body(questions[0])).json()
    assert count(service, "comem_answer_tokens_total") - before == answer["usage"]["completion_tokens"]
    assert count(service, "comem_memory_items") == len(memory)


def test_questions_are_refused_while_the_memory_is_opened(
    memory: Memory, questions: Sequence[Question], make_body: MakeBody
) -> None:
    opened, seen = threading.Event(), []

    def open_late() -> Memory:
        assert opened.wait(60)
        return memory

    def ask_early() -> None:
        while not seen:
            with suppress(httpx.ConnectError):
                seen.append(httpx.get(f"{url}/health"))
                seen.append(httpx.post(url + CHAT, json=make_body(questions[0])))
        opened.set()

    with socket.create_server(("127.0.0.1", 0)) as free:
        url = f"http://127.0.0.1:{free.getsockname()[1]}"
    early = threading.Thread(target=ask_early)
    early.start()
    with run_service(open_late, port=int(url.rpartition(":")[2])) as running:
        early.join(60)
        assert [each.status_code for each in seen] == [503, 503]
        assert seen[0].json() == {"status": "loading"} and seen[1].json()["error"]["code"] == "loading"
        assert running.client.get("/health").status_code == 200


def test_one_question_that_fails_leaves_the_rest_of_its_batch_alone(
    memory: Memory, questions: Sequence[Question], make_body: MakeBody, monkeypatch: pytest.MonkeyPatch
) -> None:
    begun, go, sizes = threading.Event(), threading.Event(), []
    find_many = memory.find_many

    def find_when_all_have_come(inquiries: Sequence[Inquiry]) -> list[Found]:
        begun.set()
        assert go.wait(60)
        sizes.append(len(inquiries))
        return find_many(inquiries)

    monkeypatch.setattr(memory, "find_many", find_when_all_have_come)
    bodies = [make_body(questions[0]), make_body(questions[1]), make_body(questions[2], comem={"item_ids": ["no"]})]
    with run_service(lambda: memory) as running, ThreadPoolExecutor(len(bodies)) as pool:
        first = pool.submit(running.ask, bodies[0])
        assert begun.wait(60)
        others = [pool.submit(running.ask, body) for body in bodies[1:]]
        while len(running.worker.backlog) < len(bodies):
            assert not any(each.done() for each in others)
        go.set()
        assert first.result().status_code == 200
        assert [each.result().status_code for each in others] == [200, 400]
        assert others[1].result().json()["error"]["param"] == "comem.item_ids"
        assert sizes == [1, 2, 1, 1]


def test_the_page_s_example_can_be_pasted(
    service: Running,
    questions: Sequence[Question],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    [example] = re.findall(r"```python\n(.*?)```", (ROOT / "docs/service.md").read_text(encoding="utf-8"), re.DOTALL)
    assert "http://127.0.0.1:8400" in example
    (tmp_path / "photo.png").write_bytes(questions[0].image)
    monkeypatch.chdir(tmp_path)
    exec(example.replace("http://127.0.0.1:8400", service.url), {})
    assert len(capsys.readouterr().out.splitlines()) > 1
