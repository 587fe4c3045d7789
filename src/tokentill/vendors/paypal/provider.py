"""PayPal as a payment provider: one-time checkouts, refunds of them, and what becomes of them.

The customer approves an order at PayPal; the money is taken by us, when the customer comes back (`look`) or when
PayPal tells us of the approval (`happenings`), whichever is first. Both take it under one request id, and PayPal
takes the money of an order once, so a race ends with one payment. A second order of the same purchase cannot be
paid either: both carry the purchase as their invoice number, of which PayPal takes one.

Subscriptions, saved methods and a customer's portal are not offered.

Requirement ids: R-PLAT-1, R-PACK-2, R-PACK-3, R-REF-6.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from hashlib import blake2b
from urllib.parse import quote, urlsplit

import aiohttp
import msgspec

from tokentill.ports import Clock, Inbound, Order, Started, VendorDown, VendorRefused
from tokentill.rules import happenings as h
from tokentill.rules.purchases import Purchase
from tokentill.rules.rows import Payer, ProviderEvent, Subscription
from tokentill.vendors.paypal import facts, money, webhooks, wire
from tokentill.vendors.paypal.certificates import Certificates
from tokentill.vendors.paypal.client import LIVE, SANDBOX, Client, not_offered
from tokentill.vendors.paypal.refusals import DECLINES, FORGOTTEN, NOT_APPROVED, TAKEN

NAME = "paypal"
TITLE_MAX = 127
EVENTS: dict[str, type[wire.Order | wire.Reversal | wire.Capture | wire.Refund | wire.Dispute]] = {
    "CHECKOUT.ORDER.APPROVED": wire.Order,
    "CHECKOUT.ORDER.COMPLETED": wire.Order,
    "CHECKOUT.ORDER.VOIDED": wire.Order,
    "CHECKOUT.PAYMENT-APPROVAL.REVERSED": wire.Reversal,
    "CUSTOMER.DISPUTE.CREATED": wire.Dispute,
    "CUSTOMER.DISPUTE.RESOLVED": wire.Dispute,
    "CUSTOMER.DISPUTE.UPDATED": wire.Dispute,
    "PAYMENT.CAPTURE.COMPLETED": wire.Capture,
    "PAYMENT.CAPTURE.DECLINED": wire.Capture,
    "PAYMENT.CAPTURE.DENIED": wire.Capture,
    "PAYMENT.CAPTURE.PENDING": wire.Capture,
    "PAYMENT.CAPTURE.REFUNDED": wire.Refund,
    "PAYMENT.CAPTURE.REVERSED": wire.Refund,
}
"""The events a webhook should be subscribed to, and what each is about; whatever else comes says nothing to us."""

_EMAIL = re.compile(r"[A-Za-z0-9._+-]{1,64}@(?:[A-Za-z0-9-]{1,63}\.)+[A-Za-z]{2,24}")


class PayPal:
    """The `Payments` port on PayPal. `api_base` is PayPal's live or sandbox address, or a server on this machine.

    `ca_bundle` (PEM) pins the authorities that may have signed PayPal's webhook certificates. `seconds` is how long
    an answer may take. Raises `ValueError` for an address that is not PayPal's, and for a missing id or secret.
    """

    name = NAME

    def __init__(
        self,
        client_id: str,
        secret: str,
        webhook_id: str,
        api_base: str,
        clock: Clock,
        *,
        ca_bundle: bytes | None = None,
        seconds: float = 10.0,
        connector: Callable[[], aiohttp.BaseConnector] | None = None,
    ) -> None:
        for setting, value in (("CLIENT_ID", client_id), ("SECRET", secret), ("WEBHOOK_ID", webhook_id)):
            if not value or not (value.isascii() and value.isprintable()) or ":" in value:
                raise ValueError(
                    f"Set TOKENTILL_PAYPAL_{setting} to what PayPal's developer dashboard shows."
                )
        self._clock = clock
        self._webhook_id = webhook_id
        self._client = Client(api_base, client_id, secret, clock, seconds=seconds, connector=connector)
        self._certificates = Certificates(self._client, ca_bundle)

    # ---- the customer pays ---------------------------------------------------------------------------------

    def step(self, currency: str) -> int:
        """PayPal takes some currencies in whole units only."""
        return money.step(currency)

    def least(self, currency: str) -> int:
        """PayPal takes anything above zero."""
        return money.step(currency)

    async def checkout(self, order: Order, key: str) -> Started:
        """Create an order for one payment and say where the customer approves it."""
        if order.interval is not None:
            raise not_offered("A subscription", "Subscribe with a card, or buy a pack with PayPal.")
        if order.save_method:
            raise not_offered("Saving a payment method", "Pay without saving it, or save a card.")
        found = await self._client.post("/v2/checkout/orders", _ordered(order), key, wire.Order)
        began = wire.milliseconds(found.create_time) or self._clock.now()
        url = next((one.href for one in found.links if one.rel in ("payer-action", "approve")), None)
        if url is None:
            # Repeated after the customer has approved: there is nothing left to approve, and `look` takes the money.
            return Started(found.id, order.success_url, began + facts.OPEN_MS)
        return Started(found.id, self._page(url), began + facts.OPEN_MS)

    async def close_checkout(self, purchase: Purchase) -> None:
        """Mark the order, so that an approval that still comes takes no money. PayPal itself cannot end an order."""
        if purchase.checkout is None:
            return
        path = "/purchase_units/@reference_id=='default'/custom_id"
        change = [{"op": "replace", "path": path, "value": facts.CLOSED + purchase.id}]
        try:
            await self._client.patch(_at("checkout/orders", purchase.checkout), change)
        except VendorRefused as refused:
            if refused.code not in TAKEN | FORGOTTEN:
                raise

    async def look(self, purchase: Purchase) -> Sequence[h.AnyHappening]:
        """What PayPal knows of the purchase's order now; an approved one is captured."""
        if purchase.checkout is None:
            return ()
        order = await self._known(purchase.checkout)
        if order is None:
            if purchase.payments:
                return ()
            return (h.Ended(at=self._clock.now(), purchase=purchase.id, checkout=purchase.checkout),)
        found = list(await self._settled(order))
        for capture in dict.fromkeys(fact.payment for fact in found if isinstance(fact, h.Paid)):
            found += await self._disputes(capture)
        return tuple(found)

    # ---- money goes back -----------------------------------------------------------------------------------

    async def refund(self, purchase: Purchase, amount: int, key: str) -> Sequence[h.AnyHappening]:
        """Give back a part or all of the purchase's payment; nothing to tell yet while PayPal has it pending."""
        if purchase.payment is None:
            raise VendorRefused(
                "not_paid", "Nothing was paid with PayPal for this, so nothing can be given back."
            )
        body = {
            "amount": {"currency_code": purchase.currency, "value": money.text(amount, purchase.currency)}
        }
        refund = await self._client.post(
            _at("payments/captures", purchase.payment, "refund"), body, key, wire.Refund
        )
        if refund.status in ("CANCELLED", "FAILED"):
            raise VendorRefused(
                "refund_failed", "PayPal could not give the money back. Give it back another way."
            )
        return facts.of_refund(refund, purchase.payment)

    # ---- not offered ---------------------------------------------------------------------------------------

    async def charge_saved(self, order: Order, payer: Payer, key: str) -> Sequence[h.AnyHappening] | Started:
        """Refused: nothing is saved at PayPal."""
        del order, payer, key
        raise not_offered("A payment from a saved method", "Begin a checkout instead.")

    async def change_subscription(
        self, subscription: Subscription, order: Order, credit: int, key: str
    ) -> Sequence[h.AnyHappening] | Started:
        """Refused: there are no subscriptions."""
        del subscription, order, credit, key
        raise not_offered("A subscription", "Change the plan where it is paid.")

    async def renew_as(self, subscription: Subscription, order: Order | None, key: str) -> None:
        """Refused: there are no subscriptions."""
        del subscription, order, key
        raise not_offered("A subscription", "Change the plan where it is paid.")

    async def apply_credit(self, purchase: Purchase, key: str) -> bool:
        """Refused: there are no subscriptions, and no invoices of any."""
        del purchase, key
        raise not_offered("A subscription", "Change the plan where it is paid.")

    async def end_subscription(self, subscription: Subscription, *, now: bool, key: str) -> None:
        """Refused: there are no subscriptions."""
        del subscription, now, key
        raise not_offered("A subscription", "Cancel the plan where it is paid.")

    async def portal(self, customer: str, return_url: str) -> str | None:
        """There is no such page."""
        del customer, return_url
        return None

    # ---- webhooks ------------------------------------------------------------------------------------------

    async def event(self, inbound: Inbound, now: int) -> ProviderEvent:
        """The webhook as an event to keep, once it is known to be PayPal's and ours."""
        told = await webhooks.verified(inbound, self._webhook_id, self._certificates, now)
        return ProviderEvent(
            id=f"{NAME}:{told.id}",
            created_at=now,
            provider=NAME,
            type=told.event_type,
            body=inbound.body.decode(),
        )

    async def happenings(self, event: ProviderEvent) -> Sequence[h.AnyHappening]:
        """What the event says. An approved order is captured; disputes and reversals are asked for again if need be."""
        about = EVENTS.get(event.type)
        if about is None:
            return ()
        told = msgspec.json.decode(event.body, type=wire.Event)
        try:
            found = msgspec.json.decode(told.resource, type=about)
            if isinstance(found, wire.Order):
                return await self._of_order(found)
            if isinstance(found, wire.Reversal):
                return self._reversed_approval(found)
            if isinstance(found, wire.Capture):
                return facts.of_capture(found)
            if isinstance(found, wire.Refund):
                return await self._gone(found, turned=event.type == "PAYMENT.CAPTURE.REVERSED")
            return await self._disputed(found)
        except msgspec.ValidationError as error:
            raise VendorRefused(
                "unreadable_event", f"PayPal's event cannot be read: {error}. Report it."
            ) from None

    async def close(self) -> None:
        """Let connections go."""
        await self._client.close()

    # ---- inside --------------------------------------------------------------------------------------------

    def _page(self, url: str) -> str:
        """The page the customer is sent to: PayPal's, as the API is."""
        parts = urlsplit(url)
        host = parts.hostname or ""
        if self._client.base in LIVE | SANDBOX and not (
            parts.scheme == "https" and (host == "paypal.com" or host.endswith(".paypal.com"))
        ):
            raise VendorDown("PayPal's answer names a page that is not PayPal's. Ask again later.")
        return url

    async def _order(self, ident: str) -> wire.Order:
        return await self._client.get(_at("checkout/orders", ident), wire.Order)

    async def _known(self, ident: str) -> wire.Order | None:
        """The order; None where PayPal has forgotten it, as it does with orders that were never paid."""
        try:
            return await self._order(ident)
        except VendorRefused as refused:
            if refused.code in FORGOTTEN:
                return None
            raise

    async def _of_order(self, told: wire.Order) -> tuple[h.AnyHappening, ...]:
        """What an event about an order says: the order as it is now, and the event's own where that is gone."""
        order = await self._known(told.id)
        if order is not None:
            return await self._settled(order)
        paid = facts.of_order(told, self._clock.now())
        over = h.Ended(
            at=self._clock.now(), purchase=facts.purchase_of(facts.unit(told).custom_id), checkout=told.id
        )
        return paid or (over,)

    async def _settled(self, order: wire.Order) -> tuple[h.AnyHappening, ...]:
        """What the order tells, after its money was taken if the customer has approved and nobody closed it."""
        if order.status == "APPROVED" and not facts.closed(order):
            return await self._capture(order)
        return facts.of_order(order, self._clock.now())

    async def _capture(self, order: wire.Order) -> tuple[h.AnyHappening, ...]:
        # One key for one approval: whoever asks first takes the money, and a customer who approves again after a
        # decline is charged again.
        name = f"{order.id}:{order.update_time or ''}"
        key = blake2b(name.encode(), digest_size=16, person=b"paypal capture").hexdigest()
        try:
            taken = await self._client.post(_at("checkout/orders", order.id, "capture"), {}, key, wire.Order)
        except VendorRefused as refused:
            if refused.code in TAKEN:
                return facts.of_order(await self._order(order.id), self._clock.now())
            if refused.code in NOT_APPROVED:
                return ()
            if refused.code not in DECLINES:
                raise
            purchase = facts.purchase_of(facts.unit(order).custom_id)
            return (
                h.Declined(
                    at=self._clock.now(), purchase=purchase, attempt=key, code=refused.code,
                    method=facts.payer(order),
                ),
            )  # fmt: skip
        return facts.of_order(taken, self._clock.now())

    def _reversed_approval(self, over: wire.Reversal) -> tuple[h.AnyHappening, ...]:
        custom = over.purchase_units[0].custom_id if over.purchase_units else None
        return (
            h.Ended(
                at=self._clock.now(), purchase=facts.purchase_of(custom), checkout=over.order_id or over.id
            ),
        )

    async def _gone(self, refund: wire.Refund, *, turned: bool) -> tuple[h.AnyHappening, ...]:
        """Money that was given back, or (`turned`) that PayPal took back. Of what is disputed, the dispute decides."""
        capture = facts.up(refund.links, "captures")
        if capture is None:
            refund = await self._client.get(_at("payments/refunds", refund.id), wire.Refund)
            capture = facts.sure(facts.up(refund.links, "captures"))
        disputes = await self._disputes(capture) if turned else ()
        return disputes or facts.of_refund(refund, capture)

    async def _disputed(self, dispute: wire.Dispute) -> tuple[h.AnyHappening, ...]:
        if not dispute.disputed_transactions or dispute.dispute_amount is None:
            dispute = await self._dispute(dispute.dispute_id)
        return facts.of_dispute(dispute)

    async def _dispute(self, ident: str) -> wire.Dispute:
        return await self._client.get(f"/v1/customer/disputes/{quote(ident, safe='')}", wire.Dispute)

    async def _disputes(self, capture: str) -> tuple[h.AnyHappening, ...]:
        """The disputes of a payment; none where the app may not see disputes."""
        try:
            listed = await self._client.get(
                f"/v1/customer/disputes?disputed_transaction_id={quote(capture, safe='')}", wire.Disputes
            )
        except VendorRefused as refused:
            if refused.code in ("not_authorized", "permission_denied", "http_403"):
                return ()
            raise
        found: list[h.AnyHappening] = []
        for one in listed.items:
            found += facts.of_dispute(await self._dispute(one.dispute_id))
        return tuple(found)


def _at(kind: str, ident: str, action: str = "") -> str:
    """The path of an object of version 2."""
    return f"/v2/{kind}/{quote(ident, safe='')}" + (f"/{action}" if action else "")


def _ordered(order: Order) -> dict[str, object]:
    """The order as PayPal wants it."""
    purchase = order.purchase
    wallet: dict[str, object] = {
        "experience_context": {
            "return_url": order.success_url,
            "cancel_url": order.cancel_url,
            "user_action": "PAY_NOW",
            "shipping_preference": "NO_SHIPPING",
        }
    }
    if order.email is not None and len(order.email) <= 254 and _EMAIL.fullmatch(order.email):
        wallet["email_address"] = order.email
    unit: dict[str, object] = {
        "custom_id": purchase.id,
        "invoice_id": purchase.id,
        "amount": {
            "currency_code": purchase.currency,
            "value": money.text(purchase.amount, purchase.currency),
        },
    }
    if purchase.title:
        unit["description"] = purchase.title[:TITLE_MAX]
    return {"intent": "CAPTURE", "purchase_units": [unit], "payment_source": {"paypal": wallet}}
