"""Reads a chat completion in OpenAI's format as servers really write it.

Text in parts, thinking, refusals, replies that were broken off: each has its reading or its named reason.
"""

from collections.abc import Mapping
from typing import Any

from comem_core.backbone.conversation import Generated

# How servers say, in either case, why a reply ends: OpenAI's words first, then Mistral's, Gemini's and Anthropic's, and
# those of servers that gave up (vLLM, SGLang, OpenRouter), whose text may end within a number.
TRUNCATED = ("length", "max_tokens", "model_length")
REFUSED = ("content_filter", "safety", "refusal", "recitation", "prohibited_content", "blocklist")
BROKEN_OFF = ("abort", "error", "cancelled", "canceled", "timeout")
# The fields in which servers give a model's thinking: vLLM, SGLang and DeepSeek; newer vLLM, Ollama and OpenRouter.
THINKING = ("reasoning_content", "reasoning", "reasoning_details", "thinking")
CALLS = ("tool_calls", "function_call")
MAX_CHARACTERS = 300  # of an error


def read_completion(body: Any) -> Generated:
    """Read the JSON of a chat completion, in the forms that servers give it.

    A choice without an answer has an `error` that names the reason: thinking that was not finished or that nothing
    followed, a refusal, a content filter, a call of a tool, or no text.

    Raises:
        ValueError: it is not a chat completion with a choice.
    """
    match body:
        case {"choices": [{"message": {**message}, **choice}, *_]}:
            finish = str(choice.get("finish_reason")).lower()
        case _:
            said = f": {body['error']}" if isinstance(body, dict) and body.get("error") else ""
            raise ValueError(f"the reply is not a chat completion with a choice and its message{said}")
    text = _mend_surrogates(_join_texts(message.get("content"))).strip()
    error = _find_fault(message, finish, text)
    return Generated(
        text="" if error else text,
        prompt_tokens=_read_count(body, "prompt_tokens"),
        answer_tokens=_read_count(body, "completion_tokens"),
        truncated=finish in TRUNCATED,
        error=error and _mend_surrogates(error),
    )


def _read_count(body: Mapping[str, Any], name: str) -> int:
    usage = body.get("usage")
    count = usage.get(name) if isinstance(usage, dict) else None
    return count if isinstance(count, int) else 0


def _join_texts(content: object) -> str:
    """Return the text of a content: a string, or parts, of which those of text count, and not those of thinking."""
    if not isinstance(content, list):
        return content if isinstance(content, str) else ""
    found: list[str] = []
    for part in content:
        match part:
            case str(text) | {"type": "text" | "output_text", "text": str(text)}:
                found.append(text)
            case {"text": str(text), **others} if "type" not in others:
                found.append(text)
    return "".join(found)


def _mend_surrogates(text: str) -> str:
    """Join the halves of characters that JSON writes as two, and mark a half that is alone, which no file can hold."""
    return text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")


def _find_fault(message: Mapping[str, Any], finish: str, text: str) -> str | None:
    """Return why a message is not an answer, or None. Thinking is in parts of the content, or in fields beside it."""
    content = message.get("content")
    parts = content if isinstance(content, list) else []
    refusals = [message.get("refusal"), *(part.get("refusal") for part in parts if isinstance(part, dict))]
    if finish in REFUSED:
        return "the server's content filter refused to answer"
    if refusal := next(filter(None, refusals), None):
        return f"the model refused to answer: {refusal}"[:MAX_CHARACTERS]
    if finish in BROKEN_OFF:
        return f"the server ended the reply before its end ({finish})"
    if text:
        return None
    if any(message.get(name) for name in CALLS):
        return "the model calls a tool instead of answering"
    if any(map(_is_thinking, parts)) or any(message.get(name) for name in THINKING):
        if finish in TRUNCATED:
            return "the token limit ended the model's thinking before its answer; allow it more tokens"
        return "no answer follows the model's thinking"
    return None if isinstance(content, str) else "the reply has no text"


def _is_thinking(part: object) -> bool:
    kind = str(part.get("type")) if isinstance(part, dict) else ""
    return "think" in kind or "reason" in kind
