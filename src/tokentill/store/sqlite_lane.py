"""The lane on SQLite: one connection, one writer thread, one transaction a batch (design idea 3).

The writer takes the turnstile (a fair lock between processes), begins, and asks SQLite whether another
connection has written since (`data_version`): if not, the cache of accounts is exact; if so, each account's
sequence is compared. Replies leave after the commit. A command that fails is done again apart from its
neighbours; trouble of the database fails the batch, and its callers send it again under the same keys.

Requirement ids: R-PLAT-5, R-LED-3, R-LED-5, R-LED-9.
"""

from __future__ import annotations

import asyncio
import json
import threading
from collections import deque
from collections.abc import Callable, Sequence
from contextlib import suppress
from itertools import chain
from queue import SimpleQueue
from typing import Any, TypeVar, final

import apsw
from msgspec.structs import replace

from tokentill.ports import Clock, StoreDown
from tokentill.rules import commands as c
from tokentill.rules.account import Account
from tokentill.rules.catalog import Catalog
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Refusal
from tokentill.store import faults
from tokentill.store import sqlite_reads as reads
from tokentill.store.lane import CACHE_ACCOUNTS_MAX, Book, Cached, Job, Writes, deliver
from tokentill.store.sqlite_connection import DOWN, connect, keep_private, migrate
from tokentill.store.sqlite_reads import ROWS_A_STATEMENT
from tokentill.store.statements import for_rows, statements
from tokentill.store.turnstile import NoTurnstile, Turnstile

T = TypeVar("T")
Item = TypeVar("Item", Job, "Call")

SQL = statements("sqlite")
BATCH_JOBS_MAX = 256
_WRITE_ENTRIES = for_rows(SQL["write_entries"], ROWS_A_STATEMENT)


@final
class Call:
    """Something else to be written, outside the accounts: `work` is stored whole or not at all, whatever else is."""

    __slots__ = ("future", "outcome", "trouble", "work")

    def __init__(self, work: Callable[[apsw.Connection], Any], future: asyncio.Future[Any]) -> None:
        self.work = work
        self.future = future
        self.outcome: Any = None
        self.trouble: BaseException | None = None


class SqliteLane:
    """The writing half of a SQLite ledger; `start` it once, `stop` it once."""

    near_places = CACHE_ACCOUNTS_MAX
    """An account that comes into use stays where it is if it is among so many at the end of its table."""

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
        self._in_memory = path == ":memory:"
        if vfs is None and not self._in_memory:
            keep_private(path)
        self._turnstile = NoTurnstile() if self._in_memory else Turnstile(path + ".lock")
        try:
            with self._turnstile:
                # One at a time: of several that turn a new file into a WAL database SQLite refuses all but one.
                self._connection = connect(path, vfs)
                migrate(self._connection, secret)
        except BaseException:
            self._turnstile.close()
            raise
        self._queue: deque[Job | Call] = deque()
        self._wake: SimpleQueue[None] = SimpleQueue()
        self._asleep = False
        self._closing = False
        self._version = -1
        self._row = 0
        self._thread = threading.Thread(target=self._work, name="tokentill-lane", daemon=True)

    def start(self) -> None:
        """Let the writer thread take commands."""
        self._thread.start()

    def stop(self) -> None:
        """Finish what is queued, then close the connection; blocks. Later commands raise `StoreDown`."""
        self._closing = True
        self._wake.put(None)
        self._thread.join()
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
            self._wake.put(None)

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
                    self._wake.get()
                self._asleep = False
                continue
            self._step()

    def _step(self) -> None:
        """Do what is first in the queue: the commands as one batch, then whatever else was between them."""
        queue = self._queue
        jobs: list[Job] = []
        calls: list[Call] = []
        while queue and len(jobs) + len(calls) < BATCH_JOBS_MAX:
            item = queue.popleft()
            if type(item) is Call:
                calls.append(item)
            else:
                jobs.append(item)
        if jobs:
            self._batch(jobs)
        if calls:
            self._call(calls)

    def _batch(self, jobs: list[Job]) -> None:
        try:
            self._commit(jobs)
        except DOWN as trouble:
            self._fail(jobs, StoreDown(f"The database did not take the command: {trouble}. Send it again."))
        except Exception as trouble:  # noqa: BLE001 a bug in one command must not take the others down
            if len(jobs) > 1:
                self._apart(jobs)
                return
            self._fail(jobs, trouble)
        _answer(deliver, jobs)
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
        names = list(dict.fromkeys([job.envelope.organization for job in jobs]))
        try:
            faults.hit("lane.collected")
            with self._turnstile:
                faults.hit("lane.locked")
                connection.execute(SQL["begin"])
                faults.hit("lane.begun")
                self._refresh(names)
                self._take_in_use(jobs)
                faults.hit("lane.loaded")
                stored = reads.operations(connection, book.lookups(jobs))
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

    def _refresh(self, names: Sequence[str]) -> None:
        """Make the cache exact for the accounts of this batch."""
        connection, book = self._connection, self.book
        version = connection.execute(SQL["data_version"]).get
        if version != self._version:
            self._version = version
            self._row = connection.execute(SQL["last_row"]).get
        unknown: list[str] = []
        unsure: list[str] = []
        for name in names:
            known = book.cache.get(name)
            if known is None:
                unknown.append(name)
            elif known.version != version:
                unsure.append(name)
        if unsure:
            now = {row[0]: row for row in connection.execute(SQL["organizations_now"], (json.dumps(unsure),))}
            for name in unsure:
                cached, row = book.cache[name], now.get(name)
                if row is not None and reads.catch_up(connection, book, cached, row):
                    cached.version = version
                else:
                    book.forget([name])
                    unknown.append(name)
        for name in unknown:
            loaded = reads.load(connection, book, name)
            if loaded is not None:
                loaded.version = version
                book.put(loaded)

    def _take_in_use(self, jobs: Sequence[Job]) -> None:
        """Begin accounts that are to be opened, and have those that come into use lie where the others in use do."""
        connection, book = self._connection, self.book
        for job in jobs:
            name, kind = job.envelope.organization, type(job.envelope.command)
            cached = book.cache.get(name)
            if cached is None and kind is c.Open:
                root = book.root(name)
                number = connection.execute(SQL["open_organization"], (name, root)).get
                fresh = Cached(name, number, Account(), root, 0)
                fresh.version, fresh.near = self._version, True
                book.put(fresh)
            elif cached is not None and not cached.near and kind is not c.Tick:
                # The sweeper visits every account, and would move all of them.
                connection.execute(SQL["move_account"], (cached.number, self.near_places))
                cached.near = True

    def _store(self, writes: Writes) -> None:
        connection = self._connection
        rows = writes.entries
        for start in range(0, len(rows), ROWS_A_STATEMENT):
            some = rows[start : start + ROWS_A_STATEMENT]
            connection.execute(_WRITE_ENTRIES[len(some)], tuple(chain.from_iterable(some)))
        faults.hit("lane.entries_written")
        if writes.accounts:
            before = connection.total_changes()
            connection.executemany(SQL["write_account"], writes.accounts)
            if connection.total_changes() - before != len(writes.accounts):
                raise AssertionError("an account's sequence moved under its lock")
        if writes.dues:
            connection.executemany(SQL["write_due"], writes.dues)
        faults.hit("lane.accounts_written")
        if writes.snapshots:
            connection.executemany(SQL["write_snapshot"], writes.snapshots)
        if writes.persons:
            connection.executemany(SQL["write_person"], writes.persons)
        for number in writes.unopened:
            connection.execute(SQL["drop_unopened"], (number,))

    def _call(self, calls: list[Call]) -> None:
        """One transaction for all of them; one that fails by its own fault fails alone."""
        connection = self._connection
        try:
            with self._turnstile:
                connection.execute(SQL["begin"])
                faults.hit("call.begun")
                for call in calls:
                    self._work_off(call)
                faults.hit("call.worked")
                connection.execute(SQL["commit"])
                faults.hit("call.committed")
            faults.hit("call.unlocked")
        except Exception as error:  # noqa: BLE001 it is handed to the callers
            if connection.in_transaction:
                connection.execute(SQL["rollback"])
            down = isinstance(error, DOWN)
            for call in calls:
                call.trouble = StoreDown(f"The database did not take it: {error}") if down else error
        _answer(_tell, calls)

    def _work_off(self, call: Call) -> None:
        connection = self._connection
        connection.execute(SQL["savepoint"])
        try:
            call.outcome = call.work(connection)
        except DOWN:
            raise
        except Exception as error:  # noqa: BLE001 it is handed to the caller
            call.trouble = error
            connection.execute(SQL["undo"])
        connection.execute(SQL["release"])


def _answer(tell: Callable[[list[Item]], None], items: Sequence[Item]) -> None:
    """Have `tell` called with what each loop has callers of."""
    for loop in {item.future.get_loop() for item in items}:
        some = [item for item in items if item.future.get_loop() is loop]
        with suppress(RuntimeError):  # a loop that has ended has nobody left to be told
            loop.call_soon_threadsafe(tell, some)


def _tell(calls: Sequence[Call]) -> None:
    for call in calls:
        if call.future.done():
            continue
        if call.trouble is None:
            call.future.set_result(call.outcome)
        else:
            call.future.set_exception(call.trouble)
