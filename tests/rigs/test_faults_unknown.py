"""Unknown outcomes on SQLite: a commit happened, and the answer to it was lost.

The ledger cannot know, so it says `StoreDown`; whoever sends the same envelope again gets the first answer if
there was one, and the command is done if there was not. On PostgreSQL the lane itself finds out.

Invariants 4 and 6 of the design; I4, I6 of the test plan. R-ABU-7, R-LED-3, R-LED-9.
"""

import asyncio
import random
import secrets
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw
import pytest
from msgspec.structs import replace

from tests.support.rig_store import SECRET, Still, audit, bench_with, journal, often
from tokentill.flows.send import LedgerBooks, Retry, send
from tokentill.ports import StoreDown
from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Refusal
from tokentill.store.sqlite import SqliteLedger
from tokentill.web.asgi import override

ALLOWANCE = 100_000
LOSSES = 2_000
CALLERS = 8
REFUSALS = 200
RETRY = Retry(tries_max=50, delay_ms_min=0, delay_ms_max=1)


class Lossy:
    """A connection on which commits happen, or not, and fail every other time."""

    def __init__(
        self, real: apsw.Connection, dice: random.Random, count: Callable[[str], None], *, happen: bool = True
    ) -> None:
        self._real = real
        self._dice = dice
        self._count = count
        self._happen = happen

    def execute(self, statement: str, *arguments: Any) -> Any:
        if statement == "commit" and self._dice.randrange(2):
            if self._happen and self._dice.randrange(4):
                self._real.execute(statement)
                self._count("lost")
            else:
                self._count("failed")
            raise apsw.IOError("the answer to the commit is lost")
        return self._real.execute(statement, *arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


class AsksAnew(LedgerBooks):
    """The planted fault: whoever got no answer asks under a key of the moment."""

    @override
    async def submit(self, envelope: c.Envelope) -> Receipt | Refusal:
        if isinstance(envelope.command, c.Reserve):
            envelope = replace(envelope, key=secrets.token_hex(16))
        return await super().submit(envelope)


async def test_two_thousand_lost_answers_to_commits(tmp_path: Path, run_seed: int) -> None:
    await lose_answers(LedgerBooks, LOSSES, tmp_path, run_seed)


async def test_asking_under_another_key_is_caught(tmp_path: Path, run_seed: int) -> None:
    with pytest.raises(AssertionError):
        await lose_answers(AsksAnew, 20, tmp_path, run_seed)


async def lose_answers(kind: type[LedgerBooks], losses: int, folder: Path, run_seed: int) -> None:
    ledger = often(
        await SqliteLedger.open(str(folder / "till.db"), bench_with(ALLOWANCE), SECRET, Still(), sweep=False)
    )
    ledger._connection.pragma("synchronous", "off")  # nobody cuts the power here
    await ledger.submit(c.Envelope("acme", c.Open(), "0" * 32))
    seen = {"lost": 0, "failed": 0}

    def count(what: str) -> None:
        seen[what] += 1

    connection: Any = Lossy(ledger._connection, random.Random(run_seed), count)
    ledger._connection = connection
    spent = 0

    async def caller(number: int) -> None:
        nonlocal spent
        books, dice = kind(ledger, SECRET), random.Random(f"{run_seed} {number}")
        while seen["lost"] < losses:
            key = f"{dice.getrandbits(128):032x}"
            keyed = dice.randrange(2) == 0
            held = await send(books, c.Envelope("acme", c.Reserve(feature="op3"), key, keyed), RETRY)
            assert isinstance(held, Receipt)
            tokens = dice.randrange(4)
            settled = await send(
                books, c.Envelope("acme", c.Settle(hold=held.operation, tokens=tokens)), RETRY
            )
            assert isinstance(settled, Receipt)
            assert settled.tokens == tokens
            spent += tokens

    await asyncio.gather(*map(caller, range(CALLERS)))
    books = await audit(ledger)
    await ledger.close()
    print(f"seed {run_seed}: {seen}, {spent} tokens spent")
    assert (books["acme"].free, books["acme"].held) == (ALLOWANCE - spent, 0)


async def test_a_refusal_is_counted_once_however_often_its_commit_fails(
    tmp_path: Path, run_seed: int
) -> None:
    """R-ABU-7: what is on the record by its number is the number of refusals that were given."""
    path, clock = str(tmp_path / "till.db"), Still()
    ledger = often(await SqliteLedger.open(path, bench_with(1), SECRET, clock, sweep=False))
    await ledger.submit(c.Envelope("acme", c.Open(), "0" * 32))
    failed = 0

    def count(_what: str) -> None:
        nonlocal failed
        failed += 1

    connection: Any = Lossy(ledger._connection, random.Random(run_seed), count, happen=False)
    real, ledger._connection = ledger._connection, connection
    books = LedgerBooks(ledger, SECRET)
    for number in range(1, REFUSALS + 1):
        envelope = c.Envelope("acme", c.Charge(feature="op3"), f"{number:032x}")
        assert isinstance(await send(books, envelope, RETRY), Refusal)
    ledger._connection = real
    clock.time += 60_000
    await ledger.sweeper._count(clock.now())
    rows = await journal(ledger, "acme")
    assert sum(row.entry.count for row in rows if isinstance(row.entry, e.Refused)) == REFUSALS
    assert failed > REFUSALS // 4
    await ledger.close()


async def test_counted_refusals_wait_for_a_store_that_is_down(tmp_path: Path) -> None:
    """R-ABU-7: what was counted is put on the record when the store is back."""
    path, clock = str(tmp_path / "till.db"), Still()
    ledger = often(await SqliteLedger.open(path, bench_with(1), SECRET, clock, sweep=False))
    await ledger.submit(c.Envelope("acme", c.Open(), "0" * 32))
    for number in range(1, 4):
        await ledger.submit(c.Envelope("acme", c.Charge(feature="op3"), f"{number:032x}"))
    clock.time += 60_000
    never: Any = random.Random(0)
    never.randrange = lambda _stop: 1
    connection: Any = Lossy(ledger._connection, never, lambda _what: None, happen=False)
    real, ledger._connection = ledger._connection, connection
    with pytest.raises(StoreDown):
        await ledger.sweeper._count(clock.now())
    ledger._connection = real
    await ledger.sweeper._count(clock.now())
    rows = await journal(ledger, "acme")
    assert sum(row.entry.count for row in rows if isinstance(row.entry, e.Refused)) == 3
    await ledger.close()
