"""Certificates: the key that PayPal signs webhooks with, fetched from PayPal and checked before it is believed.

A webhook names the address of its certificate, and anybody can send us a webhook. So an address is followed only
if it is one of PayPal's, over https, to the letter and without redirects. An address that failed is left alone for a
minute, at most `FETCHES_MAX` new ones are followed in a minute, and none of this touches the good ones that are
remembered: a flood of forged webhooks costs the true ones nothing. What comes back must be one certificate or a
chain: dates right, each signed by the next, the first in PayPal's name and, where a bundle of authorities is given,
the last by one of them. Without a bundle the chain hangs on the https connection to PayPal's host.
"""

from __future__ import annotations

import asyncio
import re
from collections import deque
from collections.abc import Iterable
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.oid import NameOID
from msgspec import Struct

from tokentill.ports import BadSignature, VendorDown, VendorRefused
from tokentill.vendors.paypal.client import LIVE, SANDBOX, Client

FETCHED_MAX = 65_536
CHAIN_MAX = 5
KEPT_MAX = 16
BAD_MAX = 64
KEPT_MS = 86_400_000
"""How long a certificate is believed before it is fetched anew."""
LEFT_ALONE_MS = 60_000
FETCHES_MAX = 10
"""New addresses that are followed in a minute; PayPal changes its certificate once in months."""

NOT_VALID = "The webhook's certificate is not a valid one of PayPal's."
_PATH = re.compile(r"/v1/notifications/certs/[A-Za-z0-9_-]{1,100}")
_KEY_BITS_MIN = 2048


class Known(Struct, frozen=True):
    """A good certificate's key, and until when it is believed."""

    key: RSAPublicKey
    until: int


class Certificates:
    """Signing keys by the address of their certificate. `bundle`: authorities (PEM) one of which must have signed."""

    def __init__(self, client: Client, bundle: bytes | None = None) -> None:
        self._client = client
        self._pins = () if bundle is None else tuple(x509.load_pem_x509_certificates(bundle))
        self._hosts = hosts(client.base)
        self._kept: dict[str, Known] = {}
        self._bad: dict[str, int] = {}
        """Addresses that had no good certificate, each with the time until which it is left alone."""
        self._fetched_at: deque[int] = deque(maxlen=FETCHES_MAX)
        self._fetching = asyncio.Lock()

    async def key(self, url: str, now: int) -> RSAPublicKey:
        """The key at the address; `BadSignature` if it is not PayPal's, `VendorDown` if that cannot be found out now."""
        if not self._own(url):
            raise BadSignature("The webhook names a certificate that is not at PayPal's address.")
        known = self._known(url, now)
        if known is None:
            async with self._fetching:
                known = self._known(url, now) or await self._fetched(url, now)
        return known.key

    def _known(self, url: str, now: int) -> Known | None:
        """What is remembered of the address; `BadSignature` while it is left alone."""
        if now < self._bad.get(url, 0) <= now + LEFT_ALONE_MS:
            raise BadSignature(NOT_VALID)
        known = self._kept.get(url)
        return known if known is not None and known.until - KEPT_MS <= now < known.until else None

    def _own(self, url: str) -> bool:
        """Whether the address is one where PayPal keeps certificates, letter by letter."""
        if not (url.isascii() and url.isprintable()) or len(url) > 500:
            return False
        try:
            parts = urlsplit(url)
        except ValueError:
            return False
        place = f"{parts.scheme}://{parts.netloc}"
        return place in self._hosts and bool(_PATH.fullmatch(parts.path)) and url == place + parts.path

    async def _fetched(self, url: str, now: int) -> Known:
        """Fetch and remember; nothing is evicted for the sake of an address that turns out bad."""
        if url not in self._kept:
            times = self._fetched_at
            if len(times) == FETCHES_MAX and times[0] <= now < times[0] + LEFT_ALONE_MS:
                raise VendorDown("Too many new certificates are named. Ask again later.")
            times.append(now)
        try:
            pem = await self._client.fetch(url, FETCHED_MAX)
        except VendorRefused:
            pem = b""
        found = self._checked(pem, now)
        if found is None:
            self._kept.pop(url, None)
            _bounded(self._bad, BAD_MAX)
            self._bad[url] = now + LEFT_ALONE_MS
            raise BadSignature(NOT_VALID)
        self._kept.pop(url, None)
        _bounded(self._kept, KEPT_MAX)
        self._kept[url] = found
        return found

    def _checked(self, pem: bytes, now: int) -> Known | None:
        try:
            chain = x509.load_pem_x509_certificates(pem)
            ok = (
                len(chain) <= CHAIN_MAX
                and _named(chain[0])
                and _linked(chain, now)
                and self._pinned(chain[-1], now)
            )
            key = chain[0].public_key()
        except (ValueError, TypeError):
            return None
        if not ok or not isinstance(key, RSAPublicKey) or key.key_size < _KEY_BITS_MIN:
            return None
        ends = min(int(one.not_valid_after_utc.timestamp() * 1000) for one in chain)
        return Known(key, min(ends, now + KEPT_MS))

    def _pinned(self, last: x509.Certificate, now: int) -> bool:
        if not self._pins:
            return True
        return any(_dated(pin, now) and (last == pin or _issued(last, pin)) for pin in self._pins)


def _bounded(kept: dict[str, Known] | dict[str, int], most: int) -> None:
    """Make room for one more by letting the oldest go."""
    while len(kept) >= most:
        kept.pop(next(iter(kept)))


def hosts(base: str) -> frozenset[str]:
    """Where certificates may be: PayPal's hosts; only its live ones when live; of a loopback server its own."""
    if base in LIVE:
        return LIVE
    return LIVE | SANDBOX if base in SANDBOX else frozenset({base})


def _dated(certificate: x509.Certificate, now: int) -> bool:
    begins = certificate.not_valid_before_utc.timestamp() * 1000
    return begins <= now < certificate.not_valid_after_utc.timestamp() * 1000


def _linked(chain: Iterable[x509.Certificate], now: int) -> bool:
    """Whether all are in their dates and each is signed by the next, which may sign."""
    before: x509.Certificate | None = None
    for one in chain:
        if not _dated(one, now) or (before is not None and not _issued(before, one)):
            return False
        before = one
    return True


def _issued(one: x509.Certificate, by: x509.Certificate) -> bool:
    try:
        if not by.extensions.get_extension_for_class(x509.BasicConstraints).value.ca:
            return False
        one.verify_directly_issued_by(by)
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound):
        return False
    return True


def _named(certificate: x509.Certificate) -> bool:
    """Whether the certificate is in the name of a host of PayPal's."""
    try:
        alternative = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
        names = alternative.get_values_for_type(x509.DNSName)
    except x509.ExtensionNotFound:
        names = [str(name.value) for name in certificate.subject.get_attributes_for_oid(NameOID.COMMON_NAME)]
    return any(name.lower().endswith(".paypal.com") for name in names)
