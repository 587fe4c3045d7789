"""Reading Stripe: what an event says, and what Stripe knows of a purchase when it is asked.

Payments, charges, disputes and warnings are facts as their events tell them. What can change and change back
(invoices, subscriptions, refunds) is fetched as it is now, so that old events in the wrong order say nothing
old. The fingerprint of the card comes with `charge.succeeded` without asking, so that the purchase of a pack
needs no call to Stripe between the webhook and the tokens.

Requirement ids: R-PACK-3, R-PACK-4, R-PACK-10, R-LIC-1, R-LIC-3, R-REF-4, R-REF-6, R-PLAT-1.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from typing import Any

import msgspec

from tokentill.ports import Clock
from tokentill.rules import happenings as h
from tokentill.rules.purchases import Purchase
from tokentill.rules.rows import ProviderEvent
from tokentill.vendors.stripe import reading
from tokentill.vendors.stripe.gateway import Found, Gateway, ask
from tokentill.vendors.stripe.orders import ITEM, KEY, ORGANIZATION, PURCHASE
from tokentill.vendors.stripe.reading import ref

PRICES_MAX = 1000
"""Prices whose plan is remembered."""

LISTED_MAX = 100
_WHOLE_SUBSCRIPTION = ["items.data.price.product", "default_payment_method"]
Owner = dict[str, str | None]
_Read = Callable[[Mapping[str, Any], int], Awaitable[list[h.AnyHappening]]]


class Reader:
    """Events and objects of one Stripe account as happenings; `events` are the types that say something to us."""

    def __init__(self, gateway: Gateway, clock: Clock) -> None:
        self._gateway = gateway
        self._clock = clock
        self._plans: dict[str, str | None] = {}
        self.events: dict[str, _Read] = {
            "checkout.session.completed": self._completed,
            "checkout.session.async_payment_succeeded": self._completed,
            "checkout.session.async_payment_failed": self._async_failed,
            "checkout.session.expired": self._completed,
            "charge.succeeded": _plain(reading.charge),
            "charge.refunded": self._refunded,
            "refund.created": self._refunded,
            "refund.updated": self._refunded,
            "refund.failed": self._refunded,
            "charge.dispute.created": _plain(reading.dispute),
            "charge.dispute.updated": _plain(reading.dispute),
            "charge.dispute.closed": _plain(reading.dispute),
            "radar.early_fraud_warning.created": _plain(reading.warning),
            "payment_intent.succeeded": self._intent_succeeded,
            "payment_intent.payment_failed": _plain(reading.declined),
            "invoice.created": self._invoice_created,
            "invoice.paid": self._invoice,
            "invoice.payment_failed": self._invoice_failed,
            "invoice.voided": self._invoice_voided,
            "customer.subscription.created": self._subscription,
            "customer.subscription.updated": self._subscription,
            "customer.subscription.deleted": self._subscription,
            "customer.subscription.trial_will_end": self._subscription,
        }

    async def happenings(self, event: ProviderEvent) -> list[h.AnyHappening]:
        """What the event says; empty for a type that says nothing to us."""
        read = self.events.get(event.type)
        if read is None:
            return []
        told = msgspec.json.decode(event.body)
        return await read(told["data"]["object"], int(told["created"]) * 1000)

    # ---- events ------------------------------------------------------------------------------------------

    async def _completed(self, found: Mapping[str, Any], at: int) -> list[h.AnyHappening]:
        if found["mode"] == "subscription" and found["status"] == "complete":
            return await self._session_subscription(found, at)
        return reading.session(found, at)

    async def _async_failed(self, found: Mapping[str, Any], at: int) -> list[h.AnyHappening]:
        return reading.session(found, at, failed=True)

    async def _session_subscription(self, found: Mapping[str, Any], at: int) -> list[h.AnyHappening]:
        """A subscription that was begun in a checkout; its money is told by its invoice."""
        subscription = ref(found.get("subscription"))
        if subscription is None or not reading.ours(found):
            return []
        whole = await self._fetch_subscription(subscription)
        saved = whole.get("default_payment_method")
        facts = reading.subscription(whole, self._clock.now())
        if saved is not None:
            amount, code = reading.money(found, "amount_total")
            kept = h.Paid(
                at=at,
                payment=found["id"],
                amount=amount,
                currency=code,
                checkout=found["id"],
                method=reading.fingerprint(saved),
                saved=ref(saved),
                customer=ref(found.get("customer")),
                label=reading.label(saved),
                **reading.owner(found),
            )
            facts.append(kept)
        return facts

    async def _intent_succeeded(self, found: Mapping[str, Any], at: int) -> list[h.AnyHappening]:
        """The event names the method only; what it is and whether it is kept is asked."""
        if not reading.ours(found):
            return []
        return reading.intent(await self.fetch_intent(found["id"]), at)

    async def _refunded(self, found: Mapping[str, Any], at: int) -> list[h.AnyHappening]:
        payment = ref(found.get("payment_intent"))
        return [] if payment is None else await self.refunds(payment, at)

    async def _invoice_created(self, found: Mapping[str, Any], _at: int) -> list[h.AnyHappening]:
        """Of the next period, and a draft still that will be collected by itself; else other events tell of it."""
        if reading.foreign(found) or reading.reason(found) != "cycle":
            return []
        found = await ask(self._gateway.v1.invoices.retrieve_async(found["id"]))
        line = reading.invoice_line(found)
        if found["status"] != "draft" or not found["auto_advance"] or line is None:
            return []
        subscription = reading.subscription_of(found)
        assert subscription is not None, "an invoice of a subscription"
        plan, owner = await self._billed(found, line)
        return [
            h.InvoiceDrafted(
                at=int(found["created"]) * 1000,
                subscription=subscription,
                invoice=found["id"],
                plan=plan,
                start=int(line["period"]["start"]) * 1000,
                **owner,
            )
        ]

    async def _invoice(self, found: Mapping[str, Any], at: int) -> list[h.AnyHappening]:
        if reading.foreign(found):
            return []
        return await self.invoice(found["id"], at)

    async def _invoice_failed(self, found: Mapping[str, Any], at: int) -> list[h.AnyHappening]:
        subscription = reading.subscription_of(found)
        if subscription is None or reading.foreign(found):
            return []
        amount, code = reading.money(found, "amount_due")
        why = reading.reason(found)
        return [
            h.InvoiceFailed(
                at=at,
                subscription=subscription,
                invoice=found["id"],
                amount=amount,
                currency=code,
                reason=why,
                customer=ref(found.get("customer")),
                **reading.invoice_owner(found),
            )
        ]

    async def _invoice_voided(self, found: Mapping[str, Any], at: int) -> list[h.AnyHappening]:
        subscription = reading.subscription_of(found)
        if subscription is None or reading.foreign(found):
            return []
        owner = reading.invoice_owner(found)
        return [h.InvoiceVoided(at=at, subscription=subscription, invoice=found["id"], **owner)]

    async def _subscription(self, found: Mapping[str, Any], _at: int) -> list[h.AnyHappening]:
        return await self.subscription(found["id"])

    # ---- objects as they are now -------------------------------------------------------------------------

    async def fetch_intent(self, payment: str) -> Found:
        """A payment intent with its method and charge."""
        params = {"expand": ["payment_method", "latest_charge"]}
        return await ask(self._gateway.v1.payment_intents.retrieve_async(payment, params=params))

    async def _fetch_subscription(self, subscription: str) -> Found:
        params = {"expand": _WHOLE_SUBSCRIPTION}
        return await ask(self._gateway.v1.subscriptions.retrieve_async(subscription, params=params))

    async def subscription(self, subscription: str) -> list[h.AnyHappening]:
        """Where a subscription stands now."""
        return reading.subscription(await self._fetch_subscription(subscription), self._clock.now())

    async def intent(self, payment: str) -> list[h.AnyHappening]:
        """A payment as it stands now."""
        found = await self.fetch_intent(payment)
        latest = found.get("latest_charge")
        since = latest if isinstance(latest, Mapping) else found
        return reading.intent(found, int(since["created"]) * 1000)

    async def refunds(self, payment: str, at: int) -> list[h.AnyHappening]:
        """What was given back of a payment until now."""
        return reading.refunds(payment, await self._list_refunds(payment), at)

    async def refund_under(self, payment: str, key: str) -> Found | None:
        """The refund that was made under a key, however long ago."""
        found = await self._list_refunds(payment)
        return next((one for one in found if (one.get("metadata") or {}).get(KEY) == key), None)

    async def _list_refunds(self, payment: str) -> list[Found]:
        params = {"payment_intent": payment, "limit": LISTED_MAX}
        listed = await ask(self._gateway.v1.refunds.list_async(params=params))
        found: list[Found] = listed["data"]
        return found

    async def invoice(self, invoice: str, at: int) -> list[h.AnyHappening]:
        """An invoice of a subscription as it stands now."""
        params = {"expand": ["payments"]}
        found = await ask(self._gateway.v1.invoices.retrieve_async(invoice, params=params))
        subscription = reading.subscription_of(found)
        if subscription is None or reading.foreign(found):
            return []
        if found["status"] == "void":
            return await self._invoice_voided(found, at)
        if found["status"] != "paid":
            return await self._invoice_failed(found, at) if found.get("attempted") else []
        line = reading.invoice_line(found)
        if line is None:
            return []
        plan, owner = await self._billed(found, line)
        amount, code = reading.money(found, "total")
        payment = reading.invoice_intent(found)
        intent = await self.fetch_intent(payment) if payment is not None else {}
        return [
            h.InvoicePaid(
                at=reading.paid_at(found),
                subscription=subscription,
                invoice=found["id"],
                plan=plan,
                amount=amount,
                currency=code,
                start=int(line["period"]["start"]) * 1000,
                end=int(line["period"]["end"]) * 1000,
                reason=reading.reason(found),
                payment=payment,
                method=reading.fingerprint(intent.get("payment_method")),
                customer=ref(found.get("customer")),
                **owner,
            )
        ]

    async def _billed(self, found: Found, line: Mapping[str, Any]) -> tuple[str | None, Owner]:
        """The plan that a line of an invoice bills, and whose it is."""
        marks = reading.marks_of(found)
        plan = await self._plan_of_line(line, marks)
        owner = reading.invoice_owner(found)
        if not reading.ours(found) and marks.get(ITEM) != plan:
            owner["purchase"] = None
        return plan, owner

    async def _plan_of_line(self, line: Mapping[str, Any], marks: Mapping[str, str]) -> str | None:
        """Our plan id of the price an invoice charged, which may no longer be the subscription's."""
        price = reading.line_price(line)
        if price is None:
            return reading.plan_of({}, marks)
        if price not in self._plans:
            params = {"expand": ["product"]}
            found = await ask(self._gateway.v1.prices.retrieve_async(price, params=params))
            if len(self._plans) >= PRICES_MAX:
                self._plans.clear()
            self._plans[price] = reading.plan_of(found, {})
        return self._plans[price] or reading.plan_of({}, marks)

    # ---- looking -----------------------------------------------------------------------------------------

    async def look(self, purchase: Purchase) -> list[h.AnyHappening]:
        """What Stripe knows of a purchase now, whatever of it we know."""
        facts: list[h.AnyHappening] = []
        payment = purchase.payment
        if purchase.checkout is not None and purchase.checkout.startswith("cs_"):
            facts += await self._look_at_session(purchase.checkout)
        invoice = purchase.invoice or purchase.checkout
        if invoice is not None and invoice.startswith("in_"):
            facts += await self.invoice(invoice, self._clock.now())
        if purchase.subscription is not None:
            facts += await self.subscription(purchase.subscription)
        told = (fact.payment for fact in facts if isinstance(fact, h.Paid | h.InvoicePaid))
        payment = payment or next((name for name in told if (name or "").startswith("pi_")), None)
        if payment is None and purchase.checkout is None and purchase.mode == "saved":
            payment = await self.search(purchase)
        if payment is not None and payment.startswith("pi_"):
            facts += await self._look_at_payment(payment)
        return facts

    async def _look_at_session(self, checkout: str) -> list[h.AnyHappening]:
        session = await ask(self._gateway.v1.checkout.sessions.retrieve_async(checkout))
        at = self._clock.now()
        facts = await self._completed(session, at)
        invoice = ref(session.get("invoice"))
        if session["mode"] == "subscription" and invoice is not None and reading.ours(session):
            facts += await self.invoice(invoice, at)
        payment = ref(session.get("payment_intent"))
        if payment is not None and reading.ours(session):
            facts += await self.intent(payment)
        return facts

    async def _look_at_payment(self, payment: str) -> list[h.AnyHappening]:
        """The payment, and what became of it since."""
        at = self._clock.now()
        params = {"payment_intent": payment, "limit": LISTED_MAX}
        v1 = self._gateway.v1
        facts = await self.intent(payment)
        facts += await self.refunds(payment, at)
        for dispute in (await ask(v1.disputes.list_async(params=params)))["data"]:
            facts += reading.dispute(dispute, at)
        for warning in (await ask(v1.radar.early_fraud_warnings.list_async(params=params)))["data"]:
            facts += reading.warning(warning, at)
        return facts

    async def search(self, purchase: Purchase) -> str | None:
        """The payment of a purchase of which we never heard the name; Stripe's index lags by a minute or so."""
        params = {"query": f"metadata['{PURCHASE}']:'{purchase.id}'", "limit": 1}
        listed = await ask(self._gateway.v1.payment_intents.search_async(params=params))
        for found in listed["data"]:
            marks = found.get("metadata") or {}
            if marks.get(ORGANIZATION) == purchase.organization:
                return ref(found)
        return None


def _plain(read: Callable[[Mapping[str, Any], int], list[h.AnyHappening]]) -> _Read:
    """A reading that needs nothing but the event."""

    async def reader(found: Mapping[str, Any], at: int) -> list[h.AnyHappening]:
        return read(found, at)

    return reader
