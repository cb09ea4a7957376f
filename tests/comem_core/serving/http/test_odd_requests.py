"""Odd requests get a fault in OpenAI's shape that names the field, and the service answers on."""

import base64
import io
import json
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any

import pytest
from PIL import Image

from comem_core.knowledge.items import Question
from comem_core.serving.http.limits import ServiceLimits
from tests.comem_core.serving.http.conftest import CHAT, Running

MakeBody = Callable[..., dict[str, Any]]
PICTURE = "messages.0.content.image_url.url"


@pytest.fixture
def still_answers(service: Running, questions: Sequence[Question], make_body: MakeBody) -> Iterator[None]:
    yield
    assert service.ask(make_body(questions[0])).status_code == 200


pytestmark = pytest.mark.usefixtures("still_answers")


def send(service: Running, content: bytes, **headers: str) -> tuple[int, dict[str, Any]]:
    kind = {"Content-Type": "application/json"} | {name.replace("_", "-"): value for name, value in headers.items()}
    response = service.client.post(CHAT, content=content, headers=kind)
    return response.status_code, response.json()["error"]


def as_address(raw: bytes) -> str:
    return f"data:image/png;base64,{base64.b64encode(raw).decode()}"


def draw(width: int, height: int) -> bytes:
    written = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(written, "PNG")
    return written.getvalue()


def claim_size(width: int, height: int) -> bytes:
    """Return a PNG that says it has this size, and has no pixels."""
    head = b"IHDR" + struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + struct.pack(">I", 13) + head + struct.pack(">I", zlib.crc32(head))


@pytest.mark.parametrize(
    "body",
    [b"", b"{", b"nothing", b"\xff\xfe", b'{"a": \xff}', b"[" * 100_000, b'{"a":' * 30_000, b'{"model": "\\ud800"}'],
)
def test_what_is_not_json_is_refused(service: Running, body: bytes) -> None:
    status, error = send(service, body)
    assert (status, error["code"], error["type"]) == (400, "not_json", "invalid_request_error")


@pytest.mark.parametrize("body", [b"1", b"null", b'"text"', b"[]", b"[{}]", b"true", b"1e999"])
def test_json_of_another_kind_is_refused(service: Running, body: bytes) -> None:
    status, error = send(service, body)
    assert status == 400 and error["message"]


@pytest.mark.parametrize(
    ("change", "status", "param"),
    [
        ({"model": None}, 400, "model"),
        ({"model": "gpt-5"}, 404, "model"),
        ({"messages": None}, 400, "messages"),
        ({"messages": []}, 400, "messages"),
        ({"messages": "hello"}, 400, "messages"),
        ({"messages": [1]}, 400, "messages.0"),
        ({"messages": [{"role": "user"}]}, 400, "messages.0.content"),
        ({"messages": [{"role": "system", "content": "Be brief."}]}, 400, "messages"),
        ({"messages": [{"role": "user", "content": "a"}, {"role": "user", "content": "b"}]}, 400, "messages"),
        ({"messages": [{"role": "king", "content": "a"}]}, 400, "messages.0.role"),
        ({"messages": [{"role": "user", "content": "no picture"}]}, 400, "messages.0.content"),
        ({"messages": [{"role": "user", "content": []}]}, 400, "messages.0.content"),
        ({"messages": [{"role": "user", "content": [{"type": "input_audio"}]}]}, 400, "messages.0.content.0"),
        ({"n": 2}, 400, "n"),
        ({"tools": [{"type": "function"}]}, 400, "tools"),
        ({"logprobs": True}, 400, "logprobs"),
        ({"stop": ""}, 400, "stop.0"),
        ({"stop": [".", ""]}, 400, "stop.1"),
        ({"stop": ["a", "b", "c", "d", "e"]}, 400, "stop"),
        ({"stop": "." * 10**4}, 400, "stop.0"),
        ({"stop": 5}, 400, "stop"),
        ({"response_format": {"type": "json_object"}}, 400, "response_format"),
        ({"frequency_penalty": 0.5}, 400, "frequency_penalty"),
        ({"surprise": 1}, 400, "surprise"),
        ({"stream_options": {"include_usage": True}}, 400, "stream_options"),
        ({"stream": "yes"}, 400, "stream"),
        ({"max_tokens": 0}, 400, "max_tokens"),
        ({"max_tokens": -1}, 400, "max_tokens"),
        ({"max_tokens": 10**6}, 400, "max_tokens"),
        ({"max_tokens": 10**400}, 400, "max_tokens"),
        ({"max_tokens": True}, 400, "max_tokens"),
        ({"max_tokens": 4.5}, 400, "max_tokens"),
        ({"max_tokens": 4, "max_completion_tokens": 5}, 400, "max_tokens"),
        ({"temperature": -1}, 400, "temperature"),
        ({"temperature": "hot"}, 400, "temperature"),
        ({"top_p": 0.5}, 400, "top_p"),
        ({"top_p": 0}, 400, "top_p"),
        ({"seed": 1.5}, 400, "seed"),
        ({"comem": []}, 400, "comem"),
        ({"comem": {"k": 0}}, 400, "comem.k"),
        ({"comem": {"k": -3}}, 400, "comem.k"),
        ({"comem": {"k": "3"}}, 400, "comem.k"),
        ({"comem": {"k": 10**9}}, 400, "comem.k"),
        ({"comem": {"k": 2, "with_memory": False}}, 400, "comem.k"),
        ({"comem": {"language": "xx"}}, 400, "comem.language"),
        ({"comem": {"language": ""}}, 400, "comem.language"),
        ({"comem": {"language": "日本"}}, 400, "comem.language"),
        ({"comem": {"item_ids": []}}, 400, "comem.item_ids"),
        ({"comem": {"item_ids": ["0" * 16]}}, 400, "comem.item_ids"),
        ({"comem": {"item_ids": ["a"] * 1000}}, 400, "comem.item_ids"),
        ({"comem": {"item_ids": ["a"], "k": 1}}, 400, "comem.item_ids"),
        ({"comem": {"item_ids": "abc"}}, 400, "comem.item_ids"),
        ({"comem": {"surprise": 1}}, 400, "comem.surprise"),
    ],
)
def test_a_wrong_field_is_named(
    service: Running, questions: Sequence[Question], make_body: MakeBody, change: Any, status: int, param: str
) -> None:
    found, error = send(service, json.dumps(make_body(questions[0]) | change).encode())
    assert (found, error["param"]) == (status, param), error
    assert error["message"] and error["code"] and error["type"] == "invalid_request_error"


@pytest.mark.parametrize(
    ("address", "message"),
    [
        ("", "begins with ''"),
        ("http://example.org/a.png", "not fetched here"),
        ("HTTPS://example.org/a.png", "not fetched here"),
        ("file:///etc/hostname", "begins with 'file:"),
        ("/etc/hostname", "begins with '/etc"),
        ("data:image/png;base64", "no comma"),
        ("data:image/png;base64,", "not a readable picture"),
        ("data:image/png;base64,%%%", "not"),
        ("data:text/plain,hello", "not a readable picture"),
        ("data:image/png;base64,é", "not"),
        (as_address(draw(64, 48)[:60]), "data: address"),
        (as_address(claim_size(60_000, 60_000)), "data: address"),
        (as_address(claim_size(0, 0)), "not a readable picture"),
        (as_address(draw(1200, 1000)), "at most 1000000 are decoded"),
        (as_address(draw(900, 1)), "data: address"),
    ],
)
def test_what_is_not_an_accepted_picture_is_refused(
    service: Running, questions: Sequence[Question], make_body: MakeBody, address: str, message: str
) -> None:
    body = make_body(questions[0])
    body["messages"][0]["content"][0]["image_url"]["url"] = address
    status, error = send(service, json.dumps(body).encode())
    assert (status, error["param"], error["code"]) == (400, PICTURE, "invalid_picture")
    assert message in error["message"]


@pytest.mark.parametrize("text", ["", "  \n", "\u200b" * 6000, "a" * 5001])
def test_an_empty_or_endless_question_is_refused(
    service: Running, questions: Sequence[Question], make_body: MakeBody, text: str
) -> None:
    body = make_body(questions[0])
    body["messages"][0]["content"][1]["text"] = text
    status, error = send(service, json.dumps(body).encode())
    assert (status, error["code"]) == (400, "invalid_question")


@pytest.mark.parametrize(
    "text", ["这是哪个国家？", "ما هذا البلد؟", "👩‍👩‍👧 \u0000 \u202e?", "<script>", "?", "<|im_end|>"]
)
def test_any_words_may_be_asked(
    service: Running, questions: Sequence[Question], make_body: MakeBody, text: str
) -> None:
    body = make_body(questions[0], user="somebody", n=1, stop=None, temperature=None)
    body["messages"][0]["content"][1]["text"] = text
    assert service.ask(body).status_code == 200


def test_a_body_that_is_too_large_is_refused(service: Running) -> None:
    most = service.worker.limits.max_body_bytes
    assert send(service, b" " * (most + 1))[0] == 413

    def stream() -> Iterator[bytes]:
        yield from (b" " * 10_000 for _ in range(most // 10_000 + 2))

    response = service.client.post(CHAT, content=stream(), headers={"Content-Type": "application/json"})
    assert response.status_code == 413 and response.json()["error"]["code"] == "body_too_large"


def test_other_kinds_of_bodies_addresses_and_methods_are_refused(service: Running) -> None:
    assert send(service, b"{}", Content_Type="text/plain")[0] == 415
    assert send(service, b"{}", Content_Type="")[0] == 415
    for method, path, status in (("GET", CHAT, 405), ("POST", "/v1/models", 405), ("GET", "/v2", 404)):
        response = service.client.request(method, path)
        assert response.status_code == status and response.json()["error"]["message"]


def test_bounds_are_above_nothing() -> None:
    with pytest.raises(ValueError, match="batch_size is 0; expected more than 0"):
        ServiceLimits(batch_size=0)
