"""PayPal's webhooks: what is let in, and every way in which something is not PayPal's.

Requirement ids: R-PACK-3, R-PLAT-1.
"""

import base64
import json
import ssl
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import aiohttp.web
import pytest
from aiohttp.abc import AbstractResolver, ResolveResult
from cryptography import x509
from cryptography.hazmat.primitives import serialization

from tests.support.paypal_world import DAY, HOUR, NOW, HandClock, World, authority, opened
from tokentill.lab.paypal.authority import Authority
from tokentill.lab.paypal.outbox import deliver
from tokentill.lab.paypal.server import CERTIFICATE, Lab, serving
from tokentill.ports import BadSignature, Inbound, VendorDown
from tokentill.vendors.paypal import certificates
from tokentill.vendors.paypal.certificates import hosts
from tokentill.vendors.paypal.client import LIVE, SANDBOX
from tokentill.vendors.paypal.provider import PayPal
from tokentill.vendors.paypal.webhooks import AGE_MAX_MS, AHEAD_MAX_MS, BODY_MAX
from tokentill.web.asgi import override

BODY = json.dumps({"id": "WH-1", "event_type": "PAYMENT.SALE.COMPLETED", "resource": {"id": "X"}}).encode()


@pytest.fixture
async def world() -> AsyncIterator[World]:
    async with opened() as found:
        yield found


def changed(webhook: Inbound, **headers: str) -> Inbound:
    """The webhook with other headers, named by their last words."""
    names = {f"paypal-{name.replace('_', '-')}": value for name, value in headers.items()}
    return Inbound(webhook.body, {**webhook.headers, **names})


async def fetched(world: World) -> int:
    """How often the certificate was asked for."""
    return sum(path == CERTIFICATE for _, path, _ in world.lab.asked)


async def test_a_signed_webhook_is_let_in(world: World) -> None:
    event = await world.paypal.event(world.lab.outbox.signed(BODY), NOW)
    assert (event.id, event.provider, event.type) == ("paypal:WH-1", "paypal", "PAYMENT.SALE.COMPLETED")


async def test_the_certificate_is_fetched_once_a_day_and_without_our_token(world: World) -> None:
    for _ in range(3):
        await world.paypal.event(world.lab.outbox.signed(BODY), world.clock.at)
    assert await fetched(world) == 1
    assert all("authorization" not in headers for _, path, headers in world.lab.asked if path == CERTIFICATE)
    world.clock.at += DAY
    await world.paypal.event(world.lab.outbox.signed(BODY), world.clock.at)
    assert await fetched(world) == 2


# ---- forged, altered, stale, for another -------------------------------------------------------------------


def _altered(world: World) -> Inbound:
    webhook = world.lab.outbox.signed(BODY)
    return Inbound(webhook.body.replace(b"WH-1", b"WH-2"), webhook.headers)


def _forged(world: World) -> Inbound:
    webhook = world.lab.outbox.signed(BODY)
    stranger = Authority(NOW - DAY)
    seal = stranger.signature(
        webhook.headers["paypal-transmission-id"], webhook.headers["paypal-transmission-time"],
        world.lab.webhook_id, BODY,
    )  # fmt: skip
    return changed(webhook, transmission_sig=seal)


BAD: dict[str, Callable[[World], Inbound]] = {
    "altered body": _altered,
    "forged": _forged,
    "for another webhook": lambda world: world.lab.outbox.signed(BODY, webhook="SOMEBODYELSES"),
    "altered id": lambda world: changed(world.lab.outbox.signed(BODY), transmission_id="t-other"),
    "altered time": lambda world: changed(
        world.lab.outbox.signed(BODY), transmission_time="2025-10-09T08:53:21Z"
    ),
    "no signature": lambda world: changed(world.lab.outbox.signed(BODY), transmission_sig=""),
    "signature that is no base64": lambda world: world.lab.outbox.signed(BODY, transmission_sig="no base64!"),
    "short signature": lambda world: world.lab.outbox.signed(
        BODY, transmission_sig=base64.b64encode(b"x" * 16).decode()
    ),
    "endless header": lambda world: world.lab.outbox.signed(BODY, transmission_id="t" * 2000),
    "header that is no latin-1": lambda world: changed(
        world.lab.outbox.signed(BODY), transmission_id="t-\u20ac"
    ),
    "another algorithm": lambda world: world.lab.outbox.signed(BODY, auth_algo="SHA1withRSA"),
    "no algorithm": lambda world: changed(world.lab.outbox.signed(BODY), auth_algo=""),
    "no time": lambda world: world.lab.outbox.signed(BODY, transmission_time="yesterday"),
    "time without a zone": lambda world: world.lab.outbox.signed(
        BODY, transmission_time="2025-10-09T08:53:20"
    ),
    "no headers": lambda _world: Inbound(BODY, {}),
    "no event": lambda world: world.lab.outbox.signed(b"[1, 2, 3]"),
    "no JSON": lambda world: world.lab.outbox.signed(b"event=1"),
    "no UTF-8": lambda world: world.lab.outbox.signed(BODY.replace(b"X", b"\xff\xfe")),
    "nothing": lambda world: world.lab.outbox.signed(b""),
    "huge": lambda world: world.lab.outbox.signed(BODY + b" " * BODY_MAX),
}


WHY = {
    "altered body": "does not fit",
    "forged": "does not fit",
    "for another webhook": "does not fit",
    "altered id": "does not fit",
    "altered time": "does not fit",
    "no signature": "not signed",
    "signature that is no base64": "cannot be read",
    "short signature": "does not fit",
    "endless header": "not signed",
    "header that is no latin-1": "cannot be read",
    "another algorithm": "not signed with",
    "no algorithm": "not signed",
    "no time": "too old",
    "time without a zone": "too old",
    "no headers": "not signed",
    "no event": "no event",
    "no JSON": "no event",
    "no UTF-8": "no event",
    "nothing": "no event",
    "huge": "too large",
}


@pytest.mark.parametrize("how", BAD)
async def test_what_is_not_paypals_is_not_let_in(world: World, how: str) -> None:
    with pytest.raises(BadSignature, match=WHY[how]):
        await world.paypal.event(BAD[how](world), NOW)


@pytest.mark.parametrize(
    ("age", "fits"),
    [
        (0, True), (HOUR, True), (3 * DAY, True), (AGE_MAX_MS, True), (AGE_MAX_MS + 1000, False),
        (-AHEAD_MAX_MS, True), (-AHEAD_MAX_MS - 1000, False),
    ],
)  # fmt: skip
async def test_a_webhook_has_its_time(world: World, age: int, fits: bool) -> None:
    webhook = world.lab.outbox.signed(BODY)
    if fits:
        await world.paypal.event(webhook, NOW + age)
        return
    with pytest.raises(BadSignature, match="too old"):
        await world.paypal.event(webhook, NOW + age)


# ---- where a certificate may be ----------------------------------------------------------------------------

ELSEWHERE = (
    "https://evil.example/v1/notifications/certs/CERT-1",
    "https://api.paypal.com.evil.example/v1/notifications/certs/CERT-1",
    "https://evil.example/https://api.paypal.com/v1/notifications/certs/CERT-1",
    "https://api.paypal.com@evil.example/v1/notifications/certs/CERT-1",
    "https://user@api.paypal.com/v1/notifications/certs/CERT-1",
    "https://api.paypal.com:8443/v1/notifications/certs/CERT-1",
    "http://api.paypal.com/v1/notifications/certs/CERT-1",
    "ftp://api.paypal.com/v1/notifications/certs/CERT-1",
    "file:///etc/passwd",
    "//api.paypal.com/v1/notifications/certs/CERT-1",
    "https://www.paypal.com/v1/notifications/certs/CERT-1",
    "https://paypal.com/v1/notifications/certs/CERT-1",
    "https://xapi.paypal.com/v1/notifications/certs/CERT-1",
    "https://api.paypal.com./v1/notifications/certs/CERT-1",
    "https://API.paypal.com/v1/notifications/certs/CERT-1",
    "https://api.p\u0430ypal.com/v1/notifications/certs/CERT-1",
    "https://api.paypal.com/v1/notifications/certs/../../../redirect",
    "https://api.paypal.com/v1/notifications/certs/CERT-1?next=https://evil.example",
    "https://api.paypal.com/v1/notifications/certs/CERT-1#x",
    "https://api.paypal.com/redirect/CERT-1",
    "https://api.paypal.com/v1/notifications/certs/CERT-1/",
    "https://api.paypal.com\\@evil.example/v1/notifications/certs/CERT-1",
    "https://api.paypal.com/v1/notifications/certs/CERT-1\n",
    "https://127.0.0.1/v1/notifications/certs/CERT-1",
    "https://[::ffff:127.0.0.1]/v1/notifications/certs/CERT-1",
    "https://169.254.169.254/v1/notifications/certs/CERT-1",
    "https://[/v1/notifications/certs/CERT-1",
    "https://api.paypal.com/v1/notifications/certs/" + "C" * 101,
)


@pytest.mark.parametrize("base", ["https://api-m.paypal.com", "https://api-m.sandbox.paypal.com"])
@pytest.mark.parametrize("url", ELSEWHERE)
async def test_a_certificate_from_elsewhere_is_not_even_asked_for(url: str, base: str) -> None:
    paypal = PayPal("id", "secret", "WEBHOOK", base, HandClock(), connector=_never)
    lab = Lab(HandClock().now, authority(), webhook_id="WEBHOOK")
    with pytest.raises(BadSignature, match=r"not at PayPal's address|cannot be read"):
        await paypal.event(lab.outbox.signed(BODY, cert_url=url), NOW)
    await paypal.close()


def _never() -> aiohttp.BaseConnector:
    raise AssertionError("a connection is opened")


async def test_a_live_till_believes_no_sandbox_certificate() -> None:
    paypal = PayPal("id", "secret", "WEBHOOK", "https://api-m.paypal.com", HandClock(), connector=_never)
    lab = Lab(HandClock().now, authority(), webhook_id="WEBHOOK")
    url = "https://api.sandbox.paypal.com/v1/notifications/certs/CERT-1"
    with pytest.raises(BadSignature, match="not at PayPal's address"):
        await paypal.event(lab.outbox.signed(BODY, cert_url=url), NOW)


def test_the_hosts_are_paypals_own() -> None:
    assert hosts("https://api-m.paypal.com") == LIVE
    assert hosts("https://api-m.sandbox.paypal.com") == LIVE | SANDBOX
    assert all(one.startswith("https://") and one.endswith(".paypal.com") for one in LIVE | SANDBOX)


@dataclass
class Here(AbstractResolver):
    """Every name is this machine."""

    port: int

    @override
    async def resolve(self, host: str, port: int = 0, family: int = 0) -> list[ResolveResult]:
        assert host.endswith(".paypal.com")
        here = ResolveResult(hostname=host, host="127.0.0.1", port=self.port, family=2, proto=0, flags=0)
        return [here]

    @override
    async def close(self) -> None:
        pass


@pytest.mark.parametrize("trusted", [True, False])
async def test_the_certificate_comes_by_https_from_a_host_that_proves_its_name(
    tmp_path: Path, trusted: bool
) -> None:
    lab = Lab(HandClock().now, authority())
    (tmp_path / "chain.pem").write_bytes(authority().chain)
    (tmp_path / "key.pem").write_bytes(authority().key)
    files = {"ssl_certfile": str(tmp_path / "chain.pem"), "ssl_keyfile": str(tmp_path / "key.pem")}
    async with serving(lab, tls=files) as base:
        here = Here(int(base.rsplit(":", 1)[1]))
        context = ssl.create_default_context(cadata=authority().bundle.decode() if trusted else None)
        context.verify_flags |= (
            0x200000  # no check of dates (X509_V_FLAG_NO_CHECK_TIME): the clock is the test's
        )
        paypal = PayPal(
            lab.client_id, lab.secret, lab.webhook_id, "https://api-m.sandbox.paypal.com", HandClock(),
            connector=lambda: aiohttp.TCPConnector(resolver=here, ssl=context),
        )  # fmt: skip
        webhook = lab.outbox.signed(BODY, cert_url=f"https://api.sandbox.paypal.com{CERTIFICATE}")
        try:
            if trusted:
                assert (await paypal.event(webhook, NOW)).id == "paypal:WH-1"
            else:
                with pytest.raises(VendorDown):
                    await paypal.event(webhook, NOW)
        finally:
            await paypal.close()


# ---- which certificate is believed -------------------------------------------------------------------------


def _pem(*chain: bytes) -> bytes:
    return b"".join(chain)


def _one(certificate: x509.Certificate) -> bytes:
    return certificate.public_bytes(serialization.Encoding.PEM)


@pytest.mark.parametrize(
    ("served", "why"),
    [
        (lambda _own: b"", "nothing"),
        (lambda _own: b"<html>not here</html>", "no certificate"),
        (lambda own: own.chain[:300], "half a certificate"),
        (lambda _own: b"x" * (certificates.FETCHED_MAX - 1), "long and no certificate"),
        (lambda own: _one(own.leaf), "no chain to the authority that is pinned"),
        (lambda own: _pem(_one(own.leaf), _one(own.root)), "a link is missing"),
        (lambda own: _pem(_one(own.middle), _one(own.leaf)), "the wrong way round"),
        (lambda own: _pem(own.chain, own.chain, own.chain), "too many"),
        (lambda _own: Authority(NOW - DAY).chain, "another authority's"),
        (lambda own: _pem(_one(Authority(NOW - DAY).leaf), _one(own.middle)), "signed by another"),
    ],
)
async def test_a_certificate_that_does_not_hang_on_the_authority_is_not_believed(
    world: World, served: Callable[[Authority], bytes], why: str
) -> None:
    world.lab.certificate = served(authority())
    webhook = world.lab.outbox.signed(BODY)
    with pytest.raises(BadSignature, match="not a valid one"):
        await world.paypal.event(webhook, NOW)
    world.lab.certificate = authority().chain
    with pytest.raises(BadSignature):
        await world.paypal.event(webhook, NOW + 30_000)
    assert await fetched(world) == 1, "left alone for a while"
    await world.paypal.event(webhook, NOW + 60_000)


async def unpinned(own: Authority, at: int, *, pinned: Sequence[Authority] = ()) -> None:
    """A webhook at `at`, signed by an authority that is not pinned, or among others."""
    clock = HandClock(at)
    lab = Lab(clock.now, own)
    async with serving(lab) as base:
        bundle = b"".join(one.bundle for one in pinned) or None
        paypal = PayPal(lab.client_id, lab.secret, lab.webhook_id, base, clock, ca_bundle=bundle)
        try:
            await paypal.event(lab.outbox.signed(BODY), at)
        finally:
            await paypal.close()


async def test_without_a_pin_the_chain_hangs_on_the_connection() -> None:
    await unpinned(Authority(NOW - DAY), NOW)
    await unpinned(Authority(NOW - DAY), NOW, pinned=[])


async def test_one_of_several_pins_is_enough() -> None:
    own = Authority(NOW - DAY)
    await unpinned(own, NOW, pinned=[authority(), own])


@pytest.mark.parametrize(
    ("own", "why"),
    [
        (lambda: Authority(NOW + DAY), "not yet"),
        (lambda: Authority(NOW - 30 * DAY, days=29), "no more"),
        (lambda: Authority(NOW - DAY, signer="evil.example"), "another's name"),
        (lambda: Authority(NOW - DAY, signer="paypal.com.evil.example"), "almost the name"),
        (lambda: Authority(NOW - DAY, signer="notpaypal.com"), "ends like the name"),
        (lambda: Authority(NOW - DAY, key_size=1024), "a weak key"),
    ],
)
async def test_a_certificate_that_is_out_of_date_or_not_paypals_is_not_believed(
    own: Callable[[], Authority], why: str
) -> None:
    with pytest.raises(BadSignature, match="not a valid one"):
        await unpinned(own(), NOW)


async def test_a_certificate_is_believed_no_longer_than_it_holds(world: World) -> None:
    ends = int(authority().leaf.not_valid_after_utc.timestamp() * 1000)
    world.clock.at = ends - HOUR
    await world.paypal.event(world.lab.outbox.signed(BODY), world.clock.at)
    world.clock.at = ends
    with pytest.raises(BadSignature, match="not a valid one"):
        await world.paypal.event(world.lab.outbox.signed(BODY), world.clock.at)


async def test_a_certificate_address_that_is_unknown_is_refused_and_one_that_is_away_may_be_tried_again(
    world: World,
) -> None:
    unknown = world.lab.outbox.signed(BODY, cert_url=f"{world.lab.base}/v1/notifications/certs/CERT-other")
    with pytest.raises(BadSignature):
        await world.paypal.event(unknown, NOW)
    webhook = world.lab.outbox.signed(BODY)
    for fault in ("status", "cut", "huge"):
        world.lab.faults.append((fault, 503))
        with pytest.raises(VendorDown):
            await world.paypal.event(webhook, NOW)
    await world.paypal.event(webhook, NOW)


async def test_a_flood_of_forged_webhooks_costs_the_true_ones_nothing(world: World) -> None:
    await world.paypal.event(world.lab.outbox.signed(BODY), NOW)
    refused: list[type[Exception]] = []
    for number in range(100):
        url = f"{world.lab.base}/v1/notifications/certs/CERT-{number}"
        try:
            await world.paypal.event(world.lab.outbox.signed(BODY, cert_url=url), NOW)
        except (BadSignature, VendorDown) as error:
            refused.append(type(error))
    assert refused.count(BadSignature) == certificates.FETCHES_MAX - 1
    assert refused.count(VendorDown) == 100 - (certificates.FETCHES_MAX - 1)
    asked = len(world.lab.asked)
    await world.paypal.event(world.lab.outbox.signed(BODY), NOW)
    assert len(world.lab.asked) == asked, "remembered"
    world.clock.at += DAY
    url = f"{world.lab.base}/v1/notifications/certs/CERT-new"
    with pytest.raises(BadSignature):
        await world.paypal.event(world.lab.outbox.signed(BODY, cert_url=url), world.clock.at)
    await world.paypal.event(world.lab.outbox.signed(BODY), world.clock.at)


async def test_what_is_remembered_is_bounded(world: World) -> None:
    for number in range(2 * certificates.BAD_MAX):
        world.clock.at += 60_000
        url = f"{world.lab.base}/v1/notifications/certs/CERT-{number}"
        with pytest.raises(BadSignature):
            await world.paypal.event(world.lab.outbox.signed(BODY, cert_url=url), world.clock.at)
    assert len(world.paypal._certificates._bad) == certificates.BAD_MAX


# ---- delivery ----------------------------------------------------------------------------------------------


async def test_webhooks_are_delivered_often_and_in_any_order() -> None:
    """The lab's post: what a shop's way in gets, header for header."""
    heard: list[Inbound] = []

    lab = Lab(HandClock().now, authority())
    lab.outbox.tell("capture", "PAYMENT.CAPTURE.PENDING", {"id": "1"})
    lab.outbox.tell("capture", "PAYMENT.CAPTURE.COMPLETED", {"id": "1"})
    assert len(lab.outbox.told) == 2
    webhooks = lab.outbox.take("PAYMENT.CAPTURE.COMPLETED") + lab.outbox.take()
    assert lab.outbox.told == []

    async def answer(request: aiohttp.web.BaseRequest) -> aiohttp.web.StreamResponse:
        heard.append(
            Inbound(await request.read(), {name.lower(): value for name, value in request.headers.items()})
        )
        return aiohttp.web.Response(status=200)

    runner = aiohttp.web.ServerRunner(aiohttp.web.Server(answer))
    await runner.setup()
    site = aiohttp.web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    address = runner.addresses[0]
    assert await deliver(f"http://127.0.0.1:{address[1]}/hook", webhooks, times=2) == [200] * 4
    await runner.cleanup()
    assert [one.body for one in heard] == [webhooks[0].body] * 2 + [webhooks[1].body] * 2
    assert all(webhooks[0].headers.items() <= one.headers.items() for one in heard[:2])
