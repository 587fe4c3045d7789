"""Outgoes: when money of a payment went back, refund by refund, and what a lost dispute took.

A provider tells the sum that it has given back of a payment, and so each sum is kept with the moment at which it was
reached; a dispute that is lost takes its amount when it is. Of one sum told twice the earlier moment stays, so that it
does not matter what was told first, nor how often (`tokentill.rules.purchases.merge`).

Requirement ids: R-FIN-1, R-REF-5, R-REF-6, R-PACK-3.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from msgspec import Struct

from tokentill.rules import happenings as h


class Outgo(Struct, frozen=True, array_like=True, order=True):
    """`total` minor units of a payment had gone back at `at`, by refunds or (`dispute`) by a dispute that was lost."""

    payment: str
    dispute: str
    total: int
    at: int


def told(known: tuple[Outgo, ...], fact: h.AnyHappening) -> tuple[Outgo, ...]:
    """What is known of money that went back, with what the happening says of it."""
    if isinstance(fact, h.Refunded):
        one = Outgo(fact.payment, "", fact.refunded, fact.at)
    elif isinstance(fact, h.Disputed) and fact.state == "lost":
        one = Outgo(fact.payment, fact.dispute, fact.amount, fact.at)
    else:
        return known
    alike = (one.payment, one.dispute, one.total)
    by_sum = {(row.payment, row.dispute, row.total): row for row in known}
    by_sum[alike] = min(one, by_sum.get(alike, one))
    return tuple(sorted(by_sum.values()))


def parts(known: Sequence[Outgo], payment: str, paid: int) -> Iterator[tuple[int, int]]:
    """What went back of the payment of `paid` minor units, as (when, how much), earliest first; never more than it."""
    steps: list[tuple[int, int]] = []
    for dispute in sorted({row.dispute for row in known if row.payment == payment}):
        rows = sorted(row for row in known if (row.payment, row.dispute) == (payment, dispute))
        before = 0
        for place, row in enumerate(rows):
            # A larger sum that was reached by then says that this one was, too.
            steps.append((min(later.at for later in rows[place:]), row.total - before))
            before = row.total
    left = paid
    for at, amount in sorted(steps):
        taken = min(amount, left)
        left -= taken
        if taken > 0:
            yield at, taken
