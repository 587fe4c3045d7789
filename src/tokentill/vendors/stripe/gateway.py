"""The one door to Stripe: the SDK's client, timeouts, retries, and its errors translated once.

What the SDK raises becomes `VendorDown` (nobody knows whether it acted; ask again under the same key),
`CardRefused` (the bank said no) or `VendorRefused` (asking again will not help; the message says what to do).
No key and no secret is ever part of a message: what looks like one is blotted out, and the SDK's own logger,
which writes whole requests, is held at warnings. The SDK reports nothing about earlier requests to Stripe.

Requirement ids: R-PLAT-1.
"""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Mapping
from typing import Any

import aiohttp
import stripe

from tokentill.ports.shop import VendorDown, VendorRefused

API_VERSION = "2026-10-28.endive"
"""The version of the API that is spoken, whatever the installed SDK would speak by itself."""

TIMEOUT_SECONDS = 20.0
RETRIES_MAX = 2
_SECRET = re.compile(r"\b(sk|rk|pk|whsec)_[\w*]+")
_DOWN = (stripe.APIConnectionError, stripe.APIError, stripe.RateLimitError)
_MENDED = {
    "resource_missing": "It does not exist at Stripe. Check that the key belongs to the same account and mode.",
    "amount_too_small": "The amount is below what Stripe takes. Raise the price.",
    "amount_too_large": "The amount is above what Stripe takes. Lower the price.",
    "charge_already_refunded": "The payment is given back already.",
    "charge_disputed": "The payment is disputed; Stripe gives nothing back until the dispute is over.",
}

Found = dict[str, Any]
"""An object of Stripe's as plain values."""


class CardRefused(VendorRefused):
    """The customer's bank, or a rule against fraud, refused a payment; another card may still do."""

    def __init__(self, code: str, message: str, intent: Found | None) -> None:
        super().__init__(code, message)
        self.intent = intent


class Gateway:
    """Calls to one Stripe account under one key."""

    def __init__(
        self,
        key: str,
        *,
        base: str | None = None,
        account: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        retries_max: int = RETRIES_MAX,
    ) -> None:
        logging.getLogger("stripe").setLevel(logging.WARNING)
        stripe.enable_telemetry = False
        self._http: Any = stripe.AIOHTTPClient(timeout=aiohttp.ClientTimeout(total=timeout_seconds))
        self._client = stripe.StripeClient(
            key,
            stripe_account=account,
            stripe_version=API_VERSION,
            base_addresses={"api": base.rstrip("/")} if base else {},
            max_network_retries=retries_max,
            http_client=self._http,
        )
        self._opened = False
        self.live = key.startswith(("sk_live_", "rk_live_"))

    @property
    def v1(self) -> Any:
        """The SDK's services. Untyped on purpose: parameters are built as plain values in `orders`."""
        self._opened = True
        return self._client.v1

    async def close(self) -> None:
        """Let connections go."""
        if self._opened:
            await self._http.close_async()


def keyed(key: str) -> dict[str, str]:
    """The options of a call that must not happen twice."""
    return {"idempotency_key": key}


async def ask(call: Awaitable[Any]) -> Found:
    """The answer to a call of the SDK as plain values, its errors translated."""
    try:
        found = await call
    except stripe.CardError as error:
        raise _card_refused(error) from None
    except stripe.StripeError as error:
        raise _translated(error) from None
    except (TimeoutError, aiohttp.ClientError, OSError) as error:
        raise VendorDown(f"Stripe did not answer whole: {type(error).__name__}.") from None
    values: Found = found.to_dict()
    return values


def _translated(error: stripe.StripeError) -> VendorDown | VendorRefused:
    status, code = error.http_status, error.code or ""
    if isinstance(error, _DOWN) or (status is not None and status >= 500):
        return VendorDown(f"Stripe could not be asked (status {status}). Nobody knows whether it acted.")
    if status == 409 or code in ("lock_timeout", "idempotency_key_in_use"):
        return VendorDown("Stripe is still busy with the same request.")
    if isinstance(error, stripe.AuthenticationError):
        return VendorRefused("key", "Stripe does not know the secret key. Put the right one into stripe_key.")
    if isinstance(error, stripe.PermissionError):
        said = _clean(error.user_message)
        return VendorRefused("permission", f"The key may not do this. Give it the right at Stripe: {said}")
    if isinstance(error, stripe.IdempotencyError):
        return VendorRefused("key_reused", "The same key was used for another request before. Use a new one.")
    param = getattr(error, "param", None)
    about = f" (parameter {param})" if param else ""
    advice = _MENDED.get(code, "See Stripe's message.")
    return VendorRefused(code or "refused", f"{advice} Stripe says{about}: {_clean(error.user_message)}")


def _card_refused(error: stripe.CardError) -> CardRefused:
    body: Any = error.json_body
    told: Mapping[str, Any] = body.get("error", {}) if isinstance(body, Mapping) else {}
    code = str(told.get("decline_code") or error.code or "card_declined")
    if error.code in ("authentication_required", "subscription_payment_intent_requires_action"):
        code = "authentication_required"
    intent = told.get("payment_intent")
    message = f"The payment was declined ({code}). Try another payment method."
    return CardRefused(code, message, dict(intent) if isinstance(intent, Mapping) else None)


def _clean(message: str | None) -> str:
    """A message of Stripe's without anything that looks like a key, in one line."""
    return " ".join(_SECRET.sub(r"\1_***", message or "no reason").split())[:500]
