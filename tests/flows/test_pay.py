"""A pack from the order to tokens: started, paid, told, delivered, once (R-PACK-2, R-PACK-3)."""

from tests.support.scripted import DOWN
from tests.support.shops import World
from tokentill.ports import VendorRefused
from tokentill.rules.refusals import Code

ALLOWANCE = 200


async def test_a_pack_is_paid_and_delivered(shop_world: World) -> None:  # R-PACK-3, R-PACK-10
    world = shop_world
    await world.begin("acme")
    ordered = await world.place(world.order("acme"))
    assert (ordered.state, ordered.url) == ("pending", "https://pay.test/cs_1")
    assert await world.tell(*world.provider.pay("cs_1"))
    await world.settle()
    paid = await world.purchase(ordered)
    assert (paid.state, len(paid.lots)) == ("delivered", 1)
    assert await world.balance("acme") == ALLOWANCE + 500
    assert await world.events() == {"done": 1}
    await world.clean()


async def test_a_checkout_that_cannot_start_leaves_nothing_pending(shop_world: World) -> None:  # R-PACK-2
    world = shop_world
    await world.begin("acme")
    world.provider.fail["checkout"] = [DOWN, DOWN]
    refusal = await world.refused(world.order("acme"))
    assert (refusal.code, refusal.retry_after_ms) == (Code.CHECKOUT_FAILED, 5_000)
    world.provider.fail["checkout"] = [VendorRefused("amount_too_small", "The amount is too small.")]
    refusal = await world.refused(world.order("acme"))
    assert (refusal.code, refusal.detail) == (Code.CHECKOUT_FAILED, "amount_too_small")
    refusal = await world.refused(world.order("acme", provider="nobody"))
    assert refusal.code == Code.UNKNOWN_PROVIDER
    states = [(row.state, row.slot_until, row.due_at) for row in await world.purchases("acme")]
    assert states == [("abandoned", 0, None)] * 3


async def test_one_that_fails_once_is_asked_again_under_its_key(shop_world: World) -> None:  # R-PACK-2
    world = shop_world
    await world.begin("acme")
    world.provider.fail["checkout"] = [DOWN]
    assert (await world.place(world.order("acme"))).state == "pending"
    assert world.provider.log.count("checkout") == 2
    assert len(world.provider.all("session")) == 1
