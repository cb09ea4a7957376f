"""A vLLM server at an address: which engine it is, and one chat request at a time.

Requests go through OpenAI's client. Everything that decides an answer is said in each request, because the server would
take what is not said from the model's `generation_config.json`.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, cast

import openai
from openai import OpenAI

from comem_core.backbone.conversation import Generated
from comem_core.backbone.decoding import Decoding
from comem_core.synthesis.completions import read_completion
from comem_core.synthesis.generator import ServerGone
from comem_core.synthesis.served import compute_request_seed

PREFIX = "vllm:"
"""How a reader behind a vLLM server is named: `vllm:<address>`."""
EXPECTED = "expected the address of a vLLM server, such as http://127.0.0.1:8000"
MAX_CHARACTERS = 400  # of a server's message
END_TOKEN = 1  # of an answer that ended by itself; vLLM counts it, the library does not


@dataclass(frozen=True, kw_only=True)
class Engine:
    """What answers at an address: vLLM's version, the name of the model that it serves, and its context in tokens."""

    version: str
    model: str
    max_tokens: int


class VllmServer:
    """The client of one vLLM server; `url` may end in /v1 or not."""

    def __init__(
        self,
        url: str,
        *,
        key: str | None = None,
        concurrency: int = 16,
        timeout_seconds: float = 120.0,
        max_retries: int = 2,
    ):
        """Set up the client without connecting.

        Raises:
            ValueError: `url` is not an http address, or `concurrency` is less than 1.
        """
        if not url.startswith(("http://", "https://")):
            raise ValueError(f"found {url!r}; {EXPECTED}")
        if concurrency < 1:
            raise ValueError(f"found {concurrency} requests at once; expected 1 or more")
        self.url, self.concurrency = url.rstrip("/").removesuffix("/v1"), concurrency
        self.client = OpenAI(
            base_url=f"{self.url}/v1", api_key=key or "none", timeout=timeout_seconds, max_retries=max_retries
        )
        self._engine: Engine | None = None

    @property
    def engine(self) -> Engine:
        """What answers at the address; asked once.

        Raises:
            ServerGone: nothing answers there.
            ValueError: it is not vLLM, or does not serve exactly one model.
        """
        if self._engine is None:
            self._engine = self._ask_engine()
        return self._engine

    def _ask_engine(self) -> Engine:
        try:
            version = self.client.get(f"{self.url}/version", cast_to=object)
            served = [model for model in self.client.models.list() if getattr(model, "parent", None) is None]
        except (openai.APIConnectionError, openai.InternalServerError) as error:
            raise ServerGone(f"no vLLM server answers at {self.url}: {_shorten(error)}") from error
        except openai.APIStatusError as error:
            raise ValueError(f"{self.url} answers, but not as vLLM does: {_shorten(error)}; {EXPECTED}") from error
        match version:
            case {"version": str(number)} if len(served) == 1:
                extra = served[0].model_extra or {}
                return Engine(version=number, model=served[0].id, max_tokens=int(extra.get("max_model_len") or 0))
        raise ValueError(
            f"{self.url} gives its version as {version!r} and serves {[each.id for each in served]}; {EXPECTED} with "
            "one model"
        )

    def ask(
        self,
        messages: Sequence[Mapping[str, Any]],
        *,
        max_new_tokens: int,
        decoding: Decoding,
        cache_salt: str | None = None,
        max_seconds: float | None = None,
    ) -> Generated:
        """Answer one conversation in OpenAI's format. `prompt_tokens` counts memory vectors too.

        After `max_seconds` the answer is given up: it has no text, and `timed_out`.

        Raises:
            ServerGone: the server does not answer.
            ValueError: the server refuses the request or gives no answer; the message has its reason.
        """
        client = self.client if max_seconds is None else self.client.with_options(timeout=max_seconds, max_retries=0)
        try:
            completion = client.chat.completions.with_raw_response.create(
                model=self.engine.model,
                messages=cast(Any, messages),
                max_tokens=max_new_tokens,
                temperature=decoding.temperature,
                top_p=decoding.top_p if decoding.temperature else 1.0,
                seed=compute_request_seed(messages, decoding.seed),
                stop=list(decoding.stop) or None,
                extra_body=_say_everything(decoding, cache_salt),
            )
        except openai.APITimeoutError as error:
            if max_seconds is None:
                raise ServerGone(f"{self.url} did not answer in time: {_shorten(error)}") from error
            return Generated(text="", prompt_tokens=0, answer_tokens=0, truncated=True, timed_out=True)
        except (openai.APIConnectionError, openai.InternalServerError, openai.RateLimitError) as error:
            raise ServerGone(f"{self.url} does not answer: {_shorten(error)}") from error
        except openai.APIStatusError as error:
            raise ValueError(f"{self.url} refuses the request: {_shorten(error)}") from error
        said = read_completion(completion.http_response.json())
        if said.error:
            raise ValueError(f"{self.url} gives no answer: {said.error}")
        return said if said.truncated else replace(said, answer_tokens=said.answer_tokens - END_TOKEN)

    def score_first_token(self, messages: Sequence[Mapping[str, Any]], *, most: int) -> dict[str, float]:
        """Return the log-probabilities of the `most` likeliest first tokens of an answer, by the token's text.

        Raises:
            ServerGone, ValueError: as `ask`.
        """
        try:
            completion = self.client.chat.completions.create(
                model=self.engine.model,
                messages=cast(Any, messages),
                max_tokens=1,
                temperature=0,
                logprobs=True,
                top_logprobs=most,
                extra_body={"repetition_penalty": 1.0},
            )
        except (openai.APIConnectionError, openai.InternalServerError, openai.RateLimitError) as error:
            raise ServerGone(f"{self.url} does not answer: {_shorten(error)}") from error
        except openai.APIStatusError as error:
            raise ValueError(f"{self.url} refuses the control question: {_shorten(error)}") from error
        told = completion.choices[0].logprobs
        return {each.token: each.logprob for each in (told.content or [])[0].top_logprobs} if told else {}


def _say_everything(decoding: Decoding, cache_salt: str | None) -> dict[str, Any]:
    """Return vLLM's own options, so that none of them comes from the model's folder."""
    said: dict[str, Any] = {"repetition_penalty": decoding.repetition_penalty, "top_k": 0, "min_p": 0.0}
    return said | ({"cache_salt": cache_salt} if cache_salt else {})


def _shorten(error: Exception) -> str:
    return " ".join(str(error).split())[:MAX_CHARACTERS]
