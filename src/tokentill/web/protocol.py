"""Protocol: uvicorn's HTTP/1.1 with limits on what a client may take before it has asked for anything.

httptools bounds neither the size of a head nor the time it takes. Here both are: a head that grows beyond
`HEAD_BYTES_MAX` gets 431, one that is not whole after `HEAD_SECONDS_MAX` gets 408, and what is not HTTP at
all gets 400, each as a problem.
"""

from __future__ import annotations

import asyncio

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from tokentill.web import problems
from tokentill.web.asgi import Answer, override

HEAD_SECONDS_MAX = 15.0
HEAD_BYTES_MAX = 32 * 1024
"""Request line and headers together."""


class Protocol(HttpToolsProtocol):
    """One connection."""

    _in_head = True
    _head_bytes = 0
    _head_timer: asyncio.TimerHandle | None = None

    @override
    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as uvicorn has it
        """A client has connected and has to come to the point."""
        super().connection_made(transport)
        self._head_timer = self.loop.call_later(HEAD_SECONDS_MAX, self._too_slow)

    @override
    def connection_lost(self, exc: Exception | None) -> None:
        """The client has gone."""
        self._stop_timer()
        super().connection_lost(exc)

    @override
    def data_received(self, data: bytes) -> None:
        """Read on, unless the head has become too large."""
        super().data_received(data)
        if not self._in_head:
            return
        if self.transport.is_closing():
            self._stop_timer()
            return
        self._head_bytes += len(data)
        if self._head_bytes > HEAD_BYTES_MAX:
            self._refuse(431, "head_too_large", f"Request line and headers may have {HEAD_BYTES_MAX} bytes.")
        elif self._head_timer is None:
            self._head_timer = self.loop.call_later(HEAD_SECONDS_MAX, self._too_slow)

    @override
    def on_message_begin(self) -> None:
        """A request begins."""
        super().on_message_begin()
        self._in_head = True
        self._head_bytes = 0

    @override
    def on_headers_complete(self) -> None:
        """The head is whole."""
        self._in_head = False
        if self._head_timer is not None:
            self._stop_timer()
        super().on_headers_complete()

    @override
    def send_400_response(self, msg: str) -> None:  # noqa: ARG002 - the problem says it in its own words
        """What came is not HTTP."""
        self._refuse(400, "malformed_http", "This is no HTTP request that can be read. Nothing was changed.")

    def _too_slow(self) -> None:
        self._head_timer = None
        if not self.transport.is_closing():
            self._refuse(408, "head_too_slow", f"A request's head may take {HEAD_SECONDS_MAX:g} seconds.")

    def _stop_timer(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _refuse(self, status: int, code: str, detail: str) -> None:
        running: object = self.cycle
        if running is not None and not self.cycle.response_complete:
            # An answer is on its way on this connection; another one in between would garble it.
            self.transport.close()
            return
        self.transport.write(_whole(problems.plain(status, code, detail)))
        self.transport.close()


def _whole(answer: Answer) -> bytes:
    head = b"%s: %s\r\ncontent-length: %d\r\nconnection: close\r\n\r\n"
    return STATUS_LINE[answer.status] + head % (*answer.content_type, len(answer.body)) + answer.body
