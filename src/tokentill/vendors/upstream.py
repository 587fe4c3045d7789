"""Upstreams over HTTP: any server that speaks OpenAI's or Anthropic's API, called with aiohttp.

The host is the catalog's and nothing in a request can change it: no redirect is followed, no proxy of the
environment used, no cookie kept. What is sent is the body and a short list of headers; what comes back is limited
in size and its head is cut to a list too. Keys come from the environment at the till's start and stand in no
error and no log. Certificates are checked, against the system's authorities or those of `SSL_CERT_FILE`. Nothing is
ever sent a second time.

Of aiohttp there are its connections and its parser. Its session, which makes a request and an answer of objects that
serve everybody, takes four times the time of these, and nothing of what it does is wanted here (decision 21).

Requirement ids: R-SALE-5.
"""

from __future__ import annotations

import asyncio
import ssl
from collections import defaultdict, deque
from collections.abc import Hashable, Mapping
from functools import lru_cache

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.http import HttpProcessingError, StreamWriter
from msgspec import Struct
from yarl import URL

from tokentill.ports.gateway import UpstreamDown, UpstreamReply
from tokentill.rules.models import Upstream

BODY_BYTES_MAX = 16 * 1024 * 1024
"""Largest answer that is passed on; a model's longest answer is far below."""
CONNECT_S = 5.0
KEPT_S = 15.0
"""How long a connection that rests is used again; one that its server has closed is not."""
PIECE_BYTES = 256 * 1024
"""A larger body is sent in such pieces, so that others get their turn."""
ANTHROPIC_VERSION = "2023-06-01"
PASSED_ON = frozenset({b"content-type", b"retry-after", b"x-request-id", b"request-id"})
SIZED = frozenset({b"content-length", b"transfer-encoding"})
_TROUBLE = (aiohttp.ClientError, HttpProcessingError, OSError)


class Wire:
    """A connection to an upstream, for one call after the other."""

    __slots__ = ("_connection", "content", "protocol", "rests_since")

    def __init__(self, connection: Connection, protocol: ResponseHandler) -> None:
        self._connection = connection
        self.protocol = protocol
        self.content: aiohttp.StreamReader | None = None
        """The body that is being read."""
        self.rests_since = 0.0
        if protocol.closed is not None:
            protocol.closed.add_done_callback(self._ended)

    def is_fit(self, now: float) -> bool:
        """Whether the next call can go this way: not if something came that nobody had asked for.

        aiohttp would take that for the answer to the next request, which is another customer's.
        """
        protocol = self.protocol
        return (
            now - self.rests_since <= KEPT_S and protocol.transport is not None and not protocol.should_close
        )

    def cut(self) -> None:
        """What is left of a request is not sent, an upstream that still works for it stops, and its reader is told."""
        if self.protocol.transport is not None:
            self.protocol.transport.abort()
        self._end_body()
        self._connection.close()

    def _ended(self, closed: asyncio.Future[None]) -> None:
        _heard(closed)
        self._end_body()

    def _end_body(self) -> None:
        """Tell the reader, whom aiohttp leaves waiting when what comes in the middle of a body cannot be parsed."""
        content = self.content
        if content is not None and not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError("the connection has ended"))


def _heard(ended: asyncio.Future[None]) -> None:
    """See how a connection or the sending of a body has ended, so that asyncio does not complain that nobody did."""
    if not ended.cancelled():
        ended.exception()


class HttpReply:
    """One call and its answer. `start` it before anything else; `close` it whatever happens, and as often."""

    __slots__ = ("_content", "_late", "_protocol", "_resting", "_sending", "_size", "_sized", "_wire", "headers",
                 "status")  # fmt: skip

    def __init__(self, wire: Wire, resting: deque[Wire]) -> None:
        self._wire: Wire | None = wire
        self._resting = resting
        self._protocol = wire.protocol
        self._content: aiohttp.StreamReader | None = None
        self._sending: asyncio.Task[None] | None = None
        self._late = False
        self._size = 0
        self._sized = False
        self.status = 0
        self.headers: Mapping[str, str] = {}

    async def start(self, head: bytes, body: bytes, ends_at: float) -> None:
        """Send the request and wait for the head of the answer until `ends_at`, in seconds of the loop's clock.

        Raises `TimeoutError`, and what aiohttp raises.
        """
        protocol, wire = self._protocol, self._wire
        assert wire is not None, "it is not closed"
        protocol.set_response_params(read_until_eof=True, auto_decompress=False)
        timer = asyncio.get_running_loop().call_at(ends_at, self._too_late)
        try:
            self._send(head, body)
            message, content = await protocol.read()
            while 100 <= message.code < 200 and message.code != 101:
                message, content = await protocol.read()
        except _TROUBLE as trouble:
            if self._late:
                raise TimeoutError from trouble
            raise
        finally:
            timer.cancel()
        self._content = wire.content = content
        self.status = message.code
        headers = self.headers = {}
        for name, value in message.raw_headers:
            lower = name.lower()
            if lower in PASSED_ON:
                headers[lower.decode()] = value.decode("latin-1")
            elif lower in SIZED:
                self._sized = True

    async def read(self) -> bytes:
        """The next bytes of the body as they come, none at its end."""
        assert self._content is not None, "it was started"
        try:
            chunk = await self._content.readany()
        except _TROUBLE:
            raise UpstreamDown("cut", "The upstream ended its answer too early.") from None
        self._size += len(chunk)
        if self._size > BODY_BYTES_MAX:
            raise UpstreamDown("too_large", "The upstream's answer is larger than any answer may be.")
        if not chunk and not self._sized and isinstance(self._protocol.exception(), OSError):
            # aiohttp takes a reset for the end of an answer without a length.
            raise UpstreamDown("cut", "The upstream ended its answer too early.")
        return chunk

    async def close(self) -> None:
        """Keep the connection for the next call, or cut it unless all was sent and the answer read to its end."""
        wire, self._wire = self._wire, None
        if wire is None:
            return
        sent = self._sending is None or self._sending.done()
        if sent and self._content is not None and self._content.at_eof() and not self._protocol.should_close:
            _rest(wire, self._resting, asyncio.get_running_loop().time())
            return
        if self._sending is not None:
            self._sending.cancel()
        wire.cut()

    def _send(self, head: bytes, body: bytes) -> None:
        transport = self._protocol.transport
        if transport is None:
            raise aiohttp.ClientConnectionError("the connection has ended")
        if len(body) <= PIECE_BYTES:
            transport.write(head + body)
            return
        transport.write(head)
        self._sending = asyncio.ensure_future(self._send_pieces(transport, body))
        self._sending.add_done_callback(_heard)

    async def _send_pieces(self, transport: asyncio.Transport, body: bytes) -> None:
        """Send a large body as fast as it is taken. Its answer may come before its end."""
        writer = StreamWriter(self._protocol, asyncio.get_running_loop())
        for at in range(0, len(body), PIECE_BYTES):
            transport.write(body[at : at + PIECE_BYTES])
            await writer.drain()

    def _too_late(self) -> None:
        self._late = True
        if self._wire is not None:
            self._wire.cut()


def _rest(wire: Wire, resting: deque[Wire], now: float) -> None:
    """Keep a connection for the next call, and no longer those that have rested too long."""
    wire.content, wire.rests_since = None, now
    resting.append(wire)
    while now - resting[0].rests_since > KEPT_S:
        resting.popleft().cut()


class Way(Struct, frozen=True):
    """How calls of one path reach an upstream: what tells aiohttp where to, how their heads begin, what rests there."""

    request: aiohttp.ClientRequest
    start: str
    fields: dict[str, str]
    resting: deque[Wire]

    def head(self, headers: Mapping[str, str], size: int) -> bytes:
        """The head of a request whose body has so many bytes."""
        fields = {**self.fields, **headers} if headers else self.fields
        lines = "".join([f"{name}: {value}\r\n" for name, value in fields.items()])
        if lines.count("\n") != len(fields) or lines.count("\r") != len(fields):
            raise ValueError("a header must be one line")
        return f"{self.start}{lines}content-length: {size}\r\n\r\n".encode()


class HttpUpstreams:
    """The `Upstreams` port. `keys` are the upstreams' keys by the names of their environment variables."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._keys = keys
        self._connector: aiohttp.TCPConnector | None = None
        self._ways: dict[tuple[Upstream, str], Way] = {}
        self._resting: defaultdict[Hashable, deque[Wire]] = defaultdict(deque)

    async def open(
        self, upstream: Upstream, path: str, body: bytes, headers: Mapping[str, str], first_byte_ms: int
    ) -> UpstreamReply:
        """Send the call and wait for the head of the answer."""
        began = asyncio.get_running_loop().time()
        reply: HttpReply | None = None
        # What aiohttp raises may hold the headers that were sent, so it is no cause of what is raised here.
        try:
            way = self._ways.get((upstream, path)) or self._way(upstream, path)
            wire = self._kept(way, began) or await self._connected(way, first_byte_ms)
            reply = HttpReply(wire, way.resting)
            await reply.start(way.head(headers, len(body)), body, began + first_byte_ms / 1000)
        except BaseException as trouble:
            if reply is not None:
                await reply.close()
            down = _down(upstream, trouble, None if reply is None else first_byte_ms / 1000)
            if down is None:
                raise
            raise down from None
        return reply

    async def close(self) -> None:
        """Let connections go."""
        for resting in self._resting.values():
            while resting:
                resting.pop().cut()
        if self._connector is not None:
            await self._connector.close()

    def _kept(self, way: Way, now: float) -> Wire | None:
        resting = way.resting
        while resting:
            wire = resting.pop()
            if wire.is_fit(now):
                return wire
            wire.cut()
        return None

    async def _connected(self, way: Way, first_byte_ms: int) -> Wire:
        if self._connector is None:
            self._connector = aiohttp.TCPConnector(
                limit=0, limit_per_host=0, force_close=True, ssl=ssl.create_default_context()
            )
        connection = await self._connector.connect(way.request, [], _clocks(first_byte_ms))
        protocol = connection.protocol
        if protocol is None or protocol.should_close:
            connection.close()
            raise aiohttp.ClientConnectionError("the server speaks before it is asked")
        return Wire(connection, protocol)

    def _way(self, upstream: Upstream, path: str) -> Way:
        fields = {"content-type": "application/json", "accept-encoding": "identity"}
        if upstream.kind == "anthropic":
            fields["anthropic-version"] = ANTHROPIC_VERSION
        fields |= self._authorization(upstream)
        try:
            url = URL(f"{upstream.base_url.rstrip('/')}{path}")
            request = aiohttp.ClientRequest("POST", url, loop=asyncio.get_running_loop())
        except ValueError:  # aiohttp's own are of that kind
            message = f"The upstream {upstream.name} has no address that can be called."
            raise UpstreamDown("unreachable", message) from None
        start = f"POST {request.url.raw_path_qs} HTTP/1.1\r\nhost: {request.headers['host']}\r\n"
        found = Way(request, start, fields, self._resting[request.connection_key])
        self._ways[upstream, path] = found
        return found

    def _authorization(self, upstream: Upstream) -> dict[str, str]:
        if upstream.key_env is None:
            return {}
        key = self._keys.get(upstream.key_env, "").strip()
        if not key or not (key.isascii() and key.isprintable()):
            message = (
                f"The upstream {upstream.name} has no key: set the environment variable {upstream.key_env}."
            )
            raise UpstreamDown("no_key", message)
        return {"x-api-key": key} if upstream.kind == "anthropic" else {"authorization": f"Bearer {key}"}


@lru_cache
def _clocks(first_byte_ms: int) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(connect=min(CONNECT_S, first_byte_ms / 1000), sock_connect=CONNECT_S)


def _down(upstream: Upstream, trouble: BaseException, waited_s: float | None) -> UpstreamDown | None:
    """What the trouble of a call says of its upstream; None where it is none of its. `waited_s`: for its answer."""
    match trouble:
        case TimeoutError() if waited_s is not None:
            return UpstreamDown(
                "too_slow", f"The upstream {upstream.name} sent no first byte within {waited_s:g} s."
            )
        case TimeoutError() | aiohttp.ClientError() | HttpProcessingError() | OSError():
            return UpstreamDown("unreachable", f"The upstream {upstream.name} cannot be reached.")
        case _:
            return None
