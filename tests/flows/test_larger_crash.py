"""A process that ends between any two steps about a larger pack with several payments: the next one goes on.

As in the crash tests of refunds, one run for each crossing of the wire dies there; then another process opens the same
store, everything is asked for again, and time passes.
"""

import itertools
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from pathlib import Path

import pytest

from tests.flows.test_refund_crash import ask
from tests.support.larger import ITEMS, PRICES, chain, packs
from tests.support.shops import World, make_world
from tests.support.stores import Store, ok, sqlite_url
from tests.support.tripwire import Crash, Wire
from tokentill.flows.shop import Shop
from tokentill.rules import commands as c
from tokentill.rules.claims import open_claim
from tokentill.rules.credit import available
from tokentill.rules.purchases import Purchase, next_step
from tokentill.rules.refund_rows import Refund

SMALL, LARGE, THIRD = PRICES
DIFFERENCE = LARGE - SMALL

Story = Callable[[Shop, list[Purchase], Refund], Awaitable[None]]
Check = Callable[[list[Purchase], object], Awaitable[None]]


@pytest.fixture(params=["sqlite", "postgres"])
async def world(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[World]:
    url = request.getfixturevalue("postgres_url") if request.param == "postgres" else sqlite_url(tmp_path)
    made = await make_world(Store(request.param, url), tmp_path, catalog=packs())
    if request.param == "postgres" and not request.config.getoption("--nightly"):
        made.dies_at_each = 13  # each way there takes longer; all of them at night
    yield made
    await made.clean()
    await made.shop.close()
    await made.store.close()


def crossings(world: World) -> Iterator[int]:
    """Where to die."""
    return itertools.count(1, world.dies_at_each)


async def die_everywhere(world: World, items: tuple[str, ...], story: Story, check: Check) -> int:
    """Tell the story of a chain of packs once for each crossing, dying there; how many crossings there are."""
    for at in crossings(world):
        name = f"acme_{at:03d}"
        await world.begin(name)
        await ok(world.ledger, name, c.Adjust(tokens=-200, reason="spent", actor="op"))
        bought = await chain(world, name, items)
        row = await world.shop.refunding.quote(name, bought[-1].id, "technical")
        assert isinstance(row, Refund)
        wire = Wire(at)
        shop = wire.shop(world)
        died = False
        try:
            await story(shop, bought, row)
        except Crash:
            died = True
        await story(world.restart(), bought, row)
        for _ in range(3):
            await world.later(61_000)
        where = (at, wire.places[-1] if died else "nowhere")
        bought = [await world.purchase(one) for one in bought]
        for one in bought:
            assert next_step(one) is None, where
            assert open_claim(one) is None, where
        assert (await world.account(name)).state.aside == {}, where
        await check(bought, where)
        if not died:
            return at - 1
    raise AssertionError("there is always another crossing")


async def test_money_goes_back_over_both_payments_once(world: World) -> None:  # R-REF-4, R-REF-5
    async def story(shop: Shop, _bought: list[Purchase], row: Refund) -> None:
        await shop.refunding.accept(row.organization, row.id, "cash")

    async def check(bought: list[Purchase], where: object) -> None:
        given = [world.provider.refunded(one.payment or "") for one in bought]
        assert given == [SMALL, DIFFERENCE], where
        assert await world.balance(bought[0].organization) == 0, where
        assert [one.state for one in bought] == ["refunded"] * 2, where

    assert await die_everywhere(world, ITEMS[1:2], story, check) >= 20


async def test_a_rest_that_is_refused_becomes_credit_once(world: World) -> None:  # R-REF-4, R-REF-6
    async def story(shop: Shop, bought: list[Purchase], row: Refund) -> None:
        world.provider.refuse[bought[0].id] = "too_old"
        await shop.refunding.accept(row.organization, row.id, "cash")
        await shop.refund_desk.adjust(row.organization, row.id, LARGE, "ann", "the rest as credit")

    async def check(bought: list[Purchase], where: object) -> None:
        given = [world.provider.refunded(one.payment or "") for one in bought]
        assert given == [0, DIFFERENCE], where
        account = await world.account(bought[0].organization)
        assert (account.free, available(account.state)) == (0, SMALL), where

    assert await die_everywhere(world, ITEMS[1:2], story, check) >= 20


async def test_a_rest_that_is_denied_takes_its_share_once(world: World) -> None:  # R-REF-5, R-REF-6
    async def story(shop: Shop, bought: list[Purchase], row: Refund) -> None:
        world.provider.refuse[bought[0].id] = "too_old"
        await world.shop.refunding.accept(row.organization, row.id, "cash")  # dying there is tried above
        await shop.refund_desk.deny(row.organization, row.id, "ann", "the card is closed")

    async def check(bought: list[Purchase], where: object) -> None:
        given = [world.provider.refunded(one.payment or "") for one in bought]
        assert given == [0, DIFFERENCE], where
        left = 2000 - 2000 * DIFFERENCE // LARGE
        assert await world.balance(bought[0].organization) == left, where

    assert await die_everywhere(world, ITEMS[1:2], story, check) >= 10


async def test_what_is_told_of_the_pack_before_reaches_the_larger_one(world: World) -> None:  # R-REF-6
    """The event is kept before it is answered, so that the provider's repetition or the clerk takes it in."""
    made: dict[str, object] = {}

    async def story(shop: Shop, bought: list[Purchase], _row: Refund) -> None:
        first = bought[0]
        if first.id not in made:
            made[first.id] = world.provider.refund_outside(first.payment or "", 1000)
        await shop.take_in("scripted", world.provider.told(made[first.id]))  # type: ignore[arg-type]  # a fact

    async def check(bought: list[Purchase], where: object) -> None:
        assert [one.accounted for one in bought] == [0, 0, 1000], where
        assert [one.state for one in bought] == ["partly_refunded", "delivered", "partly_refunded"] or [
            one.state for one in bought
        ] == ["partly_refunded"] * 3, where
        left = 6000 - 6000 * 1000 // THIRD
        assert await world.balance(bought[0].organization) == left, where

    assert await die_everywhere(world, ITEMS[1:], story, check) >= 10


async def test_money_that_goes_back_while_the_larger_pack_is_delivered(world: World) -> None:  # R-REF-6
    """At each crossing of the delivery, the first payment goes back in part: the larger pack answers for it once."""
    for at in crossings(world):
        name = f"acme_{at:03d}"
        await world.begin(name)
        await ok(world.ledger, name, c.Adjust(tokens=-200, reason="spent", actor="op"))
        [first] = await chain(world, name, ())
        row = await world.shop.refunding.quote(name, first.id, "technical")
        assert isinstance(row, Refund)
        accepted = await world.shop.refunding.accept(name, row.id, "upgrade", ITEMS[1])
        assert isinstance(accepted, Refund)
        large = await world.rows.get(Purchase, accepted.upgrade or "", name)
        assert large is not None
        paid = world.provider.pay(large.checkout or "")
        wire = Wire(at)
        shop = wire.shop(world)
        died = False
        try:
            await shop.take_in("scripted", world.provider.told(*paid))
        except Crash:
            died = True
        await world.tell(world.provider.refund_outside(first.payment or "", 1000))
        await world.settle()
        await world.tell(*paid)
        for _ in range(3):
            await world.later(61_000)
        where = (at, wire.places[-1] if died else "nowhere")
        large = await world.purchase(large)
        assert (large.state, next_step(large)) == ("partly_refunded", None), where
        assert (len(large.earlier), large.accounted) == (1, 1000), where
        assert await world.balance(name) == 2000 - 2000 * 1000 // LARGE, where
        if not died:
            break
    assert at > 10


async def test_an_upgrade_of_an_upgrade_survives_it(world: World) -> None:  # R-REF-4
    """Dying while the second difference is paid: the payments of both packs before are the third one's, once."""

    async def story(shop: Shop, _bought: list[Purchase], row: Refund) -> None:
        await ask(world, shop, row, "upgrade", ITEMS[2])

    async def check(bought: list[Purchase], where: object) -> None:
        last = await world.rows.get(Purchase, bought[-1].replaced_by or "", bought[-1].organization)
        assert last is not None, where
        assert [leg.amount for leg in last.earlier] == [DIFFERENCE, SMALL], where
        assert await world.balance(last.organization) == 6000, where

    assert await die_everywhere(world, ITEMS[1:2], story, check) >= 20
