"""Billing: how a subscription of the embedded provider goes on, each step from one row to the next.

A period is computed from the anchor, never from the period before. An invoice that cannot be collected is tried
again after `RETRY_DAYS`; after the last try the subscription ends.

Requirement ids: R-PLAN-4, R-LIC-1, R-REF-6.
"""

from __future__ import annotations

from msgspec.structs import replace

from tokentill.ports import Order, VendorRefused
from tokentill.rules.catalog import DAY_MS, Cycle
from tokentill.rules.periods import period_at
from tokentill.rules.purchases import Purchase
from tokentill.rules.rows import EmbeddedPayment

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
    return row.next_at


def period_end(row: EmbeddedPayment) -> int | None:
    """When the period ends that was invoiced last, be that invoice still owed; None where no other will follow."""
    return row.next_at if row.next_at is None or row.failed_at is None else period(row, row.billed)[1]


def billed(row: EmbeddedPayment, seen: EmbeddedPayment) -> EmbeddedPayment:
    """The next invoice was paid: a further period, and whatever had failed is mended. Once, as it was `seen`."""
    if row.billed != seen.billed or row.ended:
        return row
    row = replace(row, billed=row.billed + 1, failed_at=None, failures=0)
    return replace(row, next_at=period(row, row.billed - 1)[1])


def failed(row: EmbeddedPayment, seen: EmbeddedPayment, at: int) -> EmbeddedPayment:
    """The next invoice, as it was `seen`, could not be collected at `at`; it is tried again, or all is over."""
    if (row.billed, row.failures) != (seen.billed, seen.failures) or row.ended:
        return row
    first = row.failed_at or at
    row = replace(row, failed_at=first, failures=row.failures + 1)
    if row.failures > len(RETRY_DAYS):
        return replace(row, ended=True, next_at=None)
    return replace(row, next_at=first + RETRY_DAYS[row.failures - 1] * DAY_MS)


def moved(row: EmbeddedPayment, order: Order, at: int) -> EmbeddedPayment:
    """The subscription is on the order's plan from `at` on, its first period paid."""
    purchase = order.purchase
    row = replace(
        row, plan=purchase.item, recurring=purchase.list_amount or purchase.amount, interval=order.interval,
        interval_days=order.interval_days, anchor=at, billed=1, trial_days=0, ends_at=None, failed_at=None,
    )  # fmt: skip
    return replace(row, next_at=period(row, 0)[1])


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
