"""A VLM behind an address: any OpenAI-compatible `/v1/chat/completions` that takes pictures, such as one of vLLM.

Requests go out a bounded number at a time; each has a time limit, is tried again with growing waits, and fails alone: a
failure is an answer with an `error`. Only where every request of a batch fails, and the server then fails a cheap call
too, is the server at fault: `ServerGone` stops the work, so that it can go on later. Knows no recipe.
"""

import base64
import hashlib
import io
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import openai
from openai import OpenAI
from PIL import Image

from comem_core.backbone.conversation import Conversation, Generated, Turn
from comem_core.backbone.decoding import GREEDY, Decoding
from comem_core.backbone.images import UNREADABLE, VisualTokens, decode, fit
from comem_core.synthesis.generator import SERVED

# One visual token of Qwen2-VL and Qwen2.5-VL is a square of so many pixels; other families are near to it.
TOKEN_SIDE = 28
SENT_AS_THEY_ARE = {"PNG": "image/png", "JPEG": "image/jpeg", "WEBP": "image/webp"}
TRUNCATED, REFUSED = "length", "content_filter"


class ServerGone(ConnectionError):
    """The server answers nothing any more; what it answered before is kept."""


class ServedModel:
    """A generator whose model runs elsewhere. `name` is what drafts are recorded with; one that is asked about texts
    alone need not take `pictures`."""

    def __init__(
        self,
        model: str,
        *,
        url: str,
        key: str | None = None,
        concurrency: int = 8,
        timeout_seconds: float = 120.0,
        max_retries: int = 4,
        pictures: bool = True,
    ):
        """Connect to nothing yet; `url` is the address up to and with `/v1`."""
        self.model, self.url, self.concurrency, self.pictures = model, url, concurrency, pictures
        self.client = OpenAI(
            base_url=url,
            api_key=key or "none",  # the client insists on one, a server of one's own may not
            timeout=timeout_seconds,
            max_retries=max_retries,
        )

    @property
    def name(self) -> str:
        return f"{SERVED}{self.model}"

    def check(self) -> None:
        """Ask for one token, about a small picture where it is to take them, so that a wrong address, key or model is
        found before work starts.

        Raises:
            ValueError: the server refuses the key, does not know the model, or takes no pictures or no such requests.
            ServerGone: nothing answers at the address.
        """
        conversation = [Turn("user", (*([_small_picture()] if self.pictures else []), "Say yes."))]
        try:
            answer = self._complete(conversation, max_new_tokens=1, decoding=GREEDY, visual_tokens=None)
        except (openai.APIConnectionError, openai.InternalServerError, openai.RateLimitError) as error:
            raise ServerGone(f"no model answers at {self.url}: {_said(error)}") from error
        except openai.AuthenticationError as error:
            raise ValueError(
                f"{self.url} refuses the key; set COMEM_SERVED_KEY, or COMEM_JUDGE_KEY for a judge: {_said(error)}"
            ) from error
        except (openai.OpenAIError, ValueError) as error:
            answer = _failed(_said(error))
        if answer.error:
            asked, kind = (" with a picture", "vision-language model") if self.pictures else ("", "model")
            raise ValueError(
                f"{self.url} does not answer for the model {self.model!r}{asked}: {answer.error}. Expected the "
                f"address of an OpenAI-compatible server up to /v1, and a {kind} that it serves"
            )
        if not answer.prompt_tokens:
            raise ValueError(f"{self.url} does not tell how many tokens it read, so that no cost can be counted")

    def answer(
        self,
        conversations: Sequence[Conversation],
        *,
        max_new_tokens: int,
        decoding: Decoding = GREEDY,
        visual_tokens: VisualTokens | None = None,
    ) -> list[Generated]:
        """Answer each conversation; one that fails for good has an empty text and its `error`.

        Raises ServerGone when all fail and the server then fails `check` too.
        """

        def one(conversation: Conversation) -> Generated:
            try:
                return self._complete(
                    conversation, max_new_tokens=max_new_tokens, decoding=decoding, visual_tokens=visual_tokens
                )
            except (openai.OpenAIError, *UNREADABLE) as error:  # also ValueError: an answer that is not JSON
                return _failed(f"{type(error).__name__}: {_said(error)}")

        with ThreadPoolExecutor(max_workers=self.concurrency) as pool:
            answers = list(pool.map(one, conversations))
        if answers and all(answer.error for answer in answers):
            self._still_there(answers[0].error or "")
        return answers

    def _still_there(self, error: str) -> None:
        try:
            self.check()
        except (ValueError, ServerGone) as gone:
            raise ServerGone(f"all requests failed ({error}), and so does the server: {gone}") from gone

    def _complete(
        self, conversation: Conversation, *, max_new_tokens: int, decoding: Decoding, visual_tokens: VisualTokens | None
    ) -> Generated:
        messages: Any = [_message(turn, visual_tokens) for turn in conversation]
        options: dict[str, Any] = {} if decoding.temperature == 0 else {"top_p": decoding.top_p}
        if decoding.repetition_penalty != 1:
            options["extra_body"] = {"repetition_penalty": decoding.repetition_penalty}  # vLLM's, beside OpenAI's own
        completion = self.client.chat.completions.create(
            model=self.model,
            messages=messages,
            max_tokens=max_new_tokens,
            temperature=decoding.temperature,
            seed=compute_request_seed(messages, decoding.seed),
            **options,
        )
        if not getattr(completion, "choices", None):  # an address that is not an API gives the page's text here
            return _failed("the answer is none of a chat completion")
        choice, usage = completion.choices[0], completion.usage
        if choice.finish_reason == REFUSED:
            return _failed("the server's content filter refused to answer")
        return Generated(
            text=(choice.message.content or "").strip(),
            prompt_tokens=usage.prompt_tokens if usage else 0,
            answer_tokens=usage.completion_tokens if usage else 0,
            truncated=choice.finish_reason == TRUNCATED,
        )


def compute_request_seed(messages: Any, seed: int) -> int:
    """The seed of one request, out of the run's seed and the request's own words and pictures (31 bits)."""
    digest = hashlib.sha256(f"{seed} {messages!r}".encode()).digest()
    return int.from_bytes(digest[:4], "big") >> 1


def make_data_url(image: bytes, visual_tokens: VisualTokens | None) -> str:
    """A picture as a URL that holds it: as it is where it fits the bounds and the web, else scaled, as PNG."""
    picture = Image.open(io.BytesIO(image))
    kind = SENT_AS_THEY_ARE.get(picture.format or "")
    tokens = picture.width * picture.height / TOKEN_SIDE**2
    if kind is None or (visual_tokens and not visual_tokens.min <= tokens <= visual_tokens.max):
        whole, kind, encoded = decode(image), "image/png", io.BytesIO()
        (fit(whole, visual_tokens, side=TOKEN_SIDE) if visual_tokens else whole).save(encoded, "PNG")
        image = encoded.getvalue()
    return f"data:{kind};base64,{base64.b64encode(image).decode()}"


def _small_picture() -> bytes:
    picture = io.BytesIO()
    Image.new("RGB", (2 * TOKEN_SIDE, 2 * TOKEN_SIDE), "white").save(picture, "PNG")
    return picture.getvalue()


def _message(turn: Turn, visual_tokens: VisualTokens | None) -> dict[str, Any]:
    """A turn in OpenAI's words; a turn of one text is that text, as servers expect of system turns."""
    match turn.content:
        case (str(text),):
            return {"role": turn.role, "content": text}
    return {"role": turn.role, "content": [_part(part, visual_tokens) for part in turn.content]}


def _part(part: str | bytes, visual_tokens: VisualTokens | None) -> dict[str, Any]:
    if isinstance(part, str):
        return {"type": "text", "text": part}
    return {"type": "image_url", "image_url": {"url": make_data_url(part, visual_tokens)}}


def _failed(error: str) -> Generated:
    return Generated(text="", prompt_tokens=0, answer_tokens=0, truncated=False, error=error)


def _said(error: Exception) -> str:
    """Return an error's message, short enough for a row; of one that hides its cause, the cause too."""
    cause = f" ({type(error.__cause__).__name__}: {error.__cause__})" if error.__cause__ else ""
    return " ".join(f"{error}{cause}".split())[:300]
