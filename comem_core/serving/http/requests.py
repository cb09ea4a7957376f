"""Reads chat requests as OpenAI's API writes them: one picture and one question; anything without effect is refused."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from comem_core.backbone.decoding import Decoding
from comem_core.knowledge.languages import read_language
from comem_core.serving.answers import Inquiry
from comem_core.serving.http.faults import RequestFault
from comem_core.serving.http.limits import ServiceLimits
from comem_core.serving.memory import MAX_NEW_TOKENS
from comem_core.serving.questions import MOST_CHARACTERS, PictureLimits, read_picture

# Options of OpenAI's API that the service does not have, with the values at which they mean nothing.
WITHOUT_EFFECT: Mapping[str, tuple[Any, ...]] = {
    "n": (None, 1),
    "logprobs": (None, False),
    "top_logprobs": (None,),
    "logit_bias": (None, {}),
    "presence_penalty": (None, 0),
    "frequency_penalty": (None, 0),
    "tools": (None, []),
    "tool_choice": (None, "none"),
    "functions": (None, []),
    "response_format": (None, {"type": "text"}),
    "modalities": (None, ["text"]),
    "store": (None, False),
    "user": (),  # any value: it names who asks, and has no part in the answer
    "metadata": (),
}
MOST_STOPS = 4  # as OpenAI's API
StopText = Annotated[str, Field(min_length=1, max_length=200)]
STRICT = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)


class PictureAddress(BaseModel):
    """Where a picture is; how much of it is looked at is the encoder's choice."""

    model_config = STRICT
    url: str
    detail: Literal["auto"] = "auto"


class PicturePart(BaseModel):
    """A picture in a user's turn."""

    model_config = STRICT
    type: Literal["image_url"]
    image_url: PictureAddress


class TextPart(BaseModel):
    """A text in a user's turn."""

    model_config = STRICT
    type: Literal["text"]
    text: str


class UserTurn(BaseModel):
    """The only turn of a request."""

    model_config = STRICT
    role: Literal["user"]
    content: list[Annotated[PicturePart | TextPart, Field(discriminator="type")]]
    name: str | None = None

    @field_validator("content", mode="before")
    @classmethod
    def read_plain_text(cls, content: Any) -> Any:
        """Read a text alone as its only part."""
        return [{"type": "text", "text": content}] if isinstance(content, str) else content


class MemoryOptions(BaseModel):
    """The extra field `comem` of a request: which items are shown, and whether a gate decides it (None: as the service
    does)."""

    model_config = STRICT
    k: int | None = Field(default=None, ge=1)
    language: str | None = Field(default=None, min_length=1, max_length=35)
    with_memory: bool = True
    item_ids: list[str] | None = Field(default=None, min_length=1)
    gated: bool | None = None

    @field_validator("language")
    @classmethod
    def check_language(cls, tag: str | None) -> str | None:
        """Refuse a word that is not a language."""
        return tag and read_language(tag)


class StreamOptions(BaseModel):
    """OpenAI's options of a stream."""

    model_config = STRICT
    include_usage: bool = False


class ChatRequest(BaseModel):
    """A request, read in two steps: its turns are looked at when it is known that there is one."""

    model_config = ConfigDict(STRICT, extra="allow")
    model: str
    messages: list[Any] = Field(min_length=1)
    max_tokens: int | None = Field(default=None, ge=1)
    max_completion_tokens: int | None = Field(default=None, ge=1)
    temperature: float | None = Field(default=None, ge=0, le=2)
    top_p: float | None = Field(default=None, gt=0, le=1)
    seed: int | None = None
    stop: Annotated[list[StopText], Field(max_length=MOST_STOPS)] | None = None
    stream: bool | None = False
    stream_options: StreamOptions | None = None
    comem: MemoryOptions | None = None

    @field_validator("stop", mode="before")
    @classmethod
    def list_one_stop(cls, given: object) -> object:
        """Read one text as a list of it."""
        return [given] if isinstance(given, str) else given


@dataclass(frozen=True, kw_only=True)
class ChatQuestion:
    """What a request asks, with its picture's bytes, and how its answer is written."""

    inquiry: Inquiry
    max_new_tokens: int
    decoding: Decoding
    stream: bool
    include_usage: bool


def read_request(
    body: bytes,
    *,
    model: str,
    limits: ServiceLimits,
    pictures: PictureLimits,
    k: int | None = None,
    gated: bool = False,
) -> ChatQuestion:
    """Read a chat request for `model`, and fetch its picture.

    Where the request does not say it, `k` items are shown, and `gated` tells whether a gate decides if they are.

    Raises:
        RequestFault: something in it is wrong, too large or without effect; the fault names the field.
    """
    try:
        asked = ChatRequest.model_validate_json(body)
    except ValidationError as error:
        raise _make_fault(error) from error
    if asked.model != model:
        message = f"there is no model {asked.model!r:.100}; expected {model!r}"
        raise RequestFault(404, message, param="model", code="model_not_found")
    _refuse_options(asked)
    picture, question = _read_turn(asked.messages, pictures)
    return ChatQuestion(
        inquiry=_make_inquiry(picture, question, asked.comem or MemoryOptions(), limits, k=k, gated=gated),
        max_new_tokens=_choose_length(asked, limits),
        decoding=_read_decoding(asked),
        stream=bool(asked.stream),
        include_usage=asked.stream_options is not None and asked.stream_options.include_usage,
    )


def _make_fault(error: ValidationError, *inside: str) -> RequestFault:
    first = error.errors(include_url=False, include_input=False)[0]
    if first["type"] == "json_invalid":
        return RequestFault(
            400, f"the body is not JSON: {first['msg'].removeprefix('Invalid JSON: ')}", code="not_json"
        )
    param = ".".join(str(each) for each in (*inside, *first["loc"])) or None
    found = f" ({error.error_count()} faults in all)" if error.error_count() > 1 else ""
    return RequestFault(400, f"{param or 'the body'}: {first['msg']}{found}", param=param, code=first["type"])


def _refuse_options(asked: ChatRequest) -> None:
    """Refuse options that would have no effect, unless they are at a value that asks for none."""
    for name, value in (asked.model_extra or {}).items():
        if name not in WITHOUT_EFFECT:
            raise RequestFault(400, f"there is no option {name!r:.100}", param=name[:100], code="unknown_parameter")
        if (idle := WITHOUT_EFFECT[name]) and not any(value == each for each in idle):
            raise RequestFault(400, f"{name} is not supported; leave it out", param=name, code="unsupported_parameter")
    if asked.stream_options is not None and not asked.stream:
        message = "stream_options has an effect only with stream: true"
        raise RequestFault(400, message, param="stream_options", code="unsupported_parameter")


def _read_turn(messages: list[Any], pictures: PictureLimits) -> tuple[bytes, str]:
    """Return the picture's bytes and the question."""
    roles = [each.get("role") if isinstance(each, dict) else None for each in messages]
    if len(messages) > 1 or roles[0] in ("system", "developer", "assistant", "tool", "function"):
        raise RequestFault(
            400,
            f"found {len(messages)} messages ({', '.join(str(each)[:20] for each in roles[:8])}); expected one, of the "
            "role user, as every question is answered by itself, under the encoder's own system turn",
            param="messages",
            code="unsupported_messages",
        )
    try:
        turn = UserTurn.model_validate(messages[0])
    except ValidationError as error:
        raise _make_fault(error, "messages", "0") from error
    addresses = [each.image_url.url for each in turn.content if isinstance(each, PicturePart)]
    question = "\n".join(each.text for each in turn.content if isinstance(each, TextPart))
    content = "messages.0.content"
    if len(addresses) != 1:
        message = f"found {len(addresses)} pictures; expected one, as a part of the type image_url"
        raise RequestFault(400, message, param=content, code="one_picture_expected")
    if not question.strip() or len(question) > MOST_CHARACTERS:
        message = f"the question has {len(question)} characters; expected a text of at most {MOST_CHARACTERS}"
        raise RequestFault(400, message, param=content, code="invalid_question")
    return _read_picture(addresses[0], pictures), question


def _read_picture(address: str, pictures: PictureLimits) -> bytes:
    scheme = address[:8].partition(":")[0].lower()
    expected = "a data: URL such as data:image/png;base64,..."
    message = None
    if scheme in ("http", "https") and not pictures.allow_urls:
        message = f"addresses are not fetched here; expected {expected}"
    elif scheme not in ("data", "http", "https"):
        message = f"the picture's address begins with {address[:20]!r}; expected {expected}"
    if message is None:
        try:
            return read_picture(address, pictures)
        except ValueError as error:
            message = str(error)
    raise RequestFault(400, message, param="messages.0.content.image_url.url", code="invalid_picture")


def _make_inquiry(
    picture: bytes, question: str, options: MemoryOptions, limits: ServiceLimits, *, k: int | None, gated: bool
) -> Inquiry:
    chosen = options.item_ids
    if (number := max(options.k or 0, len(chosen or ()))) > limits.max_items:
        name = "comem.item_ids" if options.k is None else "comem.k"
        message = f"{name} asks for {number} items; at most {limits.max_items} are shown"
        raise RequestFault(400, message, param=name, code="too_many_items")
    if chosen is not None and (options.k is not None or not options.with_memory):
        message = "comem.item_ids names the items to show; it does not go with k or with_memory: false"
        raise RequestFault(400, message, param="comem.item_ids", code="unsupported_parameter")
    if options.k is not None and not options.with_memory:
        raise RequestFault(400, "comem.k has no effect without memory", param="comem.k", code="unsupported_parameter")
    searches = options.with_memory and chosen is None
    if options.gated and not searches:
        message = "comem.gated is about items that are found; it does not go with item_ids or with_memory: false"
        raise RequestFault(400, message, param="comem.gated", code="unsupported_parameter")
    return Inquiry(
        image=picture,
        question=question,
        language=options.language,
        k=k if options.k is None and searches else options.k,
        with_memory=options.with_memory,
        item_ids=None if chosen is None else tuple(chosen),
        gated=searches and (gated if options.gated is None else options.gated),
    )


def _choose_length(asked: ChatRequest, limits: ServiceLimits) -> int:
    given = {name: getattr(asked, name) for name in ("max_tokens", "max_completion_tokens")}
    named = {name: value for name, value in given.items() if value is not None}
    if len(set(named.values())) > 1:
        message = f"max_tokens and max_completion_tokens differ: {asked.max_tokens} and {asked.max_completion_tokens}"
        raise RequestFault(400, message, param="max_tokens", code="invalid_value")
    for name, value in named.items():
        if value > limits.max_tokens:
            message = f"{name} is {value}; at most {limits.max_tokens} tokens are written"
            raise RequestFault(400, message, param=name, code="too_many_tokens")
    return next(iter(named.values()), min(MAX_NEW_TOKENS, limits.max_tokens))


def _read_decoding(asked: ChatRequest) -> Decoding:
    top_p = 1.0 if asked.top_p is None else asked.top_p
    stop = tuple(asked.stop or ())
    try:
        return Decoding(temperature=asked.temperature or 0.0, top_p=top_p, seed=asked.seed or 0, stop=stop)
    except ValueError as error:
        raise RequestFault(400, str(error), param="top_p", code="invalid_value") from error
