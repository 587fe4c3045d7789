"""What the writer of SQLite does with its connection: load and compare accounts, store what was decided.

`tokentill.store.sqlite_lane` says when, and on which thread.

Requirement ids: R-PLAT-5, R-LED-3, R-LED-5.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Callable, Sequence
from contextlib import ExitStack, nullcontext, suppress
from itertools import chain
from typing import Any, TypeVar, final

import apsw
from msgspec import Struct

from tokentill.ports import Clock, StoreDown
from tokentill.rules import commands as c
from tokentill.rules.account import Account
from tokentill.rules.catalog import Catalog
from tokentill.store import faults
from tokentill.store import sqlite_reads as reads
from tokentill.store.lane import CACHE_ACCOUNTS_MAX, Book, Cached, Job, Writes
from tokentill.store.mark import Mark
from tokentill.store.sqlite_connection import DOWN, connect, keep_private, migrate
from tokentill.store.sqlite_reads import ROWS_A_STATEMENT
from tokentill.store.statements import for_rows, statements
from tokentill.store.turnstile import NoTurnstile, Turnstile

Item = TypeVar("Item", Job, "Call")

SQL = statements("sqlite")
_WRITE_ENTRIES = for_rows(SQL["write_entries"], ROWS_A_STATEMENT)
_WRITE_ACCOUNTS = for_rows(SQL["write_accounts"], ROWS_A_STATEMENT)
FEW = 6
"""Fewer accounts are written one by one, which takes less then."""


@final
class Call:
    """Something else to be written, outside the accounts: `work` is stored whole or not at all, whatever else is.

    `marks`: it may write rows that are looked up.
    """

    __slots__ = ("future", "marks", "outcome", "trouble", "work")

    def __init__(
        self,
        work: Callable[[apsw.Connection], Any],
        future: asyncio.Future[Any],
        marks: bool,  # noqa: FBT001 the lane alone makes it
    ) -> None:
        self.work = work
        self.future = future
        self.marks = marks
        self.outcome: Any = None
        self.trouble: BaseException | None = None


class Batch(Struct, eq=False):
    """Commands that are stored together, and what is stored, once that is decided, at `time` (epoch ms)."""

    jobs: list[Job]
    writes: Writes | None = None
    time: int = 0

    @property
    def names(self) -> list[str]:
        """The organizations, each once."""
        return list(dict.fromkeys([job.envelope.organization for job in self.jobs]))


class SqliteWriter:
    """The one connection of a process that writes, and the accounts as it knows them."""

    near_places = CACHE_ACCOUNTS_MAX
    """An account that comes into use stays where it is if it is among so many at the end of its table."""

    def __init__(
        self, path: str, catalog: Catalog, secret: bytes, clock: Clock, vfs: str | None = None
    ) -> None:
        self.catalog = catalog
        self.path = path
        self._vfs = vfs
        self.book = Book(catalog, secret)
        self._clock = clock
        self._in_memory = path == ":memory:"
        if vfs is None and not self._in_memory:
            keep_private(path)
        # SQLite follows links too, so that all who share the database share the lock.
        lock = None if self._in_memory else os.path.realpath(path) + ".lock"
        try:
            with ExitStack() as undo:
                self._turnstile = NoTurnstile() if lock is None else Turnstile(lock)
                undo.callback(self._turnstile.close)
                self.mark = Mark(lock)
                """Of the rows that are looked up (`SqliteRows.look`)."""
                undo.callback(self.mark.close)
                with self._turnstile, self.mark:
                    # One at a time: of several that turn a new file into a WAL database SQLite refuses all but one.
                    self._connection = connect(path, vfs)
                    migrate(self._connection, secret)
                undo.pop_all()
        except OSError as trouble:
            raise StoreDown(f"{lock} cannot be used: {trouble}") from trouble
        self._version = -1
        """The database's mark of what others wrote, as far as the accounts have followed."""
        self._row = 0
        """The number of the last entry that was decided."""

    def _give_back(self) -> None:
        self._connection.close()
        self._turnstile.close()
        self.mark.close()

    def _refresh(self, names: Sequence[str], version: int) -> None:
        """Make the cache exact for the accounts of this batch, in the state that the database marks as `version`."""
        connection, book = self._connection, self.book
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
            found = [(book.cache[name], now[name]) for name in unsure if name in now]
            anew = [name for name in unsure if name not in now]
            anew += reads.catch_up(connection, book, found)
            book.forget(anew)
            unknown += anew
            for cached, _ in found:
                cached.version = version
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
            self._store_accounts(writes.accounts)
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

    def _store_accounts(self, accounts: Sequence[tuple[Any, ...]]) -> None:
        if len(accounts) < FEW:
            self._connection.executemany(SQL["write_account"], accounts)
            return
        for start in range(0, len(accounts), ROWS_A_STATEMENT):
            some = accounts[start : start + ROWS_A_STATEMENT]
            self._connection.execute(_WRITE_ACCOUNTS[len(some)], tuple(chain.from_iterable(some)))

    def _call(self, calls: list[Call]) -> None:
        """One transaction for all of them; one that fails by its own fault fails alone."""
        connection = self._connection
        try:
            marked = self.mark if any(call.marks for call in calls) else nullcontext()
            with self._turnstile, marked:
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
        answer(_tell, calls)

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


def fail(jobs: Sequence[Job], trouble: BaseException) -> None:
    """Nobody gets a reply but this."""
    for job in jobs:
        job.trouble = trouble


def answer(tell: Callable[[list[Item]], None], items: Sequence[Item]) -> None:
    """Have `tell` called with what each loop has callers of."""
    loops = {item.future.get_loop() for item in items}
    for loop in loops:
        some = [item for item in items if len(loops) == 1 or item.future.get_loop() is loop]
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
