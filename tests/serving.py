"""A real server process for tests: the shipped tiny model behind OpenAI's chat API, a judge of answers beside it, and
the ways in which servers fail.

Run as a program it serves at a free port, which it prints. What a request's last text says decides what goes
wrong: `busy twice` (429 two times, then fine), `broken` (500 always), `slow` (waits), `cut off` (the connection ends),
`no json`, `refused` (by a content filter), `goes down` (answers, and after it nothing else until told to). The judge
compares words with the right answers; of an answer with `unclear` in it, it says no verdict, of one with `nonsense` the
contrary. It sees no pictures. The model `script` gives the choices, or the whole reply, that the first JSON in a
request's texts says, and without one it thinks, as a model does to which one token is allowed. A request for another
model is a 404, one with another key a 401.
"""

import asyncio
import base64
import json
import socket
from collections import Counter
from typing import Any

import torch
import uvicorn
from fastapi import FastAPI, Request, Response
from fastapi.responses import JSONResponse

from comem_core.backbone.conversation import Generated, Turn
from comem_core.backbone.decoding import Decoding
from comem_core.backbone.loading import load_backbone

MODEL, JUDGE, SCRIPT, KEY, SLOW_SECONDS = "tiny", "rule", "script", "right-key", 30.0
THINKS = [{"index": 0, "finish_reason": "length", "message": {"content": None, "reasoning_content": "Okay"}}]
app, seen = FastAPI(), Counter()
state: dict[str, Any] = {"down": False, "under_way": 0, "most": 0, "requests": []}


@app.post("/v1/chat/completions")
async def complete(request: Request) -> Response:
    body = await request.json()
    text = str(_parts(body["messages"][-1])[-1])
    if request.headers.get("authorization") != f"Bearer {KEY}":
        return _error(401, "wrong key")
    if body["model"] == SCRIPT:
        return JSONResponse(_find_script(body))
    if body["model"] not in (MODEL, JUDGE):
        return _error(404, f"no model {body['model']}")
    if state["down"] or "broken" in text:
        return _error(500, "out of memory")
    seen[text] += 1
    if "busy twice" in text and seen[text] <= 2:
        return _error(429, "too many requests")
    if "slow" in text:
        await asyncio.sleep(SLOW_SECONDS)
    if "cut off" in text:
        return Response(b'{"id": ', headers={"content-length": "5000"}, media_type="application/json")
    if "no json" in text:
        return Response(b"<html>", media_type="application/json")
    if body["model"] == JUDGE and not all(isinstance(part, str) for part in _parts(body["messages"][-1])):
        return _error(400, "this model sees no pictures")
    state["down"] = state["down"] or "goes down" in text
    state["requests"].append(body)
    state["under_way"] += 1
    state["most"] = max(state["most"], state["under_way"])
    try:
        return JSONResponse(await asyncio.to_thread(_answer, body, refused="refused" in text))
    finally:
        state["under_way"] -= 1


@app.get("/seen")
def what_was_seen() -> dict[str, Any]:
    """Tell the requests so far, and how many were under way at a time since this was last asked."""
    most, state["most"] = state["most"], 0
    return {"most": most, "requests": state["requests"]}


@app.post("/down/{down}")
def go_down(down: bool) -> None:
    state["down"] = down


def _answer(body: dict[str, Any], *, refused: bool) -> dict[str, Any]:
    turns = [Turn(message["role"], tuple(_parts(message))) for message in body["messages"]]
    if body["model"] == JUDGE:
        generated = _judged(str(turns[-1].content[-1]), most=body["max_tokens"])
    else:
        decoding = Decoding(temperature=body["temperature"], top_p=body.get("top_p", 1.0), seed=body["seed"])
        [generated] = state["backbone"].answer([turns], max_new_tokens=body["max_tokens"], decoding=decoding)
    finish = "content_filter" if refused else "length" if generated.truncated else "stop"
    return {
        "id": "answer",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": [{"index": 0, "finish_reason": finish, "message": {"role": "assistant", "content": generated.text}}],
        "usage": {
            "prompt_tokens": generated.prompt_tokens,
            "completion_tokens": generated.answer_tokens,
            "total_tokens": generated.prompt_tokens + generated.answer_tokens,
        },
    }


def _find_script(body: dict[str, Any]) -> Any:
    texts = [part for message in body["messages"] for part in _parts(message) if isinstance(part, str)]
    said = next((json.loads(text) for text in texts if text.startswith(("{", "["))), THINKS)
    usage = {"prompt_tokens": 10, "completion_tokens": 5, "total_tokens": 15}
    return said if isinstance(said, dict) else {"object": "chat.completion", "choices": said, "usage": usage}


def _judged(prompt: str, *, most: int) -> Generated:
    """Compare the answer of a judge's prompt with the right answers in it; a token is a word here."""
    words = ["Yes."]
    if "{" in prompt:
        sample = json.loads(prompt[prompt.index("{") : prompt.rindex("}") + 1])
        answer = sample["answer to judge"].casefold()
        right = any(each.casefold() in answer for each in sample["right answers"]) != ("nonsense" in answer)
        words = ["That", "depends."] if "unclear" in answer else ["Correct."] if right else ["incorrect"]
    said = words[:most]
    return Generated(
        text=" ".join(said),
        prompt_tokens=len(prompt.split()),
        answer_tokens=len(said),
        truncated=len(said) < len(words),
    )


def _parts(message: dict[str, Any]) -> list[str | bytes]:
    content = message["content"]
    if isinstance(content, str):
        return [content]
    return [
        part["text"] if part["type"] == "text" else base64.b64decode(part["image_url"]["url"].split(",", 1)[1])
        for part in content
    ]


def _error(status: int, message: str) -> JSONResponse:
    return JSONResponse({"error": {"message": message}}, status_code=status, headers={"retry-after-ms": "10"})


def main() -> None:
    torch.set_num_threads(1)
    state["backbone"] = load_backbone("tiny")
    listening = socket.socket()
    listening.bind(("127.0.0.1", 0))
    listening.listen()  # before the address is told: a request waits then, where it would be refused
    print(json.dumps({"url": f"http://127.0.0.1:{listening.getsockname()[1]}"}), flush=True)
    uvicorn.Server(uvicorn.Config(app, log_level="error")).run(sockets=[listening])


if __name__ == "__main__":
    main()
