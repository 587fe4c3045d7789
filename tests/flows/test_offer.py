"""R-PACK-1, R-PACK-6: the packs that a customer sees, from its own use."""

from typing import Any

from tests.support.desk import DAY
from tests.support.shops import World
from tests.support.stores import ok
from tokentill.flows.offer import Offers
from tokentill.rules import commands as c
from tokentill.rules.offers import PackOffers
from tokentill.rules.refusals import Code, Refusal


async def offers(world: World, organization: str = "acme", **more: Any) -> PackOffers:
    found = await world.shop.offers.packs(organization, **more)
    assert isinstance(found, PackOffers), found
    return found


async def use(world: World, times: int) -> None:
    for _ in range(times):
        await ok(world.ledger, "acme", c.Charge(feature="generate_goal", user="ann"))


async def test_the_recommendation_follows_from_the_journal(shop_world: World) -> None:  # R-PACK-6
    world = shop_world
    await world.begin("acme")
    await use(world, 10)
    world.clock.time += DAY
    await use(world, 10)
    world.clock.time += DAY
    found = await offers(world)
    assert found.left == 200 - 60
    assert found.need == 30 * (found.until - world.clock.now()) // DAY - 140
    assert found.reason.startswith("You used 60 tokens in 2 days, 30 a day. For the ")
    assert found.recommended == ("token_pack_500" if found.need <= 500 else "token_pack_2000")
    [small, _] = found.packs
    assert (small.available, small.saving_percent) == (True, "42.0")


async def test_what_is_given_back_was_not_used(shop_world: World) -> None:  # R-PACK-6
    world = shop_world
    await world.begin("acme")
    receipt = await ok(world.ledger, "acme", c.Charge(feature="generate_goal", user="ann"))
    await use(world, 1)
    await ok(world.ledger, "acme", c.Refund(operation=receipt.operation))
    world.clock.time += DAY
    assert (await offers(world)).reason.startswith("You used 3 tokens in 1 day, 3 a day.")


async def test_a_long_history_is_read_as_far_as_is_allowed(shop_world: World) -> None:
    world = shop_world
    short = Offers(world.shop.means, world.shop.reader, entries_max=10, page=5)
    await world.begin("acme")
    for _ in range(5):
        await use(world, 3)
        world.clock.time += DAY
    # Ten entries reach back to the third day, of which only part is read: the two days after it count.
    found = await short.packs("acme")
    assert isinstance(found, PackOffers), found
    assert found.reason.startswith("You used 27 tokens in 3 days, 9 a day.")


async def test_slots_and_purchases_are_seen(shop_world: World) -> None:  # R-PACK-4, R-PACK-5
    world = shop_world
    await world.begin("acme")
    for _ in range(2):
        purchase = await world.place(world.order("acme"))
        await world.tell(*world.provider.pay(purchase.checkout or ""))
    await world.settle()
    found = await offers(world)
    assert found.slots == 0
    assert found.slot_free_at is not None
    assert {pack.refusal.code for pack in found.packs if pack.refusal} == {Code.PACK_LIMIT}
    assert found.upgrade is not None
    assert found.upgrade.suggested
    assert found.upgrade.lines[0] == "You bought 2 packs: $58.00 for 1,000 tokens, $0.058 each."


async def test_an_unknown_organization(shop_world: World) -> None:
    refusal = await shop_world.shop.offers.packs("nobody")
    assert isinstance(refusal, Refusal)
    assert refusal.code == Code.UNKNOWN_ORGANIZATION
