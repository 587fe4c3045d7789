"""Upgraded: a larger pack takes over the payments of the pack in whose place it is, and what is told of them (R-REF-4).

From then on everything about these payments is decided on the larger pack's row alone, so that of many things at once
one is first. The pack before keeps what providers tell of its own payment, and it is passed on from there.

Requirement ids: R-REF-4, R-REF-5, R-REF-6.
"""

from __future__ import annotations

from msgspec.structs import replace

from tokentill.rules.legs import legs
from tokentill.rules.purchases import Purchase, derive


def taken_over(purchase: Purchase, before: Purchase) -> Purchase:
    """The larger pack with the payments of the pack `before` and what is known of them there. Twice is as once."""
    own = {payment.payment for payment in purchase.payments}
    # Of a pack that was paid twice the payment that does not count is no concern of the larger one.
    others = {payment.payment for payment in before.payments} - {before.payment}
    disputes = [one for one in purchase.disputes if one.payment in own]
    disputes += [one for one in before.disputes if one.payment not in others]
    refunds = dict(purchase.refunds)
    for payment, refunded in before.refunds:
        refunds[payment] = max(refunded, refunds.get(payment, 0))
    return derive(
        replace(
            purchase,
            earlier=legs(before),
            refunds=tuple(sorted(refunds.items())),
            disputes=tuple(sorted(disputes)),
        )
    )
