"""Writes answers in the shape of OpenAI's chat completions; the extra field `comem` has the items that were shown."""

import json
import secrets
import time
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from typing import Any

from comem_core.serving.answers import MemoryAnswer

DONE = "data: [DONE]\n\n"


@dataclass(frozen=True, kw_only=True)
class Reply:
    """An answer, with the version of the memory and the reader that gave it."""

    answer: MemoryAnswer
    version: str
    reader: str


def make_completion(reply: Reply, model: str) -> dict[str, Any]:
    """Return the whole answer as a `chat.completion`."""
    message = {"role": "assistant", "content": reply.answer.text, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _name_end(reply)}
    return {
        **_make_head("chat.completion", model),
        "choices": [choice],
        "usage": _make_usage(reply),
        "comem": describe_reply(reply),
    }


def stream_completion(reply: Reply, model: str, *, include_usage: bool) -> Iterator[str]:
    """Yield the answer as server-sent events: its text in one piece, its end with `comem`, and its usage if asked."""
    head = _make_head("chat.completion.chunk", model)
    usage = {"usage": None} if include_usage else {}

    def write(choices: list[dict[str, Any]], **more: Any) -> str:
        return f"data: {json.dumps(head | {'choices': choices} | usage | more, ensure_ascii=False)}\n\n"

    text = {"role": "assistant", "content": reply.answer.text}
    yield write([{"index": 0, "delta": text, "logprobs": None, "finish_reason": None}])
    end = {"index": 0, "delta": {}, "logprobs": None, "finish_reason": _name_end(reply)}
    yield write([end], comem=describe_reply(reply))
    if include_usage:
        yield write([], usage=_make_usage(reply))
    yield DONE


def describe_reply(reply: Reply) -> dict[str, Any]:
    """Return the extra field: the items that were shown, the languages, the lengths, and what answered."""
    told = asdict(reply.answer)
    del told["text"]
    return {**told, "version": reply.version, "reader": reply.reader}


def _make_head(kind: str, model: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{secrets.token_hex(12)}", "object": kind, "created": int(time.time()), "model": model}


def _make_usage(reply: Reply) -> dict[str, int]:
    """Return the lengths in tokens; memory vectors are not tokens, and stand in the extra field."""
    prompt, answer = reply.answer.prompt_tokens, reply.answer.answer_tokens
    return {"prompt_tokens": prompt, "completion_tokens": answer, "total_tokens": prompt + answer}


def _name_end(reply: Reply) -> str:
    return "length" if reply.answer.truncated else "stop"
