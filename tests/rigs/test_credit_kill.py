"""`kill -9` of a process that draws a top-up or a bill of overage, paid with credit in part: each part is taken once.

Each cycle begins a process that is killed at one crossing: at a fault point inside the store, or right before or after
a call to the store, the accounts or the provider. Another process then opens the same database, and time passes.

Invariants 2, 5 and 6 of the design. R-REF-4, R-PACK-11, R-PLAN-6.
"""

import random
from pathlib import Path

import pytest

from tests.flows.test_topup_credit import credit, gift
from tests.support import rig_plan_plants, rig_shop
from tests.support.desk import change_plan
from tests.support.rig_plan_plants import plant_in
from tests.support.rig_processes import Processes
from tests.support.rig_store import SNAPSHOT_BYTES
from tests.support.shops import World, make_world, selling
from tests.support.stores import MONTH, Engine, Store, ok, sqlite_url
from tokentill.rules import commands as c
from tokentill.rules.catalog import Exhaustion, Overage
from tokentill.rules.purchases import next_step
from tokentill.rules.rows import Payer, TopUp

ENGINES: tuple[Engine, ...] = ("sqlite", "postgres")
CYCLES = 6
HAS = 600
COSTS = {"topup": 2_900, "bill": 1_500}


async def owe(world: World, way: str, organization: str, start: int) -> None:
    """An organization with credit and a saved method that is to be topped up, or has a bill in its journal."""
    world.clock.time = start
    await world.begin(organization)
    row = Payer(
        id=f"scripted:{organization}:card", organization=organization, provider="scripted",
        method=f"m_{organization}", saved="pm", used_at=1,
    )  # fmt: skip
    await world.rows.add(row)
    await gift(world, HAS, organization)
    if way == "topup":
        on = await world.shop.topups.set(
            organization, threshold=100, pack=rig_shop.PACK, ceiling=COSTS["topup"]
        )
        assert isinstance(on, TopUp)
        await world.settle()
    await ok(world.ledger, organization, c.Adjust(tokens=-198, reason="used before", actor="ann"))
    if way == "bill":
        for _ in range(4):
            await ok(world.ledger, organization, c.Charge(feature="generate_goal"))
        world.clock.time += MONTH
        await ok(world.ledger, organization, c.Tick())


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("way", ["topup", "bill"])
@pytest.mark.parametrize(
    "cycles", [CYCLES, pytest.param(None, marks=pytest.mark.nightly, id="every crossing")]
)
async def test_credit_and_money_are_each_taken_once(
    engine: Engine, way: str, processes: Processes, tmp_path: Path, run_seed: int, request: pytest.FixtureRequest,
    cycles: int | None,
) -> None:  # fmt: skip
    await draw_and_die(engine, way, processes, tmp_path, run_seed, request, cycles)


@pytest.mark.parametrize(("way", "seen"), [("topup", "assert 4600 == 2300"), ("bill", "assert 1800 == 900")])
async def test_charging_under_another_key_is_caught(
    way: str, seen: str, processes: Processes, tmp_path: Path, run_seed: int, request: pytest.FixtureRequest
) -> None:
    place, plant = "after provider.charge_saved", rig_plan_plants.TWICE
    with pytest.raises(AssertionError, match=seen):
        await draw_and_die("sqlite", way, processes, tmp_path, run_seed, request, 1, only=place, plant=plant)


async def draw_and_die(
    engine: Engine, way: str, processes: Processes, tmp_path: Path, run_seed: int, request: pytest.FixtureRequest,
    cycles: int | None, *, only: str = "", plant: str = "",
) -> None:  # fmt: skip
    url = request.getfixturevalue("postgres_url") if engine == "postgres" else sqlite_url(tmp_path)
    store = Store(engine, url, snapshot_bytes_min=SNAPSHOT_BYTES)
    catalog = change_plan(selling(), "pro", exhaustion=Exhaustion(overage=Overage(price=150)))
    world = await make_world(store, tmp_path, catalog=catalog)
    try:
        plant_in(world, plant)
        start = world.clock.time

        def run(organization: str, at: int) -> tuple[int, str, int]:
            return processes.tell(
                rig_shop.collect, engine=engine, url=url, folder=str(tmp_path), organization=organization,
                now=world.clock.time, at=at, only=only, plant=plant,
            )  # fmt: skip

        await owe(world, way, "whole", start)
        ended, _, crossings = run("whole", 0)
        assert (ended, crossings > 20) == (0, True), processes.errors()
        places = list(range(1, crossings + 1))
        if only:
            places = [1]
        elif cycles is not None:
            places = sorted(random.Random(f"{run_seed} {engine} {way}").sample(places, cycles))
        for at in places:
            name = f"acme_{at:03d}"
            await owe(world, way, name, start)
            ended, place, _ = run(name, at)
            where = (run_seed, at, place)
            assert ended == -9, (where, processes.errors())
            shop = world.restart()
            await rig_shop.draw(shop, name)
            for _ in range(3):
                await world.later(11_000)
            [purchase] = await world.purchases(name)
            assert next_step(purchase) is None, where
            assert (purchase.state, purchase.done) == ("delivered", ("spend_credit", "deliver")), where
            assert world.provider.money(purchase.id) == purchase.amount == COSTS[way] - HAS, where
            assert await credit(world, name) == 0, where
            topup = await shop.topups.get(name)
            assert topup is None or (topup.spent, topup.purchase) == (purchase.amount, None), where
        await world.clean()
    finally:
        await world.shop.close()
        await store.close()
    print(f"seed {run_seed}: {engine}, {way}, {len(places)} of {crossings} crossings")
