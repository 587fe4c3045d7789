"""The row store on PostgreSQL: every call a short transaction on one of a few connections.

A transaction sees the rows of the organization it names, and those of none. What goes over all organizations
(a search without one, a claim, a room that several share) is read as `tokentill_audit`; what is then written,
is written as `tokentill_app`, which names the organizations.

A room is checked under an advisory lock of its own, and counted in a later statement, which sees what those who
held the lock before have stored.

Requirement ids: R-PLAT-2, R-PLAT-5, R-PACK-3, R-PACK-4.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from hashlib import blake2b
from typing import Any, TypeVar

import msgspec
from msgspec.structs import replace

from tokentill.ports import Added, Room
from tokentill.rules.rows import Row
from tokentill.store.postgres_connection import Connection, Pool
from tokentill.store.rows import Table, table
from tokentill.store.statements import statements
from tokentill.store.together import Together

R = TypeVar("R", bound=Row)

SQL = statements("postgres")
TRIES = 3


class PostgresRows:
    """The `Rows` port on two pools: `own` acts as `tokentill_app`, `every` as `tokentill_audit`."""

    def __init__(self, own: Pool, every: Pool) -> None:
        self._own = own
        self._every = every
        self._together = Together(self.among)

    async def add(self, row: R, *rooms: Room) -> Added[R]:
        """Store a new row as version 1, if there is room; a row of this id that is there already stays."""
        its = table(type(row), "$")
        values = its.values(row, 1)
        counts = [(*its.count(room), room) for room in rooms]

        async def work(connection: Connection) -> Added[R]:
            if rooms:
                await connection.fetchval(SQL["lock_rooms"], sorted({_lock(its, room) for room in rooms}))
            await _name(connection, row.organization)
            if rooms:
                there = await _get(connection, its, row)
                if there is not None:
                    return Added(there, "there")
            for count, given, room in counts:
                if await _counted(connection, count, given, room, row.organization) >= room.most:
                    return Added(row, "full")
            # Who stored it first may have dropped it again before it could be looked at.
            for _ in range(TRIES):
                if await connection.fetchval(its.add, *values) is not None:
                    return Added(replace(row, version=1), "new")
                there = await _get(connection, its, row)
                if there is not None:
                    return Added(there, "there")
            raise AssertionError("a row of this id comes and goes all the time")

        return await self._own.write(work, single=not (rooms or row.organization))

    async def put(self, row: R) -> R | None:
        """Store the changed row if nobody changed it since it was read; None if somebody did."""
        assert row.version > 0, "it was never stored"
        its = table(type(row), "$")
        values = its.values(row, row.version + 1)

        async def work(connection: Connection) -> bool:
            await _name(connection, row.organization)
            return await connection.fetchval(its.put, *values) is not None

        if await self._own.write(work, single=not row.organization):
            return replace(row, version=row.version + 1)

        async def moved(connection: Connection) -> bool:
            found = await connection.fetchval(its.moved, row.id, row.organization, row.created_at)
            return found is not None

        assert not await self._every.look(moved), "a row never moves to another organization"
        return None

    async def get(self, kind: type[R], row_id: str, organization: str = "") -> R | None:
        """The row of this id."""
        its = table(kind, "$")

        async def work(connection: Connection) -> R | None:
            await _name(connection, organization)
            values = await connection.fetchrow(its.get, organization, row_id)
            return None if values is None else its.row(tuple(values))

        return await (self._own.read if organization else self._own.look)(work)

    async def look(self, kind: type[R], row_id: str) -> R | None:
        """The row of this id, whosever it is."""
        return await self._together.look(kind, row_id)

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
        its = table(kind, "$")
        statement, given = its.find(equal, above, before, limit)
        organization = str(equal.get("organization", ""))

        async def work(connection: Connection) -> list[R]:
            await _name(connection, organization)
            return [its.row(tuple(values)) for values in await connection.fetch(statement, *given)]

        if organization:
            return await self._own.read(work)
        return await (self._own if "organization" in equal else self._every).look(work)

    async def count(self, kind: type[R], room: Room) -> int:
        """How many rows take up the room, no further than it is full. Raises ValueError where no index is for it."""
        statement, given = table(kind, "$").count(room)
        organization = str(dict(room.equal).get("organization", ""))

        async def work(connection: Connection) -> int:
            await _name(connection, organization)
            return int(await connection.fetchval(statement, *given))

        return await (self._own.read if organization else self._every.look)(work)

    async def tally(self, kind: type[R], column: str) -> Mapping[str, int]:
        """How many rows have each value of the column. Raises ValueError where there is no index for it."""
        statement = table(kind, "$").tally(column)

        async def work(connection: Connection) -> dict[str, int]:
            return {str(value): int(count) for value, count in await connection.fetch(statement)}

        return await self._every.look(work)

    async def among(self, kind: type[R], ids: Sequence[str]) -> Sequence[R]:
        """The rows of these ids that there are, of any organization, all as of one moment."""
        its = table(kind, "$")

        async def work(connection: Connection) -> list[R]:
            return [its.row(tuple(values)) for values in await connection.fetch(its.among, list(ids))]

        return await self._every.look(work)

    async def claim(self, kind: type[R], now: int, lease_ms: int, limit: int = 100) -> Sequence[R]:
        """Rows that are due, soonest first; no other claim gets them before the lease ends."""
        its = table(kind, "$")

        async def due(connection: Connection) -> list[tuple[str, str]]:
            return [tuple(pair) for pair in await connection.fetch(its.due, now, limit)]

        for _ in range(TRIES):
            some = await self._every.look(due)
            if not some:
                break
            names, ids = [name for name, _ in some], [row_id for _, row_id in some]

            async def work(
                connection: Connection, names: list[str] = names, ids: list[str] = ids
            ) -> list[Any]:
                await connection.fetchval(SQL["scope"], sorted(set(names)))
                return await connection.fetch(its.claim, names, ids, now, now + lease_ms)

            rows = await self._own.write(work)
            if rows:
                return [its.row(tuple(values)[1:]) for values in sorted(rows, key=lambda values: values[0])]
            # Others were quicker with all of these; there may be more.
        return ()

    async def drop(self, kind: type[R], row_id: str, organization: str = "") -> bool:
        """Delete the row; False if it was not there."""
        its = table(kind, "$")

        async def work(connection: Connection) -> bool:
            await _name(connection, organization)
            return await connection.fetchval(its.drop, organization, row_id) is not None

        return await self._own.write(work, single=not organization)

    async def position(self, consumer: str) -> str:
        """How far a consumer of the journal has read; "" at first."""
        return await self._own.look(lambda connection: connection.fetchval(SQL["cursor"], consumer)) or ""

    async def keep_position(self, consumer: str, position: str) -> None:
        """Remember how far a consumer has read."""
        await self._own.write(
            lambda connection: connection.execute(SQL["move_cursor"], consumer, position), single=True
        )


async def _name(connection: Connection, organization: str) -> None:
    """Let the transaction see the organization's rows. Those of none are seen by all."""
    if organization:
        await connection.fetchval(SQL["scope"], [organization])


async def _get(connection: Connection, its: Table[R], row: R) -> R | None:
    values = await connection.fetchrow(its.get, row.organization, row.id)
    return None if values is None else its.row(tuple(values))


async def _counted(
    connection: Connection, count: str, given: Sequence[str | int], room: Room, organization: str
) -> int:
    """How many rows take up the room; of other organizations too, where it is not this one's alone."""
    shared = ("organization", organization) not in room.equal
    if shared:
        await connection.execute("set local role tokentill_audit")
    found: int = await connection.fetchval(count, *given)
    if shared:
        await connection.execute("set local role tokentill_app")
    return found


def _lock(its: Table[Any], room: Room) -> int:
    """The advisory lock of a room, whatever it is `above`. Two rooms may share one; then they wait for each other."""
    name = msgspec.json.encode((its.name, sorted(room.equal)))
    return int.from_bytes(blake2b(name, digest_size=8, person=b"tokentill room").digest(), "big", signed=True)
