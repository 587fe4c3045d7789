"""Each event of Stripe, of PayPal and of the embedded provider, in every way it can come: one grant, one end (R-PACK-3).

Twice, a hundred times at once in two processes, in every order of up to six; forged, altered, stale, for another
account, of a wrong amount, of an unknown type, of an order that nobody knows. The events are the provider's own, signed
as it signs them; R-PLAT-1.
"""

import asyncio
import itertools
import random
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.support.events import LIVES, Life, gone, hear
from tests.support.shops import World, selling
from tests.support.stores import Engine, Store, sqlite_url
from tokentill.ports import BadSignature, Inbound
from tokentill.rules.credit import available
from tokentill.rules.purchases import next_step
from tokentill.rules.rows import ProviderEvent

ORDERS = 24
"""So many orders are tried in each run, drawn anew each time; by night all of them."""
CASES = [
    ("stripe", "pack"),
    ("stripe", "plan"),
    ("stripe", "later"),
    ("paypal", "pack"),
    ("paypal", "later"),
    ("embedded", "pack"),
    ("embedded", "plan"),
]


RENEWALS = [
    ("stripe renewal", "renewal"),
    ("stripe renewal", "with credit"),
    ("stripe renewal", "given up"),
    ("embedded renewal", "renewal"),
]


@pytest.fixture(params=CASES, ids=" ".join)
async def life(request: pytest.FixtureRequest) -> AsyncIterator[Life]:
    name, kind = request.param
    async with LIVES[name](kind) as lived:
        yield lived


async def ends(life: Life, world: World) -> tuple[Any, ...]:
    """How the order and the account ended."""
    [row] = [one for one in await world.purchases("acme") if (one.id != life.order.id) == bool(life.before)]
    account = await world.account("acme")
    assert next_step(row) is None
    return (
        row.state, row.paid_at, row.payment, row.refunded, row.flagged, row.done.count("deliver"),
        row.done.count("set_aside") - row.done.count("give_back"), account.free, account.aside, account.state.plan,
        account.state.failed_at, set(await world.events()), row.amount, available(account.state),
    )  # fmt: skip


async def told(life: Life, order: list[Inbound]) -> tuple[Any, ...]:
    """How it ends where the events come in this order."""
    world = await life.till()
    await hear(world, life.provider.name, order)
    found = await ends(life, world)
    await gone(world)
    return found


async def all_alike(life: Life, orders: list[tuple[Inbound, ...]]) -> None:
    plain = await told(life, life.told)
    assert (plain[0], plain[7]) == life.ends
    assert (plain[4], plain[5], plain[6], plain[8], plain[11]) == (None, 1, 0, 0, life.heard)
    assert plain[12:] == (life.order.amount - life.credit, 0)
    for order in orders:
        assert await told(life, [*order]) == plain, [life.told.index(one) for one in order]


async def test_orders_end_alike(life: Life, run_seed: int) -> None:
    """Some of the orders, the last half of each told once more at its end."""
    chance = random.Random(run_seed)
    orders = [tuple(chance.sample(life.told, len(life.told))) for _ in range(ORDERS)]
    backwards = tuple(reversed(life.told))
    await all_alike(life, [backwards, *(order + order[len(order) // 2 :] for order in orders)])


@pytest.mark.parametrize(("name", "kind"), RENEWALS)
async def test_orders_of_a_renewal_end_alike(name: str, kind: str, run_seed: int) -> None:
    """R-LIC-1, R-LIC-3: declined, paid in the end, contested; or the provider gave it up, and it was paid then.

    R-REF-4: with credit, its draft was told in time, and is told again.
    """
    async with LIVES[name](kind) as life:
        orders = list(itertools.permutations(life.told))
        await all_alike(life, random.Random(run_seed).sample(orders, ORDERS // 4))


@pytest.mark.nightly
@pytest.mark.parametrize(("name", "kind"), RENEWALS)
async def test_every_order_of_a_renewal_ends_alike(name: str, kind: str) -> None:
    async with LIVES[name](kind) as life:
        await all_alike(life, list(itertools.permutations(life.told)))


@pytest.mark.nightly
async def test_every_order_ends_alike(life: Life) -> None:
    await all_alike(life, list(itertools.permutations(life.told)))


@pytest.mark.parametrize("engine", ["sqlite", "postgres"])
async def test_each_event_a_hundred_times_at_once(
    life: Life, engine: Engine, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Two tills on one database get fifty each; one is let in, and the end is that of each event told once."""
    url = request.getfixturevalue("postgres_url") if engine == "postgres" else sqlite_url(tmp_path)
    await a_hundred_times(life, Store(engine, url))


@pytest.mark.parametrize(("name", "kind"), RENEWALS[1::2])
async def test_each_event_of_a_renewal_a_hundred_times_at_once(name: str, kind: str, tmp_path: Path) -> None:
    """R-REF-4, R-LIC-3: its draft, its credit, what is declined and paid in the end."""
    async with LIVES[name](kind) as life:
        await a_hundred_times(life, Store("sqlite", sqlite_url(tmp_path)))


async def a_hundred_times(life: Life, store: Store) -> None:
    world = await life.till(store=store)
    name = life.provider.name
    other = World(store, await store.open(catalog=selling()), life.provider)
    shops, heard = [world.shop, other.shop], {one.body for one in life.before}
    for one in life.told:
        new = await asyncio.gather(*(shops[nth % 2].receive(name, one) for nth in range(100)))
        assert sum(new) == (one.body not in heard)
        await asyncio.gather(*(shop.clerk.once() for shop in shops))
    await world.later(3_600_000)
    assert await ends(life, world) == await told(life, life.told)
    assert sum((await world.events()).values()) == len(heard | {one.body for one in life.told})
    await other.shop.clerk.stop()
    await gone(world)


async def test_what_is_not_the_providers_own_is_not_let_in(life: Life) -> None:
    """Each event forged, altered, unsigned and stale, and some for another account: no row, no token."""
    await nothing_forged_is_let_in(life)


@pytest.mark.parametrize(("name", "kind"), RENEWALS[1::2])
async def test_what_is_not_the_providers_own_of_a_renewal_is_not_let_in(name: str, kind: str) -> None:
    """R-REF-4, R-LIC-1."""
    async with LIVES[name](kind) as life:
        await nothing_forged_is_let_in(life)


async def nothing_forged_is_let_in(life: Life) -> None:
    world = await life.till()
    known = await world.rows.find(ProviderEvent, {}, limit=100)
    had = await world.balance("acme")
    name = life.provider.name
    others = [life.told[nth - 1] for nth in range(len(life.told))]
    wrong = [Inbound(one.body, {}) for one in life.told]
    wrong += [Inbound(one.body + b" ", one.headers) for one in life.told]
    wrong += [Inbound(one.body.replace(b'"id"', b'"ID"', 1), one.headers) for one in life.told]
    wrong += [Inbound(one.body, other.headers) for one, other in zip(life.told, others, strict=True)]
    for one in (*wrong, *life.foreign):
        with pytest.raises(BadSignature):
            await world.shop.receive(name, one)
    for late in (life.stale_ms, -life.stale_ms):
        world.clock.time += late
        for one in life.told:
            with pytest.raises(BadSignature):
                await world.shop.receive(name, one)
        world.clock.time -= late
    assert await world.rows.find(ProviderEvent, {}, limit=100) == known
    assert await world.balance("acme") == had
    await gone(world)


@pytest.mark.parametrize("wrong", [{"amount": 1}, {"currency": "EUR"}])
async def test_a_payment_of_something_else_brings_nothing(life: Life, wrong: dict[str, Any]) -> None:
    """The order was of another amount or currency than what was paid, whatever the events say."""
    order = replace(life.order, **{**wrong, "amount": life.order.amount + wrong.get("amount", 0)})
    world = await life.till(order)
    await hear(world, life.provider.name, life.told)
    [row] = await world.purchases("acme")
    assert (row.state, row.flagged, row.done) == ("mismatched", "mismatched", ())
    assert await world.balance("acme") == (0 if life.order.kind == "plan" else 200)
    assert "mismatched" in await world.alerts()
    await gone(world)


async def test_what_nobody_knows_brings_nothing(life: Life) -> None:
    """A type that nobody knows is kept and ignored; events of an order that nobody placed wait."""
    world = await life.till(ordered=False)
    await world.shop.take_in(life.provider.name, life.unknown)
    assert await world.events() == {"ignored": 1}
    await hear(world, life.provider.name, life.told)
    assert set(await world.events()) <= {"ignored", "waiting"}
    assert await world.purchases("acme") == []
    assert await world.balance("acme") == (0 if life.order.kind == "plan" else 200)
    await gone(world)
