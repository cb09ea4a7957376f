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
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
from openai import OpenAI
from PIL import Image

from comem_core.backbone.conversation import Conversation, Generated, Turn
from comem_core.backbone.decoding import GREEDY, Decoding
from comem_core.backbone.images import UNREADABLE, VisualTokens, decode, fit, is_plain
from comem_core.synthesis.completions import MAX_CHARACTERS, read_completion
from comem_core.synthesis.generator import SERVED, ServerGone

# A visual token of Qwen2-VL and Qwen2.5-VL is a square with sides of this many pixels; other families are similar.
TOKEN_SIDE = 28
SENT_AS_THEY_ARE = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}


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
            stop=list(decoding.stop) or None,
            **options,
        )
        return read_completion(completion.http_response.json())


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
