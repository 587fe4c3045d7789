"""Calls: what the till must know of a request to a model, and what of it is changed before it goes upstream.

Everything else passes through untouched: tools, images, formats, whatever the providers add next year. Known are the
model, how much may be written, how many answers are asked for, whether it streams, and an estimate of what is read.

The estimate is for the reservation alone; what is charged is what the upstream reports. It is meant to be high: a
token for every three ASCII characters of the whole body and one for every other byte, `IMAGE_TOKENS` for an image
instead of its data. Where the upstream reads what the body does not show (a file, sound, an earlier response, what its
own tools find), it is all that a model can read. What a call really used beyond its reservation is the operator's.

Of a field that stands twice only the last counts, here and, because the body is written anew, upstream.

Requirement ids: R-SALE-5, R-ABU-4.
"""

from __future__ import annotations

from typing import Any, Literal

import msgspec
from msgspec import Struct

Kind = Literal["chat", "completions", "responses", "embeddings", "messages"]
PATHS: dict[Kind, str] = {
    "chat": "/chat/completions",
    "completions": "/completions",
    "responses": "/responses",
    "embeddings": "/embeddings",
    "messages": "/messages",
}
"""Where a call of each kind goes, after the upstream's base URL."""

IMAGE_TOKENS = 1_500
ANSWERS_MAX = 128
TOKENS_ASKED_MAX = 10_000_000

_LIMITS: dict[Kind, tuple[str, ...]] = {
    "chat": ("max_completion_tokens", "max_tokens"),
    "completions": ("max_tokens",),
    "responses": ("max_output_tokens",),
    "messages": ("max_tokens",),
    "embeddings": (),
}
_SPOKEN = frozenset({"messages", "input", "system"})
"""Where in a body parts of messages stand. Elsewhere, as in the description of a tool, everything is text."""
_IMAGES = frozenset({"image_url", "input_image", "image", "image_generation_call", "computer_screenshot"})
_FILES = frozenset({"file", "input_file", "document", "input_audio"})
"""Parts that may hold a book, whatever their size."""
_ELSEWHERE = frozenset(
    {"previous_response_id", "conversation", "web_search_options", "mcp_servers", "container"}
)
"""Fields by which the upstream reads more than the body shows."""
_TOOLS = ("web_search", "web_fetch", "file_search", "code_interpreter", "code_execution", "mcp")
"""How the types of the tools begin that the upstream runs itself, reading what they find."""
_decode = msgspec.json.Decoder(dict[str, Any]).decode
_encode = msgspec.json.Encoder().encode


class BadCall(Struct, frozen=True):
    """Why a body is no call: what is wrong, in words, and with which field."""

    message: str
    field: str | None = None


class ModelCall(Struct, frozen=True):
    """A request to a model. `asked`: the most it wants written, for one answer; None = it does not say.

    `reads`: the estimate of the tokens that will be read. `user`: the caller's own user, as the body names it.
    `tells_usage`: the caller asked for the usage in a stream.
    """

    kind: Kind
    model: str
    body: dict[str, Any]
    stream: bool
    asked: int | None
    answers: int
    reads: int
    user: str | None
    tells_usage: bool


def read(kind: Kind, raw: bytes) -> ModelCall | BadCall:
    """The call in a body, or why there is none."""
    try:
        body = _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return BadCall("The body must be a JSON object in UTF-8.")
    model = body.get("model")
    if type(model) is not str or not 0 < len(model) <= 200:
        return BadCall("`model` must name a model. GET /v1/models lists them.", "model")
    stream = body.get("stream")
    if stream is not None and type(stream) is not bool:
        return BadCall("`stream` must be true or false.", "stream")
    asked = None
    for name in _LIMITS[kind]:
        value = body.get(name)
        if value is None:
            continue
        if type(value) is not int or not 0 < value <= TOKENS_ASKED_MAX:
            return BadCall(f"`{name}` must be a whole number of tokens, 1 or more.", name)
        asked = value if asked is None else min(asked, value)
    answers = body.get("n") if kind in ("chat", "completions") else None
    best = body.get("best_of") if kind == "completions" else None
    for name, value in (("n", answers), ("best_of", best)):
        if value is not None and (type(value) is not int or not 0 < value <= ANSWERS_MAX):
            return BadCall(f"`{name}` must be a whole number from 1 to {ANSWERS_MAX}.", name)
    prompts = body.get("prompt") if kind == "completions" else None
    many = len(prompts) if isinstance(prompts, list) and prompts and isinstance(prompts[0], str | list) else 1
    if kind == "responses" and body.get("background"):
        return BadCall("`background` is not possible here: the answer must come to be charged.", "background")
    user = body.get("user")
    options = body.get("stream_options")
    return ModelCall(
        kind=kind,
        model=model,
        body=body,
        stream=stream is True and kind != "embeddings",
        asked=asked,
        answers=max(answers or 1, best or 1) * many,
        reads=TOKENS_ASKED_MAX if _reads_elsewhere(kind, body) else estimate(body),
        user=user if type(user) is str and 0 < len(user) <= 128 else None,
        tells_usage=isinstance(options, dict) and options.get("include_usage") is True,
    )


def written(call: ModelCall, model: str, output_tokens: int | None, limit_field: str) -> bytes:
    """The body that goes upstream: the model by its name there, and at most `output_tokens` for each answer.

    A stream of chat or completions is asked to tell its usage, whether the caller wants to see it or not.
    """
    body = {**call.body, "model": model}
    names = _LIMITS[call.kind]
    if output_tokens is not None and names:
        present = [name for name in names if body.get(name) is not None]
        wanted = limit_field if call.kind == "chat" else names[0]
        for name in present or [wanted]:
            body[name] = output_tokens
    if call.stream and call.kind in ("chat", "completions"):
        options = body.get("stream_options")
        body["stream_options"] = {**(options if isinstance(options, dict) else {}), "include_usage": True}
    return _encode(body)


def estimate(value: object) -> int:
    """Tokens that a body will be read as, on the high side."""
    words, others, images, files = _weigh(value)
    return TOKENS_ASKED_MAX if files else -(-words // 3) + others + images * IMAGE_TOKENS


def counted(value: object) -> int:
    """Tokens of a body for which the upstream said nothing: one for four bytes, by a rule that anybody can repeat."""
    words, others, images, files = _weigh(value)
    return -(-(words + others) // 4) + (images + files) * IMAGE_TOKENS


def _reads_elsewhere(kind: Kind, body: dict[str, Any]) -> bool:
    """Whether the upstream will read what the body does not show."""
    if not _ELSEWHERE.isdisjoint(body) and any(body.get(name) is not None for name in _ELSEWHERE):
        return True
    if kind == "responses" and isinstance(body.get("prompt"), dict):
        return True
    tools = body.get("tools")
    return isinstance(tools, list) and any(
        isinstance(tool, dict) and str(tool.get("type")).startswith(_TOOLS) for tool in tools
    )


def _weigh(value: object) -> tuple[int, int, int, int]:
    """ASCII characters, other bytes, images and files of a value with all that is in it."""
    words = others = images = files = 0
    spoken = True
    left: list[Any] = [value]
    plain: list[Any] = []
    if type(value) is dict:
        left = []
        for name, inner in value.items():
            words += len(name) + 4
            (left if name in _SPOKEN else plain).append(inner)
    while True:
        if left:
            one = left.pop()
        elif plain:
            spoken, one = False, plain.pop()
        else:
            return words, others, images, files
        if type(one) is str:
            if one.isascii():
                words += len(one) + 3
            else:
                size = len(one.encode("utf-8", "surrogatepass"))
                ascii_ = sum(character < "\x80" for character in one)
                words += ascii_
                others += size - ascii_
        elif type(one) is dict:
            kind = one.get("type")
            # In the schema of a tool it may be a list.
            if spoken and type(kind) is str and (kind in _IMAGES or kind in _FILES):
                images += kind in _IMAGES
                files += kind in _FILES
                continue
            # What a model asked of a tool is text, whatever it looks like.
            into = left if spoken and kind != "tool_use" else plain
            for name, inner in one.items():
                words += len(name) + 4
                into.append(inner)
        elif type(one) is list:
            words += len(one)
            (left if spoken else plain).extend(one)
        else:
            words += 5
