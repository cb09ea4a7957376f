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
from comem_core.synthesis.completions import read_completion
from comem_core.synthesis.generator import ServerGone
from comem_core.synthesis.served import ServedModel, make_data_url

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


def choice(finish: str = "stop", **message: Any) -> str:
    """What the model `script` is told to reply: one choice."""
    return json.dumps([{"index": 0, "finish_reason": finish, "message": {"role": "assistant"} | message}])


def script(server: str) -> ServedModel:
    return served(server, model="script", max_retries=0, pictures=False)


READ = {
    choice(content=" Lima\n"): "Lima",
    choice(content=[{"type": "text", "text": "Li"}, {"type": "text", "text": "ma"}]): "Lima",
    choice(content=[{"type": "thinking", "thinking": [{"type": "text", "text": "Quito?"}]}, "Lima"]): "Lima",
    choice(content=[{"type": "output_text", "text": "Lima", "annotations": []}]): "Lima",
    choice(content="Lima", reasoning_content="The page says Quito? No."): "Lima",
    choice(content="Lima", reasoning="Quito?", refusal=None, tool_calls=[]): "Lima",
    choice("length", content="Lima is"): "Lima is",
    choice(content=[{"text": "Lima"}]): "Lima",
    choice(content="Li\ud83d\ude00ma"): "Li😀ma",
    choice(content=""): "",
    json.dumps({"choices": [{"message": {"content": "Lima"}}]}): "Lima",
    json.dumps({"choices": [{"message": {"content": "Lima"}}], "usage": None}): "Lima",
}
NAMED = {
    choice("length", content=None, reasoning_content="I think that"): "the token limit ended the model's thinking",
    choice("length", content="", reasoning="I think that"): "the token limit ended the model's thinking",
    choice("length", content=[{"type": "thinking", "thinking": []}]): "the token limit ended the model's thinking",
    choice(content=None, reasoning_content="It is Lima"): "no answer follows the model's thinking",
    choice(content=None): "the reply has no text",
    choice(content={"text": "Lima"}): "the reply has no text",
    choice(): "the reply has no text",
    choice(content=None, tool_calls=[{"id": "1", "type": "function"}]): "calls a tool",
    choice(content=None, refusal="I cannot name people."): "the model refused to answer: I cannot name people.",
    choice(content=[{"type": "refusal", "refusal": "No."}]): "the model refused to answer: No.",
    choice("content_filter", content="Li"): "the server's content filter refused to answer",
    choice("SAFETY", content=""): "the server's content filter refused to answer",
    choice("MAX_TOKENS", content=None, reasoning="I think that"): "the token limit ended the model's thinking",
    choice("length", content="", thinking="I think that"): "the token limit ended the model's thinking",
    choice("abort", content="It is 1"): "the server ended the reply before its end (abort)",
    choice("error", content="It is 1"): "the server ended the reply before its end (error)",
    choice(content=[{"type": "image_url", "image_url": {"url": "data:"}}]): "the reply has no text",
    choice(content=None, function_call={"name": "find"}): "calls a tool",
    "[]": "not a chat completion with a choice",
    json.dumps({"choices": None}): "not a chat completion with a choice",
    json.dumps({"choices": [{"finish_reason": "stop", "message": None}]}): "not a chat completion with a choice",
    json.dumps({"error": {"message": "the queue is full"}}): "the queue is full",
}


def test_half_a_character_in_a_reply_is_marked_as_no_file_can_hold_it() -> None:
    reply: dict[str, Any] = {"choices": [{"message": {"content": "Li\ud83dma \ud83d\ude00"}}]}
    assert read_completion(reply).text == "Li\ufffdma 😀"
    reply["choices"][0]["message"] = {"refusal": "No\ud800."}
    assert read_completion(reply).error == "the model refused to answer: No\ufffd."


def test_each_form_of_a_reply_is_read_or_has_its_named_reason_in_one_batch(server: str) -> None:
    told = [*READ, *NAMED]
    answers = dict(zip(told, script(server).answer(saying(*told), max_new_tokens=8), strict=True))
    assert {reply: (answers[reply].text, answers[reply].error) for reply in READ} == {
        reply: (text, None) for reply, text in READ.items()
    }
    for reply, reason in NAMED.items():
        assert reason in str(answers[reply].error), reply
        assert answers[reply].text == ""
    cut = answers[choice("length", content=None, reasoning_content="I think that")]
    assert (cut.prompt_tokens, cut.answer_tokens, cut.truncated) == (10, 5, True)


def test_a_server_whose_model_thinks_first_is_there_and_replies_without_an_answer_do_not_stop_the_work(
    server: str,
) -> None:
    model = script(server)
    model.check()
    told = [reply for reply in NAMED if reply.startswith("[{")]
    assert all(answer.error for answer in model.answer(saying(*told), max_new_tokens=8))


def test_a_picture_whose_bytes_are_not_what_it_shows_is_sent_as_it_is_shown() -> None:
    exif = Image.Exif()
    exif[0x0112] = 6
    turned, clear = io.BytesIO(), io.BytesIO()
    Image.new("RGB", (84, 56), "teal").save(turned, "JPEG", exif=exif)
    Image.new("RGBA", (84, 56), (255, 255, 255, 0)).save(clear, "PNG")
    for raw, size in ((turned, (56, 84)), (clear, (84, 56))):
        kind, content = make_data_url(raw.getvalue(), None).split(",", 1)
        sent = Image.open(io.BytesIO(base64.b64decode(content)))
        assert (kind, sent.mode, sent.size) == ("data:image/png;base64", "RGB", size)
