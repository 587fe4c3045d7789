"""The clerk: takes up what is due, once among several, survives what fails, and stops quietly (R-PACK-3)."""

import asyncio
import logging
from collections.abc import Sequence
from typing import Any

import pytest

from tests.support.shops import World
from tests.support.stores import charge, ok
from tokentill.flows.clerk import Clerk
from tokentill.ports import JournalRow, StoreDown
from tokentill.rules import commands as c
from tokentill.rules.rows import Contact, Row


async def due(world: World, count: int) -> None:
    for nth in range(count):
        await world.rows.add(Contact(id=f"c{nth:03d}", email="a@b.c", due_at=world.clock.time))


def clerk_of(world: World) -> Clerk:
    return Clerk(world.ledger, world.rows, world.clock)


async def test_of_several_one_takes_each_row(shop_world: World) -> None:  # R-PACK-3
    world = shop_world
    await due(world, 100)
    worked: list[str] = []

    async def work(row: Row) -> None:
        worked.append(row.id)
        await world.shop.means.change(row, lambda known: type(known)(**{**_fields(known), "due_at": None}))

    clerks = [clerk_of(world) for _ in range(4)]
    for clerk in clerks:
        clerk.attend(Contact, work)
        clerk.start()
    async with asyncio.timeout(30):
        # The first of them may be the last to end its look.
        while len(worked) < 100 or not clerks[0].looked_at:  # noqa: ASYNC110 the rows have no event
            await asyncio.sleep(0.01)
    for clerk in clerks:
        await clerk.stop()
    assert len(set(worked)) == len(worked) == 100
    assert sum(clerk.counts["Contact", "done"] for clerk in clerks) == 100
    assert not clerks[0].running
    assert clerks[0].looked_at == world.clock.time


def _fields(row: Row) -> dict[str, Any]:
    return {name: getattr(row, name) for name in row.__struct_fields__}


async def test_one_that_fails_keeps_nobody_waiting_and_comes_again(
    shop_world: World, caplog: pytest.LogCaptureFixture, capsys: pytest.CaptureFixture[str]
) -> None:
    world = shop_world
    await due(world, 3)
    tried: list[str] = []

    async def work(row: Row) -> None:
        tried.append(row.id)
        if row.id == "c000":
            raise ValueError("sk_live_canary")
        if row.id == "c001":
            raise StoreDown("away")
        await world.rows.drop(Contact, row.id)

    clerk = clerk_of(world)
    clerk.attend(Contact, work)
    assert await clerk.once() == 3
    assert sorted(tried) == ["c000", "c001", "c002"]
    assert clerk.counts == {("Contact", "failed"): 2, ("Contact", "done"): 1}
    assert await clerk.once() == 0, "its lease is not over"
    world.clock.time += 10_000
    assert await clerk.once() == 2
    caplog.set_level(logging.DEBUG)
    said = capsys.readouterr().out + caplog.text
    assert "ValueError" in said
    assert "canary" not in said, "what failed may hold what nobody shall read"


async def test_what_is_handed_over_is_worked_on_at_once(shop_world: World) -> None:  # R-PACK-10
    world = shop_world
    await world.begin("acme")
    purchase = await world.place(world.order("acme"))
    world.shop.clerk.start()
    loop = asyncio.get_running_loop()
    begun = loop.time()
    await world.tell(*world.provider.pay(purchase.checkout or ""))
    async with asyncio.timeout(30):
        while await world.balance("acme") != 700:  # noqa: ASYNC110 the account has no event
            await asyncio.sleep(0.001)
    assert loop.time() - begun < 5, "and not only when its lease is over"
    await world.shop.clerk.stop()


async def test_consumers_are_told_of_everything_and_go_on_where_they_were(shop_world: World) -> None:
    world = shop_world
    await world.begin("acme")
    told: list[int] = []

    async def consumer(rows: Sequence[JournalRow]) -> None:
        told.extend(row.entry.seq for row in rows)

    clerk = clerk_of(world)
    clerk.follow("reader", consumer)
    await until(clerk, told, 3)
    await charge(world.ledger, "acme")
    other = clerk_of(world)
    other.follow("reader", consumer)
    await until(other, told, 4)
    assert told == sorted(set(told))

    async def broken(rows: Sequence[JournalRow]) -> None:
        raise ValueError

    failing = clerk_of(world)
    failing.follow("reader", broken)
    failing.start()
    await ok(world.ledger, "acme", c.Grant(tokens=1))
    async with asyncio.timeout(30):
        while not failing.counts["reader", "failed"]:  # noqa: ASYNC110 a count has no event
            await asyncio.sleep(0.01)
    await failing.stop()
    count = len(told)
    await until(clerk, told, count + 1)


async def until(clerk: Clerk, told: list[int], count: int) -> None:
    """On PostgreSQL entries become readable when every older transaction has ended, those of other tests included."""
    async with asyncio.timeout(30):
        while len(told) < count:
            await clerk.once()


async def test_a_full_desk_leaves_the_rest_to_their_due_date(shop_world: World) -> None:  # R-PACK-3
    world = shop_world
    worked: list[str] = []

    async def work(row: Row) -> None:
        worked.append(row.id)
        await world.rows.drop(Contact, row.id)

    clerk = clerk_of(world)
    clerk.attend(Contact, work)
    for nth in range(2_100):
        clerk.hand(Contact(id=f"c{nth}", email="a@b.c"))
    assert await clerk.once() == 2_000
    assert len(worked) == 2_000
