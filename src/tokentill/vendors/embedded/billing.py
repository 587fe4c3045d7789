"""Billing: how a subscription of the embedded provider goes on, each step from one row to the next.

A period is computed from the anchor, never from the period before. An invoice is drafted `DRAFT_MS` before it is
collected and keeps the terms of that moment. One that cannot be collected is tried again after `RETRY_DAYS`; after the
last try the subscription ends. A draft that will not be collected is dropped, and a later one has another name.

Requirement ids: R-PLAN-4, R-LIC-1, R-REF-4, R-REF-6.
"""

from __future__ import annotations

from msgspec.structs import replace

from tokentill.ports import Order, VendorRefused
from tokentill.rules.catalog import DAY_MS, HOUR_MS, Cycle
from tokentill.rules.periods import period_at
from tokentill.rules.purchases import Purchase
from tokentill.rules.rows import Draft, EmbeddedPayment

DRAFT_MS = HOUR_MS
"""So long before it is collected an invoice is drafted; credit can be taken off it meanwhile."""

RETRY_DAYS = (3, 5, 7, 14, 21)
"""Days after the first failure on which an invoice is tried again."""


def period(payment: EmbeddedPayment, number: int) -> tuple[int, int]:
    """Start and end of the subscription's n-th period."""
    if payment.interval == "days":
        return period_at(payment.anchor, Cycle("days", payment.interval_days), number)
    months = 12 if payment.interval == "year" else 1
    start, _ = period_at(payment.anchor, Cycle("month"), number * months)
    end, _ = period_at(payment.anchor, Cycle("month"), (number + 1) * months)
    return start, end


def acts_at(row: EmbeddedPayment) -> int | None:
    """When the provider does something about the payment by itself, the next time; None where it never will."""
    if row.next_at is None or row.failed_at is not None or row.draft is not None or ends(row):
        return row.next_at
    return row.next_at - DRAFT_MS


def ends(row: EmbeddedPayment) -> bool:
    """Whether the subscription ends with the period that is paid."""
    next_at, ends_at = row.next_at, row.ends_at
    return next_at is not None and ends_at is not None and ends_at <= next_at and row.failed_at is None


def period_end(row: EmbeddedPayment) -> int | None:
    """When the period ends that was invoiced last, be that invoice still owed; None where no other will follow."""
    return row.next_at if row.next_at is None or row.failed_at is None else period(row, row.billed)[1]


def drafted(row: EmbeddedPayment, seen: EmbeddedPayment) -> EmbeddedPayment:
    """The next invoice, as it was `seen` to be due, is made on the terms of now; nothing more changes it but credit."""
    if (row.billed, row.edition) != (seen.billed, seen.edition) or acts_at(row) != acts_at(seen):
        return row
    name = f"{row.id}-{row.billed + 1}" + (f"-{row.edition}" if row.edition else "")
    return replace(row, draft=Draft(name, row.plan, row.recurring))


def dropped(row: EmbeddedPayment) -> EmbeddedPayment:
    """The subscription without the invoice that was drafted."""
    return row if row.draft is None else replace(row, draft=None, edition=row.edition + 1)


def credited(row: EmbeddedPayment, invoice: str | None, credit: int) -> EmbeddedPayment:
    """So much credit is taken off the invoice, once; not of one that is not drafted, or of more than it is for."""
    draft = row.draft
    if draft is None or draft.invoice != invoice or draft.credit or not 0 < credit <= draft.amount:
        return row
    return replace(row, draft=replace(draft, credit=credit), credited=(*row.credited, draft.invoice))


def billed(row: EmbeddedPayment, seen: EmbeddedPayment) -> EmbeddedPayment:
    """The drafted invoice was paid: a further period, and whatever had failed is mended. Once, as it was `seen`."""
    if (row.billed, row.edition) != (seen.billed, seen.edition) or row.draft is None:
        return row
    row = replace(row, billed=row.billed + 1, draft=None, failed_at=None, failures=0)
    return replace(row, next_at=period(row, row.billed - 1)[1])


def failed(row: EmbeddedPayment, seen: EmbeddedPayment, at: int) -> EmbeddedPayment:
    """The drafted invoice, as it was `seen`, could not be collected at `at`; it is tried again, or all is over."""
    known = (seen.billed, seen.edition, seen.failures)
    if (row.billed, row.edition, row.failures) != known or row.draft is None:
        return row
    first = row.failed_at or at
    row = replace(row, failed_at=first, failures=row.failures + 1)
    if row.failures > len(RETRY_DAYS):
        return over(row)
    return replace(row, next_at=first + RETRY_DAYS[row.failures - 1] * DAY_MS)


def over(row: EmbeddedPayment) -> EmbeddedPayment:
    """The subscription is over."""
    return replace(row, ended=True, next_at=None, draft=None)


def moved(row: EmbeddedPayment, order: Order, at: int) -> EmbeddedPayment:
    """The subscription is on the order's plan from `at` on, its first period paid."""
    purchase = order.purchase
    row = replace(
        row, plan=purchase.item, recurring=purchase.list_amount or purchase.amount, interval=order.interval,
        interval_days=order.interval_days, anchor=at, billed=1, trial_days=0, ends_at=None, failed_at=None, draft=None,
        failures=0, edition=row.edition + 1,
    )  # fmt: skip
    return replace(row, next_at=period(row, 0)[1])


def replanned(row: EmbeddedPayment, order: Order) -> EmbeddedPayment:
    """The subscription that bills the order's plan from its next invoice on, in the rhythm of that plan.

    Raises `VendorRefused` where an invoice of another rhythm is owed.
    """
    purchase = order.purchase
    row = replace(row, plan=purchase.item, recurring=purchase.list_amount or purchase.amount)
    if (row.interval, row.interval_days) == (order.interval, order.interval_days) or row.next_at is None:
        return row
    if row.failed_at is not None:
        raise VendorRefused(
            "owed", "An invoice is owed. Pay it first, then change how often the plan is paid."
        )
    return replace(
        row, interval=order.interval, interval_days=order.interval_days, anchor=row.next_at, billed=0,
        edition=row.edition + 1,
    )  # fmt: skip


def refunded(row: EmbeddedPayment, purchase: Purchase, amount: int, key: str) -> EmbeddedPayment:
    """The subscription after giving back `amount` of the later invoice that paid for `purchase`; once under a key."""
    invoice = purchase.payment or ""
    done = [one for one in row.invoice_refunds if one[0] == invoice]
    if key in {name for _, name, _ in done}:
        return row
    left = purchase.amount - sum(given for _, _, given in done)
    if not 0 < amount <= left:
        raise VendorRefused("over_refund", f"Of this invoice {left} can still be given back.")
    return replace(row, invoice_refunds=(*row.invoice_refunds, (invoice, key, amount)))
