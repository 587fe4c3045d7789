"""What a well-formed catalog may still get wrong about selling: the impossible and the dubious.

As in `tokentill.rules.catalog_checks`, which judges everything else. Impossible is one price id for two things
that cost different amounts, since a provider would take the wrong one. There is no clock here: a launch price
or a promotion whose end has passed is as good as none, and is no mistake.

Requirement ids: R-PACK-2, R-PACK-4, R-PACK-8, R-PACK-9.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from tokentill.rules.catalog import MINUTE_MS, Catalog, Pack, Plan
from tokentill.rules.catalog_checks import Says, Source
from tokentill.rules.catalog_reader import Findings
from tokentill.rules.catalog_shop import PROVIDERS, Promo, Rollout
from tokentill.rules.money import currency
from tokentill.rules.prices import variable

OPEN_MS_MIN = 30 * MINUTE_MS
"""Stripe closes no checkout earlier than this after it was opened."""


def impossible(catalog: Catalog, _data: dict[str, Any], findings: Findings) -> None:
    """Record the mistakes that show only when sections are seen together."""
    seen: dict[tuple[str, str], Pack | Plan] = {}
    for path, item in _items(catalog):
        for provider, price in item.prices.items():
            other = seen.setdefault((provider, price), item)
            if other.price != item.price:
                findings.add(
                    f"{path}.prices.{provider}",
                    f"{price} is the price of {other.id} too, which costs something else",
                    "give each its own price",
                )


def dubious(catalog: Catalog, data: dict[str, Any], findings: Findings) -> None:
    """Record the warnings, each check in turn."""
    source = Source(catalog, data)
    for check in (_checkout, _packs, _plans, _promos, _steps, _price_ids, _alerts):
        for code, path, wrong, allowed in check(source):
            findings.add(path, wrong, allowed, code)


def _items(catalog: Catalog) -> Iterator[tuple[str, Pack | Plan]]:
    """Everything that has a price, with its path."""
    for pack in catalog.packs.values():
        yield f"packs.{pack.id}", pack
    for plan in catalog.plans.values():
        yield f"plans.{plan.id}", plan


def _checkout(source: Source) -> Iterator[Says]:
    """Checkouts that end before the provider ends them (R-PACK-2)."""
    if source.catalog.checkout.open_ms < OPEN_MS_MIN:
        wrong = "Stripe keeps a checkout open for 30 minutes at least, so its slot is taken longer than this"
        yield "checkout-short", "checkout.open_minutes", wrong, "write 30 minutes or more"
    if source.catalog.packs and _nobody(source.catalog.rollout):
        yield (
            "rollout-to-nobody",
            "rollout",
            "no organization is offered a pack",
            "raise percent or name some",
        )


def _nobody(rollout: Rollout) -> bool:
    return not rollout.percent and not rollout.organizations


def _packs(source: Source) -> Iterator[Says]:
    """Launch prices that save nothing, and packs that are rolled out to nobody (R-PACK-8, R-PACK-9)."""
    for pack in source.catalog.packs.values():
        path = f"packs.{pack.id}"
        if pack.launch_price is not None and pack.launch_price >= pack.price:
            wrong = "the launch price is not below the price, so it is never asked"
            yield "launch-no-saving", f"{path}.launch_price", wrong, "lower or remove it"
        if pack.launch_price == 0:
            wrong = "the pack costs nothing until its launch ends, so anybody takes it again"
            yield "pack-free", f"{path}.launch_price", wrong, "raise it"
        if pack.rollout is not None and _nobody(pack.rollout):
            wrong = "no organization is offered this pack"
            yield "rollout-to-nobody", f"{path}.rollout", wrong, "raise percent or name some"


def _plans(source: Source) -> Iterator[Says]:
    """Trials of what is free or not sold, and bundles that pile up (R-PACK-8)."""
    for plan in source.catalog.plans.values():
        path = f"plans.{plan.id}"
        if plan.trial_days and not plan.price:
            wrong = "a trial has no effect on a plan that is free or whose price is asked for"
            yield "no-effect", f"{path}.trial_days", wrong, "remove it"
        if plan.bundled_tokens and plan.periods_per_payment == 1:
            wrong = f"{plan.bundled_tokens} tokens that never expire come with the payment of every period"
            yield "bundle-piles-up", f"{path}.bundled_tokens", wrong, "grant them as tokens of the plan"
        if plan.bundled_tokens and plan.price == 0:
            wrong = "tokens are bundled with a payment of nothing, which is never made"
            yield "no-effect", f"{path}.bundled_tokens", wrong, "remove it"


def _promos(source: Source) -> Iterator[Says]:
    """Codes without end, without use, or that give packs away (R-PACK-8)."""
    for promo in source.catalog.promos.values():
        path = f"promos.{promo.code}"
        packs = [
            pack
            for pack in source.catalog.packs.values()
            if pack.enabled and (not promo.packs or pack.id in promo.packs)
        ]
        if not packs:
            yield "promo-for-nothing", path, "no pack is sold for this code", "name packs that are enabled"
        if promo.ends is None and promo.uses_max is None:
            wrong = "the code holds for ever and for everybody"
            yield "promo-without-end", path, wrong, "write ends or uses_max"
        free = next((pack for pack in packs if _gives_away(promo, pack)), None)
        if free is not None:
            wrong = f"whoever has the code gets {free.id} for nothing"
            yield "promo-free", path, wrong, "take less off, or hand out redemption codes"


def _gives_away(promo: Promo, pack: Pack) -> bool:
    return promo.percent_off == 100 or (promo.amount_off is not None and promo.amount_off >= pack.price)


def _steps(source: Source) -> Iterator[Says]:
    """Prices that cards cannot be charged, since those with three decimals end in 0 (R-PACK-2)."""
    if currency(source.catalog.currency).exponent < 3:
        return
    for path, item in _items(source.catalog):
        for key in ("price", "launch_price"):
            if (getattr(item, key, None) or 0) % 10:
                wrong = "Stripe takes amounts with three decimals only where the last of them is 0"
                yield "price-step", f"{path}.{key}", wrong, "write a price whose last digit is 0"


def _price_ids(source: Source) -> Iterator[Says]:
    """Two things whose price would be looked up under one name of the environment (R-PACK-2)."""
    named: dict[str, str] = {}
    for path, item in _items(source.catalog):
        name = variable(PROVIDERS[0], item.id)
        other = named.setdefault(name, path)
        if other != path:
            wrong = f"{name} would be the price of {other} too"
            yield "price-name-shared", path, wrong, "give it another id"


def _alerts(source: Source) -> Iterator[Says]:
    """No pattern at all (R-PACK-4)."""
    if not source.catalog.alerts:
        yield "no-alerts", "alerts", "no suspicious pattern raises an alert", "list some, or remove the key"
