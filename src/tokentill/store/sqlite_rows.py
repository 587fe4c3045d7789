"""The row store on SQLite: reads see the last commit, writes wait their turn in the lane.

The lane stores several of them in one transaction, so that a burst does not wait for the disk row by row. The
one writer at a time is what makes room checks and claims exact.

Requirement ids: R-PLAT-5, R-PACK-3, R-PACK-4.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import monotonic
from typing import Any, Protocol, TypeVar

import apsw
from msgspec.structs import replace

from tokentill.ports import Added, Room
from tokentill.rules.rows import ApiKey, Row
from tokentill.store.mark import Mark
from tokentill.store.rows import Table, table
from tokentill.store.statements import statements
from tokentill.store.together import Together

R = TypeVar("R", bound=Row)
T = TypeVar("T")
Values = list[tuple[Any, ...]]

SQL = statements("sqlite")
LOOKED_UP: frozenset[type[Row]] = frozenset({ApiKey})
"""What may be looked up. To write it moves the mark."""
KNOWN_MAX = 10_000
KNOWN_S = 1.0
"""What was looked up is read again after so long, whatever the mark says: somebody may write without the till."""


class Runs(Protocol):
    """Runs work on a connection, in a transaction."""

    def __call__(self, work: Callable[[apsw.Connection], T]) -> Awaitable[T]:
        """What the work found."""
        ...


class Writes(Protocol):
    """Runs work that writes. `marks`: what it writes may be looked up."""

    def __call__(self, work: Callable[[apsw.Connection], T], *, marks: bool) -> Awaitable[T]:
        """What the work found."""
        ...


class SqliteRows:
    """The `Rows` port on a SQLite ledger's `read` and `write`. `look` gives values at once, None where it cannot.

    `mark` tells whether what was looked up still stands.
    """

    def __init__(
        self,
        read: Runs,
        write: Writes,
        look: Callable[[str, str], Values | None],
        mark: Mark,
        timer: Callable[[], float] = monotonic,
    ) -> None:
        self._read = read
        self._write = write
        self._look = look
        self._mark = mark
        self._timer = timer
        self._together = Together(self.among)
        self._known: dict[tuple[type[Row], str], tuple[Row, int, float]] = {}
        """Rows that were looked up, the mark they stood under, and until when they are believed."""

    async def add(self, row: R, *rooms: Room) -> Added[R]:
        """Store a new row as version 1, if there is room; a row of this id that is there already stays."""
        its = table(type(row), "?")
        values = its.values(row, 1)
        counts = [(*its.count(room), room.most) for room in rooms]

        def work(connection: apsw.Connection) -> Added[R]:
            there = _get(connection, its, row.organization, row.id)
            if there is not None:
                return Added(there, "there")
            for count, given, most in counts:
                if connection.execute(count, given).get >= most:
                    return Added(row, "full")
            connection.execute(its.add, values).fetchall()
            return Added(replace(row, version=1), "new")

        return await self._write(work, marks=type(row) in LOOKED_UP)

    async def put(self, row: R) -> R | None:
        """Store the changed row if nobody changed it since it was read; None if somebody did."""
        assert row.version > 0, "it was never stored"
        its = table(type(row), "?")
        values = its.values(row, row.version + 1)

        def work(connection: apsw.Connection) -> R | None:
            if connection.execute(its.put, values).get is None:
                other = connection.execute(its.moved, (row.id, row.organization, row.created_at)).get
                assert other is None, "a row never moves to another organization"
                return None
            return replace(row, version=row.version + 1)

        return await self._write(work, marks=type(row) in LOOKED_UP)

    async def get(self, kind: type[R], row_id: str, organization: str = "") -> R | None:
        """The row of this id."""
        its = table(kind, "?")
        return await self._read(lambda connection: _get(connection, its, organization, row_id))

    async def look(self, kind: type[R], row_id: str) -> R | None:
        """The row of this id, whosever it is."""
        assert kind in LOOKED_UP, "its writes would not be noticed"
        mark, now = self._mark.now(), self._timer()
        known = self._known.get((kind, row_id))
        if known is not None and known[1] == mark and now < known[2]:
            return known[0]  # type: ignore[return-value]  # it is of the kind
        at_once = self._look(table(kind, "?").among, row_id)
        if at_once is None:
            row = await self._together.look(kind, row_id)
        else:
            row = next(map(table(kind, "?").row, at_once), None)
        if row is not None and mark is not None and self._mark.now() == mark:
            if len(self._known) >= KNOWN_MAX:
                self._known.clear()
            self._known[kind, row_id] = (row, mark, now + KNOWN_S)
        return row

    async def find(
        self,
        kind: type[R],
        equal: Mapping[str, str | int],
        *,
        above: tuple[str, int] | None = None,
        before: str | None = None,
        limit: int = 100,
    ) -> Sequence[R]:
        """Rows whose columns have these values, newest id first. Raises ValueError where there is no index for it."""
        its = table(kind, "?")
        statement, given = its.find(equal, above, before, limit)
        return await self._read(
            lambda connection: [its.row(values) for values in connection.execute(statement, given)]
        )

    async def count(self, kind: type[R], room: Room) -> int:
        """How many rows take up the room, no further than it is full. Raises ValueError where no index is for it."""
        statement, given = table(kind, "?").count(room)
        return await self._read(lambda connection: int(connection.execute(statement, given).get))

    async def tally(self, kind: type[R], column: str) -> Mapping[str, int]:
        """How many rows have each value of the column. Raises ValueError where there is no index for it."""
        statement = table(kind, "?").tally(column)

        def work(connection: apsw.Connection) -> dict[str, int]:
            return {str(value): int(str(count)) for value, count in connection.execute(statement)}

        return await self._read(work)

    async def among(self, kind: type[R], ids: Sequence[str]) -> Sequence[R]:
        """The rows of these ids that there are, of any organization, all as of one moment."""
        its = table(kind, "?")

        def work(connection: apsw.Connection) -> list[R]:
            return [its.row(values) for one in ids for values in connection.execute(its.among, (one,))]

        return await self._read(work)

    async def claim(self, kind: type[R], now: int, lease_ms: int, limit: int = 100) -> Sequence[R]:
        """Rows that are due, soonest first; no other claim gets them before the lease ends."""
        its = table(kind, "?")

        def due(connection: apsw.Connection) -> list[tuple[Any, ...]]:
            return connection.execute(its.due, (now, limit)).fetchall()

        def work(connection: apsw.Connection) -> list[R]:
            found = []
            for name, row_id in due(connection):
                [values] = connection.execute(its.lease, (name, row_id, now + lease_ms))
                found.append(its.row(values))
            return found

        # Most often nothing is due; then no writer is kept waiting.
        return await self._write(work, marks=kind in LOOKED_UP) if await self._read(due) else ()

    async def drop(self, kind: type[R], row_id: str, organization: str = "") -> bool:
        """Delete the row; False if it was not there."""
        its = table(kind, "?")
        return await self._write(
            lambda connection: connection.execute(its.drop, (organization, row_id)).get is not None,
            marks=kind in LOOKED_UP,
        )

    async def position(self, consumer: str) -> str:
        """How far a consumer of the journal has read; "" at first."""
        return await self._read(
            lambda connection: str(connection.execute(SQL["cursor"], (consumer,)).get or "")
        )

    async def keep_position(self, consumer: str, position: str) -> None:
        """Remember how far a consumer has read."""
        await self._write(
            lambda connection: connection.execute(SQL["move_cursor"], (consumer, position)).fetchall(),
            marks=False,
        )


def _get(connection: apsw.Connection, its: Table[R], organization: str, row_id: str) -> R | None:
    values = connection.execute(its.get, (organization, row_id)).fetchone()
    return None if values is None else its.row(values)
