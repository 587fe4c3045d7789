"""The echo upstream: built in, answers with what it was asked, word by word. It is no AI and says so.

It needs no network and no key, so that a till can be tried out offline. Everything else passes to the upstreams that
are given. A word counts as a token; what was asked for is limited and streamed as a model would.

Requirement ids: R-SALE-5.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator, Mapping
from itertools import chain
from typing import Any

import msgspec

from tokentill.ports.gateway import UpstreamDown, UpstreamReply, Upstreams
from tokentill.rules import speech
from tokentill.rules.models import Upstream

LABEL = "Echo (no AI): "
_encode = msgspec.json.Encoder().encode


class EchoReply:
    """An answer of our own."""

    def __init__(self, parts: Iterator[bytes], *, stream: bool) -> None:
        self._parts = parts
        self.status = 200
        self.headers: Mapping[str, str] = {
            "content-type": "text/event-stream" if stream else "application/json"
        }

    async def read(self) -> bytes:
        """The body, a word at a time where it streams."""
        await asyncio.sleep(0)
        return next(self._parts, b"")

    async def close(self) -> None:
        """There is nothing to close."""


class WithEcho:
    """The `Upstreams` port: upstreams of the kind echo here, all others by `others`."""

    def __init__(self, others: Upstreams) -> None:
        self._others = others

    async def open(
        self, upstream: Upstream, path: str, body: bytes, headers: Mapping[str, str], first_byte_ms: int
    ) -> UpstreamReply:
        """Send the call, or answer it."""
        if upstream.kind != "echo":
            return await self._others.open(upstream, path, body, headers, first_byte_ms)
        asked: dict[str, Any] = json.loads(body)
        if path == "/embeddings":
            texts = asked.get("input", "")
            count = len(texts) if isinstance(texts, list) else 1
            spent = len(" ".join(_texts(texts)).split())
            return EchoReply(iter((_encode(speech.embeddings("echo", count, spent)),)), stream=False)
        return EchoReply(_answer(path, asked), stream=asked.get("stream") is True)

    async def close(self) -> None:
        """Let connections go."""
        await self._others.close()


def _answer(path: str, asked: dict[str, Any]) -> Iterator[bytes]:
    """The answer in the shape of the path, whole or as events."""
    said = [
        text
        for field in ("system", "instructions", "prompt", "input", "messages")
        for text in _texts(asked.get(field))
    ]
    read = len(" ".join(said).split())
    words = [f"{word} " for word in (LABEL + (said[-1] if said else "")).split()]
    words[-1] = words[-1][:-1]
    limit = next(
        (
            asked[name]
            for name in ("max_completion_tokens", "max_output_tokens", "max_tokens")
            if type(asked.get(name)) is int and asked[name] > 0
        ),
        len(words),
    )
    parts = words[:limit]
    finish = "stop" if len(parts) == len(words) else "length"
    usage = (read, len(parts))
    if asked.get("stream") is True:
        match path:
            case "/chat/completions":
                return speech.chat_stream("echo", "echo", parts, usage, finish, tells=True)
            case "/completions":
                return speech.completion_stream("echo", "echo", parts, usage, finish, tells=True)
            case "/responses":
                return speech.response_stream("echo", "echo", parts, usage, finish)
            case _:
                return speech.message_stream("echo", "echo", parts, usage, finish)
    shapes = {
        "/chat/completions": speech.chat,
        "/completions": speech.completion,
        "/responses": speech.response,
        "/messages": speech.message,
    }
    if path not in shapes:
        raise UpstreamDown("unreachable", "The echo does not speak this.")
    return iter((_encode(shapes[path]("echo", "echo", "".join(parts), usage, finish)),))


def _texts(value: object) -> Iterator[str]:
    """All text of a part of a request, in order."""
    if isinstance(value, str):
        return iter((value,))
    if isinstance(value, list):
        return chain.from_iterable(map(_texts, value))
    if isinstance(value, dict):
        return chain.from_iterable(_texts(value.get(name)) for name in ("content", "text", "input"))
    return iter(())
