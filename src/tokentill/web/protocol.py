"""Protocol: uvicorn's HTTP/1.1 with limits on what a client may take before it has asked for anything.

httptools bounds neither the size of a request's head nor the time a request takes to arrive. Here both are:
a head that grows beyond `HEAD_BYTES_MAX` gets 431, a request that is not whole `REQUEST_SECONDS_MAX` after
it began (or after the connection did) gets 408, and what is not HTTP at all gets 400, each as a problem.

What is there whole need not go through the events of ASGI, which cost a tenth of a request: an `Exchange` in the
scope gives the body and takes the answer at once.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from tokentill.web import problems
from tokentill.web.asgi import CLOSE, EXCHANGE, NO_STORE, Answer, override

REQUEST_SECONDS_MAX = 15.0
HEAD_BYTES_MAX = 32 * 1024
"""Request line and headers together."""


class Exchange:
    """The short way between the server and the application, for one request; see `tokentill.web.asgi.Exchange`.

    It holds the connection and not the request's own cycle, whose scope holds it: every request would wait for the
    garbage collector.
    """

    __slots__ = ("_connection",)

    def __init__(self, connection: Protocol) -> None:
        self._connection = connection

    def body(self) -> bytes | None:
        """The request's body, as `receive` would give it, if all of it is there and no later request is."""
        cycle = self._connection.cycle
        if cycle.scope.get(EXCHANGE) is not self or cycle.more_body or cycle.waiting_for_100_continue:
            return None
        if cycle.disconnected or cycle.response_complete:
            return None
        body = bytes(cycle.body)
        cycle.body = bytearray()
        cycle.message_event.clear()
        return body

    def watch(self, gone: Callable[[], None]) -> Callable[[], None]:
        """Have `gone` called when the client goes away, at once if it has; what comes back ends that."""
        protocol = self._connection
        if protocol.transport.is_closing():
            gone()
            return lambda: None
        protocol.watching.add(gone)
        return lambda: protocol.watching.discard(gone)

    def _can_answer(self) -> bool:
        """Whether this request's answer has not begun and can leave at once."""
        cycle = self._connection.cycle
        if cycle.scope.get(EXCHANGE) is not self or cycle.response_started or cycle.disconnected:
            return False
        return cycle.keep_alive and cycle.scope["method"] != "HEAD" and not cycle.flow.write_paused

    def begin(self, headers: Sequence[tuple[bytes, bytes]]) -> bool:
        """Begin an answer that streams, as a call of `send` would; False if it has to go that way."""
        if not self._can_answer():
            return False
        cycle = self._connection.cycle
        cycle.response_started = cycle.chunked_encoding = True
        cycle.waiting_for_100_continue = False
        fields = (*cycle.default_headers, *headers, (b"transfer-encoding", b"chunked"))
        cycle.transport.write(
            STATUS_LINE[200] + b"".join([b"%b: %b\r\n" % field for field in fields]) + b"\r\n"
        )
        return True

    def write(self, chunk: bytes) -> bool:
        """Send the next bytes of what was begun, as a call of `send` would; False if they have to go that way."""
        cycle = self._connection.cycle
        if (
            cycle.scope.get(EXCHANGE) is not self
            or cycle.flow.write_paused
            or cycle.disconnected
            or not chunk
        ):
            return False
        cycle.transport.write(b"%x\r\n%b\r\n" % (len(chunk), chunk))
        return True

    def send(self, answer: Answer) -> bool:
        """Send an answer, as two calls of `send` would; False if it has to go that way."""
        if not self._can_answer() or CLOSE in answer.headers:
            return False
        cycle = self._connection.cycle
        cycle.response_started = cycle.response_complete = True
        cycle.waiting_for_100_continue = False
        usual = b"".join([b"%b: %b\r\n" % field for field in (*cycle.default_headers, *answer.headers)])
        head = b"%b%b%b: %b\r\n%b: %b\r\ncontent-length: %d\r\n\r\n"
        body = answer.body
        cycle.transport.write(
            head % (STATUS_LINE[answer.status], usual, *answer.content_type, *NO_STORE, len(body)) + body
        )
        cycle.message_event.set()
        cycle.on_response()
        return True


class Protocol(HttpToolsProtocol):
    """One connection."""

    request_seconds_max = REQUEST_SECONDS_MAX
    _in_head = True
    _in_request = True
    _head_bytes = 0
    _timer: asyncio.TimerHandle | None = None

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """A client has connected and has to come to the point."""
        super().connection_made(transport)
        # Paths name organizations and users, and may hold a key that was put in the wrong place. uvicorn would
        # log them wherever somebody has given the root logger a handler.
        self.access_log = False
        self.watching: set[Callable[[], None]] = set()
        self._timer = self.loop.call_later(self.request_seconds_max, self._too_slow)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._stop_timer()
        super().connection_lost(exc)
        for gone in tuple(self.watching):
            gone()

    @override
    def data_received(self, data: bytes) -> None:
        """Read on; a request that is not whole by now is watched."""
        super().data_received(data)
        if not self._in_request:
            return
        if self.transport.is_closing():
            self._stop_timer()
            return
        if self._in_head:
            self._head_bytes += len(data)
            if self._head_bytes > HEAD_BYTES_MAX:
                self._refuse(
                    431, "head_too_large", f"Request line and headers may have {HEAD_BYTES_MAX} bytes."
                )
        if self._timer is None:
            self._timer = self.loop.call_later(self.request_seconds_max, self._too_slow)

    @override
    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head = self._in_request = True
        self._head_bytes = 0

    @override
    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._in_head = False
        super().on_headers_complete()
        self.scope[EXCHANGE] = Exchange(self)  # type: ignore[literal-required]  # ASGI leaves room

    @override
    def on_message_complete(self) -> None:
        """The request is whole."""
        self._in_request = False
        if self._timer is not None:
            self._stop_timer()
        super().on_message_complete()

    @override
    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the problem says it in its own words
        """What came is not HTTP."""
        self._refuse(400, "malformed_http", "This is no HTTP request that can be read. Nothing was changed.")

    def _too_slow(self) -> None:
        self._timer = None
        if self.transport.is_closing() or self.flow.read_paused:
            # Paused: an earlier request of this connection is being answered, and this one waits its turn.
            return
        seconds = self.request_seconds_max
        detail = f"The request was not whole after {seconds:g} seconds. Nothing was changed."
        self._refuse(408, "request_too_slow", detail)

    def _stop_timer(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _refuse(self, status: int, code: str, detail: str) -> None:
        """Say why the connection ends, unless an answer is on its way already, which this would garble."""
        self._stop_timer()
        cycle: object = self.cycle
        if cycle is None or self.cycle.response_complete or not self.cycle.response_started:
            self.transport.write(_whole(problems.plain(status, code, detail)))
        self.transport.close()


def protocol(request_seconds_max: float = REQUEST_SECONDS_MAX) -> type[Protocol]:
    """The protocol that gives a request so long; uvicorn takes a class."""
    return type("Protocol", (Protocol,), {"request_seconds_max": request_seconds_max})


def _whole(answer: Answer) -> bytes:
    head = b"%s: %s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
    return STATUS_LINE[answer.status] + head % (*answer.content_type, len(answer.body)) + answer.body
