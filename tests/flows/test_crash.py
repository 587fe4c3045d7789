"""A process that ends between any two steps of a purchase: the next one goes on, and tokens come once (R-PACK-3).

The wire is stretched across every call to the store, the accounts and the provider. One run for each crossing
dies there; then another process opens the same store, the customer asks again under the same key, the provider
sends again what was not acknowledged, and time passes.
"""

from collections.abc import Awaitable, Callable
from typing import Any

from tests.support.shops import World
from tests.support.tripwire import Crash, Wire
from tokentill.flows.pay import Terms
from tokentill.flows.shop import Shop
from tokentill.ports import Inbound
from tokentill.rules import happenings as h
from tokentill.rules.purchases import Purchase, next_step
from tokentill.rules.rows import Payer

PACK = 500
Story = Callable[[World, Shop, Purchase], Awaitable[None]]


async def bought(world: World, shop: Shop, ordered: Purchase) -> None:
    """A pack by checkout: ordered, paid, told."""
    placed = await shop.checkout.place(ordered, (), Terms())
    assert isinstance(placed, Purchase)
    paid = world.provider.pay(placed.checkout or "")
    if not paid:  # it was paid before the process died
        paid = tuple(
            world.provider.facts_of_payment(ident)[0]
            for ident, one in world.provider.all("payment").items()
            if one["purchase"] == placed.id
        )
    await tell(shop, world.provider.told(*paid))


async def one_click(world: World, shop: Shop, ordered: Purchase) -> None:
    """A pack charged to a saved method."""
    await shop.checkout.place(ordered, (), Terms())


async def contested(world: World, shop: Shop, ordered: Purchase) -> None:
    """A pack that is bought, disputed and lost, all in one event after the other."""
    await bought(world, shop, ordered)
    for state in ("open", "lost"):
        fields: dict[str, Any] = {"dispute": f"dp_{ordered.id}", "amount": 2900, "currency": "USD"}
        whose: dict[str, Any] = {"purchase": ordered.id, "organization": ordered.organization}
        payment = f"of_{ordered.id}"
        fact = h.Disputed(
            at=1, payment=payment, state="open" if state == "open" else "lost", **fields, **whose
        )
        await tell(shop, world.provider.told(fact))


async def tell(shop: Shop, inbound: Inbound) -> None:
    """The webhook arrives and is worked on."""
    event = await shop.webhooks.receive("scripted", inbound)
    if event is not None:
        await shop.webhooks.process(event)


async def die_everywhere(
    world: World, story: Story, tokens: int, *, sure_money: bool = True, **order: object
) -> int:
    """Run the story once for each crossing of the wire, dying there; how many crossings there are."""
    at = 0
    while True:
        at += 1
        name = f"acme_{at:03d}"
        await world.begin(name)
        saved = Payer(
            id=f"scripted:{name}:card", organization=name, provider="scripted", method=f"card_{at}", saved="pm",
            customer="cus",
        )  # fmt: skip
        await world.rows.add(saved)
        wire = Wire(at)
        shop = wire.shop(world)
        ordered = world.order(name, **{"payer": saved.id, **order})
        died = False
        try:
            await story(world, shop, ordered)
        except Crash:
            died = True
        # Another process, to which the customer and the provider come again.
        again = world.restart()
        await story(world, again, ordered)
        await world.later(11_000)
        [purchase] = await world.purchases(name)
        where = wire.places[-1] if died else "nowhere"
        assert next_step(purchase) is None, where
        assert purchase.done.count("deliver") == 1, where
        assert await world.balance(name) == 200 + tokens, where
        assert world.provider.money(purchase.id) == purchase.amount, where
        if not died:
            return at - 1


async def test_a_purchase_by_checkout(shop_world: World) -> None:
    assert await die_everywhere(shop_world, bought, PACK) >= 20
    await shop_world.clean()


async def test_a_purchase_with_bonus_by_a_saved_method(shop_world: World) -> None:  # R-SALE-3
    crossings = await die_everywhere(shop_world, one_click, PACK + 50, mode="saved", bonus=50)
    assert crossings >= 14
    await shop_world.clean()


async def test_a_purchase_that_is_disputed_and_lost(shop_world: World) -> None:  # R-REF-6
    assert await die_everywhere(shop_world, contested, 0) >= 40
    await shop_world.clean()


async def test_the_clerk_alone_ends_what_a_dead_process_began(shop_world: World) -> None:  # R-PACK-2
    """Nobody asks again: what was paid is delivered, and what was not ends without leaving anything."""
    world = shop_world
    for at in range(1, 60):
        name = f"acme_{at:03d}"
        await world.begin(name)
        wire = Wire(at)
        shop = wire.shop(world)
        ordered = world.order(name)
        died = False
        try:
            await bought(world, shop, ordered)
        except Crash:
            died = True
        world.restart()
        await world.later(11_000)
        for _ in range(4):
            await world.later(3_600_000)
        rows = await world.purchases(name)
        tokens = PACK if world.provider.money(ordered.id) else 0
        assert await world.balance(name) == 200 + tokens, wire.places[-1]
        for row in rows:
            assert (row.state, row.due_at) == ("delivered" if tokens else "abandoned", None), wire.places[-1]
        if not died:
            break
    else:
        raise AssertionError("the story never ended")
    await world.clean()
