"""Products and prices at Stripe, made from the catalog and found again by their lookup keys (R-PACK-2).

Each pack and each plan with a price has one product, of an id that follows from the catalog, and one current
price under the lookup key `tokentill_pack_<id>` or `tokentill_plan_<id>`. Prices at Stripe never change: where
the catalog's has, a new one takes the key over and the old one is switched off, so that subscriptions that
began with it keep what was agreed. Doing it again changes nothing.
"""

from __future__ import annotations

from typing import Any, Literal

from msgspec import Struct

from tokentill.ports.shop import VendorRefused
from tokentill.rules.catalog import Catalog, Pack, Plan
from tokentill.vendors.stripe.amounts import to_wire
from tokentill.vendors.stripe.gateway import Found, Gateway, ask, keyed
from tokentill.vendors.stripe.orders import PLAN

KEYS_AT_ONCE = 10
"""Lookup keys that Stripe takes in one question."""


class SyncedPrice(Struct, frozen=True):
    """The price of a pack or plan at Stripe, and whether it was made just now."""

    kind: Literal["pack", "plan"]
    item: str
    product: str
    price: str
    made: bool


class _Wanted(Struct, frozen=True):
    """What shall be at Stripe of one pack or plan."""

    kind: Literal["pack", "plan"]
    item: str
    title: str
    amount: int
    recurring: dict[str, Any] | None

    @property
    def name(self) -> str:
        """The product's id, and the price's lookup key."""
        return f"tokentill_{self.kind}_{self.item}"


async def sync_prices(gateway: Gateway, catalog: Catalog) -> tuple[SyncedPrice, ...]:
    """Make what is missing at Stripe of the catalog's packs and plans, and give the id of every price."""
    wanted = [_pack(pack) for pack in catalog.packs.values()]
    wanted += [_plan(plan) for plan in catalog.plans.values() if plan.price]
    known = await _known(gateway, [one.name for one in wanted])
    code = catalog.currency
    return tuple([await _synced(gateway, one, code, known.get(one.name)) for one in wanted])


def _pack(pack: Pack) -> _Wanted:
    return _Wanted("pack", pack.id, pack.title, pack.price, None)


def _plan(plan: Plan) -> _Wanted:
    assert plan.price is not None
    often = {"interval": "month", "interval_count": plan.periods_per_payment}
    if plan.cycle.kind == "days":
        often = {"interval": "day", "interval_count": plan.cycle.days * plan.periods_per_payment}
    elif plan.periods_per_payment % 12 == 0:
        often = {"interval": "year", "interval_count": plan.periods_per_payment // 12}
    return _Wanted("plan", plan.id, plan.title, plan.price, often)


async def _known(gateway: Gateway, names: list[str]) -> dict[str, Found]:
    found: dict[str, Found] = {}
    for start in range(0, len(names), KEYS_AT_ONCE):
        params = {"lookup_keys": names[start : start + KEYS_AT_ONCE], "limit": 100}
        listed = await ask(gateway.v1.prices.list_async(params=params))
        found |= {price["lookup_key"]: price for price in listed["data"] if price["active"]}
    return found


async def _synced(gateway: Gateway, one: _Wanted, code: str, known: Found | None) -> SyncedPrice:
    amount = to_wire(one.amount, code)
    product = await _product(gateway, one)
    if known is not None and _same(known, one, amount, code):
        return SyncedPrice(one.kind, one.item, product, known["id"], made=False)
    params: dict[str, Any] = {
        "product": product,
        "currency": code.lower(),
        "unit_amount": amount,
        "lookup_key": one.name,
        "transfer_lookup_key": True,
        "metadata": {PLAN: one.item} if one.kind == "plan" else {},
    }
    if one.recurring is not None:
        params["recurring"] = one.recurring
    before = known["id"] if known is not None else "none"
    key = keyed(f"tokentill:price:{one.name}:{amount}:{code}:{one.recurring}:{before}")
    made = await ask(gateway.v1.prices.create_async(params=params, options=key))
    if known is not None:
        await ask(gateway.v1.prices.update_async(known["id"], params={"active": False}))
    return SyncedPrice(one.kind, one.item, product, made["id"], made=True)


async def _product(gateway: Gateway, one: _Wanted) -> str:
    products = gateway.v1.products
    marks = {"metadata": {PLAN: one.item}} if one.kind == "plan" else {}
    try:
        found = await ask(products.retrieve_async(one.name))
    except VendorRefused as missing:
        if missing.code != "resource_missing":
            raise
        await ask(products.create_async(params={"id": one.name, "name": one.title, **marks}))
    else:
        if found["name"] != one.title or not found["active"]:
            await ask(products.update_async(one.name, params={"name": one.title, "active": True, **marks}))
    return one.name


def _same(found: Found, one: _Wanted, amount: int, code: str) -> bool:
    """Whether the price at Stripe is what the catalog says."""
    often = found.get("recurring")
    said = None if often is None else {name: often[name] for name in ("interval", "interval_count")}
    return (found["unit_amount"], found["currency"], said) == (amount, code.lower(), one.recurring)
