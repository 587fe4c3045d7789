"""Answers of models: how large one is, how it is cut, which events end a stream, and where the receipt goes.

An answer above its cap is cut and flagged (R-ABU-4). Above it is one whose upstream says so, or whose text has more
than `BYTES_OF_TOKEN` bytes for each token it may have, which no text has; of a stream also one that came in more
pieces than it may have tokens, since every piece has one at least.

The events that end a stream are held back until the call is charged, so that its receipt stands in the last of them.

Requirement ids: R-SALE-5, R-ABU-4.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec

from tokentill.rules.calls import Kind
from tokentill.rules.usage import Usage, count

BYTES_OF_TOKEN = 16
KEPT_BYTES_MAX = 1024 * 1024
"""Largest answer that is kept for a retry under its idempotency key; a larger one is given once."""
RECEIPT = "tokentill"
"""The field of an answer, or of the last event of a stream, that has the receipt."""

_encode = msgspec.json.Encoder().encode
_ENDS = frozenset({"message_stop", "response.completed", "response.incomplete", "response.failed", "error"})


def encode(value: object) -> bytes:
    """The value as JSON, also where a text of it has half a surrogate pair."""
    try:
        return _encode(value)
    except UnicodeEncodeError:
        return json.dumps(value).encode()


def texts(answer: dict[str, Any]) -> Iterator[tuple[dict[str, Any], str]]:
    """Every text of a whole answer: the object it stands in, and the field."""
    for choice in _dicts(answer.get("choices")):
        yield choice, "text"
        message = choice.get("message")
        if isinstance(message, dict):
            for field in ("content", "refusal", "reasoning_content", "reasoning"):
                yield message, field
            for part in _dicts(message.get("content")):
                yield part, "text"
            if isinstance(message.get("audio"), dict):
                yield message["audio"], "transcript"
            for call in (*_dicts(message.get("tool_calls")), {"function": message.get("function_call")}):
                if isinstance(call.get("function"), dict):
                    yield call["function"], "arguments"
    for item in _dicts(answer.get("output")):
        yield item, "arguments"
        for part in (*_dicts(item.get("content")), *_dicts(item.get("summary"))):
            yield part, "text"
    for block in _dicts(answer.get("content")):
        for field in ("text", "thinking"):
            yield block, field


def size(answer: dict[str, Any]) -> int:
    """Bytes of text in a whole answer."""
    found = 0
    for place, field in texts(answer):
        text = place.get(field)
        if type(text) is str:
            found += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    return found


def counted(answer: dict[str, Any]) -> int:
    """Tokens of a whole answer for which nothing was said."""
    return count(0, size(answer))


def excess(limit: int | None, answers: int, usage: Usage | None, bytes_: int, pieces: int = 0) -> bool:
    """Whether more was written than may be."""
    if limit is None:
        return False
    most = limit * answers
    return (usage is not None and usage.written > most) or pieces > most or bytes_ > most * BYTES_OF_TOKEN


def cut(answer: dict[str, Any], limit: int, answers: int, usage: Usage | None) -> None:
    """Shorten the texts of a whole answer to their part of what may be written, in place."""
    whole = size(answer)
    written = max(usage.written if usage is not None else 0, -(-whole // BYTES_OF_TOKEN), 1)
    most = limit * answers
    for place, field in texts(answer):
        text = place.get(field)
        if type(text) is str:
            place[field] = text[: len(text) * most // written]
    for choice in _dicts(answer.get("choices")):
        choice["finish_reason"] = "length"
    if answer.get("type") == "message":
        answer["stop_reason"] = "max_tokens"


def is_end(event: object) -> bool:
    """Whether the event is one of those that end a stream; more of them, or others, may follow."""
    if not isinstance(event, dict):
        return False
    kind = event.get("type")
    if type(kind) is str and kind in _ENDS:
        return True
    choices = event.get("choices")
    if not isinstance(choices, list):
        return event.get("error") is not None
    if not choices:
        return True
    return any(isinstance(choice, dict) and choice.get("finish_reason") is not None for choice in choices)


def is_only_usage(event: object) -> bool:
    """Whether the event tells the usage of a chat and nothing else; it is for those who asked for it."""
    return isinstance(event, dict) and event.get("choices") == [] and event.get("usage") is not None


def with_receipt(event: dict[str, Any], receipt: dict[str, Any]) -> bytes:
    """The event of a stream as bytes, with the receipt in it."""
    return server_event({**event, RECEIPT: receipt})


def server_event(data: dict[str, Any], name: str | None = None) -> bytes:
    """One server-sent event. Those of Anthropic's API and of the responses API are named by their type."""
    kind = name or data.get("type")
    head = b"event: " + kind.encode() + b"\n" if type(kind) is str and "choices" not in data else b""
    return head + b"data: " + encode(data) + b"\n\n"


def failed_event(kind: Kind, error: dict[str, Any]) -> bytes:
    """The event that says in a stream that the call failed; `error` in the shape of the API of `kind`."""
    if kind == "messages":
        return server_event(error, "error")
    if kind == "responses":
        return server_event({"type": "error", **error.get("error", {})}, "error")
    return server_event(error)


def _dicts(value: object) -> Iterator[dict[str, Any]]:
    if isinstance(value, list):
        for one in value:
            if isinstance(one, dict):
                yield one
