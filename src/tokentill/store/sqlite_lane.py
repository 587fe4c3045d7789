"""The lane on SQLite: one connection, one writer thread, one transaction a batch (design idea 3).

The writer takes the turnstile (a fair lock between processes), begins, and asks SQLite whether another
connection has written since (`data_version`): if not, the cache of accounts is exact; if so, each account's
sequence is compared. Replies leave after the commit. A command that fails is done again apart from its
neighbours; trouble of the database fails the batch, and its callers send it again under the same keys.

Deciding needs no database where the accounts are known and nobody else writes. So while the writer waits for the
disk, the callers' own loop decides the next batch ahead, and the writer only asks whether it still may be stored:
whether the batch before was, and `data_version` is what it was. If not, it is decided again, as all is that must be
read for. One lock says whose turn at the accounts it is; the loop never waits for it.

Requirement ids: R-PLAT-5, R-LED-3, R-LED-5, R-LED-9.
"""

from __future__ import annotations

import asyncio
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from queue import SimpleQueue
from typing import TypeVar

import apsw
from msgspec.structs import replace

from tokentill.ports import Clock, StoreDown
from tokentill.rules import commands as c
from tokentill.rules.catalog import Catalog
from tokentill.rules.decide import hold_of, lookup_also, may_look_up
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Refusal
from tokentill.store import faults
from tokentill.store import sqlite_reads as reads
from tokentill.store.lane import Job, Writes, deliver
from tokentill.store.sqlite_connection import DOWN
from tokentill.store.sqlite_writer import SQL, Batch, Call, SqliteWriter, answer, fail

T = TypeVar("T")

BATCH_JOBS_MAX = 256
HALVES_MIN = 16
"""So many commands that come at once to an idle writer are made two batches: one is decided as the other is stored."""
QUIET_BATCHES_MIN = 8
"""Nothing is decided ahead before nobody else has written between so many batches, one after the other."""
BUSY_TIMES_MAX = 510
AHEAD_MS_MAX = 1_000
"""What was decided longer ago than that, because the database was taken, is decided again: a hold's time runs."""


class SqliteLane(SqliteWriter):
    """The writing half of a SQLite ledger; `start` it once, `stop` it once."""

    quiet_batches_min = QUIET_BATCHES_MIN

    def __init__(
        self, path: str, catalog: Catalog, secret: bytes, clock: Clock, vfs: str | None = None
    ) -> None:
        super().__init__(path, catalog, secret, clock, vfs)
        self.batches = 0
        self.commands = 0
        self._queue: deque[Job | Call] = deque()
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._asleep = False
        self._closing = False
        self._deciding = threading.Lock()
        """Held by whoever changes the accounts, takes from the queue, or changes one of the next two."""
        self._hand: Batch | None = None
        """What the writer stores now, or as soon as it wakes. While it is undecided nothing is decided ahead."""
        self._next: Batch | None = None
        """What was decided ahead and stands on the batch in hand, which must be stored first."""
        self._offered = False
        """Whether a loop has left what is queued to the writer."""
        self._planned: asyncio.AbstractEventLoop | None = None
        """The loop that was last asked to decide ahead, and has not yet."""
        self._quiet = 0
        self._untold: list[Job] = []
        self._turnstile.before_waiting = self._tell
        self._turnstile.next_in_line = self._follow
        self._connection.set_busy_handler(self._busy)
        self._thread = threading.Thread(target=self._work, name="tokentill-lane", daemon=True)

    def start(self) -> None:
        """Let the writer thread take commands."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what is queued, then close the connection; blocks. Later commands raise `StoreDown`."""
        self._closing = True
        self._wake.put(None)
        self._thread.join()
        self._give_back()

    # ---- commands ------------------------------------------------------------------------------------

    def submit(self, envelope: c.Envelope) -> asyncio.Future[Receipt | Refusal]:
        """Queue one command; the future is done when its outcome is durable. Raises `StoreDown` through it."""
        loop = asyncio.get_running_loop()
        future: asyncio.Future[Receipt | Refusal] = loop.create_future()
        self._put(self.book.job(envelope, future), loop)
        return future

    def _write(self, work: Callable[[apsw.Connection], T], *, marks: bool = True) -> asyncio.Future[T]:
        loop = asyncio.get_running_loop()
        future: asyncio.Future[T] = loop.create_future()
        self._put(Call(work, future, marks), loop)
        return future

    def _put(self, item: Job | Call, loop: asyncio.AbstractEventLoop) -> None:
        if self._closing:
            item.future.set_exception(StoreDown("The store is closing. Send it again in a moment."))
            return
        self._queue.append(item)
        if self._planned is not loop:
            self._plan(loop)
        if type(item) is Call:
            self._rouse()

    def _plan(self, loop: asyncio.AbstractEventLoop) -> None:
        self._planned = loop
        loop.call_soon(self._come)

    def _rouse(self) -> None:
        if self._asleep:
            self._asleep = False
            self._wake.put(None)

    # ---- deciding ahead, on the callers' loop --------------------------------------------------------

    def _come(self) -> None:
        """Decide what the callers of this turn of the loop have queued, or leave it to the writer."""
        self._planned = None
        try:
            if self._deciding.acquire(blocking=False):
                try:
                    self._tell()
                    self._decide_ahead()
                finally:
                    self._deciding.release()
        finally:
            # Loops only ever set it, and the writer clears it before it measures the queue: so nothing is missed.
            if self._queue and self._planned is None:
                self._offered = True
            self._rouse()

    def _decide_ahead(self) -> None:
        queue, last = self._queue, self._next
        count = min(len(queue), BATCH_JOBS_MAX - (0 if last is None else len(last.jobs)))
        if self._hand is None and count >= HALVES_MIN:
            count //= 2
        jobs: list[Job] = []
        try:
            jobs = self._of_memory(count)
            if not jobs:
                return
            now = self._clock.now()
            writes = self.book.decide(jobs, now, self._row + 1, {})
            faults.hit("lane.decided_ahead")
        except BaseException as trouble:
            self.book.forget(Batch(jobs).names)
            if isinstance(trouble, Exception):
                return  # the writer decides them again, and apart, and tells whose fault it was
            raise
        for _ in jobs:
            queue.popleft()
        self._row += len(writes.entries)
        if self._hand is None:
            self._hand = Batch(jobs, writes, now)
        elif last is None:
            self._next = Batch(jobs, writes, now)
        else:
            assert last.writes is not None
            last.writes.join(writes)
            last.jobs += jobs
        if queue:
            self._plan(asyncio.get_running_loop())

    def _of_memory(self, count: int) -> list[Job]:
        """The first `count` commands, up to another write, if all can be decided without the database; else none."""
        hand = self._hand
        if (
            self._closing
            or self._quiet < self.quiet_batches_min
            or (hand is not None and hand.writes is None)
        ):
            return []
        queue, cache, version = self._queue, self.book.cache, self._version
        jobs: list[Job] = []
        ending: set[str] = set()
        for at in range(count):
            item = queue[at]  # no iterator, which another loop that appends would break
            if type(item) is Call:
                break  # it may ask for what was sent before it
            envelope = item.envelope
            cached = cache.get(envelope.organization)
            if cached is None or cached.version != version or not cached.near:
                return []
            state = cached.account.state
            hold = hold_of(envelope)
            if not state.opened or (hold is None and may_look_up(envelope)):
                return []
            if hold is not None:
                if hold in ending or hold not in state.holds or lookup_also(envelope) is not None:
                    return []
                ending.add(hold)
            jobs.append(item)
        return jobs

    def _take_back(self) -> None:
        """What was decided ahead stands on a batch that was not stored as it was decided: it is to be decided again."""
        ahead, self._next = self._next, None
        if ahead is not None:
            assert ahead.writes is not None
            self._row -= len(ahead.writes.entries)
            self.book.forget(ahead.names)
            self._queue.extendleft(reversed(ahead.jobs))
            self._offered = True

    # ---- the writer thread ---------------------------------------------------------------------------

    def _work(self) -> None:
        while True:
            self._step()
            with self._deciding:
                if self._closing and not self._waiting():
                    return
            if not self._ready():
                self._rest()

    def _rest(self) -> None:
        self._asleep = True
        if not self._ready():
            self._wake.get()
        self._asleep = False

    def _waiting(self) -> bool:
        """Whether anything is left to be stored."""
        return self._hand is not None or bool(self._queue)

    def _ready(self) -> bool:
        """Whether the writer has anything to do now; what no loop has looked at yet is not its business."""
        return self._closing or self._hand is not None or self._left()

    def _left(self) -> bool:
        """Whether what is queued is the writer's to decide."""
        queue = self._queue
        return bool(queue) and (self._offered or self._closing or type(queue[0]) is Call)

    def _step(self) -> None:
        """Store what was decided ahead, else decide and store what is queued; then whatever else was between that."""
        batch, calls = self._take()
        if batch is None or batch.writes is None:
            self._tell()
        if batch is not None:
            self._batch(batch)
            with self._deciding:
                self._hand, self._next = self._next, None
                self._untold = batch.jobs
        if self._hand is None or calls:
            self._tell()
        if calls:
            self._call(calls)

    def _take(self) -> tuple[Batch | None, list[Call]]:
        jobs: list[Job] = []
        calls: list[Call] = []
        with self._deciding:
            if self._hand is None and self._left():
                self._offered = False
                for _ in range(min(len(self._queue), BATCH_JOBS_MAX)):
                    item = self._queue.popleft()
                    if type(item) is Call:
                        calls.append(item)
                    else:
                        jobs.append(item)
                if self._queue:
                    self._offered = True
                if jobs:
                    self._hand = Batch(jobs)
            return self._hand, calls

    def _batch(self, batch: Batch) -> None:
        jobs = batch.jobs
        try:
            self._commit(batch)
        except DOWN as trouble:
            fail(jobs, StoreDown(f"The database did not take the command: {trouble}. Send it again."))
        except Exception as trouble:  # noqa: BLE001 a bug in one command must not take the others down
            if len(jobs) > 1:
                self._apart(jobs)
                return
            fail(jobs, trouble)
        self._tell()

    def _tell(self) -> None:
        """Answer the batch before, if that is not done yet.

        With another in hand it is done once its rows are written: then the loop has the interpreter for itself
        while the disk is waited for. A loop that comes by sooner takes the answers along, and where the next must be
        waited for or decided again they are told before.
        """
        jobs = self._untold
        if jobs:
            answer(deliver, jobs)  # twice does no harm, where loop and writer come at once
            self._untold = []
            faults.hit("lane.answered")

    def _apart(self, jobs: list[Job]) -> None:
        """Do a failed batch again, one organization at a time, then one command: a bad one fails alone."""
        some: dict[str | int, list[Job]] = {}
        for job in jobs:
            # What failed after it was stored must be found again, not done again.
            job.envelope = replace(job.envelope, retry=True)
            some.setdefault(job.envelope.organization, []).append(job)
        if len(some) == 1:
            some = {number: [job] for number, job in enumerate(jobs)}
        for own in some.values():
            self._batch(Batch(own))
            answer(deliver, own)

    def _busy(self, before: int) -> bool:
        """Somebody without the turnstile has the database: wait a little, for ten seconds in all. SQLite calls this."""
        self._tell()
        time.sleep(min(before + 1, 20) / 1000)
        return before < BUSY_TIMES_MAX

    def _commit(self, batch: Batch) -> None:
        """One transaction: lock, compare, decide unless that is done and still holds, write, commit."""
        connection = self._connection
        try:
            faults.hit("lane.collected")
            with self._turnstile:
                faults.hit("lane.locked")
                connection.execute(SQL["begin"])
                faults.hit("lane.begun")
                version = connection.execute(SQL["data_version"]).get
                quiet = version == self._version
                self._quiet = self._quiet + 1 if quiet else 0
                writes = batch.writes
                if writes is None or not quiet or self._clock.now() - batch.time > AHEAD_MS_MAX:
                    self._tell()
                    writes = self._decide(batch, version)
                self._store(writes)
                faults.hit("lane.written")
                self._tell()
                connection.execute(SQL["commit"])
                faults.hit("lane.committed")
            faults.hit("lane.unlocked")
        except BaseException:
            with self._deciding:
                batch.writes = None
                self._version = -1
                self.book.forget(batch.names)
                self._take_back()
            if connection.in_transaction:
                faults.hit("lane.rolling_back")
                connection.execute(SQL["rollback"])
                faults.hit("lane.rolled_back")
            raise
        self._remember(batch.jobs, writes)
        faults.hit("lane.remembered")
        self.batches += 1
        self.commands += len(batch.jobs)

    def _follow(self) -> None:
        """Next in line for the lock: follow what others have stored so far, so that they wait less for us then."""
        hand = self._hand
        self._quiet = 0
        if hand is not None and hand.writes is None:
            with self._deciding:
                self._refresh(hand.names, self._connection.execute(SQL["data_version"]).get)

    def _decide(self, batch: Batch, version: int) -> Writes:
        """Decide the batch in its transaction, with everything read that must be."""
        jobs, names, book = batch.jobs, batch.names, self.book
        with self._deciding:
            if batch.writes is not None:
                self._row -= len(batch.writes.entries)
                book.forget(names)
            self._take_back()
            self._refresh(names, version)
            self._take_in_use(jobs)
            faults.hit("lane.loaded")
            stored = reads.operations(self._connection, book.lookups(jobs))
            faults.hit("lane.looked_up")
            writes = book.decide(jobs, self._clock.now(), self._row + 1, stored)
            self._row += len(writes.entries)
            faults.hit("lane.decided")
            batch.writes = writes
        return writes

    def _remember(self, jobs: Sequence[Job], writes: Writes) -> None:
        book = self.book
        book.stored(jobs, writes)
        if writes.unopened or len(book.cache) > book.accounts_max:
            with self._deciding:
                book.drop(writes.unopened)
