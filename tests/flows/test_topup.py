"""Auto top-up: bought below the threshold, within the ceiling, and stopped for good by whatever is wrong (R-PACK-11)."""

from typing import Any

import pytest
from msgspec.structs import replace

from tests.support.scripted import DOWN
from tests.support.shops import World
from tests.support.stores import ok
from tests.support.tripwire import Crash, Wire
from tokentill.ports import VendorRefused
from tokentill.rules import commands as c
from tokentill.rules.purchases import purchase_id
from tokentill.rules.refusals import Code, Refusal
from tokentill.rules.rows import Payer, TopUp
from tokentill.rules.topups import begun

PACK, PRICE = "token_pack_500", 2_900
DAY = 86_400_000


async def ready(world: World, organization: str = "acme", saved: str = "pm_a", **more: Any) -> TopUp:
    """An organization with a saved method that has its top-up on: below 100 tokens, a pack, up to $100 a month."""
    await world.begin(organization)
    await world.rows.add(
        Payer(
            id=f"scripted:{organization}:{saved}", organization=organization, provider="scripted",
            method=f"m_{organization}", saved=saved, customer="cus", used_at=1,
        )
    )  # fmt: skip
    figures = {"threshold": 100, "pack": PACK, "ceiling": 10_000, **more}
    row = await world.shop.topups.set(organization, **figures)
    assert isinstance(row, TopUp), row
    await world.settle()
    return row


async def use(world: World, tokens: int, organization: str = "acme") -> None:
    left = tokens
    while left > 0:
        goals = min(3, -(-left // 3))
        await ok(world.ledger, organization, c.Charge(feature="generate_goal", quantity=goals))
        left -= 3 * goals
    await world.follow()


async def stand(world: World, organization: str = "acme") -> TopUp:
    row = await world.shop.topups.get(organization)
    assert row is not None
    return row


async def test_a_balance_below_the_threshold_is_topped_up_once(shop_world: World) -> None:  # R-PACK-11
    world = shop_world
    await ready(world)
    await use(world, 99)
    assert await world.balance("acme") == 101
    assert await world.purchases("acme") == []
    await use(world, 3)
    assert await world.balance("acme") == 98 + 500
    [bought] = await world.purchases("acme")
    assert (bought.state, bought.source, bought.mode) == ("delivered", "topup", "saved")
    row = await stand(world)
    assert (row.enabled, row.purchase, row.spent, row.month) == (True, None, PRICE, "2026-01")
    await use(world, 30)
    assert len(await world.purchases("acme")) == 1
    await world.clean()


async def test_a_correction_and_a_refusal_are_followed_too(shop_world: World) -> None:  # R-PACK-11
    """Whatever took the tokens, who asks for more than is left is topped up; who gave something back is not."""
    world = shop_world
    await ready(world)
    await ok(world.ledger, "acme", c.Adjust(tokens=-150, reason="for the test", actor="ann"))
    await world.follow()
    assert await world.balance("acme") == 50 + 500
    [bought] = await world.purchases("acme")
    await ok(world.ledger, "acme", c.Revoke(origin="refund", reference=bought.id))
    await world.follow()
    assert (await world.balance("acme"), len(await world.purchases("acme"))) == (50, 1)
    more = c.Charge(feature="generate_goal", quantity=20)
    refused = await world.ledger.submit(c.Envelope("acme", more, "0" * 32))
    assert isinstance(refused, Refusal)
    assert refused.code is Code.EXHAUSTED
    await world.follow()
    assert await world.balance("acme") == 50 + 500
    assert len(await world.purchases("acme")) == 2


async def test_the_ceiling_of_a_month_stops_it_for_good(shop_world: World) -> None:  # R-PACK-11
    world = shop_world
    await ready(world, ceiling=PRICE)
    await use(world, 102)
    await use(world, 500)
    row = await stand(world)
    assert (row.enabled, row.stopped, row.spent) == (False, "ceiling", PRICE)
    assert len(await world.purchases("acme")) == 1
    await world.later(40 * DAY)
    await use(world, 250)
    assert (await stand(world)).stopped == "ceiling", "it never starts by itself"
    assert len(await world.purchases("acme")) == 1
    again = await world.shop.topups.set("acme", threshold=100, pack=PACK, ceiling=PRICE)
    assert isinstance(again, TopUp)
    await world.settle()
    assert (len(await world.purchases("acme")), (await stand(world)).enabled) == (2, True)
    await world.clean()


async def test_the_limit_of_packs_holds_for_it_too(shop_world: World) -> None:  # R-PACK-4, R-PACK-11
    world = shop_world
    await ready(world, ceiling=1_000_000)
    await use(world, 102)
    await use(world, 501)
    await use(world, 500)
    row = await stand(world)
    assert (row.stopped, len(await world.purchases("acme"))) == ("limit", 2)


@pytest.mark.parametrize(
    ("saved", "reason"), [("pm_declined", "declined"), ("pm_confirm", "needs_confirmation")]
)
async def test_a_payment_that_does_not_succeed_stops_it(
    shop_world: World, saved: str, reason: str
) -> None:  # R-PACK-11
    world = shop_world
    await ready(world, saved=saved)
    await use(world, 102)
    row = await stand(world)
    assert (row.enabled, row.stopped) == (False, reason)
    assert await world.balance("acme") == 98
    assert row.spent == 0
    [purchase] = await world.purchases("acme")
    if reason == "needs_confirmation":
        await world.tell(*world.provider.pay(purchase.checkout or ""))
        await world.settle()
        await world.later(6_000)
        row = await stand(world)
        assert (await world.balance("acme"), row.purchase, row.enabled) == (598, None, False)
    await world.clean()


async def test_a_charge_without_an_answer_is_waited_for(shop_world: World) -> None:  # R-PACK-11, R-PACK-3
    world = shop_world
    await ready(world)
    world.provider.fail["charge_saved.answer"] = [DOWN]
    await use(world, 102)
    row = await stand(world)
    assert (row.purchase is not None, row.enabled, await world.balance("acme")) == (True, True, 98)
    await use(world, 3)
    for _ in range(4):
        await world.later(10_000)
    row = await stand(world)
    assert (row.purchase, row.spent, await world.balance("acme")) == (None, PRICE, 95 + 500)
    assert len(await world.purchases("acme")) == 1
    await world.clean()


async def test_what_is_switched_off_is_not_bought(shop_world: World) -> None:  # R-PACK-9, R-PACK-11
    world = shop_world
    await ready(world)
    await ready(world, "other")
    await world.shop.switches.turn("topups", on=False, reason="look into it", actor="ann")
    await use(world, 102)
    assert ((await stand(world)).stopped, await world.purchases("acme")) == ("switched_off", [])
    off = await world.shop.topups.off("other")
    assert off is not None
    await use(world, 150, "other")
    assert (await stand(world, "other")).enabled is False
    assert await world.purchases("other") == []
    assert await world.shop.topups.off("nobody") is None


async def test_what_cannot_be_set(shop_world: World) -> None:  # R-PACK-11
    world = shop_world
    await world.begin("acme")
    topups = world.shop.topups
    reply = await topups.set("acme", threshold=100, pack=PACK, ceiling=10_000)
    assert isinstance(reply, Refusal)
    assert (reply.code, reply.detail) == (Code.NOT_POSSIBLE, "payer")
    await ready(world, "other")
    for figures, code in (
        ({"threshold": 0}, Code.INVALID), ({"ceiling": PRICE - 1}, Code.INVALID), ({"pack": "x"}, Code.UNKNOWN_PACK),
    ):  # fmt: skip
        given: dict[str, Any] = {"threshold": 100, "pack": PACK, "ceiling": 10_000, **figures}
        reply = await topups.set("other", **given)
        assert isinstance(reply, Refusal)
        assert reply.code == code
    unknown = await topups.set("nobody", threshold=1, pack=PACK, ceiling=10_000)
    assert isinstance(unknown, Refusal)


async def test_a_crash_between_any_two_steps_of_topping_up(shop_world: World) -> None:  # R-PACK-11
    world = shop_world
    for at in range(1, 60):
        name = f"acme_{at:02d}"
        await ready(world, name)
        for _ in range(12):
            await ok(world.ledger, name, c.Charge(feature="generate_goal", quantity=3))
        wire = Wire(at)
        shop = wire.shop(world)
        died = False
        try:
            await shop.topups.attend(await stand(world, name))
        except Crash:
            died = True
        world.restart()
        await world.follow()
        for _ in range(3):
            await world.later(11_000)
        row = await stand(world, name)
        bought = await world.purchases(name)
        where = wire.places[-1]
        assert (row.enabled, row.stopped, row.purchase, row.spent) == (True, None, None, PRICE), where
        assert [one.state for one in bought] == ["delivered"], where
        assert world.provider.money(bought[0].id) == PRICE, where
        assert await world.balance(name) == 200 - 108 + 500, where
        if not died:
            assert at > 10
            break
    else:
        raise AssertionError("the story never ended")
    await world.clean()


async def test_a_price_that_rose_after_a_crash_exceeds_no_ceiling(shop_world: World) -> None:  # R-PACK-11
    """A process died when it had written down what is to be bought; the catalog was edited before the next one."""
    world = shop_world
    await ready(world, ceiling=PRICE)
    row = await stand(world)
    meant = world.order("acme", id=purchase_id("topup", f"acme:{row.version}"))
    await world.rows.put(replace(begun(row, meant, world.clock.time), due_at=world.clock.time))
    catalog = world.ledger.catalog
    dearer = replace(catalog.packs["token_pack_500"], price=PRICE + 1)
    world.ledger.catalog = replace(catalog, packs={**catalog.packs, "token_pack_500": dearer})
    await world.settle()
    row = await stand(world)
    assert (row.stopped, row.purchase, row.spent, row.enabled) == ("ceiling", None, 0, False)
    assert await world.purchases("acme") == []


async def test_a_method_that_has_gone_stops_it(shop_world: World) -> None:  # R-PACK-11
    world = shop_world
    await ready(world)
    world.provider.fail["charge_saved"] = [VendorRefused("expired_card", "The card has expired.")]
    await use(world, 102)
    row = await stand(world)
    assert (row.stopped, row.spent, row.enabled) == ("declined", 0, False)
    await world.shop.topups.set("acme", threshold=100, pack=PACK, ceiling=10_000)
    await world.rows.drop(Payer, "scripted:acme:pm_a", "acme")
    await world.settle()
    row = await stand(world)
    assert (row.stopped, row.spent, row.purchase) == ("no_method", 0, None)
