"""A process that ends between any two steps of a refund: the next one goes on, money leaves once, tokens count once.

As in the crash tests of purchases, one run for each crossing of the wire dies there; then another process opens the
same store, the customer asks again for the same, and time passes.
"""

import asyncio

import pytest

from tests.flows.test_refunding import PACK, PRICE, bought, read
from tests.support.shops import World
from tests.support.stores import ok
from tests.support.tripwire import Crash, Wire
from tokentill.flows.pay import Terms
from tokentill.flows.shop import Shop
from tokentill.ports import VendorRefused
from tokentill.rules import commands as c
from tokentill.rules.claims import open_claim
from tokentill.rules.credit import available
from tokentill.rules.purchases import Purchase, next_step
from tokentill.rules.refund_rows import FINAL, Refund
from tokentill.rules.refunds import Choice


async def ask(world: World, shop: Shop, row: Refund, choice: Choice, larger: str = "token_pack_2000") -> None:
    """The customer accepts; an upgrade is paid, and the provider tells of it."""
    item = larger if choice == "upgrade" else None
    found = await shop.refunding.accept(row.organization, row.id, choice, item)
    if choice != "upgrade" or not isinstance(found, Refund):
        return
    upgrade = await world.rows.get(Purchase, found.upgrade or "", row.organization)
    if upgrade is None:
        return
    paid = () if upgrade.checkout is None else world.provider.pay(upgrade.checkout)
    payments = world.provider.all("payment").items()
    told = paid or [
        fact
        for ident, one in payments
        if one["purchase"] == upgrade.id
        for fact in world.provider.facts_of_payment(ident)
    ]
    if told:
        await shop.take_in("scripted", world.provider.told(*told))


async def die_everywhere(world: World, choice: Choice, money: int, credit: int, tokens: int) -> int:
    at = 0
    while True:
        at += 1
        name = f"acme_{at:03d}"
        await world.begin(name)
        await ok(world.ledger, name, c.Adjust(tokens=-200, reason="spent", actor="op"))
        purchase = await bought(world, name, method=f"card_{at}")
        await ok(world.ledger, name, c.Charge(feature="generate_goal", quantity=5))
        row = await world.shop.refunding.quote(name, purchase.id, "technical")
        assert isinstance(row, Refund)
        wire = Wire(at)
        shop = wire.shop(world)
        died = False
        try:
            await ask(world, shop, row, choice)
        except Crash:
            died = True
        await ask(world, world.restart(), row, choice)
        for _ in range(3):
            await world.later(61_000)
        where = (choice, at, wire.places[-1] if died else "nowhere")
        assert (await read(world, row)).state == "settled", where
        again = await world.purchase(purchase)
        assert next_step(again) is None, where
        assert open_claim(again) is None, where
        assert world.provider.refunded(purchase.payment or "") == money, where
        account = await world.account(name)
        assert (account.free, available(account.state)) == (tokens, credit), where
        assert account.state.aside == {}, where
        if not died:
            return at - 1


@pytest.mark.parametrize(
    ("choice", "money", "credit", "tokens"),
    [
        ("cash", PRICE, 0, 0),
        ("credit", 0, PRICE * 60 // 100, 0),
        ("bonus", 0, 0, PACK - 15 + 150),
        ("upgrade", 0, 0, 2000 - 15),
    ],
)
async def test_a_refund_survives_the_end_of_its_process(
    shop_world: World, choice: Choice, money: int, credit: int, tokens: int
) -> None:  # R-REF-4, R-REF-5
    assert await die_everywhere(shop_world, choice, money, credit, tokens) >= 10
    await shop_world.clean()


async def test_a_refund_that_fails_survives_it_too(shop_world: World) -> None:  # R-REF-5
    world = shop_world
    at = 0
    while True:
        at += 1
        name = f"acme_{at:03d}"
        await world.begin(name)
        purchase = await bought(world, name, method=f"card_{at}")
        row = await world.shop.refunding.quote(name, purchase.id, "technical")
        assert isinstance(row, Refund)
        wire = Wire(at)
        shop = wire.shop(world)
        world.provider.fail["refund"] = [VendorRefused("too_old", "No.")] * 9
        died = False
        try:
            await ask(world, shop, row, "cash")
        except Crash:
            died = True
        await ask(world, world.restart(), row, "cash")
        for _ in range(3):
            await world.later(61_000)
        world.provider.fail.clear()
        found = await read(world, row)
        assert found.state in FINAL
        assert found.state == "failed"
        assert await world.balance(name) == 200 + PACK
        assert world.provider.refunded(purchase.payment or "") == 0
        if not died:
            break
    await world.clean()


async def test_two_processes_carry_the_same_refund_out_at_once(shop_world: World) -> None:  # R-REF-5
    world = shop_world
    await world.begin("acme")
    purchase = await bought(world)
    rows = [await world.shop.refunding.quote("acme", purchase.id, "technical") for _ in range(3)]
    shops = [world.shop, world.open(), world.open()]
    await asyncio.gather(
        *(
            shop.refunding.accept("acme", row.id, "cash")
            for shop in shops
            for row in rows
            if isinstance(row, Refund)
        )
    )
    for shop in shops:
        await world.settle(shop)
    await world.later(61_000)
    assert world.provider.refunded(purchase.payment or "") == PRICE
    states = [(await read(world, row)).state for row in rows if isinstance(row, Refund)]
    assert states.count("settled") == 1
    assert await world.balance("acme") == 200
    await world.clean()


@pytest.mark.parametrize("amount", [0, 900])
async def test_an_order_that_credit_pays_survives_it(shop_world: World, amount: int) -> None:  # R-REF-4
    """Paid whole it is delivered once; paid in part and then left, all of the credit comes back once."""
    world = shop_world
    at = 0
    while True:
        at += 1
        name = f"acme_{at:03d}"
        await world.begin(name)
        await ok(world.ledger, name, c.Grant(tokens=PRICE, origin="credit", unit="money"))
        mode = "checkout" if amount else "free"
        ordered = world.order(name, amount=amount, credit_used=PRICE - amount, mode=mode)
        wire = Wire(at)
        shop = wire.shop(world)
        died = False
        try:
            await shop.checkout.place(ordered, (), Terms())
            if amount:
                await shop.checkout.cancel(name, ordered.id)
        except Crash:
            died = True
        again = world.restart()
        await again.checkout.place(ordered, (), Terms())
        if amount:
            await again.checkout.cancel(name, ordered.id)
        await world.later(61_000)
        where = (at, wire.places[-1] if died else "nowhere")
        found = await world.purchase(ordered)
        assert next_step(found) is None, where
        account = await world.account(name)
        if amount:
            assert (found.state, available(account.state), account.free) == ("abandoned", PRICE, 200), where
        else:
            assert (found.state, available(account.state), account.free) == ("delivered", 0, 200 + PACK), (
                where
            )
        if not died:
            break
    await world.clean()
