"""The `Payments` port by Stripe: hosted checkouts, saved methods, subscriptions, refunds, webhooks.

Every call that moves money or makes something carries the caller's key, from which the keys of the several
requests of one call are made, so that a call can be repeated whole. What Stripe shows a customer to pay is
checked against what was ordered before the customer is sent there: a price id that costs something else is
refused, not sold.

Requirement ids: R-PACK-2, R-PACK-3, R-PLAN-4, R-SALE-3, R-REF-6, R-PLAT-1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from tokentill.ports import Clock
from tokentill.ports.shop import Inbound, Order, Started, VendorRefused
from tokentill.rules import happenings as h
from tokentill.rules.purchases import Purchase
from tokentill.rules.rows import Payer, ProviderEvent, Subscription
from tokentill.vendors.stripe import orders, reading, signature
from tokentill.vendors.stripe.amounts import least, step, to_wire
from tokentill.vendors.stripe.gateway import (
    RETRIES_MAX,
    TIMEOUT_SECONDS,
    CardRefused,
    Gateway,
    ask,
    keyed,
)
from tokentill.vendors.stripe.reader import Reader
from tokentill.vendors.stripe.subscriptions import Subscriptions

NAME = "stripe"
KEYS_SURE_MS = 12 * 3_600_000
"""Stripe may forget a key after a day. Past half of that, what was done under one is looked for first."""


class StripePayments:
    """Payments through one Stripe account.

    `key` is its secret or restricted key, whose mode (test or live) events must have too. `secrets` are those of
    the webhook endpoint, more than one while it is being replaced. `account` is the connected account that is
    spoken for, if any. `base` is where the API is, if not at Stripe.
    """

    name = NAME

    def __init__(
        self,
        key: str,
        secrets: Sequence[str],
        clock: Clock,
        *,
        base: str | None = None,
        account: str | None = None,
        timeout_seconds: float = TIMEOUT_SECONDS,
        retries_max: int = RETRIES_MAX,
    ) -> None:
        self._gateway = Gateway(
            key, base=base, account=account, timeout_seconds=timeout_seconds, retries_max=retries_max
        )
        self._secrets = tuple(secrets)
        self._account = account
        self._clock = clock
        self._reader = Reader(self._gateway, clock)
        self._subscriptions = Subscriptions(self._gateway, self._reader)

    @property
    def gateway(self) -> Gateway:
        """The door to Stripe, for `sync_prices`."""
        return self._gateway

    def step(self, currency: str) -> int:
        """Stripe takes amounts in currencies of three digits in steps of ten."""
        return step(currency)

    def least(self, currency: str) -> int:
        """Stripe charges no less than about half a dollar."""
        return least(currency)

    async def checkout(self, order: Order, key: str) -> Started:
        """Begin a hosted checkout for one payment or a subscription (R-PACK-2)."""
        off = orders.coupon(order)
        coupon = None
        if off is not None:
            made = await ask(
                self._gateway.v1.coupons.create_async(params=off, options=keyed(f"{key}:coupon"))
            )
            coupon = str(made["id"])
        params = orders.checkout(order, coupon)
        found = await ask(self._gateway.v1.checkout.sessions.create_async(params=params, options=keyed(key)))
        due = orders.due_at_once(order)
        if found.get("amount_total") != due or str(found["currency"]).upper() != order.purchase.currency:
            await self._expire(found["id"])
            raise VendorRefused(
                "price_differs",
                f"The price {order.price_ref} costs {found.get('amount_total')} {found['currency']} at Stripe, "
                f"and {due} {order.purchase.currency} was ordered. Make the prices at Stripe anew from the "
                "catalog, or name another price.",
            )
        return Started(found["id"], found["url"], int(found["expires_at"]) * 1000)

    async def close_checkout(self, purchase: Purchase) -> None:
        """End an open checkout; one that is over already stays as it is."""
        if purchase.checkout is None:
            return
        if purchase.checkout.startswith("in_"):
            await self._subscriptions.void(purchase.checkout)
        else:
            await self._expire(purchase.checkout)

    async def _expire(self, checkout: str) -> None:
        sessions = self._gateway.v1.checkout.sessions
        try:
            await ask(sessions.expire_async(checkout))
        except VendorRefused:
            found = await ask(sessions.retrieve_async(checkout))
            if found["status"] == "open":
                raise

    async def charge_saved(self, order: Order, payer: Payer, key: str) -> Sequence[h.AnyHappening] | Started:
        """Take the money from a saved method at once; where the bank wants the customer, a checkout (R-SALE-3)."""
        params = orders.charge(order, payer)
        intents = self._gateway.v1.payment_intents
        if self._clock.now() - order.purchase.created_at > KEYS_SURE_MS:
            earlier = await self._reader.search(order.purchase)
            if earlier is not None:
                return await self._reader.intent(earlier)
        try:
            found = await ask(intents.create_async(params=params, options=keyed(key)))
        except CardRefused as error:
            if error.code == "authentication_required":
                return await self.checkout(order, f"{key}:confirm")
            return _declined(error, order.purchase)
        latest = found.get("latest_charge")
        since = latest if isinstance(latest, dict) else found
        return reading.intent(found, int(since["created"]) * 1000)

    async def look(self, purchase: Purchase) -> Sequence[h.AnyHappening]:
        """What Stripe knows of the purchase now."""
        return await self._reader.look(purchase)

    async def refund(self, purchase: Purchase, amount: int, key: str) -> Sequence[h.AnyHappening]:
        """Give money back; more than is left of the payment is refused by Stripe."""
        if purchase.payment is None or not purchase.payment.startswith("pi_"):
            raise VendorRefused(
                "nothing_paid", "No payment of this purchase is known that could be given back."
            )
        params: dict[str, Any] = {
            "payment_intent": purchase.payment,
            "amount": to_wire(amount, purchase.currency),
            "metadata": {**orders.marks(purchase), orders.KEY: key},
        }
        found = await self._reader.refund_under(purchase.payment, key)
        if found is None:
            found = await ask(self._gateway.v1.refunds.create_async(params=params, options=keyed(key)))
        if found["status"] == "pending":
            return []
        facts = await self._reader.refunds(purchase.payment, int(found["created"]) * 1000)
        own = {"purchase": purchase.id, "organization": purchase.organization}
        return [replace(fact, **own) for fact in facts]

    async def portal(self, customer: str, return_url: str) -> str | None:
        """Stripe's customer portal: payment methods, invoices."""
        params = {"customer": customer, "return_url": return_url}
        found = await ask(self._gateway.v1.billing_portal.sessions.create_async(params=params))
        return str(found["url"])

    async def change_subscription(
        self, subscription: Subscription, order: Order, credit: int, key: str
    ) -> Sequence[h.AnyHappening] | Started:
        """Move a subscription to the order's plan now: the new price less our own credit, a new period."""
        return await self._subscriptions.change(subscription, order, credit, key)

    async def end_subscription(self, subscription: Subscription, *, now: bool, key: str) -> None:
        """Cancel at the end of what is paid, or now; nothing is given back by Stripe itself."""
        await self._subscriptions.end(subscription.ref, now=now, key=key)

    async def renew_as(self, subscription: Subscription, order: Order | None, key: str) -> None:
        """From the next period on another plan, or stay with this one; nothing is due today."""
        await self._subscriptions.renew_as(subscription.ref, order, key)

    async def apply_credit(self, purchase: Purchase, key: str) -> bool:
        """Take credit off the draft of a renewal's invoice, as a line of its own (R-REF-4)."""
        return await self._subscriptions.apply_credit(purchase, key)

    async def event(self, inbound: Inbound, now: int) -> ProviderEvent:
        """The webhook as an event to keep, once it is surely Stripe's and meant for us."""
        told = signature.checked(inbound, now, self._secrets, live=self._gateway.live, account=self._account)
        return ProviderEvent(
            id=f"{NAME}:{told['id']}",
            provider=NAME,
            type=told["type"],
            body=inbound.body.decode(),
            created_at=now,
            due_at=now,
        )

    async def happenings(self, event: ProviderEvent) -> Sequence[h.AnyHappening]:
        """What the event says, empty where it says nothing to us."""
        return await self._reader.happenings(event)

    async def close(self) -> None:
        """Let connections go."""
        await self._gateway.close()


def _declined(error: CardRefused, purchase: Purchase) -> list[h.AnyHappening]:
    """The decline of a saved method; the same try as the webhook will tell."""
    facts = reading.declined(error.intent, int(error.intent["created"]) * 1000) if error.intent else []
    if facts:
        return facts
    own = {"purchase": purchase.id, "organization": purchase.organization}
    return [h.Declined(at=purchase.created_at, attempt=f"{purchase.id}:saved", code=error.code, **own)]
