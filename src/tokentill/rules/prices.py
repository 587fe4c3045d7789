"""Prices: what a pack costs at a moment, and under which id a payment provider knows the price of a thing.

A launch price holds until before its end, whatever else happens; it is asked only where it is lower. Nothing
is ever rounded up: a price is the catalog's.

A provider's price id is found in the environment first, then in the catalog. The name in the environment is
made from the provider and the id: pack `token_pack_25` at Stripe is `STRIPE_TOKEN_PACK_25_PRICE_ID`, as S1 §7
has it. So that S1's names serve whatever a catalog calls its packs, the only pack of 25 tokens is found under
that name too.

A price id stands for one amount. An order for another amount (a promotion, a launch) goes without it
(`order_price_ref`), because the provider would take the id's amount.

Requirement ids: R-PACK-1, R-PACK-2, R-PACK-8.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from tokentill.rules.catalog import Catalog, Pack, Plan
from tokentill.rules.money import percent

_OTHER = re.compile(r"[^A-Z0-9]+")


def price_now(pack: Pack, now: int) -> int:
    """Minor units the pack costs at `now`, the launch price while it holds (R-PACK-8)."""
    if pack.launch_price is None or pack.launch_until is None or now >= pack.launch_until:
        return pack.price
    return min(pack.launch_price, pack.price)


def launched_until(pack: Pack, now: int) -> int | None:
    """When the launch price that holds at `now` ends; None where the pack costs its usual price."""
    return pack.launch_until if price_now(pack, now) < pack.price else None


def saving(pack: Pack, price: int) -> tuple[int | None, str | None]:
    """What is saved at `price` against the list price, in minor units and percent; None where nothing is (R-PACK-1).

    A list price is for the pack's own tokens; what comes on top is no part of what is saved.
    """
    if pack.list_price is None or pack.list_price <= price:
        return None, None
    saved = pack.list_price - price
    return saved, percent(saved, pack.list_price)


def variable(provider: str, item: str) -> str:
    """The name in the environment of the price id of a pack or plan: `STRIPE_TOKEN_PACK_25_PRICE_ID`."""
    return f"{_name(provider)}_{_name(item)}_PRICE_ID"


def variables(catalog: Catalog, provider: str) -> dict[str, str]:
    """For each pack and plan that can be bought online, by id, the name of its price id in the environment."""
    sold = [*catalog.packs, *(plan.id for plan in catalog.plans.values() if plan.price)]
    return {item: variable(provider, item) for item in sold}


def price_ref(
    catalog: Catalog, environment: Mapping[str, str], provider: str, item: Pack | Plan
) -> str | None:
    """The provider's id of the item's price, None where nobody named one."""
    names = [variable(provider, item.id)]
    if isinstance(item, Pack):
        alike = [pack for pack in catalog.packs.values() if pack.tokens == item.tokens]
        name = variable(provider, f"token_pack_{item.tokens}")
        # The name by size is for this pack only if no other has the size, or has that very name as its own.
        if len(alike) == 1 and not any(
            variable(provider, id_) == name for id_ in (*catalog.packs, *catalog.plans)
        ):
            names.append(name)
    found = (environment.get(name, "").strip() for name in names)
    return next(filter(None, found), None) or item.prices.get(provider)


def order_price_ref(
    catalog: Catalog, environment: Mapping[str, str], provider: str, item: Pack | Plan, amount: int
) -> str | None:
    """The price id for an order of `amount`; None where the amount is not the item's usual price."""
    return price_ref(catalog, environment, provider, item) if amount == item.price else None


def _name(text: str) -> str:
    return _OTHER.sub("_", text.upper())
