"""The ledger on PostgreSQL: any number of processes and machines on one primary (design idea 3).

One connection writes (`tokentill.store.postgres_lane`), a few read what one organization may see, a few
read over all of them (`tokentill.store.postgres_connection`). PostgreSQL 15 or newer is required.

Requirement ids: R-PLAT-2, R-PLAT-5, R-LED-3, R-LED-5, R-LED-9.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence

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
from tokentill.rules import commands as c
from tokentill.rules.account import Account
from tokentill.rules.catalog import Catalog
from tokentill.rules.plans import as_of
from tokentill.rules.receipts import Receipt
from tokentill.rules.refusals import Refusal
from tokentill.store import postgres_reads as reads
from tokentill.store.lane import Book
from tokentill.store.postgres_connection import Connection, Pool
from tokentill.store.postgres_lane import PostgresLane
from tokentill.store.postgres_migrate import migrate
from tokentill.store.postgres_rows import PostgresRows
from tokentill.store.statements import statements
from tokentill.store.sweeper import Sweeper

SQL = statements("postgres")
SKEW_MS_MAX = 2_000
OVERDUE_MS_MAX = 60_000
STALLED_MS_MAX = 30_000


class PostgresLedger:
    """The `Ledger` port on one PostgreSQL database. Open with `PostgresLedger.open`, close with `close`."""

    lane_type = PostgresLane

    def __init__(self, url: str, catalog: Catalog, secret: bytes, clock: Clock, shift: int) -> None:
        self.catalog = catalog
        self.book = Book(catalog, secret)
        self.lane = self.lane_type(url, self.book, clock)
        self._url = url
        self._clock = clock
        self._shift = shift
        self._own = Pool(url, "tokentill_app")
        self._all = Pool(url, "tokentill_audit")
        self._keeping = Pool(url, "tokentill_app")
        self.rows: Rows = PostgresRows(self._keeping, self._all)
        self.sweeper = Sweeper(clock, self._due, self.submit, self.book.take_counted, self._store_uses)

    @classmethod
    async def open(
        cls,
        url: str,
        catalog: Catalog,
        secret: bytes,
        clock: Clock,
        ids: Ids | None = None,
        *,
        sweep: bool = True,
    ) -> PostgresLedger:
        """Open the database at `url`, its schema brought up to date. Raises `StoreDown`."""
        del ids  # the lane makes no ids; the parameter keeps both engines' constructors alike
        ledger = cls(url, catalog, secret, clock, await migrate(url, secret))
        await ledger.lane.start()
        if sweep:
            ledger.sweeper.start()
        return ledger

    async def close(self) -> None:
        """Finish what is queued, then close. Later commands raise `StoreDown`."""
        await self.sweeper.stop()
        await self.lane.close()
        await self._own.close()
        await self._keeping.close()
        await self._all.close()

    # ---- commands ------------------------------------------------------------------------------------

    def submit(self, envelope: c.Envelope) -> asyncio.Future[Receipt | Refusal]:
        """Queue one command; the future is done when its outcome is durable. Raises `StoreDown` through it."""
        future: asyncio.Future[Receipt | Refusal] = asyncio.get_running_loop().create_future()
        self.lane.put(self.book.job(envelope, future))
        return future

    def opaque(self, organization: str, user: str) -> str:
        """The id under which journal and account know the host's user."""
        return self.book.opaque(organization, user)

    # ---- reads ---------------------------------------------------------------------------------------

    async def account(self, organization: str) -> Account | None:
        """The account as of the last commit, with everything due applied to the copy."""
        cached = await self._own.read(lambda connection: reads.account(connection, self.book, organization))
        if cached is None:
            return None
        return as_of(cached.account, self.catalog, self._clock.now())

    async def journal(self, organization: str, before: int | None = None, limit: int = 50) -> Page | None:
        """The organization's entries, newest first."""
        return await self._own.read(lambda connection: reads.page(connection, organization, before, limit))

    async def operation(self, organization: str, operation: str) -> Sequence[JournalRow] | None:
        """Every entry of one operation, oldest first."""
        return await self._own.read(lambda connection: reads.operation(connection, organization, operation))

    async def organizations(self, after: str = "", limit: int = 100) -> Sequence[str]:
        """Organization ids in order."""
        return await self._all.read(lambda connection: reads.organizations(connection, after, limit))

    async def follow(self, position: str = "", limit: int = 1000) -> Stretch:
        """Entries of all organizations after `position`, in the journal's order (design idea 5)."""
        return await self._all.read(lambda connection: reads.follow(connection, position, limit, self._shift))

    async def _due(self, now: int, limit: int) -> Sequence[str]:
        return await self._all.read(lambda connection: reads.organizations_due(connection, now, limit))

    async def verify(self, older: Heads | None = None) -> Verdict:
        """Replay the whole journal on a connection of its own (invariants 1 to 3, R-LED-5)."""
        return await asyncio.get_running_loop().run_in_executor(
            None, reads.verify, self._url, self.book.key, older
        )

    def traffic(self) -> Traffic:
        """How much this process has committed."""
        return Traffic(self.lane.batches, self.lane.commands)

    async def health(self) -> Health:
        """Whether the database answers, its clock agrees, and the sweeper and the cursors keep up."""
        try:
            sent = self._clock.now()
            theirs, soonest, unread = await self._all.read(self._look)
        except StoreDown as trouble:
            return Health(False, "postgres", 0, 0, (str(trouble),))
        now = self._clock.now()
        # The answer was given somewhere between; only what the journey cannot explain is skew.
        skew = theirs - now if theirs > now else min(0, theirs - sent)
        overdue = 0 if soonest is None else max(0, now - soonest)
        stalled = 0 if unread is None else now - unread
        problems = []
        if abs(skew) > SKEW_MS_MAX:
            problems.append(f"the database's clock and this one's are {abs(skew)} ms apart")
        if overdue > OVERDUE_MS_MAX:
            problems.append("the sweeper is more than a minute behind")
        if stalled > STALLED_MS_MAX:
            problems.append(f"an old writing transaction holds up the journal's readers for {stalled} ms")
        if self.lane.down:
            problems.append("the last commands could not be stored")
        return Health(not problems, "postgres", skew, overdue, tuple(problems))

    async def _look(self, connection: Connection) -> tuple[int, int | None, int | None]:
        return (
            await connection.fetchval(SQL["database_time"]),
            await connection.fetchval(SQL["soonest_due"]),
            await connection.fetchval(SQL["oldest_unreadable"], self._shift),
        )

    # ---- people and operator keys --------------------------------------------------------------------

    async def forget_user(self, organization: str, user: str) -> bool:
        """Erase the name of a user; the journal keeps only the opaque id."""
        opaque = self.book.opaque(organization, user)
        self.book.forget_person(organization, user)
        return await self._own.write(lambda connection: reads.forget_person(connection, organization, opaque))

    async def operator_keys(self) -> Sequence[OperatorKey]:
        """All operator keys, oldest first."""
        return await self._own.read(reads.operator_keys)

    async def find_operator_key(self, key_id: str) -> tuple[OperatorKey, bytes] | None:
        """The operator key and its digest."""
        return await self._own.read(lambda connection: reads.operator_key(connection, key_id))

    async def add_operator_key(self, key: OperatorKey, digest: bytes) -> bool:
        """Store a new operator key by the SHA-256 of its secret; False if its id is taken."""
        row = (key.id, key.name, digest, key.created_at)
        added = await self._own.write(lambda connection: connection.fetchval(SQL["add_operator_key"], *row))
        return added is not None

    def key_used(self, key_id: str, at: int) -> None:
        """Remember when an operator key was used; stored by the next sweep."""
        self.sweeper.key_used(key_id, at)

    async def _store_uses(self, uses: Mapping[str, int]) -> None:
        # Every process takes the rows in the same order, so that none waits for another in a circle.
        rows = sorted(uses.items())
        await self._own.write(lambda connection: connection.executemany(SQL["operator_key_used"], rows))

    async def revoke_operator_key(self, key_id: str) -> bool:
        """Revoke; False if unknown or revoked already."""
        now = self._clock.now()
        revoked = await self._own.write(
            lambda connection: connection.fetchval(SQL["revoke_operator_key"], key_id, now)
        )
        return revoked is not None
