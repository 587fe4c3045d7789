"""Signing: what the embedded provider tells, as signed events that take the way of every provider's webhooks.

Requirement ids: R-PACK-3, R-PLAT-1.
"""

from __future__ import annotations

import hmac
from hashlib import sha256

import msgspec
from msgspec import Struct

from tokentill.ports import BadSignature, Clock, Inbound
from tokentill.rules import happenings as h
from tokentill.rules.rows import ProviderEvent, Untold

NAME = "embedded"
SIGNATURE = "tokentill-signature"
TOLERANCE_MS = 300_000


class Told(Struct, frozen=True):
    """An event of this provider, as its body."""

    id: str
    type: str
    happenings: tuple[h.AnyHappening, ...]


_encode = msgspec.json.Encoder().encode
told = msgspec.json.Decoder(Told).decode


class Signing:
    """Signs events with `key` and reads them again."""

    def __init__(self, key: bytes, clock: Clock) -> None:
        self._key = key
        self._clock = clock

    def event_of(self, payment: str, one: Untold) -> Inbound:
        """An event of a payment as it travels, signed now, ready for the webhook's way in."""
        body = _encode(Told(f"{payment}.{one.name}", one.name, one.facts))
        at = str(self._clock.now())
        return Inbound(body, {SIGNATURE: f"t={at},v1={self._sign(at, body)}"})

    def event(self, inbound: Inbound, now: int) -> ProviderEvent:
        """The event, if it is ours, unaltered, and not old; else `BadSignature`."""
        stamp, _, given = inbound.headers.get(SIGNATURE, "").partition(",")
        at = stamp.removeprefix("t=")
        if not at.isdigit() or len(at) > 15 or not given.startswith("v1="):
            raise BadSignature("The event is not signed.")
        if not hmac.compare_digest(given[3:].encode(), self._sign(at, inbound.body).encode()):
            raise BadSignature("The signature does not fit the event.")
        if abs(now - int(at)) > TOLERANCE_MS:
            raise BadSignature("The event is too old, or from the future.")
        found = told(inbound.body)
        organization = next((fact.organization for fact in found.happenings if fact.organization), "")
        return ProviderEvent(
            id=f"{NAME}:{found.id}", organization=organization or "", created_at=now, provider=NAME,
            type=found.type, body=inbound.body.decode(),
        )  # fmt: skip

    def _sign(self, at: str, body: bytes) -> str:
        return hmac.new(self._key, at.encode() + b"." + body, sha256).hexdigest()
