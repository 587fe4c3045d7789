"""Unknown outcomes on SQLite: a commit happened, and the answer to it was lost.

The ledger cannot know, so it says `StoreDown`; whoever sends the same envelope again gets the first answer if
there was one, and the command is done if there was not. On PostgreSQL the lane itself finds out.

Invariants 4 and 6 of the design; I4, I6 of the test plan. R-LED-3, R-LED-9.
"""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw

from tests.support.rig_store import SECRET, Still, audit, bench_with
from tokentill.flows.send import LedgerBooks, Retry, send
from tokentill.rules import commands as c
from tokentill.rules.receipts import Receipt
from tokentill.store.sqlite import SqliteLedger

ALLOWANCE = 100_000
LOSSES = 2_000
CALLERS = 8
RETRY = Retry(tries_max=50, delay_ms_min=0, delay_ms_max=1)


class Lossy:
    """A connection on which commits happen, or not, and fail every other time."""

    def __init__(self, real: apsw.Connection, dice: random.Random, count: Callable[[str], None]) -> None:
        self._real = real
        self._dice = dice
        self._count = count

    def execute(self, statement: str, *arguments: Any) -> Any:
        if statement == "commit" and self._dice.randrange(2):
            if self._dice.randrange(4):
                self._real.execute(statement)
                self._count("lost")
            else:
                self._count("failed")
            raise apsw.IOError("the answer to the commit is lost")
        return self._real.execute(statement, *arguments)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._real, name)


async def test_two_thousand_lost_answers_to_commits(tmp_path: Path, run_seed: int) -> None:
    ledger = await SqliteLedger.open(
        str(tmp_path / "till.db"), bench_with(ALLOWANCE), SECRET, Still(), sweep=False
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
        books, dice = LedgerBooks(ledger, SECRET), random.Random(f"{run_seed} {number}")
        while seen["lost"] < LOSSES:
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
    print(f"seed {run_seed}: {seen}, {spent} tokens spent")
    assert (books["acme"].free, books["acme"].held) == (ALLOWANCE - spent, 0)
    await ledger.close()
