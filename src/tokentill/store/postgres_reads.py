"""What is read from a PostgreSQL ledger, as plain functions over a connection in a transaction.

The functions that name an organization act as `tokentill_app` and see that one only; the others act as
`tokentill_audit`.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

import asyncpg

from tokentill.ports import Heads, JournalRow, OperatorKey, Page, StoreDown, Stretch, Verdict
from tokentill.rules import entries as e
from tokentill.rules.chain import is_operation
from tokentill.store.lane import Book, Cached
from tokentill.store.postgres_connection import Connection, connect, describe
from tokentill.store.statements import statements
from tokentill.store.verify import Verification

SQL = statements("postgres")
VERIFY_ROWS = 5_000


async def number_of(connection: Connection, name: str) -> int | None:
    """Let the transaction see the organization, and give its number; None if it is unknown."""
    await connection.execute(SQL["scope"], [name])
    rows = await connection.fetch(SQL["organizations_now"], [name])
    return rows[0]["number"] if rows else None


async def load(connection: Connection, book: Book, numbers: Sequence[int]) -> list[Cached]:
    """Accounts the transaction may see, from their snapshots and the entries after them."""
    return [
        book.load(name, (number, head, last_row, due_at), state, bodies or ())
        for number, name, head, last_row, due_at, state, bodies in await connection.fetch(
            SQL["load"], numbers
        )
    ]


async def account(connection: Connection, book: Book, name: str) -> Cached | None:
    """The account as the transaction sees it; None if unknown."""
    number = await number_of(connection, name)
    return None if number is None else (await load(connection, book, [number]))[0]


async def page(connection: Connection, name: str, before: int | None, limit: int) -> Page | None:
    """A page of an organization's journal, newest first; None if the organization is unknown."""
    number = await number_of(connection, name)
    if number is None:
        return None
    if before is None:
        start = await connection.fetchval(SQL["last_row"], number)
    else:
        start = await connection.fetchval(SQL["previous_of"], before, number)
    rows = await connection.fetch(SQL["page"], start or 0, limit)
    following = rows[-1][0] if len(rows) == limit and rows[-1][1] > 0 else None
    return Page(
        tuple(JournalRow(row, name, e.decode(body), user, link.hex()) for row, _, body, link, user in rows),
        following,
    )


async def operation(connection: Connection, name: str, key: str) -> Sequence[JournalRow] | None:
    """The journal rows of an operation, oldest first; None if the organization is unknown."""
    number = await number_of(connection, name)
    if number is None:
        return None
    if not is_operation(key):
        return []
    rows = await connection.fetch(SQL["operation"], bytes.fromhex(key), number)
    return [JournalRow(row, name, e.decode(body), user, link.hex()) for row, body, link, user in rows]


async def forget_person(connection: Connection, name: str, user: str) -> bool:
    """Erase a name; False if there was none."""
    number = await number_of(connection, name)
    return number is not None and await connection.fetchval(SQL["forget_person"], number, user) is not None


async def operator_keys(connection: Connection) -> list[OperatorKey]:
    """All operator keys, oldest first."""
    return [OperatorKey(*row) for row in await connection.fetch(SQL["operator_keys"])]


async def operator_key(connection: Connection, key_id: str) -> tuple[OperatorKey, bytes] | None:
    """An operator key and its digest."""
    row = await connection.fetchrow(SQL["operator_key"], key_id)
    return None if row is None else (OperatorKey(*row[:5]), row[5])


async def organizations(connection: Connection, after: str, limit: int) -> list[str]:
    """Names after `after`, in order."""
    return [name for (name,) in await connection.fetch(SQL["organizations"], after, limit)]


async def organizations_due(connection: Connection, now: int, limit: int) -> list[str]:
    """Names of accounts whose deadline has passed, soonest first."""
    return [name for (name,) in await connection.fetch(SQL["organizations_due"], now, limit)]


async def follow(connection: Connection, position: str, limit: int, shift: int) -> Stretch:
    """Entries of every organization after a place in the journal, up to the oldest transaction that still runs.

    A place is a transaction and a row of it. An organization's transactions draw their numbers under its
    lock, so its own entries come in sequence and none is ever passed over.
    """
    transaction, _, row = (position or "0.0").partition(".")
    rows = await connection.fetch(SQL["follow"], int(transaction), int(row), shift, limit)
    entries = tuple(
        JournalRow(row, name, e.decode(body), user, link.hex()) for _, row, name, body, link, user in rows
    )
    return Stretch(entries, f"{rows[-1][0]}.{rows[-1][1]}" if rows else position)


def verify(url: str, key: bytes, older: Heads | None = None) -> Verdict:
    """Replay everything in the database at `url` under the chain's key. Takes its time: not for an event loop."""
    return asyncio.run(_verify(url, key, older))


async def _verify(url: str, key: bytes, older: Heads | None = None) -> Verdict:
    connection = await connect(url, "tokentill_audit", patient=True)
    verification = Verification(key, older)
    try:
        await connection.execute("begin isolation level repeatable read read only")
        for feed, statement in (
            (verification.organizations, "every_organization"),
            (verification.snapshots, "every_snapshot"),
            (verification.entries, "every_entry"),
            (verification.states, "every_state"),
        ):
            after: Any = -1
            while rows := await connection.fetch(SQL[statement], after, VERIFY_ROWS):
                feed(map(tuple, rows))
                after = rows[-1][0]
        place: tuple[int, str] = (-1, "")
        while rows := await connection.fetch(SQL["every_person"], *place, VERIFY_ROWS):
            verification.persons(map(tuple, rows))
            place = (rows[-1][0], rows[-1][1])
    except (asyncpg.PostgresError, asyncpg.InterfaceError, OSError) as trouble:
        raise StoreDown(f"The database cannot be read: {describe(trouble)}") from trouble
    finally:
        connection.terminate()
    return verification.verdict()
