"""Promotions: what a pack costs with a code, and why a code does not hold.

A code takes off a share or an amount of the pack's usual price, or adds tokens. It is never added to a launch
price: the customer gets the better of the two (the lower price; at the same price more tokens), the answer says
so, and a code that was not needed stays unused. So no code ever raises a price, and none goes below zero.

What a share comes to is rounded once, half-up; where a provider moves the currency in larger steps, down to such a
step, and where it takes no less than some amount, no lower than that (`Coins`). Every provider that is set up counts,
so that the price that is shown is the price at each of them. Uses are counted over orders, open checkouts included; the
store checks the same limits again in the transaction that adds the order.

Boundaries: a code holds from `starts` until before `ends`. Codes are read in any case, spaces aside.

Requirement ids: R-PACK-8.
"""

from __future__ import annotations

from datetime import UTC, datetime

from msgspec import Struct

from tokentill.rules.catalog import Catalog, Pack
from tokentill.rules.catalog_shop import Promo
from tokentill.rules.money import ANY, Coins, format_amount, half_up, lowered
from tokentill.rules.prices import launched_until, price_now
from tokentill.rules.refusals import Code, Refusal


class Uses(Struct, frozen=True):
    """How often a code was used: by everybody, and by the organization that asks."""

    by_all: int = 0
    by_own: int = 0


class Terms(Struct, frozen=True):
    """What a pack is ordered for: minor units, and tokens on top of the pack's own.

    `promo` is the code that is used up by it, None where none is. `until`: when these terms end, None while
    no end is known. `text` says which of code and launch price was taken, empty where nothing is to be said.
    """

    price: int
    bonus: int
    promo: str | None = None
    until: int | None = None
    text: str = ""


def normal(written: str) -> str:
    """A code as it stands in the catalog, however a customer typed it."""
    return "".join(written.split()).upper()


def terms(
    catalog: Catalog,
    pack: Pack,
    now: int,
    written: str | None = None,
    uses: Uses | None = None,
    bought: int = 0,
    coins: Coins = ANY,
) -> Terms | Refusal:
    """What the pack costs at `now`, with the code that was typed; the refusal if the code does not hold.

    `bought`: packs the organization has paid for before. `coins`: what can be paid at every provider that is set up.
    """
    launch = Terms(price_now(pack, now), pack.bonus_tokens, None, launched_until(pack, now))
    if written is None or not normal(written):
        return launch
    promo = catalog.promos.get(normal(written))
    if promo is None:
        return _no("There is no code of this name. Check how it is spelled, or order without it.", written)
    wrong = _refused(catalog, promo, pack, now, uses or Uses(), bought)
    if wrong is not None:
        return wrong
    price = lowered(_reduced(promo, pack.price), coins, pack.price) if _reduces(promo) else pack.price
    coded = Terms(price, pack.bonus_tokens + (promo.bonus_tokens or 0), promo.code, promo.ends)
    return _better(catalog, launch, coded)


def _reduces(promo: Promo) -> bool:
    return promo.percent_off is not None or promo.amount_off is not None


def _reduced(promo: Promo, price: int) -> int:
    """The usual price with the code."""
    if promo.percent_off is not None:
        return half_up(price * (100 - promo.percent_off), 100)
    return max(0, price - (promo.amount_off or 0))


def _better(catalog: Catalog, launch: Terms, coded: Terms) -> Terms:
    """The better of launch price and code for the customer, with the sentence that says so."""
    if (launch.price, -launch.bonus) <= (coded.price, -coded.bonus):
        asked = format_amount(launch.price, catalog.currency)
        text = f"The price of {asked} is as good as with the code {coded.promo} or better, so the code stays unused."
        return Terms(launch.price, launch.bonus, None, launch.until, text)
    saved, more = launch.price - coded.price, coded.bonus - launch.bonus
    gives = f"{format_amount(saved, catalog.currency)} off" if saved else f"{more} {catalog.unit.many} more"
    instead = " in place of the launch price" if launch.until is not None and saved else ""
    return Terms(coded.price, coded.bonus, coded.promo, coded.until, f"Code {coded.promo}: {gives}{instead}.")


def _refused(catalog: Catalog, promo: Promo, pack: Pack, now: int, uses: Uses, bought: int) -> Refusal | None:
    """Why the code does not hold for this order, and what to do."""
    code = promo.code
    if promo.starts is not None and now < promo.starts:
        return _no(
            f"The code {code} begins on {_moment(promo.starts)}. Use it then, or order without it.", code
        )
    if promo.ends is not None and now >= promo.ends:
        return _no(f"The code {code} ended on {_moment(promo.ends)}. Order without it.", code)
    if promo.packs and pack.id not in promo.packs:
        titles = ", ".join(other.title for other in catalog.packs.values() if other.id in promo.packs)
        return _no(f"The code {code} is not for {pack.title}. It is for: {titles}.", code)
    if promo.first_purchase_only and bought:
        return _no(f"The code {code} is for a first purchase only. Order without it.", code)
    if (promo.once_per_organization or promo.first_purchase_only) and uses.by_own:
        why = "has been used by this organization, or stands in one of its open checkouts"
        return _no(f"The code {code} {why}. Finish that one, or order without the code.", code)
    if promo.uses_max is not None and uses.by_all >= promo.uses_max:
        return _no(f"The code {code} has been used as often as it can be. Order without it.", code)
    return None


def _no(message: str, code: str) -> Refusal:
    return Refusal(Code.PROMO_INVALID, message, detail=code[:64])


def _moment(at: int) -> str:
    """A moment for people, to the minute, in UTC."""
    return f"{datetime.fromtimestamp(at / 1000, UTC):%Y-%m-%d %H:%M} UTC"
