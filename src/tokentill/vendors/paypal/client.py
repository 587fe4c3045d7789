"""The client: requests to PayPal's REST API with an access token, timeouts and bounded answers.

A request that gets no answer, or one of trouble on PayPal's side, is `VendorDown`; under the same key it may be
sent again, since PayPal keeps what a `PayPal-Request-Id` did. Nothing here logs, and no error holds a secret.
"""

from __future__ import annotations

import asyncio
import re
from base64 import b64encode
from collections.abc import Callable
from hashlib import blake2b
from typing import TypeVar
from urllib.parse import urlsplit

import aiohttp
import msgspec

from tokentill.ports import Clock, VendorDown, VendorRefused
from tokentill.vendors.paypal.refusals import translated
from tokentill.vendors.paypal.wire import Token

ANSWER_MAX = 1 << 20
"""Bytes of an answer that are read; PayPal's are a few thousand."""

RENEW_MS = 60_000
"""How long before its end an access token is renewed."""

LIVE = frozenset({"https://api-m.paypal.com", "https://api.paypal.com"})
SANDBOX = frozenset({"https://api-m.sandbox.paypal.com", "https://api.sandbox.paypal.com"})

_KEY = re.compile(r"[A-Za-z0-9._-]{1,100}")
_LOOPBACK = ("127.0.0.1", "::1", "localhost")

T = TypeVar("T")


def origin(base: str) -> str:
    """The base address without what follows the host; `ValueError` for one that is not PayPal's nor of this machine."""
    parts = urlsplit(base)
    found = f"{parts.scheme}://{parts.netloc}"
    own = parts.scheme in ("http", "https") and parts.hostname in _LOOPBACK and "@" not in parts.netloc
    if parts.path.strip("/") or parts.query or not (found in LIVE | SANDBOX or own):
        known = " or ".join(sorted(LIVE | SANDBOX))
        raise ValueError(
            f"{base!r} is not an address of PayPal's API. Set TOKENTILL_PAYPAL_API_BASE to {known}."
        )
    return found


def request_id(key: str) -> str:
    """The key as PayPal takes it: short and plain, or else its digest."""
    return (
        key
        if _KEY.fullmatch(key)
        else blake2b(key.encode(), digest_size=20, person=b"paypal key").hexdigest()
    )


class Client:
    """Calls to PayPal. `connector` makes the pool of connections, by default one that checks certificates."""

    def __init__(
        self,
        base: str,
        client_id: str,
        secret: str,
        clock: Clock,
        *,
        seconds: float = 10.0,
        connector: Callable[[], aiohttp.BaseConnector] | None = None,
    ) -> None:
        self.base = origin(base)
        self._login = "Basic " + b64encode(f"{client_id}:{secret}".encode()).decode()
        self._clock = clock
        self._timeout = aiohttp.ClientTimeout(total=seconds)
        self._connector = connector
        self._session: aiohttp.ClientSession | None = None
        self._token: tuple[str, int] | None = None
        self._renewing = asyncio.Lock()

    async def get(self, path: str, kind: type[T]) -> T:
        """The object at `path`."""
        return await self._call("GET", path, kind)

    async def post(self, path: str, body: object, key: str, kind: type[T]) -> T:
        """Do something once under `key`; the whole object comes back."""
        return await self._call("POST", path, kind, body, {"PayPal-Request-Id": request_id(key)})

    async def patch(self, path: str, body: object) -> None:
        """Change an object; sending it twice changes nothing more."""
        await self._call("PATCH", path, type(None), body)

    async def fetch(self, url: str, most: int) -> bytes:
        """What a public address of PayPal's holds, without our token."""
        status, body = await self._send("GET", url, {}, None, most)
        if status != 200:
            raise translated(status, body)
        return body

    async def close(self) -> None:
        """Let connections go."""
        if self._session is not None:
            await self._session.close()
            self._session = None

    async def _call(
        self,
        method: str,
        path: str,
        kind: type[T],
        body: object = None,
        headers: dict[str, str] | None = None,
    ) -> T:
        data = None if method == "GET" else msgspec.json.encode(body)
        common = {"Content-Type": "application/json", "Prefer": "return=representation", **(headers or {})}
        if method == "GET":
            common = {}
        status, answer = 0, b""
        for _ in range(2):
            token = await self._authorized()
            named = {**common, "Authorization": f"Bearer {token}"}
            status, answer = await self._send(method, self.base + path, named, data, ANSWER_MAX)
            if status != 401:
                break
            self._forget(token)
        if status not in (200, 201, 204):
            raise translated(status, answer)
        return self._read(answer or b"null", kind)

    async def _authorized(self) -> str:
        """An access token that is good for a while yet; one is asked for at a time."""
        async with self._renewing:
            now = self._clock.now()
            if self._token is None or self._token[1] <= now:
                form = b"grant_type=client_credentials"
                headers = {
                    "Authorization": self._login,
                    "Content-Type": "application/x-www-form-urlencoded",
                }
                status, answer = await self._send(
                    "POST", f"{self.base}/v1/oauth2/token", headers, form, ANSWER_MAX
                )
                if status != 200:
                    raise translated(status, answer)
                token = self._read(answer, Token)
                lasts = max(token.expires_in * 1000 - RENEW_MS, 0)
                self._token = (token.access_token, now + lasts)
            return self._token[0]

    def _forget(self, token: str) -> None:
        if self._token is not None and self._token[0] == token:
            self._token = None

    async def _send(
        self, method: str, url: str, headers: dict[str, str], data: bytes | None, most: int
    ) -> tuple[int, bytes]:
        if self._session is None:
            connector = self._connector() if self._connector is not None else None
            self._session = aiohttp.ClientSession(
                connector=connector, timeout=self._timeout, cookie_jar=aiohttp.DummyCookieJar()
            )
        try:
            async with self._session.request(
                method,
                url,
                headers={"Accept": "application/json", **headers},
                data=data,
                allow_redirects=False,
            ) as response:
                body = b""
                async for chunk in response.content.iter_chunked(65_536):
                    body += chunk
                    if len(body) > most:
                        raise VendorDown("PayPal's answer is far too long. Ask again later.")
                return response.status, body
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise VendorDown(f"PayPal cannot be reached ({type(error).__name__}). Ask again later.") from None

    def _read(self, answer: bytes, kind: type[T]) -> T:
        try:
            return msgspec.json.decode(answer, type=kind)
        except (msgspec.DecodeError, UnicodeDecodeError):
            raise VendorDown("PayPal's answer cannot be read. Ask again later.") from None


def not_offered(what: str, instead: str) -> VendorRefused:
    """The refusal of what this provider does not do."""
    return VendorRefused("not_offered", f"{what} is not offered with PayPal. {instead}")
