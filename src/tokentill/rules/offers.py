"""Offers: the packs a customer is shown, with every figure computed and none of them for show.

Each pack has its price now, the usual price where a launch or a code lowers it, the list price, the exact price of
a token, and what is saved, computed from the list price (R-PACK-1) and from what a token of the customer's plan
costs. It says until when the price holds only where there is a true end. What cannot be bought says why, and
when the limit lets it.

The recommended pack (R-PACK-6) is the cheapest of those that can be bought now and cover what will be lacking
until the horizon at the customer's own burn rate; where none does, the largest. Where nothing will be lacking
none is recommended, and the sentence says so: nobody is hurried.

The comparison with an upgrade (R-PACK-5) is there whenever there is a next plan with a price; it is `suggested`
once the customer has bought as many packs in the period as the catalog says. "Cheaper" is said only where
`tokentill.rules.upgrading` finds it true.

Requirement ids: R-PACK-1, R-PACK-4, R-PACK-5, R-PACK-6, R-PACK-8, R-PACK-9, R-PLAN-7.
"""

from __future__ import annotations

from fractions import Fraction

from msgspec import Struct
from msgspec.structs import replace

from tokentill.rules.account import Account
from tokentill.rules.burn import burn_of, horizon, lacking, resets, supply_of
from tokentill.rules.catalog import Catalog, Pack, Plan
from tokentill.rules.exhaustion import next_plan_up
from tokentill.rules.money import ANY, Coins, half_up, per_token
from tokentill.rules.offer_texts import recommendation_text, upgrade_texts
from tokentill.rules.periods import days_left, start_at
from tokentill.rules.plans import unused_credit
from tokentill.rules.prices import saving
from tokentill.rules.promos import Terms, Uses, terms
from tokentill.rules.refusals import Code, Refusal
from tokentill.rules.selling import Shopper, pack_refused, plan_of, slot_free_at, slots_left
from tokentill.rules.turn import Turn
from tokentill.rules.upgrading import Comparison, Offered, Outlook, compare


class PackOffer(Struct, frozen=True, kw_only=True):
    """One pack as the customer sees it. Money in minor units, savings in percent as text with one decimal.

    `usual_price` is set where `price` is lower than it. `bonus` tokens come on top of `tokens`; `per_token` counts
    both. `until`: when the price ends. `promo`: the code it is reckoned with, `note` what it does. `hidden`: not to
    be shown, since it is not sold or is being introduced to others.
    """

    id: str
    title: str
    tokens: int
    bonus: int
    price: int
    usual_price: int | None
    list_price: int | None
    per_token: str
    saving: int | None
    saving_percent: str | None
    saving_plan_percent: str | None
    best_for: str
    valid_days: int | None
    until: int | None
    promo: str | None
    note: str
    recommended: bool
    available: bool
    hidden: bool
    refusal: Refusal | None


class Upgrade(Struct, frozen=True, kw_only=True):
    """What an upgrade would cost beside packs; `lines` are sentences with the arithmetic."""

    plan: str
    title: str
    price: int
    suggested: bool
    comparison: Comparison
    lines: tuple[str, ...]


class PackOffers(Struct, frozen=True, kw_only=True):
    """Everything a page of packs shows. `promo_refusal`: why the code that was typed holds for none of them.

    `shown_at`: this moment; an order that names it measures the time from the offer to the payment (R-SALE-1).
    `left`: tokens free now. `need`: tokens that will be lacking until `until`, the reset or the catalog's horizon.
    `reason` says what the recommendation follows from. `slots`: packs that may be bought now, None = no limit.
    """

    title: str
    text: str
    currency: str
    shown_at: int
    packs: tuple[PackOffer, ...]
    left: int
    need: int
    until: int
    days: int
    recommended: str | None
    reason: str
    slots: int | None
    slot_free_at: int | None
    upgrade: Upgrade | None
    promo_refusal: Refusal | None


def pack_offers(  # noqa: PLR0913 each is a figure of its own
    catalog: Catalog,
    account: Account,
    shopper: Shopper,
    now: int,
    *,
    charged: tuple[int, ...] = (),
    missing: int = 0,
    code: str | None = None,
    uses: Uses | None = None,
    coins: Coins = ANY,
) -> PackOffers:
    """The packs as this customer sees them now.

    `account` with everything due applied. `charged`: tokens charged on each of the last whole days, as many as the
    catalog's `history_days` and as the account is old. `missing`: tokens that an operation at hand lacks. `coins`: what
    can be paid at every provider that is set up.
    """
    plan = plan_of(catalog, shopper)
    until = horizon(account, catalog, now)
    burn, supply = burn_of(account, charged, now), supply_of(account, plan)
    ends = tuple(resets(account, plan, until))
    need = max(lacking(burn, supply, now, ends, until), missing)
    deals = {
        pack.id: _deal(catalog, pack, now, code, uses, shopper.bought, coins)
        for pack in catalog.packs.values()
    }
    offers = [_offer(catalog, shopper, plan, pack, deals[pack.id][0], now) for pack in catalog.packs.values()]
    buyable = [
        Offered(offer.id, offer.price, offer.tokens + offer.bonus) for offer in offers if offer.available
    ]
    best = recommended(buyable, need)
    view = Outlook(burn, supply, need, now, until, ends, *_paid(account, catalog, plan, now))
    refusals = [refusal for _, refusal in deals.values()]
    return PackOffers(
        title=catalog.texts.packs_title,
        text=catalog.texts.packs_text,
        currency=catalog.currency,
        shown_at=now,
        packs=tuple(_marked(offer, best) for offer in offers),
        left=account.free,
        need=need,
        until=until,
        days=days_left(now, until),
        recommended=None if best is None else best.id,
        reason=recommendation_text(catalog, best, view, missing, to_reset=_to_reset(account, until)),
        slots=slots_left(catalog, shopper, now),
        slot_free_at=slot_free_at(catalog, shopper, now),
        upgrade=_upgrade(catalog, shopper, plan, buyable, view, now),
        promo_refusal=refusals[0] if refusals and all(refusals) else None,
    )


def recommended(packs: list[Offered], need: int) -> Offered | None:
    """The cheapest pack that covers the need, the largest where none does; None without a need or packs."""
    if need <= 0 or not packs:
        return None
    enough = [pack for pack in packs if pack.tokens >= need]
    if enough:
        return min(enough, key=lambda pack: (pack.price, -pack.tokens))
    return max(packs, key=lambda pack: (pack.tokens, -pack.price))


def _deal(
    catalog: Catalog, pack: Pack, now: int, code: str | None, uses: Uses | None, bought: int, coins: Coins
) -> tuple[Terms, Refusal | None]:
    """What the pack costs with the code, or without it and why."""
    found = terms(catalog, pack, now, code, uses, bought, coins)
    if isinstance(found, Terms):
        return found, None
    plain = terms(catalog, pack, now)
    assert isinstance(plain, Terms), "only a code can be refused"
    return plain, found


def _offer(
    catalog: Catalog, shopper: Shopper, plan: Plan | None, pack: Pack, deal: Terms, now: int
) -> PackOffer:
    refusal = pack_refused(catalog, shopper, pack, now)
    tokens = pack.tokens + deal.bonus
    saved, saved_percent = saving(pack, deal.price)
    return PackOffer(
        id=pack.id,
        title=pack.title,
        tokens=pack.tokens,
        bonus=deal.bonus,
        price=deal.price,
        usual_price=pack.price if deal.price < pack.price else None,
        list_price=pack.list_price,
        per_token=per_token(deal.price, tokens, catalog.currency),
        saving=saved,
        saving_percent=saved_percent,
        saving_plan_percent=_below_plan(plan, deal.price, tokens),
        best_for=pack.best_for,
        valid_days=pack.valid_days,
        until=deal.until if deal.price < pack.price or deal.promo is not None else None,
        promo=deal.promo,
        note=deal.text,
        recommended=False,
        available=refusal is None,
        hidden=refusal is not None and refusal.code in (Code.UNKNOWN_PACK, Code.PACK_DISABLED),
        refusal=refusal,
    )


def _below_plan(plan: Plan | None, price: int, tokens: int) -> str | None:
    """By how many percent a token of the pack costs less than one of the plan; None where it does not."""
    if plan is None or not plan.price or not plan.tokens:
        return None
    rate = Fraction(plan.price, plan.tokens * plan.periods_per_payment)
    saved = (rate - Fraction(price, tokens)) / rate
    if saved <= 0:
        return None
    tenths = half_up(saved.numerator * 1000, saved.denominator)
    return f"{tenths // 10}.{tenths % 10}"


def _marked(offer: PackOffer, best: Offered | None) -> PackOffer:
    """The offer with its flag."""
    return offer if best is None or offer.id != best.id else replace(offer, recommended=True)


def _to_reset(account: Account, until: int) -> bool:
    return account.state.period is not None and account.state.period.end == until


def _paid(account: Account, catalog: Catalog, plan: Plan | None, now: int) -> tuple[int, int | None]:
    """What the unused share of the plan is worth now, and until when the plan is paid."""
    state = account.state
    if plan is None or state.period is None:
        return 0, None
    credit = unused_credit(Turn.begin(account, catalog, now, lambda _operation: ()))
    ahead = max(0, state.paid_first + state.paid_periods - 1 - state.period.number)
    return credit, start_at(state.period.end, plan.cycle, ahead)


def _upgrade(
    catalog: Catalog, shopper: Shopper, plan: Plan | None, packs: list[Offered], view: Outlook, now: int
) -> Upgrade | None:
    """The next plan up beside packs; None where there is none, or its price is asked for."""
    up = next_plan_up(catalog, plan)
    if up is None or up.price is None or (plan is not None and not plan.exhaustion.upgrade):
        return None
    if shopper.failed or "plans" in shopper.switched_off:
        return None
    found = compare(plan, up, packs, view, slots_left(catalog, shopper, now))
    return Upgrade(
        plan=up.id,
        title=up.title,
        price=up.price,
        suggested=shopper.packs_count >= catalog.recommend.upgrade_packs,
        comparison=found,
        lines=upgrade_texts(catalog, shopper, plan, up, found, now),
    )
