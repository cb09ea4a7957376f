"""A served model against a real server process: the same answers as the model beside us, and every way of failing."""

import base64
import io
import json
import urllib.request
from collections.abc import Sequence
from typing import Any

import pytest
from PIL import Image

from comem_core.backbone.conversation import Conversation, Turn
from comem_core.backbone.decoding import Decoding
from comem_core.backbone.images import VisualTokens
from comem_core.backbone.loading import load_backbone
from comem_core.knowledge.items import Question
from comem_core.prompts import read_prompt_set
from comem_core.synthesis.served import ServedModel, ServerGone, make_data_url

PROMPTS = read_prompt_set("short")


def served(server: str, **changes: Any) -> ServedModel:
    given = {"url": f"{server}/v1", "key": "right-key", "timeout_seconds": 20.0, "max_retries": 3} | changes
    return ServedModel(given.pop("model", "tiny"), **given)


def seen(server: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{server}/seen") as answer:
        return json.load(answer)


def asked(questions: Sequence[Question]) -> list[Conversation]:
    return [PROMPTS.make_conversation(each.question, each.image, each.language) for each in questions]


def saying(*texts: str) -> list[Conversation]:
    return [[Turn("user", (text,))] for text in texts]


def test_a_served_model_answers_as_the_same_model_beside_us(server: str, questions: tuple[Question, ...]) -> None:
    model = served(server)
    model.check()
    beside = load_backbone("tiny").answer(asked(questions), max_new_tokens=8)
    assert model.answer(asked(questions), max_new_tokens=8) == beside
    assert model.name == "served:tiny"
    assert any(answer.text for answer in beside)


def test_no_more_requests_are_under_way_than_allowed_and_answers_keep_their_order(server: str) -> None:
    model, texts = served(server, concurrency=2), [f"Country {number}" for number in range(9)]
    seen(server)
    together = model.answer(saying(*texts), max_new_tokens=3)
    assert seen(server)["most"] <= 2
    assert together == [model.answer(saying(text), max_new_tokens=3)[0] for text in texts]
    assert served(server, concurrency=1).answer(saying(*texts), max_new_tokens=3) == together


def test_a_drawn_answer_has_a_seed_of_its_own_that_its_batch_does_not_change(server: str) -> None:
    model, warm = served(server), Decoding(temperature=1.0, seed=5)
    texts = [f"Capital of number {number}?" for number in range(4)]
    together = model.answer(saying(*texts), max_new_tokens=6, decoding=warm)
    alone = [model.answer(saying(text), max_new_tokens=6, decoding=warm)[0] for text in texts]
    assert together == alone
    other = model.answer(saying(*texts), max_new_tokens=6, decoding=Decoding(temperature=1.0, seed=6))
    assert [each.text for each in other] != [each.text for each in together]
    seeds = [body["seed"] for body in seen(server)["requests"][-12:]]
    assert len(set(seeds)) == 8


def test_one_that_fails_is_an_answer_with_an_error_and_the_others_are_answered(server: str) -> None:
    model = served(server, timeout_seconds=2.0, max_retries=2)
    texts: list[str] = ["fine", "busy twice", "broken", "cut off", "no json", "refused", "slow"]
    answers = dict(zip(texts, model.answer(saying(*texts), max_new_tokens=3), strict=True))
    assert answers["fine"].error is None
    assert answers["busy twice"].error is None
    said = {text: str(answers[text].error) for text in texts[2:]}
    assert "out of memory" in said["broken"]
    assert "APIConnectionError" in said["cut off"]
    assert "JSONDecodeError" in said["no json"]
    assert "content filter" in said["refused"]
    assert "APITimeoutError" in said["slow"]
    assert all(answers[text].text == "" for text in said)


def test_an_answer_that_was_cut_short_says_so(server: str, questions: tuple[Question, ...]) -> None:
    [answer] = served(server).answer(saying("Knowledge"), max_new_tokens=1)
    assert answer.truncated and answer.answer_tokens == 1


def test_a_batch_that_fails_as_a_whole_stops_the_work_only_if_the_server_is_gone(server: str) -> None:
    model = served(server, max_retries=0)
    [answer] = model.answer(saying("broken"), max_new_tokens=3)
    assert "out of memory" in str(answer.error)
    urllib.request.urlopen(urllib.request.Request(f"{server}/down/true", method="POST"))
    try:
        with pytest.raises(
            ServerGone, match=r"all requests failed .*out of memory.* and then a check of the server too"
        ):
            model.answer(saying("fine", "also fine"), max_new_tokens=3)
    finally:
        urllib.request.urlopen(urllib.request.Request(f"{server}/down/false", method="POST"))
    assert model.answer(saying("fine"), max_new_tokens=3)[0].error is None


@pytest.mark.parametrize(
    ("changes", "kind", "said"),
    [
        ({"key": "wrong"}, ValueError, "refuses the key; set COMEM_SERVED_KEY"),
        ({"key": None}, ValueError, "refuses the key"),
        ({"model": "other"}, ValueError, "does not answer for the model 'other' with a picture"),
        ({"url": "http://127.0.0.1:9/v1"}, ServerGone, "no model answers at http://127.0.0.1:9/v1"),
    ],
)
def test_a_wrong_key_model_or_address_is_found_by_one_cheap_call(
    server: str, changes: dict[str, Any], kind: type[Exception], said: str
) -> None:
    with pytest.raises(kind, match=said):
        served(server, max_retries=0, **changes).check()


def test_an_address_that_is_no_api_is_found(server: str) -> None:
    with pytest.raises(ValueError, match="does not answer for the model 'tiny'"):
        served(server, url=server, max_retries=0).check()


def picture(width: int, height: int, kind: str) -> bytes:
    encoded = io.BytesIO()
    Image.new("RGB", (width, height), "teal").save(encoded, kind)
    return encoded.getvalue()


def test_a_picture_is_sent_as_it_is_where_it_fits_and_scaled_where_it_does_not() -> None:
    bounds = VisualTokens(min=4, max=16)
    small, large, odd = picture(84, 56, "JPEG"), picture(600, 300, "JPEG"), picture(84, 56, "TIFF")
    assert make_data_url(small, bounds) == f"data:image/jpeg;base64,{base64.b64encode(small).decode()}"
    assert make_data_url(large, None) == f"data:image/jpeg;base64,{base64.b64encode(large).decode()}"
    for given in (large, odd, picture(20, 20, "PNG")):
        kind, content = make_data_url(given, bounds).split(",", 1)
        size = Image.open(io.BytesIO(base64.b64decode(content))).size
        assert kind == "data:image/png;base64"
        assert bounds.min <= size[0] * size[1] / 28**2 <= bounds.max
    assert Image.open(io.BytesIO(base64.b64decode(make_data_url(large, bounds).split(",")[1]))).size == (140, 84)
