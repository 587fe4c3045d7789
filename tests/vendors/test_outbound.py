"""Webhooks reach public addresses only, however a private one is written (R-PLAN-8; CWE-918)."""

import asyncio
from socket import AF_INET, AddressFamily

import pytest
from aiohttp.abc import AbstractResolver, ResolveResult

from tokentill.ports.messages import Undelivered
from tokentill.vendors.outbound import HttpOutbound, PublicOnly, public


@pytest.mark.parametrize(
    "address",
    [
        "127.0.0.1", "10.1.2.3", "172.16.0.1", "192.168.1.1", "169.254.169.254", "100.64.0.1", "0.0.0.0", "224.0.0.1",
        "255.255.255.255", "::1", "::", "fe80::1", "fc00::1", "ff02::1", "::ffff:127.0.0.1", "::ffff:10.0.0.1",
        "64:ff9b::7f00:1", "2002:7f00:1::", "fec0::1", "fe80::1%eth0", "not an address",
    ],
)  # fmt: skip
def test_private_addresses(address: str) -> None:
    assert not public(address)


@pytest.mark.parametrize("address", ["1.1.1.1", "93.184.216.34", "2606:4700:4700::1111"])
def test_public_addresses(address: str) -> None:
    assert public(address)


@pytest.mark.parametrize(
    "url",
    [
        "", "ftp://example.com/", "http://example.com/", "https://", "https://user@example.com/", "https://a:b@example.com/",
        "https://example.com/#x", "https://example.com:22/", "https://example.com:99999/", "https://exa mple.com/",
        "https://exämple.com/", "https://localhost/", "https://x.localhost/", "https://db.internal/", "https://127.0.0.1/",
        "https://127.1/", "https://2130706433/", "https://0x7f000001/", "https://0177.0.0.1/", "https://[::1]/",
        "https://[::ffff:127.0.0.1]/", "https://169.254.169.254/latest/meta-data", "https://10.0.0.1:8443/",
        "https://example.com/" + "a" * 2_000,
    ],
)  # fmt: skip
async def test_an_address_that_may_not_be_called_is_refused_in_words_and_not_called(url: str) -> None:
    outbound = HttpOutbound()
    assert outbound.check(url)
    with pytest.raises(Undelivered) as caught:
        await outbound.post(url, b"{}", {})
    assert caught.value.for_ever
    await outbound.close()


async def test_a_name_that_resolves_to_a_private_address_is_not_reached() -> None:
    with pytest.raises(OSError, match="no public address"):
        await PublicOnly().resolve("localhost", 443)


@pytest.mark.parametrize(
    "url", ["https://example.com/", "https://example.com:8443/hook?x=1", "https://1.1.1.1/"]
)
def test_public_places_may_be_called(url: str) -> None:
    assert HttpOutbound().check(url) is None


class Inside(AbstractResolver):
    """Names as a server tells them that somebody rebinds: each leads to this machine."""

    async def resolve(  # type: ignore[explicit-override]  # typing has the decorator from 3.12 on only
        self, host: str, port: int = 0, family: AddressFamily = AF_INET
    ) -> list[ResolveResult]:
        return [ResolveResult(hostname=host, host="127.0.0.1", port=port, family=AF_INET, proto=6, flags=0)]

    async def close(self) -> None:  # type: ignore[explicit-override]  # as above
        """Nothing is kept."""


@pytest.mark.parametrize(("private", "reached"), [(False, 0), (True, 1)])
async def test_a_name_that_points_inside_is_not_called(private: bool, reached: int) -> None:
    """Its address is looked at where the connection is made, whatever the name was when it was written."""
    calls = 0

    async def count(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal calls
        calls += 1
        writer.close()

    server = await asyncio.start_server(count, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    outbound = HttpOutbound(private=private, ports=frozenset({port}), names=Inside())
    url = f"https://hooks.example.com:{port}/"
    assert outbound.check(url) is None, "only its resolution tells"
    with pytest.raises(Undelivered):
        await outbound.post(url, b"{}", {})
    assert calls == reached, "only where private addresses are allowed"
    await outbound.close()
    server.close()
