"""Learn: what a provider told, merged into the purchase that it belongs to, and what follows from that.

A happening finds its purchase by our own id, where the provider sent it back, else by the references that were
kept of the provider's objects. An invoice of a subscription that nobody ordered is a renewal, and becomes a
purchase of its own whose id is made from the invoice, so that it exists once however many tell of it. What has
no purchase yet is for the caller to tell again later: events overtake one another.

What was ordered is never taken from an event: amount and currency of a renewal are those that the subscription
was agreed at (`tokentill.rules.purchases.matches`).

Requirement ids: R-PACK-3, R-PACK-4, R-LIC-1, R-LIC-3, R-PLAN-4, R-REF-6.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from tokentill.flows.carry import passed_on
from tokentill.flows.deliver import Delivery
from tokentill.flows.means import Means, later
from tokentill.flows.refund_facts import wake
from tokentill.flows.standing import Subscriptions
from tokentill.flows.suspect import Suspicion
from tokentill.ports import VendorDown
from tokentill.rules import happenings as h
from tokentill.rules.credit import available, usable
from tokentill.rules.ordering import renewal_with
from tokentill.rules.purchases import Purchase, begin, derive, merge, purchase_id, settling
from tokentill.rules.rows import Payer, Reference
from tokentill.rules.waiting import look_at

Invoice = h.InvoiceDrafted | h.InvoicePaid | h.InvoiceFailed | h.InvoiceVoided
UPGRADES_MAX = 100


class Learning:
    """Takes happenings in."""

    def __init__(
        self, means: Means, delivery: Delivery, subscriptions: Subscriptions, suspicion: Suspicion
    ) -> None:
        self._means = means
        self._delivery = delivery
        self._subscriptions = subscriptions
        self._suspicion = suspicion

    async def learn(
        self, provider: str, facts: Sequence[h.AnyHappening]
    ) -> tuple[dict[str, Purchase], list[h.AnyHappening]]:
        """Take the happenings in and all steps that follow; the purchases as they are then, and what has none yet.

        Raises `VendorDown` where a payment was told of which it is not known yet what credit pays: tell it again.
        """
        changed: dict[str, Purchase] = {}
        unknown: list[h.AnyHappening] = []
        for fact in facts:
            if isinstance(fact, h.Subscribed):
                owner = await self._owner(provider, fact)
                if owner is None:
                    unknown.append(fact)
                    continue
                await self._means.refer(provider, {fact.subscription}, owner.id, owner.organization)
                await self._subscriptions.stand(provider, fact, owner)
                continue
            if isinstance(fact, h.InvoiceDrafted) and not await self._concerns(provider, fact):
                continue
            purchase = await self._find(provider, fact)
            if purchase is None:
                unknown.append(fact)
                continue
            changed[purchase.id] = await self._take(provider, purchase, fact)
        if any(purchase.payments and settling(purchase) for purchase in changed.values()):
            raise VendorDown("What credit pays of an invoice that was paid is not known yet.")
        return changed, unknown

    async def _take(self, provider: str, purchase: Purchase, fact: h.AnyHappening) -> Purchase:
        """The references first: what is found by them later must not depend on how far this comes."""
        means = self._means
        refs = _names(fact)
        if isinstance(fact, h.InvoiceFailed) and purchase.kind in ("plan", "upgrade"):
            # Nothing was paid for yet, so nothing ends.
            fact = h.Declined(
                at=fact.at, purchase=purchase.id, organization=purchase.organization, attempt=fact.invoice
            )
        await means.refer(provider, refs, purchase.id, purchase.organization)
        over = False
        if isinstance(fact, h.InvoiceDrafted | h.InvoiceFailed):
            # It is on record by now. So of it and the end of its subscription, told at once, one finds the other.
            over = await self._subscriptions.over(provider, fact.subscription, purchase.organization)
        drafted = isinstance(fact, h.InvoiceDrafted) and not over
        credit = await self._credit(purchase) if drafted else 0

        def told(row: Purchase) -> Purchase:
            merged = renewal_with(merge(row, fact), credit)
            if merged == row:
                return row
            merged = begin(merged)
            return later(merged, look_at(merged, means.clock.now()))

        purchase = await means.change(purchase, told)
        purchase = await self._delivery.advance(purchase)
        counts = await passed_on(means, self._delivery, purchase)
        if isinstance(fact, h.InvoicePaid):
            await self._subscriptions.paid(provider, fact, purchase)
        if isinstance(fact, h.Refunded | h.RefundFailed) or purchase.replaces is not None:
            await wake(means, counts)
        if isinstance(fact, h.Paid | h.InvoicePaid):
            await self._remember(provider, purchase, fact)
        return await self._suspicion.judge(purchase, fact, counts)

    async def _concerns(self, provider: str, fact: h.InvoiceDrafted) -> bool:
        """Whether there may be credit for a drafted invoice; it is a purchase only then, before it is paid."""
        first = await self._referred(provider, fact.subscription)
        account = None if first is None else await self._means.ledger.account(first.organization)
        return account is None or available(account.state) > 0

    async def _credit(self, renewal: Purchase) -> int:
        """How much of the renewal credit can pay now, so that its provider can collect the rest (R-REF-4).

        Credit is money of the catalog's currency, and pays nothing in another.
        """
        account = await self._means.ledger.account(renewal.organization)
        same = renewal.currency == self._means.ledger.catalog.currency
        if account is None or renewal.kind != "renewal" or not same:
            return 0
        return usable(renewal.amount, available(account.state), self._means.coins(renewal.provider))

    # ---- whose it is ---------------------------------------------------------------------------------

    async def _find(self, provider: str, fact: h.AnyHappening) -> Purchase | None:
        if isinstance(fact, Invoice):
            return await self._of_invoice(provider, fact)
        own = await self._own(provider, fact)
        if own is not None:
            return own
        for ref in sorted(_names(fact)):
            found = await self._referred(provider, ref)
            if found is not None:
                return found
        return None

    async def _own(self, provider: str, fact: h.AnyHappening) -> Purchase | None:
        """The purchase of our own id that the happening names, if it is this provider's."""
        if fact.purchase is None:
            return None
        if fact.organization:
            found = await self._means.rows.get(Purchase, fact.purchase, fact.organization)
        else:
            found = next(iter(await self._means.rows.find(Purchase, {"id": fact.purchase}, limit=1)), None)
        return found if found is not None and found.provider == provider else None

    async def _referred(self, provider: str, ref: str) -> Purchase | None:
        reference = await self._means.rows.get(Reference, f"{provider}:{ref}")
        if reference is None:
            return None
        return await self._means.rows.get(Purchase, reference.purchase, reference.owner)

    async def _owner(self, provider: str, fact: h.Subscribed) -> Purchase | None:
        """The purchase that a subscription began with."""
        return await self._referred(provider, fact.subscription) or await self._own(provider, fact)

    async def _of_invoice(self, provider: str, fact: Invoice) -> Purchase | None:
        known = await self._referred(provider, fact.invoice)
        if known is not None:
            return known
        reason = getattr(fact, "reason", "cycle")
        own = await self._own(provider, fact)
        if own is not None and (own.kind == "upgrade" or (own.kind == "plan" and reason == "create")):
            return own
        first = await self._referred(provider, fact.subscription)
        if first is None:
            # It may say whose it is by the purchase that the subscription began with.
            first = own if own is not None and own.kind == "plan" else None
        if first is None or reason == "create":
            return first
        if reason == "update":
            return await self._upgrade(first, fact.subscription)
        return await self._renewal(provider, first, fact)

    async def _upgrade(self, first: Purchase, subscription: str) -> Purchase | None:
        """The upgrade of the subscription that still waits for its invoice."""
        equal = {"organization": first.organization, "kind": "upgrade"}
        found = await self._means.rows.find(Purchase, equal, limit=UPGRADES_MAX)
        waits = ("created", "pending", "failed")
        return next((row for row in found if row.subscription == subscription and row.state in waits), None)

    async def _renewal(self, provider: str, first: Purchase, fact: Invoice) -> Purchase:
        """The renewal that the invoice bills, stored now if it was not known."""
        means = self._means
        at = fact.start if isinstance(fact, h.InvoicePaid | h.InvoiceDrafted) else fact.at
        plan_id = getattr(fact, "plan", None)
        item, amount, currency = await self._subscriptions.terms(
            provider, first, fact.subscription, at, plan_id
        )
        plan = means.ledger.catalog.plans.get(item)
        row = derive(
            Purchase(
                id=purchase_id(provider, fact.invoice),
                organization=first.organization,
                created_at=fact.at,
                kind="renewal",
                item=item,
                title=first.title if plan is None else plan.title,
                amount=amount,
                currency=currency,
                list_amount=amount,
                tokens=0 if plan is None else plan.tokens,
                bonus=0 if plan is None else plan.bundled_tokens,
                periods=1 if plan is None else plan.periods_per_payment,
                provider=provider,
                mode="invoice",
                source="provider",
                subscription=fact.subscription,
                invoice=fact.invoice,
            )
        )
        return (await means.rows.add(row)).row

    async def _remember(self, provider: str, purchase: Purchase, fact: h.Paid | h.InvoicePaid) -> None:
        """Keep the payment method, and that it may be charged again if the customer agreed and did not think better."""
        if fact.method is None:
            return
        saved = fact.saved if isinstance(fact, h.Paid) else None
        label = fact.label if isinstance(fact, h.Paid) else None
        row = Payer(
            id=f"{provider}:{purchase.organization}:{fact.method}",
            organization=purchase.organization,
            created_at=fact.at,
            provider=provider,
            method=fact.method,
        )

        def used(row: Payer) -> Payer:
            forgotten = row.forgotten_at is not None and purchase.created_at <= row.forgotten_at
            return replace(
                row,
                customer=fact.customer or row.customer,
                saved=row.saved if forgotten else saved or row.saved,
                label=label or row.label,
                used_at=max(row.used_at, fact.at),
            )

        await self._means.upsert(row, used)


def _names(fact: h.AnyHappening) -> set[str]:
    """The provider's objects that the happening names and that belong to one purchase."""
    found = {
        getattr(fact, name, None)
        for name in (("invoice", "payment") if isinstance(fact, Invoice) else ("payment", "checkout"))
    }
    if isinstance(fact, h.InvoicePaid) and fact.reason == "create":
        found.add(fact.subscription)
    return {name for name in found if name}
