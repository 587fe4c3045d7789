"""Prices of a catalog that defeat one another: something dearer where it should be cheaper, or the other way about.

As in `tokentill.rules.catalog_checks`, which judges everything else. Two prices per token are compared exactly, as
fractions. Only what an organization could choose between is compared: plans that are paid as often as each other, the
same plan paid more or less often, packs for the same buyers, and what its plan lets it buy.

Requirement ids: R-PLAN-4, R-PLAN-6, R-PLAN-7, R-FIN-1, R-PACK-1.
"""

from __future__ import annotations

from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from typing import Any

from tokentill.rules.catalog import Catalog, Pack, Plan
from tokentill.rules.catalog_checks import Says, Source, buyable, report
from tokentill.rules.catalog_reader import Findings
from tokentill.rules.money import format_amount, per_token
from tokentill.rules.pricing import plan_margin


def dubious(catalog: Catalog, data: dict[str, Any], findings: Findings) -> None:
    """Record the warnings about prices."""
    checks = (_first, _ranks, _rhythms, _overage, _margins, _packs, _pack_sizes)
    report(checks, Source(catalog, data), findings)


def _first(source: Source) -> Iterator[Says]:
    """A first plan that must be paid."""
    first = source.catalog.plans.get(source.catalog.default_plan or "")
    if first and first.price != 0:
        wrong = f"every new account begins on {first.id}, which is not free, without a payment"
        yield "default-plan-paid", "default_plan", wrong, "name a plan whose price is 0"


def _ranks(source: Source) -> Iterator[Says]:
    """A next plan up that costs less, or more for each token (R-PLAN-7)."""
    priced = [plan for plan in source.catalog.plans.values() if plan.price]
    for rhythm in dict.fromkeys(plan.periods_per_payment for plan in priced):
        for lower, upper in pairwise(plan for plan in priced if plan.periods_per_payment == rhythm):
            if upper.rank == lower.rank:
                continue
            path = f"plans.{upper.id}.price"
            if (upper.price or 0) < (lower.price or 0):
                wrong = f"the next plan up from {lower.id} costs less than it does"
                yield "upgrade-cheaper", path, wrong, "write the lowest plan first"
            elif lower.tokens and upper.tokens and _rate(upper) > _rate(lower):
                wrong = (
                    f"{_price(source, upper)} a token is more than on {lower.id}, "
                    f"the plan below ({_price(source, lower)})"
                )
                yield "upgrade-dearer", path, wrong, "lower it, or grant more tokens"


def _rhythms(source: Source) -> Iterator[Says]:
    """A plan that costs more where it is paid for longer ahead (R-PLAN-4)."""
    paid = [plan for plan in source.catalog.plans.values() if plan.price and plan.tokens]
    for rank in dict.fromkeys(plan.rank for plan in paid):
        same = sorted((plan for plan in paid if plan.rank == rank), key=lambda plan: plan.periods_per_payment)
        for often, seldom in pairwise(same):
            if seldom.periods_per_payment > often.periods_per_payment and _rate(seldom) > _rate(often):
                wrong = (
                    f"{_price(source, seldom)} a token is more than on {often.id}, "
                    f"the same plan paid more often ({_price(source, often)})"
                )
                yield "longer-dearer", f"plans.{seldom.id}.price", wrong, "lower it"


def _overage(source: Source) -> Iterator[Says]:
    """Overage that undercuts packs or its own plan, that is free, or that lets nothing through (R-PLAN-6)."""
    for plan in source.catalog.plans.values():
        overage = plan.exhaustion.overage
        if not overage:
            continue
        path = source.policy(plan, "exhaustion.overage.price")
        asked = format_amount(overage.price, source.catalog.currency)
        cheapest = min(buyable(source.catalog, plan), key=_rate, default=None)
        if cheapest and overage.price < _rate(cheapest):
            wrong = f"{asked} is less than a token of any pack ({cheapest.id}: {_price(source, cheapest)})"
            yield "overage-cheaper", path, wrong, "raise it, or nobody on this plan buys packs"
        if overage.price == 0:
            yield "overage-free", path, "tokens beyond the plan cost nothing", "raise it"
        elif plan.price and plan.tokens and overage.price < _rate(plan):
            wrong = f"{asked} is less than a token of the plan itself ({plan.id}: {_price(source, plan)})"
            yield "overage-cheaper", path, wrong, "raise it, or nobody needs a larger plan"
        if overage.cap and overage.cap < overage.price:
            yield (
                "overage-cap-low",
                source.policy(plan, "exhaustion.overage.cap"),
                (
                    f"a cap of {format_amount(overage.cap, source.catalog.currency)} "
                    f"lets not one token of {asked} through"
                ),
                "raise it, or write 0 where customers raise it themselves",
            )


def _margins(source: Source) -> Iterator[Says]:
    """Plans that do not earn what they must (R-FIN-1)."""
    code = source.catalog.currency
    for plan in source.catalog.plans.values():
        margin = plan_margin(plan, source.catalog.costs)
        if margin and plan.margin_min is not None and margin.gross <= plan.margin_min:
            yield (
                "margin-low",
                f"plans.{plan.id}.margin_min",
                (
                    f"the plan leaves {format_amount(margin.gross, code)} when every token is used, "
                    f"which is not more than {format_amount(plan.margin_min, code)}"
                ),
                "raise the price or grant fewer tokens",
            )


def _packs(source: Source) -> Iterator[Says]:
    """Packs that nobody may buy or that undercut the plans (R-PACK-1)."""
    catalog = source.catalog
    owners: list[Plan | None] = [None, *catalog.plans.values()]
    for pack in catalog.packs.values():
        path = f"packs.{pack.id}"
        buyers = [owner for owner in owners if pack in buyable(catalog, owner)]
        if pack.enabled and not buyers:
            allowed = "name plans that have features and sell packs"
            yield "pack-unsellable", path, "nobody may buy this pack", allowed
        if pack.price == 0:
            yield (
                "pack-free",
                f"{path}.price",
                "the pack costs nothing, so anybody takes it again",
                "raise it",
            )
        if pack.list_price is not None and pack.list_price <= pack.price:
            wrong = "the list price is not above the price, so there is no saving to show"
            yield "no-saving", f"{path}.list_price", wrong, "raise or remove it"
        rated = [plan for plan in buyers if plan and plan.price and plan.tokens]
        where = "any plan that may buy it"
        if not rated and None in buyers:
            rated = [plan for plan in catalog.plans.values() if plan.price and plan.tokens]
            where = "any plan, and needs none"
        best = min(rated, key=_rate, default=None)
        if best and _rate(pack) < _rate(best):
            wrong = (
                f"{_price(source, pack)} a token is less than on {where} ({best.id}: {_price(source, best)})"
            )
            allowed = "raise it, or make sure that packs need a plan"
            yield "price-inversion", f"{path}.price", wrong, allowed


def _pack_sizes(source: Source) -> Iterator[Says]:
    """Larger packs that cost more for each token (R-PACK-1)."""
    packs = [pack for pack in source.catalog.packs.values() if pack.enabled]
    for group in dict.fromkeys((pack.model, pack.plans) for pack in packs):
        alike = sorted((p for p in packs if (p.model, p.plans) == group), key=lambda pack: pack.tokens)
        for smaller, larger in pairwise(alike):
            if larger.tokens > smaller.tokens and _rate(larger) > _rate(smaller):
                yield (
                    "larger-pack-dearer",
                    f"packs.{larger.id}.price",
                    (
                        f"{_price(source, larger)} a token is more than in the smaller {smaller.id} "
                        f"({_price(source, smaller)})"
                    ),
                    "lower it",
                )


def _price(source: Source, item: Plan | Pack) -> str:
    """The price of one token of a plan or a pack, as text."""
    return per_token(item.price or 0, _tokens(item), source.catalog.currency)


def _tokens(item: Plan | Pack) -> int:
    """The tokens that one payment brings."""
    if isinstance(item, Plan):
        return item.tokens * item.periods_per_payment + item.bundled_tokens
    return item.tokens + item.bonus_tokens


def _rate(item: Plan | Pack) -> Fraction:
    """The price of one token in minor units."""
    return Fraction(item.price or 0, _tokens(item))
