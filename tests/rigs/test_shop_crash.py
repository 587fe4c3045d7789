"""`kill -9` of a process that sells, anywhere between an order and its tokens: they come once, and so does the money.

Each cycle begins a process that tells a customer's story and is killed at one crossing: at a fault point inside
the store, or right before or after a call to the store, the accounts or the provider. Another process then opens
the same database; the customer asks again under the same key, the provider sends again, time passes.

Invariants 2, 5 and 6 of the design. R-PACK-2, R-PACK-3.
"""

import random
from pathlib import Path

import pytest

from tests.support import rig_plan_plants, rig_shop
from tests.support.rig_plan_plants import plant_in
from tests.support.rig_processes import Processes
from tests.support.rig_store import SNAPSHOT_BYTES
from tests.support.shops import make_world
from tests.support.stores import Engine, Store, sqlite_url
from tokentill.rules.purchases import next_step
from tokentill.rules.rows import Payer

ENGINES: tuple[Engine, ...] = ("sqlite", "postgres")
CYCLES = 24
TOKENS = 500


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("way", ["checkout", "saved"])
async def test_a_sale_survives_a_kill_anywhere(
    engine: Engine,
    way: str,
    processes: Processes,
    tmp_path: Path,
    run_seed: int,
    request: pytest.FixtureRequest,
) -> None:
    await sell_and_die(engine, way, processes, tmp_path, run_seed, request, CYCLES)


@pytest.mark.nightly
@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("way", ["checkout", "saved"])
async def test_a_sale_survives_a_kill_at_every_crossing(
    engine: Engine,
    way: str,
    processes: Processes,
    tmp_path: Path,
    run_seed: int,
    request: pytest.FixtureRequest,
) -> None:
    await sell_and_die(engine, way, processes, tmp_path, run_seed, request, None)


@pytest.mark.parametrize(
    ("way", "plant", "place", "seen"),
    [
        (
            "checkout",
            rig_plan_plants.ANEW,
            "after ledger.submit",
            f"assert {200 + 2 * TOKENS} == ",
        ),
        ("saved", rig_plan_plants.TWICE, "after provider.charge_saved", "assert 5800 == 2900"),
    ],
    ids=["tokens", "money"],
)
async def test_a_planted_fault_is_caught(
    way: str, plant: str, place: str, seen: str, processes: Processes, tmp_path: Path, run_seed: int,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    with pytest.raises(AssertionError, match=seen):
        await sell_and_die("sqlite", way, processes, tmp_path, run_seed, request, 1, only=place, plant=plant)


async def sell_and_die(
    engine: Engine, way: str, processes: Processes, tmp_path: Path, run_seed: int, request: pytest.FixtureRequest,
    cycles: int | None, *, only: str = "", plant: str = "",
) -> None:  # fmt: skip
    url = request.getfixturevalue("postgres_url") if engine == "postgres" else sqlite_url(tmp_path)
    store = Store(engine, url, snapshot_bytes_min=SNAPSHOT_BYTES)
    world = await make_world(store, tmp_path)
    try:
        plant_in(world, plant)

        def start(organization: str, at: int) -> tuple[int, str, int]:
            payer = f"scripted:{organization}:card" if way == "saved" else None
            return processes.tell(
                rig_shop.sell,
                engine=engine,
                url=url,
                folder=str(tmp_path),
                organization=organization,
                payer=payer,
                at=at,
                only=only,
                plant=plant,
            )

        async def customer(organization: str) -> None:
            await world.begin(organization)
            row = Payer(
                id=f"scripted:{organization}:card", organization=organization, provider="scripted",
                method=f"m_{organization}", saved="pm", used_at=1,
            )  # fmt: skip
            await world.rows.add(row)

        await customer("whole")
        ended, _, crossings = start("whole", 0)
        assert (ended, crossings > 30) == (0, True), processes.errors()
        places = list(range(1, crossings + 1))
        if only:
            places = [1]
        elif cycles is not None:
            places = sorted(random.Random(f"{run_seed} {engine} {way}").sample(places, cycles))
        for at in places:
            name = f"acme_{at:03d}"
            await customer(name)
            ended, place, _ = start(name, at)
            where = (run_seed, at, place)
            assert ended == -9, (where, processes.errors())
            shop = world.restart()
            payer = f"scripted:{name}:card" if way == "saved" else None
            await rig_shop.story(world, shop, name, payer)
            await world.later(11_000)
            [purchase] = await world.purchases(name)
            assert next_step(purchase) is None, where
            assert (purchase.state, purchase.done) == ("delivered", ("deliver",)), where
            assert await world.balance(name) == 200 + TOKENS, where
            assert world.provider.money(purchase.id) == purchase.amount, where
        await world.clean()
    finally:
        await world.shop.close()
        await store.close()
    print(f"seed {run_seed}: {engine}, {way}, {len(places)} of {crossings} crossings")
