"""Webhooks: whether what came is PayPal's, unaltered, of now, and meant for this till.

PayPal signs the id and time of the transmission, the id of our webhook and the CRC-32 of the body; so a body that
was altered, and a webhook of somebody else's, do not fit. The time is that of the first try: PayPal repeats for
three days, hence the tolerance. A repetition does no harm, since events are kept by their id.
"""

from __future__ import annotations

import base64
import binascii
import zlib

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.padding import PKCS1v15
from cryptography.hazmat.primitives.hashes import SHA256

from tokentill.ports import BadSignature, Inbound
from tokentill.vendors.paypal import wire
from tokentill.vendors.paypal.certificates import Certificates

BODY_MAX = 512 * 1024
AGE_MAX_MS = 4 * 86_400_000
AHEAD_MAX_MS = 300_000
ALGORITHM = "SHA256withRSA"

_HEADERS = (
    "paypal-transmission-id", "paypal-transmission-time", "paypal-transmission-sig", "paypal-cert-url",
    "paypal-auth-algo",
)  # fmt: skip


async def verified(inbound: Inbound, webhook_id: str, certificates: Certificates, now: int) -> wire.Event:
    """The event, or `BadSignature`. What costs least is looked at first; nothing is fetched for a malformed one."""
    given = [inbound.headers.get(name, "") for name in _HEADERS]
    ident, time, signature, url, algorithm = given
    if not all(given) or any(len(value) > 1000 for value in given):
        raise BadSignature("The webhook is not signed.")
    if len(inbound.body) > BODY_MAX:
        raise BadSignature("The webhook is too large.")
    if algorithm != ALGORITHM:
        raise BadSignature(f"The webhook is not signed with {ALGORITHM}.")
    sent = wire.milliseconds(time)
    if sent is None or not -AHEAD_MAX_MS <= now - sent <= AGE_MAX_MS:
        raise BadSignature("The webhook is too old, or from the future.")
    try:
        seal = base64.b64decode(signature, validate=True)
        message = f"{ident}|{time}|{webhook_id}|{zlib.crc32(inbound.body)}".encode("latin-1")
    except (binascii.Error, ValueError):
        raise BadSignature("The webhook's signature cannot be read.") from None
    key = await certificates.key(url, now)
    try:
        key.verify(seal, message, PKCS1v15(), SHA256())
    except InvalidSignature:
        raise BadSignature(
            "The signature does not fit the webhook, or it is meant for another one."
        ) from None
    try:
        inbound.body.decode()
        return msgspec.json.decode(inbound.body, type=wire.Event)
    except (msgspec.DecodeError, UnicodeDecodeError):
        raise BadSignature("The webhook is no event.") from None
