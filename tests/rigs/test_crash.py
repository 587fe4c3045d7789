"""`kill -9` of real processes: what was answered as done is there, and nothing is done twice.

Each cycle starts a process whose clients run scripts with a key for each step. The process dies, or fails, at a
named fault point, or anywhere under load. Then the ledger is opened again: `verify` finds nothing, a second
set of books agrees, every client sends its script again from the start and gets the answers it had seen, and
the balance is what the scripts add up to.

Invariants 2, 3, 5 and 6 of the design, I3, I4, I6 to I9 of the test plan. R-LED-3, R-LED-4, R-LED-5, R-LED-9,
R-PLAT-5.
"""

import asyncio
import random
import re
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from tests.support import rig_workers as workers
from tests.support.rig_processes import Child, Processes
from tests.support.rig_scripts import ALLOWANCE, TOO_MUCH, Place, Script
from tests.support.rig_store import SECRET, Engine, Still, audit, bench_with, journal, open_ledger, plain
from tokentill.flows.recover import Recovery
from tokentill.flows.send import LedgerBooks
from tokentill.ports import Ledger
from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.rules.receipts import Receipt
from tokentill.store import faults
from tokentill.store.intents import FileIntents

CLIENTS = 6
ACTIONS = 6
POINTS: dict[Engine, tuple[str, ...]] = {
    "sqlite": faults.SQLITE + faults.ROLLBACK,
    "postgres": faults.POSTGRES + faults.ROLLBACK,
}
HOWS = ("kill", "bug", "down")
ONCE = ("open.locked", "open.migrated", "open.committed")
"""Points that a process passes once."""

NOT_GUARDED = ("lane.answered", *faults.ROLLBACK)
"""Nothing can fail there but the hook itself, so a process is only killed there."""

HIT = re.compile(r'faults\.hit\("([a-z_.]+)"\)')

Seen = dict[Place, dict[str, Any]]


def listen(child: Child) -> tuple[Seen, list[str], int | None]:
    """What clients were answered, the operator keys that were stored, and how often the point was passed."""
    seen: Seen = {}
    keys: list[str] = []
    passed = None
    for line in child.channel.lines():
        if "place" in line:
            seen[Place(*line["place"])] = line["reply"]
        elif "operator key" in line:
            keys.append(line["operator key"])
        else:
            passed = line["passed"]
    child.close()
    return seen, keys, passed


async def check(ledger: Ledger, script: Script, stops: list[int], seen: Seen) -> None:
    """Send everything again, up to action `stops[client]`: what was seen is answered alike, the rest is done once."""
    expected = dict.fromkeys(script.organizations, ALLOWANCE)
    late = f"{script.seed:032x}"
    for name in script.organizations:
        await ledger.submit(c.Envelope(name, c.Open(), late, keyed=True))
        # There is enough now, but what was refused for good stays refused.
        plenty = c.Grant(tokens=TOO_MUCH * CLIENTS * ACTIONS)
        await ledger.submit(c.Envelope(name, plenty, late[::-1], keyed=True))
        expected[name] += plenty.tokens
    for client, stop in enumerate(stops):
        for step in script.steps(client, 0, stop):
            reply = await ledger.submit(replace(step.envelope, retry=True))
            if step.place in seen:
                assert plain(reply) == seen[step.place], (script.seed, step)
            expected[step.envelope.organization] += step.effect
            if not step.effect and isinstance(reply, Receipt) and isinstance(step.envelope.command, c.Charge):
                expected[step.envelope.organization] -= TOO_MUCH
    books = await audit(ledger, script.organizations)
    assert {name: book.free for name, book in books.items()} == expected
    assert sum(book.held for book in books.values()) == sum(
        step.envelope.command.tokens or 0
        for client, stop in enumerate(stops)
        for action in range(stop)
        if len(steps := script.action(client, action)) == 1
        for step in steps
        if isinstance(step.envelope.command, c.Reserve)
    )


async def check_keys(ledger: Ledger, keys: list[str]) -> None:
    assert set(keys) <= {key.id for key in await ledger.operator_keys()}


@pytest.mark.parametrize("how", HOWS)
@pytest.mark.parametrize("engine", POINTS)
async def test_every_fault_point(
    engine: Engine, how: str, processes: Processes, tmp_path: Path, run_seed: int,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    """Every point once: the process is killed there, or meets an unexpected error, or the database fails."""
    url = request.getfixturevalue("postgres_url") if engine == "postgres" else ""
    dice = random.Random(f"{run_seed} {engine} {how}")
    points = [point for point in POINTS[engine] if how == "kill" or point not in NOT_GUARDED]
    print(f"seed {run_seed}: {len(points)} points on {engine}, {how}")
    for number, point in enumerate(points):
        if engine == "sqlite":
            url = str(tmp_path / f"{number}.db")
        made = point == "lane.decided_ahead"  # what a caller keyed is looked up, and so decided by the writer
        script = Script(dice.getrandbits(63), (f"{point} a", f"{point} b"), made)
        at = 1 if point in ONCE or made else 1 + dice.randrange(4)
        child = processes.start(
            workers.crash, engine=engine, url=url, seed=script.seed, organizations=list(script.organizations),
            clients=CLIENTS, actions=ACTIONS, point=point, at=at, how=how,
        )  # fmt: skip
        seen, keys, passed = listen(child)
        status = child.wait()
        case = (run_seed, point, at, how, status, processes.errors())
        assert status == (-9 if how == "kill" else 0), case
        assert how == "kill" or (passed is not None and passed >= at), case
        ledger = await open_ledger(engine, url, bench_with(ALLOWANCE))
        assert (await ledger.verify()).findings == (), case
        await check(ledger, script, [ACTIONS] * CLIENTS, seen)
        await check_keys(ledger, keys)
        await ledger.close()


def test_every_point_has_a_name_and_every_name_a_point() -> None:
    """What the store passes is what the lists of `faults` say, so no point goes untried."""
    store = Path(faults.__file__).parent
    hits = {point for path in store.rglob("*.py") for point in HIT.findall(path.read_text())}
    assert hits == {*faults.SQLITE, *faults.POSTGRES, *faults.ROLLBACK, *faults.INTENTS}


async def test_answering_before_the_commit_is_caught(
    processes: Processes, tmp_path: Path, run_seed: int
) -> None:
    """The planted fault has told its clients of something that the crash then takes."""
    url, script = str(tmp_path / "till.db"), Script(run_seed, ("ann", "bob"))
    child = processes.start(
        workers.crash, engine="sqlite", url=url, seed=script.seed, organizations=list(script.organizations),
        clients=CLIENTS, actions=ACTIONS, point="lane.written", at=8, how="kill", plant="answers early",
    )  # fmt: skip
    seen, _, _ = listen(child)
    assert child.wait() == -9
    ledger = await open_ledger("sqlite", url, bench_with(ALLOWANCE))
    with pytest.raises(AssertionError, match="Step"):
        await check(ledger, script, [ACTIONS] * CLIENTS, seen)
    await ledger.close()


@pytest.mark.parametrize("engine", POINTS)
async def test_an_operation_that_dies_charges_nothing_or_all_of_it(
    engine: Engine, processes: Processes, tmp_path: Path, run_seed: int, request: pytest.FixtureRequest
) -> None:
    """Execute-then-charge, killed before, during and after the operation, and while a charge is kept (R-LED-4).

    Afterwards every hold has ended, an operation is charged whole or not at all, and one whose caller was told
    that it is charged, or will be, is.
    """
    url = request.getfixturevalue("postgres_url") if engine == "postgres" else ""
    points = ("operation.begun", "operation.done", "lane.written", "lane.committed", "lane.remembered")
    dice = random.Random(f"{run_seed} {engine}")
    count: Counter[str] = Counter()
    for number, point in enumerate((*points, *faults.INTENTS)):
        home = tmp_path / str(number)
        home.mkdir()
        if engine == "sqlite":
            url = str(home / "till.db")
        at = 1 + dice.randrange(3 if point in faults.INTENTS else 20)
        child = processes.start(
            workers.charge, engine=engine, url=url, folder=str(home), organization=point,
            seed=dice.getrandbits(60), runs=40, point=point, at=at,
        )  # fmt: skip
        told = {line["hold"]: line["state"] for line in child.channel.lines()}
        assert child.wait() == -9, (run_seed, point, at, processes.errors())
        clock = Still()
        ledger = await open_ledger(engine, url, bench_with(ALLOWANCE), clock=clock)
        books = LedgerBooks(ledger, SECRET)
        await Recovery(books, FileIntents(home), clock).once()
        clock.time += 3_600_000
        await ledger.submit(c.Envelope(point, c.Tick()))
        account = await ledger.account(point)
        # A child that was killed while it opened its account left none, and has been told of no charge.
        rows = [] if account is None else await journal(ledger, point)
        charged = {row.entry.key: row.entry.tokens for row in rows if isinstance(row.entry, e.Charged)}
        count["charged"] += len(charged)
        count["told"] += len(told)
        count["kept for later"] += sum(state == "pending" for state in told.values())
        assert set(charged.values()) <= {2}
        assert told.keys() <= charged.keys(), (run_seed, point, at)
        assert account is None or not account.state.holds
        assert (await ledger.verify()).findings == ()
        await ledger.close()
    print(f"seed {run_seed}: {engine}, {dict(count)}")


def test_an_intent_that_was_kept_survives(processes: Processes, tmp_path: Path, run_seed: int) -> None:
    """Killed or failing at each point of keeping one; what had been kept is there, whatever was cut (R-LED-4)."""
    dice = random.Random(run_seed)
    for how in ("kill", "bug"):
        for point in faults.INTENTS:
            folder = tmp_path / f"{point} {how}"
            kept: list[int] = []
            for first in (0, 100):
                child = processes.start(
                    workers.keep_intents, folder=str(folder), first=first, point=point,
                    at=1 + dice.randrange(20), how=how,
                )  # fmt: skip
                kept += [line["kept"] for line in child.channel.lines() if "kept" in line]
                assert child.wait() == (-9 if how == "kill" else 0), processes.errors()
            states = asyncio.run(FileIntents(folder).states())
            assert set(kept) <= {state.intent.tokens for state in states}


async def kill_under_load(
    processes: Processes, engine: Engine, url: str, seed: int, cycles: int
) -> Counter[str]:
    """Kill a busy process again and again, each going on where the last one's clients had got to."""
    dice = random.Random(seed)
    script = Script(seed, ("ann", "bob", "eve"))
    starts = [0] * CLIENTS
    told: Seen = {}
    count: Counter[str] = Counter()
    for cycle in range(cycles):
        child = processes.start(
            workers.crash_under_load, engine=engine, url=url, seed=seed,
            organizations=list(script.organizations), starts=starts,
        )  # fmt: skip
        for _ in range(1 + dice.randrange(150)):
            line = child.channel.read()
            assert line is not None, processes.errors()
            told[Place(*line["place"])] = line["reply"]
        child.kill()
        seen, _, _ = listen(child)
        assert child.wait() == -9, processes.errors()
        told |= seen
        # Whoever was waiting for an answer may be anywhere in its action; it does that action whole.
        starts = [
            max((place.action + 1 for place in told if place.client == client), default=0)
            for client in range(CLIENTS)
        ]
        ledger = await open_ledger(engine, url, bench_with(ALLOWANCE))
        assert (await ledger.verify()).findings == (), (seed, cycle)
        for client, start in enumerate(starts):
            for step in script.steps(client, max(0, start - 1), start + 1):
                reply = await ledger.submit(replace(step.envelope, retry=True))
                if step.place in told:
                    assert plain(reply) == told[step.place], (seed, cycle, step)
                else:
                    told[step.place] = plain(reply)
                    count["stored, but the answer was lost"] += isinstance(reply, Receipt) and reply.replayed
            starts[client] = start + 1
        await ledger.close()
    ledger = await open_ledger(engine, url, bench_with(ALLOWANCE))
    await check(ledger, script, starts, told)
    await ledger.close()
    count["cycles"], count["answers"] = cycles, len(told)
    return count


@pytest.mark.parametrize("engine", POINTS)
async def test_anywhere_under_load(
    engine: Engine, processes: Processes, tmp_path: Path, run_seed: int, request: pytest.FixtureRequest
) -> None:
    """Twenty kills of a busy process."""
    url = request.getfixturevalue("postgres_url") if engine == "postgres" else str(tmp_path / "load.db")
    print(f"seed {run_seed}:", await kill_under_load(processes, engine, url, run_seed, cycles=20))


@pytest.mark.nightly
@pytest.mark.parametrize("part", range(100))
@pytest.mark.parametrize("engine", POINTS)
async def test_anywhere_under_load_for_long(
    engine: Engine, part: int, processes: Processes, tmp_path: Path, run_seed: int,
    request: pytest.FixtureRequest,
) -> None:  # fmt: skip
    """Ten thousand kills on each engine, on a new database every fifty."""
    total: Counter[str] = Counter()
    server = request.getfixturevalue("postgres_server") if engine == "postgres" else None
    for round_ in range(2):
        database = server.create_database() if server else str(tmp_path / f"{round_}.db")
        url = server.url(database) if server else database
        total += await kill_under_load(processes, engine, url, run_seed + 1000 * part + round_, cycles=50)
        if server:
            server.drop_database(database)
    print(f"seed {run_seed}:", total)
