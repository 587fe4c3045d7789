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
import select
import ssl
from collections import defaultdict, deque
from collections.abc import Hashable, Mapping
from functools import lru_cache
from weakref import WeakSet

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
BODILESS = frozenset({204, 205, 304})
"""What was announced as the body of such an answer is not read by aiohttp, and would be the next customer's."""
_TROUBLE = (aiohttp.ClientError, HttpProcessingError, OSError)


class Wire:
    """A connection to an upstream, for one call after the other."""

    __slots__ = ("__weakref__", "_connection", "_poll", "_transport", "content", "protocol", "rests_since")

    def __init__(
        self, connection: Connection, protocol: ResponseHandler, transport: asyncio.Transport
    ) -> None:
        self._connection = connection
        self._transport = transport  # aiohttp forgets it when it is told to close
        self._poll = select.poll()
        self._poll.register(transport.get_extra_info("socket").fileno(), select.POLLIN)
        self.protocol = protocol
        self.content: aiohttp.StreamReader | None = None
        """The body that is being read."""
        self.rests_since = 0.0
        if protocol.closed is not None:
            protocol.closed.add_done_callback(self._ended)

    @property
    def is_fit(self) -> bool:
        """Whether the next call can go this way: not if something came that nobody had asked for, read or not.

        aiohttp would take that for the answer to the next request, which is another customer's.
        """
        protocol = self.protocol
        return protocol.is_connected() and not protocol.should_close and not self._poll.poll(0)

    @property
    def is_quiet(self) -> bool:
        """Whether all that was to be sent has left, and nothing is wrong with it."""
        protocol = self.protocol
        return (
            protocol.is_connected()
            and not protocol.should_close
            and not self._transport.get_write_buffer_size()
        )

    def cut(self) -> None:
        """What is left of a request is not sent, an upstream that still works for it stops, and its reader is told."""
        self._transport.abort()
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


class Resting:
    """Connections to one address that wait for the next call, for `kept_s` seconds; the last that came goes first."""

    def __init__(self, kept_s: float) -> None:
        self._kept_s = kept_s
        self._wires: deque[Wire] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self._closed = False

    def take(self) -> Wire | None:
        """One that can be used."""
        while self._wires:
            wire = self._wires.pop()
            if wire.is_fit:
                return wire
            wire.cut()
        return None

    def put(self, wire: Wire) -> None:
        """Keep one."""
        if self._closed:
            wire.cut()
            return
        loop = asyncio.get_running_loop()
        wire.content, wire.rests_since = None, loop.time()
        self._wires.append(wire)
        if self._timer is None:
            self._timer = loop.call_later(self._kept_s, self._let_go, loop)

    def close(self) -> None:
        """Keep none any more."""
        self._closed = True
        if self._timer is not None:
            self._timer.cancel()

    def _let_go(self, loop: asyncio.AbstractEventLoop) -> None:
        wires = self._wires
        while wires and wires[0].rests_since + self._kept_s <= loop.time():
            wires.popleft().cut()
        self._timer = loop.call_at(wires[0].rests_since + self._kept_s, self._let_go, loop) if wires else None


def _heard(ended: asyncio.Future[None]) -> None:
    """See how a connection or the sending of a body has ended, so that asyncio does not complain that nobody did."""
    if not ended.cancelled():
        ended.exception()


class HttpReply:
    """One call and its answer. `start` it before anything else; `close` it whatever happens, and as often."""

    __slots__ = ("_content", "_late", "_protocol", "_resting", "_sending", "_size", "_sized", "_wire", "headers",
                 "status")  # fmt: skip

    def __init__(self, wire: Wire, resting: Resting) -> None:
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
            if message.code == 101:
                raise aiohttp.ClientConnectionError("nobody asked for another protocol")
            if self._late:
                raise TimeoutError
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
        except (*_TROUBLE, RuntimeError):  # RuntimeError: read on after the connection has ended
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
        read = self._content is not None and self._content.at_eof() and self.status not in BODILESS
        if sent and read and wire.is_quiet:
            self._resting.put(wire)
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
            if transport.is_closing():
                return
            transport.write(body[at : at + PIECE_BYTES])
            await writer.drain()
            await asyncio.sleep(0)  # it may not have waited

    def _too_late(self) -> None:
        self._late = True
        if self._wire is not None:
            self._wire.cut()


class Way(Struct, frozen=True):
    """How calls of one path reach an upstream: what tells aiohttp where to, how their heads begin, what rests there.

    `usual`: headers that a call may give otherwise. `fixed`: those that it may not.
    """

    request: aiohttp.ClientRequest
    start: str
    usual: dict[str, str]
    fixed: dict[str, str]
    resting: Resting

    def head(self, headers: Mapping[str, str], size: int) -> bytes:
        """The head of a request whose body has so many bytes. Raises `ValueError` on a header that is not plain text."""
        fields = {**self.usual, **headers, **self.fixed}
        if not all(map(_is_plain, fields.values())):
            raise ValueError("a header is one line of printable ASCII")
        lines = "".join([f"{name}: {value}\r\n" for name, value in fields.items()])
        return f"{self.start}{lines}content-length: {size}\r\n\r\n".encode()


def _is_plain(text: str) -> bool:
    return text.isascii() and text.isprintable()


class HttpUpstreams:
    """The `Upstreams` port. `keys` are the upstreams' keys by the names of their environment variables."""

    def __init__(self, keys: Mapping[str, str], kept_s: float = KEPT_S) -> None:
        self._keys = keys
        self._connector: aiohttp.TCPConnector | None = None
        self._ways: dict[tuple[Upstream, str], Way] = {}
        self._resting: defaultdict[Hashable, Resting] = defaultdict(lambda: Resting(kept_s))
        self._wires: WeakSet[Wire] = WeakSet()

    async def open(
        self, upstream: Upstream, path: str, body: bytes, headers: Mapping[str, str], first_byte_ms: int
    ) -> UpstreamReply:
        """Send the call and wait for the head of the answer."""
        seconds = first_byte_ms / 1000
        ends_at = asyncio.get_running_loop().time() + seconds
        reply: HttpReply | None = None
        # What aiohttp raises may hold the headers that were sent, so it is no cause of what is raised here.
        try:
            way = self._ways.get((upstream, path)) or self._way(upstream, path)
            head = way.head(headers, len(body))
            wire = way.resting.take() or await self._connected(way, min(CONNECT_S, seconds))
            reply = HttpReply(wire, way.resting)
            await reply.start(head, body, ends_at)
        except BaseException as trouble:
            if reply is not None:
                await reply.close()
            down = _down(upstream, trouble, seconds, waited=reply is not None)
            if down is None:
                raise
            raise down from None
        return reply

    async def close(self) -> None:
        """Let connections go, those too that are in use."""
        for resting in self._resting.values():
            resting.close()
        for wire in tuple(self._wires):
            wire.cut()
        if self._connector is not None:
            await self._connector.close()

    async def _connected(self, way: Way, seconds: float) -> Wire:
        if self._connector is None:
            self._connector = aiohttp.TCPConnector(
                limit=0, limit_per_host=0, force_close=True, ssl=ssl.create_default_context()
            )
        connection = await self._connector.connect(way.request, [], _clocks(seconds))
        protocol, transport = connection.protocol, connection.transport
        if protocol is None or transport is None or protocol.should_close:
            connection.close()
            raise aiohttp.ClientConnectionError("the server speaks before it is asked")
        wire = Wire(connection, protocol, transport)
        self._wires.add(wire)
        return wire

    def _way(self, upstream: Upstream, path: str) -> Way:
        fixed = {"content-type": "application/json", "accept-encoding": "identity"}
        fixed |= self._authorization(upstream)
        usual = {"anthropic-version": ANTHROPIC_VERSION} if upstream.kind == "anthropic" else {}
        try:
            url = URL(f"{upstream.base_url.rstrip('/')}{path}")
            request = aiohttp.ClientRequest("POST", url, loop=asyncio.get_running_loop())
            to, host = request.url.raw_path_qs, request.headers["host"]
        except ValueError:  # aiohttp's own are of that kind
            raise _no_address(upstream) from None
        if not (_is_plain(to) and _is_plain(host)):
            raise _no_address(upstream)
        start = f"POST {to} HTTP/1.1\r\nhost: {host}\r\n"
        found = Way(request, start, usual, fixed, self._resting[request.connection_key])
        self._ways[upstream, path] = found
        return found

    def _authorization(self, upstream: Upstream) -> dict[str, str]:
        if upstream.key_env is None:
            return {}
        key = self._keys.get(upstream.key_env, "").strip()
        if not key or not _is_plain(key):
            message = (
                f"The upstream {upstream.name} has no key: set the environment variable {upstream.key_env}."
            )
            raise UpstreamDown("no_key", message)
        return {"x-api-key": key} if upstream.kind == "anthropic" else {"authorization": f"Bearer {key}"}


@lru_cache
def _clocks(seconds: float) -> aiohttp.ClientTimeout:
    return aiohttp.ClientTimeout(connect=seconds, sock_connect=CONNECT_S)


def _no_address(upstream: Upstream) -> UpstreamDown:
    return UpstreamDown("unreachable", f"The upstream {upstream.name} has no address that can be called.")


def _down(upstream: Upstream, trouble: BaseException, seconds: float, *, waited: bool) -> UpstreamDown | None:
    """What the trouble of a call says of its upstream; None where it is none of its. `waited`: for its answer."""
    match trouble:
        case TimeoutError() if waited or seconds < CONNECT_S:
            return UpstreamDown(
                "too_slow", f"The upstream {upstream.name} sent no first byte within {seconds:g} s."
            )
        case TimeoutError() | aiohttp.ClientError() | HttpProcessingError() | OSError():
            return UpstreamDown("unreachable", f"The upstream {upstream.name} cannot be reached.")
        case _:
            return None
