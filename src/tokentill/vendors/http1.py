"""HTTP/1.1 to upstreams: connections that are kept, one request at a time on each, parsed by httptools.

A client of a general library spends most of its time on what an upstream call has no use for: redirects, cookies,
proxies, hooks. Here is only what such a call needs. What an upstream sends is never trusted: the size of a head is
bounded, a body is taken only as fast as it is read, bytes beyond an answer end the connection, and what does not
parse ends it too. Certificates are checked, against the system's authorities or those of `SSL_CERT_FILE`.

A connection is used again if its answer was read to the end and both sides keep it, for `KEPT_S` at most; nothing is
ever sent a second time.

Requirement ids: R-SALE-5.
"""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Sequence
from typing import Literal, cast
from urllib.parse import quote, urlsplit

import httptools
from msgspec import Struct

HEAD_BYTES_MAX = 64 * 1024
BUFFER_BYTES_MAX = 256 * 1024
"""What is taken from a connection before anybody has asked for it; more is left with the upstream."""
PIECE_BYTES = 256 * 1024
"""A larger request is sent in pieces, so that others get their turn."""
CONNECT_S = 5.0
KEPT_S = 15.0
"""How long a connection that rests is used again; one that its server has closed is not."""


class Lost(Exception):
    """There is no answer, or no more of it; `why` as in `tokentill.ports.gateway.UpstreamDown`."""

    def __init__(self, why: Literal["unreachable", "too_slow", "cut"]) -> None:
        super().__init__(why)
        self.why: Literal["unreachable", "too_slow", "cut"] = why


class Place(Struct, frozen=True):
    """Where requests go: a server and the beginning of every path there."""

    host: str
    port: int
    tls: bool
    name: str
    """As the header `host` says it."""
    path: str

    @classmethod
    def of(cls, url: str) -> Place:
        """The place that a base URL names. Raises `ValueError` where its port is none."""
        parts = urlsplit(url)
        tls = parts.scheme == "https"
        usual = 443 if tls else 80
        host = (parts.hostname or "").encode("idna").decode()
        port = parts.port or usual
        shown = f"[{host}]" if ":" in host else host
        name = shown if port == usual else f"{shown}:{port}"
        return cls(host, port, tls, name, quote(parts.path.rstrip("/"), safe="/%:!$&'()*+,;=~"))


class Connection(asyncio.Protocol):
    """One connection to an upstream. `ask` sends a request and waits for the head of its answer, `read` for its body."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._transport: asyncio.Transport
        self._waiter: asyncio.Future[None] | None = None
        self._drained: asyncio.Future[None] | None = None
        self._lost = False
        self._begin()
        self.idle = True
        self.rests_since = 0.0

    def _begin(self) -> None:
        self._parser = httptools.HttpResponseParser(self)
        self.status = 0
        self.headers: list[tuple[bytes, bytes]] = []
        self._head = False
        self._whole = False
        self._sent = False
        self._surplus = False
        self._head_bytes = 0
        self._parts: list[bytes] = []
        self._buffered = 0
        self._paused = False
        self._why: Literal["unreachable", "too_slow", "cut"] | None = None

    async def ask(self, head: bytes, body: bytes, seconds: float) -> None:
        """Send a request and wait for the head of the answer, for so many seconds. Raises `Lost`."""
        self._begin()
        self.idle = False
        transport = self._transport
        timer = self._loop.call_later(seconds, self._late)
        try:
            if len(body) <= PIECE_BYTES:
                transport.write(head + body)
                self._sent = True
            else:
                transport.write(head)
                for at in range(0, len(body), PIECE_BYTES):
                    transport.write(body[at : at + PIECE_BYTES])
                    self._sent = at + PIECE_BYTES >= len(body)
                    if self._drained is not None:
                        await self._drained
                    if self._lost or self._head:
                        break  # it has answered before it had read all, or there is nobody to send it to
            while not self._head:
                self._raise()
                await self._wait()
        finally:
            timer.cancel()

    async def read(self, seconds: float) -> bytes | None:
        """What has come of the body, as soon as there is something; None at its end. Raises `Lost`."""
        if self._starved():
            timer = self._loop.call_later(seconds, self._late)
            try:
                while self._starved():
                    await self._wait()
            finally:
                timer.cancel()
        if self._parts:
            data = self._parts[0] if len(self._parts) == 1 else b"".join(self._parts)
            self._parts.clear()
            self._buffered = 0
            if self._paused and not self._lost:
                self._paused = False
                self._transport.resume_reading()
            return data
        if not self._whole:
            self._raise()
        return None

    @property
    def reusable(self) -> bool:
        """Whether the answer was read to its end and the connection may be used for another request."""
        return self._whole and self._sent and not (self._parts or self._surplus or self._lost) and self._keeps

    @property
    def alive(self) -> bool:
        """Whether it can be used, as far as this side knows."""
        return not self._lost and not self._transport.is_closing()

    def close(self) -> None:
        """Cut it: an upstream that still works for it stops."""
        self._why = self._why or "cut"
        self._lost = True
        self._transport.abort()
        self._wake()

    # ---- called by the event loop --------------------------------------------------------------------

    def connection_made(self, transport: asyncio.BaseTransport) -> None:  # type: ignore[explicit-override]  # typing has it from 3.12 on only
        """The connection stands."""
        self._transport = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:  # type: ignore[explicit-override]  # as above
        """Something came."""
        if self.idle:
            self.close()  # nobody asked for anything
            return
        if not self._head:
            self._head_bytes += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade):
            self._fail("cut" if self._head else "unreachable")
        if not self._head and self._head_bytes > HEAD_BYTES_MAX:
            self._fail("unreachable")
        if self._buffered > BUFFER_BYTES_MAX and not (self._paused or self._lost):
            self._paused = True
            self._transport.pause_reading()
        self._wake()

    def connection_lost(self, exc: Exception | None) -> None:  # type: ignore[explicit-override]  # as above
        """The connection has ended; that may be how the upstream ends its answer."""
        self._lost = True
        if self._head and self._until_closed and exc is None and self._why is None:
            self._whole = True
        self._why = self._why or ("cut" if self._head else "unreachable")
        self.resume_writing()
        self._wake()

    def pause_writing(self) -> None:  # type: ignore[explicit-override]  # as above
        """More was sent than the upstream has taken."""
        self._drained = self._loop.create_future()

    def resume_writing(self) -> None:  # type: ignore[explicit-override]  # as above
        """The upstream has taken it."""
        drained, self._drained = self._drained, None
        if drained is not None and not drained.done():
            drained.set_result(None)

    # ---- called by the parser ------------------------------------------------------------------------

    def on_message_begin(self) -> None:
        """An answer begins; after a whole one it is one that nobody asked for."""
        if self._whole:
            self._surplus = True

    def on_header(self, name: bytes, value: bytes) -> None:
        """One header."""
        if not self._surplus:
            self.headers.append((name.lower(), value))

    def on_headers_complete(self) -> None:
        """The head is there; that of an interim answer is passed over."""
        if self._surplus:
            return
        status = self._parser.get_status_code()
        if status < 200:
            self.headers.clear()
            return
        self.status = status
        self._head = True
        names = {name for name, _ in self.headers}
        empty = status in (204, 304)
        self._until_closed = not (empty or b"content-length" in names or b"transfer-encoding" in names)
        self._keeps = self._parser.should_keep_alive() and not self._until_closed

    def on_body(self, body: bytes) -> None:
        """A part of the body."""
        if self._head and not self._surplus:
            self._parts.append(body)
            self._buffered += len(body)

    def on_message_complete(self) -> None:
        """The answer is whole."""
        if self._head:
            self._whole = True

    # ---- inside --------------------------------------------------------------------------------------

    def _starved(self) -> bool:
        return not (self._parts or self._whole or self._lost or self._why)

    def _raise(self) -> None:
        if self._why is not None or self._lost:
            raise Lost(self._why or "unreachable")

    def _late(self) -> None:
        self._fail("too_slow")

    def _fail(self, why: Literal["unreachable", "too_slow", "cut"]) -> None:
        self._why = self._why or why
        self.close()

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)


class Pool:
    """Connections to upstreams, by place."""

    def __init__(self) -> None:
        self._resting: dict[tuple[str, int, bool], list[Connection]] = {}
        self._tls: ssl.SSLContext | None = None

    async def take(self, place: Place, seconds: float) -> Connection:
        """A connection that rests, or a new one within so many seconds. Raises `Lost`."""
        loop = asyncio.get_running_loop()
        resting = self._resting.get((place.host, place.port, place.tls))
        fresh = loop.time() - KEPT_S
        while resting:
            connection = resting.pop()
            if connection.alive and connection.rests_since > fresh:
                return connection
            connection.close()
        try:
            async with asyncio.timeout(min(seconds, CONNECT_S)):
                _, made = await loop.create_connection(
                    Connection,
                    place.host,
                    place.port,
                    ssl=self._context() if place.tls else None,
                    server_hostname=place.host if place.tls else None,
                )
        except TimeoutError as trouble:
            raise Lost("too_slow" if seconds <= CONNECT_S else "unreachable") from trouble
        except (OSError, ssl.SSLError) as trouble:
            raise Lost("unreachable") from trouble
        return made

    def give(self, place: Place, connection: Connection) -> None:
        """Take a connection back, to rest or to be closed."""
        if not (connection.reusable and connection.alive):
            connection.close()
            return
        connection.idle = True
        connection.rests_since = asyncio.get_running_loop().time()
        resting = self._resting.setdefault((place.host, place.port, place.tls), [])
        # The newest are used first, so those that have rested longest stand in front.
        while resting and resting[0].rests_since < connection.rests_since - KEPT_S:
            resting.pop(0).close()
        resting.append(connection)

    def close(self) -> None:
        """Let every connection that rests go."""
        for resting in self._resting.values():
            for connection in resting:
                connection.close()
        self._resting.clear()

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
        return self._tls


def head_of(place: Place, path: str, headers: Sequence[tuple[str, str]], length: int) -> bytes:
    """The head of a POST. Raises `ValueError` where a header is not one line of printable text."""
    lines = [f"POST {place.path}{path} HTTP/1.1\r\nhost: {place.name}\r\ncontent-length: {length}\r\n"]
    for name, value in headers:
        if not (value.isascii() and value.isprintable()):
            raise ValueError(f"the header {name} is not printable")
        lines.append(f"{name}: {value}\r\n")
    return "".join((*lines, "\r\n")).encode("ascii")
