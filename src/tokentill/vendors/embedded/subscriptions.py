"""Subscriptions of the embedded provider: what time, the customer and the till do to them.

Requirement ids: R-PLAT-1, R-PLAN-4, R-LIC-1, R-LIC-3.
"""

from __future__ import annotations

from collections.abc import Sequence

from msgspec.structs import replace

from tokentill.ports import Order, Paying, VendorRefused
from tokentill.rules import happenings as h
from tokentill.rules.rows import EmbeddedPayment, Subscription
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
        """Do what is due of a subscription at `now`: the next invoice, or another try of the failed one, or its end."""
        seen = await self._book.payment(ident)
        at = None if seen is None else billing.acts_at(seen)
        if seen is None or at is None or at > now:
            return Paying("idle")
        if seen.ends_at is None or seen.ends_at > at or seen.failed_at is not None:
            return await self._collect(seen, at)

        def ended(row: EmbeddedPayment) -> EmbeddedPayment:
            if row.ended or row.ends_at != seen.ends_at or row.next_at != seen.next_at:
                return row
            row = replace(row, ended=True, next_at=None)
            return say(row, "ended", self._facts.standing(row, at))

        found = await self._book.change(ident, ended)
        assert found is not None, "a payment is never deleted"
        return self._book.paying(found, "ended" if found.ended else "idle")

    async def collect(self, ident: str, now: int) -> Paying:
        """The customer pays the invoice that is owed of a subscription, with the card that it has."""
        found = await self._book.payment(ident)
        if found is None or found.failed_at is None or found.ended:
            return Paying("idle")
        if not _collects(found):  # a try by hand brings the end of the provider's own tries no nearer
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
            row = replace(row, ends_at=billing.period_end(row) if leaving else None)
            return say(row, f"standing.{row.version}", self._facts.standing(row, self._book.now(row, now)))

        found = await self._book.change(ident, said)
        return Paying("unknown") if found is None or found.next_at is None else self._book.paying(found)

    # ---- what the till asks for --------------------------------------------------------------------------

    async def move(self, subscription: Subscription, order: Order) -> Sequence[h.AnyHappening]:
        """Move to the order's plan now: the difference is charged to the card that pays the subscription."""
        before = await self._of(subscription)
        if not _collects(before):
            raise VendorRefused("card_declined", "The card was declined. Change the card, then try again.")
        at = self._book.now(before, order.purchase.created_at)
        moved = await self._book.change(before.id, lambda row: billing.moved(row, order, at))
        assert moved is not None, "a payment is never deleted"
        return (self._facts.invoice_paid(moved, "update", at, order.purchase.amount, order.purchase.id),)

    async def end(self, subscription: Subscription, *, now: bool) -> None:
        """Bill nothing more after what is paid, or end it now."""

        def end(row: EmbeddedPayment) -> EmbeddedPayment:
            if now:
                return replace(row, ended=True, next_at=None)
            return replace(row, ends_at=billing.period_end(row))

        await self._book.change(subscription.ref, end)

    async def renew_as(self, subscription: Subscription, order: Order | None) -> None:
        """From the next invoice on bill the order's plan; a cancellation to come is withdrawn."""
        before = await self._of(subscription)

        def renewed(row: EmbeddedPayment) -> EmbeddedPayment:
            row = replace(row, ends_at=None)
            if order is None:
                return row
            price = order.purchase.list_amount or order.purchase.amount
            return replace(row, plan=order.purchase.item, recurring=price)

        await self._book.change(before.id, renewed)

    # ---- inside ------------------------------------------------------------------------------------------

    async def _of(self, subscription: Subscription) -> EmbeddedPayment:
        found = await self._book.payment(subscription.ref)
        if found is None or found.ended:
            raise VendorRefused("no_subscription", "This subscription has ended. Begin a new one.")
        return found

    async def _collect(self, seen: EmbeddedPayment, at: int) -> Paying:
        """Try to take the money of the next invoice at `at`; idle where somebody else was first."""

        def tried(row: EmbeddedPayment) -> EmbeddedPayment:
            return self._paid(row, seen, at) if _collects(row) else self._failed(row, seen, at)

        found = await self._book.change(seen.id, tried)
        assert found is not None, "a payment is never deleted"
        if found.billed > seen.billed:
            return self._book.paying(found, "paid")
        if found.failures > seen.failures:
            return self._book.paying(found, "declined", "card_declined")
        return Paying("idle")

    def _paid(self, row: EmbeddedPayment, seen: EmbeddedPayment, at: int) -> EmbeddedPayment:
        paid = billing.billed(row, seen)
        if paid == row:
            return row
        fact = self._facts.invoice_paid(paid, "cycle", at, paid.recurring, None)
        return say(paid, f"invoice.paid.{paid.billed}", fact)

    def _failed(self, row: EmbeddedPayment, seen: EmbeddedPayment, at: int) -> EmbeddedPayment:
        failed = billing.failed(row, seen, at)
        if failed == row:
            return row
        number = failed.billed + 1
        facts: list[h.AnyHappening] = [
            h.InvoiceFailed(
                at=at, organization=row.organization, subscription=row.id, invoice=f"{row.id}-{number}",
                amount=row.recurring, currency=row.currency,
            )
        ]  # fmt: skip
        if failed.ended:
            facts.append(self._facts.standing(failed, at))
        return say(failed, f"invoice.failed.{number}.{failed.failures}", *facts)


def _collects(row: EmbeddedPayment) -> bool:
    """Whether the card of the subscription pays."""
    card = BY_NUMBER.get(row.card)
    return card is not None and card.does not in ("declined", "once")
