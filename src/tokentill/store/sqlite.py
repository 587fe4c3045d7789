"""The ledger on SQLite: one file, one writer thread a process, any number of processes (design idea 3).

Durability: WAL with synchronous=FULL, so what was answered survives a power cut. The writer takes the
turnstile (a fair lock between processes), begins, and asks SQLite whether another connection has written
since (`data_version`): if not, the cache of accounts is exact; if so, each account's sequence is compared.

SQLite 3.51.3 or newer is required: older ones can corrupt a WAL file with several connections.

Requirement ids: R-PLAT-5, R-LED-3, R-LED-5, R-LED-9.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from itertools import chain
from typing import Any, TypeVar

import apsw
from msgspec.structs import replace

from tokentill.ports import Clock, Health, Ids, JournalRow, OperatorKey, Page, StoreDown, Stretch, Verdict
from tokentill.rules import commands as c
from tokentill.rules import entries as e
from tokentill.rules.account import Account
from tokentill.rules.catalog import Catalog
from tokentill.rules.decide import none_found
from tokentill.rules.plans import apply_due
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Refusal
from tokentill.rules.turn import Turn
from tokentill.store import faults
from tokentill.store import sqlite_reads as reads
from tokentill.store.lane import Book, Cached, Job, Writes, deliver
from tokentill.store.migrations import check_secret, pending
from tokentill.store.statements import statements
from tokentill.store.sweeper import Sweeper
from tokentill.store.turnstile import NoTurnstile, Turnstile

T = TypeVar("T")

SQL = statements("sqlite")
SQLITE_MIN = (3, 51, 3)
BATCH_JOBS_MAX = 256
ENTRIES_A_STATEMENT = 128
_ROW = "(" + ",".join("?" * 16) + ")"
_INSERTS = [""] + [
    f"insert into entry values {','.join([_ROW] * n)}" for n in range(1, ENTRIES_A_STATEMENT + 1)
]

_DOWN = (
    apsw.BusyError,
    apsw.LockedError,
    apsw.FullError,
    apsw.IOError,
    apsw.ReadOnlyError,
    apsw.CantOpenError,
)
"""Trouble of the database, not of a command; recognised by code."""


class Call:
    """Something else to be written, outside the accounts: `work` runs in a transaction of its own."""

    __slots__ = ("future", "work")

    def __init__(self, work: Callable[[apsw.Connection], Any], future: asyncio.Future[Any]) -> None:
        self.work = work
        self.future = future


def connect(path: str, vfs: str | None = None) -> apsw.Connection:
    """A connection set up as every one of ours is. Raises `StoreDown` if SQLite is too old.

    `vfs` names the layer below SQLite's files, None for the operating system's own.
    """
    if tuple(int(part) for part in apsw.sqlite_lib_version().split(".")) < SQLITE_MIN:
        needed = ".".join(map(str, SQLITE_MIN))
        raise StoreDown(f"SQLite {apsw.sqlite_lib_version()} is too old; {needed} or newer is needed.")
    try:
        connection = apsw.Connection(path, vfs=vfs, statementcachesize=1024)
        connection.set_busy_timeout(10_000)
        connection.pragma("journal_mode", "wal")
        connection.pragma("synchronous", "full")
        connection.pragma("cache_size", -65_536)
    except _DOWN as trouble:
        raise StoreDown(f"{path} cannot be opened: {trouble}") from trouble
    return connection


def migrate(connection: apsw.Connection, secret: bytes) -> None:
    """Bring the schema up to date and make sure the secret is the one this journal was begun with.

    Raises `StoreDown`. If it raises, the connection is closed.
    """
    try:
        connection.execute(SQL["begin"])
        faults.hit("open.locked")
        for migration in pending("sqlite", connection.pragma("user_version")):
            connection.execute(migration.sql)
            connection.pragma("user_version", migration.number)
        known = connection.execute(SQL["meta"], ("secret",)).get
        mark = check_secret(secret, known)
        if known is None:
            connection.execute(SQL["set_meta"], ("secret", mark))
        faults.hit("open.migrated")
        connection.execute(SQL["commit"])
        faults.hit("open.committed")
    except BaseException as trouble:
        connection.close()
        if isinstance(trouble, _DOWN):
            raise StoreDown(f"The database cannot be brought up to date: {trouble}.") from trouble
        raise


class SqliteLedger:
    """The `Ledger` port on one SQLite file. Open with `SqliteLedger.open`, close with `close`."""

    def __init__(
        self, path: str, catalog: Catalog, secret: bytes, clock: Clock, vfs: str | None = None
    ) -> None:
        self.catalog = catalog
        self.path = path
        self._vfs = vfs
        self.book = Book(catalog, secret)
        self.batches = 0
        self.commands = 0
        self._clock = clock
        self._connection = connect(path, vfs)
        self._in_memory = path == ":memory:"
        self._turnstile = NoTurnstile() if self._in_memory else Turnstile(path + ".lock")
        try:
            with self._turnstile:
                migrate(self._connection, secret)
        except BaseException:
            self._turnstile.close()
            raise
        self._queue: deque[Job | Call] = deque()
        self._wake = threading.Semaphore(0)
        self._asleep = False
        self._closing = False
        self._version = -1
        self._row = 0
        self._thread = threading.Thread(target=self._work, name="tokentill-lane", daemon=True)
        self._readers = ThreadPoolExecutor(1, thread_name_prefix="tokentill-read")
        self._reader: apsw.Connection | None = None
        self.sweeper = Sweeper(clock, self._due, self.submit, self.book.take_counted)

    @classmethod
    async def open(
        cls,
        path: str,
        catalog: Catalog,
        secret: bytes,
        clock: Clock,
        ids: Ids | None = None,
        *,
        sweep: bool = True,
        vfs: str | None = None,
    ) -> SqliteLedger:
        """Open or create the database at `path` (":memory:" for one that dies with the process)."""
        del ids  # the lane makes no ids; the parameter keeps both engines' constructors alike
        ledger = await asyncio.get_running_loop().run_in_executor(
            None, cls, path, catalog, secret, clock, vfs
        )
        ledger._thread.start()
        if sweep:
            ledger.sweeper.start()
        return ledger

    async def close(self) -> None:
        """Finish what is queued, then close. Later commands raise `StoreDown`."""
        if self._closing:
            return
        await self.sweeper.stop()
        self._closing = True
        self._wake.release()
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self._thread.join)
        if self._reader is not None:
            await loop.run_in_executor(self._readers, self._reader.close)
        self._readers.shutdown()
        self._connection.close()
        self._turnstile.close()

    # ---- commands ------------------------------------------------------------------------------------

    def submit(self, envelope: c.Envelope) -> asyncio.Future[Receipt | Refusal]:
        """Queue one command; the future is done when its outcome is durable. Raises `StoreDown` through it."""
        future: asyncio.Future[Receipt | Refusal] = asyncio.get_running_loop().create_future()
        self._put(self.book.job(envelope, future))
        return future

    def _put(self, item: Job | Call) -> None:
        if self._closing:
            item.future.set_exception(StoreDown("The store is closing. Send it again in a moment."))
            return
        self._queue.append(item)
        if self._asleep:
            self._asleep = False
            self._wake.release()

    def _write(self, work: Callable[[apsw.Connection], T]) -> asyncio.Future[T]:
        future: asyncio.Future[T] = asyncio.get_running_loop().create_future()
        self._put(Call(work, future))
        return future

    # ---- the writer thread ---------------------------------------------------------------------------

    def _work(self) -> None:
        queue = self._queue
        while True:
            if not queue:
                if self._closing:
                    return
                self._asleep = True
                if not queue and not self._closing:
                    self._wake.acquire()
                self._asleep = False
                continue
            self._step()

    def _step(self) -> None:
        """Do what is first in the queue: the commands up to the next call, or a call."""
        queue = self._queue
        jobs: list[Job] = []
        while queue and len(jobs) < BATCH_JOBS_MAX:
            if isinstance(queue[0], Call):
                break
            jobs.append(queue.popleft())  # type: ignore[arg-type]  # just seen not to be a Call
        if jobs:
            self._batch(jobs)
        else:
            self._call(queue.popleft())  # type: ignore[arg-type]  # just seen to be a Call

    def _batch(self, jobs: list[Job]) -> None:
        try:
            self._commit(jobs)
        except _DOWN as trouble:
            self._fail(jobs, StoreDown(f"The database did not take the command: {trouble}. Send it again."))
        except Exception as trouble:
            if len(jobs) > 1:
                self._apart(jobs)
                return
            self._fail(jobs, trouble)
        by_loop: dict[asyncio.AbstractEventLoop, list[Job]] = {}
        for job in jobs:
            by_loop.setdefault(job.loop, []).append(job)
        for loop, some in by_loop.items():
            with suppress(RuntimeError):  # a loop that has ended has nobody left to be told
                loop.call_soon_threadsafe(deliver, some)
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
            self._batch(own)

    def _fail(self, jobs: Sequence[Job], trouble: BaseException) -> None:
        for job in jobs:
            job.trouble = trouble

    def _commit(self, jobs: list[Job]) -> None:
        """One transaction: lock, compare, look up, decide, write, commit."""
        connection, book = self._connection, self.book
        names = {job.envelope.organization for job in jobs}
        try:
            faults.hit("lane.collected")
            with self._turnstile:
                faults.hit("lane.locked")
                connection.execute(SQL["begin"])
                faults.hit("lane.begun")
                self._refresh(jobs, names)
                faults.hit("lane.loaded")
                stored: dict[tuple[int, str], list[e.Entry]] = {}
                for number, key in book.lookups(jobs):
                    if (number, key) not in stored:
                        stored[number, key] = [
                            entry for _, entry, _ in reads.operation(connection, number, key)
                        ]
                faults.hit("lane.looked_up")
                writes = book.decide(jobs, self._clock.now(), self._row + 1, stored)
                faults.hit("lane.decided")
                self._store(writes)
                faults.hit("lane.written")
                connection.execute(SQL["commit"])
                faults.hit("lane.committed")
            faults.hit("lane.unlocked")
        except BaseException:
            self._version = -1
            book.forget(names)
            if connection.in_transaction:
                faults.hit("lane.rolling_back")
                connection.execute(SQL["rollback"])
                faults.hit("lane.rolled_back")
            raise
        self._row += len(writes.entries)
        book.stored(jobs, writes)
        faults.hit("lane.remembered")
        self.batches += 1
        self.commands += len(jobs)

    def _refresh(self, jobs: Sequence[Job], names: set[str]) -> None:
        """Make the cache exact for the accounts of this batch, and begin accounts that are to be opened."""
        connection, book = self._connection, self.book
        version = connection.execute(SQL["data_version"]).get
        if version != self._version:
            self._version = version
            self._row = connection.execute(SQL["last_row"]).get
        unsure = [name for name in names if name in book.cache and book.cache[name].version != version]
        if unsure:
            now = {row[0]: row for row in connection.execute(SQL["organizations_now"], (json.dumps(unsure),))}
            for name in unsure:
                cached, row = book.cache[name], now.get(name)
                if row is None or row[2] != cached.account.state.seq:
                    book.forget([name])
                else:
                    cached.version, cached.due_at = version, row[5]
        for name in names - book.cache.keys():
            loaded = reads.load(connection, book, name)
            if loaded is not None:
                loaded.version = version
                book.put(loaded)
        for job in jobs:
            name = job.envelope.organization
            if type(job.envelope.command) is c.Open and name not in book.cache:
                root = book.root(name)
                number = connection.execute(SQL["open_organization"], (name, root)).get
                fresh = Cached(name, number, Account(), root, 0)
                fresh.version = version
                book.put(fresh)

    def _store(self, writes: Writes) -> None:
        connection = self._connection
        rows = writes.entries
        for start in range(0, len(rows), ENTRIES_A_STATEMENT):
            some = rows[start : start + ENTRIES_A_STATEMENT]
            connection.execute(_INSERTS[len(some)], tuple(chain.from_iterable(some)))
        faults.hit("lane.entries_written")
        for row in writes.accounts:
            connection.execute(SQL["write_account"], row)
            if connection.changes() != 1:
                raise AssertionError("an account's sequence moved under its lock")
        faults.hit("lane.accounts_written")
        if writes.snapshots:
            connection.executemany(SQL["write_snapshot"], writes.snapshots)
        if writes.persons:
            connection.executemany(SQL["write_person"], writes.persons)
        for number in writes.unopened:
            connection.execute(SQL["drop_unopened"], (number,))

    def _call(self, call: Call) -> None:
        connection, future = self._connection, call.future
        outcome: Any = None
        trouble: BaseException | None = None
        try:
            with self._turnstile:
                connection.execute(SQL["begin"])
                faults.hit("call.begun")
                outcome = call.work(connection)
                faults.hit("call.worked")
                connection.execute(SQL["commit"])
                faults.hit("call.committed")
            faults.hit("call.unlocked")
        except Exception as error:
            if connection.in_transaction:
                connection.execute(SQL["rollback"])
            trouble = (
                StoreDown(f"The database did not take it: {error}") if isinstance(error, _DOWN) else error
            )

        def tell() -> None:
            if future.done():
                return
            if trouble is None:
                future.set_result(outcome)
            else:
                future.set_exception(trouble)

        with suppress(RuntimeError):  # as above
            future.get_loop().call_soon_threadsafe(tell)

    # ---- reads ---------------------------------------------------------------------------------------

    async def _read(self, work: Callable[[apsw.Connection], T]) -> T:
        if self._in_memory:
            return await self._write(work)
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._read_now, work)

    def _read_now(self, work: Callable[[apsw.Connection], T]) -> T:
        if self._reader is None:
            self._reader = connect(self.path, self._vfs)
        connection = self._reader
        try:
            connection.execute("begin")
            try:
                return work(connection)
            finally:
                connection.execute("rollback")
        except _DOWN as trouble:
            raise StoreDown(f"The database cannot be read: {trouble}") from trouble

    def opaque(self, organization: str, user: str) -> str:
        """The id under which journal and account know the host's user."""
        return self.book.opaque(organization, user)

    async def account(self, organization: str) -> Account | None:
        """The account as of the last commit, with everything due applied to the copy."""
        cached = await self._read(lambda connection: reads.load(connection, self.book, organization))
        if cached is None or not cached.account.state.opened:
            return None
        apply_due(Turn(cached.account, self.catalog, self._clock.now(), none_found))
        return cached.account

    async def journal(self, organization: str, before: int | None = None, limit: int = 50) -> Page | None:
        """The organization's entries, newest first."""
        return await self._read(lambda connection: reads.page(connection, organization, before, limit))

    async def operation(self, organization: str, operation: str) -> Sequence[JournalRow] | None:
        """Every entry of one operation, oldest first."""
        return await self._read(
            lambda connection: reads.rows_of_operation(connection, organization, operation)
        )

    async def organizations(self, after: str = "", limit: int = 100) -> Sequence[str]:
        """Organization ids in order."""
        return await self._read(lambda connection: reads.organizations(connection, after, limit))

    async def follow(self, position: str = "", limit: int = 1000) -> Stretch:
        """Entries of all organizations after `position`, in the journal's order (design idea 5)."""
        return await self._read(lambda connection: reads.follow(connection, position, limit))

    async def _due(self, now: int, limit: int) -> Sequence[str]:
        return await self._read(
            lambda connection: [
                name for (name,) in connection.execute(SQL["organizations_due"], (now, limit))
            ]
        )

    async def verify(self) -> Verdict:
        """Replay the whole journal on a connection of its own (invariants 1 to 3, R-LED-5)."""
        if self._in_memory:
            return await self._write(lambda connection: reads.verify(connection, self.book.key))
        return await asyncio.get_running_loop().run_in_executor(None, self._verify_now)

    def _verify_now(self) -> Verdict:
        connection = connect(self.path, self._vfs)
        try:
            connection.execute("begin")
            return reads.verify(connection, self.book.key)
        finally:
            connection.close()

    async def health(self) -> Health:
        """Whether the database answers and the sweeper keeps up; the host clock is the database's clock."""
        soonest = await self._read(lambda connection: connection.execute(SQL["soonest_due"]).get)
        overdue = 0 if soonest is None else max(0, self._clock.now() - soonest)
        problems = ("the sweeper is more than a minute behind",) if overdue > 60_000 else ()
        return Health(not problems, "sqlite", 0, overdue, problems)

    # ---- people and operator keys --------------------------------------------------------------------

    async def forget_user(self, organization: str, user: str) -> bool:
        """Erase the name of a user; the journal keeps only the opaque id."""
        opaque = self.book.opaque(organization, user)

        def erase(connection: apsw.Connection) -> bool:
            row = connection.execute(SQL["organization"], (organization,)).fetchone()
            if row is None:
                return False
            connection.execute(SQL["forget_person"], (row[0], opaque))
            return connection.changes() == 1

        self.book.forget_person(organization, user)
        return await self._write(erase)

    async def operator_keys(self) -> Sequence[OperatorKey]:
        """All operator keys, oldest first."""
        return await self._read(reads.operator_keys)

    async def find_operator_key(self, key_id: str) -> tuple[OperatorKey, bytes] | None:
        """The operator key and its digest."""
        return await self._read(lambda connection: reads.operator_key(connection, key_id))

    async def add_operator_key(self, key: OperatorKey, digest: bytes) -> None:
        """Store a new operator key by the SHA-256 of its secret."""
        row = (key.id, key.name, digest, key.created_at)
        await self._write(lambda connection: connection.execute(SQL["add_operator_key"], row).fetchall())

    async def revoke_operator_key(self, key_id: str) -> bool:
        """Revoke; False if unknown or revoked already."""

        def revoke(connection: apsw.Connection) -> bool:
            connection.execute(SQL["revoke_operator_key"], (key_id, self._clock.now()))
            return connection.changes() == 1

        return await self._write(revoke)
