"""Upstreams over HTTP: any server that speaks OpenAI's or Anthropic's API, called with aiohttp.

The host is the catalog's and nothing in a request can change it: no redirect is followed, no proxy of the
environment used, no cookie kept. What is sent is the body and a short list of headers; what comes back is limited
in size and its head is cut to a list too. Keys come from the environment at the moment of the call and stand in no
error and no log. Certificates are checked, against the system's authorities or those of `SSL_CERT_FILE`. Nothing is
ever sent a second time.

Requirement ids: R-SALE-5.
"""

from __future__ import annotations

import asyncio
import io
import ssl
from collections.abc import Mapping

import aiohttp
from aiohttp.client_proto import ResponseHandler
from aiohttp.connector import Connection
from aiohttp.tracing import Trace

from tokentill.ports.gateway import UpstreamDown, UpstreamReply
from tokentill.rules.models import Upstream

BODY_BYTES_MAX = 16 * 1024 * 1024
"""Largest answer that is passed on; a model's longest answer is far below."""
CONNECT_S = 5.0
KEPT_S = 15.0
"""How long a connection that rests is used again; one that its server has closed is not."""
LARGE_BYTES = 256 * 1024
"""A body from this size on is sent in pieces, so that others get their turn."""
TRIES = 16
"""So many connections are looked at for one that can be used."""
ANTHROPIC_VERSION = "2023-06-01"
PASSED_ON = frozenset({b"content-type", b"retry-after", b"x-request-id", b"request-id"})
_CLOCKS = aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S)
"""Whoever reads the answer sees whether it falls silent (`tokentill.flows.gateway.line`): aiohttp would set a timer anew
for each piece."""
SIZED = frozenset({b"content-length", b"transfer-encoding"})


class Connector(aiohttp.TCPConnector):
    """Connections to upstreams. One on which something came that nobody had asked for is never used again.

    aiohttp would take it for the answer to the next request, which is another customer's.
    """

    async def connect(  # type: ignore[explicit-override]  # typing has the decorator from 3.12 on only
        self,
        req: aiohttp.ClientRequest,
        traces: list[Trace],
        timeout: aiohttp.ClientTimeout,  # noqa: ASYNC109 aiohttp names it so
    ) -> Connection:
        """A connection for one request. Raises `aiohttp.ClientError`."""
        for _ in range(TRIES):
            connection = await super().connect(req, traces, timeout)
            if connection.protocol is not None and not connection.protocol.should_close:
                return connection
            connection.close()
        raise aiohttp.ClientConnectionError("the server speaks before it is asked")


class Answer(aiohttp.ClientResponse):
    """An answer that ends with its connection, and whose connection ends when it is closed.

    aiohttp leaves its reader waiting when what comes cannot be parsed in the middle of a body, takes a reset for the
    end of an answer without a length, and lets a connection that is closed send what is left of the request.
    """

    protocol: ResponseHandler | None = None
    ending: asyncio.Future[None] | None = None

    async def start(self, connection: Connection) -> aiohttp.ClientResponse:  # type: ignore[explicit-override]  # as above
        """Wait for the head. Raises `aiohttp.ClientError`."""
        self.protocol = connection.protocol
        self.ending = None if self.protocol is None else self.protocol.closed
        if self.ending is not None:
            self.ending.remove_done_callback(_heard)
            self.ending.add_done_callback(_heard)
        await super().start(connection)
        if self.ending is not None:
            self.ending.add_done_callback(self._ended)
        return self

    def close(self) -> None:  # type: ignore[explicit-override]  # as above
        """Cut it: an upstream that still works for it stops."""
        self._forget()
        if self.connection is not None and self.connection.transport is not None:
            self.connection.transport.abort()
        super().close()

    def release(self) -> object:  # type: ignore[explicit-override]  # as above
        """Keep the connection for the next request, if it can be kept."""
        self._forget()
        return super().release()

    @property
    def was_reset(self) -> bool:
        """Whether an answer without a length was cut."""
        if self.protocol is None or not isinstance(self.protocol.exception(), OSError):
            return False
        return not SIZED & {name.lower() for name, _ in self.raw_headers}

    def _ended(self, _: object) -> None:
        if not self.content.is_eof() and self.content.exception() is None:
            self.content.set_exception(aiohttp.ClientPayloadError("the connection has ended"))

    def _forget(self) -> None:
        if self.ending is not None:
            self.ending.remove_done_callback(self._ended)


def _heard(closed: asyncio.Future[None]) -> None:
    """See how a connection has ended, so that asyncio does not complain that nobody did."""
    if not closed.cancelled():
        closed.exception()


class HttpReply:
    """An answer whose head has come."""

    def __init__(self, response: Answer) -> None:
        self._response = response
        self._size = 0
        self.status = response.status
        self.headers: Mapping[str, str] = {
            name.lower().decode(): value.decode("latin-1")
            for name, value in response.raw_headers
            if name.lower() in PASSED_ON
        }

    async def read(self) -> bytes:
        """The next bytes of the body as they come, none at its end."""
        try:
            chunk = await self._response.content.readany()
        except (aiohttp.ClientError, OSError):
            raise UpstreamDown("cut", "The upstream ended its answer too early.") from None
        self._size += len(chunk)
        if self._size > BODY_BYTES_MAX:
            raise UpstreamDown("too_large", "The upstream's answer is larger than any answer may be.")
        if not chunk and self._response.was_reset:
            raise UpstreamDown("cut", "The upstream ended its answer too early.")
        return chunk

    async def close(self) -> None:
        """Cut the connection unless the answer was read to its end."""
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


class HttpUpstreams:
    """The `Upstreams` port. `keys` are the upstreams' keys by the names of their environment variables."""

    def __init__(self, keys: Mapping[str, str]) -> None:
        self._keys = keys
        self._session: aiohttp.ClientSession | None = None

    async def open(
        self, upstream: Upstream, path: str, body: bytes, headers: Mapping[str, str], first_byte_ms: int
    ) -> UpstreamReply:
        """Send the call and wait for the head of the answer."""
        sent = {"content-type": "application/json", "accept-encoding": "identity"}
        if upstream.kind == "anthropic":
            sent["anthropic-version"] = ANTHROPIC_VERSION
        sent = {**sent, **headers, **self._authorization(upstream)}
        seconds = first_byte_ms / 1000
        # What aiohttp raises may hold the headers that were sent, so it is no cause of what is raised here.
        try:
            async with asyncio.timeout(seconds):
                response = await self._client().post(
                    f"{upstream.base_url.rstrip('/')}{path}",
                    data=body if len(body) < LARGE_BYTES else io.BytesIO(body),
                    headers=sent,
                    allow_redirects=False,
                    timeout=_CLOCKS,
                )
        except aiohttp.InvalidURL:
            message = f"The upstream {upstream.name} has no address that can be called."
            raise UpstreamDown("unreachable", message) from None
        except aiohttp.ConnectionTimeoutError:
            raise UpstreamDown("unreachable", f"The upstream {upstream.name} cannot be reached.") from None
        except TimeoutError:
            message = f"The upstream {upstream.name} sent no first byte within {seconds:g} s."
            raise UpstreamDown("too_slow", message) from None
        except (aiohttp.ClientError, OSError):
            raise UpstreamDown("unreachable", f"The upstream {upstream.name} cannot be reached.") from None
        assert isinstance(response, Answer), "as the session was told"
        return HttpReply(response)

    async def close(self) -> None:
        """Let connections go."""
        if self._session is not None:
            await self._session.close()

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

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=Connector(
                    limit=0, limit_per_host=0, keepalive_timeout=KEPT_S, ssl=ssl.create_default_context()
                ),
                cookie_jar=aiohttp.DummyCookieJar(),
                response_class=Answer,
                skip_auto_headers=("accept", "user-agent"),
                auto_decompress=False,
                trust_env=False,
            )
        return self._session
