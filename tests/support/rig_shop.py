"""What a process of the shop's crash rigs does: sell, give back or draw, and die on the way.

It dies at the `at`-th crossing of anything, inside the store or at its ports, or of the place `only`; at 0 never.
`plant` is a planted fault that it works with (`rig_plan_plants`).
"""

import asyncio
import os
import signal
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

from tests.support.rig_plan_plants import plant_in
from tests.support.rig_processes import Channel
from tests.support.rig_store import SNAPSHOT_BYTES
from tests.support.shops import World, make_world
from tests.support.stores import Engine, Store
from tests.support.tripwire import Wire
from tokentill.flows.checkout import Ask
from tokentill.flows.shop import Shop
from tokentill.rules.purchases import Purchase
from tokentill.rules.refunds import Choice
from tokentill.store import faults

PACK = "token_pack_500"


async def story(world: World, shop: Shop, organization: str, payer: str | None) -> None:
    """A customer orders a pack under a key and pays it, and the provider tells of it."""
    ordered = await shop.checkout.buy_pack(Ask(organization=organization, key="the order", payer=payer), PACK)
    assert isinstance(ordered, Purchase), ordered
    if payer is not None:
        return
    paid: tuple[Any, ...] = world.provider.pay(ordered.checkout or "")
    if not paid:  # an earlier process came so far
        payments = world.provider.all("payment").items()
        ident = next(name for name, one in payments if one["purchase"] == ordered.id)
        paid = tuple(world.provider.facts_of_payment(ident))
    await shop.take_in(world.provider.name, world.provider.told(*paid))


def sell(
    channel: Channel, *, engine: Engine, url: str, folder: str, organization: str, payer: str | None, at: int,
    only: str = "", plant: str = "",
) -> None:  # fmt: skip
    """Tell the story."""

    async def work(world: World, shop: Shop) -> None:
        await story(world, shop, organization, payer)

    store = Store(engine, url, snapshot_bytes_min=SNAPSHOT_BYTES)
    _die_at(channel, at, store, folder, work, only, plant)


def give_back(
    channel: Channel, *, engine: Engine, url: str, folder: str, organization: str, refund: str, choice: Choice,
    at: int, only: str = "", plant: str = "",
) -> None:  # fmt: skip
    """Accept a refund."""

    async def work(_world: World, shop: Shop) -> None:
        await shop.refunding.accept(organization, refund, choice)

    store = Store(engine, url, snapshot_bytes_min=SNAPSHOT_BYTES)
    _die_at(channel, at, store, folder, work, only, plant)


async def draw(shop: Shop, organization: str) -> None:
    """What comes due by itself of an organization: its automatic top-up, and the bill of overage in its journal."""
    topup = await shop.topups.get(organization)
    if topup is not None:
        await shop.topups.attend(topup)
    page = await shop.means.ledger.journal(organization, None, 100)
    assert page is not None
    await shop.overages.told(page.rows)
    for row in await shop.checkout.history(organization):
        if row.kind == "overage":
            await shop.checkout.resume(row, Ask(organization=organization))


def collect(
    channel: Channel, *, engine: Engine, url: str, folder: str, organization: str, now: int, at: int,
    only: str = "", plant: str = "",
) -> None:  # fmt: skip
    """Draw what is due at that moment."""

    async def work(_world: World, shop: Shop) -> None:
        await draw(shop, organization)

    store = Store(engine, url, snapshot_bytes_min=SNAPSHOT_BYTES)
    store.clock.time = now
    _die_at(channel, at, store, folder, work, only, plant)


def _die_at(
    channel: Channel, at: int, store: Store, folder: str, work: Callable[[World, Shop], Awaitable[None]],
    only: str, plant: str,
) -> None:  # fmt: skip
    def die() -> None:
        channel.write({"place": wire.places[-1]})
        os.kill(os.getpid(), signal.SIGKILL)

    wire = Wire(at, die, only)

    async def run() -> None:
        world = await make_world(store, Path(folder))
        plant_in(world, plant)
        faults.install(wire.cross)
        shop = wire.shop(world)
        await work(world, shop)
        await world.store.close()  # its threads have passed their last point then, in every run alike
        faults.install(None)

    asyncio.run(run())
    channel.write({"crossed": wire.crossed})
