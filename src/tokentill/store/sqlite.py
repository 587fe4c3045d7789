"""The ledger on SQLite: one file, one writer thread a process, any number of processes (design idea 3).

`tokentill.store.sqlite_lane` writes; here is the rest of the port. Reads see the last commit, on a connection
and a thread of their own; a single row that every call asks for is read on the caller's thread while the writer rests. A
database in memory has one connection, so there they wait their turn in the lane.

Requirement ids: R-PLAT-5, R-LED-1, R-LED-5.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

import apsw

from tokentill.ports import (
    Clock,
    Heads,
    Health,
    Ids,
    JournalRow,
    OperatorKey,
    Page,
    Rows,
    StoreDown,
    Stretch,
    Traffic,
    Verdict,
)
from tokentill.rules.account import Account
from tokentill.rules.catalog import Catalog
from tokentill.rules.plans import as_of
from tokentill.store import sqlite_reads as reads
from tokentill.store.sqlite_connection import DOWN, connect
from tokentill.store.sqlite_lane import SqliteLane
from tokentill.store.sqlite_rows import SqliteRows, Values
from tokentill.store.statements import statements
from tokentill.store.sweeper import Sweeper

T = TypeVar("T")

SQL = statements("sqlite")
OVERDUE_MS_MAX = 60_000
LOOK_MS_MAX = 500
"""How long a look may wait for another process that mends the file after a crash; everything else waits with it."""


class SqliteLedger(SqliteLane):
    """The `Ledger` port on one SQLite file. Open with `SqliteLedger.open`, close with `close`."""

    def __init__(
        self, path: str, catalog: Catalog, secret: bytes, clock: Clock, vfs: str | None = None
    ) -> None:
        super().__init__(path, catalog, secret, clock, vfs)
        self._readers = ThreadPoolExecutor(1, thread_name_prefix="tokentill-read")
        self._reader: apsw.Connection | None = None
        self._looking = threading.Lock()
        self._looker: apsw.Connection | None = None
        self.rows: Rows = SqliteRows(self._read, self._write, self._look, self.mark)
        self.sweeper = Sweeper(clock, self._due, self.submit, self.book.take_counted, self._store_uses)

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
        ledger.start()
        if sweep:
            ledger.sweeper.start()
        return ledger

    async def close(self) -> None:
        """Finish what is queued, then close. Later commands raise `StoreDown`."""
        if self._closing:
            return
        await self.sweeper.stop()
        self._closing = True  # on this loop, so that nothing is queued after the last look at the queue
        loop = asyncio.get_running_loop()
        await loop.run_in_executor(None, self.stop)
        await loop.run_in_executor(self._readers, self._close_reader)
        self._readers.shutdown()
        with self._looking:
            if self._looker is not None:
                self._looker.close()

    def _close_reader(self) -> None:
        # On the readers' thread, after the last read: that one may just have opened the connection.
        if self._reader is not None:
            self._reader.close()

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
                if connection.in_transaction:  # an error may have ended it
                    connection.execute("rollback")
        except DOWN as trouble:
            raise StoreDown(f"The database cannot be read: {trouble}") from trouble

    def _look(self, statement: str, given: str) -> Values | None:
        """The rows of a statement, read at once on the caller's own thread; None while the writer works.

        That takes less than the way to another thread and back. While the writer works it would take more, for both
        want the interpreter at every step.
        """
        if not self._asleep or self._in_memory:
            return None
        with self._looking:
            if self._closing:
                return None
            try:
                if self._looker is None:
                    self._looker = connect(self.path, self._vfs)
                    self._looker.set_busy_timeout(LOOK_MS_MAX)
                return self._looker.execute(statement, (given,)).fetchall()
            except DOWN as trouble:
                raise StoreDown(f"The database cannot be read: {trouble}") from trouble

    def opaque(self, organization: str, user: str) -> str:
        """The id under which journal and account know the host's user."""
        return self.book.opaque(organization, user)

    async def account(self, organization: str) -> Account | None:
        """The account as of the last commit, with everything due applied to the copy."""
        cached = await self._read(lambda connection: reads.load(connection, self.book, organization))
        if cached is None or not cached.account.state.opened:
            return None
        return as_of(cached.account, self.catalog, self._clock.now())

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

    async def verify(self, older: Heads | None = None) -> Verdict:
        """Replay the whole journal on a connection of its own (invariants 1 to 3, R-LED-5)."""
        if self._in_memory:
            return await self._write(lambda connection: reads.verify(connection, self.book.key, older))
        return await asyncio.get_running_loop().run_in_executor(None, self._verify_now, older)

    def _verify_now(self, older: Heads | None = None) -> Verdict:
        connection = connect(self.path, self._vfs)
        try:
            connection.execute("begin")
            return reads.verify(connection, self.book.key, older)
        except DOWN as trouble:
            raise StoreDown(f"The database cannot be read: {trouble}") from trouble
        finally:
            connection.close()

    def traffic(self) -> Traffic:
        """How much this process has committed."""
        return Traffic(self.batches, self.commands)

    async def health(self) -> Health:
        """Whether the database answers and the sweeper keeps up; the host clock is the database's clock."""
        soonest = await self._read(lambda connection: connection.execute(SQL["soonest_due"]).get)
        overdue = 0 if soonest is None else max(0, self._clock.now() - soonest)
        problems = ("the sweeper is more than a minute behind",) if overdue > OVERDUE_MS_MAX else ()
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

    async def add_operator_key(self, key: OperatorKey, digest: bytes) -> bool:
        """Store a new operator key by the SHA-256 of its secret; False if its id is taken."""

        def add(connection: apsw.Connection) -> bool:
            connection.execute(SQL["add_operator_key"], (key.id, key.name, digest, key.created_at))
            return connection.changes() == 1

        return await self._write(add)

    def key_used(self, key_id: str, at: int) -> None:
        """Remember when an operator key was used; stored by the next sweep."""
        self.sweeper.key_used(key_id, at)

    async def _store_uses(self, uses: Mapping[str, int]) -> None:
        rows = sorted(uses.items())
        await self._write(
            lambda connection: connection.executemany(SQL["operator_key_used"], rows).fetchall()
        )

    async def revoke_operator_key(self, key_id: str) -> bool:
        """Revoke; False if unknown or revoked already."""

        def revoke(connection: apsw.Connection) -> bool:
            connection.execute(SQL["revoke_operator_key"], (key_id, self._clock.now()))
            return connection.changes() == 1

        return await self._write(revoke)
