"""An operation that was told to have timed out is charged nothing, whatever could not be stored (I9, R-LED-3)."""

import asyncio
from pathlib import Path

import pytest
from msgspec.structs import replace

from tests.support.rig_store import SECRET, Still, bench_with, journal, often
from tokentill.flows.charge import Charging, Hold, TimedOut
from tokentill.flows.send import Ending, LedgerBooks, Retry
from tokentill.ports import StoreDown
from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Refusal
from tokentill.store.intents import FileIntents
from tokentill.store.sqlite import SqliteLedger
from tokentill.web.asgi import override
from tokentill.wiring import SystemIds


class LosesReleases:
    """Books that are away whenever a hold is to be released, for the first `count` times."""

    def __init__(self, books: LedgerBooks, count: int) -> None:
        self._books = books
        self.left = count

    async def submit(self, envelope: c.Envelope) -> Receipt | Refusal:
        if isinstance(envelope.command, c.Release) and self.left > 0:
            self.left -= 1
            raise StoreDown("away")
        return await self._books.submit(envelope)

    async def ending(self, organization: str, hold: str) -> Ending | None:
        return await self._books.ending(organization, hold)


class ChargesTimeouts(LosesReleases):
    """The planted fault: what has timed out was delivered nevertheless, it thinks, and is charged."""

    @override
    async def submit(self, envelope: c.Envelope) -> Receipt | Refusal:
        if isinstance(envelope.command, c.Release):
            envelope = replace(envelope, command=c.Settle(hold=envelope.command.hold))
        return await super().submit(envelope)


@pytest.mark.parametrize("lost", [0, 2, 1_000])
async def test_a_success_after_the_timeout_charges_nothing(lost: int, tmp_path: Path) -> None:
    """The release of the hold is lost: once, so that the late success finds it open, or for good."""
    assert await charged_late(LosesReleases, lost, tmp_path) == []


async def test_charging_what_has_timed_out_is_caught(tmp_path: Path) -> None:
    assert len(await charged_late(ChargesTimeouts, 0, tmp_path)) == 1


async def charged_late(kind: type[LosesReleases], lost: int, folder: Path) -> list[e.Charged]:
    """The charges for an operation that succeeded after it had timed out."""
    ledger = often(await SqliteLedger.open(":memory:", bench_with(100), SECRET, Still(), sweep=False))
    await ledger.submit(c.Envelope("acme", c.Open(), "0" * 32))
    books = kind(LedgerBooks(ledger, SECRET), lost)
    retry = Retry(tries_max=2, delay_ms_min=1)
    charging = Charging(books, FileIntents(folder), Still(), SystemIds(), retry)
    ended = asyncio.Event()

    async def operation(hold: Hold) -> None:
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            await ended.wait()
        hold.charge(3)

    reserve = c.Reserve(feature="metered", tokens=3, timeout_ms=60_000)
    with pytest.raises(TimedOut):
        await charging.run("acme", reserve, operation, 1)
    ended.set()
    await charging.close()
    rows = await journal(ledger, "acme")
    await ledger.close()
    return [row.entry for row in rows if isinstance(row.entry, e.Charged)]
