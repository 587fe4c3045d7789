"""R-LED-9: an order repeated under its key is the first order; with anything else in it, it is refused."""

import asyncio
from typing import Any

import pytest

from tests.flows.test_checkout import PACK, ask, pay, save_card, with_promo
from tests.flows.test_subscribe import started, subscribe
from tests.support.shops import World, make_world
from tests.support.stores import Store, sqlite_url
from tokentill.flows.pay import Terms
from tokentill.rules.purchases import Purchase
from tokentill.rules.refusals import Code, Refusal


def same(found: Purchase | Refusal, first: Purchase) -> bool:
    return isinstance(found, Purchase) and found.id == first.id


def reused(found: Purchase | Refusal) -> bool:
    return isinstance(found, Refusal) and found.code == Code.KEY_REUSED


ORDER: dict[str, Any] = {"key": "k", "promo": "LAUNCH", "provider": "scripted", "user": "ann"}


@pytest.mark.parametrize(
    "other",
    [
        {"promo": None}, {"promo": "LAUNCH2"}, {"provider": ""}, {"provider": "paypal"}, {"payer": "scripted:acme:pm_a"},
        {"user": "bob"}, {"use_credit": True}, {"withdrawal_waived": True}, {"terms": Terms(save_method=True)},
    ],
)  # fmt: skip
async def test_another_order_under_the_key_of_a_pack(tmp_path: Any, other: dict[str, Any]) -> None:
    store = Store("sqlite", sqlite_url(tmp_path))
    world = await make_world(store, tmp_path, catalog=with_promo())
    await world.begin("acme")
    await save_card(world)

    async def order(**changed: Any) -> Purchase | Refusal:
        fields = {**ORDER, **changed}
        promo = fields.pop("promo")
        return await world.shop.checkout.buy_pack(ask(**fields), PACK, promo)

    first = await order()
    assert isinstance(first, Purchase)
    assert reused(await order(**other))
    elsewhere = Terms(success_url="https://other.example/", email="ann@example.com")
    assert same(await order(terms=elsewhere), first), "where the answer is shown is no part of an order"
    assert same(await order(promo=" launch "), first), "a code is the same however it is typed"
    assert len(world.provider.all("session")) == len(await world.purchases("acme")) == 1
    await pay(world, first)
    assert reused(await order(**other)), "whatever became of it"
    assert same(await order(), first)
    await world.shop.close()
    await store.close()


async def test_different_orders_under_one_key_at_once(shop_world: World) -> None:
    """In two processes: one of them is the order, and all others are refused or are that one."""
    world = shop_world
    await world.begin("acme")
    shops = [world.shop, world.open()]
    packs = [PACK, "token_pack_2000"]
    found = await asyncio.gather(
        *(
            shops[nth % 2].checkout.buy_pack(ask(key="k", user=f"u{nth // 2 % 3}"), packs[nth % 2])
            for nth in range(24)
        )
    )
    [row] = await world.purchases("acme")
    assert all(same(one, row) or reused(one) for one in found)
    assert sum(same(one, row) for one in found) == 4
    await shops[1].clerk.stop()


async def test_another_order_under_the_key_of_a_plan(shop_world: World) -> None:
    world = shop_world
    await world.begin("acme", plan="starter")
    start = world.shop.subscribing.start
    first = await start(ask(key="k"), "pro")
    assert isinstance(first, Purchase)
    for other, plan in (({"provider": "scripted"}, "pro"), ({"use_credit": True}, "pro"), ({}, "enterprise")):
        assert reused(await start(ask(key="k", **other), plan))
    assert reused(await world.shop.checkout.buy_pack(ask(key="k"), PACK))
    assert same(await start(ask(key="k"), "pro"), first)


async def test_the_key_of_an_upgrade(shop_world: World) -> None:
    """Its repetition is known when the upgrade has long changed what the organization is on."""
    world = shop_world
    await started(world)
    start = world.shop.subscribing.start
    first = await start(ask(key="k"), "enterprise")
    assert isinstance(first, Purchase)
    assert first.state == "delivered"
    assert same(await start(ask(key="k"), "enterprise"), first)
    assert reused(await start(ask(key="k", user="bob"), "enterprise"))
    await world.begin("other", plan="starter")
    second, _ = await subscribe(world, "other")
    assert second.id != first.id
