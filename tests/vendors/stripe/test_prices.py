"""The catalog at Stripe: made where it is missing, found where it is there, replaced where it differs (R-PACK-2)."""

from __future__ import annotations

from msgspec.structs import replace

from tests.support.stripe import VISA, Desk, key, order, plan, purchase
from tokentill import catalogs
from tokentill.rules import catalog_file
from tokentill.rules import happenings as h
from tokentill.rules.catalog import Catalog, Cycle
from tokentill.vendors.stripe import sync_prices


def catalog(name: str = "analysis") -> Catalog:
    return catalog_file.load(catalogs.preset_text(name), name)[0]


async def test_products_and_prices_are_made_of_the_catalog(desk: Desk) -> None:
    sold = catalog()
    made = await sync_prices(desk.payments.gateway, sold)
    assert {one.item for one in made if one.kind == "pack"} == set(sold.packs)
    assert {one.item for one in made if one.kind == "plan"} == {
        name for name, plan in sold.plans.items() if plan.price
    }
    for one in made:
        price = desk.lab.world.get("price", one.price)
        offer = sold.packs[one.item] if one.kind == "pack" else sold.plans[one.item]
        assert one.made
        assert (price["unit_amount"], price["currency"]) == (offer.price, "usd")
        assert (price["type"] == "recurring") == (one.kind == "plan")
        assert desk.lab.world.get("product", one.product)["name"] == offer.title


async def test_doing_it_again_changes_nothing(desk: Desk) -> None:
    first = await sync_prices(desk.payments.gateway, catalog())
    objects = len(desk.lab.world.index)
    again = await sync_prices(desk.payments.gateway, catalog())
    assert [one.price for one in again] == [one.price for one in first]
    assert not any(one.made for one in again)
    assert len(desk.lab.world.index) == objects


async def test_a_price_that_changed_is_replaced_and_the_old_one_kept_for_its_subscribers(desk: Desk) -> None:
    sold = catalog()
    before = {one.item: one.price for one in await sync_prices(desk.payments.gateway, sold)}
    name = next(iter(sold.packs))
    dearer = replace(sold.packs[name], price=sold.packs[name].price + 100, title="Dearer")
    changed = replace(sold, packs={**sold.packs, name: dearer})
    after = {one.item: one for one in await sync_prices(desk.payments.gateway, changed)}
    assert [item for item, one in after.items() if one.made] == [name]
    assert desk.lab.world.get("price", before[name])["active"] is False
    assert desk.lab.world.get("price", after[name].price)["lookup_key"] == f"tokentill_pack_{name}"
    assert desk.lab.world.get("product", after[name].product)["name"] == "Dearer"


async def test_rhythms(desk: Desk) -> None:
    sold = catalog()
    name, model = next((name, plan) for name, plan in sold.plans.items() if plan.price)
    rhythms = {
        "month": replace(model, id="month", cycle=Cycle("month"), periods_per_payment=1),
        "quarter": replace(model, id="quarter", cycle=Cycle("month"), periods_per_payment=3),
        "year": replace(model, id="year", cycle=Cycle("month"), periods_per_payment=12),
        "days": replace(model, id="days", cycle=Cycle("days", 30), periods_per_payment=1),
    }
    assert name in sold.plans
    made = await sync_prices(desk.payments.gateway, replace(sold, packs={}, plans=rhythms))
    often = {one.item: desk.lab.world.get("price", one.price)["recurring"] for one in made}
    assert {item: (each["interval"], each["interval_count"]) for item, each in often.items()} == {
        "month": ("month", 1),
        "quarter": ("month", 3),
        "year": ("year", 1),
        "days": ("day", 30),
    }


async def test_what_was_made_is_sold_and_told_as_our_plan(desk: Desk) -> None:  # R-PLAN-4
    sold = catalog()
    made = {one.item: one.price for one in await sync_prices(desk.payments.gateway, sold)}
    pack = next(iter(sold.packs.values()))
    begun = purchase(1, item=pack.id, amount=pack.price)
    started = await desk.payments.checkout(order(begun, price_ref=made[pack.id]), key(1))
    desk.lab.pay(started.checkout, VISA)
    offer = next(plan for plan in sold.plans.values() if plan.price and plan.periods_per_payment == 1)
    assert offer.price is not None
    bought = order(plan(2, offer.id, offer.price), interval="days", price_ref=made[offer.id])
    started = await desk.payments.checkout(bought, key(2))
    desk.lab.pay(started.checkout, VISA)
    facts = await desk.hear()
    assert {fact.plan for fact in facts if isinstance(fact, h.InvoicePaid | h.Subscribed)} == {offer.id}
