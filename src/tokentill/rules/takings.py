"""Takings: the money that came in and went out with an organization's purchases, and the month that it is booked in.

Money is booked in the month in which it moves, as the books of the field do it: a refund is no change of the month of
the sale, which is closed, but a line of its own in the month in which it is given back. What is told of a month after it
was summed is booked in the next one. So each amount is booked once, and all months together are the money that came in
less the money that went out.

What was paid for a plan or for overage is earned by periods, which end in other months than they are paid in
(`tokentill.rules.margins`). So it stands here as `deferred`, and what is earned of it is taken off there. Credit that
pays of a bill after it was made is booked likewise, in the month in which it does: that much less was earned with
overage, and that much less is owed.

What it does not decide: money of another currency than the catalog's, which nobody converts, is left out.

Requirement ids: R-FIN-1, R-REF-5.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from msgspec.structs import replace

from tokentill.rules import outgoes
from tokentill.rules.catalog import Costs
from tokentill.rules.margins import MILLION, OVERAGE, Line, total
from tokentill.rules.pricing import card_fee
from tokentill.rules.purchases import Purchase


def takings(purchase: Purchase, currency: str, costs: Costs) -> Iterator[tuple[int, Line]]:
    """What moved with a purchase, each with when: what was paid, and (`refund`) what went back of it."""
    for payment in purchase.payments:
        if payment.currency != currency or payment.amount <= 0:
            continue
        if purchase.kind == "pack":
            fee = card_fee(payment.amount, costs)
            line = Line(kind="pack", item=purchase.item, payments=MILLION, revenue=payment.amount, fees=fee)
        else:
            item = OVERAGE if purchase.kind == "overage" else purchase.item
            line = Line(kind="deferred", item=item, revenue=payment.amount)
        yield payment.at, line
        for at, amount in outgoes.parts(purchase.outgoes, payment.payment, payment.amount):
            yield max(at, payment.at), Line(kind="refund", item=purchase.item, revenue=-amount)


def credited(bill: Purchase) -> Iterator[tuple[int, Line]]:
    """What credit paid of a bill after it was made, each with when: no money will come for that part of what was earned.

    What credit paid of it at once was never counted as earned.
    """
    for at, credit in _further(bill):
        if credit:
            yield at, Line(kind="overage", item=OVERAGE, revenue=-credit)
            yield at, Line(kind="deferred", item=OVERAGE, revenue=credit)


def first_credit(bill: Purchase) -> int:
    """What credit paid of a bill when it was made."""
    return bill.credit_used - sum(credit for _, credit in _further(bill))


def _further(bill: Purchase) -> tuple[tuple[int, int], ...]:
    """What credit paid of a bill after it was made, each with when; without what is being spent."""
    return bill.further[:-1] if bill.doing == "spend_credit" else bill.further


def booked(purchases: Iterable[Purchase], until: int, currency: str, costs: Costs) -> tuple[Line, ...]:
    """What moved before `until`, in sum, by kind and item."""
    return total(
        line
        for purchase in purchases
        for at, line in (*takings(purchase, currency, costs), *credited(purchase))
        if at < until
    )


def since(lines: tuple[Line, ...], before: tuple[Line, ...]) -> tuple[Line, ...]:
    """The sums that are booked now, less those that were booked before."""
    less = (
        replace(one, payments=-one.payments, revenue=-one.revenue, fees=-one.fees, tokens=-one.tokens)
        for one in before
    )
    return tuple(one for one in total((*lines, *less)) if one.payments or one.revenue or one.fees)
