"""Amounts as PayPal writes them: decimal text, with the decimals that PayPal gives a currency.

Two currencies with cents of their own, HUF and TWD, are taken by PayPal in whole units only; a price that PayPal
could only take rounded is refused, never rounded. Requirement ids: R-PACK-2.
"""

from __future__ import annotations

from tokentill.ports import VendorRefused
from tokentill.rules import money

_TWO = "AUD BRL CAD CHF CNY CZK DKK EUR GBP HKD ILS MXN MYR NOK NZD PHP PLN SEK SGD THB USD"
DECIMALS: dict[str, int] = dict.fromkeys(_TWO.split(), 2) | {"HUF": 0, "JPY": 0, "TWD": 0}
"""The currencies PayPal takes, each with its decimals there."""


def step(code: str) -> int:
    """In how many minor units PayPal takes the currency; 1 for one that it does not take at all."""
    exponent = money.currency(code).exponent
    return int(10 ** max(exponent - DECIMALS.get(code, exponent), 0))


def text(amount: int, code: str) -> str:
    """The amount of minor units as PayPal wants it: 4999 USD is "49.99", 500 JPY is "500", 250000 HUF is "2500"."""
    decimals = DECIMALS.get(code)
    if decimals is None:
        raise VendorRefused(
            "currency_not_supported",
            f"PayPal takes no {code}. Sell in one of its currencies ({', '.join(sorted(DECIMALS))}) or pay by card.",
        )
    if amount <= 0:
        raise VendorRefused("amount_not_payable", "PayPal takes amounts above zero only.")
    unit = money.currency(code)
    if amount % step(code):
        raise VendorRefused(
            "amount_not_payable", f"PayPal takes {code} in whole units only. Choose a price without decimals."
        )
    whole, rest = divmod(amount, unit.scale)
    return f"{whole}.{rest:0{decimals}d}" if decimals else str(whole)


def minor(value: str, code: str) -> int:
    """Minor units of an amount that PayPal wrote; `ValueError` for what is none."""
    whole, _, decimals = value.partition(".")
    decimals = decimals.rstrip("0")
    return money.parse_amount(f"{whole or '0'}.{decimals}" if decimals else whole or "0", code)
