"""The lane on PostgreSQL: one batch after the other on a connection of its own (design idea 3).

While a batch commits the next collects. A batch begins, takes the advisory locks of its organizations in
order, and only then reads: what the cache knows is compared, what changed is loaded, keys are looked up. It
decides, writes everything in one statement that counts what it wrote, and commits.

Any number of processes may share a database. They wait for each other's locks and never for rows, and all
take the locks in the same order, so there is nothing to deadlock on.

When an answer is lost the batch is done again on a fresh connection, for `retry_seconds` at most. If the
lost answer was that of COMMIT, the locks are taken first, so whatever became of that transaction has
become of it; then the batch's first entry is looked for, by its id and its keyed link. If it is there, all
of the batch is, and the replies stand; if not, none of it is.

Requirement ids: R-LED-3, R-LED-5, R-LED-9, R-PLAT-2, R-PLAT-5.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Sequence
from functools import lru_cache
from hashlib import blake2b
from typing import Any

import structlog
from msgspec.structs import replace

from tokentill.ports import Clock, StoreDown
from tokentill.rules import chain
from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.rules.account import Account
from tokentill.store import faults
from tokentill.store import postgres_reads as reads
from tokentill.store.lane import CACHE_ACCOUNTS_MAX, CATCH_UP_MAX, Book, Cached, Job, Writes, deliver
from tokentill.store.postgres_connection import Connection, connect, describe, lost, part
from tokentill.store.statements import statements

SQL = statements("postgres")
BATCH_JOBS_MAX = 256
BATCH_ORGANIZATIONS_MAX = 128
IDS_A_BLOCK = 1024
"""By how much the sequence `entry_block` moves."""
DELAY_SECONDS_MIN = 0.02
DELAY_SECONDS_MAX = 1.0
_LINK = 14
"""Where the link stands in a row of `Writes.entries`."""
_NO_LINK = bytes(chain.LINK_BYTES)
"""In place of the last link of an account that is not in memory; no journal ends in it."""

log = structlog.get_logger("tokentill.lane")


class Batch:
    """Commands being stored together. `sent` is the first entry (id, link) of a COMMIT nobody answered."""

    __slots__ = ("jobs", "names", "sent", "writes")

    def __init__(self, jobs: list[Job]) -> None:
        self.jobs = jobs
        self.names = sorted({job.envelope.organization for job in jobs}, key=_lock)
        self.sent: tuple[int, bytes] | None = None
        self.writes: Writes | None = None


@lru_cache(CACHE_ACCOUNTS_MAX)
def _lock(name: str) -> int:
    """The advisory lock of an organization. Two names may share one; then they wait for each other."""
    return int.from_bytes(blake2b(name.encode(), digest_size=8).digest(), "big", signed=True)


class PostgresLane:
    """Takes commands from `put` and answers them once they are durable."""

    ids_a_block = IDS_A_BLOCK
    retry_seconds = 10.0
    """How long a batch is tried again before its callers are told that the database is down."""

    def __init__(self, url: str, book: Book, clock: Clock) -> None:
        self.book = book
        self.batches = 0
        self.commands = 0
        self.down = False
        """The last batch found no database; until one does, each tries but once."""
        self._url = url
        self._clock = clock
        self._queue: deque[Job] = deque()
        self._wake = asyncio.Event()
        self._closing = False
        self._connection: Connection | None = None
        self._task: asyncio.Task[None] | None = None

    async def start(self) -> None:
        """Connect, and begin to work on the running loop. Raises `StoreDown`."""
        await self._connected()
        self._task = asyncio.get_running_loop().create_task(self._work(), name="tokentill-lane")

    async def close(self) -> None:
        """Finish what is queued. Later commands raise `StoreDown`."""
        self._closing = True
        self._wake.set()
        if self._task is not None:
            await self._task
        if self._connection is not None:
            await part(self._connection)

    def put(self, job: Job) -> None:
        """Queue a command."""
        if self._closing:
            job.future.set_exception(StoreDown("The store is closing. Send it again in a moment."))
            return
        self._queue.append(job)
        self._wake.set()

    async def _work(self) -> None:
        while True:
            if self._queue:
                await self._do(self._take())
            elif self._closing:
                return
            else:
                self._wake.clear()
                await self._wake.wait()

    def _take(self) -> list[Job]:
        """The commands at the head of the queue that go into one batch."""
        queue = self._queue
        jobs: list[Job] = []
        names: set[str] = set()
        while queue and len(jobs) < BATCH_JOBS_MAX:
            names.add(queue[0].envelope.organization)
            if len(names) > BATCH_ORGANIZATIONS_MAX:
                break
            jobs.append(queue.popleft())
        return jobs

    async def _do(self, jobs: list[Job]) -> None:
        """Store the commands and answer them; those that fail, fail alone."""
        try:
            await self._insist(Batch(jobs))
        except StoreDown as trouble:
            _fail(jobs, trouble)
        except Exception as trouble:  # noqa: BLE001  # whatever it is, the caller must hear of it
            if len(jobs) > 1:
                await self._apart(jobs)
                return
            _fail(jobs, trouble)
        deliver(jobs)
        faults.hit("lane.answered")

    async def _apart(self, jobs: list[Job]) -> None:
        """Do a failed batch again, one organization at a time, then one command: a bad one fails alone."""
        some: dict[str | int, list[Job]] = {}
        for job in jobs:
            some.setdefault(job.envelope.organization, []).append(job)
        if len(some) == 1:
            some = {number: [job] for number, job in enumerate(jobs)}
        for own in some.values():
            await self._do(own)

    async def _insist(self, batch: Batch) -> None:
        """Store the batch; again on a fresh connection while the database is at fault and there is time."""
        loop = asyncio.get_running_loop()
        end = loop.time() + (0.0 if self.down else self.retry_seconds)
        delay = DELAY_SECONDS_MIN
        while True:
            try:
                if batch.sent is not None:
                    if await self._was_stored(batch):
                        assert batch.writes is not None, "they were sent"
                        self.book.stored(batch.jobs, batch.writes)
                        self.book.drop(batch.writes.unopened)
                        break
                    delay = DELAY_SECONDS_MIN
                await self._commit(batch)
                break
            except Exception as trouble:
                # Whatever went wrong once COMMIT was sent, what became of it must be found out first.
                if batch.sent is None and not isinstance(trouble, StoreDown) and not lost(trouble):
                    raise
                if loop.time() + delay > end:
                    self.down = True
                    known = "" if batch.sent is None else " Whether it was stored is not known."
                    raise StoreDown(
                        f"The database did not take the command: {describe(trouble)}.{known} Send it again."
                    ) from trouble
                log.warning("a batch was lost, will try again", trouble=describe(trouble))
            await asyncio.sleep(delay)
            delay = min(2 * delay, DELAY_SECONDS_MAX)
        self.down = False

    async def _was_stored(self, batch: Batch) -> bool:
        """What became of a COMMIT that nobody answered. From here on the batch is in nobody's hands."""
        connection = await self._connected()
        assert batch.sent is not None
        try:
            await connection.execute(SQL["begin"])
            await self._enter(connection, batch.names)
            await connection.fetch(SQL["organizations_now"], batch.names)
            stored: bool = await connection.fetchval(SQL["is_stored"], *batch.sent)
            await connection.execute(SQL["rollback"])
        except BaseException as trouble:
            self._drop(connection)
            if isinstance(trouble, Exception) and not lost(trouble):
                raise StoreDown(f"It could not be looked up: {describe(trouble)}") from trouble
            raise
        log.warning("a lost answer was found out", stored=stored, commands=len(batch.jobs))
        batch.sent = None
        return stored

    # ---- one transaction -----------------------------------------------------------------------------

    async def _commit(self, batch: Batch) -> None:
        """Lock, compare, look up, decide, write, commit."""
        faults.hit("lane.collected")
        jobs, book = batch.jobs, self.book
        connection = await self._connected()
        try:
            await connection.execute(SQL["begin"])
            faults.hit("lane.begun")
            row, exact = await self._enter(connection, batch.names)
            faults.hit("lane.locked")
            fresh = {} if exact else await self._refresh(connection, jobs, batch.names)
            faults.hit("lane.loaded")
            stored = await self._look_up(connection, jobs)
            faults.hit("lane.looked_up")
            writes = book.decide(jobs, self._clock.now(), row, stored)
            faults.hit("lane.decided")
            if len(writes.entries) > self.ids_a_block:
                await self._renumber(connection, writes, batch.names, row)
            await self._store(connection, writes, fresh)
            faults.hit("lane.written")
            if writes.entries:
                batch.sent = (writes.entries[0][0], writes.entries[0][_LINK])
                batch.writes = writes
            await connection.execute(SQL["commit"])
            faults.hit("lane.committed")
            book.stored(jobs, writes)
            book.drop(writes.unopened)
            faults.hit("lane.remembered")
        except BaseException as trouble:
            book.forget(batch.names)
            await self._roll_back(connection, trouble)
            if batch.sent is not None:
                for job in jobs:
                    job.envelope = replace(job.envelope, retry=True)
            raise
        batch.sent = None
        self.batches += 1
        self.commands += len(jobs)

    async def _connected(self) -> Connection:
        connection = self._connection
        if connection is None or connection.is_closed():
            connection = await connect(self._url, "tokentill_app")
            await connection.execute(SQL["keep_plans"])
            self._connection = connection
        return connection

    async def _roll_back(self, connection: Connection, trouble: BaseException) -> None:
        """Leave no transaction open. A connection that may be broken is thrown away, which does the same."""
        if isinstance(trouble, Exception) and not lost(trouble) and not connection.is_closed():
            faults.hit("lane.rolling_back")
            try:
                await connection.execute(SQL["rollback"])
            except Exception as another:  # noqa: BLE001  # it is thrown away instead
                log.warning("a rollback failed", trouble=describe(another))
            else:
                faults.hit("lane.rolled_back")
                return
        self._drop(connection)

    def _drop(self, connection: Connection) -> None:
        connection.terminate()
        if self._connection is connection:
            self._connection = None

    async def _enter(self, connection: Connection, names: list[str]) -> tuple[int, bool]:
        """Take the locks and name the organizations; the first id for their entries, and whether the cache is exact."""
        known = [self.book.cache.get(name) for name in names]
        links = b"".join([_NO_LINK if cached is None else cached.head for cached in known])
        entered = await connection.fetchrow(SQL["enter"], [_lock(name) for name in names], names, links)
        assert entered is not None
        return entered[0], entered[1] == len(names)

    async def _refresh(
        self, connection: Connection, jobs: Sequence[Job], names: Sequence[str]
    ) -> dict[int, str]:
        """Make the cache exact for these accounts; the new ones that are to be opened, by their numbers."""
        book = self.book
        known = [book.cache.get(name) for name in names]
        seqs = [None if cached is None else cached.account.state.seq for cached in known]
        rows = [None if cached is None else cached.last_row for cached in known]
        now = {row[1]: row for row in await connection.fetch(SQL["refresh"], names, seqs, rows, CATCH_UP_MAX)}
        strange: list[int] = []
        for name, cached in zip(names, known, strict=True):
            row = now.get(name)
            if row is None:
                book.forget([name])
            elif cached is None or not book.catch_up(cached, row[3:6], row[6] or ()):
                strange.append(row[0])
        if strange:
            for loaded in await reads.load(connection, book, strange):
                book.put(loaded)
        opening = {job.envelope.organization for job in jobs if type(job.envelope.command) is c.Open}
        new = [name for name in names if name in opening and name not in now]
        if not new:
            return {}
        numbers = [row[0] for row in await connection.fetch(SQL["new_numbers"], len(new))]
        for name, number in zip(new, numbers, strict=True):
            book.put(Cached(name, number, Account(), book.root(name), 0))
        return dict(zip(numbers, new, strict=True))

    async def _look_up(
        self, connection: Connection, jobs: Sequence[Job]
    ) -> dict[tuple[int, str], list[e.Entry]]:
        wanted = set(self.book.lookups(jobs))
        stored: dict[tuple[int, str], list[e.Entry]] = {}
        if wanted:
            numbers = [number for number, _ in wanted]
            keys = [bytes.fromhex(key) for _, key in wanted]
            for _, number, body in await connection.fetch(SQL["operations"], numbers, keys):
                entry = e.decode(body)
                assert entry.key is not None, "it was found by its key"
                stored.setdefault((number, entry.key), []).append(entry)
        return stored

    async def _renumber(self, connection: Connection, writes: Writes, names: list[str], first: int) -> None:
        """More entries than a block has ids: the rest gets ids of further blocks, drawn under the same locks."""
        size = self.ids_a_block
        blocks = -(-len(writes.entries) // size) - 1
        starts = [first] + [row[0] for row in await connection.fetch(SQL["more_ids"], blocks)]

        def moved(row: int) -> int:
            # What was stored before has an id below the first block's.
            return row if row < first else starts[(row - first) // size] + (row - first) % size

        writes.entries = [(moved(row[0]), row[1], moved(row[2]), *row[3:]) for row in writes.entries]
        writes.accounts = [(*row[:2], moved(row[2]), *row[3:]) for row in writes.accounts]
        writes.snapshots = [(*row[:2], moved(row[2]), *row[3:]) for row in writes.snapshots]
        for name in names:
            cached = self.book.cache.get(name)
            if cached is not None:
                cached.last_row = moved(cached.last_row)

    async def _store(self, connection: Connection, writes: Writes, fresh: dict[int, str]) -> None:
        """Write everything in one statement, and make sure that it wrote everything."""
        if not (writes.entries or writes.accounts):
            return
        opened = [
            (number, fresh[number], seq, head, last_row, due_at)
            for seq, head, last_row, due_at, number, _ in writes.accounts
            if number in fresh
        ]
        moved = [row for row in writes.accounts if row[4] not in fresh]
        written = await connection.fetchrow(
            SQL["write"],
            *_columns(opened, 6),
            *_columns(moved, 6),
            *_columns(writes.entries, 16),
            *_columns(writes.snapshots, 4),
            *_columns(writes.persons, 3),
        )
        assert written is not None
        if tuple(written) != (len(opened), len(moved), len(writes.entries), len(writes.snapshots)):
            raise AssertionError("an account's sequence moved under its lock")


def _columns(rows: Sequence[tuple[Any, ...]], width: int) -> list[tuple[Any, ...]]:
    return list(zip(*rows, strict=True)) if rows else [()] * width


def _fail(jobs: Sequence[Job], trouble: BaseException) -> None:
    for job in jobs:
        job.trouble = trouble
