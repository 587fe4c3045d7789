"""Amounts as Stripe writes them: whole numbers, mostly of the minor unit, with exceptions.

Stripe counts most currencies in the minor unit that the till uses too. The exceptions, as its documentation
of currencies has them: ISK and UGX have no minor unit any more but are still sent in hundredths, which must be
whole; amounts of three-digit currencies must end in 0; and a few currencies it does not take at all.

Requirement ids: R-PLAT-1, R-PACK-2.
"""

from __future__ import annotations

from tokentill.ports.shop import VendorRefused
from tokentill.rules.money import MoneyError, currency

SENT_IN_HUNDREDTHS = frozenset({"ISK", "UGX"})
"""Currencies without a minor unit that Stripe nevertheless counts in hundredths."""

NOT_TAKEN = frozenset({"IQD", "LYD"})
"""Currencies that a catalog may be written in and that Stripe does not take."""


STEP_OF_THREE = 10
"""Amounts of currencies with three digits must end in 0."""


def to_wire(amount: int, code: str) -> int:
    """The amount as Stripe wants it; `VendorRefused` for one that it would not take."""
    try:
        unit = step(code)
    except MoneyError:
        raise VendorRefused("currency", f"Stripe cannot be asked for {code}: not a known currency.") from None
    if code in NOT_TAKEN:
        raise VendorRefused("currency", f"Stripe does not take {code}. Sell in another currency.")
    if code in SENT_IN_HUNDREDTHS:
        return amount * 100
    if amount % unit:
        raise VendorRefused(
            "amount",
            f"Stripe takes amounts in {code} only in steps of ten minor units, and {amount} is none. "
            "Choose a price whose last digit is 0.",
        )
    return amount


def step(code: str) -> int:
    """In how many minor units Stripe takes the currency."""
    return STEP_OF_THREE if currency(code).exponent == 3 else 1


def from_wire(amount: int, code: str) -> int:
    """The amount of Stripe's in minor units; `code` is upper case.

    A fraction of a unit that has none (which Stripe does not let happen) counts as a whole one, so that it
    can never look like a smaller order.
    """
    return -(-amount // 100) if code in SENT_IN_HUNDREDTHS else amount
