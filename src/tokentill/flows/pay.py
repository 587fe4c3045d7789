"""Pay: start, repeat, watch and end the payment of a purchase that is on record.

A checkout that cannot start says why and is over at once. One that was begun by a process which then died is
over after two minutes, because nobody was ever told its address; the customer's own repetition, under the same
key, still starts it before. A charge to a saved method whose answer was lost is asked for again under the same
key until it is answered, because money may have moved. What no webhook told is found by looking.

No call to a provider is made inside a transaction.

Requirement ids: R-PACK-2, R-PACK-3, R-PACK-4, R-SALE-3.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from tokentill.flows.bills import UNANSWERED, Bills
from tokentill.flows.deliver import OWED, Delivery
from tokentill.flows.handing import PURCHASE_PATH, purchase_page
from tokentill.flows.learn import Learning
from tokentill.flows.means import Means, deed_key, later, log
from tokentill.flows.overage import leave_open
from tokentill.ports import Order, Started, VendorDown, VendorRefused
from tokentill.rules import happenings as h
from tokentill.rules.catalog import Plan
from tokentill.rules.ordering import is_open
from tokentill.rules.prices import order_price_ref
from tokentill.rules.purchases import BILLED, Purchase, begin, derive, is_trial, merge, next_step
from tokentill.rules.refusals import Code, Refusal
from tokentill.rules.rows import Payer, Subscription
from tokentill.rules.waiting import CHARGE_MS, LEASE_MS, START_MS, look_at, overdue, unpaid_overage

TRIES_MAX = 2
"""So often a provider that cannot be reached is asked while a customer waits."""


class Terms(Struct, frozen=True, kw_only=True):
    """Where a customer comes back to from paying, and what else the provider is told.

    An empty address is that of the catalog's checkout links under the till's own address; `{purchase}` in either
    becomes the id of the purchase.
    """

    success_url: str = ""
    cancel_url: str = ""
    email: str | None = None
    save_method: bool = False


class Paying:
    """Has purchases paid."""

    def __init__(self, means: Means, delivery: Delivery, learning: Learning) -> None:
        self._means = means
        self._delivery = delivery
        self._learning = learning
        self.bills = Bills(means, delivery, self.answered)

    async def start(self, purchase: Purchase, terms: Terms) -> Purchase | Refusal:
        """Start a checkout; the purchase with its address, or why it could not be."""
        payments = self._means.payments.get(purchase.provider)
        if payments is None:
            return await self._over(purchase, no_provider(purchase.provider))
        order = order_for(self._means, purchase, terms, customer=await self._customer(purchase))
        # A further checkout of the same purchase (an invoice that is paid later) is another call.
        key = deed_key(purchase.id, "checkout", purchase.expires_at or 0, purchase.amount)
        started: Started | None = None
        for attempt in range(1, TRIES_MAX + 1):
            try:
                started = await payments.checkout(order, key)
                break
            except VendorRefused as refused:
                return await self._over(purchase, provider_refused(refused))
            except VendorDown:
                if attempt == TRIES_MAX:
                    return await self._over(purchase, provider_down())
        assert started is not None, "the loop ends by a checkout or a refusal"
        opened = await self._started(purchase, started)
        if opened.state != "abandoned" and opened.checkout == started.checkout:
            return opened
        # It was left, or changed, while it was being opened: what nobody waits for must not be paid.
        with suppress(VendorDown, VendorRefused):
            await payments.close_checkout(replace(opened, checkout=started.checkout))
        if opened.state != "abandoned":
            return Refusal(
                Code.NOT_POSSIBLE, "The bill has changed while its checkout was being opened. Open it again."
            )
        return Refusal(Code.NOT_POSSIBLE, "The checkout was cancelled while it was being opened.")

    async def charge(self, purchase: Purchase) -> Purchase:
        """Take the money from the saved method; an unanswered charge is left to the clerk."""
        if purchase.kind == "upgrade":
            return await self._upgrade(purchase)
        means = self._means
        payments = means.payments.get(purchase.provider)
        payer = (
            None
            if purchase.payer is None
            else await means.rows.get(Payer, purchase.payer, purchase.organization)
        )
        if payments is None or payer is None or payer.saved is None:
            return await self._failed(purchase, "no_method", "There is no saved payment method.")
        order = order_for(means, purchase, Terms(success_url=purchase.return_url), customer=payer.customer)
        try:
            told = await payments.charge_saved(order, payer, deed_key(purchase.id, "charge"))
        except VendorRefused as refused:
            return await self._failed(purchase, refused.code, str(refused))
        except VendorDown:
            log.warning("a charge was not answered and will be asked for again", purchase=purchase.id)
            return purchase
        return await self.answered(purchase, told)

    async def _upgrade(self, purchase: Purchase) -> Purchase:
        """Move the subscription to the plan that was ordered; what is due is charged by the provider."""
        means = self._means
        payments = means.payments.get(purchase.provider)
        running = await means.rows.get(
            Subscription, f"{purchase.provider}:{purchase.subscription}", purchase.organization
        )
        if payments is None or running is None:
            return await self._failed(purchase, "no_subscription", "There is no subscription to change.")
        order = order_for(means, purchase, Terms(success_url=purchase.return_url), customer=running.customer)
        key = deed_key(purchase.id, "charge")
        try:
            # What is credited above the price is none of the provider's.
            credit = purchase.list_amount - purchase.amount
            told = await payments.change_subscription(running, order, credit, key)
        except VendorRefused as refused:
            return await self._failed(purchase, refused.code, str(refused))
        except VendorDown:
            log.warning("an upgrade was not answered and will be asked for again", purchase=purchase.id)
            return purchase
        return await self.answered(purchase, told)

    async def answered(self, purchase: Purchase, told: Sequence[h.AnyHappening] | Started) -> Purchase:
        """Take in what a provider answered to a call about the purchase."""
        if isinstance(told, Started):
            return await self._started(purchase, told)
        facts = [_owned(fact, purchase) for fact in told]
        changed, _ = await self._learning.learn(purchase.provider, facts)
        return changed.get(purchase.id, purchase)

    async def look(self, purchase: Purchase) -> Purchase:
        """Ask the provider how the purchase stands. Raises `VendorDown`."""
        payments = self._means.payments.get(purchase.provider)
        if payments is None or (purchase.checkout is None and purchase.mode != "saved"):
            return purchase
        return await self.answered(purchase, await payments.look(purchase))

    async def cancel(self, organization: str, purchase_id: str) -> Purchase | Refusal:
        """The customer does not want to pay after all: the checkout can be paid no more, its slot is free."""
        purchase = await self._means.rows.get(Purchase, purchase_id, organization)
        if purchase is None:
            return unknown_purchase()
        if purchase.state not in ("created", "pending") or purchase.kind in OWED:
            return Refusal(Code.NOT_POSSIBLE, "Only a checkout that is still open can be cancelled.")
        if purchase.mode == "saved" and purchase.url is None:
            message = (
                "The payment is being made, and whether it was is not known yet. Look again in a moment."
            )
            return Refusal(Code.NOT_POSSIBLE, message, retry_after_ms=LEASE_MS)
        payments = self._means.payments.get(purchase.provider)
        try:
            if payments is not None and purchase.checkout is not None:
                await payments.close_checkout(purchase)
        except VendorRefused:
            # It was paid in the same moment, or is over already.
            try:
                return await self.look(purchase)
            except (VendorDown, VendorRefused):
                return provider_down()
        except VendorDown:
            return provider_down()
        return await self.end(purchase, "cancelled")

    async def end(self, purchase: Purchase, problem: str) -> Purchase:
        """The checkout is over without a payment; one that still arrives is honoured."""
        ended = h.Ended(at=self._means.clock.now())
        return await self._merged(purchase, ended, problem)

    async def attend(self, purchase: Purchase) -> Purchase:
        """Whatever is due of the purchase. Raises `StoreDown`."""
        means = self._means
        if next_step(purchase) is not None:
            return await self._delivery.advance(purchase)
        if purchase.sweep:
            return await self._delivery.advance(await means.change(purchase, self._delivery.swept))
        if is_open(purchase):
            return await self.bills.attend(purchase)
        now = means.clock.now()
        over = overdue(purchase, now)
        unstarted = purchase.state == "created" and purchase.mode == "checkout"
        if unstarted and now - purchase.created_at >= START_MS:
            return await self.end(purchase, "never_started")
        if purchase.state in ("created", "pending"):
            try:
                if purchase.mode == "saved" and purchase.url is None:
                    over = False  # whether money moved is not known, so time alone does not end it
                    purchase = await self._charge_again(purchase, now)
                else:
                    purchase = await self.look(purchase)
            except (VendorDown, VendorRefused) as trouble:
                log.warning("no look at a purchase", purchase=purchase.id, trouble=type(trouble).__name__)
                over = False
            if over and purchase.state in ("created", "pending") and purchase.mode != "invoice":
                purchase = await self.end(purchase, "expired")
        if unpaid_overage(purchase):
            return await leave_open(means, purchase)
        return await means.change(purchase, lambda row: later(row, look_at(row, means.clock.now())))

    # ---- inside --------------------------------------------------------------------------------------

    async def _charge_again(self, purchase: Purchase, now: int) -> Purchase:
        """A charge whose answer was lost. After a day a provider may have forgotten its key, so it is only looked for.

        Raises `VendorDown`. Where nothing is found then, a person must look.
        """
        if now - purchase.created_at < CHARGE_MS:
            return await self.charge(purchase)
        text = f"Whether purchase {purchase.id} was charged is not known after a day. Look at the provider."
        await self._means.alert(purchase.organization, "unanswered", purchase.id, text)
        purchase = await self.look(purchase)
        return await self.end(purchase, UNANSWERED) if purchase.state == "created" else purchase

    async def _customer(self, purchase: Purchase) -> str | None:
        """The provider's id of the customer, if the organization has paid there before."""
        payers = await self._means.rows.find(Payer, {"organization": purchase.organization})
        known = [row for row in payers if row.provider == purchase.provider and row.customer]
        return max(known, key=lambda row: row.used_at).customer if known else None

    async def _started(self, purchase: Purchase, started: Started) -> Purchase:
        means = self._means
        refs = {started.checkout}
        await means.refer(purchase.provider, refs, purchase.id, purchase.organization)

        def opened(row: Purchase) -> Purchase:
            if row.further != purchase.further:
                return row  # credit pays a part of it since
            row = replace(
                row,
                checkout=started.checkout,
                url=started.url,
                expires_at=started.expires_at,
                problem=None,
            )
            row = derive(row)
            return later(row, look_at(row, means.clock.now()))

        return await means.change(purchase, opened)

    async def _over(self, purchase: Purchase, refusal: Refusal) -> Refusal:
        """The checkout could not start: nothing of it stays pending, and the customer is told why."""
        if purchase.mode == "invoice":
            return refusal  # it stays to be paid later
        await self.end(purchase, f"{refusal.detail or refusal.code}")
        return refusal

    async def _failed(self, purchase: Purchase, code: str, problem: str) -> Purchase:
        attempt = deed_key(purchase.id, "charge")
        declined = h.Declined(at=self._means.clock.now(), attempt=attempt, code=code)
        return await self._merged(purchase, declined, problem)

    async def _merged(self, purchase: Purchase, fact: h.AnyHappening, problem: str) -> Purchase:
        means = self._means

        def told(row: Purchase) -> Purchase:
            row = begin(merge(replace(row, problem=problem), fact))
            return later(row, look_at(row, means.clock.now()))

        return await self._delivery.advance(await means.change(purchase, told))


def order_for(
    means: Means, purchase: Purchase, terms: Terms | None = None, *, customer: str | None = None
) -> Order:
    """What a provider is told of the purchase."""
    catalog = means.ledger.catalog
    terms = terms or Terms()
    plan = catalog.plans.get(purchase.item) if purchase.kind in BILLED else None
    item = plan or catalog.packs.get(purchase.item)
    amount = purchase.amount if plan is None else purchase.list_amount
    price_ref = (
        None if item is None else order_price_ref(catalog, means.prices, purchase.provider, item, amount)
    )
    interval, days = (None, 30) if plan is None else rhythm(plan)
    trial = is_trial(purchase)

    def link(path: str) -> str:
        if path == f"{PURCHASE_PATH}{{purchase}}":
            return purchase_page(means, purchase)
        path = path.replace("{purchase}", purchase.id)
        return f"{means.address()}{path}" if path.startswith("/") else path

    return Order(
        purchase=purchase,
        success_url=link(terms.success_url or catalog.checkout.success_link),
        cancel_url=link(terms.cancel_url or catalog.checkout.cancel_link),
        email=terms.email,
        customer=customer,
        price_ref=price_ref,
        interval=interval,
        interval_days=days,
        trial_days=plan.trial_days if plan is not None and trial else 0,
        save_method=terms.save_method or plan is not None,
    )


def rhythm(plan: Plan) -> tuple[Literal["month", "year", "days"], int]:
    """How often a plan is paid: (interval, days of it where it is counted in days)."""
    if plan.cycle.kind == "days":
        return "days", plan.cycle.days * plan.periods_per_payment
    if plan.periods_per_payment == 1:
        return "month", 30
    if plan.periods_per_payment == 12:
        return "year", 365
    return "days", 30 * plan.periods_per_payment


def _owned(fact: h.AnyHappening, purchase: Purchase) -> h.AnyHappening:
    """The happening as one of this purchase, where the provider did not say."""
    if isinstance(fact, h.Subscribed) or fact.purchase is not None:
        return fact
    return replace(fact, purchase=purchase.id, organization=purchase.organization)


def unknown_purchase() -> Refusal:
    """There is no such purchase."""
    return Refusal(Code.UNKNOWN_PURCHASE, "This organization has no purchase of this id.")


def no_provider(name: str) -> Refusal:
    """There is no such payment provider."""
    message = "There is no payment provider of this name here." if name else "No payment provider is set up."
    return Refusal(Code.UNKNOWN_PROVIDER, message, detail=name[:128] or None)


def provider_down() -> Refusal:
    """The provider did not answer, and nothing was begun."""
    message = "The payment provider cannot be reached. Nothing was bought; try again in a moment."
    return Refusal(Code.CHECKOUT_FAILED, message, retry_after_ms=5_000, detail="provider_down")


def provider_refused(refused: VendorRefused) -> Refusal:
    """The provider will not do it, and says why."""
    message = f"The payment provider refused: {refused}"
    return Refusal(Code.CHECKOUT_FAILED, message, detail=refused.code[:128])
