"""Upstreams over HTTP: any server that speaks OpenAI's or Anthropic's API.

The host is the catalog's and nothing in a request can change it: no redirect is followed, no proxy of the
environment used, no cookie kept. What is sent is the body and a short list of headers; what comes back is limited
in size and its head is cut to a list too. Keys come from the environment at the moment of the call and stand in no
error and no log.

Requirement ids: R-SALE-5.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Mapping

from tokentill.ports.gateway import UpstreamDown, UpstreamReply
from tokentill.rules.models import Upstream
from tokentill.vendors.http1 import Connection, Lost, Place, Pool, head_of

BODY_BYTES_MAX = 16 * 1024 * 1024
"""Largest answer that is passed on; a model's longest answer is far below."""
IDLE_S = 60.0
"""Longest silence in the middle of an answer."""
ANTHROPIC_VERSION = "2023-06-01"
PASSED_ON = frozenset({b"content-type", b"retry-after", b"x-request-id", b"request-id"})


class HttpReply:
    """An answer whose head has come."""

    def __init__(self, pool: Pool, place: Place, connection: Connection) -> None:
        self._pool = pool
        self._place = place
        self._connection: Connection | None = connection
        self.status = connection.status
        self.headers: Mapping[str, str] = {
            name.decode(): value.decode("latin-1") for name, value in connection.headers if name in PASSED_ON
        }

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes."""
        size = 0
        connection = self._connection
        if connection is None:
            return
        try:
            while (chunk := await connection.read(IDLE_S)) is not None:
                size += len(chunk)
                if size > BODY_BYTES_MAX:
                    raise UpstreamDown("too_large", "The upstream's answer is larger than any answer may be.")
                yield chunk
        except Lost as lost:
            if lost.why == "too_slow":
                message = "The upstream fell silent in the middle of its answer."
                raise UpstreamDown("too_slow", message) from lost
            raise UpstreamDown("cut", "The upstream ended its answer too early.") from lost

    async def close(self) -> None:
        """Cut the connection unless the answer was read to its end."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self._pool.give(self._place, connection)


class HttpUpstreams:
    """The `Upstreams` port. `keys` are the upstreams' keys by the names of their environment variables."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._keys = keys
        self._pool = Pool()
        self._places: dict[str, Place] = {}

    async def open(
        self, upstream: Upstream, path: str, body: bytes, headers: Mapping[str, str], first_byte_ms: int
    ) -> UpstreamReply:
        """Send the call and wait for the head of the answer."""
        place = self._places.get(upstream.base_url) or self._place(upstream)
        sent = {"content-type": "application/json", "accept-encoding": "identity"}
        if upstream.kind == "anthropic":
            sent["anthropic-version"] = ANTHROPIC_VERSION
        head = head_of(place, path, (*{**sent, **headers}.items(), *self._authorization(upstream)), len(body))
        seconds = first_byte_ms / 1000
        loop = asyncio.get_running_loop()
        ends_at = loop.time() + seconds
        try:
            connection = await self._pool.take(place, seconds)
            try:
                await connection.ask(head, body, max(0.001, ends_at - loop.time()))
            except BaseException:
                connection.close()
                raise
        except Lost as lost:
            if lost.why == "too_slow":
                message = f"The upstream {upstream.name} sent no first byte within {seconds:g} s."
                raise UpstreamDown("too_slow", message) from lost
            raise UpstreamDown("unreachable", f"The upstream {upstream.name} cannot be reached.") from lost
        return HttpReply(self._pool, place, connection)

    async def close(self) -> None:
        """Let connections go."""
        self._pool.close()

    def _place(self, upstream: Upstream) -> Place:
        try:
            place = self._places[upstream.base_url] = Place.of(upstream.base_url)
        except ValueError as wrong:
            message = f"The upstream {upstream.name} has no address that can be called."
            raise UpstreamDown("unreachable", message) from wrong
        return place

    def _authorization(self, upstream: Upstream) -> tuple[tuple[str, str], ...]:
        if upstream.key_env is None:
            return ()
        key = self._keys.get(upstream.key_env, "").strip()
        if not key or not (key.isascii() and key.isprintable()):
            message = (
                f"The upstream {upstream.name} has no key: set the environment variable {upstream.key_env}."
            )
            raise UpstreamDown("no_key", message)
        return (
            (("x-api-key", key),) if upstream.kind == "anthropic" else (("authorization", f"Bearer {key}"),)
        )
