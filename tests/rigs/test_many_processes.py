"""Several processes on one database: never a stale answer, never a lock, and one order that explains them all.

Four processes send random commands to the same twenty organizations and note when each was sent and answered.
There are no deadlocks and no lock errors, and every answer, refusals included, is explained by replaying the
journal (see `rig_history`).

Invariants 2, 4 and 6 of the design; I3, I6, I7, I8 of the test plan. R-LED-5, R-LED-9, R-PLAT-5.
"""

import time
from pathlib import Path

import pytest

from tests.support import rig_crowd as crowd
from tests.support import rig_workers as workers
from tests.support.rig_history import NotLinear, Tally, check
from tests.support.rig_processes import Processes
from tests.support.rig_store import ENGINES, NOON, Engine, audit, bench_with, journal, open_ledger
from tokentill.rules import commands as c

ORGANIZATIONS = [f"organization {number}" for number in range(20)]
ALLOWANCE = 60
PROCESSES = 4
TASKS = 32


async def history(
    processes: Processes, engine: Engine, url: str, seed: int, commands: int, plant: str = ""
) -> tuple[Tally, int]:
    """Let the processes at the organizations, then explain what they saw."""
    ledger = await open_ledger(engine, url, bench_with(ALLOWANCE))
    seen = [
        await crowd.send(ledger, c.Envelope(name, c.Open(), f"{number:032x}"))
        for number, name in enumerate(ORGANIZATIONS)
    ]
    children = [
        processes.start(
            crowd.wander,
            engine=engine,
            url=url,
            organizations=ORGANIZATIONS,
            allowance=ALLOWANCE,
            seed=seed + number,
            tasks=TASKS,
            commands=commands // PROCESSES,
            plant=plant,
        )
        for number in range(PROCESSES)
    ]
    for child in children:
        assert child.channel.read() == {"ready": True}, processes.errors()
    for child in children:
        child.channel.write("go")
    for child in children:
        for line in child.channel.lines():
            seen += crowd.read_seen(line)
        status = child.wait()
        assert status == 0 or plant, processes.errors()
        child.close()
    total = Tally()
    for name in ORGANIZATIONS:
        own = [each for each in seen if each.envelope.organization == name]
        tally = check(own, await journal(ledger, name), bench_with(ALLOWANCE), NOON)
        total.ordered += tally.ordered
        total.between += tally.between
    await audit(ledger)
    await ledger.close()
    return total, len(seen)


@pytest.mark.parametrize("engine", ENGINES)
async def test_one_order_explains_every_answer(
    engine: Engine, processes: Processes, tmp_path: Path, run_seed: int, request: pytest.FixtureRequest
) -> None:
    url = request.getfixturevalue("postgres_url") if engine == "postgres" else str(tmp_path / "till.db")
    begun = time.monotonic()
    tally, commands = await history(processes, engine, url, run_seed, 8_000)
    print(f"seed {run_seed}: {engine}, {commands} commands, {tally}, {time.monotonic() - begun:.1f} s")
    assert tally.ordered + tally.between == commands
    assert min(tally.ordered, tally.between) > 100


@pytest.mark.parametrize("engine", ENGINES)
async def test_believing_oneself_is_caught(
    engine: Engine, processes: Processes, tmp_path: Path, run_seed: int, request: pytest.FixtureRequest
) -> None:
    """The planted fault refuses by what it remembers."""
    url = request.getfixturevalue("postgres_url") if engine == "postgres" else str(tmp_path / "till.db")
    with pytest.raises(NotLinear):
        await history(processes, engine, url, run_seed, 4_000, "believes itself")


@pytest.mark.nightly
@pytest.mark.parametrize("part", range(50))
@pytest.mark.parametrize("engine", ENGINES)
async def test_one_order_explains_every_answer_for_long(
    engine: Engine, part: int, processes: Processes, tmp_path: Path, run_seed: int,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    """A hundred histories of a hundred thousand commands."""
    url = request.getfixturevalue("postgres_url") if engine == "postgres" else str(tmp_path / "till.db")
    tally, commands = await history(processes, engine, url, run_seed + 100 * part, 100_000)
    print(f"seed {run_seed}: {engine}, {commands} commands, {tally}")


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_new_database_opened_by_many_at_once(
    engine: Engine, processes: Processes, tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    """Whoever comes first makes the schema; the others find it (R-PLAT-5)."""
    for round_ in range(5):
        server = request.getfixturevalue("postgres_server") if engine == "postgres" else None
        database = server.create_database() if server else str(tmp_path / f"{round_}.db")
        url = server.url(database) if server else database
        children = [
            processes.start(crowd.open_once, engine=engine, url=url, organization=f"o{number}")
            for number in range(8)
        ]
        for child in children:
            assert child.channel.read() == {"ready": True}, processes.errors()
        for child in children:
            child.channel.write("go")
        for child in children:
            assert child.channel.read() == {"done": True}, processes.errors()
            assert child.wait() == 0
            child.close()
        if server:
            server.drop_database(database)


@pytest.mark.parametrize("engine", ENGINES)
async def test_a_death_holds_nobody_up(
    engine: Engine, processes: Processes, tmp_path: Path, run_seed: int, request: pytest.FixtureRequest
) -> None:
    """A process is killed with the locks in its hands, again and again, while two others spend: they never notice."""
    url = request.getfixturevalue("postgres_url") if engine == "postgres" else str(tmp_path / "till.db")
    ledger = await open_ledger(engine, url, bench_with(ALLOWANCE))
    await ledger.submit(c.Envelope("acme", c.Open(), "0" * 32, keyed=True))
    await ledger.submit(c.Envelope("acme", c.Grant(tokens=1_000_000), "1" * 32, keyed=True))
    spenders = [
        processes.start(
            crowd.spend,
            engine=engine,
            url=url,
            organization="acme",
            allowance=ALLOWANCE,
            seed=run_seed + number,
            tasks=16,
            attempts=600,
            mixed=True,
        )
        for number in range(2)
    ]
    for child in spenders:
        assert child.channel.read() == {"ready": True}, processes.errors()
        child.channel.write("go")
    for number, point in enumerate(2 * ("lane.locked", "lane.begun", "lane.written", "lane.committed")):
        child = processes.start(
            workers.crash,
            engine=engine,
            url=url,
            seed=run_seed + number,
            organizations=["acme"],
            clients=4,
            actions=4,
            point=point,
            at=2,
            how="kill",
        )
        for _ in child.channel.lines():
            pass
        assert child.wait() == -9, processes.errors()
    for child in spenders:
        line = child.channel.read()
        assert line is not None, processes.errors()
        assert not [name for name in line["outcomes"] if name.startswith("trouble")], line
        assert child.wait() == 0
    await audit(ledger)
    await ledger.close()
