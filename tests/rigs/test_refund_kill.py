"""`kill -9` of a process that carries a refund out, at any crossing: money leaves once, and the tokens go once.

As in the crash rig of sales: one process accepts a refund and is killed at one crossing, inside the store or right
before or after a call to the store, the accounts or the provider; another opens the same database, the customer asks
again, and time passes.

Invariants 2 and 5 of the design. R-REF-4, R-REF-5.
"""

import random
from pathlib import Path

import pytest

from tests.support import rig_shop
from tests.support.rig_processes import Processes
from tests.support.rig_store import SNAPSHOT_BYTES
from tests.support.shops import World, make_world
from tests.support.stores import Engine, Store, sqlite_url
from tokentill.rules.claims import open_claim
from tokentill.rules.credit import available
from tokentill.rules.purchases import Purchase, next_step
from tokentill.rules.refund_rows import Refund
from tokentill.rules.refunds import Choice

ENGINES: tuple[Engine, ...] = ("sqlite", "postgres")
CHOICES: tuple[Choice, ...] = ("cash", "credit")
CYCLES = 10
PRICE = 2900


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("choice", CHOICES)
async def test_a_refund_survives_a_kill_anywhere(
    engine: Engine, choice: Choice, processes: Processes, tmp_path: Path, run_seed: int, request: pytest.FixtureRequest
) -> None:  # fmt: skip
    await give_back_and_die(engine, choice, processes, tmp_path, run_seed, request, CYCLES)


@pytest.mark.nightly
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("choice", CHOICES)
async def test_a_refund_survives_a_kill_at_every_crossing(
    engine: Engine, choice: Choice, processes: Processes, tmp_path: Path, run_seed: int, request: pytest.FixtureRequest
) -> None:  # fmt: skip
    await give_back_and_die(engine, choice, processes, tmp_path, run_seed, request, None)


async def quoted(world: World, name: str) -> tuple[Purchase, Refund]:
    """A delivered pack, and a quote of it."""
    await world.begin(name)
    placed = await world.place(world.order(name))
    paid = world.provider.pay(placed.checkout or "", f"card_{name}")
    await world.shop.take_in("scripted", world.provider.told(*paid))
    row = await world.shop.refunding.quote(name, placed.id, "technical")
    assert isinstance(row, Refund)
    return await world.purchase(placed), row


async def give_back_and_die(
    engine: Engine, choice: Choice, processes: Processes, tmp_path: Path, run_seed: int,
    request: pytest.FixtureRequest, cycles: int | None,
) -> None:  # fmt: skip
    url = request.getfixturevalue("postgres_url") if engine == "postgres" else sqlite_url(tmp_path)
    store = Store(engine, url, snapshot_bytes_min=SNAPSHOT_BYTES)
    world = await make_world(store, tmp_path)

    def start(organization: str, refund: str, at: int) -> tuple[int, str, int]:
        child = processes.start(
            rig_shop.give_back, engine=engine, url=url, folder=str(tmp_path), organization=organization,
            refund=refund, choice=choice, at=at,
        )  # fmt: skip
        said = list(child.channel.lines())
        child.close()
        return child.wait(), said[-1].get("place", ""), said[-1].get("crossed", 0)

    _, first = await quoted(world, "whole")
    ended, _, crossings = start("whole", first.id, 0)
    assert (ended, crossings > 30) == (0, True), processes.errors()
    places = list(range(1, crossings + 1))
    if cycles is not None:
        places = sorted(random.Random(f"{run_seed} {engine} {choice}").sample(places, cycles))
    money, credit = (PRICE, 0) if choice == "cash" else (0, PRICE * 60 // 100)
    for at in places:
        name = f"acme_{at:03d}"
        purchase, row = await quoted(world, name)
        ended, place, _ = start(name, row.id, at)
        where = (run_seed, at, place)
        assert ended == -9, (where, processes.errors())
        await world.restart().refunding.accept(name, row.id, choice)
        for _ in range(2):
            await world.later(61_000)
        found = await world.rows.get(Refund, row.id, name)
        assert found is not None
        assert found.state == "settled", where
        purchase = await world.purchase(purchase)
        assert next_step(purchase) is None, where
        assert open_claim(purchase) is None, where
        account = await world.account(name)
        assert (account.free, available(account.state), account.state.aside) == (200, credit, {}), where
        assert world.provider.refunded(purchase.payment or "") == money, where
    await world.clean()
    await world.shop.close()
    await store.close()
    print(f"seed {run_seed}: {engine}, {choice}, {len(places)} of {crossings} crossings")
