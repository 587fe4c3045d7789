"""Double spend: several processes take the last tokens of one account at once, and no token is given twice.

Three processes with 64 tasks each make 10,000 attempts at 1,000 tokens. Exactly 1,000 are given, every other
attempt is refused because they are gone or held, and nobody ever meets a lock.

Invariants 1, 3 and 4 of the design; I1, I2, I4, I5 of the test plan. R-LED-1, R-LED-3, R-PLAT-5.
"""

import asyncio
from collections import Counter
from pathlib import Path

import pytest

from tests.support import rig_crowd as crowd
from tests.support.rig_processes import Child, Processes
from tests.support.rig_served import Line, Shop
from tests.support.rig_store import ENGINES, Engine, audit, bench_with, granted, journal, open_ledger
from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.rules.refusals import Code, Refusal
from tokentill.wiring import SystemClock

TOKENS = 1_000
ATTEMPTS = 10_000
PROCESSES = 3
TASKS = 64
ACME = "acme"
HTTP_TOKENS = 300


async def hunt(
    processes: Processes, engine: Engine, url: str, seed: int, *, mixed: bool, plant: str = ""
) -> Counter[str]:
    """Let the crowd at the account; what the attempts came to."""
    ledger = await open_ledger(engine, url, bench_with(TOKENS))
    await ledger.submit(c.Envelope(ACME, c.Open(), "0" * 32, keyed=True))
    await ledger.close()
    children: list[Child] = [
        processes.start(
            crowd.spend,
            engine=engine,
            url=url,
            organization=ACME,
            allowance=TOKENS,
            seed=seed + number,
            tasks=TASKS,
            attempts=-(-ATTEMPTS // PROCESSES),
            mixed=mixed,
            plant=plant,
        )
        for number in range(PROCESSES)
    ]
    for child in children:
        assert child.channel.read() == {"ready": True}, processes.errors()
    for child in children:
        child.channel.write("go")
    outcomes: Counter[str] = Counter()
    for child in children:
        line = child.channel.read()
        assert line is not None, processes.errors()
        outcomes += Counter(line["outcomes"])
        outcomes["attempts"] += line["attempts"]
        outcomes["milliseconds at the most"] = max(
            outcomes["milliseconds at the most"], int(line["seconds"] * 1000)
        )
        assert child.wait() == 0
        child.close()
    return outcomes


def refusals(outcomes: Counter[str]) -> set[str]:
    return {name for name in outcomes if name.startswith("refused")}


def troubles(outcomes: Counter[str]) -> set[str]:
    return {name for name in outcomes if name.startswith("trouble")}


@pytest.mark.parametrize("engine", ENGINES)
async def test_the_last_thousand_tokens(
    engine: Engine, processes: Processes, tmp_path: Path, run_seed: int, request: pytest.FixtureRequest
) -> None:
    """Charges alone: the answer to each is known, and so is their number."""
    url = request.getfixturevalue("postgres_url") if engine == "postgres" else str(tmp_path / "till.db")
    outcomes = await hunt(processes, engine, url, run_seed, mixed=False)
    print(f"seed {run_seed}: {engine}, {dict(outcomes)}")
    assert troubles(outcomes) == set()
    assert outcomes["attempts"] >= ATTEMPTS
    assert outcomes["charge"] == TOKENS
    assert refusals(outcomes) == {"refused: exhausted"}
    assert outcomes["refused: exhausted"] == outcomes["attempts"] - TOKENS
    ledger = await open_ledger(engine, url, bench_with(TOKENS))
    books = await audit(ledger)
    assert (books[ACME].free, books[ACME].held) == (0, 0)
    assert granted(await journal(ledger, ACME)) == TOKENS
    await ledger.close()


@pytest.mark.parametrize("engine", ENGINES)
async def test_tokens_come_and_go(
    engine: Engine, processes: Processes, tmp_path: Path, run_seed: int, request: pytest.FixtureRequest
) -> None:
    """Charges, refunds, holds that are settled and released; what comes back is given again, once."""
    url = request.getfixturevalue("postgres_url") if engine == "postgres" else str(tmp_path / "till.db")
    outcomes = await hunt(processes, engine, url, run_seed, mixed=True)
    print(f"seed {run_seed}: {engine}, {dict(outcomes)}")
    assert troubles(outcomes) == set()
    assert refusals(outcomes) <= {"refused: exhausted", "refused: tokens_held"}
    given = outcomes["charge"] - outcomes["refund"]
    assert 0 < given <= TOKENS
    ledger = await open_ledger(engine, url, bench_with(TOKENS))
    books = await audit(ledger)
    assert (books[ACME].free, books[ACME].held) == (TOKENS - given, 0)
    rows = await journal(ledger, ACME)
    assert granted(rows) == given
    assert min(row.entry.balance for row in rows if not isinstance(row.entry, e.Opened)) >= 0
    for number in range(TOKENS - given):
        await ledger.submit(c.Envelope(ACME, c.Charge(feature="op"), f"{number:032x}"))
    reply = await ledger.submit(c.Envelope(ACME, c.Charge(feature="op"), "f" * 32))
    assert isinstance(reply, Refusal)
    assert reply.code == Code.EXHAUSTED
    assert granted(await journal(ledger, ACME)) == TOKENS
    await ledger.close()


@pytest.mark.parametrize("engine", ENGINES)
async def test_the_last_tokens_over_http(
    engine: Engine, processes: Processes, tmp_path: Path, run_seed: int, request: pytest.FixtureRequest
) -> None:
    """Two servers on one database, 64 connections, 3,000 attempts at 300 tokens."""
    url = request.getfixturevalue("postgres_url") if engine == "postgres" else str(tmp_path / "till.db")
    shop = await Shop.open(engine, url, tmp_path, HTTP_TOKENS, ACME)
    servers = [shop.serve(processes) for _ in range(2)]
    left, statuses = 10 * HTTP_TOKENS, Counter[int]()

    async def buyer(number: int) -> None:
        nonlocal left
        line = Line(servers[number % 2])
        while left > 0:
            left -= 1
            answer = await line.post(
                f"/v1/organizations/{ACME}/charges", {"feature": "op"}, f"{number}-{left}"
            )
            statuses[answer.status] += 1
        line.close()

    await asyncio.gather(*map(buyer, range(TASKS)))
    for server in servers:
        server.terminate()
        assert server.child.wait() == 0, processes.errors()
        server.child.close()
    print(f"seed {run_seed}: {engine}, {dict(statuses)}")
    assert statuses == {201: HTTP_TOKENS, 402: 9 * HTTP_TOKENS}
    ledger = await open_ledger(engine, url, shop.catalog, clock=SystemClock())
    books = await audit(ledger)
    assert (books[ACME].free, books[ACME].held) == (0, 0)
    await ledger.close()


@pytest.mark.parametrize("engine", ["sqlite"])
async def test_checking_before_deducting_is_caught(
    engine: Engine, processes: Processes, tmp_path: Path, run_seed: int
) -> None:
    """The planted fault gives away tokens that are not there, and both the count and `verify` say so."""
    url = str(tmp_path / "till.db")
    outcomes = await hunt(processes, engine, url, run_seed, mixed=False, plant="checks then deducts")
    print(f"seed {run_seed}: {engine}, {dict(outcomes)}")
    assert outcomes["charge"] > TOKENS
    ledger = await open_ledger(engine, url, bench_with(TOKENS))
    assert (await ledger.verify()).findings != ()
    await ledger.close()
