"""Subscribe: begin a plan, move up at once, move down, leave or stay at the end of the period (R-PLAN-4).

Beginning and moving up are orders and become purchases. Moving down, leaving and withdrawing either move no
money: the change is written into the subscription's row first, then the provider is told, then the account, then
it is written down as done. Whoever dies in between leaves a change that the clerk carries out again under the
same keys.

Without a subscription (a free plan, or one an operator gave) only the account is told.

Requirement ids: R-PLAN-4, R-PACK-2, R-LIC-3.
"""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from msgspec.structs import replace

from tokentill.flows.checkout import Ask, Checkout
from tokentill.flows.means import Means, deed_key, later, log
from tokentill.flows.pay import order_for, provider_refused
from tokentill.flows.shopper import Reader
from tokentill.ports import Order as PaymentOrder
from tokentill.ports import Room, VendorDown, VendorRefused
from tokentill.rules import commands as c
from tokentill.rules.account import Account
from tokentill.rules.catalog import Plan
from tokentill.rules.credit import available
from tokentill.rules.decide import none_found
from tokentill.rules.ordering import order_plan
from tokentill.rules.plans import unused_credit
from tokentill.rules.purchases import Purchase, derive
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Code, Refusal
from tokentill.rules.rows import Subscription
from tokentill.rules.turn import Turn
from tokentill.rules.waiting import LEASE_MS

PLANS_MAX = 100
"""So many of an organization's newest subscriptions are looked at for a trial."""


class Subscribing:
    """Begins and changes subscriptions."""

    def __init__(self, means: Means, checkout: Checkout, reader: Reader) -> None:
        self._means = means
        self._checkout = checkout
        self._reader = reader

    async def start(self, ask: Ask, plan: str) -> Purchase | Refusal:
        """Order a plan: a first payment by checkout, or where a subscription runs, a higher plan now.

        An upgrade is charged to the method that pays the subscription, its price less the unused share of the
        present period. Raises `StoreDown`; the order may then be sent again under its key.
        """
        read = await self._reader.shopper(ask.organization)
        if isinstance(read, Refusal):
            return read
        shopper, account = read
        catalog = self._means.ledger.catalog
        asked = ask.digest("plan", plan)
        again = await self._checkout.again(ask, asked)
        if again is not None:
            return again
        running = await self._reader.subscription(ask.organization)
        order = await self._checkout.order(
            replace(ask, payer=None, provider=ask.provider if running is None else running.provider), asked
        )
        if isinstance(order, Refusal):
            return order
        if ask.use_credit:
            order = replace(order, credit=available(account.state))
        if running is not None:
            order = replace(order, mode="saved")
            ordered = order_plan(catalog, shopper, order, plan, credit=self.credit(account), subscribed=True)
            if isinstance(ordered, Refusal):
                return ordered
            # The provider must hear of it even where nothing is to be paid.
            ordered = derive(replace(ordered, mode="saved", subscription=running.ref))
            return await self._checkout.place(ordered, (), ask.terms)
        trial = not await self._had_any(ask.organization)
        ordered = order_plan(catalog, shopper, order, plan, trial=trial)
        if isinstance(ordered, Refusal):
            return ordered
        known = await self._open_already(ordered, use_credit=ask.use_credit)
        if known is not None:
            return known
        # One at a time, because each that is paid becomes a subscription that is billed.
        own = (("organization", ask.organization), ("kind", "plan"))
        placed = await self._checkout.place(ordered, (Room(1, own, ("slot_until", order.now)),), ask.terms)
        full = isinstance(placed, Refusal) and placed.code == Code.PACK_LIMIT
        return _being_opened() if full else placed

    async def _open_already(self, ordered: Purchase, *, use_credit: bool) -> Purchase | Refusal | None:
        """The open checkout of the very plan; one of another plan, or one that cannot be paid any more, is left."""
        equal = {"organization": ordered.organization, "kind": "plan"}
        now = self._means.clock.now()
        for row in await self._means.rows.find(Purchase, equal, limit=PLANS_MAX):
            if row.state not in ("created", "pending"):
                continue
            if row.url is None:
                return _being_opened()
            can_be_paid = now < (row.expires_at or 0)
            if can_be_paid and _is_alike(row, ordered, use_credit=use_credit):
                return row
            left = await self._checkout.cancel(row.organization, row.id)
            if isinstance(left, Refusal) or left.paid_at is not None:
                return left  # it cannot be left now, or was paid in this moment
        return None

    def credit(self, account: Account) -> int:
        """Minor units of the present price that its unused share is worth now; `account` is a copy of its own."""
        now = self._means.clock.now()
        return unused_credit(Turn.begin(account, self._means.ledger.catalog, now, none_found))

    async def current(self, organization: str) -> Subscription | None:
        """The subscription that runs, if there is one."""
        return await self._reader.subscription(organization)

    async def downgrade(self, organization: str, plan: str, key: str | None = None) -> Receipt | Refusal:
        """Move to a lower plan, or the same one in another rhythm, when the period ends."""
        chosen = self._means.ledger.catalog.plans.get(plan)
        if chosen is None:
            known = ", ".join(self._means.ledger.catalog.plans)
            message = f"The catalog has no plan of this name. It has: {known}."
            return Refusal(Code.UNKNOWN_PLAN, message, detail=plan[:128])
        if chosen.price is None:
            return Refusal(Code.PRICE_CUSTOM, f"The price of {chosen.title} is on request.", detail=plan)
        read = await self._reader.shopper(organization)
        if isinstance(read, Refusal):
            return read
        current = self._means.ledger.catalog.plans.get(read[0].plan or "")
        if current is None or chosen.rank > current.rank:
            message = f"{chosen.title} is a higher plan. Order it; it begins at once."
            return Refusal(Code.NOT_POSSIBLE, message, detail=plan)
        if plan == current.id:
            return Refusal(Code.NOT_POSSIBLE, "The organization is on this plan already.", detail=plan)
        return await self._change(organization, "move", plan, key)

    async def cancel(self, organization: str, key: str | None = None) -> Receipt | Refusal:
        """Leave the plan when the period ends; until then everything stays as it is."""
        return await self._change(organization, "leave", "", key)

    async def resume(self, organization: str, key: str | None = None) -> Receipt | Refusal:
        """Stay on the present plan after all: what was to come at the period's end is withdrawn."""
        read = await self._reader.shopper(organization)
        if isinstance(read, Refusal):
            return read
        state = read[1].state
        if state.plan is None or not state.scheduled:
            return Refusal(Code.NOT_POSSIBLE, "Nothing is to change at the end of the period.")
        return await self._change(organization, "stay", state.plan, key)

    async def attend(self, row: Subscription) -> Subscription:
        """Carry out a change that was begun by a process that has gone. Raises `StoreDown`."""
        if row.change is None:
            return await self._means.change(row, lambda known: later(known, None))
        try:
            await self._carry_out(row)
        except VendorDown:
            log.warning("a change of a subscription waits for its provider", subscription=row.id)
        return row

    # ---- inside --------------------------------------------------------------------------------------

    async def _change(self, organization: str, verb: str, plan: str, key: str | None) -> Receipt | Refusal:
        means = self._means
        now = means.clock.now()
        row = await self._reader.subscription(organization)
        nonce = deed_key(organization, verb, plan, key) if key is not None else means.ids.operation()
        if row is None:
            command = c.ChangePlan(plan=plan or None, when="period_end")
            return await means.submit(organization, command, deed_key(nonce, "account"))
        told = deed_key(nonce, "account")
        if row.change is None and key is not None and await means.ledger.operation(organization, told):
            # It was carried out before; told to the provider again it would undo what was asked for since.
            return await means.submit(organization, c.ChangePlan(plan=plan or None, when="period_end"), told)
        if row.change is not None and row.change != f"{verb}:{plan}:{nonce}":
            message = "Another change of the subscription is under way. Try again in a moment."
            return Refusal(Code.NOT_POSSIBLE, message, retry_after_ms=LEASE_MS)
        begun = await means.rows.put(later(replace(row, change=f"{verb}:{plan}:{nonce}"), now + LEASE_MS))
        if begun is None:
            message = "The subscription has just changed. Try again."
            return Refusal(Code.NOT_POSSIBLE, message, retry_after_ms=1)
        try:
            return await self._carry_out(begun)
        except VendorDown:
            message = "The payment provider cannot be reached. The change is made as soon as it answers."
            return Refusal(Code.CHECKOUT_FAILED, message, retry_after_ms=LEASE_MS, detail="provider_down")

    async def _carry_out(self, row: Subscription) -> Receipt | Refusal:
        """Tell the provider, then the account, then write down that it is done. Raises `VendorDown`."""
        means = self._means
        assert row.change is not None, "a change was begun"
        verb, plan, nonce = row.change.split(":", 2)
        chosen = means.ledger.catalog.plans.get(plan)
        paid = chosen is not None and bool(chosen.price)
        try:
            await self._tell_provider(row, verb, chosen if paid else None, nonce)
        except VendorRefused as refused:
            await means.change(row, lambda known: later(replace(known, change=None), None))
            return provider_refused(refused)
        command = c.ChangePlan(plan=plan or None, when="period_end", billed=paid)
        reply = await means.submit(row.organization, command, deed_key(nonce, "account"))

        def done(known: Subscription) -> Subscription:
            if known.change != row.change:
                return known
            known = later(replace(known, change=None), None)
            if isinstance(reply, Refusal):
                return known
            # What is billed now goes on at its price, whatever the plan costs new customers meanwhile.
            staying = chosen if verb == "stay" else means.ledger.catalog.plans.get(known.plan or "")
            back = staying is not None and known.next_plan is not None
            amount = staying.price or known.amount if staying is not None and back else known.amount
            if verb == "stay":
                return replace(known, ends_at=None, next_plan=None, amount=amount)
            if paid and chosen is not None:
                return replace(known, next_plan=plan, amount=chosen.price)
            return replace(known, next_plan=plan or None, ends_at=known.period_end, amount=amount)

        await means.change(row, done)
        return reply

    async def _tell_provider(self, row: Subscription, verb: str, plan: Plan | None, nonce: str) -> None:
        payments = self._means.payments.get(row.provider)
        if payments is None:
            raise VendorRefused("unknown_provider", "The provider of this subscription is not set up here.")
        key = deed_key(nonce, "provider")
        if plan is None:
            present = self._means.ledger.catalog.plans.get(row.plan or "")
            if row.next_plan is not None and present is not None:
                # A lower plan was to come, and would come still if the customer stays after all.
                with suppress(VendorRefused):
                    await payments.renew_as(row, self._as_order(row, present), deed_key(nonce, "present"))
            await payments.end_subscription(row, now=False, key=key)
            return
        back = verb == "stay" and row.next_plan is None
        await payments.renew_as(row, None if back else self._as_order(row, plan), key)

    def _as_order(self, row: Subscription, plan: Plan) -> PaymentOrder:
        purchase = Purchase(
            id=deed_key(row.id, plan.id),
            organization=row.organization,
            created_at=self._means.clock.now(),
            kind="renewal",
            item=plan.id,
            title=plan.title,
            amount=plan.price or 0,
            list_amount=plan.price or 0,
            currency=row.currency,
            tokens=plan.tokens,
            provider=row.provider,
            mode="invoice",
            subscription=row.ref,
        )
        return order_for(self._means, purchase, customer=row.customer)

    async def _had_any(self, organization: str) -> bool:
        """Whether the organization ever had a subscription, so that a trial is not given twice."""
        equal = {"organization": organization}
        found: Sequence[Subscription] = await self._means.rows.find(Subscription, equal, limit=PLANS_MAX)
        return bool(found)


def _is_alike(row: Purchase, ordered: Purchase, *, use_credit: bool) -> bool:
    """Whether the open checkout is of the very order: what is bought, for how much, and what was agreed to.

    Credit that the open one is to be paid with is not there for another, so it is not looked for in `ordered`.
    """
    price, waived = row.amount + row.credit_used, row.withdrawal_waived_at is not None
    wanted = use_credit and (row.credit_used > 0 or ordered.credit_used > 0)
    same = (row.item, row.provider, price) == (
        ordered.item, ordered.provider, ordered.amount + ordered.credit_used,
    )  # fmt: skip
    return same and waived == (ordered.withdrawal_waived_at is not None) and wanted == (row.credit_used > 0)


def _being_opened() -> Refusal:
    """Somebody else orders a plan for the organization in this very moment."""
    message = "A checkout for a plan is just being opened. Try again in a moment."
    return Refusal(Code.NOT_POSSIBLE, message, retry_after_ms=1_000)
