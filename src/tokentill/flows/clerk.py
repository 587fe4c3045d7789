"""Clerk: the one worker of a process that takes up whatever is due, and follows the journal for those who asked.

Rows that are due are claimed, so that of several processes one takes each; who dies with a claim leaves it to
the next after the lease. What was just stored here can be handed over (`hand`) and is worked on at once, without
a claim. Consumers of the journal have a cursor each, kept after what they made of a stretch is stored; so they
are told of everything at least once, and must not mind being told twice (design idea 5).

What fails is logged without its content, and tried again when its lease is over.

Requirement ids: R-PACK-3, R-PACK-10, R-PACK-11.
"""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

import structlog

from tokentill.ports import Clock, JournalRow, Ledger, Rows, StoreDown
from tokentill.rules.rows import Row
from tokentill.rules.waiting import LEASE_MS

EVERY_SECONDS = 0.25
AT_ONCE = 64
"""So many rows are worked on at the same time; what they write together is stored together."""

HANDED_MAX = 2_000
"""So many wait in memory; what is handed over beyond that is found by its due date."""

STRETCH = 1_000
CLAIM = 64

Work = Callable[[Any], Awaitable[object]]
Consumer = Callable[[Sequence[JournalRow]], Awaitable[None]]

log = structlog.get_logger("tokentill.clerk")


@dataclass(frozen=True)
class Duty:
    """Rows of one kind that the clerk takes up when they are due."""

    kind: type[Row]
    work: Work
    lease_ms: int = LEASE_MS


class Clerk:
    """Works while it runs; `once` does everything that is due now, for tests and for a quiet end."""

    def __init__(self, ledger: Ledger, rows: Rows, clock: Clock) -> None:
        self._ledger = ledger
        self._rows = rows
        self._clock = clock
        self._duties: dict[type[Row], Duty] = {}
        self._consumers: dict[str, Consumer] = {}
        self._seeds: list[Callable[[], Awaitable[None]]] = []
        self._woken = asyncio.Event()
        self._handed: asyncio.Queue[Row] = asyncio.Queue(HANDED_MAX)
        self._slots = asyncio.Semaphore(AT_ONCE)
        self._tasks: set[asyncio.Task[None]] = set()
        self._loops: list[asyncio.Task[None]] = []
        self.counts: Counter[tuple[str, str]] = Counter()
        """What was worked on and how it ended: (kind of row or consumer, done or failed)."""
        self.looked_at = 0
        """When it last looked for what is due, epoch ms; far behind the clock, something is wrong."""

    def attend(self, kind: type[Row], work: Work, lease_ms: int = LEASE_MS) -> None:
        """From now on take up rows of `kind` that are due, by `work`, which must move their due date."""
        self._duties[kind] = Duty(kind, work, lease_ms)

    def follow(self, name: str, consumer: Consumer) -> None:
        """From now on tell `consumer` of everything in the journal, under a cursor called `name`."""
        self._consumers[name] = consumer

    def seed(self, seed: Callable[[], Awaitable[None]]) -> None:
        """From now on call `seed` before each look; it makes rows that come due, and costs nothing once they are."""
        self._seeds.append(seed)

    # ---- running -------------------------------------------------------------------------------------

    def start(self) -> None:
        """Begin to work on the running loop."""
        if not self._loops:
            loop = asyncio.get_running_loop()
            self._loops = [
                loop.create_task(self._look_for_ever(), name="tokentill-clerk"),
                loop.create_task(self._take_for_ever(), name="tokentill-clerk-desk"),
                loop.create_task(self._follow_for_ever(), name="tokentill-clerk-journal"),
            ]

    @property
    def running(self) -> bool:
        """Whether it works by itself."""
        return bool(self._loops)

    def wake(self) -> None:
        """Look at once."""
        self._woken.set()

    def hand(self, row: Row) -> None:
        """Work on a row that was just stored, whose due date is its lease. Where there is no room it comes due."""
        with suppress(asyncio.QueueFull):
            self._handed.put_nowait(row)

    async def stop(self, seconds: float = 5.0) -> None:
        """Stop looking; what is being worked on may end for up to `seconds`."""
        for task in self._loops:
            task.cancel()
        for task in self._loops:
            with suppress(asyncio.CancelledError):
                await task
        self._loops = []
        if self._tasks:
            await asyncio.wait(self._tasks, timeout=seconds)
        for work in self._tasks:
            work.cancel()
        if self._tasks:
            await asyncio.wait(set(self._tasks))

    async def once(self) -> int:
        """Work off what was handed over, is due now, and stands in the journal; how much that was."""
        total = 0
        while True:
            found = 0
            while not self._handed.empty():
                await self._begin(self._handed.get_nowait())
                found += 1
            found += await self.look()
            if self._tasks:
                await asyncio.wait(set(self._tasks))
            for name in self._consumers:
                found += await self._read(name)
            total += found
            if not found:
                return total

    async def look(self) -> int:
        """Claim what is due and begin to work on it; how many rows that was."""
        total = 0
        for seed in self._seeds:
            await seed()
        for duty in self._duties.values():
            now = self._clock.now()
            rows = await self._rows.claim(duty.kind, now, duty.lease_ms, CLAIM)
            for row in rows:
                await self._begin(row)
            total += len(rows)
        self.looked_at = self._clock.now()
        return total

    # ---- inside --------------------------------------------------------------------------------------

    async def _begin(self, row: Row) -> None:
        await self._slots.acquire()
        task = asyncio.create_task(self._work(row))
        self._tasks.add(task)
        task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._slots.release()

    async def _work(self, row: Row) -> None:
        kind = type(row).__name__
        try:
            await self._duties[type(row)].work(row)
            self.counts[kind, "done"] += 1
        except StoreDown:
            self.counts[kind, "failed"] += 1
            log.warning("the database is away, will try again", row=kind, id=row.id)
        except Exception as error:  # noqa: BLE001 one row must not keep the others waiting
            self.counts[kind, "failed"] += 1
            self._failed("a row could not be worked on", error, row=kind, id=row.id)

    def _failed(self, what: str, error: Exception, **where: str) -> None:
        """Log a failure by its type and place: its text may hold what a provider or a customer said."""
        frame = error.__traceback__
        while frame is not None and frame.tb_next is not None:
            frame = frame.tb_next
        place = "" if frame is None else f"{frame.tb_frame.f_code.co_qualname}:{frame.tb_lineno}"
        log.error(what, trouble=type(error).__name__, place=place, **where)

    async def _read(self, name: str) -> int:
        """Tell the consumer of the next stretch of the journal; how many entries that was."""
        position = await self._rows.position(name)
        stretch = await self._ledger.follow(position, STRETCH)
        if not stretch.rows:
            return 0
        await self._consumers[name](stretch.rows)
        await self._rows.keep_position(name, stretch.position)
        self.counts[name, "done"] += len(stretch.rows)
        return len(stretch.rows)

    async def _take_for_ever(self) -> None:
        while True:
            await self._begin(await self._handed.get())

    async def _look_for_ever(self) -> None:
        while True:
            found = 0
            try:
                found = await self.look()
            except StoreDown as trouble:
                log.warning("could not look for what is due, will try again", trouble=str(trouble))
            except Exception as error:  # noqa: BLE001 the clerk goes on
                self._failed("could not look for what is due", error)
            if not found:
                with suppress(TimeoutError):
                    async with asyncio.timeout(EVERY_SECONDS):
                        await self._woken.wait()
                self._woken.clear()

    async def _follow_for_ever(self) -> None:
        while True:
            found = 0
            for name in list(self._consumers):
                try:
                    found += await self._read(name)
                except StoreDown as trouble:
                    log.warning("could not follow the journal, will try again", trouble=str(trouble))
                except Exception as error:  # noqa: BLE001 the clerk goes on
                    self.counts[name, "failed"] += 1
                    self._failed("a consumer of the journal failed", error, consumer=name)
            if not found:
                await asyncio.sleep(EVERY_SECONDS)
