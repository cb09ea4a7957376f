"""A VLM behind an address: any OpenAI-compatible `/v1/chat/completions` that takes pictures, such as vLLM's.

The number of parallel requests is bounded. Each request has a time limit, is retried with growing waits, and fails
alone: a failure is an answer with an `error`. If all requests of a batch fail, or one of them reaches nobody, and then
a cheap call fails too, the server is at fault: `ServerGone` stops the work, so that it can be resumed later.
Independent of recipes.
"""

import base64
import hashlib
import io
import itertools
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
from openai import OpenAI
from PIL import Image

from comem_core.backbone.conversation import Conversation, Generated, Turn
from comem_core.backbone.decoding import GREEDY, Decoding
from comem_core.backbone.images import UNREADABLE, VisualTokens, decode, fit, is_plain
from comem_core.synthesis.generator import SERVED

# A visual token of Qwen2-VL and Qwen2.5-VL is a square with sides of this many pixels; other families are similar.
TOKEN_SIDE = 28
SENT_AS_THEY_ARE = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
# How servers say, in either case, why a reply ends: OpenAI's words first, then Mistral's, Gemini's and Anthropic's, and
# those of servers that gave up (vLLM, SGLang, OpenRouter), whose text may end within a number.
TRUNCATED = ("length", "max_tokens", "model_length")
REFUSED = ("content_filter", "safety", "refusal", "recitation", "prohibited_content", "blocklist")
BROKEN_OFF = ("abort", "error", "cancelled", "canceled", "timeout")
# The fields in which servers give a model's thinking: vLLM, SGLang and DeepSeek; newer vLLM, Ollama and OpenRouter.
THINKING = ("reasoning_content", "reasoning", "reasoning_details", "thinking")
CALLS = ("tool_calls", "function_call")
MAX_CHARACTERS = 300  # of an error


class ServerGone(ConnectionError):
    """The server no longer answers; its earlier answers are kept."""


class ServedModel:
    """A generator whose model runs on one or more servers. Drafts are recorded with its `name`, `served:<model>` unless
    it is given. `pictures` is False for a model that only reads texts."""

    def __init__(
        self,
        model: str,
        *,
        url: str,
        name: str | None = None,
        key: str | None = None,
        concurrency: int = 8,
        timeout_seconds: float = 120.0,
        max_retries: int = 4,
        pictures: bool = True,
    ):
        """Set up the clients without connecting.

        `url` is the address up to and including `/v1`; of several, separated by commas, each gets every n-th request.
        """
        self.model, self.concurrency, self.pictures = model, concurrency, pictures
        self.name = name or f"{SERVED}{model}"
        self.clients = {
            each: OpenAI(
                base_url=each,
                api_key=key or "none",  # the client requires a key; a private server may not
                timeout=timeout_seconds,
                max_retries=max_retries,
            )
            for each in map(str.strip, url.split(","))
        }
        self._turns = itertools.cycle(self.clients.values())

    def check(self) -> None:
        """Request one token, with a small picture unless `pictures` is False, so that a wrong address, key or model is
        found before work starts.

        Raises:
            ValueError: the server refuses the key, does not know the model, or does not accept pictures or such
                requests.
            ServerGone: nothing answers at the address.
        """
        for url, client in self.clients.items():
            self._check_server(url, client)

    def _check_server(self, url: str, client: OpenAI) -> None:
        conversation = [Turn("user", (*([_small_picture()] if self.pictures else []), "Say yes."))]
        try:
            answer = self._complete(client, conversation, max_new_tokens=1, decoding=GREEDY, visual_tokens=None)
        except (openai.APIConnectionError, openai.InternalServerError, openai.RateLimitError) as error:
            raise ServerGone(f"no model answers at {url}: {_shorten_message(error)}") from error
        except openai.AuthenticationError as error:
            raise ValueError(
                f"{url} refuses the key; set COMEM_SERVED_KEY, or COMEM_JUDGE_KEY for a judge: "
                f"{_shorten_message(error)}"
            ) from error
        except (openai.OpenAIError, ValueError) as error:
            asked, kind = (" with a picture", "vision-language model") if self.pictures else ("", "model")
            raise ValueError(
                f"{url} does not answer for the model {self.model!r}{asked}: {_shorten_message(error)}. Expected "
                f"the address of an OpenAI-compatible server up to /v1, and a {kind} that it serves"
            ) from error
        if not answer.prompt_tokens:
            raise ValueError(f"{url} does not report how many tokens it read, so the cost cannot be counted")

    def answer(
        self,
        conversations: Sequence[Conversation],
        *,
        max_new_tokens: int,
        decoding: Decoding = GREEDY,
        visual_tokens: VisualTokens | None = None,
    ) -> list[Generated]:
        """Answer each conversation; one that fails after all retries has an empty text and an `error`.

        Raises ServerGone if all fail, or one reaches no server, and then `check` fails too.
        """
        lost: list[str] = []  # errors of requests that reached no server

        def answer_one(conversation: Conversation) -> Generated:
            try:
                return self._complete(
                    next(self._turns),
                    conversation,
                    max_new_tokens=max_new_tokens,
                    decoding=decoding,
                    visual_tokens=visual_tokens,
                )
            except (openai.OpenAIError, *UNREADABLE) as error:  # also ValueError: an answer that is not JSON
                failed = _make_failed(f"{type(error).__name__}: {_shorten_message(error)}")
                if isinstance(error, openai.APIConnectionError):
                    lost.append(failed.error or "")
                return failed

        with ThreadPoolExecutor(max_workers=self.concurrency) as pool:
            answers = list(pool.map(answer_one, conversations))
        if answers and all(answer.error for answer in answers):
            self._check_still_there(f"all requests failed ({answers[0].error})")
        elif lost:
            self._check_still_there(f"{len(lost)} of {len(answers)} requests reached no server ({lost[0]})")
        return answers

    def _check_still_there(self, seen: str) -> None:
        try:
            self.check()
        except (ValueError, ServerGone) as gone:
            raise ServerGone(f"{seen}, and then a check of the server too: {gone}") from gone

    def _complete(
        self,
        client: OpenAI,
        conversation: Conversation,
        *,
        max_new_tokens: int,
        decoding: Decoding,
        visual_tokens: VisualTokens | None,
    ) -> Generated:
        messages: Any = [_make_message(turn, visual_tokens) for turn in conversation]
        options: dict[str, Any] = {} if decoding.temperature == 0 else {"top_p": decoding.top_p}
        if decoding.repetition_penalty != 1:
            options["extra_body"] = {"repetition_penalty": decoding.repetition_penalty}  # vLLM's extension of the API
        completion = client.chat.completions.with_raw_response.create(
            model=self.model,
            messages=messages,
            max_tokens=max_new_tokens,
            temperature=decoding.temperature,
            seed=compute_request_seed(messages, decoding.seed),
            **options,
        )
        return read_completion(completion.http_response.json())


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


def compute_request_seed(messages: Any, seed: int) -> int:
    """Derive a request's seed (31 bits) from the run's seed and the request's own texts and pictures."""
    digest = hashlib.sha256(f"{seed} {messages!r}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def make_data_url(image: bytes, visual_tokens: VisualTokens | None) -> str:
    """Make a data URL of a picture: unchanged if it is plain and its size and format suit, otherwise scaled, as PNG."""
    picture = Image.open(io.BytesIO(image))
    kind = SENT_AS_THEY_ARE.get(picture.format or "")
    tokens = picture.width * picture.height / TOKEN_SIDE**2
    if (
        kind is None
        or not is_plain(picture)
        or (visual_tokens and not visual_tokens.min <= tokens <= visual_tokens.max)
    ):
        whole, kind, encoded = decode(image), "image/png", io.BytesIO()
        (fit(whole, visual_tokens, side=TOKEN_SIDE) if visual_tokens else whole).save(encoded, "PNG")
        image = encoded.getvalue()
    return f"data:{kind};base64,{base64.b64encode(image).decode()}"


def _small_picture() -> bytes:
    picture = io.BytesIO()
    Image.new("RGB", (2 * TOKEN_SIDE, 2 * TOKEN_SIDE), "white").save(picture, "PNG")
    return picture.getvalue()


def _make_message(turn: Turn, visual_tokens: VisualTokens | None) -> dict[str, Any]:
    """Convert a turn to OpenAI's format. A turn of one text becomes a string, as servers expect for system turns."""
    match turn.content:
        case (str(text),):
            return {"role": turn.role, "content": text}
    return {"role": turn.role, "content": [_make_part(part, visual_tokens) for part in turn.content]}


def _make_part(part: str | bytes, visual_tokens: VisualTokens | None) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": "image_url", "image_url": {"url": make_data_url(part, visual_tokens)}}


def _make_failed(error: str) -> Generated:
    return Generated(text="", prompt_tokens=0, answer_tokens=0, truncated=False, error=error)


def _shorten_message(error: Exception) -> str:
    """Return an error's message, and its cause if there is one, short enough for a row."""
    cause = f" ({type(error.__cause__).__name__}: {error.__cause__})" if error.__cause__ else ""
    return " ".join(f"{error}{cause}".split())[:MAX_CHARACTERS]
