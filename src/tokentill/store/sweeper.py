"""The sweeper: visits accounts whose deadline has passed, so that resets, warnings and bills come by themselves.

Its absence harms nothing but their punctuality: every command first applies what is due (design idea 4). It
also puts on the record what waits in memory: refusals that were counted, once their minute is over, and when
operator keys were used.

Requirement ids: R-LED-3, R-PLAN-4, R-LIC-2, R-ABU-7, R-SALE-8.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from contextlib import suppress

import structlog

from tokentill.ports import Clock, StoreDown
from tokentill.rules import commands as c
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Refusal

BATCH = 100
EVERY_SECONDS = 1.0

log = structlog.get_logger("tokentill.sweeper")


class Sweeper:
    """Sweeps every second while it runs. `due` names accounts whose deadline has passed, soonest first."""

    def __init__(
        self,
        clock: Clock,
        due: Callable[[int, int], Awaitable[Sequence[str]]],
        submit: Callable[[c.Envelope], Awaitable[Receipt | Refusal]],
        counted: Callable[[int], Iterable[c.Envelope]],
        store_uses: Callable[[Mapping[str, int]], Awaitable[object]],
    ) -> None:
        self._clock = clock
        self._due = due
        self._submit = submit
        self._counted = counted
        self._store_uses = store_uses
        self._uses: dict[str, int] = {}
        self._task: asyncio.Task[None] | None = None
        self._unsaid: list[c.Envelope] = []
        self.swept = 0
        self.overdue_ms = 0
        """How late the last sweep found the account that waited longest."""

    def start(self) -> None:
        """Begin to sweep on the running loop."""
        if self._task is None:
            self._task = asyncio.get_running_loop().create_task(self._run(), name="tokentill-sweeper")

    async def stop(self) -> None:
        """Stop sweeping and put what waits in memory on the record."""
        if self._task is not None:
            self._task.cancel()
            with suppress(asyncio.CancelledError):
                await self._task
            self._task = None
        with suppress(StoreDown):
            await self._count(self._clock.now() + 60_000)
            await self._say_uses()

    def key_used(self, key_id: str, at: int) -> None:
        """The operator key was used at `at`; stored at the next sweep."""
        self._uses[key_id] = max(at, self._uses.get(key_id, at))

    async def sweep(self) -> int:
        """Visit every account that is due now; the number visited."""
        total = 0
        before: Sequence[str] = ()
        while (names := await self._due(self._clock.now(), BATCH)) != before:
            ticks = (self._submit(c.Envelope(name, c.Tick())) for name in names)
            outcomes = await asyncio.gather(*ticks, return_exceptions=True)
            for name, outcome in zip(names, outcomes, strict=True):
                if isinstance(outcome, StoreDown):
                    raise outcome
                if isinstance(outcome, BaseException):
                    # One account that cannot be swept must not keep the others waiting.
                    log.error("an account could not be swept", organization=name, trouble=repr(outcome))
            total += len(names)
            before = names
            if len(names) < BATCH:
                break
        self.swept += total
        return total

    async def _count(self, now: int) -> None:
        self._unsaid += self._counted(now)
        while self._unsaid:
            # It stays first in line until the store has it.
            envelope = self._unsaid[0]
            try:
                await self._submit(envelope)
            except StoreDown:
                raise
            except Exception:
                # One that cannot be stored must not keep the others waiting.
                log.exception("refusals could not be recorded", organization=envelope.organization)
            del self._unsaid[0]

    async def _say_uses(self) -> None:
        if not self._uses:
            return
        uses, self._uses = self._uses, {}
        try:
            await self._store_uses(uses)
        except StoreDown:
            self._uses = uses | self._uses
            raise

    async def _run(self) -> None:
        while True:
            try:
                await self.sweep()
                await self._count(self._clock.now())
                await self._say_uses()
            except StoreDown as trouble:
                log.warning("sweep failed, will try again", trouble=str(trouble))
            except Exception:
                log.exception("sweep failed, will try again")
            await asyncio.sleep(EVERY_SECONDS)
