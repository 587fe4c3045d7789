"""A ledger that loses commands: for tests of what must hold when the world fails."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, Literal, TypeVar, cast

from tests.support.desk import SECRET
from tokentill.flows.charge import Charging
from tokentill.flows.send import LedgerBooks, Retry
from tokentill.ports import Ledger, Rows, StoreDown
from tokentill.rules.commands import Base, Envelope
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Refusal
from tokentill.rules.rows import Row
from tokentill.store.intents import FileIntents
from tokentill.wiring import SystemIds

Fault = Literal["before", "after"] | Callable[[], Awaitable[None]]
"""Where a command is lost: before it is stored, after (its answer is lost); or what happens before it is stored."""

A = TypeVar("A")
R = TypeVar("R", bound=Row)

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


class FlakyRows:
    """The real rows of a ledger, behind its line. What is put is lost by kind, everything while the line is down."""

    def __init__(self, rows: Rows, line: FlakyLedger) -> None:
        self._rows = rows
        self._line = line

    def __getattr__(self, name: str) -> Any:
        if self._line.down:
            raise StoreDown("the line is cut")
        return getattr(self._rows, name)

    async def put(self, row: R) -> R | None:
        return await self._line.pass_on(type(row), lambda: self._rows.put(row))


class FlakyLedger:
    """A real ledger behind a line that can be cut. `down` loses every command and row; `faults` the next of a kind."""

    def __init__(self, ledger: Ledger) -> None:
        self._ledger = ledger
        self.rows = FlakyRows(ledger.rows, self)
        self.down = False
        self.faults: list[tuple[type[Base | Row], Fault]] = []
        self.seen: list[Envelope] = []
        self.stored = asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    def lose(self, kind: type[Base | Row], fault: Fault, times: int = 1) -> None:
        self.faults += [(kind, fault)] * times

    def _fault(self, kind: type[Base | Row]) -> Fault | None:
        for at, (lost, fault) in enumerate(self.faults):
            if lost is kind:
                del self.faults[at]
                return fault
        return None

    async def submit(self, envelope: Envelope) -> Receipt | Refusal:
        self.seen.append(envelope)
        return await self.pass_on(type(envelope.command), lambda: self._submit(envelope))

    async def pass_on(self, kind: type[Base | Row], send: Callable[[], Awaitable[A]]) -> A:
        """Send over the line what is of this kind, unless the line is down or it is to be lost."""
        if self.down:
            raise StoreDown("the line is cut")
        fault = self._fault(kind)
        if fault == "before":
            raise StoreDown("lost on the way there")
        if callable(fault):
            await fault()
        answer = await send()
        if fault == "after":
            raise StoreDown("lost on the way back")
        return answer

    async def _submit(self, envelope: Envelope) -> Receipt | Refusal:
        answer = await self._ledger.submit(envelope)
        self.stored.set()
        return answer

    def sent(self, kind: type[Base]) -> list[Envelope]:
        return [envelope for envelope in self.seen if type(envelope.command) is kind]


def charging_on(ledger: FlakyLedger, spool: Path, clock: ManualClock, retry: Retry = INSIST) -> Charging:
    """Execute-then-charge over a flaky ledger, with its intents in `spool`."""
    books = LedgerBooks(cast("Ledger", ledger), SECRET)
    return Charging(books, FileIntents(spool), clock, SystemIds(), retry)
