"""Money: amounts in minor units, read from and written as decimal text, never through a float.

An amount is a whole number of the currency's minor unit: 14900 is $149.00, 149 is ¥149, 1490 is 1.490 KWD.
How many digits stand behind the point (0, 2 or 3) is the currency's `exponent` (ISO 4217). Amounts are read
from strings only and exactly: a text with more digits than the currency has is refused, not rounded.

Where a rule must divide, it rounds once, half-up, with `half_up`: the nearest whole number, and of two
equally near ones the one farther from zero, so that a refund and the sale it undoes round alike.

Boundaries: `MONEY_MAX` bounds every amount that is read. Grouping commas are written, never read.
What it does not decide: conversion between currencies, which the till never does; taxes; which amount.

Requirement ids: R-PACK-1 (the price of one token), R-FIN-1, R-REF-5 (rounding: once, half-up).
"""

from __future__ import annotations

import re

from msgspec import Struct

MONEY_MAX = 10**15
"""Largest amount, in minor units, that a text may name."""

PER_TOKEN_DIGITS = 12
"""Digits behind the point up to which the price of one token is written exactly."""

_AMOUNT = re.compile(r"[0-9]{1,20}(?:\.([0-9]{1,9}))?")


class MoneyError(ValueError):
    """A text that is not an amount, or a code that is not a known currency."""


class Currency(Struct, frozen=True):
    """A currency: ISO code, digits behind the point, and the sign written before the figure."""

    code: str
    exponent: int
    sign: str

    @property
    def scale(self) -> int:
        """Minor units in one major unit."""
        return int(10**self.exponent)


_SIGNS = {
    "USD": "$", "EUR": "€", "GBP": "£", "JPY": "¥", "INR": "₹", "KRW": "₩", "ILS": "₪", "VND": "₫",
    "UAH": "₴", "TRY": "₺", "NGN": "₦", "PHP": "₱", "BRL": "R$", "CAD": "CA$", "AUD": "A$", "NZD": "NZ$",
    "HKD": "HK$", "TWD": "NT$", "SGD": "S$", "MXN": "MX$", "CNY": "CN¥",
}  # fmt: skip
_BY_EXPONENT = {
    0: "BIF CLP DJF GNF ISK JPY KMF KRW PYG RWF UGX VND VUV XAF XOF XPF",
    2: (
        "AED AUD BGN BRL CAD CHF CNY COP CRC CZK DKK EGP EUR GBP GEL GHS HKD HUF IDR ILS INR KES KZT LKR MAD "
        "MDL MXN MYR NGN NOK NZD PEN PHP PKR PLN QAR RON RSD SAR SEK SGD THB TRY TWD TZS UAH USD UYU ZAR"
    ),
    3: "BHD IQD JOD KWD LYD OMR TND",
}
CURRENCIES: dict[str, Currency] = {
    code: Currency(code, exponent, _SIGNS.get(code, f"{code} "))
    for exponent, codes in _BY_EXPONENT.items()
    for code in codes.split()
}
"""The currencies a catalog may be written in, by ISO 4217 code."""


def currency(code: str) -> Currency:
    """The currency of an ISO code in capitals; raises `MoneyError` for one that is not listed."""
    found = CURRENCIES.get(code)
    if found is None:
        raise MoneyError(f"{code!r} is not a known currency code")
    return found


def parse_amount(text: str, code: str) -> int:
    """Minor units of a decimal text such as "149.00" or "149": exact, not negative, at most `MONEY_MAX`.

    Refuses (`MoneyError`) signs, spaces, grouping, exponents and more digits than the currency has;
    refuses (`TypeError`) whatever is not a string, since a float has already lost the amount.
    """
    if not isinstance(text, str):
        raise TypeError(f"an amount is read from text, not from {type(text).__name__}")
    exponent = currency(code).exponent
    match = _AMOUNT.fullmatch(text)
    if match is None:
        raise MoneyError(f"{text!r} is not an amount")
    digits = match.group(1) or ""
    if len(digits) > exponent:
        raise MoneyError(f"{text!r} has more digits behind the point than {code} has ({exponent})")
    amount = int(text.replace(".", "") + "0" * (exponent - len(digits)))
    if amount > MONEY_MAX:
        raise MoneyError(f"{text!r} is larger than any amount the till takes")
    return amount


def format_amount(amount: int, code: str, *, short: bool = False) -> str:
    """The text of an amount: 14900 USD is "$149.00", or "$149" when `short` and no cents are lost."""
    unit = currency(code)
    whole, rest = divmod(abs(amount), unit.scale)
    text = f"{'-' if amount < 0 else ''}{unit.sign}{whole:,}"
    if unit.exponent == 0 or (short and rest == 0):
        return text
    return f"{text}.{rest:0{unit.exponent}d}"


def per_token(price: int, tokens: int, code: str) -> str:
    """The price of one token as text: 2900 for 500 is "$0.058", 7900 for 2,000 is "$0.0395".

    Exact, with no fewer digits than the currency has, wherever `PER_TOKEN_DIGITS` digits are enough;
    a price that never ends (1/3) is rounded half-up to four digits that are not leading zeros.
    """
    unit = currency(code)
    if tokens <= 0 or price < 0:
        raise ValueError("the price of one token needs a price and a positive number of tokens")
    units = tokens * unit.scale
    places = next((n for n in range(unit.exponent, PER_TOKEN_DIGITS + 1) if price * 10**n % units == 0), None)
    if places is None:
        places = unit.exponent
        while price * 10**places // units < 1000:
            places += 1
    scaled = half_up(price * 10**places, units)
    whole, rest = divmod(scaled, 10**places)
    return f"{unit.sign}{whole:,}" + (f".{rest:0{places}d}" if places else "")


def half_up(numerator: int, denominator: int) -> int:
    """`numerator / denominator` rounded to the nearest whole number, halves away from zero."""
    if denominator <= 0:
        raise ValueError("the denominator must be positive")
    rounded = (2 * abs(numerator) + denominator) // (2 * denominator)
    return rounded if numerator >= 0 else -rounded


def payable(amount: int, step: int) -> int:
    """The smallest amount from `amount` on that can be paid where money moves in steps of `step` minor units."""
    return -(-amount // step) * step


class Coins(Struct, frozen=True):
    """What can be paid: nothing, or a multiple of `step` that is no less than `least`, in minor units."""

    step: int = 1
    least: int = 1


ANY = Coins()
"""Every amount can be paid."""


def lowered(amount: int, coins: Coins, most: int) -> int:
    """The largest amount up to `amount` that can be paid; where the least is more, that, but never above `most`."""
    if amount <= 0:
        return 0
    return min(most, max(amount // coins.step * coins.step, payable(coins.least, coins.step)))


def percent(part: int, whole: int, places: int = 1) -> str:
    """`part` of `whole` in percent as text, half-up: 2400 of 2900 is "82.8"; `whole` must be positive."""
    scaled = half_up(part * 100 * 10**places, whole)
    units, rest = divmod(abs(scaled), 10**places)
    return f"{'-' if scaled < 0 else ''}{units}" + (f".{rest:0{places}d}" if places else "")
