"""`kill -9` of a process that carries a refund out, at any crossing: money leaves once, and the tokens go once.

As in the crash rig of sales: one process accepts a refund and is killed at one crossing, inside the store or right
before or after a call to the store, the accounts or the provider; another opens the same database, the customer asks
again, and time passes. A larger pack that was paid by the difference goes back over both of its payments.

Invariants 2 and 5 of the design. R-REF-4, R-REF-5.
"""

import random
from pathlib import Path

import pytest

from tests.support import rig_plan_plants, rig_shop
from tests.support.larger import ITEMS, PRICES, chain
from tests.support.rig_plan_plants import plant_in
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
STORIES: tuple[tuple[Choice, int], ...] = (("cash", 1), ("credit", 1), ("cash", 2))
"""What is chosen, and how many payments there are."""

CYCLES = 10
GRANT = 4
"""Which of a refund's commands brings the credit: the last one."""


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("choice", "payments"), STORIES)
async def test_a_refund_survives_a_kill_anywhere(
    engine: Engine, choice: Choice, payments: int, processes: Processes, tmp_path: Path, run_seed: int,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    await give_back_and_die(engine, choice, payments, processes, tmp_path, run_seed, request, CYCLES)


@pytest.mark.nightly
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize(("choice", "payments"), STORIES)
async def test_a_refund_survives_a_kill_at_every_crossing(
    engine: Engine, choice: Choice, payments: int, processes: Processes, tmp_path: Path, run_seed: int,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    await give_back_and_die(engine, choice, payments, processes, tmp_path, run_seed, request, None)


async def test_credit_under_another_key_is_caught(
    processes: Processes, tmp_path: Path, run_seed: int, request: pytest.FixtureRequest
) -> None:
    only, plant = ("after ledger.submit", GRANT), rig_plan_plants.ANEW
    with pytest.raises(AssertionError, match=r"3480.* == .*1740"):
        await give_back_and_die(
            "sqlite", "credit", 1, processes, tmp_path, run_seed, request, 1, only=only, plant=plant
        )


async def quoted(world: World, name: str, payments: int) -> tuple[list[Purchase], Refund]:
    """A delivered pack with those that it took the place of, and a quote of it."""
    await world.begin(name)
    bought = await chain(world, name, ITEMS[1:payments])
    row = await world.shop.refunding.quote(name, bought[-1].id, "technical")
    assert isinstance(row, Refund)
    return bought, row


async def give_back_and_die(
    engine: Engine, choice: Choice, payments: int, processes: Processes, tmp_path: Path, run_seed: int,
    request: pytest.FixtureRequest, cycles: int | None, *, only: tuple[str, int] | None = None, plant: str = "",
) -> None:  # fmt: skip
    url = request.getfixturevalue("postgres_url") if engine == "postgres" else sqlite_url(tmp_path)
    store = Store(engine, url, snapshot_bytes_min=SNAPSHOT_BYTES)
    world = await make_world(store, tmp_path)
    try:
        plant_in(world, plant)

        def start(organization: str, refund: str, at: int) -> tuple[int, str, int]:
            return processes.tell(
                rig_shop.give_back, engine=engine, url=url, folder=str(tmp_path), organization=organization,
                refund=refund, choice=choice, at=at, only=only[0] if only else "", plant=plant,
            )  # fmt: skip

        _, first = await quoted(world, "whole", payments)
        ended, _, crossings = start("whole", first.id, 0)
        assert (ended, crossings > 30) == (0, True), processes.errors()
        places = list(range(1, crossings + 1))
        if only:
            places = [only[1]]
        elif cycles is not None:
            places = sorted(random.Random(f"{run_seed} {engine} {choice} {payments}").sample(places, cycles))
        price = PRICES[payments - 1]
        money, credit = (price, 0) if choice == "cash" else (0, price * 60 // 100)
        for at in places:
            name = f"acme_{at:03d}"
            bought, row = await quoted(world, name, payments)
            ended, place, _ = start(name, row.id, at)
            where = (run_seed, at, place)
            assert ended == -9, (where, processes.errors())
            await world.restart().refunding.accept(name, row.id, choice)
            for _ in range(2):
                await world.later(61_000)
            found = await world.rows.get(Refund, row.id, name)
            assert found is not None
            assert found.state == "settled", where
            for one in [await world.purchase(one) for one in bought]:
                assert next_step(one) is None, where
                assert open_claim(one) is None, where
                assert world.provider.refunded(one.payment or "") == (one.amount if money else 0), where
            account = await world.account(name)
            assert (account.free, available(account.state), account.state.aside) == (200, credit, {}), where
        await world.clean()
    finally:
        await world.shop.close()
        await store.close()
    print(f"seed {run_seed}: {engine}, {choice} over {payments}, {len(places)} of {crossings} crossings")
