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
from typing import Any, cast, get_args

import pytest
from msgspec.structs import replace

from tests.support.endings import ENDINGS, TOLD
from tests.support.events import LIVES, Life, gone, hear
from tests.support.shops import World, selling
from tests.support.stores import Engine, Store, sqlite_url
from tokentill.ports import BadSignature, Inbound
from tokentill.rules import happenings as h
from tokentill.rules.credit import available
from tokentill.rules.purchases import Purchase, next_step
from tokentill.rules.rows import ProviderEvent
from tokentill.vendors.embedded.signing import SIGNATURE
from tokentill.vendors.paypal.provider import EVENTS
from tokentill.vendors.stripe.reader import Reader

ORDERS = 16
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


ENDS = [
    ("stripe", "expired"),
    ("stripe", "never came"),
    ("stripe", "refund failed"),
    ("stripe", "trial"),
    ("stripe renewal", "voided"),
    ("paypal", "denied"),
    ("paypal", "left"),
    ("embedded", "cancelled"),
    ("embedded renewal", "left"),
]
"""What ends otherwise than with money that stays, or begins with none."""
BILLING = {"freeze", "spend_credit", "apply_credit"}
"""What is done of a bill before it is paid."""


@pytest.fixture(params=CASES, ids=" ".join)
async def life(request: pytest.FixtureRequest) -> AsyncIterator[Life]:
    name, kind = request.param
    async with LIVES[name](kind) as lived:
        yield lived


async def bought(life: Life, world: World) -> Purchase:
    """What the life is about, and all that was bought in it: the order, or its renewal."""
    rows = await world.purchases("acme")
    assert len(rows) == (2 if life.before else 1)
    [row] = [one for one in rows if (one.id != life.order.id) == bool(life.before)]
    return row


async def ends(life: Life, world: World) -> tuple[Any, ...]:
    """How the order and the account ended."""
    row = await bought(life, world)
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


async def all_alike(life: Life, orders: list[tuple[Inbound, ...]]) -> tuple[Any, ...]:
    """How it ends where the events come in the order in which they were made, and in each of these."""
    plain = await told(life, life.told)
    assert (plain[0], plain[7]) == life.ends
    assert (plain[4], plain[5], plain[6], plain[8]) == (life.flagged, int(life.brings), 0, 0)
    assert plain[11] == life.heard
    assert plain[12:] == (life.order.amount - life.credit, life.credit_left)
    for order in orders:
        assert await told(life, [*order]) == plain, [life.told.index(one) for one in order]
    return plain


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
    await a_hundred_times(life, Store(engine, url), await told(life, life.told))


@pytest.mark.parametrize(("name", "kind"), RENEWALS[1::2])
async def test_each_event_of_a_renewal_a_hundred_times_at_once(name: str, kind: str, tmp_path: Path) -> None:
    """R-REF-4, R-LIC-3: its draft, its credit, what is declined and paid in the end."""
    async with LIVES[name](kind) as life:
        await a_hundred_times(life, Store("sqlite", sqlite_url(tmp_path)), await told(life, life.told))


async def a_hundred_times(life: Life, store: Store, plain: tuple[Any, ...]) -> None:
    world = await life.till(store=store)
    name = life.provider.name
    other = World(store, await store.open(catalog=life.catalog or selling()), life.provider)
    shops, heard = [world.shop, other.shop], {one.body for one in life.before}
    for one in life.told:
        new = await asyncio.gather(*(shops[nth % 2].receive(name, one) for nth in range(100)))
        assert sum(new) == (one.body not in heard)
        await asyncio.gather(*(shop.clerk.once() for shop in shops))
    await world.later(3_600_000)
    assert await ends(life, world) == plain
    assert sum((await world.events()).values()) == len(heard | {one.body for one in life.told})
    await other.shop.clerk.stop()
    await gone(world)


async def test_what_is_not_the_providers_own_is_not_let_in(life: Life) -> None:
    """Each event forged, altered, unsigned and stale, and some for another account: no row, no token."""
    await nothing_forged_is_let_in(life)


@pytest.mark.parametrize(("name", "kind"), RENEWALS[1::2])
async def test_what_is_no_renewal_brings_nothing(name: str, kind: str) -> None:
    """R-REF-4, R-LIC-1: what is forged, altered or stale, of an order that nobody knows, or of another amount."""
    async with LIVES[name](kind) as life:
        await nothing_forged_is_let_in(life)
        await nobody_knows(life)
        await something_else_was_paid(life, list_amount=life.order.list_amount + 1)


@pytest.mark.parametrize(("name", "kind"), ENDS)
async def test_what_ends_otherwise(name: str, kind: str, run_seed: int, tmp_path: Path) -> None:
    """It expired, never came, was refused, failed on its way back, is a trial, or its bill is void (R-PLAN-4, R-LIC-1).

    In some orders; a hundred times at once; forged, altered, stale; unknown; of a wrong amount, if anything was paid.
    """
    async with ENDINGS[name](kind) as life:
        orders = list(itertools.permutations(life.told))
        plain = await all_alike(life, random.Random(run_seed).sample(orders, 2))
        await a_hundred_times(life, Store("sqlite", sqlite_url(tmp_path)), plain)
        await nothing_forged_is_let_in(life)
        await nobody_knows(life)
        if life.brings:
            await something_else_was_paid(life, amount=life.order.amount + 1)


@pytest.mark.nightly
@pytest.mark.parametrize(("name", "kind"), ENDS)
async def test_every_order_of_what_ends_otherwise_ends_alike(name: str, kind: str) -> None:
    async with ENDINGS[name](kind) as life:
        await all_alike(life, list(itertools.permutations(life.told)))


async def test_every_event_that_is_read_is_told_in_some_life() -> None:
    """R-PLAT-1: a type of event that a reader is taught must be told in a life of this matrix, too.

    The test provider's events are made of happenings. What it gives back it answers at once and never tells.
    """
    told = {name for case in (*CASES, *RENEWALS, *ENDS) for name in TOLD.get(case[0], {}).get(case[1], ())}
    read = {*Reader(cast(Any, None), Store("memory", ":memory:").clock).events, *EVENTS}
    assert read - told == set()
    found: set[type] = set()
    for name, kind in (*CASES[-2:], *RENEWALS[-1:], *ENDS[-2:]):
        async with (ENDINGS if (name, kind) in ENDS else LIVES)[name](kind) as life:
            for one in (*life.before, *life.told):
                event = await life.provider.event(one, int(one.headers[SIGNATURE][2:].partition(",")[0]))
                found |= {type(fact) for fact in await life.provider.happenings(event)}
    assert set(get_args(h.AnyHappening)) - found == {h.Refunded, h.RefundFailed}


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
    await something_else_was_paid(life, **{**wrong, "amount": life.order.amount + wrong.get("amount", 0)})


async def something_else_was_paid(life: Life, **ordered: Any) -> None:
    world = await life.till(replace(life.order, **ordered))
    await hear(world, life.provider.name, life.told)
    row = await bought(life, world)
    assert (row.state, row.flagged, row.lots) == ("mismatched", "mismatched", ())
    assert {*row.done} <= (BILLING if life.before else set())
    assert await world.balance("acme") == (0 if life.order.kind == "plan" else 200)
    assert "mismatched" in await world.alerts()
    await gone(world)


async def test_what_nobody_knows_brings_nothing(life: Life) -> None:
    """A type that nobody knows is kept and ignored; events of an order that nobody placed wait."""
    await nobody_knows(life)


async def nobody_knows(life: Life) -> None:
    world = await life.till(ordered=False)
    before = await world.events()
    assert set(before) <= {"ignored", "waiting"}
    await world.shop.take_in(life.provider.name, life.unknown)
    assert await world.events() == {**before, "ignored": before.get("ignored", 0) + 1}
    await hear(world, life.provider.name, life.told)
    assert set(await world.events()) <= {"ignored", "waiting"}
    assert await world.purchases("acme") == []
    assert await world.balance("acme") == (0 if life.order.kind == "plan" else 200)
    await gone(world)
