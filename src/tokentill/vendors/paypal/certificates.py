"""Certificates: the key that PayPal signs webhooks with, fetched from PayPal and checked before it is believed.

A webhook names the address of its certificate, and anybody can send us a webhook. So an address is followed only
if it is one of PayPal's, over https, to the letter and without redirects; at most `KEPT_MAX` are remembered, and an
address that failed is left alone for a minute. What comes back must be one certificate or a chain: dates right,
each signed by the next, the first in PayPal's name and, where a bundle of authorities is given, the last by one of
them. Without a bundle the chain hangs on the https connection to PayPal's host.
"""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable
from urllib.parse import urlsplit

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.rsa import RSAPublicKey
from cryptography.x509.oid import NameOID
from msgspec import Struct

from tokentill.ports import BadSignature, VendorRefused
from tokentill.vendors.paypal.client import LIVE, SANDBOX, Client

FETCHED_MAX = 65_536
CHAIN_MAX = 5
KEPT_MAX = 16
KEPT_MS = 86_400_000
"""How long a certificate is believed before it is fetched anew."""
LEFT_ALONE_MS = 60_000

_PATH = re.compile(r"/v1/notifications/certs/[A-Za-z0-9_-]{1,100}")
_KEY_BITS_MIN = 2048


class Known(Struct, frozen=True):
    """What is remembered of an address: its key until then, or (None) that it had no good one."""

    key: RSAPublicKey | None
    until: int


class Certificates:
    """Signing keys by the address of their certificate. `bundle`: authorities (PEM) one of which must have signed."""

    def __init__(self, client: Client, bundle: bytes | None = None) -> None:
        self._client = client
        self._pins = () if bundle is None else tuple(x509.load_pem_x509_certificates(bundle))
        self._hosts = hosts(client.base)
        self._kept: dict[str, Known] = {}
        self._fetching = asyncio.Lock()

    async def key(self, url: str, now: int) -> RSAPublicKey:
        """The key at the address; `BadSignature` if it is not PayPal's, `VendorDown` if PayPal cannot be reached."""
        if not self._own(url):
            raise BadSignature("The webhook names a certificate that is not at PayPal's address.")
        known = self._kept.get(url)
        if known is None or not known.until - KEPT_MS <= now < known.until:
            async with self._fetching:
                known = self._kept.get(url)
                if known is None or not known.until - KEPT_MS <= now < known.until:
                    known = await self._fetched(url, now)
        if known.key is None:
            raise BadSignature("The webhook's certificate is not a valid one of PayPal's.")
        return known.key

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
        try:
            pem = await self._client.fetch(url, FETCHED_MAX)
        except VendorRefused:
            pem = b""
        found = self._checked(pem, now)
        while len(self._kept) >= KEPT_MAX:
            self._kept.pop(next(iter(self._kept)))
        self._kept[url] = found
        return found

    def _checked(self, pem: bytes, now: int) -> Known:
        nothing = Known(None, now + LEFT_ALONE_MS)
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
            return nothing
        if not ok or not isinstance(key, RSAPublicKey) or key.key_size < _KEY_BITS_MIN:
            return nothing
        ends = min(int(one.not_valid_after_utc.timestamp() * 1000) for one in chain)
        return Known(key, min(ends, now + KEPT_MS))

    def _pinned(self, last: x509.Certificate, now: int) -> bool:
        if not self._pins:
            return True
        return any(_dated(pin, now) and (last == pin or _issued(last, pin)) for pin in self._pins)


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
