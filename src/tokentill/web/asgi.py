"""ASGI by name: the types of the interface between the server and the till, and how an answer leaves."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping, Sequence
from typing import TYPE_CHECKING, Any, Protocol

if TYPE_CHECKING:
    from typing_extensions import override
else:

    def override(method: Any) -> Any:
        """Say that a method replaces one of its base; Python itself has this from 3.12 on."""
        return method


__all__ = [
    "CLOSE", "EXCHANGE", "JSON", "NO_STORE", "PROBLEM_JSON", "Answer", "Asgi", "Exchange", "Headers", "Message",
    "Receive", "Scope", "Send", "override",
]  # fmt: skip

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
Asgi = Callable[[Scope, Receive, Send], Awaitable[None]]
Headers = tuple[tuple[bytes, bytes], ...]

JSON = (b"content-type", b"application/json")
PROBLEM_JSON = (b"content-type", b"application/problem+json")
NO_STORE = (b"cache-control", b"no-store")
CLOSE = (b"connection", b"close")

EXCHANGE = "tokentill.exchange"
"""Where the scope has an `Exchange`, if the server is ours."""


class Answer:
    """What is sent back: status, body, content type, further headers. `code` is the problem's, for the metrics."""

    __slots__ = ("body", "code", "content_type", "headers", "status")

    def __init__(
        self,
        status: int,
        body: bytes,
        content_type: tuple[bytes, bytes] = JSON,
        headers: Headers = (),
        code: str | None = None,
    ) -> None:
        self.status = status
        self.body = body
        self.content_type = content_type
        self.headers = headers
        self.code = code

    async def send(self, send: Send) -> None:
        """Send it whole. Nothing the till says may be kept by a cache on the way, unless a header says so."""
        length = (b"content-length", b"%d" % len(self.body))
        headers = [self.content_type, length, NO_STORE, *self.headers]
        await send({"type": "http.response.start", "status": self.status, "headers": headers})
        await send({"type": "http.response.body", "body": self.body})


class Exchange(Protocol):
    """The short way between our own server and the application. Whatever it cannot do goes through ASGI's events."""

    def body(self) -> bytes | None:
        """The request's body if all of it is there, as it mostly is."""
        ...

    def send(self, answer: Answer) -> bool:
        """Send the answer whole; False if it has to go the ordinary way."""
        ...

    def begin(self, headers: Sequence[tuple[bytes, bytes]]) -> bool:
        """Begin an answer that streams, with status 200; False if it has to go the ordinary way."""
        ...

    def write(self, chunk: bytes) -> bool:
        """Send the next bytes of an answer that was begun here; False if they have to go the ordinary way."""
        ...

    def watch(self, gone: Callable[[], None]) -> Callable[[], None]:
        """Have `gone` called when the client goes away, at once if it has; what comes back ends that."""
        ...
