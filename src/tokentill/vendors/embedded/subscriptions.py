"""Subscriptions of the embedded provider: what time, the customer and the till do to them.

An invoice that was drafted may have had credit taken off it. Where it will not be collected, because the plan changes
or ends before, it is voided, and the credit comes back; the next one is drafted anew.

Requirement ids: R-PLAT-1, R-PLAN-4, R-LIC-1, R-LIC-3, R-REF-4.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from tokentill.ports import Order, Paying, VendorRefused
from tokentill.rules import happenings as h
from tokentill.rules.rows import Draft, EmbeddedPayment, Subscription
from tokentill.vendors.embedded import billing
from tokentill.vendors.embedded.book import Book, say
from tokentill.vendors.embedded.cards import BY_NUMBER

PLANS_MAX = 100
"""So many payments of an organization are looked through for its subscriptions."""


class Subscriptions:
    """What happens to subscriptions, each time in one write of the book."""

    def __init__(self, book: Book) -> None:
        self._book = book
        self._facts = book.facts

    async def running(self, organization: str) -> Sequence[EmbeddedPayment]:
        """The organization's subscriptions that run, newest first."""
        equal = {"organization": organization}
        found = await self._book.rows.find(EmbeddedPayment, equal, limit=PLANS_MAX)
        running = [row for row in found if row.plan is not None and row.paid_at is not None and not row.ended]
        return sorted(running, key=lambda row: row.created_at, reverse=True)

    # ---- what time and the customer do -------------------------------------------------------------------

    async def renew(self, ident: str, now: int) -> Paying:
        """Do what is due of a subscription at `now`: draft or collect the next invoice, try one again, or end it."""
        seen = await self._book.payment(ident)
        at = None if seen is None else billing.acts_at(seen)
        if seen is None or at is None or at > now:
            return Paying("idle")
        if billing.ends(seen):
            return await self._end(seen, at)
        if seen.draft is None:
            return await self._draft(seen, min(now, at + billing.DRAFT_MS))
        return await self._collect(seen, at)

    async def collect(self, ident: str, now: int) -> Paying:
        """The customer pays the invoice that is owed of a subscription, with the card that it has."""
        found = await self._book.payment(ident)
        if found is None or found.failed_at is None or found.ended:
            return Paying("idle")
        if not _pays(found):  # a try by hand brings the end of the provider's own tries no nearer
            return Paying("declined", code="card_declined")
        return await self._collect(found, now)

    async def change_card(self, ident: str, number: str, now: int) -> Paying:
        """The customer gives another card for a subscription; an open invoice is tried with it at once."""
        if number not in BY_NUMBER:
            return Paying("open", code="not_a_test_card")
        found = await self._book.change(ident, lambda row: replace(row, card=number))
        return Paying("unknown") if found is None else await self.collect(ident, now)

    async def leave(self, ident: str, now: int, *, leaving: bool) -> Paying:
        """The customer cancels a subscription at the end of its period, or withdraws that."""

        def said(row: EmbeddedPayment) -> EmbeddedPayment:
            if row.ended or row.next_at is None or (row.ends_at is not None) is leaving:
                return row
            at = self._book.now(row, now)
            row = replace(row, ends_at=billing.period_end(row) if leaving else None)
            row = say(row, f"standing.{row.version}", self._facts.standing(row, at))
            return self._dropped(row, at) if billing.ends(row) else row

        found = await self._book.change(ident, said)
        return Paying("unknown") if found is None or found.next_at is None else self._book.paying(found)

    # ---- what the till asks for --------------------------------------------------------------------------

    async def move(self, subscription: Subscription, order: Order) -> Sequence[h.AnyHappening]:
        """Move to the order's plan now: the difference is charged to the card that pays the subscription."""
        before = await self._of(subscription)
        if not _works(before):
            raise VendorRefused("card_declined", "The card was declined. Change the card, then try again.")
        at = self._book.now(before, order.purchase.created_at)
        moved = await self._book.change(
            before.id, lambda row: billing.moved(self._dropped(row, at), order, at)
        )
        assert moved is not None, "a payment is never deleted"
        return (self._facts.invoice_paid(moved, "update", at, order.purchase.amount, order.purchase.id),)

    async def end(self, subscription: Subscription, *, now: bool) -> None:
        """Bill nothing more after what is paid, or end it now."""

        def end(row: EmbeddedPayment) -> EmbeddedPayment:
            if now:
                return billing.over(self._dropped(row, self._book.now(row)))
            row = replace(row, ends_at=billing.period_end(row))
            return self._dropped(row, self._book.now(row)) if billing.ends(row) else row

        await self._book.change(subscription.ref, end)

    async def renew_as(self, subscription: Subscription, order: Order | None) -> None:
        """From the next invoice on bill the order's plan; a cancellation to come is withdrawn."""
        before = await self._of(subscription)

        def renewed(row: EmbeddedPayment) -> EmbeddedPayment:
            row = replace(row, ends_at=None)
            if order is None:
                return row
            changed = billing.replanned(row, order)
            if changed == row or row.failed_at is not None:  # what is owed already is owed as it was drafted
                return changed
            return self._dropped(changed, self._book.now(row))

        await self._book.change(before.id, renewed)

    async def apply_credit(self, subscription: str, invoice: str | None, credit: int) -> bool:
        """Take credit off a drafted invoice, also one that is owed by now; whether it is off, now or before."""
        found = await self._book.change(subscription, lambda row: billing.credited(row, invoice, credit))
        return found is not None and invoice in found.credited

    # ---- inside ------------------------------------------------------------------------------------------

    async def _of(self, subscription: Subscription) -> EmbeddedPayment:
        found = await self._book.payment(subscription.ref)
        if found is None or found.ended:
            raise VendorRefused("no_subscription", "This subscription has ended. Begin a new one.")
        return found

    async def _end(self, seen: EmbeddedPayment, at: int) -> Paying:
        """End the subscription with its period, unless that was withdrawn."""

        def ended(row: EmbeddedPayment) -> EmbeddedPayment:
            if not billing.ends(row) or row.next_at != seen.next_at:
                return row
            row = billing.over(row)
            return say(row, "ended", self._facts.standing(row, at))

        found = await self._book.change(seen.id, ended)
        assert found is not None, "a payment is never deleted"
        return self._book.paying(found, "ended" if found.ended else "idle")

    async def _draft(self, seen: EmbeddedPayment, at: int) -> Paying:
        """Draft the next invoice at `at`."""

        def drafted(row: EmbeddedPayment) -> EmbeddedPayment:
            made = billing.drafted(row, seen)
            if made == row or made.draft is None:
                return row
            return say(made, _event("drafted", made.draft), self._facts.invoice_drafted(row, made.draft, at))

        found = await self._book.change(seen.id, drafted)
        assert found is not None, "a payment is never deleted"
        return self._book.paying(found, "drafted")

    async def _collect(self, seen: EmbeddedPayment, at: int) -> Paying:
        """Try to take the money of the drafted invoice at `at`; idle where there is none any more."""

        def tried(row: EmbeddedPayment) -> EmbeddedPayment:
            return self._paid(row, seen, at) if _pays(row) else self._failed(row, seen, at)

        found = await self._book.change(seen.id, tried)
        assert found is not None, "a payment is never deleted"
        if found.billed > seen.billed:
            return self._book.paying(found, "paid")
        if found.failures > seen.failures:
            return self._book.paying(found, "declined", "card_declined")
        return Paying("idle")

    def _paid(self, row: EmbeddedPayment, seen: EmbeddedPayment, at: int) -> EmbeddedPayment:
        paid, draft = billing.billed(row, seen), row.draft
        if paid == row or draft is None:
            return row
        return say(paid, _event("paid", draft), self._facts.invoice_collected(paid, draft, at))

    def _failed(self, row: EmbeddedPayment, seen: EmbeddedPayment, at: int) -> EmbeddedPayment:
        failed, draft = billing.failed(row, seen, at), row.draft
        if failed == row or draft is None:
            return row
        facts: list[h.AnyHappening] = [self._facts.invoice_failed(failed, draft, at)]
        if failed.ended:
            facts.append(self._facts.standing(failed, at))
        return say(failed, f"{_event('failed', draft)}.{failed.failures}", *facts)

    def _dropped(self, row: EmbeddedPayment, at: int) -> EmbeddedPayment:
        """The row without its drafted invoice, which is void where credit was taken off it or it is owed."""
        draft = row.draft
        if draft is None:
            return row
        gone = billing.dropped(row)
        if not draft.credit and row.failed_at is None:
            return gone  # it is nothing to anybody yet; credit that is on its way finds it gone
        return say(gone, _event("voided", draft), self._facts.invoice_voided(row, draft, at))


def _event(what: str, draft: Draft) -> str:
    """What an event of the invoice is called, which its subscription is part of already."""
    return f"invoice.{what}.{draft.invoice.partition('-')[2]}"


def _pays(row: EmbeddedPayment) -> bool:
    """Whether the drafted invoice is paid: credit left nothing of it, or the card pays."""
    return (row.draft is not None and row.draft.owed == 0) or _works(row)


def _works(row: EmbeddedPayment) -> bool:
    """Whether the card of the subscription pays."""
    card = BY_NUMBER.get(row.card)
    return card is not None and card.does not in ("declined", "once")
