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

LEAST = {
    "AED": 200, "AUD": 60, "BGN": 100, "BRL": 200, "CAD": 60, "CHF": 50, "CZK": 1_500, "DKK": 300, "EUR": 50,
    "GBP": 30, "HKD": 400, "HUF": 17_500, "INR": 4_000, "JPY": 80, "MXN": 1_000, "MYR": 200, "NOK": 500, "NZD": 80,
    "PLN": 250, "RON": 200, "SEK": 500, "SGD": 60, "THB": 1_500, "USD": 50,
}  # fmt: skip
"""The least charge by currency, in minor units (docs.stripe.com/currencies, "Minimum and maximum charge amounts").

Stripe lists it by the currency that an account settles in. Where public copies of that list differ, here stands the
larger figure, which Stripe takes in any case.
"""


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


def least(code: str) -> int:
    """The least that Stripe charges in the currency, in minor units; one step where its documentation names none."""
    return LEAST.get(code, step(code))


def from_wire(amount: int, code: str) -> int:
    """The amount of Stripe's in minor units; `code` is upper case.

    A fraction of a unit that has none (which Stripe does not let happen) counts as a whole one, so that it
    can never look like a smaller order.
    """
    return -(-amount // 100) if code in SENT_IN_HUNDREDTHS else amount
