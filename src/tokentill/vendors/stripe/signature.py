"""Is it Stripe that speaks: signature, age, account and mode of a webhook, before anything in it is believed.

The signature is checked over the raw body with the SDK's own helper, the age by the clock that is handed in
(a webhook dated more than five minutes from now, in the past or ahead, is refused). Several secrets may be
right at once, so that one can be replaced without losing an event.

Requirement ids: R-PACK-3, R-PLAT-1.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Any

import msgspec
import stripe

from tokentill.ports.shop import BadSignature, Inbound

TOLERANCE_SECONDS = 300
BODY_BYTES_MAX = 1_000_000
_TIME = re.compile(r"(?:^|,)\s*t=([0-9]{1,12})(?:,|$)")


def checked(
    inbound: Inbound, now: int, secrets: Sequence[str], *, live: bool, account: str | None
) -> dict[str, Any]:
    """The event in the webhook; raises `BadSignature` unless it is Stripe's, new, and meant for us."""
    header = inbound.headers.get("stripe-signature", "")
    if len(inbound.body) > BODY_BYTES_MAX:
        raise BadSignature("The webhook is larger than any of Stripe's.")
    try:
        payload = inbound.body.decode()
    except UnicodeDecodeError:
        raise BadSignature("The webhook is not text.") from None
    _check_age(header, now)
    if not any(_signed(payload, header, secret) for secret in secrets):
        raise BadSignature("The webhook is not signed with a secret of ours.")
    return _meant_for_us(payload, live=live, account=account)


def _check_age(header: str, now: int) -> None:
    stamps = _TIME.findall(header)
    if len(stamps) != 1:
        raise BadSignature("The webhook has no Stripe-Signature with one time in it.")
    if abs(now // 1000 - int(stamps[0])) > TOLERANCE_SECONDS:
        raise BadSignature(f"The webhook is dated more than {TOLERANCE_SECONDS} seconds from now.")


def _signed(payload: str, header: str, secret: str) -> bool:
    try:
        return bool(stripe.WebhookSignature.verify_header(payload, header, secret))
    except stripe.SignatureVerificationError:
        return False


def _meant_for_us(payload: str, *, live: bool, account: str | None) -> dict[str, Any]:
    try:
        event: Any = msgspec.json.decode(payload)
    except msgspec.DecodeError:
        raise BadSignature("The webhook is not JSON.") from None
    known = isinstance(event, dict) and event.get("object") == "event"
    if not known or not isinstance(event.get("id"), str) or not isinstance(event.get("type"), str):
        raise BadSignature("The webhook is not an event.")
    if event.get("livemode") is not live:
        raise BadSignature("The webhook is of the other mode (test and live).")
    if event.get("account") != account:
        raise BadSignature("The webhook is of another account.")
    found: dict[str, Any] = event
    return found
