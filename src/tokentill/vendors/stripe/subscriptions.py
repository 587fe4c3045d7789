"""Changing a subscription at Stripe: an upgrade now, another plan from the next period on, an end.

An upgrade is charged or it does not happen: `error_if_incomplete` refuses the change when the bank refuses
the money. While the next period is being billed there is none, for both would be collected. Where the bank
wants the customer to confirm, the change is made pending, and the invoice's own page is where the customer
confirms; Stripe drops the change by itself when nobody does (R-SALE-3). Another plan from the next period
on is a schedule of two phases that lets go of the subscription afterwards, so that the subscription says
the old plan until then.

The invoice of the next period is a draft for about an hour after Stripe told of it. So long credit can be
taken off it, as a line of its own (docs.stripe.com/invoicing/integration/automatic-advancement-collection,
and /api/invoiceitems); a total of nothing counts as paid without a payment.

Requirement ids: R-PLAN-4, R-SALE-3, R-REF-4, R-PLAT-1.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from msgspec.structs import replace

from tokentill.ports.shop import Order, Started, VendorRefused
from tokentill.rules import happenings as h
from tokentill.rules.purchases import Purchase
from tokentill.rules.rows import Subscription
from tokentill.vendors.stripe import orders, reading
from tokentill.vendors.stripe.amounts import to_wire
from tokentill.vendors.stripe.gateway import CardRefused, Found, Gateway, ask, keyed
from tokentill.vendors.stripe.orders import Params
from tokentill.vendors.stripe.reader import LISTED_MAX, Reader

OVER = frozenset({"canceled", "incomplete_expired"})


class Subscriptions:
    """The subscriptions of one Stripe account."""

    def __init__(self, gateway: Gateway, reader: Reader) -> None:
        self._gateway = gateway
        self._reader = reader

    # ---- upgrade -----------------------------------------------------------------------------------------

    async def change(
        self, subscription: Subscription, order: Order, credit: int, key: str
    ) -> Sequence[h.AnyHappening] | Started:
        """Move it to the order's plan now; it is marked with the purchase before, so that its invoice is too."""
        purchase, name = order.purchase, subscription.ref
        found = await self._fetch(name)
        if found["status"] in OVER:
            raise VendorRefused(
                "subscription_over", "The subscription is over. Let the customer subscribe anew."
            )
        if _marked(found.get("latest_invoice"), purchase):
            return await self._outcome(found, purchase)
        if _drafted(found["latest_invoice"]):
            raise VendorRefused(
                "renewing",
                "The next period is being billed right now. Upgrade in about an hour; its unused share then counts.",
            )
        later = await self._release(found)
        price = await self._price(order, purchase.amount + credit)
        if credit:
            await self._product(orders.CREDIT_PRODUCT, "Unused share of the plan before, and credit", {})
        params = orders.change(order, credit, found["items"]["data"][0]["id"], price)
        if found["status"] == "trialing":
            params["trial_end"] = "now"
            del params["billing_cycle_anchor"]
        update = self._gateway.v1.subscriptions.update_async
        marks = {"metadata": orders.marks(purchase, plan=True)}
        await ask(update(name, params=marks, options=keyed(f"{key}:mark")))
        try:
            strict = {**params, "payment_behavior": "error_if_incomplete", "cancel_at_period_end": False}
            changed = await ask(update(name, params=strict, options=keyed(key)))
        except CardRefused as error:
            if error.code == "authentication_required":
                return await self._confirm(name, purchase, params, key)
            if later is not None:
                await self._plan_again(name, later, key)
            return [_declined(error, purchase)]
        return await self._outcome(changed, purchase)

    async def _confirm(
        self, name: str, purchase: Purchase, params: Params, key: str
    ) -> Sequence[h.AnyHappening] | Started:
        """Make the change wait for the customer, who confirms on the page of its invoice."""
        update = self._gateway.v1.subscriptions.update_async
        pending = {**params, "payment_behavior": "pending_if_incomplete"}
        changed = await ask(update(name, params=pending, options=keyed(f"{key}:confirm")))
        waiting, invoice = changed.get("pending_update"), changed["latest_invoice"]
        if waiting is None:
            return await self._outcome(changed, purchase)
        marks = {"metadata": orders.marks(purchase, plan=True)}
        marked = self._gateway.v1.invoices.update_async(
            invoice["id"], params=marks, options=keyed(f"{key}:marked")
        )
        found = await ask(marked)
        return Started(found["id"], found["hosted_invoice_url"], int(waiting["expires_at"]) * 1000)

    async def _outcome(self, found: Found, purchase: Purchase) -> list[h.AnyHappening]:
        """The invoice that the change made, and where the subscription stands."""
        invoice = found["latest_invoice"]
        facts = await self._reader.invoice(invoice["id"], int(invoice["created"]) * 1000)
        own = {"purchase": purchase.id, "organization": purchase.organization}
        told: list[h.AnyHappening] = [replace(fact, **own) for fact in facts]
        return told + await self._reader.subscription(found["id"])

    async def void(self, invoice: str) -> None:
        """End a change that waits for the customer, by voiding its invoice."""
        invoices = self._gateway.v1.invoices
        try:
            await ask(invoices.void_invoice_async(invoice))
        except VendorRefused:
            found = await ask(invoices.retrieve_async(invoice))
            if found["status"] == "open":
                raise

    # ---- later -------------------------------------------------------------------------------------------

    async def renew_as(self, name: str, order: Order | None, key: str) -> None:
        """From the next period on bill the order's plan, or go on as now; a cancellation to come is withdrawn."""
        found = await self._fetch(name)
        if found["status"] in OVER:
            raise VendorRefused(
                "subscription_over", "The subscription is over. Let the customer subscribe anew."
            )
        await self._release(found)
        v1 = self._gateway.v1
        if found["cancel_at_period_end"]:
            going_on = {"cancel_at_period_end": False}
            await ask(v1.subscriptions.update_async(name, params=going_on, options=keyed(f"{key}:goes_on")))
        if order is None:
            return
        full = orders.first_price(order)
        price = orders.new_price(order, full, await self._price(order, full))
        begun = {"from_subscription": name}
        made = await ask(
            v1.subscription_schedules.create_async(params=begun, options=keyed(f"{key}:{found['id']}"))
        )
        marks = {orders.PLAN: order.purchase.item, orders.ITEM: order.purchase.item}
        phases = _phases(made, price, orders.recurring(order), marks)
        await ask(v1.subscription_schedules.update_async(made["id"], params=phases, options=keyed(key)))

    async def end(self, name: str, *, now: bool, key: str) -> None:
        """Cancel; one that is over already stays so."""
        found = await self._fetch(name)
        if found["status"] in OVER:
            return
        await self._release(found)
        subscriptions = self._gateway.v1.subscriptions
        if now:
            await self._keep_draft(found["latest_invoice"], key)
            at_once = {"invoice_now": False, "prorate": False}
            await ask(subscriptions.cancel_async(name, params=at_once, options=keyed(key)))
        elif not found["cancel_at_period_end"]:
            later = {"cancel_at_period_end": True}
            await ask(subscriptions.update_async(name, params=later, options=keyed(key)))

    async def _keep_draft(self, latest: Any, key: str) -> None:
        """Let a drafted invoice not be collected: Stripe says only of finalized ones that an end stops it."""
        if _drafted(latest):
            params = {"auto_advance": False}
            update = self._gateway.v1.invoices.update_async
            await ask(update(latest["id"], params=params, options=keyed(f"{key}:draft")))

    # ---- credit ------------------------------------------------------------------------------------------

    async def apply_credit(self, purchase: Purchase, key: str) -> bool:
        """Take the purchase's credit off the draft of its invoice: whether it is off, by this call or before.

        The line is looked for first, because Stripe forgets keys; among the lines and not the items, to which a
        restricted key may have no right. An invoice that is no draft gets no more lines: so it is read before they
        are listed. One that does not cost what the renewal does is left to be collected whole.
        """
        name = purchase.invoice
        assert name is not None, "it was told of by its invoice"
        v1 = self._gateway.v1
        found = await ask(v1.invoices.retrieve_async(name))
        if await self._has_line(name, purchase):
            return True
        costs = (purchase.list_amount, purchase.currency)
        if found["status"] != "draft" or reading.money(found, "total") != costs:
            return False
        try:
            await ask(
                v1.invoice_items.create_async(params=orders.credit_item(purchase, found), options=keyed(key))
            )
        except VendorRefused:
            found = await ask(v1.invoices.retrieve_async(name))
            if await self._has_line(name, purchase):
                return True
            if found["status"] == "draft":
                raise
            return False
        return True

    async def _has_line(self, invoice: str, purchase: Purchase) -> bool:
        """Whether a line of the purchase's own is on the invoice."""
        params: Params = {"limit": LISTED_MAX}
        while True:
            listed = await ask(self._gateway.v1.invoices.line_items.list_async(invoice, params=params))
            if any(reading.owner(line)["purchase"] == purchase.id for line in listed["data"]):
                return True
            if not listed["has_more"]:
                return False
            params = {**params, "starting_after": listed["data"][-1]["id"]}

    # ---- parts -------------------------------------------------------------------------------------------

    async def _fetch(self, name: str) -> Found:
        params = {"expand": ["latest_invoice"]}
        return await ask(self._gateway.v1.subscriptions.retrieve_async(name, params=params))

    async def _release(self, found: Found) -> Found | None:
        """Let a schedule go, beside which nothing can be changed; the phase that was to come, if one was."""
        name = reading.ref(found.get("schedule"))
        if name is None:
            return None
        schedules = self._gateway.v1.subscription_schedules
        known = await ask(schedules.retrieve_async(name))
        await ask(schedules.release_async(name))
        running = known["current_phase"] or {"start_date": 0}
        later = [phase for phase in known["phases"] if phase["start_date"] > running["start_date"]]
        return later[0] if later else None

    async def _plan_again(self, name: str, later: Found, key: str) -> None:
        """Put back the phase that was to come, because what it made way for did not happen."""
        v1 = self._gateway.v1
        price = await ask(v1.prices.retrieve_async(reading.ref(later["items"][0]["price"])))
        begun = {"from_subscription": name}
        made = await ask(v1.subscription_schedules.create_async(params=begun, options=keyed(f"{key}:again")))
        phases = _phases(made, {"price": price["id"]}, price["recurring"], later["metadata"])
        options = keyed(f"{key}:later")
        await ask(v1.subscription_schedules.update_async(made["id"], params=phases, options=options))

    async def _price(self, order: Order, full: int) -> str | None:
        """The price of the order checked against what it shall cost, else a product for a price of its own."""
        purchase = order.purchase
        if order.price_ref is None:
            name = f"tokentill_plan_{purchase.item}"
            return await self._product(name, purchase.title, {orders.PLAN: purchase.item})
        prices = self._gateway.v1.prices
        found = await ask(prices.retrieve_async(order.price_ref, params={"expand": ["product"]}))
        right = (to_wire(full, purchase.currency), purchase.currency.lower())
        if (found.get("unit_amount"), found["currency"]) != right:
            raise VendorRefused(
                "price_differs",
                f"The price {order.price_ref} costs {found.get('unit_amount')} {found['currency']} at Stripe, not "
                f"{right[0]} {right[1]}. Make the prices at Stripe anew from the catalog, or name another price.",
            )
        if reading.plan_of(found, {}) is None:
            marks = {"metadata": {orders.PLAN: purchase.item}}
            await ask(prices.update_async(order.price_ref, params=marks))
        return None

    async def _product(self, name: str, title: str, marks: dict[str, str]) -> str:
        """A product of this id, made where there is none."""
        products = self._gateway.v1.products
        try:
            await ask(products.retrieve_async(name))
        except VendorRefused as missing:
            if missing.code != "resource_missing":
                raise
            params = {"id": name, "name": title, "metadata": marks}
            try:
                await ask(products.create_async(params=params))
            except VendorRefused as there:
                if there.code != "resource_already_exists":
                    raise
        return name


def _drafted(invoice: Any) -> bool:
    """Whether the newest invoice is a draft that Stripe will collect by itself."""
    return isinstance(invoice, dict) and invoice["status"] == "draft" and bool(invoice["auto_advance"])


def _marked(invoice: Any, purchase: Purchase) -> bool:
    """Whether the newest invoice is already the one of this change."""
    if not isinstance(invoice, dict) or reading.reason(invoice) != "update":
        return False
    return reading.invoice_owner(invoice)["purchase"] == purchase.id and invoice["status"] == "paid"


def _phases(schedule: Found, price: Params, often: Params, marks: dict[str, str]) -> Params:
    """The running period as it is, then the other price; after that the subscription goes on by itself."""
    now = schedule["phases"][0]
    items = [{"price": reading.ref(item["price"]), "quantity": item["quantity"]} for item in now["items"]]
    lasts = {"interval": often["interval"], "interval_count": often.get("interval_count", 1)}
    return {
        "end_behavior": "release",
        "proration_behavior": "none",
        "phases": [
            {
                "items": items,
                "start_date": now["start_date"],
                "end_date": now["end_date"],
                "proration_behavior": "none",
            },
            {
                "items": [{"quantity": 1, **price}],
                "duration": lasts,
                "proration_behavior": "none",
                "metadata": marks,
            },
        ],
    }


def _declined(error: CardRefused, purchase: Purchase) -> h.Declined:
    """The decline of an upgrade's payment."""
    failed = (error.intent or {}).get("last_payment_error") or {}
    return h.Declined(
        at=purchase.created_at,
        attempt=reading.ref(failed.get("charge")) or f"{purchase.id}:change",
        code=error.code,
        purchase=purchase.id,
        organization=purchase.organization,
    )
