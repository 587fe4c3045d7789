"""Usage: what an upstream says that a call used, read from a whole answer or from the events of a stream.

Numbers are believed only if they are whole, not negative and not absurd; anything else counts as not said. An
explicit 0 is said. Where nothing is said, what was delivered is counted, by a rule that anybody can repeat
(`count`): a token for each piece of text that came, or one for four bytes of it, whichever is more.

Requirement ids: R-SALE-5, R-LED-3.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from typing import Any, TypeGuard

import msgspec
from msgspec import Struct

USAGE_MAX = 1_000_000_000
EVENT_BYTES_MAX = 4 * 1024 * 1024
"""Largest single event of a stream; a larger one ends the call."""

_decode = msgspec.json.Decoder().decode


def json_of(raw: bytes) -> Any:
    """The JSON that an upstream sent, None where it is none. Half a surrogate pair is let through: some cut there."""
    try:
        return _decode(raw)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        pass
    if b"\\ud" not in raw and b"\\uD" not in raw:
        return None
    try:
        return json.loads(raw)
    except (ValueError, RecursionError):
        return None


class Usage(Struct, frozen=True):
    """Tokens of one call. `cached` of the `read` ones came from the upstream's cache."""

    read: int
    written: int
    cached: int = 0


def of_answer(answer: object) -> Usage | None:
    """The usage in a whole answer of any of the APIs, None where nothing believable is said."""
    if not isinstance(answer, dict):
        return None
    return _usage(answer.get("usage"))


def _usage(said: object) -> Usage | None:
    if not isinstance(said, dict):
        return None
    if "prompt_tokens" in said:
        read, written = said["prompt_tokens"], said.get("completion_tokens", 0)
        cached = _inner(said, "prompt_tokens_details", "cached_tokens")
    elif "cache_read_input_tokens" in said or "cache_creation_input_tokens" in said:
        cached = said.get("cache_read_input_tokens") or 0
        made = said.get("cache_creation_input_tokens") or 0
        read, written = said.get("input_tokens"), said.get("output_tokens", 0)
        if not (_is_count(read) and _is_count(cached) and _is_count(made)):
            return None
        read = read + cached + made
    else:
        read, written = said.get("input_tokens"), said.get("output_tokens", 0)
        cached = _inner(said, "input_tokens_details", "cached_tokens")
    if not (_is_count(read) and _is_count(written)):
        return None
    return Usage(read, written, min(cached, read) if _is_count(cached) else 0)


def _inner(said: dict[str, Any], name: str, field: str) -> Any:
    details = said.get(name)
    return details.get(field, 0) if isinstance(details, dict) else 0


def _is_count(value: object) -> TypeGuard[int]:
    return type(value) is int and 0 <= value <= USAGE_MAX


def count(pieces: int, size: int) -> int:
    """Tokens of a text that came in `pieces` and has `size` bytes: what is billed where nothing was said."""
    return max(pieces, -(-size // 4))


class Events:
    """Cuts a stream of server-sent events into whole events, whatever the pieces it arrives in."""

    __slots__ = ("_rest",)

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, chunk: bytes) -> Iterable[tuple[bytes, bytes]]:
        """Every event that is complete now, with the empty line that ends it, and its data (`data_of`).

        Raises `ValueError` on a huge one.
        """
        if not self._rest and chunk.endswith(b"\n\n") and b"\r" not in chunk:
            # Most often a chunk is of whole events, and of one.
            if chunk.startswith(b"data: {") and chunk.find(b"\n") == len(chunk) - 2:
                return ((chunk, chunk[6:-2]),)
            return [(event + b"\n\n", data_of(event)) for event in chunk[:-2].split(b"\n\n")]
        return ((event, data_of(event)) for event in self._cut(self._rest + chunk))

    def _cut(self, data: bytes) -> Iterator[bytes]:
        start = 0
        while True:
            end, size = _end_of_event(data, start)
            if end < 0:
                break
            yield data[start : end + size]
            start = end + size
        self._rest = data[start:]
        if len(self._rest) > EVENT_BYTES_MAX:
            raise ValueError("an event of the stream is larger than any may be")

    @property
    def rest(self) -> bytes:
        """What came of an event that is not complete."""
        return self._rest


def _end_of_event(data: bytes, start: int) -> tuple[int, int]:
    """Where the next empty line begins, and its length; -1 where there is none."""
    plain = data.find(b"\n\n", start)
    crlf = data.find(b"\r\n\r\n", start, len(data) if plain < 0 else plain + 1)
    return (plain, 2) if crlf < 0 else (crlf, 4)


def data_of(event: bytes) -> bytes:
    """The data lines of an event, joined."""
    if event.startswith(b"data:") and b"\n" not in event and b"\r" not in event:
        return event[5:].lstrip()
    lines = [line[5:].lstrip() for line in event.splitlines() if line.startswith(b"data:")]
    return b"\n".join(lines)


class Seen(Struct):
    """What the events of a stream have told so far."""

    usage: Usage | None = None
    pieces: int = 0
    size: int = 0
    done: bool = False
    """The upstream said that the answer is complete."""
    failed: bool = False
    """The upstream said that it failed."""
    told: int | None = None
    """Tokens read, as Anthropic tells them at the beginning."""
    response: dict[str, Any] | None = None
    """The response that the events are about, as OpenAI tells it at the beginning."""

    @property
    def counted(self) -> int:
        """Tokens of the text that came, counted."""
        return count(self.pieces, self.size)


class _Delta(Struct, gc=False):
    content: str | None = None
    refusal: str | None = None
    reasoning_content: str | None = None
    reasoning: str | None = None
    tool_calls: None = None
    function_call: None = None
    audio: None = None


class _Choice(Struct, gc=False):
    delta: _Delta | None = None
    text: str | None = None
    finish_reason: None = None


class _Text(Struct, gc=False):
    """An event in the middle of a chat or a completion, with text and nothing else that matters here."""

    object: str
    choices: list[_Choice]
    type: None = None
    usage: None = None
    error: None = None


_decode_text = msgspec.json.Decoder(_Text).decode


def see_text(seen: Seen, data: bytes) -> bool:
    """Take the data of one event in as `see` does, if it brings text and nothing else; False, and nothing taken, if not.

    That is most events of a stream, and takes a third of the time.
    """
    try:
        choices = _decode_text(data).choices
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return False
    for choice in choices:
        delta = choice.delta
        if choice.text:
            _text(seen, choice.text)
        if delta is not None:
            for text in (delta.content, delta.refusal, delta.reasoning_content, delta.reasoning):
                if text:
                    _text(seen, text)
    return bool(choices)


def see(seen: Seen, data: bytes) -> Any:
    """Take the data of one event in; its JSON, or None where it is none."""
    if data == b"[DONE]":
        seen.done = True
        return None
    event = json_of(data)
    if not isinstance(event, dict):
        return None
    kind = event.get("type")
    if kind is None or event.get("object") is not None:
        _see_chat(seen, event)
    elif type(kind) is str and kind.startswith("response."):
        _see_response(seen, event, kind)
    else:
        _see_message(seen, event, kind)
    return event


def _text(seen: Seen, text: object) -> None:
    """Count a text, or the texts of a list of parts."""
    if type(text) is list:
        for part in text:
            if isinstance(part, dict):
                _text(seen, part.get("text"))
    elif type(text) is str and text:
        seen.pieces += 1
        seen.size += len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))


def _see_chat(seen: Seen, event: dict[str, Any]) -> None:
    if event.get("error") is not None:
        seen.failed = True
    usage = of_answer(event)
    if usage is not None:
        seen.usage = usage
    choices = event.get("choices")
    for choice in choices if isinstance(choices, list) else ():
        if not isinstance(choice, dict):
            continue
        _text(seen, choice.get("text"))
        delta = choice.get("delta")
        if not isinstance(delta, dict):
            continue
        for name in ("content", "refusal", "reasoning_content", "reasoning"):
            _text(seen, delta.get(name))
        calls = delta.get("tool_calls")
        for call in calls if isinstance(calls, list) else ():
            _function(seen, call.get("function") if isinstance(call, dict) else None)
        _function(seen, delta.get("function_call"))
        audio = delta.get("audio")
        if isinstance(audio, dict):
            _text(seen, audio.get("transcript"))
            seen.pieces += bool(audio.get("data"))  # its size says nothing of its tokens


def _function(seen: Seen, function: object) -> None:
    if isinstance(function, dict):
        _text(seen, function.get("name"))
        _text(seen, function.get("arguments"))


def _see_response(seen: Seen, event: dict[str, Any], kind: str) -> None:
    if kind == "response.created" and isinstance(event.get("response"), dict):
        seen.response = event["response"]
    elif kind.endswith(".delta"):
        _text(seen, event.get("delta"))
    elif kind in ("response.completed", "response.incomplete"):
        seen.done = True
        seen.usage = of_answer(event.get("response"))
    elif kind == "response.failed":
        seen.failed = True


def _see_message(seen: Seen, event: dict[str, Any], kind: object) -> None:
    if kind == "message_start":
        seen.usage = of_answer(event.get("message"))
        seen.told = None if seen.usage is None else seen.usage.read
    elif kind == "content_block_delta":
        delta = event.get("delta")
        if isinstance(delta, dict):
            for name in ("text", "partial_json", "thinking"):
                _text(seen, delta.get(name))
    elif kind == "message_delta":
        said = event.get("usage")
        if seen.usage is not None and isinstance(said, dict) and _is_count(said.get("output_tokens")):
            # What tools of the upstream's own read comes on top, and stands only here.
            whole = _usage(said) or seen.usage
            seen.usage = Usage(
                max(whole.read, seen.usage.read), said["output_tokens"], max(whole.cached, seen.usage.cached)
            )
    elif kind == "message_stop":
        seen.done = True
    elif kind == "error":
        seen.failed = True
