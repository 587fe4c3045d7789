"""Upstreams over HTTP: any server that speaks OpenAI's or Anthropic's API, called with aiohttp.

The host is the catalog's and nothing in a request can change it: no redirect is followed, no proxy of the
environment used, no cookie kept. What is sent is the body and a short list of headers; what comes back is limited
in size and its head is cut to a list too. Keys come from the environment at the moment of the call and stand in no
error and no log.

Requirement ids: R-SALE-5.
"""

from __future__ import annotations

import asyncio
import io
from collections.abc import AsyncIterator, Mapping

import aiohttp

from tokentill.ports.gateway import UpstreamDown, UpstreamReply
from tokentill.rules.models import Upstream

BODY_BYTES_MAX = 16 * 1024 * 1024
"""Largest answer that is passed on; a model's longest answer is far below."""
CONNECT_S = 5.0
IDLE_S = 60.0
"""Longest silence in the middle of an answer."""
LARGE_BYTES = 512 * 1024
"""A body from this size on is sent in pieces, so that others get their turn."""
ANTHROPIC_VERSION = "2023-06-01"
PASSED_ON = frozenset({"content-type", "retry-after", "x-request-id", "request-id"})


class HttpReply:
    """An answer of aiohttp."""

    def __init__(self, response: aiohttp.ClientResponse) -> None:
        self._response = response
        self.status = response.status
        self.headers: Mapping[str, str] = {
            name.lower(): value for name, value in response.headers.items() if name.lower() in PASSED_ON
        }

    async def chunks(self) -> AsyncIterator[bytes]:
        """The body as it comes."""
        size = 0
        try:
            async for chunk in self._response.content.iter_any():
                size += len(chunk)
                if size > BODY_BYTES_MAX:
                    raise UpstreamDown("too_large", "The upstream's answer is larger than any answer may be.")
                yield chunk
        except (aiohttp.ClientError, ConnectionError) as trouble:
            raise UpstreamDown("cut", "The upstream ended its answer too early.") from trouble
        except TimeoutError as trouble:
            raise UpstreamDown(
                "too_slow", "The upstream fell silent in the middle of its answer."
            ) from trouble

    async def close(self) -> None:
        """Cut the connection unless the answer was read to its end."""
        if self._response.content.at_eof():
            self._response.release()
        else:
            self._response.close()


class HttpUpstreams:
    """The `Upstreams` port. `keys` are the upstreams' keys by the names of their environment variables."""

    def __init__(self, keys: Mapping[str, str], *, connections_max: int = 1_000) -> None:
        self._keys = keys
        self._connections_max = connections_max
        self._session: aiohttp.ClientSession | None = None

    async def open(
        self, upstream: Upstream, path: str, body: bytes, headers: Mapping[str, str], first_byte_ms: int
    ) -> UpstreamReply:
        """Send the call and wait for the head of the answer."""
        sent = {"content-type": "application/json", "accept-encoding": "identity"}
        if upstream.kind == "anthropic":
            sent["anthropic-version"] = ANTHROPIC_VERSION
        sent = {**sent, **headers, **self._authorization(upstream)}
        try:
            async with asyncio.timeout(first_byte_ms / 1000):
                response = await self._client().post(
                    f"{upstream.base_url.rstrip('/')}{path}",
                    data=body if len(body) < LARGE_BYTES else io.BytesIO(body),
                    headers=sent,
                    allow_redirects=False,
                )
        except TimeoutError as trouble:
            message = f"The upstream {upstream.name} sent no first byte within {first_byte_ms / 1000:g} s."
            raise UpstreamDown("too_slow", message) from trouble
        except (aiohttp.ClientError, OSError) as trouble:
            raise UpstreamDown("unreachable", f"The upstream {upstream.name} cannot be reached.") from trouble
        return HttpReply(response)

    async def close(self) -> None:
        """Let connections go."""
        if self._session is not None:
            await self._session.close()

    def _authorization(self, upstream: Upstream) -> dict[str, str]:
        if upstream.key_env is None:
            return {}
        key = self._keys.get(upstream.key_env)
        if not key:
            message = (
                f"The upstream {upstream.name} has no key: set the environment variable {upstream.key_env}."
            )
            raise UpstreamDown("no_key", message)
        return {"x-api-key": key} if upstream.kind == "anthropic" else {"authorization": f"Bearer {key}"}

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(limit=self._connections_max, limit_per_host=0),
                timeout=aiohttp.ClientTimeout(total=None, sock_connect=CONNECT_S, sock_read=IDLE_S),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            )
        return self._session
