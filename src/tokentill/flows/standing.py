"""Standing: what the till knows of subscriptions, and what their end or its withdrawal means for the plan.

A subscription is read from the provider as it stands now; of two readings the later one counts. What it means
for the account is sent before the row is changed, under a key made from the row as it was, so that a crash
between the two sends it again and does it once.

Requirement ids: R-PLAN-4, R-LIC-3, R-PACK-3.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from tokentill.flows.deliver import Delivery
from tokentill.flows.means import Means, deed_key
from tokentill.rules import commands as c
from tokentill.rules import happenings as h
from tokentill.rules.account import State
from tokentill.rules.purchases import Purchase, merge
from tokentill.rules.rows import Subscription

OWING = ("past_due", "unpaid")
"""Words of providers for a subscription whose last invoice was not paid."""

BILLED_MAX = 1000
"""So many payments of one subscription are looked at, which is those of 80 years by the month."""


class Subscriptions:
    """Keeps the rows of subscriptions."""

    def __init__(self, means: Means, delivery: Delivery) -> None:
        self._means = means
        self._delivery = delivery

    async def stand(self, provider: str, fact: h.Subscribed, first: Purchase) -> None:
        """Take in where the subscription stands; `first` is the purchase that it began with."""
        means = self._means
        row = await means.rows.get(Subscription, f"{provider}:{fact.subscription}", first.organization)
        row = row or self._new(provider, fact.subscription, first, fact.at)
        if fact.at < row.read_at:
            return
        await self._tell(row, fact)

        def read(row: Subscription) -> Subscription:
            if fact.at < row.read_at:
                return row
            return replace(
                row,
                status="ended" if fact.ended else fact.status,
                customer=fact.customer or row.customer,
                saved=fact.saved or row.saved,
                period_end=_latest(row.period_end, fact.period_end),
                ends_at=fact.ends_at,
                trial_end=fact.trial_end,
                read_at=fact.at,
            )

        row = await means.upsert(row, read)
        if row.status == "ended":
            await self._forgive(row)  # also what was drafted, or told of, since

    async def over(self, provider: str, subscription: str, organization: str) -> bool:
        """Whether the subscription is over, so that no invoice of it is collected any more, or owed."""
        row = await self._means.rows.get(Subscription, f"{provider}:{subscription}", organization)
        if row is None or row.status != "ended":
            return False
        await self._forgive(row)
        return True

    async def paid(self, provider: str, fact: h.InvoicePaid, purchase: Purchase) -> None:
        """An invoice of the subscription was paid for `purchase`: a period of its plan begins."""
        if purchase.paid_at is None:
            return
        new = self._new(provider, fact.subscription, purchase, fact.at)
        told: Purchase | None = None
        while (newest := latest(await self.billed(new))) is not None and (
            told is None or told.id != newest.id
        ):
            told = newest

            def begun(row: Subscription, newest: Purchase = newest) -> Subscription:
                # An upgrade begins a period of its own, be it shorter, and withdraws what was to come.
                moves = newest.kind == "upgrade" and row.plan != newest.item
                mended = row.status in OWING and fact.at >= row.read_at
                changed = replace(
                    row, period_end=newest.plan_end, ends_at=None if moves else row.ends_at,
                    status="active" if mended else row.status,
                )  # fmt: skip
                if newest.kind == "plan":
                    return changed
                to_come = None if moves or row.next_plan == newest.item else row.next_plan
                amount = newest.list_amount or newest.amount if to_come is None else row.amount
                return replace(changed, plan=newest.item, amount=amount, next_plan=to_come)

            row = await self._means.upsert(new, begun)
            if row.status == "ended":
                await self._end_with(row, newest, row.read_at if row.ends_at is None else row.ends_at)
        if purchase.kind == "plan":
            await self._warn_of_two(new)

    async def _end_with(self, row: Subscription, newest: Purchase, ended_at: int) -> None:
        """A payment beside the end of its subscription, whichever is told first: paid before, its period ends at once.

        Paid after, the period is had to its end, and no other is waited for.
        """
        account = await self._means.ledger.account(newest.organization)
        if account is None or account.state.paid_reference != newest.id:
            return
        command = c.ChangePlan(plan=None, when="period_end")
        if (newest.paid_at or 0) <= ended_at:
            command = await self._after(row)
        await self._means.submit(newest.organization, command, deed_key(newest.id, "last"))

    async def billed(self, row: Subscription) -> list[Purchase]:
        """What was paid for the subscription, each for a time of its own."""
        equal = {"organization": row.organization, "subscription": row.ref}
        found = await self._means.rows.find(Purchase, equal, limit=BILLED_MAX)
        return [one for one in found if one.paid_at is not None and one.plan_start is not None]

    async def terms(
        self, provider: str, first: Purchase, subscription: str, at: int, plan: str | None
    ) -> tuple[str, int, str]:
        """Plan, amount and currency that a renewal of the time `at` was agreed at, however late it is told.

        One that is newer than everything paid is on the terms of now, an older one on those that held then. Where a
        change is to come, the provider's word for the plan (`plan`) says whether the invoice is from before it.
        """
        row = await self._means.rows.get(Subscription, f"{provider}:{subscription}", first.organization)
        paid = [] if row is None else await self.billed(row)
        newest = latest(paid)
        if newest is not None and at < (newest.plan_start or 0):
            return _agreed(latest([one for one in paid if (one.plan_start or 0) <= at]) or first)
        if row is None or row.amount is None:
            return _agreed(first)
        if newest is not None and row.next_plan is not None and plan == newest.item != row.next_plan:
            return _agreed(newest)
        return row.next_plan or row.plan or first.item, row.amount, row.currency

    def _new(self, provider: str, ref: str, first: Purchase, at: int) -> Subscription:
        """The row of a subscription of which nothing was known."""
        return Subscription(
            id=f"{provider}:{ref}",
            organization=first.organization,
            created_at=at,
            provider=provider,
            ref=ref,
            plan=first.item,
            status="active",
            amount=first.list_amount or first.amount,
            currency=first.currency,
        )

    async def _tell(self, row: Subscription, fact: h.Subscribed) -> None:
        """Tell the account what the provider did by itself: the end of the subscription, or its withdrawal."""
        means = self._means
        organization = row.organization
        account = await means.ledger.account(organization)
        if account is None or row.plan is None or row.status == "ended":
            return
        if row.change is not None and not fact.ended:
            return  # a change of ours is under way and tells the account itself
        plan = account.state.plan
        if fact.ended:
            await self._forgive(row)
            if plan == row.plan:
                await self._unfreeze(row)
                newest = latest(await self.billed(row))
                ended_at = fact.at if fact.ends_at is None else fact.ends_at
                if newest is not None and (newest.paid_at or 0) > ended_at:
                    await self._end_with(row, newest, ended_at)
                    return
                command = await self._after(row)
                await means.submit(organization, command, deed_key(row.id, "ended"))
        elif plan == row.plan and (fact.ends_at is None) != (row.ends_at is None):
            leaving = fact.ends_at is not None
            command = c.ChangePlan(plan=None if leaving else row.plan, when="period_end")
            key = deed_key(row.id, "ends", row.version, str(fact.ends_at))
            await means.submit(organization, command, key)

    async def _others(self, row: Subscription) -> list[Subscription]:
        """Other subscriptions of the organization that run."""
        found = await self._means.rows.find(Subscription, {"organization": row.organization})
        return [one for one in found if one.id != row.id and one.status != "ended"]

    async def _after(self, row: Subscription) -> c.ChangePlan:
        """What follows a subscription that is over: what another pays for, else what was to come for nothing."""
        now = await self._means.time_of(row.organization)
        for other in await self._others(row):
            end = None if (other.period_end or 0) <= now else other.period_end
            return c.ChangePlan(plan=other.plan, when="now", end=end, billed=True)
        # What was to come at the period's end comes now, if it needs no payment.
        return c.ChangePlan(plan=row.next_plan if row.ends_at is not None else None, when="now")

    async def _warn_of_two(self, row: Subscription) -> None:
        """A checkout that was given up for another was paid after all: both are billed from now on."""
        others = await self._others(row)
        if others:
            text = (
                f"{row.organization} pays for {row.ref} at {row.provider} beside {others[0].ref} at "
                f"{others[0].provider}. The plan is that of the payment that came last. End one of them there and "
                "give its payment back."
            )
            await self._means.alert(row.organization, "two_subscriptions", row.id, text)

    async def _unfreeze(self, row: Subscription) -> None:
        """A renewal that never came set everything aside; it is not waited for any more, and nothing else is owed."""
        means = self._means
        account = await means.ledger.account(row.organization)
        if account is None or account.state.failed_at is None or not account.state.awaits_renewal:
            return
        if not await self._delivery.owed(row.organization):
            command = c.Restore(reason="subscription ended", by_hand=False)
            await means.submit(row.organization, command, deed_key(row.id, "unfreeze"))

    async def _forgive(self, row: Subscription) -> None:
        """The subscription is over: what was still owed for it, or is drafted, is not collected any more."""
        drafted = {"organization": row.organization, "kind": "renewal", "state": "created"}
        for owed in (
            *await self._delivery.owed(row.organization),
            *await self._means.rows.find(Purchase, drafted),
        ):
            if owed.subscription != row.ref:
                continue
            void = h.InvoiceVoided(at=owed.failed_at or 0, subscription=row.ref, invoice=owed.invoice or "")

            def forgiven(purchase: Purchase, void: h.InvoiceVoided = void) -> Purchase:
                return self._delivery.ready(merge(purchase, void))

            await self._delivery.advance(await self._means.change(owed, forgiven))


def status_of(row: Subscription, state: State, now: int) -> str:
    """How a subscription stands at `now`, in the field's words, alike for every provider (R-LIC-1).

    What the provider said last, but for what the account knows sooner: an invoice that is owed or missing makes it
    `past_due`, a trial that has begun `trialing`, and what is over is `cancelled`.
    """
    if row.status == "ended":
        return "cancelled"
    if row.status not in ("active", "trialing"):
        return row.status
    if state.owed_at is not None:
        return "past_due"
    return "trialing" if (row.trial_end or 0) > now else "active"


def _agreed(purchase: Purchase) -> tuple[str, int, str]:
    """Plan, amount and currency of a payment, which the next ones are of if nothing changes."""
    return purchase.item, purchase.list_amount or purchase.amount, purchase.currency


def latest(paid: Sequence[Purchase]) -> Purchase | None:
    """The purchase that pays from latest on, whenever it was told; None of none.

    An upgrade takes the place of what began in the same moment, as on a clock that stands still, be it shorter.
    """

    def order(one: Purchase) -> tuple[int, int, int, str]:
        return one.plan_start or 0, one.list_amount if one.kind == "upgrade" else 0, one.plan_end or 0, one.id

    return max(paid, key=order, default=None)


def _latest(known: int | None, told: int | None) -> int | None:
    return told if known is None else known if told is None else max(known, told)
