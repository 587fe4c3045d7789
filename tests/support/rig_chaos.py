"""Operations that are reserved, run and settled while their PostgreSQL comes and goes, and their reckoning.

An operation succeeds and is charged 2 of the 5 tokens it reserved, or it fails and is charged nothing. Whatever
happens to the server meanwhile, in the end the journal must say of each what its caller was told.
"""

import asyncio
import random
from pathlib import Path
from typing import Any

from tests.support.rig_processes import Channel
from tests.support.rig_store import NOON, SECRET, Still, audit, bench_with, journal, open_ledger
from tokentill.flows.charge import Charging, Done, Hold
from tokentill.flows.send import LedgerBooks, Retry
from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.store.intents import FileIntents
from tokentill.wiring import SystemIds

ALLOWANCE = 1_000_000
ORGANIZATIONS = [f"organization {number}" for number in range(5)]
TASKS = 8
INSIST = Retry(
    tries_max=10_000, delay_ms_min=5, delay_ms_max=100, attempt_ms_max=30_000, total_ms_max=100_000
)
"""Longer than any server is away here."""
TIMEOUT_MS = 110_000
DAY_MS = 86_400_000

Told = dict[str, Any]
"""What a caller was told of an operation: its hold and organization, and, if it was charged, entry and balance."""


class Fails(Exception):
    """What an operation raises that fails."""


async def begin(url: str) -> None:
    """Open the accounts."""
    ledger = await open_ledger("postgres", url, bench_with(ALLOWANCE))
    for number, name in enumerate(ORGANIZATIONS):
        await ledger.submit(c.Envelope(name, c.Open(), f"{number:032x}", keyed=True))
    await ledger.close()


def operate(channel: Channel, *, url: str, folder: str, seed: int, operations: int) -> None:
    """Run so many operations from a few tasks; tell of each what came of it."""
    left = operations

    async def one(charging: Charging, dice: random.Random) -> Told:
        name = dice.choice(ORGANIZATIONS)
        fails = dice.randrange(4) == 0
        begun = ""

        async def operation(hold: Hold) -> None:
            nonlocal begun
            begun = hold.id
            await asyncio.sleep(0)
            hold.charge(2)
            if fails:
                raise Fails

        reserve = c.Reserve(feature="metered", tokens=5, timeout_ms=TIMEOUT_MS)
        try:
            done = await charging.run(name, reserve, operation, TIMEOUT_MS)
        except Fails:
            return {"organization": name, "hold": begun, "entry": None}
        assert isinstance(done, Done), done
        receipt = done.charge.receipt
        assert receipt is not None, done.charge
        return {"organization": name, "hold": begun, "entry": receipt.entry, "balance": receipt.balance}

    async def task(charging: Charging, number: int) -> None:
        nonlocal left
        dice = random.Random(f"{seed} {number}")
        while left > 0:
            left -= 1
            channel.write(await one(charging, dice))

    async def run() -> None:
        ledger = await open_ledger("postgres", url, bench_with(ALLOWANCE))
        charging = Charging(
            LedgerBooks(ledger, SECRET), FileIntents(Path(folder)), Still(), SystemIds(), INSIST
        )
        channel.write({"ready": True})
        channel.read()
        await asyncio.gather(*(task(charging, number) for number in range(TASKS)))
        await charging.close()
        await ledger.close()

    asyncio.run(run())


async def reckon(url: str, told: list[Told]) -> None:
    """The journal says of each operation what its caller was told, and nothing else."""
    # A day later: what could not be released while the server was away has come back by itself.
    ledger = await open_ledger("postgres", url, bench_with(ALLOWANCE), clock=Still(NOON + DAY_MS))
    try:
        for name in ORGANIZATIONS:
            await ledger.submit(c.Envelope(name, c.Tick()))
            own = {each["hold"]: each for each in told if each["organization"] == name}
            entries = [row.entry for row in await journal(ledger, name)]
            held = [entry.key for entry in entries if isinstance(entry, e.Held)]
            charged = {
                entry.key: (entry.seq, entry.tokens, entry.balance)
                for entry in entries
                if isinstance(entry, e.Charged)
            }
            assert sorted(held, key=str) == sorted(own), "each was reserved once"
            successes = {
                hold: (each["entry"], 2, each["balance"])
                for hold, each in own.items()
                if each["entry"] is not None
            }
            assert charged == successes, "each success was charged once, as it was answered, and no failure"
            account = await ledger.account(name)
            assert account is not None
            assert (account.free, account.held) == (ALLOWANCE - 2 * len(successes), 0)
        await audit(ledger)
    finally:
        await ledger.close()
