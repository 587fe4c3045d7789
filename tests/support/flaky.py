"""A ledger that loses commands: for tests of what must hold when the world fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal, cast

from tests.support.desk import SECRET
from tokentill.flows.charge import Charging
from tokentill.flows.send import LedgerBooks, Retry
from tokentill.ports import Ledger, StoreDown
from tokentill.rules.commands import Base, Envelope
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Refusal
from tokentill.store.intents import FileIntents
from tokentill.wiring import SystemIds

Fault = Literal["before", "after"] | Callable[[], Awaitable[None]]
"""Where a command is lost: before it is stored, after (its answer is lost); or what happens before it is stored."""

INSIST = Retry(tries_max=3, delay_ms_min=0, delay_ms_max=0)
"""A patience that does not make a test wait."""


class ManualClock:
    """A clock that stands still until it is told."""

    def __init__(self, time: int = 1_767_225_600_000) -> None:
        self.time = time

    def now(self) -> int:
        return self.time

    def wait(self, milliseconds: int) -> None:
        self.time += milliseconds


class FlakyLedger:
    """A real ledger behind a line that can be cut. `down` loses everything; `faults` lose the next of a kind."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.down = False
        self.faults: list[tuple[type[Base], Fault]] = []
        self.seen: list[Envelope] = []
        self.stored = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def lose(self, kind: type[Base], fault: Fault, times: int = 1) -> None:
        self.faults += [(kind, fault)] * times

    def _fault(self, kind: type[Base]) -> Fault | None:
        for at, (lost, fault) in enumerate(self.faults):
            if lost is kind:
                del self.faults[at]
                return fault
        return None

    async def submit(self, envelope: Envelope) -> Receipt | Refusal:
        self.seen.append(envelope)
        if self.down:
            raise StoreDown("the line is cut")
        fault = self._fault(type(envelope.command))
        if fault == "before":
            raise StoreDown("lost on the way there")
        if callable(fault):
            await fault()
        answer = await self._ledger.submit(envelope)
        self.stored.set()
        if fault == "after":
            raise StoreDown("lost on the way back")
        return answer

    def sent(self, kind: type[Base]) -> list[Envelope]:
        return [envelope for envelope in self.seen if type(envelope.command) is kind]


def charging_on(ledger: FlakyLedger, spool: Path, clock: ManualClock, retry: Retry = INSIST) -> Charging:
    """Execute-then-charge over a flaky ledger, with its intents in `spool`."""
    books = LedgerBooks(cast("Ledger", ledger), SECRET)
    return Charging(books, FileIntents(spool), clock, SystemIds(), retry)
