"""Auto top-up: when a pack is bought by itself, and when that stops (R-PACK-11).

The customer sets a threshold, a pack and a ceiling for a calendar month (in UTC). When what is left, held tokens
included, falls below the threshold, the pack is bought: with money credit as far as it reaches, unless the customer
keeps that for other things, and the rest with the saved method. Where none is saved, credit alone pays, as long as it
pays for a whole pack. Nothing is bought while payment is failed or another
top-up is on its way, or on an unlimited plan.

Whatever stands in the way stops it for good, with a reason and a sentence that says what to do: only the customer
starts it again. Each stop is told once (`TopUp.untold`), also where it was switched on again since; one that the
customer switched off has nothing to stop. What it has spent in a month stays counted when it is switched off and on. A
purchase counts in the month in which it was tried, for what the saved method was charged; while one is on its way there
is no other. What credit pays does not count toward the ceiling, which is there so that no more money is charged unseen.

Requirement ids: R-PACK-11, R-PACK-4, R-PACK-9, R-PLAN-8, R-REF-4.
"""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime
from typing import Literal

from msgspec import Struct
from msgspec.structs import replace

from tokentill.rules.account import Account
from tokentill.rules.catalog import TOKENS_MAX, Catalog
from tokentill.rules.credit import NO_CREDIT, available, usable
from tokentill.rules.money import ANY, MONEY_MAX, Coins, format_amount
from tokentill.rules.notices import Notice
from tokentill.rules.prices import price_now
from tokentill.rules.purchases import Purchase
from tokentill.rules.refusals import Code, Refusal
from tokentill.rules.rows import TopUp, TopUpStop
from tokentill.rules.selling import (
    Shopper,
    not_for_plan,
    not_sold,
    over_limit,
    pack_refused,
    plan_of,
    shown,
    unknown_pack,
)

Reason = Literal[
    "declined", "no_method", "ceiling", "needs_confirmation", "pack_gone", "limit", "switched_off"
]  # fmt: skip

STOPPED: dict[str, str] = {
    "declined": "The payment was declined. Check the payment method, then switch the top-up on again.",
    "no_method": "There is no saved payment method, and credit that may be used does not suffice for the pack any more. "
    "Pay once and agree to saving the method, then switch the top-up on again.",
    "ceiling": "The next pack would exceed your ceiling for this month. Raise it, or switch the top-up on again "
    "next month.",
    "needs_confirmation": "Your bank asks you to confirm the payment. Confirm it, then switch the top-up on again.",
    "pack_gone": "The pack is not sold to you any more. Choose another, then switch the top-up on again.",
    "limit": "As many packs as are allowed in a stretch of time were bought. Look whether so much use is meant, "
    "then switch the top-up on again.",
    "switched_off": "Packs or top-ups are not sold at the moment. Switch the top-up on again later.",
}
"""Why a top-up stopped itself, for the customer."""


class Buy(Struct, frozen=True):
    """The pack is to be bought now, and the saved method charged so many minor units by its price and credit now."""

    pack: str
    amount: int


class Stop(Struct, frozen=True):
    """The top-up is to stop: the reason, and the sentence for the customer."""

    reason: Reason
    text: str


def month_of(at: int) -> str:
    """The calendar month of a moment, in UTC: "2026-03"."""
    return f"{datetime.fromtimestamp(at / 1000, UTC):%Y-%m}"


def spent_in(topup: TopUp, month: str) -> int:
    """Minor units that were charged in the month."""
    return topup.spent if topup.month == month else 0


def decide(
    catalog: Catalog,
    topup: TopUp,
    account: Account,
    shopper: Shopper,
    now: int,
    coins: Coins | None = ANY,
) -> Buy | Stop | None:
    """What is to be done now: buy, stop, or nothing. `coins`: what the saved method can be charged, None without one."""
    if not topup.enabled or topup.stopped is not None or topup.purchase is not None or shopper.failed:
        return None
    plan = plan_of(catalog, shopper)
    if (plan is not None and plan.unlimited) or account.left >= topup.threshold:
        return None
    pack = catalog.packs.get(topup.pack)
    if pack is not None and ("topups" in shopper.switched_off or _off(catalog, topup, shopper)):
        return stop("switched_off")
    if (
        pack is None
        or not shown(catalog, shopper, pack)
        or not pack.enabled
        or not_for_plan(catalog, shopper, pack)
    ):
        return stop("pack_gone")
    if over_limit(catalog, shopper, now) is not None:
        return stop("limit")
    price = price_now(pack, now)
    credit = usable(price, available(account.state), coins or ANY) if topup.use_credit else 0
    amount = price - credit
    if coins is None and amount:
        return stop("no_method")
    if spent_in(topup, month_of(now)) + amount > topup.ceiling:
        return stop("ceiling")
    return Buy(pack.id, amount)


def _off(catalog: Catalog, topup: TopUp, shopper: Shopper) -> bool:
    refused = not_sold(shopper, catalog.packs[topup.pack])
    return refused is not None and refused.code is Code.PACKS_OFF


def stop(reason: Reason) -> Stop:
    """The stop for a reason."""
    return Stop(reason, STOPPED[reason])


def setting(
    catalog: Catalog,
    shopper: Shopper,
    known: TopUp | None,
    now: int,
    *,
    threshold: int,
    pack: str,
    ceiling: int,
    use_credit: bool = True,
) -> TopUp | Refusal:
    """The row after a customer switched the top-up on with these figures; why they cannot be."""
    for name, figure, most in (("threshold", threshold, TOKENS_MAX), ("ceiling", ceiling, MONEY_MAX)):
        if type(figure) is not int or not 1 <= figure <= most:
            return Refusal(Code.INVALID, f"{name} must be a whole number from 1 to {most}.", detail=name)
    chosen = catalog.packs.get(pack)
    if chosen is None:
        return unknown_pack(catalog, shopper, pack)
    refused = pack_refused(catalog, replace(shopper, slots=(), failed=False), chosen, now)
    if refused is not None:
        return refused
    price = price_now(chosen, now)
    if ceiling < price:
        least = format_amount(price, catalog.currency)
        message = f"The ceiling is below the price of {chosen.title}, so nothing could be bought. Set {least} or more."
        return Refusal(Code.INVALID, message, detail="ceiling")
    row = known or TopUp(
        id=shopper.organization,
        organization=shopper.organization,
        created_at=now,
        enabled=True,
        threshold=threshold,
        pack=pack,
        ceiling=ceiling,
    )
    return replace(
        row, enabled=True, threshold=threshold, pack=pack, ceiling=ceiling, use_credit=use_credit, stopped=None,
        stopped_at=None,
    )  # fmt: skip


def credit_lacks(catalog: Catalog, topup: TopUp, credit: int, now: int) -> Refusal | None:
    """Why the top-up cannot be switched on without a saved method: so much credit does not pay for its pack alone."""
    pack = catalog.packs[topup.pack]
    if topup.use_credit and credit >= price_now(pack, now):
        return None
    message = (
        f"There is no saved payment method, and credit that may be used does not pay for {pack.title}. Pay once and "
        "agree to saving the method, or let credit pay once it suffices for a whole pack. Then switch the top-up on."
    )
    return Refusal(Code.NOT_POSSIBLE, message, detail="payer")


def switched_off(topup: TopUp) -> TopUp:
    """The row after the customer switched the top-up off; a purchase on its way goes on."""
    return replace(topup, enabled=False, stopped=None, stopped_at=None)


def begun(topup: TopUp, purchase: Purchase, now: int) -> TopUp:
    """The row that waits for the purchase, which may still cost `room`."""
    month = month_of(now)
    return replace(topup, purchase=purchase.id, month=month, spent=spent_in(topup, month))


def room(topup: TopUp) -> int:
    """Minor units that may be charged for the purchase it waits for, whatever price and credit have become since."""
    return topup.ceiling - topup.spent


def stopped(topup: TopUp, reason: Reason, now: int) -> TopUp:
    """The row once it stopped itself; it never starts by itself again. One that is off has nothing to stop."""
    if not topup.enabled:
        return topup
    stop = TopUpStop(topup.version, now, reason, topup.pack, topup.purchase)
    return replace(topup, enabled=False, stopped=reason, stopped_at=now, untold=(*topup.untold, stop))


def settled(topup: TopUp, purchase: Purchase, now: int) -> TopUp:
    """The row after a look at the purchase it waits for: delivered, failed, or still on its way."""
    if topup.purchase != purchase.id:
        return topup
    if purchase.delivered_at is not None:
        return replace(topup, purchase=None, spent=topup.spent + purchase.amount)
    if purchase.state not in ("failed", "abandoned", "mismatched"):
        return topup
    # Where something else was paid with the credit in the same moment, the next order counts what there is then.
    # A purchase that ended only because nobody confirmed it has stopped the top-up already.
    after = topup if purchase.problem == NO_CREDIT else stopped(topup, "declined", now)
    return replace(after, purchase=None)


def told(topup: TopUp, stops: Collection[TopUpStop]) -> TopUp:
    """The row once the customer was told of these stops."""
    return replace(topup, untold=tuple(one for one in topup.untold if one not in stops))


def notice_of(topup: TopUp, stop: TopUpStop, at: int, balance: int) -> Notice:
    """What the customer is told of a stop, once however often it is made."""
    return Notice(
        id=f"{topup.organization}:topup:{stop.number}",
        type="topup.stopped",
        organization=topup.organization,
        at=at,
        balance=balance,
        data={
            "reason": stop.reason, "text": STOPPED[stop.reason], "pack": stop.pack, "purchase": stop.purchase,
        },
    )  # fmt: skip
