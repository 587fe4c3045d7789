"""Money credit pays for whatever a customer orders: plans and upgrades as well as packs, whole or in part (R-REF-4)."""

import pytest

from tests.flows.test_refunding import accepted, bought, quoted
from tests.flows.test_subscribe import ENTERPRISE, PRO, plan_of, started, subscribe
from tests.support.shops import World
from tests.support.stores import ok
from tokentill.flows.checkout import Ask
from tokentill.ports import VendorRefused
from tokentill.rules import commands as c
from tokentill.rules.credit import available
from tokentill.rules.purchases import Purchase


async def gift(world: World, amount: int) -> None:
    await ok(world.ledger, "acme", c.Grant(tokens=amount, origin="credit", unit="money"))


async def credit(world: World) -> int:
    return available((await world.account("acme")).state)


async def order(world: World, plan: str) -> Purchase:
    ordered = await world.shop.subscribing.start(Ask(organization="acme", use_credit=True), plan)
    assert isinstance(ordered, Purchase), ordered
    return ordered


@pytest.mark.parametrize(("has", "pays", "left"), [(5_000, PRO - 5_000, 0), (20_000, 0, 20_000 - PRO)])
async def test_the_first_payment_of_a_plan(
    shop_world: World, has: int, pays: int, left: int
) -> None:  # R-REF-4
    world = shop_world
    await world.begin("acme", plan="starter")
    await gift(world, has)
    ordered = await order(world, "pro")
    assert (ordered.amount, ordered.credit_used, ordered.mode) == (pays, PRO - pays, "checkout")
    assert await credit(world) == left
    await world.tell(*world.provider.pay(ordered.checkout or ""))
    await world.settle()
    assert ((await world.purchase(ordered)).state, await plan_of(world)) == ("delivered", "pro")
    await world.clean()


async def test_a_plan_that_is_not_paid_gives_its_credit_back(shop_world: World) -> None:  # R-REF-4
    world = shop_world
    await world.begin("acme", plan="starter")
    await gift(world, 5_000)
    ordered = await order(world, "pro")
    assert await credit(world) == 0
    await world.shop.checkout.cancel("acme", ordered.id)
    assert await credit(world) == 5_000
    world.provider.fail["checkout"] = [VendorRefused("no", "No.")]
    refused = await world.shop.subscribing.start(Ask(organization="acme", use_credit=True), "pro")
    assert not isinstance(refused, Purchase)
    assert (await credit(world), await plan_of(world)) == (5_000, "starter")
    await world.clean()


async def test_an_upgrade_takes_the_unused_share_first_and_then_the_credit(
    shop_world: World,
) -> None:  # R-REF-4, R-PLAN-4
    world = shop_world
    await started(world)
    await gift(world, 10_000)
    ordered = await order(world, "enterprise")
    assert (ordered.credit, ordered.credit_used, ordered.amount) == (PRO, 10_000, ENTERPRISE - PRO - 10_000)
    assert ((await world.purchase(ordered)).state, await plan_of(world)) == ("delivered", "enterprise")
    assert (await credit(world), world.provider.log.count("change_subscription")) == (0, 1)
    await world.clean()


async def test_an_upgrade_that_is_declined_gives_its_credit_back(shop_world: World) -> None:  # R-REF-4
    world = shop_world
    await started(world)
    await gift(world, 10_000)
    world.provider.fail["change_subscription"] = [VendorRefused("card_declined", "The card was declined.")]
    assert (await order(world, "enterprise")).state == "failed"
    assert (await credit(world), await plan_of(world)) == (10_000, "pro")
    await world.clean()


async def test_a_plan_that_credit_paid_whole_is_no_trial(shop_world: World) -> None:  # R-PLAN-4
    """Its unused share counts toward an upgrade like any other's."""
    world = shop_world
    await world.begin("acme", plan="starter")
    await gift(world, PRO)
    ordered = await order(world, "pro")
    await world.tell(*world.provider.pay(ordered.checkout or ""))
    await world.settle()
    up = await world.shop.subscribing.start(Ask(organization="acme"), "enterprise")
    assert isinstance(up, Purchase)
    assert (up.credit, up.amount) == (PRO, ENTERPRISE - PRO)


async def test_without_being_asked_no_credit_is_spent(shop_world: World) -> None:  # R-REF-4
    world = shop_world
    await world.begin("acme", plan="starter")
    await gift(world, 5_000)
    bought, _ = await subscribe(world, "acme")
    assert (bought.amount, bought.credit_used, await credit(world)) == (PRO, 0, 5_000)


@pytest.mark.parametrize(("has", "pays", "left"), [(1_000, 4_000, 0), (9_000, 0, 4_000)])
async def test_the_difference_to_a_larger_pack(
    shop_world: World, has: int, pays: int, left: int
) -> None:  # R-REF-4
    world = shop_world
    await world.begin("acme")
    await gift(world, has)
    small = await bought(world)
    row = await accepted(
        world, await quoted(world, small), "upgrade", item="token_pack_2000", use_credit=True
    )
    larger = await world.rows.get(Purchase, row.upgrade or "", "acme")
    assert larger is not None
    assert (larger.amount, larger.credit_used, await credit(world)) == (pays, 5_000 - pays, left)
    if pays:
        assert row.state == "buying"
        await world.tell(*world.provider.pay(larger.checkout or ""))
        await world.settle()
    assert (await world.purchase(larger)).state == "delivered"
    assert await world.balance("acme") == 200 + 2_000
    back = await quoted(world, await world.purchase(larger))
    assert (back.quote.options[0].money, back.quote.options[0].credit) == (2_900 + pays, 5_000 - pays), (
        "with what the first one had cost"
    )
    await world.clean()


async def test_a_larger_pack_that_is_left_gives_its_credit_back(shop_world: World) -> None:  # R-REF-4
    world = shop_world
    await world.begin("acme")
    await gift(world, 1_000)
    small = await bought(world)
    row = await accepted(
        world, await quoted(world, small), "upgrade", item="token_pack_2000", use_credit=True
    )
    assert await credit(world) == 0
    await world.shop.refunding.withdraw("acme", row.id)
    assert (await credit(world), await world.balance("acme")) == (1_000, 700)
    await world.clean()


async def test_an_order_for_a_plan_again_is_the_open_one_if_it_agrees_to_the_same(
    shop_world: World,
) -> None:  # R-REF-1, R-REF-4
    world = shop_world
    await world.begin("acme", plan="starter")
    await gift(world, 5_000)
    start = world.shop.subscribing.start
    first = await order(world, "pro")
    assert (await order(world, "pro")).id == first.id, "its credit is in it already"
    plain = await start(Ask(organization="acme"), "pro")
    assert isinstance(plain, Purchase)
    assert (plain.id != first.id, plain.credit_used, await credit(world)) == (True, 0, 5_000)
    waived = await start(Ask(organization="acme", withdrawal_waived=True), "pro")
    assert isinstance(waived, Purchase)
    assert (waived.id != plain.id, waived.withdrawal_waived_at) == (True, world.clock.now())
    unticked = await start(Ask(organization="acme"), "pro")
    assert isinstance(unticked, Purchase)
    assert (unticked.id != waived.id, unticked.withdrawal_waived_at) == (True, None), (
        "nobody agreed to this one"
    )
    again = await order(world, "pro")
    assert (again.credit_used, await credit(world)) == (5_000, 0)
    assert (await world.purchase(unticked)).state == "abandoned"
    await world.clean()
