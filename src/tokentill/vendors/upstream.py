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
from collections.abc import Mapping
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
TRIES = 16
"""So many connections are looked at for one that can be used."""
ANTHROPIC_VERSION = "2023-06-01"
PASSED_ON = frozenset({b"content-type", b"retry-after", b"x-request-id", b"request-id"})
SIZED = frozenset({b"content-length", b"transfer-encoding"})
_TROUBLE = (aiohttp.ClientError, HttpProcessingError, OSError)


class HttpReply:
    """One call and its answer, on one connection. `start` it before anything else; `close` it whatever happens."""

    __slots__ = (
        "_connection", "_content", "_ending", "_late", "_protocol", "_sending", "_size", "_sized", "headers",
        "status",
    )  # fmt: skip

    def __init__(self, connection: Connection, protocol: ResponseHandler) -> None:
        self._connection = connection
        self._protocol = protocol
        self._content: aiohttp.StreamReader | None = None
        self._sending: asyncio.Task[None] | None = None
        self._ending = protocol.closed
        self._late = False
        self._size = 0
        self._sized = False
        self.status = 0
        self.headers: Mapping[str, str] = {}

    async def start(self, head: bytes, body: bytes, ends_at: float) -> None:
        """Send the request and wait for the head of the answer until `ends_at`, in seconds of the loop's clock.

        Raises `TimeoutError`, and what aiohttp raises.
        """
        protocol, loop = self._protocol, asyncio.get_running_loop()
        if self._ending is not None:
            self._ending.remove_done_callback(_heard)  # it is there from the call before, if there was one
            self._ending.add_done_callback(_heard)
        protocol.set_response_params(read_until_eof=True, auto_decompress=False)
        timer = loop.call_at(ends_at, self._too_late)
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
        self.status = message.code
        headers = {}
        for name, value in message.raw_headers:
            lower = name.lower()
            if lower in PASSED_ON:
                headers[lower.decode()] = value.decode("latin-1")
            elif lower in SIZED:
                self._sized = True
        self.headers = headers
        self._content = content
        if self._ending is not None:
            self._ending.add_done_callback(self._ended)

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
        if self._ending is not None:
            self._ending.remove_done_callback(self._ended)
        sent = self._sending is None or self._sending.done()
        if sent and self._content is not None and self._content.at_eof():
            self._connection.release()
            return
        if self._sending is not None:
            self._sending.cancel()
        self._cut()
        self._ended(None)
        self._connection.close()

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

    def _cut(self) -> None:
        """What is left of the request is not sent, and an upstream that still works for it stops."""
        if self._protocol.transport is not None:
            self._protocol.transport.abort()

    def _too_late(self) -> None:
        self._late = True
        self._cut()

    def _ended(self, _: object) -> None:
        """End the body too: aiohttp leaves its reader waiting when what comes cannot be parsed in the middle of it."""
        content = self._content
        if content is not None and not content.is_eof() and content.exception() is None:
            content.set_exception(aiohttp.ClientPayloadError("the connection has ended"))


def _heard(ended: asyncio.Future[None]) -> None:
    """See how a connection or the sending of a body has ended, so that asyncio does not complain that nobody did."""
    if not ended.cancelled():
        ended.exception()


class Way(Struct, frozen=True):
    """How calls of one path reach an upstream: what tells aiohttp where to, and how their heads begin."""

    request: aiohttp.ClientRequest
    start: str
    fields: dict[str, str]

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

    async def open(
        self, upstream: Upstream, path: str, body: bytes, headers: Mapping[str, str], first_byte_ms: int
    ) -> UpstreamReply:
        """Send the call and wait for the head of the answer."""
        ends_at = asyncio.get_running_loop().time() + first_byte_ms / 1000
        reply: HttpReply | None = None
        # What aiohttp raises may hold the headers that were sent, so it is no cause of what is raised here.
        try:
            way = self._ways.get((upstream, path)) or self._way(upstream, path)
            reply = await self._connected(way, first_byte_ms)
            await reply.start(way.head(headers, len(body)), body, ends_at)
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
        if self._connector is not None:
            await self._connector.close()

    async def _connected(self, way: Way, first_byte_ms: int) -> HttpReply:
        """A connection, new or kept, but none on which something came that nobody had asked for.

        aiohttp would take that for the answer to the next request, which is another customer's.
        """
        if self._connector is None:
            self._connector = aiohttp.TCPConnector(
                limit=0, limit_per_host=0, keepalive_timeout=KEPT_S, ssl=ssl.create_default_context()
            )
        for _ in range(TRIES):
            connection = await self._connector.connect(way.request, [], _clocks(first_byte_ms))
            protocol = connection.protocol
            if protocol is not None and not protocol.should_close:
                return HttpReply(connection, protocol)
            connection.close()
        raise aiohttp.ClientConnectionError("the server speaks before it is asked")

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
        found = self._ways[upstream, path] = Way(request, start, fields)
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
