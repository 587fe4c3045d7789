"""Webhooks to other systems: calls to addresses that customers chose, which must reach public places only.

An address is refused when it is written (`check`) and again when it is called, after its name was resolved: the
resolver hands out public addresses only, so a name that points inside, or is changed to between the two, reaches
nothing (server-side request forgery). No redirect is followed, no proxy used, little is read of the answer.

Requirement ids: R-PLAN-8.
"""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Mapping
from urllib.parse import urlsplit

import aiohttp
from aiohttp.abc import AbstractResolver, ResolveResult
from aiohttp.resolver import ThreadedResolver

from tokentill.ports.messages import Undelivered

SECONDS = 15.0
ANSWER_BYTES = 16_384
URL_MAX = 2_000
PORTS = frozenset({80, 443, 8080, 8443})


def public(address: str) -> bool:
    """Whether an IP address is one of the public internet."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return False
    if isinstance(found, ipaddress.IPv6Address):
        inner = found.ipv4_mapped or found.sixtofour or (found.teredo[1] if found.teredo else None)
        if inner is not None:
            return public(str(inner))
        if found in ipaddress.ip_network("64:ff9b::/96"):
            return public(str(ipaddress.IPv4Address(int(found) & 0xFFFFFFFF)))
        if found.is_site_local:
            return False  # fec0::/10, which Python takes for global
    return found.is_global and not found.is_multicast and not found.is_reserved


class PublicOnly(AbstractResolver):
    """A resolver that knows no private address. `names` looks names up, by default this machine's own resolver."""

    def __init__(self, names: AbstractResolver | None = None) -> None:
        self._names = names or ThreadedResolver()

    async def resolve(  # type: ignore[explicit-override]  # typing has the decorator from 3.12 on only
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """The public addresses of a host; none is an error."""
        found = [one for one in await self._names.resolve(host, port, family) if public(one["host"])]
        if not found:
            raise OSError("the host has no public address")
        return found

    async def close(self) -> None:  # type: ignore[explicit-override]  # as above
        """Nothing is kept."""


class HttpOutbound:
    """The `Outbound` port. `private`: private addresses and plain HTTP are allowed, to try things on one machine.

    `ports` may be called, `names` looks names up, by default this machine's own resolver.
    """

    def __init__(
        self,
        *,
        private: bool = False,
        ports: frozenset[int] = PORTS,
        names: AbstractResolver | None = None,
    ) -> None:
        self._private = private
        self._ports = ports
        self._names = names
        self._session: aiohttp.ClientSession | None = None

    def check(self, url: str) -> str | None:
        """What is wrong with an address."""
        try:
            parts = urlsplit(url)
            host, port = parts.hostname, parts.port
        except ValueError:
            return "This is no address."
        if len(url) > URL_MAX or not url.isascii() or any(character <= " " for character in url):
            return f"An address has at most {URL_MAX} characters, ASCII without spaces."
        if parts.username is not None or parts.password is not None or parts.fragment:
            return "An address may carry no user, password or fragment."
        if not host:
            return "The address names no host."
        if self._private:
            return (
                None
                if parts.scheme in ("http", "https")
                else "The address must begin with http:// or https://."
            )
        if parts.scheme != "https":
            return "The address must begin with https://."
        if port is not None and port not in self._ports:
            return f"The port must be one of {', '.join(map(str, sorted(self._ports)))}."
        literal = _ip(host)
        if literal is not None and not public(literal):
            return "The address lies in a private network, which webhooks do not reach."
        if host == "localhost" or host.endswith((".localhost", ".local", ".internal")):
            return "The address lies in a private network, which webhooks do not reach."
        return None

    async def post(self, url: str, body: bytes, headers: Mapping[str, str]) -> int:
        """Post and give the status."""
        wrong = self.check(url)
        if wrong is not None:
            raise Undelivered(wrong, for_ever=True)
        try:
            async with self._client().post(
                url, data=body, headers=headers, allow_redirects=False
            ) as response:
                await response.content.read(ANSWER_BYTES)
                return response.status
        except TimeoutError as trouble:
            raise Undelivered(f"No answer within {SECONDS:g} s.") from trouble
        except (aiohttp.ClientError, OSError) as trouble:
            raise Undelivered(f"The address cannot be reached ({type(trouble).__name__}).") from trouble

    async def close(self) -> None:
        """Let connections go."""
        if self._session is not None:
            await self._session.close()

    def _client(self) -> aiohttp.ClientSession:
        if self._session is None:
            resolver = self._names if self._private else PublicOnly(self._names)
            self._session = aiohttp.ClientSession(
                connector=aiohttp.TCPConnector(
                    resolver=resolver, limit=50, limit_per_host=5, use_dns_cache=False
                ),
                timeout=aiohttp.ClientTimeout(total=SECONDS),
                cookie_jar=aiohttp.DummyCookieJar(),
                auto_decompress=False,
                trust_env=False,
            )
        return self._session


def _ip(host: str) -> str | None:
    """The host as an IP address, in whatever notation a resolver would take; None if it is a name."""
    try:
        return str(ipaddress.ip_address(host))
    except ValueError:
        pass
    try:
        return socket.inet_ntoa(socket.inet_aton(host))  # 127.1, 0x7f000001, 2130706433
    except OSError:
        return None
