"""Links: addresses that open one organization's pages for a while, to whoever holds them.

A link says whose it is, for which purchase or key, and until when, under a keyed digest of the till; nobody can make
or change one without the till's secret. It opens pages to read, hands out what was not handed out yet, and orders what
somebody then pays for at a checkout, never more.
A link under another key opens other pages: those of the test portal, where its holder changes what is billed.

Requirement ids: R-SALE-4, R-SALE-6, R-PLAT-1.
"""

from __future__ import annotations

import hmac
from hashlib import blake2b

import msgspec
from msgspec import Struct

TEXT_CHARS_MAX = 6_000
MAC_BYTES = 20

_encode = msgspec.json.Encoder().encode


class Link(Struct, frozen=True, array_like=True):
    """It opens pages of an organization, about a `purchase` or as a `key` sees them, before `until` (epoch ms).

    `back`: where its pages lead back to; empty where they lead nowhere.
    """

    organization: str
    until: int
    purchase: str = ""
    key: str = ""
    back: str = ""


_decode = msgspec.json.Decoder(Link).decode


def write(secret: bytes, link: Link) -> str:
    """The text of a link, of characters that an address may have. `secret`: the till's own, 32 bytes."""
    body = _encode(link)
    return (_mac(secret, body) + body).hex()


def read(secret: bytes, text: str, now: int) -> Link | None:
    """The link of a text; None if the till did not make it or its time is over."""
    if len(text) > TEXT_CHARS_MAX:
        return None
    try:
        raw = bytes.fromhex(text)
    except ValueError:
        return None
    body = raw[MAC_BYTES:]
    if not hmac.compare_digest(raw[:MAC_BYTES], _mac(secret, body)):
        return None
    link = _decode(body)
    return link if now < link.until else None


def _mac(secret: bytes, body: bytes) -> bytes:
    return blake2b(body, digest_size=MAC_BYTES, key=secret, person=b"tokentill link").digest()
