"""The upstream of the lab as an ASGI application: `/v1/chat/completions` and its like, and `/v1/messages`.

Behind the gateway it stands for OpenAI, vLLM, Anthropic. It counts what it was asked and keeps the bodies, so that a
test can say what reached it. How to make it misbehave: `tokentill.lab.upstream.script`.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from typing import Any

from tokentill.lab.upstream.script import Script, read, usage_of
from tokentill.rules import speech

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]

FLOOD_BYTES = 2 * 1024 * 1024 * 1024
PIECE = b"x" * 65_536
KEPT_MAX = 1_000


class Gone(Exception):
    """The caller went away, or the script says that the line is cut."""


class LabUpstream:
    """One upstream. `key`: what callers must present; None = nothing. `asked`: the newest bodies, oldest first."""

    def __init__(self, key: str | None = None) -> None:
        self.key = key
        self.calls = 0
        self.cancelled = 0
        self.finished = 0
        self.flooded = 0
        """Bytes of floods that were sent."""
        self.asked: list[dict[str, Any]] = []
        self.headers: list[dict[str, str]] = []
        self.late = asyncio.Event()
        self.obeys = True
        """Whether it keeps to the limit it was given."""

    async def __call__(self, scope: MutableMapping[str, Any], receive: Receive, send: Send) -> None:
        """Answer one call as its script says."""
        if scope["type"] != "http":
            return
        headers = {name.decode(): value.decode("latin-1") for name, value in scope["headers"]}
        body = await _body(receive)
        self.calls += 1
        gone = asyncio.ensure_future(_gone(receive))
        try:
            work = asyncio.ensure_future(self._answer(scope["path"], headers, body, send))
            done, _ = await asyncio.wait({work, gone}, return_when=asyncio.FIRST_COMPLETED)
            if work in done:
                work.result()
                self.finished += 1
            else:
                work.cancel()
                self.cancelled += 1
        except Gone:
            self.cancelled += 1
        finally:
            gone.cancel()

    async def _answer(self, path: str, headers: dict[str, str], body: bytes, send: Send) -> None:
        if self.key is not None and self.key not in (
            headers.get("authorization", "").removeprefix("Bearer "),
            headers.get("x-api-key"),
        ):
            await _json(send, 401, {"error": {"message": "wrong key", "type": "invalid_request_error"}})
            return
        try:
            asked: dict[str, Any] = json.loads(body)
        except ValueError:
            await _json(send, 400, {"error": {"message": "no JSON", "type": "invalid_request_error"}})
            return
        self.asked = [*self.asked[-KEPT_MAX:], asked]
        self.headers = [*self.headers[-KEPT_MAX:], headers]
        text = _text(asked)
        script = read(text)
        if script.delay:
            await asyncio.sleep(script.delay)
        if await self._misbehave(script, send):
            return
        await self._speak(path.rpartition("/v1")[2], asked, len(text.split()), script, send)

    async def _misbehave(self, script: Script, send: Send) -> bool:
        if script.do == "hang":
            await asyncio.Event().wait()
        if script.do == "late":
            await self.late.wait()
        if script.do.startswith("error:"):
            status = int(script.do.partition(":")[2])
            await _json(send, status, {"error": {"message": "as told", "type": "server_error"}})
            return True
        if script.do == "garbage":
            await _head(send, 200, b"application/json")
            await send({"type": "http.response.body", "body": b"\xff\xfe{ no json at all"})
            return True
        if script.do == "flood":
            await _head(send, 200, b"application/json")
            await self._flood(send, PIECE)
            return True
        if script.do == "endless":
            await _head(send, 200, b"text/event-stream")
            await send({"type": "http.response.body", "body": b"data: ", "more_body": True})
            await self._flood(send, PIECE)
            return True
        return False

    async def _flood(self, send: Send, piece: bytes) -> None:
        """Send two gigabytes, as fast as they are taken."""
        for _ in range(FLOOD_BYTES // len(piece)):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            self.flooded += len(piece)
            await asyncio.sleep(0)

    async def _speak(self, path: str, asked: dict[str, Any], spent: int, script: Script, send: Send) -> None:
        model, ident = str(asked.get("model", "")), str(self.calls)
        if path == "/embeddings":
            texts = asked.get("input", "")
            count = len(texts) if isinstance(texts, list) else 1
            await _json(send, 200, speech.embeddings(model, count, spent))
            return
        limit = _limit(asked) if self.obeys else None
        count = script.answer if limit is None else min(script.answer, limit)
        finish = "stop" if count == script.answer else "length"
        said = script.usage
        usage = usage_of(said, spent, count)
        parts = speech.words(count)
        if asked.get("stream"):
            await self._stream(_events(path, ident, model, parts, usage, finish, asked), script, send)
            return
        kinds = {
            "/chat/completions": speech.chat,
            "/completions": speech.completion,
            "/responses": speech.response,
            "/messages": speech.message,
        }
        if path not in kinds:
            await _json(send, 404, {"error": {"message": "no such path", "type": "invalid_request_error"}})
            return
        answer = kinds[path](ident, model, "".join(parts), usage, finish)
        if said == "garbage":
            answer["usage"] = {"prompt_tokens": "many", "completion_tokens": -1}
        data = json.dumps(answer).encode()
        await _head(send, 200, b"application/json")
        if script.do == "cut":
            await send({"type": "http.response.body", "body": data[: len(data) // 2], "more_body": True})
            raise Gone
        for piece in _dripped(data) if script.do == "drip" else (data,):
            await send({"type": "http.response.body", "body": piece, "more_body": True})
            await asyncio.sleep(script.pace)
        await send({"type": "http.response.body", "body": b""})

    async def _stream(self, events: Iterator[bytes], script: Script, send: Send) -> None:
        await _head(send, 200, b"text/event-stream")
        for number, data in enumerate(events):
            if script.do == "cut" and number == 3:
                raise Gone
            for piece in _dripped(data) if script.do == "drip" else (data,):
                await send({"type": "http.response.body", "body": piece, "more_body": True})
            if script.pace:
                await asyncio.sleep(script.pace)
        await send({"type": "http.response.body", "body": b""})


def _events(
    path: str,
    ident: str,
    model: str,
    parts: list[str],
    usage: tuple[int, int] | None,
    finish: str,
    asked: dict[str, Any],
) -> Iterator[bytes]:
    tells = bool((asked.get("stream_options") or {}).get("include_usage"))
    if path == "/chat/completions":
        return speech.chat_stream(ident, model, parts, usage, finish, tells=tells)
    if path == "/completions":
        return speech.completion_stream(ident, model, parts, usage, finish, tells=tells)
    if path == "/responses":
        return speech.response_stream(ident, model, parts, usage, finish)
    return speech.message_stream(ident, model, parts, usage, finish)


def _limit(asked: dict[str, Any]) -> int | None:
    for name in ("max_completion_tokens", "max_output_tokens", "max_tokens"):
        if isinstance(asked.get(name), int):
            return int(asked[name])
    return None


def _text(asked: dict[str, Any]) -> str:
    """All text of a request, whatever its shape."""
    found: list[str] = []

    def walk(value: object) -> None:
        if isinstance(value, str):
            found.append(value)
        elif isinstance(value, list):
            for one in value:
                walk(one)
        elif isinstance(value, dict):
            for name in ("content", "text", "input", "system"):
                walk(value.get(name))

    for name in ("system", "instructions", "prompt", "input", "messages"):
        walk(asked.get(name))
    return " ".join(found)


def _dripped(data: bytes) -> Iterator[bytes]:
    for at in range(len(data)):
        yield data[at : at + 1]


async def _head(send: Send, status: int, kind: bytes) -> None:
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", kind)]})


async def _json(send: Send, status: int, body: dict[str, Any]) -> None:
    await _head(send, status, b"application/json")
    await send({"type": "http.response.body", "body": json.dumps(body).encode()})


async def _body(receive: Receive) -> bytes:
    parts: list[bytes] = []
    while True:
        message = await receive()
        parts.append(message.get("body", b""))
        if message["type"] == "http.disconnect" or not message.get("more_body"):
            return b"".join(parts)


async def _gone(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass
