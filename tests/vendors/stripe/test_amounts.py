"""Amounts on their way to Stripe and back, with its exceptions (R-PACK-2)."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tokentill.ports.shop import VendorRefused
from tokentill.rules.money import CURRENCIES
from tokentill.vendors.stripe.amounts import LEAST, NOT_TAKEN, from_wire, least, to_wire


@pytest.mark.parametrize(
    ("amount", "code", "wire"),
    [(2500, "USD", 2500), (500, "JPY", 500), (500, "ISK", 50_000), (7, "UGX", 700), (1490, "KWD", 1490)],
)
def test_amounts_as_stripe_wants_them(amount: int, code: str, wire: int) -> None:
    assert (to_wire(amount, code), from_wire(wire, code)) == (wire, amount)


@pytest.mark.parametrize(
    ("amount", "code", "says"),
    [
        (1491, "KWD", "last digit is 0"),
        (100, "LYD", "does not take LYD"),
        (100, "XXX", "not a known currency"),
    ],
)
def test_amounts_stripe_would_not_take(amount: int, code: str, says: str) -> None:
    with pytest.raises(VendorRefused, match=says):
        to_wire(amount, code)


def test_a_fraction_of_a_whole_currency_never_looks_like_a_smaller_order() -> None:
    assert from_wire(2550, "ISK") == 26


@given(st.integers(0, 10**9), st.sampled_from(sorted(set(CURRENCIES) - NOT_TAKEN)))
def test_there_and_back(amount: int, code: str) -> None:
    amount -= amount % 10
    assert from_wire(to_wire(amount, code), code) == amount


# Stripe's documentation of currencies, "Minimum and maximum charge amounts". R-REF-4
@pytest.mark.parametrize(
    ("code", "amount"),
    [("USD", 50), ("EUR", 50), ("GBP", 30), ("JPY", 80), ("HUF", 17_500), ("KWD", 10), ("ISK", 1)],
)
def test_the_least_that_stripe_charges(code: str, amount: int) -> None:
    assert least(code) == amount
    assert set(LEAST) <= set(CURRENCIES)
